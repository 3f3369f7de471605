//! A Redis cluster: nodes of this machine that share the slots.

use std::time::{Duration, Instant};

use ::redis::{RedisResult, cmd};

use crate::redis::Redis;

const SLOTS: usize = 16_384;

/// How long the nodes may take to agree. They gossip, and machines that compile beside are slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long until the nodes are asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// A cluster, gone as its [`Redis`] nodes are. One that is frozen counts as not running.
#[derive(Debug)]
pub struct RedisCluster {
    masters: usize,
    /// The masters, then the replicas of the first, and so on.
    nodes: Vec<Redis>,
    /// The ids of the nodes.
    ids: Vec<String>,
}

impl RedisCluster {
    /// A cluster of so many masters, which share the slots evenly, with so many replicas each, and
    /// returns when all agree on it. All nodes have the settings [`Redis::DURABLE`].
    ///
    /// A replica takes the place of a master only by the votes of most masters, so it takes three
    /// of them.
    ///
    /// # Panics
    ///
    /// When Redis is not installed, or the cluster does not form.
    #[must_use]
    pub fn start(masters: usize, replicas_each: usize) -> Self {
        let settings = [
            ("cluster-enabled", "yes"),
            ("cluster-node-timeout", "2000"),
            ("cluster-announce-ip", "127.0.0.1"),
            // A replica stands for election however long this machine has kept it waiting.
            ("cluster-replica-validity-factor", "0"),
        ];
        let settings = [Redis::DURABLE, &settings].concat();
        let nodes: Vec<_> =
            (0..masters * (1 + replicas_each)).map(|_| Redis::start_with(&settings)).collect();
        let ids = nodes.iter().map(|node| tell(node, &["CLUSTER", "MYID"])).collect();
        let cluster = Self { masters, nodes, ids };
        cluster.share_slots();
        cluster.meet();
        cluster.replicate(replicas_each);
        cluster.await_ok();
        cluster
    }

