//! `make mutants`: changes one thing at a time in `proto` and in the reconciliation, as cargo-mutants makes it up, and runs the
//! package's own tests.
//!
//! What follows the program's name goes to `cargo mutants --list`: `--file`, `--re`, `--shard`; `--by-number` leaves out what is built
//! for itself, as constants are. Each change that no test finds is printed; it ends with 1 if one of them is not judged in
//! `tests/data/mutants/judged.txt`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use tests::mutants::listed::{Mutant, listed};
use tests::mutants::run::Verdict;
use tests::mutants::{judged, try_all};

/// What is counted together, and how its files begin.
const PARTS: [(&str, &[&str]); 8] = [
    ("`proto/src/session/`", &["session/"]),
    (
        "`resolve.rs`, `op.rs`, `overlay.rs`, `build.rs`, `repeat.rs`, `clock.rs`",
        &["resolve.rs", "op.rs", "overlay.rs", "build.rs", "repeat.rs", "clock.rs"],
    ),
    ("`frame/`, `wire/`, `traffic.rs`", &["frame", "wire/", "traffic.rs"]),
    ("`list/`, `index.rs`", &["list/", "index.rs"]),
    ("`schema/`, `definition.rs`", &["schema/", "definition.rs"]),
    (
        "`json.rs`, `number.rs`, `names.rs`, `ids.rs`, `digest.rs`, `limits.rs`",
        &["json.rs", "number.rs", "names.rs", "ids.rs", "digest.rs", "limits.rs"],
    ),
    ("`device/`", &["device/"]),
    ("`cloudhub/src/reconcile/`", &[]),
];

/// A row of the table.
#[derive(Default)]
struct Row {
    listed: usize,
    broken: usize,
    not_run: usize,
    found: usize,
    endless: usize,
    judged: usize,
    missed: usize,
}

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let by_number = arguments.iter().position(|word| word == "--by-number").map(|at| arguments.remove(at)).is_some();
    let began = Instant::now();
    let mutants = listed(root, &arguments)?;
    let verdicts = try_all(root, &mutants, !by_number)?;
    let known = judged::read(&std::fs::read_to_string(root.join("tests/data/mutants/judged.txt"))?)?;
    let known: Vec<String> = known.into_iter().map(|judged| format!("{}: {}", judged.file, judged.change)).collect();

    let (mut rows, mut all) = (BTreeMap::<usize, Row>::new(), String::new());
    for ((mutant, verdict), name) in mutants.iter().zip(verdicts).zip(judged::names(&mutants)) {
        let _ = writeln!(all, "{verdict:?}\t{}\t{name}", mutant.name);
        let is_judged = known.contains(&name);
        let row = rows.entry(part(mutant)).or_default();
        row.listed += 1;
        match verdict {
            Verdict::Broken => row.broken += 1,
            Verdict::NotRun => row.not_run += 1,
            Verdict::Found | Verdict::Endless => {
                row.found += 1;
                row.endless += usize::from(verdict == Verdict::Endless);
                if is_judged {
                    println!("judged, and found all the same: {}", mutant.name);
                }
            }
            Verdict::Missed | Verdict::Unreached if is_judged => row.judged += 1,
            Verdict::Missed | Verdict::Unreached => {
                row.missed += 1;
                let why = if verdict == Verdict::Unreached { " (no test comes by)" } else { "" };
                println!("missed: {}{why}", mutant.name);
            }
        }
    }
    std::fs::write(root.join("target/mutants/verdicts.txt"), all)?;
    let missed: usize = rows.values().map(|row| row.missed).sum();
    println!("\n{}\n{} s; each of them is in target/mutants/verdicts.txt", table(&rows), began.elapsed().as_secs());
    ensure!(missed == 0, "{missed} are missed: write a test, or judge them in tests/data/mutants/judged.txt");
    Ok(())
}

fn part(mutant: &Mutant) -> usize {
    let within = mutant.file.strip_prefix("proto/src/");
    within.and_then(|file| PARTS.iter().position(|(_, files)| files.iter().any(|begin| file.starts_with(begin)))).unwrap_or(PARTS.len() - 1)
}

fn table(rows: &BTreeMap<usize, Row>) -> String {
    let mut text = "| where | listed | do not compile | not run | found | of these without an end | judged | missed |\n|---|--:|--:|--:|--:|--:|--:|--:|\n".to_owned();
    let mut line = |name: &str, rows: &[&Row]| {
        let sum = |of: fn(&Row) -> usize| rows.iter().map(|row| of(row)).sum::<usize>();
        let (listed, broken, not_run) = (sum(|row| row.listed), sum(|row| row.broken), sum(|row| row.not_run));
        let (found, endless, judged, missed) = (sum(|row| row.found), sum(|row| row.endless), sum(|row| row.judged), sum(|row| row.missed));
        let _ = writeln!(text, "| {name} | {listed} | {broken} | {not_run} | {found} | {endless} | {judged} | {missed} |");
    };
    for (part, row) in rows {
        line(PARTS[*part].0, &[row]);
    }
    line("together", &rows.values().collect::<Vec<_>>());
    text
}
