//! `make demo`: a central server and two shops, step by step; every step is checked.
#![allow(clippy::unwrap_used)] // a step that fails ends the demo, loudly

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};
use tests::shops::{Edge, World, free_port};
use tests::until::until;

/// The sample inventory that the project ships.
fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/inventory")
}

/// The tables in the order of their references.
const TABLES: [&str; 8] = ["categories", "suppliers", "products", "customers", "shelves", "staff", "orders", "order_lines"];

fn main() {
    let keep = std::env::args().any(|argument| argument == "--keep");
    let begun = Instant::now();
    println!("\nTombolo: a central server and two shops, and what happens when the line between them is cut.\n");
    let mut demo = Demo::start();
    demo.import();
    demo.reads();
    demo.price_change();
    demo.cloud_stops();
    let order = demo.sales();
    demo.kill(&order);
    demo.cloud_returns(&order);
    demo.conflicts();
    demo.proof();
    println!("\nEvery step was checked, in {:.1} s.", begun.elapsed().as_secs_f32());
    if keep {
        let broker = demo.open_to_devices();
        demo.leave_running(broker);
    } else {
        println!("To look around yourself: make demo KEEP=1\n");
    }
}

struct Demo {
    world: World,
    step: u32,
}

impl Demo {
    fn start() -> Self {
        let world = World::with_tills(&[("lyon", &["role=shop", "site=lyon"]), ("oslo", &["role=shop", "site=oslo"])]);
        let mut demo = Self { world, step: 0 };
        demo.title("A cloudhub, and two edgehubs that joined it with one-time tokens over TLS");
        let mut cloud = demo.world.cloud.client();
        until("both links", || {
            let nodes = cloud.get("/v1/nodes").ok()?.json();
            nodes["nodes"].as_array()?.iter().all(|node| node["state"] == "online").then_some(())
        });
        let nodes = demo.world.cloud.cli(&["node", "list"]).done();
        println!("{}", indent(&nodes));
        assert!(nodes.contains("lyon") && nodes.contains("oslo"));
        demo
    }

    fn title(&mut self, text: &str) {
        self.step += 1;
        println!("{}. {text}", self.step);
    }

    fn lyon(&self) -> &Edge {
        &self.world.edges[0]
    }

    fn oslo(&self) -> &Edge {
        &self.world.edges[1]
    }

    fn import(&mut self) {
        self.title("Collections are defined, and head office imports its inventory");
        let file = sample().join("collections.toml").display().to_string();
        self.world.cloud.cli(&["collection", "apply", "-f", &file]).done();
        for table in TABLES {
            let file = sample().join(format!("{table}.ndjson")).display().to_string();
            let told = self.world.cloud.cli(&["record", "import", table, &file]).done();
            println!("   {table:12} {}", told.trim());
        }
        self.world.settle();
        for edge in &self.world.edges {
            let mut api = edge.client();
            let shelves = api.get("/v1/collections/shelves/records?limit=1000").unwrap().ok(200);
            let shelves = shelves["records"].as_array().unwrap();
            assert!(!shelves.is_empty() && shelves.iter().all(|shelf| shelf["value"]["Warehouse"] == edge.name.as_str()));
            println!(
                "   {} holds {} records in its own SQLite file; of the shelves only its own {}",
                edge.name,
                self.held(edge),
                shelves.len()
            );
        }
        println!();
    }

    fn held(&self, edge: &Edge) -> u64 {
        let status = edge.client().get("/v1/status").unwrap().ok(200);
        status["sync"]["collections"].as_array().unwrap().iter().filter_map(|row| row["records"].as_u64()).sum()
    }

    fn reads(&mut self) {
        self.title("Applications read at both shops, from loopback");
        for edge in &self.world.edges {
            let product = edge.record("products", "FX-101").unwrap();
            println!("   {}: {}", edge.name, line(&product));
            assert_eq!(Some(product), self.world.cloud.record("products", "FX-101"));
        }
        println!();
    }

