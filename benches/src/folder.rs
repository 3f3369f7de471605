//! Where the stores that are measured lie: on a disk, since in memory a flush costs nothing.

use std::io;
use std::path::Path;

use rustix::fs::statfs;
use tempfile::TempDir;

/// A folder beside this program, which is on a disk, where /tmp may be memory.
///
/// # Errors
///
/// When it cannot be made.
pub fn beside_program() -> io::Result<TempDir> {
    let program = std::env::current_exe()?;
    TempDir::new_in(program.parent().unwrap_or(Path::new(".")))
}

/// Makes sure that a server's folder is on a disk.
///
/// # Errors
///
/// When it is in memory, or cannot be asked.
pub fn on_disk(folder: &Path) -> io::Result<()> {
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    let kind = statfs(folder)?.f_type;
    match [TMPFS, RAMFS].contains(&kind) {
        true => Err(io::Error::other(format!(
            "{} is in memory: set TMPDIR to a folder that is on a disk",
            folder.display()
        ))),
        false => Ok(()),
    }
}
