//! The master key: from the environment, or from a file that the first start makes.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ploy_webhooks::store::{Defined, Definition, DefinitionKind, DefinitionStore, MemoryStore};
use ploy_webhooks::{Keyring, KeyringError, MasterKey, ParseMasterKeyError, Secret, WorkspaceId};
use rustix::fs::{Mode, OFlags};
use thiserror::Error;

use crate::config::MasterKeys;
use crate::store::{Store, StoreUrl};

/// Why the secrets of the store cannot be opened.
#[derive(Debug, Error)]
pub(crate) enum KeysError {
    #[error("the master key in `{}` is unusable", path.display())]
    Unusable { path: PathBuf, source: ParseMasterKeyError },
    #[error(
        "the store has secrets, and their master key is missing: it was in `{}`; put the file back, \
         or give the key in PLOY_MASTER_KEY",
        .0.display()
    )]
    Missing(PathBuf),
    #[error("cannot read or make the master key `{}`", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Keyring(#[from] KeyringError),
}

/// The keyring of the store, opened by the key that the operator has given, or made with it.
pub(super) async fn keyring(
    store: &dyn Store,
    url: &StoreUrl,
    given: MasterKeys,
    configured: Option<&Path>,
) -> Result<Keyring, KeysError> {
    let MasterKeys { current, previous } = given;
    if let Some(key) = current {
        return Ok(Keyring::of_store(store, &key, previous.as_slice()).await?);
    }
    let Some(path) = file(url, configured) else {
        return Ok(Keyring::mint());
    };
    if let Some(key) = read(&path)? {
        return Ok(Keyring::of_store(store, &key, previous.as_slice()).await?);
    }
    if Keyring::is_kept_in(store).await.map_err(KeyringError::Store)? {
        // Where several processes start at once, another may have made both meanwhile: the file
        // first.
        let key = read(&path)?.ok_or(KeysError::Missing(path))?;
        return Ok(Keyring::of_store(store, &key, previous.as_slice()).await?);
    }
    first_keyring(store, &path).await
}

/// Where the master key is, which opens the secrets of a store.
#[derive(Debug)]
pub(crate) enum Found {
    /// In the environment.
    Given,
    /// In this file.
    File(PathBuf),
    /// Nowhere yet: the first start makes this file.
    Nowhere(PathBuf),
    /// None is needed.
    Unneeded,
}

/// Where the master key is found, and whether it is one.
pub(crate) fn find(
    url: &StoreUrl,
    given: &MasterKeys,
    configured: Option<&Path>,
) -> Result<Found, KeysError> {
    if given.current.is_some() {
        return Ok(Found::Given);
    }
    let Some(path) = file(url, configured) else {
        return Ok(Found::Unneeded);
    };
    Ok(match read(&path)? {
        Some(_) => Found::File(path),
        None => Found::Nowhere(path),
    })
}

/// Whether what was found opens that keyring, as the start of the server would find. Nothing is
/// changed: the keyring is opened in a store of its own.
pub(crate) async fn check_opens(
    found: &Found,
    given: &MasterKeys,
    keyring: &Definition,
) -> Result<(), KeysError> {
    let key = match (found, &given.current) {
        (Found::Given, Some(key)) => key.clone(),
        (Found::File(path), _) => read(path)?.ok_or_else(|| KeysError::Missing(path.to_owned()))?,
        (Found::Nowhere(path), _) => return Err(KeysError::Missing(path.to_owned())),
        (Found::Given | Found::Unneeded, _) => return Ok(()),
    };
    let (alone, kind) = (MemoryStore::new(), DefinitionKind::Keyring);
    let Definition { name, text, .. } = keyring;
    let kept = alone.define(&WorkspaceId::ROOT, kind, name, None, text).await;
    let _: Defined = kept.map_err(KeyringError::Store)?;
    Keyring::of_store(&alone, &key, given.previous.as_slice()).await?;
    Ok(())
}

/// The file of the master key; `None` where nothing that it opens outlasts the process.
fn file(url: &StoreUrl, configured: Option<&Path>) -> Option<PathBuf> {
    match (configured, url) {
        (Some(path), _) => Some(path.to_owned()),
        (None, StoreUrl::Memory { .. }) => None,
        (None, StoreUrl::Sqlite(database)) => Some(database.with_file_name("master.key")),
        (None, _) => Some(PathBuf::from("ploy-data/master.key")),
    }
}

/// Makes the master key, and the keyring with it.
async fn first_keyring(store: &dyn Store, path: &Path) -> Result<Keyring, KeysError> {
    let minted = MasterKey::mint();
    let failed = |source| KeysError::File { path: path.to_owned(), source };
    make(path, &minted.expose()).map_err(failed)?;
    // Of several processes that start at once in one folder, the first has made the file.
    let key = read(path)?.ok_or_else(|| KeysError::Missing(path.to_owned()))?;
    match Keyring::of_store(store, &key, &[]).await {
        // Another node has made the keyring meanwhile, with a key of its own: this one is of no use.
        Err(KeyringError::WrongKey) if key.expose() == minted.expose() => {
            std::fs::remove_file(path).map_err(failed)?;
            Err(KeysError::Missing(path.to_owned()))
        }
        keyring => {
            tracing::info!(
                path = %path.display(),
                "made the master key of the store's secrets: keep a copy of it apart from the store"
            );
            Ok(keyring?)
        }
    }
}

fn read(path: &Path) -> Result<Option<MasterKey>, KeysError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(KeysError::File { path: path.to_owned(), source }),
    };
    warn_of_readers(path);
    let key = text.parse();
    key.map(Some).map_err(|source| KeysError::Unusable { path: path.to_owned(), source })
}

fn warn_of_readers(path: &Path) {
    let others = Mode::RWXG | Mode::RWXO;
    let mode = rustix::fs::stat(path).map(|stat| Mode::from_raw_mode(stat.st_mode));
    if mode.is_ok_and(|mode| mode.intersects(others)) {
        tracing::warn!(path = %path.display(), "others may read the master key: chmod 600");
    }
}

/// Puts the file in its place whole or not at all, readable for nobody else from the begin.
fn make(path: &Path, key: &Secret) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut draft = path.as_os_str().to_owned();
    // Processes in different containers may have one number.
    draft.push(format!(".{:016x}", fastrand::u64(..)));
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW;
    let mut file = File::from(rustix::fs::open(&draft, flags, Mode::RUSR | Mode::WUSR)?);
    let put = (|| {
        writeln!(file, "{}", key.expose())?;
        file.sync_all()?;
        std::fs::hard_link(&draft, path)?;
        File::open(folder)?.sync_all()
    })();
    std::fs::remove_file(&draft)?;
    match put {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        put => put,
    }
}
