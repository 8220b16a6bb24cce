//! Writes of an outbox: once, in order, each answered.

use proto::frame::{Entry, NumberedWrite, Share};
use proto::ids::WriteId;
use proto::op::Verdict;

use super::bench::{Fixture, name, node};
use super::edge::{Edge, increment, op, put, set};
use super::shops;
use crate::store::StoreRead;
use proto::op::Body;

pub(super) fn restart_keeps_head_and_makes_an_epoch<F: Fixture>() {
    let mut bench = shops::<F>();
    let first = crate::store::Store::epoch(bench.store());
    bench.put("products", "1", r#"{"ProductID":1}"#);
    let head = bench.head();
    for kill in [false, true] {
        if kill {
            bench.crash();
        } else {
            bench.restart();
        }
        assert_eq!(bench.head(), head);
        let epoch = crate::store::Store::epoch(bench.store());
        assert_eq!(epoch.first.0, head + 1);
        assert_ne!(epoch.epoch, first.epoch);
        assert!(bench.get("products", "1").is_some());
    }
    assert_eq!(bench.put("products", "2", r#"{"ProductID":2}"#), head + 1);
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    let admitted = bench.admit(lyon.admit_job(None)).unwrap();
    assert_eq!(admitted.epochs.iter().map(|start| start.first.0).collect::<Vec<_>>(), [1, head + 1, head + 1]);
}

pub(super) fn write_hash_duplicates<F: Fixture>() {
    let mut bench = shops::<F>();
    bench.put("products", "1", r#"{"ProductID":1,"UnitsInStock":20}"#);
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.sync(&mut bench);
    let head = bench.head();
    lyon.commit(increment("1", head, -3));
    lyon.upload(&mut bench).unwrap();
    let again = lyon.outbox.clone();
    let head = bench.head();
    for _ in 0..2 {
        let taken = lyon.send(&mut bench, again.clone()).unwrap();
        assert_eq!((taken.taken, taken.stop), (1, None));
        bench.crash();
        let session = bench.admit(lyon.admit_job(None)).unwrap();
        lyon.adopt(&session);
    }
    assert_eq!(bench.head(), head, "a repeat has no effect");
    assert!(bench.get("products", "1").unwrap().value.contains("17"));

    // Old values were cut out of it since: it comes with the hash of what it was.
    let mut cut = again.clone();
    cut[0].hash = Some(proto::op::hash(&again[0].bytes));
    cut[0].bytes = vec![1, 2, 3];
    assert_eq!(lyon.send(&mut bench, cut).unwrap().stop, None);

    let mut other = Edge::new("lyon", 1);
    other.commit(increment("1", head, -5));
    let taken = lyon.send(&mut bench, other.outbox).unwrap();
    assert_eq!(taken.taken, 1);
    assert_eq!(taken.stop.unwrap().code, "copied_database");
    assert!(bench.get("products", "1").unwrap().value.contains("17"));
    let events = bench.reader().events(&node("lyon")).unwrap().unwrap();
    assert!(events.iter().any(|event| event.kind == "copied_database"));
}

pub(super) fn numbers_are_taken_in_order<F: Fixture>() {
    let mut bench = shops::<F>();
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    for record in ["1", "2", "3"] {
        lyon.commit(put("products", record, &format!(r#"{{"ProductID":{record}}}"#)));
    }
    let (first, third) = (lyon.outbox[0].clone(), lyon.outbox[2].clone());
    let taken = lyon.send(&mut bench, vec![first, third]).unwrap();
    assert_eq!((taken.taken, taken.stop.unwrap().code.as_str()), (1, "out_of_order"));
    assert!(bench.get("products", "3").is_none());
    assert_eq!(lyon.upload(&mut bench).unwrap().taken, 3);
    lyon.sync(&mut bench);
    lyon.answered(&[(1, "applied", ""), (2, "applied", ""), (3, "applied", "")]);
    let id = WriteId::edge(&node("lyon"), &lyon.database, 2);
    let row = bench.reader().write(&id).unwrap().unwrap();
    assert_eq!((row.id, row.verdict, row.actor.as_deref()), (id, Verdict::Applied, Some("till-lyon")));
    assert_eq!(row.ops.len(), 1);
}

/// `two-creates`: the same key at two shops; the second is rejected, whatever its content.
pub(super) fn two_creates<F: Fixture>() {
    let mut bench = shops::<F>();
    let (mut lyon, mut oslo) = (Edge::new("lyon", 1), Edge::new("oslo", 2));
    lyon.connect(&mut bench);
    oslo.connect(&mut bench);
    lyon.commit(put("products", "7", r#"{"ProductID":7,"ProductName":"Chai"}"#));
    oslo.commit(put("products", "7", r#"{"ProductID":7,"ProductName":"Tee"}"#));
    lyon.upload(&mut bench).unwrap();
    oslo.upload(&mut bench).unwrap();
    for edge in [&mut lyon, &mut oslo] {
        edge.sync(&mut bench);
        edge.same_as_cloud(&mut bench);
        assert!(edge.value("products", "7").unwrap().contains("Chai"));
    }
    lyon.answered(&[(1, "applied", "")]);
    oslo.answered(&[(1, "rejected", "key_taken")]);
    let row = bench.get("products", "7").unwrap();
    assert_eq!(row.conflicts, oslo.outcome(1).conflicts, "the loser's content is kept and can be listed");
    assert_eq!(row.conflicts.len(), 1);
}

/// A rejected write has its revision like any other, so the answers of one database keep the order of its writes.
pub(super) fn own_rejected_writes_keep_the_order<F: Fixture>() {
    let mut bench = shops::<F>();
    bench.put("products", "1", r#"{"ProductID":1}"#);
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.commit(put("products", "2", r#"{"ProductID":2}"#));
    lyon.commit(put("products", "1", r#"{"ProductID":1,"ProductName":"mine"}"#));
    lyon.commit(set("products", "2", 0, "ProductName", "\"Chang\""));
    let before = bench.head();
    lyon.upload(&mut bench).unwrap();
    assert_eq!(bench.head(), before + 3);
    lyon.sync(&mut bench);
    lyon.answered(&[(1, "applied", ""), (2, "rejected", "key_taken"), (3, "applied", "")]);
    let revisions: Vec<_> = (1..=3).map(|number| lyon.outcome(number).revision.0).collect();
    assert_eq!(revisions, [before + 1, before + 2, before + 3]);
    lyon.same_as_cloud(&mut bench);
}

pub(super) fn malformed_counts_as_answered<F: Fixture>() {
    let mut bench = shops::<F>();
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.outbox.push(NumberedWrite { number: 1, bytes: vec![0xff; 40], rejected: false, hash: None, fork: None, part: None });
    lyon.outbox.push(NumberedWrite { number: 2, bytes: Vec::new(), rejected: true, hash: None, fork: None, part: None });
    lyon.commit(put("products", "1", r#"{"ProductID":1}"#));
    assert_eq!(lyon.upload(&mut bench).unwrap().taken, 3);
    lyon.sync(&mut bench);
    lyon.answered(&[(1, "rejected", "malformed"), (2, "rejected", ""), (3, "applied", "")]);
    let row = bench.reader().write(&WriteId::edge(&node("lyon"), &lyon.database, 1)).unwrap().unwrap();
    assert!(row.ops.is_empty());
}

/// The record that holds a write's effect has a newer version by the time it travels: the outcome still comes first.
pub(super) fn outcomes_come_before_newest_records<F: Fixture>() {
    let mut bench = shops::<F>();
    bench.put("products", "1", r#"{"ProductID":1,"UnitsInStock":20}"#);
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.sync(&mut bench);
    let seen = bench.head();
    lyon.commit(increment("1", seen, -3));
    lyon.upload(&mut bench).unwrap();
    bench.put("products", "1", r#"{"ProductID":1,"UnitsInStock":17,"ProductName":"Chai"}"#);
    bench.put("products", "2", r#"{"ProductID":2}"#);
    lyon.batches.clear();
    lyon.sync(&mut bench);
    let kinds: Vec<_> = lyon.batches[0].entries.iter().map(|entry| matches!(entry, Entry::Outcome { .. })).collect();
    assert_eq!(kinds, [true, false, false]);
    lyon.same_as_cloud(&mut bench);
}

pub(super) fn touched_names_whom_to_wake<F: Fixture>() {
    let mut bench = shops::<F>();
    bench.put("stock", "a", r#"{"W":"lyon"}"#);
    let lyon_share = Share { collection: name("stock"), partition: Some("lyon".to_owned()) };
    let oslo_share = Share { collection: name("stock"), partition: Some("oslo".to_owned()) };
    assert_eq!(bench.touched.shares.iter().collect::<Vec<_>>(), [&lyon_share]);
    assert!(bench.touched.nodes.is_empty());
    bench.put("stock", "a", r#"{"W":"oslo"}"#);
    assert_eq!(bench.touched.shares.iter().collect::<Vec<_>>(), [&lyon_share, &oslo_share]);
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.commit(vec![op("stock", "a", 0, Body::Delete { force: false })]);
    lyon.upload(&mut bench).unwrap();
    assert_eq!(bench.touched.nodes.iter().collect::<Vec<_>>(), [&node("lyon")]);
    bench.label("lyon", &[("site", Some("paris"))]);
    assert_eq!(bench.touched.nodes.iter().collect::<Vec<_>>(), [&node("lyon")]);
    let head = bench.head();
    assert_eq!(bench.touched.head.0, head);
}
