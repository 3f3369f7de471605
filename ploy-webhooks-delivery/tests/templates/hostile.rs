//! What comes from a payload is data, whatever it is.

use ploy_webhooks_delivery::template::{
    BodyTemplate, HeaderTemplate, RenderError, TextTemplate, UrlTemplate,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::scene::merge;

/// Texts of what breaks out of things.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\""),
        Just("\\"),
        Just("\r\n"),
        Just("{{ s }}"),
        Just("}}"),
        Just("{%"),
        Just("\0"),
        Just("/"),
        Just(".."),
        Just("."),
        Just("%2e"),
        Just("?"),
        Just("#"),
        Just("&"),
        Just("="),
        Just("+"),
        Just("@"),
        Just(":"),
        Just("\u{2028}"),
        Just("🦀"),
        Just("\u{feff}"),
        Just("a"),
        Just("\",\"x\":\""),
        Just("\\u0022"),
        Just(" "),
        Just("\t"),
        Just(";"),
    ];
    prop_oneof![
        prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat()),
        any::<String>(),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // Longer ones may come out rounded.
        any::<i32>().prop_map(|cents| Value::from(f64::from(cents) / 100.0)),
        hostile().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(hostile(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn json_bodies_have_the_structure_of_their_template(
        s in hostile(), t in hostile(), v in any_json(),
    ) {
        let template = BodyTemplate::parse(
            r#"{"json": {"v": "{{ v }}", "s": "{{ s }}", "in": ["-{{ s }}{{ t }}-", {"k": 1}],
                "op": "{{ s ~ t }}", "json": "{{ v | tojson }}"}}"#,
        ).unwrap();
        let payload = json!({"s": s, "t": t, "v": v}).to_string();
        let (body, _) = template.render(&merge(payload)).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let told: Value = serde_json::from_str(body["json"].as_str().unwrap()).unwrap();
        prop_assert_eq!(&told, &v);
        let expected = json!({
            "v": v, "s": s, "in": [format!("-{s}{t}-"), {"k": 1}], "op": format!("{s}{t}"),
            "json": body["json"],
        });
        prop_assert_eq!(body, expected);
    }

    #[test]
    fn forms_decode_to_the_values(s in hostile(), t in hostile()) {
        let template = r#"{"form": {"a": "{{ s }}", "b&": "x{{ t }}", "c": "1"}}"#;
        let template = BodyTemplate::parse(template).unwrap();
        let payload = json!({"s": s, "t": t}).to_string();
        let (body, _) = template.render(&merge(payload)).unwrap();
        let pairs: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
        let expected = [("a", s), ("b&", format!("x{t}")), ("c", "1".to_owned())];
        prop_assert!(pairs.iter().map(|(n, v)| (&**n, v)).eq(expected.iter().map(|(n, v)| (*n, v))));
    }

    #[test]
    fn urls_keep_their_origin_and_form(s in hostile(), t in hostile()) {
        let template = "https://a.example:8443/v1/{{ s }}/.{{ t }}/z?q={{ s }}&{{ t }}=1";
        let template: UrlTemplate = template.parse().unwrap();
        let url = match template.render(&merge(json!({"s": s, "t": t}).to_string())) {
            Ok(url) => url,
            Err(fault) => {
                let leads_elsewhere = ["", ".", ".."].contains(&&*s) || ["", "."].contains(&&*t);
                let is_segment = matches!(fault, RenderError::UrlSegment { .. });
                prop_assert!(is_segment && leads_elsewhere, "{}", fault);
                return Ok(());
            }
        };
        prop_assert_eq!(url.origin().ascii_serialization(), "https://a.example:8443");
        prop_assert_eq!(url.path_segments().unwrap().count(), 4);
        prop_assert_eq!(url.path_segments().unwrap().next(), Some("v1"));
        prop_assert_eq!(url.fragment(), None);
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        prop_assert_eq!(pairs, [("q".to_owned(), s), (t, "1".to_owned())]);
    }

    #[test]
    fn headers_are_one_line_or_nothing(s in hostile()) {
        let template: HeaderTemplate = "a {{ s }} b".parse().unwrap();
        let is_line = s.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
        match template.render(&merge(json!({"s": s}).to_string())) {
            Ok(value) => {
                prop_assert_eq!(value.as_bytes().to_vec(), format!("a {s} b").into_bytes());
                prop_assert!(is_line);
            }
            Err(fault) => {
                prop_assert_eq!(fault, RenderError::HeaderCharacter { written: "s".to_owned() });
                prop_assert!(!is_line);
            }
        }
    }

    #[test]
    fn values_are_never_templates(s in hostile()) {
        let template: TextTemplate = "{{ s }}|{{ s ~ '' }}|{{ s | string }}|{{ x | default(s) }}".parse().unwrap();
        let text = template.render(&merge(json!({"s": s}).to_string())).unwrap();
        prop_assert_eq!(text, format!("{s}|{s}|{s}|{s}"));
    }

    #[test]
    fn no_text_and_no_payload_break_a_template(
        source in prop_oneof![
            any::<String>(),
            hostile(),
            "\\{\\{ ?[a-z0-9_.()'\"|~+<=, \\[\\]{}:-]{0,40} ?\\}\\}",
            prop::collection::vec(prop_oneof![
                Just("{{"), Just("}}"), Just(" a "), Just("|"), Just("default"), Just("("), Just(")"),
                Just("is"), Just("not "), Just("defined"), Just("'"), Just("if "), Just(" else "),
                Just("["), Just("]"), Just("."), Just("1"), Just("~"), Just("in "), Just("length"),
                Just("-"), Just("tojson"), Just(","), Just("{"), Just("}"), Just(":"), Just("join"),
            ], 0..16).prop_map(|tokens| format!("{{{{ {} }}}}", tokens.concat())),
        ],
        payload in any_json(),
    ) {
        if let Ok(template) = source.parse::<TextTemplate>() {
            prop_assert_eq!(template.as_str(), &source);
            let _ = template.render(&merge(payload.to_string()));
        }
        let _ = source.parse::<UrlTemplate>();
        let _ = source.parse::<HeaderTemplate>();
        let _ = BodyTemplate::parse(&source);
    }
}
