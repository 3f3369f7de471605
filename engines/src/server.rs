//! What all servers have in common: a port, a start that is waited for, an end.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use url::Url;

use crate::guardian::Guardian;
use crate::ports;

/// How long a start may take. Machines that compile beside are slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long until a server is asked again whether it is ready.
const PAUSE: Duration = Duration::from_millis(20);

/// A server of this process.
#[derive(Debug)]
pub(crate) struct Server {
    guardian: Guardian,
    address: SocketAddr,
    command: Vec<String>,
    ready: Ready,
}

/// Asks the server at an address whether it serves from this folder; the error says why not.
///
/// The folder tells it from a server of another process that was faster to take the port.
pub(crate) type Ready = fn(SocketAddr, &Path) -> Result<(), String>;

enum Launch {
    Ready,
    PortTaken,
}

impl Server {
    /// Starts the command that is made for a port and the guardian's folder, and returns when it
    /// is ready.
    pub(crate) fn start(
        guardian: Guardian,
        command: impl Fn(u16, &Path) -> Vec<String>,
        ready: Ready,
    ) -> Self {
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut server = Self { guardian, address: address(0), command: Vec::new(), ready };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let port = ports::pick();
            server.address = address(port);
            server.command = command(port, server.folder());
            match server.launch(deadline) {
                Launch::Ready => return server,
                Launch::PortTaken => {}
            }
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn folder(&self) -> &Path {
        self.guardian.folder()
    }

    pub(crate) fn kill(&self) {
        self.guardian.tell(&["crash"]);
    }

    /// The orderly end, by the signal that asks this server for it.
    pub(crate) fn stop(&self, signal: &str) {
        self.guardian.tell(&["finish", signal]);
    }

    pub(crate) fn freeze(&self) {
        self.guardian.tell(&["freeze"]);
    }

    pub(crate) fn thaw(&self) {
        self.guardian.tell(&["thaw"]);
    }

    /// Starts it again at its address, and returns when it is ready.
    pub(crate) fn restart(&self, leftovers: &[&str]) {
        assert!(!self.is_alive(), "a server is restarted that runs");
        for leftover in leftovers {
            self.guardian.tell(&["run", "rm", "-f", leftover]);
        }
        let deadline = Instant::now() + PATIENCE;
        while let Launch::PortTaken = self.launch(deadline) {
            std::thread::sleep(PAUSE);
        }
    }

    /// Whether it can answer: not killed, not stopped, not frozen.
    pub(crate) fn is_running(&self) -> bool {
        self.guardian.tell(&["running"])
    }

    fn is_alive(&self) -> bool {
        self.guardian.tell(&["alive"])
    }

    fn launch(&self, deadline: Instant) -> Launch {
        let said_before = self.guardian.log().len();
        let words: Vec<_> =
            std::iter::once("launch").chain(self.command.iter().map(String::as_str)).collect();
        self.guardian.tell(&words);
        loop {
            let alive = self.is_alive();
            let Err(reason) = (self.ready)(self.address, self.folder()) else {
                return Launch::Ready;
            };
            let log = self.guardian.log();
            let port_taken = log[said_before..].contains("Address already in use");
            let late = Instant::now() > deadline;
            match (alive, port_taken && !late) {
                (false, true) => return Launch::PortTaken,
                (false, false) => panic!("a server ended: {:?}\n{log}", self.command),
                (true, _) if late => {
                    panic!("a server is not ready: {reason}: {:?}\n{log}", self.command)
                }
                (true, _) => std::thread::sleep(PAUSE),
            }
        }
    }
}

/// Where the server of a URL listens.
pub(crate) fn address_of(url: &str, usual_port: u16) -> SocketAddr {
    let url = Url::parse(url).expect("it is a URL");
    let addresses = url.socket_addrs(|| Some(usual_port)).expect("a URL of a host");
    addresses[0]
}
