//! Redis keeps every promise, on a single server and on a Cluster.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ploy_webhooks::conformance::Fixture;
use ploy_webhooks_engines::{Redis, RedisCluster};
use ploy_webhooks_redis::{RedisSettings, RedisStore};

/// Keys of its own on a server that all tests share.
struct OnRedis(RedisSettings);

impl OnRedis {
    fn single() -> Self {
        Self::at(&[Redis::shared().url().to_owned()])
    }

    fn cluster() -> Self {
        static SHARED: OnceLock<RedisCluster> = OnceLock::new();
        Self::at(&SHARED.get_or_init(|| RedisCluster::start(3, 0)).urls())
    }

    fn at(urls: &[String]) -> Self {
        let mut settings = RedisSettings::at_nodes(urls);
        settings.prefix = format!("test-{:016x}", fastrand::u64(..));
        // Machines that compile beside are slow.
        settings.response_timeout = Duration::from_secs(60);
        settings.connection_timeout = Duration::from_secs(60);
        Self(settings)
    }

    async fn store(&self) -> Arc<RedisStore> {
        Arc::new(RedisStore::open(self.0.clone()).await.expect("the store opens"))
    }
}

impl Fixture for OnRedis {
    type Store = RedisStore;

    async fn open(&self) -> Arc<RedisStore> {
        self.store().await
    }

    async fn reopen(&self, store: Arc<RedisStore>) -> Arc<RedisStore> {
        store.close().await;
        drop(store);
        self.store().await
    }
}

mod single {
    use super::OnRedis;
    ploy_webhooks::conformance!(OnRedis::single());
}

mod cluster {
    use super::OnRedis;
    ploy_webhooks::conformance!(OnRedis::cluster());
}
