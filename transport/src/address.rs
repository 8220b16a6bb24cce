//! `HOST[:PORT]` as people write it: on the command line, in configuration, in what a join answers.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use rustls_pki_types::ServerName;

/// A host, by name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// DNS name or IP address, without brackets.
    pub host: String,
    /// TCP or UDP port.
    pub port: u16,
}

/// A text that is no `HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address: {why}; write HOST or HOST:PORT, an IPv6 address with a port as [ADDRESS]:PORT")]
pub struct BadAddress {
    text: String,
    why: &'static str,
}

impl HostPort {
    /// Parses `HOST`, `HOST:PORT`, `[IPV6]:PORT` or a bare IPv6 address. A scheme (`wss://`, `https://`) before
    /// and a path after are let pass, because people paste them.
    ///
    /// # Errors
    /// [`BadAddress`], which quotes the text.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, BadAddress> {
        let bad = |why| BadAddress { text: text.chars().take(200).collect(), why };
        let rest = text.trim();
        let rest = rest.split_once("://").map_or(rest, |(_, rest)| rest);
        let rest = rest.split('/').next().unwrap_or_default();
        let (host, port) = split(rest).ok_or_else(|| bad("a bracket is missing"))?;
        let port = match port {
            None => default_port,
            Some(port) => port.parse().map_err(|_| bad("the port is not a number from 0 to 65535"))?,
        };
        if ServerName::try_from(host).is_err() {
            return Err(bad("the host is neither a DNS name nor an IP address"));
        }
        Ok(Self { host: host.to_owned(), port })
    }

    /// The name that the server's certificate must be valid for.
    pub fn server_name(&self) -> Option<ServerName<'static>> {
        ServerName::try_from(self.host.clone()).ok()
    }
}

fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return if rest.is_empty() { Some((host, None)) } else { Some((host, Some(rest.strip_prefix(':')?))) };
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Some((text, None));
    }
    Some(text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))))
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse() {
            Ok(IpAddr::V6(_)) => write!(f, "[{}]:{}", self.host, self.port),
            _ => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_understood() {
        for (text, shown) in [
            ("cloud.example", "cloud.example:10000"),
            ("cloud.example:7", "cloud.example:7"),
            (" 10.1.2.3 ", "10.1.2.3:10000"),
            ("::1", "[::1]:10000"),
            ("[fd00::2]:9", "[fd00::2]:9"),
            ("[fd00::2]", "[fd00::2]:10000"),
            ("wss://hub:10000/link", "hub:10000"),
            ("https://hub:10002/", "hub:10002"),
        ] {
            assert_eq!(HostPort::parse(text, 10_000).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn nonsense_is_quoted_back() {
        for text in ["", ":1", "a b", "hub:", "hub:x", "hub:70000", "[::1", "[::1]9"] {
            let error = HostPort::parse(text, 1).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?} is not an address")), "{error}");
        }
    }
}
