//! What is promised of devices beyond one node's broker: at an edge without a link, on the way to another node, after a wipe, and from
//! the command line.

use std::fs::File;

use serde_json::{Value, json};
use tests::mosquitto::Mosquitto;
use tests::shops::{Edge, World, escape};
use tests::until::{until, until_shown};

use super::{Plant, temp, update};

fn twin(edge: &Edge, device: &str) -> Option<Value> {
    let answer = edge.client().get(&format!("/v1/devices/{}/twin", escape(device))).unwrap();
    (answer.status == 200).then(|| answer.json())
}

fn value(twin: &Value, property: &str, half: &str) -> Value {
    twin["properties"][property][half]["value"].clone()
}

#[test]
fn what_is_desired_at_an_edge_without_a_link_arrives() {
    let mut plant = Plant::new();
    let mapper = plant.broker.device("mapper", &["$hw/events/device/+/+/twin/update/delta"]);
    plant.world.cloud.stop();
    let lyon = &plant.world.edges[0];
    let shown = lyon.cli(&["device", "set", "default/cellar", "target=17.5"]).done();
    assert!(shown.contains("pending"), "{shown}");
    until("the device is told at once", || (mapper.hear("/delta")["delta"]["target"] == "17.5").then_some(()));
    for (wrong, words) in [("target=hot", "no float"), ("temp=3", "read-only"), ("rpm=1", "no such property")] {
        assert!(lyon.cli(&["device", "set", "default/cellar", wrong]).failed(1).contains(words));
    }
    plant.world.edges[0].kill();
    plant.world.edges[0].start();
    plant.world.cloud.start();
    until("the cloud has it", || {
        let twin = plant.world.cloud.client().get("/v1/devices/default%2Fcellar/twin").unwrap().ok(200);
        (value(&twin, "target", "desired") == 17.5).then_some(())
    });
}

