//! edgehub, the edge node.

use std::process::ExitCode;

use edgehub::cli::{Node, run};

fn main() -> ExitCode {
    run(std::env::args_os(), Node { join: edgehub::join::join, run: edgehub::run::run })
}
