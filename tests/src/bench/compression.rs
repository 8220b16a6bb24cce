//! What compression saves: the trading company's tables down to a fresh node, and its orders up from one that was away.

use std::time::Duration;

use super::report::{Figure, Unit};
use super::{Settings, pace};
use crate::northwind::{DEFINITIONS, TABLES, Tables, tables};
use crate::shops::{Edge, World};

/// A collection that nodes fill, with the shape of the orders.
const MADE_HERE: &str = "\n[[collection]]\nname = \"made_here\"\nkey = \"OrderID\"\n";

pub(super) fn run(_: Settings) -> Vec<Figure> {
    let tables = tables();
    let mut figures = Vec::new();
    for transport in ["websocket", "quic"] {
        let (plain, packed) = (Passed::over(transport, false, &tables), Passed::over(transport, true, &tables));
        for (what, plain, packed) in
            [("first sync of Northwind", plain.down, packed.down), ("830 orders written while away", plain.up, packed.up)]
        {
            let detail = format!("{} bytes without: {:.1} times as many; TLS included", plain, plain / packed);
            figures.push(Figure::new(format!("{what}, bytes on the wire over {transport}"), packed, Unit::Bytes).detail(detail));
        }
    }
    figures
}

/// Bytes on the wire as the hub counted them.
struct Passed {
    down: f64,
    up: f64,
}

impl Passed {
    /// A hub and a fresh node; nothing is left of it.
    fn over(transport: &str, compression: bool, tables: &Tables) -> Self {
        let mut world = World::new(&[]);
        world.cloud.define(&format!("{DEFINITIONS}{MADE_HERE}"));
        let file = |table: &str| tables.folder.join(format!("{table}.ndjson")).display().to_string();
        for (table, _) in TABLES {
            world.cloud.cli(&["record", "import", table, &file(table)]).done();
        }
        let mut edge = world.join("lyon", &[]);
        edge.transport = transport.to_owned();
        // The join wrote [link] last.
        edge.configure(&format!("compression = {compression}"));
        edge.start();
        settle(&world, &edge);
        let down = counted(&world, "sent");
        world.cloud.stop();
        edge.cli(&["record", "import", "made_here", &file("orders")]).done();
        world.cloud.start();
        settle(&world, &edge);
        Self { down, up: counted(&world, "received") }
    }
}

fn settle(world: &World, edge: &Edge) {
    pace::poll("a node in sync", Duration::from_millis(20), || {
        let here = edge.client().get("/v1/status").ok()?.json();
        let there = world.cloud.client().get(&format!("/v1/nodes/{}", edge.name)).ok()?.json();
        let settled = here["sync"]["state"] == "in-sync" && here["outbox"]["writes"] == 0;
        (settled && there["state"] == "online" && there["sync"]["state"] == "in-sync").then_some(())
    });
}

/// Bytes of the one node since the hub started.
fn counted(world: &World, direction: &str) -> f64 {
    let metrics = world.cloud.client().get("/metrics").expect("the metrics").body;
    let text = String::from_utf8_lossy(&metrics).into_owned();
    let name = format!("tombolo_node_{direction}_bytes_total");
    let line = text.lines().find(|line| line.starts_with(&name)).expect("a line of the node");
    line.rsplit(' ').next().and_then(|figure| figure.parse().ok()).expect("a number")
}
