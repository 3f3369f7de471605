//! The descendants of a guardian, on Linux: all of them are found, wherever they have gone.

use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpid, kill_process, set_child_subreaper};

use crate::trigger::command::wire::NAME;

/// Has what is orphaned among the descendants of this process become its children.
///
/// # Errors
///
/// That of the kernel; [`Errno::NOSYS`] where it does not say which children a process has.
pub(super) fn adopt() -> Result<(), Errno> {
    let name = std::ffi::CString::new(NAME).expect("the name has no NUL");
    rustix::thread::set_name(&name)?;
    set_child_subreaper(Some(getpid()))?;
    // A kernel without CONFIG_PROC_CHILDREN, or no /proc: what cannot be found cannot be ended.
    fs::read("/proc/thread-self/children").map(drop).map_err(|_| Errno::NOSYS)
}

/// Kills every descendant that there is at the moment. While it looks, others may be made: what
/// they leave behind is found by the next look.
pub(super) fn kill(_program: Pid) {
    let mut found = children_of(getpid());
    while let Some(pid) = found.pop() {
        found.extend(children_of(pid));
        // It may be gone, or another user's.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// The children of a process, as far as they are known; none where it is gone.
fn children_of(pid: Pid) -> Vec<Pid> {
    let Ok(threads) = fs::read_dir(format!("/proc/{}/task", pid.as_raw_pid())) else {
        return Vec::new();
    };
    let lists = threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok())
        .collect::<Vec<_>>();
    let pids = lists.iter().flat_map(|list| list.split_ascii_whitespace());
    pids.filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}
