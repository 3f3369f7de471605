//! Where the store lives, and its bounds.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

use ploy_webhooks::store::{StoreError, StoreErrorKind};
use sqlx::postgres::PgConnectOptions;

/// Where the store lives, and its bounds.
#[derive(Clone)]
#[non_exhaustive]
pub struct PostgresSettings {
    /// How the server is reached, TLS included: see [`from_url`](Self::from_url).
    pub connect: PgConnectOptions,
    /// The schema that holds the store's tables; it is made where it is missing. Default: `ploy`.
    pub schema: String,
    /// What an answered append must survive. Default: [`Durability::Full`].
    pub durability: Durability,
    /// How many batches are written at once, each over a connection of its own. More gain little
    /// where the server is near: what waits makes one larger batch instead, which costs less than
    /// two. Default: 1.
    pub writers: NonZeroUsize,
    /// How many appends may wait for the writers; past it, they are refused at once.
    /// Default: 8,192.
    pub waiting_max: usize,
    /// How many bytes of payload may wait for the writers. Default: 256 MiB.
    pub waiting_bytes_max: u64,
    /// How many connections look-ups, searches, changes and claims share. Default: 8.
    pub readers_max: u32,
    /// How long a connection may take to be made. Default: 5 s.
    pub connect_timeout: Duration,
    /// How long a batch may take, its commit included. Past it nobody can say whether it was
    /// stored, and that is what its events are answered. Default: 5 s.
    pub append_timeout: Duration,
    /// How long any other call may take. Default: 30 s.
    pub call_timeout: Duration,
    /// How much time a new partition of the events spans: 1 s to 100 years. Default: a day.
    pub partition_span: Duration,
    /// How long events are kept, at least: a partition is dropped when all of it is older.
    /// `None`, the default, keeps them for good.
    pub retention: Option<Duration>,
    /// Whether search has an index. Default: [`SearchIndex::Kept`].
    pub search_index: SearchIndex,
    /// How many bytes of memory the filters take that spare look-ups of deduplication keys: three a
    /// key that is remembered. Past it, keys are looked up in those tables that hold the oldest.
    /// Default: 64 MiB.
    pub key_filter_bytes_max: u64,
    /// After how long a relay looks into the outbox that has heard of nothing: another node may be
    /// lost. Default: 5 s.
    pub outbox_poll: Duration,
    /// How large a table of deduplication keys grows before another one is begun. For tests.
    #[doc(hidden)]
    pub key_generation_bytes: u64,
}

/// What an answered append must survive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the promise is kept or it is not made")]
pub enum Durability {
    /// The crash of the server and the loss of its power. A server that does not give that, by
    /// its own settings (`fsync`, `full_page_writes`, `synchronous_commit`), is refused.
    #[default]
    Full,
    /// Whatever the server gives as it is set.
    AsConfigured,
}

/// Whether search has an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is one or there is none")]
pub enum SearchIndex {
    /// Built behind the writes.
    #[default]
    Kept,
    /// This node builds none: what it writes is read by each search.
    Absent,
}

