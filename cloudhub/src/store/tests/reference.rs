//! What a store is, in maps: the newest version of each record, what left which partition, what became of each write.
//!
//! Writes are judged by the real judge (`reconcile/tests` looks at that one), in the judge's own world of maps. What is written
//! down here is the rest: which revision each thing gets, what each node is told of it, and what is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use proto::build::Action;
use proto::clock::{Clock, Hlc, Now};
use proto::definition::Labels;
use proto::frame::{Content, Entry, NumberedWrite, Record};
use proto::ids::{Revision, WriteId};
use proto::json::Raw;
use proto::names::{CollectionName, Key, NodeName};
use proto::op::{Body, Change, Op, Outcome, To, Verdict, Was, Write};
use proto::resolve::Choice;

use super::bench::{name, node};
use crate::limits::{CLOSED_CONFLICT_MS, REMOVED_CLOCKS};
use crate::reconcile::tests::hub::{Hub, Id, database_id};
use crate::reconcile::tests::shop::cloud_op;
use crate::reconcile::{self, Author, ConflictChange, Decision, Place, RowState, Stored};
use crate::store::{CloudOp, Condition};

const DAY_MS: u64 = 86_400_000;

/// Who writes at the cloud.
pub(super) const OFFICE: &str = "office";

/// The newest version of a record, or of a conflict row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) revision: Revision,
    pub(super) born: Revision,
    /// Who gets it.
    pub(super) place: Place,
    pub(super) updated_ms: u64,
    pub(super) writer: String,
    pub(super) actor: Option<String>,
    /// None: deleted.
    pub(super) value: Option<String>,
}

/// Since when a node has a partition, and since when its conflict rows.
#[derive(Debug, Clone, Copy)]
struct Since {
    records: Revision,
    rows: Revision,
}

#[derive(Clone, Default)]
pub(super) struct Reference {
    pub(super) hub: Hub,
    clock: Hlc,
    labels: BTreeMap<NodeName, Labels>,
    since: BTreeMap<(NodeName, CollectionName, Option<String>), Since>,
    pub(super) lines: BTreeMap<Id, Line>,
    /// By database and number: what it said, and the answer.
    pub(super) writes: BTreeMap<(u32, u64), (NumberedWrite, Outcome)>,
    /// Accepted ones, by revision.
    pub(super) cloud_writes: BTreeMap<Revision, Outcome>,
    /// Requests of the API that were accepted under an `Idempotency-Key`, by caller and key.
    pub(super) named: BTreeMap<(u8, u8), Named>,
    /// When each revision was made.
    times: BTreeMap<Revision, u64>,
    /// When each conflict row became what it is.
    settled: BTreeMap<String, u64>,
    /// Daily at most: when, and which revision was the newest.
    marks: BTreeMap<u64, Revision>,
}

/// What is remembered of a request, for ever as far as these histories go.
#[derive(Clone)]
pub(super) struct Named {
    pub(super) asked: u8,
    pub(super) ops: Vec<CloudOp>,
    pub(super) revision: Revision,
    /// Its records: whether they were there before, and after.
    pub(super) did: Vec<(Id, bool, bool)>,
}

impl Reference {
    /// A node has this label and no other.
    pub(super) fn label(&mut self, who: &str, site: &str) {
        let labels: Labels = [("site".to_owned(), site.to_owned())].into();
        if self.labels.insert(node(who), labels.clone()) == Some(labels.clone()) {
            return;
        }
        self.hub.head = self.hub.head.next();
        let head = self.hub.head;
        let mut wanted = BTreeSet::new();
        for (name, defined) in &self.hub.definitions {
            wanted.extend(defined.definition.partitions(&labels).into_iter().map(|partition| (name.clone(), partition)));
        }
        self.since.retain(|(own, name, partition), _| *own != node(who) || wanted.contains(&(name.clone(), partition.clone())));
        for (name, partition) in wanted.clone() {
            self.since.entry((node(who), name, partition)).or_insert(Since { records: head, rows: head });
        }
        self.hub.grants.insert(node(who), wanted);
    }

