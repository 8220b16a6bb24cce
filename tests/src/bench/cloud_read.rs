//! What a read costs an application that asks the central server instead of its own edge.

use std::time::{Duration, Instant};

use super::Settings;
use super::report::{Figure, Latencies, Unit};
use super::stage::{self, Stage, key, path, scatter};
use crate::http::Client;

const RECORDS: usize = 1_000;
const READS: usize = 200;

pub(super) fn run(_: Settings) -> Vec<Figure> {
    let stage = Stage::with(RECORDS);
    let edge = stage.settled("lyon");
    let line = stage::path_to(stage.world.cloud.api, Duration::from_millis(25));
    let token = std::fs::read_to_string(stage.world.cloud.data.join("admin.token")).expect("the admin token");
    let ca = stage.world.cloud.data.join("pki/ca.crt");
    let far = read(&mut Client::tls(line.address(), &ca, token.trim()));
    let near = read(&mut stage.world.cloud.client());
    let local = read(&mut edge.client());
    let figure = |what: &str, latencies: &Latencies| {
        let detail = format!("{READS} reads on one kept connection, one at a time; p99 {:.2} ms", latencies.percentile(0.99));
        Figure::new(what, latencies.percentile(0.5), Unit::Milliseconds).detail(detail)
    };
    vec![
        figure("point read at the cloud through 50 ms of delay, p50", &far),
        figure("the same without delay, p50", &near),
        figure("the same at the edge, p50", &local),
    ]
}

fn read(client: &mut Client) -> Latencies {
    let mut latencies = Latencies::default();
    for n in 0..READS + 10 {
        let begun = Instant::now();
        client.get(&path(&key(scatter(n, RECORDS)))).expect("an answer").expect(200);
        if n >= 10 {
            latencies.add(begun.elapsed());
        }
    }
    latencies
}
