//! What lasts of how deliveries are going: since when they fail, and that they were stopped for it.

use std::time::Duration;

use ploy_webhooks::Timestamp;
use ploy_webhooks::store::DefinitionStore;
use ploy_webhooks::trigger::RunError;

use super::current::Current;
use super::failed;
use super::flow::Health;
use super::known::Entry;
use crate::courier::{Remains, Verdict};
use crate::destination::{DestinationState, Disabled};

/// After so many failures in a row it goes on record: a receiver that fails now and then does not
/// have it written each time.
const FAILING_AFTER: u32 = 3;

/// What is to be put on record.
#[derive(Clone, Copy, Debug)]
enum News {
    /// It takes what is sent again.
    Well,
    /// It does not.
    Failing,
    /// It has not for so long.
    FailingFor(Duration),
    /// It is gone for good.
    Gone,
}

impl Entry {
    /// Puts on record what lasts of that request.
    pub(super) async fn remember(
        &self,
        store: &impl DefinitionStore,
        now: Timestamp,
        current: &Current,
        verdict: Verdict,
        health: Health,
    ) -> Result<(), RunError> {
        let Some(news) = Self::news(now, current, verdict, health) else { return Ok(()) };
        let note = |state: &mut DestinationState| {
            news.note(state, now);
            Some(())
        };
        let noted = DestinationState::change(store, &self.workspace, self.id, note).await;
        noted.map_err(failed)?;
        self.look_up_anew().await;
        Ok(())
    }

    fn news(now: Timestamp, current: &Current, verdict: Verdict, health: Health) -> Option<News> {
        let since = current.state.failing_since;
        match (verdict, health) {
            (Verdict::Delivered, _) => since.map(|_| News::Well),
            (Verdict::Failed(Remains::Gone), _) => Some(News::Gone),
            (Verdict::Failed(Remains::Never), _) => None,
            (_, Health::Failing { times }) if times < FAILING_AFTER => None,
            (Verdict::Failed(_), _) => {
                let limit = current.destination().disable_after;
                let is_over =
                    |limit: &Duration| since.is_some_and(|since| now.since(since) >= *limit);
                if let Some(limit) = limit.filter(is_over) {
                    return Some(News::FailingFor(limit));
                }
                since.is_none().then_some(News::Failing)
            }
        }
    }
}

impl News {
    fn note(self, state: &mut DestinationState, now: Timestamp) {
        let reason = match self {
            Self::Well => {
                state.failing_since = None;
                return;
            }
            Self::Failing => {
                state.failing_since.get_or_insert(now);
                return;
            }
            // Another node may have heard of a success meanwhile.
            Self::FailingFor(limit) => match state.failing_since {
                Some(since) if now.since(since) >= limit => {
                    format!("no delivery has succeeded for {} seconds", limit.as_secs())
                }
                _ => return,
            },
            Self::Gone => "the receiver answered 410: it is gone for good".to_owned(),
        };
        state.disabled.get_or_insert(Disabled { at: now, reason });
    }
}
