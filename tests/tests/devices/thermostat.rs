//! The example that a newcomer begins with: a thermostat in Python and one in shell, at a real broker. Whatever of it is restarted, what
//! is desired in the cloud is followed, and what is measured arrives there.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tests::mosquitto::Mosquitto;
use tests::process::Process;
use tests::shops::{World, escape};
use tests::until::until_shown;

/// The devices that are played, by Python and by bash.
const DEVICES: [&str; 2] = ["cellar", "default/attic"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn example(file: &str) -> String {
    root().join("docs/examples/thermostat").join(file).display().to_string()
}

/// Python with what requirements.txt names.
fn python() -> PathBuf {
    let python = root().join("target/thermostat/bin/python");
    assert!(python.is_file(), "paho-mqtt is not installed here: `make test` installs it, or: make tools");
    python
}

struct House {
    world: World,
    broker: Mosquitto,
    thermostats: Vec<Process>,
}

impl House {
    fn new() -> Self {
        let broker = Mosquitto::start();
        let mut world = World::new(&[]);
        let mut lyon = world.join("lyon", &[]);
        lyon.broker = Some(broker.url());
        lyon.start();
        world.edges.push(lyon);
        world.cloud.cli(&["device", "apply", "-f", &example("devices.toml")]).done();
        let mut house = Self { world, broker, thermostats: Vec::new() };
        house.plug_in();
        house
    }

    /// Starts both thermostats; those that ran before are killed.
    fn plug_in(&mut self) {
        let address = self.broker.address().to_string();
        let mut snake = Command::new(python());
        snake.args([&example("thermostat.py"), "--broker", &address, "--device", DEVICES[0], "--every", "0.3"]);
        let mut shell = Command::new("bash");
        shell.args([&example("thermostat.sh"), &address, DEVICES[1], "0.3"]);
        self.thermostats = vec![Process::start("thermostat.py", snake), Process::start("thermostat.sh", shell)];
    }

    fn set(&self, target: f64) {
        for device in DEVICES {
            self.world.cloud.cli(&["device", "set", device, &format!("target={target}")]).done();
        }
    }

    fn twin(&self, device: &str) -> Value {
        self.world.cloud.client().get(&format!("/v1/devices/{}/twin", escape(device))).unwrap().ok(200)
    }

    /// The cloud knows of both that they do as is desired, and that they measure since then.
    #[track_caller]
    fn follows(&self, target: f64) {
        for device in DEVICES {
            let before = self.twin(device)["properties"]["temp"]["reported"]["version"].clone();
            until_shown(&format!("{device} follows {target}"), || {
                let twin = self.twin(device);
                let now = &twin["properties"];
                let measures = now["temp"]["reported"]["version"] != before;
                let done = now["target"]["reported"]["value"].as_f64() == Some(target) && now["target"]["in_sync"] == true;
                (done && measures && twin["state"]["value"] == "online").then_some(()).ok_or_else(|| {
                    let logs: Vec<String> = self.thermostats.iter().map(Process::log).collect();
                    format!("{twin}\n{}", logs.join("\n"))
                })
            });
        }
    }

    #[track_caller]
    fn is_offline(&self) {
        for device in DEVICES {
            until_shown(&format!("{device} is said to be offline"), || {
                let twin = self.twin(device);
                (twin["state"]["value"] == "offline").then_some(()).ok_or_else(|| twin.to_string())
            });
        }
    }
}

#[test]
fn the_thermostats_follow_whatever_is_restarted() {
    let mut house = House::new();
    house.follows(20.0);
    house.set(25.0);
    house.follows(25.0);

    // edgehub is killed; what is desired meanwhile comes with its return.
    house.world.edges[0].kill();
    house.set(22.0);
    house.world.edges[0].start();
    house.follows(22.0);

    // The thermostats lose power: the broker says so for them. They know nothing afterwards but what their twins know.
    house.thermostats.clear();
    house.is_offline();
    house.set(18.0);
    house.plug_in();
    house.follows(18.0);
    for thermostat in &house.thermostats {
        assert!(thermostat.log().contains("it was ") && !thermostat.log().contains("it is new"), "{}", thermostat.log());
    }

    // The broker is killed, and has its sessions from its disk.
    house.broker.kill();
    house.set(21.0);
    house.broker.again();
    house.follows(21.0);

    // Those who are told to go say so.
    for thermostat in &mut house.thermostats {
        assert!(thermostat.terminate().success(), "{}", thermostat.log());
    }
    house.is_offline();
}
