//! What a saboteur does wrong with events.

use async_trait::async_trait;
use ploy_webhooks::store::{
    Appended, EndpointStore, EventQuery, EventStore, Needle, Order, Page, PageSize, StoreError,
    StoreErrorKind,
};
use ploy_webhooks::{
    Clock, Dedup, Event, EventId, EventSummary, Fence, KeptHeaders, NewEvent, Timestamp,
    WorkspaceId,
};

use super::{Fault, Saboteur, dawdle};

#[async_trait]
impl EventStore for Saboteur {
    async fn append(&self, mut event: NewEvent) -> Result<Appended, StoreError> {
        self.spoil(&mut event);
        if let Some(refusal) = self.fence_wrongly(&mut event).await? {
            return Ok(refusal);
        }
        if self.is_past_its_quota_wrongly(&event) {
            return Ok(Appended::OverQuota { resets_in: None });
        }
        let kept = Event::from(event.clone());
        let outcome = match (self.fault, event.dedup) {
            (
                Fault::LooksForRepeatsBeforeTheCommit
                | Fault::RepeatsExtendTheWindow
                | Fault::OneKeyForAllEndpoints,
                Some(dedup),
            ) => self.append_by_own_keys(event, dedup).await?,
            (Fault::BatchesShareAFate, _) => self.append_in_a_batch(event).await?,
            (Fault::CountsQuotasBeforeTheCommit, _) => {
                dawdle().await;
                let quota = event.quota.take();
                let outcome = self.store.append(event).await?;
                self.count_wrongly(kept.endpoint, quota);
                outcome
            }
            (Fault::ForgetsKeysOfExpired, _) => self.append_unless_it_is_there(event).await?,
            _ => self.store.append(event).await?,
        };
        if let Appended::Stored = outcome {
            self.aside().appended.push(kept);
        }
        Ok(outcome)
    }

    async fn event(
        &self,
        workspace: &WorkspaceId,
        id: &EventId,
    ) -> Result<Option<Event>, StoreError> {
        let found = self.store.event(workspace, id).await?;
        let aside = self.aside();
        Ok(match self.fault {
            Fault::InventsEvents => {
                found.or_else(|| Some(NewEvent::published(*id, *workspace, "{}".into()).into()))
            }
            Fault::ShowsEventsToAnybody | Fault::KeepsTheHistoryOfDeleted => {
                let is_it = |event: &&Event| {
                    event.id == *id
                        && (self.fault == Fault::ShowsEventsToAnybody
                            || event.workspace == *workspace)
                };
                found.or_else(|| aside.appended.iter().find(is_it).cloned())
            }
            _ => found,
        })
    }

    async fn search(&self, query: &EventQuery) -> Result<Page<EventSummary>, StoreError> {
        let mut query = query.clone();
        if !self.ask_wrongly(&mut query) {
            return Ok(Page { items: Vec::new(), next: None });
        }
        let mut page = self.store.search(&query).await?;
        self.sift_wrongly(&query, &mut page);
        self.turn_the_page_wrongly(&mut page).await?;
        Ok(page)
    }
}

impl Saboteur {
    fn spoil(&self, event: &mut NewEvent) {
        self.delay_wrongly(&mut event.owes);
        let text = || String::from_utf8_lossy(&event.payload).into_owned();
        match self.fault {
            Fault::ParsesPayloads => {
                if let Ok(tree) = serde_json::from_slice::<serde_json::Value>(&event.payload) {
                    event.payload = tree.to_string().into();
                }
            }
            Fault::TrimsPayloads => event.payload = text().trim().to_owned().into(),
            Fault::CutsPayloadsAtEscapedNul => {
                event.payload = text().replace("\\u0000", "").into();
            }
            Fault::ForgetsHeaders => event.headers = KeptHeaders::default(),
            Fault::ForgetsSources => event.source = None,
            Fault::ForgetsRuns => event.owes.clear(),
            Fault::StoresRepeats => event.dedup = None,
            Fault::WindowsNeverEnd => {
                if let Some(dedup) = &mut event.dedup {
                    dedup.window = std::time::Duration::from_secs(1 << 32);
                }
            }
            _ => {}
        }
    }

    /// Makes the fence fit where the fault lets it; the refusal where it does not.
    async fn fence_wrongly(&self, event: &mut NewEvent) -> Result<Option<Appended>, StoreError> {
        let Some(Fence { endpoint, checked_at }) = event.fence else {
            return Ok(None);
        };
        let owner = self.owner(&endpoint, &event.workspace);
        let found = self.store.endpoint_by_id(&owner, &endpoint).await?;
        let Some(now) = found.map(|endpoint| endpoint.revision) else {
            return Ok(None);
        };
        let passes = match self.fault {
            Fault::IgnoresTheFence => true,
            Fault::ComparesTheFenceByOrder => checked_at >= now,
            Fault::ChecksTheFenceBeforeTheCommit => checked_at == now,
            Fault::FencesAcrossWorkspaces => {
                event.workspace = owner;
                return Ok(None);
            }
            _ => return Ok(None),
        };
        if !passes {
            return Ok(Some(Appended::Fenced(Box::new(event.clone()))));
        }
        if self.fault == Fault::ChecksTheFenceBeforeTheCommit {
            dawdle().await;
        }
        if let (Some(endpoint), Some(fence)) =
            (self.store.endpoint_by_id(&owner, &endpoint).await?, &mut event.fence)
        {
            fence.checked_at = endpoint.revision;
        }
        Ok(None)
    }

