//! Devices over MQTT with a real mosquitto: how many updates one edge takes, and how long a value is on its way up and down.
//!
//! Every update is a QoS 1 message of one property, from a publisher that keeps its window full. It counts when edgehub has
//! acknowledged it, which it does when its database has it. At the end the versions of all properties in the cloud add up to what was
//! published: nothing was lost and nothing counted twice.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::report::{Bound, Figure, Latencies, Unit, rate};
use super::stage::scatter;
use super::{Settings, machine, pace};
use crate::http::Client;
use crate::mosquitto::{Device, Mosquitto};
use crate::shops::World;

const DEVICES: usize = 1_000;
const PROPERTIES: usize = 10;
const UPDATES: usize = 60_000;
/// So that a queue shows what edgehub does, and not what the broker drops; and a value's way what it takes, and not how long a kernel
/// holds an acknowledgement back. The publisher has the latter, too.
const BROKER: &str =
    "allow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 1000\nset_tcp_nodelay true\nlog_type information\n";
/// Values one by one, each of a property that was quiet for longer than the interval of reports.
const ONE_BY_ONE: usize = 300;
/// Between two of them.
const GAP: Duration = Duration::from_millis(25);
const LOOK: Duration = Duration::from_micros(300);
/// After this nothing changes any more.
const SETTLES: Duration = Duration::from_secs(3);

pub(super) fn run(_: Settings) -> Vec<Figure> {
    let mut plant = Plant::new();
    pace::pause(SETTLES);
    let mut figures = plant.ways();
    figures.extend(plant.sustained("1,000 devices × 10 properties on one node", DEVICES * PROPERTIES));
    figures.extend(plant.sustained("one property of one device", 1));
    figures
}

/// A cloud, one node with many devices, and its broker.
struct Plant {
    world: World,
    broker: Mosquitto,
    /// Updates of each property so far.
    said: Vec<u64>,
}

fn device(n: usize) -> String {
    format!("plant/d{n:04}")
}

/// What stands where in the twins: property `n % PROPERTIES` of device `n / PROPERTIES`.
fn topic(n: usize) -> String {
    format!("$hw/events/device/{}/twin/update", device(n / PROPERTIES))
}

