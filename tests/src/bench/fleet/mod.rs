//! Many nodes on one hub: how fast they join and connect, what each costs the hub's memory, and the hub's time while nothing happens.
//!
//! - `light`: one node; `crew`: a process that is many of them.

pub mod crew;
mod light;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use transport::token::JoinToken;

use super::machine::{self, Meter};
use super::report::{Bound, Figure, Unit, rate};
use super::stage::Stage;
use super::{Settings, pace};
use crate::http::Client;
use crew::Orders;

/// Records that every node takes.
const RECORDS: usize = 10;
const QUICK: usize = 2_000;
/// Of each transport, where the descriptor limit lets them be.
const FULL: [usize; 2] = [19_000, 20_000];
/// Nodes of one process: two descriptors a node, and some.
const CREW: usize = 9_000;
/// Joins at once.
const JOINERS: usize = 16;
/// What settles in the hub after everybody is there, and how long its time is measured: two pings of each.
const SETTLES: Duration = Duration::from_secs(20);
const IDLE: Duration = Duration::from_secs(30);

/// Nodes that have joined, with the certificate and the key of each.
struct Fleet {
    ca: String,
    nodes: Vec<(String, String)>,
    joined_in: Duration,
}

pub(super) fn run(settings: Settings) -> Vec<Figure> {
    let counts = if settings.full { FULL } else { [QUICK; 2] };
    let mut stage = Stage::with(RECORDS);
    let fleet = join(&stage, counts[0].max(counts[1]));
    let mut figures = vec![
        Figure::new(format!("joins of {} machines", fleet.nodes.len()), rate(fleet.nodes.len(), fleet.joined_in), Unit::PerSecond)
            .detail(format!("{JOINERS} at once, certificate and commit included")),
    ];
    for (quic, count) in [false, true].into_iter().zip(counts) {
        figures.extend(measure(&mut stage, &fleet, quic, count));
    }
    figures
}

/// All with one token. Each has a key of its own: the same one again is the same machine, whose answer was lost.
fn join(stage: &Stage, count: usize) -> Fleet {
    let cloud = &stage.world.cloud;
    let token = cloud.cli(&["token", "create", "--uses", &count.to_string()]).done();
    let secret = token.trim().parse::<JoinToken>().expect("a token").secret().to_text();
    let ca = std::fs::read_to_string(cloud.data.join("pki/ca.crt")).expect("the CA");
    let nodes = Mutex::new(vec![(String::new(), String::new()); count]);
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    let joiner = || {
        let mut client = cloud.client();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= count {
                return;
            }
            let node = one_join(&mut client, &secret, n);
            nodes.lock().unwrap_or_else(PoisonError::into_inner)[n] = node;
        }
    };
    std::thread::scope(|scope| (0..JOINERS).for_each(|_| drop(scope.spawn(joiner))));
    let nodes = nodes.into_inner().unwrap_or_else(PoisonError::into_inner);
    Fleet { ca, nodes, joined_in: begun.elapsed() }
}

fn one_join(client: &mut Client, secret: &str, n: usize) -> (String, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let csr = rcgen::CertificateParams::default().serialize_request(&key).and_then(|csr| csr.pem()).expect("a request");
    let body = json!({"secret": secret, "node": format!("n{n:05}"), "csr": csr, "version": env!("CARGO_PKG_VERSION")});
    let answer = client.json("POST", "/v1/join", &body).expect("an answer");
    assert!(answer.status < 300, "{answer}");
    let certificate = answer.json()["certificate"].as_str().expect("a certificate").to_owned();
    (certificate, key.serialize_pem())
}

fn measure(stage: &mut Stage, fleet: &Fleet, quic: bool, count: usize) -> Vec<Figure> {
    let transport = if quic { "QUIC" } else { "WebSocket" };
    stage.world.cloud.stop();
    stage.world.cloud.start();
    pace::pause(Duration::from_secs(5));
    let hub = stage.world.cloud.process().id();
    let empty = machine::memory(hub);
    let meter = Meter::start(&[("hub", hub)]);
    let begun = Instant::now();
    let crews: Vec<Crew> = (0..count).step_by(CREW).map(|first| Crew::start(stage, fleet, quic, first..count.min(first + CREW))).collect();
    let settled = || crews.iter().map(|crew| crew.settled()).sum::<usize>();
    pace::poll(&format!("{count} nodes over {transport} that hold everything"), Duration::from_millis(100), || {
        (settled() >= count).then_some(())
    });
    let took = begun.elapsed();
    let cost = meter.each(count);
    pace::pause(SETTLES);
    let memory = machine::memory(hub);
    let before = machine::seconds(hub);
    pace::pause(IDLE);
    let busy = (machine::seconds(hub) - before) / IDLE.as_secs_f64() * 100.0;
    let online = settled();
    let kib = (memory.rss - empty.rss) * 1024.0 / count as f64;
    let detail = format!("{online} of {count} connected; hub {:.1} MiB empty, {:.1} MiB with them; VmRSS", empty.rss, memory.rss);
    let figure = Figure::new(format!("cloud memory per idle connected node, {transport}, {count} nodes"), kib, Unit::KiB);
    // The budget speaks of WebSocket; QUIC is held against it as well.
    let figure = figure.budget(Bound::AtMost(24.0)).aim(Bound::AtMost(16.0)).detail(detail);
    let failed: usize = crews.iter().map(Crew::failures).sum();
    let how =
        format!("handshake, session and {RECORDS} records; {failed} tries that failed or were sent away; {cost}; nodes on the same cores");
    vec![
        figure,
        Figure::new(format!("{count} nodes connect over {transport}"), rate(count, took), Unit::PerSecond).detail(how),
        Figure::new(format!("hub's time with {count} idle nodes over {transport}"), busy, Unit::Percent)
            .detail("of one core; each pings every 15 s"),
    ]
}

/// A process of nodes; it ends with this.
struct Crew {
    child: Child,
    said: Arc<Mutex<(usize, usize)>>,
}

impl Crew {
    fn start(stage: &Stage, fleet: &Fleet, quic: bool, nodes: std::ops::Range<usize>) -> Self {
        let cloud = &stage.world.cloud;
        let hub = if quic { cloud.quic.expect("a hub that listens for QUIC") } else { cloud.ws };
        let orders = Orders {
            quic,
            hub: hub.to_string(),
            ca: fleet.ca.clone(),
            first: nodes.start as u64,
            nodes: fleet.nodes[nodes.clone()].to_vec(),
        };
        let file = stage.world.folder().join(format!("crew-{}.json", nodes.start));
        std::fs::write(&file, serde_json::to_vec(&orders).expect("JSON")).expect("a scratch file");
        let program = std::env::current_exe().expect("the path of this program");
        let mut child = Command::new(program).arg("--crew").arg(&file).stdout(Stdio::piped()).spawn().expect("this program starts");
        let said = Arc::<Mutex<(usize, usize)>>::default();
        let (lines, heard) = (BufReader::new(child.stdout.take().expect("a pipe")), Arc::clone(&said));
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let figure = |place| line.split(' ').nth(place).and_then(|word| word.parse().ok()).unwrap_or(0);
                *heard.lock().unwrap_or_else(PoisonError::into_inner) = (figure(0), figure(1));
            }
        });
        Self { child, said }
    }

    fn settled(&self) -> usize {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn failures(&self) -> usize {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
