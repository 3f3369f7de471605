//! Which core a process runs on, and how much of the cores a process, or a whole family, has used.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
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

/// A server of a database: a process and all that descend from it.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    root: u32,
}

/// What the kernel says of a process.
struct Member {
    parent: u32,
    /// What it has used, and what children of it had used that have ended and that it waited for.
    ticks: u64,
}

impl Family {
    /// The family of this process.
    #[must_use]
    pub const fn of(root: u32) -> Self {
        Self { root }
    }

    /// The family of this process's parent, as a backend's of Postgres.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub fn of_parent(child: u32) -> io::Result<Self> {
        let child = member(child).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { root: child.parent })
    }

    /// The CPU time of all of them, those that have ended included, in ticks of the kernel's, of
    /// which there are usually a hundred a second.
    ///
    /// # Errors
    ///
    /// When the kernel does not list its processes.
    pub fn used(self) -> io::Result<Duration> {
        let mut members = HashMap::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.parse().ok());
            // One may end while the others are looked at.
            let found = id.and_then(|id| Some((id, member(id)?)));
            members.extend(found);
        }
        let belongs = |mut id: u32| loop {
            if id == self.root {
                return true;
            }
            match members.get(&id) {
                Some(member) => id = member.parent,
                None => return false,
            }
        };
        let ticks: u64 =
            members.iter().filter(|(id, _)| belongs(**id)).map(|(_, member)| member.ticks).sum();
        Ok(Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64))
    }
}

fn member(id: u32) -> Option<Member> {
    let line = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name before may hold anything, spaces and brackets too.
    let (_, rest) = line.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let ticks = |place: usize| fields.get(place)?.parse::<u64>().ok();
    Some(Member {
        parent: fields.get(1)?.parse().ok()?,
        ticks: ticks(11)? + ticks(12)? + ticks(13)? + ticks(14)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_holds_what_its_members_have_used() {
        let family = Family::of(std::process::id());
        let before = family.used().unwrap();
        while family.used().unwrap() == before {
            std::hint::spin_loop();
        }
        let parent = Family::of_parent(std::process::id()).unwrap();
        assert!(parent.used().unwrap() >= before);
    }

    #[test]
    fn cpu_time_goes_on_and_a_core_that_is_not_there_is_refused() {
        let before = used();
        while used() == before {
            std::hint::spin_loop();
        }
        assert!(pin(usize::MAX).is_err());
    }
}
