//! A backup that is older than what the nodes keep: what neither side has any more is named on both.

use serde_json::json;
use tests::shops::World;

use super::drill::{done, on_folder};
use super::{SHOP, event, same_everywhere, sell, status};

/// A shop keeps 64 MiB of what it delivered.
const LARGE: usize = 900_000;
const WRITES: usize = 80;

#[test]
fn writes_that_nobody_has_any_more_are_listed_by_id() {
    let mut world = World::new(&[("lyon", &[]), ("oslo", &[])]);
    world.cloud.define(SHOP);
    world.cloud.cli(&["record", "put", "stock", "a", r#"{"n":0}"#]).done();
    world.settle();
    let file = world.folder().join("old.backup").display().to_string();
    done(on_folder(&world.cloud, &["backup", &file]));

    let mut client = world.edges[0].client();
    for turn in 0..WRITES {
        let value = json!({"text": "x".repeat(LARGE), "turn": turn});
        client.json("PUT", &format!("/v1/collections/products/records/p{turn}"), &value).unwrap().expect(201);
    }
    world.settle();
    // Old ones go in ordinary commits.
    sell(&mut client, "kept");
    world.settle();
    let page = client.get("/v1/writes?limit=1").unwrap().ok(200);
    let first_kept = page["writes"][0]["id"].as_str().unwrap().to_owned();
    let (prefix, kept) = first_kept.rsplit_once(':').unwrap();
    let kept: usize = kept.parse().unwrap();
    assert!(kept > 1 && kept < WRITES, "some are trimmed and some are not: {first_kept}");

    world.cloud.stop();
    done(on_folder(&world.cloud, &["restore", &file]));
    world.cloud.start();
    let all = same_everywhere(&world);
    assert_eq!(all["stock/a"]["n"], 1);
    for turn in 0..WRITES {
        assert_eq!(all.contains_key(&format!("products/p{turn}")), turn + 1 >= kept, "p{turn}");
    }
    let told = event(&world.cloud, "lyon", "writes_lost");
    let ids = if kept == 2 { format!("{prefix}:1") } else { format!("{prefix}:1 to {}", kept - 1) };
    assert!(told.starts_with(&format!("{} writes were decided", kept - 1)) && told.ends_with(&format!(": {ids}")), "{told}");
    let lost = client.get("/v1/writes?state=lost&limit=1000").unwrap().ok(200);
    let listed: Vec<_> = lost["writes"].as_array().unwrap().iter().map(|write| write["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(listed, (1..kept).map(|number| format!("{prefix}:{number}")).collect::<Vec<_>>());
    let one = client.get(&format!("/v1/writes/{prefix}:1")).unwrap().ok(200);
    assert_eq!((&one["state"], &one["final"], &one["revision"]), (&json!("lost"), &json!(true), &json!(null)), "{one}");
    assert_eq!(world.edges[0].cli(&["write", "list", "--state", "lost"]).done().lines().count(), kept, "a line each, and the head");

    // Everything goes on as ever, also after the next session.
    sell(&mut client, "later");
    world.edges[0].stop();
    world.edges[0].start();
    sell(&mut world.edges[0].client(), "and later");
    assert_eq!(same_everywhere(&world)["stock/a"]["n"], 3);
    assert_eq!(status(&world.edges[0])["outbox"]["writes"], 0);
}
