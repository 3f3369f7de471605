//! The store behind the server: any that keeps all of the core's promises, chosen by its URL.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ploy_webhooks::SystemClock;
use ploy_webhooks::limit::{LocalLimiter, RateLimiter};
use ploy_webhooks::store::{
    ActivityStore, Definition, DefinitionStore, EndpointStore, EventStore, FeedStore, Format,
    HistoryStore, Inspection, MemoryStore, RetentionStore, RunQueue, StoreError, TokenStore,
};
use ploy_webhooks_postgres::{EndpointChanges, PostgresSettings, PostgresStore};
use ploy_webhooks_redis::{RedisSettings, RedisStore};
use ploy_webhooks_sqlite::{SqliteSettings, SqliteStore};
use thiserror::Error;

/// All that the server asks of a store. Implemented for whatever implements the parts.
pub trait Store:
    EventStore
    + EndpointStore
    + RunQueue
    + TokenStore
    + DefinitionStore
    + ActivityStore
    + FeedStore
    + HistoryStore
    + RetentionStore
{
}

impl<S> Store for S where
    S: EventStore
        + EndpointStore
        + RunQueue
        + TokenStore
        + DefinitionStore
        + ActivityStore
        + FeedStore
        + HistoryStore
        + RetentionStore
{
}

/// Where a store is, as `--store` says it.
#[derive(Clone, Debug)]
pub(crate) enum StoreUrl {
    /// `sqlite:PATH`
    Sqlite(PathBuf),
    /// `memory:`, `memory:?payload_bytes_max=N`
    Memory { payload_bytes_max: u64 },
    /// `postgres://…`
    Postgres(Box<PostgresSettings>),
    /// `redis://…`, `rediss://…`
    Redis(Box<RedisSettings>),
}

/// A text that names no store of this build. What follows a scheme may hold a password, and is
/// not repeated.
#[derive(Debug, Error)]
pub(crate) enum ParseStoreUrlError {
    #[error("the store has no scheme: expected {EXPECTED}")]
    NoScheme,
    #[error("stores of the scheme `{0}` are not in this build: expected {EXPECTED}")]
    Unknown(String),
    #[error("`sqlite:` needs the path of a file after it")]
    NoPath,
    #[error("`memory:` takes `?payload_bytes_max=N` (a whole number of bytes) and nothing else")]
    Memory,
    #[error(transparent)]
    Engine(#[from] StoreError),
}

const EXPECTED: &str = "`sqlite:PATH`, `memory:`, `postgres://…` or `redis://…`";

impl std::str::FromStr for StoreUrl {
    type Err = ParseStoreUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(ParseStoreUrlError::NoScheme);
        };
        match (scheme, rest) {
            ("sqlite", "") => Err(ParseStoreUrlError::NoPath),
            ("sqlite", path) => Ok(Self::Sqlite(path.into())),
            ("memory", "") => {
                Ok(Self::Memory { payload_bytes_max: MemoryStore::PAYLOAD_BYTES_MAX })
            }
            ("memory", query) => query
                .strip_prefix("?payload_bytes_max=")
                .and_then(|number| number.parse().ok())
                .map(|payload_bytes_max| Self::Memory { payload_bytes_max })
                .ok_or(ParseStoreUrlError::Memory),
            ("postgres" | "postgresql", _) => {
                Ok(Self::Postgres(Box::new(PostgresSettings::from_url(text)?)))
            }
            ("redis" | "rediss", _) => Ok(Self::Redis(Box::new(RedisSettings::from_url(text)?))),
            (scheme, _) if is_scheme(scheme) => Err(ParseStoreUrlError::Unknown(scheme.to_owned())),
            _ => Err(ParseStoreUrlError::NoScheme),
        }
    }
}

impl StoreUrl {
    /// What the store is found to be, without opening it.
    pub(crate) async fn inspect(&self) -> Result<Inspection, StoreError> {
        match self {
            Self::Memory { .. } => Ok(Inspection {
                engine: "memory, which nothing outlasts".to_owned(),
                format: Format::Current { version: 1 },
                settings: Vec::new(),
                refusal: None,
            }),
            Self::Sqlite(path) => SqliteStore::inspect(&SqliteSettings::at(path)).await,
            Self::Postgres(settings) => PostgresStore::inspect(settings).await,
            Self::Redis(settings) => RedisStore::inspect(settings).await,
        }
    }

    /// What keyring the store keeps, without opening it.
    pub(crate) async fn inspect_keyring(&self) -> Result<KeptKeyring, StoreError> {
        let kept = match self {
            Self::Memory { .. } => None,
            Self::Sqlite(path) => SqliteStore::inspect_keyring(&SqliteSettings::at(path)).await?,
            Self::Postgres(settings) => PostgresStore::inspect_keyring(settings).await?,
            Self::Redis(_) => return Ok(KeptKeyring::Unknown),
        };
        Ok(kept.map_or(KeptKeyring::None, KeptKeyring::Wrapped))
    }
}

