//! A link that is paid by volume: what passes, what it was spent on, and how much may.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tests::http::Client;
use tests::shops::{Edge, World};
use tests::until::{PATIENCE, until_shown, well_before_midnight};

use super::{SHOP, get, same_everywhere, sell, wait};

const CAUSES: [&str; 7] = ["heartbeat", "session", "records", "writes", "verification", "requests", "overhead"];
/// Products of the import: more than the limit and a window of 1 MiB together, also when compressed.
const PRODUCTS: usize = 4_000;

/// A hub with QUIC, and a metered node in sync.
fn metered() -> World {
    // Bytes are counted by the day, which ends for a limit what it bounds: `schedules::volume` goes over midnight, by its own clock.
    well_before_midnight(3 * PATIENCE);
    let mut world = World::new(&[]);
    world.cloud.define(SHOP);
    world.cloud.client().json("PUT", "/v1/collections/stock/records/a", &json!({"n": 0})).unwrap().ok(201);
    let mut lyon = world.join("lyon", &[]);
    lyon.transport = "auto".into();
    lyon.argument("--metered");
    lyon.start();
    world.edges.push(lyon);
    world.settle();
    world
}

/// Restarts a node with another limit in its configuration.
fn limit(edge: &mut Edge, size: &str) {
    edge.stop();
    let file = edge.data.join("edgehub.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let kept: String = text.lines().filter(|line| !line.starts_with("daily_limit")).map(|line| format!("{line}\n")).collect();
    std::fs::write(&file, kept.replacen("[link]\n", &format!("[link]\ndaily_limit = \"{size}\"\n"), 1)).unwrap();
    edge.start();
}

/// Lines of an import that no compression makes much smaller.
fn lines() -> String {
    let mut state = 7_u64;
    let mut text = String::new();
    for product in 0..PRODUCTS {
        let mut name = String::new();
        for _ in 0..125 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            write!(name, "{:08x}", state >> 32).unwrap();
        }
        writeln!(text, r#"{{"key":"p{product}","value":{{"name":"{name}"}}}}"#).unwrap();
    }
    text
}

fn sum(bytes: &Value) -> u64 {
    CAUSES.iter().map(|cause| bytes[*cause].as_u64().unwrap()).sum()
}

#[test]
fn a_metered_link_is_a_websocket_and_both_sides_count_the_same_bytes_for_the_same_causes() {
    let world = metered();
    let (mut lyon, mut cloud) = (world.edges[0].client(), world.cloud.client());
    assert_eq!(get(&mut lyon, "/v1/status")["link"]["transport"], "websocket", "QUIC is open too");
    for n in 0..20 {
        sell(&mut lyon, &format!("sale-{n}"));
    }
    cloud.json("PUT", "/v1/collections/products/records/tea", &json!({"name": "x".repeat(5_000)})).unwrap().ok(201);
    world.settle();
    world.cloud.cli(&["node", "verify", "lyon"]).done();
    // Nothing is on its way once both say the same.
    let (edge, node) = until_shown("the same bytes on both sides", || {
        let (edge, node) = (get(&mut lyon, "/v1/status")["link"]["bytes"].clone(), get(&mut cloud, "/v1/nodes/lyon")["bytes"].clone());
        let same = edge["sent"] == node["received"] && edge["received"] == node["sent"];
        if same { Ok((edge, node)) } else { Err(format!("{edge}\n{node}")) }
    });
    for (direction, other) in [("sent", "received"), ("received", "sent")] {
        for at in [&edge, &edge["today"], &node, &node["today"]] {
            assert_eq!(sum(&at[direction]), at[direction]["total"].as_u64().unwrap(), "{at}");
        }
        for cause in ["heartbeat", "session", "records", "writes", "verification", "overhead"] {
            assert!(edge[direction][cause].as_u64().unwrap() > 0, "{direction} {cause}: {edge}");
        }
        let metric = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
            line.trim().parse::<u64>().unwrap()
        };
        let text = |client: &mut Client| String::from_utf8(client.get("/metrics").unwrap().expect(200).body).unwrap();
        let shown = metric(&text(&mut lyon), &format!("tombolo_link_bytes_total{{cause=\"records\",direction=\"{direction}\"}}"));
        assert!(shown >= edge[direction]["records"].as_u64().unwrap());
        let name = format!("tombolo_node_bytes_total{{node=\"lyon\",cause=\"records\",direction=\"{other}\"}}");
        assert!(metric(&text(&mut cloud), &name) >= node[other]["records"].as_u64().unwrap());
    }
    assert!(edge["received"]["records"].as_u64().unwrap() > 1_000 && edge["sent"]["writes"].as_u64().unwrap() > 1_000, "{edge}");
    let fleet = get(&mut cloud, "/v1/status")["bytes"]["sent"]["total"].as_u64().unwrap();
    assert!(fleet >= node["sent"]["total"].as_u64().unwrap());
}

#[test]
fn beyond_the_daily_limit_records_wait_and_writes_get_their_outcomes() {
    let mut world = metered();
    limit(&mut world.edges[0], "150kB");
    let (mut lyon, mut cloud) = (world.edges[0].client(), world.cloud.client());
    wait(&mut lyon, "/v1/status", |status| status["sync"]["state"] == "in-sync");
    let import =
        cloud.send("POST", "/v1/collections/products/import", &[("Content-Type", "application/x-ndjson")], Some(lines().as_bytes()));
    import.unwrap().ok(200);
    let node = wait(&mut cloud, "/v1/nodes/lyon", |node| node["reason"] == "paused-daily-limit");
    assert_eq!((&node["state"], &node["sync"]["state"]), (&json!("online"), &json!("blocked")));
    let here = get(&mut lyon, "/v1/status");
    assert_eq!((&here["sync"]["state"], &here["sync"]["reason"]), (&json!("blocked"), &json!("paused-daily-limit")), "{here}");
    assert_eq!(here["link"]["bytes"]["today"]["limit"], 150_000);
    assert!(here["warnings"].to_string().contains("the daily limit of the link is reached"), "{here}");
    let shown = world.edges[0].cli(&["status"]).done();
    assert!(
        shown.contains("its daily volume is used up") && shown.contains("of 150000 bytes") && shown.contains("received today"),
        "{shown}"
    );
    let shown = world.cloud.cli(&["node", "show", "lyon"]).done();
    assert!(shown.contains("its daily volume is used up") && shown.contains("received today"), "{shown}");

    let sold = |lyon: &mut Client, key: &str| {
        let write = sell(lyon, key);
        let write = lyon.get(&format!("/v1/writes/{}?wait=30", write["id"].as_str().unwrap())).unwrap().ok(200);
        assert_eq!(write["state"], "applied", "{write}");
    };
    sold(&mut lyon, "sale-1");
    let count = |lyon: &mut Client| {
        let export = lyon.get("/v1/collections/products/export").unwrap().expect(200);
        String::from_utf8(export.body).unwrap().lines().count()
    };
    let have = count(&mut lyon);
    assert!(have < PRODUCTS, "everything came");
    // Neither a cut nor the end of the process is a way around it.
    world.edges[0].kill();
    world.edges[0].start();
    let mut lyon = world.edges[0].client();
    wait(&mut cloud, "/v1/nodes/lyon", |node| node["reason"] == "paused-daily-limit");
    sold(&mut lyon, "sale-2");
    assert_eq!(count(&mut lyon), have);

    limit(&mut world.edges[0], "1GB");
    assert_eq!(same_everywhere(&world).len(), PRODUCTS + 3);
}
