//! `edgehub doctor` on brokers as they are.

use super::*;

/// The check of the broker, its verdict first, as one text.
fn examined(plant: &Plant) -> String {
    let mut doctor = plant.world.edges[0].command(&["doctor", "-o", "json"]);
    doctor.env("EDGEHUB_MQTT_BROKER", plant.broker.url());
    let report: Value = serde_json::from_slice(&doctor.output().unwrap().stdout).unwrap();
    let found = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "broker").unwrap();
    let text = |member: &str| found[member].as_str().unwrap_or_default().to_owned();
    format!("{}: {} / {}", text("verdict"), text("found"), text("advice"))
}

#[test]
fn a_short_queue_is_found_and_an_edgehub_that_runs_is_not_disturbed() {
    // As mosquitto is where nobody told it anything.
    let broker = Mosquitto::with(|_| "allow_anonymous true\n".to_owned());
    let plant = Plant::at(World::new(&[("lyon", &[])]), broker, "external", "");
    let listener = plant.device("everything", &["#"]);
    let said = examined(&plant);
    assert!(said.starts_with("warning: ") && said.contains("keeps 1000 messages"), "{said}");
    assert!(said.contains("max_queued_messages 100000"), "{said}");
    assert_eq!(plant.status()["connections"], 1, "{}", plant.status());
    listener.say("last", "1");
    assert_eq!(listener.hear_any().0, "last", "nobody heard the doctor");
}

#[test]
fn a_good_broker_is_good_and_one_that_is_away_is_named() {
    let mut plant = Plant::new();
    let said = examined(&plant);
    assert!(said.starts_with("ok: ") && said.contains("mosquitto version"), "{said}");
    plant.broker.kill();
    let said = examined(&plant);
    assert!(said.starts_with("failed: ") && said.contains("connection refused") && said.contains("start the broker"), "{said}");
}

/// Two machines with one node's name put each other out at the broker again and again.
#[test]
fn another_client_with_the_same_name_is_found() {
    let plant = Plant::new();
    for connection in 1..=5 {
        until("edgehub is there again", || {
            let shown = plant.status();
            (shown["state"] == "online" && shown["connections"].as_u64() >= Some(connection)).then_some(())
        });
        // It speaks under edgehub's name and says nothing: the broker ends the older connection.
        drop(plant.device("edgehub-lyon", &["x"]));
    }
    until("edgehub is there again", || (plant.status()["state"] == "online").then_some(()));
    let said = examined(&plant);
    assert!(said.starts_with("warning: ") && said.contains("do not last") && said.contains("calls itself edgehub-lyon"), "{said}");
}

#[test]
fn a_broker_that_wants_a_password_is_named() {
    let broker = Mosquitto::with(|_| "allow_anonymous true\n".to_owned());
    let mut plant = Plant::at(World::new(&[("lyon", &[])]), broker, "external", "");
    plant.broker = Mosquitto::with(|_| "allow_anonymous false\n".to_owned());
    let said = examined(&plant);
    assert!(said.starts_with("failed: ") && said.contains("not authorized") && said.contains("password_file"), "{said}");
}

#[test]
fn the_broker_inside_is_asked_through_edgehub() {
    let plant = Plant::of("internal", "");
    let said = examined(&plant);
    assert!(said.starts_with("ok: ") && said.contains("keeps nothing on disk") && said.contains(&plant.inside.to_string()), "{said}");
}
