//! `cloudhub serve`: from flags, variables and file to one configuration.

use std::net::SocketAddr;
use std::path::PathBuf;

use api::cli::{CliError, Console};
use api::config::{Document, HostPort, Layers};
use api::logging::{self, LogFormat, LogLevel};
use clap::Args;

use super::Serve;
use crate::config::{DATA_DIR, QuicListen, SETTINGS, ServeConfig};

/// The flags of `cloudhub serve`. What is not given comes from a variable, the file, or a default.
#[derive(Debug, Default, Args)]
pub(super) struct ServeArgs {
    /// The configuration file (TOML) [env: CLOUDHUB_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen here for links over WebSocket [default: 0.0.0.0:10000]
    #[arg(long, value_name = "ADDRESS")]
    listen_ws: Option<SocketAddr>,
    /// Listen here for links over QUIC, UDP; off: nowhere [default: 0.0.0.0:10001]
    #[arg(long, value_name = "ADDRESS")]
    listen_quic: Option<QuicListen>,
    /// Listen here for the API and for joins [default: 0.0.0.0:10002]
    #[arg(long, value_name = "ADDRESS")]
    listen_api: Option<SocketAddr>,
    /// A name or address by which nodes reach this hub (repeatable) [default: host name, localhost, all interfaces]
    #[arg(long, value_name = "HOST[:PORT]")]
    advertise: Vec<HostPort>,
    /// Sessions that begin a second; who comes faster is told when its turn is [default: 200]
    #[arg(long, value_name = "N")]
    admit_rate: Option<u32>,
    /// Sessions that begin at once after a quiet time [default: 200]
    #[arg(long, value_name = "N")]
    admit_burst: Option<u32>,
    /// Nodes that are sent whole partitions at once; the others go on with what changes [default: 256]
    #[arg(long, value_name = "N")]
    snapshots: Option<u32>,
    /// text for people, json for collectors [default: text]
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<LogLevel>,
    /// Print the configuration that is in effect, with where each value comes from, and stop
    #[arg(long)]
    print_config: bool,
}

/// Serves until the hub ends by itself.
pub(super) fn run(args: ServeArgs, data: Option<PathBuf>, serve: Serve, console: &mut Console<'_>) -> Result<(), CliError> {
    let print = args.print_config;
    let layers = args.layers(data, |name| std::env::var(name).ok())?;
    let mut config: ServeConfig = layers.build()?;
    if print {
        return console.raw(layers.print().as_bytes());
    }
    config.data = DATA_DIR.resolve(Some(config.data));
    let _log = logging::start(&config.log);
    serve(config).map_err(|error| CliError::Failed(format!("{error:#}")))
}

impl ServeArgs {
    /// Stacks default, file, variables (read by `get`) and flags.
    pub(super) fn layers(self, data: Option<PathBuf>, get: impl Fn(&str) -> Option<String>) -> Result<Layers, CliError> {
        let mut layers = Layers::new(SETTINGS, &ServeConfig::default());
        let named = self.config.or_else(|| get("CLOUDHUB_CONFIG").filter(|name| !name.is_empty()).map(PathBuf::from));
        if let Some(file) = named {
            layers.file(&Document::read(&file)?)?;
        }
        layers.variables(get)?;
        let text = |value: Option<SocketAddr>| value.map(|value| value.to_string());
        layers.flag("data", "--data", data.map(|data| data.to_string_lossy().into_owned()));
        layers.flag("listen.ws", "--listen-ws", text(self.listen_ws));
        layers.flag("listen.quic", "--listen-quic", self.listen_quic.map(|listen| listen.to_string()));
        layers.flag("listen.api", "--listen-api", text(self.listen_api));
        let advertise: Vec<String> = self.advertise.iter().map(HostPort::to_string).collect();
        layers.flag("advertise", "--advertise", Some(advertise).filter(|names| !names.is_empty()));
        layers.flag("link.admit_rate", "--admit-rate", self.admit_rate.map(i64::from));
        layers.flag("link.admit_burst", "--admit-burst", self.admit_burst.map(i64::from));
        layers.flag("link.snapshots", "--snapshots", self.snapshots.map(i64::from));
        layers.flag("log.format", "--log-format", self.log_format.map(|format| format.to_string()));
        layers.flag("log.level", "--log-level", self.log_level.map(|level| level.to_string()));
        Ok(layers)
    }
}
