//! [`FeedStore`]: what was committed, told by the sets of transactions in which it was.
//!
//! Transactions commit in no order that anything in the tables could say beforehand. So a position is
//! no number but a set: every transaction below one was told, but for some that were under way. What
//! is told next is what is committed by now and not in the set. Whoever commits late is found, and a
//! transaction that is open for long, anywhere in the server, holds up nobody: it is one number of
//! those that are left out.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use ploy_webhooks::store::{
    Change, Changes, FeedQuery, FeedStore, Position, RunChange, StoreError, StoreErrorKind,
};
use ploy_webhooks::{EndpointId, EventId, EventSummary, RunId, RunState, WorkspaceId};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use tokio::time::timeout;

use crate::PostgresStore;
use crate::error::{corrupt, store_error};
use crate::events::{endpoint_id, event_type, source};
use crate::wire::Uuid;

/// How long a change is kept after its commit.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(3_600);
/// A page looks at no more rows than this, of which each is a call.
const ROWS_MAX: usize = 64;
/// How often who waits looks whether another node has stored something.
const LOOK_GAP: Duration = Duration::from_millis(500);

#[async_trait]
impl FeedStore for PostgresStore {
    async fn changes(&self, query: &FeedQuery) -> Result<Changes, StoreError> {
        let after = Told::of(&query.after)?;
        self.call("read what has happened", async |connection| page(connection, query, after).await)
            .await
    }

    async fn end(&self) -> Result<Position, StoreError> {
        let end = self.call("read what has happened", async |connection| {
            let row = sqlx::query(END).fetch_one(connection).await.map_err(failed)?;
            Ok(Snapshot::read(&row).map_err(failed)?.over)
        });
        Ok(end.await?.position())
    }

    async fn changed(&self, after: &Position, at_most: Duration) -> Result<(), StoreError> {
        let after = Told::of(after)?;
        let until_changed = async {
            loop {
                let mut fed = pin!(self.shared.fed.notified());
                // From here on nothing of this node is missed.
                fed.as_mut().enable();
                if self.has_more(&after).await? {
                    return Ok(());
                }
                // Of other nodes nobody tells: that would cost each of their commits more than it
                // costs to look.
                let _ = timeout(LOOK_GAP, fed).await;
            }
        };
        // Nothing was changed in time, which is an answer too.
        timeout(at_most, until_changed).await.unwrap_or(Ok(()))
    }
}

impl PostgresStore {
    async fn has_more(&self, told: &Told) -> Result<bool, StoreError> {
        self.call("look for what has happened", async |connection| {
            sqlx::query_scalar(HAS_MORE)
                .bind(told.below)
                .bind(&told.but)
                .fetch_one(connection)
                .await
                .map_err(failed)
        })
        .await
    }
}

/// The transactions of which all was told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    /// The history that they are of: after a failover, numbers may be given again.
    timeline: u32,
    /// All below this,
    below: i64,
    /// but for these.
    but: Vec<i64>,
}

impl Told {
    /// What a position begins with.
    const VERSION: u8 = 1;

    fn of(position: &Position) -> Result<Self, StoreError> {
        let read = || {
            let (&Self::VERSION, rest) = position.as_bytes().split_first()? else { return None };
            let (timeline, rest) = rest.split_first_chunk()?;
            let (below, rest) = rest.split_first_chunk()?;
            let below = i64::from_be_bytes(*below);
            let (distances, []) = rest.as_chunks() else { return None };
            let but = distances.iter().map(|distance| {
                Some(below - i64::from(u32::from_be_bytes(*distance))).filter(|xact| *xact >= 0)
            });
            let but = but.collect::<Option<_>>()?;
            Some(Self { timeline: u32::from_be_bytes(*timeline), below, but })
        };
        let told = read().filter(|told| told.below >= 0);
        told.ok_or_else(|| {
            StoreError::new(StoreErrorKind::Misuse, "the position is none of a Postgres store")
        })
    }

