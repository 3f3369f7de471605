//! What is looked at before a store is opened: whether the server gives what is promised.

use std::collections::HashMap;
use std::sync::Arc;

use ploy_webhooks::store::StoreError;
use redis::Value;

use crate::durable::Wait;
use crate::engine::{Call, Engine, Lane, Node};
use crate::error::{Failure, corrupt, refused};
use crate::layout::Layout;
use crate::settings::{Durability, RedisSettings, UnseenSettings};
use crate::topology::Info;
use crate::value;

/// The oldest version: the first with scripts that say beforehand what they do, so that one which
/// writes is refused as a whole when memory is full.
const VERSION_MIN: (u32, u32) = (7, 0);
/// The first version that says when it has flushed (`WAITAOF`).
const VERSION_WAITAOF: (u32, u32) = (7, 2);
/// How the store is laid out. A store of another format is refused.
const FORMAT: &str = "1";

/// Whether the server can be used at all.
pub(crate) async fn check_server(node: &Node) -> Result<(u32, u32), StoreError> {
    let info = Info::of(node, "server").await.map_err(unreadable)?;
    let version = info.field("redis_version").unwrap_or_default();
    let parsed = parse_version(version);
    let parsed = parsed.filter(|parsed| *parsed >= VERSION_MIN).ok_or_else(|| {
        refused(format!("{} is Redis {version}: at least 7.0 is needed", node.server.addr()))
    })?;
    let info = Info::of(node, "replication").await.map_err(unreadable)?;
    if info.field("role") != Some("master") {
        return Err(refused(format!(
            "{} is a replica: name the master, which alone is written to",
            node.server.addr()
        )));
    }
    Ok(parsed)
}

/// Whether the servers give what the settings promise, and what has to be waited for so that
/// they do.
pub(crate) async fn check_promises(
    engine: &Engine,
    settings: &RedisSettings,
) -> Result<(), StoreError> {
    let mut waits = None;
    for node in engine.masters() {
        let version = check_server(&node).await?;
        check_eviction(&node).await?;
        match settings.durability {
            Durability::Memory => {}
            Durability::Replicated(wanted) => {
                check_replicas(&node, wanted.get()).await?;
                waits = Some(Wait::Replicas(wanted.get()));
            }
            Durability::Fsync => {
                let config = Config::read(&node).await?;
                waits = waits.or(check_fsync(&node, &config, version, settings).await?);
            }
        }
    }
    if let Some(wait) = waits {
        engine.wait_for(wait);
    }
    Ok(())
}

/// Whether the server keeps what it was given when its memory is full.
async fn check_eviction(node: &Node) -> Result<(), StoreError> {
    let info = Info::of(node, "memory").await.map_err(unreadable)?;
    match info.field("maxmemory_policy") {
        Some("noeviction") => Ok(()),
        policy => Err(refused(format!(
            "{} has maxmemory-policy {}, by which it drops events when its memory is full: set \
             noeviction",
            node.server.addr(),
            policy.unwrap_or("unknown")
        ))),
    }
}

async fn check_replicas(node: &Node, wanted: u8) -> Result<(), StoreError> {
    let info = Info::of(node, "replication").await.map_err(unreadable)?;
    let have = info.field("connected_slaves").and_then(|count| count.parse().ok()).unwrap_or(0);
    if have < u32::from(wanted) {
        return Err(refused(format!(
            "{} has {have} replicas, and events are to be on {wanted}",
            node.server.addr()
        )));
    }
    Ok(())
}

