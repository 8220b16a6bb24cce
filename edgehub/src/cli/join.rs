//! `edgehub join`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use api::cli::{CliError, Console, read_limited};
use api::client::Secret;
use api::config::{HostPort, parse_duration};
use api::logging::{self, LogConfig};
use clap::Args;

use crate::config::{JoinOptions, Joined, TOKEN_VARIABLE, Transport};

/// A token is one short line; what is larger is another file.
const MAX_TOKEN: u64 = 64 << 10;

/// The flags of `edgehub join`.
#[derive(Debug, Args)]
pub(super) struct JoinArgs {
    /// The hub's API; the port is 10002 where none is named
    #[arg(long, value_name = "HOST[:PORT]")]
    server: HostPort,
    /// The join token [env: EDGEHUB_TOKEN]
    #[arg(long, conflicts_with = "token_file")]
    token: Option<Secret>,
    /// The file that holds the join token; - for standard input
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The name of this node, where the token does not fix it [default: the host name]
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Go on trying this long while the hub cannot be reached
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    wait: Option<Duration>,
    /// What the link will run over
    #[arg(long, value_enum, default_value_t)]
    transport: Transport,
}

/// Joins, and says under which name.
pub(super) fn run(
    args: JoinArgs,
    data: PathBuf,
    join: fn(JoinOptions) -> anyhow::Result<Joined>,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let options = args.options(data.clone(), std::env::var(TOKEN_VARIABLE).ok())?;
    let server = options.server.authority(10002);
    let level = "warn".parse().unwrap_or_default();
    let _log = logging::start(&LogConfig { level, ..LogConfig::default() });
    let joined = join(options).map_err(|error| CliError::Failed(format!("{error:#}")))?;
    console.line(&format!("joined {server} as {}", joined.node))?;
    console.line(&format!("the identity is in {}; start: edgehub run --data {}", data.join("pki").display(), data.display()))
}

impl JoinArgs {
    /// `variable` is what the environment says the token is.
    pub(super) fn options(self, data: PathBuf, variable: Option<String>) -> Result<JoinOptions, CliError> {
        let token = match (self.token, self.token_file, variable.filter(|token| !token.is_empty())) {
            (Some(token), _, _) => token,
            (None, Some(file), _) => token_in(&file)?,
            (None, None, Some(token)) => {
                Secret::new(&token).map_err(|reason| CliError::Usage(format!("the token in ${TOKEN_VARIABLE} {reason}")))?
            }
            (None, None, None) => {
                return Err(CliError::Usage(format!(
                    "a join needs a token: --token T, --token-file FILE or ${TOKEN_VARIABLE}; make one on the cloud: cloudhub token create"
                )));
            }
        };
        let JoinArgs { server, node, wait, transport, .. } = Self { token: None, token_file: None, ..self };
        Ok(JoinOptions { server, token, node, wait, data, transport })
    }
}

fn token_in(file: &Path) -> Result<Secret, CliError> {
    let (text, name) = if file == Path::new("-") {
        (read_limited(std::io::stdin(), "standard input", MAX_TOKEN)?, "standard input".to_owned())
    } else {
        let name = file.display().to_string();
        let opened = std::fs::File::open(file).map_err(|error| CliError::Failed(format!("cannot read {name}: {error}")))?;
        (read_limited(opened, &name, MAX_TOKEN)?, name)
    };
    Secret::new(&text).map_err(|reason| CliError::Failed(format!("the token in {name} {reason}")))
}
