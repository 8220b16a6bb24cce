//! The way to a TCP port: straight, or through an HTTP proxy that is asked to CONNECT (`HTTPS_PROXY`, `NO_PROXY`).
//!
//! What goes through it is TLS all the same, with the hub's certificate at the other end: a proxy that opens it is noticed.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use data_encoding::BASE64;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::Instant;

use crate::address::HostPort;
use crate::dial::{ConnectReason, by};
use crate::limits::{PROXY_ANSWER, REFUSAL_TEXT};

/// An HTTP proxy, and who this machine is to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Where it is.
    pub at: HostPort,
    authorization: Option<String>,
}

/// A variable that names no proxy. Its value is not quoted: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("${variable} is not a proxy that can be used: {why}; write http://HOST:PORT")]
pub struct BadProxy {
    variable: String,
    why: String,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Proxy {
    /// The proxy that the variables (read by `get`) name for `server`; capitals go after small letters, as curl has it. This
    /// machine itself is never reached through a proxy.
    ///
    /// # Errors
    /// [`BadProxy`], naming the variable.
    pub fn of(get: impl Fn(&str) -> Option<String>, server: &HostPort) -> Result<Option<Self>, BadProxy> {
        let set =
            |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, get(name).filter(|text| !text.trim().is_empty())?)));
        let Some((variable, text)) = set(["https_proxy", "HTTPS_PROXY"]) else { return Ok(None) };
        let except = set(["no_proxy", "NO_PROXY"]).map(|(_, text)| text).unwrap_or_default();
        if is_local(&server.host) || except.split(',').any(|rule| excepts(rule.trim(), server)) {
            return Ok(None);
        }
        Self::parse(text.trim()).map(Some).map_err(|why| BadProxy { variable: variable.to_owned(), why })
    }

    /// The proxy that this process's environment names for `server`.
    ///
    /// # Errors
    /// [`BadProxy`], naming the variable.
    pub fn of_environment(server: &HostPort) -> Result<Option<Self>, BadProxy> {
        Self::of(|name| std::env::var(name).ok(), server)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some((scheme, _)) => return Err(format!("its scheme is {scheme}, and only http is spoken to a proxy")),
            None => text,
        };
        let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, address) = rest.rsplit_once('@').map_or((None, rest), |(user, address)| (Some(user), address));
        // The words of a bad address quote it, and what was taken for an address may be half of a password.
        let at = HostPort::parse(address, 80).map_err(|_| "its address cannot be read".to_owned())?;
        let authorization = user.map(|user| BASE64.encode(&unescape(user)));
        Ok(Self { at, authorization })
    }

    fn problem(&self, why: impl fmt::Display) -> ConnectReason {
        ConnectReason::Proxy { proxy: self.at.to_string(), why: why.to_string() }
    }

    /// Asks for a way to `server`; what is sent and read afterwards goes there.
    async fn ask(&self, tcp: &mut TcpStream, server: &HostPort) -> Result<(), ConnectReason> {
        let mut request = format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n");
        if let Some(authorization) = &self.authorization {
            request += &format!("Proxy-Authorization: Basic {authorization}\r\n");
        }
        request += "\r\n";
        tcp.write_all(request.as_bytes()).await.map_err(|error| self.problem(error))?;
        let answer = head(tcp).await.map_err(|error| self.problem(error))?;
        let line = answer.lines().next().unwrap_or_default();
        let line: String = line.chars().filter(|c| !c.is_control()).take(REFUSAL_TEXT).collect();
        let mut words = line.split(' ');
        let spoken = words.next().is_some_and(|version| version.starts_with("HTTP/1."));
        match words.next().and_then(|status| status.parse::<u16>().ok()) {
            Some(200..=299) if spoken => Ok(()),
            Some(407) if spoken => Err(self.problem("wants a user and a password: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT")),
            Some(403) if spoken => {
                Err(self.problem(format!("does not let anyone through to {server} ({line}): have it allow CONNECT to this port")))
            }
            Some(_) if spoken => Err(self.problem(format!("does not open a way to {server}: {line}"))),
            _ => Err(self.problem("does not speak HTTP")),
        }
    }
}

