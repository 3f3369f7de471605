//! What is looked at before a store is opened: whether the server gives what is promised.

use std::collections::HashMap;
use std::sync::Arc;

use ploy_webhooks::store::{Format, StoreError};
use redis::Value;

use crate::durable::Wait;
use crate::engine::{Call, Engine, Node, Via};
use crate::error::{Failure, corrupt, refused};
use crate::layout::Layout;
use crate::script::{self, ScriptCall};
use crate::settings::{Durability, RedisSettings, UnseenSettings};
use crate::topology::Info;
use crate::value;

/// The oldest version: the first with scripts that say beforehand what they do, so that one which
/// writes is refused as a whole when memory is full.
const VERSION_MIN: (u32, u32) = (7, 0);
/// The first version whose `WAITAOF` is believed. Before it, with `appendfsync everysec`, one could
/// be told that writes were flushed which had not even been written.
const VERSION_WAITAOF: (u32, u32) = (8, 0);
/// How the store is laid out. A store of another format is refused, but for the one before.
const FORMAT: &str = "3";
/// The format before. What is delivered has lines of its own only since then, and all else lies in
/// both in the same way: so a store of it is opened, and is of this one from then on.
const FORMAT_BEFORE: &str = "2";

/// Whether the server says when it has flushed, and is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waitaof {
    Believed,
    Not,
}

impl Waitaof {
    fn of(version: (u32, u32), info: &Info) -> Self {
        // Others count their versions in their own way, or have taken over an older Redis.
        let is_redis = info.field("valkey_version").is_none()
            && info.field("server_name").is_none_or(|name| name == "redis");
        if is_redis && version >= VERSION_WAITAOF { Self::Believed } else { Self::Not }
    }
}

/// Whether the server can be used at all.
pub(crate) async fn check_server(node: &Node) -> Result<Waitaof, StoreError> {
    let info = Info::of(node, "server").await.map_err(unreadable)?;
    let version = info.field("redis_version").unwrap_or_default();
    let parsed = parse_version(version);
    let parsed = parsed.filter(|parsed| *parsed >= VERSION_MIN).ok_or_else(|| {
        refused(format!("{} is Redis {version}: at least 7.0 is needed", node.server.addr()))
    })?;
    let waitaof = Waitaof::of(parsed, &info);
    let info = Info::of(node, "replication").await.map_err(unreadable)?;
    if info.field("role") != Some("master") {
        return Err(refused(format!(
            "{} is a replica: name the master, which alone is written to",
            node.server.addr()
        )));
    }
    Ok(waitaof)
}

