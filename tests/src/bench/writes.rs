//! Durable writes at the edge: each is a new record of 400 bytes, answered after its fsync.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::load::{self, Until};
use super::report::{Bound, Figure, Runs, Unit, rate};
use super::stage::{Stage, database, offline};
use super::{Settings, library};

const RECORDS: usize = 10_000;
const SPAN: Duration = Duration::from_secs(3);
const WARM: Duration = Duration::from_millis(500);
const CLIENTS: usize = 32;
/// New keys start here, and are never used twice.
static NEXT: AtomicUsize = AtomicUsize::new(1_000_000);

pub(super) fn run(settings: Settings) -> Vec<Figure> {
    let mut stage = Stage::with(RECORDS);
    let mut edge = stage.settled("lyon");
    let load = |clients, span| {
        let met = load::run(edge.api, clients, Until::Elapsed(span), 201, load::creating(edge.api, NEXT.load(Ordering::Relaxed)));
        NEXT.fetch_add(met.latencies.count() + clients, Ordering::Relaxed);
        met
    };
    load(CLIENTS, WARM);
    let up = load(CLIENTS, SPAN);
    stage.world.cloud.kill();
    offline(&edge);
    let alone = load(1, SPAN);
    let mut slowest = Vec::new();
    let down = Runs::of(settings.runs, |_| {
        let met = load(CLIENTS, SPAN);
        slowest.push(met.latencies.percentile(0.99));
        met.rate()
    });
    edge.stop();
    slowest.sort_by(f64::total_cmp);
    let mut figures = vec![
        Figure::new("edge durable writes through HTTP, 32 clients, link down", down.median(), Unit::PerSecond)
            .budget(Bound::AtLeast(3_000.0))
            .aim(Bound::AtLeast(10_000.0))
            .detail(format!("{}; p99 {:.1} ms; new records of 400 bytes", down.spread(), slowest[slowest.len() / 2])),
        Figure::new("the same, link up", up.rate(), Unit::PerSecond)
            .budget(Bound::AtLeast(3_000.0))
            .aim(Bound::AtLeast(10_000.0))
            .detail(format!("{}; the outbox drains on the same two cores", up.percentiles())),
        Figure::new("the same, link down, one at a time", alone.rate(), Unit::PerSecond).detail(alone.percentiles()),
    ];
    let database = library::open(&database(&edge));
    for threads in [1, CLIENTS] {
        let runs = Runs::of(settings.runs, |_| through_library(&database, threads));
        let what = format!("edge durable writes through the library, {threads} thread(s)");
        figures.push(Figure::new(what, runs.median(), Unit::PerSecond).detail(runs.spread()));
    }
    figures
}

/// Writes a second by so many threads, each waiting for its own.
fn through_library(database: &metamanager::Metamanager, threads: usize) -> f64 {
    let begun = Instant::now();
    let writer = || {
        let mut count = 0;
        while begun.elapsed() < SPAN {
            database.commit(library::create(NEXT.fetch_add(1, Ordering::Relaxed))).expect("a commit");
            count += 1;
        }
        count
    };
    let count = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..threads).map(|_| scope.spawn(writer)).collect();
        writers.into_iter().map(|writer| writer.join().expect("a writer")).sum()
    });
    rate(count, begun.elapsed())
}
