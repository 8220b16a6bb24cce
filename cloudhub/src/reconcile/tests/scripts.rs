//! Every section of every script is a test of its name.

use super::script::{play, sections};

macro_rules! scripts {
    ($($module:ident: $file:literal [$($name:ident)*])*) => { $(
        mod $module {
            use super::*;

            const TEXT: &str = include_str!($file);

            $(
                #[test]
                fn $name() {
                    play($file, TEXT, stringify!($name));
                }
            )*

            #[test]
            fn every_section_is_a_test() {
                let names: Vec<_> = sections(TEXT).into_iter().map(|(name, _)| name).collect();
                assert_eq!(names, [$(stringify!($name)),*]);
            }
        }
    )* };
}

scripts! {
    merge: "scripts/merge.txt" [
        not_concurrent different_fields same_value edge_is_later cloud_is_later tie_by_database removal_meets_change
        removal_keeps_its_clock both_remove groups_win_and_lose_together group_claimed_in_part nested_values_are_whole
        own_writes_are_not_concurrent creating_merge_of_nothing creating_merge_of_a_live_key nothing_changes
        cloud_is_never_concurrent equal_claims_keep_the_later_clock expected_revision
    ]
    creating: "scripts/creating.txt" [
        free_key live_key live_key_same_content deleted_key under_every_policy initial_values bounds_of_a_new_counter
        dependents read_only
    ]
    append: "scripts/append.txt" [
        inserted repeated append_half_repeat other_content changes removal_by_an_admin
    ]
    guarded: "scripts/guarded.txt" [
        untouched concurrent there_and_back guard_on_rejected own_chain counters_go_before_the_policy
        update_of_a_deleted_one delete_of_a_changed_one guarded_field transitions guarded_field_and_delete checks
    ]
    counters: "scripts/counters.txt" [
        always_adds absent_and_null_are_zero bound_flags bound_rejects ends_of_64_bits count_alone count_beside_others
        two_counts count_after_own_sale count_after_own_sale_and_others count_on_a_rejected_write
        count_through_the_cloud removed_counter counted_into_being
    ]
    deletes: "scripts/deletes.txt" [
        delete_wins_over_a_change delete_keeps_what_it_had_not_seen delete_of_what_was_seen both_delete husk
        sale_of_deleted count_of_deleted sale_of_compacted counter_wants_force delete_beside_sales
        delete_recreate_increment create_edit_offline delete_recreate_offline delete_and_recreate_in_one_write
        no_resurrection old_record_new_field old_record_new_field_guarded forty_five_days_merge merged_then_recreated
        delete_of_what_was_only_merged_into expected_before_a_recreation
    ]
    entitlement: "scripts/entitlement.txt" [
        own_partition creating_elsewhere key_taken_leak moving_out moved_away moved_away_long_ago unheld_key
        increment_tells_nothing uncut_collection_taken_away recreated_elsewhere rejected_create_and_its_edits
        moved_away_and_created_anew
    ]
    schema: "scripts/schema.txt" [
        newest older wrong_before required system_collections_open_no_rows
    ]
    resolving: "scripts/resolving.txt" [
        the_edges_name_after_all the_cloud_side_lost_and_comes_back the_side_that_stands_changes_nothing
        a_value_of_ones_own two_people_resolve_one_row the_record_changed_since the_row_grew_since
        own_writes_do_not_stand_in_the_way a_count_was_right_or_not a_bound_that_was_passed
        a_guarded_change_is_made_again a_guarded_change_that_may_not_follow a_guarded_delete a_check_keeps_nothing
        restored_with_the_change what_a_delete_took_comes_back it_stays_deleted sales_of_a_deleted_product
        sale_of_a_forgotten_product restored_where_nothing_is_left the_key_is_taken what_it_stood_on_was_rejected
        somebody_elses_row the_row_goes_with_its_record a_schema_that_was_stricter
    ]
    schedules: "scripts/schedules.txt" [
        two_creates rename_by_put null_roundtrip check_as_read write_as_read restored_numbers_of_a_write
    ]
    inventory: "../../../../docs/guide/reconciliation.md" [
        last_unit_sold_twice price_from_head_office_text_from_the_shop two_renames shipped_and_cancelled
        stock_take_with_goods_in_transit same_new_product_in_two_shops deleted_product_is_edited_and_sold
        forty_five_days_away clock_of_1970 delivered_three_times two_decide_and_one_was_first
        a_deleted_product_comes_back the_count_was_right
    ]
}
