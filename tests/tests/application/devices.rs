//! Models, devices and twins, the same through both APIs and both command lines, link up or down.

use serde_json::{Value, json};
use tests::http::Client;
use tests::shops::World;
use tests::until::until;

const MODEL: &str = r#"
[[model]]
name = "thermostat"
[model.properties.temp]
type = "float"
unit = "°C"
[model.properties.target]
type = "int"
access = "read-write"
minimum = 5
maximum = 30
default = 20
"#;

const CELLAR: &str = r#"
[[device]]
id = "default/cellar"
model = "thermostat"
node = "lyon"
protocol = { modbus = { slave = 1 } }
"#;

const AT: &str = "/v1/devices/default%2Fcellar";

fn shops() -> World {
    let world = World::new(&[("lyon", &[]), ("oslo", &[])]);
    let file = world.folder().join("devices.toml");
    // Devices may stand before their models.
    std::fs::write(&file, format!("{CELLAR}{MODEL}")).unwrap();
    let said = world.cloud.cli(&["device", "apply", "-f", file.to_str().unwrap()]).done();
    assert_eq!(said, "model thermostat created\ndevice default/cellar created\n");
    until("the device has come", || has(&world, 0).then_some(()));
    world
}

fn has(world: &World, edge: usize) -> bool {
    world.edges[edge].client().get(AT).unwrap().status == 200
}

fn target(client: &mut Client) -> Value {
    client.get(&format!("{AT}/twin")).unwrap().ok(200)["properties"]["target"]["desired"].clone()
}

fn desire(client: &mut Client, target: Value) -> Value {
    client.json("PATCH", &format!("{AT}/twin"), &json!({"desired": {"target": target}})).unwrap().ok(200)
}

#[test]
fn a_desired_value_crosses_either_way_and_survives_an_outage() {
    let mut world = shops();
    let twin = world.edges[0].client().get(&format!("{AT}/twin")).unwrap().ok(200);
    let first = &twin["properties"]["target"];
    assert_eq!((&first["desired"]["value"], &first["type"], &first["access"]), (&json!(20), &json!("int"), &json!("read-write")));
    assert_eq!((&first["in_sync"], &first["reported"], &twin["properties"]["temp"]["unit"]), (&json!(false), &Value::Null, &json!("°C")));
    // At the edge while the cloud is away, and in the cloud while the edge is.
    world.cloud.stop();
    let set = desire(&mut world.edges[0].client(), json!(22));
    assert_eq!((&set["write"]["state"], &set["properties"]["target"]["desired"]["writer"]), (&json!("pending"), &json!("lyon")));
    world.edges[0].kill();
    world.cloud.start();
    world.edges[0].start();
    until("the cloud has what was set at the edge", || (target(&mut world.cloud.client())["value"] == 22).then_some(()));
    assert_eq!(target(&mut world.cloud.client())["version"], 2);
    world.edges[0].stop();
    world.cloud.cli(&["device", "set", "default/cellar", "target=24"]).done();
    world.edges[0].start();
    until("the edge has what was set in the cloud", || (target(&mut world.edges[0].client())["value"] == 24).then_some(()));
    assert_eq!(target(&mut world.edges[0].client())["writer"], "cloud");
    desire(&mut world.cloud.client(), Value::Null);
    until("nothing is desired any more", || target(&mut world.edges[0].client()).is_null().then_some(()));
}

#[test]
fn one_edit_moves_a_device_with_its_twin() {
    let world = shops();
    desire(&mut world.cloud.client(), json!(25));
    let moved = json!({"model": "thermostat", "node": "oslo"});
    let answer = world.cloud.client().json("PUT", AT, &moved).unwrap().ok(200);
    assert_eq!((&answer["node"], &answer["write"]["state"]), (&json!("oslo"), &json!("applied")));
    until("it has moved", || (!has(&world, 0) && has(&world, 1)).then_some(()));
    assert_eq!(target(&mut world.edges[1].client())["value"], 25);
    let listed = |node: &str| world.cloud.cli(&["device", "list", "--node", node]).done();
    assert!(listed("oslo").contains("default/cellar") && !listed("lyon").contains("default/cellar"));
}

