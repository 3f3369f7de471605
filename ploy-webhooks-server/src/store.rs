//! The store behind the server: any that keeps all of the core's promises, chosen by its URL.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ploy_webhooks::SystemClock;
use ploy_webhooks::store::{
    EndpointStore, EventStore, MemoryStore, RunQueue, StoreError, TokenStore,
};
use ploy_webhooks_sqlite::{SqliteSettings, SqliteStore};
use thiserror::Error;

/// All that the server asks of a store. Implemented for whatever implements the parts.
pub trait Store: EventStore + EndpointStore + RunQueue + TokenStore {}

impl<S: EventStore + EndpointStore + RunQueue + TokenStore> Store for S {}

/// Where a store is, as `--store` says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreUrl {
    /// `sqlite:PATH`
    Sqlite(PathBuf),
    /// `memory:`, `memory:?payload_bytes_max=N`
    Memory { payload_bytes_max: u64 },
}

/// A text that names no store of this build.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum ParseStoreUrlError {
    #[error("the store `{0}` has no scheme: expected `sqlite:PATH` or `memory:`")]
    NoScheme(String),
    #[error(
        "stores of the scheme `{0}` are not in this build: expected `sqlite:PATH` or `memory:`"
    )]
    Unknown(String),
    #[error("`sqlite:` needs the path of a file after it")]
    NoPath,
    #[error("`memory:` takes `?payload_bytes_max=N` (a whole number of bytes) and nothing else")]
    Memory,
}

impl std::str::FromStr for StoreUrl {
    type Err = ParseStoreUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(ParseStoreUrlError::NoScheme(text.to_owned()));
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
            // What follows an unknown scheme may hold a password: it is not repeated.
            (scheme, _) => Err(ParseStoreUrlError::Unknown(scheme.to_owned())),
        }
    }
}

/// A store that could not be opened.
#[derive(Debug, Error)]
pub(crate) enum OpenError {
    #[error("cannot make the folder `{}`", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("cannot open the store")]
    Store(#[from] StoreError),
}

/// An open store.
#[derive(Debug)]
pub(crate) struct OpenStore {
    pub(crate) store: Arc<dyn Store>,
    /// The same store, where closing it is more than dropping it.
    sqlite: Option<Arc<SqliteStore>>,
}

impl OpenStore {
    /// Opens the store, and makes it where there is none.
    pub(crate) async fn open(url: &StoreUrl) -> Result<Self, OpenError> {
        match url {
            StoreUrl::Memory { payload_bytes_max } => Ok(Self {
                store: Arc::new(MemoryStore::with_parts(*payload_bytes_max, Arc::new(SystemClock))),
                sqlite: None,
            }),
            StoreUrl::Sqlite(path) => {
                let store = Arc::new(open_sqlite(path).await?);
                Ok(Self { store: store.clone(), sqlite: Some(store) })
            }
        }
    }

    /// Flushes what waits.
    pub(crate) async fn close(self) {
        if let Some(sqlite) = self.sqlite {
            sqlite.close().await;
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
        assert_eq!(parse("sqlite:a/b.db"), Ok(StoreUrl::Sqlite("a/b.db".into())));
        assert_eq!(
            parse("memory:?payload_bytes_max=7"),
            Ok(StoreUrl::Memory { payload_bytes_max: 7 })
        );
        assert_eq!(parse("sqlite:"), Err(ParseStoreUrlError::NoPath));
        assert_eq!(parse("memory:?x=1"), Err(ParseStoreUrlError::Memory));
        assert!(matches!(parse("ploy.db"), Err(ParseStoreUrlError::NoScheme(_))));
        let error = parse("postgres://user:hunter2@host/db").unwrap_err();
        assert!(error.to_string().contains("`postgres` are not in this build"));
        assert!(!error.to_string().contains("hunter2"));
    }
}
