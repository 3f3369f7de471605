//! The conformance suite has teeth: a store that breaks a promise fails the test of that name.

mod saboteur;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use ploy_webhooks::conformance::{EventsFixture, Fixture, run};
use ploy_webhooks::{Endpoint, ManualClock};

use saboteur::{Fault, Saboteur};

/// A store with that fault, by a clock that the test turns.
#[derive(Debug)]
struct Sabotaged {
    fault: Fault,
    clock: Arc<ManualClock>,
}

impl Fixture for Sabotaged {
    type Store = Saboteur;

    async fn open(&self) -> Arc<Saboteur> {
        Arc::new(Saboteur::new(self.fault, Arc::clone(&self.clock)))
    }

    async fn reopen(&self, store: Arc<Saboteur>) -> Arc<Saboteur> {
        match self.fault {
            Fault::LosesEverything => Fixture::open(self).await,
            Fault::ForgetsLeases => {
                store.forget_leases().await;
                store
            }
            _ => store,
        }
    }

    async fn elapse(&self, duration: Duration) {
        self.clock.advance(duration);
    }
}

fn sabotaged(fault: Fault) -> Sabotaged {
    Sabotaged { fault, clock: Arc::default() }
}

/// Whether the promise is found to be broken.
fn is_broken<F>(fixture: F, promise: impl AsyncFnOnce(&F)) -> bool {
    catch_unwind(AssertUnwindSafe(|| run(async { fixture }, promise))).is_err()
}

/// One test a line: a store with that fault fails the test of that promise.
macro_rules! teeth {
    ($($promise:ident bites $($fault:ident)|+;)*) => {$(
        #[test]
        fn $promise() {
            $(
                let promise = ploy_webhooks::conformance::$promise;
                assert!(
                    is_broken(sabotaged(Fault::$fault), promise),
                    "{:?} goes unnoticed", Fault::$fault
                );
            )+
            let promise = ploy_webhooks::conformance::$promise;
            assert!(!is_broken(sabotaged(Fault::Innocent), promise), "an honest store is blamed");
        }
    )*};
}

