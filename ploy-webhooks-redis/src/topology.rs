//! What a server says of itself and of its Cluster.

use std::time::Duration;

use redis::{ConnectionAddr, Value};
use tokio::task::JoinSet;

use crate::engine::Node;
use crate::error::Failure;
use crate::value;

/// How long a map of the slots by a node that is in touch with its Cluster is waited for, when
/// there is one by another.
const BETTER_MAP: Duration = Duration::from_millis(500);

/// Who has a stretch of slots.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Master {
    pub(crate) address: ConnectionAddr,
    pub(crate) first: u16,
    pub(crate) last: u16,
}

/// Who has which slots, by what one node knows.
#[derive(Debug)]
pub(crate) struct Map {
    pub(crate) masters: Vec<Master>,
    /// Whether the node is in touch with the Cluster: one that is cut off tells an old map.
    pub(crate) is_ok: bool,
}

impl Map {
    pub(crate) async fn of(node: &Node) -> Result<Self, Failure> {
        let mut info = redis::cmd("CLUSTER");
        info.arg("INFO");
        let is_ok = match node.ask(info).await {
            Ok(answer) => Info::parse(answer).field("cluster_state") == Some("ok"),
            // Forbidden, perhaps: its map is still better than none.
            Err(Failure::Server(_)) => false,
            Err(failure) => return Err(failure),
        };
        Ok(Self { masters: masters(node).await?, is_ok })
    }

    /// Whether somebody has each of these slots. A node that is new, or has forgotten the others,
    /// knows of few or none.
    pub(crate) fn covers(&self, slots: &[u16]) -> bool {
        let has = |slot: u16| {
            self.masters.iter().any(|master| (master.first..=master.last).contains(&slot))
        };
        slots.iter().all(|slot| has(*slot))
    }
}

/// The first map that has all slots, by a node that is in touch with its Cluster: those all tell
/// the same, or will soon. If none comes, the first of the others. `None` where nobody has all.
pub(crate) async fn best_map(
    asked: &mut JoinSet<Result<Map, Failure>>,
    needed: &[u16],
) -> Option<Map> {
    let mut best: Option<Map> = None;
    let patience = tokio::time::sleep(BETTER_MAP);
    tokio::pin!(patience);
    loop {
        let answer = tokio::select! {
            biased;
            answer = asked.join_next() => answer,
            () = &mut patience, if best.is_some() => return best,
        };
        match answer {
            Some(Ok(Ok(map))) if map.covers(needed) => {
                if map.is_ok {
                    return Some(map);
                }
                best = best.or(Some(map));
            }
            Some(_) => {}
            None => return best,
        }
    }
}

/// What a server says in one section of its `INFO`.
#[derive(Debug)]
pub(crate) struct Info(String);

impl Info {
    pub(crate) async fn of(node: &Node, section: &str) -> Result<Self, Failure> {
        let mut info = redis::cmd("INFO");
        info.arg(section);
        Ok(Self::parse(node.ask(info).await?))
    }

    fn parse(answer: Value) -> Self {
        Self(match answer {
            Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Value::VerbatimString { text, .. } => text,
            _ => String::new(),
        })
    }

    #[cfg(test)]
    pub(crate) fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }
}

/// Whether the server is part of a Cluster.
pub(crate) async fn is_cluster(node: &Node) -> Result<bool, Failure> {
    Ok(Info::of(node, "cluster").await?.field("cluster_enabled") == Some("1"))
}

/// The masters of the Cluster that the node belongs to.
async fn masters(node: &Node) -> Result<Vec<Master>, Failure> {
    let mut slots = redis::cmd("CLUSTER");
    slots.arg("SLOTS");
    let answer = node.ask(slots).await?;
    let masters = parse_slots(answer, node.server.addr());
    masters.ok_or_else(|| Failure::Unsent("CLUSTER SLOTS is not understood".to_owned()))
}

