//! The database against a model that is small enough to be right by looking at it: random local writes, a cloud that
//! decides and edits, scans that are cut anywhere, batches that come twice, rights that are lost and given anew with their back-fills,
//! requests that are made again, restarts.

use std::collections::{BTreeMap, BTreeSet};

use metamanager::{Committed, Etag, LocalRequest, LocalWrite, Precondition, WriteError, WriteRef};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use proto::frame::{Batch, Content, Entry, Grant, Grants, Record};
use proto::ids::{Position, Revision, WriteId};
use proto::json::Raw;
use proto::names::NodeName;
use proto::op::{Idempotency, Verdict};

use crate::kit::{Edge, answered, at, create, delete, filled, gone, grant, grants, is, key, merge, name, now, record, sell, value, when};

const KEYS: [&str; 3] = ["a", "b", "c"];
/// Where a new database of the kit stands.
const START: u64 = 10;
/// How many histories, unless `TOMBOLO_CASES` says otherwise.
const CASES: u32 = 96;

#[derive(Debug, Clone, PartialEq)]
struct Thing {
    n: i64,
    note: Option<u8>,
}

#[derive(Debug, Clone)]
enum Act {
    Create(i64),
    Sell(i64),
    Note(u8),
    /// A note as it was in the view: it makes no claim, whatever becomes of the one that it repeats.
    Same,
    Delete,
}

#[derive(Debug, Clone)]
enum Step {
    /// A local write on one or two records.
    Local(Vec<(usize, Act)>),
    /// The same under an Idempotency-Key, as this request or another.
    Named {
        name: u8,
        asked: u8,
        ops: Vec<(usize, Act)>,
    },
    /// A write on one record, if it is still as this application saw it; or as it never was.
    When {
        place: usize,
        act: Act,
        seen: bool,
    },
    /// An answered write is sent once more.
    Resend(usize),
    /// What is kept of an answered write is dropped.
    Discard(usize),
    /// The right to all of it is taken, or given anew: then everything is filled again.
    Lose,
    Give,
    /// The next part of a back-fill, of so many records.
    Fill(usize),
    /// The cloud decides the next waiting write; `true`: rejects it.
    Decide(bool),
    /// The cloud edits records in one transaction; none: deletes.
    Edit(Vec<(usize, Option<i64>)>),
    /// A scan from the cursor: how many entries a batch has, how many batches arrive, in one commit or one by one.
    Scan {
        size: usize,
        count: usize,
        together: bool,
    },
    /// The batches that came last come again.
    Again,
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![(0i64..50).prop_map(Act::Create), (1i64..5).prop_map(Act::Sell), (0u8..9).prop_map(Act::Note), Just(Act::Delete)]
}

fn step() -> impl Strategy<Value = Step> {
    let local = prop::collection::vec((0..KEYS.len(), act()), 1..3).prop_map(Step::Local);
    let ops = prop::collection::vec((0..KEYS.len(), act()), 1..3);
    let named = (0u8..3, 0u8..2, ops).prop_map(|(name, asked, ops)| Step::Named { name, asked, ops });
    let when = (0..KEYS.len(), act(), prop::bool::weighted(0.7)).prop_map(|(place, act, seen)| Step::When { place, act, seen });
    let edit = prop::collection::btree_map(0..KEYS.len(), prop::option::weighted(0.8, 0i64..50), 1..3);
    let scan = (1usize..4, 1usize..4, any::<bool>()).prop_map(|(size, count, together)| Step::Scan { size, count, together });
    prop_oneof![
        4 => local,
        1 => named,
        1 => when,
        1 => (0usize..9).prop_map(Step::Resend),
        1 => (0usize..9).prop_map(Step::Discard),
        1 => prop_oneof![1 => Just(Step::Lose), 2 => Just(Step::Give)],
        2 => (1usize..3).prop_map(Step::Fill),
        3 => any::<bool>().prop_map(Step::Decide),
        2 => edit.prop_map(|edits| Step::Edit(edits.into_iter().collect())),
        4 => scan,
        1 => Just(Step::Again),
        1 => Just(Step::Restart),
    ]
}

