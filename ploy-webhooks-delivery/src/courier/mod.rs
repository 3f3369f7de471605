//! [`Courier`]: makes a request of an event and a destination, sends it once, and says what came of
//! it.

mod compose;
mod record;
mod verdict;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderName;
use ploy_webhooks::verify::Signer;
use ploy_webhooks::{
    Clock, DestinationId, Event, EventId, EventType, Fields, KeptHeaders, Keyring, RunId, Secret,
    SignatureAuthError, SystemClock, Timestamp, WorkspaceId,
};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::client::Client;
use crate::destination::{Destination, PreparedHeader};
use crate::settings::{ClientError, HttpSettings};

pub use self::record::{Record, RequestRecord, ResponseRecord, TimingsRecord};
pub(crate) use self::verdict::{Remains, Verdict};

/// Sends events to destinations, one request at a time. A clone shares its connections.
#[derive(Clone, Debug)]
pub struct Courier {
    client: Client,
    keyring: Keyring,
    clock: Arc<dyn Clock>,
    by_hand: Arc<Semaphore>,
}

/// How many tests and confirmations are under way at once.
const BY_HAND_MAX: usize = 16;

/// A destination that is ready to be sent to: its secrets opened.
pub(crate) struct Prepared {
    pub(crate) destination: Destination,
    headers: Vec<(HeaderName, PreparedHeader)>,
    signer: Option<Signer>,
    /// What a receiver is told in clear, and nobody else is.
    told: Vec<Secret>,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("destination", &self.destination).finish_non_exhaustive()
    }
}

/// What is sent of an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parcel<'a> {
    pub(crate) event: &'a Event,
    pub(crate) fields: &'a Fields,
    /// The same in all attempts.
    pub(crate) id: &'a str,
    pub(crate) attempt: NonZeroU32,
    pub(crate) kind: Kind,
}

/// Why something is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It has happened.
    Event,
    /// Somebody wants to see whether it arrives.
    Test,
    /// The same, of an example: merge fields that it lacks are empty.
    Example,
    /// The receiver is asked whether it wants to receive.
    Confirmation,
}

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) record: Record,
    pub(crate) verdict: Verdict,
    /// As much as was read of the answer.
    pub(crate) answer: Bytes,
}

impl Courier {
    /// One that opens secrets by that keyring.
    ///
    /// By [`HttpSettings::default`], requests go anywhere: where tenants set destinations, have the
    /// [addresses](HttpSettings::addresses) be public.
    ///
    /// # Errors
    ///
    /// When the HTTP client cannot be set up.
    pub fn new(keyring: Keyring, settings: HttpSettings) -> Result<Self, ClientError> {
        let clock = Arc::new(SystemClock);
        let by_hand = Arc::new(Semaphore::new(BY_HAND_MAX));
        Ok(Self { client: Client::new(settings)?, keyring, clock, by_hand })
    }

    /// Where the time comes from that is signed. Default: the machine.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Sends a sample to that destination, which says that it is one: by the header `ploy-test: true`,
    /// and, where no payload of one's own is given, by its type `test`: merge fields are empty then. What is on record of it is
    /// returned, and kept nowhere. It goes out at once, whatever the rate, and is not counted among
    /// the submissions.
    ///
    /// # Errors
    ///
    /// When the secrets of the destination cannot be opened.
    pub async fn test(
        &self,
        workspace: WorkspaceId,
        id: DestinationId,
        destination: Destination,
        sample: Sample,
    ) -> Result<Record, SignatureAuthError> {
        let prepared = self.prepare(id, destination)?;
        let event = self.event(workspace, sample.event_type, sample.payload);
        let kind = if sample.is_example { Kind::Example } else { Kind::Test };
        Ok(self.send_alone(&prepared, &event, kind).await.record)
    }

    /// Asks the receiver at that destination whether it wants to receive: it is sent the token, and a
    /// link that confirms it. Returns what is on record of it, and whether the answer was a success
    /// that repeats the token.
    ///
    /// It is a POST of `{"type":"destination.confirm","confirmation_token":"…",
    /// "confirmation_url":"…"}`, signed as everything is, whatever method and body are set. Merge
    /// fields of headers and of the query are empty; a URL whose path has them cannot be asked.
    ///
    /// # Errors
    ///
    /// When the secrets of the destination cannot be opened.
    pub async fn ask_for_confirmation(
        &self,
        workspace: WorkspaceId,
        id: DestinationId,
        destination: Destination,
        token: &Secret,
        link: &str,
    ) -> Result<(Record, bool), SignatureAuthError> {
        let prepared = self.prepare(id, destination)?;
        let payload = json!({
            "type": "destination.confirm",
            "confirmation_token": token.expose(),
            "confirmation_url": link,
        });
        let event = self.event(workspace, None, Bytes::from(payload.to_string()));
        let sent = self.send_alone(&prepared, &event, Kind::Confirmation).await;
        let is_repeated = memchr::memmem::find(&sent.answer, token.expose().as_bytes()).is_some();
        let is_confirmed = is_repeated && matches!(sent.verdict, Verdict::Delivered);
        // The token is for the receiver alone, who may have it anywhere in its answer.
        Ok((sent.record.in_outline(), is_confirmed))
    }

