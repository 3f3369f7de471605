//! Where the stores that are measured lie.

use std::io;
use std::path::Path;

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
