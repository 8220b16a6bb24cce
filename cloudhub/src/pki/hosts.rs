//! The names under which this machine can be reached.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustls_pki_types::ServerName;

/// Host name, interface addresses, `localhost` and the loopback addresses, best first: what nodes are told when
/// the operator advertises nothing. Link-local addresses are left out, they mean nothing on another machine.
pub fn own_hosts() -> Vec<String> {
    let mut hosts: Vec<String> = host_name().into_iter().collect();
    let addresses: BTreeSet<IpAddr> = interface_addresses().into_iter().filter(reachable).collect();
    hosts.extend(addresses.iter().map(IpAddr::to_string));
    hosts.push("localhost".to_owned());
    hosts.extend([IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)].map(|ip| ip.to_string()));
    hosts
}

/// Every name that the hub's certificate must be valid for: the advertised ones, and always this machine's own.
pub fn certificate_hosts(advertised: &[String]) -> Vec<String> {
    let all: BTreeSet<String> = advertised.iter().cloned().chain(own_hosts()).map(canonical).collect();
    all.into_iter().collect()
}

/// Addresses as they will be read from the certificate, so that the two compare equal.
fn canonical(host: String) -> String {
    host.parse::<IpAddr>().map_or(host, |ip| ip.to_string())
}

fn host_name() -> Option<String> {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_str().ok()?.to_owned();
    // A name that cannot stand in a certificate helps nobody.
    let usable = ServerName::try_from(name.as_str()).is_ok() && name != "localhost" && name != "(none)";
    usable.then_some(name)
}

/// Without a list of interfaces, names and loopback still work.
fn interface_addresses() -> Vec<IpAddr> {
    if_addrs::get_if_addrs().unwrap_or_default().iter().map(if_addrs::Interface::ip).collect()
}

fn reachable(address: &IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !link_local && !address.is_loopback() && !address.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_always_there_and_last() {
        let hosts = own_hosts();
        assert!(hosts.ends_with(&["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()]), "{hosts:?}");
        assert!(!hosts.iter().any(|host| host.starts_with("fe80")), "{hosts:?}");
    }

    #[test]
    fn advertised_names_come_into_the_certificate_once() {
        let hosts = certificate_hosts(&["hub.example".to_owned(), "localhost".to_owned(), "0:0::7".to_owned()]);
        assert_eq!(hosts.iter().filter(|host| *host == "localhost").count(), 1);
        assert!(hosts.contains(&"hub.example".to_owned()) && hosts.contains(&"::7".to_owned()), "{hosts:?}");
    }
}
