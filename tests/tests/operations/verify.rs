//! A database that says something else than the cloud: found by digests, and only the ranges that differ are sent again.

use std::collections::BTreeSet;

use proto::device;
use proto::digest::range_of;
use serde_json::{Value, json};
use tests::shops::World;
use tests::until::until_shown;

use super::{event, events, same_everywhere, status};

const RECORDS: usize = 600;

fn figure(world: &World, name: &str) -> usize {
    let text = String::from_utf8(world.cloud.client().get("/metrics").unwrap().expect(200).body).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
    line.parse::<f64>().unwrap() as usize
}

/// What somebody does to `edge.db` while edgehub is stopped: a row is changed, one deleted, one invented, and in the bytes of
/// one value in the file a bit flips.
fn damage(file: &std::path::Path) {
    let conn = rusqlite::Connection::open(file).unwrap();
    conn.execute_batch(
        "UPDATE base SET value = '{\"n\":-17}' WHERE key = 'k17';
         DELETE FROM base WHERE key = 'k18';
         CREATE TEMP TABLE ghost AS SELECT * FROM base WHERE key = 'k19';
         UPDATE ghost SET id = NULL, key = 'ghost';
         INSERT INTO base SELECT * FROM ghost;
         PRAGMA wal_checkpoint(TRUNCATE);",
    )
    .unwrap();
    conn.close().unwrap();
    let mut bytes = std::fs::read(file).unwrap();
    let at = bytes.windows(12).position(|window| window == b"twenty-mark!").unwrap();
    bytes[at] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn what_was_changed_in_a_stopped_edges_file_is_found_and_mended() {
    let mut world = World::new(&[("lyon", &["role=shop"])]);
    world.cloud.define("[[collection]]\nname = \"products\"\n");
    let mut cloud = world.cloud.client();
    for part in (0..RECORDS).collect::<Vec<_>>().chunks(300) {
        let value = |at: usize| if at == 20 { json!({"n": 20, "mark": "twenty-mark!"}) } else { json!({"n": at}) };
        let op = |at: &usize| json!({"op": "put", "collection": "products", "key": format!("k{at}"), "value": value(*at)});
        cloud.json("POST", "/v1/writes", &json!({"ops": part.iter().map(op).collect::<Vec<_>>()})).unwrap().ok(201);
    }
    world.settle();
    let told = world.cloud.cli(&["node", "verify", "lyon", "products"]).done();
    assert!(told.starts_with("lyon holds what the cloud has of products at revision "), "{told}");
    world.edges[0].stop();
    let refused = world.cloud.cli(&["node", "verify", "lyon"]).failed(1);
    assert!(refused.contains("lyon is offline"), "{refused}");

    damage(&world.edges[0].data.join("edge.db"));
    world.edges[0].start();
    until_shown("lyon mended", || {
        let all = events(&world.cloud, "lyon");
        if all.iter().any(|(kind, _)| kind == "repaired") { Ok(()) } else { Err(format!("{all:?}")) }
    });
    world.settle();
    let told = world.cloud.cli(&["node", "verify", "lyon"]).done();
    assert!(told.contains("lyon holds what the cloud has at revision "), "{told}");
    let products = world.cloud.client().get("/v1/collections/products/export").unwrap().expect(200).body;
    let here = world.edges[0].client().get("/v1/collections/products/export").unwrap().expect(200).body;
    assert_eq!(String::from_utf8(here).unwrap(), String::from_utf8(products).unwrap());

    // Only what differed was sent again.
    let ranges: BTreeSet<u8> = ["k17", "k18", "ghost", "k20"].into_iter().map(range_of).collect();
    let inside = (0..RECORDS).filter(|at| ranges.contains(&range_of(&format!("k{at}")))).count();
    assert_eq!(figure(&world, "tombolo_repaired_records_total"), inside);
    let what = format!("products ({} of 256 ranges of keys)", ranges.len());
    assert!(event(&world.cloud, "lyon", "records_differ").starts_with(&what));
    assert!(event(&world.cloud, "lyon", "repaired").starts_with(&what));

    // Both sides say when, and the cloud in words.
    let node = world.cloud.client().get("/v1/nodes/lyon").unwrap().ok(200);
    assert!(node["sync"]["verified_at"].is_string() && status(&world.edges[0])["sync"]["verified_at"].is_string(), "{node}");
    let shown = world.cloud.cli(&["node", "show", "lyon"]).done();
    assert!(shown.starts_with("lyon is in sync at revision "), "{shown}");
}

#[test]
fn a_resync_fills_again_also_when_the_node_was_away() {
    let mut world = World::new(&[("lyon", &["role=shop"])]);
    world.cloud.define(super::SHOP);
    let mut cloud = world.cloud.client();
    for key in ["1", "2", "3"] {
        cloud.json("PUT", &format!("/v1/collections/products/records/{key}"), &json!({"n": key})).unwrap().ok(201);
    }
    same_everywhere(&world);
    world.edges[0].stop();
    let told = world.cloud.cli(&["node", "resync", "lyon", "products"]).done();
    assert!(told.starts_with("lyon fills products again (1 partitions), from revision "), "{told}");
    assert!(world.cloud.cli(&["node", "resync", "lyon", "nothing"]).failed(1).contains("there is no collection nothing"));
    world.edges[0].start();
    same_everywhere(&world);
    let all: Value = cloud.json("POST", "/v1/nodes/lyon/resync", &json!({})).unwrap().ok(200);
    assert_eq!((&all["partitions"], &all["collection"]), (&json!(3 + device::COLLECTIONS.len()), &Value::Null));
    same_everywhere(&world);
    assert!(event(&world.cloud, "lyon", "resync").starts_with("everything is sent again"));
}
