//! One try of one hub: the ways race, the first that is up is used and remembered.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::debug;
use transport::address::HostPort;
use transport::any::AnyLink;
use transport::dial::{ConnectError, ConnectReason};
use transport::proxy::Proxy;

use super::race::{Race, Step};
use super::ways::{Hint, Server, Way, order};
use crate::clock::SystemClock;
use crate::config::Transport;

/// What carries links, and what carried the last one.
#[derive(Debug)]
pub(super) struct Dialler {
    transport: Transport,
    metered: bool,
    file: PathBuf,
    hint: Option<Hint>,
    clock: SystemClock,
}

impl Dialler {
    /// Begins with what was remembered in the data folder.
    pub(super) fn new(transport: Transport, metered: bool, data: &Path, clock: SystemClock) -> Self {
        let file = data.join("transport");
        let hint = read(&file);
        Self { transport, metered, file, hint, clock }
    }

    /// What was learnt of one network says nothing about the next.
    pub(super) fn network_changed(&mut self) {
        self.hint = None;
    }

    /// Connects to a hub. What loses is dropped before it has said a word.
    ///
    /// # Errors
    /// What each way says of itself; a hub that does not let this node in, alone.
    pub(super) async fn connect(&mut self, server: &Server, tls: &Arc<rustls::ClientConfig>) -> Result<AnyLink, Failed> {
        let now = self.clock.now();
        let mut race = Race::new(now.mono_ms, order(self.transport, self.metered, server, self.hint, now.wall_ms));
        let mut tries = JoinSet::new();
        let (mut up, mut errors) = (None, Vec::new());
        loop {
            let now_ms = self.clock.now().mono_ms;
            match (race.step(now_ms), up.take()) {
                (Step::Start(way), _) => {
                    let tls = Arc::clone(tls);
                    let Some(at) = server.at(way).cloned() else { return Err(Failed::without_port(server)) };
                    tries.spawn(async move { (way, dial(way, &at, tls).await) });
                }
                (Step::Won(way), Some(link)) => {
                    tries.shutdown().await;
                    self.remember(way, race.has_tried(Way::Quic));
                    return Ok(link);
                }
                (Step::Wait(until), _) => tokio::select! {
                    Some(tried) = tries.join_next() => match tried {
                        Err(panicked) => return Err(Failed::panicked(server, &panicked)),
                        Ok((way, Ok(link))) => {
                            up = Some(link);
                            race.up(way);
                        }
                        Ok((_, Err(error))) if error.reason.not_admitted().is_some() => return Err(Failed(vec![error])),
                        Ok((way, Err(error))) => {
                            debug!(%error, "one way to the hub is closed");
                            race.failed(way);
                            errors.push(error);
                        }
                    },
                    () = due(until, now_ms) => {}
                },
                (Step::Won(_) | Step::Lost, _) => return Err(Failed(errors)),
            }
        }
    }

    /// WebSocket is worth remembering only where QUIC was tried beside it.
    fn remember(&mut self, way: Way, quic_was_tried: bool) {
        if self.transport != Transport::Auto || self.metered || (way == Way::WebSocket && !quic_was_tried) {
            return;
        }
        let hint = Hint { way, at_ms: self.clock.now().wall_ms };
        let same = way == Way::Quic && self.hint.is_some_and(|before| before.way == Way::Quic);
        self.hint = Some(hint);
        if same {
            return;
        }
        // Only a hint: one that is lost costs a second at the next start.
        if let Err(error) = std::fs::write(&self.file, written(hint)) {
            debug!(file = %self.file.display(), %error, "which transport works is not remembered");
        }
    }
}

/// Why no way led to a hub.
#[derive(Debug)]
pub(super) struct Failed(Vec<ConnectError>);

impl Failed {
    fn without_port(server: &Server) -> Self {
        let reason = ConnectReason::Quic("its QUIC port is not known: set quic_port under [link]".to_owned());
        Self(vec![ConnectError { server: server.websocket.clone(), reason }])
    }

    fn panicked(server: &Server, panicked: &tokio::task::JoinError) -> Self {
        let reason = ConnectReason::Quic(format!("a try failed: {panicked}"));
        Self(vec![ConnectError { server: server.websocket.clone(), reason }])
    }

    /// What a node is told that is not to come in.
    pub(super) fn not_admitted(&self) -> Option<&str> {
        self.0.iter().find_map(|error| error.reason.not_admitted())
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if place == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

async fn dial(way: Way, at: &HostPort, tls: Arc<rustls::ClientConfig>) -> Result<AnyLink, ConnectError> {
    match way {
        Way::Quic => transport::quic::connect(at, tls).await.map(AnyLink::from),
        Way::WebSocket => {
            let proxy = Proxy::of_environment(at).map_err(|error| ConnectError {
                server: at.clone(),
                reason: ConnectReason::Proxy { proxy: "of this machine's environment".to_owned(), why: format!("is unusable: {error}") },
            })?;
            transport::ws::connect_through(at, tls, proxy.as_ref()).await.map(AnyLink::from)
        }
    }
}

async fn due(until: Option<u64>, now_ms: u64) {
    match until {
        Some(until) => tokio::time::sleep(Duration::from_millis(until.saturating_sub(now_ms))).await,
        None => std::future::pending().await,
    }
}

fn written(hint: Hint) -> String {
    let word = match hint.way {
        Way::Quic => "quic",
        Way::WebSocket => "websocket",
    };
    format!("{word} {}\n", hint.at_ms)
}

/// Whatever cannot be read is no hint.
fn read(file: &Path) -> Option<Hint> {
    let text = std::fs::read_to_string(file).ok()?;
    let (word, at_ms) = text.trim().split_once(' ')?;
    let way = match word {
        "quic" => Way::Quic,
        "websocket" => Way::WebSocket,
        _ => return None,
    };
    Some(Hint { way, at_ms: at_ms.parse().ok()? })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_outlives_the_process_and_nonsense_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let mut dialler = Dialler::new(Transport::Auto, false, folder.path(), SystemClock::new());
        assert_eq!(dialler.hint, None);
        dialler.remember(Way::WebSocket, false);
        assert_eq!(dialler.hint, None, "QUIC was not tried: nothing was learnt");
        dialler.remember(Way::WebSocket, true);
        let learnt = dialler.hint.unwrap();
        assert_eq!(read(&dialler.file), Some(learnt));
        assert_eq!(Dialler::new(Transport::Auto, false, folder.path(), SystemClock::new()).hint, Some(learnt));
        for text in ["", "quic", "carrier-pigeon 5\n", "quic soon\n"] {
            std::fs::write(&dialler.file, text).unwrap();
            assert_eq!(read(&dialler.file), None, "{text}");
        }
    }

    #[test]
    fn who_chose_a_transport_learns_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut dialler = Dialler::new(Transport::Quic, false, folder.path(), SystemClock::new());
        dialler.remember(Way::Quic, true);
        assert!(dialler.hint.is_none() && !dialler.file.exists());
    }
}
