//! Chaos with the built programs: one cloudhub, four edgehubs, applications that write and read on both sides, devices, and everything that goes
//! wrong at the same time: `kill -9` of each process 1 ms to 5 s after its start, SIGSTOP, SIGTERM, paths that delay, lose, repeat, cut and
//! swallow, labels that nodes are given and lose, WebSocket and QUIC by turns, disks that are full, wall clocks that jump to 1970 and ten years ahead.
//!
//! It goes by rounds: a storm, then calm, in which all has to agree within a stated time, and everything that was promised is looked up
//! (`check`). What goes wrong, and in which order, follows from the seed (`plan`); when it meets what does not: real processes on a real
//! machine do not run twice the same. `make chaos MINUTES=10 SEED=1`.

mod app;
mod book;
mod check;
mod device;
mod ears;
mod gate;
mod hub;
mod plan;
mod report;
mod rights;
mod storm;
mod twins;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

pub use report::{Counts, Report};

use crate::cut::{Carried, Cut, Weather};
use crate::http::Client;
use crate::mosquitto::Mosquitto;
use crate::shops::{SHOP, World, free_port};
use crate::small_disk::SmallDisk;
use app::App;
use device::Device;
use gate::Gate;
use hub::Hub;
use report::Findings;
use watch::Watcher;

/// The shops; each has a site of its name.
const EDGES: [&str; 4] = ["lyon", "oslo", "rome", "bern"];
/// Who has a small disk, and of how many MiB: much more than the records take, so that only the filler fills it.
const DISKS: [(&str, u32); 2] = [("cloud", 384), ("oslo", 384)];
/// Applications at each hub.
const APPS: usize = 2;
/// The collections that are compared.
const COLLECTIONS: [&str; 10] = ["racks", "stock", "sales", "tally", "plain", "notes", "pairs", "seats", "products", "parcels"];
const STOCKS: [&str; 4] = ["s1", "s2", "s3", "s4"];
const SEATS: [&str; 3] = ["a", "b", "c"];
const PRODUCTS: [&str; 6] = ["p1", "p2", "p3", "p4", "p5", "p6"];
const MOVED: [&str; 6] = ["x1", "x2", "x3", "x4", "x5", "x6"];

/// Beside those of [`SHOP`].
const DEFINITIONS: &str = r#"
[[collection]]
name = "tally"
[collection.fields]
n = { type = "counter" }

[[collection]]
name = "plain"
[collection.fields]
n = { type = "counter" }

[[collection]]
name = "notes"

[[collection]]
name = "pairs"

[[collection]]
name = "seats"

[[collection]]
name = "racks"
nodes = { role = "depot" }

[[collection]]
name = "parcels"
partition = { field = "site", label = "site" }
"#;

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Which faults in which order.
    pub seed: u64,
    /// How long rounds begin.
    pub lasts: Duration,
    /// How long the faults of one round last.
    pub storm: Duration,
    /// Whether each round says how it went.
    pub shown: bool,
}

/// Everything that takes part.
struct Arena<'a> {
    world: &'a World,
    /// cloudhub first, then the edges in their order.
    hubs: Vec<Hub<'a>>,
    /// Of each edge: over TCP, over UDP.
    paths: &'a [[Cut; 2]],
    disks: &'a [SmallDisk],
    apps: Vec<App<'a>>,
    watchers: Vec<Watcher<'a>>,
    devices: Vec<Device<'a>>,
    /// Of the devices: at the cloud, and at the shops that have one.
    twin_watchers: Vec<Watcher<'a>>,
    gate: &'a Gate,
    findings: &'a Findings,
    counts: &'a Counts,
    /// What its operator knows of each node.
    labels: Mutex<rights::Known>,
    /// Promised and looked up at each edge, and not yet compared with what its watcher was told.
    decided: Mutex<BTreeMap<String, BTreeSet<String>>>,
}

