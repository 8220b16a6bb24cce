//! The fleet at a glance, why a node is behind, and nodes that no collection selects.

use std::process::Command;

use serde_json::{Value, json};
use tests::shops::{Edge, World};

use super::{get, wait};

const SHOPS: &str = "[[collection]]\nname = \"products\"\nnodes = { role = \"shop\" }\n";

#[test]
fn a_node_that_no_collection_selects_is_warned_about_on_both_sides() {
    let world = World::new(&[("lyon", &["role=shop"]), ("kiosk", &["role=till", "site=lyon"])]);
    let applied = world.cloud.define(SHOPS);
    assert!(applied.contains("products created (selects 1 of 2 nodes)"), "{applied}");
    world.settle();
    let edge = |labels: &str| {
        let wanted = json!([format!("no collection selects this node; labels: {labels}")]);
        wait(&mut world.edges[1].client(), "/v1/status", |status| status["warnings"] == wanted);
        wanted
    };
    let warned = edge("role=till,site=lyon");
    let mut cloud = world.cloud.client();
    assert_eq!(get(&mut cloud, "/v1/nodes/kiosk")["warnings"], warned);
    assert_eq!(get(&mut cloud, "/v1/nodes/lyon")["warnings"], json!([]));
    let status = get(&mut cloud, "/v1/status");
    assert_eq!(status["fleet"]["unselected"], json!({"count": 1, "nodes": ["kiosk"]}));
    assert!(status["warnings"][0].as_str().unwrap().starts_with("no collection selects kiosk: "), "{status}");
    let metrics = String::from_utf8(cloud.get("/metrics").unwrap().expect(200).body).unwrap();
    assert!(metrics.contains("tombolo_nodes_unselected 1\n") && metrics.contains("tombolo_nodes_sync{state=\"in-sync\"} 2\n"), "{metrics}");

    // Other labels, and still nobody's: the edge names the new ones. Then it is selected, and nobody warns.
    world.cloud.cli(&["node", "label", "kiosk", "role=kiosk", "site-"]).done();
    edge("role=kiosk");
    world.cloud.cli(&["node", "label", "kiosk", "role=shop"]).done();
    wait(&mut world.edges[1].client(), "/v1/status", |status| status["warnings"] == json!([]));
    assert_eq!(get(&mut cloud, "/v1/nodes/kiosk")["warnings"], json!([]));
}

#[test]
fn a_node_that_is_away_is_behind_by_a_number_and_for_a_reason() {
    let mut world = World::new(&[("lyon", &["role=shop"]), ("oslo", &["role=shop"])]);
    world.cloud.define(SHOPS);
    world.settle();
    let shown = world.cloud.cli(&["node", "show", "lyon"]).done();
    assert!(shown.starts_with("lyon is in sync at revision "), "{shown}");
    let shown = world.edges[0].cli(&["status"]).done();
    assert!(shown.starts_with("lyon is in sync at revision ") && shown.ends_with("no warnings\n"), "{shown}");

    world.edges[0].stop();
    let mut cloud = world.cloud.client();
    for key in ["1", "2", "3"] {
        cloud.json("PUT", &format!("/v1/collections/products/records/{key}"), &json!({"n": key})).unwrap().ok(201);
    }
    let away = |node: &Value| node["state"] == "offline" && node["sync"]["lag_records"] == 3;
    let lyon = wait(&mut cloud, "/v1/nodes/lyon", away);
    assert_eq!((&lyon["reason"], &lyon["sync"]["state"]), (&json!("link-down"), &json!("offline")));
    assert!(lyon["sync"]["cursor"].as_u64() < lyon["sync"]["head"].as_u64(), "{lyon}");
    let shown = world.cloud.cli(&["node", "show", "lyon"]).done();
    assert!(shown.starts_with("lyon is behind by 3 records at revision ") && shown.contains("because the link is down\n"), "{shown}");
    let status = wait(&mut cloud, "/v1/status", |status| status["fleet"]["in_sync"] == 1);
    let counted: Vec<_> = ["behind", "paused", "refused", "away"].iter().map(|name| status["fleet"][name].as_u64().unwrap()).collect();
    assert_eq!(counted, [1, 0, 0, 0], "{status}");
    assert_eq!(status["fleet"]["oldest_last_seen"]["node"], "lyon");
    assert_eq!(status["nodes"], json!({"total": 2, "online": 1, "offline": 1, "revoked": 0}));
    assert!(status["database"]["bytes"].as_u64().unwrap() > 0);
    assert!(status["certificates"]["ca_not_after"].as_str() > status["certificates"]["hub_not_after"].as_str(), "{status}");
    let table = world.cloud.cli(&["status"]).done();
    assert!(table.contains("\nfleet.behind ") && table.ends_with("\nno warnings\n"), "{table}");
}

#[test]
fn a_copied_card_beside_the_rightful_one_is_shown_on_both_sides() {
    let mut world = World::new(&[("lyon", &["role=shop"])]);
    world.cloud.define(SHOPS);
    world.settle();
    world.edges[0].stop();
    let mut copy = Edge::new(world.folder(), "lyon-copy");
    let copied = Command::new("cp").arg("-r").arg(&world.edges[0].data).arg(&copy.data).status().unwrap();
    assert!(copied.success());
    world.edges[0].start();
    world.settle();
    copy.start();
    wait(&mut copy.client(), "/v1/status", |status| status["sync"]["reason"] == "refused-copied-database");
    let said = copy.cli(&["status"]).done();
    assert!(said.contains("because it was refused: its database is a copy of one in use"), "{said}");
    let doctor = String::from_utf8(copy.cli(&["doctor"]).output.stdout).unwrap();
    assert!(doctor.contains("another machine runs with a copy of this card"), "{doctor}");
    let mut cloud = world.cloud.client();
    let lyon = get(&mut cloud, "/v1/nodes/lyon");
    assert_eq!((&lyon["state"], &lyon["reason"]), (&json!("online"), &Value::Null), "the rightful one is not disturbed");
    assert!(
        lyon["warnings"][0].as_str().unwrap().contains("another machine that says it is this node was refused (copied_database)"),
        "{lyon}"
    );
    assert_eq!(get(&mut cloud, "/v1/status")["fleet"]["warned"]["nodes"], json!(["lyon"]));
    // Remembered until the node is let in again.
    copy.stop();
    world.edges[0].stop();
    world.edges[0].start();
    wait(&mut cloud, "/v1/nodes/lyon", |node| node["state"] == "online" && node["warnings"] == json!([]));
}

/// The link lives on, and so the first frame's figure must not.
#[test]
fn an_outbox_that_has_gone_up_is_shown_empty() {
    let mut world = World::new(&[("lyon", &["role=shop"])]);
    world.cloud.define(SHOPS);
    world.settle();
    world.cloud.stop();
    world.edges[0].client().json("PUT", "/v1/collections/products/records/1", &json!({"n": 1})).unwrap().expect(201);
    world.cloud.start();
    world.settle();
    let empty = json!({"writes": 0, "oldest_at": null});
    wait(&mut world.cloud.client(), "/v1/nodes/lyon", |node| node["state"] == "online" && node["outbox"] == empty);
}