    fn position(&self) -> Position {
        let mut bytes = Vec::with_capacity(13 + 4 * self.but.len());
        bytes.push(Self::VERSION);
        bytes.extend(self.timeline.to_be_bytes());
        bytes.extend(self.below.to_be_bytes());
        for xact in &self.but {
            // What is open for longer than that has stopped the server.
            let distance = u32::try_from(self.below - xact).unwrap_or(u32::MAX);
            bytes.extend(distance.to_be_bytes());
        }
        Position::from_bytes(bytes)
    }

    /// The same below that number alone.
    fn cut_off(self, below: i64) -> Self {
        let but = self.but.into_iter().filter(|xact| *xact < below).collect();
        Self { below, but, ..self }
    }

    /// What holds in another history of what was told in this: all that is certainly told, as far as
    /// that one has come.
    fn carried_over(&self, to: &Self) -> Self {
        let least = self.but.iter().copied().min().unwrap_or(self.below);
        Self { timeline: to.timeline, below: least.min(to.below), but: Vec::new() }
    }

    /// Whether something was forgotten that was not told, if all up to that transaction was. What is
    /// under way has not been forgotten.
    fn lacks(&self, forgotten: i64, over: &Self) -> bool {
        let is_over = |xact: &i64| *xact < over.below && !over.but.contains(xact);
        self.below <= forgotten || self.but.iter().any(|xact| *xact <= forgotten && is_over(xact))
    }
}

/// What a statement sees.
struct Snapshot {
    /// The transactions that are over.
    over: Told,
    /// The last one of which changes are forgotten.
    forgotten: i64,
}

impl Snapshot {
    fn read(row: &PgRow) -> sqlx::Result<Self> {
        let timeline: i64 = row.try_get(0)?;
        let timeline = u32::try_from(timeline).unwrap_or(0);
        let over = Told { timeline, below: row.try_get(1)?, but: row.try_get(2)? };
        Ok(Self { over, forgotten: row.try_get(3)? })
    }
}

macro_rules! snapshot {
    () => {
        "SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint AS timeline,
             pg_snapshot_xmax(s)::text::bigint AS below,
             ARRAY(SELECT x::text::bigint FROM pg_snapshot_xip(s) AS x) AS but,
             (SELECT xact FROM forgotten_changes) AS forgotten
         FROM pg_current_snapshot() AS s"
    };
}

const END: &str = concat!("-- end()\n", snapshot!());

const HAS_MORE: &str = "-- changed()
    SELECT EXISTS (SELECT FROM changes WHERE xact >= $1)
        OR EXISTS (SELECT FROM changes WHERE xact = ANY ($2))";

/// What is committed and was not told: of transactions that were under way, all; of others, so many
/// rows. One statement, so that all of it is of one snapshot. Of rows without anything of the workspace
/// nothing is read but that.
const ROWS: &str = concat!(
    "-- changes()
     SELECT n.*, c.* FROM (",
    snapshot!(),
    ") n LEFT JOIN LATERAL (
         SELECT c.xact, c.number, c.is_later,
             CASE WHEN c.is_wanted THEN c.stream END, CASE WHEN c.is_wanted THEN c.events END,
             CASE WHEN c.is_wanted THEN c.workspaces END, CASE WHEN c.is_wanted THEN c.runs END,
             CASE WHEN c.is_wanted THEN c.attempts END, CASE WHEN c.is_wanted THEN c.states END
         FROM (
             SELECT o.*, o.workspaces @> ARRAY[$1] AS is_wanted FROM (
                 (SELECT *, false AS is_later FROM changes WHERE xact = ANY ($3))
                 UNION ALL
                 (SELECT *, true FROM changes WHERE xact >= $2 ORDER BY xact LIMIT $4)
             ) o
         ) c
     ) c ON true"
);

/// A row of changes.
struct Written {
    xact: i64,
    number: i64,
    /// It is not of one of the transactions that were under way before.
    is_later: bool,
    steps: Vec<Step>,
}

/// A change, without what is known of it elsewhere.
#[derive(Clone, Copy)]
enum Step {
    Accepted { stream: i32, event: EventId },
    Run { run: RunId, attempt: u32, state: RunState },
}

