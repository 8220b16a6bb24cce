//! One device that says too much.

use super::*;

/// A flood is folded: its last value is right, it is told once a second, and others are answered meanwhile.
fn a_flood_is_folded(plant: &Plant) {
    let flood = plant.device("flood", &["$hw/events/device/default/cellar/twin/update/result"]);
    let quiet = plant.device("quiet", &["$hw/events/device/attic/#"]);
    let (rounds, each) = (10, 500);
    for round in 0..rounds {
        for value in 1..=each {
            update(&flood, round * each + value);
        }
        let body = json!({"event_id": round.to_string(), "twin": {"temp": {"actual": {"value": round.to_string()}}}});
        quiet.say("$hw/events/device/attic/twin/update", &body.to_string());
        let answer = quiet.hear("attic/twin/update/result");
        assert_eq!((&answer["event_id"], answer.get("code")), (&json!(round.to_string()), None), "{answer}");
    }
    let last = rounds * each;
    plant.settles(last);
    until("all of it was heard", || (plant.status()["received"].as_i64().unwrap() >= last + rounds).then_some(()));
    let told = until("it was told", || {
        let answer = flood.hear("/result");
        (answer["code"] == 429).then_some(answer)
    });
    assert!(told["reason"].as_str().unwrap().contains("device_rate"), "{told}");
    let shown = plant.status();
    let folded = shown["folded"].as_i64().unwrap();
    assert!(folded > 0 && folded < last, "{shown}");
    let figures = plant.world.edges[0].client().get("/metrics").unwrap();
    assert!(text(&figures).contains(&format!("tombolo_mqtt_messages_total{{kind=\"folded\"}} {folded}")), "{}", text(&figures));
}

#[test]
fn a_flood_at_mosquitto_is_folded() {
    a_flood_is_folded(&Plant::of("external", "device_rate = 5"));
}

#[test]
fn a_flood_at_the_broker_inside_is_folded() {
    a_flood_is_folded(&Plant::of("internal", "device_rate = 5"));
}

/// What was folded and acknowledged is as durable as everything else.
#[test]
fn what_was_folded_survives_kills() {
    let mut plant = Plant::of("internal", "device_rate = 1");
    let mut device = Publisher::at(plant.inside, "flood");
    for value in 1..=100 {
        device.say(&format!("{CELLAR}/twin/update"), &temp(value));
    }
    plant.world.edges[0].kill();
    plant.world.edges[0].start();
    plant.settles(100);
}
