//! How much of their quotas endpoints have used: counted by the writer in memory, and written
//! with the events, once a batch for each endpoint.

use std::collections::{HashMap, HashSet};

use ploy_webhooks::store::QuotaUse;
use ploy_webhooks::{Quota, QuotaCount, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// What is used of all quotas, by the numbers of the endpoints.
#[derive(Debug)]
pub(crate) struct Quotas {
    used: HashMap<i64, QuotaCount>,
    /// Those that the batch has changed.
    changed: HashSet<i64>,
}

impl Quotas {
    /// What the tables say.
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut select = connection.prepare(
            "-- quotas()
             SELECT endpoint, period_seconds, period, used FROM quotas",
        )?;
        let used = select.query_map([], |row| Ok((row.get(0)?, read(row)?)))?;
        Ok(Self { used: used.collect::<rusqlite::Result<_>>()?, changed: HashSet::new() })
    }

    /// Whether the endpoint has stored as many events as the quota allows.
    pub(crate) fn is_used_up(&self, endpoint: i64, quota: Quota, now: Timestamp) -> bool {
        let count = self.used.get(&endpoint);
        count.is_some_and(|count| count.used(quota, now) >= quota.events.get())
    }

    /// Counts an event within the batch. Where the batch comes to nothing, all is to be loaded
    /// again.
    pub(crate) fn count(&mut self, endpoint: i64, quota: Quota, now: Timestamp) {
        let before = self.used.get(&endpoint).copied();
        self.used.insert(endpoint, QuotaCount::one_more(before, quota, now));
        self.changed.insert(endpoint);
    }

    /// Writes down what the batch has counted.
    pub(crate) fn write(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if self.changed.is_empty() {
            return Ok(());
        }
        let mut replace = connection.prepare_cached(
            "-- append()
             INSERT OR REPLACE INTO quotas (endpoint, period_seconds, period, used)
             VALUES (?1, ?2, ?3, ?4)",
        )?;
        for endpoint in self.changed.drain() {
            let QuotaCount { period_seconds, period, events } = self.used[&endpoint];
            replace.execute(params![endpoint, period_seconds, period, events])?;
        }
        Ok(())
    }

    /// Forgets an endpoint that is deleted.
    pub(crate) fn forget(&mut self, endpoint: i64) {
        self.used.remove(&endpoint);
    }
}

/// From `period_seconds`, `period` and `used`, beginning at the second column.
fn read(row: &Row<'_>) -> rusqlite::Result<QuotaCount> {
    Ok(QuotaCount { period_seconds: row.get(1)?, period: row.get(2)?, events: row.get(3)? })
}

/// What is used of the endpoint's quota; `None` where it has stored nothing under one.
pub(crate) fn quota_use(
    connection: &Connection,
    endpoint: i64,
    now: Timestamp,
) -> rusqlite::Result<Option<QuotaUse>> {
    let mut select = connection.prepare_cached(
        "-- activity()
         SELECT endpoint, period_seconds, period, used FROM quotas WHERE endpoint = ?1",
    )?;
    let count = select.query_row(params![endpoint], read).optional()?;
    Ok(count.map(|count| QuotaUse::of(count, now)))
}
