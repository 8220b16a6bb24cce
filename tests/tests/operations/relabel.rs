//! A shop changes hands: it gets another site's records, and of the old one's not a byte stays on its card.

use std::path::PathBuf;

use serde_json::json;
use tests::shops::{Edge, World};
use tests::until::until;

/// In every value of the site that the shop loses.
const SECRET: &str = "Marseille7310Secret";
const DEFINITION: &str = r#"
[[collection]]
name = "stock"
partition = { field = "site", label = "site" }
"#;

fn files_with(edge: &Edge, text: &str) -> Vec<PathBuf> {
    let holds = |path: &PathBuf| std::fs::read(path).unwrap_or_default().windows(text.len()).any(|part| part == text.as_bytes());
    ["edge.db", "edge.db-wal", "edge.db-shm"].iter().map(|name| edge.data.join(name)).filter(holds).collect()
}

fn two_sites() -> World {
    let world = World::new(&[("lyon", &["site=lyon"])]);
    world.cloud.define(DEFINITION);
    let mut cloud = world.cloud.client();
    for id in 0..30 {
        let old = json!({"site": "lyon", "pin": SECRET, "note": format!("{SECRET} {id}")});
        cloud.json("PUT", &format!("/v1/collections/stock/records/l{id}"), &old).unwrap().ok(201);
        cloud.json("PUT", &format!("/v1/collections/stock/records/p{id}"), &json!({"site": "paris"})).unwrap().ok(201);
    }
    world.settle();
    let mut api = world.edges[0].client();
    api.json("PATCH", "/v1/collections/stock/records/l1", &json!({"pin": "1"})).unwrap().ok(200);
    world.settle();
    assert!(!files_with(&world.edges[0], SECRET).is_empty());
    world
}

fn has_moved(world: &World) {
    let edge = &world.edges[0];
    until("the other site's records", || edge.record("stock", "p29"));
    world.settle();
    assert_eq!(edge.record("stock", "l1"), None);
    until("the log is empty", || files_with(edge, SECRET).is_empty().then_some(()));
}

#[test]
fn of_the_old_site_not_a_byte_stays() {
    let mut world = two_sites();
    world.cloud.cli(&["node", "label", "lyon", "site=paris"]).done();
    has_moved(&world);
    // What the shop sells now is stored beside where the old records were.
    let mut api = world.edges[0].client();
    for id in 0..30 {
        api.json("PATCH", &format!("/v1/collections/stock/records/p{id}"), &json!({"n": id})).unwrap().ok(200);
    }
    world.settle();
    world.edges[0].kill();
    assert_eq!(files_with(&world.edges[0], SECRET), Vec::<PathBuf>::new());
    world.edges[0].start();
    world.settle();
    assert_eq!(files_with(&world.edges[0], SECRET), Vec::<PathBuf>::new());
}

#[test]
fn a_shop_that_was_away_loses_it_when_it_returns() {
    let mut world = two_sites();
    world.edges[0].stop();
    world.cloud.cli(&["node", "label", "lyon", "site=paris"]).done();
    world.cloud.stop();
    world.edges[0].start();
    let mut api = world.edges[0].client();
    let write = api.json("PATCH", "/v1/collections/stock/records/l2", &json!({"pin": "2"})).unwrap().ok(200)["write"]["id"].clone();
    world.cloud.start();
    has_moved(&world);
    let said = api.get(&format!("/v1/writes/{}", write.as_str().unwrap())).unwrap().ok(200);
    assert_eq!((said["state"].as_str(), said["code"].as_str()), (Some("rejected"), Some("not_entitled")), "{said}");
    world.edges[0].kill();
    assert_eq!(files_with(&world.edges[0], SECRET), Vec::<PathBuf>::new());
}
