//! `make chaos`: the built programs while everything goes wrong at once, and what came of it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tests::chaos::{Settings, run};

/// Runs one cloudhub and four edgehubs under load from both sides while processes are killed and stopped, paths fail, disks are full and
/// clocks jump; then everything has to agree, and every promise to be kept.
#[derive(Parser)]
#[command(name = "chaos")]
struct Arguments {
    /// How long
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Which faults in which order; when each meets what differs from run to run
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long faults last, in seconds, until all has to agree in between
    #[arg(long, default_value_t = 45)]
    storm: u64,
}

fn main() -> anyhow::Result<ExitCode> {
    let Arguments { minutes, seed, storm } = Arguments::parse();
    println!("SEED={seed}: the same faults in the same order; when each meets what is up to the machine");
    let settings = Settings { seed, lasts: Duration::from_secs(60 * minutes), storm: Duration::from_secs(storm), shown: true };
    let report = run(settings)?;
    println!("\n{report}");
    Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
