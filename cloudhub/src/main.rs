//! cloudhub, the central hub.

use std::process::ExitCode;

fn main() -> ExitCode {
    cloudhub::cli::run(std::env::args_os(), cloudhub::serve::serve)
}