    /// Looks for repeats in a step of its own, before everything else.
    async fn append_by_own_keys(
        &self,
        mut event: NewEvent,
        dedup: Dedup,
    ) -> Result<Appended, StoreError> {
        let endpoint = event.fence.map(|fence| fence.endpoint);
        let endpoint = endpoint.filter(|_| self.fault != Fault::OneKeyForAllEndpoints);
        let (key, now) = ((endpoint, dedup.key), self.clock.now());
        if let Some((first, expires_at)) = self.aside().seen.get_mut(&key)
            && now < *expires_at
        {
            if self.fault == Fault::RepeatsExtendTheWindow {
                *expires_at = now.after(dedup.window);
            }
            return Ok(Appended::Duplicate(*first));
        }
        if self.fault == Fault::LooksForRepeatsBeforeTheCommit {
            dawdle().await;
        }
        event.dedup = None;
        let id = event.id;
        let outcome = self.store.append(event).await?;
        if let Appended::Stored = outcome {
            let expires_at = now.after(dedup.window);
            self.aside().seen.insert(key, (id, expires_at));
        }
        Ok(outcome)
    }

    /// Rolls the neighbour of a refused event back.
    async fn append_in_a_batch(&self, event: NewEvent) -> Result<Appended, StoreError> {
        if std::mem::take(&mut self.aside().a_batch_failed) {
            let kind = StoreErrorKind::Unavailable;
            return Err(StoreError::new(kind, "the batch was rolled back"));
        }
        let outcome = self.store.append(event).await;
        self.aside().a_batch_failed = !matches!(outcome, Ok(Appended::Stored));
        outcome
    }

    /// Takes nothing for a repeat of what cannot be found.
    async fn append_unless_it_is_there(&self, event: NewEvent) -> Result<Appended, StoreError> {
        let unkeyed = NewEvent { dedup: None, ..event.clone() };
        let outcome = self.store.append(event).await?;
        match outcome {
            Appended::Duplicate(id) if self.event(&unkeyed.workspace, &id).await?.is_none() => {
                self.store.append(unkeyed).await
            }
            outcome => Ok(outcome),
        }
    }

    /// Changes the query; `false` where nothing is looked for at all.
    fn ask_wrongly(&self, query: &mut EventQuery) -> bool {
        let folded = query.contains.as_ref().map_or("", Needle::folded);
        match self.fault {
            Fault::NeedsThreeCharacters => return folded.is_empty() || folded.len() >= 3,
            Fault::TakesNeedlesForPatterns if folded.contains(['%', '_']) => query.contains = None,
            Fault::IgnoresTheType => query.event_type = None,
            Fault::TimesHaveTheirEnd => {
                let inclusive = |to: Timestamp| Timestamp::from_millis(to.as_millis() + 1);
                query.to = query.to.map(inclusive);
            }
            Fault::BeginsWithWhatItShouldBeBeyond => {
                let number = query.beyond.map(|id| u128::from_be_bytes(*id.as_bytes()));
                let nearer = number.and_then(|number| match query.order {
                    Order::Ascending => number.checked_sub(1),
                    Order::Descending => number.checked_add(1),
                });
                query.beyond = nearer.map(|number| EventId::from_bytes(number.to_be_bytes()));
            }
            _ => {}
        }
        true
    }

    fn sift_wrongly(&self, query: &EventQuery, page: &mut Page<EventSummary>) {
        let aside = self.aside();
        let payload_of = |id: EventId| {
            let event = aside.appended.iter().find(|event| event.id == id);
            event.map(|event| event.payload.clone()).unwrap_or_default()
        };
        match (self.fault, &query.contains) {
            (Fault::MindsCase, Some(needle)) => page.items.retain(|item| {
                String::from_utf8_lossy(&payload_of(item.id)).contains(needle.folded())
            }),
            (Fault::SearchesTheBeginOfPayloads, Some(needle)) => page.items.retain(|item| {
                let payload = payload_of(item.id);
                needle.stands_in(&payload[..payload.len().min(8_192)], &mut Vec::new())
            }),
            (Fault::FindsLate, _) => {
                let newest = aside.appended.last().map(|event| event.id);
                page.items.retain(|item| Some(item.id) != newest);
            }
            (Fault::SortsByArrival, _) => page
                .items
                .sort_by_key(|item| aside.appended.iter().position(|event| event.id == item.id)),
            _ => {}
        }
    }

    async fn turn_the_page_wrongly(&self, page: &mut Page<EventSummary>) -> Result<(), StoreError> {
        let Some(next) = &mut page.next else {
            return Ok(());
        };
        match (self.fault, &page.items[..]) {
            (Fault::RepeatsTheLastOfAPage, [.., before, _]) => next.beyond = Some(before.id),
            (Fault::SkipsOneBetweenPages, _) => {
                let mut peek = next.clone();
                peek.limit = PageSize::new(1).expect("a page size");
                if let Some(first) = self.store.search(&peek).await?.items.first() {
                    next.beyond = Some(first.id);
                }
            }
            _ => {}
        }
        Ok(())
    }
}
