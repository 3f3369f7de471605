//! A batch of events as the arguments of the function `append`, and what it says of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use ploy_webhooks::store::{StoreError, StoreErrorKind};
use ploy_webhooks::{EndpointId, EventId, Fence, NewEvent, Revision, WorkspaceId};
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row};

use crate::endpoints::stripe_of;
use crate::error::write_error;
use crate::queue::Waiting;
use crate::wire::Uuid;

const APPEND: &str = "SELECT numbers, repeats, firsts FROM append($1, $2, $3, $4, $5, $6, $7, $8, \
    $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)";

/// What becomes of one event of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    /// It is stored; so is the number of its endpoint.
    Stored(Option<i64>),
    Duplicate(EventId),
    Fenced,
}

/// A state of an endpoint that events of the batch were checked against.
type Checked = (EndpointId, WorkspaceId, Revision);

/// Stores the events, in one transaction.
pub(crate) async fn append(
    connection: &mut PgConnection,
    stream: i32,
    tail_from: Option<EventId>,
    batch: &[Waiting],
) -> Result<Vec<Verdict>, StoreError> {
    let failed = |error| write_error("cannot store events", error);
    let fences = Fences::of(batch);
    let row = arguments(stream, tail_from, batch, &fences)?
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    verdicts(&row, batch, &fences).map_err(failed)
}

/// The states that the events of a batch were checked against, each once.
struct Fences {
    checked: Vec<Checked>,
    /// Which of them an event was checked against, counted from 1 as Postgres counts.
    of_event: Vec<Option<i16>>,
}

impl Fences {
    fn of(batch: &[Waiting]) -> Self {
        let mut checked = Vec::new();
        let mut places = HashMap::new();
        let of_event = batch.iter().map(|waiting| {
            let NewEvent { workspace, fence, .. } = waiting.event;
            let Fence { endpoint, checked_at } = fence?;
            let state = (endpoint, workspace, checked_at);
            Some(*places.entry(state).or_insert_with(|| {
                checked.push(state);
                i16::try_from(checked.len()).expect("a batch has at most 512 events")
            }))
        });
        let of_event = of_event.collect();
        Self { checked, of_event }
    }

    /// What has to be locked for them: each once and in one order, so that batches and changes
    /// never wait for each other in a circle.
    fn stripes(&self) -> Vec<i32> {
        let mut stripes: Vec<_> = self.checked.iter().map(|(id, ..)| stripe_of(*id)).collect();
        stripes.sort_unstable();
        stripes.dedup();
        stripes
    }
}

fn arguments<'q>(
    stream: i32,
    tail_from: Option<EventId>,
    batch: &'q [Waiting],
    fences: &Fences,
) -> Result<Query<'q, Postgres, PgArguments>, StoreError> {
    let events = || batch.iter().map(|waiting| &waiting.event);
    let places = || (1_i32..).zip(events());
    let deduped = || places().filter_map(|(place, event)| Some((place, event, event.dedup?)));
    let runs =
        || places().flat_map(|(place, event)| event.owes.iter().map(move |run| (place, run)));

    let checked = || fences.checked.iter();
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let triggers: Vec<_> = runs().map(|(_, run)| json(&run.trigger)).collect::<Result<_, _>>()?;
    let retries: Vec<_> = runs().map(|(_, run)| json(&run.retry)).collect::<Result<_, _>>()?;
    Ok(sqlx::query(APPEND)
        .bind(stream)
        .bind(tail_from.map(Uuid::from))
        .bind(fences.stripes())
        .bind(checked().map(|(id, ..)| Uuid::from(*id)).collect::<Vec<_>>())
        .bind(checked().map(|(_, workspace, _)| Uuid::from(*workspace)).collect::<Vec<_>>())
        .bind(checked().map(|(.., revision)| number(revision.get())).collect::<Vec<_>>())
        .bind(events().map(|event| Uuid::from(event.id)).collect::<Vec<_>>())
        .bind(&fences.of_event[..])
        .bind(events().map(workspace_of_published).collect::<Vec<_>>())
        .bind(events().map(|event| Some(event.event_type.as_ref()?.as_str())).collect::<Vec<_>>())
        .bind(events().map(|event| event.source.map(source_bytes)).collect::<Vec<_>>())
        .bind(events().map(kept_lines).collect::<Vec<_>>())
        .bind(events().map(|event| &event.payload[..]).collect::<Vec<_>>())
        .bind(deduped().map(|(place, ..)| place).collect::<Vec<_>>())
        .bind(deduped().map(|(_, event, _)| dedup_key(event)).collect::<Vec<_>>())
        .bind(deduped().map(|(.., dedup)| millis(dedup.window)).collect::<Vec<_>>())
        .bind(runs().map(|(place, _)| place).collect::<Vec<_>>())
        .bind(runs().map(|(_, run)| Uuid::from(run.id)).collect::<Vec<_>>())
        .bind(triggers)
        .bind(retries)
        .bind(runs().map(|(_, run)| millis(run.delay)).collect::<Vec<_>>()))
}

/// A duration as Postgres adds it to a date: at most a thousand years.
pub(crate) fn millis(duration: Duration) -> i64 {
    const MAX: i64 = 1_000 * 365 * 86_400 * 1_000;
    i64::try_from(duration.as_millis()).unwrap_or(MAX).min(MAX)
}

fn workspace_of_published(event: &NewEvent) -> Option<Uuid> {
    event.fence.is_none().then_some(Uuid::from(event.workspace))
}

fn kept_lines(event: &NewEvent) -> Option<&[u8]> {
    (!event.headers.is_empty()).then(|| event.headers.as_lines())
}

/// An address as it is kept: its four or sixteen bytes.
fn source_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A key belongs to the endpoint that took the event, or to the workspace that published it.
fn dedup_key(event: &NewEvent) -> Vec<u8> {
    let mut key = event.dedup.map_or(Vec::new(), |dedup| dedup.key.as_bytes().to_vec());
    if event.fence.is_none() {
        key.extend_from_slice(event.workspace.as_bytes());
    }
    key
}

pub(crate) fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| {
        let message = format!("cannot be written as JSON: {error}");
        StoreError::new(StoreErrorKind::Misuse, message).because(error)
    })
}

fn verdicts(row: &PgRow, batch: &[Waiting], fences: &Fences) -> sqlx::Result<Vec<Verdict>> {
    let numbers: Option<Vec<Option<i64>>> = row.try_get(0)?;
    let numbers = numbers.unwrap_or_default();
    let repeats: Option<Vec<i32>> = row.try_get(1)?;
    let firsts: Option<Vec<Uuid>> = row.try_get(2)?;
    let mut verdicts: Vec<_> = fences
        .of_event
        .iter()
        .map(|fence| match fence {
            None => Verdict::Stored(None),
            Some(place) => match numbers.get(usize::try_from(place - 1).unwrap_or(usize::MAX)) {
                Some(Some(number)) => Verdict::Stored(Some(*number)),
                _ => Verdict::Fenced,
            },
        })
        .collect();
    debug_assert_eq!(verdicts.len(), batch.len());
    for (place, first) in repeats.unwrap_or_default().into_iter().zip(firsts.unwrap_or_default()) {
        let place = usize::try_from(place - 1).unwrap_or(usize::MAX);
        if let Some(verdict) = verdicts.get_mut(place) {
            *verdict = Verdict::Duplicate(first.into());
        }
    }
    Ok(verdicts)
}
