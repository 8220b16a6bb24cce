//! The trading company's products by conditions and orders, the same from both sides, and what waits at a shop with them.

use serde_json::{Value, json};
use tests::http::Client;
use tests::northwind::{DEFINITIONS, tables};
use tests::shops::World;

const PRODUCTS: &str = "/v1/collections/products/records";

fn company() -> World {
    let world = World::new(&[("lyon", &["role=shop"])]);
    let indexes = r#"indexes = ["SupplierID", "SupplierID,-UnitPrice", "UnitPrice"]"#;
    world.cloud.define(&DEFINITIONS.replacen("policy = \"merge\"", &format!("policy = \"merge\"\n{indexes}"), 1));
    let tables = tables();
    let file = tables.folder.join("products.ndjson");
    world.cloud.cli(&["record", "import", "products", &file.display().to_string()]).done();
    world.settle();
    world
}

/// Every record that a query finds, in its order, in pages of seven.
fn all(api: &mut Client, query: &str) -> Vec<Value> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("{PRODUCTS}?limit=7{query}{after}")).unwrap().ok(200);
        found.extend(page["records"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return found,
        }
    }
}

fn keys(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["key"].as_str().unwrap()).collect()
}

fn number(record: &Value, field: &str) -> f64 {
    record["value"][field].as_f64().unwrap_or(f64::NAN)
}

/// What the queries of `QUERIES` should find among all products, in key order or in the order asked for.
fn expected(every: &[Value], query: &str) -> Vec<String> {
    let mut found: Vec<&Value> = every.iter().collect();
    match query {
        "&SupplierID=7" => found.retain(|record| number(record, "SupplierID") == 7.0),
        "&UnitPrice[lt]=20&UnitsInStock[gte]=25" => {
            found.retain(|record| number(record, "UnitPrice") < 20.0 && number(record, "UnitsInStock") >= 25.0);
        }
        "&SupplierID[in]=3,7&sort=-UnitPrice" => {
            found.retain(|record| [3.0, 7.0].contains(&number(record, "SupplierID")));
            found.sort_by(|a, b| a["key"].as_str().cmp(&b["key"].as_str()));
            found.sort_by(|a, b| number(a, "UnitPrice").total_cmp(&number(b, "UnitPrice")));
            found.reverse();
        }
        "&sort=SupplierID,-UnitPrice" => {
            found.sort_by(|a, b| b["key"].as_str().cmp(&a["key"].as_str()));
            found.sort_by(|a, b| number(b, "UnitPrice").total_cmp(&number(a, "UnitPrice")));
            found.sort_by(|a, b| number(a, "SupplierID").total_cmp(&number(b, "SupplierID")));
        }
        _ => panic!("nothing is expected of {query}"),
    }
    found.into_iter().map(|record| record["key"].as_str().unwrap().to_owned()).collect()
}

const QUERIES: [&str; 4] =
    ["&SupplierID=7", "&UnitPrice[lt]=20&UnitsInStock[gte]=25", "&SupplierID[in]=3,7&sort=-UnitPrice", "&sort=SupplierID,-UnitPrice"];

#[test]
fn conditions_and_orders_find_the_same_on_both_sides() {
    let world = company();
    let (mut cloud, mut edge) = (world.cloud.client(), world.edges[0].client());
    let every = all(&mut cloud, "");
    assert_eq!(every.len(), 77);
    for query in QUERIES {
        let found = all(&mut cloud, query);
        assert_eq!(keys(&found), expected(&every, query), "{query}");
        assert_eq!(keys(&all(&mut edge, query)), keys(&found), "{query}, at the edge");
    }
    for api in [&mut cloud, &mut edge] {
        let problem = api.get(&format!("{PRODUCTS}?sort=ProductName")).unwrap().ok(400);
        assert_eq!(problem["code"], "no_index");
        assert!(problem["detail"].as_str().unwrap().contains("ProductName"), "{problem}");
    }
}

#[test]
fn what_waits_at_a_shop_is_in_its_lists() {
    let mut world = company();
    world.cloud.stop();
    let mut edge = world.edges[0].client();
    for (key, patch) in
        [("1", json!({"UnitPrice": 0.5})), ("2", json!({"SupplierID": 7})), ("3", json!({"SupplierID": 3, "UnitPrice": 999}))]
    {
        edge.json("PATCH", &format!("{PRODUCTS}/{key}"), &patch).unwrap().expect(200);
    }
    edge.json("PUT", &format!("{PRODUCTS}/500"), &json!({"SupplierID": 7, "UnitPrice": 1.5, "UnitsInStock": 30})).unwrap().expect(201);
    edge.send("DELETE", &format!("{PRODUCTS}/4?force=true"), &[("content-type", "application/json")], None).unwrap().expect(200);
    let every = all(&mut edge, "");
    assert_eq!(every.len(), 77);
    for query in QUERIES {
        assert_eq!(keys(&all(&mut edge, query)), expected(&every, query), "{query}");
    }
}
