//! Networks as they are: catch-up and the latency of single writes over both transports, at several distances and losses, beside
//! what the path itself allows and beside one message at a time. All paths are [`crate::cut`]'s, with its model of TCP's
//! congestion control; QUIC brings its own.
//!
//! - `cell`: what is measured at one distance and loss; `path`: both ways to one hub; `baseline`: what else could be sent there.

mod baseline;
mod cell;
pub(super) mod path;

use std::time::Duration;

use super::Settings;
use super::report::{Bound, Figure, Unit};
use super::stage::{Stage, VALUE_BYTES};
use cell::{CatchUp, Latency};
use path::{TRANSPORTS, Transport};

/// Records that a fresh node takes, if it can in the time.
const RECORDS: usize = 100_000;
/// Records of the hub that single writes are made on.
const FEW: usize = 200;
const ROUND_TRIPS_MS: [u64; 3] = [0, 50, 300];
/// In a million.
const LOSSES: [u64; 3] = [0, 20_000, 100_000];
/// What a segment carries of a stream, as the model of TCP has it.
const SEGMENT: f64 = 1_448.0;

/// How long one cell may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spans {
    /// Of the catch-up, if it is not done before.
    catch_up: Duration,
    /// In which single writes are begun.
    writes: Duration,
    /// Of each baseline.
    baseline: Duration,
}

impl Spans {
    fn of(settings: Settings) -> Self {
        let seconds = if settings.full { [20, 30, 10] } else { [8, 6, 3] };
        let [catch_up, writes, baseline] = seconds.map(Duration::from_secs);
        Self { catch_up, writes, baseline }
    }
}

/// One line of both tables.
struct Row {
    round_trip: Duration,
    loss: u64,
    catch_up: [CatchUp; 2],
    latency: [Latency; 2],
    /// Bytes a second of a plain TCP stream.
    stream: f64,
    /// Messages a second, one at a time.
    one_by_one: f64,
}

pub(super) fn run(settings: Settings) -> Vec<Figure> {
    let spans = Spans::of(settings);
    let (many, few) = (Stage::with(RECORDS), Stage::with(FEW));
    let direct = TRANSPORTS.map(|transport| cell::catch_up(&many, None, transport, &format!("direct-{}", transport.name()), spans));
    let mut rows = Vec::new();
    for round_trip in ROUND_TRIPS_MS.map(Duration::from_millis) {
        for loss in LOSSES {
            let weather = path::weather(round_trip, loss);
            let name = |what: &str, transport: Transport| format!("{what}-{}-{}-{loss}", transport.name(), round_trip.as_millis());
            let catch_up = TRANSPORTS.map(|transport| cell::catch_up(&many, Some(weather), transport, &name("fresh", transport), spans));
            let latency = TRANSPORTS.map(|transport| cell::latency(&few, weather, transport, &name("near", transport), spans));
            let (stream, one_by_one) = (baseline::stream(weather, spans.baseline), baseline::one_by_one(weather, spans.baseline));
            let row = Row { round_trip, loss, catch_up, latency, stream, one_by_one };
            println!("  {}", row.progress());
            rows.push(row);
        }
    }
    println!("\n{}\n{}", catch_up_table(&rows), latency_table(&rows));
    figures(&rows, &direct)
}

impl Row {
    fn progress(&self) -> String {
        let [ws, quic] = self.catch_up.each_ref().map(CatchUp::rate);
        format!("{} ms, {} %: WebSocket {ws:.0}/s, QUIC {quic:.0}/s", self.round_trip.as_millis(), percent(self.loss))
    }

    /// What TCP reaches on such a path on average (Mathis et al., 1997), bytes a second; none without loss or distance.
    fn mathis(&self) -> Option<f64> {
        let share = self.loss as f64 / 1e6;
        (self.loss > 0 && !self.round_trip.is_zero()).then(|| SEGMENT / self.round_trip.as_secs_f64() * (1.5 / share).sqrt())
    }

    /// What a full window in each round trip is, bytes a second.
    fn window(&self) -> Option<f64> {
        (!self.round_trip.is_zero()).then(|| proto::limits::WINDOW_BYTES_MAX as f64 / self.round_trip.as_secs_f64())
    }

    fn head(&self) -> String {
        format!("| {} ms | {} % |", self.round_trip.as_millis(), percent(self.loss))
    }
}