/// The keyring that a store keeps, which is up to date and need not be open.
pub(crate) enum KeptKeyring {
    /// There is none yet.
    None,
    /// This one, wrapped.
    Wrapped(Definition),
    /// The store cannot tell before it is opened.
    Unknown,
}

/// Whether it is of the form of a scheme (RFC 3986 §3.1), and not what has a password in it.
fn is_scheme(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte))
}

/// A store that could not be opened.
#[derive(Debug, Error)]
pub(crate) enum OpenError {
    #[error("cannot make the folder `{}`", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("cannot open the store")]
    Store(#[from] StoreError),
}

/// An open store, and what comes with it.
#[derive(Debug)]
pub(crate) struct OpenStore {
    pub(crate) store: Arc<dyn Store>,
    /// Holds rates for all nodes together, where nodes share a store.
    pub(crate) limiter: Arc<dyn RateLimiter>,
    /// What other nodes change, where the store tells.
    pub(crate) changes: Option<EndpointChanges>,
    engine: Engine,
}

/// The same store, to be closed.
#[derive(Debug)]
enum Engine {
    /// Closing it is no more than dropping it.
    Memory,
    Sqlite(Arc<SqliteStore>),
    Postgres(Arc<PostgresStore>),
    Redis(Arc<RedisStore>),
}

impl OpenStore {
    /// Opens the store, and makes it where there is none.
    pub(crate) async fn open(url: &StoreUrl) -> Result<Self, OpenError> {
        match url {
            StoreUrl::Memory { payload_bytes_max } => {
                let clock = Arc::new(SystemClock);
                let store = Arc::new(MemoryStore::with_parts(*payload_bytes_max, clock));
                Ok(Self::of_one_node(store, Engine::Memory))
            }
            StoreUrl::Sqlite(path) => {
                let store = Arc::new(open_sqlite(path).await?);
                Ok(Self::of_one_node(store.clone(), Engine::Sqlite(store)))
            }
            StoreUrl::Postgres(settings) => {
                let store = Arc::new(PostgresStore::open((**settings).clone()).await?);
                Ok(Self {
                    limiter: Arc::new(store.limiter()),
                    changes: Some(store.endpoint_changes()),
                    store: store.clone(),
                    engine: Engine::Postgres(store),
                })
            }
            StoreUrl::Redis(settings) => {
                let store = Arc::new(RedisStore::open((**settings).clone()).await?);
                Ok(Self {
                    limiter: Arc::new(store.limiter()),
                    changes: None,
                    store: store.clone(),
                    engine: Engine::Redis(store),
                })
            }
        }
    }

    fn of_one_node(store: Arc<dyn Store>, engine: Engine) -> Self {
        Self { store, limiter: Arc::new(LocalLimiter::new()), changes: None, engine }
    }

    /// Where apps put events that they publish with their own data, where the store has that.
    pub(crate) fn outbox(&self) -> Option<Arc<PostgresStore>> {
        match &self.engine {
            Engine::Postgres(store) => Some(store.clone()),
            Engine::Memory | Engine::Sqlite(_) | Engine::Redis(_) => None,
        }
    }

    /// What backups are made of, where they are not the business of an engine.
    pub(crate) fn sqlite(&self) -> Option<Arc<SqliteStore>> {
        match &self.engine {
            Engine::Sqlite(store) => Some(store.clone()),
            Engine::Memory | Engine::Postgres(_) | Engine::Redis(_) => None,
        }
    }

    /// Flushes what waits.
    pub(crate) async fn close(self) {
        match self.engine {
            Engine::Memory => {}
            Engine::Sqlite(store) => store.close().await,
            Engine::Postgres(store) => store.close().await,
            Engine::Redis(store) => store.close().await,
        }
    }
}

async fn open_sqlite(path: &Path) -> Result<SqliteStore, OpenError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|source| OpenError::Folder { path: folder.to_owned(), source })?;
    }
    Ok(SqliteStore::open(SqliteSettings::at(path)).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let parse = str::parse::<StoreUrl>;
        assert!(
            matches!(parse("sqlite:a/b.db"), Ok(StoreUrl::Sqlite(path)) if path == Path::new("a/b.db"))
        );
        assert!(matches!(
            parse("memory:?payload_bytes_max=7"),
            Ok(StoreUrl::Memory { payload_bytes_max: 7 })
        ));
        assert!(matches!(parse("sqlite:"), Err(ParseStoreUrlError::NoPath)));
        assert!(matches!(parse("memory:?x=1"), Err(ParseStoreUrlError::Memory)));
        assert!(matches!(parse("ploy.db"), Err(ParseStoreUrlError::NoScheme)));
        let postgres = parse("postgres://user:hunter2@host/db?schema=hooks").unwrap();
        assert!(matches!(&postgres, StoreUrl::Postgres(settings) if settings.schema == "hooks"));
        assert!(!format!("{postgres:?}").contains("hunter2"));
        assert!(matches!(parse("rediss://h:6380"), Ok(StoreUrl::Redis(_))));
        for unusable in ["mysql://user:hunter2@host/db", "postgres://user:hunter2@host:x/db"] {
            let error = parse(unusable).unwrap_err();
            assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
        }
    }
}
