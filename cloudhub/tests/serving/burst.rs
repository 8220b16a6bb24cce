//! By hand: a fleet comes at once, and what a connected node notices of it. Client and hub share the machine.
//!
//! `NODES=2000 RATE=200 TRANSPORT=websocket cargo test --release -p cloudhub --test serving -- --ignored --nocapture burst`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;
use tokio::task::JoinSet;
use transport::link::TransportKind;

use crate::hub::Hub;
use crate::node::{Listens, Machine, Memory, Session};

fn setting(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[derive(Default)]
struct Tally {
    tries: AtomicU64,
    failed: AtomicU64,
    told: AtomicU64,
}

#[test]
#[ignore = "by hand: it measures"]
fn burst_of_a_fleet() {
    let (nodes, rate) = (setting("NODES", 1_000), setting("RATE", 200));
    let quic = std::env::var("TRANSPORT").is_ok_and(|name| name == "quic");
    let transport = if quic { TransportKind::Quic } else { TransportKind::WebSocket };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let hub = Hub::paced(rate, setting("BURST", rate), 256).await;
        hub.define("products").await;
        hub.import("products", "{\"id\":\"p1\",\"stock\":0}\n".into()).await.unwrap();
        let machine = Machine::join(&hub, "steady").await;
        let mut steady = Session::open(&hub, &machine, Memory::new(1)).await;
        steady.in_sync().await;
        let mut fleet = Vec::new();
        for number in 0..nodes {
            fleet.push(Machine::join(&hub, &format!("shop-{number}")).await);
        }
        let quiet = latencies(&hub, &mut steady, 0, |n| n >= 200).await;
        println!("quiet: {}", figures(quiet.clone()));
        let (tally, listens) = (Arc::new(Tally::default()), (hub.running.websocket, hub.running.quic));
        let clients = {
            let tally = Arc::clone(&tally);
            std::thread::spawn(move || come(fleet, listens, transport, &tally))
        };
        let noticed = latencies(&hub, &mut steady, 200, |_| clients.is_finished()).await;
        let (took, sessions) = clients.join().unwrap();
        println!(
            "burst of {nodes} over {transport}: all in after {took:?}; {} tries, {} failed, {} told to wait",
            tally.tries.load(Ordering::Relaxed),
            tally.failed.load(Ordering::Relaxed),
            tally.told.load(Ordering::Relaxed)
        );
        println!("meanwhile: {}", figures(noticed));
        drop((steady, sessions));
        hub.stop().await;
    });
}

/// From a request to the cloud's API until a node has the record, one after the other.
async fn latencies(hub: &Hub, steady: &mut Session, from: u64, enough: impl Fn(u64) -> bool) -> Vec<Duration> {
    let mut all = Vec::new();
    for number in 1.. {
        let begun = Instant::now();
        let stock = json!({"note": from + number});
        hub.send(Method::PATCH, &["v1", "collections", "products", "records", "p1"], stock).await.unwrap();
        steady.until(|node| node.memory.field("products", "p1", "note") == Some(json!(from + number))).await;
        all.push(begun.elapsed());
        if enough(number) {
            break;
        }
    }
    all
}

fn figures(mut all: Vec<Duration>) -> String {
    all.sort_unstable();
    let at = |part: usize| all[(all.len() - 1) * part / 100];
    format!("{} cloud writes to a connected node: p50 {:?}, p99 {:?}, longest {:?}", all.len(), at(50), at(99), at(100))
}

/// All of them at once, on a runtime of their own.
fn come(fleet: Vec<Machine>, listens: Listens, transport: TransportKind, tally: &Arc<Tally>) -> (Duration, Vec<Session>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let begun = Instant::now();
    let sessions = runtime.block_on(async {
        let mut all = JoinSet::new();
        for (number, machine) in fleet.into_iter().enumerate() {
            let tally = Arc::clone(tally);
            all.spawn(async move { comes_in(&machine, listens, transport, number, &tally).await });
        }
        all.join_all().await
    });
    (begun.elapsed(), sessions)
}

async fn comes_in(machine: &Machine, listens: Listens, transport: TransportKind, number: usize, tally: &Tally) -> Session {
    let mut memory = Memory { database: proto::ids::DatabaseId([number as u8; 16]), ..Memory::new(0) };
    loop {
        tally.tries.fetch_add(1, Ordering::Relaxed);
        let Ok(link) = machine.try_link(listens, transport).await else {
            tally.failed.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(500 + number as u64 * 7 % 4_500)).await;
            continue;
        };
        let mut session = Session::over(link, memory.clone());
        session.in_sync().await;
        match session.end.take() {
            Some(end) => {
                tally.told.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(end.retry_ms)).await;
                memory = Memory { ticket: end.ticket, ..session.memory.clone() };
            }
            None if session.is_open() => return session,
            None => drop(tally.failed.fetch_add(1, Ordering::Relaxed)),
        }
    }
}
