//! Many nodes at once: they come in at the rate that the hub is told, in the order in which they came, and those who were
//! connected all along are served meanwhile (KubeEdge #3567, #6876, #7278).
//!
//! Everything is counted: what the nodes were answered, and what the hub says of its own line of turns. Its clock goes as it
//! likes, and so may the machine's.

#[path = "crowd/fleet.rs"]
mod fleet;
#[path = "crowd/story.rs"]
mod story;

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use tests::cut::{Cut, Weather};
use tests::http::Client;
use tests::shops::World;
use tests::until::{PATIENCE, until_shown};

use super::Carrier;
use fleet::Fleet;
use story::{Event, Story};

/// Nodes that come at once.
const NODES: usize = 500;
/// Sessions that begin a second: few enough that most nodes have to wait on any machine, which makes the test last as long as
/// all turns together.
const RATE: u64 = 50;
const BURST: u64 = 10;
/// Nodes of the crowd that are answered while one batch of the connected nodes is on its way, at most; the batch that is on its way
/// when all come in one moment has met more (411 of 458 that came), and one in twenty may. A hub that served the crowd first would
/// answer all of them during each. The rest is the machine's: all of them, on both ends, run in this test.
const ANSWERED: usize = NODES * 4 / 5;

/// What concerns the connected nodes does not concern the crowd.
const SHOP: &str = r#"
[[collection]]
name = "stock"
nodes = { role = "till" }

[[collection]]
name = "prices"
"#;

#[test]
fn five_hundred_at_once_come_in_by_their_tickets_over_websocket() {
    five_hundred(Carrier::WebSocket);
}

#[test]
fn five_hundred_at_once_come_in_by_their_tickets_over_quic() {
    five_hundred(Carrier::Quic);
}

/// As newcomers, for whom others must not become unreachable (KubeEdge #6876), and again when all their links were cut (#3567).
fn five_hundred(carrier: Carrier) {
    let shops = Shops::new(carrier);
    let fleet = Fleet::join(&shops.world, carrier, shops.path.address(), NODES);
    for coming in ["for the first time", "after a cut"] {
        let story = shops.comes_in(&fleet);
        println!("{carrier:?}, {coming}: {}; {:?}", story.in_figures(), story.failures());
        story.says_that_turns_were_kept(NODES, RATE);
        story.says_that_others_were_served(ANSWERED);
        shops.path.cut();
        fleet.is_away();
        shops.path.mend();
    }
}

/// A hub with some nodes that stay connected, and the crowd's path to it.
struct Shops {
    world: World,
    path: Cut,
}

impl Shops {
    fn new(carrier: Carrier) -> Self {
        let mut world = World::new(&[]);
        world.cloud.stop();
        let config = world.cloud.data.with_extension("toml");
        std::fs::write(&config, format!("[link]\nadmit_rate = {RATE}\nadmit_burst = {BURST}\n")).unwrap();
        world.cloud.argument("--config");
        world.cloud.argument(config.to_str().unwrap());
        world.cloud.start();
        world.cloud.define(SHOP);
        for name in ["lyon", "paris", "oslo", "rome"] {
            let mut edge = world.join(name, &["role=till"]);
            edge.transport = carrier.word().into();
            edge.start();
            world.edges.push(edge);
        }
        let path = carrier.path(carrier.port(&world), Weather::default());
        world.settle();
        Self { world, path }
    }

    /// Lets the crowd come, and goes on serving the others until all of it is in.
    fn comes_in(&self, fleet: &Fleet) -> Arc<Story> {
        let story = fleet.comes();
        let mut api = self.world.cloud.client();
        story.count(&mut api);
        fleet.go();
        let deadline = Instant::now() + PATIENCE;
        for round in 0.. {
            let last = story.all_in(NODES);
            assert!(last || Instant::now() < deadline, "not all came in: {}; {:?}", story.in_figures(), story.failures());
            story.note(Event::Serves);
            let record = api.json("PUT", "/v1/collections/stock/records/a", &json!({"n": round})).unwrap().json();
            let revision = record["revision"].as_u64().unwrap_or_else(|| panic!("{record}"));
            self.world.edges.iter().for_each(|edge| acknowledged(&mut api, &edge.name, revision));
            story.note(Event::Served);
            story.count(&mut api);
            if last {
                break;
            }
        }
        story
    }
}

/// Waits until a node has acknowledged what the cloud had at this revision.
fn acknowledged(api: &mut Client, node: &str, revision: u64) {
    until_shown(&format!("{node} has acknowledged {revision}"), || {
        let shown = api.get(&format!("/v1/nodes/{node}")).map_err(|error| error.to_string())?.json();
        let there = shown["state"] == "online" && shown["sync"]["cursor"].as_u64() >= Some(revision);
        there.then_some(()).ok_or_else(|| shown.to_string())
    });
}
