//! Resident memory of both hubs with 10,000 records and a link that is up.

use std::time::Duration;

use super::load::{self, Until};
use super::machine::{self, Memory};
use super::report::{Bound, Figure, Unit};
use super::stage::Stage;
use super::{Settings, pace};

const RECORDS: usize = 10_000;
/// After this nothing changes any more.
const SETTLES: Duration = Duration::from_secs(5);

pub(super) fn run(_: Settings) -> Vec<Figure> {
    let mut stage = Stage::with(RECORDS);
    let mut edge = stage.settled("lyon");
    pace::pause(SETTLES);
    let first = machine::memory(edge.process().id());
    let cloud = machine::memory(stage.world.cloud.process().id());
    load::run(edge.api, 32, Until::Elapsed(Duration::from_secs(3)), 200, load::reading(edge.api, RECORDS));
    pace::pause(SETTLES);
    let loaded = machine::memory(edge.process().id());
    edge.stop();
    edge.start();
    stage.settle(&edge);
    pace::pause(SETTLES);
    let fresh = machine::memory(edge.process().id());
    stage.world.cloud.stop();
    stage.world.cloud.start();
    stage.settle(&edge);
    pace::pause(SETTLES);
    let cloud_fresh = machine::memory(stage.world.cloud.process().id());
    let edge_figure = |what: &str, memory: Memory| figure(what, memory).budget(Bound::AtMost(12.0)).aim(Bound::AtMost(8.0));
    vec![
        edge_figure("edgehub resident, idle, connected, 10,000 records, fresh start", fresh),
        edge_figure("the same in the process that took the 10,000 records", first),
        figure("the same after 3 s of reads by 32 clients", loaded),
        figure("cloudhub resident, 10,000 records, one node, fresh start", cloud_fresh),
        figure("the same in the process that imported them", cloud),
    ]
}

fn figure(what: &str, memory: Memory) -> Figure {
    Figure::new(what, memory.rss, Unit::MiB)
        .detail(format!("VmRSS; PSS {:.1} MiB, of it {:.1} MiB no file's", memory.pss, memory.anonymous))
}