/// What readers see until the cloud has judged: a create too, whatever has arrived under its key meanwhile.
fn lay(view: Option<Thing>, act: &Act) -> Option<Thing> {
    match (act, view) {
        (Act::Create(n), _) => Some(Thing { n: *n, note: None }),
        (Act::Sell(count), view) => view.map(|view| Thing { n: view.n - count, ..view }),
        (Act::Note(note), view) => view.map(|view| Thing { note: Some(*note), ..view }),
        (Act::Same, view) => view,
        (Act::Delete, _) => None,
    }
}

/// A write as both sides of the model know it.
#[derive(Debug, Clone)]
struct Wrote {
    ops: Vec<(usize, Act)>,
    /// At which revision, and whether it was rejected.
    decided: Option<(u64, bool)>,
    /// Whether the edge has the outcome.
    told: bool,
    /// It was sent once more, or dropped.
    done_with: bool,
}

/// The cloud: newest versions, and the writes that it has decided.
#[derive(Debug, Default)]
struct Cloud {
    head: u64,
    records: BTreeMap<usize, (u64, Option<Thing>)>,
}

/// What the edge should hold.
#[derive(Debug, Default)]
struct Model {
    cloud: Cloud,
    writes: Vec<Wrote>,
    base: BTreeMap<usize, Thing>,
    /// Up to which revision each record is known.
    known: BTreeMap<usize, u64>,
    reached: u64,
    /// The right to all of it is gone.
    lost: bool,
    /// The back-fill that is open.
    fill: Option<Filling>,
    /// Requests by their Idempotency-Key: what was asked, and which write it became.
    named: BTreeMap<u8, (u8, u64)>,
}

#[derive(Debug)]
struct Filling {
    grant: Grant,
    reached: u64,
    seen: BTreeSet<usize>,
}

impl Model {
    fn view(&self, key: usize) -> Option<Thing> {
        let mut view = self.base.get(&key).cloned();
        for write in self.writes.iter().filter(|write| self.laid(write, key)) {
            for (_, act) in write.ops.iter().filter(|(of, _)| *of == key) {
                view = lay(view, act);
            }
        }
        view
    }

    fn laid(&self, write: &Wrote, key: usize) -> bool {
        match write.decided {
            Some((_, true)) if write.told => false,
            Some((revision, _)) if write.told => revision > self.known.get(&key).copied().unwrap_or(0) && revision > self.reached,
            _ => true,
        }
    }

    fn decide(&mut self, reject: bool) {
        let Some(write) = self.writes.iter_mut().find(|write| write.decided.is_none()) else { return };
        self.cloud.head += 1;
        let head = self.cloud.head;
        let mut after = self.cloud.records.clone();
        let mut reject = reject;
        for (key, act) in &write.ops {
            let before = after.get(key).and_then(|(_, thing)| thing.clone());
            reject |= matches!(act, Act::Create(_)) && before.is_some();
            let now = lay(before.clone(), act);
            // What changes nothing makes no version: such an op goes when the scan has reached its head.
            if now != before {
                after.insert(*key, (head, now));
            }
        }
        write.decided = Some((head, reject));
        if !reject {
            self.cloud.records = after;
        }
    }

    fn edit(&mut self, edits: &[(usize, Option<i64>)]) {
        self.cloud.head += 1;
        for (key, n) in edits {
            self.cloud.records.insert(*key, (self.cloud.head, n.map(|n| Thing { n, note: None })));
        }
    }

