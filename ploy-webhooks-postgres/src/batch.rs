//! A batch of events as the arguments of the function `append`, and what it says of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use ploy_webhooks::store::{StoreError, StoreErrorKind};
use ploy_webhooks::{EndpointId, EventId, Fence, NewEvent, NewRun, Revision, WorkspaceId};
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row};

use crate::endpoints::stripe_of;
use crate::error::write_error;
use crate::generations::Generations;
use crate::keys::Keys;
use crate::queue::Waiting;
use crate::quotas::Quotas;
use crate::wire::Uuid;

const APPEND: &str = "SELECT append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";

/// For batches of which some events have a deduplication key or a quota, or owe runs.
const APPEND_OWING: &str = "SELECT numbers, repeats, firsts, over, resets_ms, newest, bytes FROM \
    append_owing($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, \
    $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31)";

/// What becomes of one event of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    /// It is stored; so is the number of its endpoint.
    Stored(Option<i64>),
    Duplicate(EventId),
    OverQuota {
        resets_in: Option<Duration>,
    },
    Fenced,
    /// That is said by the next batch.
    Again,
}

/// A state of an endpoint that events of the batch were checked against.
type Checked = (EndpointId, WorkspaceId, Revision);

/// Stores the events, in one transaction.
pub(crate) async fn append(
    connection: &mut PgConnection,
    generations: &Generations,
    stream: i32,
    tail_from: Option<EventId>,
    batch: &[Waiting],
) -> Result<Vec<Verdict>, StoreError> {
    let failed = |error| write_error("cannot store events", error);
    let fences = Fences::of(batch);
    let is_plain = |NewEvent { dedup, quota, owes, .. }: &NewEvent| {
        dedup.is_none() && quota.is_none() && owes.is_empty()
    };
    if batch.iter().all(|waiting| is_plain(&waiting.event)) {
        let append = bind_events(sqlx::query(APPEND), stream, tail_from, batch, &fences);
        let append = append.bind(workspaces(batch));
        let row = append.fetch_one(connection).await.map_err(failed)?;
        return fences.verdicts(&row).map_err(failed);
    }
    let keys = Keys::of(batch, &generations.filters());
    let quotas = Quotas::of(batch, &fences.of_event);
    let append = bind_events(sqlx::query(APPEND_OWING), stream, tail_from, batch, &fences);
    let append = bind_keys(append, &keys, quotas);
    let append = bind_owed(append, batch)?.bind(workspaces(batch));
    let row = append.fetch_one(connection).await.map_err(failed)?;
    let mut verdicts = fences.verdicts(&row).map_err(failed)?;
    if let Some((newest, bytes)) = newest(&row).map_err(failed)? {
        generations.told(newest, bytes);
    }
    let left_out = repeats(&row).and_then(|repeats| Ok((repeats, over_quota(&row)?)));
    let (repeats, over) = left_out.map_err(failed)?;
    for (place, verdict) in repeats.chain(over) {
        if let Some(stands) = verdicts.get_mut(place) {
            *stands = verdict;
        }
    }
    keys.follow(batch, &mut verdicts);
    Ok(verdicts)
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

    /// What becomes of the events, as far as their fences tell.
    fn verdicts(&self, row: &PgRow) -> sqlx::Result<Vec<Verdict>> {
        let numbers: Option<Vec<Option<i64>>> = row.try_get(0)?;
        let numbers = numbers.unwrap_or_default();
        let verdict = |fence: &Option<i16>| match fence {
            None => Verdict::Stored(None),
            Some(place) => match numbers.get(usize::try_from(place - 1).unwrap_or(usize::MAX)) {
                Some(Some(number)) => Verdict::Stored(Some(*number)),
                _ => Verdict::Fenced,
            },
        };
        Ok(self.of_event.iter().map(verdict).collect())
    }
}

type Append<'q> = Query<'q, Postgres, PgArguments>;

fn bind_events<'q>(
    append: Append<'q>,
    stream: i32,
    tail_from: Option<EventId>,
    batch: &'q [Waiting],
    fences: &Fences,
) -> Append<'q> {
    let events = || batch.iter().map(|waiting| &waiting.event);
    let checked = || fences.checked.iter();
    append
        .bind(stream)
        .bind(tail_from.map(Uuid::from))
        .bind(fences.stripes())
        .bind(checked().map(|(id, ..)| Uuid::from(*id)).collect::<Vec<_>>())
        .bind(checked().map(|(_, workspace, _)| Uuid::from(*workspace)).collect::<Vec<_>>())
        .bind(checked().map(|(.., revision)| revision.get().cast_signed()).collect::<Vec<_>>())
        .bind(events().map(|event| Uuid::from(event.id)).collect::<Vec<_>>())
        .bind(unless_all_none(fences.of_event.iter().copied()))
        .bind(unless_all_none(events().map(workspace_of_published)))
        .bind(unless_all_none(events().map(|event| Some(event.event_type.as_ref()?.as_str()))))
        .bind(unless_all_none(events().map(|event| event.source.map(source_bytes))))
        .bind(unless_all_none(events().map(kept_lines)))
        .bind(events().map(|event| &event.payload[..]).collect::<Vec<_>>())
}

