//! What overtakes what on the way down.

use tests::lab::words::{add, create, delete, merge, put};
use tests::lab::{Lab, Side};

use super::{n, shop};

/// Takes the node off the network while the cloud has already decided what it wrote.
fn decided_and_cut(lab: &mut Lab) {
    let head = lab.cloud.head();
    assert!(lab.run(10_000, |lab| lab.cloud.head() > head), "the write was taken");
    lab.online(0, false);
}

/// Base 20, a sale of 3 applied, and the record comes with the outcome, after it, or newer than it: always 17.
#[test]
fn record_before_outcome() {
    for slow in [1, 20, 200] {
        let mut lab = shop(&["lyon"]);
        lab.store_ms = slow;
        lab.write(0, vec![add("tally", "1", "n", -3), add("products", "1", "n", -3)]);
        lab.converge_seeing(60_000, |lab| {
            assert_eq!((n(lab, 0, "tally"), n(lab, 0, "products")), (Some(17), Some(17)));
        });
        // Once more, with the answer lost after it was made and another's change on top of it.
        lab.write(0, vec![add("tally", "1", "n", -2), add("products", "1", "n", -2)]);
        decided_and_cut(&mut lab);
        lab.in_cloud(vec![add("tally", "1", "n", 5), add("products", "1", "n", 5)]);
        lab.kill(Side::Edge(0));
        lab.online(0, true);
        lab.converge_seeing(60_000, |lab| {
            let seen = n(lab, 0, "products");
            assert!([Some(15), Some(20)].contains(&seen), "neither twice nor never: {seen:?}");
            assert_eq!(n(lab, 0, "tally"), seen);
        });
        assert_eq!(n(&mut lab, 0, "tally"), Some(20));
    }
}

