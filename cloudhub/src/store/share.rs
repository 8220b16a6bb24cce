//! How a record's place is written in the tables.
//!
//! NULL: no node gets it. `''`: the one partition of a collection that is not cut. `=VALUE`: a partition. The mark in
//! front keeps an empty partition value apart from no partition at all.

use crate::reconcile::Place;

/// The column for a partition.
pub(super) fn encode(partition: Option<&str>) -> String {
    partition.map_or_else(String::new, |value| format!("={value}"))
}

/// The partition in a column.
pub(super) fn decode(column: &str) -> Option<String> {
    column.strip_prefix('=').map(str::to_owned)
}

/// The column for a place.
pub(super) fn of_place(place: &Place) -> Option<String> {
    place.as_ref().map(|partition| encode(partition.as_deref()))
}

/// The place in a column.
pub(super) fn to_place(column: Option<String>) -> Place {
    column.map(|text| decode(&text))
}

/// The partition of `_conflicts` that goes with a partition of a collection.
pub(super) fn conflict_partition(collection: &str, partition: Option<&str>) -> String {
    match partition {
        None => collection.to_owned(),
        Some(value) => format!("{collection}/{value}"),
    }
}