/// Up to the empty line, and not a byte further: the rest belongs to what goes through.
async fn head(tcp: &mut TcpStream) -> io::Result<String> {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() == PROXY_ANSWER {
            return Err(io::Error::other("answers more than a proxy would"));
        }
        match tcp.read_u8().await {
            Ok(byte) => answer.push(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(io::Error::other("hung up")),
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A TCP stream that leads to `server`, and the address that it goes to first.
///
/// # Errors
/// [`ConnectReason`], in words for an operator.
pub async fn open(server: &HostPort, proxy: Option<&Proxy>, deadline: Instant) -> Result<(TcpStream, SocketAddr), ConnectReason> {
    let Some(proxy) = proxy else { return reach(server, deadline).await };
    let (mut tcp, address) = reach(&proxy.at, deadline).await.map_err(|reason| proxy.problem(format!("cannot be reached: {reason}")))?;
    by(deadline, "asking the proxy", proxy.ask(&mut tcp, server)).await??;
    Ok((tcp, address))
}

/// Tries the addresses in turn, each for its share of the time that is left, so that a dead first one (often
/// IPv6) does not use up the whole.
async fn reach(server: &HostPort, deadline: Instant) -> Result<(TcpStream, SocketAddr), ConnectReason> {
    let addresses = by(deadline, "resolving its name", lookup_host((server.host.as_str(), server.port))).await?;
    let addresses: Vec<_> = addresses.map_err(ConnectReason::Resolve)?.collect();
    let mut failed = ConnectReason::Resolve(io::Error::other("the name has no address"));
    let count = addresses.len();
    for (tried, address) in addresses.into_iter().enumerate() {
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / u32::try_from(count - tried).unwrap_or(u32::MAX);
        match by(now + share, "connecting", TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok((tcp, address)),
            Ok(Err(error)) => failed = ConnectReason::Tcp(error),
            Err(late) => failed = late,
        }
    }
    Err(failed)
}

fn is_local(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a word of `NO_PROXY` names this server: `*`, a name with all below it, an address, or a network (10.0.0.0/8); with a
/// port, that port alone.
fn excepts(rule: &str, server: &HostPort) -> bool {
    if rule == "*" {
        return true;
    }
    if let (Some((network, bits)), Ok(address)) = (rule.split_once('/'), server.host.parse::<IpAddr>()) {
        return matches!((network.parse(), bits.parse()), (Ok(network), Ok(bits)) if holds(network, bits, address));
    }
    let Ok(named) = HostPort::parse(rule.trim_start_matches(['*', '.']), server.port) else { return false };
    if named.port != server.port {
        return false;
    }
    if let (Ok(named), Ok(address)) = (named.host.parse::<IpAddr>(), server.host.parse::<IpAddr>()) {
        return named == address;
    }
    let (name, host) = (named.host.to_ascii_lowercase(), server.host.to_ascii_lowercase());
    host == name || host.strip_suffix(&name).is_some_and(|above| above.ends_with('.'))
}

fn holds(network: IpAddr, bits: u32, address: IpAddr) -> bool {
    let (network, address, width) = match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => (u128::from(network.to_bits()), u128::from(address.to_bits()), 32),
        (IpAddr::V6(network), IpAddr::V6(address)) => (network.to_bits(), address.to_bits(), 128),
        _ => return false,
    };
    bits <= width && network.checked_shr(width - bits).unwrap_or(0) == address.checked_shr(width - bits).unwrap_or(0)
}

/// Percent signs of a URL.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let code = (byte == b'%').then(|| Some([ahead.next()?, ahead.next()?])).flatten();
        let code = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(&code).ok()?, 16).ok());
        plain.push(code.unwrap_or(byte));
        if code.is_some() {
            bytes = ahead;
        }
    }
    plain
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn server(text: &str) -> HostPort {
        HostPort::parse(text, 10_000).unwrap()
    }

    fn proxy(variables: &[(&str, &str)], to: &str) -> Result<Option<String>, String> {
        let get = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Proxy::of(get, &server(to)).map(|proxy| proxy.map(|proxy| proxy.at.to_string())).map_err(|error| error.to_string())
    }

    #[test]
    fn variables_name_the_proxy_and_its_exceptions() {
        let at = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(proxy(&[], "hub"), Ok(None));
        assert_eq!(proxy(&[("HTTPS_PROXY", "")], "hub"), Ok(None));
        assert_eq!(proxy(&[("HTTPS_PROXY", "http://wall:3128/")], "hub"), at("wall:3128"));
        assert_eq!(proxy(&[("HTTPS_PROXY", "wall"), ("https_proxy", "small:1")], "hub"), at("small:1"));
        assert_eq!(proxy(&[("HTTPS_PROXY", "http://a:b@wall:8")], "hub"), at("wall:8"));
        for near in ["localhost", "127.0.0.1", "[::1]:7"] {
            assert_eq!(proxy(&[("HTTPS_PROXY", "wall")], near), Ok(None), "{near}");
        }
        let error = proxy(&[("HTTPS_PROXY", "socks5://me:secret@wall:1")], "hub").unwrap_err();
        assert!(error.contains("HTTPS_PROXY") && error.contains("socks5") && !error.contains("secret"), "{error}");
        let error = proxy(&[("HTTPS_PROXY", "http://me:sec@ret:wall:x")], "hub").unwrap_err();
        assert!(!error.contains("sec"), "{error}");
    }

    #[test]
    fn no_proxy_takes_names_addresses_and_networks() {
        let direct = |rules: &str, to: &str| proxy(&[("HTTPS_PROXY", "wall"), ("NO_PROXY", rules)], to) == Ok(None);
        for (rules, to) in [
            ("*", "hub"),
            ("other, hub.example", "hub.example"),
            ("example", "hub.example"),
            (".example", "hub.example"),
            ("*.Example", "HUB.example"),
            ("hub.example:10000", "hub.example"),
            ("10.1.2.3", "10.1.2.3"),
            ("10.0.0.0/8", "10.200.1.1"),
            ("0.0.0.0/0", "10.200.1.1"),
            ("fd00::/8", "[fd12::1]:5"),
        ] {
            assert!(direct(rules, to), "{rules} {to}");
        }
        for (rules, to) in [
            ("", "hub"),
            ("ub.example", "hub.example"),
            ("hub.example:1", "hub.example"),
            ("10.0.0.0/8", "11.0.0.1"),
            ("10.0.0.0/99", "10.0.0.1"),
            ("10.0.0.0/8", "hub"),
            ("fd00::/8", "10.0.0.1"),
        ] {
            assert!(!direct(rules, to), "{rules} {to}");
        }
    }

    #[test]
    fn passwords_are_unescaped() {
        let parsed = Proxy::parse("http://me:p%40ss%2@wall").unwrap();
        assert_eq!(parsed.authorization.as_deref(), Some(BASE64.encode(b"me:p@ss%2").as_str()));
        assert!(!format!("{parsed:?}").contains("ss"));
    }
}
