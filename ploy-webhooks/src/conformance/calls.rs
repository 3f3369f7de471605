//! The calls that the model and the store are played against each other with.

use proptest::option;
use proptest::prelude::*;

/// A sequence of calls. Numbers name what there is by then, counted round and round.
pub(super) type Calls = Vec<Call>;

#[derive(Clone, Debug)]
pub(super) enum Call {
    Create { workspace: u8 },
    Update { endpoint: u8, revisions_behind: u64 },
    Delete { endpoint: u8 },
    Append { endpoint: u8, revisions_behind: u64, with: With },
    Publish { workspace: u8, with: With },
    Search(Wanted),
    LookUp { event: u8 },
    Claim { max: u16 },
    Finish { run: u8, attempts_behind: usize, end: End },
    Enqueue { workspace: u8, event: u8 },
    Reopen,
}

/// What comes of an attempt.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Succeed,
    Fail,
    RetryAtOnce,
    RetryLater,
}

/// What an event has.
#[derive(Clone, Debug)]
pub(super) struct With {
    pub(super) payload: &'static str,
    pub(super) key: Option<u8>,
    pub(super) event_type: Option<&'static str>,
    pub(super) runs: u8,
}

/// What is searched for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) workspace: u8,
    pub(super) endpoint: Option<u8>,
    pub(super) event_type: Option<&'static str>,
    pub(super) received_from: Option<u8>,
    pub(super) received_before: Option<u8>,
    pub(super) contains: Option<&'static str>,
    pub(super) descending: bool,
    pub(super) limit: u16,
}

pub(super) fn call() -> impl Strategy<Value = Call> {
    let behind = || prop_oneof![4 => Just(0_u64), 1 => 1..3_u64];
    let update = (any::<u8>(), behind());
    let append = (any::<u8>(), behind(), with());
    prop_oneof![
        2 => (0..2_u8).prop_map(|workspace| Call::Create { workspace }),
        2 => update.prop_map(|(endpoint, revisions_behind)| Call::Update { endpoint, revisions_behind }),
        1 => any::<u8>().prop_map(|endpoint| Call::Delete { endpoint }),
        12 => append.prop_map(|(endpoint, revisions_behind, with)| Call::Append { endpoint, revisions_behind, with }),
        4 => (0..2_u8, with()).prop_map(|(workspace, with)| Call::Publish { workspace, with }),
        8 => wanted().prop_map(Call::Search),
        4 => any::<u8>().prop_map(|event| Call::LookUp { event }),
        6 => (1..6_u16).prop_map(|max| Call::Claim { max }),
        6 => finish(),
        2 => (0..2_u8, any::<u8>()).prop_map(|(workspace, event)| Call::Enqueue { workspace, event }),
        1 => Just(Call::Reopen),
    ]
}

fn finish() -> impl Strategy<Value = Call> {
    const ENDS: [End; 5] =
        [End::Succeed, End::Fail, End::RetryAtOnce, End::RetryAtOnce, End::RetryLater];
    let behind = prop_oneof![4 => Just(0_usize), 1 => Just(1)];
    (any::<u8>(), behind, prop::sample::select(&ENDS[..]))
        .prop_map(|(run, attempts_behind, end)| Call::Finish { run, attempts_behind, end })
}

fn with() -> impl Strategy<Value = With> {
    const PAYLOADS: [&str; 4] =
        [r#"{"who":"Äcme"}"#, r#"{"who":"acme 100%"}"#, "{}", r#"{"n":1,"n":2}"#];
    let payload = prop::sample::select(&PAYLOADS[..]);
    (payload, option::of(0..3_u8), event_type(), 0..3_u8)
        .prop_map(|(payload, key, event_type, runs)| With { payload, key, event_type, runs })
}

fn event_type() -> impl Strategy<Value = Option<&'static str>> {
    option::of(prop::sample::select(&["paid", "Paid", "due"][..]))
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let needles = prop::sample::select(&["ACME", "äcme", "%", "{}", "n", "1,\"N\":2}"][..]);
    let limit = prop_oneof![1..8_u16, Just(200)];
    let times = (option::weighted(0.2, any::<u8>()), option::weighted(0.2, any::<u8>()));
    let endpoint = option::weighted(0.3, any::<u8>());
    (0..2_u8, endpoint, event_type(), times, option::of(needles), any::<bool>(), limit).prop_map(
        |(workspace, endpoint, event_type, times, contains, descending, limit)| Wanted {
            workspace,
            endpoint,
            event_type,
            received_from: times.0,
            received_before: times.1,
            contains,
            descending,
            limit,
        },
    )
}
