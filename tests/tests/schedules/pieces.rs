//! Large values that come down in pieces (docs/decisions/0018-values-in-pieces.md): whatever fails between two of them, the record
//! comes whole, and nothing stays that the node may not hold.

use proto::frame::Frame;
use tests::lab::dice::Dice;
use tests::lab::road::Road;
use tests::lab::words::put;
use tests::lab::{Brought, Fault, Lab, Side};

use super::shop;

const MBIT: Road = Road { rate: 125_000, delay_ms: 50 };
/// Eight pieces.
const BYTES: usize = 500_000;
const PIECE: u64 = 64 * 1024;

fn noise(seed: u64, bytes: usize) -> String {
    format!(r#"{{"W":"lyon","p":"{}"}}"#, Dice::new(seed).noise(bytes))
}

/// A node on such a road, for which a large record waits and a small one behind it.
fn awaiting() -> Lab {
    let mut lab = shop(&["lyon"]);
    lab.road = MBIT;
    lab.cut(0);
    lab.converge(60_000);
    lab.online(0, false);
    lab.in_cloud(vec![put("stock", "large", &noise(1, BYTES))]);
    lab.in_cloud(vec![put("stock", "small", r#"{"W":"lyon"}"#)]);
    lab.brought = Brought::default();
    lab.online(0, true);
    lab
}

/// How many times the edge has said what it holds.
fn held(lab: &Lab) -> usize {
    lab.trace.iter().filter(|line| line.contains("edge") && line.contains("says Held")).count()
}

/// Pieces in the edge's file.
fn kept(lab: &mut Lab) -> i64 {
    let mut count = 0;
    lab.kill_edge(0, |file| count = file.query_row("SELECT count(*) FROM pieces", [], |row| row.get(0)).unwrap());
    count
}

#[track_caller]
fn came(lab: &mut Lab) {
    lab.converge(120_000);
    assert_eq!(lab.edges[0].value("stock", "large").unwrap(), noise(1, BYTES));
    assert_eq!(kept(lab), 0, "what was applied is kept once");
    lab.converge(120_000);
}

#[test]
fn a_power_cut_at_any_commit_between_pieces() {
    for (side, after) in [Side::Cloud, Side::Edge(0)].into_iter().flat_map(|side| (0..14).map(move |after| (side, after))) {
        for commits in [true, false] {
            println!("{side:?} {after} {commits}");
            let mut lab = awaiting();
            lab.fault(side, Fault { after, commits });
            came(&mut lab);
            assert!(lab.brought.bytes[1] < BYTES as u64 + 4 * PIECE, "{:?}", lab.brought);
        }
    }
}

#[test]
fn a_cut_at_any_time_of_a_download() {
    for ms in (100..4_500).step_by(153) {
        let mut lab = awaiting();
        lab.pass(500 + ms);
        lab.cut(0);
        came(&mut lab);
        assert!(lab.brought.bytes[1] < BYTES as u64 + 2 * PIECE, "cut after {ms} ms: {:?}", lab.brought);
        assert!(lab.ends.is_empty(), "{:?}", lab.ends);
    }
}

#[test]
fn any_history_of_a_download_ends_with_the_record() {
    for seed in 0..12 {
        println!("seed {seed}");
        let mut dice = Dice::new(seed);
        let mut lab = awaiting();
        for id in 0..4 {
            lab.in_cloud(vec![put("stock", &format!("{id}"), &noise(id, 100_000 + dice.below(500_000) as usize))]);
        }
        for _ in 0..15 {
            lab.pass(dice.below(1_500));
            match dice.below(7) {
                0 => lab.kill(Side::Cloud),
                1 => lab.kill(Side::Edge(0)),
                2 => lab.half_open(0),
                3 => lab.freeze(0, dice.below(2_000)),
                4 => lab.fault(Side::Edge(0), Fault { after: dice.below(3), commits: dice.one_in(2) }),
                5 => drop(lab.in_cloud(vec![put("stock", &dice.below(4).to_string(), &noise(dice.roll(), 300_000))])),
                _ => lab.cut(0),
            }
        }
        came(&mut lab);
    }
}

/// A full disk in the middle of a value: a pause, and from its beginning when there is room.
#[test]
fn a_disk_that_fills_between_two_pieces() {
    let mut lab = awaiting();
    assert!(lab.run(60_000, |lab| held(lab) == 3));
    lab.fill_disk(0, true);
    lab.pass(3_000);
    lab.fill_disk(0, false);
    came(&mut lab);
}

/// The record changes while its pieces are on their way: what came of the old one counts for nothing.
#[test]
fn a_value_that_changes_meanwhile() {
    let mut lab = awaiting();
    assert!(lab.run(60_000, |lab| held(lab) == 3));
    lab.online(0, false);
    lab.in_cloud(vec![put("stock", "large", &noise(2, BYTES))]);
    lab.online(0, true);
    lab.converge(120_000);
    assert_eq!(lab.edges[0].value("stock", "large").unwrap(), noise(2, BYTES));
}

/// The node loses its right between two pieces: nothing of the value stays on its card.
#[test]
fn a_right_that_is_lost_between_two_pieces() {
    let mut lab = awaiting();
    assert!(lab.run(60_000, |lab| held(lab) == 3));
    lab.online(0, false);
    assert!(kept(&mut lab) > 0);
    lab.label("lyon", "site", "oslo");
    lab.online(0, true);
    lab.converge(120_000);
    assert_eq!(kept(&mut lab), 0);
    assert_eq!(lab.edges[0].value("stock", "large"), None);
}

#[test]
fn spoilt_pieces_come_again() {
    for damage in ["UPDATE pieces SET bytes = zeroblob(length(bytes)) WHERE at = 0", "DELETE FROM pieces WHERE at = 0"] {
        let mut lab = awaiting();
        assert!(lab.run(60_000, |lab| held(lab) == 3));
        lab.kill_edge(0, |file| assert!(file.execute(damage, []).unwrap() > 0));
        came(&mut lab);
        let ends: Vec<_> = lab.ends.iter().map(|end| end.reason.code.as_str()).collect();
        assert!(ends.contains(&"parts"), "{damage}: {ends:?}");
    }
}

#[test]
fn with_an_older_side_values_come_whole() {
    fn older_edge(frame: Frame) -> Vec<u8> {
        match frame {
            Frame::Hello(mut hello) => {
                hello.features.retain(|name| name != "pieces");
                hello.held = None;
                Frame::Hello(hello).encode()
            }
            frame => frame.encode(),
        }
    }
    let mut lab = awaiting();
    lab.edge_says = older_edge;
    came(&mut lab);
    assert_eq!(held(&lab), 0);
    assert!(lab.ends.is_empty());
}
