//! The settings as one URL, as a command line has them.

use std::num::{NonZeroU8, NonZeroU16};

use ploy_webhooks::store::{StoreError, StoreErrorKind};

use crate::error::misuse;
use crate::settings::{Durability, RedisSettings, UnseenSettings};

/// What the Redis client understands.
const THEIR_PARAMETERS: [&str; 1] = ["protocol"];
const OWN_PARAMETERS: [&str; 4] = ["durability", "prefix", "buckets", "unseen_settings"];

impl RedisSettings {
    /// The settings that a URL says: `redis://[user][:password@]host[:port]`, or with TLS
    /// `rediss://…`. Of a Cluster some nodes may be named with commas between them.
    ///
    /// Four parameters are the store's own: `durability` (`fsync`, `memory`, or `replicated-1`
    /// and so on, by the number of replicas), `prefix`, `buckets` and `unseen_settings`
    /// (`refused` or `trusted`). `protocol` is taken as other clients of Redis have it; there is no
    /// other.
    ///
    /// # Errors
    ///
    /// [`Misuse`](ploy_webhooks::store::StoreErrorKind::Misuse) when it is no such URL. The message
    /// repeats nothing of it but the name of a parameter that there is not, because it may hold a password.
    pub fn from_url(url: &str) -> Result<Self, StoreError> {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let mut own = Vec::new();
        let mut theirs = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some((name, value)) if OWN_PARAMETERS.contains(&name) => own.push((name, value)),
                Some((name, _)) if THEIR_PARAMETERS.contains(&name) => theirs.push(parameter),
                Some((name, _)) if is_name(name) && !query.contains('@') => {
                    let message = format!("the URL of the Redis store has no parameter `{name}`");
                    return Err(StoreError::new(StoreErrorKind::Misuse, message));
                }
                // Perhaps a part of a password, in which there is a question mark.
                _ => return Err(misuse("the URL of the Redis store has a parameter too many")),
            }
        }
        let query = match theirs.is_empty() {
            true => String::new(),
            false => format!("?{}", theirs.join("&")),
        };
        let mut settings =
            Self::at_nodes(nodes_of(address)?.iter().map(|node| format!("{node}{query}")));
        for (name, value) in own {
            settings.set(name, value)?;
        }
        settings.nodes()?;
        Ok(settings)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), StoreError> {
        match name {
            "durability" => self.durability = durability(value)?,
            "prefix" => value.clone_into(&mut self.prefix),
            "buckets" => {
                self.buckets = value
                    .parse::<NonZeroU16>()
                    .map_err(|_| misuse("`buckets` is a number from 1 to 65535"))?;
            }
            _ => {
                self.unseen_settings = match value {
                    "refused" => UnseenSettings::Refused,
                    "trusted" => UnseenSettings::Trusted,
                    _ => return Err(misuse("`unseen_settings` is `refused` or `trusted`")),
                };
            }
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

fn durability(value: &str) -> Result<Durability, StoreError> {
    let replicas = || value.strip_prefix("replicated-")?.parse::<NonZeroU8>().ok();
    match value {
        "fsync" => Ok(Durability::Fsync),
        "memory" => Ok(Durability::Memory),
        _ => replicas().map(Durability::Replicated).ok_or_else(|| {
            misuse("`durability` is `fsync`, `memory`, or `replicated-` and a number of replicas")
        }),
    }
}

/// The URL of each node: the scheme and the credentials stand once, before all of them.
fn nodes_of(address: &str) -> Result<Vec<String>, StoreError> {
    let malformed = || misuse("the URL of the Redis store is malformed");
    let (scheme, rest) = address.split_once("://").ok_or_else(malformed)?;
    let (hosts, path) = match rest.split_once('/') {
        Some((hosts, path)) => (hosts, format!("/{path}")),
        None => (rest, String::new()),
    };
    let (credentials, hosts) = match hosts.rsplit_once('@') {
        Some((credentials, hosts)) => (format!("{credentials}@"), hosts),
        None => (String::new(), hosts),
    };
    Ok(hosts.split(',').map(|host| format!("{scheme}://{credentials}{host}{path}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let url =
            "redis://ploy:hunter2@a:1,b:2/?prefix=hooks&protocol=resp3&durability=replicated-2";
        let settings = RedisSettings::from_url(url).unwrap();
        assert_eq!(
            settings.urls,
            [
                "redis://ploy:hunter2@a:1/?protocol=resp3",
                "redis://ploy:hunter2@b:2/?protocol=resp3"
            ]
        );
        assert_eq!(settings.prefix, "hooks");
        let two = NonZeroU8::new(2).unwrap();
        assert_eq!(settings.durability, Durability::Replicated(two));
        for wrong in [
            "redis:hunter2",
            "redis://x:hunter2@h:port",
            "redis://h?durability=hunter2",
            "redis://h?buckets=0",
            "redis://h?durabilty=hunter2",
            "redis://h?hunter2",
            "redis://x:y?hunter2=z@h",
        ] {
            let error = RedisSettings::from_url(wrong).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert_eq!(error.kind(), StoreErrorKind::Misuse);
        }
        let error = RedisSettings::from_url("redis://h?durabilty=memory").unwrap_err();
        assert!(error.to_string().contains("`durabilty`"), "{error}");
    }
}
