//! Histories that nobody thought of.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tests::lab::words::{add, merge};
use tests::lab::{check, season};

use super::shop;

/// How many seeds are tried, unless `TOMBOLO_SEEDS` says otherwise.
const SEEDS: u64 = 90;
/// What so many histories must have met, or they prove less than they seem to.
const MET: [&str; 20] = [
    "applied",
    "merged",
    "flagged bound",
    "flagged count",
    "flagged gone",
    "rejected bound",
    "rejected depends",
    "rejected guard",
    "rejected key_taken",
    "rejected not_entitled",
    "kill Cloud",
    "kill Edge",
    "half open",
    "cut",
    "full",
    "label",
    "limit",
    "replaced",
    "kept",
    "reports in write",
];

#[test]
fn any_history_ends_in_sync() {
    let set = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = set("TOMBOLO_SEED").map_or(0..set("TOMBOLO_SEEDS").unwrap_or(SEEDS), |only| only..only + 1);
    let mut met: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in seeds.clone() {
        println!("TOMBOLO_SEED={seed}");
        let mut lab = season::run(seed);
        let answers: Vec<_> = (0..lab.edges.len()).flat_map(|node| lab.edges[node].answers()).collect();
        for line in answers.iter().chain(&lab.trace) {
            MET.iter().filter(|word| line.contains(**word)).for_each(|word| *met.entry(word).or_default() += 1);
        }
    }
    println!("{met:?}");
    let missed: Vec<_> = MET.iter().filter(|word| !met.contains_key(**word)).collect();
    assert!(seeds.count() < SEEDS as usize || missed.is_empty(), "no history met {missed:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let (one, two) = (season::run(7).trace, season::run(7).trace);
    let differs = one.iter().zip(&two).position(|(one, two)| one != two);
    assert_eq!(differs.map(|at| (&one[at], &two[at])), None);
    assert_eq!(one.len(), two.len());
}

/// What the checks are for is damage: each kind that they look for is made by hand once.
#[test]
fn the_checks_see_damage() {
    let mut lab = shop(&["lyon"]);
    lab.online(0, false);
    lab.in_cloud(vec![merge("products", "1", r#"{"name":"mint"}"#)]);
    lab.edges[0].online = true;
    let differences = check::differences(&mut lab);
    assert!(
        matches!(&differences[..], [one] if one.starts_with("guarantee 6 (convergence): node lyon (0): products/1")),
        "{differences:?}"
    );
    lab.online(0, true);
    lab.converge(10_000);
    let mut refuted = |sql: &'static str, broken: &str| {
        lab.write(0, vec![add("tally", "1", "n", -3)]);
        let damage = |lab: &mut tests::lab::Lab| lab.kill_edge(0, |file| assert!(file.execute(sql, []).unwrap() > 0));
        let failed = catch_unwind(AssertUnwindSafe(|| damage(&mut lab))).unwrap_err();
        let said = failed.downcast_ref::<String>().unwrap();
        assert!(said.starts_with(broken), "{sql}: {said}");
        lab = shop(&["lyon"]);
    };
    refuted(r#"UPDATE base SET value = '{"n":19}' WHERE value = '{"n":20}'"#, "guarantee 2 (at least once");
    refuted("UPDATE base SET revision = revision - 1", "guarantee 4 (order): node lyon");
}