    fn event(
        &self,
        workspace: WorkspaceId,
        event_type: Option<EventType>,
        payload: Bytes,
    ) -> Event {
        Event {
            id: EventId::mint(self.clock.now()),
            workspace,
            endpoint: None,
            event_type,
            headers: KeptHeaders::default(),
            source: None,
            payload,
        }
    }

    /// Sends by hand: not many of those are under way at once.
    async fn send_alone(&self, prepared: &Prepared, event: &Event, kind: Kind) -> Sent {
        let _place = self.by_hand.acquire().await;
        let id = RunId::mint(self.clock.now()).to_string();
        let (fields, attempt) = (Fields::default(), NonZeroU32::MIN);
        self.send(prepared, Parcel { event, fields: &fields, id: &id, attempt, kind }).await
    }

    /// The destination with its secrets opened, those that are valid now.
    pub(crate) fn prepare(
        &self,
        id: DestinationId,
        destination: Destination,
    ) -> Result<Prepared, SignatureAuthError> {
        let open = |(name, value): (&String, &crate::destination::HeaderText)| {
            let header = value.open(id, name, &self.keyring)?;
            let name = name.parse().expect("names of headers are checked when they are set");
            Ok((name, header))
        };
        let headers: Vec<(HeaderName, PreparedHeader)> =
            destination.headers.iter().map(open).collect::<Result<_, SignatureAuthError>>()?;
        let signer = destination.signing.signer(id, &self.keyring, self.clock.now())?;
        let mut told = destination.signing.tokens(id, &self.keyring)?;
        told.extend(headers.iter().flat_map(|(_, header)| header.secrets()));
        Ok(Prepared { destination, headers, signer, told })
    }

    /// Sends it once. When the future is dropped, the connection is closed.
    pub(crate) async fn send(&self, to: &Prepared, parcel: Parcel<'_>) -> Sent {
        let now = self.clock.now();
        let composed = match compose::compose(to, parcel, now) {
            Ok(composed) => composed,
            Err(error) => return Sent::never(Record::of_template(&error)),
        };
        let origin = to.destination.url.origin();
        let requested = composed.shown;
        match self.client.send(composed.request).await {
            Ok(mut answer) => {
                let said = std::mem::take(&mut answer.body);
                answer.body = without(&said, &to.told);
                let (verdict, error) = verdict::of(&answer, &origin, self.clock.now());
                let record = Record::of_answer(requested, &answer, error, &to.told);
                Sent { record, verdict, answer: said }
            }
            Err(none) => {
                let verdict = verdict::of_silence(&none);
                Sent { record: Record::of_silence(requested, none), verdict, answer: Bytes::new() }
            }
        }
    }

    /// What would be sent, on record.
    pub(crate) fn draft(&self, to: &Prepared, parcel: Parcel<'_>) -> Record {
        match compose::compose(to, parcel, self.clock.now()) {
            Ok(composed) => Record::of_draft(composed.shown),
            Err(error) => Record { draft: true, ..Record::of_template(&error) },
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// The text without the secrets: a receiver may repeat what it is told.
fn without(text: &[u8], secrets: &[Secret]) -> Bytes {
    let mut text = text.to_vec();
    for secret in secrets {
        let secret = secret.expose().as_bytes();
        while let Some(at) = memchr::memmem::find(&text, secret) {
            text.splice(at..at + secret.len(), "…".bytes());
        }
    }
    text.into()
}

impl Sent {
    /// Nothing was sent, and never will be as things are.
    fn never(record: Record) -> Self {
        let verdict = Verdict::Failed(Remains::Never);
        Self { record, verdict, answer: Bytes::new() }
    }
}

/// What is sent to try a destination.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Sample {
    /// The type that it has.
    pub event_type: Option<EventType>,
    /// What is said to have happened.
    pub payload: Bytes,
    /// Whether that is an example, which may lack what templates ask for.
    is_example: bool,
}

impl Default for Sample {
    /// `{"type":"test","test":true,…}`.
    fn default() -> Self {
        let payload = json!({
            "type": "test",
            "test": true,
            "message": "This is a test of your webhook. Nothing has happened.",
        });
        let event_type = EventType::try_from("test".to_owned()).expect("it is a type");
        let payload = Bytes::from(payload.to_string());
        Self { event_type: Some(event_type), payload, is_example: true }
    }
}

impl Sample {
    /// One of that type and payload.
    #[must_use]
    pub const fn new(event_type: Option<EventType>, payload: Bytes) -> Self {
        Self { event_type, payload, is_example: false }
    }

    /// The same of that type.
    #[must_use]
    pub fn of_type(self, event_type: EventType) -> Self {
        Self { event_type: Some(event_type), ..self }
    }
}
