//! Conflicts from outside: two shops and a head office decide, through HTTP and the command line, online and offline.

use serde_json::{Value, json};
use tests::shops::{Edge, World};

const DEFINITIONS: &str = r#"
[[collection]]
name = "products"
key = "id"
[collection.fields]
n = { type = "counter", min = 0 }
price = { edge = "read-only" }
"#;

fn shops() -> World {
    let world = World::new(&[("lyon", &[]), ("oslo", &[])]);
    world.cloud.define(DEFINITIONS);
    for id in ["1", "2"] {
        world.cloud.cli(&["record", "put", "products", id, r#"{"name":"tea","n":2,"price":3}"#]).done();
    }
    world.settle();
    world
}

/// A rename of product 1 on both sides, while the shop is away; and a sale of all that is there and one more.
fn two_conflicts(world: &mut World) -> (String, String) {
    world.cloud.stop();
    let mut api = world.edges[0].client();
    api.json("PATCH", "/v1/collections/products/records/1", &json!({"name": "green tea"})).unwrap().expect(200);
    let sale = api.json("POST", "/v1/collections/products/records/2/increment", &json!({"n": -3})).unwrap().ok(200);
    assert_eq!(sale["write"]["state"], "pending");
    world.edges[0].stop();
    world.cloud.start();
    world.cloud.cli(&["record", "merge", "products", "1", r#"{"name":"black tea"}"#]).done();
    world.edges[0].start();
    world.settle();
    let all = world.cloud.client().get("/v1/conflicts?state=all").unwrap().ok(200);
    let id = |kind: &str| {
        let row = all["conflicts"].as_array().unwrap().iter().find(|row| row["kind"] == kind).unwrap();
        row["id"].as_str().unwrap().to_owned()
    };
    (id("field"), id("bound"))
}

fn row(edge: &Edge, id: &str) -> Value {
    edge.client().get(&format!("/v1/conflicts/{id}")).unwrap().ok(200)
}

fn open(edge: &Edge) -> usize {
    edge.client().get("/v1/conflicts").unwrap().ok(200)["conflicts"].as_array().unwrap().len()
}

#[test]
fn a_shop_decides_offline() {
    let mut world = shops();
    let (_, bound) = two_conflicts(&mut world);
    assert_eq!((open(&world.edges[0]), open(&world.edges[1])), (1, 1));
    world.cloud.stop();
    let lyon = &world.edges[0];
    let path = format!("/v1/conflicts/{bound}/resolve");
    let mut api = lyon.client().with("Tombolo-Actor", "anna");
    let done = api.json("POST", &path, &json!({"use": "value", "value": {"n": 5}})).unwrap().ok(200);
    assert_eq!((&done["conflict"]["state"], &done["conflict"]["resolved_by"]), (&json!("resolved"), &json!("anna")));
    assert_eq!((&done["write"]["state"], &done["write"]["actor"]), (&json!("pending"), &json!("anna")));
    assert_eq!((lyon.record("products", "2").unwrap()["n"].clone(), open(lyon)), (json!(5), 0));
    let status = lyon.client().get("/v1/status").unwrap().ok(200);
    assert_eq!(status["conflicts"]["open"], 0);
    let again = api.json("POST", &path, &json!({"use": "cloud"})).unwrap().ok(409);
    assert_eq!(again["code"], "not_open");
    world.edges[0].kill();
    world.edges[0].start();
    assert_eq!(row(&world.edges[0], &bound)["state"], "resolved");
    world.cloud.start();
    world.settle();
    let write = done["write"]["id"].as_str().unwrap();
    for edge in &world.edges {
        let row = row(edge, &bound);
        assert_eq!((&row["state"], &row["resolved_by"], &row["resolved_in"]), (&json!("resolved"), &json!("anna"), &json!(write)));
        assert_eq!(edge.record("products", "2").unwrap()["n"], 5);
    }
    assert_eq!(world.cloud.client().get("/v1/conflicts").unwrap().ok(200)["conflicts"], json!([]));
}

#[test]
fn who_comes_second_is_told_so() {
    let mut world = shops();
    let (field, _) = two_conflicts(&mut world);
    for edge in &mut world.edges {
        edge.stop();
    }
    world.cloud.stop();
    for (edge, name) in world.edges.iter_mut().zip(["white tea", "red tea"]) {
        edge.start();
        let body = json!({"use": "value", "value": {"name": name}});
        edge.client().json("POST", &format!("/v1/conflicts/{field}/resolve"), &body).unwrap().expect(200);
        assert_eq!(edge.record("products", "1").unwrap()["name"], name);
    }
    world.cloud.start();
    world.settle();
    let by = world.cloud.client().get(&format!("/v1/conflicts/{field}")).unwrap().ok(200)["resolved_by"].as_str().unwrap().to_owned();
    for (edge, name) in world.edges.iter().zip(["white tea", "red tea"]) {
        let rejected = edge.client().get("/v1/writes?state=rejected").unwrap().ok(200);
        let won = edge.name == by;
        assert_eq!(rejected["writes"].as_array().unwrap().len(), usize::from(!won), "{rejected}");
        if won {
            assert_eq!(world.cloud.record("products", "1").unwrap()["name"], name);
        } else {
            assert_eq!(rejected["writes"][0]["code"], "guard");
            assert_eq!(rejected["writes"][0]["ops"][1]["value"]["name"], name, "its content stays readable");
        }
        assert_eq!(row(edge, &field)["resolved_by"], json!(by));
    }
}

/// Head office deletes what a shop renames; the shop brings it back, with the price that it may not write.
#[test]
fn one_call_restores_a_deleted_record() {
    let mut world = shops();
    world.edges[0].stop();
    world.cloud.cli(&["record", "delete", "products", "1", "--force"]).done();
    world.cloud.stop();
    world.edges[0].start();
    let mut api = world.edges[0].client();
    api.json("PATCH", "/v1/collections/products/records/1", &json!({"name": "green tea"})).unwrap().expect(200);
    world.cloud.start();
    world.settle();
    assert_eq!(world.edges[0].record("products", "1"), None);
    let rows = api.get("/v1/conflicts?state=auto").unwrap().ok(200);
    let id = rows["conflicts"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(rows["conflicts"][0]["kind"], "gone");
    let told = world.edges[0].cli(&["conflict", "resolve", &id, "--use", "edge"]).done();
    assert!(told.contains(&format!("{id}: products/1 resolved (write lyon:")), "{told}");
    world.settle();
    for edge in &world.edges {
        assert_eq!(edge.record("products", "1").unwrap(), json!({"name": "green tea", "n": 2, "price": 3, "id": 1}));
    }
}

#[test]
fn many_at_once_on_the_command_line() {
    let mut world = shops();
    let (field, bound) = two_conflicts(&mut world);
    let failed = world.cloud.cli(&["conflict", "resolve", &field, "c9-9", &bound, "--use", "cloud"]).failed(1);
    assert!(failed.contains("c9-9: there is no conflict \"c9-9\" here (not_found)"), "{failed}");
    assert!(failed.contains("2 resolved, 1 not") && failed.contains("not resolved: c9-9"), "{failed}");
    world.settle();
    // The sale of three is taken back; the name is the one that won.
    assert_eq!(world.edges[1].record("products", "2").unwrap()["n"], 2);
    let resolved = world.edges[1].cli(&["conflict", "list", "--state", "resolved"]).done();
    assert!(resolved.contains(&field) && resolved.contains(&bound), "{resolved}");
    world.cloud.cli(&["conflict", "resolve", &field, "--use", "edge"]).failed(1);
}

#[test]
fn what_cannot_be_decided_is_refused() {
    let mut world = shops();
    let (field, _) = two_conflicts(&mut world);
    for mut api in [world.cloud.client(), world.edges[0].client()] {
        let path = format!("/v1/conflicts/{field}/resolve");
        for (body, member) in [(json!({"use": "value"}), "value"), (json!({"use": "edge", "value": {}}), "value")] {
            let refused = api.json("POST", &path, &body).unwrap().ok(400);
            assert_eq!((&refused["code"], &refused["field"]), (&json!("bad_request"), &json!(member)), "{refused}");
        }
        api.json("POST", &path, &json!({"use": "mine"})).unwrap().expect(400);
        api.json("POST", &path, &json!({"use": "value", "value": 3})).unwrap().expect(422);
        api.json("POST", "/v1/conflicts/c9-9/resolve", &json!({"use": "edge"})).unwrap().expect(404);
        // The system's own collection has no other door.
        let put = json!({"ops": [{"op": "merge", "collection": "_conflicts", "key": field, "value": {"state": "resolved"}}]});
        assert_eq!(api.json("POST", "/v1/writes", &put).unwrap().ok(403)["code"], "read_only");
        assert_eq!(api.get(&format!("/v1/conflicts/{field}")).unwrap().ok(200)["state"], "auto");
    }
    let viewer = world.cloud.cli(&["access", "create", "reader", "--role", "viewer"]).done();
    let mut api = tests::http::Client::tls(world.cloud.api, &world.cloud.data.join("pki/ca.crt"), viewer.trim());
    api.json("POST", &format!("/v1/conflicts/{field}/resolve"), &json!({"use": "edge"})).unwrap().expect(403);
}
