//! The suite that every engine of [`Spool`](crate::Spool) and [`Shared`](crate::Shared) passes:
//! one function per promise, over an engine that is new and empty and whose clock stands at
//! [`mail::at`]`(0)`.
//!
//! A function panics where a promise is broken. An engine's tests call the two macros with an
//! `async fn` that makes an engine and what has to outlive it (a directory, a server).

pub mod erase;
pub mod guard;
pub mod mail;
pub mod outbox;
pub mod shared;
pub mod spool_accept;
pub mod spool_early;
pub mod spool_events;
pub mod spool_feed;
pub mod spool_moves;
pub mod spool_queue;
pub mod spool_read;
pub mod suppressions;

/// Makes a test of every promise of [`Spool`](crate::Spool).
#[macro_export]
macro_rules! conformance_spool {
    ($new:path) => {
        $crate::conformance_tests!($new, spool_accept:
            accepted_mail_comes_back_as_it_was_given,
            a_large_body_comes_back_as_it_was_given,
            a_batch_is_kept_or_refused_as_a_whole,
            a_repeated_key_keeps_nothing,
            a_key_is_forgotten_after_a_day,
            a_lane_keeps_its_number,
        );
        $crate::conformance_tests!($new, spool_queue:
            only_what_is_due_is_leased_and_nothing_twice,
            new_mail_and_backlog_are_leased_in_turn,
            deliveries_of_a_message_are_leased_together,
            a_settlement_says_where_a_delivery_goes_from_here,
            a_settlement_by_an_old_session_is_dropped,
            a_crash_gives_leases_back_and_counts,
            an_attempt_without_outcome_is_pending_after_a_crash,
            a_settlement_without_an_attempt_ends_what_was_journaled,
            scheduled_mail_is_leased_when_it_is_due,
            what_waits_too_long_expires_and_what_is_held_does_not,
            what_is_overdue_is_known_before_it_expires,
            what_expires_is_what_was_listed_however_much_waits_beside_it,
        );
        $crate::conformance_tests!($new, spool_events:
            an_event_is_applied_once_and_moves_forward_only,
            an_event_touches_only_deliveries_of_its_provider,
            a_known_key_says_nothing_of_another_event,
            a_repeat_gives_what_was_told_first_until_it_was_followed,
            an_event_is_known_as_long_as_messages_are_kept,
            a_large_batch_is_applied_in_its_order,
            an_event_of_our_own_names_its_delivery,
            a_provider_s_id_finds_the_recipient_it_is_about,
            a_timeline_tells_cause_before_effect,
            unreadable_parts_are_kept,
        );
        $crate::conformance_tests!($new, spool_early:
            an_event_that_overtakes_its_settlement_is_kept,
            what_was_told_of_a_call_that_ended_unknown_stands,
            what_was_told_of_a_call_without_an_outcome_stands,
            a_late_bounce_of_an_earlier_provider_moves_nothing,
            an_event_that_overtakes_an_unjournaled_call_is_known_to_be_early,
        );
        $crate::conformance_tests!($new, spool_feed:
            every_event_of_a_timeline_is_in_the_feed_in_the_order_of_commits,
            an_event_of_the_feed_tells_its_message_and_attempt,
            a_feed_is_filtered_by_every_condition,
            a_reader_that_goes_on_misses_nothing_and_sees_nothing_twice,
            the_gateway_s_own_mail_is_not_in_the_feed,
            retention_takes_events_out_of_the_feed_and_never_gives_a_place_twice,
            what_a_service_told_is_kept_beside_the_event,
            it_is_known_when_each_provider_last_told_something,
        );
        $crate::conformance_tests!($new, outbox:
            an_outlet_begins_at_the_end_of_the_feed,
            events_and_the_outlet_s_place_are_kept_together,
            of_each_message_only_the_first_event_is_due,
            a_full_outbox_leaves_the_place_where_it_is,
            a_replay_keeps_the_order_of_a_message,
            an_outlet_stays_disabled_until_it_is_enabled,
            an_outlet_that_is_away_keeps_its_events_for_three_days,
            retention_takes_events_out_of_the_outbox,
        );
        $crate::conformance_tests!($new, spool_moves:
            an_operator_cancels_holds_and_releases,
            settled_mail_is_released_only_when_it_is_named,
            an_unknown_outcome_is_resolved,
            a_filter_without_a_condition_selects_nothing,
            held_mail_is_released_by_its_campaign_and_the_reason_of_its_hold,
        );
        $crate::conformance_tests!($new, erase:
            an_erased_recipient_is_gone_from_all_that_is_kept,
            a_body_for_others_goes_when_its_message_is_settled,
            an_erased_delivery_stays_as_it_is,
            a_recipient_is_found_by_its_hash_until_it_is_erased,
            senders_and_notices_are_erased,
        );
        $crate::conformance_tests!($new, spool_read:
            a_view_tells_the_whole_story,
            a_search_finds_by_every_condition,
            a_search_is_paged_newest_first,
            counters_follow_every_change,
            retention_drops_bodies_then_messages,
        );
    };
}

/// Makes a test of every promise of [`Shared`](crate::Shared).
#[macro_export]
macro_rules! conformance_shared {
    ($new:path) => {
        $crate::conformance_tests!($new, shared:
            a_quota_is_never_exceeded_in_any_window,
            concurrent_takers_share_one_quota,
            less_of_a_quota_is_taken_ahead_the_less_is_left,
            units_given_back_can_be_taken_again,
            warm_up_breakers_and_switches_are_kept,
        );
        $crate::conformance_tests!($new, suppressions:
            a_suppression_stops_an_address_in_its_scope,
            only_an_unsubscribe_is_undone_by_who_comes_back,
            of_an_unsubscribe_and_a_return_the_later_counts,
            what_stands_beside_an_unsubscribe_is_not_undone_with_it,
            of_two_unsubscribes_the_time_of_the_later_is_kept,
            a_suppression_is_replaced_only_by_a_longer_one,
            an_app_s_word_never_stands_before_another_s,
            suppressions_are_listed_in_pages,
            a_list_of_suppressions_is_filtered_by_owner_and_scope,
            an_erased_suppression_still_stops_its_address,
            soft_bounces_are_counted_in_their_window,
        );
        $crate::conformance_tests!($new, guard:
            the_guard_s_counts_add_up_by_campaign_within_the_window,
            the_guard_s_decisions_are_kept,
            the_guard_s_window_begins_anew,
            the_guard_forgets_the_oldest_campaigns_first,
        );
    };
}

/// Makes one test per function of a module of the suite.
#[macro_export]
#[doc(hidden)]
macro_rules! conformance_tests {
    ($new:path, $module:ident: $($name:ident),+ $(,)?) => {$(
        #[tokio::test]
        async fn $name() {
            let (engine, _kept) = $new().await;
            $crate::conformance::$module::$name(&engine).await;
        }
    )+};
}
