//! The program, with all that it prints kept in files.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ploy_webhooks_tests::Connection;
use rustix::process::{Pid, Signal, kill_process};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_ploy-webhooks-under-test");
/// Longer than any start takes.
const A_WHILE: Duration = Duration::from_secs(60);

/// A server that logs everything; killed when dropped.
pub(crate) struct Node {
    process: Child,
    address: SocketAddr,
}

impl Node {
    /// Starts one in that folder, where its output is `out` and `err` with that name.
    pub(crate) fn start(
        folder: &Path,
        name: &str,
        store: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        let file = |of: &str| folder.join(format!("{of}-{name}"));
        let open = |path: &PathBuf| File::create(path).expect("a file is made");
        let mut process = command(variables)
            .args(["serve", "--listen", "127.0.0.1:0", "--store", store])
            .current_dir(folder)
            .env("PLOY_LOG", "trace")
            .stdout(open(&file("out")))
            .stderr(open(&file("err")))
            .spawn()
            .expect("the program starts");
        let deadline = Instant::now() + A_WHILE;
        loop {
            let printed = std::fs::read_to_string(file("out")).expect("it prints text");
            if let Some((address, _)) = printed
                .split_once("listening on http://")
                .and_then(|(_, rest)| rest.split_once('\n'))
            {
                return Self { process, address: address.parse().expect("an address") };
            }
            let ended = process.try_wait().expect("it can be asked");
            assert!(ended.is_none() && Instant::now() < deadline, "it did not start: {ended:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address).expect("the server listens")
    }

    /// An orderly end.
    pub(crate) fn stop(mut self) {
        let id = i32::try_from(self.process.id()).expect("a process id");
        let id = Pid::from_raw(id).expect("a process id is not zero");
        kill_process(id, Signal::TERM).expect("it runs");
        assert_eq!(self.process.wait().expect("it ends").code(), Some(0));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The program with these variables and no others.
fn command(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_clear().envs(variables.iter().copied()).stdin(Stdio::null());
    command
}

/// A command of the program, and what it printed.
pub(crate) fn shell(args: &[&str], variables: &[(&str, &str)]) -> Output {
    command(variables).args(args).output().expect("the program runs")
}
