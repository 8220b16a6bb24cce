//! SQL at the edge, from outside: what it answers, what it refuses, and that nobody waits for it.

use std::sync::mpsc::sync_channel;
use std::thread;

use serde_json::{Value, json};
use tests::http::{Answer, Client};
use tests::shops::World;

const COLLECTIONS: &str = r#"
[[collection]]
name = "products"
key = "ProductID"
indexes = ["CategoryID"]
[collection.fields]
UnitsInStock = { type = "counter", min = 0, on_violation = "flag" }

[[collection]]
name = "price-list"
"#;

fn shop() -> World {
    let world = World::new(&[("lyon", &["role=shop"])]);
    world.cloud.define(COLLECTIONS);
    for (key, category) in [("1", 1), ("2", 1), ("3", 2), ("11", 2)] {
        let value = json!({"ProductName": format!("Product {key}"), "UnitsInStock": 20, "CategoryID": category});
        world.cloud.cli(&["record", "put", "products", key, &value.to_string()]).done();
    }
    world.cloud.cli(&["record", "put", "price-list", "spring", r#"{"factor":0.9}"#]).done();
    world.settle();
    world
}

fn ask(api: &mut Client, sql: &str) -> Answer {
    api.json("POST", "/v1/query", &json!({ "sql": sql })).unwrap()
}

fn refused(api: &mut Client, sql: &str, status: u16, code: &str) -> String {
    let problem = ask(api, sql).ok(status);
    assert_eq!(problem["code"], code, "{sql}: {problem}");
    problem["detail"].as_str().unwrap().to_owned()
}

#[test]
fn a_query_sees_what_a_list_sees() {
    let mut world = shop();
    world.cloud.stop();
    let edge = &world.edges[0];
    let mut api = edge.client();
    let products = "/v1/collections/products/records";
    api.json("POST", &format!("{products}/11/increment"), &json!({"UnitsInStock": -3})).unwrap().expect(200);
    api.json("PUT", &format!("{products}/4"), &json!({"ProductName": "New", "CategoryID": 1})).unwrap().expect(201);
    api.json("DELETE", &format!("{products}/2"), &json!({})).unwrap();
    api.json("DELETE", &format!("{products}/2?force=true"), &json!({})).unwrap();
    let listed = api.get(products).unwrap().ok(200);
    let listed: Vec<Value> = listed["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| json!([record["key"], record["value"], record["revision"], i32::from(record["sync"]["state"] == "pending")]))
        .collect();
    assert_eq!(listed.len(), 4);
    let queried = ask(&mut api, "SELECT _key, _value, _revision, _pending FROM products ORDER BY _key").ok(200);
    assert_eq!(queried["columns"], json!(["_key", "_value", "_revision", "_pending"]));
    assert_eq!(queried["truncated"], false);
    let rows: Vec<Value> = queried["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let value: Value = serde_json::from_str(row[1].as_str().unwrap()).unwrap();
            json!([row[0], value, row[2], row[3]])
        })
        .collect();
    assert_eq!(rows, listed);
    // Word for word as the interface has it.
    let body = json!({"sql": "SELECT _key FROM products WHERE CategoryID = ? AND _value->>'$.UnitsInStock' < ?", "params": [2, 20]});
    let answer = api.json("POST", "/v1/query", &body).unwrap().expect(200);
    assert_eq!(String::from_utf8(answer.body).unwrap(), r#"{"columns":["_key"],"rows":[["11"]],"truncated":false}"#);
    let sums = "SELECT CategoryID, count(*) AS n, sum(_value->>'$.UnitsInStock') FROM products GROUP BY 1 ORDER BY 1";
    assert_eq!(ask(&mut api, sums).ok(200)["rows"], json!([[1, 2, 20], [2, 2, 37]]));
    assert_eq!(ask(&mut api, "SELECT _key, _value->>'factor' FROM \"price-list\"").ok(200)["rows"], json!([["spring", 0.9]]));
    // The command prints the same, as a table or as it is.
    let shown = edge.cli(&["query", "SELECT _key, CategoryID FROM products WHERE _key = ?", "--param", "lyon"]).done();
    assert_eq!(shown, "_key  CategoryID\n");
    let shown = edge.cli(&["query", "SELECT _key, CategoryID FROM products WHERE CategoryID = ? ORDER BY 1", "--param", "2"]).done();
    assert_eq!(shown, "_key  CategoryID\n11    2\n3     2\n");
    let raw = edge.cli(&["query", "SELECT 1 AS one", "-o", "json"]).done();
    assert_eq!(raw, r#"{"columns":["one"],"rows":[[1]],"truncated":false}"#);
    let why = edge.cli(&["query", "DELETE FROM products"]).failed(1);
    assert!(why.contains("bad_request"), "{why}");
}

#[test]
fn what_a_query_may_not_is_refused_and_nothing_changes() {
    let world = shop();
    let edge = &world.edges[0];
    let mut api = edge.client();
    let file = world.folder().join("stolen.db").display().to_string();
    for sql in [
        "INSERT INTO products (_key) VALUES ('x')".to_owned(),
        "UPDATE products SET _value = '{}'".to_owned(),
        "DELETE FROM main.base".to_owned(),
        "DROP TABLE main.writes".to_owned(),
        "SELECT 1; DELETE FROM main.writes".to_owned(),
        format!("ATTACH '{file}' AS x"),
        format!("VACUUM INTO '{file}'"),
        "PRAGMA query_only = off".to_owned(),
        "PRAGMA journal_mode = DELETE".to_owned(),
        format!("SELECT load_extension('{file}')"),
        "SELECT * FROM main.base".to_owned(),
        "SELECT bytes FROM writes".to_owned(),
        "SELECT count(*) FROM outcomes".to_owned(),
        "SELECT sql FROM sqlite_schema".to_owned(),
        "SELECT * FROM pragma_database_list".to_owned(),
        "WITH products AS (SELECT * FROM main.meta) SELECT * FROM products".to_owned(),
        "SELECT * FROM nowhere".to_owned(),
        "SELECT".to_owned(),
        String::new(),
    ] {
        let detail = refused(&mut api, &sql, 400, "bad_request");
        assert!(detail.len() > 10, "{sql}: {detail}");
    }
    for (sql, named) in [
        ("PRAGMA query_only = off", "PRAGMA"),
        ("SELECT load_extension('x')", "load_extension"),
        ("SELECT * FROM meta", "no table meta"),
        ("SELECT nonesuch FROM products", "no such column: nonesuch, at character 8"),
    ] {
        let detail = refused(&mut api, sql, 400, "bad_request");
        assert!(detail.contains(named), "{sql}: {detail}");
    }
    assert!(!std::path::Path::new(&file).exists());
    assert_eq!(ask(&mut api, "SELECT count(*) FROM products").ok(200)["rows"], json!([[4]]));
    let status = api.get("/v1/status").unwrap().ok(200);
    assert_eq!(status["outbox"]["writes"], 0);
    let rows = ask(&mut api, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n").ok(200);
    assert_eq!((rows["rows"].as_array().unwrap().len(), &rows["truncated"]), (10_000, &json!(true)));
}

#[test]
fn a_query_without_end_ends_and_nobody_waits_for_it() {
    let mut world = shop();
    let address = world.edges[0].api;
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let (done, answers) = sync_channel(6);
    let asking: Vec<_> = (0..6)
        .map(|_| {
            let done = done.clone();
            thread::spawn(move || {
                let body = json!({"sql": endless, "timeout": 4});
                let answer = Client::tcp(address).json("POST", "/v1/query", &body).unwrap();
                done.send((answer.status, answer.json()["code"].clone())).unwrap();
            })
        })
        .collect();
    // Reads and writes are answered while they run.
    let mut api = world.edges[0].client();
    let mut served = 0;
    while answers.try_recv().is_err() {
        let sold = json!({"UnitsInStock": -1});
        api.json("POST", "/v1/collections/products/records/11/increment", &sold).unwrap().expect(200);
        api.get("/v1/collections/products/records/11").unwrap().expect(200);
        served += 1;
    }
    assert!(served > 10, "{served} sales while queries ran");
    asking.into_iter().for_each(|thread| thread.join().unwrap());
    let rest: Vec<_> = answers.try_iter().collect();
    let limited = rest.iter().filter(|(status, code)| (*status, code) == (422, &json!("query_limit"))).count();
    let turned_away = rest.iter().filter(|(status, code)| (*status, code) == (429, &json!("rate"))).count();
    assert!(limited + turned_away == 5 && limited >= 1 && turned_away >= 1, "{rest:?}");
    let sorted = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, hex(i) AS h FROM n ORDER BY h";
    let body = json!({"sql": sorted, "timeout": 30});
    assert_eq!(api.json("POST", "/v1/query", &body).unwrap().ok(422)["code"], "query_limit", "it ends by its memory");
    assert!(world.edges[0].process().resident_kib() < 200 * 1024);
    // A query that runs does not hold up the end.
    thread::scope(|scope| {
        scope.spawn(|| drop(Client::tcp(address).json("POST", "/v1/query", &json!({"sql": endless, "timeout": 30}))));
        world.edges[0].stop();
    });
}
