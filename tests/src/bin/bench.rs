//! `make bench`: measures what design §10 has budgets for, and prints a table for docs/benchmarks.md.

use std::panic::catch_unwind;
use std::process::ExitCode;

use tests::bench::machine::{Foreign, describe};
use tests::bench::report::{Figure, table};
use tests::bench::{BENCHMARKS, Benchmark, Settings};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [crew, orders] = args.as_slice()
        && crew == "--crew"
    {
        tests::bench::fleet::crew::run(orders);
        return ExitCode::SUCCESS;
    }
    let chosen = match Chosen::parse(args.into_iter()) {
        Ok(Some(chosen)) => chosen,
        Ok(None) => {
            println!("{}", help());
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("{wrong}\n\n{}", help());
            return ExitCode::from(2);
        }
    };
    println!(
        "{}\nClients and servers share this machine, and perhaps others do: compare within one run, and see `others` below.",
        describe()
    );
    let mut all = Vec::new();
    let mut failed = Vec::new();
    for benchmark in chosen.benchmarks {
        match measure(benchmark, chosen.settings) {
            Some(figures) => all.extend(figures),
            None => failed.push(benchmark.name),
        }
    }
    println!("\n{}", table(&all));
    let missed = all.iter().filter(|figure| figure.is_missed()).count();
    println!("{} figures, {missed} over budget.", all.len());
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("Failed, with the reason above: {}", failed.join(", "));
    ExitCode::FAILURE
}

/// Runs one benchmark and prints what it found; nothing when it broke.
fn measure(benchmark: &Benchmark, settings: Settings) -> Option<Vec<Figure>> {
    println!("\n{}: {}", benchmark.name, benchmark.about);
    let foreign = Foreign::start();
    let figures = catch_unwind(|| (benchmark.run)(settings)).ok()?;
    figures.iter().for_each(|figure| println!("{figure}"));
    println!("  others used {:.0} % of a core meanwhile", foreign.percent());
    Some(figures)
}

/// The command line.
struct Chosen {
    benchmarks: Vec<&'static Benchmark>,
    settings: Settings,
}

impl Chosen {
    /// None: help is asked for.
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut names = Vec::new();
        let mut settings = Settings { full: false, runs: 3 };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--help" | "-h" => return Ok(None),
                "--full" => settings.full = true,
                "--runs" => {
                    let runs = args.next().and_then(|runs| runs.parse().ok()).filter(|runs| (1..=99).contains(runs));
                    settings.runs = runs.ok_or("--runs takes a number from 1 to 99")?;
                }
                name => names.push(find(name)?),
            }
        }
        let benchmarks = if names.is_empty() { BENCHMARKS.iter().collect() } else { names };
        Ok(Some(Self { benchmarks, settings }))
    }
}

fn find(name: &str) -> Result<&'static Benchmark, String> {
    BENCHMARKS.iter().find(|benchmark| benchmark.name == name).ok_or_else(|| format!("there is no benchmark {name}"))
}

fn help() -> String {
    let list: String = BENCHMARKS.iter().map(|benchmark| format!("  {:12} {}\n", benchmark.name, benchmark.about)).collect();
    format!(
        "bench [NAME]... [--runs N] [--full]\n\nWithout a name: all of them.\n\n{list}\n  \
         --runs N     how often what is cheap is repeated; the median counts (3)\n  \
         --full       a million writes in the outbox of `start`, ten minutes of `idle`,\n               longer cells of `networks`, 39,000 nodes of `fleet`\n\n\
         It needs the hubs of the same profile: cargo build --release -p cloudhub -p edgehub"
    )
}
