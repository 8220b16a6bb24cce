//! Which hub the client verbs ask, and with what they prove who they are.

use std::path::{Path, PathBuf};

use api::cli::{CliError, read_limited};
use api::client::{Client, Secret, trusting};
use api::config::HostPort;
use clap::Args;

use crate::config::{API_PORT, DATA_DIR};

/// Certificates and tokens are a few KiB; what is larger is another file.
const MAX_FILE: u64 = 1 << 20;

/// The hub that a verb asks.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct HubArgs {
    /// The hub's API [default: https://127.0.0.1:10002]
    #[arg(long, global = true, value_name = "URL", env = "CLOUDHUB_SERVER", hide_env_values = true)]
    server: Option<HostPort>,
    /// The CA that the hub's certificate must come from [default: DATA/pki/ca.crt]
    #[arg(long, global = true, value_name = "FILE", env = "CLOUDHUB_CA", hide_env_values = true)]
    ca: Option<PathBuf>,
    /// The access token [default: DATA/admin.token]
    #[arg(long, global = true, value_name = "FILE", env = "CLOUDHUB_TOKEN_FILE", hide_env_values = true)]
    token_file: Option<PathBuf>,
}

/// Where everything about one hub is.
#[derive(Debug)]
pub(super) struct Place {
    server: HostPort,
    data: PathBuf,
    pub(super) ca: PathBuf,
    token: PathBuf,
}

/// The data folder: named by a flag, by a variable, or the usual one.
pub(super) fn data_folder(flag: Option<PathBuf>) -> PathBuf {
    DATA_DIR.resolve(flag.or_else(|| std::env::var_os("CLOUDHUB_DATA").map(PathBuf::from)))
}

impl HubArgs {
    /// The hub's data folder and files; `data` is the folder named by a flag.
    pub(super) fn place(self, data: Option<PathBuf>) -> Place {
        let data = data_folder(data);
        let here = HostPort { host: "127.0.0.1".to_owned(), port: Some(API_PORT) };
        Place {
            server: self.server.unwrap_or(here),
            ca: self.ca.unwrap_or_else(|| data.join("pki/ca.crt")),
            token: self.token_file.unwrap_or_else(|| data.join("admin.token")),
            data,
        }
    }

    /// A client for that hub.
    pub(super) fn client(self, data: Option<PathBuf>) -> Result<Client, CliError> {
        let place = self.place(data);
        let ca = place.read(&place.ca)?;
        let tls = trusting(ca.as_bytes()).map_err(|reason| CliError::Failed(format!("{} {reason}", place.ca.display())))?;
        let token = Secret::new(&place.read(&place.token)?)
            .map_err(|reason| CliError::Failed(format!("the token in {} {reason}", place.token.display())))?;
        let advice = format!("is `cloudhub serve --data {}` running there?", place.data.display());
        Ok(Client::https(place.server, tls, place.ca.display().to_string(), token, advice))
    }
}

impl Place {
    /// A file of the hub, with what to do when it is not there.
    pub(super) fn read(&self, file: &Path) -> Result<String, CliError> {
        let failed = |reason: &std::io::Error| {
            let advice = match reason.kind() {
                std::io::ErrorKind::NotFound => {
                    "name the data folder of a cloudhub that has been started with --data DIR, or --ca FILE --token-file FILE"
                }
                std::io::ErrorKind::PermissionDenied => "run this as the user that cloudhub runs as",
                _ => "name another with --ca FILE or --token-file FILE",
            };
            CliError::Failed(format!("cannot read {}: {reason}; data folder {}; {advice}", file.display(), self.data.display()))
        };
        let opened = std::fs::File::open(file).map_err(|error| failed(&error))?;
        read_limited(opened, &file.display().to_string(), MAX_FILE)
    }
}
