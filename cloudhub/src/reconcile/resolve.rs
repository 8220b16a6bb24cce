//! Resolving: the one thing that may be written about a conflict row. The write says that the row is resolved, and what
//! becomes of the record; the cloud judges whether the row still stands as it was looked at.

use std::collections::BTreeMap;

use proto::ids::Revision;
use proto::json::Raw;
use proto::names::{CollectionName, Key};
use proto::op::{Body, Op};
use proto::resolve::resolver;

use super::conflict::{ConflictKind, Row, RowKey, RowState, rfc3339};
use super::decision::{ConflictChange, partition_name};
use super::judge::{Case, Rejection, Stop, rejected};
use super::world::{Author, World};

/// A conflict row as the store holds it.
#[derive(Debug, Clone)]
pub struct Held {
    /// What it says.
    pub row: Row,
    /// What it is about.
    pub key: RowKey,
    /// Its partition in `_conflicts`; none: it stays in the cloud.
    pub partition: Option<String>,
}

/// The rows that a write resolves, by id.
pub(super) type Closing = BTreeMap<String, Held>;

impl<W: World> Case<'_, W> {
    /// An op that resolves a row. Tells whether it was one.
    pub(super) fn close(&mut self, op: &Op) -> Result<bool, Stop<W::Error>> {
        let Some(by) = resolver(op) else { return Ok(false) };
        let id = op.key.to_string();
        let held = if self.closing.contains_key(&id) { None } else { self.world.conflict(&op.key)? };
        if self.write.is_edge() {
            // One answer for a row of somebody else and for one that is not there: it tells nothing.
            let partition = held.as_ref().and_then(|held| held.partition.as_deref());
            let granted = partition.map_or(Ok(false), |partition| self.world.granted(&CollectionName::conflicts(), Some(partition)))?;
            if !granted {
                let detail = format!("conflict {id} is not this node's, or is no longer kept");
                return rejected(Rejection::new("not_entitled", detail, None));
            }
        }
        let stale = |what: &str| rejected(Rejection::new("guard", format!("conflict {id} {what}"), None));
        let Some(mut held) = held.filter(|held| held.row.state != RowState::Resolved) else {
            return stale("is not open any more");
        };
        // What was added to it meanwhile nobody has looked at.
        if op.expect.is_some_and(|seen| Revision(held.row.revision) > seen) {
            return stale("has grown since it was read: look at it again");
        }
        held.row.state = RowState::Resolved;
        held.row.resolved_by = Some(self.write.write.actor.clone().unwrap_or_else(|| self.resolver_of(by)));
        held.row.resolved_at = Some(rfc3339(self.write.now_ms));
        held.row.resolved_in = Some(self.write.id.to_string());
        self.closing.insert(id, held);
        Ok(true)
    }

    /// A node is what its certificate says; what the cloud's own API says was proved there.
    fn resolver_of(&self, named: String) -> String {
        match &self.write.author {
            Author::Edge { node, .. } => node.to_string(),
            Author::Cloud { .. } => named,
        }
    }

    /// Whether the write resolves a row about this record: what it then does there was decided by a person, and opens
    /// no row of its own.
    pub(super) fn settles(&self, collection: &CollectionName, key: &Key) -> bool {
        self.closing.values().any(|held| held.key.collection == *collection && held.key.key == *key)
    }

    /// A field that the edge may not write comes back as the cloud had it, together with the record.
    pub(super) fn gives_back(&self, op: &Op, field: &str) -> bool {
        let Body::Put(value) = &op.body else { return false };
        let about = |held: &&Held| held.key.kind == ConflictKind::Gone && held.key.collection == op.collection && held.key.key == op.key;
        let kept = self.closing.values().filter(about).flat_map(|held| &held.row.fields).filter(|kept| kept.name == field);
        let mut kept = kept.filter_map(|kept| Raw::parse(kept.cloud.as_ref()?.get()).ok());
        value.get(field).is_some_and(|raw| kept.any(|kept| kept.same(raw)))
    }

    /// The resolved rows, where their records are after the write.
    pub(super) fn closed(&self) -> Vec<ConflictChange> {
        let place = |held: &Held| {
            let record = self.records.get(&(held.key.collection.clone(), held.key.key.clone()))?;
            let stored = record.now.as_ref()?;
            Some(stored.place.as_ref().map(|place| partition_name(&held.key.collection, place.as_deref())))
        };
        let change = |(id, held): (&String, &Held)| ConflictChange {
            id: id.clone(),
            row: held.key.clone(),
            state: RowState::Resolved,
            partition: if held.key.hidden { None } else { place(held).unwrap_or_else(|| held.partition.clone()) },
            value: held.row.to_value(),
        };
        self.closing.iter().map(change).collect()
    }
}
