//! The restore drill: a backup is made while both shops and head office write, work goes on, the hub is put back to the
//! backup, and what the shops had handed over since then comes back from them.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use serde_json::json;
use tests::http::Client;
use tests::process::command;
use tests::shops::{Cloud, World};
use tests::until::until;

use super::{SHOP, same_everywhere, sell};

/// Sells until told to stop; the keys of all sales that were acknowledged.
fn load(name: &'static str, mut client: Client, stop: &Arc<AtomicBool>, sold: &Arc<AtomicU64>) -> JoinHandle<Vec<String>> {
    let (stop, sold) = (Arc::clone(stop), Arc::clone(sold));
    std::thread::spawn(move || {
        let mut keys = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let key = format!("{name}-{}", keys.len());
            sell(&mut client, &key);
            keys.push(key);
            sold.fetch_add(1, Ordering::Relaxed);
        }
        keys
    })
}

/// A verb that works on the data folder alone.
pub(super) fn on_folder(cloud: &Cloud, args: &[&str]) -> Command {
    let mut command = command("cloudhub", args);
    command.arg("--data").arg(&cloud.data);
    command
}

#[track_caller]
pub(super) fn done(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_the_shops_sold_after_the_backup_comes_back() {
    let mut world = World::new(&[("lyon", &[]), ("oslo", &[])]);
    world.cloud.define(SHOP);
    world.cloud.cli(&["record", "put", "stock", "a", r#"{"n":0}"#]).done();
    for product in 0..50 {
        world.cloud.cli(&["record", "put", "products", &product.to_string(), r#"{"price":1}"#]).done();
    }
    world.settle();

    let (stop, sold) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients = [("lyon", world.edges[0].client()), ("oslo", world.edges[1].client()), ("hq", world.cloud.client())];
    let writers: Vec<_> = clients.into_iter().map(|(name, client)| load(name, client, &stop, &sold)).collect();
    until("a hundred sales", || (sold.load(Ordering::Relaxed) > 100).then_some(()));
    let file = world.folder().join("hub.backup").display().to_string();
    let said = done(on_folder(&world.cloud, &["backup", &file]));
    assert!(said.contains("at revision ") && said.contains(" bytes"), "{said}");
    let again = on_folder(&world.cloud, &["backup", &file]).output().unwrap();
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("--overwrite"));
    stop.store(true, Ordering::Relaxed);
    let mut tallies: Vec<Vec<String>> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    world.settle();

    // After the backup: a hundred writes with their outcomes at each shop, and what head office does is known to be lost.
    let mut delivered = Vec::new();
    for (edge, tally) in world.edges.iter().zip(&mut tallies) {
        let mut client = edge.client();
        for turn in 0..100 {
            let key = format!("{}-late-{turn}", edge.name);
            delivered.push(sell(&mut client, &key)["id"].as_str().unwrap().to_owned());
            tally.push(key);
        }
        client.json("PATCH", "/v1/collections/products/records/7", &json!({&edge.name: "shelf 3"})).unwrap().expect(200);
        client
            .send("DELETE", &format!("/v1/collections/products/records/{}", if edge.name == "lyon" { 8 } else { 9 }), &[], None)
            .unwrap()
            .expect(200);
    }
    for product in 0..5 {
        world.cloud.cli(&["record", "merge", "products", &product.to_string(), r#"{"price":2}"#]).done();
    }
    world.cloud.cli(&["record", "put", "products", "hq-only", "{}"]).done();
    world.cloud.cli(&["record", "delete", "products", "40"]).done();
    let before = same_everywhere(&world);
    assert!(before.contains_key("products/hq-only") && !before.contains_key("products/40"));

    world.cloud.stop();
    let said = done(on_folder(&world.cloud, &["restore", &file]));
    assert!(said.contains("what was there before is in ") && said.contains("start the hub now"), "{said}");
    world.cloud.start();
    let after = same_everywhere(&world);

    // Each sale of the shops is there once; of head office's those that the backup had.
    let sales = after.keys().filter(|key| key.starts_with("sales/")).count();
    assert_eq!(after["stock/a"]["n"], sales, "every sale has exactly one increment");
    for key in tallies[0].iter().chain(&tallies[1]) {
        assert_eq!(after.get(&format!("sales/{key}")), before.get(&format!("sales/{key}")), "{key}");
    }
    let hq = tallies[2].iter().filter(|key| after.contains_key(&format!("sales/{key}"))).count();
    assert_eq!(sales, tallies[0].len() + tallies[1].len() + hq);
    assert_eq!(after["products/7"], json!({"price": 1, "lyon": "shelf 3", "oslo": "shelf 3"}));
    assert!(!after.contains_key("products/8") && !after.contains_key("products/9"), "deleted at the shops");
    assert!(!after.contains_key("products/hq-only") && after.contains_key("products/40"));
    assert!((0..5).all(|product| after[&format!("products/{product}")]["price"] == 1));
    for id in delivered {
        let write = world.cloud.client().get(&format!("/v1/writes/{id}")).unwrap().ok(200);
        assert_eq!(write["state"], "applied", "{write}");
    }
}
