//! The memory store with one fault, of the kinds that stores really have.

mod activity;
mod definitions;
mod events;
mod feed;
mod history;
mod retention;
mod runs;

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ploy_webhooks::store::{
    Created, EndpointPatch, EndpointStore, EventStore, HistoryTally, KeyStore, MemoryStore,
    StoreError, TokenStore, Updated,
};
use ploy_webhooks::{
    Clock, DedupKey, Endpoint, EndpointId, Event, EventId, Lease, LeasedRun, ManualClock, Revision,
    RunId, SecretDigest, Slug, Timestamp, WorkspaceId,
};

/// What the store does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Nothing: what is found wrong with it is the suite's mistake.
    Innocent,
    BatchesShareAFate,
    BeginsWithWhatItShouldBeBeyond,
    CachesLookUps,
    CancelsOnlyWhatWaits,
    ChangesEndpointsOfAnybody,
    ChangesNeverReturn,
    ChecksTheFenceBeforeTheCommit,
    ClaimsWithoutALock,
    ClaimsWithoutPayloads,
    ComparesTheFenceByOrder,
    CountsQuotasBeforeTheCommit,
    CountsRepeats,
    CutsErrorsAtNul,
    CutsPayloadsAtEscapedNul,
    DefinesWhateverIsExpected,
    DeletesOnlyWhatItSees,
    DropsOutputs,
    EndsSweepsTooSoon,
    EnqueuesForAnybody,
    EveryChangeWins,
    ExpiresNothing,
    ExpiresWhatIsOwed,
    ExpiresWhateverTheAge,
    ExtendsOnlyForward,
    FeedForgetsRuns,
    FeedRepeatsPages,
    FeedShowsAnybody,
    FeedSkipsLateIds,
    FeedTakesAnyPosition,
    FeedTellsOfDeleted,
    FencesAcrossWorkspaces,
    FindsLate,
    FindsOnlyOwedRuns,
    ForgetsEarlierAttempts,
    ForgetsHeaders,
    ForgetsKeysOfExpired,
    ForgetsLeases,
    ForgetsLosses,
    ForgetsNewKeys,
    ForgetsRoutes,
    ForgetsRuns,
    ForgetsSources,
    ForgetsToExtend,
    ForgetsWorkers,
    IgnoresDelays,
    IgnoresLanes,
    IgnoresBounds,
    ListsAnyDestination,
    IgnoresTheAttempt,
    IgnoresTheFence,
    IgnoresTheGapsOfRetries,
    IgnoresTheType,
    InventsEvents,
    KeepsAllHistory,
    KeepsTheHistoryOfDeleted,
    KeepsTheRunsOfDeleted,
    LeasesNeverEnd,
    LooksForRepeatsBeforeTheCommit,
    LosesEverything,
    LosesOneOfAFullClaim,
    MindsCase,
    NeedsThreeCharacters,
    NeverTriesAgain,
    ObservesAnything,
    ObservesTheLastOnly,
    OneKeyForAllEndpoints,
    ParsesPayloads,
    QuotasAreShared,
    QuotasNeverBeginAnew,
    RecordsInTwoSteps,
    RepeatsExtendTheWindow,
    RepeatsTheLastOfAPage,
    RequeuesAtOnce,
    RequeuesWhatSucceeded,
    SaysAddedToAll,
    SaysCreatedToAll,
    SaysHeldToAll,
    SearchesTheBeginOfPayloads,
    ServesOneLane,
    SharesDefinitions,
    SharesHistory,
    ShowsEventsToAnybody,
    SkipsOneBetweenPages,
    SortsByArrival,
    SpansHaveTheirEnd,
    StoresRepeats,
    SweepsForAnybody,
    SweepsUnfenced,
    TakesNeedlesForPatterns,
    TalliesTheLastOnly,
    TheLastRootTokenWins,
    TimesHaveTheirEnd,
    TrimsPayloads,
    WaitsOutItsTime,
    WindowsNeverEnd,
}

#[derive(Debug)]
pub(crate) struct Saboteur {
    fault: Fault,
    store: MemoryStore,
    clock: Arc<ManualClock>,
    /// What a careful store would not keep beside the store.
    aside: Mutex<Aside>,
}

#[derive(Debug, Default)]
struct Aside {
    /// Every endpoint that was made, as it was made.
    made: HashMap<EndpointId, Endpoint>,
    seen: HashMap<(Option<EndpointId>, DedupKey), (EventId, Timestamp)>,
    /// Whatever was appended, in the order of arrival.
    appended: Vec<Event>,
    cache: HashMap<Slug, Option<Arc<Endpoint>>>,
    root_token: Option<SecretDigest>,
    /// The greatest id that the feed told.
    last_told: Option<EventId>,
    /// What was stored under a quota.
    used: HashMap<Option<EndpointId>, u64>,
    a_batch_failed: bool,
    /// All of history.
    tallies: Vec<HistoryTally>,
    /// The last lease of every run that was claimed.
    leases: HashMap<RunId, Lease>,
    /// Runs of deleted endpoints.
    left_over: Vec<LeasedRun>,
}

