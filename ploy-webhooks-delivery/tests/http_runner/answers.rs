//! What an engine's answer means for the run.

use std::time::Duration;

use axum::response::Response;
use ploy_webhooks::trigger::{Remedy, RunError, TriggerRunner};
use ploy_webhooks::{Clock, ManualClock};
use ploy_webhooks_delivery::{HttpRunner, HttpSettings, Target};

use crate::engine::{Engine, answer, job, runner_to, says, soon};

async fn refused(url: &str) -> RunError {
    soon(runner_to(url).run(job("{}"))).await.unwrap_err()
}

#[tokio::test]
async fn a_success_is_the_output() {
    for (status, body) in [(200, "é\0\u{1b}[2J"), (201, "{}"), (202, ""), (299, "x")] {
        let engine = Engine::start(move |_| answer(status, body)).await;
        let output = runner_to(&engine.url()).run(job("{}")).await.unwrap();
        assert_eq!(output.into_bytes(), body, "{status}");
    }
    let engine = Engine::start(|_| answer(204, "")).await;
    assert_eq!(runner_to(&engine.url()).run(job("{}")).await.unwrap().into_bytes(), "");
}

#[tokio::test]
async fn an_output_is_cut_at_its_bound_and_not_before() {
    let engine = Engine::start(|_| answer(200, "twelve bytes")).await;
    let bounded = async |bytes_max| {
        let mut settings = HttpSettings::default();
        settings.answer_bytes_max = bytes_max;
        let runner = HttpRunner::to(Target::at(&engine.url()).unwrap(), settings).unwrap();
        runner.run(job("{}")).await.unwrap().into_bytes()
    };
    assert_eq!(bounded(12).await, "twelve bytes");
    assert_eq!(bounded(6).await, "twelve\n… (the rest of the answer is not kept)");
    assert_eq!(bounded(0).await, "\n… (the rest of the answer is not kept)");
}

#[tokio::test]
async fn what_may_help_depends_on_the_status() {
    for (status, remedy) in [
        (408, Remedy::Again),
        (425, Remedy::Again),
        (429, Remedy::Again),
        (500, Remedy::Again),
        (502, Remedy::Again),
        (503, Remedy::Again),
        (504, Remedy::Again),
        (599, Remedy::Again),
        (400, Remedy::None),
        (401, Remedy::None),
        (403, Remedy::None),
        (404, Remedy::None),
        (409, Remedy::None),
        (410, Remedy::None),
        (422, Remedy::None),
        (499, Remedy::None),
        (304, Remedy::None),
        (600, Remedy::None),
    ] {
        let engine = Engine::start(move |_| answer(status, "")).await;
        let error = refused(&engine.url()).await;
        assert_eq!(error.remedy(), remedy, "{error}");
        let beginning = format!("http://{} answered {status}", engine.address);
        assert!(error.to_string().starts_with(&beginning), "{error}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let mut other = Engine::start(|_| answer(200, "")).await;
    let place = other.url();
    for status in [301, 302, 303, 307, 308] {
        let place = place.clone();
        let engine = Engine::start(move |_| {
            let head = Response::builder().status(status).header("location", place.as_str());
            head.body("".into()).unwrap()
        })
        .await;
        let error = refused(&engine.url()).await;
        assert_eq!(error.remedy(), Remedy::None);
        assert!(error.to_string().contains("is not followed"), "{error}");
    }
    assert!(other.has_received().is_none());
}

#[tokio::test]
async fn a_refusal_is_shown_harmless_and_in_part() {
    let engine = Engine::start(|_| answer(400, "no such page\r\n\u{1b}[2Jx\u{202e}\n")).await;
    let message = refused(&engine.url()).await.into_message();
    let origin = format!("http://{}", engine.address);
    let expected = r"answered 400 Bad Request: no such page\r\n\u{1b}[2Jx\u{202e}";
    assert_eq!(message, format!("{origin} {expected}"));

    let url = says("HTTP/1.1 500 x\r\ncontent-length: 4\r\n\r\n\u{e9}\u{e9}").await;
    assert!(refused(&url).await.to_string().ends_with(": éé"));

    let long: &str = "é".repeat(5_000).leak();
    let engine = Engine::start(move |_| answer(500, long)).await;
    let message = refused(&engine.url()).await.into_message();
    let shown = message.split_once(": ").unwrap().1;
    assert_eq!(shown, format!("{}…", "é".repeat(512)));
}

/// `Retry-After` as that engine says it, by a clock that stands at 1994-11-06T08:49:00Z.
async fn told_to_wait(status: u16, value: &'static str) -> Remedy {
    let engine = Engine::start(move |_| {
        let head = Response::builder().status(status).header("retry-after", value);
        head.body("later".into()).unwrap()
    })
    .await;
    let clock = ManualClock::new(ploy_webhooks::Timestamp::from_millis(784_111_740_000));
    assert_eq!(clock.now().as_millis(), 784_111_740_000);
    runner_to(&engine.url()).clock(clock).run(job("{}")).await.unwrap_err().remedy()
}

#[tokio::test]
async fn an_engine_may_say_when_it_wants_to_be_asked_again() {
    let after = |seconds| Remedy::AgainAfter(Duration::from_secs(seconds));
    for status in [408, 429, 500, 503] {
        assert_eq!(told_to_wait(status, "120").await, after(120), "{status}");
    }
    assert_eq!(told_to_wait(503, "Sun, 06 Nov 1994 08:49:37 GMT").await, after(37));
    assert_eq!(told_to_wait(503, "Sun, 06 Nov 1994 08:00:00 GMT").await, after(0));
    assert_eq!(told_to_wait(503, "99999999999999999999").await, after(86_400));
    assert_eq!(told_to_wait(503, "soon").await, Remedy::Again);
    assert_eq!(told_to_wait(410, "120").await, Remedy::None);
}
