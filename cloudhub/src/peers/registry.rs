//! Who is connected, and who is to be woken by what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::shapes::DAY_MS;
use proto::frame::{Grants, Share};
use proto::ids::DatabaseId;
use proto::names::NodeName;
use proto::traffic::Traffic;
use transport::counters::LinkCounters;
use transport::link::TransportKind;

use super::live::{Live, View};
use crate::engine::Witness;
use crate::limits::CONNECTIONS_PER_NODE;
use crate::store::Touched;

/// All connections of the hub. Held only for moments.
#[derive(Debug, Default)]
pub struct Registry(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    newest: u64,
    connections: BTreeMap<u64, Arc<Live>>,
    /// Those of each node, oldest first: one, but for moments.
    of_node: BTreeMap<NodeName, Vec<u64>>,
    /// The node's admitted connection.
    nodes: BTreeMap<NodeName, Admitted>,
    /// Which connections have a right to which partition.
    shares: BTreeMap<Arc<Share>, BTreeSet<u64>>,
    refused: BTreeMap<NodeName, String>,
    /// Bytes that went through connections that are over.
    past: BTreeMap<NodeName, Passed>,
    /// The present day in UTC, counted from 1970.
    day: u64,
    checks: Checks,
    closed: bool,
}

/// What comparing digests has come to since the hub's start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checks {
    /// Comparisons in which all agreed.
    pub agreed: u64,
    /// Comparisons in which something differed.
    pub differed: u64,
    /// Records that were sent again because of that.
    pub records: u64,
}

#[derive(Debug)]
struct Admitted {
    id: u64,
    database: DatabaseId,
    shares: Vec<Arc<Share>>,
}

/// Bytes between the hub and a node since the hub's start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// To the node.
    pub sent: u64,
    /// From the node.
    pub received: u64,
    /// What they were spent on.
    pub traffic: Traffic,
    /// What of that was before the present day.
    dawn: Traffic,
}

impl Passed {
    fn add(&mut self, counters: &LinkCounters, traffic: &Traffic) {
        self.sent += counters.sent();
        self.received += counters.received();
        self.traffic = self.traffic.plus(traffic);
    }

    /// What passed on the present day.
    pub fn today(&self) -> Traffic {
        self.traffic.since(&self.dawn)
    }
}

/// What is known here of a node.
#[derive(Debug, Clone, Default)]
pub struct Presence {
    /// Its connection, if it has been admitted.
    pub live: Option<(Arc<Live>, View)>,
    /// The code of its last refusal, if it was not admitted since.
    pub refused: Option<String>,
    /// What passed.
    pub passed: Passed,
}

impl Presence {
    /// Whether the node has a session.
    pub fn is_online(&self) -> bool {
        self.live.as_ref().is_some_and(|(_, view)| view.open)
    }
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        // A panic while it was held would be in this file; what it left is still the best there is.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection whose certificate is proven; it has no rights yet. Where the node has too many, the oldest of those gives way.
    pub(super) fn connect(&self, node: NodeName, address: String, transport: TransportKind, counters: Arc<LinkCounters>) -> Arc<Live> {
        let mut inside = self.lock();
        inside.newest += 1;
        let live = Arc::new(Live::new(inside.newest, node, address, transport, counters));
        inside.connections.insert(live.id, Arc::clone(&live));
        inside.crowd(&live.node);
        inside.of_node.entry(live.node.clone()).or_default().push(live.id);
        if inside.closed {
            live.end("shutdown", "the hub is stopping");
        }
        live
    }

    /// The store has admitted this connection. It takes the place of the one that the node had.
    pub(super) fn admit(&self, live: &Live, database: DatabaseId, grants: &Grants) {
        let mut inside = self.lock();
        inside.refused.remove(&live.node);
        if !inside.connections.contains_key(&live.id) {
            // It broke while the store was judging.
            return;
        }
        if let Some(old) = inside.drop_node(&live.node)
            && let Some(old) = inside.connections.get(&old).filter(|old| old.id != live.id)
        {
            old.end("replaced", "a newer session of this database took its place");
        }
        inside.nodes.insert(live.node.clone(), Admitted { id: live.id, database, shares: Vec::new() });
        inside.grant(live, grants);
    }

    /// The node's rights are others now. What was committed meanwhile is for the caller to look at.
    pub(super) fn regrant(&self, live: &Live, grants: &Grants) {
        self.lock().grant(live, grants);
    }

    /// The store, or the protocol, did not let the session begin.
    pub(super) fn refuse(&self, live: &Live, code: &str) {
        // Other names than those of nodes come with no certificate of ours, so this is bounded by the nodes.
        self.lock().refused.insert(live.node.clone(), code.to_owned());
    }

    /// The connection is over.
    pub(super) fn leave(&self, live: &Live) {
        live.over();
        let mut inside = self.lock();
        inside.connections.remove(&live.id);
        if let Some(ids) = inside.of_node.get_mut(&live.node) {
            ids.retain(|id| *id != live.id);
            if ids.is_empty() {
                inside.of_node.remove(&live.node);
            }
        }
        inside.past.entry(live.node.clone()).or_default().add(&live.counters, &live.counters.final_traffic());
        if inside.nodes.get(&live.node).is_some_and(|admitted| admitted.id == live.id) {
            inside.drop_node(&live.node);
        }
    }

    /// Wakes connections.
    pub(super) fn wake(&self, ids: &[u64]) {
        if ids.is_empty() {
            return;
        }
        let inside = self.lock();
        ids.iter().filter_map(|id| inside.connections.get(id)).for_each(|live| live.wake.notify_one());
    }