async fn page(
    connection: &mut PgConnection,
    query: &FeedQuery,
    asked: Told,
) -> Result<Changes, StoreError> {
    let mut after = asked;
    let mut is_of_before = false;
    loop {
        let rows = sqlx::query(ROWS)
            .bind(Uuid::from(query.workspace))
            .bind(after.below)
            .bind(&after.but)
            .bind(i64::try_from(ROWS_MAX).unwrap_or(i64::MAX))
            .fetch_all(&mut *connection)
            .await
            .map_err(failed)?;
        let snapshot = rows.first().map(Snapshot::read).transpose().map_err(failed)?;
        let snapshot = snapshot.ok_or_else(|| corrupt("forgotten_changes", "xact"))?;
        if after.timeline != snapshot.over.timeline || after.below > snapshot.over.below {
            // The server is another one, or has lost what it had committed last.
            after = after.carried_over(&snapshot.over);
            is_of_before = true;
            continue;
        }
        let has_gap = is_of_before || after.lacks(snapshot.forgotten, &snapshot.over);
        let written = rows.iter().filter_map(|row| written(row, query.workspace).transpose());
        let written = written.collect::<Result<Vec<_>, _>>()?;
        // Nothing is behind it yet: the place stays as it is.
        let stays = written.is_empty() && !has_gap;
        let (steps, next) = cut(written, snapshot.over.clone(), query.limit.get());
        let has_more = next.below < snapshot.over.below;
        let next = if stays { after } else { next };
        let items = tell(connection, query.workspace, &steps).await?;
        return Ok(Changes { items, next: next.position(), has_more, has_gap });
    }
}

/// So many changes as make a page, in their order, and what was told with them.
fn cut(mut written: Vec<Written>, over: Told, enough: usize) -> (Vec<Step>, Told) {
    // Where there may be more, all of the last transaction may not be here.
    let later = written.iter().filter(|row| row.is_later);
    let is_cut_short = later.clone().count() == ROWS_MAX;
    let mut below = match is_cut_short {
        true => later.map(|row| row.xact).max().unwrap_or(over.below),
        false => over.below,
    };
    // Those that commit late come first, and then one transaction after another.
    written.sort_by_key(|row| (row.is_later, row.xact));
    let mut count = 0;
    for (place, row) in written.iter().enumerate() {
        let begins = row.is_later && (place == 0 || written[place - 1].xact != row.xact);
        if begins && count >= enough {
            below = below.min(row.xact);
            break;
        }
        count += row.steps.len();
    }
    written.retain(|row| !row.is_later || row.xact < below);
    written.sort_by_key(|row| row.number);
    (written.into_iter().flat_map(|row| row.steps).collect(), over.cut_off(below))
}

/// What the row says of the workspace; `None` where there is none.
fn written(row: &PgRow, workspace: WorkspaceId) -> Result<Option<Written>, StoreError> {
    let xact: Option<i64> = row.try_get(4).map_err(failed)?;
    let Some(xact) = xact else { return Ok(None) };
    let mut steps = Vec::new();
    let stream: Option<i32> = row.try_get(7).map_err(failed)?;
    let events: Option<Vec<Uuid>> = row.try_get(8).map_err(failed)?;
    if let Some(stream) = stream {
        let events = events.unwrap_or_default().into_iter();
        steps.extend(events.map(|event| Step::Accepted { stream, event: event.into() }));
    }
    let runs: Option<Vec<Uuid>> = row.try_get(10).map_err(failed)?;
    if let Some(runs) = runs {
        let workspaces: Vec<Uuid> = row.try_get(9).map_err(failed)?;
        let attempts: Vec<i32> = row.try_get(11).map_err(failed)?;
        let states: &str = row.try_get(12).map_err(failed)?;
        let rows = workspaces.into_iter().zip(runs).zip(attempts).zip(states.bytes());
        for (((of, run), attempt), letter) in rows {
            if WorkspaceId::from(of) == workspace {
                let attempt = u32::try_from(attempt).map_err(|_| corrupt("changes", "attempts"))?;
                let state = state_of(letter).ok_or_else(|| corrupt("changes", "states"))?;
                steps.push(Step::Run { run: run.into(), attempt, state });
            }
        }
    }
    let number = row.try_get(5).map_err(failed)?;
    Ok(Some(Written { xact, number, is_later: row.try_get(6).map_err(failed)?, steps }))
}

