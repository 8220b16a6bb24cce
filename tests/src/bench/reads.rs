//! Point reads at the edge.

use std::time::{Duration, Instant};

use super::load::{self, Until};
use super::report::{Bound, Figure, Runs, Unit, rate};
use super::stage::{Stage, database, scatter};
use super::{Settings, library};

const RECORDS: usize = 10_000;
const SPAN: Duration = Duration::from_secs(3);
const WARM: Duration = Duration::from_millis(500);

pub(super) fn run(settings: Settings) -> Vec<Figure> {
    let stage = Stage::with(RECORDS);
    let mut edge = stage.settled("lyon");
    let load = |clients, span| load::run(edge.api, clients, Until::Elapsed(span), 200, load::reading(edge.api, RECORDS));
    load(32, WARM);
    let mut figures: Vec<Figure> = [1, 8]
        .iter()
        .map(|clients| {
            let met = load(*clients, SPAN);
            Figure::new(format!("edge point reads through HTTP, {clients} at once"), met.rate(), Unit::PerSecond).detail(met.percentiles())
        })
        .collect();
    let mut slowest = Vec::new();
    let many = Runs::of(settings.runs, |_| {
        let met = load(32, SPAN);
        slowest.push(met.latencies.percentile(0.99));
        met.rate()
    });
    slowest.sort_by(f64::total_cmp);
    edge.stop();
    figures.extend([
        Figure::new("edge point reads through HTTP, 32 clients", many.median(), Unit::PerSecond)
            .budget(Bound::AtLeast(20_000.0))
            .aim(Bound::AtLeast(40_000.0))
            .detail(format!("{}; 10,000 records of 400 bytes, link up; the clients share the two cores", many.spread())),
        Figure::new("the same, p99", slowest[slowest.len() / 2], Unit::Milliseconds).budget(Bound::AtMost(2.0)),
    ]);
    let database = library::open(&database(&edge));
    for threads in [1, 2] {
        let runs = Runs::of(settings.runs, |_| through_library(&database, threads));
        let figure = Figure::new(format!("edge point reads through the library, {threads} thread(s)"), runs.median(), Unit::PerSecond);
        figures.push(figure.budget(Bound::AtLeast(200_000.0)).detail(runs.spread()));
    }
    figures
}

/// Reads a second by so many threads.
fn through_library(database: &metamanager::Metamanager, threads: usize) -> f64 {
    let collection = library::collection();
    let keys: Vec<_> = (0..RECORDS).map(|n| library::parsed_key(scatter(n, RECORDS))).collect();
    let reader = |first: usize| {
        let begun = Instant::now();
        let mut count = 0;
        while begun.elapsed() < SPAN {
            // The clock is read once in a hundred: it costs a tenth of a read.
            for key in keys.iter().cycle().skip((first + count) % RECORDS).take(100) {
                assert!(database.get(&collection, key).expect("a read").is_some());
            }
            count += 100;
        }
        rate(count, begun.elapsed())
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..threads).map(|thread| scope.spawn(move || reader(thread * RECORDS / 2))).collect();
        readers.into_iter().map(|reader| reader.join().expect("a reader")).sum()
    })
}
