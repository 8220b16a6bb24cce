//! What every store must do, written against the traits; a later store runs the same list.
#![allow(clippy::unwrap_used, clippy::panic)]

mod admission;
mod api;
mod bench;
mod bounds;
mod collections;
mod compaction;
mod devices;
mod digests;
mod edge;
mod fields;
mod lists;
mod model;
mod order;
mod parts;
mod reference;
mod schedules;
mod sqlite;
mod streams;
mod tokens;
mod watching;

use bench::Fixture;

/// Runs each generic test with a fixture.
macro_rules! contract {
    ($fixture:ty: $($module:ident::$test:ident),* $(,)?) => {
        $(#[test]
        fn $test() {
            super::$module::$test::<$fixture>();
        })*
    };
}

mod embedded {
    contract! { super::sqlite::Embedded:
        admission::declared_gaps_are_passed_over_and_listed,
        admission::an_accepted_database_takes_the_place_of_a_live_one,
        admission::a_new_database_starts_at_the_head,
        admission::a_known_database_keeps_its_cursor,
        admission::welcome_lost_twice,
        admission::half_open_takeover,
        admission::unknown_session_numbers_are_copies,
        admission::an_old_image_is_a_copy,
        admission::another_database_on_a_live_node_is_in_use,
        admission::another_database_on_a_dead_node_is_reported,
        admission::a_cursor_of_another_store_is_reset,
        admission::a_replaced_session_takes_nothing,
        admission::revoked_and_unknown_nodes_are_refused,
        admission::a_replaced_machine_is_refused,
        api::a_write_is_answered_with_its_records,
        api::preconditions_are_judged_in_the_transaction,
        api::a_rejected_cloud_write_leaves_nothing,
        api::later_ops_see_earlier_ones,
        api::force_is_an_administrators,
        api::imports_count_and_leave_counters_alone,
        api::a_bad_line_changes_nothing,
        api::lists_page_and_filter,
        api::exports_hold_everything,
        api::writes_and_conflicts_are_found,
        api::a_request_is_done_once,
        api::a_repeat_names_what_the_first_made,
        api::one_refusal_leaves_the_group_alone,
        bounds::old_writes_go_when_acknowledged,
        bounds::acknowledged_writes_go_without_another_write,
        bounds::spent_tokens_go,
        bounds::settled_conflicts_go,
        bounds::events_are_bounded,
        bounds::events_are_told_in_their_order,
        bounds::absurd_numbers_are_harmless,
        collections::definitions_select_nodes,
        collections::grants_recompute,
        collections::what_records_depend_on_cannot_change,
        collections::a_deleted_collection_does_not_come_back,
        collections::schemas_are_judged,
        compaction::a_floor_ends_a_stream_and_begins_a_back_fill,
        compaction::a_floor_below_the_cursor_is_nothing,
        compaction::removed_appends_are_remembered,
        devices::devices_go_to_the_node_that_they_name,
        devices::a_device_moves_with_its_twin_and_a_late_report_still_counts,
        digests::only_the_ranges_that_differ_are_filled_again,
        digests::what_agrees_or_is_not_granted_is_not_filled,
        digests::digests_are_of_the_head_and_of_done_grants,
        digests::resync_gives_grants_anew,
        digests::a_verification_is_of_one_database,
        digests::digests_follow_any_history,
        fields::every_field_names_who_set_it,
        fields::what_lost_has_not_set_a_field,
        fields::the_clock_follows_what_was_taken,
        fields::conflict_rows_keep_no_clocks_of_fields,
        model::any_history_is_the_references,
        order::restart_keeps_head_and_makes_an_epoch,
        order::write_hash_duplicates,
        order::numbers_are_taken_in_order,
        order::two_creates,
        order::own_rejected_writes_keep_the_order,
        order::malformed_counts_as_answered,
        order::outcomes_come_before_newest_records,
        order::touched_names_whom_to_wake,
        schedules::newest_version_resend,
        schedules::torn_coalesce,
        schedules::six_hundred_in_one_revision,
        schedules::move_away_and_back,
        schedules::key_taken_leak,
        schedules::relabel_while_away,
        schedules::conflicts_move_with_their_record,
        streams::an_empty_scan_stands_at_the_head,
        streams::batches_keep_their_bounds,
        streams::outcomes_are_never_passed,
        streams::fills_resume_inside_a_revision,
        streams::fills_send_no_tombstones,
        streams::grants_travel_when_they_were_not_told,
        streams::behind_counts_stream_and_fills,
        streams::a_fill_of_a_right_of_before_is_passed_over,
        streams::every_prefix_of_a_random_history_converges,
        watching::who_watches_has_what_a_list_has,
        watching::a_large_transaction_is_told_in_steps,
        watching::what_is_forgotten_or_foreign_is_told_as_such,
        tokens::tokens_are_used_up_and_expire,
        tokens::names_are_taken_once,
        tokens::access_tokens_end,
    }
}

/// A fixture with the usual shop: two nodes, products, stock that is cut by warehouse.
fn shops<F: Fixture>() -> bench::Bench<F> {
    let mut bench = bench::Bench::<F>::new();
    bench.define("products", r#"{"key":"ProductID","fields":{"UnitsInStock":{"type":"counter","min":0}}}"#);
    bench.define("stock", r#"{"partition":{"field":"W","label":"site"}}"#);
    bench.join("lyon", &[("site", "lyon"), ("role", "shop")]);
    bench.join("oslo", &[("site", "oslo"), ("role", "shop")]);
    bench
}