    /// Ends every connection of a node.
    pub fn end(&self, node: &NodeName, code: &'static str, detail: &str) {
        let inside = self.lock();
        let ids = inside.of_node.get(node).into_iter().flatten();
        ids.filter_map(|id| inside.connections.get(id)).for_each(|live| live.end(code, detail));
    }

    /// Ends every connection, also those to come.
    pub fn close(&self) {
        let mut inside = self.lock();
        inside.closed = true;
        inside.connections.values().for_each(|live| live.end("shutdown", "the hub is stopping"));
    }

    /// Forgets a node that was deleted.
    pub fn forget(&self, node: &NodeName) {
        let mut inside = self.lock();
        inside.refused.remove(node);
        inside.past.remove(node);
    }

    /// What is known of a node.
    pub fn presence(&self, node: &NodeName) -> Presence {
        let inside = self.lock();
        let live = inside.nodes.get(node).and_then(|admitted| inside.connections.get(&admitted.id));
        let passed = inside.passed(node);
        Presence { live: live.map(|live| (Arc::clone(live), live.view())), refused: inside.refused.get(node).cloned(), passed }
    }

    /// Looks whether another day has begun (UTC, by the hub's clock); the present one, counted from 1970.
    pub fn day(&self, now_ms: u64) -> u64 {
        let day = now_ms / DAY_MS;
        let mut inside = self.lock();
        let known = std::mem::replace(&mut inside.day, day);
        if known != day && known > 0 {
            let nodes: BTreeSet<_> = inside.past.keys().chain(inside.nodes.keys()).cloned().collect();
            for node in nodes {
                let dawn = inside.passed(&node).traffic;
                inside.past.entry(node).or_default().dawn = dawn;
            }
        }
        day
    }

    /// Something was found out by digests.
    pub(super) fn check(&self, change: impl FnOnce(&mut Checks)) {
        change(&mut self.lock().checks);
    }

    /// What comparing digests has come to.
    pub fn checks(&self) -> Checks {
        self.lock().checks
    }

    /// How many nodes have a session.
    pub fn online(&self) -> u64 {
        let inside = self.lock();
        let open = |admitted: &Admitted| inside.connections.get(&admitted.id).is_some_and(|live| live.view().open);
        inside.nodes.values().filter(|admitted| open(admitted)).count() as u64
    }
}

impl Inside {
    /// What passed between the hub and a node, by connections that are over and by the admitted one.
    fn passed(&self, node: &NodeName) -> Passed {
        let mut passed = self.past.get(node).copied().unwrap_or_default();
        if let Some(live) = self.nodes.get(node).and_then(|admitted| self.connections.get(&admitted.id)) {
            passed.add(&live.counters, &live.counters.traffic());
        }
        passed
    }

    /// Makes room for one more connection of a node: what has no session yet, or none any more, goes, the oldest first.
    fn crowd(&mut self, node: &NodeName) {
        let Some(ids) = self.of_node.get(node).filter(|ids| ids.len() >= CONNECTIONS_PER_NODE) else { return };
        let admitted = self.nodes.get(node).map(|admitted| admitted.id);
        let spare = ids.iter().filter(|id| Some(**id) != admitted).filter_map(|id| self.connections.get(id));
        if let Some(oldest) = spare.into_iter().find(|live| !live.is_ending()) {
            oldest.end("replaced", "the node has too many connections at once: a newer one took its place");
        }
    }

    /// Takes a node's rights away; its connection's id.
    fn drop_node(&mut self, node: &NodeName) -> Option<u64> {
        let admitted = self.nodes.remove(node)?;
        self.unlist(admitted.id, &admitted.shares);
        Some(admitted.id)
    }

    fn unlist(&mut self, id: u64, shares: &[Arc<Share>]) {
        for share in shares {
            if let Some(ids) = self.shares.get_mut(share) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.shares.remove(share);
                }
            }
        }
    }

    fn grant(&mut self, live: &Live, grants: &Grants) {
        let Some(admitted) = self.nodes.get_mut(&live.node).filter(|admitted| admitted.id == live.id) else { return };
        let old = std::mem::take(&mut admitted.shares);
        self.unlist(live.id, &old);
        let mut shares = Vec::with_capacity(grants.grants.len());
        for grant in &grants.grants {
            let known = self.shares.get_key_value(&grant.share).map(|(share, _)| Arc::clone(share));
            let share = known.unwrap_or_else(|| Arc::new(grant.share.clone()));
            self.shares.entry(Arc::clone(&share)).or_default().insert(live.id);
            shares.push(share);
        }
        if let Some(admitted) = self.nodes.get_mut(&live.node) {
            admitted.shares = shares;
        }
    }
}

impl Witness for Registry {
    fn live(&self, node: &NodeName) -> Option<DatabaseId> {
        self.lock().nodes.get(node).map(|admitted| admitted.database)
    }

    fn touched(&self, touched: &Touched) {
        if touched.shares.is_empty() && touched.nodes.is_empty() {
            return;
        }
        let inside = self.lock();
        let by_share = touched.shares.iter().filter_map(|share| inside.shares.get(share)).flatten().copied();
        let by_node = touched.nodes.iter().filter_map(|node| inside.nodes.get(node)).map(|admitted| admitted.id);
        for id in by_share.chain(by_node) {
            if let Some(live) = inside.connections.get(&id) {
                live.wake.notify_one();
            }
        }
    }

    fn store_closed(&self) {
        self.lock().connections.values().for_each(|live| live.end("store", "the hub's store is being opened again"));
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
