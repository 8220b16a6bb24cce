//! A process that is many nodes: a descriptor limit holds for each process, so a large fleet needs several.

use std::io::Write;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use proto::clock::Now;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use transport::address::HostPort;
use transport::tls::{Credentials, certificates, link_client_config};

use super::light::{self, Held, Settled};

/// Handshakes that one process has under way: a fleet that comes back comes in its own time, too.
const HANDSHAKES: usize = 64;
/// The pause after a link that failed or ended, where the hub names none.
const PAUSE: Duration = Duration::from_secs(2);

/// What a crew is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Orders {
    pub(super) quic: bool,
    pub(super) hub: String,
    pub(super) ca: String,
    /// The first one's number, and the certificate and key of each, PEM.
    pub(super) first: u64,
    pub(super) nodes: Vec<(String, String)>,
}

/// Is these nodes until the process is ended. Every second it prints how many hold everything.
pub fn run(file: &str) {
    let text = std::fs::read(file).expect("the orders");
    let orders: Orders = serde_json::from_slice(&text).expect("orders");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    runtime.block_on(crew(orders));
}

async fn crew(orders: Orders) {
    let settled = Settled::default();
    let failures = Arc::new(AtomicU64::new(0));
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let hub: HostPort = HostPort::parse(&orders.hub, 0).expect("the hub's address");
    let cas = certificates(&orders.ca).expect("the CA");
    for ((certificate, key), number) in orders.nodes.iter().zip(orders.first..) {
        let own = Credentials::from_pem(certificate, key).expect("a certificate");
        let tls = link_client_config(&own, &cas, Arc::new(SystemTime::now)).expect("a certificate for this key");
        let (settled, failures, handshakes) = (Arc::clone(&settled), Arc::clone(&failures), Arc::clone(&handshakes));
        let (hub, quic) = (hub.clone(), orders.quic);
        tokio::spawn(async move {
            // A database that begins anew under an old id would be a copy to the hub.
            let mut held = Held::new(number | u64::from(quic) << 32);
            loop {
                let permit = handshakes.acquire().await;
                let ended = if quic {
                    match transport::quic::connect(&hub, Arc::clone(&tls)).await {
                        Ok(link) => {
                            drop(permit);
                            light::session(link, &mut held, Arc::clone(&settled), now).await
                        }
                        Err(error) => (error.to_string(), Duration::ZERO),
                    }
                } else {
                    match transport::ws::connect(&hub, Arc::clone(&tls)).await {
                        Ok(link) => {
                            drop(permit);
                            light::session(link, &mut held, Arc::clone(&settled), now).await
                        }
                        Err(error) => (error.to_string(), Duration::ZERO),
                    }
                };
                let (why, again) = ended;
                if failures.fetch_add(1, Ordering::Relaxed) < 5 {
                    eprintln!("node {number}: {why}");
                }
                tokio::time::sleep(if again.is_zero() { PAUSE } else { again }).await;
            }
        });
    }
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        println!("{} {}", settled.load(Ordering::Relaxed), failures.load(Ordering::Relaxed));
        let _ = std::io::stdout().flush();
    }
}

#[allow(clippy::disallowed_methods)] // the shell of a program
fn now() -> Now {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Now { wall_ms: ms(wall), mono_ms: ms(BEGUN.get_or_init(Instant::now).elapsed()) }
}
