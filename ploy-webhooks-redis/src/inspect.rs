//! What the store and its servers are found to be, without opening the store.

use ploy_webhooks::store::{Inspection, StoreError};

use crate::RedisStore;
use crate::engine::Engine;
use crate::layout::Layout;
use crate::settings::RedisSettings;
use crate::startup;

impl RedisStore {
    /// What is found of the servers and of the store on them. Nothing is made or changed.
    ///
    /// # Errors
    ///
    /// - [`Unavailable`](ploy_webhooks::store::StoreErrorKind::Unavailable): no node answers.
    /// - [`Misuse`](ploy_webhooks::store::StoreErrorKind::Misuse): a setting is none.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn inspect(settings: &RedisSettings) -> Result<Inspection, StoreError> {
        settings.check_prefix()?;
        let engine = Engine::connect(settings).await?;
        let layout = Layout::new(&settings.prefix, settings.buckets);
        let (name, of_servers) = startup::seen(&engine).await?;
        let refusal = startup::check_promises(&engine, settings).await.err();
        let (format, of_another) = startup::format(&engine, &layout).await?;
        Ok(Inspection {
            engine: name,
            format,
            settings: of_servers,
            refusal: refusal.or(of_another),
        })
    }
}
