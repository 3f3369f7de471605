//! How do I have an agent carry my runs out? Proven: what it is given, and what comes of it.

#[expect(dead_code, reason = "the tests have endpoints with answers of their own")]
mod mock;

mod chat;
mod intake;

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chat::ChatRunner;
use ploy_webhooks::ingest::Delivery;
use ploy_webhooks::store::{MemoryStore, RunStore};
use ploy_webhooks::trigger::DispatcherSettings;
use ploy_webhooks::{Outcome, Run, WorkspaceId};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep, timeout};

const PAYLOAD: &str = r#"{"hello" : "agent"}"#;

/// Sends an event to an intake with an agent that answers so: what the agent was asked, and the
/// run when an attempt has ended.
async fn sent_to(
    answer: impl Fn(&mock::Asked) -> Response + Clone + Send + Sync + 'static,
) -> (UnboundedReceiver<mock::Asked>, Run) {
    let store = Arc::new(MemoryStore::new());
    let (base, asked) = mock::start(answer).await.expect("a port");
    let agent = ChatRunner::new(&base, "key-1", "model-1").expect("a key that can be sent");
    let (ingest, slug, key) = intake::open(&store, agent).await.expect("an empty store");
    let _dispatcher = ingest.dispatch(DispatcherSettings::new("agent-1".parse().expect("a name")));
    let bearer = format!("Bearer {}", key.expose()).parse().expect("a header");
    let headers = [(AUTHORIZATION, bearer)].into_iter().collect();
    let payload = Bytes::from(PAYLOAD);
    let delivery = Delivery { slug: slug.as_str(), headers: &headers, source: None, payload };
    let event = ingest.submit(delivery).await.expect("it is accepted");
    let event = event.event().expect("it is no handshake").id;
    let ended = async {
        loop {
            let mut runs = store.runs(&WorkspaceId::DEFAULT, &event).await.expect("it reads");
            let run = runs.remove(0);
            if run.attempts.first().is_some_and(|attempt| attempt.end.is_some()) {
                return run;
            }
            // Nothing tells of a run that changes.
            sleep(Duration::from_millis(5)).await;
        }
    };
    (asked, timeout(Duration::from_secs(30), ended).await.expect("an attempt ends"))
}

fn outcome(run: &Run) -> &Outcome {
    &run.attempts[0].end.as_ref().expect("it has ended").outcome
}

#[tokio::test]
async fn what_the_agent_says_is_on_record() {
    let (mut asked, run) = sent_to(|_| {
        r#"{"choices":[{"message":{"role":"assistant","content":"Hello, \u00e9."}}]}"#
            .into_response()
    })
    .await;
    assert_eq!(outcome(&run), &Outcome::Succeed { output: "Hello, é.".into() });

    let asked = asked.recv().await.expect("it was asked");
    assert_eq!(asked.headers["authorization"], "Bearer key-1");
    assert_eq!(asked.body["model"], "model-1");
    let messages = asked.body["messages"].as_array().expect("messages");
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0]["role"], "system");
    assert_eq!(messages[0]["content"], intake::INSTRUCTIONS);
    assert_eq!(messages[1]["role"], "user");
    let user = messages[1]["content"].as_str().expect("a text");
    assert!(user.contains(&format!("-----\n{PAYLOAD}\n-----END DATA ")), "{user}");
    assert!(user.contains(&run.id.to_string()), "{user}");
    assert!(!user.contains(intake::INSTRUCTIONS), "they are the operator's: {user}");
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::BAD_GATEWAY] {
        let (_, run) = sent_to(move |_| (status, [("retry-after", "77")]).into_response()).await;
        let Outcome::Retry { error, after } = outcome(&run) else { panic!("{run:?}") };
        assert_eq!(error, &format!("the chat endpoint answered {status}"));
        assert_eq!(after, &Duration::from_secs(77));
    }
    let (_, run) = sent_to(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response()).await;
    assert!(matches!(outcome(&run), Outcome::Retry { .. }), "{run:?}");
    for answer in ["", "{}", r#"{"choices":[]}"#, r#"{"choices":[{"message":{"content":null}}]}"#] {
        let (_, run) = sent_to(move |_| answer.into_response()).await;
        assert!(matches!(outcome(&run), Outcome::Retry { .. }), "{answer} {run:?}");
    }
}

#[tokio::test]
async fn what_will_not_pass_is_given_up() {
    for status in [StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED, StatusCode::FOUND] {
        let (_, run) = sent_to(move |_| (status, "key-1").into_response()).await;
        let error = format!("the chat endpoint answered {status}");
        assert_eq!(outcome(&run), &Outcome::Fail { error });
    }
}
