//! What edgehub can be told: files, `EDGEHUB_…` variables, and flags of `edgehub run`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use api::client::Secret;
use api::config::{ByteSize, ConfigError, DataDir, HostPort, Kind, Layers, Origin, Setting};
use api::logging::LogConfig;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub use crate::mqtt_config::{Broker, BrokerTls, DeviceRate, MqttConfig, MqttMode, Unusable, User};

/// The port of the local API.
pub const API_PORT: u16 = 10550;

/// Where edgehub keeps its data when nothing says otherwise.
pub const DATA_DIR: DataDir = DataDir { local: "edgehub-data", system: "/var/lib/edgehub" };

/// The variable that can hold a join token.
pub const TOKEN_VARIABLE: &str = "EDGEHUB_TOKEN";

/// Everything that a running edgehub is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunConfig {
    /// The data folder, absolute.
    pub data: PathBuf,
    /// Where the local API listens, beside its socket: loopback addresses, and others with tokens and TLS.
    pub listen: Vec<SocketAddr>,
    /// The way to the cloud.
    pub link: LinkConfig,
    /// How to join when there is no identity yet.
    pub join: JoinConfig,
    /// Who may use the local API.
    pub api: ApiConfig,
    /// The bound of unsent writes.
    pub outbox: OutboxConfig,
    /// Devices over MQTT.
    pub mqtt: MqttConfig,
    /// What it logs.
    pub log: LogConfig,
}

/// `[link]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkConfig {
    /// The hub's link addresses, best first; empty before a join. A port is WebSocket's.
    pub servers: Vec<HostPort>,
    /// The hub's QUIC port; absent: the one that the join told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quic_port: Option<Port>,
    /// Bytes are paid for: fewer of them, slower to notice a dead link.
    pub metered: bool,
    /// Bytes of both directions in a day (UTC), after which only control and writes pass; absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily_limit: Option<ByteSize>,
    /// Large frames are sent compressed, where the hub knows it.
    pub compression: bool,
    /// What the link runs over.
    pub transport: Transport,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self { servers: Vec::new(), quic_port: None, metered: false, daily_limit: None, compression: true, transport: Transport::default() }
    }
}

/// What a link runs over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// QUIC, and WebSocket where that is up sooner
    #[default]
    Auto,
    /// QUIC over UDP
    Quic,
    /// WebSocket over TLS
    Websocket,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Quic => "quic",
            Self::Websocket => "websocket",
        })
    }
}

/// A port, written as a number in a file and as its digits in a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PortText", into = "u16")]
pub struct Port(pub u16);

#[derive(Deserialize)]
#[serde(untagged)]
enum PortText {
    Number(i64),
    Text(String),
}

impl TryFrom<PortText> for Port {
    type Error = String;

    fn try_from(written: PortText) -> Result<Self, String> {
        let number = match written {
            PortText::Number(number) => u16::try_from(number).ok(),
            PortText::Text(text) => text.parse().ok(),
        };
        number.filter(|port| *port > 0).map(Self).ok_or_else(|| "it is not a port: a number from 1 to 65535".to_owned())
    }
}

impl From<Port> for u16 {
    fn from(port: Port) -> Self {
        port.0
    }
}

/// `[join]`: used at a start without an identity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinConfig {
    /// The hub's API; absent: `edgehub run` does not join.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<HostPort>,
    /// The file that holds the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// The name asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// `[api]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiConfig {
    /// Foreign origins whose pages may use the API, e.g. `https://till.example.com`.
    pub origins: Vec<String>,
    /// Who needs a token.
    pub tokens: Tokens,
    /// More names that this machine is called by.
    pub hosts: Vec<String>,
    /// A folder whose files are served from the API's own origin.
    #[serde(rename = "static", skip_serializing_if = "Option::is_none")]
    pub files: Option<PathBuf>,
}

/// Who needs a token for the local API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tokens {
    /// Nobody: only this machine gets in.
    #[default]
    None,
    /// Everybody who comes through TCP.
    Required,
}

/// `[outbox]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxConfig {
    /// Bytes that unsent writes may take on the disk.
    pub max_bytes: ByteSize,
}

/// What a join needs.
#[derive(Debug, Clone)]
pub struct JoinOptions {
    /// The hub's API; port 10002 where none is named.
    pub server: HostPort,
    /// The join token's text.
    pub token: Secret,
    /// The name asked for.
    pub node: Option<String>,
    /// How long to go on trying while the hub cannot be reached; absent: one try.
    pub wait: Option<Duration>,
    /// The data folder, absolute.
    pub data: PathBuf,
    /// What the link will run over.
    pub transport: Transport,
}