/// The state of that letter: see the functions that write it.
const fn state_of(letter: u8) -> Option<RunState> {
    Some(match letter {
        b'q' => RunState::Queued,
        b'r' => RunState::Running,
        b'w' => RunState::Retrying,
        b's' => RunState::Succeeded,
        b'f' => RunState::Failed,
        b'c' => RunState::Cancelled,
        _ => return None,
    })
}

/// The changes with all that is told of them, but for those of what is deleted, or another's.
async fn tell(
    connection: &mut PgConnection,
    workspace: WorkspaceId,
    steps: &[Step],
) -> Result<Vec<Change>, StoreError> {
    let mut summaries = summaries(connection, workspace, steps).await?;
    let origins = origins(connection, workspace, steps).await?;
    let change = |step: &Step| match *step {
        Step::Accepted { event, .. } => summaries.remove(&event).map(Change::Accepted),
        Step::Run { run, attempt, state } => {
            let (event, endpoint) = *origins.get(&run)?;
            Some(Change::Run(RunChange { run, event, endpoint, state, attempt }))
        }
    };
    Ok(steps.iter().filter_map(change).collect())
}

const SUMMARIES: &str = "-- changes()
    SELECT e.id, n.id, e.type, e.source, e.size
    FROM unnest($2::int[], $3::uuid[]) AS t (stream, id)
    CROSS JOIN LATERAL (
        SELECT e.id, e.endpoint, e.workspace, e.type, e.source,
            octet_length(e.payload)::bigint AS size
        FROM events e WHERE e.stream = t.stream AND e.id = t.id OFFSET 0
    ) e
    LEFT JOIN endpoints n ON n.number = e.endpoint
    WHERE coalesce(n.workspace, e.workspace) = $1";

/// The events that are told, each once.
async fn summaries(
    connection: &mut PgConnection,
    workspace: WorkspaceId,
    steps: &[Step],
) -> Result<HashMap<EventId, EventSummary>, StoreError> {
    let events = steps.iter().filter_map(|step| match *step {
        Step::Accepted { stream, event } => Some((stream, Uuid::from(event))),
        Step::Run { .. } => None,
    });
    let (streams, ids): (Vec<_>, Vec<_>) = events.unzip();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(SUMMARIES)
        .bind(Uuid::from(workspace))
        .bind(streams)
        .bind(ids)
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    let summary = |row: &PgRow| {
        let id: EventId = row.try_get::<Uuid, _>(0).map_err(failed)?.into();
        let size: i64 = row.try_get(4).map_err(failed)?;
        let summary = EventSummary {
            id,
            endpoint: endpoint_id(row, 1)?,
            event_type: event_type(row, 2)?,
            source: source(row, 3)?,
            size: size.unsigned_abs(),
        };
        Ok((id, summary))
    };
    rows.iter().map(summary).collect()
}

const ORIGINS: &str = "-- changes()
    SELECT t.id, r.event, n.id FROM unnest($2::uuid[]) AS t (id)
    CROSS JOIN LATERAL (
        SELECT r.event, r.endpoint FROM runs r WHERE r.workspace = $1 AND r.id = t.id OFFSET 0
    ) r
    LEFT JOIN endpoints n ON n.number = r.endpoint
    WHERE r.endpoint IS NULL OR n.number IS NOT NULL";

