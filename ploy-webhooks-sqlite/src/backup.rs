//! A copy of the store as it is, while it goes on.
//!
//! `VACUUM INTO` reads one snapshot and writes it into a new file without gaps. The writer does not
//! wait for it; the log cannot begin anew as long as it is read, and grows.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use ploy_webhooks::store::{StoreError, StoreErrorKind};
use rusqlite::{Connection, params};

use crate::SqliteStore;
use crate::database::with_suffix;
use crate::error::store_error;

impl SqliteStore {
    /// Copies the store into a new file, and says how many bytes that has. Every event whose append
    /// has returned before the call is in it, and so is everything else, as it was at one moment:
    /// open it as any other store.
    ///
    /// The file is there only once it is whole and on the disk. Beside it, while it is written, is
    /// one whose name ends with `.partial`; what is left of an earlier one is deleted. One copy is
    /// made at a time, others wait.
    ///
    /// # Errors
    ///
    /// - [`Refused`](StoreErrorKind::Refused): there is a file already, the folder is missing or
    ///   cannot be written to, or the disk is full.
    /// - [`Misuse`](StoreErrorKind::Misuse): the path is not UTF-8.
    /// - [`Unavailable`](StoreErrorKind::Unavailable): the store is closed.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may make the copy all the same.
    pub async fn back_up(&self, to: impl Into<PathBuf>) -> Result<u64, StoreError> {
        let to = to.into();
        self.backups.read(move |connection| back_up(connection, &to)).await
    }
}

fn back_up(connection: &Connection, to: &Path) -> Result<u64, StoreError> {
    let partial = with_suffix(to, ".partial");
    let Some(partial_text) = partial.to_str() else {
        return Err(StoreError::new(
            StoreErrorKind::Misuse,
            "the path of a backup is UTF-8: give another one",
        ));
    };
    let exists = to.try_exists().map_err(|error| refused(to, error))?;
    if exists {
        let error = io::Error::from(io::ErrorKind::AlreadyExists);
        return Err(refused(to, error));
    }
    forget(&partial).map_err(|error| refused(&partial, error))?;
    // A folder that is missing is SQLite's, too, but it does not say so.
    make_for_its_user_alone(&partial).map_err(|error| refused(&partial, error))?;
    let copied = copy(connection, partial_text)
        .and_then(|()| begin_an_epoch(&partial))
        .and_then(|()| finish(&partial, to).map_err(|error| refused(to, error)));
    if copied.is_err() {
        // What went wrong first is what is said.
        let _ = forget(&partial);
    }
    copied
}

/// Whatever the folder and the umask allow to others.
fn make_for_its_user_alone(partial: &Path) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(partial).map(drop)
}

fn copy(connection: &Connection, to: &str) -> Result<(), StoreError> {
    let copied = connection.execute("VACUUM INTO ?1", params![to]);
    copied.map(drop).map_err(|error| store_error("cannot copy the database", error))
}

/// What comes into the copy has the places of what comes into the store: who follows the one is not
/// to go on in the other as if it was the same.
fn begin_an_epoch(copy: &Path) -> Result<(), StoreError> {
    let begun = Connection::open(copy).and_then(|copy| {
        copy.execute("UPDATE forgotten SET epoch = random()", [])?;
        copy.close().map_err(|(_, error)| error)
    });
    begun.map_err(|error| store_error("cannot finish the copy of the database", error))
}

/// Has the copy outlast the machine, and only then gives it its name.
fn finish(partial: &Path, to: &Path) -> io::Result<u64> {
    let file = File::open(partial)?;
    file.sync_all()?;
    fs::rename(partial, to)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(file.metadata()?.len())
}

fn forget(partial: &Path) -> io::Result<()> {
    match fs::remove_file(partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn refused(path: &Path, error: io::Error) -> StoreError {
    let message = format!("cannot write the backup {}: {error}", path.display());
    StoreError::new(StoreErrorKind::Refused, message).because(error)
}