    fn floor(&self, collection: &CollectionName) -> Revision {
        self.hub.floors.get(collection).copied().unwrap_or_default()
    }

    /// Whether a stream from here would miss what is forgotten; what a node has since then was read without it.
    pub(super) fn is_below_floor(&self, who: &str, at: Revision) -> bool {
        let missed = |collection: &CollectionName, since: Revision| self.floor(collection) > at && since < self.floor(collection);
        let mut own = self.since.iter().filter(|((own, ..), _)| *own == node(who));
        own.any(|((_, name, _), since)| missed(name, since.records) || missed(&CollectionName::conflicts(), since.rows))
    }

    /// A session begins: what its stream would miss is given anew.
    pub(super) fn admit(&mut self, who: &str, at: Revision) {
        if !self.is_below_floor(who, at) {
            return;
        }
        let next = self.hub.head.next();
        let floors = self.hub.floors.clone();
        let missed = |collection: &CollectionName, since| floors.get(collection).is_some_and(|floor| *floor > at && since < *floor);
        for ((_, name, _), since) in self.since.iter_mut().filter(|((own, ..), _)| *own == node(who)) {
            if missed(name, since.records) {
                *since = Since { records: next, rows: next };
            }
            if missed(&CollectionName::conflicts(), since.rows) {
                since.rows = next;
            }
        }
        self.hub.head = next;
    }

    /// Every write up to this number is decided.
    pub(super) fn taken(&self, database: u32) -> u64 {
        self.writes.range((database, 0)..=(database, u64::MAX)).next_back().map_or(0, |((_, number), _)| *number)
    }

