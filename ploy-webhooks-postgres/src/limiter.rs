//! Rates that hold for all nodes together.
//!
//! An event that is counted costs no statement of its own: a node asks for all that wait at once,
//! by one call. What is asked meanwhile waits for the next.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use ploy_webhooks::Rate;
use ploy_webhooks::limit::{Admission, LimitKey, RateLimiter};
use ploy_webhooks::store::{StoreError, StoreErrorKind};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgPool};
use tokio::sync::{mpsc, oneshot};

use crate::database::within;
use crate::error::store_error;
use crate::wire::Uuid;

/// Limits endpoints and workspaces by what all nodes of one database see of them: GCRA, by the clock of
/// Postgres. From [`PostgresStore::limiter`](crate::PostgresStore::limiter).
#[derive(Clone, Debug)]
pub struct PostgresLimiter {
    waiting: mpsc::Sender<Waiting>,
}

/// So many events may wait to be counted; past it they are refused at once.
const WAITING_MAX: usize = 8_192;
/// So many are asked for at once.
const ASKED_MAX: usize = 1_024;

/// An event that waits to be counted.
#[derive(Debug)]
struct Waiting {
    of: LimitKey,
    rate: Rate,
    answer: oneshot::Sender<Result<Admission, StoreError>>,
}

impl PostgresLimiter {
    pub(crate) fn begin(pool: PgPool, timeout: Duration) -> Self {
        let (waiting, asked) = mpsc::channel(WAITING_MAX);
        // Ends with the last limiter.
        tokio::spawn(run(pool, timeout, asked));
        Self { waiting }
    }
}

#[async_trait]
impl RateLimiter for PostgresLimiter {
    async fn check(&self, of: LimitKey, rate: Rate) -> Result<Admission, StoreError> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { of, rate, answer };
        self.waiting.try_send(waiting).map_err(|_| {
            StoreError::new(StoreErrorKind::Busy, "too many events wait to be counted")
        })?;
        answered.await.unwrap_or_else(|_| {
            Err(StoreError::new(StoreErrorKind::Unavailable, "the limiter has stopped"))
        })
    }
}

async fn run(pool: PgPool, timeout: Duration, mut asked: mpsc::Receiver<Waiting>) {
    let what = "cannot count an event";
    let mut batch = Vec::new();
    while asked.recv_many(&mut batch, ASKED_MAX).await > 0 {
        let groups = groups_of(batch.drain(..));
        let admitted =
            within(&pool, timeout, what, StoreErrorKind::Unavailable, async |connection| {
                admit(connection, &groups).await.map_err(|error| store_error(what, error))
            });
        match admitted.await {
            Ok(admitted) => answer(groups, admitted),
            Err(error) => answer_all(groups, &error),
        }
    }
}

type Answers = Vec<oneshot::Sender<Result<Admission, StoreError>>>;
/// Who waits, by whose rate it is and the rate: the interval in nanoseconds and the burst.
type Groups = BTreeMap<(LimitKey, i64, i64), Answers>;

fn groups_of(batch: impl Iterator<Item = Waiting>) -> Groups {
    let mut groups = Groups::new();
    // Who has gone is not counted.
    for Waiting { of, rate, answer } in batch.filter(|asked| !asked.answer.is_closed()) {
        let burst = rate.at_once();
        let interval_ns = i64::from(1_000_000_000 / rate.per_second.get()).max(1);
        let group = (of, interval_ns, i64::from(burst.get()));
        groups.entry(group).or_default().push(answer);
    }
    groups
}

/// What is said to a group.
#[derive(Clone, Copy, Debug)]
struct Admitted {
    events: i64,
    /// How many more would be.
    remaining: i64,
    /// After how many nanoseconds one more would be.
    retry_ns: i64,
}

async fn admit(connection: &mut PgConnection, groups: &Groups) -> sqlx::Result<Vec<Admitted>> {
    let asked = |answers: &Answers| i64::try_from(answers.len()).unwrap_or(i64::MAX);
    let row = sqlx::query("SELECT admitted, remaining, retry_ns FROM admit($1, $2, $3, $4)")
        .bind(groups.keys().map(|(of, ..)| Uuid::from(*of)).collect::<Vec<_>>())
        .bind(groups.values().map(asked).collect::<Vec<_>>())
        .bind(groups.keys().map(|(_, interval_ns, _)| *interval_ns).collect::<Vec<_>>())
        .bind(groups.keys().map(|(.., burst)| *burst).collect::<Vec<_>>())
        .fetch_one(connection)
        .await?;
    let (events, remaining): (Vec<i64>, Vec<i64>) = (row.try_get(0)?, row.try_get(1)?);
    let retry_ns: Vec<i64> = row.try_get(2)?;
    let admitted = events.into_iter().zip(remaining).zip(retry_ns);
    Ok(admitted
        .map(|((events, remaining), retry_ns)| Admitted { events, remaining, retry_ns })
        .collect())
}

/// Those who came first are admitted first.
fn answer(groups: Groups, admitted: Vec<Admitted>) {
    for (answers, Admitted { events, remaining, retry_ns }) in groups.into_values().zip(admitted) {
        let retry_after = Duration::from_nanos(retry_ns.max(1).cast_unsigned());
        for (place, answer) in (0..).zip(answers) {
            // One that has gone was counted all the same.
            let _ = answer.send(Ok(match place < events {
                true => {
                    let remaining = remaining.saturating_add(events - 1 - place);
                    Admission::Admitted { remaining: u32::try_from(remaining).unwrap_or(u32::MAX) }
                }
                false => Admission::Exceeded { retry_after },
            }));
        }
    }
}

fn answer_all(groups: Groups, error: &StoreError) {
    for answer in groups.into_values().flatten() {
        let _ = answer.send(Err(StoreError::new(error.kind(), error.to_string())));
    }
}
