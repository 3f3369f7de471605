//! The environment of a program: what it may know of this process, and what it is run for.

use std::ffi::OsString;

use crate::task::{Action, Task, Trigger};
use crate::trigger::Job;

/// What every program needs to find others, its files and its language.
const ALWAYS: [&str; 3] = ["PATH", "HOME", "LANG"];

/// How long the fields may be. They are of any length; one variable has 128 KiB on Linux, and a
/// program whose environment is longer cannot be started at all.
const FIELDS_BYTES_MAX: usize = 64 << 10;

/// The whole environment: nothing else of this process is in it. Each value is bounded, and none
/// has a NUL in it: their types see to that.
pub(super) fn of(job: &Job, passed_on: &[String]) -> Vec<(OsString, OsString)> {
    let of_this_process = ALWAYS.into_iter().chain(passed_on.iter().map(String::as_str));
    let ours = of_this_process.filter_map(|name| Some((name.into(), std::env::var_os(name)?)));
    let ploybook = match &job.trigger {
        Trigger::Task(Task { action: Action::Ploybook(name), .. }) => Some(name.to_string()),
        Trigger::Task(_) | Trigger::FirstOf(_) => None,
    };
    let fields = job.fields.to_json();
    let of_job = [
        ("PLOY_RUN_ID", Some(job.run.to_string())),
        ("PLOY_ATTEMPT", Some(job.attempt.to_string())),
        ("PLOY_EVENT_ID", Some(job.event.id.to_string())),
        ("PLOY_EVENT_TYPE", job.event.event_type.as_ref().map(|it| it.as_str().to_owned())),
        ("PLOY_ENDPOINT_ID", job.event.endpoint.map(|endpoint| endpoint.to_string())),
        ("PLOY_WORKSPACE_ID", Some(job.event.workspace.to_string())),
        ("PLOY_PLOYBOOK", ploybook),
        ("PLOY_FIELDS", (fields.len() <= FIELDS_BYTES_MAX).then_some(fields)),
    ];
    let of_job = of_job.into_iter().filter_map(|(name, value)| Some((name.into(), value?.into())));
    ours.chain(of_job).collect()
}
