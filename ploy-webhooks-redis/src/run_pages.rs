//! Runs in the order of their ids, and by their state.
//!
//! Each owner has a list of its runs in each state, so that a state which few runs are in is as
//! quick to read as one that all are in. The ids are read first, from the lists, and then as many
//! of the runs as make a page: what their attempts have said may be large. Those of one destination
//! have no list of their own: their owners' runs are looked at, up to a bound.

use ploy_webhooks::store::{Page, RunQuery, StoreError};
use ploy_webhooks::{Run, RunId, RunState};

use crate::RedisStore;
use crate::engine::{Call, Via};
use crate::error::corrupt;
use crate::layout::Bucket;
use crate::merge::{Found, Merge, Wanted};
use crate::run_record::{letter_of, parse_run};
use crate::script::{self, ScriptCall};
use crate::value;

/// A page has no more bytes that attempts said, but for the first run of each bucket.
const PAGE_BYTES: u64 = 4 << 20;

/// One page of the query.
pub(crate) async fn page(
    store: &RedisStore,
    query: &RunQuery,
) -> Result<Page<Run, RunQuery>, StoreError> {
    let states = query.state.map_or(RunState::ALL.to_vec(), |state| vec![state]);
    let first = match query.below {
        Some(id) => [b"(", &id.as_bytes()[..]].concat(),
        None => b"+".to_vec(),
    };
    let wanted = Wanted {
        workspace: query.workspace,
        only: None,
        sets: states.into_iter().flat_map(lists_of).map(|list| format!("{list}:")).collect(),
        first,
        last: b"-".to_vec(),
        is_turned: true,
    };
    let limit = query.limit.get();
    let slices = if query.destination.is_some() { &SLICES[..] } else { &[limit] };
    let mut ids = Merge::new(store, wanted, slices[0] + 1);
    let mut rest = query.clone();
    // One ahead, which tells whether there are more.
    let mut ahead = ids.next().await?;
    for &size in slices {
        let mut found = Vec::with_capacity(size);
        while found.len() < size
            && let Some(next) = ahead.take()
        {
            found.push(next);
            ahead = ids.next().await?;
        }
        let mut items = Vec::new();
        for (found, run) in found.iter().zip(read(store, query, &found).await?) {
            if items.len() == limit {
                return Ok(Page { items, next: Some(rest) });
            }
            match run {
                Read::Run(run) => items.push(run),
                Read::Gone => {}
                Read::Left => return Ok(Page { items, next: Some(rest) }),
            }
            rest.below = Some(RunId::from_bytes(found.id));
        }
        // How much its runs have said is bounded in one slice, and so in a page.
        if ahead.is_none() || !items.is_empty() {
            return Ok(Page { items, next: ahead.map(|_| rest) });
        }
    }
    Ok(Page { items: Vec::new(), next: Some(rest) })
}

/// Of how many runs, one slice after the other, it is looked whether they are delivered to the
/// destination that is wanted, until some are: they stand among all others.
const SLICES: [usize; 5] = [256, 1_024, 1_024, 1_024, 1_024];

/// The lists of the runs in that state.
fn lists_of(state: RunState) -> Vec<&'static str> {
    match state {
        RunState::Queued => vec![state.as_str(), "delayed"],
        state => vec![state.as_str()],
    }
}

/// What was read of a run.
#[derive(Debug)]
enum Read {
    Run(Run),
    /// It is delivered elsewhere, in another state meanwhile, or its endpoint is deleted.
    Gone,
    /// There was enough without it.
    Left,
}

/// Reads the runs, as far as they make a page: one call on a single server, one for each bucket
/// on a Cluster.
async fn read(
    store: &RedisStore,
    query: &RunQuery,
    found: &[Found],
) -> Result<Vec<Read>, StoreError> {
    // Those that are read in one call, by their place on the page, and where they lie.
    let mut parts: Vec<(u16, Vec<(usize, &Bucket)>)> = Vec::new();
    for (place, run) in found.iter().enumerate() {
        let bucket = store.layout.bucket_of(run.owner);
        let group = store.engine.group_of(bucket.slot);
        match parts.iter_mut().find(|(known, _)| *known == group) {
            Some((_, runs)) => runs.push((place, bucket)),
            None => parts.push((group, vec![(place, bucket)])),
        }
    }
    let bytes = PAGE_BYTES / parts.len().max(1) as u64;
    let calls = parts.iter().map(|(_, runs)| {
        let mut tags: Vec<&str> = runs.iter().map(|(_, bucket)| &*bucket.tag).collect();
        tags.sort_unstable();
        tags.dedup();
        let size = (5 + 3 * runs.len(), 64 * runs.len() + 24 * tags.len());
        let mut call = ScriptCall::new(&script::PAGE, tags.iter(), size);
        call.push(query.state.and_then(letter_of).unwrap_or_default());
        match query.destination {
            Some(destination) => call.push_text(destination),
            None => call.push(""),
        }
        call.push_text(bytes);
        call.push_text(query.limit.get());
        for (place, bucket) in runs {
            let key = tags.binary_search(&&*bucket.tag).expect("each has its bucket's");
            call.push_text(key + 1);
            call.push_text(found[*place].owner);
            call.push(found[*place].id);
        }
        Call::of_script(runs[0].1.slot, &script::PAGE, call)
    });
    let answers = store.engine.call_all(Via::Read, calls.collect()).await;
    let mut read: Vec<_> = found.iter().map(|_| Read::Left).collect();
    for ((_, runs), answer) in parts.iter().zip(answers) {
        let answer = answer.map_err(|failure| failure.of_read("cannot list the runs"))?;
        let answer = value::array(answer).ok_or_else(|| corrupt("a list of runs"))?;
        for ((place, _), run) in runs.iter().zip(answer) {
            read[*place] = match value::is_nil(&run) {
                true => Read::Gone,
                false => Read::Run(parse_run(run)?),
            };
        }
    }
    Ok(read)
}
