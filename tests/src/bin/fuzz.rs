//! `make fuzz MINUTES=N`: libFuzzer in front of every entry of [`tests::fuzz`], each for its share of the time.
//!
//! What is needed and missing is installed into `target/` or named. Corpora grow in `target/fuzz/corpus/` and begin with
//! `tests/data/fuzz/`; what was found stays in `target/fuzz/found/`, is printed as a line for those files, and ends this program with 1.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use tests::fuzz::{TARGETS, corpus, target};

/// What an entry may take in all, MiB: the counting allocator judges it more closely.
const MEMORY_MB: u32 = 1_024;
/// An input that takes longer is a finding.
const SECONDS: u32 = 20;
/// The longest input that is made; the corpus may have longer ones.
const LONGEST: u32 = 8_192;

/// libFuzzer in front of every decoder of outside bytes.
#[derive(Parser)]
struct Args {
    /// How long in all.
    #[arg(long, default_value_t = 15)]
    minutes: u32,
    /// Only these.
    targets: Vec<String>,
}

/// What one run of one program came to.
struct Ran {
    name: &'static str,
    executions: u64,
    corpus: usize,
    found: Vec<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let names: Vec<&'static str> = match args.targets.as_slice() {
        [] => TARGETS.iter().map(|target| target.name).collect(),
        some => some.iter().map(|name| target(name).name).collect(),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
    let programs = build(root, if names.len() == 1 { Some(names[0]) } else { None })?;
    let seconds = (args.minutes * 60 / u32::try_from(names.len())?).max(1);
    let ran = names.iter().map(|name| run(root, &programs, name, seconds)).collect::<Result<Vec<_>>>()?;
    println!("\n{:14} {:>12} {:>8} {:>8} {:>6}", "target", "executions", "seconds", "corpus", "found");
    for Ran { name, executions, corpus, found } in &ran {
        println!("{name:14} {executions:>12} {seconds:>8} {corpus:>8} {:>6}", found.len());
    }
    let found: Vec<_> = ran.iter().flat_map(|ran| ran.found.iter().map(move |path| (ran.name, path))).collect();
    for (name, path) in &found {
        println!("\n{}\n{}", path.display(), corpus::escape(&std::fs::read(path)?));
        println!("mend it, and put the line above, shortened, into {}", corpus::file(name).display());
    }
    ensure!(found.is_empty(), "{} found", found.len());
    Ok(())
}

/// Builds the programs, or one of them; where they are. Without a sanitizer: they look for unsafe code's mistakes, and there is none here.
fn build(root: &Path, only: Option<&str>) -> Result<PathBuf> {
    let has = Command::new("cargo").args(["+nightly", "--version"]).output().is_ok_and(|output| output.status.success());
    ensure!(has, "libFuzzer needs the nightly compiler: rustup toolchain install nightly --profile minimal");
    let tool = root.join("target/fuzz-tools/bin/cargo-fuzz");
    if !tool.exists() {
        let install = ["install", "cargo-fuzz", "--locked", "--root", "target/fuzz-tools"];
        ensure!(Command::new("cargo").current_dir(root).args(install).status()?.success(), "cargo-fuzz cannot be installed");
    }
    std::fs::copy(root.join("Cargo.lock"), root.join("tests/fuzz/Cargo.lock"))?;
    let mut build = Command::new(tool);
    build.current_dir(root).env("RUSTUP_TOOLCHAIN", "nightly").env_remove("CARGO_INCREMENTAL").env_remove("CARGO");
    build.args(["fuzz", "build", "--fuzz-dir", "tests/fuzz", "--target-dir", "target/fuzz", "--sanitizer", "none"]).args(only);
    ensure!(build.status()?.success(), "the programs cannot be built; a C++ compiler is needed for libFuzzer: apt-get install g++");
    let triple = Command::new("rustc").args(["+nightly", "--print", "host-tuple"]).output()?;
    Ok(root.join("target/fuzz").join(String::from_utf8(triple.stdout)?.trim()).join("release"))
}

fn run(root: &Path, programs: &Path, name: &'static str, seconds: u32) -> Result<Ran> {
    let (own, found) = (root.join("target/fuzz/corpus").join(name), root.join("target/fuzz/found"));
    std::fs::create_dir_all(&own)?;
    std::fs::create_dir_all(&found)?;
    let inputs = corpus::inputs(name);
    for (number, bytes) in inputs.iter().enumerate() {
        std::fs::write(own.join(format!("seed-{number}")), bytes)?;
    }
    let words = root.join("target/fuzz").join(format!("{name}.words"));
    let dictionary = dictionary(&inputs);
    std::fs::write(&words, &dictionary)?;
    let before = files(&found, name)?;
    println!("{name}: {} inputs, {seconds} s", inputs.len());
    let mut program = Command::new(programs.join(name));
    // An empty dictionary ends libFuzzer.
    program.arg(&own).args((!dictionary.is_empty()).then(|| format!("-dict={}", words.display())));
    program.arg(format!("-artifact_prefix={}/{name}-", found.display()));
    program.args([format!("-max_total_time={seconds}"), format!("-rss_limit_mb={MEMORY_MB}"), format!("-timeout={SECONDS}")]);
    program.args([&format!("-max_len={LONGEST}"), "-print_final_stats=1", "-verbosity=0"]);
    let log = root.join("target/fuzz").join(format!("{name}.log"));
    let output = program.output()?;
    std::fs::write(&log, [output.stdout, output.stderr].concat())?;
    let text = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
    let found: Vec<PathBuf> = files(&found, name)?.difference(&before).cloned().collect();
    ensure!(output.status.success() || !found.is_empty(), "{name} ended early; see {}", log.display());
    if !output.status.success() {
        println!(
            "{name}: {}",
            text.lines().filter(|line| line.contains("panicked at") || line.contains("ERROR")).collect::<Vec<_>>().join("; ")
        );
    }
    let executions = text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:")).map_or("0", str::trim);
    Ok(Ran { name, executions: executions.parse()?, corpus: std::fs::read_dir(&own)?.count(), found })
}

fn files(folder: &Path, name: &str) -> Result<BTreeSet<PathBuf>> {
    let own = |path: &PathBuf| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&format!("{name}-")));
    let entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    Ok(entries.into_iter().map(|entry| entry.path()).filter(own).collect())
}

/// The words of a corpus, as libFuzzer takes them.
fn dictionary(inputs: &[Vec<u8>]) -> String {
    let word = |byte: &u8| !(byte.is_ascii_alphanumeric() || b"_-$".contains(byte));
    let words: BTreeSet<&[u8]> = inputs.iter().flat_map(|bytes| bytes.split(word)).filter(|word| (3..24).contains(&word.len())).collect();
    let mut text = String::new();
    for word in words {
        let _ = writeln!(text, "\"{}\"", String::from_utf8_lossy(word));
    }
    text
}