/// Whether the servers give what the settings promise, and what has to be waited for so that
/// they do.
pub(crate) async fn check_promises(
    engine: &Engine,
    settings: &RedisSettings,
) -> Result<(), StoreError> {
    let mut waits = None;
    let mut without_waitaof = None;
    for node in engine.masters() {
        let waitaof = check_server(&node).await?;
        check_eviction(&node).await?;
        match settings.durability {
            Durability::Memory => {}
            Durability::Replicated(wanted) => {
                check_replicas(&node, wanted.get()).await?;
                waits = Some(Wait::Replicas(wanted.get()));
            }
            Durability::Fsync => {
                let config = Config::read(&node).await?;
                let flush = check_fsync(&node, &config, waitaof, settings.unseen_settings).await?;
                if flush == Flush::OnDemand {
                    waits = Some(Wait::OwnDisk);
                }
                if waitaof == Waitaof::Not {
                    without_waitaof = Some(node);
                }
            }
        }
    }
    // Each write is followed by the same, wherever it goes.
    if let (Some(Wait::OwnDisk), Some(node)) = (waits, without_waitaof) {
        return Err(refused(format!(
            "another master flushes when it is asked to, and {} has no WAITAOF that could be \
             believed: set appendfsync always on all of them",
            node.server.addr()
        )));
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

/// When a server flushes what it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flush {
    /// Before it answers.
    Always,
    /// Soon, and says when (`WAITAOF`).
    OnDemand,
}

/// Whether an answer comes after the flush, or can be made to.
async fn check_fsync(
    node: &Node,
    config: &Config,
    waitaof: Waitaof,
    unseen: UnseenSettings,
) -> Result<Flush, StoreError> {
    let address = node.server.addr();
    // Shown by every server, also where it forbids `CONFIG`.
    let info = Info::of(node, "persistence").await.map_err(unreadable)?;
    if info.field("aof_enabled") != Some("1") {
        return Err(refused(format!(
            "{address} has appendonly no, and events are to survive a loss of power: set \
             appendonly yes, or ask for another durability"
        )));
    }
    let (when, on_rewrite) = (config.get("appendfsync"), config.get("no-appendfsync-on-rewrite"));
    flush(when, on_rewrite, waitaof, unseen)
        .map_err(|why| refused(format!("{address} {why}, or ask for another durability")))
}

/// What the settings say about the flush; why not, where they do not say enough.
fn flush(
    when: Option<&str>,
    on_rewrite: Option<&str>,
    waitaof: Waitaof,
    unseen: UnseenSettings,
) -> Result<Flush, String> {
    match (when, on_rewrite, waitaof) {
        (Some("always"), Some("no"), _) => Ok(Flush::Always),
        (Some("everysec"), Some("no"), Waitaof::Believed) => Ok(Flush::OnDemand),
        (Some("always"), Some(_), _) | (Some("everysec"), Some(_), Waitaof::Believed) => {
            Err("has no-appendfsync-on-rewrite yes, by which it flushes nothing while it rewrites \
                 its file: set no"
                .to_owned())
        }
        (None, ..) | (Some("always"), ..) | (Some("everysec"), _, Waitaof::Believed) => {
            match (unseen, waitaof) {
                (UnseenSettings::Trusted, Waitaof::Believed) => Ok(Flush::OnDemand),
                (UnseenSettings::Trusted, Waitaof::Not) => Ok(Flush::Always),
                (UnseenSettings::Refused, _) => Err(
                    "does not show its appendfsync (CONFIG is forbidden), so nobody knows whether \
                     events are flushed before they are answered: trust its unseen settings"
                        .to_owned(),
                ),
            }
        }
        // `no` too: that server flushes when it likes, and has nothing to wait for.
        (Some(other), ..) => Err(format!(
            "has appendfsync {other}, and events are to be flushed before they are answered: set \
             always"
        )),
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
        for answer in engine.call_all(Via::Write, calls.collect()).await {
            answer.map_err(|failure| failure.of_write("cannot make the Redis store"))?;
        }
    }
    let [format, buckets] = read_layout(engine, layout).await?;
    let (Some(format), Some(buckets)) = (format, buckets) else {
        return Err(corrupt("the key `meta`"));
    };
    if format != FORMAT && format != FORMAT_BEFORE {
        return Err(unknown_format(&format));
    }
    if buckets != ours[1].1 {
        return Err(other_buckets(&buckets, layout));
    }
    // Last: a store that is refused stays as it is.
    if format == FORMAT_BEFORE { advance(engine, layout).await } else { Ok(()) }
}

/// How the store is laid out, and why it would be refused for that, without making anything.
pub(crate) async fn format(
    engine: &Arc<Engine>,
    layout: &Layout,
) -> Result<(Format, Option<StoreError>), StoreError> {
    let number = |format: &str| format.parse().unwrap_or(0);
    Ok(match read_layout(engine, layout).await? {
        [Some(format), Some(buckets)] => {
            let refusal = match buckets == layout.buckets().len().to_string() {
                _ if format != FORMAT && format != FORMAT_BEFORE => Some(unknown_format(&format)),
                true => None,
                false => Some(other_buckets(&buckets, layout)),
            };
            (Format::of(number(&format), number(FORMAT)), refusal)
        }
        _ => (Format::Missing, None),
    })
}

fn other_buckets(buckets: &str, layout: &Layout) -> StoreError {
    refused(format!(
        "the Redis store was made with {buckets} buckets, and the settings say {}",
        layout.buckets().len()
    ))
}

/// What the servers say of themselves: a name and version, and the settings that matter, of each.
pub(crate) async fn seen(engine: &Engine) -> Result<(String, Vec<(String, String)>), StoreError> {
    let (mut name, mut settings) = (String::new(), Vec::new());
    for node in engine.masters() {
        let address = node.server.addr().to_string();
        let said = async |section: &str, field: &str| {
            let info = Info::of(&node, section).await.map_err(unreadable)?;
            Ok::<_, StoreError>(info.field(field).unwrap_or("unknown").to_owned())
        };
        name = format!("Redis {}", said("server", "redis_version").await?);
        let config = Config::read(&node).await?;
        let aof = match said("persistence", "aof_enabled").await?.as_str() {
            "1" => "yes",
            _ => "no",
        };
        let unseen = |name| config.get(name).unwrap_or("not shown").to_owned();
        for (name, value) in [
            ("appendonly", aof.to_owned()),
            ("appendfsync", unseen("appendfsync")),
            ("no-appendfsync-on-rewrite", unseen("no-appendfsync-on-rewrite")),
            ("maxmemory-policy", said("memory", "maxmemory_policy").await?),
            ("replicas", said("replication", "connected_slaves").await?),
        ] {
            settings.push((format!("{address} {name}"), value));
        }
    }
    Ok((name, settings))
}

/// Has a store of the format before be of this one. Any number of nodes may do so at once.
async fn advance(engine: &Arc<Engine>, layout: &Layout) -> Result<(), StoreError> {
    let (slot, key) = layout.store_wide("meta");
    let call = ScriptCall::small(&script::ADVANCE, &key).bytes(FORMAT_BEFORE).bytes(FORMAT);
    let answer = engine.call(Via::Write, Call::of_script(slot, &script::ADVANCE, call)).await;
    let answer = answer.map_err(|failure| failure.of_write("cannot advance the Redis store"))?;
    match value::text(answer) {
        Some(format) if format == FORMAT => Ok(()),
        // A node of a newer version was faster.
        Some(format) => Err(unknown_format(&format)),
        None => Err(corrupt("the key `meta`")),
    }
}

fn unknown_format(format: &str) -> StoreError {
    refused(format!(
        "the Redis store has the format {format}, which another version of this crate has made, \
         and this one knows only {FORMAT_BEFORE} and {FORMAT}: open it with that version, or set \
         another prefix to begin anew beside it"
    ))
}

async fn read_layout(
    engine: &Arc<Engine>,
    layout: &Layout,
) -> Result<[Option<String>; 2], StoreError> {
    let (slot, key) = layout.store_wide("meta");
    let mut get = redis::cmd("HMGET");
    get.arg(key).arg("format").arg("buckets");
    let answer = engine.call(Via::Read, Call::new(slot, get)).await;
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

    #[test]
    fn waitaof_is_believed_of_redis_8_alone() {
        let valkey = "server_name:valkey\r\nvalkey_version:9.0.0\r\n";
        for (version, info, expected) in [
            ((7, 4), "", Waitaof::Not),
            ((8, 0), "redis_mode:standalone\r\n", Waitaof::Believed),
            ((8, 2), "server_name:redis\r\n", Waitaof::Believed),
            ((8, 2), valkey, Waitaof::Not),
            ((8, 2), "server_name:another\r\n", Waitaof::Not),
        ] {
            assert_eq!(Waitaof::of(version, &Info::from_text(info)), expected, "{info}");
        }
    }

    #[test]
    fn what_settings_say_about_the_flush() {
        use UnseenSettings::{Refused, Trusted};
        use Waitaof::{Believed, Not};
        for (when, on_rewrite, waitaof, unseen, expected) in [
            (Some("always"), Some("no"), Not, Refused, Some(Flush::Always)),
            (Some("always"), Some("no"), Believed, Refused, Some(Flush::Always)),
            (Some("always"), Some("yes"), Not, Trusted, None),
            (Some("always"), Some("yes"), Believed, Refused, None),
            (Some("everysec"), Some("yes"), Believed, Refused, None),
            (Some("everysec"), Some("no"), Not, Trusted, None),
            (Some("everysec"), Some("no"), Believed, Refused, Some(Flush::OnDemand)),
            (Some("no"), Some("no"), Not, Trusted, None),
            (Some("no"), Some("no"), Believed, Trusted, None),
            (Some("no"), None, Believed, Trusted, None),
            (None, None, Not, Refused, None),
            (None, None, Believed, Refused, None),
            (None, None, Not, Trusted, Some(Flush::Always)),
            (None, None, Believed, Trusted, Some(Flush::OnDemand)),
        ] {
            let flush = flush(when, on_rewrite, waitaof, unseen);
            assert_eq!(flush.as_ref().ok(), expected.as_ref(), "{when:?} {waitaof:?} {flush:?}");
        }
    }
}
