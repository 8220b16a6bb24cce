//! Following the database: whoever lists once and then takes every change has what a reader has, whatever happens.

use std::collections::BTreeMap;

use metamanager::{Followed, ListQuery, ReadError, Reader, Since, ViewRow, What, limits};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use proto::digest::RangeSet;
use proto::frame::{Batch, Content, Entry, Grants, Record, Repair};
use proto::ids::{Epoch, EpochStart, Position, Revision};
use proto::op::Verdict;

use crate::kit::{
    Edge, answered, at, batch, create, delete, filled, gone, grant, grants, is, key, merge, name, put, record, sell, welcome,
};

const COLLECTIONS: [&str; 5] = ["_conflicts", "cut", "fixed", "sales", "stock"];

type Records = BTreeMap<(String, String), ViewRow>;

/// Everything that a reader sees, page by page, and where a follower goes on from: the place of the first page.
fn listed(reader: &mut Reader) -> (Records, Since) {
    let (mut all, mut since) = (Records::new(), None);
    for collection in COLLECTIONS {
        let mut after = None;
        loop {
            let query = ListQuery { after, ..ListQuery::all(name(collection), 2) };
            let page = match reader.list(&query) {
                Err(ReadError::UnknownCollection(_)) => break,
                page => page.unwrap(),
            };
            since.get_or_insert(page.since);
            all.extend(page.records.into_iter().map(|row| ((collection.to_owned(), row.key.to_string()), row)));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    (all, since.unwrap())
}

/// An application with a map of its own.
struct Follower {
    since: Since,
    records: Records,
    outcomes: BTreeMap<u64, String>,
    conflicts: BTreeMap<String, String>,
    /// How often it had to list again.
    lists: u32,
}

impl Follower {
    fn new(edge: &mut Edge) -> Self {
        let (records, since) = listed(&mut edge.reader());
        Self { since, records, outcomes: BTreeMap::new(), conflicts: BTreeMap::new(), lists: 1 }
    }

    /// Takes at most `most` changes of one step, and goes on from the last. Tells whether there is more.
    fn step(&mut self, reader: &mut Reader, most: usize) -> bool {
        let step = match reader.follow(self.since, &|_| true).unwrap() {
            Followed::Step(step) => step,
            Followed::Lost { .. } => {
                (self.records, self.since) = listed(reader);
                self.lists += 1;
                return false;
            }
        };
        let all = step.changes.len() <= most;
        for change in step.changes.into_iter().take(most) {
            self.since = change.after;
            match change.what {
                What::Record(collection, key, Some(row)) => drop(self.records.insert((collection.to_string(), key.to_string()), row)),
                What::Record(collection, key, None) => drop(self.records.remove(&(collection.to_string(), key.to_string()))),
                What::Outcome(row) => drop(self.outcomes.insert(row.number, row.state.to_string())),
                What::Conflict(row) => drop(self.conflicts.insert(row.id, row.row)),
            }
        }
        if all {
            self.since = step.next;
        }
        step.more || !all
    }

    fn catch_up(&mut self, edge: &mut Edge) {
        let mut reader = edge.reader();
        while self.step(&mut reader, usize::MAX) {}
        assert_eq!(self.records, listed(&mut reader).0);
        assert_eq!(reader.log_end().unwrap(), self.since);
    }
}

#[test]
fn what_applications_and_the_cloud_do_is_told() {
    let mut edge = Edge::new();
    let mut follower = Follower::new(&mut edge);
    edge.write(vec![create("stock", "1", r#"{"id":1,"n":5}"#), create("sales", "s", r#"{"x":1}"#)]);
    edge.write(vec![sell("1", 2)]);
    follower.catch_up(&mut edge);
    assert_eq!(follower.records[&("stock".into(), "1".into())].pending, [1, 2]);
    let open = r#"{"id":"c1","collection":"stock","key":"1","state":"open"}"#;
    let conflict = Record { partition: Some("stock".into()), ..record("_conflicts", "c1", 12, Content::Value(open.into())) };
    let entries = vec![answered(1, 11, Verdict::Applied), answered(2, 12, Verdict::Rejected), Entry::Record(conflict.clone())];
    edge.apply(vec![batch(10, 12, true, entries)]);
    follower.catch_up(&mut edge);
    let states: Vec<_> = follower.outcomes.values().map(String::as_str).collect();
    assert_eq!((states, follower.conflicts["c1"].as_str()), (vec!["applied", "rejected"], open));
    assert_eq!(follower.records.get(&("stock".into(), "1".into())), None, "a scan that reached its head brought no such record");
    edge.apply(vec![batch(12, 13, true, vec![is("stock", "1", 13, r#"{"id":1,"n":5}"#)])]);
    follower.catch_up(&mut edge);
    assert_eq!(follower.records[&("stock".into(), "1".into())].conflicts, ["c1"]);
    let resolved = open.replace("open", "resolved");
    let row = Record { revision: Revision(14), content: Content::Value(resolved.clone()), ..conflict };
    edge.apply(vec![batch(13, 14, true, vec![Entry::Record(row), gone("stock", "9", 14)])]);
    follower.catch_up(&mut edge);
    assert_eq!(follower.conflicts["c1"], resolved);
    assert_eq!(follower.records[&("stock".into(), "1".into())].conflicts, [""; 0]);
    edge.reopen();
    edge.apply(vec![batch(14, 15, true, vec![gone("stock", "1", 15)])]);
    follower.catch_up(&mut edge);
    assert_eq!((follower.records.len(), follower.lists), (1, 1), "the conflict row");
}

#[test]
fn a_lost_right_and_another_log_are_told_as_such() {
    let mut edge = Edge::new();
    edge.apply(vec![batch(10, 11, true, vec![is("cut", "secret", 11, r#"{"W":"lyon"}"#), is("stock", "1", 11, r#"{"id":1,"n":1}"#)])]);
    let mut follower = Follower::new(&mut edge);
    let before = follower.since;
    edge.apply(vec![Batch { grants: Some(without_cut(12)), ..batch(11, 12, true, Vec::new()) }]);
    follower.catch_up(&mut edge);
    assert_eq!((follower.lists, follower.records.len()), (2, 1));
    let now = edge.reader().log_end().unwrap();
    for foreign in [before, Since { log: 1, next: 1 }, Since { next: now.next + 1, ..now }] {
        assert_eq!(edge.reader().follow(foreign, &|_| true).unwrap(), Followed::Lost { end: now });
    }
    edge.store().renew().unwrap();
    follower.catch_up(&mut edge);
    assert_eq!(follower.lists, 3, "a copy's numbers mean something else");
}

#[test]
fn a_hot_record_is_told_once_a_step_and_what_is_not_wanted_never() {
    let mut edge = Edge::new();
    let since = edge.reader().log_end().unwrap();
    edge.write(vec![create("stock", "1", r#"{"id":1,"n":900}"#)]);
    edge.write(vec![create("stock", "2", r#"{"id":2,"n":900}"#)]);
    for _ in 0..500 {
        edge.write(vec![sell("1", 1)]);
    }
    let mut reader = edge.reader();
    let Followed::Step(step) = reader.follow(since, &|_| true).unwrap() else { panic!("lost") };
    let told: Vec<_> = step.changes.iter().map(|change| change.after.next - since.next).collect();
    assert_eq!((told, step.more), (vec![2, 502], false));
    let Followed::Step(step) = reader.follow(since, &|name| name.as_str() == "sales").unwrap() else { panic!("lost") };
    assert_eq!((step.changes.len(), step.next.next - since.next), (0, 502));
}

#[test]
fn the_log_is_bounded_and_a_step_too() {
    let mut edge = Edge::new();
    let start = edge.reader().log_end().unwrap();
    let mut follower = Follower::new(&mut edge);
    let count = limits::CHANGES_KEPT + 3 * limits::CHANGES_STEP;
    for (revision, first) in (10..).zip((0..count).step_by(8_192)) {
        let rows = (first..count.min(first + 8_192)).map(|id| is("fixed", &format!("key-{id:08}"), revision + 1, "{}"));
        edge.apply(vec![batch(revision, revision + 1, true, rows.collect())]);
        if first == 0 {
            let mut reader = edge.reader();
            let mut steps = 1;
            while follower.step(&mut reader, usize::MAX) {
                steps += 1;
            }
            assert_eq!((steps, follower.records.len()), (8_192 / limits::FOLLOW_RECORDS, 8_192));
        }
    }
    assert!(matches!(edge.reader().follow(start, &|_| true).unwrap(), Followed::Lost { .. }), "too old");
    let kept = {
        let file = rusqlite::Connection::open(edge.path()).unwrap();
        let first: u64 = file.query_row("SELECT min(seq) FROM changes", [], |row| row.get::<_, i64>(0)).unwrap().cast_unsigned();
        edge.reader().log_end().unwrap().next - first
    };
    assert!((limits::CHANGES_KEPT - 2_000..=limits::CHANGES_KEPT + limits::CHANGES_STEP).contains(&kept), "{kept}");
    let oldest = Since { next: start.next + count - limits::CHANGES_KEPT, ..start };
    assert!(matches!(edge.reader().follow(oldest, &|_| true).unwrap(), Followed::Step(_)));
}

/// The grants of a node that does not get `cut/lyon` any more.
fn without_cut(revision: u64) -> Grants {
    let mut all = grants(10);
    all.revision = Revision(revision);
    all.grants.retain(|grant| grant.share.partition.as_deref().is_none_or(|partition| !partition.contains("lyon")));
    all
}

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Debug, Clone)]
enum Act {
    Write(Vec<(usize, usize, u8)>),
    /// Records, by collection and key, with a value or gone.
    Records(Vec<(usize, usize, Option<u8>)>),
    /// The outcome of the oldest write without one.
    Outcome(bool),
    /// A conflict row about a record: open, resolved, gone.
    Conflict(usize, usize, u8),
    /// In two parts: the first waits in staging.
    Torn(usize, usize),
    LoseOrGetCut,
    /// `stock` is granted anew, or repaired: what the fill does not bring goes.
    Fill(Vec<usize>, bool),
    /// The cloud's store was restored.
    Fork,
    Check,
    Restart,
    /// The slow follower takes so many changes.
    Follow(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let (collection, id) = (0usize..2, 0..KEYS.len());
    prop_oneof![
        6 => prop::collection::vec((collection.clone(), id.clone(), 0u8..6), 1..3).prop_map(Act::Write),
        4 => prop::collection::vec((collection.clone(), id.clone(), prop::option::weighted(0.7, any::<u8>())), 1..4).prop_map(Act::Records),
        4 => any::<bool>().prop_map(Act::Outcome),
        2 => (collection.clone(), id.clone(), 0u8..3).prop_map(|(collection, id, state)| Act::Conflict(collection, id, state)),
        1 => (id.clone(), id.clone()).prop_map(|(first, second)| Act::Torn(first, second)),
        1 => Just(Act::LoseOrGetCut),
        1 => (prop::collection::vec(id, 0..4), any::<bool>()).prop_map(|(ids, repair)| Act::Fill(ids, repair)),
        1 => Just(Act::Fork),
        1 => Just(Act::Check),
        1 => Just(Act::Restart),
        3 => (1usize..5).prop_map(Act::Follow),
    ]
}

/// What the cloud does, without a mind of its own.
struct World {
    edge: Edge,
    head: u64,
    decided: u64,
    session: u64,
    epochs: Vec<EpochStart>,
    held: Grants,
    eager: Follower,
    slow: Follower,
}

fn of(collection: usize) -> &'static str {
    ["stock", "cut"][collection]
}

fn text(collection: usize, id: usize, n: u8) -> String {
    format!(r#"{{"id":"{}","n":{n},"W":"{}"}}"#, KEYS[id], if collection == 1 { "lyon" } else { "" })
}

impl World {
    fn new() -> Self {
        let mut edge = Edge::new();
        let (eager, slow) = (Follower::new(&mut edge), Follower::new(&mut edge));
        let epochs = vec![EpochStart { epoch: Epoch(7), first: Revision(1) }];
        Self { edge, head: 10, decided: 0, session: 1, epochs, held: grants(10), eager, slow }
    }

    fn stream(&mut self, entries: Vec<Entry>) {
        self.head += 1;
        self.edge.apply(vec![batch(self.head - 1, self.head, true, entries)]);
    }

    fn granted(&mut self) {
        self.head += 1;
        self.held.revision = Revision(self.head);
        let grants = Some(self.held.clone());
        self.edge.apply(vec![Batch { grants, ..batch(self.head - 1, self.head, true, Vec::new()) }]);
    }

    fn fill(&mut self, grant: proto::frame::Grant, ranges: Option<RangeSet>, ids: &[usize]) {
        let collection = usize::from(grant.share.collection.as_str() == "cut");
        let rows = ids.iter().map(|id| {
            let content = Content::Value(text(collection, *id, 77));
            record(of(collection), KEYS[*id], self.head, content)
        });
        let mut part = filled(grant, self.head, true, rows.collect());
        part.fill.ranges = ranges;
        self.edge.apply(vec![Batch { fill: Some(part), ..batch(self.head, self.head, true, Vec::new()) }]);
    }

    fn write(&mut self, ops: &[(usize, usize, u8)]) {
        let requests = ops.iter().map(|(collection, id, what)| {
            let (name, id_text) = (of(*collection), KEYS[*id]);
            match what {
                0 => create(name, id_text, &text(*collection, *id, 1)),
                1 => put(name, id_text, &text(*collection, *id, 2)),
                2 if *collection == 0 => sell(id_text, 1),
                3 => delete(name, id_text),
                _ => merge(name, id_text, &format!(r#"{{"note":{what}}}"#)),
            }
        });
        // Whether it is taken is the business of other tests.
        let _ = self.edge.try_write(requests.collect());
    }

    fn act(&mut self, act: &Act) {
        let next = self.head + 1;
        match act {
            Act::Write(ops) => self.write(ops),
            Act::Records(rows) => {
                let newest: BTreeMap<_, _> = rows.iter().map(|(collection, id, n)| ((collection, id), n)).collect();
                let entry = |((collection, id), n): ((&usize, &usize), &Option<u8>)| match n {
                    Some(n) => is(of(*collection), KEYS[*id], next, &text(*collection, *id, *n)),
                    None => gone(of(*collection), KEYS[*id], next),
                };
                let entries = newest.into_iter().map(entry).collect();
                self.stream(entries);
            }
            Act::Outcome(rejected) => {
                if self.decided < self.edge.store().facts().unwrap().newest_write {
                    self.decided += 1;
                    let verdict = if *rejected { Verdict::Rejected } else { Verdict::Applied };
                    self.stream(vec![answered(self.decided, next, verdict)]);
                }
            }
            Act::Conflict(collection, id, state) => {
                let row = format!(r#"{{"id":"x{id}","collection":"{}","key":"{}","state":"STATE"}}"#, of(*collection), KEYS[*id]);
                let content = match state {
                    0 => Content::Value(row.replace("STATE", "open")),
                    1 => Content::Value(row.replace("STATE", "resolved")),
                    _ => Content::Deleted,
                };
                let partition = Some(["stock", "cut/lyon"][*collection].to_owned());
                self.stream(vec![Entry::Record(Record { partition, ..record("_conflicts", &format!("x{id}"), next, content) })]);
            }
            Act::Torn(first, second) => {
                let inside = Position { revision: Revision(self.head), inside: Some((name("stock"), key(KEYS[*first]))) };
                let part = vec![is("stock", KEYS[*first], next, &text(0, *first, 55))];
                self.edge.apply(vec![Batch { entries: part, ..Batch::empty(at(self.head), inside.clone()) }]);
                let rest = vec![is("stock", KEYS[*second], next, &text(0, *second, 56))];
                self.edge.apply(vec![Batch { entries: rest, at_head: true, ..Batch::empty(inside, at(next)) }]);
                self.head = next;
            }
            Act::LoseOrGetCut if self.held.grants.len() == grants(10).grants.len() => {
                self.held = without_cut(next);
                self.granted();
            }
            Act::LoseOrGetCut => {
                self.held.grants.push(grant("cut", Some("lyon"), next, next));
                self.held.grants.push(grant("_conflicts", Some("cut/lyon"), next, next));
                self.held.grants.sort_by(|a, b| a.share.cmp(&b.share));
                self.granted();
                self.fill(grant("cut", Some("lyon"), next, next), None, &[0, 1]);
                self.fill(grant("_conflicts", Some("cut/lyon"), next, next), None, &[]);
            }
            Act::Fill(ids, repair) => self.refill(ids, *repair),
            Act::Fork => self.fork(),
            Act::Check => drop(self.edge.store().check(crate::kit::now(0)).unwrap()),
            Act::Restart => self.edge.reopen(),
            Act::Follow(most) => drop(self.slow.step(&mut self.edge.reader(), *most)),
        }
    }

    fn refill(&mut self, ids: &[usize], repair: bool) {
        let place = self.held.grants.iter().position(|grant| grant.share.collection.as_str() == "stock").unwrap();
        if repair {
            let grant = proto::frame::Grant { from: Revision(self.head), ..self.held.grants[place].clone() };
            let ranges = RangeSet::from_bytes(&[255; 32]).unwrap();
            let repairs = vec![Repair { grant: grant.clone(), ranges }];
            self.edge.apply(vec![Batch { repairs, ..batch(self.head, self.head, true, Vec::new()) }]);
            return self.fill(grant, Some(ranges), ids);
        }
        let anew = grant("stock", None, self.head + 1, self.head + 1);
        self.held.grants[place] = anew.clone();
        self.granted();
        self.fill(anew, None, ids);
    }

    /// Back to two revisions ago, with what was decided meanwhile taken back.
    fn fork(&mut self) {
        self.session += 1;
        self.head -= 2.min(self.head - 10);
        self.epochs.push(EpochStart { epoch: Epoch(7 + self.session), first: Revision(self.head + 1) });
        self.decided = self.decided.saturating_sub(1);
        let mut welcome = welcome(self.session, self.head, Some(self.held.clone()));
        (welcome.fork, welcome.taken, welcome.epochs) = (Some(Revision(self.head)), self.decided, self.epochs.clone());
        welcome.cursor.epoch = Epoch(7 + self.session);
        self.edge.adopt(&welcome);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, rng_seed: RngSeed::Fixed(20_261_126), ..ProptestConfig::default() })]

    #[test]
    fn who_follows_has_what_a_reader_has(acts in prop::collection::vec(act(), 1..40)) {
        let mut world = World::new();
        for act in &acts {
            world.act(act);
            world.eager.catch_up(&mut world.edge);
        }
        world.slow.catch_up(&mut world.edge);
    }
}
