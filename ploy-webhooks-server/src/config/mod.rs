//! Settings of `serve`: defaults, then the file, then the environment, then flags.

mod lists;
#[cfg(test)]
mod reference;
mod secrets;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::UncasedStr;
use http::HeaderName;
use ipnet::IpNet;
use ploy_webhooks::ingest::{ForwardedHeader, Settings, SettingsError, TrustedProxies};
use ploy_webhooks::trigger::DispatcherSettings;
use ploy_webhooks::{ParseMasterKeyError, ParseWorkerNameError, WorkerName};
use ploy_webhooks_delivery::{AddressPolicy, HttpSettings};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub(crate) use self::secrets::{MasterKeys, master_keys_from_env, root_token_from_env};
use crate::api::Commands;
use crate::store::{ParseStoreUrlError, StoreUrl};
use crate::url::{HttpUrlError, http_url};

/// The settings of `serve`, as they are written. From what stands here, `docs/configuration.md` is
/// made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The address to listen on, or a name with a port; port 0 takes a free one.
    listen: String,
    /// Where events are kept: `sqlite:PATH`, `postgres://…`, `redis://…`, `memory:` or
    /// `memory:?payload_bytes_max=N`.
    #[cfg_attr(test, schemars(with = "String"))]
    store: StoreText,
    /// What the `url` of an endpoint begins with: by default the address listened on.
    public_url: Option<String>,
    /// A `tracing` filter; at `debug` a line a request.
    pub(crate) log: String,
    /// The largest body, in bytes.
    body_bytes_max: u64,
    /// How long a body may take.
    body_timeout_ms: u64,
    /// How many bytes of bodies are held at once.
    in_flight_bytes_max: u64,
    /// How long the store may take to store an event.
    append_timeout_ms: u64,
    /// How many endpoints are remembered.
    cached_endpoints_max: usize,
    /// The headers that are kept with an event.
    #[serde(deserialize_with = "lists::names")]
    kept_headers: Vec<String>,
    /// How many connections there are at once; more wait in the backlog of the system.
    pub(crate) connections_max: u32,
    /// How many streams of events are open at once; one more is answered 503.
    pub(crate) streams_max: u32,
    /// How long the head of a request may take, and how long an idle HTTP/1.1 connection is kept.
    header_read_timeout_ms: u64,
    /// How long a stop waits for what is in flight, requests and runs.
    shutdown_grace_ms: u64,
    /// Whether this node carries runs out; one that does not leaves them to others on the same store.
    pub(crate) dispatch: bool,
    /// The name under which the attempts of this node are on record: by default the host and the
    /// number of the process.
    worker: Option<String>,
    /// How many runs are under way at once on this node.
    runs_at_once: NonZeroU16,
    /// How many of them are of one endpoint, so that the others have their turn.
    runs_at_once_per_endpoint: NonZeroU16,
    /// How long a run is a node's without a word from it; after that another has it. A run that is
    /// called off is stopped after a third of it at most.
    run_lease_ms: u64,
    /// How often this node looks for events whose time is over; 0 is never, and leaves it to other
    /// nodes. See *How long events are kept* in the README of the server.
    retention_sweep_seconds: u64,
    /// Whether Ploybooks may run programs: see *Run programs safely* in the README of the server.
    allow_commands: bool,
    /// Address ranges of proxies whose word on where a request comes from is taken.
    #[serde(deserialize_with = "lists::names")]
    trusted_proxies: Vec<String>,
    /// How they give it: `x-forwarded-for`, or `forwarded` (RFC 7239).
    forwarded_header: String,
    /// Address ranges that destinations may be in beside public addresses, such as `10.20.0.0/16`.
    #[serde(deserialize_with = "lists::names")]
    delivery_allow: Vec<String>,
    /// The ports that destinations may be on, such as `[80, 443]`: by default every port.
    #[serde(deserialize_with = "lists::ports")]
    delivery_ports: Option<Vec<u16>>,
    /// Whether the console is served: see *Console* in the README of the server.
    pub(crate) console: bool,
    /// The file of the master key, unless `PLOY_MASTER_KEY` is set: by default `master.key` beside the
    /// SQLite file, else `ploy-data/master.key`. See *Secrets at rest* in the README of the server.
    pub(crate) master_key_file: Option<PathBuf>,
    /// Where backups of a `sqlite:` store are made, if anywhere: see *Backup and restore* in the README
    /// of the server.
    backup_folder: Option<PathBuf>,
}