    fn price_change(&mut self) {
        self.title("Head office changes a price; both shops have it");
        println!("   $ cloudhub record merge products FX-101 '{{\"Price\":5.4}}'");
        self.world.cloud.cli(&["record", "merge", "products", "FX-101", r#"{"Price":5.4}"#]).done();
        for edge in &self.world.edges {
            let product = until("the new price", || edge.record("products", "FX-101").filter(|product| product["Price"] == 5.4));
            println!("   {}: {}", edge.name, line(&product));
        }
        println!();
    }

    fn cloud_stops(&mut self) {
        self.world.settle();
        self.title("The central server stops. The shops do not notice");
        self.world.cloud.stop();
        for edge in &self.world.edges {
            let mut api = edge.client();
            until("the lost link", || (api.get("/v1/status").ok()?.json()["link"]["state"] != "online").then_some(()));
            assert!(edge.record("products", "FX-102").is_some());
            println!("   {}: link down, still answering", edge.name);
        }
        println!();
    }

    /// Sells at both shops, more than there is of one product; both rename another. Returns lyon's order.
    fn sales(&mut self) -> String {
        self.title("Both shops sell, offline. A sale is one atomic write: the order, its line, and the stock");
        let scarce = self.lyon().record("products", "EL-111").unwrap()["Stock"].as_i64().unwrap();
        let mut order = String::new();
        for edge in [self.lyon(), self.oslo()] {
            let mut api = edge.client();
            let id = format!("{}-demo-1", edge.name);
            let sale = json!({"ops": [
                {"op": "put", "collection": "orders", "key": id, "value": {"Shop": edge.name, "Status": "paid", "Total": 6.9 * scarce as f64}},
                {"op": "put", "collection": "order_lines", "key": format!("{id}/EL-111"), "value": {"Quantity": scarce, "UnitPrice": 6.9}},
                {"op": "increment", "collection": "products", "key": "EL-111", "by": {"Stock": -scarce}},
            ]});
            let write = api.json("POST", "/v1/writes", &sale).unwrap().ok(201);
            let left = edge.record("products", "EL-111").unwrap()["Stock"].as_i64().unwrap();
            assert_eq!(left, 0, "read your writes");
            println!(
                "   {}: sold all {scarce} of EL-111, reads back stock {left}; {} is {}",
                edge.name,
                text(&write["write"]["id"]),
                text(&write["write"]["state"])
            );
            let mut product = edge.record("products", "FX-102").unwrap();
            product["Name"] = json!(format!("Brass screw, as {} calls it", edge.name));
            api.json("PUT", "/v1/collections/products/records/FX-102", &product).unwrap().expect(200);
            if order.is_empty() {
                order = id;
            }
        }
        println!("   both: FX-102 renamed, each in its own words\n");
        order
    }

    fn kill(&mut self, order: &str) {
        self.title("lyon's power fails (kill -9). It starts again, still offline");
        let before = self.outbox(0);
        self.world.edges[0].kill();
        self.world.edges[0].start();
        let after = self.outbox(0);
        assert_eq!(before, after, "every write that was answered is there");
        assert!(self.lyon().record("orders", order).is_some());
        assert_eq!(self.lyon().record("products", "EL-111").unwrap()["Stock"], 0);
        println!("   lyon: {} writes in the outbox before, {} after; the order is there, the stock is 0\n", before.len(), after.len());
    }

    fn outbox(&self, shop: usize) -> Vec<String> {
        let outbox = self.world.edges[shop].client().get("/v1/outbox").unwrap().ok(200);
        outbox["writes"].as_array().unwrap().iter().map(|write| text(&write["id"])).collect()
    }

    fn cloud_returns(&mut self, order: &str) {
        self.title("The central server is back. Everything reconciles");
        self.world.cloud.start();
        self.world.settle();
        let cloud = self.world.cloud.record("products", "EL-111").unwrap();
        let stocks: Vec<_> = self.world.edges.iter().map(|edge| edge.record("products", "EL-111").unwrap()["Stock"].clone()).collect();
        assert!(cloud["Stock"].as_i64().unwrap() < 0 && stocks.iter().all(|stock| *stock == cloud["Stock"]));
        println!(
            "   stock of EL-111: cloud {}, lyon {}, oslo {}: the exact sum, and equal everywhere",
            cloud["Stock"], stocks[0], stocks[1]
        );
        assert!(self.oslo().record("orders", order).is_some());
        println!("   order {order}, made at lyon, can be read at oslo");
        let name = self.world.cloud.record("products", "FX-102").unwrap()["Name"].clone();
        assert!(self.world.edges.iter().all(|edge| edge.record("products", "FX-102").unwrap()["Name"] == name));
        println!("   name of FX-102 everywhere: {name}\n");
    }

    fn conflicts(&mut self) {
        self.title("What a person should know is listed, on both sides: nothing is lost in silence");
        let all = self.world.cloud.client().get("/v1/conflicts?state=all").unwrap().ok(200);
        let rows = all["conflicts"].as_array().unwrap();
        let kinds: Vec<_> = rows.iter().map(|row| (text(&row["kind"]), text(&row["key"]))).collect();
        assert!(kinds.contains(&("bound".into(), "EL-111".into())), "the oversold product: {all}");
        assert!(kinds.contains(&("field".into(), "FX-102".into())), "the double rename: {all}");
        let listed = self.world.cloud.cli(&["conflict", "list", "--state", "all"]).done();
        println!("   $ cloudhub conflict list --state all\n{}", indent(&listed));
        for edge in &self.world.edges {
            let path = "/v1/conflicts?state=all";
            until("the conflicts at the shops", || {
                let here = edge.client().get(path).ok()?.ok(200);
                (here["conflicts"].as_array()?.len() == rows.len()).then_some(())
            });
        }
        println!("   both shops list the same {} rows\n", rows.len());
    }

    fn proof(&mut self) {
        self.title("And that all three hold the same is compared, not assumed");
        for name in ["lyon", "oslo"] {
            let said = self.world.cloud.cli(&["node", "verify", name]).done();
            assert!(said.contains("holds what the cloud has"), "{said}");
            println!("   $ cloudhub node verify {name}\n{}", indent(&said).trim_end());
        }
    }

    /// The demo itself needs no devices. Those who come find a broker inside lyon's edgehub, so that nothing is to be installed first.
    fn open_to_devices(&mut self) -> SocketAddr {
        let inside = free_port();
        let lyon = &mut self.world.edges[0];
        lyon.stop();
        lyon.configure(&format!("[mqtt]\nmode = \"internal\"\nlisten = \"{inside}\""));
        // No other than the one in its configuration.
        lyon.broker = Some(format!("mqtt://{inside}"));
        lyon.start();
        inside
    }

    fn leave_running(&mut self, broker: SocketAddr) {
        self.world.keep();
        let cloud = &self.world.cloud;
        println!("\nEverything is still running. Each shop has a till, for your browser:\n");
        for edge in &self.world.edges {
            println!("   {}: http://{}/", edge.name, edge.api);
        }
        println!("\nAnd from a shell:\n");
        println!("   curl http://{}/v1/collections/products/records/FX-101", self.lyon().api);
        println!(
            "   curl -X POST -H 'content-type: application/json' -d '{{\"Stock\":-1}}' \\\n        http://{}/v1/collections/products/records/FX-101/increment",
            self.oslo().api
        );
        println!(
            "   curl --cacert {0}/pki/ca.crt -H \"authorization: Bearer $(cat {0}/admin.token)\" https://{1}/v1/nodes",
            cloud.data.display(),
            cloud.api
        );
        println!("   sqlite3 -readonly {}/edge.db .tables", self.lyon().data.display());
        println!("   target/debug/cloudhub node list --data {} --server https://{}", cloud.data.display(), cloud.api);
        println!("   target/debug/edgehub status --data {}", self.lyon().data.display());
        println!("\nlyon's devices speak MQTT at {broker}. For a thermostat see docs/examples/thermostat/README.md, and paste first:\n");
        println!(
            "   export CLOUDHUB_SERVER=https://{} CLOUDHUB_DATA={} EDGEHUB_DATA={} BROKER={broker} PATH=$PWD/target/debug:$PATH",
            cloud.api,
            cloud.data.display(),
            self.lyon().data.display()
        );
        println!(
            "\nEnter stops the central server, Enter again starts it. Ctrl-C ends everything; the data stays in {}",
            self.world.folder().display()
        );
        let mut runs = true;
        for _ in std::io::stdin().lines().map_while(Result::ok) {
            runs = !runs;
            if runs {
                self.world.cloud.start();
                println!("The central server is back.");
            } else {
                self.world.cloud.stop();
                println!("The central server is gone: go on selling.");
            }
        }
        loop {
            std::thread::park();
        }
    }
}

fn line(product: &Value) -> String {
    format!("{} — {}, price {}, stock {}", text(&product["Sku"]), text(&product["Name"]), product["Price"], product["Stock"])
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn indent(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("   {line}\n")).collect()
}
