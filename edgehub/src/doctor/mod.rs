//! `edgehub doctor`: looks at what really breaks in the field, and says what to do about it.
//!
//! One check a file. Each reads its facts (files, sockets, a running edgehub) and has a pure `judge` that makes a
//! [`Check`] of them; `probe` is what the checks about the network share. Nothing is changed, a node that runs is not
//! disturbed, and every wait is bounded: what asks the network runs side by side, for `PATIENCE` each.

mod broker;
mod certificate;
mod clock;
mod configuration;
mod database;
mod disk;
mod dns;
mod link;
mod port;
mod probe;
mod quic;
mod report;
#[cfg(test)]
mod tests;
mod token;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use transport::tls::CertificateClock;

use crate::config::RunConfig;
use crate::identity::{build_date, certificate_time};
pub use report::{Check, Report, Verdict};

/// How long each check that waits may take: a person stands in front of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Addresses of a kind that are tried: a hub has a few, and each costs sockets.
const SERVERS: usize = 8;
/// Two clocks that differ by more than this are not together, milliseconds; the cloud's bound on an edge's clock.
const CLOCK_APART_MS: u64 = proto::limits::CLOCK_AHEAD_MS;

/// What is examined.
#[derive(Debug)]
pub struct Patient {
    /// The data folder.
    pub data: PathBuf,
    /// What edgehub would be told; the defaults where that cannot be read.
    pub config: RunConfig,
    /// Why it cannot be read.
    pub config_error: Option<String>,
    /// A join token in the environment.
    pub token: Option<String>,
}

/// Looks at everything.
pub async fn examine(patient: Patient) -> Report {
    let Patient { data, config, config_error, token } = patient;
    let disk = disk::Facts::read(&data);
    let stored = database::Facts::read(&data, config.outbox.max_bytes.0);
    let own = certificate::Own::read(&data, config.join.server.is_some());
    let system = SystemTime::now();
    let stored_ms = stored.clock_ms().unwrap_or(0);
    let judged_at = certificate_time(system, stored_ms, build_date());
    let certificate_clock: CertificateClock = Arc::new(move || judged_at);
    let token = token::Facts::read(&config, token, own.identity().is_some());
    let broker_clock = Arc::clone(&certificate_clock);
    let hub = probe::Hub::of(&config, own.identity(), token.token(), certificate_clock);
    let node = own.identity().map(|identity| identity.node().to_string());
    let folder = data.clone();
    let (probes, running, sound, brokers) = tokio::join!(
        hub.probe(),
        link::Facts::ask(&data),
        tokio::task::spawn_blocking(move || database::check(&folder)),
        broker::Facts::read(&config.mqtt, node.as_deref(), &broker_clock)
    );
    let clocks = clock::Facts {
        system_ms: millis(system),
        build_ms: millis(build_date()),
        stored_ms: stored.clock_ms(),
        hub_ms: probes.hub_time_ms().or_else(|| millis(system).checked_add_signed(running.offset_ms()?)),
    };
    let checks = vec![
        configuration::judge(&data, config_error.as_deref(), &config, own.identity()),
        clock::judge(&clocks),
        dns::judge(&probes),
        port::judge(&probes),
        quic::judge(&config.link, &probes),
        certificate::judge(&own, &probes, judged_at),
        disk::judge(&disk),
        database::judge(&stored, sound.ok().as_ref()),
        link::judge(&running, own.identity().is_some()),
        broker::judge(&config.mqtt, &brokers, &running, millis(system)),
        token::judge(&token, &probes, judged_at),
    ];
    Report::new(&data, node, millis(system), checks)
}

fn millis(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// A distance in time, in the unit that a person would use.
fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A number of bytes, in the unit that a person would use.
fn size(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} bytes"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        10_485_760..10_737_418_240 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}
