//! An endpoint whose events an agent carries out: one Ploybook, one trigger, all in memory.

use std::error::Error;
use std::sync::Arc;

use ploy_webhooks::store::{Defined, DefinitionKind, DefinitionStore, EndpointStore, MemoryStore};
use ploy_webhooks::trigger::{Ploybooks, TriggerRunner};
use ploy_webhooks::{
    Clock, Endpoint, EndpointConfig, EndpointTrigger, Ingest, Means, Ploybook, Secret, Slug,
    SystemClock, WorkspaceId,
};

pub(crate) const INSTRUCTIONS: &str = "Sum up the event for a busy person, in one sentence.";

type Intake<R> = Ingest<Arc<MemoryStore>, Arc<MemoryStore>, Ploybooks<Arc<MemoryStore>, R>>;

/// The intake, the address of its endpoint and the key for it.
pub(crate) async fn open<R: TriggerRunner>(
    store: &Arc<MemoryStore>,
    agent: R,
) -> Result<(Intake<R>, Slug, Secret), Box<dyn Error>> {
    let mut ploybook = Ploybook::new(Means::Function("agent".to_owned()));
    ploybook.instructions = INSTRUCTIONS.to_owned();
    ploybook.check()?;
    let text = serde_json::to_string(&ploybook)?;
    let kind = DefinitionKind::Ploybook;
    let defined = store.define(&WorkspaceId::DEFAULT, kind, "sum up", None, &text).await?;
    assert!(matches!(defined, Defined::Defined(_)), "the store was empty");

    let trigger = Some(EndpointTrigger { ploybook: "sum up".parse()? });
    let config = EndpointConfig { trigger, ..EndpointConfig::default() };
    let (endpoint, key) = Endpoint::mint(WorkspaceId::DEFAULT, config, SystemClock.now());
    let slug = endpoint.slug.clone();
    let _created = store.create(endpoint).await?;

    let ingest = Ingest::builder(store.clone(), store.clone())
        .definitions(store.clone())
        .runner(Ploybooks::new(store.clone(), agent))
        .build()?;
    Ok((ingest, slug, key))
}
