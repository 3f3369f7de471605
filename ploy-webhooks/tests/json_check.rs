//! What is JSON and what is not, through the front door: every class of the public JSON parsing
//! test-suite (JSONTestSuite, by Nicolas Seriot), in cases of our own.
//!
//! What is accepted is kept verbatim; what is refused is answered 400, with the place of the
//! fault and nothing of the content.

mod cases;
mod front_door;

use cases::{AROUND, NO_OBJECTS, NO_TEXT, NO_VALUES, VALUES};
use front_door::FrontDoor;
use http::StatusCode;
use ploy_webhooks::ingest::Refusal;
use proptest::prelude::*;

#[tokio::test]
async fn every_value_is_accepted_and_kept_verbatim() {
    let door = FrontDoor::open().await;
    for value in VALUES {
        for body in [
            format!(r#"{{"a":{value}}}"#),
            format!(" \t\r\n{{ \"a\" : [ {value} , {value} ] , \"b\" : {value} }}\n"),
        ] {
            let accepted = door.submit(body.as_bytes()).await;
            let accepted = accepted.unwrap_or_else(|refusal| panic!("{body:?}: {refusal}"));
            let kept = door.payload(accepted.id).await;
            assert_eq!(kept, body.as_bytes(), "{body:?} was not kept verbatim");
        }
    }
}

#[tokio::test]
async fn what_is_no_value_is_refused() {
    let door = FrontDoor::open().await;
    for text in NO_VALUES {
        for body in [
            format!(r#"{{"a":{text}}}"#),
            format!(r#"{{"a":[{text},1]}}"#),
            format!(r#"{{"a":{text},"b":1}}"#),
        ] {
            assert_is_refused(&door, body.as_bytes(), "invalid_json").await;
        }
    }
    assert_eq!(door.count().await, 0, "something that was refused is stored");
}

#[tokio::test]
async fn what_is_no_value_is_refused_as_a_whole_body() {
    let door = FrontDoor::open().await;
    for text in NO_VALUES {
        assert_is_refused(&door, text.as_bytes(), "invalid_json").await;
    }
}

#[tokio::test]
async fn nothing_may_stand_around_the_object() {
    let door = FrontDoor::open().await;
    for (before, after) in AROUND {
        let body = format!("{before}{{\"a\":1}}{after}");
        assert_is_refused(&door, body.as_bytes(), "invalid_json").await;
    }
    for white in [" ", "\t", "\r", "\n", " \t\r\n \n"] {
        let body = format!("{white}{{\"a\":1}}{white}");
        assert!(door.submit(body.as_bytes()).await.is_ok(), "{body:?}");
    }
}

#[tokio::test]
async fn what_is_not_utf8_is_refused_wherever_it_stands() {
    let door = FrontDoor::open().await;
    for bytes in NO_TEXT {
        for (before, after) in [
            (&b"{\"a\":\""[..], &b"\"}"[..]),
            (b"{\"", b"\":1}"),
            (b"{\"a\":", b"}"),
            (b"", b"{}"),
            (b"{}", b""),
            (b"{\"a\":\"\\", b"\"}"),
            (b"{\"a\":\"\\u00", b"\"}"),
        ] {
            let body = [before, bytes, after].concat();
            assert_is_refused(&door, &body, "invalid_json").await;
        }
    }
    for text in ["{\"a\":1}", "[]"] {
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_is_refused(&door, &utf16, "invalid_json").await;
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_is_refused(&door, &utf16, "invalid_json").await;
    }
}

#[tokio::test]
async fn what_is_no_object_is_told_so() {
    let door = FrontDoor::open().await;
    for body in NO_OBJECTS {
        assert_is_refused(&door, body.as_bytes(), "not_an_object").await;
    }
}

#[tokio::test]
async fn nesting_is_accepted_as_deep_as_it_comes_if_it_is_closed() {
    const DEPTH: usize = 100_000;
    let door = FrontDoor::open().await;
    for (open, inner, close) in [("[", "", "]"), ("{\"a\":", "1", "}"), ("[{\"\":", "[]", "}]")] {
        let (opened, closed) = (open.repeat(DEPTH), close.repeat(DEPTH));
        let body = format!("{{\"deep\":{opened}{inner}{closed}}}");
        let accepted = door.submit(body.as_bytes()).await;
        assert!(accepted.is_ok(), "{open}: {accepted:?}");
        for unclosed in [
            format!("{{\"deep\":{opened}"),
            format!("{{\"deep\":{opened}{inner}{}}}", &closed[close.len()..]),
            format!("{{\"deep\":{opened}{inner}{closed}{close}}}"),
            opened.clone(),
        ] {
            assert_is_refused(&door, unclosed.as_bytes(), "invalid_json").await;
        }
    }
}

#[tokio::test]
async fn the_detail_names_the_place() {
    let door = FrontDoor::open().await;
    for (body, place) in [
        (&b""[..], (1, 1)),
        (b"{\"a\":x}", (1, 6)),
        (b"{\n  \"a\": x\n}", (2, 8)),
        (b"{\"a\":\"\xff\"}", (1, 7)),
        (b"{\r\n\"\xc3\xa9\":\"\xff\"}", (2, 7)),
        (b"{} x", (1, 4)),
        (b"\xef\xbb\xbf{}", (1, 1)),
        (b"\n\n  [1]", (3, 3)),
        (b"7", (1, 1)),
    ] {
        let refusal = door.submit(body).await.expect_err("it is no JSON object");
        let (Refusal::InvalidJson { line, column, .. } | Refusal::NotAnObject { line, column }) =
            refusal
        else {
            panic!("{refusal:?}");
        };
        assert_eq!((line, column), place, "{:?}", String::from_utf8_lossy(body));
        let named = format!("line {line}, column {column}");
        assert!(refusal.to_string().contains(&named), "{refusal}");
    }
}

async fn assert_is_refused(door: &FrontDoor, body: &[u8], code: &str) {
    let shown = String::from_utf8_lossy(&body[..body.len().min(100)]).into_owned();
    let Err(refusal) = door.submit(body).await else {
        panic!("{shown:?} was accepted");
    };
    assert_eq!(refusal.status(), StatusCode::BAD_REQUEST, "{shown:?}");
    assert_eq!(refusal.code(), code, "{shown:?}");
}

#[tokio::test]
async fn the_detail_has_nothing_of_the_content() {
    let door = FrontDoor::open().await;
    for body in [
        r#"{"a":Zq7Zq7}"#,
        r#"{"Zq7Zq7":"\Zq7Zq7"}"#,
        r#"Zq7Zq7"#,
        r#""Zq7Zq7""#,
        r#"{"a":1}Zq7Zq7"#,
        r#"{"a":"Zq7Zq7"#,
    ] {
        let refusal = door.submit(body.as_bytes()).await.expect_err("it is no JSON object");
        let shown = format!("{refusal} {refusal:?}");
        assert!(!shown.contains("Zq7"), "{body:?}: {shown}");
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::vec((".{0,6}", inner), 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Runs a test that is async on one front door.
fn at_the_door(test: impl AsyncFnOnce(FrontDoor)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async { test(FrontDoor::open().await).await });
}

proptest! {
    #[test]
    fn whatever_serde_json_writes_is_accepted(value in json(), pretty: bool) {
        let tree = serde_json::json!({ "a": value });
        let body = match pretty {
            true => serde_json::to_vec_pretty(&tree),
            false => serde_json::to_vec(&tree),
        };
        let body = body.expect("a tree has a JSON form");
        at_the_door(async |door| {
            let accepted = door.submit(&body).await.expect("it is a JSON object");
            assert_eq!(door.payload(accepted.id).await, body);
        });
    }

    /// One byte is changed, taken out or put in: what is left is judged as serde_json does,
    /// which has other reasons to refuse only for lone surrogates, numbers and depth.
    #[test]
    fn mutations_are_judged_as_serde_json_does(
        value in json(),
        place: prop::sample::Index,
        byte in prop_oneof![any::<u8>(), prop::sample::select(&b"{}[]\",:\\0e-. \n"[..])],
        mutation in 0..3,
    ) {
        let mut body = serde_json::json!({ "a": value }).to_string().into_bytes();
        let place = place.index(body.len());
        match mutation {
            0 => body[place] = byte,
            1 => { body.remove(place); }
            _ => body.insert(place, byte),
        }
        let judged = serde_json::from_slice::<serde_json::Value>(&body);
        at_the_door(async |door| match (door.submit(&body).await, judged) {
            (Ok(_), Ok(tree)) => assert!(tree.is_object()),
            (Err(refusal), Ok(tree)) => {
                assert_eq!(refusal.code(), "not_an_object");
                assert!(!tree.is_object());
            }
            (Err(refusal), Err(_)) => assert_eq!(refusal.code(), "invalid_json"),
            (Ok(_), Err(fault)) => {
                let fault = fault.to_string();
                let is_ours = ["surrogate", "out of range", "hex escape"];
                assert!(is_ours.iter().any(|known| fault.contains(known)), "{fault}: {body:?}");
            }
        });
    }
}