/// The flags of `serve` that are settings.
#[derive(Debug, Default, Args, Serialize)]
pub(crate) struct Flags {
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<String>,
    /// Where events are kept: sqlite:PATH, postgres://…, redis://… or memory:
    /// [default: sqlite:ploy-data/ploy.db].
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<StoreText>,
    /// The URL that senders know the server by [default: the address listened on].
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    public_url: Option<String>,
}

impl Flags {
    /// The flag that names a store alone.
    pub(crate) fn of_store(store: Option<StoreText>) -> Self {
        Self { store, ..Self::default() }
    }
}

/// The URL of a store, which may hold a password: `Debug` shows none of it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct StoreText(String);

impl From<String> for StoreText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for StoreText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreText(…)")
    }
}

/// Settings that cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    #[error("cannot read the config file `{}`", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("in the config file `{}`: {source}", path.display())]
    File { path: PathBuf, source: Box<figment::Error> },
    #[error(transparent)]
    Figment(Box<figment::Error>),
    #[error("`listen` is not an address or a name with a port, as in 127.0.0.1:8080: `{0}`")]
    Listen(String),
    #[error(transparent)]
    Store(#[from] ParseStoreUrlError),
    #[error("`public_url` cannot be used")]
    PublicUrl(#[from] HttpUrlError),
    #[error("`public_url` has a query or a fragment, behind which no path can stand")]
    PublicUrlEnd,
    #[error("`kept_headers` has `{0}`, which is not the name of a header")]
    HeaderName(String),
    #[error("`{0}` must be above zero")]
    Zero(&'static str),
    #[error(transparent)]
    Bounds(#[from] SettingsError),
    #[error("`run_lease_ms` is 1000 or more: a lease is extended three times while it lasts")]
    RunLease,
    #[error("`trusted_proxies` has `{0}`, which is no address range such as 10.0.0.0/8")]
    TrustedProxy(String),
    #[error("`forwarded_header` is `x-forwarded-for` or `forwarded`, not `{0}`")]
    ForwardedHeader(String),
    #[error("`delivery_allow` has `{0}`, which is no address range such as 10.0.0.0/8")]
    DeliveryAllow(String),
    #[error("`delivery_ports` has ports from 1 to 65535: leave it out to open all of them")]
    DeliveryPorts,
    #[error("`backup_folder` is not the path of a folder")]
    BackupFolder,
    #[error(
        "`backup_folder` is for stores of `sqlite:`; others are backed up by the tools of their \
         engine: leave it out"
    )]
    BackupOfEngine,
    #[error("`worker` cannot be used")]
    Worker(#[from] ParseWorkerNameError),
    #[error("PLOY_ROOT_TOKEN must be 32 or more visible ASCII characters")]
    RootToken,
    #[error("`{name}` is unusable")]
    MasterKey { name: &'static str, source: ParseMasterKeyError },
}

impl Default for Config {
    fn default() -> Self {
        let bounds = Settings::default();
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            store: StoreText("sqlite:ploy-data/ploy.db".to_owned()),
            public_url: None,
            log: "info".to_owned(),
            body_bytes_max: bounds.body_bytes_max,
            body_timeout_ms: millis(bounds.body_timeout),
            in_flight_bytes_max: bounds.in_flight_bytes_max,
            append_timeout_ms: millis(bounds.append_timeout),
            cached_endpoints_max: bounds.cached_endpoints_max,
            kept_headers: bounds.kept_headers.iter().map(ToString::to_string).collect(),
            connections_max: 10_000,
            streams_max: 256,
            header_read_timeout_ms: 10_000,
            shutdown_grace_ms: 10_000,
            dispatch: true,
            worker: None,
            runs_at_once: NonZeroU16::new(64).expect("64 is not zero"),
            runs_at_once_per_endpoint: NonZeroU16::new(16).expect("16 is not zero"),
            run_lease_ms: 30_000,
            retention_sweep_seconds: 600,
            allow_commands: false,
            trusted_proxies: Vec::new(),
            forwarded_header: "x-forwarded-for".to_owned(),
            delivery_allow: Vec::new(),
            delivery_ports: None,
            console: true,
            master_key_file: None,
            backup_folder: None,
        }
    }
}

impl Config {
    /// The settings that hold: later ones win.
    pub(crate) fn load(file: Option<&Path>, flags: &Flags) -> Result<Self, ConfigError> {
        let defaults = Figment::from(Serialized::defaults(Self::default()));
        let mut figment = defaults.clone();
        if let Some(path) = file {
            figment = figment.merge(read_file(path)?);
        }
        // Only names that are settings: other programs may have a PLOY_… of their own.
        let is_setting =
            move |name: &UncasedStr| defaults.contains(&name.as_str().to_ascii_lowercase());
        let config: Self = figment
            .merge(Env::prefixed("PLOY_").filter(is_setting))
            .merge(Serialized::defaults(flags))
            .extract()
            .map_err(|error| ConfigError::Figment(Box::new(error)))?;
        for (name, is_zero) in [
            ("connections_max", config.connections_max == 0),
            ("header_read_timeout_ms", config.header_read_timeout_ms == 0),
        ] {
            if is_zero {
                return Err(ConfigError::Zero(name));
            }
        }
        Ok(config)
    }

    /// The address to listen on. Only its form is known to be right: whether it can be resolved
    /// and is free is found out by listening.
    pub(crate) fn listen(&self) -> Result<&str, ConfigError> {
        let is_name_and_port = self.listen.split_once(':').is_some_and(|(name, port)| {
            let may_be_in_a_name =
                |char: char| char.is_ascii_alphanumeric() || "-._".contains(char);
            !name.is_empty() && name.chars().all(may_be_in_a_name) && port.parse::<u16>().is_ok()
        });
        match is_name_and_port || self.listen.parse::<SocketAddr>().is_ok() {
            true => Ok(&self.listen),
            false => Err(ConfigError::Listen(self.listen.clone())),
        }
    }

    pub(crate) fn store(&self) -> Result<StoreUrl, ConfigError> {
        Ok(self.store.0.parse()?)
    }

    /// The URL that senders know the server by, if it is another than the one listened on.
    pub(crate) fn public_url(&self) -> Result<Option<String>, ConfigError> {
        let Some(text) = &self.public_url else {
            return Ok(None);
        };
        let url = http_url(text)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(ConfigError::PublicUrlEnd);
        }
        Ok(Some(url.as_str().trim_end_matches('/').to_owned()))
    }

    /// The bounds of the pipeline.
    pub(crate) fn bounds(&self) -> Result<Settings, ConfigError> {
        let kept_headers = self.kept_headers.iter().map(|name| {
            name.parse::<HeaderName>().map_err(|_| ConfigError::HeaderName(name.clone()))
        });
        let mut bounds = Settings::default();
        bounds.body_bytes_max = self.body_bytes_max;
        bounds.body_timeout = Duration::from_millis(self.body_timeout_ms);
        bounds.in_flight_bytes_max = self.in_flight_bytes_max;
        bounds.append_timeout = Duration::from_millis(self.append_timeout_ms);
        bounds.cached_endpoints_max = self.cached_endpoints_max;
        bounds.kept_headers = kept_headers.collect::<Result<_, _>>()?;
        bounds.check()?;
        Ok(bounds)
    }

    /// The bounds of the dispatcher.
    pub(crate) fn dispatcher(&self) -> Result<DispatcherSettings, ConfigError> {
        let worker = match &self.worker {
            Some(worker) => worker.parse()?,
            None => this_process(),
        };
        if self.run_lease_ms < 1_000 {
            return Err(ConfigError::RunLease);
        }
        let mut settings = DispatcherSettings::new(worker);
        settings.concurrency = self.runs_at_once;
        settings.lane_concurrency = self.runs_at_once_per_endpoint;
        settings.lease = Duration::from_millis(self.run_lease_ms);
        Ok(settings)
    }

    /// The proxies whose word on where a request comes from is taken, if there are any.
    pub(crate) fn proxies(&self) -> Result<Option<TrustedProxies>, ConfigError> {
        let header = match self.forwarded_header.to_ascii_lowercase().as_str() {
            "x-forwarded-for" => ForwardedHeader::XForwardedFor,
            "forwarded" => ForwardedHeader::Forwarded,
            _ => return Err(ConfigError::ForwardedHeader(self.forwarded_header.clone())),
        };
        let ranges = ranges(&self.trusted_proxies).map_err(ConfigError::TrustedProxy)?;
        Ok((!ranges.is_empty()).then(|| TrustedProxies::new(ranges, header)))
    }

    /// How destinations are reached: at public addresses, and those that the operator allows.
    pub(crate) fn delivery(&self) -> Result<HttpSettings, ConfigError> {
        let allowed = ranges(&self.delivery_allow).map_err(ConfigError::DeliveryAllow)?;
        let addresses = AddressPolicy::public().allowing(allowed);
        let mut settings = HttpSettings::default();
        settings.addresses = match &self.delivery_ports {
            None => addresses,
            Some(ports) if ports.is_empty() || ports.contains(&0) => {
                return Err(ConfigError::DeliveryPorts);
            }
            Some(ports) => addresses.on_ports(ports.iter().copied()),
        };
        Ok(settings)
    }

    /// How often this node looks for events whose time is over; `None` where it does not.
    pub(crate) fn retention_sweep(&self) -> Option<Duration> {
        (self.retention_sweep_seconds > 0)
            .then(|| Duration::from_secs(self.retention_sweep_seconds))
    }

    /// Where backups are made, if anywhere; relative to where the server was started.
    pub(crate) fn backup_folder(&self) -> Result<Option<PathBuf>, ConfigError> {
        match (&self.backup_folder, self.store()?) {
            (Some(folder), StoreUrl::Sqlite(_)) => {
                std::path::absolute(folder).map(Some).map_err(|_| ConfigError::BackupFolder)
            }
            (Some(_), _) => Err(ConfigError::BackupOfEngine),
            (None, _) => Ok(None),
        }
    }

    /// Whether all that is set can be used: `serve` asks for each of these.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.listen()?;
        self.store()?;
        self.public_url()?;
        self.bounds()?;
        self.proxies()?;
        self.delivery()?;
        self.dispatcher()?;
        self.backup_folder()?;
        Ok(())
    }

    /// The longest payload of an event.
    pub(crate) fn body_bytes_max(&self) -> usize {
        usize::try_from(self.body_bytes_max).unwrap_or(usize::MAX)
    }

    pub(crate) const fn commands(&self) -> Commands {
        if self.allow_commands { Commands::Allowed } else { Commands::Refused }
    }

    pub(crate) const fn header_read_timeout(&self) -> Duration {
        Duration::from_millis(self.header_read_timeout_ms)
    }

    pub(crate) const fn shutdown_grace(&self) -> Duration {
        Duration::from_millis(self.shutdown_grace_ms)
    }
}

