//! `edgehub run`: from flags, variables and files to one configuration.

use std::net::SocketAddr;
use std::path::PathBuf;

use api::cli::{CliError, Console};
use api::config::{ByteSize, ConfigError, Document, Layers};
use api::logging::{self, LogFormat, LogLevel};
use clap::Args;

use crate::config::{DATA_DIR, RunConfig, SETTINGS, Transport};
use crate::config_file;

/// The flags of `edgehub run`. What is not given comes from a variable, a file, or a default.
#[derive(Debug, Default, Args)]
pub(super) struct RunArgs {
    /// The configuration file (TOML) [env: EDGEHUB_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen here for the local API (repeatable) [default: 127.0.0.1:10550 and [::1]:10550]
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<SocketAddr>,
    /// What the link runs over [default: auto]
    #[arg(long, value_enum, value_name = "TRANSPORT")]
    transport: Option<Transport>,
    /// Bytes are paid for: WebSocket only, and far fewer pings
    #[arg(long)]
    metered: bool,
    /// What may pass on the link in a day before records wait for the next, e.g. 50MB
    #[arg(long, value_name = "SIZE")]
    daily_limit: Option<ByteSize>,
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

/// Serves until the node ends by itself.
pub(super) fn run(
    args: RunArgs,
    data: Option<PathBuf>,
    run: fn(RunConfig) -> anyhow::Result<()>,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let print = args.print_config;
    let layers = args.layers(data, |name| std::env::var(name).ok())?;
    let config = RunConfig::build(&layers)?;
    if print {
        return console.raw(layers.print().as_bytes());
    }
    let _log = logging::start(&config.log);
    run(config).map_err(|error| CliError::Failed(format!("{error:#}")))
}

impl RunArgs {
    /// No flag but the configuration file.
    pub(super) fn of_file(config: Option<PathBuf>) -> Self {
        Self { config, ..Self::default() }
    }

    /// Stacks default, the data folder's own file, the named file, variables (read by `get`) and flags.
    pub(super) fn layers(self, data: Option<PathBuf>, get: impl Fn(&str) -> Option<String>) -> Result<Layers, CliError> {
        let set = |name: &str| get(name).filter(|text| !text.is_empty());
        let mut layers = Layers::new(SETTINGS, &RunConfig::default());
        let named = self.config.or_else(|| set("EDGEHUB_CONFIG").map(PathBuf::from));
        let named = named.map(|file| Document::read(&file)).transpose()?;
        let in_file = named.as_ref().and_then(|file| file.root().get("data")?.as_str().map(PathBuf::from));
        let folder = DATA_DIR.resolve(data.clone().or_else(|| set("EDGEHUB_DATA").map(PathBuf::from)).or(in_file));
        let own = config_file::path(&folder);
        if own.is_file() && named.as_ref().is_none_or(|file| !same_file(file.file(), &own)) {
            let own = Document::read(&own)?;
            refuse_data(&own)?;
            layers.file(&own)?;
        }
        if let Some(file) = named {
            layers.file(&file)?;
        }
        layers.variables(get)?;
        layers.flag("data", "--data", data.map(|data| data.to_string_lossy().into_owned()));
        let listen: Vec<String> = self.listen.iter().map(SocketAddr::to_string).collect();
        layers.flag("listen", "--listen", Some(listen).filter(|addresses| !addresses.is_empty()));
        layers.flag("link.transport", "--transport", self.transport.map(|transport| transport.to_string()));
        layers.flag("link.metered", "--metered", self.metered.then_some(true));
        layers.flag("link.daily_limit", "--daily-limit", self.daily_limit.map(|limit| limit.to_string()));
        layers.flag("log.format", "--log-format", self.log_format.map(|format| format.to_string()));
        layers.flag("log.level", "--log-level", self.log_level.map(|level| level.to_string()));
        Ok(layers)
    }
}

fn same_file(a: &std::path::Path, b: &std::path::Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// The file in the data folder cannot say where the data folder is.
fn refuse_data(own: &Document) -> Result<(), ConfigError> {
    match own.root().contains_key("data") {
        false => Ok(()),
        true => Err(ConfigError::BadValue {
            key: "data".to_owned(),
            origin: own.origin("data"),
            message: "cannot stand in the data folder itself; name the folder with --data, $EDGEHUB_DATA, or in the file of --config"
                .to_owned(),
        }),
    }
}
