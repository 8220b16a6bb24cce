//! `make museum`: puts each known mistake of `tests/museum/` back into a copy of the tree and runs the checks that must find it.
//!
//! A patch begins with what the mistake is and where it was seen, then `check: ` and what follows `cargo test`. Found means that it
//! compiles and a test fails; what nothing finds is a hole in the suite, and this program then ends with 1.
//!
//! `make mutations` does the same with the thirty small ones of `tests/mutations.toml`.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use tests::mirror::mirror;

/// What is put into the copy.
enum Change {
    Patch(PathBuf),
    Text { file: String, text: String, becomes: String },
}

struct Mistake {
    name: String,
    /// What follows `cargo test`.
    check: String,
    change: Change,
}

fn main() -> Result<()> {
    let mut only: Vec<String> = std::env::args().skip(1).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
    let by_hand = only.iter().position(|word| word == "--mutations").map(|at| only.remove(at)).is_some();
    let mistakes = if by_hand { mutations(root)? } else { patches(root)? };
    let copy = root.join("target/museum/tree");
    let (mut shown, mut missed) = (0, Vec::new());
    for mistake in mistakes.into_iter().filter(|mistake| only.is_empty() || only.contains(&mistake.name)) {
        mirror(root, &copy)?;
        let began = Instant::now();
        let found = found(&copy, &mistake)?;
        println!("{:40} {:>4} s  found by {}", mistake.name, began.elapsed().as_secs(), found.as_deref().unwrap_or("NOTHING"));
        shown += 1;
        if found.is_none() {
            missed.push(mistake.name);
        }
    }
    mirror(root, &copy)?;
    println!("{} of {shown} found", shown - missed.len());
    ensure!(missed.is_empty(), "nothing finds {missed:?}: close the hole");
    Ok(())
}

fn patches(root: &Path) -> Result<Vec<Mistake>> {
    let entries = std::fs::read_dir(root.join("tests/museum"))?.collect::<Result<Vec<_>, _>>()?;
    let mut found: Vec<_> =
        entries.into_iter().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "patch")).collect();
    found.sort();
    let read = |path: PathBuf| -> Result<Mistake> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path)?;
        let check = text.lines().find_map(|line| line.strip_prefix("check: ")).with_context(|| format!("{name} has no line check:"))?;
        Ok(Mistake { check: check.to_owned(), name, change: Change::Patch(path) })
    };
    found.into_iter().map(read).collect()
}

fn mutations(root: &Path) -> Result<Vec<Mistake>> {
    let table: toml::Table = std::fs::read_to_string(root.join("tests/mutations.toml"))?.parse()?;
    let read = |(name, entry): (String, toml::Value)| -> Result<Mistake> {
        let word = |key: &str| -> Result<String> {
            let found = entry.get(key).and_then(toml::Value::as_str);
            Ok(found.with_context(|| format!("{name} has no {key}"))?.to_owned())
        };
        let change = Change::Text { file: word("file")?, text: word("text")?, becomes: word("becomes")? };
        Ok(Mistake { check: word("check")?, change, name })
    };
    table.into_iter().map(read).collect()
}

fn put(copy: &Path, Mistake { name, change, .. }: &Mistake) -> Result<()> {
    match change {
        Change::Patch(patch) => {
            // The copy is inside the project's folder and not of its repository, where git would pass over its files.
            let above = copy.parent().context("no folder above the copy")?;
            let mut apply = Command::new("git");
            let apply = apply.current_dir(copy).env("GIT_CEILING_DIRECTORIES", above).args(["apply", "--verbose"]).arg(patch);
            let applied = apply.output()?;
            let said = String::from_utf8_lossy(&applied.stderr);
            ensure!(applied.status.success() && !said.contains("Skipped"), "{name} does not apply: {said}");
        }
        Change::Text { file, text, becomes } => {
            let before = std::fs::read_to_string(copy.join(file))?;
            ensure!(before.matches(text.as_str()).count() == 1, "{name}: its text is not in {file}, or not once");
            std::fs::write(copy.join(file), before.replace(text.as_str(), becomes))?;
        }
    }
    Ok(())
}

/// The first test that fails with the mistake.
fn found(copy: &Path, mistake: &Mistake) -> Result<Option<String>> {
    put(copy, mistake)?;
    let (name, check) = (&mistake.name, &mistake.check);
    let target = copy.with_file_name("target");
    let built = cargo(copy, &target, "--no-run", check).output()?;
    if !built.status.success() {
        eprintln!("with {name} it does not compile:\n{}", String::from_utf8_lossy(&built.stderr));
        return Ok(None);
    }
    let mut run = cargo(copy, &target, "--no-fail-fast", check).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0).spawn()?;
    let lines = BufReader::new(run.stdout.take().context("no output")?).lines();
    let first = lines.map_while(Result::ok).find_map(|line| Some(line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?.to_owned()));
    // One is enough, and with a mistake in them others take long to give up.
    let group = format!("-{}", run.id());
    Command::new("kill").args(["-9", "--", &group]).stderr(Stdio::null()).status()?;
    run.wait()?;
    Ok(first)
}

fn cargo(copy: &Path, target: &Path, how: &str, check: &str) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", target)
        .env("RUST_BACKTRACE", "0")
        .env("TOMBOLO_AS_LONG_AS_IT_IS", "1")
        .args(["test", "--locked", how])
        .args(check.split_whitespace());
    cargo
}