/// The ranges that the texts are, an address being one of itself; or the first text that is none.
fn ranges(texts: &[String]) -> Result<Vec<IpNet>, String> {
    let range = |text: &String| {
        let one = || text.parse::<IpAddr>().map(IpNet::from).ok();
        text.parse().ok().or_else(one).ok_or_else(|| text.clone())
    };
    texts.iter().map(range).collect()
}

/// The name of a worker that tells this process from others: the host and the number of the
/// process.
fn this_process() -> WorkerName {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host: String = host.chars().filter(char::is_ascii_graphic).take(40).collect();
    let name = format!("{host}:{}", std::process::id());
    name.parse().expect("a few visible ASCII characters are a name")
}

/// The file as a layer of its own, checked by itself so that an error names it.
fn read_file(path: &Path) -> Result<Figment, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let layer = Figment::from(Toml::string(&text));
    Figment::from(Serialized::defaults(Config::default()))
        .merge(&layer)
        .extract::<Config>()
        .map_err(|source| ConfigError::File { path: path.to_owned(), source: Box::new(source) })?;
    Ok(layer)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_an_unknown_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ploy.toml");
        std::fs::write(&path, "listen = '0.0.0.0:1'\nbody_bytes_max = 7\n").unwrap();
        let flags = Flags { listen: Some("127.0.0.1:2".to_owned()), ..Flags::default() };
        let config = Config::load(Some(&path), &flags).unwrap();
        assert_eq!((config.listen.as_str(), config.body_bytes_max), ("127.0.0.1:2", 7));

        std::fs::write(&path, "lisen = '0.0.0.0:1'\n").unwrap();
        let error = Config::load(Some(&path), &flags).unwrap_err().to_string();
        assert!(error.contains("lisen") && error.contains("ploy.toml"), "{error}");
    }

    #[test]
    fn a_list_of_names_may_be_written_with_commas() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ploy.toml");
        let of = |text: &str| {
            std::fs::write(&path, format!("kept_headers = {text}")).unwrap();
            Config::load(Some(&path), &Flags::default())
        };
        assert_eq!(of("'a, b,'").unwrap().kept_headers, ["a", "b"]);
        assert_eq!(of("['a', 'b']").unwrap().kept_headers, ["a", "b"]);
        assert_eq!(of("''").unwrap().kept_headers, [""; 0]);
        let error = of("1").unwrap_err().to_string();
        assert!(error.contains("kept_headers") && error.contains("commas"), "{error}");
    }

    #[test]
    fn what_deliveries_may_reach() {
        let addresses = |text: &str| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("ploy.toml");
            std::fs::write(&path, text).unwrap();
            let config =
                Config::load(Some(&path), &Flags::default()).map_err(|error| error.to_string())?;
            config.delivery().map(|settings| settings.addresses).map_err(|error| error.to_string())
        };
        let is_open = |text: &str, address: &str| {
            addresses(text).unwrap().check(address.parse().unwrap()).is_ok()
        };
        assert!(is_open("", "8.8.8.8:9") && !is_open("", "127.0.0.1:80"));
        let here = "delivery_allow = '127.0.0.0/8, 10.0.0.7'";
        assert!(is_open(here, "127.0.0.1:80") && is_open(here, "10.0.0.7:1"));
        assert!(!is_open(here, "10.0.0.8:80") && !is_open(here, "[::1]:80"));
        for some in ["[80, 443]", "'80,443'", "' 443, 80 '"] {
            let some = format!("delivery_ports = {some}");
            assert!(is_open(&some, "8.8.8.8:443") && !is_open(&some, "8.8.8.8:8443"), "{some}");
        }
        assert!(!is_open("delivery_ports = 80", "8.8.8.8:443"));
        for (text, named) in [
            ("delivery_allow = ['10.0.0.0/33']", "delivery_allow"),
            ("delivery_ports = []", "delivery_ports"),
            ("delivery_ports = [0]", "delivery_ports"),
            ("delivery_ports = ''", "delivery_ports"),
            ("delivery_ports = '80;443'", "delivery_ports"),
            ("delivery_ports = [65536]", "delivery_ports"),
        ] {
            let error = addresses(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn addresses_to_listen_on() {
        let of = |text: &str| Config { listen: text.to_owned(), ..Config::default() };
        for text in ["127.0.0.1:0", "[::1]:8080", "localhost:65535", "a-host.example.com:80"] {
            assert_eq!(of(text).listen().unwrap(), text);
        }
        for text in [
            "nonsense",
            "8080",
            ":80",
            "h:",
            "h:65536",
            "a:b:80",
            "[::1:80",
            "http://h:80",
            "h :80",
            "",
        ] {
            assert!(of(text).listen().is_err(), "{text}");
        }
    }

    #[test]
    fn public_urls() {
        let of = |text: &str| {
            let public_url = Some(text.to_owned());
            Config { public_url, ..Config::default() }.public_url()
        };
        assert_eq!(of("https://x.io/hooks/").unwrap().unwrap(), "https://x.io/hooks");
        assert_eq!(of(" https:X.io").unwrap().unwrap(), "https://x.io");
        for text in ["x.io", "ftp://x.io", "https://x.io/?a=b", "https://x.io/#a", ""] {
            assert!(of(text).is_err(), "{text}");
        }
    }
}
