//! The edge was away while the cloud changed records: from the link's return until it is in sync.

use std::time::Duration;

use super::Settings;
use super::cloud_write::change;
use super::file::EdgeFile;
use super::report::{Bound, Figure, Runs, Unit};
use super::stage::{self, COLLECTION, Stage, offline, product};

const RECORDS: usize = 10_000;
const CHANGED: usize = 1_000;
const WRITERS: usize = 4;

pub(super) fn run(settings: Settings) -> Vec<Figure> {
    let stage = Stage::with(RECORDS);
    let line = stage::path_to(stage.world.cloud.ws, Duration::ZERO);
    let edge = stage.settled_through("lyon", line.address());
    let returned = |change: &dyn Fn(usize) -> u64, run| {
        line.cut();
        offline(&edge);
        let newest = change(run);
        line.mend();
        EdgeFile::open(&edge.data).wait("the changes at the edge", |at| at.cursor >= newest && at.filling == 0);
        line.reached().expect("a connection").elapsed().as_secs_f64()
    };
    let single = Runs::of(settings.runs, |run| returned(&|run| change(&stage, WRITERS, CHANGED, run), run));
    let whole = Runs::of(settings.runs, |run| returned(&|run| import(&stage, run), run));
    let how = "from the connection on, handshake included, back-off not";
    vec![
        Figure::new("1,000 records changed while away: link up → in sync", single.median(), Unit::Seconds)
            .budget(Bound::AtMost(1.0))
            .aim(Bound::AtMost(0.3))
            .detail(format!("{}; {how}", single.spread())),
        Figure::new("the same, changed by one import", whole.median(), Unit::Seconds)
            .budget(Bound::AtMost(1.0))
            .aim(Bound::AtMost(0.3))
            .detail(whole.spread()),
    ]
}

/// Changes the same records in one transaction; its revision.
fn import(stage: &Stage, run: usize) -> u64 {
    let changed = |n| product(n).replace("box of 100", &format!("box of {:03}", 200 + run));
    let lines: String = (0..CHANGED).map(|n| changed(n) + "\n").collect();
    let path = format!("/v1/collections/{COLLECTION}/import");
    let headers = [("content-type", "application/x-ndjson")];
    let answer = stage.world.cloud.client().send("POST", &path, &headers, Some(lines.as_bytes())).expect("an answer").ok(200);
    assert_eq!(answer["changed"], CHANGED, "{answer}");
    answer["revision"].as_u64().expect("a revision")
}