/// Whether an answer comes after the flush; if not, what to wait for.
async fn check_fsync(
    node: &Node,
    config: &Config,
    version: (u32, u32),
    settings: &RedisSettings,
) -> Result<Option<Wait>, StoreError> {
    let address = node.server.addr();
    // Shown by every server, also where it forbids `CONFIG`.
    let info = Info::of(node, "persistence").await.map_err(unreadable)?;
    if info.field("aof_enabled") != Some("1") {
        return Err(refused(format!(
            "{address} has appendonly no, and events are to survive a loss of power: set \
             appendonly yes, or ask for another durability"
        )));
    }
    match (config.get("appendfsync"), config.get("no-appendfsync-on-rewrite")) {
        (Some("always"), Some("no")) => Ok(None),
        (Some("always"), Some(_)) => Err(refused(format!(
            "{address} has no-appendfsync-on-rewrite yes, by which it flushes nothing while it \
             rewrites its file: set no"
        ))),
        (Some(_), _) if version >= VERSION_WAITAOF => Ok(Some(Wait::OwnDisk)),
        (Some(other), _) => Err(refused(format!(
            "{address} has appendfsync {other}, and events are to be flushed before they are \
             answered: set always, or ask for another durability"
        ))),
        (None, _) if version >= VERSION_WAITAOF => Ok(Some(Wait::OwnDisk)),
        (None, _) => match settings.unseen_settings {
            UnseenSettings::Trusted => Ok(None),
            UnseenSettings::Refused => Err(refused(format!(
                "{address} does not show its appendfsync (CONFIG is forbidden), so nobody knows \
                 whether events are flushed before they are answered: trust its unseen settings, \
                 or ask for another durability"
            ))),
        },
    }
}

/// What the server shows of its configuration; nothing where it forbids that.
struct Config(HashMap<String, String>);

impl Config {
    async fn read(node: &Node) -> Result<Self, StoreError> {
        let mut get = redis::cmd("CONFIG");
        get.arg("GET").arg("appendfsync").arg("no-appendfsync-on-rewrite");
        let pairs: Vec<(Value, Value)> = match node.ask(get).await {
            Ok(Value::Map(pairs)) => pairs,
            Ok(_) | Err(Failure::Server(_)) => Vec::new(),
            Err(failure) => return Err(unreadable(failure)),
        };
        let pairs = pairs.into_iter();
        Ok(Self(pairs.filter_map(|(k, v)| Some((value::text(k)?, value::text(v)?))).collect()))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Writes down how the store is laid out, or sees whether it is laid out so.
pub(crate) async fn agree_on_layout(
    engine: &Arc<Engine>,
    layout: &Layout,
) -> Result<(), StoreError> {
    let ours = [("format", FORMAT.to_owned()), ("buckets", layout.buckets().len().to_string())];
    if let [Some(_), Some(_)] = read_layout(engine, layout).await? {
        // Not written again: a store whose memory is full is opened too.
    } else {
        let (slot, key) = layout.store_wide("meta");
        let calls = ours.iter().map(|(name, value)| {
            let mut set = redis::cmd("HSETNX");
            set.arg(&key).arg(*name).arg(value);
            Call::new(slot, set)
        });
        for answer in engine.call_all(Lane::Write, calls.collect()).await {
            answer.map_err(|failure| failure.of_write("cannot make the Redis store"))?;
        }
    }
    let [format, buckets] = read_layout(engine, layout).await?;
    let (Some(format), Some(buckets)) = (format, buckets) else {
        return Err(corrupt("the key `meta`"));
    };
    if format != FORMAT {
        return Err(refused(format!(
            "the Redis store has the format {format}, and this version knows only {FORMAT}"
        )));
    }
    if buckets != ours[1].1 {
        return Err(refused(format!(
            "the Redis store was made with {buckets} buckets, and the settings say {}",
            ours[1].1
        )));
    }
    Ok(())
}

async fn read_layout(
    engine: &Arc<Engine>,
    layout: &Layout,
) -> Result<[Option<String>; 2], StoreError> {
    let (slot, key) = layout.store_wide("meta");
    let mut get = redis::cmd("HMGET");
    get.arg(key).arg("format").arg("buckets");
    let answer = engine.call(Lane::Read, Call::new(slot, get)).await;
    let answer = answer.map_err(|failure| failure.of_read("cannot open the Redis store"))?;
    let fields: [Value; 2] = value::parts(answer).ok_or_else(|| corrupt("the key `meta`"))?;
    Ok(fields.map(value::text))
}

fn parse_version(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn unreadable(failure: Failure) -> StoreError {
    failure.of_read("cannot read what the server says of itself")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(parse_version("7.0.15"), Some((7, 0)));
        assert!(parse_version("10.1.0") > Some(VERSION_MIN));
        assert!(parse_version("6.2.14") < Some(VERSION_MIN));
        assert_eq!(parse_version(""), None);
    }
}
