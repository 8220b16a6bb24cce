//! Brokers that die.

use super::*;

/// `kill -9` of mosquitto under load: edgehub subscribes again, a publisher's repeats are taken once, and the last value is right.
#[test]
fn a_broker_that_is_killed_under_load_is_listened_to_again() {
    let mut plant = Plant::new();
    let address = plant.broker.address();
    for round in 1..=3 {
        let device = std::thread::spawn(move || {
            let mut device = Publisher::at(address, "sensor");
            for value in round * 1_000..=round * 1_000 + 300 {
                device.say(&format!("{CELLAR}/twin/update"), &temp(value));
            }
        });
        until("some of it has come", || {
            let value = plant.reported("temp")[1].as_i64().unwrap_or(0);
            (value >= round * 1_000 + 20).then_some(())
        });
        plant.broker.kill();
        plant.broker.again();
        device.join().unwrap();
        // mosquitto acknowledges before it saves, and forgets who listened: what it took before edgehub was there again is its own loss.
        until("edgehub listens again", || (plant.status()["state"] == "online").then_some(()));
        let last = round * 1_000 + 301;
        until_shown("the next one comes", || {
            Publisher::at(address, "sensor").say(&format!("{CELLAR}/twin/update"), &temp(last));
            let seen = plant.reported("temp");
            if seen.iter().all(|seen| *seen == last) { Ok(()) } else { Err(format!("{seen:?}, wanted {last}")) }
        });
    }
    assert!(plant.status()["connections"].as_u64().unwrap() >= 4, "{}", plant.status());
}

/// The same message again, as a publisher sends it whose broker died before it answered, changes nothing.
#[test]
fn a_message_that_comes_twice_is_taken_once() {
    let plant = Plant::new();
    let device = plant.device("sensor", &["$hw/events/device/default/cellar/twin/update/#"]);
    let body = r#"{"event_id":"e","timestamp":1,"twin":{"temp":{"actual":{"value":"21","metadata":{"timestamp":1550049403598}}}}}"#;
    device.say(&format!("{CELLAR}/twin/update"), body);
    plant.settles(21);
    let version = |plant: &Plant| {
        let twin = plant.world.cloud.client().get("/v1/devices/default%2Fcellar/twin").unwrap().ok(200);
        twin["properties"]["temp"]["reported"]["version"].clone()
    };
    let before = version(&plant);
    for _ in 0..5 {
        device.say(&format!("{CELLAR}/twin/update"), body);
    }
    device.say(&format!("{CELLAR}/twin/update"), r#"{"event_id":"last","twin":{"target":{"actual":{"value":"20"}}}}"#);
    let mut documents = 0;
    loop {
        let (topic, message) = device.hear_any();
        if message["event_id"] == "last" && topic.ends_with("/result") {
            break;
        }
        documents += usize::from(topic.ends_with("/document"));
    }
    assert_eq!(documents, 1, "only the first changed something");
    until("the other one has come", || {
        let twin = plant.world.cloud.client().get("/v1/devices/default%2Fcellar/twin").unwrap().ok(200);
        (twin["properties"]["target"]["reported"]["value"] == 20).then_some(())
    });
    assert_eq!(version(&plant), before);
}

/// What is desired while nobody can be told is told when the broker is there again, from the twin: nothing is queued for it.
#[test]
fn what_could_not_be_told_is_made_anew_from_the_twin() {
    let mut plant = Plant::new();
    plant.broker.kill();
    until("edgehub has noticed", || (plant.status()["state"] == "connecting").then_some(()));
    for value in 10..30 {
        plant.world.cloud.cli(&["device", "set", "default/cellar", &format!("target={value}")]).done();
    }
    until("the last has come", || {
        let twin = plant.world.edges[0].client().get("/v1/devices/default%2Fcellar/twin").unwrap().ok(200);
        (twin["properties"]["target"]["desired"]["value"] == 29).then_some(())
    });
    plant.broker.again();
    let mapper = plant.broker.device("mapper", &["$hw/events/device/+/+/twin/update/delta"]);
    until("it is there again", || (plant.status()["state"] == "online").then_some(()));
    update(&mapper, 1);
    assert_eq!(mapper.hear("/delta")["delta"], json!({"target": "29"}));
}
