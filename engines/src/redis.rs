//! Redis.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use ::redis::{Client, Connection, RedisResult};

use crate::guardian::Guardian;
use crate::server::{self, Server};

/// How long one try to reach it may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A Redis server. One of this process's own is gone, folder and all, when it is dropped or the
/// process ends.
#[derive(Debug)]
pub struct Redis {
    /// None for a server that was there before.
    server: Option<Server>,
    url: String,
}

impl Redis {
    /// What makes Redis durable: each command is on the disk before it is answered, and no key is
    /// evicted.
    pub const DURABLE: &[(&str, &str)] = &[
        ("appendonly", "yes"),
        ("appendfsync", "always"),
        ("maxmemory-policy", "noeviction"),
        ("save", ""),
    ];

    /// A new server with the settings [`DURABLE`](Self::DURABLE).
    ///
    /// # Panics
    ///
    /// When Redis is not installed, or does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(Self::DURABLE)
    }

    /// A new server with these settings, and Redis's defaults for the others, which are not
    /// durable.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        if !std::env::split_paths(&path).any(|folder| folder.join("redis-server").is_file()) {
            crate::missing("Redis");
        }
        let command = |port: u16, folder: &Path| {
            let port = port.to_string();
            let folder = folder.to_string_lossy();
            let fixed = [("port", &*port), ("bind", "127.0.0.1"), ("dir", &*folder)];
            let options = fixed.iter().chain(settings);
            let words =
                options.flat_map(|(name, value)| [format!("--{name}"), (*value).to_owned()]);
            std::iter::once("redis-server".to_owned()).chain(words).collect()
        };
        let server = Server::start(Guardian::start(None), command, ready);
        let url = url(server.address());
        Self { server: Some(server), url }
    }

    /// The server that all tests of this process share, each with keys of its own: the one at
    /// `REDIS_URL` where that is set, else one that is started now.
    ///
    /// Keys that are made on the server at `REDIS_URL` stay there.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Redis> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var("REDIS_URL") {
            Ok(url) => Self { server: None, url },
            Err(_) => Self::start(),
        })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    ///
    /// # Panics
    ///
    /// When `REDIS_URL` names no host.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        server::address_of(&self.url, 6379)
    }

    /// The folder that holds its data and its log.
    ///
    /// # Panics
    ///
    /// When it is the server at `REDIS_URL`, as all below.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.own().folder()
    }

    /// `SIGKILL`, frozen or not, and returns when it is gone.
    ///
    /// # Panics
    ///
    /// As [`folder`](Self::folder).
    pub fn kill(&self) {
        self.own().kill();
    }

    /// The orderly end. A frozen server is thawed for it.
    ///
    /// # Panics
    ///
    /// As [`folder`](Self::folder).
    pub fn stop(&self) {
        self.own().stop("TERM");
    }

    /// Starts it again after its end, on the same port and the same data, and returns when it has
    /// read them and answers.
    ///
    /// # Panics
    ///
    /// When it runs, does not start, or as [`folder`](Self::folder).
    pub fn restart(&self) {
        self.own().restart(&[]);
    }

    /// Stops it where it is: connections stay open, and nothing is answered.
    ///
    /// # Panics
    ///
    /// As [`folder`](Self::folder).
    pub fn freeze(&self) {
        self.own().freeze();
    }

    /// Lets it go on.
    ///
    /// # Panics
    ///
    /// As [`folder`](Self::folder).
    pub fn thaw(&self) {
        self.own().thaw();
    }

    pub(crate) fn is_running(&self) -> bool {
        self.own().is_running()
    }

    /// A connection that does not wait for ever, as for a frozen server.
    pub(crate) fn connect(&self) -> RedisResult<Connection> {
        connect(&self.url)
    }

    fn own(&self) -> &Server {
        self.server.as_ref().expect("the server at REDIS_URL is not ours to handle")
    }
}

fn url(address: SocketAddr) -> String {
    format!("redis://{address}/")
}

fn connect(url: &str) -> RedisResult<Connection> {
    let connection = Client::open(url)?.get_connection_with_timeout(PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    Ok(connection)
}

fn ready(address: SocketAddr, folder: &Path) -> Result<(), String> {
    let ask = || -> RedisResult<(String, String)> {
        let mut connection = connect(&url(address))?;
        // Refused while it still reads its data.
        ::redis::cmd("PING").query::<()>(&mut connection)?;
        ::redis::cmd("CONFIG").arg("GET").arg("dir").query(&mut connection)
    };
    match ask() {
        Ok((_, served)) if Path::new(&served) == folder => Ok(()),
        Ok((_, served)) => Err(format!("its port serves {served}")),
        Err(error) => Err(error.to_string()),
    }
}
