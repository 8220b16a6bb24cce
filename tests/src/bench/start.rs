//! From the start of the process to the first answered read, the cloud gone.

use std::time::{Duration, Instant};

use super::report::{Bound, Figure, Runs, Unit};
use super::stage::{Stage, VALUE_BYTES, database, key, path};
use super::{Settings, library, load};
use crate::shops::Edge;

const RECORDS: usize = 10_000;
const MANY: usize = 200_000;
/// A till's outbox after months offline.
const FULL: usize = 1_000_000;
/// Writes in one commit while the outbox is made.
const GROUP: usize = 500;

pub(super) fn run(settings: Settings) -> Vec<Figure> {
    let mut stage = Stage::with(RECORDS);
    let mut edge = stage.settled("lyon");
    stage.world.cloud.kill();
    edge.stop();
    let runs = settings.runs.max(5);
    let empty = Runs::of(runs, |_| stopped(&mut edge));
    let writes = if settings.full { FULL } else { MANY };
    fill(&edge, writes);
    let full = Runs::of(runs, |_| stopped(&mut edge));
    let killed = Runs::of(runs, |_| killed(&mut edge));
    let figure = |what: String, runs: &Runs| {
        Figure::new(what, runs.median(), Unit::Milliseconds)
            .budget(Bound::AtMost(300.0))
            .aim(Bound::AtMost(50.0))
            .detail(format!("{}; files in the page cache", runs.spread()))
    };
    vec![
        figure("start to the first answer, link down, empty outbox".into(), &empty),
        figure(format!("the same with {writes} writes in the outbox"), &full),
        figure("the same after kill -9 with 16 MiB in the log".into(), &killed),
    ]
}

/// Sales spread over all products.
fn fill(edge: &Edge, writes: usize) {
    let mut store = library::store(&database(edge));
    let begun = Instant::now();
    for first in (0..writes).step_by(GROUP) {
        let sales = (first..first + GROUP).map(|n| library::sell(n % RECORDS)).collect();
        store.commit(library::now(begun), sales).into_iter().for_each(|answer| drop(answer.expect("a commit")));
    }
    store.checkpoint().expect("a checkpoint");
}

/// Start, first answer, an orderly stop. Milliseconds.
fn stopped(edge: &mut Edge) -> f64 {
    let took = first_answer(edge);
    edge.stop();
    took
}

/// The same after a kill that leaves much to recover.
fn killed(edge: &mut Edge) -> f64 {
    edge.start();
    let bytes = 15 << 20;
    let requests = bytes / (10 * VALUE_BYTES);
    load::run(edge.api, 8, load::Until::Requests(requests), 200, load::repricing(edge.api, RECORDS));
    edge.kill();
    let took = first_answer(edge);
    edge.stop();
    took
}

fn first_answer(edge: &mut Edge) -> f64 {
    let begun = Instant::now();
    edge.start();
    edge.client().get(&path(&key(77))).expect("an answer").expect(200);
    let took: Duration = begun.elapsed();
    took.as_secs_f64() * 1e3
}
