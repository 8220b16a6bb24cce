//! Full disks, on both sides: reads go on, writes are refused or wait, nothing is acknowledged that is not stored, and all resumes
//! by itself when there is room again.

use std::path::Path;

use serde_json::{Value, json};
use tests::http::Client;
use tests::shops::World;
use tests::small_disk::SmallDisk;
use tests::until::until_shown;

use super::{SHOP, same_everywhere, sell, wait};

fn put(client: &mut Client, key: &str, value: &Value) -> tests::http::Answer {
    client.json("PUT", &format!("/v1/collections/products/records/{key}"), value).unwrap()
}

/// Whether the reserve takes real room.
fn held(reserve: &Path) -> bool {
    std::fs::metadata(reserve).is_ok_and(|file| file.len() > 0)
}

#[test]
fn a_node_whose_disk_is_full_still_empties_its_outbox() {
    let mut world = World::on_small_disks(&[("lyon", &[])], &[("lyon", 256)]);
    world.cloud.define(SHOP);
    let mut cloud = world.cloud.client();
    cloud.json("PUT", "/v1/collections/stock/records/a", &json!({"n": 0})).unwrap().ok(201);
    put(&mut cloud, "old", &json!({"name": "old"})).ok(201);
    world.settle();
    let reserve = world.edges[0].data.join("reserve");
    until_shown("the reserve", || if held(&reserve) { Ok(()) } else { Err("not there".to_owned()) });

    world.cloud.stop();
    let mut lyon = world.edges[0].client();
    for n in 0..20 {
        sell(&mut lyon, &format!("sale-{n}"));
    }
    world.disks[0].fill();
    let refused = put(&mut lyon, "local", &json!({"name": "local"}));
    assert_eq!((refused.status, refused.json()["code"].as_str()), (507, Some("disk_full")), "{refused}");
    lyon.get("/v1/collections/products/records/old").unwrap().ok(200);

    world.cloud.start();
    let mut cloud = world.cloud.client();
    put(&mut cloud, "new", &json!({"name": "new", "text": "x".repeat(100_000)})).ok(201);
    wait(&mut cloud, "/v1/nodes/lyon", |node| node["reason"] == "paused-disk-full");
    let status = wait(&mut lyon, "/v1/status", |status| status["outbox"]["writes"] == 0);
    assert_eq!(status["sync"]["state"], "blocked", "{status}");
    assert!(!held(&reserve), "outcomes found no room and the reserve was kept");
    assert_eq!(lyon.get("/v1/collections/products/records/new").unwrap().status, 404, "it waits for room");
    let stock = |client: &mut Client| client.get("/v1/collections/stock/records/a").unwrap().ok(200);
    assert_eq!((&stock(&mut lyon)["value"]["n"], &stock(&mut cloud)["value"]["n"]), (&json!(20), &json!(20)));

    world.disks[0].free();
    put(&mut lyon, "local", &json!({"name": "local"})).ok(201);
    let records = same_everywhere(&world);
    assert!(records.contains_key("products/new") && records.contains_key("products/local"));
    until_shown("the reserve again", || if held(&reserve) { Ok(()) } else { Err("not there".to_owned()) });
}

#[test]
fn both_start_on_a_disk_without_a_free_byte() {
    let mut world = World::on_small_disks(&[("lyon", &[])], &[("cloud", 256), ("lyon", 256)]);
    world.cloud.define(SHOP);
    put(&mut world.cloud.client(), "old", &json!({"name": "old"})).ok(201);
    world.settle();
    let datas = [world.cloud.data.clone(), world.edges[0].data.clone()];
    for data in &datas {
        until_shown("the reserve", || if held(&data.join("reserve")) { Ok(()) } else { Err("not there".to_owned()) });
        // Whatever gave it back, something else has taken its room.
        std::fs::write(data.join("reserve"), "").unwrap();
    }
    for round in 0..12 {
        world.disks.iter().for_each(SmallDisk::fill);
        // Killed, and ended in order, which takes the log and its index away.
        if round % 3 == 2 {
            world.cloud.stop();
            world.edges[0].stop();
            world.disks.iter().for_each(SmallDisk::fill);
        } else {
            world.cloud.kill();
            world.edges[0].kill();
        }
        world.edges[0].start();
        world.cloud.start();
        for (mut client, data) in [world.cloud.client(), world.edges[0].client()].into_iter().zip(&datas) {
            client.get("/v1/collections/products/records/old").unwrap().ok(200);
            let refused = put(&mut client, "new", &json!({"name": "new"}));
            assert_eq!((refused.status, refused.json()["code"].as_str()), (507, Some("disk_full")), "{refused}");
            assert!(held(&data.join("reserve.start")), "nothing is kept for the next start, in round {round}");
        }
    }
    world.disks.iter().for_each(SmallDisk::free);
    put(&mut world.edges[0].client(), "new", &json!({"name": "new"})).ok(201);
    let records = same_everywhere(&world);
    assert!(records.contains_key("products/old") && records.contains_key("products/new"));
}

#[test]
fn a_hub_whose_disk_is_full_takes_nothing_and_loses_nothing() {
    let mut world = World::on_small_disks(&[("lyon", &[])], &[("cloud", 256)]);
    world.cloud.define(SHOP);
    let mut cloud = world.cloud.client();
    cloud.json("PUT", "/v1/collections/stock/records/a", &json!({"n": 0})).unwrap().ok(201);
    world.settle();
    let reserve = world.cloud.data.join("reserve");
    until_shown("the reserve", || if held(&reserve) { Ok(()) } else { Err("not there".to_owned()) });
    world.disks[0].fill();
    let refused = put(&mut cloud, "x", &json!({"name": "x"}));
    assert_eq!((refused.status, refused.json()["code"].as_str()), (507, Some("disk_full")), "{refused}");
    cloud.get("/v1/collections/stock/records/a").unwrap().ok(200);
    let mut lyon = world.edges[0].client();
    for n in 0..20 {
        sell(&mut lyon, &format!("sale-{n}"));
    }
    // The link is up, the sales wait, and a node that comes anew is let in all the same.
    world.edges[0].kill();
    world.edges[0].start();
    let mut lyon = world.edges[0].client();
    wait(&mut lyon, "/v1/status", |status| status["link"]["state"] == "online" && status["outbox"]["writes"] == 20);

    world.disks[0].free();
    let records = same_everywhere(&world);
    assert_eq!(records["stock/a"], json!({"n": 20}));
    put(&mut cloud, "x", &json!({"name": "x"})).ok(201);
}