/// Runs it. What is wrong is in the report; errors are of what it needs to run at all.
pub fn run(settings: Settings) -> Result<Report> {
    let mut world = prepared()?;
    let mosquitto = Mosquitto::start();
    let brokers = brokers(&mut world, &mosquitto);
    let begun = Instant::now();
    let (gate, findings, counts) = (Gate::default(), Findings::default(), Counts::default());
    let paths = paths(&world, settings.seed)?;
    let mut slowest = Duration::ZERO;
    let arena = Arena {
        hubs: hubs(&world, &paths, &findings, &counts)?,
        apps: apps(&gate, &findings, &counts),
        watchers: watchers(std::iter::once("cloud").chain(EDGES), "/v1/watch?since=0", &gate, &findings, &counts),
        devices: devices(&brokers, &gate, &findings, &counts),
        twin_watchers: watchers(with_devices(), "/v1/watch?since=0&collection=_twins", &gate, &findings, &counts),
        world: &world,
        paths: &paths,
        disks: &world.disks,
        gate: &gate,
        findings: &findings,
        counts: &counts,
        labels: Mutex::default(),
        decided: Mutex::default(),
    };
    std::thread::scope(|scope| {
        let clients = || std::iter::once(world.cloud.client()).chain(world.edges.iter().map(crate::shops::Edge::client));
        for watcher in arena.watchers.iter().chain(&arena.twin_watchers) {
            let client = client(&world, &watcher.place);
            scope.spawn(move || watcher.watch(&client));
        }
        for (device, (place, ..)) in arena.devices.iter().zip(twins::DEVICES) {
            let edge = client(&world, place);
            scope.spawn(move || device.speak(edge, settings.seed));
            scope.spawn(move || device.hear());
        }
        let both = clients().zip(clients()).flat_map(<[_; APPS]>::from);
        for ((app, client), at) in arena.apps.iter().zip(both).zip(1..) {
            scope.spawn(move || app.work(client, settings.seed ^ (at << 32)));
        }
        let ended = rounds(&arena, settings, begun, &mut slowest);
        gate.end();
        arena.hubs.iter().for_each(Hub::kill);
        ended
    })?;
    drop(arena);
    let all = findings.all();
    let kept = if all.is_empty() { None } else { Some(keep(&mut world)?) };
    drop(paths);
    Ok(Report { seed: settings.seed, took: begun.elapsed(), slowest, findings: all, kept, counts })
}

fn rounds(arena: &Arena<'_>, settings: Settings, begun: Instant, slowest: &mut Duration) -> Result<()> {
    arena.hubs.iter().for_each(Hub::start);
    // An edge that has not been filled once answers 404 for what it will get.
    check::in_sync(arena).and_then(|_| twins::known(arena)).map_err(anyhow::Error::msg).context("before the first fault")?;
    for round in 1.. {
        arena.gate.open();
        storm::blow(arena, settings.seed, round, settings.storm)?;
        if let Err(inside) = arena.gate.close(app::INSISTS + CLOSING) {
            arena.findings.add(&format!("unconverged: {inside} requests have no answer after the faults"));
        }
        let took = check::all(arena);
        *slowest = took.map_or(*slowest, |took| took.max(*slowest));
        arena.counts.add("rounds", 1);
        if settings.shown {
            let (minutes, promised) = (begun.elapsed().as_secs() / 60, arena.counts.of("writes: promised"));
            let agreed = took.map_or_else(|| "it does not agree".to_owned(), |took| format!("agreed after {:.1} s", took.as_secs_f64()));
            println!("round {round}, minute {minutes}: {promised} writes promised; {agreed}");
        }
        // After the first mistake everything else would be measured by it.
        if begun.elapsed() >= settings.lasts || !arena.findings.all().is_empty() {
            break;
        }
    }
    Ok(())
}

/// What one request may take beyond the time that it is repeated for: an answer is waited for that long.
const CLOSING: Duration = Duration::from_secs(70);

/// A cloud that has been told what there is and has stopped again, and shops that have joined.
fn prepared() -> Result<World> {
    ensure!(hub::clock_library().is_some(), "libfaketime is missing, by which clocks jump; on Debian: apt-get install faketime");
    let mut world = World::on_small_disks(&[], &DISKS);
    world.cloud.define(&format!("{SHOP}{DEFINITIONS}"));
    for name in EDGES {
        let edge = world.join(name, &[&format!("site={name}")]);
        world.edges.push(edge);
    }
    let mut ops = Vec::new();
    let mut put = |collection: &str, key: &str, value| ops.push(json!({"op": "put", "collection": collection, "key": key, "value": value}));
    STOCKS.iter().for_each(|key| put("stock", key, json!({"n": 0})));
    SEATS.iter().for_each(|key| put("seats", key, json!({"n": 0})));
    PRODUCTS.iter().for_each(|key| put("products", key, json!({"name": key})));
    MOVED.iter().for_each(|key| put("parcels", key, json!({"site": EDGES[0]})));
    names().iter().map(|(name, _)| name.as_str()).chain(["all"]).for_each(|key| put("tally", key, json!({"n": 0})));
    names().iter().for_each(|(name, _)| put("plain", name, json!({"n": 0})));
    names().iter().for_each(|(name, _)| put(rights::RACKS, name, json!({"number": 0, "seal": rights::SEAL})));
    world.cloud.client().json("POST", "/v1/writes", &json!({"ops": ops})).context("the first records")?.ok(201);
    twins::declare(&world);
    world.cloud.stop();
    Ok(world)
}

