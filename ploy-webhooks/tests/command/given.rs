//! What a program is given: the payload, its arguments, and an environment of its own.

use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;

use ploy_webhooks::{EndpointId, FieldMap, Fields};

use crate::scene::{command, job, settings};

/// What is passed on without being named.
const ALWAYS: [&str; 3] = ["PATH", "HOME", "LANG"];

#[tokio::test]
async fn a_payload_comes_byte_for_byte() {
    let payload: Vec<u8> = (0..=255).cycle().take(3_000_001).collect();
    let mut settings = settings();
    settings.output_bytes_max = usize::MAX;
    for payload in [payload, b"".to_vec(), b"\0".to_vec(), b"{}\n".to_vec()] {
        let output = command(["cat"]).carry_out(&job(payload.clone()), &settings).await.unwrap();
        assert!(output.into_bytes() == payload, "{} bytes should come as they are", payload.len());
    }
}

#[tokio::test]
async fn a_program_need_not_read_the_payload() {
    let payload = vec![b'x'; 10_000_000];
    for (script, said) in [
        ("echo done", "done\n"),
        ("exec 0<&-; echo done", "done\n"),
        ("head -c 3; exec 0<&-; sleep 0.1; echo .", "xxx.\n"),
    ] {
        let command = command(["/bin/sh", "-c", script]);
        let output = command.carry_out(&job(payload.clone()), &settings()).await.unwrap();
        assert_eq!(output.into_bytes(), said, "{script}");
    }
}

#[tokio::test]
async fn arguments_come_as_they_are() {
    let odd = ["$HOME", "`id`", "a b", "", "--ploy-guard-v1", "*", "é\n", "; exit 3"];
    let argv = ["printf", "<%s>"].into_iter().chain(odd).map(str::to_owned).collect();
    let command = ploy_webhooks::trigger::command::Command { argv, folder: None };
    let output = command.carry_out(&job("{}"), &settings()).await.unwrap().into_bytes();
    assert_eq!(output, odd.map(|text| format!("<{text}>")).concat());
}

#[tokio::test]
async fn the_environment_holds_what_it_should_and_nothing_else() {
    let mut job = job("{\"data\":\"; exit 3\"}");
    job.attempt = job.attempt.saturating_add(6);
    job.event.endpoint = Some(EndpointId::from_bytes([7; 16]));
    job.fields = fields(r#"{"a":"; exit 3\n\u0000"}"#);
    let mut settings = settings();
    // Two that are set here, of which one is named.
    let mut others = env::vars().map(|(name, _)| name).filter(|name| !ALWAYS.contains(&&**name));
    let passed_on = others.next().expect("there is one");
    assert!(others.next().is_some(), "there is another");
    settings.env = [&passed_on, "NOT_SET_ANYWHERE", "A=B"].map(str::to_owned).to_vec();
    let output = command(["env", "-0"]).carry_out(&job, &settings).await.unwrap().into_bytes();
    let output = String::from_utf8(output.to_vec()).unwrap();
    let found: BTreeMap<_, _> =
        output.split_terminator('\0').map(|line| line.split_once('=').unwrap()).collect();

    let of_job = [
        ("PLOY_RUN_ID", job.run.to_string()),
        ("PLOY_ATTEMPT", "7".to_owned()),
        ("PLOY_EVENT_ID", job.event.id.to_string()),
        ("PLOY_EVENT_TYPE", "page.wanted".to_owned()),
        ("PLOY_ENDPOINT_ID", EndpointId::from_bytes([7; 16]).to_string()),
        ("PLOY_WORKSPACE_ID", job.event.workspace.to_string()),
        ("PLOY_PLOYBOOK", "make a page".to_owned()),
        ("PLOY_FIELDS", r#"{"lead":{"name":"; exit 3\n\u0000"}}"#.to_owned()),
    ];
    let of_this_process = ALWAYS
        .into_iter()
        .chain([&*passed_on])
        .filter_map(|name| Some((name, env::var(name).ok()?)));
    let expected: BTreeMap<_, _> = of_job.into_iter().chain(of_this_process).collect();
    let expected: BTreeMap<_, _> =
        expected.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(found, expected);
}

/// The field `lead.name`, at `/a` in the payload.
fn fields(payload: &str) -> Arc<Fields> {
    let map = serde_json::from_str::<FieldMap>(r#"{"lead.name":"/a"}"#).expect("a map");
    Arc::new(map.take(payload).expect("none is required"))
}

#[tokio::test]
async fn fields_are_left_out_where_they_are_too_long() {
    for (length, is_given) in [(60_000, true), (70_000, false), (3_000_000, false)] {
        let mut job = job("{}");
        job.fields = fields(&format!("{{\"a\":{:?}}}", "x".repeat(length)));
        let script = "if test ${PLOY_FIELDS+x}; then echo given; fi";
        let command = command(["/bin/sh", "-c", script]);
        let output = command.carry_out(&job, &settings()).await.unwrap().into_bytes();
        assert_eq!(output == "given\n", is_given, "{length}");
    }
}

#[tokio::test]
async fn what_an_event_has_not_is_not_set() {
    let mut job = job("{}");
    job.event.event_type = None;
    let output = command(["env"]).carry_out(&job, &settings()).await.unwrap().into_bytes();
    let output = String::from_utf8(output.to_vec()).unwrap();
    assert!(output.contains("PLOY_EVENT_ID="), "{output}");
    assert!(!output.contains("PLOY_EVENT_TYPE") && !output.contains("PLOY_ENDPOINT"), "{output}");
}