    /// Part of an outbox comes; why it stops before its end, if it does.
    pub(super) fn take(&mut self, who: &str, database: u32, writes: &[NumberedWrite], now_ms: u64) -> Option<&'static str> {
        for write in writes {
            let next = self.taken(database) + 1;
            if write.number > next {
                return Some("out_of_order");
            }
            match self.writes.get(&(database, write.number)) {
                Some((known, _)) if known == write => {}
                Some(_) => return Some("copied_database"),
                None => self.decide(who, database, write, now_ms),
            }
        }
        None
    }

    fn decide(&mut self, who: &str, database: u32, numbered: &NumberedWrite, now_ms: u64) {
        self.hub.now_ms = now_ms;
        let number = numbered.number;
        let author = Author::Edge { node: node(who), database, number };
        let decision = match Write::decode(&numbered.bytes) {
            Ok(write) if !numbered.rejected => {
                let (hlc, _) = write.hlc.clamp(now_ms);
                self.clock = self.clock.max(hlc);
                let mut decision = self.hub.judge(&author, &write, hlc);
                self.enact(&mut decision, &WriteId::edge(&node(who), &database_id(database), number), write.actor);
                decision
            }
            _ => self.nothing(Verdict::Rejected, (!numbered.rejected).then_some("malformed")),
        };
        self.hub.apply(&author, &decision);
        self.writes.insert((database, number), (numbered.clone(), decision.outcome));
    }

    fn nothing(&self, verdict: Verdict, code: Option<&str>) -> Decision {
        let revision = self.hub.head.next();
        let outcome = Outcome { verdict, revision, code: code.map(str::to_owned), detail: None, conflicts: Vec::new() };
        Decision { outcome, records: Vec::new(), conflicts: Vec::new(), field: None }
    }

    /// A conflict is resolved through the cloud's API: the row says so, and its record becomes what was chosen, in one write.
    pub(super) fn resolve(&mut self, row: &str, choice: &Choice, now_ms: u64) -> bool {
        let Some(held) = self.hub.rows.get(row) else { return false };
        let read = proto::resolve::Row::read(row, &held.value.to_text()).unwrap();
        let id = read.record().unwrap();
        let present = self.hub.records.get(&id).and_then(|stored| Some((stored.live()?, stored.revision)));
        let Ok(step) = read.step(choice, present.map(|(value, _)| value), &self.hub.definitions[&id.0].definition) else { return false };
        let condition = present.map_or(Condition::None, |(_, revision)| Condition::Revisions(vec![revision]));
        let op = CloudOp { collection: id.0, key: id.1, key_from_value: false, action: step.into_action(), condition };
        let says = |field: &str, text: &str| Change { field: field.to_owned(), to: To::Set(Raw::string(text)), was: Was::Absent };
        let body = Body::Merge(vec![says("state", "resolved"), says("resolved_by", OFFICE)]);
        let closed = super::edge::op("_conflicts", row, self.hub.head.0, body);
        self.decide_cloud(vec![closed], &[op], now_ms)
    }

    /// The same under an `Idempotency-Key`, which is remembered when it was accepted.
    pub(super) fn cloud_named(&mut self, name: (u8, u8), asked: u8, ops: &[CloudOp], now_ms: u64) -> bool {
        let ids: BTreeSet<Id> = ops.iter().map(|op| (op.collection.clone(), op.key.clone())).collect();
        let there = |own: &Self, id: &Id| own.hub.value(id).is_some();
        let before: Vec<_> = ids.iter().map(|id| (id.clone(), there(self, id))).collect();
        let accepted = self.cloud(ops, now_ms);
        if accepted {
            let did = before.into_iter().map(|(id, before)| (id.clone(), before, there(self, &id))).collect();
            self.named.insert(name, Named { asked, ops: ops.to_vec(), revision: self.hub.head, did });
        }
        accepted
    }

    /// A write of the cloud's API; false: it is refused, and nothing happened.
    pub(super) fn cloud(&mut self, asked: &[CloudOp], now_ms: u64) -> bool {
        self.decide_cloud(Vec::new(), asked, now_ms)
    }

    fn decide_cloud(&mut self, mut ops: Vec<Op>, asked: &[CloudOp], now_ms: u64) -> bool {
        self.hub.now_ms = now_ms;
        for op in asked {
            let id = (op.collection.clone(), op.key.clone());
            let held = self.hub.records.get(&id).filter(|stored| stored.live().is_some()).map(|stored| stored.revision);
            let (holds, create) = match &op.condition {
                Condition::None => (true, false),
                Condition::Absent => (held.is_none(), true),
                Condition::Revisions(named) => (held.is_some_and(|held| named.contains(&held)), false),
                other => panic!("{other:?}"),
            };
            let action = match op.action.clone() {
                Action::Put { value, .. } => Action::Put { value, create },
                action => action,
            };
            let matched = matches!(op.condition, Condition::Revisions(_));
            match cloud_op(&self.hub, action, &id, &ops, matched) {
                Ok(built) if holds => ops.extend(built),
                _ => return false,
            }
        }
        let hlc = Clock::new(self.clock).tick(Now { wall_ms: now_ms, mono_ms: now_ms });
        let author = Author::Cloud { force: false };
        let write = Write { hlc, at_ms: now_ms, actor: Some(OFFICE.to_owned()), request_id: None, idempotency: None, ops };
        let empty = write.ops.is_empty();
        let mut decision = if empty { self.nothing(Verdict::Applied, None) } else { self.hub.judge(&author, &write, hlc) };
        if decision.outcome.verdict == Verdict::Rejected {
            return false;
        }
        self.clock = hlc;
        let id = WriteId::Cloud(decision.outcome.revision);
        self.enact(&mut decision, &id, write.actor);
        self.hub.apply(&author, &decision);
        self.cloud_writes.insert(decision.outcome.revision, decision.outcome);
        true
    }

    /// The new version of what a decision changes.
    fn enact(&mut self, decision: &mut Decision, writer: &WriteId, actor: Option<String>) {
        let revision = decision.outcome.revision;
        self.times.insert(revision, self.hub.now_ms);
        let blank =
            Line { revision, born: revision, place: None, updated_ms: self.hub.now_ms, writer: writer.to_string(), actor, value: None };
        for change in decision.records.iter().filter(|change| change.stored.revision == revision) {
            let stored = &change.stored;
            let value = stored.live().map(|value| value.to_text());
            let line = Line { born: stored.born, place: stored.place.clone(), value, ..blank.clone() };
            self.lines.insert((change.collection.clone(), change.key.clone()), line);
            self.follow(&change.collection, &change.key, &rows_place(&change.collection, &stored.place), &blank);
        }
        for change in &mut decision.records {
            self.clear_clocks(&change.collection, &mut change.stored);
        }
        for change in &decision.conflicts {
            self.settled.insert(change.id.clone(), self.hub.now_ms);
            let place = change.partition.clone().map(Some);
            self.put_row(&change.id, Line { place, value: Some(change.value.to_text()), ..blank.clone() });
        }
    }

    /// The rows about a record go where it went.
    fn follow(&mut self, collection: &CollectionName, key: &Key, place: &Place, blank: &Line) {
        let about = |row: &&reconcile::ConflictChange| row.row.collection == *collection && row.row.key == *key && !row.row.hidden;
        let ids: Vec<_> = self.hub.rows.values().filter(about).map(|row| row.id.clone()).collect();
        for id in ids {
            let line = self.lines[&row_id(&id)].clone();
            if line.place != *place {
                self.put_row(&id, Line { place: place.clone(), value: line.value, ..blank.clone() });
            }
        }
    }

    fn put_row(&mut self, id: &str, line: Line) {
        let id = row_id(id);
        let before = self.lines.get(&id).map_or((line.born, None), |before| (before.born, before.place.clone()));
        if let Some(left) = before.1.filter(|left| Some(left) != line.place.as_ref()) {
            self.hub.exits.insert((id.clone(), left), line.revision);
        }
        if let Some(place) = line.place.clone() {
            self.hub.exits.remove(&(id.clone(), place));
        }
        self.lines.insert(id, Line { born: before.0, ..line });
    }

    /// Housekeeping: what was settled by then goes from everybody, what was deleted or moved away by then is forgotten.
    pub(super) fn tidy(&mut self, now_ms: u64) {
        let mark = self.hub.head;
        self.hub.now_ms = now_ms;
        let over = |row: &ConflictChange| row.state != RowState::Open && self.settled[&row.id] < now_ms - CLOSED_CONFLICT_MS;
        let over: Vec<String> = self.hub.rows.values().filter(|row| over(row)).map(|row| row.id.clone()).collect();
        if !over.is_empty() {
            let revision = self.hub.head.next();
            self.hub.head = revision;
            self.times.insert(revision, now_ms);
            let writer = WriteId::Cloud(revision).to_string();
            for id in over {
                self.hub.rows.remove(&id);
                let line = self.lines[&row_id(&id)].clone();
                let gone = Line { revision, updated_ms: now_ms, writer: writer.clone(), actor: None, value: None, ..line };
                self.lines.insert(row_id(&id), gone);
            }
        }
        if self.marks.keys().next_back().is_none_or(|last| now_ms >= last + DAY_MS) {
            self.marks.insert(now_ms, mark);
        }
        self.forget(now_ms);
    }

    fn retention_ms(&self, collection: &CollectionName) -> u64 {
        self.hub.definitions.get(collection).map_or(30 * DAY_MS, |defined| defined.definition.tombstone_retention_ms())
    }

    fn is_over(&self, collection: &CollectionName, at: Revision, now_ms: u64) -> bool {
        self.times[&at] < now_ms - self.retention_ms(collection)
    }

    fn forget(&mut self, now_ms: u64) {
        let dead = self.lines.iter().filter(|(_, line)| line.value.is_none());
        let gone: Vec<_> = dead.map(|(id, line)| (id.clone(), line.revision)).collect();
        let gone: Vec<_> = gone.into_iter().filter(|(id, at)| self.is_over(&id.0, *at, now_ms)).collect();
        let left: Vec<_> = self.hub.exits.iter().map(|(exit, at)| (exit.clone(), *at)).collect();
        let left: Vec<_> = left.into_iter().filter(|((id, _), at)| self.is_over(&id.0, *at, now_ms)).collect();
        for (id, at) in gone {
            self.lines.remove(&id);
            self.hub.records.remove(&id);
            self.raise(&id.0, at);
        }
        for (exit, at) in left {
            self.hub.exits.remove(&exit);
            self.raise(&exit.0.0, at);
        }
    }

    fn raise(&mut self, collection: &CollectionName, at: Revision) {
        let floor = self.hub.floors.entry(collection.clone()).or_default();
        *floor = at.max(*floor);
    }

    /// Who removed a field is remembered as long as who deleted a record; looked at when the record is written.
    fn clear_clocks(&mut self, collection: &CollectionName, stored: &mut Stored) {
        let Some(value) = stored.live().cloned().filter(|_| stored.revision == self.hub.head.next()) else { return };
        let before = self.hub.now_ms - self.retention_ms(collection);
        let old = self.marks.range(..=before).next_back().map_or(Revision::ZERO, |(_, head)| *head);
        if let Some(newest) = stored.clocks.forget(&value, old, REMOVED_CLOCKS) {
            self.raise(collection, newest);
        }
    }

    /// All that a database of a node is still to be told: outcomes and newest versions in the order of their revisions, an outcome
    /// before what it changed, and of what it does not get any more that it left.
    pub(super) fn stream(&self, who: &str, database: u32, from: Revision) -> Vec<Entry> {
        let granted = |id: &Id, partition: &Option<String>| self.hub.granted(&node(who), &id.0, partition.as_deref());
        let gets = |id: &Id| self.lines.get(id).and_then(|line| line.place.as_ref()).is_some_and(|place| granted(id, place));
        let mut found: Vec<(Revision, Option<Id>, Entry)> = Vec::new();
        for ((_, number), (_, outcome)) in self.writes.range((database, 0)..=(database, u64::MAX)) {
            found.push((outcome.revision, None, Entry::Outcome { database: None, number: *number, outcome: outcome.clone() }));
        }
        for (id, line) in self.lines.iter().filter(|(id, _)| gets(id)) {
            found.push((line.revision, Some(id.clone()), Entry::Record(told(id, line))));
        }
        for ((id, partition), revision) in self.hub.exits.iter().filter(|((id, partition), _)| granted(id, partition) && !gets(id)) {
            found.push((*revision, Some(id.clone()), Entry::Record(left(id, partition, *revision))));
        }
        found.retain(|(revision, ..)| *revision > from);
        found.sort_by(|(revision, id, _), other| (revision, id).cmp(&(&other.0, &other.1)));
        found.into_iter().map(|(.., entry)| entry).collect()
    }
}

