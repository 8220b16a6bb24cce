//! JSON Schema from outside: the same refusals of the cloud and of a shop, offline too, and a stricter schema that strands
//! nothing.

use serde_json::{Value, json};
use tests::shops::World;

const LOOSE: &str = "[[collection]]\nname = \"products\"\nkey = \"id\"\n";
const STRICT: &str = r#"
[[collection]]
name = "products"
key = "id"
schema = { required = ["Name"], properties = { Name = { type = "string", maxLength = 8 }, Code = { pattern = "^[A-Z]{2}-[0-9]+$" } } }
"#;

fn refused(api: &mut tests::http::Client) {
    for (value, field, word) in [
        (json!({"Name": 7}), "Name", "expected string"),
        (json!({"Code": "AB-1"}), "Name", "is missing"),
        (json!({"Name": "tea", "Code": "x"}), "Code", "expected text like"),
    ] {
        let problem = api.json("PUT", "/v1/collections/products/records/9", &value).unwrap().ok(422);
        assert_eq!((&problem["code"], &problem["field"]), (&json!("schema"), &json!(field)), "{problem}");
        assert_eq!((&problem["collection"], &problem["key"]), (&json!("products"), &json!("9")), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
    }
    let patch = api.json("PATCH", "/v1/collections/products/records/1", &json!({"Name": "much too long"})).unwrap().ok(422);
    assert_eq!((&patch["code"], &patch["field"]), (&json!("schema"), &json!("Name")));
    let ops = json!({"ops": [
        {"op": "merge", "collection": "products", "key": "1", "value": {"Name": "mint"}},
        {"op": "put", "collection": "products", "key": "9", "value": {"Name": "tea", "Code": 3, "Other": null}},
        {"op": "put", "collection": "products", "key": "10", "value": {}},
    ]});
    assert_eq!(api.json("POST", "/v1/writes", &ops).unwrap().ok(422)["code"], "schema");
    let lines = b"{\"id\":\"20\",\"Name\":\"a\"}\n{\"id\":\"21\",\"Name\":\"b\",\"Code\":\"no\"}\n";
    let headers = [("Content-Type", "application/x-ndjson")];
    let bad = api.send("POST", "/v1/collections/products/import", &headers, Some(lines)).unwrap().ok(400);
    assert_eq!((&bad["code"], &bad["line"], &bad["field"]), (&json!("bad_line"), &json!(2), &json!("Code")), "{bad}");
    api.get("/v1/collections/products/records/20").unwrap().expect(404);
}

#[test]
fn the_shop_refuses_what_the_cloud_refuses() {
    let mut world = World::new(&[("lyon", &[])]);
    world.cloud.define(STRICT);
    world.cloud.cli(&["record", "put", "products", "1", r#"{"Name":"tea"}"#]).done();
    world.settle();
    refused(&mut world.cloud.client());
    world.cloud.stop();
    refused(&mut world.edges[0].client());
    assert_eq!(world.edges[0].client().get("/v1/outbox").unwrap().ok(200)["writes"], json!([]));
    world.edges[0].kill();
    world.edges[0].start();
    refused(&mut world.edges[0].client());
}

#[test]
fn a_stricter_schema_strands_no_outbox() {
    let mut world = World::new(&[("lyon", &[])]);
    world.cloud.define(LOOSE);
    world.settle();
    world.edges[0].stop();
    world.cloud.define(STRICT);
    world.cloud.stop();
    world.edges[0].start();
    let mut api = world.edges[0].client();
    let ids = ["1", "2"].map(|id| {
        let value = if id == "1" { json!({"Name": "a name of another age"}) } else { json!({"Name": "tea"}) };
        let done = api.json("PUT", &format!("/v1/collections/products/records/{id}"), &value).unwrap().ok(201);
        done["write"]["id"].as_str().unwrap().to_owned()
    });
    world.cloud.start();
    world.settle();
    let told = |id: &str| world.edges[0].client().get(&format!("/v1/writes/{}", tests::shops::escape(id))).unwrap().ok(200);
    let (first, second) = (told(&ids[0]), told(&ids[1]));
    assert_eq!((&first["state"], &first["code"], &second["state"]), (&json!("flagged"), &json!("schema"), &json!("applied")), "{first}");
    let rows = api.get("/v1/conflicts").unwrap().ok(200);
    let row = &rows["conflicts"][0];
    assert_eq!((&row["kind"], &row["key"]), (&json!("schema"), &json!("1")), "{rows}");
    assert_eq!(world.cloud.record("products", "1").unwrap()["Name"], "a name of another age");
    let again: Value = api.json("PUT", "/v1/collections/products/records/3", &json!({"Name": "a name of another age"})).unwrap().ok(422);
    assert_eq!(again["field"], "Name");
}

#[test]
fn what_is_no_schema_is_refused_with_its_place() {
    let world = World::new(&[]);
    let mut api = world.cloud.client();
    for (schema, word) in [
        (json!({"properties": {"a": {"type": "text"}}}), "#/properties/a/type"),
        (json!({"$ref": "https://example.com/schema.json"}), "no other document is read"),
        (json!({"properties": {"a": {"pattern": "("}}}), "#/properties/a/pattern"),
    ] {
        let refused = api.json("PUT", "/v1/collections/products", &json!({"schema": schema})).unwrap().ok(400);
        assert_eq!(refused["field"], "schema", "{refused}");
        assert!(refused["detail"].as_str().unwrap().contains(word), "{refused}");
    }
}