impl Saboteur {
    pub(crate) fn new(fault: Fault, clock: Arc<ManualClock>) -> Self {
        let of_store = Arc::clone(&clock) as Arc<dyn Clock>;
        Self {
            fault,
            store: MemoryStore::with_parts(MemoryStore::PAYLOAD_BYTES_MAX, of_store),
            clock,
            aside: Mutex::default(),
        }
    }

    fn aside(&self) -> std::sync::MutexGuard<'_, Aside> {
        self.aside.lock().expect("no holder panics")
    }

    /// The workspace that the endpoint really is of.
    fn owner(&self, id: &EndpointId, asked: &WorkspaceId) -> WorkspaceId {
        let aside = self.aside();
        aside.made.get(id).map_or(*asked, |made| made.workspace)
    }
}

/// Long enough for everything else that is under way to go first.
async fn dawdle() {
    tokio::time::sleep(Duration::from_millis(3)).await;
}

#[async_trait]
impl KeyStore for Saboteur {
    async fn endpoint(&self, slug: &Slug) -> Result<Option<Arc<Endpoint>>, StoreError> {
        let found = self.store.endpoint(slug).await?;
        if self.fault == Fault::CachesLookUps {
            return Ok(self.aside().cache.entry(slug.clone()).or_insert(found).clone());
        }
        Ok(found)
    }
}

#[async_trait]
impl EndpointStore for Saboteur {
    async fn create(&self, endpoint: Endpoint) -> Result<Created, StoreError> {
        self.aside().made.insert(endpoint.id, endpoint.clone());
        let created = self.store.create(endpoint).await?;
        Ok(match self.fault {
            Fault::SaysCreatedToAll => Created::Created,
            _ => created,
        })
    }

    async fn endpoint_by_id(
        &self,
        workspace: &WorkspaceId,
        id: &EndpointId,
    ) -> Result<Option<Arc<Endpoint>>, StoreError> {
        self.store.endpoint_by_id(workspace, id).await
    }

    async fn endpoints(
        &self,
        workspace: &WorkspaceId,
        after: Option<EndpointId>,
        limit: NonZeroU16,
    ) -> Result<Vec<Arc<Endpoint>>, StoreError> {
        let mut page = self.store.endpoints(workspace, after, limit).await?;
        if self.fault == Fault::SortsByArrival {
            page.sort_by(|a, b| a.slug.cmp(&b.slug));
        }
        Ok(page)
    }

    async fn update(
        &self,
        workspace: &WorkspaceId,
        id: &EndpointId,
        mut expected: Revision,
        mut patch: EndpointPatch,
    ) -> Result<Updated, StoreError> {
        let mut workspace = *workspace;
        match self.fault {
            Fault::ChangesNeverReturn => std::future::pending().await,
            Fault::ChangesEndpointsOfAnybody => workspace = self.owner(id, &workspace),
            Fault::ForgetsNewKeys => patch.auth = None,
            Fault::EveryChangeWins => {
                if let Some(endpoint) = self.store.endpoint_by_id(&workspace, id).await? {
                    expected = endpoint.revision;
                }
            }
            _ => {}
        }
        self.store.update(&workspace, id, expected, patch).await
    }

    async fn delete(&self, workspace: &WorkspaceId, id: &EndpointId) -> Result<bool, StoreError> {
        if self.fault == Fault::KeepsTheRunsOfDeleted {
            self.keep_runs_of(id).await?;
        }
        let deleted = self.store.delete(workspace, id).await?;
        if deleted && self.fault == Fault::DeletesOnlyWhatItSees {
            // An append that was under way comes after the rows were deleted.
            let late = EventId::mint(self.clock.now());
            let late = ploy_webhooks::NewEvent::published(late, *workspace, "{}".into());
            let _stored = self.store.append(late).await?;
        }
        Ok(deleted)
    }
}

#[async_trait]
impl TokenStore for Saboteur {
    async fn root_token(&self) -> Result<Option<SecretDigest>, StoreError> {
        match self.fault {
            Fault::TheLastRootTokenWins => Ok(self.aside().root_token),
            _ => self.store.root_token().await,
        }
    }

    async fn claim_root_token(
        &self,
        digest: SecretDigest,
        now: Timestamp,
    ) -> Result<SecretDigest, StoreError> {
        match self.fault {
            Fault::TheLastRootTokenWins => Ok(*self.aside().root_token.insert(digest)),
            _ => self.store.claim_root_token(digest, now).await,
        }
    }
}