    /// One batch above `from`: outcomes of a revision before its records, newest versions only, cut after `size`.
    fn batch(&self, from: &Position, size: usize) -> Batch {
        let mut all: Vec<(Position, Entry)> = Vec::new();
        for (place, write) in self.writes.iter().enumerate() {
            if let Some((revision, rejected)) = write.decided {
                let verdict = if rejected { Verdict::Rejected } else { Verdict::Applied };
                all.push((Position { revision: Revision(revision), inside: None }, answered(place as u64 + 1, revision, verdict)));
            }
        }
        for (place, (revision, thing)) in self.cloud.records.iter().filter(|_| !self.lost) {
            let entry = match thing {
                Some(thing) => is("stock", KEYS[*place], *revision, &text(*place, thing)),
                None => gone("stock", KEYS[*place], *revision),
            };
            all.push((Position { revision: Revision(*revision), inside: Some((name("stock"), key(KEYS[*place]))) }, entry));
        }
        // Here a position says where an entry stands; (revision, none) is before the records of that revision.
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let after = |place: &Position| match (&from.inside, place.revision.0.cmp(&(from.revision.0 + 1))) {
            (_, std::cmp::Ordering::Less) => false,
            (Some(inside), std::cmp::Ordering::Equal) => place.inside.as_ref().is_some_and(|here| here > inside),
            _ => true,
        };
        let rest: Vec<_> = all.into_iter().filter(|(place, _)| after(place)).collect();
        let taken: Vec<_> = rest.iter().take(size).cloned().collect();
        let at_head = taken.len() == rest.len();
        let through = match (at_head, taken.last(), rest.get(taken.len())) {
            (false, Some((last, _)), Some((next, _))) if next.revision == last.revision => match &last.inside {
                Some(inside) => Position { revision: Revision(last.revision.0 - 1), inside: Some(inside.clone()) },
                // Only the outcome of a revision: its records follow, and the outcome comes again with them.
                None => at(last.revision.0 - 1),
            },
            (false, Some((last, _)), _) => at(last.revision.0),
            _ => at(self.cloud.head),
        };
        let through = through.max(from.clone());
        Batch { at_head, entries: taken.into_iter().map(|(_, entry)| entry).collect(), ..Batch::empty(from.clone(), through) }
    }

    /// What the edge knows once it has applied everything up to `through`.
    fn arrive(&mut self, batch: &Batch, staged: &mut Vec<Entry>) {
        let complete = batch.through.revision.0;
        for entry in &batch.entries {
            if let Entry::Outcome { number, .. } = entry {
                self.writes[*number as usize - 1].told = true;
            }
        }
        let mut entries = std::mem::take(staged);
        entries.extend(batch.entries.iter().filter(|entry| matches!(entry, Entry::Record(_))).cloned());
        for entry in entries {
            let Entry::Record(record) = &entry else { continue };
            if record.revision.0 > complete {
                staged.push(entry);
                continue;
            }
            let place = KEYS.iter().position(|key| *key == record.key.as_str()).unwrap();
            let known = self.known.entry(place).or_default();
            if record.revision.0 <= *known {
                continue;
            }
            *known = record.revision.0;
            match &record.content {
                proto::frame::Content::Value(text) => drop(self.base.insert(place, thing(text))),
                _ => drop(self.base.remove(&place)),
            }
        }
        if batch.at_head {
            self.reached = self.reached.max(complete);
        }
    }

    /// The records of the next part of the back-fill, whole revisions; the revision that it comes to, and whether that was all.
    fn part(&self, size: usize) -> (Vec<Record>, u64, bool) {
        let Some(Filling { grant, reached, .. }) = &self.fill else { return (Vec::new(), 0, false) };
        let from = grant.from.0;
        let live = self.cloud.records.iter().filter_map(|(place, (revision, thing))| Some((*revision, *place, thing.as_ref()?)));
        let mut rest: Vec<_> = live.filter(|(revision, ..)| *revision > *reached && *revision <= from).collect();
        rest.sort_by_key(|(revision, place, _)| (*revision, *place));
        let end = rest.get(size - 1).map_or(from, |(revision, ..)| *revision);
        let part = rest.iter().filter(|(revision, ..)| *revision <= end);
        let records = part.map(|(revision, place, thing)| record("stock", KEYS[*place], *revision, Content::Value(text(*place, thing))));
        (records.collect(), end, rest.iter().all(|(revision, ..)| *revision <= end))
    }