impl PostgresSettings {
    /// The defaults, at a URL as [libpq] has it: `postgres://user:password@host:port/database`,
    /// with `?sslmode=verify-full&sslrootcert=…` and the like for TLS.
    ///
    /// Four parameters are the store's own: `schema`, `durability` (`full` or `as-configured`),
    /// `partition_days` and `retention_days`.
    ///
    /// # Errors
    ///
    /// [`Misuse`](StoreErrorKind::Misuse) when it is no such URL. The message repeats none of it,
    /// because it may hold a password.
    ///
    /// [libpq]: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
    pub fn from_url(url: &str) -> Result<Self, StoreError> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut own = Vec::new();
        let mut theirs = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some((name, value)) if OWN_PARAMETERS.contains(&name) => own.push((name, value)),
                Some((name, _)) if is_known(name) => theirs.push(parameter),
                // It may be a secret with a misspelt name: nothing of its value is repeated.
                _ => return Err(unknown(parameter)),
            }
        }
        let connect = match theirs.is_empty() {
            true => PgConnectOptions::from_str(base),
            false => PgConnectOptions::from_str(&format!("{base}?{}", theirs.join("&"))),
        };
        let connect = connect.map_err(|_| misuse("the URL of the Postgres store is malformed"))?;
        let mut settings = Self::at(connect);
        for (name, value) in own {
            settings.set(name, value)?;
        }
        Ok(settings)
    }

    /// The defaults, at that server.
    #[must_use]
    pub fn at(connect: PgConnectOptions) -> Self {
        Self {
            connect,
            schema: "ploy".to_owned(),
            durability: Durability::Full,
            writers: NonZeroUsize::MIN,
            waiting_max: 8_192,
            waiting_bytes_max: 256 << 20,
            readers_max: 8,
            connect_timeout: Duration::from_secs(5),
            append_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(30),
            partition_span: DAY,
            retention: None,
            search_index: SearchIndex::Kept,
            key_filter_bytes_max: 64 << 20,
            outbox_poll: Duration::from_secs(5),
            key_generation_bytes: 44 << 20,
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), StoreError> {
        match name {
            "schema" => self.schema = value.to_owned(),
            "durability" => {
                self.durability = match value {
                    "full" => Durability::Full,
                    "as-configured" => Durability::AsConfigured,
                    _ => return Err(misuse("`durability` is `full` or `as-configured`")),
                };
            }
            "partition_days" => self.partition_span = days(value)?,
            _ => self.retention = Some(days(value)?),
        }
        Ok(())
    }

    /// Whether the settings can be used.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.checked_schema()?;
        if !(Duration::from_secs(1)..=36_500 * DAY).contains(&self.partition_span) {
            return Err(misuse("`partition_span` is 1 s to 100 years"));
        }
        if self.readers_max == 0 {
            return Err(misuse("`readers_max` is 1 or more"));
        }
        let timeouts = [self.connect_timeout, self.append_timeout, self.call_timeout];
        match timeouts.iter().any(Duration::is_zero) {
            true => Err(misuse("a time-out is longer than nothing")),
            false => Ok(()),
        }
    }

    /// The name of the schema, once it is known to be one that needs no quotes.
    pub(crate) fn checked_schema(&self) -> Result<&str, StoreError> {
        match is_schema_name(&self.schema) {
            true => Ok(&self.schema),
            false => Err(misuse("a schema's name is 1 to 63 characters of a-z, 0-9 and _")),
        }
    }
}

/// Whether a schema may be called that: then it needs no quotes.
pub(crate) fn is_schema_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.starts_with(|char: char| char.is_ascii_lowercase() || char == '_')
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// Without the password, and whatever else the options hold.
impl fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSettings")
            .field("host", &self.connect.get_host())
            .field("port", &self.connect.get_port())
            .field("database", &self.connect.get_database())
            .field("schema", &self.schema)
            .field("durability", &self.durability)
            .field("writers", &self.writers)
            .finish_non_exhaustive()
    }
}

const OWN_PARAMETERS: [&str; 4] = ["schema", "durability", "partition_days", "retention_days"];
/// What the driver knows.
const KNOWN_PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];
const DAY: Duration = Duration::from_secs(86_400);

fn days(value: &str) -> Result<Duration, StoreError> {
    match value.parse::<u32>() {
        Ok(days) if (1..=36_500).contains(&days) => Ok(DAY * days),
        _ => Err(misuse("`partition_days` and `retention_days` are 1 to 36500")),
    }
}

fn is_known(name: &str) -> bool {
    KNOWN_PARAMETERS.contains(&name) || name.starts_with("options[")
}

fn unknown(parameter: &str) -> StoreError {
    let name = parameter.split('=').next().unwrap_or_default();
    misuse(format!("the URL of the Postgres store has the parameter `{name}`, which is none"))
}

fn misuse(message: impl Into<Cow<'static, str>>) -> StoreError {
    StoreError::new(StoreErrorKind::Misuse, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let url =
            "postgres://ploy:hunter2@db:5433/app?schema=hooks&sslmode=require&retention_days=7";
        let settings = PostgresSettings::from_url(url).unwrap();
        assert_eq!(settings.connect.get_host(), "db");
        assert_eq!(settings.connect.get_database(), Some("app"));
        assert_eq!(settings.schema, "hooks");
        assert_eq!(settings.retention, Some(DAY * 7));
        assert!(!format!("{settings:?}").contains("hunter2"));
        for wrong in [
            "postgres://ploy:hunter2@db:x/",
            "postgres://h/d?durability=hunter2",
            "postgres://h/d?passwrod=hunter2",
        ] {
            let error = PostgresSettings::from_url(wrong).unwrap_err();
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn schemas() {
        let mut settings = PostgresSettings::from_url("postgres://h/d").unwrap();
        assert_eq!(settings.checked_schema().unwrap(), "ploy");
        for name in ["", "1a", "a b", "a\"b", "A", &"a".repeat(64)] {
            settings.schema = name.to_owned();
            assert!(settings.checked_schema().is_err(), "{name}");
        }
    }
}
