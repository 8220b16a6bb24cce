//! Any history, and after each of its steps the store is compared with [`Reference`]: records, revisions, what each node is told, outcomes,
//! conflict rows, numbers of writes. Requests that are made again, conflicts that people resolve, days and months that pass, restart,
//! backup and restore are steps.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use proto::build::Action;
use proto::clock::Hlc;
use proto::frame::{Content, Entry, NumberedWrite};
use proto::ids::{Position, Revision, WriteId};
use proto::json::{Raw, Value};
use proto::list::ListQuery;
use proto::op::{Body, Change, Idempotency, Op, Outcome, To, Was};
use proto::resolve::{Choice, Resolve};
use proto::session::cloud::Scan;

use super::bench::{Bench, Fixture, name, value};
use super::edge::{Edge, op};
use super::reference::{DEFINITIONS, Line, OFFICE, Reference, id};
use crate::reconcile::RowState;
use crate::reconcile::tests::hub::Id;
use crate::store::{
    Answer, CloudOp, CloudWrite, Condition, ConflictsRequest, Job, OpResult, Refused, ScanRequest, Seen, Store, StoreError, StoreRead,
    Written,
};

/// How many histories, unless `TOMBOLO_CASES` says otherwise.
const CASES: u32 = 128;
const NODES: [&str; 2] = ["lyon", "oslo"];
/// What a node's label may say.
const SITES: [&str; 4] = ["lyon", "oslo", "lyon,oslo", "paris"];
/// What so many histories must have met, or they prove less than they seem to.
const MET: [&str; 20] = [
    "applied",
    "merged",
    "flagged",
    "rejected",
    "malformed",
    "not_entitled",
    "gone",
    "refused",
    "copied_database",
    "out_of_order",
    "below a floor",
    "left",
    "deleted",
    "restored",
    "asked again",
    "asked for else",
    "resolved",
    "not resolved",
    "settled row gone",
    "made and gone",
];
const DAY_MS: u64 = 86_400_000;
/// Around what is kept for ten days, for thirty, and for ninety.
const DAYS: [u64; 6] = [1, 9, 11, 29, 61, 91];

/// What is done to one record.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Put(u8, i64),
    Note(u8),
    Move(u8),
    Add(i64),
    Count(i64),
    Delete,
}

/// A record, and what is done to it.
type Deed = (u8, u8, Act);

/// One step of a history.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A write of the cloud's API.
    Cloud(Vec<Deed>),
    /// One that creates what may be there.
    Create(u8, u8, i64),
    /// An application at an edge commits, its clock so many seconds off; its ops may stand on an earlier write, or depend on it.
    Local {
        at: usize,
        deeds: Vec<Deed>,
        off_s: u64,
        on: Option<u64>,
        depends: bool,
    },
    /// An edge commits what nobody can read, or what it knows to be rejected.
    Odd {
        at: usize,
        rejected: bool,
    },
    /// What was not taken goes up, after so many that were.
    Upload {
        at: usize,
        again: usize,
    },
    /// A number goes up that is not the next one, or another write under a known one.
    Wrong {
        at: usize,
        known: bool,
    },
    /// An edge reads and applies one batch of so many records.
    Read(usize, usize),
    Reconnect(usize),
    /// The hub learns how far an edge has come.
    Acked(usize),
    Label(usize, u8),
    Restart {
        clean: bool,
    },
    /// A request under an `Idempotency-Key`: one that is known is made again as it was, or is another one under its key.
    Named {
        caller: u8,
        key: u8,
        asked: u8,
        deeds: Vec<Deed>,
    },
    /// What is kept of a write of the API is dropped.
    Discard(usize),
    /// Somebody resolves a conflict at the cloud: what stands, what the edge said, or something else.
    Resolve(usize, u8),
    /// So many days pass, and everything is forgotten that may be.
    Days(u64),
    Backup,
    /// The newest backup is put back, and the edges' too.
    Restore,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0u8..4, 0i64..9).prop_map(|(site, n)| Act::Put(site, n)),
        3 => (0u8..9).prop_map(Act::Note),
        2 => (0u8..4).prop_map(Act::Move),
        3 => (-9i64..9).prop_map(Act::Add),
        1 => (0i64..9).prop_map(Act::Count),
        2 => Just(Act::Delete),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    (select(vec![0u8, 1, 2, 2, 2]), 0u8..4, act())
}

