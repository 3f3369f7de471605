//! Promises about how much has happened, and when.

use std::ops::Range;

use super::Fixture;
use super::scene::workspace;
use crate::clock::Timestamp;
use crate::id::WorkspaceId;
use crate::store::{
    HISTORY_KEPT, HISTORY_STEP, HistoryBucket, HistoryCounts, HistoryStore, HistoryTally,
};

/// The bucket so many steps after a moment in 2023.
fn bucket(steps: u32) -> Timestamp {
    let begin = HistoryTally::bucket_of(Timestamp::from_millis(1_700_000_000_000));
    begin.after(HISTORY_STEP * steps)
}

fn all() -> Range<Timestamp> {
    Timestamp::from_millis(0)..Timestamp::MAX
}

const fn counts(accepted: u64, refused: u64, succeeded: u64, failed: u64) -> HistoryCounts {
    HistoryCounts { accepted, refused, succeeded, failed }
}

async fn tally<S>(store: &S, workspace: WorkspaceId, tallies: &[(u32, HistoryCounts)])
where
    S: HistoryStore + ?Sized,
{
    let tallies = tallies.iter().map(|&(steps, counts)| {
        let at = bucket(steps);
        HistoryTally { workspace, at, counts }
    });
    store.tally(tallies.collect()).await.expect("tally gives no error");
}

async fn history<S>(store: &S, of: WorkspaceId, span: Range<Timestamp>) -> Vec<HistoryBucket>
where
    S: HistoryStore + ?Sized,
{
    store.history(&of, span).await.expect("history gives no error")
}

fn buckets(expected: &[(u32, HistoryCounts)]) -> Vec<HistoryBucket> {
    let bucket = |&(steps, counts)| HistoryBucket { at: bucket(steps), counts };
    expected.iter().map(bucket).collect()
}

/// What is handed over adds up, in one call and in several, each count and each bucket by itself,
/// and each workspace has its own. A span has its beginning and not its end. It outlasts the
/// process.
pub async fn tallies_add_up<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let (ours, theirs) = (workspace(), workspace());
    assert_eq!(history(&*store, ours, all()).await, [], "of a workspace in which nothing happened");
    tally(&*store, ours, &[]).await;

    tally(&*store, ours, &[(2, counts(1, 2, 3, 4)), (0, counts(5, 0, 0, 0))]).await;
    tally(&*store, ours, &[(2, counts(10, 0, 0, 0)), (2, counts(0, 20, 30, 40))]).await;
    tally(&*store, theirs, &[(2, counts(7, 7, 7, 7)), (9, counts(1, 0, 0, 0))]).await;
    let added_up = buckets(&[(0, counts(5, 0, 0, 0)), (2, counts(11, 22, 33, 44))]);
    assert_eq!(history(&*store, ours, all()).await, added_up, "left: what was tallied");

    assert_eq!(history(&*store, ours, bucket(0)..bucket(2)).await, added_up[..1], "up to the end");
    assert_eq!(history(&*store, ours, bucket(1)..bucket(3)).await, added_up[1..], "from the begin");
    assert_eq!(history(&*store, ours, bucket(2)..bucket(2)).await, [], "a span of nothing");

    let store = fixture.reopen(store).await;
    assert_eq!(
        history(&*store, ours, all()).await,
        added_up,
        "left: what there is after a restart"
    );
}

/// What is too old goes when something new comes, of that workspace alone; what is not stays.
pub async fn old_history_is_let_go_of<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let (ours, theirs) = (workspace(), workspace());
    let kept_steps = u32::try_from(HISTORY_KEPT.as_secs() / HISTORY_STEP.as_secs());
    let kept_steps = kept_steps.expect("a week has few steps");
    let one = counts(1, 1, 1, 1);
    tally(&*store, theirs, &[(0, one)]).await;
    tally(&*store, ours, &[(0, one), (1, one), (5, one)]).await;
    tally(&*store, ours, &[(kept_steps + 1, one)]).await;
    let left = buckets(&[(1, one), (5, one), (kept_steps + 1, one)]);
    assert_eq!(history(&*store, ours, all()).await, left, "left: what is kept");
    assert_eq!(history(&*store, theirs, all()).await, buckets(&[(0, one)]), "of another workspace");
}

/// A workspace that is gone leaves nothing behind, and takes nothing of others along.
pub async fn history_is_forgotten_with_its_workspace<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let (gone, stays) = (workspace(), workspace());
    let one = [(0, counts(1, 1, 1, 1)), (1, counts(1, 1, 1, 1))];
    tally(&*store, gone, &one).await;
    tally(&*store, stays, &one).await;
    store.forget_history(&gone).await.expect("forget_history gives no error");
    assert_eq!(history(&*store, gone, all()).await, [], "of a workspace that is forgotten");
    assert_eq!(history(&*store, stays, all()).await, buckets(&one), "of one that is not");
}
