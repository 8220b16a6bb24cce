//! Under which names and addresses the hub is reached.

use api::config::HostPort;
use transport::address;
use transport::join::Servers;

use crate::pki;

/// The names in the hub's certificate.
pub(super) fn certificate_hosts(advertised: &[HostPort]) -> Vec<String> {
    let names: Vec<_> = advertised.iter().map(|advertised| advertised.host.clone()).collect();
    pki::certificate_hosts(&names)
}

/// What a node learns at its join. An advertised port is the API's, as people type it; the link's is the one that is
/// really listened on.
pub(super) fn servers(advertised: &[HostPort], api_port: u16, link_port: u16) -> Servers {
    let hosts: Vec<(String, Option<u16>)> = if advertised.is_empty() {
        pki::own_hosts().into_iter().map(|host| (host, None)).collect()
    } else {
        advertised.iter().map(|advertised| (advertised.host.clone(), advertised.port)).collect()
    };
    let shown = |host: &String, port| address::HostPort { host: host.clone(), port }.to_string();
    let mut websocket: Vec<String> = Vec::new();
    for (host, _) in &hosts {
        let link = shown(host, link_port);
        if !websocket.contains(&link) {
            websocket.push(link);
        }
    }
    let api = hosts.iter().map(|(host, port)| shown(host, port.unwrap_or(api_port))).collect();
    Servers { websocket, quic: Vec::new(), api }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(texts: &[&str]) -> Vec<HostPort> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn an_advertised_port_is_the_apis() {
        let servers = servers(&parse(&["hub.example:443", "hub.example", "::1"]), 10_002, 10_000);
        assert_eq!(servers.websocket, ["hub.example:10000", "[::1]:10000"]);
        assert_eq!(servers.api, ["hub.example:443", "hub.example:10002", "[::1]:10002"]);
        assert!(servers.quic.is_empty());
    }

    #[test]
    fn without_a_word_everything_is_advertised() {
        let servers = servers(&[], 7, 8);
        assert!(servers.websocket.contains(&"localhost:8".to_owned()) && servers.api.contains(&"localhost:7".to_owned()));
        let hosts = certificate_hosts(&parse(&["hub.example:443"]));
        assert!(hosts.contains(&"hub.example".to_owned()) && hosts.contains(&"localhost".to_owned()));
    }
}