fn payload(n: usize, value: u64) -> String {
    format!(r#"{{"event_id":"","timestamp":1550049403598,"twin":{{"p{}":{{"actual":{{"value":"{value}"}}}}}}}}"#, n % PROPERTIES)
}

impl Plant {
    fn new() -> Self {
        let broker = Mosquitto::with(|_| BROKER.to_owned());
        let mut world = World::new(&[("lyon", &[])]);
        world.edges[0].stop();
        world.edges[0].broker = Some(broker.url());
        // So that one device may say all: what is beyond its bound is folded, and does not count.
        world.edges[0].configure("[mqtt]\ndevice_rate = 100000");
        world.edges[0].start();
        let properties = (0..PROPERTIES).map(|n| format!("[model.properties.p{n}]\ntype = \"int\"\naccess = \"read-write\"\n"));
        let devices = (0..DEVICES).map(|n| format!("[[device]]\nid = \"{}\"\nmodel = \"meter\"\nnode = \"lyon\"\n", device(n)));
        let text: String = ["[[model]]\nname = \"meter\"\n".to_owned()].into_iter().chain(properties).chain(devices).collect();
        let file = world.folder().join("devices.toml");
        std::fs::write(&file, text).expect("a scratch file");
        world.cloud.cli(&["device", "apply", "-f", &file.display().to_string()]).done();
        let plant = Self { world, broker, said: vec![0; DEVICES * PROPERTIES] };
        pace::poll("the devices at the edge, and its broker", Duration::from_millis(20), || {
            let mut api = plant.edge();
            let known = api.get(&twin_path(DEVICES - 1)).ok()?.status == 200;
            (known && plant.mqtt(&mut api)["state"] == "online").then_some(())
        });
        plant
    }

    fn edge(&self) -> Client {
        self.world.edges[0].client()
    }

    fn mqtt(&self, api: &mut Client) -> Value {
        api.get("/v1/status").expect("an answer").ok(200)["mqtt"].clone()
    }

    fn say(&mut self, publisher: &Device, n: usize) {
        self.said[n] += 1;
        publisher.say(&topic(n), &payload(n, self.said[n]));
    }

    /// How many updates a second the edge takes while there are always more, over the first so many properties.
    fn sustained(&mut self, what: &str, properties: usize) -> Vec<Figure> {
        let pids = [("edgehub", self.world.edges[0].process().id()), ("cloudhub", self.world.cloud.process().id())];
        let edge = pids[0].1;
        let mut api = self.edge();
        let before = self.mqtt(&mut api);
        let count = |mqtt: &Value, name: &str| mqtt[name].as_u64().unwrap_or_default() - before[name].as_u64().unwrap_or_default();
        let (idle, written, meter) = (machine::memory(edge).rss, machine::written(&edge.to_string()), machine::Meter::start(&pids));
        let publisher = self.broker.device("publisher", &[]);
        let begun = Instant::now();
        let (said, published) = std::thread::scope(|scope| {
            let mut said = self.said.clone();
            let publishing = scope.spawn(move || {
                for update in 0..UPDATES {
                    let n = scatter(update, properties);
                    said[n] += 1;
                    publisher.say(&topic(n), &payload(n, said[n]));
                }
                (said, begun.elapsed(), publisher)
            });
            let mut peak = idle;
            pace::poll("all updates at the edge", Duration::from_millis(20), || {
                peak = peak.max(machine::memory(edge).rss);
                (count(&self.mqtt(&mut api), "reported") >= UPDATES as u64).then_some(())
            });
            let took = begun.elapsed();
            let (said, published, _publisher) = publishing.join().expect("the publisher");
            (said, (took, published, peak))
        });
        let (took, published, peak) = published;
        self.said = said;
        let bytes = machine::written(&edge.to_string()) - written;
        let detail = format!("{UPDATES} updates; the publisher was done after {:.1} s; {}", published.as_secs_f64(), meter.each(UPDATES));
        let mut api = self.edge();
        let shown = self.mqtt(&mut api);
        let (sent, dropped) = (count(&shown, "sent"), count(&shown, "dropped"));
        self.settle();
        vec![
            Figure::new(format!("twin updates from mosquitto into one edge, {what}"), rate(UPDATES, took), Unit::PerSecond)
                .budget(Bound::AtLeast(5_000.0))
                .detail(detail),
            Figure::new("the same, resident memory above idle, at most", peak - idle, Unit::MiB)
                .budget(Bound::AtMost(16.0))
                .detail(format!("idle {idle:.1} MiB")),
            Figure::new("the same, bytes to the edge's disk an update", bytes / UPDATES as f64, Unit::Bytes)
                .detail(format!("{sent} values went up meanwhile, the others were overtaken; {dropped} messages for devices were dropped")),
        ]
    }

    /// Waits until the cloud has the last value of every property, and every update of it counts once.
    fn settle(&self) {
        let mut cloud = self.world.cloud.client();
        pace::poll("every last value in the cloud", Duration::from_millis(100), || {
            let page = cloud.get("/v1/collections/_twins/records?limit=1000").ok()?.ok(200);
            let twins = page["records"].as_array()?;
            let right = |(n, said): (usize, &u64)| {
                let field = &twins[n / PROPERTIES]["value"][format!("reported.p{}", n % PROPERTIES)];
                assert!(field["version"].as_u64().unwrap_or_default() <= *said, "counted twice: {field}, {said} were said");
                *said == 0 || (field["version"] == *said && field["value"] == *said)
            };
            self.said.iter().enumerate().all(right).then_some(())
        });
    }

    /// One value at a time, up and down.
    fn ways(&mut self) -> Vec<Figure> {
        let device = self.broker.device("mapper", &["$hw/events/device/+/+/twin/update/delta"]);
        let mut cloud = self.world.cloud.client();
        let (mut up, mut down) = (Latencies::default(), Latencies::default());
        for turn in 0..ONE_BY_ONE + 20 {
            let n = scatter(turn, DEVICES * PROPERTIES);
            let begun = Instant::now();
            self.say(&device, n);
            let seen = pace::poll("the value in the cloud", LOOK, || {
                let twin = cloud.get(&twin_path(n / PROPERTIES)).ok()?.ok(200);
                (twin["properties"][format!("p{}", n % PROPERTIES)]["reported"]["value"] == self.said[n]).then(Instant::now)
            });
            pace::pause(GAP);
            while device.heard("/delta").is_some() {}
            let wanted = 1_000_000 + turn;
            let told = wanted.to_string();
            let sent = Instant::now();
            let body = json!({"desired": {(format!("p{}", n % PROPERTIES)): wanted}});
            cloud.json("PATCH", &twin_path(n / PROPERTIES), &body).expect("an answer").expect(200);
            while device.hear("/delta")["delta"][format!("p{}", n % PROPERTIES)].as_str() != Some(&told) {}
            let told = sent.elapsed();
            if turn >= 20 {
                up.add(seen - begun);
                down.add(told);
            }
            pace::pause(GAP);
        }
        let tail = |latencies: &Latencies| format!("{ONE_BY_ONE} values, one at a time; slowest {:.1} ms", latencies.percentile(1.0));
        let bound = |value| Bound::AtMost(value);
        let ms = |what: &str, value| Figure::new(what, value, Unit::Milliseconds);
        vec![
            ms("MQTT update published → visible in the cloud's API, p50", up.percentile(0.5)).budget(bound(20.0)).detail(tail(&up)),
            ms("the same, p99", up.percentile(0.99)).budget(bound(100.0)),
            ms("desired value sent to the cloud's API → delta at a subscriber, p50", down.percentile(0.5))
                .budget(bound(20.0))
                .detail(tail(&down)),
            ms("the same, p99", down.percentile(0.99)),
        ]
    }
}

fn twin_path(device_number: usize) -> String {
    format!("/v1/devices/{}/twin", device(device_number).replace('/', "%2F"))
}
