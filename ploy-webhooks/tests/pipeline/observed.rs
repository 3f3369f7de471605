//! What an observer of an intake is told.

use std::sync::{Arc, Mutex};

use http::Request;
use ploy_webhooks::ingest::{Answered, Observer, Settings, Took};
use ploy_webhooks::{EndpointConfig, Ingest, WorkspaceId};

use crate::intake::{Intake, Mood, full};

/// What was told of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    /// The code of the refusal; of an event that was accepted, nothing.
    code: Option<&'static str>,
    workspace: Option<WorkspaceId>,
    body_bytes: Option<usize>,
    look_ups: u32,
    /// Which stages it came to: admission, the body, its checks, the store.
    stages: [bool; 4],
}

#[derive(Clone, Debug, Default)]
struct Recorder(Arc<Mutex<Vec<Told>>>);

impl Observer for Recorder {
    fn answered(&self, answered: &Answered<'_>) {
        let Answered { outcome, workspace, body_bytes, look_ups, took, .. } = *answered;
        let Took { admit, read, check, append, .. } = took;
        let stages = [admit, read, check, append].map(|stage| stage.is_some());
        let told = Told {
            code: outcome.err().map(|refusal| refusal.code()),
            workspace,
            body_bytes,
            look_ups,
            stages,
        };
        self.0.lock().expect("no holder panics").push(told);
    }
}

/// An intake that is observed.
async fn observed() -> (Intake, Recorder) {
    let recorder = Recorder::default();
    let mut intake = Intake::open(EndpointConfig::default()).await;
    let (events, keys) = (Arc::clone(&intake.watched), Arc::clone(&intake.watched));
    let mut settings = Settings::default();
    settings.body_bytes_max = 100;
    let ingest = Ingest::builder(events, keys).settings(settings).observer(recorder.clone());
    intake.ingest = ingest.build().expect("the settings can be kept");
    (intake, recorder)
}

impl Recorder {
    /// What was told since this was asked last: of one request.
    fn last(&self) -> Told {
        let told = std::mem::take(&mut *self.0.lock().expect("no holder panics"));
        let [told] = &told[..] else { panic!("not one request: {told:?}") };
        told.clone()
    }
}

#[tokio::test]
async fn each_request_is_told_with_what_became_of_it() {
    let (intake, recorder) = observed().await;
    let workspace = Some(WorkspaceId::DEFAULT);
    let stages = [true; 4];

    assert_eq!(intake.post("{}").await.status, 202);
    let first = Told { code: None, workspace, body_bytes: Some(2), look_ups: 1, stages };
    assert_eq!(recorder.last(), first);

    assert_eq!(intake.post(r#"{"a":1}"#).await.status, 202);
    let by_the_cache = Told { body_bytes: Some(7), look_ups: 0, ..first.clone() };
    assert_eq!(recorder.last(), by_the_cache);

    intake.post("[]").await.assert_is(400, "not_an_object");
    let told = recorder.last();
    assert_eq!((told.code, told.body_bytes), (Some("not_an_object"), Some(2)));
    assert_eq!(told.stages, [true, true, true, false]);

    let unsigned = Request::post("/clay").header("content-type", "application/json");
    let request = unsigned.body(full("{}")).expect("a request");
    intake.send(request).await.assert_is(401, "unauthorized");
    let told = recorder.last();
    assert_eq!((told.code, told.workspace), (Some("unauthorized"), workspace));
    assert_eq!((told.body_bytes, told.stages), (None, [true, false, false, false]));

    let nowhere = Request::post("/nobody").header("content-type", "application/json");
    let request = nowhere.body(full("{}")).expect("a request");
    intake.send(request).await.assert_is(404, "endpoint_not_found");
    let told = recorder.last();
    assert_eq!((told.code, told.workspace), (Some("endpoint_not_found"), None));

    intake.watched.be(Mood::Fences(1));
    assert_eq!(intake.post("{}").await.status, 202);
    assert_eq!(recorder.last().look_ups, 1, "a fenced append looks the endpoint up again");
}

#[tokio::test]
async fn a_request_that_is_refused_for_its_head_is_told_too() {
    let (intake, recorder) = observed().await;
    let told_of = |code| Told {
        code: Some(code),
        workspace: None,
        body_bytes: None,
        look_ups: 0,
        stages: [false; 4],
    };
    let request = Request::get("/clay").body(full("")).expect("a request");
    intake.send(request).await.assert_is(405, "method_not_allowed");
    assert_eq!(recorder.last(), told_of("method_not_allowed"));

    let request = intake.request().body(full(vec![b' '; 101]));
    intake.send(request.expect("a request")).await.assert_is(413, "payload_too_large");
    assert_eq!(recorder.last(), told_of("payload_too_large"));
}
