//! Under which names and addresses the hub is reached.

use std::net::{IpAddr, SocketAddr};

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
/// really listened on. Where the operator advertises nothing, addresses at which nothing listens are left out.
pub(super) fn servers(advertised: &[HostPort], api: SocketAddr, websocket: SocketAddr, quic: Option<SocketAddr>) -> Servers {
    let advertised: Vec<_> = advertised.iter().map(|advertised| (advertised.host.clone(), advertised.port)).collect();
    let hosts = |listening| if advertised.is_empty() { own(listening) } else { advertised.clone() };
    let api = hosts(api).iter().map(|(host, port)| shown(host, port.unwrap_or(api.port()))).collect();
    let quic = quic.map(|quic| links(&hosts(quic), quic.port())).unwrap_or_default();
    Servers { websocket: links(&hosts(websocket), websocket.port()), quic, api }
}

/// This machine's names and addresses, as far as they lead to `listening`.
fn own(listening: SocketAddr) -> Vec<(String, Option<u16>)> {
    pki::own_hosts().into_iter().filter(|host| leads_to(host, listening.ip())).map(|host| (host, None)).collect()
}

/// A name may lead anywhere. `[::]` takes IPv4 too, `0.0.0.0` takes no IPv6.
fn leads_to(host: &str, listening: IpAddr) -> bool {
    match host.parse::<IpAddr>() {
        Err(_) => true,
        Ok(address) if listening.is_unspecified() => address.is_ipv4() || listening.is_ipv6(),
        Ok(address) => address == listening,
    }
}

fn shown(host: &str, port: u16) -> String {
    address::HostPort { host: host.to_owned(), port }.to_string()
}

fn links(hosts: &[(String, Option<u16>)], port: u16) -> Vec<String> {
    let mut links: Vec<String> = Vec::new();
    for (host, _) in hosts {
        let link = shown(host, port);
        if !links.contains(&link) {
            links.push(link);
        }
    }
    links
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(texts: &[&str]) -> Vec<HostPort> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn any(port: u16) -> SocketAddr {
        SocketAddr::from(([0, 0, 0, 0], port))
    }

    #[test]
    fn an_advertised_port_is_the_apis() {
        let servers = servers(&parse(&["hub.example:443", "hub.example", "::1"]), any(10_002), any(10_000), Some(any(10_001)));
        assert_eq!(servers.websocket, ["hub.example:10000", "[::1]:10000"]);
        assert_eq!(servers.api, ["hub.example:443", "hub.example:10002", "[::1]:10002"]);
        assert_eq!(servers.quic, ["hub.example:10001", "[::1]:10001"]);
    }

    #[test]
    fn without_a_word_everything_is_advertised() {
        let servers = servers(&[], any(7), any(8), None);
        assert!(servers.quic.is_empty(), "nothing listens there");
        assert!(servers.websocket.contains(&"localhost:8".to_owned()) && servers.api.contains(&"localhost:7".to_owned()));
        let hosts = certificate_hosts(&parse(&["hub.example:443"]));
        assert!(hosts.contains(&"hub.example".to_owned()) && hosts.contains(&"localhost".to_owned()));
    }

    #[test]
    fn where_nothing_listens_no_node_is_sent() {
        let servers = servers(&[], any(7), "127.0.0.1:8".parse().unwrap(), Some("127.0.0.1:9".parse().unwrap()));
        assert!(servers.api.iter().all(|address| !address.starts_with('[')), "{:?}", servers.api);
        let addresses = servers.websocket.iter().filter(|address| is_no_name(address));
        assert_eq!(addresses.collect::<Vec<_>>(), ["127.0.0.1:8"]);
        assert!(servers.quic.contains(&"127.0.0.1:9".to_owned()), "{:?}", servers.quic);
        let everywhere: IpAddr = "::".parse().unwrap();
        assert!(leads_to("::1", everywhere) && leads_to("192.0.2.7", everywhere) && leads_to("hub.example", everywhere));
        assert!(!leads_to("::1", any(1).ip()) && leads_to("192.0.2.7", any(1).ip()));
    }

    fn is_no_name(address: &str) -> bool {
        address.parse::<SocketAddr>().is_ok()
    }
}
