//! Edge databases that a disk has damaged: put aside, what was not sent saved from them, and everything else there again.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::json;
use tests::shops::World;
use tests::until::until_shown;

use super::{SHOP, event, same_everywhere, sell};

/// A shop with some records, whose hub is stopped, and that sold 200 times since.
fn sold_200() -> World {
    let mut world = World::new(&[("lyon", &[])]);
    world.cloud.define(SHOP);
    let mut cloud = world.cloud.client();
    cloud.json("PUT", "/v1/collections/stock/records/a", &json!({"n": 0})).unwrap().ok(201);
    for id in 0..50 {
        let value = json!({"name": format!("product {id}"), "text": "x".repeat(500)});
        cloud.json("PUT", &format!("/v1/collections/products/records/{id}"), &value).unwrap().ok(201);
    }
    world.settle();
    world.cloud.stop();
    let mut lyon = world.edges[0].client();
    for n in 0..200 {
        sell(&mut lyon, &format!("sale-{n}"));
    }
    world
}

fn aside(folder: &Path) -> Option<PathBuf> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    names.into_iter().find(|path| path.to_string_lossy().contains("edge.db.corrupt."))
}

/// The hub is back: all that was sold is there once, and both sides hold the same.
fn all_back(world: &mut World, lost: u64) {
    world.cloud.start();
    let records = same_everywhere(world);
    assert_eq!(records["stock/a"], json!({"n": 200 - lost}));
    assert_eq!(records.keys().filter(|key| key.starts_with("sales/")).count() as u64, 200 - lost);
    assert!(aside(&world.edges[0].data).is_some(), "the damaged file is kept");
    assert!(event(&world.cloud, "lyon", "database_renewed").contains("what was saved from it"));
}

#[test]
fn a_first_page_that_is_gone() {
    let mut world = sold_200();
    world.edges[0].stop();
    let path = world.edges[0].data.join("edge.db");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    // The magic and the page size stay, the application's id does not.
    file.write_all_at(&[0xff; 40], 60).unwrap();
    world.edges[0].start();
    all_back(&mut world, 0);
}

#[test]
fn one_write_that_is_not_what_was_committed() {
    let mut world = sold_200();
    world.edges[0].kill();
    let path = world.edges[0].data.join("edge.db");
    let database = rusqlite::Connection::open(&path).unwrap();
    database.execute("UPDATE writes SET bytes = CAST(bytes || x'00' AS BLOB) WHERE number = 77", []).unwrap();
    // The connection is left open, and with it a log, as by a kill.
    world.edges[0].start();
    let folder = world.edges[0].data.clone();
    until_shown("the damaged file aside", || aside(&folder).map(drop).ok_or_else(|| "none".to_owned()));
    drop(database);
    let mut lyon = world.edges[0].client();
    until_shown("the local API again", || lyon.get("/v1/status").map(drop).map_err(|error| error.to_string()));
    all_back(&mut world, 1);
    let lost = world.edges[0].cli(&["write", "list", "--state", "lost"]).done();
    assert!(lost.contains(":77 "), "{lost}");
}

#[test]
fn a_page_that_is_met_while_it_runs() {
    let mut world = sold_200();
    world.edges[0].stop();
    let path = world.edges[0].data.join("edge.db");
    // A page of product texts: nothing that is read at the start.
    let bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(10).position(|window| window == b"product 25").unwrap() / 4096;
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0xa5; 4096], at as u64 * 4096).unwrap();
    world.edges[0].start();
    let folder = world.edges[0].data.clone();
    let mut lyon = world.edges[0].client();
    until_shown("the damage is met", || {
        // The first answer is an error; then the database is another one.
        let _ = lyon.get("/v1/collections/products/records?limit=1000");
        aside(&folder).map(drop).ok_or_else(|| "none".to_owned())
    });
    all_back(&mut world, 0);
}
