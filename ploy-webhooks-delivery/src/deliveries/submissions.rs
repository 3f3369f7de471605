//! How many requests a receiver takes in all: counted before each is sent, so that there is never
//! one too many.

use std::sync::Arc;

use ploy_webhooks::store::DefinitionStore;
use ploy_webhooks::trigger::RunError;

use super::current::Current;
use super::failed;
use super::known::Entry;
use crate::client::FailureClass;
use crate::courier::Record;
use crate::destination::DestinationState;

/// A request that is counted. It stays so unless it is given back: what a receiver may have taken
/// counts, and so does a request whose worker was lost.
#[must_use = "a request that was not taken is given back"]
pub(super) struct Submission<'a, S> {
    store: &'a S,
    entry: &'a Arc<Entry>,
    is_counted: bool,
}

impl<'a, S: DefinitionStore> Submission<'a, S> {
    /// Counts one request more, where the destination has an end of them.
    pub(super) async fn reserve(
        store: &'a S,
        entry: &'a Arc<Entry>,
        current: &Current,
    ) -> Result<Self, RunError> {
        let Some(max) = current.destination().max_submissions else {
            return Ok(Self { store, entry, is_counted: false });
        };
        let one_more = |state: &mut DestinationState| {
            (state.submissions < max.get()).then(|| state.submissions += 1)
        };
        if change(store, entry, one_more).await? {
            return Ok(Self { store, entry, is_counted: true });
        }
        let reason = format!(
            "the destination has taken its {max} submissions: raise `max_submissions`, then retry \
             the run"
        );
        let record = Record::refused(FailureClass::Exhausted, reason);
        Err(RunError::permanent(record.to_text()))
    }

    /// The receiver has not taken it.
    pub(super) async fn give_back(self) -> Result<(), RunError> {
        if self.is_counted {
            let one_less = |state: &mut DestinationState| {
                state.submissions = state.submissions.saturating_sub(1);
                Some(())
            };
            change(self.store, self.entry, one_less).await?;
        }
        Ok(())
    }
}

/// `false` where the change refuses.
async fn change(
    store: &impl DefinitionStore,
    entry: &Entry,
    change: impl FnMut(&mut DestinationState) -> Option<()> + Send,
) -> Result<bool, RunError> {
    // Those of one node do not stand in each other's way.
    let _alone = entry.submissions.lock().await;
    let changed = DestinationState::change(store, &entry.workspace, entry.id, change).await;
    Ok(changed.map_err(failed)?.is_some())
}
