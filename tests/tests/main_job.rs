//! The main job from outside: two shops on a trading company's tables.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::{Value, json};
use tests::http::Client;
use tests::northwind::{DEFINITIONS, TABLES, rows, same, tables};
use tests::shops::{World, escape};
use tests::until::until;

fn two_shops() -> World {
    let world = World::new(&[("lyon", &["role=shop", "site=lyon"]), ("oslo", &["role=shop", "site=oslo"])]);
    world.cloud.define(DEFINITIONS);
    let tables = tables();
    for (table, _) in TABLES {
        world.cloud.cli(&["record", "import", table, &tables.folder.join(format!("{table}.ndjson")).display().to_string()]).done();
    }
    world.settle();
    world
}

/// Everything of a collection through the local API, page by page.
fn list(edge: &tests::shops::Edge, table: &str) -> BTreeMap<String, Value> {
    let mut api = edge.client();
    let (mut all, mut after) = (BTreeMap::new(), String::new());
    loop {
        let page = api.get(&format!("/v1/collections/{table}/records?limit=1000{after}")).unwrap().ok(200);
        for record in page["records"].as_array().unwrap() {
            all.insert(record["key"].as_str().unwrap().to_owned(), record["value"].clone());
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={}", escape(next)),
            None => return all,
        }
    }
}

#[test]
fn every_record_arrives_as_it_was() {
    let world = two_shops();
    let tables = tables();
    let folder = &tables.folder;
    let mut total = 0;
    for (table, key) in TABLES {
        let source: BTreeMap<_, _> = rows(folder, table, key).into_iter().collect();
        total += source.len();
        for edge in &world.edges {
            let held = list(edge, table);
            assert_eq!(held.len(), source.len(), "{table} at {}", edge.name);
            for (key, value) in &source {
                assert!(same(value, &held[key]), "{table} {key} at {}: {} instead of {value}", edge.name, held[key]);
            }
        }
    }
    assert!(total >= 3_000, "{total} records");
    let (key, value) = rows(folder, "order_details", TABLES[3].1).swap_remove(7);
    assert!(same(&world.edges[0].record("order_details", &key).unwrap(), &value), "a composite key is one path segment");
}

