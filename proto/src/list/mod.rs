//! Lists: which records, in which order, and from which index they are read, the same on both sides.
//!
//! A store gives entries of its tables in the order of an index ([`Source`]); everything else is here and pure:
//! [`condition`] judges records exactly, [`order`] says what comes before what and where a page ended, [`interval`] turns
//! conditions into stretches of an index that hold at least what they match, [`plan`] chooses the index, and [`walk`] reads a
//! page. What SQLite confuses (true and 1, numbers beyond a double) only makes a stretch longer: the records are judged.

pub mod condition;
pub mod interval;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod memory;
pub mod order;
pub mod plan;
pub mod walk;

use alloc::string::String;
use alloc::vec::Vec;

pub use condition::{Compare, Condition};
pub use order::{Order, OrderError, Position, SortValue};
pub use plan::{NoIndex, Plan};
pub use walk::{Ask, Entry, ListPage, Room, Source};

use crate::names::{CollectionName, Key};

/// Which records to list.
#[derive(Debug, Clone, PartialEq)]
pub struct ListQuery {
    /// The collection.
    pub collection: CollectionName,
    /// Only keys that start with this.
    pub prefix: Option<String>,
    /// Only these (the first [`crate::limits::LIST_KEYS`]); empty: all.
    pub keys: Vec<Key>,
    /// All of these must hold.
    pub conditions: Vec<Condition>,
    /// In this order.
    pub order: Order,
    /// Only what comes after this place in it.
    pub after: Option<Position>,
    /// At most this many.
    pub limit: usize,
}

impl ListQuery {
    /// A collection from its beginning, in key order.
    pub fn all(collection: CollectionName, limit: usize) -> Self {
        let (conditions, order) = (Vec::new(), Order::default());
        Self { collection, prefix: None, keys: Vec::new(), conditions, order, after: None, limit }
    }

    /// Whether a key has the prefix.
    pub fn starts(&self, key: &str) -> bool {
        self.prefix.as_deref().is_none_or(|prefix| key.starts_with(prefix))
    }
}
