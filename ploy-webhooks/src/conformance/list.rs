//! The list of promises, and the macro that makes a test of each.

/// Runs one promise against one fixture.
///
/// # Panics
///
/// When the promise is broken.
#[doc(hidden)]
pub fn run<F>(fixture: impl Future<Output = F>, promise: impl AsyncFnOnce(&F)) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime is built");
    runtime.block_on(async { promise(&fixture.await).await });
}

/// Makes [`conformance!`](crate::conformance!) of the lists of promises. `$d` is a dollar sign,
/// for the macro that is made.
macro_rules! promises {
    (
        $d:tt
        every_store { $($every:ident,)* }
        events_only { $($events_only:ident,)* }
        all_traits { $($all:ident,)* }
    ) => {
        /// One test for each promise of the store traits. See the
        /// [module](mod@crate::conformance).
        ///
        /// ```
        /// # use std::sync::Arc;
        /// # use ploy_webhooks::{conformance::Fixture, store::MemoryStore};
        /// # struct MyFixture;
        /// # impl Fixture for MyFixture {
        /// #     type Store = MemoryStore;
        /// #     async fn open(&self) -> Arc<MemoryStore> { Arc::default() }
        /// #     async fn reopen(&self, store: Arc<MemoryStore>) -> Arc<MemoryStore> { store }
        /// # }
        /// ploy_webhooks::conformance!(MyFixture);
        /// ```
        #[macro_export]
        macro_rules! conformance {
            (events_only: $d fixture:expr $d(,)?) => {
                $($d crate::conformance!(@test $every, $d fixture);)*
                $($d crate::conformance!(@test $events_only, $d fixture);)*
            };
            (@test $d promise:ident, $d fixture:expr) => {
                #[test]
                fn $d promise() {
                    $d crate::conformance::run(
                        async { $d fixture },
                        $d crate::conformance::$d promise,
                    );
                }
            };
            ($d fixture:expr $d(,)?) => {
                $($d crate::conformance!(@test $every, $d fixture);)*
                $($d crate::conformance!(@test $all, $d fixture);)*
            };
        }
    };
}

promises! {
    $

    // Of `EventStore` and `KeyStore`, with endpoints that do not change.
    every_store {
        payloads_are_kept_verbatim,
        what_is_known_of_an_event_is_kept,
        an_unknown_event_is_none,
        a_refused_event_does_not_harm_its_neighbours,

        stale_revisions_are_fenced,
        a_fence_does_not_reach_into_another_workspace,

        a_repeat_gets_the_id_of_the_first,
        of_simultaneous_repeats_one_is_stored,
        a_deduplication_window_ends,
        repeats_do_not_extend_the_window,
        deduplication_keys_are_apart,
        the_fence_comes_before_the_key,

        search_sees_every_event_that_was_stored,
        events_are_sorted_by_id,
        pages_join_without_gap_or_repeat,
        pages_begin_beyond_any_id,
        pages_join_while_events_are_appended,
        every_condition_holds,
        needles_are_literals,
        needles_ignore_case,
        needles_of_every_length_are_found,
        needles_are_found_in_large_payloads,

        events_stay_in_their_workspace,

        stored_events_survive_a_restart,
        deduplication_keys_survive_a_restart,
    }

    // Of stores that have no more than those two traits.
    events_only {
        owed_runs_are_not_dropped,
        quotas_are_not_ignored,
    }

    // Of `RunStore`, `RunQueue`, `EndpointStore`, `DefinitionStore`, `TokenStore`,
    // `ActivityStore`, `FeedStore`, `HistoryStore` and `RetentionStore`.
    all_traits {
        owed_runs_are_stored_with_their_event,
        runs_are_added_to_stored_events,

        claimed_runs_come_whole,
        of_simultaneous_claims_each_run_goes_to_one,
        runs_wait_for_their_delay,
        a_lease_that_ends_is_claimed_again,
        extended_leases_hold,
        waiting_ends_when_a_run_is_owed,
        what_came_of_an_attempt_is_on_record,
        of_simultaneous_ends_one_is_recorded,

        a_busy_lane_does_not_hold_up_the_others,
        a_destination_has_a_lane_of_its_own,
        waiting_passes_over_full_lanes,

        runs_are_found_by_their_ids,
        lists_of_runs_join_without_gap_or_repeat,
        runs_are_listed_by_their_destination,
        runs_are_tried_again_by_hand,
        cancelled_runs_are_not_claimed,
        a_cancelled_attempt_keeps_its_run_from_others,

        a_change_fences_the_state_before,
        changes_wait_for_appends_under_way,
        changes_are_not_starved_by_appends,

        quotas_are_exact,
        quotas_begin_anew_each_period,
        a_repeat_takes_nothing_of_a_quota,

        observations_add_up,
        what_endpoints_were_sent_survives_a_restart,

        tallies_add_up,
        old_history_is_let_go_of,
        history_is_forgotten_with_its_workspace,

        endpoints_are_kept_whole,
        slugs_and_ids_belong_to_one_endpoint,
        look_up_sees_every_change_that_returned,
        of_simultaneous_changes_one_wins,
        a_change_of_another_revision_is_a_conflict,
        lists_of_endpoints_join_without_gap_or_repeat,
        deletion_takes_the_history_along,
        deletion_waits_for_appends_under_way,
        runs_of_a_deleted_endpoint_are_not_claimed,

        endpoints_stay_in_their_workspace,

        what_is_past_its_time_goes,
        what_is_younger_stays,
        events_with_unfinished_runs_stay,
        a_sweep_is_of_one_owner,
        a_sweep_of_another_revision_removes_nothing,
        sweeps_go_on_and_meet_without_harm,
        a_repeat_of_what_has_expired_is_one,
        what_has_expired_stays_gone_after_a_restart,

        changes_survive_a_restart,
        leases_survive_a_restart,

        definitions_are_kept_whole,
        lists_of_definitions_join_without_gap_or_repeat,
        of_simultaneous_definitions_one_wins,
        definitions_survive_a_restart,

        one_root_token_is_set_for_good,

        the_feed_tells_every_commit_once_in_order,
        the_feed_skips_no_late_commit,
        the_feed_tells_what_becomes_of_runs,
        the_feed_keeps_workspaces_apart,
        the_feed_tells_nothing_of_deleted_endpoints,
        waiting_for_the_feed_ends_when_something_is_stored,
        the_feed_goes_on_after_a_restart,
        the_feed_refuses_what_is_no_position,

        any_sequence_of_calls_does_as_the_model,
    }
}