/// As KubeEdge deletes a property: what was reported of it is not known any more, on either side; what is desired stays.
#[test]
fn null_takes_back_what_was_reported() {
    let plant = Plant::new();
    let mapper = plant.broker.device("mapper", &["$hw/events/device/default/cellar/twin/#"]);
    update(&mapper, 21);
    plant.settles(21);
    mapper.hear("/update/result");
    mapper.say("$hw/events/device/default/cellar/twin/update", r#"{"event_id":"gone","twin":{"temp":null}}"#);
    let result = mapper.hear("/update/result");
    assert_eq!((&result["event_id"], result.get("code"), result["twin"]["temp"].get("actual")), (&json!("gone"), None, None), "{result}");
    until("both sides know it", || (plant.reported("temp") == [Value::Null, Value::Null]).then_some(()));
    update(&mapper, 22);
    plant.settles(22);
}

/// Moved by one edit; it is heard at its new node, and no more at the old one.
#[test]
fn a_device_moves_with_its_twin() {
    let mut plant = Plant::new();
    let second = Mosquitto::start();
    let mut oslo = plant.world.join("oslo", &[]);
    oslo.broker = Some(second.url());
    oslo.start();
    plant.world.edges.push(oslo);
    let before = plant.broker.device("before", &["$hw/events/#"]);
    update(&before, 21);
    plant.settles(21);
    plant.world.cloud.cli(&["device", "set", "default/cellar", "target=23"]).done();
    plant.world.settle();
    let file = plant.world.folder().join("moved.toml");
    std::fs::write(&file, "[[device]]\nid = \"default/cellar\"\nmodel = \"thermostat\"\nnode = \"oslo\"\n").unwrap();
    plant.world.cloud.cli(&["device", "apply", "-f", file.to_str().unwrap()]).done();
    let come = until("it is at oslo", || twin(&plant.world.edges[1], "default/cellar"));
    assert_eq!((value(&come, "temp", "reported"), value(&come, "target", "desired")), (json!(21), json!(23)));
    until("it is gone from lyon", || twin(&plant.world.edges[0], "default/cellar").is_none().then_some(()));
    update(&before, 22);
    until("lyon does not know it", || (before.hear("default/cellar/twin/update/result")["code"] == 404).then_some(()));
    let after = second.device("after", &["$hw/events/device/#"]);
    update(&after, 24);
    assert_eq!(after.hear("/twin/update/result").get("code"), None);
    assert_eq!(after.hear("/twin/update/delta")["delta"], json!({"target": "23"}));
    until_shown("the cloud hears it from oslo", || {
        let twin = plant.world.cloud.client().get("/v1/devices/default%2Fcellar/twin").unwrap().ok(200);
        let done = value(&twin, "temp", "reported") == 24 && twin["properties"]["temp"]["reported"]["writer"] == "oslo";
        done.then_some(()).ok_or_else(|| twin.to_string())
    });
}

#[test]
fn a_wiped_edge_gets_its_devices_back() {
    let mut plant = Plant::new();
    let mapper = plant.broker.device("mapper", &["$hw/events/device/+/+/twin/update/delta"]);
    update(&mapper, 21);
    plant.settles(21);
    plant.world.cloud.cli(&["device", "set", "default/cellar", "target=23"]).done();
    plant.world.settle();
    plant.world.edges[0].stop();
    for file in ["edge.db", "edge.db-wal", "edge.db-shm"] {
        let _ = std::fs::remove_file(plant.world.edges[0].data.join(file));
    }
    plant.world.edges[0].start();
    let back = until("it is filled again", || twin(&plant.world.edges[0], "default/cellar"));
    assert_eq!((value(&back, "temp", "reported"), value(&back, "target", "desired")), (json!(21), json!(23)));
    update(&mapper, 22);
    until("and it is served", || (mapper.hear("/delta")["delta"]["target"] == "23").then_some(()));
    plant.settles(22);
}

#[test]
fn the_command_line_watches_and_adopts() {
    let plant = Plant::new();
    let file = plant.world.folder().join("watched");
    let mut watch = plant.world.cloud.command(&["device", "watch", "-o", "json"]);
    let mut watch = watch.stdout(File::create(&file).unwrap()).spawn().unwrap();
    let device = plant.broker.device("device", &["$hw/events/device/#"]);
    let mut last = 20;
    until("a reported value is seen", || {
        last += 1;
        update(&device, last);
        std::fs::read_to_string(&file).unwrap().contains("\"reported.temp\"").then_some(())
    });
    watch.kill().unwrap();
    watch.wait().unwrap();

    let lyon = &plant.world.edges[0];
    device.say("$hw/events/device/default/toaster/twin/update", &temp(5));
    let adopt = ["device", "adopt", "default/toaster", "--model", "thermostat"];
    let listed = until_shown("it is listed", || {
        let listed = lyon.cli(&["device", "list", "--state", "unknown"]).done();
        if listed.contains("default/toaster") { Ok(listed) } else { Err(listed) }
    });
    assert!(listed.contains("device adopt default/toaster --model"), "{listed}");
    assert_eq!(lyon.cli(&adopt).done(), "default/toaster is a thermostat now at lyon\n");
    assert!(lyon.cli(&adopt).failed(1).contains("declared already"));
    assert!(lyon.cli(&["device", "adopt", "x", "--model", "none"]).failed(1).contains("no device model"));
    device.say("$hw/events/device/default/toaster/twin/update", &temp(5));
    until("it is heard", || device.hear("toaster/twin/update/result").get("code").is_none().then_some(()));
    assert!(!lyon.cli(&["device", "list", "--state", "unknown"]).done().contains("toaster"));
    plant.world.settle();
    let told = plant.world.cloud.cli(&["device", "adopt", "pump", "--model", "thermostat", "--node", "lyon"]).done();
    assert_eq!(told, "pump is a thermostat now at lyon\n");
}

/// A model and a device as KubeEdge has them; the device's desired value is text, and its model says what it means.
const KUBEEDGE: &str = r#"
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata:
  name: pump
spec:
  deviceModelRef: { name: pump-model }
  nodeName: lyon
  protocol: { protocolName: modbus, configData: { slave: 3 } }
  properties:
    - name: speed
      collectCycle: 1000
      desired: { value: "1500" }
    - name: pressure
      desired: { value: "2" }
  methods:
    - { name: SetSpeed, propertyNames: [speed] }
---
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: { name: pump-model, namespace: default }
spec:
  protocol: modbus
  properties:
    - { name: speed, type: INT, accessMode: ReadWrite, minimum: "0", maximum: "3000", unit: rpm }
    - { name: pressure, type: FLOAT, accessMode: ReadOnly }
"#;

#[test]
fn kubeedges_files_are_applied_at_either_side() {
    let mut world = World::new(&[("lyon", &[])]);
    let file = world.folder().join("pump.yaml");
    let path = file.to_str().unwrap();
    std::fs::write(&file, KUBEEDGE).unwrap();
    // At the edge, while nobody hears it.
    world.settle();
    world.cloud.stop();
    let applied = world.edges[0].command(&["device", "apply", "-f", path]).output().unwrap();
    let (out, notes) = (String::from_utf8(applied.stdout).unwrap(), String::from_utf8(applied.stderr).unwrap());
    assert_eq!(out, "model pump-model created\ndevice default/pump created\n", "{notes}");
    let told: Vec<&str> = notes.lines().collect();
    let wanted = [
        format!("{path} line 16: spec.methods is not kept"),
        format!("{path} line 23: spec.protocol is not kept"),
        "default/pump: desired value \"2\" of pressure is not kept: it is read-only".to_owned(),
    ];
    assert!(told.len() == wanted.len() && told.iter().zip(&wanted).all(|(told, wanted)| told.starts_with(wanted.as_str())), "{notes}");
    world.cloud.start();
    world.settle();
    let mut cloud = world.cloud.client();
    let device = cloud.get("/v1/devices/default%2Fpump").unwrap().ok(200);
    let protocol = json!({"protocolName": "modbus", "configData": {"slave": 3}, "properties": {"speed": {"collectCycle": 1000}}});
    assert_eq!((&device["protocol"], &device["node"]), (&protocol, &json!("lyon")));
    let twin = cloud.get("/v1/devices/default%2Fpump/twin").unwrap().ok(200);
    assert_eq!(value(&twin, "speed", "desired"), 1500);
    // Again, in the cloud: nothing is other than it was, but for what somebody puts in.
    std::fs::write(&file, KUBEEDGE.replace("\"1500\"", "\"9000\"")).unwrap();
    let refused = world.cloud.cli(&["device", "apply", "-f", path]).failed(1);
    assert!(refused.contains("9000 is above 3000"), "{refused}");
    std::fs::write(&file, KUBEEDGE).unwrap();
    assert_eq!(world.cloud.cli(&["device", "apply", "-f", path]).done(), "model pump-model applied\ndevice default/pump applied\n");
    std::fs::write(&file, "a: &a [1]\nb: !!str x\n").unwrap();
    assert!(world.cloud.cli(&["device", "apply", "-f", path]).failed(2).contains("pump.yaml: line 2: tags"));
}