    /// A filled record never replaces a newer one; at the end what was not filled and is not newer goes.
    fn fill(&mut self, records: &[Record], reached: u64, done: bool) {
        let Some(mut fill) = self.fill.take() else { return };
        fill.reached = reached;
        for record in records {
            let place = KEYS.iter().position(|key| *key == record.key.as_str()).unwrap();
            fill.seen.insert(place);
            let known = self.known.entry(place).or_default();
            if let (true, Content::Value(text)) = (record.revision.0 > *known, &record.content) {
                *known = record.revision.0;
                self.base.insert(place, thing(text));
            }
        }
        if done {
            let (known, from) = (&self.known, fill.grant.from.0);
            self.base.retain(|place, _| fill.seen.contains(place) || known[place] > from);
        } else {
            self.fill = Some(fill);
        }
    }

    /// What these acts are on the view as it is, and whether they are taken; none: the model does not say.
    fn asked(&self, ops: &[(usize, Act)]) -> Option<(Vec<(usize, Act)>, bool)> {
        let mut scratch: BTreeMap<usize, Option<Thing>> = BTreeMap::new();
        let (mut allowed, mut acts) = (!self.lost, Vec::new());
        for (place, act) in ops {
            let view = scratch.entry(*place).or_insert_with(|| self.view(*place));
            allowed &= match act {
                Act::Create(_) => view.is_none(),
                Act::Note(_) | Act::Same => true,
                Act::Sell(_) | Act::Delete => view.is_some(),
            };
            // A patch of nothing creates a record without a counter, which the model does not have.
            if matches!(act, Act::Note(_)) && view.is_none() && !self.lost {
                return None;
            }
            let same = matches!(act, Act::Note(note) if view.as_ref().is_some_and(|view| view.note == Some(*note)));
            acts.push((*place, if same { Act::Same } else { act.clone() }));
            *view = lay(view.take(), act);
        }
        Some((acts, allowed))
    }
}