fn bind_keys<'q>(append: Append<'q>, keys: &Keys, quotas: Quotas) -> Append<'q> {
    append
        .bind(keys.places())
        .bind(keys.keys())
        .bind(keys.windows_ms())
        .bind(keys.covered().to_vec())
        .bind(keys.suspected())
        .bind(keys.suspects())
        .bind(keys.followers())
        .bind(quotas.fences())
        .bind(quotas.events())
        .bind(quotas.seconds())
        .bind(quotas.of_event)
}

fn bind_owed<'q>(append: Append<'q>, batch: &'q [Waiting]) -> Result<Append<'q>, StoreError> {
    let events = || (1_i32..).zip(batch.iter().map(|waiting| &waiting.event));
    let owed =
        || events().flat_map(|(place, event)| event.owes.iter().map(move |run| (place, run)));
    let triggers: Vec<_> = owed().map(|(_, run)| json(&run.trigger)).collect::<Result<_, _>>()?;
    Ok(append
        .bind(owed().map(|(place, _)| place).collect::<Vec<_>>())
        .bind(owed().map(|(_, run)| Uuid::from(run.id)).collect::<Vec<_>>())
        .bind(owed().map(|(_, run)| Uuid::from(run.id)).min())
        .bind(triggers)
        .bind(owed().map(|(_, run)| millis(run.delay)).collect::<Vec<_>>())
        .bind(destinations(owed().map(|(_, run)| run))))
}

/// The workspaces of a batch, each once: who is told of it looks for their own.
fn workspaces(batch: &[Waiting]) -> Vec<Uuid> {
    let mut workspaces: Vec<_> =
        batch.iter().map(|waiting| Uuid::from(waiting.event.workspace)).collect();
    // Mostly it is one.
    workspaces.dedup();
    workspaces.sort_unstable();
    workspaces.dedup();
    workspaces
}

/// Where runs deliver: NULL where none of them does.
pub(crate) fn destinations<'a>(
    runs: impl Iterator<Item = &'a NewRun> + Clone,
) -> Option<Vec<Option<Uuid>>> {
    unless_all_none(runs.map(|run| run.trigger.destination().map(Uuid::from)))
}

/// NULL for an array that would have nothing else: the server spends nothing on it.
fn unless_all_none<T>(values: impl Iterator<Item = Option<T>> + Clone) -> Option<Vec<Option<T>>> {
    values.clone().any(|value| value.is_some()).then(|| values.collect())
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

pub(crate) fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| {
        let message = format!("cannot be written as JSON: {error}");
        StoreError::new(StoreErrorKind::Misuse, message).because(error)
    })
}

/// What is said of the events that repeat one which is stored, with their places.
fn repeats(row: &PgRow) -> sqlx::Result<impl Iterator<Item = (usize, Verdict)>> {
    let firsts: Vec<Uuid> = row.try_get(2)?;
    let verdicts = firsts.into_iter().map(|first| Verdict::Duplicate(first.into()));
    Ok(places(row, 1)?.zip(verdicts))
}

/// What is said of the events that are past their quota, with their places.
fn over_quota(row: &PgRow) -> sqlx::Result<impl Iterator<Item = (usize, Verdict)>> {
    let resets_ms: Vec<Option<i64>> = row.try_get(4)?;
    let verdicts = resets_ms.into_iter().map(|millis| Verdict::OverQuota {
        resets_in: millis.map(|millis| Duration::from_millis(millis.unsigned_abs())),
    });
    Ok(places(row, 3)?.zip(verdicts))
}

/// The number of the newest generation of keys and its bytes, where the batch had any.
fn newest(row: &PgRow) -> sqlx::Result<Option<(i64, i64)>> {
    let (number, bytes): (Option<i64>, Option<i64>) = (row.try_get(5)?, row.try_get(6)?);
    Ok(number.zip(bytes))
}

fn places(row: &PgRow, column: usize) -> sqlx::Result<impl Iterator<Item = usize> + use<>> {
    let places: Vec<i32> = row.try_get(column)?;
    Ok(places.into_iter().map(|place| usize::try_from(place - 1).unwrap_or(usize::MAX)))
}