/// What a join has brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The node's name from now on.
    pub node: String,
}

impl Default for RunConfig {
    fn default() -> Self {
        let listen = vec![(Ipv4Addr::LOCALHOST, API_PORT).into(), (Ipv6Addr::LOCALHOST, API_PORT).into()];
        Self {
            data: DATA_DIR.default_path(),
            listen,
            link: LinkConfig::default(),
            join: JoinConfig::default(),
            api: ApiConfig::default(),
            outbox: OutboxConfig { max_bytes: ByteSize(512 << 20) },
            mqtt: MqttConfig::default(),
            log: LogConfig::default(),
        }
    }
}

/// The keys of the file with their variables.
pub static SETTINGS: &[Setting] = &[
    Setting { key: "data", variable: "EDGEHUB_DATA", kind: Kind::Text },
    Setting { key: "listen", variable: "EDGEHUB_LISTEN", kind: Kind::List },
    Setting { key: "link.servers", variable: "EDGEHUB_LINK_SERVERS", kind: Kind::List },
    Setting { key: "link.quic_port", variable: "EDGEHUB_LINK_QUIC_PORT", kind: Kind::Text },
    Setting { key: "link.metered", variable: "EDGEHUB_LINK_METERED", kind: Kind::Switch },
    Setting { key: "link.daily_limit", variable: "EDGEHUB_LINK_DAILY_LIMIT", kind: Kind::Text },
    Setting { key: "link.compression", variable: "EDGEHUB_LINK_COMPRESSION", kind: Kind::Switch },
    Setting { key: "link.transport", variable: "EDGEHUB_LINK_TRANSPORT", kind: Kind::Text },
    Setting { key: "join.server", variable: "EDGEHUB_JOIN_SERVER", kind: Kind::Text },
    Setting { key: "join.token_file", variable: "EDGEHUB_JOIN_TOKEN_FILE", kind: Kind::Text },
    Setting { key: "join.node", variable: "EDGEHUB_JOIN_NODE", kind: Kind::Text },
    Setting { key: "api.origins", variable: "EDGEHUB_API_ORIGINS", kind: Kind::List },
    Setting { key: "api.tokens", variable: "EDGEHUB_API_TOKENS", kind: Kind::Text },
    Setting { key: "api.hosts", variable: "EDGEHUB_API_HOSTS", kind: Kind::List },
    Setting { key: "api.static", variable: "EDGEHUB_API_STATIC", kind: Kind::Text },
    Setting { key: "outbox.max_bytes", variable: "EDGEHUB_OUTBOX_MAX_BYTES", kind: Kind::Text },
    Setting { key: "mqtt.mode", variable: "EDGEHUB_MQTT_MODE", kind: Kind::Text },
    Setting { key: "mqtt.broker", variable: "EDGEHUB_MQTT_BROKER", kind: Kind::Text },
    Setting { key: "mqtt.user", variable: "EDGEHUB_MQTT_USER", kind: Kind::Text },
    Setting { key: "mqtt.password_file", variable: "EDGEHUB_MQTT_PASSWORD_FILE", kind: Kind::Text },
    Setting { key: "mqtt.ca", variable: "EDGEHUB_MQTT_CA", kind: Kind::Text },
    Setting { key: "mqtt.certificate", variable: "EDGEHUB_MQTT_CERTIFICATE", kind: Kind::Text },
    Setting { key: "mqtt.key", variable: "EDGEHUB_MQTT_KEY", kind: Kind::Text },
    Setting { key: "mqtt.interval", variable: "EDGEHUB_MQTT_INTERVAL", kind: Kind::Text },
    Setting { key: "mqtt.device_rate", variable: "EDGEHUB_MQTT_DEVICE_RATE", kind: Kind::Number },
    Setting { key: "mqtt.listen", variable: "EDGEHUB_MQTT_LISTEN", kind: Kind::Text },
    Setting { key: "mqtt.listen_tls", variable: "EDGEHUB_MQTT_LISTEN_TLS", kind: Kind::Switch },
    Setting { key: "mqtt.device_user", variable: "EDGEHUB_MQTT_DEVICE_USER", kind: Kind::Text },
    Setting { key: "mqtt.device_password_file", variable: "EDGEHUB_MQTT_DEVICE_PASSWORD_FILE", kind: Kind::Text },
    Setting { key: "log.format", variable: "EDGEHUB_LOG_FORMAT", kind: Kind::Text },
    Setting { key: "log.level", variable: "EDGEHUB_LOG_LEVEL", kind: Kind::Text },
];

