//! `listen`: delivers events as they come to a program under development.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Args;
use reqwest::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use super::Failure;
use super::client::{Call, Client, http, parse};
use super::feed::{Backoff, Feed, Runs};
use super::output::{harmless, print};
use super::tail::say_gap;
use crate::log::chain;
use crate::url::http_url;

/// How long the program may take for an event.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Names an event to the program.
const PLOY_EVENT_ID: HeaderName = HeaderName::from_static("ploy-event-id");
/// Headers that are of a connection, or of the delivery as it is made here.
const OWN: [HeaderName; 10] = [
    CONNECTION,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    EXPECT,
    HOST,
    HeaderName::from_static("keep-alive"),
    PLOY_EVENT_ID,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

#[derive(Debug, Args)]
pub(super) struct ListenArgs {
    /// The URL of the program, as in http://127.0.0.1:3000/hooks.
    #[arg(long, value_name = "URL")]
    forward: String,
    /// Only what this endpoint takes.
    #[arg(long, value_name = "ID")]
    endpoint: Option<String>,
}

/// What is read of an event that came.
#[derive(Debug, Deserialize)]
struct Accepted {
    id: String,
    #[serde(rename = "type")]
    event_type: Option<String>,
}

/// What is read of an event as it is kept.
#[derive(Debug, Deserialize)]
struct Kept {
    headers: BTreeMap<String, String>,
}

/// The program that events are delivered to.
struct Program {
    http: reqwest::Client,
    url: Url,
}

/// Delivers one event after another until it is stopped, whatever comes of each.
pub(super) async fn run(client: &Client, json: bool, args: ListenArgs) -> Result<(), Failure> {
    let url = http_url(&args.forward)
        .map_err(|error| Failure::Usage(format!("`--forward` cannot be used: {error}")))?;
    let program = Program { http: http(TIMEOUT)?, url };
    let mut feed = Feed::new(client, args.endpoint, None, Runs::LeftOut);
    loop {
        let told = feed.next().await?;
        match told.name.as_str() {
            "accepted" => {
                let accepted: Accepted = parse(told.data.as_bytes())?;
                let delivered = deliver(client, &program, &accepted).await?;
                print(&delivered.shown(&accepted, json))?;
            }
            "gap" => say_gap(),
            _ => {}
        }
    }
}

/// What came of a delivery.
enum Delivered {
    Answered {
        status: StatusCode,
        took: Duration,
    },
    Failed(String),
    /// The event was deleted before it could be read.
    Gone,
}

impl Delivered {
    fn shown(&self, Accepted { id, event_type }: &Accepted, json: bool) -> String {
        if json {
            let (status, error) = match self {
                Self::Answered { status, .. } => (Some(status.as_u16()), None),
                Self::Failed(why) => (None, Some(why.as_str())),
                Self::Gone => (None, Some("the event is deleted")),
            };
            return serde_json::json!({"event_id": id, "status": status, "error": error})
                .to_string();
        }
        let outcome = match self {
            Self::Answered { status, took } => format!("{status}  {} ms", took.as_millis()),
            Self::Failed(why) => format!("failed: {why}"),
            Self::Gone => "deleted before it was delivered".to_owned(),
        };
        harmless(&format!("{id}  {}  {outcome}", event_type.as_deref().unwrap_or_default()))
    }
}

async fn deliver(
    client: &Client,
    program: &Program,
    accepted: &Accepted,
) -> Result<Delivered, Failure> {
    let Some(payload) = fetch(client, &["events", &accepted.id, "payload"]).await? else {
        return Ok(Delivered::Gone);
    };
    let Some(event) = fetch(client, &["events", &accepted.id]).await? else {
        return Ok(Delivered::Gone);
    };
    let Kept { headers } = parse(&event)?;
    let began = Instant::now();
    let sent = program
        .http
        .post(program.url.clone())
        .headers(kept(&headers))
        .header(CONTENT_TYPE, "application/json")
        .header(PLOY_EVENT_ID, &accepted.id)
        .body(payload)
        .send()
        .await;
    Ok(match sent {
        Ok(response) => Delivered::Answered { status: response.status(), took: began.elapsed() },
        // The URL may have a secret in its query.
        Err(error) => Delivered::Failed(chain(&error.without_url())),
    })
}

/// What the server has there; `None` where there is nothing. While it cannot be reached it is waited
/// for: an event that was told is delivered.
async fn fetch(client: &Client, path: &[&str]) -> Result<Option<Vec<u8>>, Failure> {
    let mut backoff = Backoff::default();
    loop {
        match client.try_call(Call::new(Method::GET, path)).await {
            Ok(body) => return Ok(Some(body)),
            Err(refusal) if refusal.status == Some(StatusCode::NOT_FOUND) => return Ok(None),
            Err(refusal) if refusal.is_passing() => backoff.wait(&refusal.why).await,
            Err(refusal) => return Err(refusal.into()),
        }
    }
}

/// The headers that were kept of the event, but for those that the delivery has of its own.
fn kept(headers: &BTreeMap<String, String>) -> HeaderMap {
    let header = |(name, value): (&String, &String)| {
        let name: HeaderName = name.parse().ok()?;
        Some((name, HeaderValue::from_str(value).ok()?))
    };
    let headers = headers.iter().filter_map(header);
    headers.filter(|(name, _)| !OWN.contains(name)).collect()
}
