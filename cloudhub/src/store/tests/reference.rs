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
use proto::names::{CollectionName, Key, NodeName};
use proto::op::{Outcome, Verdict, Write};

use super::bench::{name, node};
use crate::reconcile::tests::hub::{Hub, Id, database_id};
use crate::reconcile::tests::shop::cloud_op;
use crate::reconcile::{self, Author, Decision, Place};
use crate::store::{CloudOp, Condition};

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
                let decision = self.hub.judge(&author, &write, hlc);
                self.enact(&decision, &WriteId::edge(&node(who), &database_id(database), number), write.actor);
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

    /// A write of the cloud's API; false: it is refused, and nothing happened.
    pub(super) fn cloud(&mut self, asked: &[CloudOp], now_ms: u64) -> bool {
        self.hub.now_ms = now_ms;
        let mut ops = Vec::new();
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
        let decision = if empty { self.nothing(Verdict::Applied, None) } else { self.hub.judge(&author, &write, hlc) };
        if decision.outcome.verdict == Verdict::Rejected {
            return false;
        }
        self.clock = hlc;
        self.enact(&decision, &WriteId::Cloud(decision.outcome.revision), write.actor);
        self.hub.apply(&author, &decision);
        self.cloud_writes.insert(decision.outcome.revision, decision.outcome);
        true
    }

    /// The new version of what a decision changes.
    fn enact(&mut self, decision: &Decision, writer: &WriteId, actor: Option<String>) {
        let revision = decision.outcome.revision;
        let blank =
            Line { revision, born: revision, place: None, updated_ms: self.hub.now_ms, writer: writer.to_string(), actor, value: None };
        for change in decision.records.iter().filter(|change| change.stored.revision == revision) {
            let stored = &change.stored;
            let value = stored.live().map(|value| value.to_text());
            let line = Line { born: stored.born, place: stored.place.clone(), value, ..blank.clone() };
            self.lines.insert((change.collection.clone(), change.key.clone()), line);
            self.follow(&change.collection, &change.key, &rows_place(&change.collection, &stored.place), &blank);
        }
        for change in &decision.conflicts {
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

    /// Everything that was deleted or moved away was so longer ago than anybody keeps it.
    pub(super) fn forget(&mut self) {
        let gone: Vec<_> =
            self.lines.iter().filter(|(_, line)| line.value.is_none()).map(|(id, line)| (id.clone(), line.revision)).collect();
        for (id, _) in &gone {
            self.lines.remove(id);
            self.hub.records.remove(id);
        }
        let left = std::mem::take(&mut self.hub.exits).into_iter().map(|((id, _), revision)| (id, revision));
        for ((collection, _), revision) in gone.into_iter().chain(left) {
            let floor = self.hub.floors.entry(collection).or_default();
            *floor = revision.max(*floor);
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
    ("notes", r#"{"policy":"guarded"}"#),
    ("sales", r#"{"policy":"append"}"#),
    ("stock", r#"{"partition":{"field":"W","label":"site"},"fields":{"n":{"type":"counter","min":0}}}"#),
];

/// A record of them.
pub(super) fn id(collection: u8, record: u8) -> Id {
    (name(DEFINITIONS[usize::from(collection)].0), Key::parse(&format!("r{record}")).unwrap())
}
