//! Conversations whose frames are changed on their way: bits, ends, order, number. TLS keeps that from happening; what it would do is
//! what a node or a hub that has gone mad does.

use tests::lab::dice::Dice;
use tests::lab::words::{add, delete, merge, put};

use super::shop;

/// How many seeds are tried.
const SEEDS: u64 = 60;

/// Nothing panics, the shop beside it is in sync all the time, and the node itself comes back.
#[test]
fn spoilt_frames_harm_nobody_else_and_the_node_comes_back() {
    let mut said = std::collections::BTreeSet::new();
    let only = std::env::var("TOMBOLO_SEED").ok().map(|text| text.parse::<u64>().unwrap());
    for seed in only.map_or(0..SEEDS, |only| only..only + 1) {
        println!("TOMBOLO_SEED={seed}");
        let mut dice = Dice::new(seed ^ 0x7370_6f69);
        let mut lab = shop(&["lyon", "oslo"]);
        lab.spoil(Some((0, seed)));
        for step in 0..40 {
            let id = (1 + dice.below(4)).to_string();
            let json = format!(r#"{{"id":{id},"name":"{step}"}}"#);
            let request = match dice.below(5) {
                0 => put("products", &id, &json),
                1 => delete("products", &id, true),
                2 => add("products", "1", "n", 1),
                _ => merge("products", &id, &json),
            };
            match dice.below(4) {
                0 => drop(lab.try_in_cloud(vec![request])),
                1 => drop(lab.try_write(1, vec![add("tally", "1", "n", 1)])),
                2 => lab.cut(0),
                _ => drop(lab.try_write(0, vec![request])),
            }
            lab.pass(dice.below(400));
        }
        said.extend(lab.ends.iter().map(|end| end.reason.code.clone()));
        lab.online(0, false);
        lab.converge(60_000);
        lab.spoil(None);
        lab.online(0, true);
        lab.converge(2_400_000);
    }
    println!("{said:?}");
    for code in ["malformed", "unexpected", "out_of_order"] {
        assert!(only.is_some() || said.contains(code), "no session ended with {code}: {said:?}");
    }
}
