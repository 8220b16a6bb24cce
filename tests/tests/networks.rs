//! Networks as they are: the built programs, and a path between them that fails on purpose (`tests/src/cut/`), over each
//! transport. What is looked at is what was done, not how long it took: what arrived, how often, and over which session.
//!
//! A path's fate follows from its seed, which a test that fails has printed. `TOMBOLO_SEED` sets another one.
#![allow(clippy::unwrap_used)]

#[path = "networks/crowd.rs"]
mod crowd;
#[path = "networks/datagrams.rs"]
mod datagrams;
#[path = "networks/far.rs"]
mod far;
#[path = "networks/narrow.rs"]
mod narrow;
#[path = "networks/outages.rs"]
mod outages;
#[path = "networks/resets.rs"]
mod resets;
#[path = "networks/silence.rs"]
mod silence;
#[path = "networks/timetable.rs"]
mod timetable;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};
use tests::cut::{Carried, Cut, Weather};
use tests::http::Client;
use tests::lab::dice::Dice;
use tests::shops::{SHOP, World};

/// What carries the links of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    WebSocket,
    Quic,
}

impl Carrier {
    const EACH: [Self; 2] = [Self::WebSocket, Self::Quic];

    /// As in the configuration.
    fn word(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Quic => "quic",
        }
    }

    fn carried(self) -> Carried {
        match self {
            Self::WebSocket => Carried::Tcp,
            Self::Quic => Carried::Udp,
        }
    }

    /// Where a cloud listens for it.
    fn port(self, world: &World) -> SocketAddr {
        match self {
            Self::WebSocket => world.cloud.ws,
            Self::Quic => world.cloud.quic.unwrap(),
        }
    }

    /// A path to a port of this carrier's.
    fn path(self, to: SocketAddr, weather: Weather) -> Cut {
        let seed = std::env::var("TOMBOLO_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        println!("{}: TOMBOLO_SEED={seed}", self.word());
        Cut::to(self.carried(), to, weather, seed).unwrap()
    }
}

/// Runs a test over each carrier, side by side: most of the time they wait.
fn over_each(test: impl Fn(Carrier) + Sync) {
    beside(&Carrier::EACH, |carrier| test(*carrier));
}

/// Runs a test for each case, side by side.
fn beside<T: std::fmt::Debug + Sync>(cases: &[T], test: impl Fn(&T) + Sync) {
    std::thread::scope(|scope| {
        let test = &test;
        let running: Vec<_> = cases.iter().map(|case| (case, scope.spawn(move || test(case)))).collect();
        let failed: Vec<_> = running.into_iter().filter_map(|(case, run)| run.join().is_err().then_some(case)).collect();
        assert!(failed.is_empty(), "failed: {failed:?}; why is said above");
    });
}

/// A cloud, and one shop whose link goes over a path that can fail.
struct Far {
    world: World,
    path: Cut,
}

impl Far {
    /// With [`SHOP`], devices, and a product `a` of which nothing is sold yet; in sync.
    fn new(carrier: Carrier, weather: Weather) -> Self {
        let mut world = World::new(&[]);
        world.cloud.define(&format!("{SHOP}[[collection]]\nname = \"devices\"\n"));
        let path = carrier.path(carrier.port(&world), weather);
        let mut edge = world.join("lyon", &[]);
        edge.transport = carrier.word().into();
        edge.hub = Some(path.address());
        edge.start();
        world.edges.push(edge);
        let far = Self { world, path };
        far.cloud().json("PUT", "/v1/collections/stock/records/a", &json!({"n": 0})).unwrap().ok(201);
        far.world.settle();
        far
    }

    /// An administrator at the cloud.
    fn cloud(&self) -> Client {
        self.world.cloud.client()
    }

    /// An application in the shop.
    fn shop(&self) -> Client {
        self.world.edges[0].client()
    }

    /// The number of the node's newest session: the same as before where there was no other handshake.
    fn session(&self) -> i64 {
        let file = self.world.edges[0].data.join("edge.db");
        let database = rusqlite::Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        database.query_row("SELECT session FROM meta", [], |row| row.get(0)).unwrap()
    }

    /// Waits until all is in sync, lets both sides compare their digests, and looks at every record; `sold` is what `a` shows.
    #[track_caller]
    fn agrees(&self, sold: i64) {
        self.world.settle();
        let told = self.world.cloud.cli(&["node", "verify", "lyon"]).done();
        assert!(told.starts_with("lyon holds what the cloud has at revision "), "{told}");
        let there = records(&mut self.cloud());
        assert_eq!(records(&mut self.shop()), there);
        assert_eq!(there["stock/a"]["n"], sold, "every sale counts once");
    }
}

/// One sale: a counter goes up by one, and a record says so, in one write.
fn sell(client: &mut Client, key: &str, note: &str) {
    let ops = json!({"ops": [
        {"op": "increment", "collection": "stock", "key": "a", "by": {"n": 1}},
        {"op": "put", "collection": "sales", "key": key, "value": {"note": note}},
    ]});
    client.json("POST", "/v1/writes", &ops).unwrap().ok(201);
}

/// Sets one field of a record.
fn merge(client: &mut Client, collection: &str, key: &str, field: &str, value: &Value) {
    let ops = json!({"ops": [{"op": "merge", "collection": collection, "key": key, "value": {field: value}}]});
    client.json("POST", "/v1/writes", &ops).unwrap().ok(201);
}

/// Every record of [`SHOP`], and of the devices, as one side has it.
fn records(client: &mut Client) -> BTreeMap<String, Value> {
    tests::shops::records(client, &["stock", "sales", "products", "devices"])
}

/// Text of so many bytes that no compression makes much smaller.
fn noise(seed: u64, bytes: usize) -> String {
    Dice::new(seed).noise(bytes)
}

/// At least so much of [`noise`] is on the wire, whoever compresses it: a byte of it holds 6.5 bits.
fn incompressible(bytes: usize) -> u64 {
    bytes as u64 * 4 / 5
}