#[test]
fn own_delete_overtaken() {
    let mut lab = shop(&["lyon"]);
    lab.in_cloud(vec![put("stock", "a", r#"{"W":"lyon","x":1}"#)]);
    lab.converge(10_000);
    lab.write(0, vec![delete("stock", "a", false)]);
    decided_and_cut(&mut lab);
    // Made again here, and then in the cloud: the second to arrive finds its key taken.
    lab.write(0, vec![create("stock", "a", r#"{"W":"lyon","x":2}"#)]);
    lab.in_cloud(vec![create("stock", "a", r#"{"W":"lyon","x":3}"#)]);
    lab.online(0, true);
    lab.converge_seeing(60_000, |lab| {
        let x = lab.edges[0].value("stock", "a").expect("the deletion does not come back over what is newer");
        let heard = lab.edges[0].outcomes().len();
        assert!(x.contains(if heard == 2 { r#""x":3"# } else { r#""x":2"# }), "{x} after {heard} outcomes");
    });
    assert_eq!(lab.edges[0].answers(), ["1 applied", "2 rejected key_taken"]);
}

/// Parts of one large revision; records of it change again between the parts.
#[test]
fn torn_coalesce() {
    let mut lab = shop(&["lyon"]);
    lab.in_cloud((0..600).map(|id| put("stock", &format!("{id:03}"), r#"{"W":"lyon","x":1}"#)).collect());
    assert!(lab.run(10_000, |lab| lab.edges[0].reader().status().unwrap().cursor.unwrap().position.inside.is_some()));
    lab.in_cloud(vec![merge("stock", "599", r#"{"x":2}"#), merge("stock", "000", r#"{"x":2}"#)]);
    let stock = tests::lab::words::collection("stock");
    lab.converge_seeing(60_000, |lab| {
        let held = lab.edges[0].reader().count(&stock).unwrap();
        assert!([0, 599, 600, 598].contains(&held), "{held} of a large transaction are visible");
    });
    assert_eq!(lab.edges[0].value("stock", "599"), lab.cloud.value("stock", "599"));
}

/// An ACK is lost, the record changes again, and the same stretch comes once more.
#[test]
fn newest_version_resend() {
    let mut lab = shop(&["lyon"]);
    for round in 0..12 {
        lab.write(0, vec![add("tally", "1", "n", -1), merge("products", "1", &format!(r#"{{"note":{round}}}"#))]);
        lab.until("says Ack");
        lab.cut(0);
        lab.in_cloud(vec![add("tally", "1", "n", 1), merge("products", "1", &format!(r#"{{"name":"tea {round}"}}"#))]);
    }
    lab.converge(60_000);
    assert_eq!(n(&mut lab, 0, "tally"), Some(20));
}

/// The outcome comes long before the newest version of its record.
#[test]
fn outcome_before_newest() {
    let mut lab = shop(&["lyon"]);
    lab.write(0, vec![add("tally", "1", "n", -5)]);
    decided_and_cut(&mut lab);
    for part in 0..4 {
        lab.in_cloud((0..500).map(|id| put("stock", &format!("{part}-{id}"), r#"{"W":"lyon"}"#)).collect());
    }
    lab.in_cloud(vec![add("tally", "1", "n", 1)]);
    lab.online(0, true);
    let mut apart = false;
    lab.converge_seeing(60_000, |lab| {
        let row = lab.edges[0].row("tally", "1").unwrap();
        apart |= lab.edges[0].outcomes().len() == 1 && !row.pending.is_empty();
        assert!([15, 16].contains(&n(lab, 0, "tally").unwrap()));
    });
    assert!(apart, "the outcome came alone and the sale stayed laid");
}

/// Rejected, and without effect, at the very head: no record ever comes for them, and the view lets go of them.
#[test]
fn reject_at_head() {
    let mut lab = shop(&["lyon", "oslo"]);
    lab.in_cloud(vec![put("orders", "1", r#"{"s":1}"#)]);
    lab.converge(10_000);
    lab.online(0, false);
    lab.write(0, vec![merge("orders", "1", r#"{"s":2}"#)]);
    lab.write(1, vec![merge("orders", "1", r#"{"s":3}"#)]);
    lab.write(0, vec![put("products", "1", r#"{"id":1,"name":"tea","price":18.0,"n":20,"note":null}"#)]);
    lab.converge(10_000);
    lab.online(0, true);
    let begin = lab.now_ms;
    lab.converge(10_000);
    assert!(lab.now_ms - begin < 5_000, "not by the hourly batch");
    assert_eq!(lab.edges[0].answers(), ["1 rejected guard", "2 applied"]);
    assert_eq!(lab.edges[0].value("orders", "1").unwrap(), r#"{"s":3}"#);
}

/// A partition is left and entered again while the node looks and while it is away; nobody else's record shows.
#[test]
fn move_away_and_back() {
    let mut lab = shop(&["lyon", "oslo"]);
    lab.in_cloud(vec![put("stock", "a", r#"{"W":"lyon","x":1}"#)]);
    lab.converge(10_000);
    lab.write(0, vec![merge("stock", "a", r#"{"x":2}"#)]);
    lab.in_cloud(vec![merge("stock", "a", r#"{"W":"oslo"}"#)]);
    lab.converge(10_000);
    assert_eq!((lab.edges[0].value("stock", "a"), lab.edges[1].value("stock", "a").is_some()), (None, true));
    assert_eq!(lab.edges[0].answers(), ["1 applied"], "it had not seen that the record left");
    lab.online(0, false);
    for site in ["lyon", "oslo", "lyon"] {
        lab.in_cloud(vec![merge("stock", "a", &format!(r#"{{"W":"{site}"}}"#))]);
    }
    lab.online(0, true);
    lab.converge(10_000);
    assert_eq!((lab.edges[0].value("stock", "a").is_some(), lab.edges[1].value("stock", "a")), (true, None));
}

/// A grant is taken away and given back in the middle of its back-fill, and part of a revision waits in staging.
#[test]
fn staged_cut() {
    let mut lab = shop(&["lyon"]);
    lab.in_cloud((0..600).map(|id| put("stock", &format!("{id:03}"), r#"{"W":"lyon","x":1}"#)).collect());
    let inside = |lab: &mut Lab| lab.edges[0].reader().status().unwrap().cursor.unwrap().position.inside.is_some();
    assert!(lab.run(10_000, inside));
    lab.kill(Side::Edge(0));
    assert_eq!(lab.edges[0].reader().count(&tests::lab::words::collection("stock")).unwrap(), 0);
    lab.label("lyon", "site", "paris");
    lab.pass(600);
    lab.kill(Side::Cloud);
    lab.label("lyon", "site", "lyon");
    lab.pass(505);
    lab.cut(0);
    lab.converge(60_000);
    assert_eq!(lab.edges[0].reader().count(&tests::lab::words::collection("stock")).unwrap(), 600);
}

/// In steady state no reader sees a part of a cloud transaction; behind by more than a batch, a large one comes through
/// staging and becomes visible at once.
#[test]
fn cloud_transactions_are_whole() {
    let mut lab = shop(&["lyon"]);
    let stock = tests::lab::words::collection("stock");
    let all =
        |round: u32, count: u32| (0..count).map(move |id| put("stock", &format!("{id:03}"), &format!(r#"{{"W":"lyon","r":{round}}}"#)));
    for (round, count) in (1..6).map(|round| (round, 250)).chain((6..9).map(|round| (round, 900))) {
        lab.in_cloud(all(round, count).collect());
        lab.converge_seeing(60_000, |lab| {
            let rounds: std::collections::BTreeSet<_> =
                lab.edges[0].all(&stock).iter().filter_map(|row| tests::lab::words::number(&row.value, "r")).collect();
            assert!(rounds.len() <= 1, "records of rounds {rounds:?} at one moment");
        });
    }
    assert_eq!(lab.edges[0].reader().count(&stock).unwrap(), 900);
}

/// A disk that is full to the last byte: the outbox drains, outcomes before the records that they are about, readers never see a
/// sale twice or not at all, and the stream goes on by itself when there is room.
#[test]
fn disk_zero_drain() {
    let mut lab = shop(&["lyon"]);
    lab.online(0, false);
    for _ in 0..600 {
        lab.write(0, vec![add("tally", "1", "n", -1), add("products", "1", "n", -1)]);
    }
    lab.in_cloud(vec![merge("products", "1", r#"{"price":19.5}"#)]);
    lab.in_cloud(vec![put("stock", "new", r#"{"W":"lyon","x":1}"#)]);
    lab.fill_disk(0, true);
    assert!(lab.try_write(0, vec![add("tally", "1", "n", -1)]).is_err(), "507");
    lab.online(0, true);
    let drained = |lab: &mut Lab| lab.edges[0].outcomes().len() == 600;
    assert!(lab.run(300_000, drained), "the outbox drains");
    assert_eq!((n(&mut lab, 0, "tally"), n(&mut lab, 0, "products")), (Some(-580), Some(-580)));
    lab.pass(60_000);
    assert!(lab.edges[0].value("products", "1").unwrap().contains("19.5"), "what the writes touched came after their outcomes");
    assert_eq!(lab.edges[0].value("stock", "new"), None, "what they did not touch waits");
    lab.fill_disk(0, false);
    lab.converge(120_000);
    assert!(lab.edges[0].value("stock", "new").is_some());
}
