//! What was deleted or moved long ago is forgotten, and nobody misses it.

use proto::session::cloud::Scan;

use super::bench::{Bench, Fixture, node, op, put_op};
use super::edge::{Edge, increment};
use super::shops;
use crate::store::{CloudWrite, Job, ScanRequest, Store, StoreError, StoreRead};
use proto::build::Action;

const DAY_MS: u64 = 86_400_000;

fn tidy<F: Fixture>(bench: &mut Bench<F>, days: u64) {
    bench.now_ms += days * DAY_MS;
    let now_ms = bench.now_ms;
    while bench.store().tidy(now_ms).unwrap().1 {}
}

/// A shop with three products, and one in its warehouse.
fn stocked<F: Fixture>() -> (Bench<F>, Edge) {
    let mut bench = shops::<F>();
    for id in 1..4 {
        bench.put("products", &id.to_string(), &format!(r#"{{"ProductID":{id},"UnitsInStock":5}}"#));
    }
    bench.put("stock", "a", r#"{"W":"lyon"}"#);
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.sync(&mut bench);
    (bench, lyon)
}

fn reads<F: Fixture>(bench: &mut Bench<F>, lyon: &Edge) -> Result<(), StoreError> {
    let scan = Scan::plain(lyon.position(), Vec::new(), lyon.told(), 256, 256 * 1024);
    bench.reader().scan(&ScanRequest { peer: lyon.peer(), scan: &scan }).map(drop)
}

pub(super) fn a_floor_ends_a_stream_and_begins_a_back_fill<F: Fixture>() {
    let (mut bench, mut lyon) = stocked::<F>();
    bench.delete("products", "1");
    bench.put("stock", "a", r#"{"W":"oslo"}"#);
    tidy(&mut bench, 29);
    reads(&mut bench, &lyon).unwrap();
    tidy(&mut bench, 2);
    let below = reads(&mut bench, &lyon).unwrap_err();
    assert!(matches!(below, StoreError::BelowFloor { .. }), "{below}");
    let head = bench.head();
    lyon.connect(&mut bench);
    assert_eq!(bench.head(), head + 1, "given anew, at a revision");
    let open: Vec<_> = lyon.fills.iter().map(|fill| fill.grant.share.collection.to_string()).collect();
    assert_eq!(open, ["_conflicts", "_conflicts", "products", "stock"]);
    // A session that breaks here does not begin it again.
    let since: Vec<_> = lyon.fills.iter().map(|fill| fill.grant.since).collect();
    lyon.connect(&mut bench);
    assert_eq!(lyon.fills.iter().map(|fill| fill.grant.since).collect::<Vec<_>>(), since);
    reads(&mut bench, &lyon).unwrap();
    lyon.sync(&mut bench);
    lyon.same_as_cloud(&mut bench);
    assert_eq!((lyon.holds("products"), lyon.holds("stock")), (2, 0));
    let kinds: Vec<_> = bench.reader().events(&node("lyon")).unwrap().unwrap().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "below_floor").count(), 1);
}

/// Who has come past it reads on, whoever else did not.
pub(super) fn a_floor_below_the_cursor_is_nothing<F: Fixture>() {
    let (mut bench, mut lyon) = stocked::<F>();
    bench.delete("products", "1");
    lyon.sync(&mut bench);
    tidy(&mut bench, 31);
    reads(&mut bench, &lyon).unwrap();
    let head = bench.head();
    lyon.connect(&mut bench);
    assert_eq!((bench.head(), lyon.fills.len()), (head, 0));
    // A sale of what is gone and forgotten is kept.
    lyon.commit(increment("1", 1, -3));
    lyon.upload(&mut bench).unwrap();
    lyon.sync(&mut bench);
    lyon.answered(&[(1, "flagged", "gone")]);
}

/// An append record that an administrator removed keeps its key and its hash for ever; of it no floor tells.
pub(super) fn removed_appends_are_remembered<F: Fixture>() {
    let mut bench = shops::<F>();
    bench.define("sales", r#"{"policy":"append","tombstone_retention":"1d"}"#);
    bench.put("sales", "s1", r#"{"q":3}"#);
    let ops = vec![op("sales", "s1", Action::Delete { force: true })];
    bench
        .job(Job::Write(Box::new(CloudWrite { ops, admin: true, actor: None, request_id: None, caller: String::new(), idempotency: None })))
        .unwrap();
    tidy(&mut bench, 90);
    assert!(bench.write(vec![put_op("sales", "s1", r#"{"q":4}"#)]).is_err(), "its key is taken for ever");
}