impl RunConfig {
    /// Builds the configuration and judges what no single value shows.
    pub fn build(layers: &Layers) -> Result<Self, ConfigError> {
        let mut config: Self = layers.build()?;
        let wrong = |key: &str, message: String| ConfigError::BadValue { key: key.to_owned(), origin: layers.origin(key), message };
        let open = config.listen.iter().find(|address| is_open(address));
        if let (Some(open), Tokens::None) = (open, config.api.tokens) {
            return Err(wrong(
                "listen",
                format!(
                    "{open} is not a loopback address; others than this machine's applications need tokens: \
                     the line `tokens = \"required\"` is missing in [api]"
                ),
            ));
        }
        if let Some(host) = config.api.hosts.iter().find(|host| !is_host(host)) {
            return Err(wrong("api.hosts", format!("`{host}` is not a host name; write e.g. till.lyon.example, or with its port")));
        }
        if let Some(origin) = config.api.origins.iter().find(|origin| !is_origin(origin)) {
            return Err(wrong("api.origins", format!("`{origin}` is not an origin; write e.g. https://till.example.com, without a path")));
        }
        if let Some(folder) = &mut config.api.files {
            *folder = std::path::absolute(&folder).map_err(|error| wrong("api.static", error.to_string()))?;
        }
        if let Err(Unusable { key, why }) = config.mqtt.check() {
            return Err(wrong(key, why));
        }
        if config.link.metered && config.link.transport == Transport::Quic {
            return Err(wrong(
                "link.transport",
                "QUIC costs bytes while nothing happens, so a metered link goes over WebSocket: write \"auto\", or leave metered out"
                    .to_owned(),
            ));
        }
        config.data = DATA_DIR.resolve(Some(config.data));
        Ok(config)
    }

    /// How to join at a start without an identity, for ever if need be; `None` where `[join]` names no server.
    ///
    /// # Errors
    /// There is a server and no usable token: neither in the file nor in the variable.
    pub fn join_options(&self) -> Result<Option<JoinOptions>, ConfigError> {
        let Some(server) = &self.join.server else { return Ok(None) };
        let key = "join.token_file".to_owned();
        let (text, origin) = match &self.join.token_file {
            Some(file) => {
                let text = std::fs::read_to_string(file).map_err(|source| ConfigError::Read { file: file.clone(), source })?;
                (text, Origin::File(file.clone(), 1))
            }
            None => match std::env::var(TOKEN_VARIABLE) {
                Ok(text) => (text, Origin::Variable(TOKEN_VARIABLE.to_owned())),
                Err(_) => {
                    let message = format!("is missing, and ${TOKEN_VARIABLE} is not set: joining {server} needs a token");
                    return Err(ConfigError::BadValue { key, origin: Origin::Default, message });
                }
            },
        };
        let token = Secret::new(&text).map_err(|reason| ConfigError::BadValue { key, origin, message: format!("the token {reason}") })?;
        Ok(Some(JoinOptions {
            server: server.clone(),
            token,
            node: self.join.node.clone(),
            wait: Some(Duration::MAX),
            data: self.data.clone(),
            transport: self.link.transport,
        }))
    }
}

