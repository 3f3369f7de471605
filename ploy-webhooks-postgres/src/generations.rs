//! The generations of deduplication keys: the newest is sealed when it is full, and this node reads
//! sealed ones into filters, so that a batch need not ask the tables about them.
//!
//! Nothing depends on what a node has read: what it names no filter of, the call looks into.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::TryStreamExt;
use ploy_webhooks::store::StoreError;
use ploy_webhooks::store::bloom::Bloom;
use sqlx::Row;
use sqlx::postgres::PgConnection;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::database;
use crate::error::store_error;
use crate::settings::PostgresSettings;
use crate::wire::Uuid;
use crate::writer::Shared;

/// How often it is looked, without a call.
const EVERY: Duration = Duration::from_secs(10);
/// How long after a failure it is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Longer than it takes to read the largest generation.
const READ_TIMEOUT: Duration = Duration::from_secs(600);
/// The newest may always be as large as the others together by this: so slots do not run out where
/// many keys live.
const PART_OF_ALL: i64 = 16;
/// Rows of a page of the table, at most.
const ROWS_A_PAGE: i64 = 97;
const PAGE_BYTES: i64 = 8_192;

/// What this node knows of the generations.
#[derive(Debug)]
pub(crate) struct Generations {
    known: Mutex<Known>,
    /// Calls for a look before its time.
    called: Notify,
}

#[derive(Debug)]
struct Known {
    newest: i64,
    /// How many bytes of the newest are enough.
    full_at: i64,
    filters: Filters,
}

/// Filters of sealed generations, the youngest first.
pub(crate) type Filters = Arc<[Arc<Sealed>]>;

/// A sealed generation that was read.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) seal: Uuid,
    pub(crate) filter: Bloom,
}

/// A generation as the tables have it.
#[derive(Clone, Copy, Debug)]
struct Generation {
    slot: i16,
    number: i64,
    /// `None`: it is the newest.
    seal: Option<Uuid>,
    bytes: i64,
}

impl Sealed {
    /// How much memory its filter takes.
    fn bytes(&self) -> u64 {
        (self.filter.blocks() * Bloom::BLOCK_BYTES) as u64
    }
}

/// One in about five thousand keys that are not there seems to be: of a batch that is asked about
/// twenty generations, a key now and then.
const BITS_A_KEY: u64 = 24;

/// How large the filter of about so many keys is: with more, more seem to be there.
fn filter_bytes(keys: u64) -> u64 {
    let block = Bloom::BLOCK_BYTES as u64;
    (keys * BITS_A_KEY / 8).next_multiple_of(block).max(block)
}

/// What a filter takes of a key, which is part of a digest: its first quarter and its last, for in
/// the others an id that looks like a key has bits that are always the same.
pub(crate) fn filtered(key: Uuid) -> u64 {
    let (quarters, _) = key.0.as_chunks();
    let quarter = |number: usize| u64::from(u32::from_le_bytes(quarters[number]));
    quarter(3) << 32 | quarter(0)
}

impl Default for Generations {
    fn default() -> Self {
        let known = Known { newest: 0, full_at: i64::MAX, filters: Arc::default() };
        Self { known: Mutex::new(known), called: Notify::new() }
    }
}

impl Generations {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no holder of the lock panics")
    }

    pub(crate) fn filters(&self) -> Filters {
        self.known().filters.clone()
    }

    /// Takes in what a batch was told of the newest generation.
    pub(crate) fn told(&self, newest: i64, bytes: i64) {
        let known = self.known();
        if newest != known.newest || bytes >= known.full_at {
            self.called.notify_one();
        }
    }
}