#[test]
fn an_installer_declares_a_device_while_the_link_is_down() {
    let mut world = shops();
    world.cloud.stop();
    let mut edge = world.edges[0].client();
    let made = edge.json("PUT", "/v1/devices/attic", &json!({"model": "thermostat", "desired": {"target": 18}})).unwrap().ok(201);
    assert_eq!((&made["node"], &made["delta"], &made["sync"]["state"]), (&json!("lyon"), &json!(["target"]), &json!("pending")));
    let elsewhere = json!({"model": "thermostat", "node": "oslo"});
    assert_eq!(edge.json("PUT", "/v1/devices/other", &elsewhere).unwrap().ok(403)["code"], "not_entitled");
    world.cloud.start();
    let mut cloud = world.cloud.client();
    until("the cloud knows it", || (cloud.get("/v1/devices/attic").unwrap().status == 200).then_some(()));
    assert_eq!(cloud.get("/v1/devices/attic/twin").unwrap().ok(200)["properties"]["target"]["desired"]["value"], 18);
    world.edges[0].cli(&["device", "delete", "attic", "--yes"]).done();
    until("it is gone in the cloud", || (cloud.get("/v1/devices/attic").unwrap().status == 404).then_some(()));
    assert_eq!(cloud.get("/v1/devices/attic/twin").unwrap().status, 404);
}

/// What is refused, by both in the same words.
#[test]
fn what_is_wrong_is_said_on_both_sides() {
    let world = shops();
    for mut client in [world.cloud.client(), world.edges[0].client()] {
        let put = |client: &mut Client, path: &str, body: Value| client.json("PUT", path, &body).unwrap();
        for (path, body, status, code, field) in [
            ("/v1/devices/x", json!({"model": "nothing"}), 422, "schema", "model"),
            ("/v1/devices/x", json!({"model": "thermostat", "node": "Not A Node"}), 422, "schema", "node"),
            ("/v1/devices/x", json!({"model": "thermostat", "desired": {"rpm": 1}}), 422, "schema", "desired.rpm"),
            ("/v1/devices/x", json!({"model": "thermostat", "desired": {"temp": 1}}), 422, "schema", "desired.temp"),
            ("/v1/devices/x", json!({"model": "thermostat", "desired": {"target": 31}}), 422, "schema", "desired.target"),
            ("/v1/devices/a%2Fb%2Fc", json!({"model": "thermostat"}), 400, "bad_key", ""),
            ("/v1/device-models/m", json!({"properties": {"a b": {"type": "int"}}}), 422, "schema", "properties.a b"),
            ("/v1/collections/_devices/records/x", json!({"model": "thermostat"}), 403, "read_only", ""),
        ] {
            let refused = put(&mut client, path, body.clone()).ok(status);
            assert_eq!(refused["code"], code, "{body}");
            assert!(field.is_empty() || refused["field"] == field, "{refused}");
        }
        let reported = client.json("PATCH", &format!("{AT}/twin"), &json!({"reported": {"temp": 20}})).unwrap().ok(422);
        assert_eq!((&reported["code"], &reported["field"]), (&json!("schema"), &json!("reported")));
        let ops = json!({"ops": [{"op": "put", "collection": "_twins", "key": "default/cellar", "value": {}}]});
        assert_eq!(client.json("POST", "/v1/writes", &ops).unwrap().ok(403)["code"], "read_only");
        let used = client.send("DELETE", "/v1/device-models/thermostat", &[], None).unwrap().ok(409);
        assert_eq!(used["code"], "in_use");
        assert!(used["detail"].as_str().unwrap().contains("default/cellar"), "{used}");
        assert_eq!(client.get("/v1/devices/none").unwrap().ok(404)["key"], "none");
    }
}

#[test]
fn a_request_that_is_made_again_is_done_once() {
    let world = shops();
    for client in [world.cloud.client(), world.edges[0].client()] {
        let mut client = client.with("Idempotency-Key", "k1");
        let first = desire(&mut client, json!(12));
        let second = desire(&mut client, json!(12));
        assert_eq!(first["write"]["id"], second["write"]["id"]);
        let other = json!({"desired": {"target": 13}});
        assert_eq!(client.json("PATCH", &format!("{AT}/twin"), &other).unwrap().ok(422)["code"], "idempotency_reuse");
    }
    let mut cloud = world.cloud.client();
    let tag = cloud.get(AT).unwrap().header("etag").unwrap().to_owned();
    let body = json!({"model": "thermostat", "node": "lyon", "description": "below"}).to_string();
    let guarded = |cloud: &mut Client| {
        cloud.send("PUT", AT, &[("If-Match", &tag), ("Content-Type", "application/json")], Some(body.as_bytes())).unwrap()
    };
    assert_eq!(guarded(&mut cloud).ok(200)["description"], "below");
    assert_eq!(guarded(&mut cloud).ok(412)["code"], "precondition");
}

#[test]
fn who_watches_hears_of_devices_and_twins() {
    let world = shops();
    let mut events = world.edges[0].client().events("/v1/watch?collection=_twins", &[]).unwrap();
    desire(&mut world.cloud.client(), json!(28));
    let heard = events.until(|event| event.name == "record");
    let twin = &heard.last().unwrap().data;
    assert_eq!((&twin["key"], &twin["value"]["desired.target"]["value"]), (&json!("default/cellar"), &json!(28)));
}
