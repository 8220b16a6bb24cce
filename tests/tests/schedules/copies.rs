//! Copied cards, old images, and stores that are put back (docs/design.md §5, copies and restores).

use tests::lab::words::{add, create, delete, merge, put};
use tests::lab::{Lab, Side};

use super::{n, shop};

/// Everything that is connected settles, and the node is in sync under whatever id it has.
fn settle(lab: &mut Lab) {
    lab.converge(120_000);
}

/// A card is copied while writes wait; both copies connect with the same session number, one after the other. What both had
/// committed takes effect once, and each keeps what it wrote alone.
#[test]
fn clone_same_number() {
    for original_first in [true, false] {
        let mut lab = shop(&["lyon"]);
        lab.online(0, false);
        lab.write(0, vec![add("tally", "1", "n", -3), add("products", "1", "n", -3)]);
        let image = lab.image(Side::Edge(0));
        let twin = lab.twin(0, &image);
        lab.online(twin, false);
        lab.write(0, vec![add("tally", "1", "n", -1), merge("products", "1", r#"{"name":"by the original"}"#)]);
        lab.write(twin, vec![add("tally", "1", "n", -5), merge("products", "1", r#"{"note":"by the copy"}"#)]);
        let (first, second) = if original_first { (0, twin) } else { (twin, 0) };
        let ids = (lab.edges[first].database(), lab.edges[second].database());
        for node in [first, second, first] {
            lab.online(node, true);
            settle(&mut lab);
            lab.online(node, false);
            lab.pass(60_000);
        }
        assert_eq!(lab.cloud.value("tally", "1").unwrap(), r#"{"n":11}"#, "20 - 3 - 1 - 5");
        assert_eq!((lab.edges[first].state(1), lab.edges[second].state(1)), ("applied".to_owned(), "applied".to_owned()));
        assert_eq!((lab.edges[first].state(2), lab.edges[second].state(2)), ("applied".to_owned(), "applied".to_owned()));
        assert_eq!(lab.edges[first].database(), ids.0, "the first is the rightful one");
        assert_ne!(lab.edges[second].database(), ids.1, "the second took an id of its own");
        let events = lab.cloud.events("lyon");
        assert!(events.contains(&"copied_database".to_owned()) && events.contains(&"database_renewed".to_owned()), "{events:?}");
        for id in [lab.edges[second].id(1), lab.edges[first].id(1)] {
            assert_eq!(lab.cloud.decided(&id).unwrap().verdict.as_str(), "applied", "{id}");
        }
    }
}

/// While the rightful one lives, its copy is refused, and nothing happens to the live one.
#[test]
fn clone_beside_the_live_one() {
    let mut lab = shop(&["lyon"]);
    let image = lab.image(Side::Edge(0));
    settle(&mut lab);
    lab.write(0, vec![add("tally", "1", "n", -3)]);
    settle(&mut lab);
    let twin = lab.twin(0, &image);
    lab.write(twin, vec![add("tally", "1", "n", -5)]);
    let sessions = lab.trace.iter().filter(|line| line.contains("says Welcome")).count();
    lab.pass(30_000);
    assert!(lab.ends.iter().any(|end| end.refused && end.reason.code == "copied_database" && !end.renew));
    assert_eq!(lab.trace.iter().filter(|line| line.contains("says Welcome")).count(), sessions, "the live one is undisturbed");
    assert_eq!(lab.edges[twin].pending(), 1);
    lab.online(0, false);
    settle(&mut lab);
    assert_eq!(n(&mut lab, twin, "tally"), Some(12), "20 - 3 - 5");
}

/// An image of the card as it was, after which the node went on, gets writes under numbers that are taken. Nothing but their
/// content tells: the session number is the newest one.
#[test]
fn old_image_then_write() {
    let mut lab = shop(&["lyon"]);
    let image = lab.image(Side::Edge(0));
    lab.converge(60_000);
    lab.write(0, vec![add("tally", "1", "n", -3)]);
    settle(&mut lab);
    for writes in [1, 3] {
        // With one write fewer than were taken, and with more: then its newest number tells nothing.
        lab.put_back(Side::Edge(0), &image);
        let before = lab.edges[0].database();
        lab.online(0, false);
        for _ in 0..writes {
            lab.write(0, vec![add("tally", "1", "n", -5)]);
        }
        lab.online(0, true);
        settle(&mut lab);
        assert_ne!(lab.edges[0].database(), before);
    }
    assert_eq!(lab.cloud.value("tally", "1").unwrap(), r#"{"n":-3}"#, "20 - 3 - 5 - 3 x 5");
    assert_eq!(lab.edges[0].state(3), "applied");
}

/// The image was taken in the session that goes on, so its session number is right, and it has more writes than were taken.
#[test]
fn an_image_with_the_right_session_number_knows_itself() {
    let mut lab = shop(&["lyon"]);
    let image = lab.image(Side::Edge(0));
    let twin = lab.twin(0, &image);
    lab.online(0, false);
    lab.online(twin, false);
    lab.write(0, vec![add("tally", "1", "n", -3)]);
    lab.online(0, true);
    settle(&mut lab);
    lab.online(0, false);
    // The session number that the image names is one that the cloud still accepts.
    let session: u64 = { lab.edges[0].session() };
    lab.kill_edge(twin, |file| assert_eq!(file.execute("UPDATE meta SET session = ?1", [session as i64]).unwrap(), 1));
    lab.write(twin, vec![add("tally", "1", "n", -5)]);
    lab.write(twin, vec![add("tally", "1", "n", -5)]);
    lab.online(twin, true);
    settle(&mut lab);
    assert!(lab.trace.iter().any(|line| line.contains("is a copy, and goes on as")));
    assert_eq!(lab.cloud.value("tally", "1").unwrap(), r#"{"n":7}"#, "20 - 3 - 5 - 5");
    assert_eq!((lab.edges[twin].state(1), lab.edges[twin].state(2)), ("applied".to_owned(), "applied".to_owned()));
}

/// Five thousand writes, an image of before them, and the cloud has forgotten the oldest: those are lost, never applied twice.
#[test]
fn image_5000() {
    let mut lab = shop(&["lyon"]);
    lab.store_ms = 1;
    lab.in_cloud(vec![put("stock", "1", r#"{"W":"lyon","x":0}"#)]);
    lab.converge(10_000);
    lab.online(0, false);
    for turn in 1..=5_000 {
        lab.write(0, vec![merge("stock", "1", &format!(r#"{{"x":{turn}}}"#)), add("products", "1", "n", 1)]);
    }
    let image = lab.image(Side::Edge(0));
    lab.online(0, true);
    lab.converge(600_000);
    lab.kill_cloud(|file| {
        file.execute("DELETE FROM writes WHERE number <= 900 AND database > 0", []).unwrap();
    });
    lab.put_back(Side::Edge(0), &image);
    lab.write(0, vec![add("products", "1", "n", 7)]);
    lab.converge(600_000);
    assert_eq!(n(&mut lab, 0, "products"), Some(20 + 5_000 + 7));
    assert_eq!((lab.edges[0].state(1), lab.edges[0].state(900)), ("lost".to_owned(), "lost".to_owned()));
    assert_eq!((lab.edges[0].state(901), lab.edges[0].state(5_001)), ("applied".to_owned(), "applied".to_owned()));
}

/// A database that is gone, and a new one in its place that gives the same numbers out again.
#[test]
fn wipe_reuses_number() {
    let mut lab = shop(&["lyon"]);
    lab.write(0, vec![add("tally", "1", "n", -3)]);
    settle(&mut lab);
    let old = lab.edges[0].id(1);
    lab.online(0, false);
    lab.pass(60_000);
    let wiped = lab.wiped(0);
    lab.until("says Started");
    settle(&mut lab);
    lab.write(wiped, vec![add("tally", "1", "n", -5)]);
    settle(&mut lab);
    let new = lab.edges[wiped].id(1);
    assert_ne!(old, new);
    assert_eq!(lab.cloud.value("tally", "1").unwrap(), r#"{"n":12}"#);
    assert!(lab.cloud.decided(&old).is_some() && lab.cloud.decided(&new).is_some(), "both are known by their ids");
    assert!(!lab.edges[wiped].gave(&old), "the edge does not know the old id: 404");
    assert!(lab.cloud.events("lyon").contains(&"database_replaced".to_owned()));
}

/// A write that stood on one whose answer was lost with the card is judged as the same database's.
#[test]
fn what_a_copy_wrote_before_is_its_own() {
    let mut lab = shop(&["lyon"]);
    lab.in_cloud(vec![put("orders", "1", r#"{"s":"draft"}"#)]);
    lab.converge(10_000);
    lab.online(0, false);
    lab.write(0, vec![merge("orders", "1", r#"{"s":"confirmed"}"#)]);
    let image = lab.image(Side::Edge(0));
    lab.online(0, true);
    settle(&mut lab);
    lab.put_back(Side::Edge(0), &image);
    lab.write(0, vec![merge("orders", "1", r#"{"s":"shipped"}"#)]);
    settle(&mut lab);
    assert_eq!((lab.edges[0].state(1), lab.edges[0].state(2)), ("applied".to_owned(), "applied".to_owned()));
    assert_eq!(lab.cloud.value("orders", "1").unwrap(), r#"{"s":"shipped"}"#);
}

/// The last write before the hub's disk died is in no backup: the edge hands it over again, once.
#[test]
fn restore_last_write_back() {
    let mut lab = shop(&["lyon"]);
    lab.write(0, vec![add("tally", "1", "n", -1)]);
    settle(&mut lab);
    let backup = lab.image(Side::Cloud);
    settle(&mut lab);
    lab.write(0, vec![add("tally", "1", "n", -2)]);
    lab.in_cloud(vec![put("stock", "new", r#"{"W":"lyon","x":1}"#), merge("products", "1", r#"{"name":"lost with the hub"}"#)]);
    lab.write(0, vec![add("tally", "1", "n", -4), create("stock", "own", r#"{"W":"lyon"}"#)]);
    settle(&mut lab);
    lab.put_back(Side::Cloud, &backup);
    lab.converge_seeing(120_000, |lab| assert_eq!(n(lab, 0, "tally"), Some(13), "no sale counts twice, none is missing"));
    assert_eq!(lab.cloud.value("tally", "1").unwrap(), r#"{"n":13}"#);
    assert_eq!(lab.edges[0].value("stock", "new"), None, "what the lost history alone knew is gone everywhere");
    assert!(lab.edges[0].value("products", "1").unwrap().contains("tea"));
    assert_eq!(lab.cloud.events("lyon").iter().filter(|kind| *kind == "store_restored").count(), 1);
}

/// The edge's clock jumps nine years between the write and the restore: the cloud's time says how long a delivered write is kept.
#[test]
fn restore_after_a_clock_that_jumped() {
    let mut lab = shop(&["lyon"]);
    settle(&mut lab);
    let backup = lab.image(Side::Cloud);
    settle(&mut lab);
    lab.write(0, vec![add("tally", "1", "n", -2)]);
    settle(&mut lab);
    lab.edges[0].wall_ms += 9 * 365 * 86_400_000;
    lab.write(0, vec![add("tally", "1", "n", -4)]);
    settle(&mut lab);
    lab.put_back(Side::Cloud, &backup);
    lab.converge(120_000);
    assert_eq!(lab.cloud.value("tally", "1").unwrap(), r#"{"n":14}"#);
}

/// Another's change came after the own one in the history that was lost: the row says so, and the own one counts once.
#[test]
fn restore_with_others_on_top() {
    let mut lab = shop(&["lyon", "oslo"]);
    let backup = lab.image(Side::Cloud);
    settle(&mut lab);
    lab.write(0, vec![add("tally", "1", "n", -2)]);
    settle(&mut lab);
    lab.write(1, vec![add("tally", "1", "n", -4)]);
    settle(&mut lab);
    lab.online(1, false);
    lab.put_back(Side::Cloud, &backup);
    lab.converge_seeing(120_000, |lab| {
        let shown = n(lab, 0, "tally");
        assert!([Some(14), Some(18)].contains(&shown), "{shown:?}");
    });
    lab.online(1, true);
    settle(&mut lab);
    assert_eq!((n(&mut lab, 0, "tally"), n(&mut lab, 1, "tally")), (Some(14), Some(14)));
}

/// What was rejected in the lost history stays rejected, and what was sent again as a new write takes effect once.
#[test]
fn restore_rejected_then_resent() {
    let mut lab = shop(&["lyon", "oslo"]);
    lab.in_cloud(vec![put("orders", "1", r#"{"s":1}"#)]);
    settle(&mut lab);
    let backup = lab.image(Side::Cloud);
    settle(&mut lab);
    lab.online(0, false);
    lab.write(0, vec![merge("orders", "1", r#"{"s":2}"#)]);
    lab.write(1, vec![merge("orders", "1", r#"{"s":3}"#)]);
    lab.converge(60_000);
    lab.online(0, true);
    settle(&mut lab);
    assert_eq!(lab.edges[0].state(1), "rejected guard");
    lab.write(0, vec![merge("orders", "1", r#"{"s":4}"#)]);
    settle(&mut lab);
    lab.put_back(Side::Cloud, &backup);
    settle(&mut lab);
    assert!(lab.edges[0].state(1).starts_with("rejected"), "it was told so, and stays so");
    let order = lab.cloud.value("orders", "1").unwrap();
    let kept = [r#"{"s":3}"#, r#"{"s":4}"#].contains(&order.as_str());
    assert!(kept, "{order}");
    assert_eq!(lab.edges[0].value("orders", "1"), Some(order));
}

/// A write was made on what only the lost history had. What it had seen counts as the fork: a change there that it cannot have
/// seen is concurrent.
#[test]
fn restore_seen_above_fork() {
    let mut lab = shop(&["lyon"]);
    let backup = lab.image(Side::Cloud);
    settle(&mut lab);
    for id in 0..30 {
        lab.in_cloud(vec![put("stock", &format!("{id}"), r#"{"W":"oslo"}"#)]);
    }
    lab.in_cloud(vec![put("orders", "1", r#"{"s":1}"#), put("stock", "phantom", r#"{"W":"lyon","x":1}"#)]);
    settle(&mut lab);
    lab.online(0, false);
    lab.write(0, vec![merge("orders", "1", r#"{"s":2}"#)]);
    lab.write(0, vec![merge("products", "1", r#"{"note":"edge"}"#)]);
    lab.write(0, vec![merge("stock", "phantom", r#"{"x":2}"#)]);
    lab.put_back(Side::Cloud, &backup);
    lab.pass(1_000);
    lab.in_cloud(vec![put("orders", "1", r#"{"s":9}"#)]);
    lab.in_cloud(vec![merge("products", "1", r#"{"note":"cloud"}"#)]);
    lab.online(0, true);
    settle(&mut lab);
    assert!(lab.edges[0].state(1).starts_with("rejected"), "the order is another one: {}", lab.edges[0].state(1));
    assert_eq!(lab.edges[0].state(2), "merged", "both changed the note, and neither had seen the other");
    assert_ne!(lab.edges[0].state(3), "applied", "what it was made for is not there");
    assert_eq!(lab.edges[0].value("stock", "phantom"), None);
}

/// Part of a large transaction of the lost history waits in staging; it never becomes visible.
#[test]
fn staged_then_fork() {
    let mut lab = shop(&["lyon"]);
    let backup = lab.image(Side::Cloud);
    settle(&mut lab);
    lab.in_cloud((0..600).map(|id| put("stock", &format!("{id:03}"), r#"{"W":"lyon","x":1}"#)).collect());
    assert!(lab.run(10_000, |lab| lab.edges[0].reader().status().unwrap().cursor.unwrap().position.inside.is_some()));
    lab.put_back(Side::Cloud, &backup);
    lab.in_cloud(vec![put("stock", "real", r#"{"W":"lyon"}"#)]);
    let stock = tests::lab::words::collection("stock");
    lab.converge_seeing(120_000, |lab| assert!(lab.edges[0].reader().count(&stock).unwrap() <= 1));
    assert_eq!(lab.edges[0].reader().count(&stock).unwrap(), 1);
}

/// Two stores go back one after the other, the second further than the first.
#[test]
fn restored_twice() {
    let mut lab = shop(&["lyon"]);
    let first = lab.image(Side::Cloud);
    settle(&mut lab);
    lab.write(0, vec![add("tally", "1", "n", -1)]);
    settle(&mut lab);
    let second = lab.image(Side::Cloud);
    settle(&mut lab);
    for _ in 0..3 {
        lab.write(0, vec![add("tally", "1", "n", -1)]);
        settle(&mut lab);
    }
    for backup in [&second, &first, &second] {
        lab.put_back(Side::Cloud, backup);
        lab.converge_seeing(120_000, |lab| assert_eq!(n(lab, 0, "tally"), Some(16)));
    }
    assert_eq!(lab.cloud.value("tally", "1").unwrap(), r#"{"n":16}"#);
}

/// A restored hub and an old image of the card at once.
#[test]
fn restored_hub_and_old_card() {
    let mut lab = shop(&["lyon"]);
    let image = lab.image(Side::Edge(0));
    settle(&mut lab);
    lab.write(0, vec![add("tally", "1", "n", -1)]);
    settle(&mut lab);
    let backup = lab.image(Side::Cloud);
    settle(&mut lab);
    lab.write(0, vec![add("tally", "1", "n", -2)]);
    settle(&mut lab);
    lab.put_back(Side::Cloud, &backup);
    lab.put_back(Side::Edge(0), &image);
    lab.write(0, vec![add("tally", "1", "n", -8)]);
    settle(&mut lab);
    assert_eq!(lab.cloud.value("tally", "1").unwrap(), r#"{"n":11}"#, "20 - 1 - 8: the sale of 2 was in neither");
}

/// A record was deleted, and another one left the partition, in the history that is lost: both are back everywhere. Nothing is
/// left to ask for them by; the digests find them.
#[test]
fn restore_brings_back_what_was_deleted() {
    let mut lab = shop(&["lyon"]);
    lab.in_cloud(vec![put("stock", "a", r#"{"W":"lyon"}"#), put("stock", "b", r#"{"W":"lyon"}"#)]);
    settle(&mut lab);
    let backup = lab.image(Side::Cloud);
    settle(&mut lab);
    lab.in_cloud(vec![delete("stock", "a", false), merge("stock", "b", r#"{"W":"oslo"}"#)]);
    settle(&mut lab);
    lab.put_back(Side::Cloud, &backup);
    settle(&mut lab);
    assert!(lab.edges[0].value("stock", "a").is_some() && lab.edges[0].value("stock", "b").is_some());
}

/// The edge finds its file damaged, the next time it is opened.
fn damage(conn: &rusqlite::Connection) {
    std::fs::write(format!("{}.damaged", conn.path().unwrap()), "for the test").unwrap();
}

/// The cloud decided a sale, the answer was lost, and then the node's file is damaged: what is saved goes up under another id, and
/// the sale counts once.
#[test]
fn salvage_after_lost_answer() {
    let mut lab = shop(&["lyon"]);
    lab.write(0, vec![add("tally", "1", "n", -3), add("products", "1", "n", -3)]);
    let head = lab.cloud.head();
    assert!(lab.run(10_000, |lab| lab.cloud.head() > head), "the write was taken");
    lab.online(0, false);
    lab.write(0, vec![add("tally", "1", "n", -2), merge("products", "1", r#"{"name":"saved"}"#)]);
    let before = lab.edges[0].database();
    lab.kill_edge(0, damage);
    assert_ne!(lab.edges[0].database(), before);
    lab.online(0, true);
    settle(&mut lab);
    assert_eq!((n(&mut lab, 0, "tally"), n(&mut lab, 0, "products")), (Some(15), Some(17)));
    assert!(lab.cloud.value("products", "1").unwrap().contains("saved"));
    assert_eq!(lab.edges[0].answers(), ["1 applied", "2 applied"]);
}

/// One write of several cannot be saved: it is lost, by its number, on both sides; the others take effect.
#[test]
fn salvage_with_gap() {
    let mut lab = shop(&["lyon"]);
    // Its outcomes have a gap, which the laboratory's own checks take for damage.
    lab.edges[0].watched = false;
    lab.online(0, false);
    for id in 1..=5 {
        lab.write(0, vec![create("sales", &id.to_string(), r#"{"q":1}"#)]);
    }
    lab.kill_edge(0, |conn| {
        conn.execute("UPDATE writes SET bytes = CAST(bytes || x'00' AS BLOB) WHERE number IN (2, 5)", []).unwrap();
        damage(conn);
    });
    lab.online(0, true);
    settle(&mut lab);
    let there: Vec<_> = (1..=5).filter(|id| lab.cloud.value("sales", &id.to_string()).is_some()).collect();
    assert_eq!(there, [1, 3, 4]);
    assert_eq!(lab.edges[0].state(2), "lost");
    assert_eq!(lab.edges[0].state(5), "lost");
    assert_eq!(lab.edges[0].state(3), "applied");
    let events = lab.cloud.events("lyon");
    assert!(events.iter().any(|kind| kind.contains("lost")), "{events:?}");
    lab.write(0, vec![create("sales", "6", r#"{"q":1}"#)]);
    settle(&mut lab);
    assert!(lab.cloud.value("sales", "6").is_some());
}
