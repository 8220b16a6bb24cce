//! What is measured at one distance and loss, over one transport.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::Spans;
use super::path::{Paths, Transport};
use crate::bench::file::EdgeFile;
use crate::bench::pace;
use crate::bench::report::Latencies;
use crate::bench::stage::{Stage, key, path};
use crate::cut::Weather;
use crate::shops::Edge;

/// Writes that are begun a second, each way.
pub(super) const PACE: u32 = 20;
/// Between two looks at the edge's file.
const LOOK: Duration = Duration::from_micros(200);

/// How far a fresh node came.
#[derive(Debug, Clone, Copy)]
pub(super) struct CatchUp {
    records: u64,
    took: Duration,
    /// On the wire, both directions; 0: not known.
    bytes: f64,
    done: bool,
}

impl CatchUp {
    /// Records a second, from the start of the process on.
    pub(super) fn rate(&self) -> f64 {
        self.records as f64 / self.took.as_secs_f64()
    }

    /// With a mark where the time was over before the records were.
    pub(super) fn cell(&self) -> String {
        let part = if self.done { String::new() } else { format!(" ({} in {} s)", super::whole(self.records as f64), self.took.as_secs()) };
        format!("{}{part}", super::whole(self.rate()))
    }

    pub(super) fn bytes_each(&self) -> f64 {
        self.bytes / (self.records as f64).max(1.0)
    }

    pub(super) fn bytes_a_second(&self) -> f64 {
        self.bytes / self.took.as_secs_f64()
    }
}

/// Single writes, down and up.
#[derive(Debug)]
pub(super) struct Latency {
    /// Cloud write sent → durable at the edge.
    pub(super) down: Latencies,
    /// Edge write sent → outcome durable at the edge.
    pub(super) up: Latencies,
}

/// A fresh node takes what it can in the time; straight where there is no weather.
pub(super) fn catch_up(stage: &Stage, weather: Option<Weather>, transport: Transport, name: &str, spans: Spans) -> CatchUp {
    let mut edge = stage.node(name);
    edge.transport = transport.name().into();
    let paths = weather.map(|weather| Paths::to(stage, weather));
    if let Some(paths) = &paths {
        paths.lead(&edge);
    }
    let begun = Instant::now();
    edge.start();
    let file = EdgeFile::open(&edge.data);
    let wanted = stage.records as u64;
    let (records, took, done) = pace::poll("records at the edge", Duration::from_millis(2), || {
        let (at, took) = (file.standing(), begun.elapsed());
        let done = at.records >= wanted && at.filling == 0;
        (done || took >= spans.catch_up).then_some((at.records, took, done))
    });
    let bytes = paths.map_or(0.0, |paths| transport.wire(&paths.counts(transport)));
    edge.kill();
    CatchUp { records, took, bytes, done }
}

/// Writes on both sides of a settled link.
pub(super) fn latency(stage: &Stage, weather: Weather, transport: Transport, name: &str, spans: Spans) -> Latency {
    let mut edge = stage.node(name);
    edge.transport = transport.name().into();
    let paths = Paths::to(stage, weather);
    paths.lead(&edge);
    edge.start();
    stage.settle(&edge);
    let count = spans.writes.as_secs() as u32 * PACE;
    let over = AtomicBool::new(false);
    let (sent, up, seen) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| cursors(&edge, &over));
        let up = scope.spawn(|| up(stage, &edge, count));
        let sent = down(stage, count);
        let up = up.join().expect("the writers at the edge");
        let newest = sent.iter().map(|(_, revision)| *revision).max().unwrap_or_default();
        EdgeFile::open(&edge.data).wait("the last write at the edge", |at| at.cursor >= newest);
        over.store(true, Ordering::Relaxed);
        (sent, up, watch.join().expect("the watching thread"))
    });
    let mut latencies = Latencies::default();
    for (at, revision) in sent {
        let durable = seen.iter().find(|(_, cursor)| *cursor >= revision).map_or(at, |(seen, _)| *seen);
        latencies.add(durable.saturating_duration_since(at));
    }
    edge.kill();
    Latency { down: latencies, up }
}

/// When the edge's cursor moved, and where to.
fn cursors(edge: &Edge, over: &AtomicBool) -> Vec<(Instant, u64)> {
    let file = EdgeFile::open(&edge.data);
    let mut seen = vec![(Instant::now(), 0)];
    let mut last = 0;
    loop {
        // Asked before the look: the last look is one after the end.
        let ends = over.load(Ordering::Relaxed);
        let cursor = file.standing().cursor;
        if cursor > last {
            last = cursor;
            seen.push((Instant::now(), cursor));
        }
        if ends {
            return seen;
        }
        pace::pause(LOOK);
    }
}

/// One that no record had before: a write that changes nothing has no revision of its own.
fn price() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1_000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// When the `n`-th write begins.
fn slot(begun: Instant, n: u32) -> Duration {
    (Duration::from_secs(1) * n / PACE).saturating_sub(begun.elapsed())
}

/// Changes prices in the cloud at its pace: when each was sent, and its revision.
fn down(stage: &Stage, count: u32) -> Vec<(Instant, u64)> {
    let mut client = stage.world.cloud.client();
    let begun = Instant::now();
    let one = |n: u32| {
        pace::pause(slot(begun, n));
        let sent = Instant::now();
        let change = json!({"Price": price()});
        let key = key(n as usize % (stage.records / 2));
        let answer = client.json("PATCH", &path(&key), &change).expect("an answer").ok(200);
        (sent, answer["revision"].as_u64().expect("a revision"))
    };
    (0..count).map(one).collect()
}

/// Changes other prices at the edge at its pace: how long each took until its outcome.
fn up(stage: &Stage, edge: &Edge, count: u32) -> Latencies {
    let begun = Instant::now();
    let one = |n: u32| {
        let mut client = edge.client();
        let key = key(stage.records / 2 + n as usize % (stage.records / 2));
        let body = json!({"Price": price()}).to_string();
        let headers = [("content-type", "application/json"), ("prefer", "wait=30")];
        let sent = Instant::now();
        let answer = client.send("PATCH", &path(&key), &headers, Some(body.as_bytes())).expect("an answer").ok(200);
        let took = sent.elapsed();
        assert_eq!(answer["write"]["final"], true, "no outcome in 30 s: {answer}");
        took
    };
    let mut latencies = Latencies::default();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..count)
            .map(|n| {
                pace::pause(slot(begun, n));
                scope.spawn(move || one(n))
            })
            .collect();
        writers.into_iter().for_each(|writer| latencies.add(writer.join().expect("a writer")));
    });
    latencies
}
