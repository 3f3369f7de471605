//! Which core a process runs on, and how much of it the process has used.

use std::io;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// Keeps this thread, and every thread that it starts from now on, on one core.
///
/// # Errors
///
/// When the machine has no such core, or the process may not use it.
pub fn pin(core: usize) -> io::Result<()> {
    if core >= CpuSet::MAX_CPU {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut only = CpuSet::new();
    only.set(core);
    Ok(sched_setaffinity(None, &only)?)
}

/// The CPU time of this process, of all its threads, also those that have ended: in user code
/// and in the kernel on its behalf, in nanoseconds.
#[must_use]
pub fn used() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("CPU time is not negative")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_goes_on_and_a_core_that_is_not_there_is_refused() {
        let before = used();
        while used() == before {
            std::hint::spin_loop();
        }
        assert!(pin(usize::MAX).is_err());
    }
}
