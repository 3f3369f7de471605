//! The descendants of a guardian where there is no subreaper: those in the program's process
//! group, which is all that can be found.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

/// Nothing can be adopted here.
///
/// # Errors
///
/// None.
pub(super) fn adopt() -> Result<(), Errno> {
    Ok(())
}

/// Kills the process group of the program.
pub(super) fn kill(program: Pid) {
    // There may be nobody left in it.
    let _ = kill_process_group(program, Signal::KILL);
}
