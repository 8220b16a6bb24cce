//! `make museum`: puts each known mistake of `tests/museum/` back into a copy of the tree and runs the checks that must find it.
//!
//! A patch begins with what the mistake is and where it was seen, then `check: ` and what follows `cargo test`. Found means that it
//! compiles and a test fails; what nothing finds is a hole in the suite, and this program then ends with 1.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

fn main() -> Result<()> {
    let only: Vec<String> = std::env::args().skip(1).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
    let copy = root.join("target/museum/tree");
    let (mut shown, mut missed) = (0, Vec::new());
    for patch in patches(root)?.into_iter().filter(|patch| only.is_empty() || only.contains(&name(patch))) {
        mirror(root, &copy)?;
        let began = Instant::now();
        let found = found(&copy, &patch)?;
        println!("{:28} {:>4} s  found by {}", name(&patch), began.elapsed().as_secs(), found.as_deref().unwrap_or("NOTHING"));
        shown += 1;
        if found.is_none() {
            missed.push(name(&patch));
        }
    }
    mirror(root, &copy)?;
    println!("{} of {shown} found", shown - missed.len());
    ensure!(missed.is_empty(), "nothing finds {missed:?}: close the hole");
    Ok(())
}

fn name(patch: &Path) -> String {
    patch.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn patches(root: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(root.join("tests/museum"))?.collect::<Result<Vec<_>, _>>()?;
    let mut found: Vec<_> =
        entries.into_iter().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "patch")).collect();
    found.sort();
    Ok(found)
}

/// Makes the copy what the tree is, and touches no file that is so already: the next build is of what a patch changes.
fn mirror(root: &Path, copy: &Path) -> Result<()> {
    let listed = Command::new("git").current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).output()?;
    ensure!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    for file in String::from_utf8(listed.stdout)?.split_terminator('\0') {
        let (from, to) = (root.join(file), copy.join(file));
        let Ok(new) = std::fs::read(&from) else { continue };
        if std::fs::read(&to).ok().as_ref() != Some(&new) {
            std::fs::create_dir_all(to.parent().context("a file without a folder")?)?;
            std::fs::write(&to, new).with_context(|| format!("writing {}", to.display()))?;
        }
    }
    Ok(())
}

/// The first test that fails with the mistake.
fn found(copy: &Path, patch: &Path) -> Result<Option<String>> {
    let text = std::fs::read_to_string(patch)?;
    let check =
        text.lines().find_map(|line| line.strip_prefix("check: ")).with_context(|| format!("{} has no line check:", name(patch)))?;
    // The copy is inside the project's folder and not of its repository, where git would pass over its files.
    let above = copy.parent().context("no folder above the copy")?;
    let applied =
        Command::new("git").current_dir(copy).env("GIT_CEILING_DIRECTORIES", above).args(["apply", "--verbose"]).arg(patch).output()?;
    let said = String::from_utf8_lossy(&applied.stderr);
    ensure!(applied.status.success() && !said.contains("Skipped"), "{} does not apply: {said}", name(patch));
    let target = copy.with_file_name("target");
    let built = cargo(copy, &target, "--no-run", check).output()?;
    if !built.status.success() {
        eprintln!("with {} it does not compile:\n{}", name(patch), String::from_utf8_lossy(&built.stderr));
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
