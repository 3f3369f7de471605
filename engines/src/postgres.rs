//! Postgres.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};
use url::Url;

use crate::guardian::{Guardian, User};
use crate::server::{self, Server};

/// How long one try to reach it may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A Postgres server. One of this process's own is gone, folder and all, when it is dropped or
/// the process ends.
#[derive(Debug)]
pub struct Postgres {
    /// None for a server that was there before.
    server: Option<Server>,
    maintenance: Url,
}

impl Postgres {
    /// A new server with Postgres's default settings: what is committed is on the disk.
    ///
    /// # Panics
    ///
    /// When Postgres is not installed, or does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// A new server with these settings, and Postgres's defaults for the others.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        let programs = programs();
        let guardian = Guardian::start(user());
        let data = data(guardian.folder());
        let initdb = programs.join("initdb");
        let made = guardian.tell(&[
            "run",
            &initdb.to_string_lossy(),
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C",
            // The folder is thrown away; what the server writes is synced as ever.
            "--no-sync",
            "-D",
            &data,
        ]);
        assert!(made, "initdb failed:\n{}", guardian.log());
        let command = |port: u16, folder: &Path| {
            let mut command = vec![
                programs.join("postgres").to_string_lossy().into_owned(),
                "-D".to_owned(),
                data.clone(),
                "-p".to_owned(),
                port.to_string(),
                "-clisten_addresses=127.0.0.1".to_owned(),
                format!("-cunix_socket_directories={}", folder.display()),
            ];
            command.extend(settings.iter().map(|(name, value)| format!("-c{name}={value}")));
            command
        };
        let server = Server::start(guardian, command, ready);
        let maintenance = maintenance(server.address());
        Self { server: Some(server), maintenance }
    }

    /// The server that all tests of this process share, each in a [`database`](Self::database) of
    /// its own: the one at `DATABASE_URL` where that is set, else one that is started now.
    ///
    /// Databases that are made on the server at `DATABASE_URL` stay there.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start), or when `DATABASE_URL` is no URL.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var("DATABASE_URL") {
            Ok(url) => {
                let maintenance = url.parse().expect("DATABASE_URL is a URL");
                Self { server: None, maintenance }
            }
            Err(_) => Self::start(),
        })
    }

    /// The URL of the maintenance database, for a superuser where the server is this process's.
    #[must_use]
    pub fn url(&self) -> &str {
        self.maintenance.as_str()
    }

    /// Makes an empty database that no other test has, and returns its URL.
    ///
    /// # Panics
    ///
    /// When the server refuses it.
    #[must_use]
    pub fn database(&self) -> String {
        let name = format!("ploy_test_{}_{:016x}", std::process::id(), fastrand::u64(..));
        wait_for(async {
            let mut connection = PgConnection::connect(self.url()).await?;
            let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
            sqlx::raw_sql(create).execute(&mut connection).await?;
            connection.close().await
        })
        .expect("the server makes a database");
        let mut url = self.maintenance.clone();
        url.set_path(&name);
        url.into()
    }

    /// Where it listens.
    ///
    /// # Panics
    ///
    /// When `DATABASE_URL` names no host.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        server::address_of(self.url(), 5432)
    }

    /// The folder that holds its data, its log and its socket.
    ///
    /// # Panics
    ///
    /// When it is the server at `DATABASE_URL`, as all below.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.own().folder()
    }

    /// `SIGKILL` to all its processes, frozen or not, and returns when they are gone.
    ///
    /// # Panics
    ///
    /// As [`folder`](Self::folder).
    pub fn kill(&self) {
        self.own().kill();
    }

    /// The orderly end: clients are cut off, all is written. A frozen server is thawed for it.
    ///
    /// # Panics
    ///
    /// As [`folder`](Self::folder).
    pub fn stop(&self) {
        self.own().stop("INT");
    }

    /// Starts it again after its end, on the same port and the same data, and returns when it
    /// takes connections.
    ///
    /// # Panics
    ///
    /// When it runs, does not start, or as [`folder`](Self::folder).
    pub fn restart(&self) {
        let server = self.own();
        // Of a killed server these name a process that another may be by now, which Postgres
        // would not start beside. That the old ones are gone is known.
        let lock = format!(".s.PGSQL.{}.lock", server.address().port());
        server.restart(&["data/postmaster.pid", &lock]);
    }

    /// Stops all its processes where they are: connections stay open, new ones too, and nothing is
    /// answered.
    ///
    /// # Panics
    ///
    /// As [`folder`](Self::folder).
    pub fn freeze(&self) {
        self.own().freeze();
    }

    /// Lets all its processes go on.
    ///
    /// # Panics
    ///
    /// As [`folder`](Self::folder).
    pub fn thaw(&self) {
        self.own().thaw();
    }

    fn own(&self) -> &Server {
        self.server.as_ref().expect("the server at DATABASE_URL is not ours to handle")
    }
}

/// Where `initdb` and `postgres` are: on the path, or where Debian has them.
fn programs() -> PathBuf {
    let has_both =
        |folder: &PathBuf| ["initdb", "postgres"].iter().all(|p| folder.join(p).is_file());
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(folder) = std::env::split_paths(&path).find(has_both) {
        return folder;
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions
        .filter_map(|version| {
            let number: u32 = version.file_name().to_str()?.parse().ok()?;
            Some((number, version.path().join("bin")))
        })
        .filter(|(_, folder)| has_both(folder))
        .max()
        .map(|(_, folder)| folder)
        .unwrap_or_else(|| crate::missing("Postgres"))
}

/// Whom to run as. Postgres refuses root.
fn user() -> Option<User> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let number = |option, name| {
        let output = Command::new("id").args([option, name]).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    let user = ["postgres", "nobody"]
        .iter()
        .find_map(|name| Some(User { id: number("-u", name)?, group: number("-g", name)? }));
    Some(user.expect("there is a user postgres or nobody, since Postgres does not run as root"))
}

fn data(folder: &Path) -> String {
    folder.join("data").to_string_lossy().into_owned()
}

fn maintenance(address: SocketAddr) -> Url {
    format!("postgres://postgres@{address}/postgres").parse().expect("it is a URL")
}

fn ready(address: SocketAddr, folder: &Path) -> Result<(), String> {
    let url = maintenance(address);
    let ask = async {
        let mut connection = PgConnection::connect(url.as_str()).await?;
        let data: String =
            sqlx::query_scalar("SHOW data_directory").fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(data)
    };
    let answer = wait_for(async {
        tokio::time::timeout(PATIENCE, ask)
            .await
            .unwrap_or_else(|late| Err(sqlx::Error::Io(late.into())))
    });
    match answer {
        Ok(served) if served == data(folder) => Ok(()),
        Ok(served) => Err(format!("its port serves {served}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Runs this to its end on a thread of its own, since the caller's may be a runtime's, which does
/// not block.
fn wait_for<T: Send>(
    work: impl Future<Output = Result<T, sqlx::Error>> + Send,
) -> Result<T, sqlx::Error> {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(work)
    };
    std::thread::scope(|scope| scope.spawn(run).join().expect("it does not panic"))
}
