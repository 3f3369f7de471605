//! Promises about what is looked for in payloads.

use super::EventsFixture;
use super::scene::{endpoint, event, everything, find_ids, store_one};
use crate::endpoint::Endpoint;
use crate::store::Needle;

/// A needle is a literal: what other searches take for a wildcard, an operator, a quote or an
/// escape means itself.
pub async fn needles_are_literals<F: EventsFixture>(fixture: &F) {
    let payloads = [
        r#"{"v":"100%"}"#,
        r#"{"v":"100 per cent"}"#,
        r#"{"v":"snake_case"}"#,
        r#"{"v":"snakeXcase"}"#,
        r#"{"v":"it's"}"#,
        r#"{"v":"say \"so\""}"#,
        r#"{"v":"back\\slash"}"#,
        r#"{"v":"a.*b"}"#,
        r#"{"v":"one AND two"}"#,
        r#"{"v":"[x] ? * ^ $ ( ) { } + - ~ & | / : ; , < > = ! @ #"}"#,
        r#"{"v":"\u00e9"}"#,
        "{\"v\":\"é\"}",
        "{ \"v\" :\t\"spaced\"\r\n}",
    ];
    let needles = [
        "%",
        "_",
        "100%",
        "100_",
        "snake_case",
        "'",
        "it's",
        "\"",
        "\\",
        "\\\"",
        "\\\\",
        "say \\\"so",
        ".*",
        "a.*b",
        "AND",
        "one OR two",
        "*",
        "?",
        "[x]",
        "^",
        "$",
        "()",
        "( )",
        ":",
        ";",
        "--",
        "\\u00e9",
        "é",
        "NEAR(a b)",
        "v:",
        "{\"v\"",
        "}",
        "\t",
        "\r\n",
        " :\t",
        "'; DROP TABLE events; --",
    ];
    assert_finds_as_defined(fixture, &payloads, &needles).await;
}

/// Case does not matter, of any script; a character that has no other case is itself.
pub async fn needles_ignore_case<F: EventsFixture>(fixture: &F) {
    let payloads = [
        r#"{"v":"Alex@ACME.com"}"#,
        r#"{"v":"MÜNCHEN straße STRASSE"}"#,
        r#"{"v":"ΑΘΗΝΑ Οδυσσεύς"}"#,
        r#"{"v":"МОСКВА"}"#,
        r#"{"v":"İstanbul ISTANBUL ıstanbul"}"#,
        r#"{"v":"𐐀𐐁 deseret"}"#,
        r#"{"v":"漢字 ﬁ K Å"}"#,
    ];
    let needles = [
        "alex@acme.com",
        "ALEX@ACME.COM",
        "münchen",
        "MüNcHeN",
        "straße",
        "STRASSE",
        "strasse",
        "ẞ",
        "αθηνα",
        "ΟΔΥΣΣΕΎΣ",
        "ΟΔΥΣΣΕΎς",
        "москва",
        "İSTANBUL",
        "i\u{307}stanbul",
        "istanbul",
        "ISTANBUL",
        "ıSTANBUL",
        "𐐨𐐩",
        "𐐀",
        "漢",
        "字",
        "ﬁ",
        "fi",
        "k",
        "K",
        "å",
        "Å",
        "v",
    ];
    assert_finds_as_defined(fixture, &payloads, &needles).await;
}

/// Needles of every length are found, from one byte on, at the begin and at the end of a payload
/// and across it; those longer than any index's unit too.
pub async fn needles_of_every_length_are_found<F: EventsFixture>(fixture: &F) {
    let payloads = [
        r#"{"text":"abcdefghijklmnopqrstuvwxyz"}"#,
        r#"{"text":"zyxwvutsrqponmlkjihgfedcba"}"#,
        "{\"text\":\"äöü漢字😀äöü漢字😀\"}",
        "{}",
    ];
    let mut needles: Vec<String> = vec!["{".into(), "}".into(), "{}".into()];
    for payload in payloads {
        let places: Vec<usize> = payload.char_indices().map(|(place, _)| place).collect();
        for length in 1..=places.len().min(20) {
            let last = places.len() - length;
            for begin in [0, last / 3, last / 2, last] {
                let end = places.get(begin + length).copied().unwrap_or(payload.len());
                needles.push(payload[places[begin]..end].to_owned());
            }
        }
        needles.push(payload.to_owned());
        needles.push(format!("{payload}x"));
        needles.push(format!("x{payload}"));
    }
    needles.sort();
    needles.dedup();
    let needles: Vec<&str> = needles.iter().map(String::as_str).collect();
    assert_finds_as_defined(fixture, &payloads, &needles).await;
}

/// A needle is found wherever it stands in a payload of a mebibyte, and the longest needle that
/// there is.
pub async fn needles_are_found_in_large_payloads<F: EventsFixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    let longest = "Long".repeat(Needle::BYTES_MAX / 4);
    for place in [0, 4_095, 65_536, 1_000_000] {
        let padding = |length| "lon".chars().cycle().take(length).collect::<String>();
        let rest = (1 << 20) - place - longest.len() - 8;
        let payload = format!("{{\"a\":\"{}{longest}{}\"}}", padding(place), padding(rest));
        let id = store_one(&*store, event(&endpoint, payload)).await;
        let mut query = everything(endpoint.workspace);
        query.from = Some(id.timestamp());
        query.contains = Some(Needle::new(&longest).expect("a needle of 512 bytes"));
        let found = find_ids(&*store, &query).await;
        assert!(found.contains(&id), "a needle {place} bytes into a mebibyte is not found");
    }
    let almost = format!("{}x", &longest[1..]);
    let mut query = everything(endpoint.workspace);
    query.contains = Some(Needle::new(&almost).expect("a needle of 512 bytes"));
    let found = find_ids(&*store, &query).await;
    assert_eq!(found, [], "a needle is found that differs in its last byte");
}

/// Each needle finds the payloads that it stands in by [`Needle::stands_in`], and no other.
async fn assert_finds_as_defined<F: EventsFixture>(
    fixture: &F,
    payloads: &[&'static str],
    needles: &[&str],
) {
    let endpoint: Endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    let mut ids = Vec::new();
    for payload in payloads {
        ids.push(store_one(&*store, event(&endpoint, *payload)).await);
    }
    for text in needles {
        let needle = Needle::new(text).expect("a needle");
        let mut query = everything(endpoint.workspace);
        query.contains = Some(needle.clone());
        let found = find_ids(&*store, &query).await;
        for (payload, id) in payloads.iter().zip(&ids) {
            assert_eq!(
                found.contains(id),
                needle.stands_in(payload.as_bytes(), &mut Vec::new()),
                "left: whether {text:?} is found in {payload:?}; right: whether it stands there"
            );
        }
    }
}