/// The broker that each edge's devices speak at: of one inside edgehub, of the other a mosquitto.
fn brokers(world: &mut World, mosquitto: &Mosquitto) -> BTreeMap<&'static str, SocketAddr> {
    let mut all = BTreeMap::new();
    for (node, _, inside) in twins::DEVICES {
        let Some(edge) = world.edges.iter_mut().find(|edge| edge.name == node) else { continue };
        let address = if inside { free_port() } else { mosquitto.address() };
        edge.broker = Some(format!("mqtt://{address}"));
        // Also what the doctor goes by.
        match inside {
            true => edge.configure(&format!("[mqtt]\nmode = \"internal\"\nlisten = \"{address}\"")),
            false => edge.configure(&format!("[mqtt]\nbroker = \"mqtt://{address}\"")),
        }
        all.insert(node, address);
    }
    all
}

/// The applications, and where in the list of their place each is.
fn names() -> Vec<(String, usize)> {
    let at = |place: &'static str| (0..APPS).map(move |app| (format!("{place}-{app}"), app));
    std::iter::once("cloud").chain(EDGES).flat_map(at).collect()
}

fn apps<'a>(gate: &'a Gate, findings: &'a Findings, counts: &'a Counts) -> Vec<App<'a>> {
    let app = |(name, at): (String, usize)| App {
        central: name.starts_with("cloud"),
        name,
        first: at == 0,
        sites: &EDGES,
        book: Mutex::default(),
        gate,
        findings,
        counts,
    };
    names().into_iter().map(app).collect()
}

fn watchers<'a>(
    places: impl Iterator<Item = &'static str>,
    path: &'static str,
    gate: &'a Gate,
    findings: &'a Findings,
    counts: &'a Counts,
) -> Vec<Watcher<'a>> {
    places.map(|place| Watcher { place: place.into(), path, seen: Mutex::default(), gate, findings, counts }).collect()
}

/// Where devices are known.
fn with_devices() -> impl Iterator<Item = &'static str> {
    std::iter::once("cloud").chain(twins::DEVICES.iter().map(|(node, ..)| *node))
}

fn devices<'a>(
    brokers: &BTreeMap<&'static str, SocketAddr>,
    gate: &'a Gate,
    findings: &'a Findings,
    counts: &'a Counts,
) -> Vec<Device<'a>> {
    let device = |(node, id, inside): (&str, &'static str, bool)| {
        let (said, wanted) = (AtomicU64::new(0), Mutex::default());
        Device { id, broker: brokers[node], inside, said, wanted, gate, findings, counts }
    };
    twins::DEVICES.into_iter().map(device).collect()
}

/// A client of a place.
fn client(world: &World, place: &str) -> Client {
    world.edges.iter().find(|edge| edge.name == place).map_or_else(|| world.cloud.client(), crate::shops::Edge::client)
}

fn paths(world: &World, seed: u64) -> Result<Vec<[Cut; 2]>> {
    let quic = world.cloud.quic.context("the cloud listens for QUIC")?;
    let path = |carried, to, at| Cut::to(carried, to, Weather::default(), seed + at);
    (0..EDGES.len() as u64).map(|at| Ok([path(Carried::Tcp, world.cloud.ws, 2 * at)?, path(Carried::Udp, quic, 2 * at + 1)?])).collect()
}

fn hubs<'a>(world: &'a World, paths: &'a [[Cut; 2]], findings: &'a Findings, counts: &'a Counts) -> Result<Vec<Hub<'a>>> {
    let mut hubs = vec![Hub::new("cloud", world.folder(), findings, counts, || world.cloud.server())?];
    for (at, (edge, [tcp, udp])) in world.edges.iter().zip(paths).enumerate() {
        let server = move || {
            let mut command = edge.server();
            command.env("EDGEHUB_LINK_SERVERS", tcp.address().to_string());
            command.env("EDGEHUB_LINK_QUIC_PORT", udp.address().port().to_string());
            if let Some((.., true)) = twins::DEVICES.iter().find(|(node, ..)| *node == edge.name) {
                command.env("EDGEHUB_MQTT_MODE", "internal");
            }
            command
        };
        let hub = Hub::new(&edge.name, world.folder(), findings, counts, server)?;
        hub.set_transport(["websocket", "quic"][at % 2]);
        hubs.push(hub);
    }
    Ok(hubs)
}

/// Copies what is on small disks, which go, and keeps the rest where it is.
fn keep(world: &mut World) -> Result<PathBuf> {
    let folder = world.folder().to_owned();
    let kept = folder.join("kept");
    std::fs::create_dir_all(&kept)?;
    for (name, _) in DISKS {
        copy(&folder.join(name), &kept)?;
    }
    world.keep();
    Ok(folder)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status()?;
    ensure!(copied.success(), "cp -a {} {}: {copied}", from.display(), to.display());
    Ok(())
}
