//! A record is changed through the cloud's API: when is it durable at the edge?

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use serde_json::json;

use super::file::EdgeFile;
use super::report::{Bound, Figure, Latencies, Runs, Unit, rate};
use super::stage::{Stage, key, path, scatter};
use super::{Settings, pace};
use crate::http::Client;

const RECORDS: usize = 10_000;
const ONE_BY_ONE: usize = 1_000;
const BURST: usize = 2_000;
const WRITERS: usize = 8;
/// Between two looks at the edge's file: a tenth of the aim, and a few percent of one core.
const LOOK: Duration = Duration::from_micros(50);
/// Between two writes, so that each meets a quiet system.
const GAP: Duration = Duration::from_millis(3);

pub(super) fn run(settings: Settings) -> Vec<Figure> {
    let stage = Stage::with(RECORDS);
    let edge = stage.settled("lyon");
    let mut client = stage.world.cloud.client();
    let watch = Watch::start(&edge.data);
    let (mut whole, mut after) = (Latencies::default(), Latencies::default());
    for n in 0..ONE_BY_ONE + 100 {
        let (sent, answered, seen) = one(&mut client, &watch, n);
        if n >= 100 {
            whole.add(seen - sent);
            after.add(seen.saturating_duration_since(answered));
        }
        pace::pause(GAP);
    }
    let burst = Runs::of(settings.runs, |run| rate(BURST, burst(&stage, &edge.data, run)));
    let tail = |latencies: &Latencies| format!("{ONE_BY_ONE} writes, one at a time; slowest {:.1} ms", latencies.percentile(1.0));
    vec![
        Figure::new("cloud write sent → durable at the edge, p50", whole.percentile(0.5), Unit::Milliseconds)
            .budget(Bound::AtMost(5.0))
            .aim(Bound::AtMost(1.5))
            .detail(tail(&whole)),
        Figure::new("the same, p99", whole.percentile(0.99), Unit::Milliseconds).budget(Bound::AtMost(25.0)).aim(Bound::AtMost(6.0)),
        Figure::new("cloud's answer → durable at the edge, p50", after.percentile(0.5), Unit::Milliseconds).detail(tail(&after)),
        Figure::new("the same, p99", after.percentile(0.99), Unit::Milliseconds),
        Figure::new("2,000 records changed by 8 writers → all at the edge", burst.median(), Unit::PerSecond).detail(burst.spread()),
    ]
}

/// One change: when it was sent, answered, and seen.
fn one(client: &mut Client, watch: &Watch, n: usize) -> (Instant, Instant, Instant) {
    let key = key(scatter(n, RECORDS));
    watch.expect(key.clone());
    let sent = Instant::now();
    client.json("PATCH", &path(&key), &json!({"Price": n as f64 + 0.5})).expect("an answer").expect(200);
    let answered = Instant::now();
    (sent, answered, watch.seen())
}

/// Looks for the next revision of one record, on a thread of its own.
struct Watch {
    keys: SyncSender<String>,
    ready: Receiver<()>,
    seen: Receiver<Instant>,
}

impl Watch {
    fn start(data: &Path) -> Self {
        let (keys, wanted) = sync_channel::<String>(1);
        let (begins, ready) = sync_channel(1);
        let (tell, seen) = sync_channel(1);
        let file = EdgeFile::open(data);
        std::thread::spawn(move || {
            for key in wanted {
                let before = file.revision(&key);
                let told = begins.send(()).and_then(|()| {
                    let seen = pace::poll("the change at the edge", LOOK, || (file.revision(&key) > before).then(Instant::now));
                    tell.send(seen).map_err(|_| std::sync::mpsc::SendError(()))
                });
                if told.is_err() {
                    return;
                }
            }
        });
        Self { keys, ready, seen }
    }

    /// From the return of this call on it looks.
    fn expect(&self, key: String) {
        self.keys.send(key).expect("the watching thread");
        self.ready.recv().expect("the watching thread");
    }

    fn seen(&self) -> Instant {
        self.seen.recv().expect("the watching thread")
    }
}

/// Many changes by several writers at once; from the first request to the last row.
fn burst(stage: &Stage, data: &Path, run: usize) -> Duration {
    let begun = Instant::now();
    let newest = change(stage, WRITERS, BURST, run);
    EdgeFile::open(data).wait("the burst at the edge", |at| at.cursor >= newest);
    begun.elapsed()
}

/// Changes products 0 to `count` - 1 one by one, by `writers` at once; the newest revision that was answered.
pub(super) fn change(stage: &Stage, writers: usize, count: usize, run: usize) -> u64 {
    std::thread::scope(|scope| {
        let writer = |first: usize| {
            let mut client = stage.world.cloud.client();
            (first..count).step_by(writers).fold(0, |_, n| {
                let change = json!({"Price": (run * count + n) as f64 + 0.75});
                let answer = client.json("PATCH", &path(&key(n)), &change).expect("an answer").ok(200);
                answer["revision"].as_u64().expect("a revision")
            })
        };
        let writers: Vec<_> = (0..writers).map(|first| scope.spawn(move || writer(first))).collect();
        writers.into_iter().map(|writer| writer.join().expect("a writer")).max().unwrap_or_default()
    })
}
