//! Where the store lives, what it promises, and its bounds.

use std::fmt;
use std::num::{NonZeroU8, NonZeroU16, NonZeroUsize};
use std::time::Duration;

use ploy_webhooks::store::StoreError;
use redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion};

use crate::error::misuse;

/// Where the store lives, what it promises, and its bounds.
///
/// `Debug` shows neither addresses' passwords nor user names.
#[derive(Clone)]
#[non_exhaustive]
pub struct RedisSettings {
    /// URLs of the server, or of some nodes of the Cluster: `redis://[user][:password@]host[:port]`
    /// or, with TLS, `rediss://…`. All have the credentials of the first.
    pub urls: Vec<String>,
    /// What every key begins with, within its hash tag: stores of different prefixes share a
    /// server and know nothing of each other. 1 to 64 of `a`–`z`, `A`–`Z`, `0`–`9`, `-`, `_`,
    /// `.`. Default: `ploy`.
    pub prefix: String,
    /// Over how many hash slots the store is spread. Chosen once: a store that was made with
    /// another number is refused. Default: 64, which spreads evenly over a dozen masters.
    pub buckets: NonZeroU16,
    /// What an answered append survives. Default: [`Durability::Fsync`].
    pub durability: Durability,
    /// What is believed of settings that the server does not show. Default:
    /// [`UnseenSettings::Refused`].
    pub unseen_settings: UnseenSettings,
    /// How many appends may wait for the writer; past it, they are refused at once.
    /// Default: 8,192.
    pub waiting_max: usize,
    /// How many bytes of payload may wait for the writer. Default: 256 MiB.
    pub waiting_bytes_max: u64,
    /// How many batches of events are under way at once: the flush of one overlaps the gathering
    /// of the next. Default: 2.
    pub flights_max: NonZeroUsize,
    /// How long an answer is waited for. After it, nobody knows whether an append was carried
    /// out. Default: 5 s.
    pub response_timeout: Duration,
    /// How long a connection may take to be made. Default: 2 s.
    pub connection_timeout: Duration,
    /// How many events one page of a search looks at, at most, before it says where to go on.
    /// Default: 4,096.
    pub scan_events_max: NonZeroUsize,
    /// How many bytes of payload one page of a search looks at, at most, but for its last event.
    /// Default: 16 MiB.
    pub scan_bytes_max: u64,
}

/// What an answered append survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// The loss of power: the server has flushed it to its disk. Needs `appendonly yes` with
    /// `appendfsync always`, or `everysec` where the server says when it has flushed (`WAITAOF`,
    /// of Redis 8.0 or newer).
    #[default]
    Fsync,
    /// The loss of the master, if one of the replicas that have it takes over: so many replicas
    /// have it in memory (`WAIT`). With fewer, the answer is
    /// [`Indeterminate`](ploy_webhooks::store::StoreErrorKind::Indeterminate).
    Replicated(NonZeroU8),
    /// The end of this process, and nothing else that the server's own settings do not give.
    Memory,
}

/// What is believed of settings that the server does not show, as on managed services that
/// forbid `CONFIG`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "believed or not believed")]
pub enum UnseenSettings {
    /// Nothing: the store does not open.
    #[default]
    Refused,
    /// That they are as the durability needs them: whoever sets this has looked.
    Trusted,
}

impl RedisSettings {
    /// The defaults, on that server or on the Cluster that it belongs to.
    #[must_use]
    pub fn at(url: impl Into<String>) -> Self {
        Self::at_nodes([url])
    }

    /// The defaults, on the Cluster that these nodes belong to: one of them has to be up when the
    /// store is opened.
    #[must_use]
    pub fn at_nodes(urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            urls: urls.into_iter().map(Into::into).collect(),
            prefix: "ploy".to_owned(),
            buckets: NonZeroU16::new(64).expect("64 is not zero"),
            durability: Durability::Fsync,
            unseen_settings: UnseenSettings::Refused,
            waiting_max: 8_192,
            waiting_bytes_max: 256 << 20,
            flights_max: NonZeroUsize::new(2).expect("two is not zero"),
            response_timeout: Duration::from_secs(5),
            connection_timeout: Duration::from_secs(2),
            scan_events_max: NonZeroUsize::new(4_096).expect("4,096 is not zero"),
            scan_bytes_max: 16 << 20,
        }
    }

    /// How each of the nodes is reached.
    pub(crate) fn nodes(&self) -> Result<Vec<ConnectionInfo>, StoreError> {
        let parsed: Result<Vec<_>, _> = self.urls.iter().map(|url| node(url)).collect();
        let nodes = parsed?;
        if nodes.is_empty() {
            return Err(misuse("no Redis URL was given"));
        }
        Ok(nodes)
    }

    /// Whether the prefix can stand in a hash tag and be told from others.
    pub(crate) fn check_prefix(&self) -> Result<(), StoreError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if (1..=64).contains(&self.prefix.len()) && self.prefix.bytes().all(is_plain) {
            return Ok(());
        }
        Err(misuse("a Redis prefix is 1 to 64 characters of a-z, A-Z, 0-9, -, _ and ."))
    }
}

fn node(url: &str) -> Result<ConnectionInfo, StoreError> {
    // Neither the URL nor what the parser says of it is repeated: it may hold a password.
    let info = url.into_connection_info().map_err(|_| {
        misuse("not the URL of a Redis server: expected redis://host:port or rediss://host:port")
    })?;
    // Only this protocol tells that a connection has ended, and events apart from answers.
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    // A batch is not held back until there is more to send.
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    Ok(info.set_redis_settings(redis).set_tcp_settings(tcp))
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = (self.urls.iter())
            .map(|url| node(url).map_or("?".to_owned(), |info| info.addr().to_string()))
            .collect();
        f.debug_struct("RedisSettings")
            .field("hosts", &hosts)
            .field("prefix", &self.prefix)
            .field("buckets", &self.buckets)
            .field("durability", &self.durability)
            .field("unseen_settings", &self.unseen_settings)
            .field("waiting_max", &self.waiting_max)
            .field("waiting_bytes_max", &self.waiting_bytes_max)
            .field("flights_max", &self.flights_max)
            .field("response_timeout", &self.response_timeout)
            .field("connection_timeout", &self.connection_timeout)
            .field("scan_events_max", &self.scan_events_max)
            .field("scan_bytes_max", &self.scan_bytes_max)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ploy_webhooks::store::StoreErrorKind;

    #[test]
    fn nothing_secret_is_shown() {
        let good = "rediss://alex:hunter2@redis.example:6380";
        let settings = RedisSettings::at_nodes([good, "redis://:hunter2@ho st"]);
        let shown = format!("{settings:?}");
        assert!(shown.contains("redis.example:6380"), "{shown}");
        assert!(!shown.contains("hunter2") && !shown.contains("alex"), "{shown}");
        let refused = settings.nodes().unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Misuse);
        assert!(!format!("{refused:?} {refused}").contains("hunter2"));
    }

    #[test]
    fn prefixes_that_break_the_hash_tag_are_refused() {
        for (prefix, is_good) in [("ploy", true), ("a.b-C_9", true), ("", false), ("a}b", false)] {
            let settings = RedisSettings {
                prefix: prefix.to_owned(),
                ..RedisSettings::at("redis://localhost")
            };
            assert_eq!(settings.check_prefix().is_ok(), is_good, "{prefix}");
        }
    }
}
