//! The worst that a template and a payload can do together, in memory.

use ploy_webhooks_delivery::template::{
    BodyTemplate, OUTPUT_BYTES_MAX, RenderError, TextTemplate, WORK_BYTES_MAX,
};
use serde_json::json;

use crate::scene::merge;

const MIB: usize = 1 << 20;

/// A payload of a MiB, as endpoints take by default.
fn payload() -> String {
    json!({"s": "\"".repeat(MIB / 2 - 256), "n": 99_999_999, "l": [1, 2]}).to_string()
}

/// How many bytes are in use at most while a body of 64 KiB of that expression is filled in.
fn memory_of(expression: &str, payload: &str) -> (u64, Result<usize, RenderError>) {
    let field = format!("{{{{ {expression} }}}}");
    let leaf = field.repeat(8_000 / field.len());
    let body = json!({"json": vec![leaf; 8]}).to_string();
    let template = BodyTemplate::parse(&body).unwrap();
    let mut rendered = Ok(0);
    let allocated = allocation_counter::measure(|| {
        rendered = template.render(&merge(payload.to_owned())).map(|(body, _)| body.len());
    });
    (allocated.bytes_max, rendered)
}

#[test]
fn nothing_takes_more_than_its_bounds() {
    let payload = payload();
    // What is read, what is made of it, and what is written, whose buffer doubles as it grows.
    let bound = (8 * payload.len() + WORK_BYTES_MAX + 4 * OUTPUT_BYTES_MAX) as u64;
    let copies = format!("({})|length", ["s"; 32].join("~"));
    let lists = format!("({})|tojson|length", ["[s,s]"; 8].join("+"));
    let escapes = format!("s{}|length", "|tojson".repeat(100));
    let growth = format!("'\"'{}|length", "|tojson".repeat(100));
    let joined = "[s,s,s,s,s]|join(s)|length";
    let slices = format!("s{}", "[:]".repeat(200));
    for expression in [
        &copies[..],
        &lists,
        &escapes,
        &growth,
        joined,
        &slices,
        "(payload~payload)|length",
        "payload == payload",
        "s ~ ''",
        "s|upper|lower|title|string|length",
        "[payload]",
        "s",
        "payload",
        "(s|tojson) in payload",
        "payload|join(s)",
        "l|join(s)|join(s)",
        "s[::-1]",
    ] {
        let (bytes, rendered) = memory_of(expression, &payload);
        println!("{bytes:>10} bytes, {rendered:?}: {expression:.60}");
        assert!(bytes <= bound, "{expression}: {bytes}");
        if let Ok(written) = rendered {
            assert!(written <= OUTPUT_BYTES_MAX, "{expression}");
        }
    }
}

#[test]
fn what_a_payload_is_read_into_is_bounded() {
    for (open, item, close) in [
        ("[", "0", "]"),
        ("[", "[]", "]"),
        ("[", "{}", "]"),
        ("[", "\"\"", "]"),
        ("{", "\"\":0", "}"),
        ("[", "{\"\":[]}", "]"),
        ("[", "[[[]]]", "]"),
    ] {
        let items = vec![item; MIB / (item.len() + 1) - 1].join(",");
        let payload = format!("{open}{items}{close}");
        let template: TextTemplate = "{{ payload | length }}".parse().unwrap();
        let allocated = allocation_counter::measure(|| {
            template.render(&merge(payload.clone())).unwrap();
        });
        println!("{:>10} bytes: {item}", allocated.bytes_max);
        assert!(allocated.bytes_max <= 96 * payload.len() as u64, "{item}");
    }
}

#[test]
fn too_much_work_is_an_error_that_names_the_expression() {
    let template: TextTemplate = "{{ s ~ s ~ s ~ s ~ s ~ s ~ s ~ s ~ s }}".parse().unwrap();
    let fault = template.render(&merge(payload())).unwrap_err();
    let written = "s ~ s ~ s ~ s ~ s ~ s ~ s ~ s ~ s".to_owned();
    assert_eq!(fault, RenderError::TooMuchWork { written });
}

#[test]
fn what_is_too_long_is_an_error() {
    let template: TextTemplate = "{{ s }}{{ s }}{{ s }}".parse().unwrap();
    let fault = template.render(&merge(payload())).unwrap_err();
    assert_eq!(fault, RenderError::TooLong { bytes_max: OUTPUT_BYTES_MAX });
}
