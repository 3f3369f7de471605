//! What is sent stands in a prompt between boundary lines, and they stand nowhere else.
#![no_main]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use ploy_webhooks::trigger::{Job, Prompt};
use ploy_webhooks::{
    EventId, Lease, LeasedRun, Means, NewEvent, Ploybook, RunId, Trigger, WorkspaceId,
};

fuzz_target!(|input: (&[u8], &str)| {
    let (payload, instructions) = input;
    let id = EventId::from_bytes([1; 16]);
    let event = NewEvent::published(id, WorkspaceId::DEFAULT, payload.to_vec().into()).into();
    let lease = Lease { run: RunId::from_bytes([2; 16]), attempt: NonZeroU32::MIN, place: 0 };
    let trigger = Trigger::ploybook("page".parse().expect("a name"));
    let leased = LeasedRun { lease, is_after_loss: false, trigger, event };
    let mut job = Job::new(leased, Duration::from_secs(60));
    let mut ploybook = Ploybook::new(Means::Function("page".to_owned()));
    ploybook.instructions = instructions.to_owned();
    job.ploybook = Some(Arc::new(ploybook));

    let prompt = Prompt::of(&job);
    let text = prompt.text();
    // The last line of all that begins like this is the prompt's own.
    let (_, end) = text.rsplit_once("\n-----END ").expect("something is sent with every event");
    let line = end.lines().next().expect("a line");
    let boundary = line.split(' ').nth(1).expect("a boundary");
    let contents = [&prompt.request, &prompt.fields, &prompt.data];
    let contents: Vec<&String> = contents.into_iter().flatten().collect();
    let pieces: Vec<&str> = text.split(boundary).collect();
    assert_eq!(pieces.len(), 2 * contents.len() + 1);
    for (content, piece) in contents.into_iter().zip(pieces.iter().skip(1).step_by(2)) {
        let (inside, _end) = piece.rsplit_once("\n-----END ").expect("an end");
        assert_eq!(inside.strip_prefix("-----\n"), Some(&content[..]));
    }
});
