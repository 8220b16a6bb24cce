//! Devices over MQTT, with a real mosquitto and the built programs: KubeEdge's topics and payloads on Tombolo's guarantees.
#![allow(clippy::unwrap_used)]

#[path = "devices/doctor.rs"]
mod doctor;
#[path = "devices/flow.rs"]
mod flow;
#[path = "devices/inside.rs"]
mod inside;
#[path = "devices/promises.rs"]
mod promises;
#[path = "devices/rates.rs"]
mod rates;
#[path = "devices/restarts.rs"]
mod restarts;
#[path = "devices/thermostat.rs"]
mod thermostat;
#[path = "devices/tls.rs"]
mod tls;

use std::net::SocketAddr;

use serde_json::{Value, json};
use tests::mosquitto::{Device, Mosquitto, Publisher};
use tests::shops::{World, free_port};
use tests::until::{until, until_shown};

const DEVICES: &str = r#"
[[model]]
name = "thermostat"
[model.properties.temp]
type = "int"
maximum = 1000000
[model.properties.target]
type = "float"
access = "read-write"
default = 20
[[device]]
id = "default/cellar"
model = "thermostat"
node = "lyon"
[[device]]
id = "attic"
model = "thermostat"
node = "lyon"
"#;

const CELLAR: &str = "$hw/events/device/default/cellar";

/// A cloud, a node with two devices, and its brokers.
struct Plant {
    world: World,
    broker: Mosquitto,
    /// Where the broker inside edgehub listens, where there is one.
    inside: SocketAddr,
    /// Where devices speak that do not care.
    speaks: SocketAddr,
}

impl Plant {
    /// With a mosquitto.
    fn new() -> Self {
        Self::of("external", "")
    }

    /// In this mode, with more lines of `[mqtt]`.
    fn of(mode: &str, lines: &str) -> Self {
        Self::at(World::new(&[("lyon", &[])]), Mosquitto::start(), mode, lines)
    }

    fn at(mut world: World, broker: Mosquitto, mode: &str, lines: &str) -> Self {
        let inside = free_port();
        world.edges[0].stop();
        world.edges[0].broker = Some(broker.url());
        world.edges[0].configure(&format!("[mqtt]\nmode = \"{mode}\"\nlisten = \"{inside}\"\n{lines}"));
        world.edges[0].start();
        let file = world.folder().join("devices.toml");
        std::fs::write(&file, DEVICES).unwrap();
        world.cloud.cli(&["device", "apply", "-f", file.to_str().unwrap()]).done();
        let speaks = if mode == "internal" { inside } else { broker.address() };
        let plant = Self { world, broker, inside, speaks };
        until("the devices have come and the broker is there", || {
            let known = plant.world.edges[0].client().get("/v1/devices/attic").unwrap().status == 200;
            (known && plant.status()["state"] == "online").then_some(())
        });
        plant
    }

    /// Somebody who speaks where devices speak.
    fn device(&self, name: &str, topics: &[&str]) -> Device {
        Device::at(self.speaks, name, topics)
    }

    fn status(&self) -> Value {
        self.world.edges[0].client().get("/v1/status").unwrap().ok(200)["mqtt"].clone()
    }

    #[track_caller]
    fn status_in_cloud(&self, what: &str, wanted: impl Fn(&Value) -> bool) {
        until_shown(what, || {
            let node = self.world.cloud.client().get("/v1/nodes/lyon").unwrap().ok(200);
            wanted(&node["devices"]).then_some(()).ok_or_else(|| node.to_string())
        });
    }

    fn reported(&self, property: &str) -> [Value; 2] {
        let twin = |mut client: tests::http::Client| client.get("/v1/devices/default%2Fcellar/twin").unwrap().ok(200);
        [twin(self.world.cloud.client()), twin(self.world.edges[0].client())]
            .map(|twin| twin["properties"][property]["reported"]["value"].clone())
    }

    /// What the edge shows.
    fn reported_here(&self, property: &str) -> Value {
        let twin = self.world.edges[0].client().get("/v1/devices/default%2Fcellar/twin").unwrap().ok(200);
        twin["properties"][property]["reported"]["value"].clone()
    }

    /// Both sides show this value.
    fn settles(&self, value: i64) {
        until_shown("both sides have the last value", || {
            let seen = self.reported("temp");
            if seen.iter().all(|seen| *seen == value) { Ok(()) } else { Err(format!("{seen:?}, wanted {value}")) }
        });
    }
}

