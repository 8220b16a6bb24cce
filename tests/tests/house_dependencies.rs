//! What comes into the tree from outside, and which crate may know which.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Who may know whom: the drawing in docs/architecture.md, read upwards.
const LAYERS: [(&str, &[&str]); 9] = [
    ("proto", &[]),
    ("transport", &["proto"]),
    ("api", &["proto", "transport"]),
    ("metamanager", &["proto"]),
    ("devicetwin", &["proto"]),
    ("cloudhub", &["api", "proto", "transport"]),
    ("edgehub", &["api", "devicetwin", "metamanager", "proto", "transport"]),
    ("tests", &["api", "cloudhub", "devicetwin", "edgehub", "metamanager", "powercut", "proto", "transport"]),
    ("powercut", &[]),
];

/// What the edge must never carry, whatever the list in `tests/data/edge-dependencies.txt` says: a server's work.
const NOT_ON_AN_EDGE: [(&str, &str); 4] = [
    ("cloudhub", "the hubs do not know each other"),
    ("jsonschema", "3 MB, a third of the binary: proto::schema judges on both sides, and its tests ask this one"),
    ("prost-build", "generated code is committed; nothing is generated while building"),
    ("if-addrs", "only a hub needs the addresses of its interfaces, for its certificate"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).current_dir(root()).args(args).output().unwrap();
    assert!(output.status.success(), "cargo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Every package of the lock file that a Linux build uses.
fn packages() -> Vec<Value> {
    let text = cargo(&["metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"]);
    let metadata: Value = serde_json::from_str(&text).unwrap();
    let used: BTreeSet<&str> = metadata["resolve"]["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap()).collect();
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().filter(|package| used.contains(package["id"].as_str().unwrap())).cloned().collect()
}

fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap()
}

fn rules() -> toml::Table {
    std::fs::read_to_string(root().join("deny.toml")).unwrap().parse().unwrap()
}

/// What is compiled into `package`, its own crates included: no build scripts' and no procedural macros' needs.
fn compiled_into(package: &str) -> BTreeSet<String> {
    let edges = "normal,no-proc-macro";
    let text = cargo(&["tree", "--locked", "-p", package, "-e", edges, "--prefix", "none", "--format", "{p}"]);
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// Whether an SPDX expression can be met with the allowed licences alone. `A/B` is the old way to write `A OR B`.
fn allowed(expression: &str, licences: &BTreeSet<String>) -> bool {
    let expression = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = expression.split_whitespace().collect();
    let (verdict, rest) = any_of(&words, licences);
    assert!(rest.is_empty(), "not an SPDX expression: {expression}");
    verdict
}

fn any_of<'a>(words: &'a [&'a str], licences: &BTreeSet<String>) -> (bool, &'a [&'a str]) {
    let (mut verdict, mut rest) = all_of(words, licences);
    while let ["OR", after @ ..] = rest {
        let (next, left) = all_of(after, licences);
        (verdict, rest) = (verdict | next, left);
    }
    (verdict, rest)
}

fn all_of<'a>(words: &'a [&'a str], licences: &BTreeSet<String>) -> (bool, &'a [&'a str]) {
    let (mut verdict, mut rest) = one(words, licences);
    while let ["AND", after @ ..] = rest {
        let (next, left) = one(after, licences);
        (verdict, rest) = (verdict & next, left);
    }
    (verdict, rest)
}

fn one<'a>(words: &'a [&'a str], licences: &BTreeSet<String>) -> (bool, &'a [&'a str]) {
    match words {
        ["(", inside @ ..] => {
            let (verdict, rest) = any_of(inside, licences);
            (verdict, rest.strip_prefix(&[")"]).expect("a closing bracket"))
        }
        [licence, "WITH", exception, rest @ ..] => (licences.contains(&format!("{licence} WITH {exception}")), rest),
        [licence, rest @ ..] => (licences.contains(*licence), rest),
        [] => panic!("an SPDX expression that ends too early"),
    }
}

#[test]
fn spdx_expressions_are_understood() {
    let licences = BTreeSet::from(["MIT".to_owned(), "ISC".to_owned(), "Apache-2.0 WITH LLVM-exception".to_owned()]);
    let met = ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR (MIT AND ISC)", "Apache-2.0 WITH LLVM-exception OR GPL-3.0"];
    let unmet = ["GPL-3.0", "MIT AND GPL-3.0", "Apache-2.0", "(MIT OR ISC) AND GPL-3.0"];
    assert!(met.iter().all(|expression| allowed(expression, &licences)));
    assert!(!unmet.iter().any(|expression| allowed(expression, &licences)));
}

#[test]
fn licences_are_on_the_list() {
    let rules = rules();
    let licences: BTreeSet<String> =
        rules["licenses"]["allow"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().into()).collect();
    let wrong: Vec<String> = packages()
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(|expression| allowed(expression, &licences)))
        .map(|package| format!("{} ({})", name(package), package["license"]))
        .collect();
    assert!(wrong.is_empty(), "licences that deny.toml does not allow: {wrong:?}");
}

#[test]
fn nothing_banned_and_nothing_from_elsewhere() {
    let rules = rules();
    let banned: BTreeMap<&str, &str> = rules["bans"]["deny"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| (rule["crate"].as_str().unwrap(), rule["reason"].as_str().expect("every ban has its reason")))
        .collect();
    for package in packages() {
        if let Some(reason) = banned.get(name(&package)) {
            panic!("{} is banned by deny.toml: {reason}; `cargo tree -i {}` shows who wants it", name(&package), name(&package));
        }
        let source = package["source"].as_str().unwrap_or("registry+here");
        assert!(source.starts_with("registry+"), "{} comes from {source}: only crates.io, by version", name(&package));
    }
}

/// The edge binary runs on small machines that nobody visits: every crate in it was let in by hand.
#[test]
fn the_edge_binary_holds_only_what_was_let_in() {
    let list = std::fs::read_to_string(root().join("tests/data/edge-dependencies.txt")).unwrap();
    let listed: BTreeSet<String> =
        list.lines().map(|line| line.split('#').next().unwrap().trim()).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    let found = compiled_into("edgehub");
    let new: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "edgehub's dependencies changed; new: {new:?}, gone: {gone:?}. `cargo tree -p edgehub -e normal -i NAME` shows who wants a new one. \
         Where it is worth its bytes on every node, change tests/data/edge-dependencies.txt"
    );
}

#[test]
fn the_edge_binary_has_no_server_in_it() {
    let found = compiled_into("edgehub");
    for (name, reason) in NOT_ON_AN_EDGE {
        assert!(!found.contains(name), "edgehub depends on {name}: {reason}");
    }
}

/// A runtime, a socket or a store among its dependencies would end proto's purity without a line of its own changing.
#[test]
fn proto_stays_pure() {
    let found = compiled_into("proto");
    for name in ["tokio", "mio", "socket2", "rusqlite", "rustls", "getrandom", "tracing", "time"] {
        assert!(!found.contains(name), "proto depends on {name}");
    }
}

#[test]
fn each_crate_knows_only_the_layers_below() {
    let packages = packages();
    let ours: BTreeMap<&str, &Value> =
        packages.iter().filter(|package| package["source"].is_null()).map(|package| (name(package), package)).collect();
    assert_eq!(ours.keys().copied().collect::<BTreeSet<_>>(), LAYERS.iter().map(|(name, _)| *name).collect(), "a crate without a layer");
    for (layer, below) in LAYERS {
        for dependency in ours[layer]["dependencies"].as_array().unwrap() {
            let needed = dependency["name"].as_str().unwrap();
            assert!(!ours.contains_key(needed) || below.contains(&needed), "{layer} must not depend on {needed}");
        }
    }
}