teeth! {
    payloads_are_kept_verbatim bites ParsesPayloads | TrimsPayloads | CutsPayloadsAtEscapedNul;
    what_is_known_of_an_event_is_kept bites ForgetsHeaders | ForgetsSources;
    an_unknown_event_is_none bites InventsEvents;
    a_refused_event_does_not_harm_its_neighbours bites BatchesShareAFate;
    stale_revisions_are_fenced bites IgnoresTheFence | ComparesTheFenceByOrder;
    a_fence_does_not_reach_into_another_workspace bites FencesAcrossWorkspaces;
    a_repeat_gets_the_id_of_the_first bites StoresRepeats;
    of_simultaneous_repeats_one_is_stored bites LooksForRepeatsBeforeTheCommit;
    a_deduplication_window_ends bites WindowsNeverEnd;
    repeats_do_not_extend_the_window bites RepeatsExtendTheWindow;
    deduplication_keys_are_apart bites OneKeyForAllEndpoints;
    the_fence_comes_before_the_key bites LooksForRepeatsBeforeTheCommit;
    search_sees_every_event_that_was_stored bites FindsLate;
    events_are_sorted_by_id bites SortsByArrival;
    pages_join_without_gap_or_repeat bites RepeatsTheLastOfAPage | SkipsOneBetweenPages;
    pages_begin_beyond_any_id bites BeginsWithWhatItShouldBeBeyond;
    pages_join_while_events_are_appended bites RepeatsTheLastOfAPage | SkipsOneBetweenPages;
    every_condition_holds bites TimesHaveTheirEnd | IgnoresTheType;
    needles_are_literals bites TakesNeedlesForPatterns;
    needles_ignore_case bites MindsCase;
    needles_of_every_length_are_found bites NeedsThreeCharacters;
    needles_are_found_in_large_payloads bites SearchesTheBeginOfPayloads;
    events_stay_in_their_workspace bites ShowsEventsToAnybody;
    stored_events_survive_a_restart bites LosesEverything;
    deduplication_keys_survive_a_restart bites LosesEverything;
    owed_runs_are_stored_with_their_event bites ForgetsRuns;
    runs_are_added_to_stored_events
        bites EnqueuesForAnybody | SaysAddedToAll | IgnoresDelays;
    claimed_runs_come_whole
        bites ForgetsRoutes | ClaimsWithoutPayloads | ForgetsHeaders | LosesOneOfAFullClaim;
    of_simultaneous_claims_each_run_goes_to_one bites ClaimsWithoutALock | LosesOneOfAFullClaim;
    runs_wait_for_their_delay bites IgnoresDelays | IgnoresTheGapsOfRetries | NeverTriesAgain;
    a_lease_that_ends_is_claimed_again
        bites LeasesNeverEnd | IgnoresTheAttempt | SaysHeldToAll | ForgetsEarlierAttempts
        | ForgetsLosses;
    extended_leases_hold bites ForgetsToExtend | ExtendsOnlyForward;
    waiting_ends_when_a_run_is_owed bites WaitsOutItsTime;
    what_came_of_an_attempt_is_on_record
        bites DropsOutputs | CutsErrorsAtNul | ForgetsEarlierAttempts | SaysHeldToAll | ForgetsWorkers;
    of_simultaneous_ends_one_is_recorded bites RecordsInTwoSteps | SaysHeldToAll;
    a_busy_lane_does_not_hold_up_the_others bites IgnoresLanes | ServesOneLane;
    a_destination_has_a_lane_of_its_own bites IgnoresLanes | ServesOneLane | IgnoresBounds;
    waiting_passes_over_full_lanes bites IgnoresLanes | WaitsOutItsTime;
    runs_are_found_by_their_ids bites FindsOnlyOwedRuns;
    lists_of_runs_join_without_gap_or_repeat bites SkipsOneBetweenPages;
    runs_are_listed_by_their_destination bites SkipsOneBetweenPages | ListsAnyDestination;
    runs_are_tried_again_by_hand bites RequeuesWhatSucceeded | SaysHeldToAll | WaitsOutItsTime;
    cancelled_runs_are_not_claimed bites CancelsOnlyWhatWaits | SaysHeldToAll;
    a_cancelled_attempt_keeps_its_run_from_others bites RequeuesAtOnce | CancelsOnlyWhatWaits;
    definitions_are_kept_whole bites SharesDefinitions | DefinesWhateverIsExpected;
    lists_of_definitions_join_without_gap_or_repeat bites SkipsOneBetweenPages | SharesDefinitions;
    of_simultaneous_definitions_one_wins bites DefinesWhateverIsExpected;
    definitions_survive_a_restart bites LosesEverything;
    a_change_fences_the_state_before bites IgnoresTheFence;
    changes_wait_for_appends_under_way bites IgnoresTheFence | ChecksTheFenceBeforeTheCommit;
    changes_are_not_starved_by_appends bites ChangesNeverReturn;
    quotas_are_exact bites CountsQuotasBeforeTheCommit | QuotasAreShared;
    quotas_begin_anew_each_period bites QuotasNeverBeginAnew;
    a_repeat_takes_nothing_of_a_quota bites CountsRepeats;
    observations_add_up bites ObservesTheLastOnly | ObservesAnything;
    what_endpoints_were_sent_survives_a_restart bites LosesEverything;
    tallies_add_up bites TalliesTheLastOnly | SharesHistory | SpansHaveTheirEnd | LosesEverything;
    old_history_is_let_go_of bites KeepsAllHistory | SharesHistory;
    history_is_forgotten_with_its_workspace bites KeepsTheHistoryOfDeleted | SharesHistory;
    endpoints_are_kept_whole bites ForgetsNewKeys;
    slugs_and_ids_belong_to_one_endpoint bites SaysCreatedToAll;
    look_up_sees_every_change_that_returned bites CachesLookUps;
    of_simultaneous_changes_one_wins bites EveryChangeWins;
    a_change_of_another_revision_is_a_conflict bites EveryChangeWins;
    lists_of_endpoints_join_without_gap_or_repeat bites SortsByArrival;
    deletion_takes_the_history_along bites KeepsTheHistoryOfDeleted;
    deletion_waits_for_appends_under_way bites DeletesOnlyWhatItSees;
    runs_of_a_deleted_endpoint_are_not_claimed bites KeepsTheRunsOfDeleted | SaysHeldToAll;
    endpoints_stay_in_their_workspace bites ChangesEndpointsOfAnybody;
    what_is_past_its_time_goes bites ExpiresNothing | KeepsTheHistoryOfDeleted;
    what_is_younger_stays bites ExpiresWhateverTheAge | ExpiresNothing;
    events_with_unfinished_runs_stay bites ExpiresWhatIsOwed | ExpiresNothing;
    a_sweep_is_of_one_owner bites SweepsForAnybody;
    a_sweep_of_another_revision_removes_nothing bites SweepsUnfenced;
    sweeps_go_on_and_meet_without_harm bites EndsSweepsTooSoon | ExpiresNothing;
    a_repeat_of_what_has_expired_is_one bites ForgetsKeysOfExpired;
    what_has_expired_stays_gone_after_a_restart bites LosesEverything;
    changes_survive_a_restart bites LosesEverything;
    leases_survive_a_restart bites LosesEverything | ForgetsLeases;
    one_root_token_is_set_for_good bites TheLastRootTokenWins;
    the_feed_tells_every_commit_once_in_order bites FeedRepeatsPages | StoresRepeats;
    the_feed_skips_no_late_commit bites FeedSkipsLateIds | FeedRepeatsPages;
    the_feed_tells_what_becomes_of_runs bites FeedForgetsRuns | SaysHeldToAll;
    the_feed_keeps_workspaces_apart bites FeedShowsAnybody;
    the_feed_tells_nothing_of_deleted_endpoints bites FeedTellsOfDeleted;
    waiting_for_the_feed_ends_when_something_is_stored bites WaitsOutItsTime;
    the_feed_goes_on_after_a_restart bites LosesEverything | FeedForgetsRuns;
    the_feed_refuses_what_is_no_position bites FeedTakesAnyPosition;
    any_sequence_of_calls_does_as_the_model
        bites IgnoresTheFence | StoresRepeats | SkipsOneBetweenPages | ForgetsRuns
        | LosesOneOfAFullClaim | KeepsTheRunsOfDeleted | DropsOutputs;
}

/// A store of events that has runs, or drops them.
struct WithRuns;

impl EventsFixture for WithRuns {
    type Store = Saboteur;

    async fn open_with(&self, endpoints: Vec<Endpoint>) -> Arc<Saboteur> {
        sabotaged(Fault::ForgetsRuns).open_with(endpoints).await
    }

    async fn reopen(&self, store: Arc<Saboteur>) -> Arc<Saboteur> {
        store
    }
}

#[test]
fn owed_runs_are_not_dropped() {
    let promise = ploy_webhooks::conformance::owed_runs_are_not_dropped;
    assert!(is_broken(WithRuns, promise));
}
