//! From what went wrong to the message on stderr and the exit code.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::Parser;

use crate::client::ClientError;
use crate::config::ConfigError;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command line does not say what to do: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// The configuration is wrong, which is bad usage too: exit code 2.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The hub could not be asked, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Nobody reads our output any more: no error of ours, exit code 0.
    #[error("the reader of the output is gone")]
    ReaderGone,
    /// Anything else, as a whole sentence.
    #[error("{0}")]
    Failed(String),
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => CliError::ReaderGone,
            _ => CliError::Failed(format!("cannot write the output: {error}")),
        }
    }
}

impl CliError {
    /// 0 done, 1 failed, 2 bad usage.
    pub fn code(&self) -> u8 {
        match self {
            CliError::ReaderGone => 0,
            CliError::Client(_) | CliError::Failed(_) => 1,
            // What a file says wrongly is bad usage; what the disk does is a failure.
            CliError::Config(ConfigError::Data { .. } | ConfigError::Read { .. }) => 1,
            CliError::Usage(_) | CliError::Config(_) => 2,
        }
    }
}

/// Parses `args` (the program's name first). Help and usage errors are printed here; they come back as the exit code.
pub fn parse<P: Parser>(args: impl IntoIterator<Item = OsString>) -> Result<P, ExitCode> {
    P::try_parse_from(args).map_err(|error| {
        let _ = error.print();
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
    })
}

/// Prints what went wrong and gives the exit code.
pub fn finish(program: &str, result: Result<(), CliError>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    if error.code() != 0 {
        eprintln!("{program}: {error}");
    }
    ExitCode::from(error.code())
}

/// Runs a client verb. A thread that still waits for standard input does not hold up the end.
pub fn block_on<F: Future<Output = Result<(), CliError>>>(verb: F) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("cannot start: {error}")))?;
    // Boxed: the runtime would have a copy of the whole verb for each of its ways to poll it.
    let result = runtime.block_on(Box::pin(verb));
    runtime.shutdown_background();
    result
}
