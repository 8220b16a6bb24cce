//! Writes that were made offline go up: from the link's return until the outbox is empty, every outcome durable.

use std::time::Duration;

use super::Settings;
use super::file::EdgeFile;
use super::load::{self, Until};
use super::machine::Meter;
use super::report::{Bound, Figure, Runs, Unit, rate};
use super::stage::{self, Stage, offline};

const RECORDS: usize = 1_000;
const MANY: usize = 20_000;
/// What others were measured with.
const FEW: usize = 5_000;
const CLIENTS: usize = 32;

pub(super) fn run(settings: Settings) -> Vec<Figure> {
    let mut stage = Stage::with(RECORDS);
    let line = stage::path_to(stage.world.cloud.ws, Duration::ZERO);
    let mut edge = stage.settled_through("lyon", line.address());
    let processes = [("cloud", stage.world.cloud.process().id()), ("edge", edge.process().id())];
    let mut first = 1_000_000;
    let mut costs = String::new();
    let mut drain = |writes: usize, costs: &mut String| {
        line.cut();
        offline(&edge);
        load::run(edge.api, CLIENTS, Until::Requests(writes), 201, load::creating(edge.api, first));
        first += writes;
        let file = EdgeFile::open(&edge.data);
        assert_eq!(file.standing().outbox, writes as u64, "nothing went up while the line was cut");
        let meter = Meter::start(&processes);
        line.mend();
        file.wait("an empty outbox", |at| at.outbox == 0);
        let took = line.reached().expect("a connection").elapsed();
        *costs = meter.each(writes);
        took
    };
    let many = Runs::of(settings.runs, |_| rate(MANY, drain(MANY, &mut costs)));
    let few = Runs::of(settings.runs, |_| drain(FEW, &mut String::new()).as_secs_f64());
    vec![
        Figure::new("outbox drain, 20,000 writes of 400 bytes", many.median(), Unit::PerSecond)
            .budget(Bound::AtLeast(5_000.0))
            .aim(Bound::AtLeast(10_000.0))
            .detail(format!("{}; {costs}", many.spread())),
        Figure::new("upload of 5,000 offline writes", few.median(), Unit::Seconds).detail(few.spread()),
    ]
}
