//! Scans: bounds, fills, grants, and convergence from every place.

use proptest::prelude::*;
use proto::frame::{Content, Entry};
use proto::ids::Position;
use proto::session::cloud::Scan;

use super::bench::{Bench, Fixture, name, node, put_op, revision};
use super::edge::{Edge, increment, put, set};
use super::shops;
use crate::store::{ImportMode, ScanRequest, StoreRead};

pub(super) fn an_empty_scan_stands_at_the_head<F: Fixture>() {
    let mut bench = shops::<F>();
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.sync(&mut bench);
    let from = lyon.position();
    bench.put("stock", "a", r#"{"W":"oslo"}"#);
    assert!(lyon.step(&mut bench));
    let batch = lyon.batches.last().unwrap();
    assert_eq!((&batch.from, &batch.through), (&from, &Position::at(revision(bench.head()))));
    assert!(batch.entries.is_empty() && batch.fill.is_none() && batch.grants.is_none());
}

pub(super) fn batches_keep_their_bounds<F: Fixture>() {
    let mut bench = shops::<F>();
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.sync(&mut bench);
    lyon.bounds = (8, 4_000);
    let text = "x".repeat(900);
    for at in 0..20 {
        bench.put("products", &format!("{at}"), &format!(r#"{{"ProductID":{at},"t":"{text}"}}"#));
    }
    for at in 0..20 {
        bench.put("stock", &format!("s{at}"), r#"{"W":"lyon"}"#);
    }
    let large = "y".repeat(50_000);
    bench.put("products", "large", &format!(r#"{{"t":"{large}"}}"#).replace("{\"t\"", "{\"ProductID\":\"large\",\"t\""));
    for at in 0..20 {
        lyon.commit(put("stock", &format!("w{at}"), r#"{"W":"lyon"}"#));
    }
    lyon.upload(&mut bench).unwrap();
    lyon.batches.clear();
    lyon.sync(&mut bench);
    for batch in &lyon.batches {
        let records: Vec<_> =
            batch.entries.iter().filter_map(|entry| if let Entry::Record(record) = entry { Some(record) } else { None }).collect();
        let bytes: usize = records.iter().map(|record| record.wire_len()).sum();
        assert!(records.len() <= 8 && (bytes <= 4_000 || records.len() == 1), "{} records, {bytes} bytes", records.len());
        assert!(batch.entries.len() - records.len() <= 8);
        assert!(batch.through.inside.is_none(), "these revisions are small: each goes whole");
    }
    assert_eq!(lyon.holds("stock"), 40);
    lyon.same_as_cloud(&mut bench);
}

pub(super) fn fills_resume_inside_a_revision<F: Fixture>() {
    let mut bench = shops::<F>();
    let lines: Vec<_> = (0..50).map(|at| (format!("{at}"), format!(r#"{{"ProductID":{at}}}"#))).collect();
    let lines: Vec<_> = lines.iter().map(|(key, json)| (key.as_str(), json.as_str())).collect();
    bench.import("products", ImportMode::Put, false, &lines).unwrap();
    let mut lyon = Edge::new("lyon", 1);
    lyon.bounds = (7, 256 * 1024);
    lyon.connect(&mut bench);
    assert_eq!(lyon.position(), Position::at(revision(bench.head())));
    for at in 0..200 {
        lyon.step(&mut bench);
        if at % 3 == 0 {
            lyon.connect(&mut bench);
        }
        // What changes meanwhile comes in the stream; a filled row never replaces a newer one.
        if at < 30 {
            bench.put("products", &format!("{at}"), &format!(r#"{{"ProductID":{at},"n":{at}}}"#));
        }
    }
    lyon.sync(&mut bench);
    assert_eq!(lyon.holds("products"), 50);
    lyon.same_as_cloud(&mut bench);
}

pub(super) fn fills_send_no_tombstones<F: Fixture>() {
    let mut bench = shops::<F>();
    for at in 0..30 {
        bench.put("stock", &format!("{at}"), r#"{"W":"lyon"}"#);
        if at % 3 > 0 {
            bench.delete("stock", &format!("{at}"));
        }
    }
    let mut lyon = Edge::new("lyon", 1);
    lyon.bounds = (4, 256 * 1024);
    lyon.connect(&mut bench);
    lyon.sync(&mut bench);
    assert_eq!(lyon.holds("stock"), 10);
    let filled = lyon.batches.iter().filter_map(|batch| batch.fill.as_ref()).flat_map(|part| &part.records);
    assert!(filled.clone().all(|record| matches!(record.content, Content::Value(_))));
    assert_eq!(filled.count(), 10);
}

/// Lyon has been told that it gets paris too, whose only record it has not read yet.
fn given_a_second_site<F: Fixture>() -> (Bench<F>, Edge) {
    let mut bench = shops::<F>();
    bench.put("stock", "a", r#"{"W":"paris"}"#);
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.sync(&mut bench);
    bench.label("lyon", &[("site", Some("lyon,paris"))]);
    assert!(lyon.step(&mut bench));
    (bench, lyon)
}

pub(super) fn grants_travel_when_they_were_not_told<F: Fixture>() {
    let (mut bench, mut lyon) = given_a_second_site::<F>();
    let batch = lyon.batches.last().unwrap();
    let grants = batch.grants.clone().unwrap();
    assert_eq!(grants.revision.0, bench.head());
    assert!(
        grants
            .grants
            .iter()
            .any(|grant| grant.share.collection == name("_conflicts") && grant.share.partition.as_deref() == Some("stock/paris"))
    );
    assert!(grants.grants.iter().all(|grant| grant.from == grants.revision));
    assert_eq!(
        grants.definitions.iter().map(|definition| definition.name.as_str()).collect::<Vec<_>>(),
        ["_conflicts", "products", "stock"]
    );
    lyon.sync(&mut bench);
    assert!(lyon.value("stock", "a").is_some());
    // A definition that changes travels too, and keeps the grants.
    bench.define("products", r#"{"key":"ProductID","policy":"guarded","fields":{"UnitsInStock":{"type":"counter","min":0}}}"#);
    lyon.step(&mut bench);
    assert!(lyon.batches.last().unwrap().grants.is_some());
    assert!(lyon.fills.is_empty());
}

/// A right that was lost and given again begins a back-fill of its own; one that was open before is not gone on with, whose rows the edge
/// has wiped meanwhile.
pub(super) fn a_fill_of_a_right_of_before_is_passed_over<F: Fixture>() {
    let (mut bench, mut lyon) = given_a_second_site::<F>();
    let open = |lyon: &Edge| lyon.fills.iter().filter(|fill| fill.grant.share.collection == name("stock")).cloned().collect::<Vec<_>>();
    let before = open(&lyon);
    bench.label("lyon", &[("site", Some("lyon"))]);
    bench.label("lyon", &[("site", Some("lyon,paris"))]);
    assert!(lyon.step(&mut bench));
    let anew = open(&lyon);
    assert!(before.len() == 1 && anew.len() == 1 && before[0].grant.since < anew[0].grant.since);
    let mut filled = |fills| lyon.scan(&mut bench, |scan| scan.fills = fills).fill.map(|part| part.fill.grant);
    assert_eq!(filled(before), None);
    assert_eq!(filled(anew.clone()).as_ref(), Some(&anew[0].grant));
}

pub(super) fn behind_counts_stream_and_fills<F: Fixture>() {
    let mut bench = shops::<F>();
    for at in 0..10 {
        bench.put("stock", &format!("{at}"), r#"{"W":"lyon"}"#);
    }
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    let count = |bench: &mut Bench<F>, lyon: &Edge| bench.reader().behind(&node("lyon"), &lyon.position(), &lyon.fills).unwrap();
    assert_eq!(count(&mut bench, &lyon), 10);
    lyon.sync(&mut bench);
    assert_eq!(count(&mut bench, &lyon), 0);
    bench.put("stock", "x", r#"{"W":"oslo"}"#);
    assert_eq!(count(&mut bench, &lyon), 0);
    bench.put("stock", "y", r#"{"W":"lyon"}"#);
    bench.put("products", "1", r#"{"ProductID":1}"#);
    assert_eq!(count(&mut bench, &lyon), 2);
    bench.restart();
    assert_eq!(count(&mut bench, &lyon), 2);
}

/// One step of a random history.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Put(u8, u8),
    Several(u8),
    Delete(u8),
    Edge(u8, u8),
    Label(u8),
    Read,
    Reconnect,
    Restart,
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..12, 0u8..4).prop_map(|(record, site)| Step::Put(record, site)),
        1 => (0u8..4).prop_map(Step::Several),
        2 => (0u8..12).prop_map(Step::Delete),
        2 => (0u8..12, 0u8..4).prop_map(|(record, site)| Step::Edge(record, site)),
        1 => (0u8..4).prop_map(Step::Label),
        3 => Just(Step::Read),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Restart),
    ]
}

const SITES: [&str; 4] = ["lyon", "oslo", "lyon,oslo", "paris"];

fn stock(site: u8, n: usize) -> String {
    // Site 3 of a record is no site at all.
    if site == 3 { format!(r#"{{"n":{n}}}"#) } else { format!(r#"{{"W":"{}","n":{n}}}"#, ["lyon", "oslo", "paris"][site as usize]) }
}

pub(super) fn run<F: Fixture>(bench: &mut Bench<F>, lyon: &mut Edge, at: usize, step: &Step) {
    match step {
        Step::Put(record, site) => drop(bench.put("stock", &record.to_string(), &stock(*site, at))),
        Step::Several(site) => {
            let ops = (0..9).map(|record| put_op("stock", &record.to_string(), &stock(*site, at))).collect();
            bench.write(ops).unwrap();
        }
        Step::Delete(record) if bench.get("stock", &record.to_string()).is_some() => drop(bench.delete("stock", &record.to_string())),
        Step::Delete(_) => {}
        Step::Edge(record, site) => {
            let record = record.to_string();
            lyon.commit(match lyon.value("stock", &record) {
                Some(_) => set("stock", &record, lyon.position().revision.0, "n", &format!("\"edge {at}\"")),
                None => put("stock", &record, &stock(*site, at)),
            });
            lyon.upload(bench).unwrap();
        }
        Step::Label(site) => bench.label("lyon", &[("site", Some(SITES[*site as usize]))]),
        Step::Read => drop(lyon.step(bench)),
        Step::Reconnect => lyon.connect(bench),
        Step::Restart => {
            bench.crash();
            lyon.connect(bench);
        }
    }
}

pub(super) fn every_prefix_of_a_random_history_converges<F: Fixture>() {
    let config = ProptestConfig { cases: 48, max_shrink_iters: 300, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in prop::collection::vec(step(), 1..40))| {
        let mut bench = shops::<F>();
        let mut lyon = Edge::new("lyon", 1);
        lyon.bounds = (3, 4_096);
        lyon.connect(&mut bench);
        for (at, step) in steps.iter().enumerate() {
            run(&mut bench, &mut lyon, at, step);
        }
        lyon.sync(&mut bench);
        lyon.same_as_cloud(&mut bench);
        prop_assert_eq!(lyon.taken as usize, lyon.outbox.len());
        // A scan from the very beginning with all grants ends in the same state.
        let mut fresh = Edge::new("lyon", 9);
        fresh.connect(&mut bench);
        fresh.sync(&mut bench);
        fresh.same_as_cloud(&mut bench);
        let scan = Scan::plain(lyon.position(), Vec::new(), revision(0), 10, 1_000);
        let batch = bench.reader().scan(&ScanRequest { peer: lyon.peer(), scan: &scan }).unwrap();
        prop_assert!(batch.at_head && batch.entries.is_empty());
    });
}

/// More outcomes than a batch reads, and the one record that they all changed far above the first of them: a batch ends
/// where its outcomes do.
pub(super) fn outcomes_are_never_passed<F: Fixture>() {
    let mut bench = shops::<F>();
    bench.put("products", "11", r#"{"ProductID":11,"UnitsInStock":0}"#);
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.sync(&mut bench);
    lyon.bounds = (4, 256 * 1024);
    let seen = bench.head();
    for _ in 0..30 {
        lyon.commit(increment("11", seen, 1));
    }
    lyon.upload(&mut bench).unwrap();
    lyon.sync(&mut bench);
    (1..=30).for_each(|number| assert_eq!(lyon.outcome(number).verdict.as_str(), "applied", "write {number}"));
    lyon.same_as_cloud(&mut bench);
}