fn percent(loss: u64) -> f64 {
    loss as f64 / 10_000.0
}

fn catch_up_table(rows: &[Row]) -> String {
    let mut text = "| RTT | loss | WebSocket, records/s | QUIC, records/s | bytes a record on the wire, WebSocket / QUIC | a full window each \
                    round trip, records/s | plain TCP stream, kB/s | Mathis, kB/s | our stream, kB/s, WebSocket / QUIC | one message at a time, \
                    measured /s | 1 / RTT |\n|---|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    let or_dash = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), whole);
    for row in rows {
        let [ws, quic] = &row.catch_up;
        let cells = [
            ws.cell(),
            quic.cell(),
            format!("{} / {}", whole(ws.bytes_each()), whole(quic.bytes_each())),
            or_dash(row.window().map(|bytes| bytes / VALUE_BYTES as f64)),
            whole(row.stream / 1e3),
            or_dash(row.mathis().map(|bytes| bytes / 1e3)),
            format!("{} / {}", whole(ws.bytes_a_second() / 1e3), whole(quic.bytes_a_second() / 1e3)),
            whole(row.one_by_one),
            or_dash((!row.round_trip.is_zero()).then(|| 1.0 / row.round_trip.as_secs_f64())),
        ];
        text.push_str(&format!("{} {} |\n", row.head(), cells.join(" | ")));
    }
    text
}

fn latency_table(rows: &[Row]) -> String {
    let mut text =
        "| RTT | loss | cloud write → durable at the edge, p50 / p99 ms, WebSocket | QUIC | edge write → outcome, p50 / p99 ms, \
                    WebSocket | QUIC |\n|---|---|---|---|---|---|\n"
            .to_owned();
    for row in rows {
        let [ws, quic] = &row.latency;
        let both =
            |latencies: &super::report::Latencies| format!("{} / {}", short(latencies.percentile(0.5)), short(latencies.percentile(0.99)));
        let cells = [both(&ws.down), both(&quic.down), both(&ws.up), both(&quic.up)];
        text.push_str(&format!("{} {} |\n", row.head(), cells.join(" | ")));
    }
    let count = rows.first().map_or(0, |row| row.latency[0].down.count());
    text.push_str(&format!(
        "\n{count} writes each way and cell, {} a second each way, begun whether or not those before are done.\n",
        cell::PACE
    ));
    text
}

fn figures(rows: &[Row], direct: &[CatchUp; 2]) -> Vec<Figure> {
    let mut figures = Vec::new();
    let near = rows.iter().find(|row| row.round_trip.is_zero() && row.loss == 0);
    for (place, transport) in TRANSPORTS.iter().enumerate() {
        let through = near.map_or(0.0, |row| row.catch_up[place].rate());
        let what = format!("catch-up over {}, straight to the hub", transport.name());
        let share = format!("through the path of these tables, which runs on the same cores: {:.0}/s", through);
        figures.push(Figure::new(what, direct[place].rate(), Unit::PerSecond).budget(Bound::AtLeast(20_000.0)).detail(share));
        let far = rows.iter().find(|row| row.round_trip.as_millis() == 50 && row.loss == 0);
        let far = far.map_or(0.0, |row| row.catch_up[place].rate());
        let what = format!("catch-up over {} at 50 ms RTT, no loss", transport.name());
        let how = "start of the process, handshake and slow start included".to_owned();
        figures.push(Figure::new(what, far, Unit::PerSecond).budget(Bound::AtLeast(10_000.0)).detail(how));
    }
    let worst = rows.iter().find(|row| row.round_trip.as_millis() == 300 && row.loss == 100_000);
    if let Some(worst) = worst {
        let times = TRANSPORTS
            .iter()
            .zip(&worst.catch_up)
            .map(|(transport, met)| format!("{} {:.0}×", transport.name(), met.rate() / worst.one_by_one.max(f64::MIN_POSITIVE)));
        let how = format!("catch-up as a multiple of it: {}", times.collect::<Vec<_>>().join(", "));
        figures.push(Figure::new("one message at a time at 300 ms RTT and 10 % loss", worst.one_by_one, Unit::PerSecond).detail(how));
    }
    figures
}

/// A whole number for people, thousands apart.
fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

fn short(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { whole(value) }
}
