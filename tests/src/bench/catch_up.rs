//! A fresh node takes everything: from the start of its process until it is durably at the head.

use std::time::{Duration, Instant};

use super::file::EdgeFile;
use super::machine::Meter;
use super::report::{Bound, Figure, Runs, Unit, rate};
use super::stage::{self, Stage};
use super::{Settings, pace};

const RECORDS: usize = 100_000;
/// What others were measured with.
const FEW: usize = 10_000;

pub(super) fn run(settings: Settings) -> Vec<Figure> {
    let mut stage = Stage::with(RECORDS);
    let cloud = stage.world.cloud.process().id();
    let import = rate(RECORDS, stage.imported_in);
    let meter = Meter::start(&[("cloud", cloud)]);
    let near = Runs::of(settings.runs, |run| rate(RECORDS, fresh(&stage, &format!("near{run}"), Duration::ZERO)));
    let cost = meter.each(RECORDS * settings.runs);
    let far = Runs::of(settings.runs, |run| rate(RECORDS, fresh(&stage, &format!("far{run}"), Duration::from_millis(25))));
    let small = Stage::with(FEW);
    let few = Runs::of(settings.runs, |run| fresh(&small, &format!("few{run}"), Duration::ZERO).as_secs_f64());
    vec![
        Figure::new("catch-up of a fresh node, 100,000 records, 0 ms RTT", near.median(), Unit::PerSecond)
            .budget(Bound::AtLeast(20_000.0))
            .aim(Bound::AtLeast(50_000.0))
            .detail(format!("{}; start of the process included; {cost}", near.spread())),
        Figure::new("the same at 50 ms RTT", far.median(), Unit::PerSecond)
            .budget(Bound::AtLeast(10_000.0))
            .aim(Bound::AtLeast(50_000.0))
            .detail(format!("{}; delay above the kernel, no loss", far.spread())),
        Figure::new("first sync of 10,000 records", few.median(), Unit::Seconds).detail(few.spread()),
        Figure::new("import of 100,000 records into the cloud", import, Unit::PerSecond).detail("1 run, by the CLI over HTTPS"),
    ]
}

/// How long a node that has just joined needs.
fn fresh(stage: &Stage, name: &str, one_way: Duration) -> Duration {
    let mut edge = stage.node(name);
    let line = (!one_way.is_zero()).then(|| stage::path_to(stage.world.cloud.ws, one_way));
    if let Some(line) = &line {
        stage::route(&edge, line.address());
    }
    let begun = Instant::now();
    edge.start();
    let records = stage.records as u64;
    EdgeFile::open(&edge.data).wait("all records at the edge", |at| at.records >= records && at.filling == 0);
    let took = begun.elapsed();
    acknowledged(stage, name);
    edge.stop();
    took
}

/// The hub knows it too.
fn acknowledged(stage: &Stage, name: &str) {
    let mut cloud = stage.world.cloud.client();
    pace::poll("the acknowledgement at the cloud", Duration::from_millis(5), || {
        let node = cloud.get(&format!("/v1/nodes/{name}")).ok()?.json();
        (node["sync"]["state"] == "in-sync").then_some(())
    });
}