/// `CLUSTER SLOTS`: stretches of slots, each with its nodes, of which the first is the master.
fn parse_slots(answer: Value, asked: &ConnectionAddr) -> Option<Vec<Master>> {
    value::array(answer)?
        .into_iter()
        .map(|stretch| {
            let mut parts = value::array(stretch)?.into_iter();
            let first = u16::try_from(value::int(&parts.next()?)?).ok()?;
            let last = u16::try_from(value::int(&parts.next()?)?).ok()?;
            let mut master = value::array(parts.next()?)?.into_iter();
            // A node that does not know its own name is reached as the one that was asked.
            let host = value::bytes(master.next()?).unwrap_or_default();
            let host = String::from_utf8(host).ok()?;
            let port = u16::try_from(value::int(&master.next()?)?).ok()?;
            (first <= last && last < crate::layout::SLOTS).then(|| Master {
                address: address(asked, &host, port),
                first,
                last,
            })
        })
        .collect()
}

/// The address of another node, reached in the same way as one that is known.
pub(crate) fn address(known: &ConnectionAddr, host: &str, port: u16) -> ConnectionAddr {
    let of_known = match known {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
        // Whatever else there may be names no host.
        _ => "localhost".to_owned(),
    };
    let host = if host.is_empty() || host == "?" { of_known } else { host.to_owned() };
    match known {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        _ => ConnectionAddr::Tcp(host, port),
    }
}

/// TLS needs somebody to say which cryptography is used, once in a process. Where the app has
/// said, that stands.
pub(crate) fn provide_cryptography() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails only where another thread was first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn slots_and_their_masters() {
        let node = |host: Value, port| Value::Array(vec![host, Value::Int(port), text("id")]);
        let stretch = |first, last, nodes: Vec<Value>| {
            let bounds = [Value::Int(first), Value::Int(last)];
            Value::Array(bounds.into_iter().chain(nodes).collect())
        };
        let asked = ConnectionAddr::Tcp("asked".to_owned(), 1);
        let answer = Value::Array(vec![
            stretch(0, 9, vec![node(text("a"), 7000), node(text("replica"), 7001)]),
            stretch(10, 16_383, vec![node(Value::Nil, 7002)]),
        ]);
        let masters = parse_slots(answer, &asked).unwrap();
        let expected = [("a", 7000, 0, 9), ("asked", 7002, 10, 16_383)];
        let expected = expected.map(|(host, port, first, last)| Master {
            address: ConnectionAddr::Tcp(host.to_owned(), port),
            first,
            last,
        });
        assert_eq!(masters, expected);
        let map = Map { masters, is_ok: true };
        assert!(map.covers(&[0, 9, 10, 16_383]));
        let gap = Map { masters: map.masters.into_iter().skip(1).collect(), is_ok: true };
        assert!(gap.covers(&[10]) && !gap.covers(&[10, 9]));
        let nothing = parse_slots(Value::Array(Vec::new()), &asked).unwrap();
        assert!(!Map { masters: nothing, is_ok: true }.covers(&[0]));
        let too_far = Value::Array(vec![stretch(0, 16_384, vec![node(text("a"), 1)])]);
        assert_eq!(parse_slots(too_far, &asked), None);
        assert_eq!(parse_slots(Value::Nil, &asked), None);
    }

    #[tokio::test]
    async fn a_map_is_taken_from_who_is_in_touch() {
        let map = |port, last, is_ok| {
            let address = ConnectionAddr::Tcp("a".to_owned(), port);
            Ok(Map { masters: vec![Master { address, first: 0, last }], is_ok })
        };
        let failed = || Err(Failure::Unsent(String::new()));
        let port = |map: Option<Map>| match map?.masters[0].address {
            ConnectionAddr::Tcp(_, port) => Some(port),
            _ => None,
        };
        let asked = |answers: Vec<Result<Map, Failure>>| -> JoinSet<_> {
            answers.into_iter().map(std::future::ready).collect()
        };
        let mut all = asked(vec![map(1, 9, true), map(2, 99, false), failed(), map(3, 99, true)]);
        assert_eq!(port(best_map(&mut all, &[99]).await), Some(3));
        let mut cut_off = asked(vec![failed(), map(2, 99, false)]);
        assert_eq!(port(best_map(&mut cut_off, &[99]).await), Some(2));
        let mut none = asked(vec![map(1, 9, true), failed()]);
        assert_eq!(port(best_map(&mut none, &[99]).await), None);
    }
}
