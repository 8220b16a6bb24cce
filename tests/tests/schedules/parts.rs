//! Writes that go up in parts (docs/decisions/0016-writes-in-parts.md): whatever fails between two of them, one outcome and one effect.

use proto::frame::Frame;
use tests::lab::dice::Dice;
use tests::lab::road::Road;
use tests::lab::words::{add, create};
use tests::lab::{Brought, Fault, Lab, Side};

use super::{n, shop};

/// Each part takes half a second, and is a commit of its own.
const MBIT: Road = Road { rate: 125_000, delay_ms: 50 };
/// Five parts.
const BYTES: usize = 300_000;
const PART: u64 = 64 * 1024;

fn noise(seed: u64, bytes: usize) -> String {
    format!(r#"{{"p":"{}"}}"#, Dice::new(seed).noise(bytes))
}

/// A shop on such a road, with a large sale and a small one that have not begun to go up.
fn laden(nodes: &[&str]) -> Lab {
    let mut lab = shop(nodes);
    lab.road = MBIT;
    lab.cut(0);
    lab.converge(60_000);
    lab.online(0, false);
    sell(&mut lab, 0, 1, BYTES);
    sell(&mut lab, 0, 2, 10);
    lab.brought = Brought::default();
    lab.online(0, true);
    lab
}

/// A record and a counter in one write: an effect that is there twice, or in part, shows.
fn sell(lab: &mut Lab, node: usize, sale: u64, bytes: usize) {
    let key = format!("{}-{sale}", lab.edges[node].database().short());
    lab.write(node, vec![create("sales", &key, &noise(sale, bytes)), add("tally", "1", "n", -1)]);
}

/// How many parts the hub has said that it holds.
fn held(lab: &Lab) -> usize {
    lab.trace.iter().filter(|line| line.contains("cloud") && line.contains("says Held")).count()
}

#[track_caller]
fn sold_once(lab: &mut Lab, sales: i64) {
    lab.converge(120_000);
    assert_eq!(n(lab, 0, "tally"), Some(20 - sales), "every sale counts once");
    let answers = lab.edges[0].answers();
    assert_eq!(answers, (1..=sales).map(|number| format!("{number} applied")).collect::<Vec<_>>());
}

/// The power of either side fails at any piece of work of its store, before the commit or behind it and before the answer.
#[test]
fn a_power_cut_at_any_commit_between_parts() {
    for (side, after, commits) in [Side::Cloud, Side::Edge(0)]
        .into_iter()
        .flat_map(|side| (0..14).flat_map(move |after| [true, false].map(|commits| (side, after, commits))))
    {
        println!("{side:?} {after} {commits}");
        let mut lab = laden(&["lyon"]);
        lab.fault(side, Fault { after, commits });
        sold_once(&mut lab, 2);
        // What the hub had said it holds did not come again, nor more than what was on its way.
        assert!(lab.brought.bytes[0] < BYTES as u64 + 4 * PART, "{:?}", lab.brought);
    }
}

/// The connection breaks after any time of the upload.
#[test]
fn a_cut_at_any_time_of_an_upload() {
    for ms in (100..3_000).step_by(97) {
        let mut lab = laden(&["lyon"]);
        lab.pass(500 + ms);
        lab.cut(0);
        sold_once(&mut lab, 2);
        assert!(lab.brought.bytes[0] < BYTES as u64 + 2 * PART, "cut after {ms} ms: {:?}", lab.brought);
        assert!(lab.ends.is_empty(), "{:?}", lab.ends);
    }
}

/// Cuts, holes, half-open ends and power cuts between the parts of several writes, as a seed has it.
#[test]
fn any_history_of_an_upload_ends_with_one_effect() {
    const SALES: i64 = 6;
    for seed in 0..12 {
        println!("seed {seed}");
        let mut dice = Dice::new(seed);
        let mut lab = laden(&["lyon"]);
        for sale in 3..=SALES.cast_unsigned() {
            let bytes = if dice.one_in(2) { 100 } else { 150_000 + (dice.below(400_000)) as usize };
            sell(&mut lab, 0, sale, bytes);
        }
        for _ in 0..15 {
            lab.pass(dice.below(1_500));
            match dice.below(6) {
                0 => lab.kill(Side::Cloud),
                1 => lab.kill(Side::Edge(0)),
                2 => lab.half_open(0),
                3 => lab.freeze(0, dice.below(2_000)),
                4 => lab.fault(Side::Cloud, Fault { after: dice.below(3), commits: dice.one_in(2) }),
                _ => lab.cut(0),
            }
        }
        sold_once(&mut lab, SALES);
    }
}

/// A newer session of the same database begins while a part of the old one is being committed: the new one is told what came of it.
#[test]
fn a_session_that_is_taken_over_between_two_parts() {
    for after in 1..5 {
        let mut lab = laden(&["lyon"]);
        assert!(lab.run(60_000, |lab| held(lab) == after));
        lab.half_open(0);
        sold_once(&mut lab, 2);
        assert!(lab.brought.bytes[0] < BYTES as u64 + 3 * PART, "{:?}", lab.brought);
    }
}

/// `clone-same-number`, in parts: both copies of a card have a write of the number whose parts the hub holds, and not the same one.
#[test]
fn a_copied_card_with_another_large_write() {
    let mut lab = laden(&["lyon"]);
    lab.online(0, false);
    let image = lab.image(Side::Edge(0));
    lab.online(0, true);
    assert!(lab.run(60_000, |lab| held(lab) == 2));
    lab.online(0, false);
    let twin = lab.twin(0, &image);
    lab.online(twin, false);
    sell(&mut lab, 0, 3, BYTES);
    sell(&mut lab, twin, 4, BYTES);
    lab.online(twin, true);
    lab.converge(120_000);
    lab.online(twin, false);
    lab.online(0, true);
    lab.converge(120_000);
    // Two sales that both had, and one of each.
    assert_eq!(lab.cloud.all("sales").len(), 4);
    assert_eq!(lab.cloud.value("tally", "1").unwrap(), r#"{"n":16}"#);
}

/// The hub goes back to a state in which it held less, or nothing, of what it has held since, or taken.
#[test]
fn a_restored_hub_goes_on_from_what_it_has() {
    for (saved, restored) in [(0, 2), (2, 3), (3, 100), (0, 100)] {
        let mut lab = laden(&["lyon"]);
        assert!(saved == 0 || lab.run(60_000, |lab| held(lab) == saved));
        lab.online(0, false);
        let image = lab.image(Side::Cloud);
        lab.online(0, true);
        lab.run(20_000, |lab| held(lab) == restored);
        lab.put_back(Side::Cloud, &image);
        lab.converge(120_000);
        assert_eq!(lab.cloud.value("tally", "1").unwrap(), r#"{"n":18}"#, "saved at {saved}, put back at {restored}");
        assert_eq!(lab.cloud.all("sales").len(), 2);
    }
}

/// What the hub's disk has spoilt is found by the hash, goes, and comes again.
#[test]
fn spoilt_parts_come_again() {
    for damage in
        ["UPDATE parts SET bytes = zeroblob(length(bytes)) WHERE at = 0", "DELETE FROM parts", "UPDATE partial_writes SET held = held + 7"]
    {
        let mut lab = laden(&["lyon"]);
        assert!(lab.run(60_000, |lab| held(lab) == 3));
        lab.kill_cloud(|file| assert!(file.execute(damage, []).unwrap() > 0));
        sold_once(&mut lab, 2);
        let ends: Vec<_> = lab.ends.iter().map(|end| end.reason.code.as_str()).collect();
        assert!(ends.contains(&"parts"), "{damage}: {ends:?}");
    }
}

/// With a side that knows no parts writes go whole, as before.
#[test]
fn with_an_older_side_writes_go_whole() {
    fn older_edge(frame: Frame) -> Vec<u8> {
        match frame {
            Frame::Hello(mut hello) => {
                hello.features.retain(|name| name != "parts");
                Frame::Hello(hello).encode()
            }
            frame => frame.encode(),
        }
    }
    fn older_cloud(frame: Frame) -> Vec<u8> {
        match frame {
            Frame::Welcome(mut welcome) => {
                welcome.features.retain(|name| name != "parts");
                welcome.held = None;
                Frame::Welcome(welcome).encode()
            }
            frame => frame.encode(),
        }
    }
    for older in [Side::Cloud, Side::Edge(0)] {
        let mut lab = laden(&["lyon"]);
        match older {
            Side::Cloud => lab.cloud_says = older_cloud,
            Side::Edge(_) => lab.edge_says = older_edge,
        }
        sold_once(&mut lab, 2);
        assert_eq!(held(&lab), 0);
        assert!(lab.ends.is_empty());
    }
}