/// Other machines can connect to it. `0.0.0.0` and `[::]` are every address.
pub fn is_open(address: &SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

/// `name` or `name:port`.
fn is_host(text: &str) -> bool {
    !text.is_empty() && !text.contains(['/', '?', '#', ' ', '@', '*'])
}

/// `scheme://host[:port]`, as browsers send it.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', ' ']))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use api::config::Document;

    use super::*;

    const EXAMPLE: &str = include_str!("../../docs/examples/edgehub.toml");

    fn build(text: &str) -> Result<RunConfig, String> {
        let mut layers = Layers::new(SETTINGS, &RunConfig::default());
        let document = Document::parse(Path::new("edgehub.toml"), text).map_err(|error| error.to_string())?;
        layers.file(&document).map_err(|error| error.to_string())?;
        RunConfig::build(&layers).map_err(|error| error.to_string())
    }

    /// The lines of the example that set something, from 1.
    fn set_lines() -> impl Iterator<Item = (usize, &'static str)> {
        EXAMPLE.lines().enumerate().map(|(i, line)| (i + 1, line)).filter(|(_, line)| line.contains(" = ") && !line.starts_with('#'))
    }

    fn with_line(line: &str, other: &str) -> String {
        EXAMPLE.replacen(&format!("\n{line}\n"), &format!("\n{other}\n"), 1)
    }

    #[test]
    fn the_example_says_the_defaults_and_names_every_key() {
        let mut built = build(EXAMPLE).unwrap();
        assert_eq!(built.data, Path::new("/var/lib/edgehub"));
        built.data = RunConfig::default().data;
        assert_eq!(built, RunConfig::default());
        for setting in SETTINGS {
            let name = setting.key.rsplit('.').next().unwrap();
            assert!(EXAMPLE.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{name} ="))), "{}", setting.key);
        }
    }

    #[test]
    fn every_misspelled_key_of_the_example_is_found() {
        for (number, line) in set_lines() {
            let name = line.split(' ').next().unwrap();
            let error = build(&with_line(line, &line.replacen(name, &format!("{name}x"), 1))).unwrap_err();
            assert!(error.starts_with(&format!("edgehub.toml line {number}: unknown key `")), "{error}");
            assert!(error.ends_with(&format!("{name}`")), "{error}");
        }
    }

    #[test]
    fn every_wrong_value_of_the_example_is_found() {
        for (number, line) in set_lines() {
            let name = line.split(' ').next().unwrap();
            let error = build(&with_line(line, &format!("{name} = -1"))).unwrap_err();
            assert!(error.starts_with(&format!("edgehub.toml line {number}: `")), "{error}");
        }
    }

    #[test]
    fn only_loopback_without_tokens_and_the_missing_line_is_named() {
        for open in ["0.0.0.0", "192.0.2.7", "[::]", "[::ffff:192.0.2.7]"] {
            let listen = format!("\nlisten = [\"127.0.0.1:1\", \"{open}:10550\"]\n");
            let error = build(&listen).unwrap_err();
            assert!(error.starts_with(&format!("edgehub.toml line 2: `listen`: {open}:10550 is not a loopback address")), "{error}");
            assert!(error.contains("`tokens = \"required\"` is missing in [api]"), "{error}");
            assert!(build(&format!("{listen}[api]\ntokens = \"none\"\n")).is_err());
            assert!(build(&format!("{listen}[api]\ntokens = \"required\"\n")).is_ok());
        }
        assert!(build("listen = [\"127.0.0.2:1\", \"[::ffff:127.0.0.1]:1\"]\n").is_ok());
        assert!(build("[api]\ntokens = \"requierd\"\n").unwrap_err().contains("`api.tokens`"));
        assert!(build("[api]\nhosts = [\"till.lyon.example\", \"till:10550\"]\n").is_ok());
        assert!(build("[api]\nhosts = [\"https://till\"]\n").unwrap_err().contains("is not a host name"));
    }

    #[test]
    fn a_port_is_a_number_or_its_digits_and_metered_means_websocket() {
        assert_eq!(build("[link]\nquic_port = 443\n").unwrap().link.quic_port, Some(Port(443)));
        assert_eq!(build("[link]\nquic_port = \"443\"\n").unwrap().link.quic_port, Some(Port(443)));
        for wrong in ["0", "70000", "\"x\""] {
            let error = build(&format!("[link]\nquic_port = {wrong}\n")).unwrap_err();
            assert!(error.starts_with("edgehub.toml line 2: `link.quic_port`"), "{error}");
        }
        let error = build("[link]\nmetered = true\ntransport = \"quic\"\n").unwrap_err();
        assert!(error.starts_with("edgehub.toml line 3: `link.transport`"), "{error}");
    }

    #[test]
    fn origins_are_origins() {
        assert!(build("[api]\norigins = [\"https://till.example.com\", \"http://10.0.0.1:8080\"]\n").is_ok());
        for wrong in ["till.example.com", "https://", "https://a/b", "*"] {
            let error = build(&format!("[api]\norigins = [\"{wrong}\"]\n")).unwrap_err();
            assert!(error.contains("is not an origin"), "{error}");
        }
    }

    #[test]
    fn joining_by_configuration_needs_a_server_and_a_token() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("token");
        std::fs::write(&file, "tbl1_abc\n").unwrap();
        let text = format!("[join]\nserver = \"hub\"\nnode = \"lyon\"\ntoken_file = {:?}\n", file.display().to_string());
        let options = build(&text).unwrap().join_options().unwrap().unwrap();
        assert_eq!((options.token.reveal(), options.server.authority(10002).as_str()), ("tbl1_abc", "hub:10002"));
        assert!(build("").unwrap().join_options().unwrap().is_none());
        std::fs::write(&file, "\n").unwrap();
        let error = build(&text).unwrap().join_options().unwrap_err().to_string();
        assert!(error.contains("token line 1: `join.token_file`: the token is empty"), "{error}");
    }
}
