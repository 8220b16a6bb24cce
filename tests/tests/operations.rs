//! What operators and installers do when something is wrong: backups and restores, machines that take another's place, the
//! doctor, and the fleet at a glance.
#![allow(clippy::unwrap_used)]

#[path = "operations/compression.rs"]
mod compression;
#[path = "operations/copies.rs"]
mod copies;
#[path = "operations/damaged.rs"]
mod damaged;
#[path = "operations/disk.rs"]
mod disk;
#[path = "operations/doctor.rs"]
mod doctor;
#[path = "operations/drill.rs"]
mod drill;
#[path = "operations/fleet.rs"]
mod fleet;
#[path = "operations/lost.rs"]
mod lost;
#[path = "operations/relabel.rs"]
mod relabel;
#[path = "operations/replacing.rs"]
mod replacing;
#[path = "operations/transports.rs"]
mod transports;
#[path = "operations/verify.rs"]
mod verify;
#[path = "operations/volume.rs"]
mod volume;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::http::Client;
use tests::shops::{Cloud, Edge, SHOP, World};
use tests::until::until_shown;

/// One sale: a counter goes up by one, and a record says so, in one write.
fn sell(client: &mut Client, key: &str) -> Value {
    let ops = json!({"ops": [
        {"op": "increment", "collection": "stock", "key": "a", "by": {"n": 1}},
        {"op": "put", "collection": "sales", "key": key, "value": {"by": key}},
    ]});
    client.json("POST", "/v1/writes", &ops).unwrap().ok(201)["write"].clone()
}

/// Every record of [`SHOP`], as one side has it.
fn records(client: &mut Client) -> BTreeMap<String, Value> {
    tests::shops::records(client, &["stock", "sales", "products"])
}

/// Waits until all is in sync, and compares every record of every shop with the cloud's.
#[track_caller]
fn same_everywhere(world: &World) -> BTreeMap<String, Value> {
    world.settle();
    let cloud = records(&mut world.cloud.client());
    for edge in &world.edges {
        assert_eq!(records(&mut edge.client()), cloud, "{}", edge.name);
    }
    cloud
}

/// What happened to a node: kind and text of each event, oldest first.
fn events(cloud: &Cloud, node: &str) -> Vec<(String, String)> {
    let answer = cloud.client().get(&format!("/v1/nodes/{node}/events")).unwrap().ok(200);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    answer["events"].as_array().unwrap().iter().map(|event| (text(&event["kind"]), text(&event["detail"]))).collect()
}

/// The newest event of a kind.
#[track_caller]
fn event(cloud: &Cloud, node: &str, kind: &str) -> String {
    let all = events(cloud, node);
    let found = all.iter().rev().find(|(own, _)| own == kind).map(|(_, detail)| detail.clone());
    found.unwrap_or_else(|| panic!("no {kind} among {all:#?}"))
}

/// `edgehub status -o json`.
fn status(edge: &Edge) -> Value {
    edge.client().get("/v1/status").unwrap().ok(200)
}

fn get(client: &mut Client, path: &str) -> Value {
    client.get(path).unwrap().ok(200)
}

/// Waits until an answer is as it should be.
#[track_caller]
fn wait(client: &mut Client, path: &str, good: impl Fn(&Value) -> bool) -> Value {
    until_shown(path, || {
        let value = get(client, path);
        if good(&value) { Ok(value) } else { Err(value.to_string()) }
    })
}
