//! What cloudhub can be told: a file, `CLOUDHUB_…` variables, and flags of `cloudhub serve`.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;

use api::config::{DataDir, HostPort, Kind, Setting};
use api::logging::LogConfig;
use serde::{Deserialize, Serialize};

use crate::limits::{ADMIT_BURST, ADMIT_RATE, SNAPSHOTS};
use crate::peers::{GateConfig, Pace};

/// The port of the WebSocket link.
pub const WS_PORT: u16 = 10000;
/// The port of the QUIC link.
pub const QUIC_PORT: u16 = 10001;
/// The port of the API, of joins and of renewals.
pub const API_PORT: u16 = 10002;

/// Where cloudhub keeps its data when nothing says otherwise.
pub const DATA_DIR: DataDir = DataDir { local: "cloudhub-data", system: "/var/lib/cloudhub" };

/// Everything that a running cloudhub is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServeConfig {
    /// The data folder, absolute.
    pub data: PathBuf,
    /// The names and addresses by which nodes reach this hub; empty: host name, localhost and all interfaces.
    pub advertise: Vec<HostPort>,
    /// Where it listens.
    pub listen: Listen,
    /// How nodes come in.
    pub link: LinkConfig,
    /// What it logs.
    pub log: LogConfig,
}

/// How much may begin at once, so that those who are connected are served while a fleet comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkConfig {
    /// Sessions that begin a second.
    pub admit_rate: NonZeroU32,
    /// Sessions that begin at once after a quiet time.
    pub admit_burst: NonZeroU32,
    /// Nodes that are filled at once.
    pub snapshots: NonZeroU32,
}

impl LinkConfig {
    /// As the gate takes it.
    pub fn gate(&self) -> GateConfig {
        let pace = Pace { rate: self.admit_rate.get(), burst: self.admit_burst.get() };
        GateConfig { pace, snapshots: self.snapshots.get() }
    }
}

impl Default for LinkConfig {
    fn default() -> Self {
        let number = |value| NonZeroU32::new(value).unwrap_or(NonZeroU32::MIN);
        Self { admit_rate: number(ADMIT_RATE), admit_burst: number(ADMIT_BURST), snapshots: number(SNAPSHOTS) }
    }
}

/// The addresses that cloudhub listens on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// Links over WebSocket, TCP.
    pub ws: SocketAddr,
    /// Links over QUIC, UDP.
    pub quic: QuicListen,
    /// The HTTPS API, TCP.
    pub api: SocketAddr,
}

/// Where to listen for QUIC, or that nobody does: on a machine without UDP, or behind a wall that lets none through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum QuicListen {
    /// Nowhere; written `off`.
    Off,
    /// There.
    At(SocketAddr),
}

impl std::str::FromStr for QuicListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::At).map_err(|error| format!("{error}; write ADDRESS:PORT, or off"))
    }
}

impl TryFrom<String> for QuicListen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<QuicListen> for String {
    fn from(listen: QuicListen) -> Self {
        listen.to_string()
    }
}

impl std::fmt::Display for QuicListen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl Default for ServeConfig {
    fn default() -> Self {
        let any = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        Self {
            data: DATA_DIR.default_path(),
            advertise: Vec::new(),
            listen: Listen { ws: any(WS_PORT), quic: QuicListen::At(any(QUIC_PORT)), api: any(API_PORT) },
            link: LinkConfig::default(),
            log: LogConfig::default(),
        }
    }
}

/// The keys of the file with their variables.
pub static SETTINGS: &[Setting] = &[
    Setting { key: "data", variable: "CLOUDHUB_DATA", kind: Kind::Text },
    Setting { key: "advertise", variable: "CLOUDHUB_ADVERTISE", kind: Kind::List },
    Setting { key: "listen.ws", variable: "CLOUDHUB_LISTEN_WS", kind: Kind::Text },
    Setting { key: "listen.quic", variable: "CLOUDHUB_LISTEN_QUIC", kind: Kind::Text },
    Setting { key: "listen.api", variable: "CLOUDHUB_LISTEN_API", kind: Kind::Text },
    Setting { key: "link.admit_rate", variable: "CLOUDHUB_LINK_ADMIT_RATE", kind: Kind::Number },
    Setting { key: "link.admit_burst", variable: "CLOUDHUB_LINK_ADMIT_BURST", kind: Kind::Number },
    Setting { key: "link.snapshots", variable: "CLOUDHUB_LINK_SNAPSHOTS", kind: Kind::Number },
    Setting { key: "log.format", variable: "CLOUDHUB_LOG_FORMAT", kind: Kind::Text },
    Setting { key: "log.level", variable: "CLOUDHUB_LOG_LEVEL", kind: Kind::Text },
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use api::config::{Document, Layers};

    use super::*;

    const EXAMPLE: &str = include_str!("../../docs/examples/cloudhub.toml");

    fn build(text: &str) -> Result<ServeConfig, String> {
        let mut layers = Layers::new(SETTINGS, &ServeConfig::default());
        let document = Document::parse(Path::new("cloudhub.toml"), text).map_err(|error| error.to_string())?;
        layers.file(&document).map_err(|error| error.to_string())?;
        layers.build().map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_says_the_defaults_and_names_every_key() {
        let mut built = build(EXAMPLE).unwrap();
        assert_eq!(built.data, Path::new("/var/lib/cloudhub"));
        built.data = ServeConfig::default().data;
        assert_eq!(built, ServeConfig::default());
        for setting in SETTINGS {
            let name = setting.key.rsplit('.').next().unwrap();
            assert!(EXAMPLE.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{name} ="))), "{}", setting.key);
        }
    }

    #[test]
    fn every_misspelled_key_of_the_example_is_found() {
        for (i, line) in EXAMPLE.lines().enumerate().filter(|(_, line)| line.contains(" = ") && !line.starts_with('#')) {
            let name = line.split(' ').next().unwrap();
            let text = EXAMPLE.replacen(&format!("\n{line}\n"), &format!("\n{}\n", line.replacen(name, &format!("{name}x"), 1)), 1);
            let error = build(&text).unwrap_err();
            assert!(error.starts_with(&format!("cloudhub.toml line {}: unknown key `", i + 1)), "{error}");
            assert!(error.ends_with(&format!("{name}`")), "{error}");
        }
    }

    #[test]
    fn every_wrong_value_of_the_example_is_found() {
        for (i, line) in EXAMPLE.lines().enumerate().filter(|(_, line)| line.contains(" = ") && !line.starts_with('#')) {
            let name = line.split(' ').next().unwrap();
            let text = EXAMPLE.replacen(&format!("\n{line}\n"), &format!("\n{name} = -1\n"), 1);
            let error = build(&text).unwrap_err();
            assert!(error.starts_with(&format!("cloudhub.toml line {}: `", i + 1)), "{error}");
        }
    }
}
