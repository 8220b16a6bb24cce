//! A hub with products of 400 bytes each, and nodes that are about to join.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::cut::{Carried, Cut, Weather};
use crate::shops::{Edge, World};

/// The collection that all benchmarks use.
pub const COLLECTION: &str = "products";
/// Bytes of a record's value.
pub const VALUE_BYTES: usize = 400;

/// Bytes on the way of a benchmark's path: a bound that is not reached at the rates of these benchmarks.
pub(super) const ON_THE_WAY: usize = 64 << 20;

/// What is defined at the beginning.
pub const DEFINITION: &str = r#"
[[collection]]
name = "products"
key = "Sku"
policy = "merge"
[collection.fields]
Stock = { type = "counter", min = 0, on_violation = "flag" }
"#;

/// The key of product number `n`.
pub fn key(n: usize) -> String {
    format!("P{n:09}")
}

/// Product number `n`, exactly [`VALUE_BYTES`] of JSON.
pub fn product(n: usize) -> String {
    let head = format!(
        r#"{{"Sku":"{}","Name":"Brass screw no. {n}","Price":{}.25,"Stock":100000,"Category":"C{:03}","Warehouse":"lyon","Unit":"box of 100","Description":""#,
        key(n),
        n % 900 + 1,
        n % 97
    );
    let filling = "Countersunk, slotted, for wood; keep dry. ".chars().cycle();
    let text: String = head.chars().chain(filling).take(VALUE_BYTES - 2).collect();
    text + "\"}"
}

/// Where record `key` is in the HTTP API.
pub fn path(key: &str) -> String {
    format!("/v1/collections/{COLLECTION}/records/{key}")
}

/// Spreads 0..count over itself: neighbours in the input are far apart in the output.
pub fn scatter(n: usize, count: usize) -> usize {
    // 2,654,435,761 is prime, so no count below it divides it and every number comes once.
    n.wrapping_mul(2_654_435_761) % count.max(1)
}

/// A running hub.
pub struct Stage {
    /// The hub and the scratch folder.
    pub world: World,
    /// Products in it.
    pub records: usize,
    /// How long their import took.
    pub imported_in: Duration,
}

impl Stage {
    /// A hub that holds products 0 to `records` - 1.
    pub fn with(records: usize) -> Self {
        let world = World::new(&[]);
        world.cloud.define(DEFINITION);
        let lines: String = (0..records).map(|n| product(n) + "\n").collect();
        let file = world.folder().join("products.ndjson");
        std::fs::write(&file, lines).expect("a scratch file");
        let begun = Instant::now();
        world.cloud.cli(&["record", "import", COLLECTION, &file.display().to_string()]).done();
        Self { world, records, imported_in: begun.elapsed() }
    }

    /// A node that has joined and does not run yet.
    pub fn node(&self, name: &str) -> Edge {
        self.world.join(name, &[])
    }

    /// A node that runs and holds everything.
    pub fn settled(&self, name: &str) -> Edge {
        let mut edge = self.node(name);
        edge.start();
        self.settle(&edge);
        edge
    }

    /// The same, with its link through `address`.
    pub fn settled_through(&self, name: &str, address: SocketAddr) -> Edge {
        let mut edge = self.node(name);
        route(&edge, address);
        edge.start();
        self.settle(&edge);
        edge
    }

    /// Waits until a node holds everything and says so.
    pub fn settle(&self, edge: &Edge) {
        let records = self.records as u64;
        super::file::EdgeFile::open(&edge.data).wait("all records at the edge", |at| at.records >= records && at.filling == 0);
        let mut api = edge.client();
        super::pace::poll("a node in sync", Duration::from_millis(20), || {
            (api.get("/v1/status").ok()?.json()["sync"]["state"] == "in-sync").then_some(())
        });
    }
}

/// A path to a TCP port of a hub that only takes its time, and holds as much as a stream has on its way.
pub fn path_to(target: SocketAddr, one_way: Duration) -> Cut {
    let weather = Weather { buffer: ON_THE_WAY, ..Weather::far(one_way) };
    Cut::to(Carried::Tcp, target, weather, 1).expect("a free port")
}

/// Makes a node that does not run reach its hub through `address`.
pub fn route(edge: &Edge, address: SocketAddr) {
    rewrite(edge, format!("servers = [\"{address}\"]"));
}

/// The same for both transports.
pub fn route_both(edge: &Edge, websocket: SocketAddr, quic: SocketAddr) {
    assert_eq!(websocket.ip(), quic.ip(), "one host with two ports");
    rewrite(edge, format!("servers = [\"{websocket}\"]\nquic_port = {}", quic.port()));
}

/// Adds a line to the `[link]` of a node that does not run.
pub fn add_link(edge: &Edge, line: &str) {
    let file = edge.data.join("edgehub.toml");
    let text = std::fs::read_to_string(&file).expect("what the join wrote");
    let begins = text.find("\nservers").expect("where its hub is") + 1;
    std::fs::write(&file, format!("{}{line}\n{}", &text[..begins], &text[begins..])).expect("a scratch file");
}

fn rewrite(edge: &Edge, line: String) {
    let file = edge.data.join("edgehub.toml");
    let text = std::fs::read_to_string(&file).expect("what the join wrote");
    let lines: Vec<&str> = text.lines().map(|old| if old.starts_with("servers") { line.as_str() } else { old }).collect();
    assert!(lines.contains(&line.as_str()), "no servers in {}:\n{text}", file.display());
    std::fs::write(&file, lines.join("\n") + "\n").expect("a scratch file");
}

/// Waits until a node has noticed that its link is down.
pub fn offline(edge: &Edge) {
    let mut api = edge.client();
    super::pace::poll("the lost link", Duration::from_millis(10), || {
        (api.get("/v1/status").ok()?.json()["link"]["state"] != "online").then_some(())
    });
}

/// The database file of a node.
pub fn database(edge: &Edge) -> PathBuf {
    edge.data.join("edge.db")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_400_bytes_of_json() {
        for n in [0, 77, 999_999_999] {
            let text = product(n);
            assert_eq!(text.len(), VALUE_BYTES);
            assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["Sku"], key(n).as_str());
        }
    }

    #[test]
    fn scattering_meets_everyone_once() {
        let mut met: Vec<usize> = (0..10_000).map(|n| scatter(n, 10_000)).collect();
        met.sort_unstable();
        assert_eq!(met, (0..10_000).collect::<Vec<_>>());
    }
}
