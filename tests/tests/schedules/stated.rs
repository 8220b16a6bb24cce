//! What is promised is stated, and what once broke a draft of the design is a test: the lists of docs/design.md, compared with the tree.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tests::lab::guarantees::{ALL, INVARIANTS, OF_THE_TESTS};

/// Schedules whose names no function can have, and those that have one in words.
const SPELT: [(&str, &str); 6] = [
    ("600-in-one-revision", "six_hundred_in_one_revision"),
    ("64kbit", "sixty_four_kbit"),
    ("2MiB-write", "two_mib_write"),
    ("restore-by-copy", "a_copy_of_a_stopped_hub"),
    ("45-days-merge", "forty_five_days_merge"),
    ("was-4MiB", "was_4mib"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn design() -> String {
    std::fs::read_to_string(root().join("docs/design.md")).unwrap()
}

/// A section, from its heading to the next.
fn section(design: &str, heading: &str) -> String {
    let rest = design.split_once(&format!("\n## {heading}")).unwrap_or_else(|| panic!("no section {heading}")).1;
    rest.split("\n## ").next().unwrap().to_owned()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            sources(&path, found);
        } else if name.ends_with(".rs") || (name.ends_with(".txt") && path.components().any(|part| part.as_os_str() == "scripts")) {
            found.push(path);
        }
    }
}

/// Names of functions that are tests or the body of one, and of conversations that are played.
fn tests() -> BTreeSet<String> {
    let mut paths = Vec::new();
    sources(root(), &mut paths);
    let mut names = BTreeSet::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let conversation = text.lines().filter_map(|line| line.strip_prefix("== "));
        let word = |rest: &str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned();
        let tested = text.contains("#[test]") || path.components().any(|part| part.as_os_str() == "tests");
        let functions = text.split("fn ").skip(1).filter(|_| tested).map(word);
        names.extend(conversation.map(str::to_owned).chain(functions));
    }
    names
}

#[test]
fn every_guarantee_of_the_design_is_stated() {
    let design = section(&design(), "2. ");
    let lines = design.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    let names: Vec<_> = lines.filter_map(|line| Some((line.split_once(". **")?.0.parse().unwrap(), line.split("**").nth(1)?))).collect();
    let stated: Vec<_> = ALL.iter().map(|guarantee| (guarantee.number, guarantee.name)).collect();
    assert_eq!(stated, names);
    for guarantee in ALL {
        let looks = guarantee.always.len() + guarantee.when_done.len() + guarantee.tests.len();
        assert!(looks > 0, "nobody looks at {guarantee}");
    }
}

#[test]
fn every_invariant_belongs_to_a_guarantee() {
    let own = ALL.iter().flat_map(|guarantee| guarantee.invariants).copied();
    let mut numbers: Vec<_> = own.chain(OF_THE_TESTS.iter().map(|(number, _)| *number)).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=INVARIANTS.len()).collect::<Vec<_>>());
}

#[test]
fn every_test_that_is_named_exists() {
    let tests = tests();
    let own = ALL.iter().flat_map(|guarantee| guarantee.tests);
    let named = own.chain(OF_THE_TESTS.iter().flat_map(|(_, names)| *names));
    let missing: Vec<_> = named.filter(|name| !tests.contains(**name)).collect();
    assert!(missing.is_empty(), "no test is called {missing:?}");
}

#[test]
fn every_schedule_of_the_design_is_a_test() {
    let (section, tests) = (section(&design(), "12. "), tests());
    let names: Vec<_> = section.split('`').skip(1).step_by(2).collect();
    assert!(names.len() > 50, "{names:?}");
    let spelt =
        |name: &str| SPELT.iter().find(|(own, _)| *own == name).map_or_else(|| name.replace('-', "_"), |(_, test)| (*test).to_owned());
    let missing: Vec<_> = names.into_iter().filter(|name| !tests.contains(&spelt(name))).collect();
    assert!(missing.is_empty(), "no test is called like {missing:?}");
}
