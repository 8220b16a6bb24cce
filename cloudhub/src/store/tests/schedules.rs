//! Named schedules of docs/design.md §12 that are the store's to get right.

use proto::frame::{Content, Entry};
use proto::ids::Position;
use proto::op::Body;

use super::bench::{Bench, Fixture, put_op};
use super::edge::{Edge, op, put, set};
use super::shops;
use crate::store::StoreRead;

fn records<F: Fixture>(bench: &mut Bench<F>, edge: &mut Edge) -> Vec<String> {
    edge.batches.clear();
    edge.sync(bench);
    let word = |content: &Content| match content {
        Content::Value(_) => "value",
        Content::Deleted => "deleted",
        Content::Left => "left",
    };
    let entries = edge.batches.iter().flat_map(|batch| &batch.entries);
    entries
        .filter_map(|entry| match entry {
            Entry::Record(record) => Some(format!("{} {}", record.key, word(&record.content))),
            Entry::Outcome { .. } => None,
        })
        .collect()
}

/// A hundred changes of one record while the node was away are one record on the link.
pub(super) fn newest_version_resend<F: Fixture>() {
    let mut bench = shops::<F>();
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.sync(&mut bench);
    for stock in 0..100 {
        bench.put("products", "1", &format!(r#"{{"ProductID":1,"UnitsInStock":{stock}}}"#));
    }
    assert_eq!(records(&mut bench, &mut lyon), ["1 value"]);
    // An ACK was lost: the same stretch again, and once more after a change.
    let cursor = lyon.cursor.clone();
    bench.put("products", "1", r#"{"ProductID":1,"UnitsInStock":500}"#);
    assert_eq!(records(&mut bench, &mut lyon), ["1 value"]);
    lyon.cursor = cursor;
    assert_eq!(records(&mut bench, &mut lyon), ["1 value"]);
    lyon.same_as_cloud(&mut bench);
}

/// A record of a large revision is changed again between two parts: the revision completes without it, the newer version
/// follows, nothing goes back.
pub(super) fn torn_coalesce<F: Fixture>() {
    let mut bench = shops::<F>();
    let mut lyon = Edge::new("lyon", 1);
    lyon.bounds = (4, 256 * 1024);
    lyon.connect(&mut bench);
    lyon.sync(&mut bench);
    let ops = (0..10).map(|at| put_op("products", &at.to_string(), &format!(r#"{{"ProductID":{at}}}"#))).collect();
    let big = bench.write(ops).unwrap().write.revision;
    lyon.batches.clear();
    assert!(!lyon.step(&mut bench));
    assert_eq!(lyon.position().revision.0, big.0 - 1);
    assert_eq!(lyon.holds("products"), 0, "no part is visible alone");
    bench.put("products", "9", r#"{"ProductID":9,"ProductName":"newer"}"#);
    bench.put("products", "0", r#"{"ProductID":0,"ProductName":"newer"}"#);
    lyon.sync(&mut bench);
    assert_eq!(lyon.holds("products"), 10);
    lyon.same_as_cloud(&mut bench);
}

/// `600-in-one-revision`: parts of 256, cut after the first, and a new session.
pub(super) fn six_hundred_in_one_revision<F: Fixture>() {
    let mut bench = shops::<F>();
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.sync(&mut bench);
    let before = lyon.position();
    let ops = (0..600).map(|at| put_op("products", &at.to_string(), &format!(r#"{{"ProductID":{at}}}"#))).collect();
    bench.write(ops).unwrap();
    assert!(!lyon.step(&mut bench));
    assert_eq!(lyon.batches.last().unwrap().entries.len(), 256);
    assert!(lyon.position().inside.is_some());
    assert_eq!(lyon.holds("products"), 0);
    // The session breaks; the part was not acknowledged.
    lyon.cursor.as_mut().unwrap().position = before;
    lyon.connect(&mut bench);
    lyon.batches.clear();
    lyon.sync(&mut bench);
    let sizes: Vec<_> = lyon.batches.iter().map(|batch| batch.entries.len()).collect();
    assert_eq!(sizes, [256, 256, 88]);
    assert_eq!(lyon.position(), Position::at(super::bench::revision(bench.head())));
    lyon.same_as_cloud(&mut bench);
}

pub(super) fn move_away_and_back<F: Fixture>() {
    let mut bench = shops::<F>();
    bench.label("oslo", &[("site", Some("oslo,bergen"))]);
    let (mut lyon, mut oslo) = (Edge::new("lyon", 1), Edge::new("oslo", 2));
    lyon.connect(&mut bench);
    oslo.connect(&mut bench);
    bench.put("stock", "a", r#"{"W":"lyon","n":1}"#);
    assert_eq!(records(&mut bench, &mut lyon), ["a value"]);
    assert_eq!(records(&mut bench, &mut oslo), [""; 0]);
    bench.put("stock", "a", r#"{"W":"oslo","n":2}"#);
    assert_eq!(records(&mut bench, &mut lyon), ["a left"]);
    assert_eq!(records(&mut bench, &mut oslo), ["a value"]);
    // Between two partitions of one node the record itself says where it went.
    bench.put("stock", "a", r#"{"W":"bergen","n":3}"#);
    assert_eq!(records(&mut bench, &mut oslo), ["a value"]);
    // Away and back while the node is away: only what is now.
    bench.put("stock", "a", r#"{"W":"lyon","n":4}"#);
    bench.put("stock", "a", r#"{"W":"paris","n":5}"#);
    bench.put("stock", "a", r#"{"W":"lyon","n":6}"#);
    assert_eq!(records(&mut bench, &mut lyon), ["a value"]);
    // Into no partition, deleted there, made again elsewhere: the node hears once that it left.
    bench.put("stock", "a", r#"{"n":7}"#);
    bench.delete("stock", "a");
    assert_eq!(records(&mut bench, &mut lyon), ["a left"]);
    bench.put("stock", "b", r#"{"W":"lyon"}"#);
    bench.delete("stock", "b");
    assert_eq!(records(&mut bench, &mut lyon), ["b deleted"]);
    bench.put("stock", "b", r#"{"W":"oslo"}"#);
    assert_eq!(records(&mut bench, &mut lyon), ["b left"]);
    for edge in [&mut lyon, &mut oslo] {
        edge.sync(&mut bench);
        edge.same_as_cloud(&mut bench);
        assert!(edge.batches.iter().flat_map(|batch| &batch.entries).all(|entry| match entry {
            Entry::Record(record) => record.content != Content::Left || (record.writer.is_empty() && record.updated_ms == 0),
            Entry::Outcome { .. } => true,
        }));
    }
}

/// `key-taken-leak`: a key that is taken outside the writer's grants is answered, and tells nothing else.
pub(super) fn key_taken_leak<F: Fixture>() {
    let mut bench = shops::<F>();
    bench.put("stock", "a", r#"{"W":"oslo","secret":"swordfish"}"#);
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.commit(put("stock", "a", r#"{"W":"lyon"}"#));
    lyon.commit(set("stock", "a", bench.head(), "n", "1"));
    lyon.commit(vec![op("stock", "a", bench.head(), Body::Check(vec![("secret".to_owned(), None)]))]);
    lyon.upload(&mut bench).unwrap();
    lyon.sync(&mut bench);
    lyon.answered(&[(1, "rejected", "key_taken"), (2, "rejected", "not_entitled"), (3, "rejected", "not_entitled")]);
    assert!(!format!("{:?}", lyon.batches).contains("swordfish"));
    assert_eq!((lyon.holds("stock"), lyon.holds("_conflicts")), (0, 0));
    assert!(!bench.reader().conflicts(&Default::default()).unwrap().0.is_empty(), "the cloud keeps what was lost");
}

pub(super) fn relabel_while_away<F: Fixture>() {
    let mut bench = shops::<F>();
    bench.put("stock", "a", r#"{"W":"lyon"}"#);
    bench.put("stock", "b", r#"{"W":"paris"}"#);
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.sync(&mut bench);
    assert!(lyon.value("stock", "a").is_some());
    bench.label("lyon", &[("site", Some("paris"))]);
    bench.put("stock", "a", r#"{"W":"lyon","n":2}"#);
    lyon.connect(&mut bench);
    assert!(lyon.value("stock", "a").is_none(), "gone with the grant");
    lyon.sync(&mut bench);
    assert!(lyon.value("stock", "b").is_some());
    // Away and back again: another grant of the same partition, filled anew.
    bench.label("lyon", &[("site", Some("lyon"))]);
    bench.put("stock", "c", r#"{"W":"paris"}"#);
    bench.label("lyon", &[("site", Some("paris"))]);
    lyon.connect(&mut bench);
    assert!(lyon.value("stock", "b").is_none());
    lyon.sync(&mut bench);
    assert_eq!(lyon.holds("stock"), 2);
    lyon.same_as_cloud(&mut bench);
}

pub(super) fn conflicts_move_with_their_record<F: Fixture>() {
    let mut bench = shops::<F>();
    bench.put("stock", "a", r#"{"W":"lyon","name":"x"}"#);
    let (mut lyon, mut oslo) = (Edge::new("lyon", 1), Edge::new("oslo", 2));
    lyon.connect(&mut bench);
    oslo.connect(&mut bench);
    lyon.sync(&mut bench);
    let seen = bench.head();
    bench.put("stock", "a", r#"{"W":"lyon","name":"cloud"}"#);
    lyon.commit(set("stock", "a", seen, "name", "\"edge\""));
    lyon.upload(&mut bench).unwrap();
    lyon.sync(&mut bench);
    lyon.answered(&[(1, "merged", "")]);
    assert_eq!(lyon.holds("_conflicts"), 1);
    let id = lyon.outcome(1).conflicts[0].clone();
    let row = bench.reader().conflict(&id).unwrap().unwrap();
    assert_eq!((row.collection.as_str(), row.key.as_str(), row.state.as_str()), ("stock", "a", "auto"));
    bench.put("stock", "a", r#"{"W":"oslo","name":"z"}"#);
    lyon.sync(&mut bench);
    oslo.sync(&mut bench);
    assert_eq!((lyon.holds("_conflicts"), lyon.holds("stock")), (0, 0));
    assert_eq!((oslo.holds("_conflicts"), oslo.holds("stock")), (1, 1));
    assert!(oslo.value("_conflicts", &id).is_some());
}