fn row_id(id: &str) -> Id {
    (CollectionName::conflicts(), Key::parse(id).unwrap())
}

/// Where conflict rows about a record are that is here.
fn rows_place(collection: &CollectionName, place: &Place) -> Place {
    let partition = |partition: &Option<String>| partition.as_ref().map_or(collection.to_string(), |own| format!("{collection}/{own}"));
    place.as_ref().map(|own| Some(partition(own)))
}

fn told(id: &Id, line: &Line) -> Record {
    let Line { revision, born, place, updated_ms, writer, actor, value } = line.clone();
    let content = value.map_or(Content::Deleted, Content::Value);
    let (collection, key) = id.clone();
    Record { collection, key, revision, born, partition: place.flatten(), updated_ms, writer, actor, content }
}

fn left(id: &Id, partition: &Option<String>, revision: Revision) -> Record {
    let (collection, key) = id.clone();
    let (born, partition, writer) = (Revision::ZERO, partition.clone(), String::new());
    Record { collection, key, revision, born, partition, updated_ms: 0, writer, actor: None, content: Content::Left }
}

/// Collections of each policy, one of them cut.
pub(super) const DEFINITIONS: [(&str, &str); 3] = [
    ("notes", r#"{"policy":"guarded","tombstone_retention":"10d"}"#),
    ("sales", r#"{"policy":"append"}"#),
    ("stock", r#"{"partition":{"field":"W","label":"site"},"fields":{"n":{"type":"counter","min":0}}}"#),
];

/// A record of them.
pub(super) fn id(collection: u8, record: u8) -> Id {
    (name(DEFINITIONS[usize::from(collection)].0), Key::parse(&format!("r{record}")).unwrap())
}
