//! Links that break, and sessions that take each other's place.

use proto::session::End;
use tests::lab::words::{add, merge};
use tests::lab::{Fault, Side};

use super::{n, shop};

fn codes(ends: &[End]) -> Vec<&str> {
    ends.iter().map(|end| end.reason.code.as_str()).collect()
}

#[test]
fn welcome_lost_twice() {
    let mut lab = shop(&["lyon"]);
    lab.cut(0);
    lab.write(0, vec![add("tally", "1", "n", -3)]);
    for word in ["says Welcome", "says Welcome", "says Started", "says Started"] {
        lab.until(word);
        lab.cut(0);
    }
    lab.converge(60_000);
    assert_eq!(lab.edges[0].answers(), ["1 applied"]);
    assert_eq!(n(&mut lab, 0, "tally"), Some(17));
}

/// The edge's end is gone, the cloud still commits what came through it, and the new session says Hello meanwhile.
#[test]
fn half_open_takeover() {
    let mut lab = shop(&["lyon"]);
    lab.store_ms = 700;
    for _ in 0..30 {
        lab.write(0, vec![add("tally", "1", "n", -1)]);
    }
    lab.until("says Writes");
    lab.pass(100);
    lab.half_open(0);
    lab.converge(60_000);
    assert_eq!(codes(&lab.ends), ["replaced"]);
    assert_eq!(n(&mut lab, 0, "tally"), Some(-10));
    assert_eq!(lab.edges[0].outcomes().len(), 30);
}

/// The answer of every single piece of work of either side is lost once, before its commit and after it.
#[test]
fn power_fails_at_every_commit() {
    for (side, commits) in [(Side::Cloud, true), (Side::Cloud, false), (Side::Edge(0), true), (Side::Edge(0), false)] {
        let mut lab = shop(&["lyon"]);
        for after in 0..8 {
            lab.fault(side, Fault { after, commits });
            lab.write(0, vec![add("tally", "1", "n", -1), merge("products", "1", &format!(r#"{{"name":"tea {after}"}}"#))]);
            lab.in_cloud(vec![add("tally", "1", "n", 1), merge("products", "1", &format!(r#"{{"note":{after}}}"#))]);
            lab.pass(2_000);
        }
        lab.converge(60_000);
        assert_eq!(n(&mut lab, 0, "tally"), Some(20));
        assert!(lab.trace.iter().any(|line| line.contains("kill")), "{side:?}");
    }
}

/// The outcome is lost with the link again and again; it comes once.
#[test]
fn lost_answers() {
    let mut lab = shop(&["lyon"]);
    lab.write(0, vec![add("tally", "1", "n", -3)]);
    for word in ["says Writes", "says Taken", "says Batch", "says Batch"] {
        lab.until(word);
        assert!(lab.edges[0].outcomes().is_empty());
        lab.cut(0);
    }
    lab.converge_seeing(60_000, |lab| assert_eq!(n(lab, 0, "tally"), Some(17)));
    assert_eq!(lab.edges[0].answers(), ["1 applied"]);
}
