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
    ($($(#[$doc:meta])* $name:ident = $file:literal;)*) => {$(
        $(#[$doc])*
        pub(crate) static $name: Known = Known::new(|| Loadable::new(include_str!($file)));
    )*};
}

scripts! {
    /// Accepts a batch of events.
    APPEND = "scripts/append.lua";
    /// Deletes a slug's entry, or gives it to another endpoint, if it is still as expected.
    MOVE_SLUG = "scripts/move_slug.lua";
    /// Writes a new endpoint.
    CREATE = "scripts/create.lua";
    /// Sees to it that an endpoint which is not there never will be.
    BURY = "scripts/bury.lua";
    /// Changes an endpoint.
    UPDATE = "scripts/update.lua";
    /// Deletes an endpoint with its history.
    DELETE = "scripts/delete.lua";
    /// Lists a workspace's endpoints.
    LIST = "scripts/list.lua";
    /// Finds an event by its id.
    FIND = "scripts/find.lua";
    /// Lists a workspace's events in the order of their ids.
    RANGE = "scripts/range.lua";
    /// Reads the runs of an event.
    RUNS = "scripts/runs.lua";
    /// Adds runs to what an event owes.
    ENQUEUE = "scripts/enqueue.lua";
    /// Says when the next run is due.
    DUE = "scripts/due.lua";
    /// Claims runs.
    CLAIM = "scripts/claim.lua";
    /// Has a lease end later, or sooner.
    EXTEND = "scripts/extend.lua";
    /// Records the end of an attempt.
    FINISH = "scripts/finish.lua";
    /// Counts an event against a rate.
    ADMIT = "scripts/admit.lua";
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
