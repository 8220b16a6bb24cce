//! The values that settings and flags have in common: durations, sizes, addresses with an optional port.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Reads `30s`, `10m`, `24h`, `90d`, `2w`, `250ms`, and sums of them such as `1h30m`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write 30s, 10m, 24h or 90d");
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let part = number.checked_mul(unit_millis(unit).ok_or_else(wrong)?).ok_or_else(wrong)?;
        total = total.checked_add(Duration::from_millis(part)).ok_or_else(wrong)?;
        rest = next;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

fn unit_millis(unit: &str) -> Option<u64> {
    Some(match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 604_800_000,
        _ => return None,
    })
}

/// A number of bytes; in text a plain number or one with `KiB`, `MiB`, `GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
/// As who sells volume counts it.
const DECIMAL_UNITS: [(&str, u64); 3] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a size; write a number of bytes, or 512MiB, 2GiB, 50MB");
        let unit = UNITS.iter().chain(&DECIMAL_UNITS).find_map(|(name, bytes)| Some((text.strip_suffix(name)?, *bytes)));
        let (number, bytes) = unit.unwrap_or((text, 1));
        let number: u64 = number.trim().parse().map_err(|_| wrong())?;
        number.checked_mul(bytes).map(ByteSize).ok_or_else(wrong)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().chain(&DECIMAL_UNITS).find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes)) {
            Some((name, bytes)) => write!(f, "{}{name}", self.0 / bytes),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a size: a number of bytes, or a text such as \"512MiB\"")]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(ByteSize(bytes)),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// `HOST` or `HOST:PORT`; an IPv6 address with a port stands in brackets. `https://` before it and `/` after it are let
/// pass, because people paste them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port when one was written.
    pub port: Option<u16>,
}

impl HostPort {
    /// `HOST:PORT`, with `default` where no port was written; IPv6 addresses in brackets.
    pub fn authority(&self, default: u16) -> String {
        HostPort { host: self.host.clone(), port: Some(self.port.unwrap_or(default)) }.to_string()
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an address; write HOST or HOST:PORT, e.g. hub.example.com:10002 or [2001:db8::1]:10002");
        let text = text.trim();
        let text = ["https://", "wss://"].iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text);
        let port = |digits: &str| match digits.parse::<u16>() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(wrong()),
        };
        let (host, port) = if let Ok(address) = text.parse::<std::net::Ipv6Addr>() {
            (address.to_string(), None)
        } else if let Some(rest) = text.strip_prefix('[') {
            let (address, tail) = rest.split_once(']').ok_or_else(wrong)?;
            let address: std::net::Ipv6Addr = address.parse().map_err(|_| wrong())?;
            let digits = if tail.is_empty() { None } else { Some(tail.strip_prefix(':').ok_or_else(wrong)?) };
            (address.to_string(), digits.map(port).transpose()?)
        } else {
            match text.split_once(':') {
                Some((host, digits)) => (host.to_owned(), Some(port(digits)?)),
                None => (text.to_owned(), None),
            }
        };
        let plain = host.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':'));
        if host.is_empty() || !plain { Err(wrong()) } else { Ok(HostPort { host, port }) }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.host.contains(':'), self.port) {
            (true, Some(port)) => write!(f, "[{}]:{port}", self.host),
            (false, Some(port)) => write!(f, "{}:{port}", self.host),
            (_, None) => f.write_str(&self.host),
        }
    }
}

impl Serialize for HostPort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HostPort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in
            [("30s", 30), ("10m", 600), ("24h", 86_400), ("90d", 7_776_000), ("1h30m", 5_400), ("2w", 1_209_600), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for text in ["", "30", "h", "-1s", "1.5h", "10 m", "5y", "99999999999999999999s", "18446744073709551615w"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("512MiB", 536_870_912), ("1024", 1024), ("2GiB", 2_147_483_648), ("1 KiB", 1024)] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "MiB", "-1", "99999999999999999999", "18446744073709551615GiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        for text in ["512MiB", "1001", "3GiB", "0", "50MB", "1kB"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn addresses() {
        for text in ["hub", "hub.example.com:10002", "10.0.0.1", "10.0.0.1:1", "[2001:db8::1]:10002", "2001:db8::1"] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
        }
        assert_eq!("[::1]".parse::<HostPort>().unwrap().authority(5), "[::1]:5");
        assert_eq!("hub".parse::<HostPort>().unwrap().authority(10002), "hub:10002");
        assert_eq!("https://hub:1/".parse::<HostPort>().unwrap().to_string(), "hub:1");
        for text in ["", ":1", "hub:", "hub:0", "hub:70000", "http://hub", "hub/x", "a b", "[::1", "[::1]x", "[hub]:1", "u@hub"] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
    }
}
