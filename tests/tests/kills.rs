//! `kill -9` of either hub at any moment under steady load from both sides: nothing that was answered 2xx is lost or
//! applied twice, and both sides converge.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;
use tests::chaos::Settings;
use tests::http::Client;
use tests::shops::{SHOP, World};

/// What one writer knows about its own requests.
struct Tally {
    /// Increments that were answered 2xx.
    sure: i64,
    /// Increments whose answer never came: each may or may not have been taken.
    unsure: i64,
    /// Sales that were answered 2xx.
    sales: BTreeSet<String>,
}

/// Sells until told to stop, through whatever deaths of the server.
fn load(name: String, mut client: Client, stop: Arc<AtomicBool>, answered: Arc<AtomicI64>) -> JoinHandle<Tally> {
    std::thread::spawn(move || {
        let mut tally = Tally { sure: 0, unsure: 0, sales: BTreeSet::new() };
        for turn in 0u64.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let key = format!("{name}-{turn}");
            let ops = json!({"ops": [
                {"op": "increment", "collection": "stock", "key": "a", "by": {"n": 1}},
                {"op": "put", "collection": "sales", "key": key, "value": {"by": name}},
            ]});
            match client.json("POST", "/v1/writes", &ops) {
                Ok(answer) if answer.status == 201 => {
                    tally.sure += 1;
                    tally.sales.insert(key);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(answer) => assert!(answer.status >= 500, "{answer}"),
                // Nobody listens: nothing was taken. A connection that broke later: nobody knows.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => std::thread::yield_now(),
                Err(_) => tally.unsure += 1,
            }
        }
        tally
    })
}

#[test]
fn a_hundred_kills_lose_nothing() {
    let mut world = World::new(&[("lyon", &[]), ("oslo", &[])]);
    world.cloud.define(SHOP);
    world.cloud.cli(&["record", "put", "stock", "a", r#"{"n":0}"#]).done();
    world.settle();
    let stop = Arc::new(AtomicBool::new(false));
    let counts: Vec<_> = (0..3).map(|_| Arc::new(AtomicI64::new(0))).collect();
    let clients = [world.edges[0].client(), world.edges[1].client(), world.cloud.client()];
    let writers: Vec<_> = ["lyon", "oslo", "hq"]
        .into_iter()
        .zip(clients)
        .zip(&counts)
        .map(|((name, client), count)| load(name.into(), client, Arc::clone(&stop), Arc::clone(count)))
        .collect();
    for kill in 0..100usize {
        // The victim dies after it has answered a few more writes: some deaths come at once, some in the middle of a drain.
        let victim = [0, 2, 1, 2][kill % 4];
        let goal = counts[victim].load(Ordering::Relaxed) + (kill % 7) as i64;
        tests::until::until("answers of the victim", || (counts[victim].load(Ordering::Relaxed) >= goal).then_some(()));
        if victim == 2 {
            world.cloud.kill();
            world.cloud.start();
        } else {
            world.edges[victim].kill();
            world.edges[victim].start();
        }
    }
    stop.store(true, Ordering::Relaxed);
    let tallies: Vec<Tally> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    world.settle();
    let n = world.cloud.record("stock", "a").unwrap()["n"].as_i64().unwrap();
    let sales = keys(world.cloud.client());
    assert_eq!(n, sales.len() as i64, "every sale has exactly one increment");
    let sure: i64 = tallies.iter().map(|tally| tally.sure).sum();
    let unsure: i64 = tallies.iter().map(|tally| tally.unsure).sum();
    assert!((sure..=sure + unsure).contains(&n), "{sure} answered, {unsure} unknown, {n} in the cloud");
    for tally in &tallies {
        assert!(tally.sales.is_subset(&sales), "lost: {:?}", tally.sales.difference(&sales).take(5).collect::<Vec<_>>());
    }
    for edge in &world.edges {
        assert_eq!(keys(edge.client()), sales, "{}", edge.name);
        assert_eq!(edge.record("stock", "a").unwrap()["n"], n, "{}", edge.name);
    }
    assert!(sure > 300, "only {sure} writes were answered: no load");
}

/// A few seconds of `make chaos`, which runs it for hours: kills, stops, full disks, bad networks, wrong clocks, devices and labels that
/// change, together.
#[test]
fn everything_at_once() {
    let short = Settings { seed: 1, lasts: Duration::ZERO, storm: Duration::from_secs(5), shown: true };
    let report = tests::chaos::run(short).unwrap();
    assert!(report.findings.is_empty(), "{report}");
    for (what, least) in [
        ("writes: accepted", 100),
        ("devices: reports acknowledged", 50),
        ("faults: kill -9 of cloudhub", 1),
        ("faults: kill -9 of edgehub", 1),
        ("faults: labels of a node changed", 1),
    ] {
        assert!(report.counts.of(what) >= least, "too little happened\n{report}");
    }
}

fn keys(mut client: Client) -> BTreeSet<String> {
    let export = client.get("/v1/collections/sales/export").unwrap().expect(200);
    let lines = String::from_utf8(export.body).unwrap();
    let key = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["key"].as_str().unwrap().to_owned();
    lines.lines().map(key).collect()
}
