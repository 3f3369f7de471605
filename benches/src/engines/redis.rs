//! The Redis store beside an app's own XADDs, and beside what Redis can take at all.
//!
//! Each measurement has a server of its own: what another left would be rewritten with its log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ploy_webhooks::{Clock, EndpointId, EventId, SystemClock};
use ploy_webhooks_engines::Redis;
use ploy_webhooks_redis::{RedisSettings, RedisStore};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Pipeline};

use super::callers::{self, Caller};
use super::report::Figures;
use super::source::{Source, StoreCaller, mint};
use super::{Bench, EnginesError, Limit, Load, STORE, Subject, Way};
use crate::cpu::Family;
use crate::folder;

/// What is measured on servers of its own.
#[derive(Debug)]
pub(crate) struct RedisBench {
    version: String,
    source: Arc<Source>,
}

impl RedisBench {
    /// Starts a server, to see whether there is one and what it is.
    pub(crate) async fn start(payload_bytes: usize) -> Result<Self, EnginesError> {
        let server = Redis::start();
        folder::on_disk(server.folder())?;
        let version = info(&mut connect(&server).await?, "redis_version").await?;
        Ok(Self { version, source: Arc::new(Source::new(payload_bytes)) })
    }

    async fn batches(
        &self,
        server: &Redis,
        family: Family,
        limit: Limit,
        load: Load,
    ) -> Result<Figures, EnginesError> {
        let mut writers = Vec::new();
        for _ in 0..limit.connections {
            writers.push(Adds {
                connection: connect(server).await?,
                source: self.source.clone(),
                endpoint: EndpointId::mint(SystemClock.now()),
                batch: limit.batch,
            });
        }
        let (_, figures) = callers::measure(writers, load, family).await?;
        Ok(figures)
    }

    async fn store(
        &self,
        server: &Redis,
        family: Family,
        load: Load,
    ) -> Result<Figures, EnginesError> {
        let store = Arc::new(RedisStore::open(RedisSettings::at(server.url())).await?);
        let fence = mint(&*store).await?;
        let caller = StoreCaller { store: store.clone(), fence, source: self.source.clone() };
        let (_, mut figures) = callers::measure(vec![caller; load.callers], load, family).await?;
        let begin = Instant::now();
        store.close().await;
        figures.close_ms = Some(begin.elapsed().as_secs_f64() * 1e3);
        Ok(figures)
    }
}

impl Bench for RedisBench {
    fn version(&self) -> String {
        format!("Redis {}, appendfsync always", self.version)
    }

    fn limits(&self) -> Vec<Limit> {
        let limit = |connections, batch| Limit { way: Way::Batch, batch, connections };
        [1, 2]
            .into_iter()
            .flat_map(|connections| [128, 256, 512, 1024].map(|batch| limit(connections, batch)))
            .collect()
    }

    fn subjects(&self, fastest: Limit, callers: usize) -> Vec<(&'static str, Subject)> {
        vec![
            ("xadd", Subject::Single),
            ("batches", Subject::Limit(fastest.for_callers(callers))),
            (STORE, Subject::Store),
        ]
    }

    async fn measure(&self, subject: Subject, load: Load) -> Result<Figures, EnginesError> {
        let server = Redis::start();
        let mut connection = connect(&server).await?;
        let id = info(&mut connection, "process_id").await?;
        let family = Family::of(id.parse().map_err(|_| EnginesError::NotStored)?);
        match subject {
            Subject::Single => {
                let endpoint = EndpointId::mint(SystemClock.now());
                let source = self.source.clone();
                // All over one connection, as its client has it: the client makes pipelines of
                // what waits.
                let caller = Adds { connection, source, endpoint, batch: 1 };
                let callers = vec![caller; load.callers];
                Ok(callers::measure(callers, load, family).await?.1)
            }
            Subject::Limit(limit) => self.batches(&server, family, limit, load).await,
            Subject::Store | Subject::StoreWithoutIndex => self.store(&server, family, load).await,
        }
    }
}

/// As long as the store waits.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

async fn connect(server: &Redis) -> Result<MultiplexedConnection, EnginesError> {
    // The client's own half second is less than a disk takes to flush while others use it.
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(RESPONSE_TIMEOUT));
    let client = Client::open(server.url())?;
    Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
}

async fn info(connection: &mut MultiplexedConnection, name: &str) -> Result<String, EnginesError> {
    let info: String = redis::cmd("INFO").arg("server").query_async(connection).await?;
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(value.unwrap_or_default().to_owned())
}

/// An app that adds to one stream: an event at a time, or several in a pipeline.
#[derive(Clone)]
struct Adds {
    connection: MultiplexedConnection,
    source: Arc<Source>,
    endpoint: EndpointId,
    batch: usize,
}

impl Caller for Adds {
    async fn step(&mut self) -> Result<u64, EnginesError> {
        let mut pipeline = Pipeline::with_capacity(self.batch);
        for payload in self.source.payloads(self.batch) {
            let id = EventId::mint(SystemClock.now());
            pipeline
                .cmd("XADD")
                .arg("events")
                .arg("*")
                .arg("id")
                .arg(id.as_bytes())
                .arg("endpoint")
                .arg(self.endpoint.as_bytes())
                .arg("payload")
                .arg(payload);
        }
        let added: Vec<String> = pipeline.query_async(&mut self.connection).await?;
        match added.len() == self.batch {
            true => Ok(self.batch as u64),
            false => Err(EnginesError::NotStored),
        }
    }
}
