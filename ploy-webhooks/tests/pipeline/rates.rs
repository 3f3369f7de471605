//! Rates of an endpoint and of its workspace: which is asked when, and what senders are told.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::Request;
use ploy_webhooks::limit::{Admission, LimitKey, RateLimiter};
use ploy_webhooks::store::{Defined, DefinitionKind, DefinitionStore, StoreError};
use ploy_webhooks::{EndpointConfig, Ingest, Limits, Rate, Workspace, WorkspaceId};

use super::intake::{Answer, Intake, URL, full};
use super::signed_intake::SetUp;

fn rate(per_second: u32, burst: u32) -> Rate {
    Rate {
        per_second: NonZeroU32::new(per_second).expect("not zero"),
        burst: NonZeroU32::new(burst),
    }
}

fn limited(rate: Rate) -> EndpointConfig {
    let limits = Limits { rate: Some(rate), ..Limits::default() };
    EndpointConfig { limits, ..EndpointConfig::default() }
}

/// A limiter that gives each what its rate gives at once, and never more.
#[derive(Debug, Default)]
struct Purse {
    spent: Mutex<HashMap<LimitKey, u32>>,
}

#[async_trait]
impl RateLimiter for Purse {
    async fn check(&self, of: LimitKey, rate: Rate) -> Result<Admission, StoreError> {
        let mut spent = self.spent.lock().expect("no holder panics");
        let spent = spent.entry(of).or_default();
        Ok(match rate.at_once().get().checked_sub(*spent + 1) {
            Some(remaining) => {
                *spent += 1;
                Admission::Admitted { remaining }
            }
            None => Admission::Exceeded { retry_after: Duration::from_millis(1_500) },
        })
    }
}

/// An intake whose workspace is bounded too, where a rate is given.
async fn open(of_endpoint: Option<Rate>, of_workspace: Option<Rate>) -> (Intake, Arc<Purse>) {
    let limits = Limits { rate: of_endpoint, ..Limits::default() };
    let intake = Intake::open(EndpointConfig { limits, ..EndpointConfig::default() }).await;
    if let Some(rate) = of_workspace {
        let mut workspace = Workspace::default();
        workspace.limits.rate = Some(rate);
        keep(&intake, &workspace).await;
    }
    let purse = Arc::<Purse>::default();
    let watched = &intake.watched;
    let definitions: Arc<dyn DefinitionStore> = Arc::new(Definitions(Arc::clone(watched)));
    let ingest = Ingest::builder(Arc::clone(watched), Arc::clone(watched))
        .definitions(definitions)
        .limiter(Arc::clone(&purse))
        .clock(intake.clock.clone())
        .build();
    (Intake { ingest: ingest.expect("the settings can be kept"), ..intake }, purse)
}

async fn keep(intake: &Intake, workspace: &Workspace) {
    let text = serde_json::to_string(workspace).expect("it has a JSON form");
    let (kind, name) = (DefinitionKind::Workspace, WorkspaceId::DEFAULT.to_string());
    let kept = intake.watched.store.define(&WorkspaceId::ROOT, kind, &name, None, &text).await;
    assert!(matches!(kept.expect("memory answers"), Defined::Defined(_)));
}

fn fields(answer: &Answer) -> (Option<&str>, Option<&str>) {
    (answer.header("ratelimit-policy"), answer.header("ratelimit"))
}

#[tokio::test]
async fn without_a_rate_nothing_is_said_of_one() {
    let (intake, purse) = open(None, None).await;
    assert_eq!(fields(&intake.post("{}").await), (None, None));
    assert!(purse.spent.lock().expect("no holder panics").is_empty());
}

