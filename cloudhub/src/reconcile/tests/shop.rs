//! An edge as reconciliation sees it: base, outbox, view; ops are built by the code that edges build them with.

use std::collections::BTreeMap;

use proto::build::{Action, BuildError, Request, Scene, Side, build};
use proto::clock::Hlc;
use proto::ids::Revision;
use proto::json::Value;
use proto::names::{CollectionName, Key, NodeName};
use proto::op::{Op, Verdict, Write};
use proto::overlay::lay_all;

use super::hub::{Hub, Id};
use crate::reconcile::{Author, Decision};

#[derive(Clone)]
pub(super) struct Shop {
    pub(super) node: NodeName,
    pub(super) database: u32,
    cursor: Revision,
    base: BTreeMap<Id, Value>,
    /// Number, content, and whether an outcome has come.
    laid: Vec<(u64, Write, bool)>,
    next: u64,
}

impl Shop {
    pub(super) fn new(node: &str, database: u32) -> Self {
        let node = NodeName::parse(node).unwrap();
        Self { node, database, cursor: Revision::ZERO, base: BTreeMap::new(), laid: Vec::new(), next: 1 }
    }

    /// Everything up to the head arrives.
    pub(super) fn sync(&mut self, hub: &Hub) {
        self.cursor = hub.head;
        self.base = BTreeMap::new();
        for (id, stored) in &hub.records {
            let granted = stored.place.as_ref().is_some_and(|place| hub.granted(&self.node, &id.0, place.as_deref()));
            if let (true, Some(value)) = (granted, stored.live()) {
                self.base.insert(id.clone(), value.clone());
            }
        }
        for (id, change) in &hub.rows {
            let granted =
                change.partition.as_deref().is_some_and(|partition| hub.granted(&self.node, &CollectionName::conflicts(), Some(partition)));
            if granted {
                self.base.insert((CollectionName::conflicts(), Key::parse(id).unwrap()), change.value.clone());
            }
        }
        self.laid.retain(|(_, _, decided)| !decided);
    }

    pub(super) fn cursor(&self) -> Revision {
        self.cursor
    }

    fn ops<'s>(&'s self, id: &'s Id, write: &'s [Op]) -> impl Iterator<Item = &'s Op> {
        let laid = self.laid.iter().flat_map(|(_, write, _)| &write.ops);
        laid.chain(write).filter(|op| op.collection == id.0 && op.key == id.1)
    }

    pub(super) fn view(&self, id: &Id, write: &[Op]) -> Option<Value> {
        lay_all(self.base.get(id).cloned(), self.ops(id, write))
    }

    /// One request, after those of the same write.
    pub(super) fn build(&self, hub: &Hub, request: &Request, matched: bool, write: &[Op]) -> Result<Option<Op>, BuildError> {
        let id = (request.collection.clone(), request.key.clone());
        let touches = |ops: &[Op]| ops.iter().any(|op| op.collection == id.0 && op.key == id.1);
        let creates = |ops: &[Op]| ops.iter().any(|op| op.collection == id.0 && op.key == id.1 && op.creates());
        let stands_on: Vec<_> = self.laid.iter().filter(|(_, write, _)| touches(&write.ops)).map(|(number, ..)| *number).collect();
        let created = self.laid.iter().rev().find(|(_, write, _)| creates(&write.ops)).map(|(number, ..)| *number);
        let view = self.view(&id, write);
        let scene = Scene {
            defined: &hub.definitions[&request.collection],
            view: view.as_ref(),
            seen: self.cursor,
            depends: created.filter(|_| !self.base.contains_key(&id)),
            stands_on: &stands_on,
            matched,
            side: Side::Edge,
        };
        build(request, &scene)
    }

    pub(super) fn commit(&mut self, hlc: Hlc, ops: Vec<Op>) {
        self.laid.push((self.next, Write { hlc, ops, ..Write::default() }, false));
        self.next += 1;
    }

    /// The outbox goes up; nothing comes down but outcomes.
    pub(super) fn up(&mut self, hub: &mut Hub) -> Vec<(u64, Decision)> {
        let mut decisions = Vec::new();
        for (number, write, decided) in self.laid.iter_mut().filter(|(_, _, decided)| !decided) {
            let author = Author::Edge { node: self.node.clone(), database: self.database, number: *number };
            decisions.push((*number, hub.commit(&author, write, write.hlc)));
            *decided = true;
        }
        let rejected =
            |number: u64| decisions.iter().any(|(own, decision)| *own == number && decision.outcome.verdict == Verdict::Rejected);
        self.laid.retain(|(number, ..)| !rejected(*number));
        decisions
    }
}

/// What the cloud's API builds for itself: the head is its view.
pub(crate) fn cloud_op(hub: &Hub, action: Action, id: &Id, write: &[Op], matched: bool) -> Result<Option<Op>, BuildError> {
    let request = Request { collection: id.0.clone(), key: id.1.clone(), action, expect: None };
    let ops = write.iter().filter(|op| op.collection == id.0 && op.key == id.1);
    let view = lay_all(hub.value(id).cloned(), ops);
    let scene = Scene {
        defined: &hub.definitions[&id.0],
        view: view.as_ref(),
        seen: hub.head,
        depends: None,
        stands_on: &[],
        matched,
        side: Side::Cloud,
    };
    build(&request, &scene)
}
