//! The scripts that the server carries out: what is one of them is one step.
//!
//! They are sent by their digest. A server that does not know one says so, and is given it.

use std::sync::LazyLock;

use redis::{Cmd, RedisWrite, Script};

/// A script with its digest.
pub(crate) type Known = LazyLock<Loadable>;

/// A script, and how it is given to a server.
#[derive(Debug)]
pub(crate) struct Loadable {
    hash: String,
    text: &'static str,
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $($text:expr),+;)*) => {$(
        $(#[$doc])*
        pub(crate) static $name: Known = Known::new(|| Loadable::new(concat!($($text),+)));
    )*};
}

/// The file of that name.
macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("scripts/", $name, ".lua"))
    };
}

/// What begins each script that is given what several share: what it may do.
macro_rules! writes {
    () => {
        "#!lua\n"
    };
    (when memory is full) => {
        "#!lua flags=allow-oom\n"
    };
    (nothing) => {
        "#!lua flags=no-writes\n"
    };
}

scripts! {
    /// Has a store be of the next format.
    ADVANCE = file!("advance");
    /// Accepts a batch of events.
    APPEND = writes!(), file!("delivery"), file!("note"), file!("append");
    /// Deletes a slug's entry, or gives it to another endpoint, if it is still as expected.
    MOVE_SLUG = file!("move_slug");
    /// Writes a new endpoint.
    CREATE = file!("create");
    /// Sees to it that an endpoint which is not there never will be.
    BURY = file!("bury");
    /// Changes an endpoint.
    UPDATE = file!("update");
    /// Deletes an endpoint with its history.
    DELETE = writes!(when memory is full), file!("delivery"), file!("line"), file!("delete");
    /// Lists a workspace's endpoints.
    LIST = file!("list");
    /// Finds an event by its id.
    FIND = file!("find");
    /// Lists a workspace's events, or runs, in the order of their ids.
    RANGE = file!("range");
    /// Reads the runs of an event.
    RUNS = writes!(nothing), file!("reading"), file!("runs");
    /// Finds a run by its id.
    FIND_RUN = writes!(nothing), file!("reading"), file!("find_run");
    /// Reads runs whose ids are known.
    PAGE = writes!(nothing), file!("delivery"), file!("reading"), file!("page");
    /// Adds runs to what an event owes.
    ENQUEUE = writes!(), file!("delivery"), file!("line"), file!("note"), file!("enqueue");
    /// Says when there is something to claim.
    DUE = file!("due");
    /// Claims runs.
    CLAIM = writes!(when memory is full), file!("delivery"), file!("line"), file!("note"), file!("claim");
    /// Has a lease end later, or sooner.
    EXTEND = writes!(when memory is full), file!("delivery"), file!("line"), file!("extend");
    /// Records the end of an attempt.
    FINISH = writes!(when memory is full), file!("delivery"), file!("line"), file!("note"), file!("finish");
    /// Moves a run by hand.
    ALTER = writes!(when memory is full), file!("delivery"), file!("line"), file!("note"), file!("alter");
    /// Removes old events.
    EXPIRE = writes!(when memory is full), file!("delivery"), file!("line"), file!("expire");
    /// Reads what was put down for the feed.
    CHANGES = file!("changes");
    /// Says where the feed ends.
    FEED_END = file!("feed_end");
    /// Reads what is known of what the feed tells of.
    TOLD = file!("told");
    /// Sets a definition.
    DEFINE = file!("define");
    /// Deletes a definition.
    UNDEFINE = file!("undefine");
    /// Lists definitions.
    DEFINITIONS = file!("definitions");
    /// Adds up what was observed of senders.
    OBSERVE = file!("observe");
    /// Says what is known of an endpoint beside its state.
    ACTIVITY = file!("activity");
    /// Adds up how much has happened in a workspace.
    TALLY = file!("tally");
    /// Counts an event against a rate.
    ADMIT = file!("admit");
}

impl Loadable {
    fn new(text: &'static str) -> Self {
        Self { hash: Script::new(text).get_hash().to_owned(), text }
    }

    /// The command that gives the script to a server.
    pub(crate) fn load(&self) -> Cmd {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(self.text);
        load
    }
}

/// A call of a script, into which arguments are written as they are.
#[derive(Clone)]
pub(crate) struct ScriptCall(pub(crate) Cmd);

impl ScriptCall {
    /// A call with these keys, which decide where it is carried out, with room for so much.
    pub(crate) fn new(
        script: &Loadable,
        keys: impl ExactSizeIterator<Item = impl AsRef<[u8]>>,
        (arguments, bytes): (usize, usize),
    ) -> Self {
        let mut cmd = Cmd::with_capacity(arguments + keys.len() + 3, bytes + 512);
        cmd.arg("EVALSHA").arg(&script.hash).arg(keys.len());
        for key in keys {
            cmd.write_arg(key.as_ref());
        }
        Self(cmd)
    }

    /// The same for a single key and a few small arguments.
    pub(crate) fn small(script: &Loadable, key: &str) -> Self {
        Self::new(script, std::iter::once(key), (8, 256))
    }

    /// Adds an argument, byte for byte.
    pub(crate) fn bytes(mut self, argument: impl AsRef<[u8]>) -> Self {
        self.push(argument);
        self
    }

    /// Adds an argument as its text.
    pub(crate) fn text(mut self, argument: impl std::fmt::Display) -> Self {
        self.0.write_arg_fmt(argument);
        self
    }

    pub(crate) fn push(&mut self, argument: impl AsRef<[u8]>) {
        self.0.write_arg(argument.as_ref());
    }

    pub(crate) fn push_text(&mut self, argument: impl std::fmt::Display) {
        self.0.write_arg_fmt(argument);
    }
}
