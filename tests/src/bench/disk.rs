//! Bytes that local writes cause on the disk (a card in a Pi wears out): what the kernel counted for this process, the
//! final checkpoint included.

use std::time::Instant;

use super::report::{Bound, Figure, Unit};
use super::stage::{DEFINITION, Stage, database, scatter};
use super::{Settings, library, machine};
use crate::shops::Edge;
use metamanager::LocalWrite;

const RECORDS: usize = 10_000;
const WRITES: usize = 20_000;

pub(super) fn run(_: Settings) -> Vec<Figure> {
    let mut stage = Stage::with(RECORDS);
    let mut edge = stage.settled("lyon");
    stage.world.cloud.stop();
    edge.stop();
    let next_keys = measure(&edge, 10, |n| library::create(1_000_000 + n));
    let any_keys = measure(&edge, 10, |n| library::create(2_000_000 + scatter(n, WRITES)));
    let changes = measure(&edge, 10, |n| library::reprice(scatter(n, RECORDS), n));
    let named = measure(&edge, 10, |n| library::named(library::create(4_000_000 + n), &format!("sale-{n:012}")));
    let any_names = measure(&edge, 10, |n| library::named(library::create(5_000_000 + n), &format!("{:012}", scatter(n, WRITES))));
    let alone = measure(&edge, 1, |n| library::create(3_000_000 + n));
    let (_stage, with_index) = indexed();
    let indexed = measure(&with_index, 10, |n| library::create(1_000_000 + n));
    let figure = |what: &str, bytes: f64| Figure::new(what, bytes, Unit::Bytes);
    let judged = |what: &str, bytes| figure(what, bytes).budget(Bound::AtMost(12_000.0)).aim(Bound::AtMost(8_000.0));
    vec![
        judged("bytes to disk a local write, 10 a commit, new records of 400 bytes, rising keys", next_keys)
            .detail(format!("{WRITES} writes, final checkpoint included")),
        judged("the same, keys in no order", any_keys),
        judged("the same, one field of 10,000 records changed in no order", changes),
        judged("the same, new records, rising keys, each with an Idempotency-Key that rises too", named),
        figure("the same, Idempotency-Keys in no order", any_names),
        figure("the same, rising keys, one declared index of 97 values", indexed),
        figure("the same, new records, one a commit", alone),
    ]
}

/// A node whose products have an index; its files are the stage's.
fn indexed() -> (Stage, Edge) {
    let mut stage = Stage::with(RECORDS);
    stage.world.cloud.define(&DEFINITION.replace("[collection.fields]", "indexes = [\"Category\"]\n[collection.fields]"));
    let mut edge = stage.settled("paris");
    stage.world.cloud.stop();
    edge.stop();
    (stage, edge)
}

/// Bytes a write, `group` writes a commit.
fn measure(edge: &Edge, group: usize, write: impl Fn(usize) -> LocalWrite) -> f64 {
    let mut store = library::store(&database(edge));
    let begun = Instant::now();
    let before = machine::written("self");
    for first in (0..WRITES).step_by(group) {
        let writes = (first..first + group).map(&write).collect();
        store.commit(library::now(begun), writes).into_iter().for_each(|answer| drop(answer.expect("a commit")));
    }
    store.checkpoint().expect("a checkpoint");
    (machine::written("self") - before) / WRITES as f64
}