#[tokio::test]
async fn what_is_left_is_told_until_nothing_is() {
    let (intake, _) = open(Some(rate(2, 3)), None).await;
    let policy = Some(r#""endpoint";q=3;w=2"#);
    for (remaining, reset) in [(2, 1), (1, 1), (0, 2)] {
        let answer = intake.post("{}").await;
        assert_eq!(answer.status, 202);
        let left = format!(r#""endpoint";r={remaining};t={reset}"#);
        assert_eq!(fields(&answer), (policy, Some(left.as_str())));
    }
    let answer = intake.post("{}").await;
    answer.assert_is(429, "rate_limited");
    assert_eq!(answer.header("retry-after"), Some("2"), "1.5 s, rounded up");
    assert_eq!(fields(&answer), (policy, Some(r#""endpoint";r=0;t=2"#)));
    assert_eq!(intake.count().await, 3);
}

#[tokio::test]
async fn all_endpoints_of_a_workspace_share_its_rate() {
    let (intake, purse) = open(Some(rate(5, 0)), Some(rate(3, 0))).await;
    intake.create("other", intake.key.clone(), EndpointConfig::default()).await;
    let other = || intake.request().uri("/other").body(full("{}")).expect("a request");
    let policy = r#""endpoint";q=5;w=1, "workspace";q=3;w=1"#;
    let answer = intake.post("{}").await;
    let left = r#""endpoint";r=4;t=1, "workspace";r=2;t=1"#;
    assert_eq!(fields(&answer), (Some(policy), Some(left)));

    let answer = intake.send(other()).await;
    let left = r#""workspace";r=1;t=1"#;
    assert_eq!(fields(&answer), (Some(r#""workspace";q=3;w=1"#), Some(left)));

    assert_eq!(intake.post("{}").await.status, 202);
    intake.send(other()).await.assert_is(429, "rate_limited");
    let answer = intake.post("{}").await;
    answer.assert_is(429, "rate_limited");
    let left = r#""endpoint";r=2;t=1, "workspace";r=0;t=1"#;
    assert_eq!(fields(&answer), (Some(policy), Some(left)));
    assert_eq!(intake.count().await, 3);

    let id = intake.endpoint().await.id;
    let spent = purse.spent.lock().expect("no holder panics");
    assert_eq!(spent[&LimitKey::Endpoint(id)], 3);
    assert_eq!(spent[&LimitKey::Workspace(WorkspaceId::DEFAULT)], 3);
}

/// Who is refused by its own rate takes nothing of the others'.
#[tokio::test]
async fn an_endpoint_over_its_rate_spends_nothing_of_the_workspace() {
    let (intake, purse) = open(Some(rate(1, 0)), Some(rate(9, 0))).await;
    for _ in 0..5 {
        let _answer = intake.post("{}").await;
    }
    let spent = purse.spent.lock().expect("no holder panics");
    assert_eq!(spent[&LimitKey::Workspace(WorkspaceId::DEFAULT)], 1);
}

#[tokio::test]
async fn who_is_not_proved_spends_nothing_and_is_told_nothing() {
    let (intake, purse) = open(Some(rate(1, 0)), Some(rate(1, 0))).await;
    let anybody = Request::post(URL).header("content-type", "application/json");
    let answer = intake.send(anybody.body(full("{}")).expect("a request")).await;
    answer.assert_is(401, "unauthorized");
    assert_eq!(fields(&answer), (None, None));
    assert!(purse.spent.lock().expect("no holder panics").is_empty());
}

/// A request that is refused after its rate was asked has spent it, and is told so.
#[tokio::test]
async fn a_body_that_is_no_json_is_told_what_is_left_too() {
    let (intake, _) = open(Some(rate(4, 0)), None).await;
    let answer = intake.post("no JSON").await;
    answer.assert_is(400, "invalid_json");
    let expected = (Some(r#""endpoint";q=4;w=1"#), Some(r#""endpoint";r=3;t=1"#));
    assert_eq!(fields(&answer), expected);
}

/// Where senders sign, the same is told, after the signature alone.
#[tokio::test]
async fn senders_that_sign_are_told_the_same() {
    let intake = SetUp::of("stripe").config(limited(rate(4, 0))).open().await;
    let wrong = intake.send_as(&intake.sign(b"{}"), b"{ }").await;
    wrong.assert_is(401, "invalid_signature");
    assert_eq!(wrong.header("ratelimit"), None);
    let right = intake.post("{}").await;
    assert_eq!(right.header("ratelimit"), Some(r#""endpoint";r=1;t=1"#));
    assert_eq!(intake.gate.asked.load(std::sync::atomic::Ordering::Relaxed), 1, "asked once");
    intake.gate.is_closed.store(true, std::sync::atomic::Ordering::Relaxed);
    let limited = intake.post("{}").await;
    limited.assert_is(429, "rate_limited");
    assert_eq!(limited.header("ratelimit"), Some(r#""endpoint";r=0;t=1"#));
}

/// The definitions of the store that is watched.
#[derive(Debug)]
struct Definitions(Arc<super::intake::Watched>);

#[async_trait]
impl DefinitionStore for Definitions {
    async fn definition(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
    ) -> Result<Option<ploy_webhooks::store::Definition>, StoreError> {
        self.0.store.definition(workspace, kind, name).await
    }

    async fn definitions(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        after: Option<&str>,
        limit: std::num::NonZeroU16,
    ) -> Result<Vec<ploy_webhooks::store::Definition>, StoreError> {
        self.0.store.definitions(workspace, kind, after, limit).await
    }

    async fn define(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
        expected: Option<ploy_webhooks::Revision>,
        text: &str,
    ) -> Result<Defined, StoreError> {
        self.0.store.define(workspace, kind, name, expected, text).await
    }

    async fn undefine(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
    ) -> Result<bool, StoreError> {
        self.0.store.undefine(workspace, kind, name).await
    }
}