fn text(answer: &tests::http::Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

fn temp(value: i64) -> String {
    json!({"event_id": value.to_string(), "timestamp": 1, "twin": {"temp": {"actual": {"value": value.to_string()}}}}).to_string()
}

fn update(device: &Device, value: i64) {
    device.say(&format!("{CELLAR}/twin/update"), &temp(value));
}

#[test]
fn a_mapper_that_was_written_for_kubeedge_is_answered_as_it_expects() {
    a_mapper_is_answered(&Plant::new());
}

#[test]
fn a_mapper_that_was_written_for_kubeedge_is_answered_by_the_broker_inside() {
    a_mapper_is_answered(&Plant::of("internal", ""));
}

fn a_mapper_is_answered(plant: &Plant) {
    let mapper = plant.device("mapper", &["$hw/events/device/+/+/twin/update/+", "$hw/events/device/#", "$hw/events/node/#"]);
    let half = |value: &str, field: &Value| json!({"value": value, "metadata": {"timestamp": field["metadata"]["timestamp"]}});
    mapper.say(
        &format!("{CELLAR}/twin/update"),
        r#"{"event_id":"e1","timestamp":1550049403598,"twin":{"temp":{"actual":{"value":"21","metadata":{"timestamp":1550049403598}},"optional":true,"metadata":{"type":"int"}}}}"#,
    );
    let result = mapper.hear("/twin/update/result");
    let shown = &result["twin"]["temp"];
    assert_eq!((&result["event_id"], result.get("code")), (&json!("e1"), None));
    assert_eq!(shown["actual"], json!({"value": "21", "metadata": {"timestamp": 1_550_049_403_598_u64}}));
    assert_eq!((&shown["metadata"], &shown["optional"]), (&json!({"type": "int"}), &json!(true)));
    let document = mapper.hear("/twin/update/document");
    assert_eq!((&document["twin"]["temp"]["last"], &document["twin"]["temp"]["current"]["actual"]["value"]), (&Value::Null, &json!("21")));
    let delta = mapper.hear("/twin/update/delta");
    assert_eq!(delta["delta"], json!({"target": "20"}));
    plant.settles(21);

    mapper.say(&format!("{CELLAR}/twin/get"), r#"{"event_id":"e2","timestamp":1}"#);
    let all = mapper.hear("/twin/get/result");
    let target = &all["twin"]["target"];
    assert_eq!((&all["event_id"], &target["expected"]), (&json!("e2"), &half("20", &target["expected"])));

    mapper.say("$hw/events/device/attic/state/update", r#"{"event_id":"e3","state":"online"}"#);
    assert_eq!(mapper.hear("attic/state/update/result")["state"], "online");
    mapper.say("$hw/events/device/attic/state/update", r#"{"event_id":"e4","state":"dancing"}"#);
    assert_eq!(mapper.hear("attic/state/update/result")["code"], 400);
    mapper.say("$hw/events/node/lyon/membership/get", r#"{"event_id":"e5"}"#);
    let members = mapper.hear("/membership/get/result");
    let ids: Vec<_> = members["devices"].as_array().unwrap().iter().map(|one| (one["id"].clone(), one["state"].clone())).collect();
    assert_eq!(ids, [(json!("attic"), json!("online")), (json!("default/cellar"), Value::Null)]);

    // The device does as desired, and hears of no delta any more; what is desired next is told at once.
    mapper.say(&format!("{CELLAR}/twin/update"), r#"{"event_id":"e6","twin":{"target":{"actual":{"value":"20"}}}}"#);
    assert_eq!(mapper.hear("/twin/update/result")["event_id"], "e6");
    plant.world.cloud.cli(&["device", "set", "default/cellar", "target=18.5"]).done();
    let delta = mapper.hear("/twin/update/delta");
    assert_eq!((&delta["event_id"], &delta["delta"]), (&json!(""), &json!({"target": "18.5"})));
    mapper.say(&format!("{CELLAR}/twin/update"), r#"{"event_id":"e7","twin":{"target":{"expected":{"value":"19"}}}}"#);
    assert_eq!(mapper.hear("/twin/update/result")["twin"]["target"]["expected"]["value"], "19");
    let desired = || plant.world.cloud.client().get("/v1/devices/default%2Fcellar/twin").unwrap().ok(200);
    until("what was desired at the edge is in the cloud", || (desired()["properties"]["target"]["desired"]["value"] == 19).then_some(()));
}

#[test]
fn whatever_is_wrong_is_answered_and_nothing_else_is_lost() {
    whatever_is_wrong_is_answered(&Plant::new());
}

#[test]
fn whatever_is_wrong_is_answered_by_the_broker_inside() {
    whatever_is_wrong_is_answered(&Plant::of("internal", ""));
}

fn whatever_is_wrong_is_answered(plant: &Plant) {
    let device = plant.device("odd", &["$hw/events/device/#"]);
    let many: Vec<String> = (0..10_000).map(|n| format!(r#""p{n}":{{"actual":{{"value":"1"}}}}"#)).collect();
    let many = format!(r#"{{"event_id":"many","twin":{{{}}}}}"#, many.join(","));
    for (topic, payload, code, words) in [
        ("default/cellar/twin/update", "", 400, "not {"),
        ("default/cellar/twin/update", "[[[[", 400, "not {"),
        ("default/cellar/twin/update", r#"{"twin":{}}"#, 400, "names no property"),
        ("default/cellar/twin/update", r#"{"twin":{"temp":{"actual":{"value":"warm"}}}}"#, 400, "warm is no int"),
        ("default/cellar/twin/update", r#"{"twin":{"temp":{"actual":{"value":"1000001"}}}}"#, 400, "above 1000000"),
        ("default/cellar/twin/update", r#"{"twin":{"rpm":{"actual":{"value":"1"}}}}"#, 400, "no such property"),
        ("default/cellar/twin/update", r#"{"twin":{"temp":{"expected":{"value":"1"}}}}"#, 400, "read-only"),
        ("default/cellar/twin/update", &many, 400, "and 9992 more"),
        ("default/cellar/state/update", "{}", 400, "no state"),
        ("default/toaster/twin/update", r#"{"twin":{"temp":{"actual":{"value":"1"}}}}"#, 404, "no device default/toaster"),
        ("toaster ü!/twin/get", "{}", 404, "no device"),
    ] {
        device.say(&format!("$hw/events/device/{topic}"), payload);
        let answer = device.hear("/result");
        assert_eq!(answer["code"], code, "{topic} {answer}");
        assert!(answer["reason"].as_str().unwrap().contains(words), "{topic} {answer}");
    }
    // What fits counts beside what does not.
    device.say(&format!("{CELLAR}/twin/update"), r#"{"twin":{"temp":{"actual":{"value":"7"}},"rpm":{"actual":{"value":"1"}}}}"#);
    let answer = device.hear("/result");
    assert_eq!((&answer["code"], &answer["twin"]["temp"]["actual"]["value"]), (&json!(400), &json!("7")));
    plant.settles(7);
    let log = plant.status();
    assert_eq!((&log["refused"], &log["unknown_devices"]), (&json!(12), &json!(2)));
    // What an operator sees of it in the cloud, with the node's next words.
    plant.status_in_cloud("what the node says of its devices", |devices| {
        devices["declared"] == 2
            && devices["broker"] == "online"
            && devices["refused"] == 12
            && devices["unknown"] == 2
            && devices["kept"] == 1
    });
    let unknown = plant.world.edges[0].client().get("/v1/devices?state=unknown").unwrap().ok(200);
    let toaster = &unknown["undeclared"][0];
    assert_eq!(
        (&toaster["id"], &toaster["topics"][0]),
        (&json!("default/toaster"), &json!("$hw/events/device/default/toaster/twin/update"))
    );
    // One command adopts it.
    let body = json!({"model": "thermostat"});
    plant.world.edges[0].client().json("PUT", "/v1/devices/default%2Ftoaster", &body).unwrap().ok(201);
    device.say("$hw/events/device/default/toaster/twin/update", &temp(5));
    assert_eq!(device.hear("/result").get("code"), None);
}

/// No update that was acknowledged to the broker is lost by `kill -9` of either side under load: the last value is right on both.
#[test]
fn kills_lose_no_update() {
    let mut plant = Plant::new();
    let device = plant.broker.device("sensor", &[]);
    let mut last = 0;
    let mut say = |count: i64| {
        for _ in 0..count {
            last += 1;
            update(&device, last);
        }
        last
    };
    for round in 0..3 {
        say(200);
        plant.world.edges[0].kill();
        say(100);
        if round == 1 {
            plant.world.cloud.stop();
        }
        plant.world.edges[0].start();
        let last = say(100);
        if round == 1 {
            plant.world.cloud.start();
        }
        plant.settles(last);
    }
}

/// Counted, with many devices: each update that was acknowledged made one version, so that none was lost on the way, whatever value
/// came after it. What the broker had to send again may count once more.
#[test]
fn every_update_counts_through_kills_of_both_sides() {
    let mut plant = Plant::new();
    let many = plant.meters(METERS);
    let device = plant.broker.device("meters", &[]);
    let mut said = vec![0; METERS];
    for round in 0..4 {
        many.say(&device, &mut said, 600);
        until("the load has begun", || (plant.status()["received"].as_u64()? > 50).then_some(()));
        plant.world.edges[0].kill();
        many.say(&device, &mut said, 200);
        if round % 2 == 1 {
            plant.world.cloud.kill();
        }
        plant.world.edges[0].start();
        many.say(&device, &mut said, 200);
        if round % 2 == 1 {
            plant.world.cloud.start();
        }
    }
    let versions = many.settle(&plant, &said);
    assert!(versions >= said.iter().sum(), "{versions} of {said:?}");
}

/// A burst of samples takes the room of two writes in the outbox, whatever comes: sales and desired values pass beside it.
#[test]
fn a_burst_of_samples_delays_neither_sales_nor_desired_values() {
    let plant = Plant::new();
    let many = plant.meters(METERS);
    plant.world.cloud.define("[[collection]]\nname = \"sales\"\npolicy = \"append\"\n");
    let mapper = plant.broker.device("mapper", &[&format!("{CELLAR}/twin/update/delta")]);
    let (device, mut said) = (plant.broker.device("meters", &[]), vec![0; METERS]);
    let mut edge = plant.world.edges[0].client();
    until("the collection has come", || (edge.get("/v1/collections/sales").ok()?.status == 200).then_some(()));
    let mut outbox = plant.world.edges[0].client();
    for sale in 1..=20 {
        many.say(&device, &mut said, 400);
        plant.world.cloud.cli(&["device", "set", "default/cellar", &format!("target={sale}.5")]).done();
        let waiting = outbox.get("/v1/outbox").unwrap().ok(200);
        let of_twins = |write: &&Value| write["ops"].as_array().unwrap().iter().any(|op| op["collection"] == "_twins");
        let reports = waiting["writes"].as_array().unwrap().iter().filter(of_twins).count();
        assert!(reports <= 2, "{reports} writes of reports wait at once");
        let path = format!("/v1/collections/sales/records/s{sale}");
        let headers = [("content-type", "application/json"), ("prefer", "wait=30")];
        let sold = edge.send("PUT", &path, &headers, Some(br#"{"q":1}"#)).unwrap().ok(201);
        assert_eq!(sold["write"]["state"], "applied", "{sold}");
        while mapper.hear("/delta")["delta"]["target"] != format!("{sale}.5") {}
    }
    assert_eq!(many.settle(&plant, &said), said.iter().sum::<u64>());
}

const METERS: usize = 20;

/// Meters that count what they say.
struct Meters;

impl Plant {
    fn meters(&self, count: usize) -> Meters {
        let meter = |n: usize| format!("[[device]]\nid = \"meter-{n}\"\nmodel = \"thermostat\"\nnode = \"lyon\"\n");
        let file = self.world.folder().join("meters.toml");
        std::fs::write(&file, (0..count).map(meter).collect::<String>()).unwrap();
        self.world.cloud.cli(&["device", "apply", "-f", file.to_str().unwrap()]).done();
        until("the meters have come", || {
            let last = self.world.edges[0].client().get(&format!("/v1/devices/meter-{}", count - 1)).unwrap();
            (last.status == 200).then_some(())
        });
        Meters
    }
}

impl Meters {
    fn say(&self, device: &Device, said: &mut [u64], count: usize) {
        for n in (0..said.len()).cycle().take(count) {
            said[n] += 1;
            device.say(&format!("$hw/events/device/meter-{n}/twin/update"), &temp(said[n] as i64));
        }
    }

    /// Both sides have the last value of each; how many updates made a version.
    fn settle(&self, plant: &Plant, said: &[u64]) -> u64 {
        let mut clients = [plant.world.cloud.client(), plant.world.edges[0].client()];
        let mut versions = 0;
        for (n, said) in said.iter().enumerate() {
            versions += until_shown("the last value on both sides", || {
                let fields = clients.each_mut().map(|client| {
                    let twin = client.get(&format!("/v1/devices/meter-{n}/twin")).unwrap().ok(200);
                    twin["properties"]["temp"]["reported"].clone()
                });
                let right = fields[0] == fields[1] && fields[0]["value"] == *said;
                if right { Ok(fields[0]["version"].as_u64().unwrap()) } else { Err(format!("meter-{n}: {fields:?}, wanted {said}")) }
            });
        }
        versions
    }
}

#[test]
fn reports_wait_in_one_place_while_the_link_is_down() {
    reports_wait_in_one_place(Plant::new());
}

#[test]
fn reports_over_the_broker_inside_wait_in_the_same_place() {
    reports_wait_in_one_place(Plant::of("internal", ""));
}

fn reports_wait_in_one_place(mut plant: Plant) {
    let device = plant.device("sensor", &["$hw/events/device/default/cellar/twin/update/result"]);
    plant.world.cloud.stop();
    for value in 1..=500 {
        update(&device, value);
    }
    let mut answered = 0;
    while answered < 500 {
        answered = device.hear("/result")["event_id"].as_str().unwrap().parse().unwrap();
    }
    let status = plant.world.edges[0].client().get("/v1/status").unwrap().ok(200);
    assert!(status["outbox"]["writes"].as_u64().unwrap() <= 2, "{}", status["outbox"]);
    assert_eq!(
        plant.world.edges[0].client().get("/v1/devices/default%2Fcellar/twin").unwrap().ok(200)["properties"]["temp"]["reported"]["value"],
        500
    );
    plant.world.edges[0].kill();
    plant.world.edges[0].start();
    plant.world.cloud.start();
    plant.settles(500);
    let head = plant.world.cloud.client().get("/v1/status").unwrap().ok(200)["head"].as_u64().unwrap();
    assert!(head < 30, "500 samples became few writes: head {head}");
}

/// Reports once began anew with each connection, and forgot which writes of theirs were under way.
#[test]
fn a_report_that_was_refused_lets_no_more_writes_under_way() {
    let world = World::on_small_disks(&[("lyon", &[])], &[("lyon", 256)]);
    let mut plant = Plant::at(world, Mosquitto::start(), "external", "");
    let device = plant.broker.device("sensor", &["$hw/events/device/default/cellar/twin/update/result"]);
    let waiting = |plant: &Plant| plant.world.edges[0].client().get("/v1/status").unwrap().ok(200)["outbox"]["writes"].as_u64().unwrap();
    // Takes writes, and answers none: its link stays.
    plant.world.cloud.process().signal("STOP");
    let mut value = 0;
    until("two writes are under way", || {
        value += 1;
        update(&device, value);
        device.hear("/result");
        (waiting(&plant) == 2).then_some(())
    });
    plant.world.disks[0].fill();
    value += 1;
    update(&device, value);
    assert_eq!(device.hear("/result")["code"], 500);
    plant.world.disks[0].free();
    for _ in 0..20 {
        value += 1;
        update(&device, value);
    }
    let last = json!(value.to_string());
    while device.hear("/result")["event_id"] != last {}
    assert_eq!(waiting(&plant), 2);
    plant.world.cloud.process().signal("CONT");
    plant.settles(value);
}

#[test]
fn a_broker_that_was_away_is_told_what_was_missed() {
    let mut plant = Plant::new();
    plant.broker.kill();
    until("edgehub has noticed", || (plant.status()["state"] == "connecting").then_some(()));
    // Everything else goes on.
    plant.world.cloud.cli(&["device", "set", "default/cellar", "target=25"]).done();
    until("what is desired has come", || {
        let twin = plant.world.edges[0].client().get("/v1/devices/default%2Fcellar/twin").unwrap().ok(200);
        (twin["properties"]["target"]["desired"]["value"] == 25).then_some(())
    });
    let shown = plant.world.edges[0].client().get("/v1/status").unwrap().ok(200);
    assert_eq!(shown["link"]["state"], "online");
    plant.broker.again();
    let mapper = plant.broker.device("mapper", &["$hw/events/device/+/+/twin/update/delta", "$hw/events/node/lyon/membership/detail"]);
    until("it is there again", || (plant.status()["state"] == "online").then_some(()));
    // Told when edgehub came back, or, where the mapper was later, with the next update.
    update(&mapper, 3);
    assert_eq!(mapper.hear("/twin/update/delta")["delta"], json!({"target": "25"}));
    plant.settles(3);
}

#[test]
fn a_device_that_moves_is_heard_of_at_both_brokers() {
    let plant = Plant::new();
    let mapper = plant.broker.device("mapper", &["$hw/events/node/lyon/membership/updated"]);
    plant.world.cloud.cli(&["device", "delete", "attic", "--yes"]).done();
    let gone = mapper.hear("/updated");
    assert_eq!((&gone["removed_devices"][0]["id"], &gone["added_devices"]), (&json!("attic"), &json!([])));
    let body = json!({"model": "thermostat", "node": "lyon", "description": "under the roof"});
    plant.world.cloud.client().json("PUT", "/v1/devices/attic", &body).unwrap().ok(201);
    let come = mapper.hear("/updated");
    assert_eq!(come["added_devices"][0]["description"], "under the roof");
}
