//! Mistakes that a machine makes up, all in one program that makes one of them by its number.
//!
//! cargo-mutants lists them ([`listed`]), and would build the package anew for each. Here [`rewrite`] puts all of a package into a
//! copy of the tree, [`build`] leaves out what does not compile, and [`run`] runs the package's own tests, which are the same as
//! cargo-mutants would run, once for each. What cannot be chosen so, as a constant, is built alone in the end. [`judged`] is what no
//! test can find.

pub mod build;
pub mod judged;
pub mod listed;
pub mod rewrite;
pub mod run;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use crate::mirror::{mirror, write};
use build::Workshop;
use listed::{Genre, Mutant};
use rewrite::Number;
use run::Verdict;

/// A mistake, and its number.
pub type Numbered<'a> = (Number, &'a Mutant);

/// Whose mistakes are looked for by which tests.
pub struct Package {
    /// Its name.
    pub name: &'static str,
    /// The file that is its crate.
    pub lib: &'static str,
    /// What `cargo test` is told.
    pub tests: &'static [&'static str],
    /// How the names of the tests begin.
    pub prefix: &'static str,
}

/// Those that [`try_all`] knows.
pub const PACKAGES: [Package; 2] = [
    Package { name: "proto", lib: "proto/src/lib.rs", tests: &["-p", "proto"], prefix: "" },
    Package { name: "cloudhub", lib: "cloudhub/src/lib.rs", tests: &["-p", "cloudhub", "--lib"], prefix: "reconcile::" },
];

/// What becomes of each mistake of the tree, in their order; `alone`: of those too that have no number.
pub fn try_all(root: &Path, mutants: &[Mutant], alone: bool) -> Result<Vec<Verdict>> {
    let below = root.join("target/mutants");
    let workshop = Workshop { root: root.to_owned(), copy: below.join("tree"), target: below.join("target") };
    let mut verdicts = BTreeMap::new();
    for package in &PACKAGES {
        mirror(root, &workshop.copy)?;
        let numbered = (1..).zip(mutants).filter(|(_, mutant)| mutant.package == package.name);
        let numbered: Vec<Numbered<'_>> = numbered.collect();
        if !numbered.is_empty() {
            verdicts.extend(of_package(&workshop, package, &numbered, alone)?);
        }
    }
    mirror(root, &workshop.copy)?;
    (1..).zip(mutants).map(|(number, mutant)| verdicts.get(&number).copied().with_context(|| mutant.name.clone())).collect()
}

fn of_package(workshop: &Workshop, package: &Package, mutants: &[Numbered<'_>], alone: bool) -> Result<BTreeMap<Number, Verdict>> {
    let built = workshop.build(package, mutants)?;
    let folder = workshop.copy.join(package.name);
    let tests = run::tests(package, &folder, &built.programs, &skipped(&workshop.root)?)?;
    let by_number: usize = built.sites.iter().map(Vec::len).sum();
    let (count, left, broken) = (tests.len(), built.alone.len(), built.broken.len());
    eprintln!("{}: {count} tests; {by_number} changes by number, {left} alone, {broken} do not compile", package.name);
    let mut verdicts = run::each(&tests, &folder, &built.sites)?;
    verdicts.extend(built.broken.iter().map(|number| (*number, Verdict::Broken)));

    mirror(&workshop.root, &workshop.copy)?;
    for (number, mutant) in mutants.iter().filter(|(number, _)| built.alone.contains(number)) {
        if !alone {
            verdicts.insert(*number, Verdict::NotRun);
            continue;
        }
        let file = workshop.copy.join(&mutant.file);
        let text = std::fs::read_to_string(workshop.root.join(&mutant.file))?;
        write(&file, changed(&text, mutant).as_bytes())?;
        let verdict = match workshop.compile(package)? {
            Ok(_) => run::built_in(&tests, &folder)?,
            Err(_) => Verdict::Broken,
        };
        eprintln!("alone: {verdict:?} {}", mutant.name);
        verdicts.insert(*number, verdict);
        write(&file, text.as_bytes())?;
    }
    Ok(verdicts)
}

/// The file with one mistake, as cargo-mutants writes it.
fn changed(text: &str, mutant: &Mutant) -> String {
    let place = mutant.span.bytes(text);
    let rest = &text[place.end..];
    let comma = if mutant.genre == Genre::StructField { rest.len() - rest.trim_start().trim_start_matches(',').len() } else { 0 };
    format!("{}{}{}", &text[..place.start], mutant.replacement, &rest[comma..])
}

/// What `.cargo/mutants.toml` leaves out of the tests.
fn skipped(root: &Path) -> Result<Vec<String>> {
    let table: toml::Table = std::fs::read_to_string(root.join(".cargo/mutants.toml"))?.parse()?;
    let words = table.get("additional_cargo_test_args").and_then(toml::Value::as_array).context("additional_cargo_test_args")?;
    let words: Vec<&str> = words.iter().filter_map(toml::Value::as_str).collect();
    Ok(words.windows(2).filter(|pair| pair[0] == "--skip").map(|pair| pair[1].to_owned()).collect())
}
