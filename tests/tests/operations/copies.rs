//! `restore-by-copy`: somebody copies `cloudhub.db` by hand and puts it back later. It is noticed all the same.

use std::path::{Path, PathBuf};

use serde_json::json;
use tests::shops::World;

use super::{SHOP, event, same_everywhere, sell};

/// Takes the database's files of the hub away, and puts these in their place.
fn put_back(world: &World, copy: &Path) {
    for end in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(world.cloud.data.join(format!("cloudhub.db{end}")));
    }
    std::fs::copy(copy, world.cloud.data.join("cloudhub.db")).unwrap();
}

/// A shop sells so many, and in the middle of it the hub's database is copied.
fn lives_on_after(sold: usize, copied: impl FnOnce(&mut World) -> PathBuf) {
    let mut world = World::new(&[("lyon", &[])]);
    world.cloud.define(SHOP);
    world.cloud.cli(&["record", "put", "stock", "a", r#"{"n":0}"#]).done();
    // The shop can count only what has arrived there.
    world.settle();
    sell(&mut world.edges[0].client(), "before");
    world.settle();
    let copy = copied(&mut world);
    for turn in 0..20 {
        sell(&mut world.edges[0].client(), &format!("after-{turn}"));
    }
    world.cloud.cli(&["record", "put", "products", "hq-only", "{}"]).done();
    world.settle();
    world.cloud.stop();
    put_back(&world, &copy);
    world.cloud.start();
    let all = same_everywhere(&world);
    let sales = all.keys().filter(|key| key.starts_with("sales/")).count();
    assert_eq!((&all["stock/a"]["n"], sales), (&json!(sold), sold), "each sale once");
    assert!(!all.contains_key("products/hq-only"));
    let noticed = event(&world.cloud, "lyon", "store_restored");
    assert!(noticed.contains("an older copy of the cloud's store"), "{noticed}");
    // And it goes on as ever.
    world.cloud.cli(&["record", "put", "products", "next", "{}"]).done();
    assert_eq!(same_everywhere(&world)["products/next"], json!({}));
}

#[test]
fn a_copy_of_a_stopped_hub() {
    lives_on_after(21, |world| {
        world.cloud.stop();
        let copy = world.folder().join("copy.db");
        std::fs::copy(world.cloud.data.join("cloudhub.db"), &copy).unwrap();
        world.cloud.start();
        world.settle();
        copy
    });
}

#[test]
fn a_copy_of_a_running_hub_without_its_log() {
    lives_on_after(22, |world| {
        // What is in the file by now: the state of some earlier checkpoint, of another start.
        world.cloud.stop();
        world.cloud.start();
        sell(&mut world.edges[0].client(), "in the log");
        world.settle();
        assert!(world.cloud.data.join("cloudhub.db-wal").metadata().unwrap().len() > 0);
        let copy = world.folder().join("copy.db");
        std::fs::copy(world.cloud.data.join("cloudhub.db"), &copy).unwrap();
        copy
    });
}
