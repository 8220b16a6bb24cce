//! Digests: that they are those of the records after any history, and what a node that differs gets again.

use proptest::prelude::*;
use proto::build::Action;
use proto::digest::range_of;
use proto::frame::{Content, RangeSums, Share};
use proto::ids::{DatabaseId, Position};

use super::bench::{Bench, Fixture, name, node, op, put_op};
use super::edge::{Edge, increment, put, set};
use super::shops;
use crate::store::{Answer, ImportMode, Job, Refused, ScanRequest, Seen, Store, StoreRead};

fn verified<F: Fixture>(bench: &mut Bench<F>) -> Option<u64> {
    bench.reader().node(&node("lyon")).unwrap().unwrap().verified_ms
}

fn full<F: Fixture>() -> (Bench<F>, Edge) {
    let mut bench = shops::<F>();
    let lines: Vec<_> = (0..400).map(|at| (format!("{at}"), format!(r#"{{"ProductID":{at}}}"#))).collect();
    let lines: Vec<_> = lines.iter().map(|(key, json)| (key.as_str(), json.as_str())).collect();
    bench.import("products", ImportMode::Put, false, &lines).unwrap();
    (0..20).for_each(|at| {
        bench.put("stock", &format!("s{at}"), r#"{"W":"lyon"}"#);
    });
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.sync(&mut bench);
    lyon.same_as_cloud(&mut bench);
    (bench, lyon)
}

/// A changed row, a flipped bit in a revision, a lost row and an invented one: found, and only their ranges are read again.
pub(super) fn only_the_ranges_that_differ_are_filled_again<F: Fixture>() {
    let (mut bench, mut lyon) = full::<F>();
    lyon.bounds = (3, 4_096);
    lyon.damage("products", "17", |record| record.content = Content::Value(r#"{"ProductID":17,"x":1}"#.to_owned()));
    // Above every revision that the cloud has given out: it must go back all the same.
    lyon.damage("products", "18", |record| record.revision.0 |= 1 << 40);
    lyon.forge("products", "19", "ghost");
    let differing = lyon.compare(&mut bench);
    assert_eq!(differing.iter().map(|sums| sums.share.collection.as_str()).collect::<Vec<_>>(), ["products"]);
    let repairs = lyon.repair(&mut bench, differing);
    let ranges = repairs[0].ranges;
    let expected: std::collections::BTreeSet<_> = ["17", "18", "19", "ghost"].into_iter().map(range_of).collect();
    assert!(repairs.len() == 1 && expected.iter().all(|range| ranges.contains(*range)));
    assert_eq!((ranges.len() as usize, repairs[0].grant.from.0), (expected.len(), bench.head()));
    lyon.batches.clear();
    // What changes meanwhile comes in the stream.
    bench.put("products", "17", r#"{"ProductID":17,"now":true}"#);
    lyon.sync(&mut bench);
    let sent: usize = lyon.batches.iter().filter_map(|batch| batch.fill.as_ref()).map(|part| part.records.len()).sum();
    let inside = (0..400).filter(|at| ranges.contains(range_of(&at.to_string()))).count();
    assert!(sent <= inside && sent + 1 >= inside, "{sent} records of {inside} in the ranges");
    lyon.same_as_cloud(&mut bench);
}

pub(super) fn what_agrees_or_is_not_granted_is_not_filled<F: Fixture>() {
    let (mut bench, mut lyon) = full::<F>();
    lyon.damage("stock", "s1", |record| record.updated_ms += 1);
    let [sums] = <[RangeSums; 1]>::try_from(lyon.compare(&mut bench)).unwrap();
    let foreign = Share { collection: name("stock"), partition: Some("oslo".to_owned()) };
    let asked = vec![
        RangeSums { share: foreign, ..sums.clone() },
        RangeSums { since: sums.since.next(), ..sums.clone() },
        sums.clone(),
        sums.clone(),
    ];
    let repairs = lyon.repair(&mut bench, asked);
    assert_eq!(repairs.iter().map(|repair| (&repair.grant.share, repair.ranges.len())).collect::<Vec<_>>(), [(&sums.share, 1)]);
    lyon.sync(&mut bench);
    let held = vec![RangeSums { sums: lyon.sums(&sums.share), ..sums }];
    let repairs = lyon.repair(&mut bench, held);
    assert!(repairs.len() == 1 && repairs[0].ranges.is_empty(), "nothing differs any more");
    assert!(lyon.fills.is_empty());
}

pub(super) fn digests_are_of_the_head_and_of_done_grants<F: Fixture>() {
    let (mut bench, lyon) = full::<F>();
    (0..10).for_each(|at| {
        bench.put("stock", &format!("t{at}"), r#"{"W":"lyon"}"#);
    });
    let mut scan = lyon.plain();
    scan.digests = Some(Vec::new());
    scan.max_records = 3;
    let batch = bench.reader().scan(&ScanRequest { peer: lyon.peer(), scan: &scan }).unwrap();
    assert!(!batch.at_head && batch.digests.is_empty());
    // A grant that the node has not been told of has nothing to compare yet.
    bench.label("lyon", &[("site", Some("lyon,oslo"))]);
    let scan = proto::session::cloud::Scan { from: Position::at(super::bench::revision(bench.head())), max_records: 100, ..scan };
    let batch = bench.reader().scan(&ScanRequest { peer: lyon.peer(), scan: &scan }).unwrap();
    let told: Vec<_> = batch.digests.iter().map(|digest| digest.share.partition.as_deref().unwrap_or("-")).collect();
    assert!(batch.at_head && batch.grants.is_some());
    assert_eq!(told, ["products", "stock/lyon", "-", "lyon"]);
}

pub(super) fn resync_gives_grants_anew<F: Fixture>() {
    let (mut bench, mut lyon) = full::<F>();
    // The edge holds a row that no revision of the cloud would replace.
    lyon.damage("stock", "s3", |record| record.revision.0 += 1_000);
    let resync = |collection: Option<&str>| Job::Resync { node: node("lyon"), collection: collection.map(name) };
    let Answer::Resynced(done) = bench.job(resync(Some("stock"))).unwrap() else { panic!() };
    assert_eq!((done.grants, done.revision.0), (1, bench.head()));
    assert!(bench.touched.nodes.contains(&node("lyon")));
    lyon.batches.clear();
    lyon.sync(&mut bench);
    let filled: usize = lyon.batches.iter().filter_map(|batch| batch.fill.as_ref()).map(|part| part.records.len()).sum();
    assert_eq!(filled, 20, "stock alone");
    lyon.same_as_cloud(&mut bench);
    let Answer::Resynced(done) = bench.job(resync(None)).unwrap() else { panic!() };
    assert_eq!(done.grants, 2);
    // Also for a node that is away: it learns of it at its next Hello.
    lyon.connect(&mut bench);
    lyon.sync(&mut bench);
    lyon.same_as_cloud(&mut bench);
    let events = bench.reader().events(&node("lyon")).unwrap().unwrap();
    assert_eq!(events.iter().filter(|event| event.kind == "resync").count(), 2);
    assert!(matches!(bench.job(resync(Some("nothing"))), Err(Refused::NoCollection(_))));
    assert!(matches!(bench.job(Job::Resync { node: node("bonn"), collection: None }), Err(Refused::NoNode(_))));
    bench.label("lyon", &[("site", None)]);
    assert!(matches!(bench.job(resync(Some("stock"))), Err(Refused::BadRequest(_))));
}

pub(super) fn a_verification_is_of_one_database<F: Fixture>() {
    let (mut bench, mut lyon) = full::<F>();
    assert_eq!(verified(&mut bench), None);
    let seen =
        |lyon: &Edge, at_ms| Job::Seen(vec![Seen { peer: lyon.peer(), at_ms, cursor: None, report: None, verified_ms: Some(at_ms) }]);
    let job = seen(&lyon, 70);
    bench.done(job);
    lyon.connect(&mut bench);
    assert_eq!(verified(&mut bench), Some(70), "the same database comes back");
    let mut other = Edge::new("lyon", 2);
    other.connect(&mut bench);
    assert_eq!(verified(&mut bench), None);
    let late = seen(&lyon, 80);
    bench.done(late);
    assert_eq!(verified(&mut bench), None, "what the old one found out comes late");
    assert_eq!(other.database, DatabaseId([2; 16]));
}

/// One step of a history that reaches everything that moves records.
#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8),
    Group(u8, u8),
    Delete(u8),
    Concurrent(u8, u8),
    Sale(u8),
    Label(u8),
    Drop(bool),
    Define(bool),
    Old,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..8, 0u8..4).prop_map(|(record, site)| Step::Put(record, site)),
        2 => (0u8..8, 0u8..4).prop_map(|(record, site)| Step::Group(record, site)),
        2 => (0u8..8).prop_map(Step::Delete),
        4 => (0u8..8, 0u8..3).prop_map(|(record, site)| Step::Concurrent(record, site)),
        2 => (0u8..3).prop_map(Step::Sale),
        1 => (0u8..3).prop_map(Step::Label),
        1 => any::<bool>().prop_map(Step::Drop),
        1 => any::<bool>().prop_map(Step::Define),
        1 => Just(Step::Old),
    ]
}

const SITES: [&str; 4] = ["lyon", "oslo", "paris", ""];

fn stock(site: u8, n: usize) -> String {
    format!(r#"{{"W":{},"n":{n}}}"#, if site == 3 { "1".to_owned() } else { format!("\"{}\"", SITES[site as usize]) })
}

fn definition(sites: bool) -> String {
    format!(r#"{{"partition":{{"field":"W","label":"{}"}}}}"#, if sites { "site" } else { "region" })
}

fn run<F: Fixture>(bench: &mut Bench<F>, lyon: &mut Edge, at: usize, step: &Step) {
    let exists = |bench: &mut Bench<F>, collection: &str| bench.reader().collection(&name(collection)).unwrap().is_some();
    match step {
        Step::Put(record, site) if exists(bench, "stock") => drop(bench.put("stock", &record.to_string(), &stock(*site, at))),
        // Of three jobs of one transaction the second is refused after it has changed something.
        Step::Group(record, site) if exists(bench, "stock") => {
            let put = |record: u8| put_op("stock", &format!("g{record}"), &stock(*site, at));
            let write = |ops| {
                Job::Write(Box::new(crate::store::CloudWrite {
                    ops,
                    admin: false,
                    actor: None,
                    request_id: None,
                    caller: String::new(),
                    idempotency: None,
                }))
            };
            let mut refused = put(record + 1);
            refused.condition = crate::store::Condition::Revision(super::bench::revision(u64::MAX >> 1));
            let (first, last) = (put(*record), put(record + 2));
            bench.group(vec![write(vec![first.clone()]), write(vec![last.clone(), refused]), write(vec![last])]);
        }
        Step::Delete(record) if bench.get("stock", &record.to_string()).is_some() => drop(bench.delete("stock", &record.to_string())),
        // The edge changes what it saw long ago: conflict rows, which follow their record.
        Step::Concurrent(record, site) if exists(bench, "stock") => {
            let record = record.to_string();
            lyon.commit(match lyon.value("stock", &record) {
                Some(_) => set("stock", &record, 1, "n", &format!("\"edge {at}\"")),
                None => put("stock", &record, &stock(*site, at)),
            });
            lyon.upload(bench).unwrap();
        }
        Step::Sale(record) if exists(bench, "products") => {
            let record = record.to_string();
            if bench.get("products", &record).is_none() {
                bench.put("products", &record, &format!(r#"{{"ProductID":{record},"UnitsInStock":0}}"#));
            } else if at.is_multiple_of(3) {
                bench.write(vec![op("products", &record, Action::Delete { force: true })]).unwrap();
            }
            lyon.commit(increment(&record, 1, -1));
            lyon.upload(bench).unwrap();
        }
        Step::Label(site) => bench.label("lyon", &[("site", Some(SITES[*site as usize])), ("region", Some("oslo"))]),
        Step::Drop(stock) => drop(bench.job(Job::DeleteCollection { name: name(if *stock { "stock" } else { "products" }) })),
        Step::Define(sites) => {
            bench.define("stock", &definition(*sites));
            bench.define("products", r#"{"key":"ProductID","fields":{"UnitsInStock":{"type":"counter","min":0}}}"#);
        }
        // Housekeeping a year later.
        Step::Old => {
            bench.now_ms += 365 * 86_400_000;
            let now_ms = bench.now_ms;
            while bench.store().tidy(now_ms).unwrap().1 {}
            F::check(bench.store());
        }
        _ => {}
    }
    if at.is_multiple_of(4) {
        lyon.sync(bench);
    }
}

/// After every transaction the bench compares the table with the records; here a node compares too.
pub(super) fn digests_follow_any_history<F: Fixture>() {
    let config = ProptestConfig { cases: 48, max_shrink_iters: 300, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in prop::collection::vec(step(), 1..40))| {
        let mut bench = shops::<F>();
        let mut lyon = Edge::new("lyon", 1);
        lyon.connect(&mut bench);
        for (at, step) in steps.iter().enumerate() {
            run(&mut bench, &mut lyon, at, step);
        }
        lyon.sync(&mut bench);
        lyon.same_as_cloud(&mut bench);
    });
}
