//! What the writer and the readers of one process share in memory: the newest revision of each partition, so that a scan
//! looks only where something changed, and the grants of the nodes that were scanned lately.
//!
//! The writer raises a partition's head before it commits. A reader that sees the commit sees the head; one that does
//! not looks in vain, which costs a seek and no more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::grants::{GrantRow, NodeShares};
use crate::limits::{GRANT_CACHE, SHARE_HEADS};

/// Shared by the writer and its readers.
#[derive(Debug)]
pub(super) struct Shared {
    heads: Mutex<Heads>,
    grants: Mutex<BTreeMap<i64, Arc<NodeShares>>>,
}

#[derive(Debug)]
struct Heads {
    /// A partition that is not in the table has nothing above this.
    rest: u64,
    entries: usize,
    newest: BTreeMap<i64, BTreeMap<String, u64>>,
}

impl Shared {
    pub(super) fn new(head: u64) -> Self {
        let heads = Heads { rest: head, entries: 0, newest: BTreeMap::new() };
        Self { heads: Mutex::new(heads), grants: Mutex::new(BTreeMap::new()) }
    }

    /// Raises the heads of partitions to `revision`.
    pub(super) fn raise<'a>(&self, shares: impl IntoIterator<Item = &'a (i64, String)>, revision: u64) {
        let mut heads = lock(&self.heads);
        for (collection, share) in shares {
            if heads.entries >= SHARE_HEADS {
                *heads = Heads { rest: revision, entries: 0, newest: BTreeMap::new() };
            }
            let known = heads.newest.entry(*collection).or_default().insert(share.clone(), revision);
            heads.entries += usize::from(known.is_none());
        }
    }

    /// The grants whose partition may hold something above `revision`.
    pub(super) fn changed<'a>(&self, grants: &'a [GrantRow], revision: u64) -> Vec<&'a GrantRow> {
        let heads = lock(&self.heads);
        let newest = |grant: &GrantRow| heads.newest.get(&grant.collection)?.get(&grant.share).copied();
        grants.iter().filter(|grant| revision < newest(grant).unwrap_or(heads.rest)).collect()
    }

    /// The grants of a node, if they are those of this revision.
    pub(super) fn grants(&self, node: i64, revision: u64) -> Option<Arc<NodeShares>> {
        lock(&self.grants).get(&node).filter(|shares| shares.revision == revision).cloned()
    }

    /// Remembers the grants of a node.
    pub(super) fn remember(&self, node: i64, shares: &Arc<NodeShares>) {
        let mut grants = lock(&self.grants);
        if grants.len() >= GRANT_CACHE {
            grants.clear();
        }
        grants.insert(node, Arc::clone(shares));
    }

    /// Forgets the grants of a node.
    pub(super) fn forget(&self, node: i64) {
        lock(&self.grants).remove(&node);
    }
}

/// A panic elsewhere leaves these tables usable: each change to them is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
