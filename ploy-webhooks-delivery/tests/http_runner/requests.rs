//! What an engine is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ploy_webhooks::trigger::{Prompt, Remedy, TriggerRunner};
use ploy_webhooks::{
    Clock, EndpointId, EventType, FieldMap, Means, Ploybook, Route, SystemClock, Timestamp, Trigger,
};
use ploy_webhooks_delivery::{HttpRunner, HttpSettings, Signer, Target};

use crate::engine::{Engine, SECRET, answer, job, runner_to, soon};

const OTHER_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

fn of_ploybooks() -> HttpRunner {
    HttpRunner::of_ploybooks(HttpSettings::default()).unwrap()
}

fn signed(engine: &Engine, signer: impl Into<Signer>) -> HttpRunner {
    let target = Target::at(&engine.url()).unwrap().signed_by(signer);
    HttpRunner::to(target, HttpSettings::default()).unwrap()
}

#[tokio::test]
async fn an_engine_is_told_all_about_the_run() {
    let mut engine = Engine::start(|_| answer(200, "done")).await;
    let mut job = job(r#"{"hello":"engine"}"#);
    let mut ploybook = Ploybook::new(Means::Http {
        url: engine.url() + "?key=k",
        secret_env: None,
        public_only: false,
    });
    ploybook.instructions = "Make a page.\nA good one.".to_owned();
    job.ploybook = Some(Arc::new(ploybook));
    job.event.event_type = Some(EventType::try_from("lead.new".to_owned()).unwrap());
    job.event.endpoint = Some(EndpointId::mint(SystemClock.now()));
    job.attempt = 3.try_into().unwrap();
    let fields: FieldMap = serde_json::from_str(r#"{"said.to":"/hello"}"#).unwrap();
    job.fields = Arc::new(fields.take(r#"{"hello":"engine"}"#).unwrap());

    let output = of_ploybooks().run(job.clone()).await.unwrap();
    assert_eq!(output.into_bytes(), "done");

    let received = engine.received().await;
    assert_eq!((received.method.as_str(), received.path.as_str()), ("POST", "/run?key=k"));
    let said = |name| received.header(name);
    assert_eq!(said("webhook-id"), job.run.to_string());
    assert_eq!(said("ploy-attempt"), "3");
    assert_eq!(said("content-type"), "application/json");
    assert_eq!(said("user-agent"), concat!("ploy-webhooks/", env!("CARGO_PKG_VERSION")));
    assert_eq!(said("webhook-signature"), "", "there is nothing to sign with");
    let now = SystemClock.now().as_millis() / 1_000;
    assert!(said("webhook-timestamp").parse::<u64>().unwrap().abs_diff(now) < 300);

    let mut body = received.json();
    let data = &mut body["data"];
    let received_at = data["received_at"].take();
    let received_at: jiff::Timestamp = received_at.as_str().unwrap().parse().unwrap();
    let milliseconds = u64::try_from(received_at.as_millisecond()).unwrap();
    assert_eq!(milliseconds, job.event.received_at().as_millis());
    let timestamp = body["timestamp"].take();
    assert!(timestamp.as_str().unwrap().ends_with('Z'), "{timestamp}");
    let expected = serde_json::json!({
        "type": "ploybook.run",
        "timestamp": null,
        "data": {
            "run_id": job.run,
            "attempt": 3,
            "event_id": job.event.id,
            "event_type": "lead.new",
            "endpoint_id": job.event.endpoint,
            "workspace_id": job.event.workspace,
            "received_at": null,
            "ploybook": "page",
            "instructions": "Make a page.\nA good one.",
            "fields": {"said": {"to": "engine"}},
            "prompt": Prompt::of(&job).text(),
            "payload": {"hello": "engine"},
        },
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_payload_is_sent_byte_for_byte() {
    let mut engine = Engine::start(|_| answer(200, "")).await;
    let runner = runner_to(&engine.url());
    for payload in [
        r#"{ "b" : 1.0e+2, "a":  "\u00e9\/é", "a":12345678901234567890123 }"#,
        "[1 ,\t2,\n3]",
        "null",
        r#""\ud800""#,
        &"[".repeat(1_000)
            .replace('[', "[[")
            .chars()
            .chain("]".repeat(2_000).chars())
            .collect::<String>(),
    ] {
        runner.run(job(payload)).await.unwrap();
        let body = engine.received().await.body;
        let body = String::from_utf8(body).unwrap();
        let sent = format!(r#","payload":{payload}"#);
        assert!(body.contains(&sent), "{payload}\n{body}");
    }
}

#[tokio::test]
async fn a_payload_that_is_no_json_is_sent_as_base64() {
    let mut engine = Engine::start(|_| answer(200, "")).await;
    let runner = runner_to(&engine.url());
    for (payload, encoded) in [
        (&b"a=1&b=2"[..], "YT0xJmI9Mg=="),
        (b"", ""),
        (b"\"\xff\"", "Iv8i"),
        (b"{} {}", "e30ge30="),
    ] {
        let mut job = job("");
        job.event.payload = payload.into();
        runner.run(job).await.unwrap();
        let data = engine.received().await.json()["data"].take();
        assert_eq!(data["payload_base64"], encoded);
        assert_eq!(data.get("payload"), None);
    }
}

#[tokio::test]
async fn an_engine_can_verify_what_it_is_sent() {
    let mut engine = Engine::start(|_| answer(200, "")).await;
    let signer = Signer::new(SECRET.parse().unwrap());
    signed(&engine, signer.clone()).run(job(r#"{"é":"ü"}"#)).await.unwrap();
    let received = engine.received().await;
    assert!(received.verifies(SECRET), "{received:?}");
    assert!(!received.verifies(OTHER_SECRET), "{received:?}");

    // While a secret is replaced, either will do.
    signed(&engine, signer.and(OTHER_SECRET.parse().unwrap())).run(job("{}")).await.unwrap();
    let received = engine.received().await;
    assert!(received.verifies(SECRET) && received.verifies(OTHER_SECRET), "{received:?}");
}

/// A clock that goes on by seven seconds whenever it is looked at.
#[derive(Debug)]
struct Striding(AtomicU64);

impl Clock for Striding {
    fn now(&self) -> Timestamp {
        let strides = self.0.fetch_add(1, Ordering::Relaxed);
        SystemClock.now().after(Duration::from_secs(7) * u32::try_from(strides).unwrap())
    }
}

#[tokio::test]
async fn attempts_share_their_id_and_are_signed_anew() {
    let mut engine = Engine::start(|_| answer(200, "")).await;
    let runner =
        signed(&engine, Signer::new(SECRET.parse().unwrap())).clock(Striding(AtomicU64::new(0)));
    let mut job = job("{}");
    runner.run(job.clone()).await.unwrap();
    job.attempt = 2.try_into().unwrap();
    runner.run(job).await.unwrap();
    let (first, second) = (engine.received().await, engine.received().await);
    let same = |name| first.header(name) == second.header(name);
    assert!(same("webhook-id"));
    assert!(!same("webhook-timestamp") && !same("webhook-signature") && !same("ploy-attempt"));
    assert_eq!(first.json()["timestamp"], second.json()["timestamp"]);
    assert!(first.verifies(SECRET) && second.verifies(SECRET));
}

#[tokio::test]
async fn a_fixed_target_is_kept_to() {
    let mut engine = Engine::start(|_| answer(200, "")).await;
    let mut job = job("{}");
    let elsewhere =
        Means::Http { url: "http://127.0.0.1:9/".to_owned(), secret_env: None, public_only: false };
    job.ploybook = Some(Arc::new(Ploybook::new(elsewhere)));
    runner_to(&engine.url()).run(job).await.unwrap();
    let data = engine.received().await.json()["data"].take();
    assert_eq!(data["instructions"], "");
    assert_eq!(data.get("fields"), None, "the endpoint names none");
}

#[tokio::test]
async fn what_cannot_be_sent_fails_for_good() {
    let with = async |run: Option<Means>| {
        let mut job = job("{}");
        job.ploybook = run.map(|run| Arc::new(Ploybook::new(run)));
        let error = soon(of_ploybooks().run(job)).await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::None, "{error}");
        error.into_message()
    };
    let at =
        |url: &str| Some(Means::Http { url: url.to_owned(), secret_env: None, public_only: false });
    assert!(with(None).await.contains("no Ploybook"));
    let function = Some(Means::Function("page".to_owned()));
    assert!(with(function).await.contains("not one that is run by HTTP"));
    for url in ["ftp://127.0.0.1/hunter2", "hunter2"] {
        let message = with(at(url)).await;
        assert!(message.contains("not an http or https URL") && !message.contains("hunter2"));
    }
    for url in ["http://hunter2@127.0.0.1/", "http://u:hunter2@127.0.0.1/"] {
        let message = with(at(url)).await;
        assert!(message.contains("password") && !message.contains("hunter2"), "{message}");
    }
}

#[tokio::test]
async fn a_route_is_not_sent() {
    let mut engine = Engine::start(|_| answer(200, "")).await;
    let mut job = job("{}");
    job.trigger = Trigger::FirstOf(Route { group: None, rules: Arc::new([]) });
    let error = runner_to(&engine.url()).run(job).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::None);
    assert!(error.to_string().contains("not one of a Ploybook"), "{error}");
    assert!(engine.has_received().is_none());
}

#[test]
fn nothing_of_a_secret_is_printed() {
    let target = Target::at("https://x.io/hunter2").unwrap();
    let target = target.signed_by(Signer::new(SECRET.parse().unwrap()));
    let shown = format!("{:?}", HttpRunner::to(target, HttpSettings::default()).unwrap());
    assert!(!shown.contains("hunter2") && !shown.contains("MfKQ"), "{shown}");
}