fn step() -> impl Strategy<Value = Step> {
    let deeds = || prop::collection::vec(deed(), 1..4);
    let local = (0..2usize, deeds(), 0u64..90, prop::option::weighted(0.3, 1u64..5), prop::bool::weighted(0.2));
    let asked = prop::bool::weighted(0.2).prop_map(u8::from);
    prop_oneof![
        6 => deeds().prop_map(Step::Cloud),
        1 => (0u8..3, 0u8..4, 0i64..9).prop_map(|(collection, record, n)| Step::Create(collection, record, n)),
        6 => local.prop_map(|(at, deeds, off_s, on, depends)| Step::Local { at, deeds, off_s, on, depends }),
        1 => (0..2usize, any::<bool>()).prop_map(|(at, rejected)| Step::Odd { at, rejected }),
        5 => (0..2usize, 0usize..4).prop_map(|(at, again)| Step::Upload { at, again }),
        1 => (0..2usize, any::<bool>()).prop_map(|(at, known)| Step::Wrong { at, known }),
        4 => (0..2usize, 1usize..9).prop_map(|(at, records)| Step::Read(at, records)),
        2 => (0..2usize).prop_map(Step::Reconnect),
        1 => (0..2usize).prop_map(Step::Acked),
        2 => (0..2usize, 0u8..4).prop_map(|(at, site)| Step::Label(at, site)),
        2 => any::<bool>().prop_map(|clean| Step::Restart { clean }),
        6 => (0u8..2, 0u8..2, asked, deeds()).prop_map(|(caller, key, asked, deeds)| Step::Named { caller, key, asked, deeds }),
        1 => (0usize..9).prop_map(Step::Discard),
        3 => (0usize..9, 0u8..3).prop_map(|(row, choice)| Step::Resolve(row, choice)),
        3 => select(DAYS.to_vec()).prop_map(Step::Days),
        1 => Just(Step::Backup),
        1 => Just(Step::Restore),
    ]
}

/// Site 3 is no site at all: such a record goes to no node.
fn site(site: u8) -> Option<&'static str> {
    ["lyon", "oslo", "paris"].get(usize::from(site)).copied()
}