/// Whose the runs are that are told: of which event, and of which endpoint.
async fn origins(
    connection: &mut PgConnection,
    workspace: WorkspaceId,
    steps: &[Step],
) -> Result<HashMap<RunId, (EventId, Option<EndpointId>)>, StoreError> {
    let runs = steps.iter().filter_map(|step| match step {
        Step::Run { run, .. } => Some(Uuid::from(*run)),
        Step::Accepted { .. } => None,
    });
    let runs: Vec<_> = runs.collect();
    if runs.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(ORIGINS)
        .bind(Uuid::from(workspace))
        .bind(runs)
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    let origin = |row: &PgRow| {
        let (run, event): (Uuid, Uuid) =
            (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
        Ok((run.into(), (event.into(), endpoint_id(row, 2)?)))
    };
    rows.iter().map(origin).collect()
}

/// Forgets what is older than [`KEPT_FOR`], so many rows.
pub(crate) async fn forget(connection: &mut PgConnection, rows: i32) -> Result<bool, StoreError> {
    let seconds = i32::try_from(KEPT_FOR.as_secs()).unwrap_or(i32::MAX);
    let gone: i32 = sqlx::query_scalar("SELECT forget_changes(make_interval(secs => $1), $2)")
        .bind(f64::from(seconds))
        .bind(rows)
        .fetch_one(connection)
        .await
        .map_err(|error| store_error("cannot forget what was told", error))?;
    Ok(gone == rows)
}

fn failed(error: sqlx::Error) -> StoreError {
    store_error("cannot read what has happened", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(below: i64, but: &[i64]) -> Told {
        Told { timeline: 3, below, but: but.to_vec() }
    }

    fn row(xact: i64, number: i64, is_later: bool) -> Written {
        let run = RunId::from_bytes([u8::try_from(number).unwrap(); 16]);
        let steps = vec![Step::Run { run, attempt: 1, state: RunState::Running }];
        Written { xact, number, is_later, steps }
    }

    fn numbers(steps: &[Step]) -> Vec<u8> {
        let number = |step: &Step| match step {
            Step::Run { run, .. } => run.as_bytes()[0],
            Step::Accepted { .. } => panic!("no event is written"),
        };
        steps.iter().map(number).collect()
    }

    #[test]
    fn a_position_comes_back_as_it_was() {
        for told in [told(0, &[]), told(1 << 40, &[(1 << 40) - 1, (1 << 40) - 1_000_000])] {
            assert_eq!(Told::of(&told.position()).unwrap(), told);
        }
        let mut bytes = told(7, &[3]).position().as_bytes().to_vec();
        bytes.pop();
        assert!(Told::of(&Position::from_bytes(bytes)).is_err(), "half a number");
        let negative = [told(7, &[]).position().as_bytes(), &[0, 0, 0, 8]].concat();
        assert!(Told::of(&Position::from_bytes(negative)).is_err(), "below all transactions");
    }

    #[test]
    fn a_page_is_whole_transactions_in_the_order_of_their_numbers() {
        let written =
            || vec![row(20, 5, true), row(9, 4, false), row(22, 3, true), row(20, 2, true)];
        let (steps, next) = cut(written(), told(30, &[7, 21, 25]), 100);
        assert_eq!((numbers(&steps), next), (vec![2, 3, 4, 5], told(30, &[7, 21, 25])));
        let (steps, next) = cut(written(), told(30, &[7, 21, 25]), 3);
        assert_eq!((numbers(&steps), next), (vec![2, 4, 5], told(22, &[7, 21])));
        let (steps, next) = cut(written(), told(30, &[7, 21, 25]), 1);
        assert_eq!((numbers(&steps), next), (vec![4], told(20, &[7])));
    }

    /// What comes behind the last row may be of the same transaction.
    #[test]
    fn a_page_that_is_cut_short_leaves_the_last_transaction() {
        let rows = (0..ROWS_MAX).map(|place| {
            let xact = i64::try_from(place / 2).unwrap();
            row(100 + xact, i64::try_from(place).unwrap(), true)
        });
        let (steps, next) = cut(rows.collect(), told(900, &[120, 140]), 1_000);
        assert_eq!(steps.len(), ROWS_MAX - 2);
        assert_eq!(next, told(131, &[120]));
    }

    #[test]
    fn what_was_forgotten_is_missed_by_who_was_not_told() {
        let over = told(100, &[50]);
        assert!(told(60, &[]).lacks(60, &over));
        assert!(!told(61, &[]).lacks(60, &over));
        assert!(told(61, &[55]).lacks(60, &over), "it is over, and may be forgotten");
        assert!(!told(61, &[50]).lacks(60, &over), "it is under way");
    }
}
