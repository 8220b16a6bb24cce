//! The broker inside edgehub: for machines that have none, and beside one.

use super::*;

/// Nothing that it acknowledged to a device is lost by `kill -9`, although it keeps nothing on disk itself.
#[test]
fn what_the_broker_inside_acknowledged_survives_kills() {
    let mut plant = Plant::of("internal", "");
    let address = plant.inside;
    for round in 1..=3 {
        let device = std::thread::spawn(move || {
            let mut device = Publisher::at(address, "sensor");
            for value in round * 1_000..=round * 1_000 + 200 {
                device.say(&format!("{CELLAR}/twin/update"), &temp(value));
            }
            device.repeated
        });
        until("some of it has come", || {
            let value = plant.reported("temp")[1].as_i64().unwrap_or(0);
            (value >= round * 1_000 + 20).then_some(())
        });
        plant.world.edges[0].kill();
        plant.world.edges[0].start();
        device.join().unwrap();
        plant.settles(round * 1_000 + 200);
    }
}

#[test]
fn it_says_that_it_keeps_nothing_on_disk_and_how_many_are_there() {
    let plant = Plant::of("internal", "");
    let before = plant.status();
    assert_eq!((&before["mode"], &before["broker"]), (&json!("internal"), &json!(format!("mqtt://{}", plant.inside))));
    assert_eq!(before["internal"]["state"], "online");
    assert!(before["internal"]["on_disk"].as_str().unwrap().starts_with("nothing"));
    let _device = plant.device("sensor", &["x"]);
    until("it is counted", || (plant.status()["internal"]["clients"] == 1).then_some(()));
    let figures = plant.world.edges[0].client().get("/metrics").unwrap();
    assert!(text(&figures).contains("tombolo_mqtt_internal_clients 1"), "{}", text(&figures));
}

/// With the node's certificate, which a device checks by the node's copy of the authority's.
#[test]
fn devices_speak_tls_to_the_broker_inside() {
    let plant = Plant::of("internal", "listen_tls = true");
    assert_eq!(plant.status()["broker"], format!("mqtts://{}", plant.inside));
    let pki = plant.world.edges[0].data.join("pki");
    let says = |value: i64, extra: &[&str]| {
        let (port, topic, payload) = (plant.inside.port().to_string(), format!("{CELLAR}/twin/update"), temp(value));
        let mut command = std::process::Command::new("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &port, "-i", "sensor", "-q", "1", "-t", &topic, "-m", &payload]).args(extra);
        command.output().expect("mosquitto-clients").status.success()
    };
    let ca = pki.join("ca.crt").display().to_string();
    // Its names are lyon and lyon.local, which nobody resolves here; the authority is checked all the same.
    assert!(says(21, &["--cafile", &ca, "--insecure"]));
    plant.settles(21);
    let stranger = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let other = plant.world.folder().join("other.crt");
    std::fs::write(&other, stranger.cert.pem()).unwrap();
    assert!(!says(22, &["--cafile", other.to_str().unwrap(), "--insecure"]), "another authority's");
    assert!(!says(22, &["--cafile", &ca]), "under another name");
    assert!(!says(23, &[]), "without TLS");
    assert_eq!(plant.status()["state"], "online");
    assert!(says(24, &["--cafile", &ca, "--insecure"]));
    plant.settles(24);
}

/// Whoever speaks is answered where he speaks; what is desired is told to both.
#[test]
fn with_both_brokers_devices_speak_at_either() {
    let plant = Plant::of("both", "");
    let topics = &["$hw/events/device/#", "$hw/events/node/#"];
    let (beside, within) = (Device::at(plant.broker.address(), "one", topics), Device::at(plant.inside, "two", topics));
    update(&beside, 5);
    assert_eq!(beside.hear("/update/result")["event_id"], "5");
    assert_eq!(beside.hear("/update/document")["twin"]["temp"]["current"]["actual"]["value"], "5");
    plant.settles(5);
    update(&within, 6);
    assert_eq!(within.hear("/update/result")["event_id"], "6", "not what was answered at the other");
    assert_eq!(within.hear("/update/document")["twin"]["temp"]["last"]["actual"]["value"], "5");
    plant.settles(6);
    plant.world.cloud.cli(&["device", "set", "attic", "target=17"]).done();
    for device in [&beside, &within] {
        while device.hear("/update/delta")["delta"] != json!({"target": "17"}) {}
    }
}

#[test]
fn one_broker_that_is_away_does_not_keep_the_other_from_serving() {
    let mut plant = Plant::of("both", "");
    plant.broker.kill();
    until("edgehub has noticed", || (plant.status()["state"] == "connecting").then_some(()));
    let shown = plant.status();
    assert!(shown["last_error"].as_str().unwrap().contains("; "), "what is wrong, and what to do: {shown}");
    assert_eq!(shown["internal"]["state"], "online");
    let device = Device::at(plant.inside, "sensor", &[]);
    update(&device, 7);
    plant.settles(7);
    plant.broker.again();
    until("both are there", || (plant.status()["state"] == "online").then_some(()));
}

/// Another program may have the port: that is shown, and tried again.
#[test]
fn a_port_that_is_taken_is_named_until_it_is_free() {
    let mut plant = Plant::of("internal", "");
    plant.world.edges[0].stop();
    let taken = std::net::TcpListener::bind(plant.inside).unwrap();
    plant.world.edges[0].start();
    let shown = until("it says so", || Some(plant.status()).filter(|shown| shown["internal"]["last_error"].is_string()));
    let error = shown["internal"]["last_error"].as_str().unwrap();
    assert!(error.contains(&plant.inside.to_string()) && error.contains("name another one in listen"), "{error}");
    drop(taken);
    until("it listens", || (plant.status()["state"] == "online").then_some(()));
}

#[test]
fn a_password_is_asked_for_where_there_is_one() {
    let world = World::new(&[("lyon", &[])]);
    let secret = world.folder().join("device.password");
    std::fs::write(&secret, "not to be guessed\n").unwrap();
    let lines = format!("device_user = \"device\"\ndevice_password_file = {:?}", secret.display().to_string());
    let mut plant = Plant::at(world, Mosquitto::start(), "internal", &lines);
    assert_eq!(Publisher::at(plant.inside, "nobody").connect().unwrap(), 4);
    assert_eq!(Publisher::at(plant.inside, "wrong").login("device", "guess").connect().unwrap(), 4);
    let mut device = Publisher::at(plant.inside, "right").login("device", "not to be guessed");
    device.say(&format!("{CELLAR}/twin/update"), &temp(3));
    plant.settles(3);
    let log = plant.world.edges[0].process().log();
    assert!(!log.contains("not to be guessed"));
}

#[test]
fn another_address_than_loopback_needs_a_password_and_the_missing_lines_are_named() {
    let mut world = World::new(&[("lyon", &[])]);
    world.edges[0].stop();
    world.edges[0].configure("[mqtt]\nmode = \"internal\"\nlisten = \"0.0.0.0:1884\"");
    let error = world.edges[0].cli(&["run"]).failed(2);
    assert!(error.contains("`mqtt.listen`: 0.0.0.0:1884 is not a loopback address") && error.contains("device_password_file"), "{error}");
}
