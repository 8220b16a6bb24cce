//! The ways to a hub: which addresses over which transport, and in which order they are tried.

use transport::address::HostPort;
use transport::join::Servers;

use crate::config::{LinkConfig, Transport};

/// The link's port over WebSocket, where an address names none.
const WEBSOCKET_PORT: u16 = 10_000;
/// The link's port over QUIC, where neither the configuration nor the join named one.
const QUIC_PORT: u16 = 10_001;

/// What carries a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// QUIC over UDP.
    Quic,
    /// WebSocket over TCP.
    WebSocket,
}

/// One hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// Where it is over WebSocket.
    pub(crate) websocket: HostPort,
    /// Where it is over QUIC, if that is known.
    pub(crate) quic: Option<HostPort>,
}

impl Server {
    /// Its address for a way, if that is known.
    pub(crate) fn at(&self, way: Way) -> Option<&HostPort> {
        match way {
            Way::Quic => self.quic.as_ref(),
            Way::WebSocket => Some(&self.websocket),
        }
    }
}

/// The hubs of `[link] servers`, or else those that the join told. A written port is WebSocket's; [`quic_port`] knows the other one.
pub(crate) fn servers(link: &LinkConfig, told: &Servers) -> Vec<Server> {
    let written = link.servers.iter().map(|server| HostPort { host: server.host.clone(), port: server.port.unwrap_or(WEBSOCKET_PORT) });
    let written: Vec<_> = written.collect();
    let websocket = if written.is_empty() { parse(&told.websocket, WEBSOCKET_PORT) } else { written };
    let server = |websocket: HostPort| {
        let quic = quic_port(link, told, &websocket).map(|port| HostPort { host: websocket.host.clone(), port });
        Server { websocket, quic }
    };
    websocket.into_iter().map(server).collect()
}

/// The port of `[link] quic_port`. Or else, of an address that the join told, the one that it told with it. Or else 10001 beside
/// 10000. Beside another port nothing is guessed: it could be another hub's.
fn quic_port(link: &LinkConfig, told: &Servers, websocket: &HostPort) -> Option<u16> {
    let from_join = || {
        let quic = parse(&told.quic, QUIC_PORT).into_iter().find(|quic| quic.host == websocket.host)?;
        parse(&told.websocket, WEBSOCKET_PORT).contains(websocket).then_some(quic.port)
    };
    let usual = || (websocket.port == WEBSOCKET_PORT).then_some(QUIC_PORT);
    link.quic_port.map(|port| port.0).or_else(from_join).or_else(usual)
}

fn parse(texts: &[String], port: u16) -> Vec<HostPort> {
    texts.iter().filter_map(|text| HostPort::parse(text, port).ok()).collect()
}

/// What carried the link last, and when that was learnt; only a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hint {
    /// What it was.
    pub(crate) way: Way,
    /// Wall clock, milliseconds.
    pub(crate) at_ms: u64,
}

/// How long QUIC goes second after it was tried in vain, milliseconds. It goes second, not never: on a network that lets only
/// UDP through, a node has to get up all the same.
const QUIC_REST_MS: u64 = 3_600_000;

/// Which way is tried first, and which one a second later beside it.
pub(crate) fn order(transport: Transport, metered: bool, server: &Server, hint: Option<Hint>, now_ms: u64) -> (Way, Option<Way>) {
    match transport {
        Transport::Quic => (Way::Quic, None),
        Transport::Websocket => (Way::WebSocket, None),
        // QUIC's acknowledgements and probes cost bytes while nothing happens.
        Transport::Auto if metered || server.quic.is_none() => (Way::WebSocket, None),
        Transport::Auto => match hint {
            // A clock that went back says nothing about how long ago that was.
            Some(Hint { way: Way::WebSocket, at_ms }) if (at_ms..at_ms.saturating_add(QUIC_REST_MS)).contains(&now_ms) => {
                (Way::WebSocket, Some(Way::Quic))
            }
            _ => (Way::Quic, Some(Way::WebSocket)),
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::Port;

    fn told() -> Servers {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Servers { websocket: list(&["a:1", "[::1]:1"]), quic: list(&["a:2", "[::1]:3"]), api: Vec::new() }
    }

    fn shown(link: &LinkConfig, told: &Servers) -> Vec<String> {
        let show = |server: &Server| match &server.quic {
            Some(quic) => format!("{} {quic}", server.websocket),
            None => server.websocket.to_string(),
        };
        servers(link, told).iter().map(show).collect()
    }

    #[test]
    fn a_written_port_is_websockets_and_the_join_knows_the_other() {
        let mut link = LinkConfig::default();
        assert_eq!(shown(&link, &told()), ["a:1 a:2", "[::1]:1 [::1]:3"]);
        link.servers = ["a", "a:1", "b", "b:7"].map(|text| text.parse().unwrap()).to_vec();
        assert_eq!(shown(&link, &told()), ["a:10000 a:10001", "a:1 a:2", "b:10000 b:10001", "b:7"]);
        assert_eq!(shown(&link, &Servers::default()), ["a:10000 a:10001", "a:1", "b:10000 b:10001", "b:7"]);
        link.quic_port = Some(Port(9));
        assert_eq!(shown(&link, &told()), ["a:10000 a:9", "a:1 a:9", "b:10000 b:9", "b:7 b:9"]);
    }

    /// Two hubs on one machine: the node that joined one was pointed at the other, and met the first over QUIC.
    #[test]
    fn nothing_is_guessed_beside_a_port_that_the_join_did_not_tell() {
        let link = LinkConfig { servers: vec!["a:9".parse().unwrap()], ..LinkConfig::default() };
        assert_eq!(shown(&link, &told()), ["a:9"]);
        let [server] = &servers(&link, &told())[..] else { panic!("one") };
        assert_eq!(order(Transport::Auto, false, server, None, 0), (Way::WebSocket, None));
    }

    fn somewhere() -> Server {
        servers(&LinkConfig::default(), &told()).swap_remove(0)
    }

    #[test]
    fn quic_first_unless_it_was_in_vain_lately() {
        let auto = |hint, now_ms| order(Transport::Auto, false, &somewhere(), hint, now_ms);
        let websocket = Some(Hint { way: Way::WebSocket, at_ms: 1_000 });
        assert_eq!(auto(None, 5), (Way::Quic, Some(Way::WebSocket)));
        assert_eq!(auto(Some(Hint { way: Way::Quic, at_ms: 1 }), 5), (Way::Quic, Some(Way::WebSocket)));
        assert_eq!(auto(websocket, 2_000), (Way::WebSocket, Some(Way::Quic)));
        assert_eq!(auto(websocket, 1_000 + QUIC_REST_MS), (Way::Quic, Some(Way::WebSocket)), "it is tried again");
        assert_eq!(auto(websocket, 5), (Way::Quic, Some(Way::WebSocket)), "a clock of 1970");
    }

    #[test]
    fn who_names_a_transport_gets_that_one_and_metered_means_websocket() {
        assert_eq!(order(Transport::Quic, false, &somewhere(), None, 0), (Way::Quic, None));
        assert_eq!(order(Transport::Websocket, false, &somewhere(), None, 0), (Way::WebSocket, None));
        assert_eq!(order(Transport::Auto, true, &somewhere(), None, 0), (Way::WebSocket, None));
    }
}