#[test]
fn a_price_change_arrives() {
    let world = two_shops();
    world.cloud.cli(&["record", "merge", "products", "11", r#"{"UnitPrice":21.5}"#]).done();
    for edge in &world.edges {
        until("the new price", || (edge.record("products", "11")?["UnitPrice"] == 21.5).then_some(()));
    }
}

#[test]
fn offline_reads_and_an_atomic_sale() {
    let mut world = two_shops();
    world.cloud.stop();
    let stock = |world: &World, shop: usize| world.edges[shop].record("products", "11").unwrap()["UnitsInStock"].as_i64().unwrap();
    let before = stock(&world, 0);
    for edge in &world.edges {
        assert_eq!(list(edge, "products").len(), 77);
        let mut api = edge.client();
        let order = api.json("POST", "/v1/collections/orders/records", &json!({"CustomerID": "ALFKI"})).unwrap().expect(201);
        let id = order.json()["key"].as_str().unwrap().to_owned();
        assert_eq!(order.header("location"), Some(format!("/v1/collections/orders/records/{id}").as_str()));
        let sale = api
            .json(
                "POST",
                "/v1/writes",
                &json!({"ops": [
                    {"op": "put", "collection": "orders", "key": format!("{id}-b"), "value": {"CustomerID": "ALFKI"}},
                    {"op": "put", "collection": "order_details", "key": format!("{id}-b/11"), "value": {"Quantity": 2}},
                    {"op": "increment", "collection": "products", "key": "11", "by": {"UnitsInStock": -2}},
                ]}),
            )
            .unwrap()
            .ok(201);
        assert_eq!(sale["write"]["state"], "pending");
        assert_eq!(sale["records"].as_array().unwrap().len(), 3);
    }
    assert_eq!((stock(&world, 0), stock(&world, 1)), (before - 2, before - 2), "each shop reads its own sale at once");
    // A process that starts without any network serves at once.
    world.edges[0].stop();
    world.edges[0].start();
    assert_eq!(stock(&world, 0), before - 2);
    world.cloud.start();
    world.settle();
    assert_eq!((stock(&world, 0), stock(&world, 1)), (before - 4, before - 4));
    let cloud = world.cloud.record("products", "11").unwrap();
    assert_eq!(cloud["UnitsInStock"], before - 4);
}

#[test]
fn a_write_tells_each_record_once_on_both_sides() {
    let world = two_shops();
    let counted = |api: &mut Client, line: &str| String::from_utf8_lossy(&api.get("/metrics").unwrap().body).contains(line);
    for (name, mut api) in [("cloud", world.cloud.client()), ("lyon", world.edges[0].client())] {
        let order = format!("once-{name}");
        let ops = json!({"ops": [
            {"op": "increment", "collection": "products", "key": "11", "by": {"UnitsInStock": -1}},
            {"op": "check", "collection": "products", "key": "5", "fields": {"ProductID": 5}},
            {"op": "put", "collection": "orders", "key": order, "value": {"CustomerID": "ALFKI"}},
            {"op": "increment", "collection": "products", "key": "11", "by": {"UnitsInStock": -2}},
            {"op": "merge", "collection": "orders", "key": order, "value": {"Freight": 3}},
            {"op": "put", "collection": "orders", "key": "gone", "value": {}, "if": "absent"},
            {"op": "delete", "collection": "orders", "key": "gone"},
        ]});
        // The other side's sale has arrived, so nothing but this write changes the stock.
        world.settle();
        let stored = api.get("/v1/collections/products/records/11").unwrap().ok(200);
        let before = stored["value"]["UnitsInStock"].as_i64().unwrap();
        let told = api.json("POST", "/v1/writes", &ops).unwrap().ok(201);
        let records = told["records"].as_array().unwrap();
        let keys: Vec<_> = records.iter().map(|record| record["key"].as_str().unwrap()).collect();
        assert_eq!(keys, ["11", order.as_str(), "gone"], "{name}: {told}");
        assert_eq!(records[0]["value"]["UnitsInStock"], before - 3, "{name}: as the whole write left it");
        assert_eq!(records[1]["value"]["Freight"], 3, "{name}");
        assert_eq!(records[2], json!({"collection": "orders", "key": "gone", "deleted": true}), "{name}");
    }
    world.settle();
    assert!(counted(&mut world.cloud.client(), "tombolo_writes_total{state=\"applied\"}"), "the cloud counts what it decides");
    // What was committed is counted right after, on the same thread: the cursor may be seen first.
    let mut lyon = world.edges[0].client();
    until("the edge to count what it was told", || counted(&mut lyon, "tombolo_writes_total{state=\"applied\"} 1\n").then_some(()));
}

#[test]
fn two_shops_offline_reconcile() {
    let mut world = two_shops();
    let products: Vec<String> = (1..=10).map(|id| id.to_string()).collect();
    let stock = |value: &Value| value["UnitsInStock"].as_i64().unwrap();
    let before: Vec<i64> = products.iter().map(|id| stock(&world.cloud.record("products", id).unwrap())).collect();
    let original = world.cloud.record("products", "1").unwrap();
    // The price changes in the cloud just before it stops; lyon and oslo have not seen it when they are cut off.
    for edge in &mut world.edges {
        edge.stop();
    }
    world.cloud.cli(&["record", "merge", "products", "1", r#"{"UnitPrice":99.5}"#]).done();
    world.cloud.stop();
    for edge in &mut world.edges {
        edge.start();
        let mut api = edge.client();
        for round in 0..200 {
            for id in &products {
                let by = if round % 2 == 0 { -1 } else { 2 };
                let path = format!("/v1/collections/products/records/{id}/increment");
                api.json("POST", &path, &json!({"UnitsInStock": by})).unwrap().expect(200);
            }
        }
        let mut renamed = edge.record("products", "1").unwrap();
        renamed["ProductName"] = json!(format!("Chai of {}", edge.name));
        api.json("PUT", "/v1/collections/products/records/1", &renamed).unwrap().expect(200);
        let value = json!({"CustomerID": edge.name});
        api.json("PUT", "/v1/collections/orders/records/same-key", &value).unwrap().expect(201);
    }
    world.cloud.start();
    world.settle();
    for (id, before) in products.iter().zip(before) {
        let cloud = world.cloud.record("products", id).unwrap();
        assert_eq!(stock(&cloud), before + 2 * 100, "product {id}");
        for edge in &world.edges {
            assert!(same(&edge.record("products", id).unwrap(), &cloud), "product {id} at {}", edge.name);
        }
    }
    let chai = world.cloud.record("products", "1").unwrap();
    assert_eq!(chai["UnitPrice"], 99.5, "a PUT claims only what it changed");
    let conflicts = world.cloud.client().get("/v1/conflicts?state=all").unwrap().ok(200);
    let rows = conflicts["conflicts"].as_array().unwrap();
    let field: Vec<_> = rows.iter().filter(|row| row["kind"] == "field").collect();
    assert_eq!(field.len(), 1, "{conflicts}");
    let told = &field[0]["fields"][0];
    assert_eq!(field[0]["key"], "1");
    assert_eq!(told["name"], "ProductName");
    assert_eq!(told["base"], original["ProductName"]);
    assert_eq!(told["result"], chai["ProductName"]);
    let names = [&told["cloud"], &told["edge"]];
    for shop in ["lyon", "oslo"] {
        assert!(names.contains(&&json!(format!("Chai of {shop}"))), "{told}");
    }
    // The same order key at both shops: one is there, the other is rejected and its content kept.
    let kept = world.cloud.record("orders", "same-key").unwrap()["CustomerID"].as_str().unwrap().to_owned();
    let loser = world.edges.iter().find(|edge| edge.name != kept).unwrap();
    let rejected = loser.client().get("/v1/writes?state=rejected").unwrap().ok(200);
    let write = &rejected["writes"][0];
    assert_eq!(write["code"], "key_taken", "{rejected}");
    assert_eq!(write["ops"][0]["value"]["CustomerID"], loser.name);
    assert_eq!(loser.record("orders", "same-key").unwrap()["CustomerID"], kept);
}

#[test]
fn one_rejected_op_rejects_the_write_and_nothing_waits_behind_it() {
    let mut world = two_shops();
    world.cloud.cli(&["record", "put", "orders", "taken", r#"{"CustomerID":"HQ"}"#]).done();
    world.settle();
    world.edges[0].stop();
    world.cloud.cli(&["record", "put", "orders", "taken-2", r#"{"CustomerID":"HQ"}"#]).done();
    world.cloud.stop();
    world.edges[0].start();
    let edge = &world.edges[0];
    let mut api = edge.client();
    let before = edge.record("products", "5").unwrap()["UnitsInStock"].as_i64().unwrap();
    let ops = json!({"ops": [
        {"op": "put", "collection": "orders", "key": "taken-2", "value": {"CustomerID": "lyon"}},
        {"op": "increment", "collection": "products", "key": "5", "by": {"UnitsInStock": 7}},
    ]});
    let write = api.json("POST", "/v1/writes", &ops).unwrap().ok(201)["write"]["id"].as_str().unwrap().to_owned();
    let after = json!({"UnitsInStock": 1});
    api.json("POST", "/v1/collections/products/records/5/increment", &after).unwrap().expect(200);
    assert_eq!(edge.record("products", "5").unwrap()["UnitsInStock"], before + 8);
    world.cloud.start();
    world.settle();
    let edge = &world.edges[0];
    assert_eq!(edge.record("products", "5").unwrap()["UnitsInStock"], before + 1, "the view shows it gone");
    assert_eq!(edge.record("orders", "taken-2").unwrap()["CustomerID"], "HQ");
    let told = edge.client().get(&format!("/v1/writes/{}", escape(&write))).unwrap().ok(200);
    assert_eq!((told["state"].as_str(), told["code"].as_str()), (Some("rejected"), Some("key_taken")), "{told}");
    assert_eq!(world.cloud.record("products", "5").unwrap()["UnitsInStock"], before + 1);
}

#[test]
fn a_partition_reaches_only_its_node() {
    let world = World::new(&[("lyon", &["site=lyon"]), ("oslo", &["site=oslo"])]);
    world.cloud.define(
        r#"
[[collection]]
name = "shelves"
key = "Id"
partition = { field = "Warehouse", label = "site" }
"#,
    );
    for (site, word) in [("lyon", "chartreuse-marker"), ("oslo", "akvavit-marker")] {
        for id in 0..50 {
            let value = json!({"Id": format!("{site}-{id}"), "Warehouse": site, "Word": format!("{word}-{id}")});
            let path = format!("/v1/collections/shelves/records/{site}-{id}");
            world.cloud.client().json("PUT", &path, &value).unwrap().expect(201);
        }
    }
    world.settle();
    for (edge, own, other) in [(0, "chartreuse-marker", "akvavit-marker"), (1, "akvavit-marker", "chartreuse-marker")] {
        let edge = &world.edges[edge];
        assert_eq!(list(edge, "shelves").len(), 50);
        assert!(tests::process::holds(&edge.data, own.as_bytes()).is_some());
        assert_eq!(tests::process::holds(&edge.data, other.as_bytes()), None, "{} holds what is not its", edge.name);
    }
    let foreign = json!({"Id": "x", "Warehouse": "oslo"});
    let answer = world.edges[0].client().json("PUT", "/v1/collections/shelves/records/x", &foreign).unwrap();
    assert_eq!(answer.ok(403)["code"], "not_entitled");
}

/// A write of a thousand ops is atomic to whoever reads beside it, and so is a cloud transaction to a shop in steady
/// state that fits one batch.
#[test]
fn transactions_are_seen_whole() {
    let world = World::new(&[("lyon", &[])]);
    world.cloud.define("[[collection]]\nname = \"shelf\"\n");
    world.settle();
    let ops = |round: u32, count: u32| {
        let op = |id: u32| json!({"op": "put", "collection": "shelf", "key": format!("{id:04}"), "value": {"r": round}});
        json!({"ops": (0..count).map(op).collect::<Vec<_>>()})
    };
    let mut api = world.edges[0].client();
    let write = |client: &mut tests::http::Client, round, count| {
        assert_eq!(client.json("POST", "/v1/writes", &ops(round, count)).unwrap().status / 100, 2, "round {round}");
    };
    write(&mut api, 0, 1_000);
    let (done, looks) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let hammer = scope.spawn(|| {
            let mut reader = world.edges[0].client();
            while !done.load(Ordering::Acquire) {
                let page = reader.get("/v1/collections/shelf/records?limit=1000").unwrap().ok(200);
                let rounds: BTreeSet<u64> =
                    page["records"].as_array().unwrap().iter().map(|row| row["value"]["r"].as_u64().unwrap()).collect();
                assert_eq!((page["records"].as_array().unwrap().len(), rounds.len()), (1_000, 1), "{rounds:?}");
                looks.fetch_add(1, Ordering::Release);
            }
        });
        for round in 1..=5 {
            let before = looks.load(Ordering::Acquire);
            write(&mut api, round, 1_000);
            until("another look", || (hammer.is_finished() || looks.load(Ordering::Acquire) > before).then_some(()));
        }
        done.store(true, Ordering::Release);
        hammer.join().unwrap();
    });
    // The same of the cloud's transactions: up to 256 records of the newest round.
    world.settle();
    world.cloud.cli(&["collection", "apply", "-f", &second_collection(&world)]).done();
    world.settle();
    let mut cloud = world.cloud.client();
    let of = |round: u32| {
        let op = |id: u32| json!({"op": "put", "collection": "rack", "key": format!("{id:04}"), "value": {"r": round}});
        json!({"ops": (0..200).map(op).collect::<Vec<_>>()})
    };
    let mut seen: BTreeSet<u64> = BTreeSet::new();
    for round in 1..=5 {
        assert_eq!(cloud.json("POST", "/v1/writes", &of(round)).unwrap().status / 100, 2);
        until("the round", || {
            let page = api.get("/v1/collections/rack/records?limit=1000").unwrap().ok(200);
            let rounds: BTreeSet<u64> = page["records"].as_array().unwrap().iter().map(|row| row["value"]["r"].as_u64().unwrap()).collect();
            assert!(rounds.len() <= 1, "{rounds:?}");
            seen.extend(&rounds);
            rounds.contains(&u64::from(round)).then_some(())
        });
    }
    assert!(!seen.is_empty());
}

fn second_collection(world: &World) -> String {
    let file = world.folder().join("rack.toml");
    std::fs::write(&file, "[[collection]]\nname = \"rack\"\n").unwrap();
    file.display().to_string()
}
