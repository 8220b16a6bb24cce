//! Devices that say more than can be answered at once: the broker keeps it until it can.

use std::collections::BTreeSet;

use super::*;

/// A device, what it reports, and how.
const SAID: [(&str, &str); 4] = [("default/cellar", "temp"), ("default/cellar", "target"), ("attic", "temp"), ("attic", "target")];

/// Four publishers that say all they have as fast as they can: each message has its result or was folded, once, nothing that was for
/// devices is dropped, and the last value of each is right.
#[track_caller]
fn everything_is_answered(broker: &str, rate: &str) {
    let lines = format!("allow_anonymous true\nlog_type information\nmax_queued_messages 0\n{broker}");
    let plant = Plant::at(World::new(&[("lyon", &[])]), Mosquitto::with(|_| lines), "external", rate);
    let hearing = plant.broker.device("hearing", &["$hw/events/device/default/cellar/#", "$hw/events/device/attic/#"]);
    let each = 1_500;
    let mut publishers: Vec<Device> = (0..SAID.len()).map(|n| plant.broker.device(&format!("publisher-{n}"), &[])).collect();
    std::thread::scope(|scope| {
        for (publisher, (device, property)) in publishers.iter_mut().zip(SAID) {
            scope.spawn(move || {
                for value in 1..=each {
                    let twin = json!({property: {"actual": {"value": value.to_string()}}});
                    let body = json!({"event_id": format!("{device} {property} {value}"), "timestamp": value, "twin": twin});
                    publisher.say(&format!("$hw/events/device/{device}/twin/update"), &body.to_string());
                }
            });
        }
    });
    let all = each * SAID.len() as i64;
    let (mut answered, mut told) = (BTreeSet::new(), 0);
    let shown = until_shown("each is answered or folded", || {
        while let Some(result) = hearing.heard("/update/result") {
            match result["code"].as_i64() {
                None => assert!(answered.insert(result["event_id"].to_string()), "answered twice: {result}"),
                // How many were folded comes first.
                Some(429) => told += result["reason"].as_str().unwrap().split(' ').next().unwrap().parse::<i64>().unwrap(),
                Some(_) => panic!("{result}"),
            }
        }
        let shown = plant.status();
        let folded = shown["folded"].as_i64().unwrap();
        let done = answered.len() as i64 + folded == all && told == folded;
        if done { Ok(shown) } else { Err(format!("{} answered, {told} told of: {shown}", answered.len())) }
    });
    assert_eq!((&shown["received"], &shown["dropped"]), (&json!(all), &json!(0)), "{shown}");
    until_shown("the last values on both sides", || {
        let seen = ["temp", "target"].map(|property| plant.reported(property));
        if seen.iter().flatten().all(|seen| *seen == each) { Ok(()) } else { Err(format!("{seen:?}")) }
    });
}

#[test]
fn everything_is_answered_where_a_broker_waits_for_acknowledgements() {
    everything_is_answered("", "device_rate = 100000");
}

/// A broker that waits for none: what we sent is acknowledged behind thousands of messages, and neither side stands still.
#[test]
fn everything_is_answered_where_a_broker_sends_without_end() {
    everything_is_answered("max_inflight_messages 0", "device_rate = 100000");
}

#[test]
fn everything_is_answered_or_folded() {
    everything_is_answered("max_inflight_messages 1000", "device_rate = 50");
}

/// A device's wish does not fit into the outbox: it is told so, what it reported with it is kept, and it is not asked to say all that
/// again later, when an old value would take the place of a newer one.
#[test]
fn what_is_reported_counts_although_what_is_desired_does_not_fit() {
    let mut plant = Plant::of("external", "[outbox]\nmax_bytes = \"64KiB\"");
    plant.world.cloud.stop();
    let device = plant.device("mapper", &["$hw/events/device/default/cellar/#"]);
    let both = |value: i64| {
        let twin = json!({"temp": {"actual": {"value": value.to_string()}}, "target": {"expected": {"value": value.to_string()}}});
        device.say(&format!("{CELLAR}/twin/update"), &json!({"event_id": value.to_string(), "timestamp": value, "twin": twin}).to_string());
        device.hear("/update/result")
    };
    let (last, refused) = (1..2_000)
        .find_map(|value| Some((value, both(value))).filter(|(_, answer)| answer.get("code").is_some()))
        .expect("the outbox is full one day");
    let reason = refused["reason"].as_str().unwrap();
    assert_eq!((&refused["code"], &refused["event_id"]), (&json!(500), &json!(last.to_string())));
    assert!(reason.starts_with("what it reports is kept; what is desired is not") && reason.contains("max_bytes"), "{reason}");
    assert_eq!(plant.reported_here("temp"), last);
    for value in last + 1..last + 50 {
        update(&device, value);
        assert_eq!(device.hear("/update/result")["event_id"], value.to_string(), "and not the refused one again");
    }
    plant.world.cloud.start();
    plant.settles(last + 49);
}