/// Seals and reads for good, at their time or when called.
pub(crate) async fn run(shared: Shared) {
    let generations = &shared.generations;
    let mut session = None;
    loop {
        match look(&mut session, &shared).await {
            // Either end is an end.
            Ok(()) => drop(timeout(EVERY, generations.called.notified()).await),
            Err(error) => {
                // Deduplication is as right without it, and slower.
                tracing::warn!(%error, "deduplication keys cannot be sealed or read");
                session = None;
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
    }
}

async fn look(session: &mut Option<PgConnection>, shared: &Shared) -> Result<(), StoreError> {
    let Shared { settings, generations, .. } = shared;
    let connection = match session {
        Some(connection) => connection,
        none => none.insert(database::connect(settings, READ_TIMEOUT).await?),
    };
    let failed = |error| store_error("cannot look at generations of keys", error);
    let (mut there, mut is_room) = read_all(connection).await.map_err(failed)?;
    if let Some(newest) = there.iter().find(|generation| generation.seal.is_none())
        && is_room
        && newest.bytes >= full_at(&there, settings)
    {
        // Appends wait for that for a moment, and it waits no longer for them.
        let seal = sqlx::query("SELECT seal_generation($1)").bind(newest.number);
        seal.execute(&mut *connection).await.map_err(failed)?;
        (there, is_room) = read_all(connection).await.map_err(failed)?;
    }
    {
        let mut known = generations.known();
        known.newest = there.first().map_or(0, |newest| newest.number);
        known.full_at = if is_room { full_at(&there, settings) } else { i64::MAX };
    }
    read_sealed(connection, generations, &there, settings.key_filter_bytes_max)
        .await
        .map_err(failed)
}

/// All generations, the youngest first, and whether there is room for another one.
async fn read_all(connection: &mut PgConnection) -> sqlx::Result<(Vec<Generation>, bool)> {
    let rows = sqlx::query(
        "SELECT slot, number, seal, pg_relation_size(place) FROM generations
         ORDER BY number DESC NULLS LAST",
    )
    .fetch_all(connection)
    .await?;
    let generations = rows.iter().filter_map(|row| {
        let number = row.try_get(1).transpose()?;
        Some(number.and_then(|number| {
            let (slot, seal) = (row.try_get(0)?, row.try_get(2)?);
            Ok(Generation { slot, number, seal, bytes: row.try_get(3)? })
        }))
    });
    let generations = generations.collect::<sqlx::Result<Vec<_>>>()?;
    let is_room = generations.len() < rows.len();
    Ok((generations, is_room))
}

fn full_at(there: &[Generation], settings: &PostgresSettings) -> i64 {
    let sealed = there.iter().filter(|generation| generation.seal.is_some());
    let sealed: i64 = sealed.map(|generation| generation.bytes).sum();
    let least = i64::try_from(settings.key_generation_bytes).unwrap_or(i64::MAX);
    least.max(sealed / PART_OF_ALL)
}

/// Has the filters be those of the youngest sealed generations, as far as memory goes. Each is of
/// use as soon as it is read.
async fn read_sealed(
    connection: &mut PgConnection,
    generations: &Generations,
    there: &[Generation],
    bytes_max: u64,
) -> sqlx::Result<()> {
    let had = generations.filters();
    let mut filters = Vec::new();
    let mut bytes = 0;
    let keep = |filters: &[Arc<Sealed>]| generations.known().filters = filters.into();
    for generation in there {
        let Some(seal) = generation.seal else { continue };
        let known = had.iter().find(|sealed| sealed.seal == seal);
        let keys = u64::try_from(generation.bytes / PAGE_BYTES * ROWS_A_PAGE).unwrap_or_default();
        bytes += known.map_or(filter_bytes(keys), |sealed| sealed.bytes());
        if bytes > bytes_max {
            break;
        }
        match known {
            Some(sealed) => filters.push(sealed.clone()),
            None => {
                let filter = read(connection, generation.slot, keys).await?;
                filters.push(Arc::new(Sealed { seal, filter }));
                let older = had.iter().filter(|old| filters.iter().all(|new| new.seal != old.seal));
                keep(&filters.iter().chain(older).cloned().collect::<Vec<_>>());
            }
        }
    }
    keep(&filters);
    Ok(())
}

/// Reads what is in a slot. It was sealed before, by what this session has seen; if it is emptied
/// meanwhile, its seal is nowhere any more.
async fn read(connection: &mut PgConnection, slot: i16, keys: u64) -> sqlx::Result<Bloom> {
    let mut filter = Bloom::of_bytes(filter_bytes(keys));
    let mut rows =
        sqlx::query_scalar("SELECT key FROM dedup WHERE slot = $1").bind(slot).fetch(connection);
    while let Some(key) = rows.try_next().await? {
        filter.add(filtered(key));
        // Others have something to do as well.
        tokio::task::coop::consume_budget().await;
    }
    Ok(filter)
}