fn request((place, act): &(usize, Act)) -> LocalRequest {
    match act {
        Act::Create(n) => create("stock", KEYS[*place], &text(*place, &Thing { n: *n, note: None })),
        Act::Sell(count) => sell(KEYS[*place], *count),
        Act::Note(note) => merge("stock", KEYS[*place], &format!(r#"{{"note":"{note}"}}"#)),
        Act::Delete => delete("stock", KEYS[*place]),
        Act::Same => unreachable!("what an application asks for is a note"),
    }
}

fn plain(requests: Vec<LocalRequest>) -> LocalWrite {
    LocalWrite { requests, actor: None, request_id: None, idempotency: None, resends: None }
}

fn text(place: usize, thing: &Thing) -> String {
    let note = thing.note.map(|note| format!(r#","note":"{note}""#)).unwrap_or_default();
    format!(r#"{{"id":"{}","n":{}{note}}}"#, KEYS[place], thing.n)
}

fn thing(text: &str) -> Thing {
    let value = value(text);
    let note = value.get("note").map(|note| note.as_text().unwrap().parse().unwrap());
    Thing { n: value.get("n").and_then(Raw::as_i64).unwrap(), note }
}

/// The edge, the model, and what is on its way.
struct Pair {
    edge: Edge,
    model: Model,
    cursor: Position,
    staged: Vec<Entry>,
    last: Vec<Batch>,
}

impl Pair {
    fn new() -> Self {
        let mut model = Model::default();
        model.cloud.head = START;
        model.reached = START;
        Self { edge: Edge::new(), model, cursor: at(START), staged: Vec::new(), last: Vec::new() }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Local(ops) => self.local(ops),
            Step::Named { name, asked, ops } => self.named(*name, *asked, ops),
            Step::When { place, act, seen } => self.when(*place, act, *seen),
            Step::Resend(place) => self.resend(*place),
            Step::Discard(place) => self.discard(*place),
            Step::Lose => self.regrant(true),
            Step::Give => self.regrant(false),
            Step::Fill(size) => self.fill(*size),
            Step::Decide(reject) => self.model.decide(*reject),
            Step::Edit(edits) => self.model.edit(edits),
            Step::Scan { size, count, together } => self.scan(*size, *count, *together),
            Step::Again => {
                let last = self.last.clone();
                let applied = self.edge.apply(last);
                assert_eq!((applied.cursor, applied.outcomes.len()), (self.cursor.clone(), 0));
            }
            Step::Restart => self.edge.reopen(),
        }
    }

    fn commit(&mut self, write: LocalWrite) -> Result<Committed, WriteError> {
        self.edge.store().commit(now(5), vec![write]).pop().unwrap()
    }

    /// A write that is taken or not, as the model says; its number.
    fn wrote(&mut self, acts: Vec<(usize, Act)>, allowed: bool, write: LocalWrite) -> Option<u64> {
        let shown = format!("{acts:?}");
        let result = self.commit(write);
        assert_eq!(result.is_ok(), allowed, "{shown}: {result:?}");
        let committed = result.ok()?;
        self.model.writes.push(Wrote { ops: acts, decided: None, told: false, done_with: false });
        let number = self.model.writes.len() as u64;
        assert_eq!((committed.write, committed.repeat), (WriteRef::Own(number), false));
        Some(number)
    }

    fn local(&mut self, ops: &[(usize, Act)]) {
        if let Some((acts, allowed)) = self.model.asked(ops) {
            self.wrote(acts, allowed, plain(ops.iter().map(request).collect()));
        }
    }

    fn named(&mut self, key: u8, asked: u8, ops: &[(usize, Act)]) {
        let idempotency = Some(Idempotency { key: format!("k{key}"), request: [asked; 16] });
        let write = LocalWrite { idempotency, ..plain(ops.iter().map(request).collect()) };
        match self.model.named.get(&key).copied() {
            Some((known, number)) if known == asked => {
                let committed = self.commit(write).unwrap();
                assert_eq!((committed.write, committed.repeat), (WriteRef::Own(number), true));
            }
            Some(_) => assert_eq!(self.commit(write).unwrap_err().code(), "idempotency_reuse"),
            None => {
                let Some((acts, allowed)) = self.model.asked(ops) else { return };
                let number = self.wrote(acts, allowed, write);
                self.model.named.extend(number.map(|number| (key, (asked, number))));
            }
        }
    }

    /// The tag that a reader has now is good, another one is not.
    fn when(&mut self, place: usize, act: &Act, seen: bool) {
        let op = [(place, act.clone())];
        let Some((acts, allowed)) = self.model.asked(&op) else { return };
        let row = if self.model.lost { None } else { self.edge.row("stock", KEYS[place]) };
        let (lyon, database) = (NodeName::parse("lyon").unwrap(), self.edge.store().database());
        let write = row.as_ref().and_then(|row| row.pending.last()).map(|number| WriteId::edge(&lyon, &database, *number));
        let revision = row.as_ref().map_or(Revision::ZERO, |row| row.revision);
        let tag = Etag { revision: if seen { revision } else { Revision(1 << 40) }, write: write.filter(|_| seen) };
        let request = when(request(&op[0]), Precondition::Match(vec![tag]));
        self.wrote(acts, allowed && seen && row.is_some(), plain(vec![request]));
    }

    fn resend(&mut self, place: usize) {
        let Some(write) = self.model.writes.get(place).cloned() else { return };
        let again = LocalWrite { resends: Some(place as u64 + 1), ..plain(Vec::new()) };
        let rejected = matches!(write.decided, Some((_, true)));
        if !write.told || !rejected || write.done_with {
            assert!(self.commit(again).is_err(), "write {} is sent once more", place + 1);
            return;
        }
        // What made no claim then is not asked for again.
        let asked: Vec<_> = write.ops.into_iter().filter(|(_, act)| !matches!(act, Act::Same)).collect();
        let Some((acts, allowed)) = self.model.asked(&asked) else { return };
        if asked.is_empty() {
            return;
        }
        if self.wrote(acts, allowed, again).is_some() {
            self.model.writes[place].done_with = true;
        }
    }

    fn discard(&mut self, place: usize) {
        let Some(write) = self.model.writes.get(place).cloned() else { return };
        let number = place as u64 + 1;
        let kept = self.edge.reader().write(number).unwrap().is_some();
        let over = write.told && write.decided.is_some_and(|(revision, _)| revision <= self.model.reached);
        let result = self.edge.store().discard(number).unwrap();
        assert_eq!(result.is_ok(), kept && over, "{result:?}");
        if result.is_ok() {
            assert_eq!(self.edge.reader().write(number).unwrap(), None);
            self.model.writes[place].done_with = true;
        }
    }

    /// The right is taken, or given: a transaction of its own, which everything before has reached the edge of.
    fn regrant(&mut self, lost: bool) {
        self.scan(1_000, 2, true);
        self.model.cloud.head += 1;
        let head = self.model.cloud.head;
        let mut all = Grants { revision: Revision(head), ..grants(START) };
        let is_stock = |grant: &Grant| grant.share.collection.as_str() == "stock" || grant.share.partition.as_deref() == Some("stock");
        all.grants.retain(|grant| !is_stock(grant));
        if lost {
            all.definitions.retain(|definition| definition.name.as_str() != "stock");
            self.model.fill = None;
            self.model.base.clear();
            self.model.known.clear();
        } else {
            all.grants.push(grant("_conflicts", Some("stock"), head, head));
            all.grants.push(grant("stock", None, head, head));
            self.model.fill = Some(Filling { grant: grant("stock", None, head, head), reached: 0, seen: BTreeSet::new() });
        }
        self.model.lost = lost;
        let batch = Batch { at_head: true, grants: Some(all), ..Batch::empty(self.cursor.clone(), at(head)) };
        self.model.arrive(&batch, &mut self.staged);
        self.cursor = at(head);
        self.last = vec![batch.clone()];
        self.edge.apply(vec![batch]);
        if !lost {
            let rows = filled(grant("_conflicts", Some("stock"), head, head), head, true, Vec::new());
            self.edge.apply(vec![Batch { at_head: true, fill: Some(rows), ..Batch::empty(at(head), at(head)) }]);
        }
    }

    fn fill(&mut self, size: usize) {
        self.scan(1_000, 2, true);
        let (records, reached, done) = self.model.part(size);
        let Some(grant) = self.model.fill.as_ref().map(|fill| fill.grant.clone()) else { return };
        self.model.fill(&records, reached, done);
        let fill = Some(filled(grant, reached, done, records));
        self.last = vec![Batch { at_head: true, fill, ..Batch::empty(self.cursor.clone(), self.cursor.clone()) }];
        self.edge.apply(self.last.clone());
    }

    fn scan(&mut self, size: usize, count: usize, together: bool) {
        let mut batches: Vec<Batch> = Vec::new();
        let mut from = self.cursor.clone();
        for place in 0..count {
            let mut batch = self.model.batch(&from, size);
            if batch.through == from && !batch.at_head {
                // A batch makes progress, however small it was meant to be.
                batch = self.model.batch(&from, size + KEYS.len() + 1);
            }
            from = batch.through.clone();
            let end = batch.at_head;
            batches.push(batch);
            if end && place > 0 {
                break;
            }
        }
        for batch in &batches {
            self.model.arrive(batch, &mut self.staged);
        }
        self.cursor = from;
        self.last = batches.clone();
        if together {
            assert_eq!(self.edge.apply(batches).cursor, self.cursor);
        } else {
            batches.into_iter().for_each(|batch| drop(self.edge.apply(vec![batch])));
        }
    }

    fn compare(&mut self) {
        self.compare_outbox();
        let mut reader = self.edge.reader();
        let mut seen = 0;
        for (place, id) in KEYS.iter().enumerate() {
            // Where the right is gone, what this node itself has written and not heard of is all that there is.
            let base = reader.get_base(&name("stock"), &key(id)).unwrap_or_default().map(|row| thing(&row.value));
            assert_eq!(base, self.model.base.get(&place).cloned(), "base of {id}");
            let row = reader.get(&name("stock"), &key(id)).unwrap_or_default();
            assert_eq!(row.as_ref().map(|row| thing(&row.value)), self.model.view(place), "view of {id}");
            let laid: Vec<u64> = (1..)
                .zip(&self.model.writes)
                .filter(|(_, write)| touches(write, place) && self.model.laid(write, place))
                .map(|(number, _)| number)
                .collect();
            if let Some(row) = row {
                assert_eq!(row.pending, laid, "laid over {id}");
                seen += 1;
            }
        }
        assert_eq!(reader.count(&name("stock")).unwrap_or(seen), seen);
        let status = reader.status().unwrap();
        let stock = status.collections.iter().find(|collection| collection.name.as_str() == "stock").map_or(0, |stock| stock.records);
        assert_eq!(stock, self.model.base.len() as u64);
        self.edge.assert_digests();
    }

    fn compare_outbox(&mut self) {
        let mut reader = self.edge.reader();
        let status = reader.status().unwrap();
        let waiting = self.model.writes.iter().filter(|write| !write.told).count() as u64;
        assert_eq!((status.outbox_writes, status.newest_write), (waiting, self.model.writes.len() as u64));
        let outbox = reader.outbox_after(0, usize::MAX).unwrap().writes;
        assert_eq!(outbox.len() as u64, waiting);
        for (number, write) in (1..).zip(&self.model.writes).filter(|(_, write)| !write.done_with) {
            let row = reader.write(number).unwrap().unwrap_or_else(|| panic!("write {number} is not kept"));
            let verdict = write.decided.filter(|_| write.told).map(|(_, rejected)| rejected);
            assert_eq!(row.outcome.map(|outcome| outcome.verdict == Verdict::Rejected), verdict, "write {number}");
        }
    }

    /// Everything is decided and delivered: the edge is what the cloud is.
    fn converge(&mut self) {
        while self.model.writes.iter().any(|write| write.decided.is_none()) {
            self.model.decide(false);
        }
        if self.model.lost {
            self.regrant(false);
        }
        self.fill(1_000);
        self.scan(1_000, 2, true);
        self.compare();
        for (place, id) in KEYS.iter().enumerate() {
            let cloud = self.model.cloud.records.get(&place).and_then(|(_, thing)| thing.clone());
            let view = self.edge.view("stock", id).map(|text| thing(&text));
            assert_eq!(view, cloud, "{id} after everything");
        }
        let checked = self.edge.store().check(now(0)).unwrap().unwrap();
        assert_eq!((checked.records, checked.damaged), (self.model.base.len() as u64, 0));
        self.compare();
        let facts = self.edge.store().facts().unwrap();
        assert_eq!((facts.outbox_first, facts.gaps), (0, Vec::new()));
    }
}

fn touches(write: &Wrote, place: usize) -> bool {
    write.ops.iter().any(|(of, _)| *of == place)
}

#[test]
fn the_view_is_the_models() {
    let cases = std::env::var("TOMBOLO_CASES").map_or(CASES, |text| text.parse().unwrap());
    let rng_seed = RngSeed::Fixed(20_261_120);
    let config = ProptestConfig { cases, max_shrink_iters: 2_000, failure_persistence: None, rng_seed, ..ProptestConfig::default() };
    proptest!(config, |(steps in prop::collection::vec(step(), 1..40))| {
        let mut pair = Pair::new();
        for step in &steps {
            pair.step(step);
            pair.compare();
        }
        pair.converge();
    });
}
