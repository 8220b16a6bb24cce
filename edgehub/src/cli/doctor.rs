//! `edgehub doctor`.

use std::path::PathBuf;

use api::cli::{CliError, Console, OutputArgs, block_on};
use clap::Args;

use super::run::RunArgs;
use crate::config::{DATA_DIR, RunConfig, TOKEN_VARIABLE};
use crate::doctor::{Patient, examine};

/// The flags of `edgehub doctor`.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// The configuration file that edgehub runs with (TOML) [env: EDGEHUB_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Looks at everything and prints it; an error, so exit code 1, when something failed.
pub(super) fn run(args: DoctorArgs, data: Option<PathBuf>, console: &mut Console<'_>) -> Result<(), CliError> {
    let patient = patient(args.config, data, |name| std::env::var(name).ok());
    block_on(async { examine(patient).await.show(args.output, console) })
}

/// A configuration that cannot be read is a finding, not an end.
fn patient(file: Option<PathBuf>, data: Option<PathBuf>, get: impl Fn(&str) -> Option<String>) -> Patient {
    let token = get(TOKEN_VARIABLE);
    let folder = data.clone().or_else(|| get("EDGEHUB_DATA").filter(|text| !text.is_empty()).map(PathBuf::from));
    let built = RunArgs::of_file(file).layers(data, get).and_then(|layers| Ok(RunConfig::build(&layers)?));
    match built {
        Ok(config) => Patient { data: config.data.clone(), config, config_error: None, token },
        Err(error) => {
            let data = DATA_DIR.resolve(folder);
            Patient { config: RunConfig { data: data.clone(), ..RunConfig::default() }, data, config_error: Some(error.to_string()), token }
        }
    }
}