    /// The URLs of all nodes, those of the masters first.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.url().to_owned()).collect()
    }

    /// All nodes: those that began as masters, then the replicas of the first, and so on.
    #[must_use]
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// `SIGKILL` to the node that began as this master, counted from 0.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn kill_master(&self, master: usize) {
        assert!(master < self.masters, "there are {} masters", self.masters);
        self.nodes[master].kill();
    }

    /// Returns when all running nodes know that another node has taken the slots of this one.
    ///
    /// # Panics
    ///
    /// When that takes too long, or there is no such node.
    pub fn await_failover(&self, node: usize) {
        let id = &self.ids[node];
        self.await_all("a replica has taken its place", |asked| {
            let nodes = table(asked)?;
            let has_slots = nodes.iter().any(|known| known.id == *id && known.has_slots);
            Ok(!has_slots && is_ok(asked)?)
        });
    }

    /// Starts a killed node again, counted as [`nodes`](Self::nodes), and returns as
    /// [`await_ok`](Self::await_ok).
    ///
    /// # Panics
    ///
    /// When it runs, does not start, or the nodes do not agree again; or there is none.
    pub fn restart(&self, node: usize) {
        self.nodes[node].restart();
        self.await_ok();
    }

    /// Returns when all running nodes say that the cluster is whole and all slots are served, and,
    /// where all run, that no node is missed and each replica follows its master.
    ///
    /// # Panics
    ///
    /// When that takes too long.
    pub fn await_ok(&self) {
        let all_run = self.nodes.iter().all(Redis::is_running);
        let replicas = self.nodes.len() - self.masters;
        self.await_all("the cluster is whole", |asked| {
            if !is_ok(asked)? {
                return Ok(false);
            }
            if !all_run {
                return Ok(true);
            }
            let nodes = table(asked)?;
            Ok(nodes.len() == self.nodes.len()
                && nodes.iter().all(|known| known.is_reachable)
                && nodes.iter().filter(|known| known.is_replica).count() == replicas
                && follows(asked)?)
        });
    }

    fn share_slots(&self) {
        for (master, node) in self.nodes[..self.masters].iter().enumerate() {
            let slots = master * SLOTS / self.masters..(master + 1) * SLOTS / self.masters;
            let slots: Vec<_> = slots.map(|slot| slot.to_string()).collect();
            let words = ["CLUSTER", "ADDSLOTS"].into_iter().chain(slots.iter().map(String::as_str));
            tell(node, &words.collect::<Vec<_>>());
        }
    }

    /// Introduces every node to the first. Each has an epoch of its own from the start, since
    /// nodes that have the same settle that later, under the test.
    fn meet(&self) {
        for (epoch, node) in self.nodes.iter().enumerate() {
            tell(node, &["CLUSTER", "SET-CONFIG-EPOCH", &(epoch + 1).to_string()]);
        }
        let (first, others) = self.nodes.split_first().expect("a cluster has a node");
        for node in others {
            let (ip, port) = (node.address().ip().to_string(), node.address().port().to_string());
            tell(first, &["CLUSTER", "MEET", &ip, &port]);
        }
        self.await_all("all have met", |asked| {
            let nodes = table(asked)?;
            Ok(nodes.len() == self.nodes.len() && nodes.iter().all(|known| known.is_reachable))
        });
    }

    fn replicate(&self, replicas_each: usize) {
        for (replica, node) in self.nodes[self.masters..].iter().enumerate() {
            tell(node, &["CLUSTER", "REPLICATE", &self.ids[replica / replicas_each]]);
        }
    }

    /// Returns when this is so for all running nodes.
    fn await_all(&self, what: &str, is_so: impl Fn(&Redis) -> RedisResult<bool>) {
        let deadline = Instant::now() + PATIENCE;
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            loop {
                match is_so(node) {
                    Ok(true) => break,
                    found if Instant::now() > deadline => {
                        let known = ask(node, &["CLUSTER", "NODES"]);
                        panic!("{what}? Not so at {}: {found:?}: {known:?}", node.url());
                    }
                    _ => std::thread::sleep(PAUSE),
                }
            }
        }
    }
}

/// A node as another sees it.
struct Known {
    id: String,
    is_replica: bool,
    is_reachable: bool,
    has_slots: bool,
}

/// What a node says of all of them, itself included.
fn table(asked: &Redis) -> RedisResult<Vec<Known>> {
    let table = ask(asked, &["CLUSTER", "NODES"])?;
    let known = table.lines().filter_map(|line| {
        // id, address, flags, master, ping, pong, epoch, link, slots…
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let [id, _, flags, _, _, _, _, link, ref slots @ ..] = fields[..] else { return None };
        let is_flagged = |part| flags.split(',').any(|flag: &str| flag.starts_with(part));
        Some(Known {
            id: id.to_owned(),
            is_replica: is_flagged("slave"),
            is_reachable: link == "connected"
                && !["fail", "handshake", "noaddr"].into_iter().any(is_flagged),
            has_slots: !slots.is_empty(),
        })
    });
    Ok(known.collect())
}

fn is_ok(asked: &Redis) -> RedisResult<bool> {
    let info = ask(asked, &["CLUSTER", "INFO"])?;
    let says = |line: String| info.lines().any(|said| said == line);
    Ok(says("cluster_state:ok".to_owned()) && says(format!("cluster_slots_ok:{SLOTS}")))
}

/// Whether it is a master, or a replica that follows one.
fn follows(asked: &Redis) -> RedisResult<bool> {
    let info = ask(asked, &["INFO", "replication"])?;
    Ok(info.contains("role:master") || info.contains("master_link_status:up"))
}

fn tell(node: &Redis, words: &[&str]) -> String {
    ask(node, words).unwrap_or_else(|error| panic!("a node refuses {words:?}: {error}"))
}

fn ask(node: &Redis, words: &[&str]) -> RedisResult<String> {
    let (command, arguments) = words.split_first().expect("a command has a name");
    cmd(command).arg(arguments).query(&mut node.connect()?)
}