fn whole(at: u8, n: i64) -> Value {
    let place = site(at).map(|site| format!(r#""W":"{site}","#)).unwrap_or_default();
    value(&format!(r#"{{{place}"n":{n},"note":"0"}}"#))
}

/// The store, the reference, and what stands beside each.
struct Pair<F: Fixture> {
    bench: Bench<F>,
    reference: Reference,
    edges: Vec<Edge>,
    backup: Option<(F::Image, Reference, Vec<Edge>)>,
    met: BTreeSet<String>,
}

impl<F: Fixture> Pair<F> {
    fn new() -> Self {
        let (mut bench, mut reference) = (Bench::<F>::new(), Reference::default());
        for (name, json) in DEFINITIONS {
            bench.define(name, json);
            reference.hub.define(name, json);
        }
        let mut edges = Vec::new();
        for (name, place) in NODES.into_iter().zip(1..) {
            bench.join(name, &[("site", name)]);
            reference.label(name, name);
            edges.push(Edge::new(name, place));
        }
        edges.iter_mut().for_each(|edge| edge.connect(&mut bench));
        Self { bench, reference, edges, backup: None, met: BTreeSet::new() }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Cloud(deeds) => self.cloud(deeds.iter().map(|deed| self.cloud_op(deed)).collect()),
            Step::Create(collection, record, n) => {
                let (collection, key) = id(*collection, *record);
                let action = Action::Put { value: whole(0, *n), create: false };
                self.cloud(vec![CloudOp { collection, key, key_from_value: false, action, condition: Condition::Absent }]);
            }
            Step::Local { at, deeds, off_s, on, depends } => self.local(*at, deeds, *off_s, *on, *depends),
            Step::Odd { at, rejected } => {
                let bytes = if *rejected { Vec::new() } else { vec![0xff; 40] };
                let number = self.edges[*at].next_number();
                let write = NumberedWrite { number, bytes, rejected: *rejected, hash: None, fork: None, part: None };
                self.edges[*at].outbox.push(write);
            }
            Step::Upload { at, again } => {
                let edge = &self.edges[*at];
                let from = (edge.taken as usize).saturating_sub(*again);
                self.send(*at, edge.outbox[from..].to_vec());
            }
            Step::Wrong { at, known } => self.wrong(*at, *known),
            Step::Read(at, records) => {
                let Self { bench, reference, edges, .. } = self;
                edges[*at].bounds = (*records, 4_096);
                if reference.is_below_floor(NODES[*at], edges[*at].position().revision) {
                    reference.admit(NODES[*at], edges[*at].position().revision);
                }
                edges[*at].step(bench);
            }
            Step::Reconnect(at) => self.reconnect(*at),
            Step::Acked(at) => {
                let (peer, cursor) = (self.edges[*at].peer(), Some(self.edges[*at].position()));
                let seen = Seen { peer, at_ms: self.bench.now_ms, cursor, report: None, verified_ms: None };
                self.bench.done(Job::Seen(vec![seen]));
            }
            Step::Label(at, site) => {
                self.bench.label(NODES[*at], &[("site", Some(SITES[usize::from(*site)]))]);
                self.reference.label(NODES[*at], SITES[usize::from(*site)]);
            }
            Step::Restart { clean } => {
                if *clean {
                    self.bench.restart()
                } else {
                    self.bench.crash()
                }
                self.all_come_again();
            }
            Step::Named { caller, key, asked, deeds } => self.named((*caller, *key), *asked, deeds),
            Step::Discard(place) => self.discard(*place),
            Step::Resolve(place, choice) => self.resolve(*place, *choice),
            Step::Days(days) => self.days(*days),
            Step::Backup => {
                let image = self.bench.save();
                self.backup = Some((image, self.reference.clone(), self.edges.clone()));
                self.all_come_again();
            }
            Step::Restore => {
                if let Some((image, reference, edges)) = self.backup.clone() {
                    self.bench.put_back(&image);
                    (self.reference, self.edges) = (reference, edges);
                    self.all_come_again();
                    self.met("restored");
                }
            }
        }
    }

    fn reconnect(&mut self, at: usize) {
        self.reference.admit(NODES[at], self.edges[at].position().revision);
        self.edges[at].connect(&mut self.bench);
    }

    /// No session outlives the process of the hub.
    fn all_come_again(&mut self) {
        (0..NODES.len()).for_each(|at| self.reconnect(at));
    }

    fn met(&mut self, word: &str) {
        self.met.insert(word.to_owned());
    }

    fn days(&mut self, days: u64) {
        let rows = self.reference.hub.rows.len();
        self.bench.now_ms += days * DAY_MS;
        let now_ms = self.bench.now_ms;
        while self.bench.store().tidy(now_ms).unwrap().1 {}
        self.reference.tidy(now_ms);
        if self.reference.hub.rows.len() < rows {
            self.met("settled row gone");
        }
    }

    fn ask(&mut self, caller: u8, ops: Vec<CloudOp>, idempotency: Option<Idempotency>) -> Result<Written, Refused> {
        let (actor, caller) = (Some(OFFICE.to_owned()), format!("caller-{caller}"));
        match self.bench.job(Job::Write(Box::new(CloudWrite { ops, admin: false, actor, request_id: None, caller, idempotency })))? {
            Answer::Written(written) => Ok(*written),
            other => panic!("{other:?}"),
        }
    }

    /// A key that is not known is that of a write like any other; one that is known has no effect any more, whatever comes under it.
    fn named(&mut self, name: (u8, u8), asked: u8, deeds: &[Deed]) {
        let known = self.reference.named.get(&name).cloned();
        let ops = match &known {
            Some(known) if known.asked == asked => known.ops.clone(),
            _ => deeds.iter().map(|deed| self.cloud_op(deed)).collect(),
        };
        let idempotency = Some(Idempotency { key: format!("k{}", name.1), request: [asked; 16] });
        let Some(known) = known else {
            let accepted = self.reference.cloud_named(name, asked, &ops, self.bench.now_ms + 1);
            let answer = self.ask(name.0, ops, idempotency);
            assert_eq!(answer.is_ok(), accepted, "{answer:?}");
            return;
        };
        let answer = self.ask(name.0, ops, idempotency);
        if known.asked != asked {
            assert_eq!(answer.unwrap_err().code(), "idempotency_reuse");
            return self.met("asked for else");
        }
        let written = answer.unwrap();
        assert_eq!((written.write.id, written.write.revision), (WriteId::Cloud(known.revision), known.revision));
        let told: BTreeMap<_, _> = written.results.into_iter().map(told).collect();
        let expected = known.did.iter().map(|(id, before, after)| {
            let now = self.reference.lines.get(id).filter(|line| *after && line.value.is_some()).map(|line| line.revision);
            let word = match (before, after, now) {
                (_, false, _) | (true, _, None) => "deleted",
                (false, true, None) => "gone",
                (false, true, Some(_)) => "created",
                (true, true, Some(_)) => "changed",
            };
            (id.clone(), (word, now))
        });
        let expected: BTreeMap<_, _> = expected.collect();
        assert_eq!(told, expected, "the answer of {:?}", known.revision);
        self.met("asked again");
        if expected.values().any(|(word, _)| *word == "gone") {
            self.met("made and gone");
        }
    }

    fn discard(&mut self, place: usize) {
        let Some(revision) = self.reference.cloud_writes.keys().nth(place).copied() else { return };
        self.bench.done(Job::Discard { revision });
        assert_eq!(self.bench.job(Job::Discard { revision }).unwrap_err().code(), "not_found");
        assert_eq!(self.bench.reader().write(&WriteId::Cloud(revision)).unwrap(), None);
        self.reference.cloud_writes.remove(&revision);
    }

    fn resolve(&mut self, place: usize, choice: u8) {
        let open = self.reference.hub.rows.values().filter(|row| row.state == RowState::Open).map(|row| row.id.clone());
        let rest = self.reference.hub.rows.keys().cloned();
        let Some(id) = open.chain(rest).nth(place) else { return };
        let choice = [Choice::Cloud, Choice::Edge, Choice::Value(value(r#"{"note":"settled"}"#))][usize::from(choice)].clone();
        let accepted = self.reference.resolve(&id, &choice, self.bench.now_ms + 1);
        let action = Action::Resolve(Resolve { choice, by: None });
        let answer = self.bench.write(vec![super::bench::op("_conflicts", &id, action)]);
        assert_eq!(answer.is_ok(), accepted, "{answer:?}");
        self.met(if accepted { "resolved" } else { "not resolved" });
    }

    fn cloud_op(&self, (collection, record, act): &Deed) -> CloudOp {
        let place = id(*collection, *record);
        let held = self.reference.lines.get(&place).filter(|line| line.value.is_some());
        let set = |json: &str| Action::Merge(value(json));
        let action = match act {
            Act::Put(site, n) => Action::Put { value: whole(*site, *n), create: false },
            Act::Note(note) => set(&format!(r#"{{"note":"{note}"}}"#)),
            Act::Move(at) => set(&format!(r#"{{"W":"{}"}}"#, site(*at).unwrap_or("nowhere"))),
            Act::Add(by) => Action::Increment(vec![("n".to_owned(), *by)]),
            Act::Count(n) => set(&format!(r#"{{"n":{n}}}"#)),
            Act::Delete => Action::Delete { force: true },
        };
        let condition = held.map_or(Condition::None, |line| Condition::Revisions(vec![line.revision]));
        CloudOp { collection: place.0, key: place.1, key_from_value: false, action, condition }
    }

    fn cloud(&mut self, ops: Vec<CloudOp>) {
        let accepted = self.reference.cloud(&ops, self.bench.now_ms + 1);
        let answer = self.bench.write(ops);
        assert_eq!(answer.is_ok(), accepted, "{answer:?}");
        if !accepted {
            self.met("refused");
        }
    }

    fn local(&mut self, at: usize, deeds: &[Deed], off_s: u64, on: Option<u64>, depends: bool) {
        let edge = &mut self.edges[at];
        let stands = |op: Op| Op { stands_on: on.into_iter().collect(), depends: on.filter(|_| depends), ..op };
        let ops = deeds.iter().map(|deed| stands(edge_op(edge, deed))).collect();
        edge.commit_at(Hlc::from_ms(self.bench.now_ms + off_s * 1_000), ops);
    }

    fn wrong(&mut self, at: usize, known: bool) {
        let edge = &self.edges[at];
        let body = Body::Delete { force: true };
        let other = edge.numbered(if known { 1 } else { edge.taken + 2 }, Hlc(7), vec![op("notes", "other", 1, body)]);
        if !known || edge.taken > 0 {
            self.send(at, vec![other]);
        }
    }

    fn send(&mut self, at: usize, writes: Vec<NumberedWrite>) {
        let edge = &mut self.edges[at];
        let database = edge.peer().database;
        let stop = self.reference.take(NODES[at], database, &writes, self.bench.now_ms + 1);
        let taken = edge.send(&mut self.bench, writes).unwrap();
        assert_eq!(taken.stop.as_ref().map(|reason| reason.code.as_str()), stop);
        assert_eq!(taken.taken, self.reference.taken(database));
        stop.iter().for_each(|code| self.met(code));
    }

    fn compare(&mut self) {
        assert_eq!(Revision(self.bench.head()), self.reference.hub.head, "the head");
        self.compare_records();
        self.compare_rows();
        self.compare_writes();
        for at in 0..NODES.len() {
            let cursor = self.edges[at].position().revision;
            for from in [Revision::ZERO, Revision(cursor.0 / 2), cursor] {
                self.compare_stream(at, from);
            }
        }
    }

    fn compare_records(&mut self) {
        for (collection, _) in DEFINITIONS {
            let page = self.bench.reader().list(&ListQuery::all(name(collection), 1_000)).unwrap().unwrap();
            let found: BTreeMap<_, _> = page.records.into_iter().map(|row| ((row.collection.clone(), row.key.clone()), row)).collect();
            let own = self.reference.lines.iter().filter(|((own, _), line)| own.as_str() == collection && line.value.is_some());
            let expected: Vec<_> = own.clone().map(|(id, _)| id).collect();
            assert_eq!(found.keys().collect::<Vec<_>>(), expected, "what is there");
            for (id, line) in own {
                let row = found[id].clone();
                let (place, value) = (line.place.clone(), Some(row.value));
                let (revision, born, updated_ms, writer, actor) = (row.revision, row.born, row.updated_ms, row.writer, row.actor);
                assert_eq!(Line { revision, born, place, updated_ms, writer, actor, value }, *line, "{id:?}");
            }
        }
    }

    fn compare_rows(&mut self) {
        let request = ConflictsRequest { limit: 10_000, ..ConflictsRequest::default() };
        let rows = self.bench.reader().conflicts(&request).unwrap().0;
        let found: BTreeMap<_, _> = rows.into_iter().map(|row| (row.id, (row.state, row.json))).collect();
        let own = self.reference.hub.rows.values();
        let expected: BTreeMap<_, _> = own.map(|row| (row.id.clone(), (row.state.as_str().to_owned(), row.value.to_text()))).collect();
        assert_eq!(found, expected, "conflict rows");
    }

    fn compare_writes(&mut self) {
        for ((database, number), (_, outcome)) in &self.reference.writes {
            let edge = self.edges.iter().find(|edge| edge.peer().database == *database).unwrap();
            let id = WriteId::edge(&super::bench::node(&edge.node), &edge.database, *number);
            let row = self.bench.reader().write(&id).unwrap().unwrap_or_else(|| panic!("{id} is not known"));
            let (verdict, revision, code, conflicts) = (row.verdict, row.revision, row.code, row.conflicts);
            assert_eq!(Outcome { verdict, revision, code, detail: None, conflicts }, plain(outcome), "{id}");
        }
        for (revision, outcome) in &self.reference.cloud_writes {
            let row = self.bench.reader().write(&WriteId::Cloud(*revision)).unwrap().unwrap();
            assert_eq!((row.verdict, row.revision), (outcome.verdict, *revision));
        }
    }

    /// All that a node is told from here on, in batches of any size.
    fn compare_stream(&mut self, at: usize, from: Revision) {
        let (edge, who) = (&self.edges[at], NODES[at]);
        let (mut place, mut told) = (Position::at(from), Vec::new());
        loop {
            let scan = Scan::plain(place.clone(), Vec::new(), edge.told(), 1 + from.0 as usize % 5, 4_096);
            let batch = match self.bench.reader().scan(&ScanRequest { peer: edge.peer(), scan: &scan }) {
                Err(StoreError::BelowFloor { .. }) => {
                    assert!(self.reference.is_below_floor(who, from), "{who} is not below any floor at {from}");
                    self.met("below a floor");
                    return;
                }
                batch => batch.unwrap(),
            };
            assert!(!self.reference.is_below_floor(who, from), "{who} is below a floor at {from}");
            assert!(batch.from == place && (batch.through > place || batch.at_head));
            told.extend(batch.entries.into_iter().map(|entry| match entry {
                Entry::Outcome { database, number, outcome } => Entry::Outcome { database, number, outcome: plain(&outcome) },
                record => record,
            }));
            place = batch.through;
            if batch.at_head {
                break;
            }
        }
        let own = self.reference.stream(who, edge.peer().database, from).into_iter();
        let expected: Vec<_> = own
            .map(|entry| match entry {
                Entry::Outcome { database, number, outcome } => Entry::Outcome { database, number, outcome: plain(&outcome) },
                record => record,
            })
            .collect();
        assert_eq!(told, expected, "what {who} is told from {from} on");
    }

    /// Everything is handed over and read: each edge holds what the reference gives it, whatever it filled or streamed.
    fn converge(&mut self) {
        for at in 0..NODES.len() {
            let edge = &self.edges[at];
            self.send(at, edge.outbox[edge.taken as usize..].to_vec());
        }
        for (at, who) in NODES.into_iter().enumerate() {
            self.reference.admit(who, self.edges[at].position().revision);
            self.edges[at].sync(&mut self.bench);
            self.edges[at].same_as_cloud(&mut self.bench);
            let entries = self.reference.stream(who, 0, Revision::ZERO);
            let live = entries.iter().filter(|entry| matches!(entry, Entry::Record(record) if matches!(record.content, Content::Value(_))));
            let held: usize = DEFINITIONS.iter().map(|(name, _)| self.edges[at].holds(name)).sum();
            assert_eq!(held + self.edges[at].holds("_conflicts"), live.count(), "what {who} holds");
        }
        self.compare();
        self.note();
    }

    /// What this history met.
    fn note(&mut self) {
        for (_, outcome) in self.reference.writes.values() {
            self.met.extend([Some(outcome.verdict.as_str().to_owned()), outcome.code.clone()].into_iter().flatten());
        }
        let deleted = self.reference.lines.values().any(|line| line.value.is_none()).then_some("deleted");
        let left = (!self.reference.hub.exits.is_empty()).then_some("left");
        deleted.into_iter().chain(left).for_each(|word| self.met(word));
    }
}

/// An op as an edge with this base would make it.
fn edge_op(edge: &Edge, (collection, record, act): &Deed) -> Op {
    let (collection, key) = id(*collection, *record);
    let (collection, key) = (collection.as_str(), key.as_str());
    let here = edge.position().revision.0;
    let held = edge.value(collection, key).is_some();
    let set = |field: &str, to: To| Body::Merge(vec![Change { field: field.to_owned(), to, was: Was::Absent }]);
    let (seen, body) = match act {
        Act::Put(site, n) if !held => (0, Body::Put(whole(*site, *n))),
        Act::Put(at, _) | Act::Move(at) => (here, set("W", To::Set(Raw::string(site(*at).unwrap_or("nowhere"))))),
        Act::Note(note) => (if held { here } else { 0 }, set("note", To::Set(Raw::string(&note.to_string())))),
        Act::Add(by) => (here, Body::Increment(vec![("n".to_owned(), *by)])),
        Act::Count(n) => (here, set("n", To::Count { observed: *n, delta: n - 3 })),
        Act::Delete => (here, Body::Delete { force: true }),
    };
    op(collection, key, seen, body)
}

/// What an answer says of a record.
fn told(result: OpResult) -> (Id, (&'static str, Option<Revision>)) {
    match result {
        OpResult::Created(row) => ((row.collection, row.key), ("created", Some(row.revision))),
        OpResult::Changed(row) => ((row.collection, row.key), ("changed", Some(row.revision))),
        OpResult::Deleted { collection, key } => ((collection, key), ("deleted", None)),
        OpResult::Gone { collection, key } => ((collection, key), ("gone", None)),
    }
}

/// Without what is said to people.
fn plain(outcome: &Outcome) -> Outcome {
    Outcome { detail: None, ..outcome.clone() }
}

pub(super) fn any_history_is_the_references<F: Fixture>() {
    let cases = std::env::var("TOMBOLO_CASES").map_or(CASES, |text| text.parse().unwrap());
    let rng_seed = RngSeed::Fixed(20_261_127);
    let config = ProptestConfig { cases, max_shrink_iters: 2_000, failure_persistence: None, rng_seed, ..ProptestConfig::default() };
    let met = RefCell::new(BTreeMap::<String, u64>::new());
    proptest!(config, |(steps in prop::collection::vec(step(), 1..50))| {
        let mut pair = Pair::<F>::new();
        for step in &steps {
            pair.step(step);
            pair.compare();
        }
        pair.converge();
        pair.met.into_iter().for_each(|word| *met.borrow_mut().entry(word).or_default() += 1);
    });
    let met = met.into_inner();
    println!("{met:?}");
    let missed: Vec<_> = MET.iter().filter(|word| !met.contains_key(**word)).collect();
    assert!(cases < CASES || missed.is_empty(), "no history met {missed:?}");
}
