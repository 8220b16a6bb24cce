//! Requests that are made again under their `Idempotency-Key`, wherever the first one was lost (docs/design.md §5).

use metamanager::WriteRef;
use proto::op::Verdict;
use tests::lab::words::{add, create, merge, put};
use tests::lab::{Lab, Side};

use super::{n, shop};

const TEN_YEARS: u64 = 315_576_000_000;

/// A shop's own clock jumps ten years back and ahead between a sale and its repeats, with the link down and up, and through
/// a power cut: it is sold once. What is kept is counted, never dated.
#[test]
fn ntp_jump_idempotency() {
    let mut lab = shop(&["lyon"]);
    let start = lab.edges[0].wall_ms;
    let sell = |lab: &mut Lab| {
        let committed = lab.try_write_as(0, "sale-1", 1, vec![add("products", "1", "n", -3)]).unwrap();
        (committed.write, committed.repeat)
    };
    lab.online(0, false);
    assert_eq!(sell(&mut lab), (WriteRef::Own(1), false));
    for wall_ms in [start - TEN_YEARS, start + TEN_YEARS, start] {
        lab.edges[0].wall_ms = wall_ms;
        assert_eq!(sell(&mut lab), (WriteRef::Own(1), true));
        lab.kill(Side::Edge(0));
        assert_eq!(sell(&mut lab), (WriteRef::Own(1), true));
        lab.online(0, true);
        lab.converge(60_000);
        lab.online(0, false);
    }
    assert_eq!(lab.edges[0].outcomes(), [(1, Verdict::Applied)]);
    assert_eq!(n(&mut lab, 0, "products"), Some(17));
}

/// The card was replaced, and the till repeats what it never heard the answer of: the cloud knows the sale from the old
/// database. It has no second effect, its outcome is that of the first, and names it; the view ends up right.
#[test]
fn wiped_then_repeated() {
    let mut lab = shop(&["lyon"]);
    let sale = || vec![add("products", "1", "n", -3)];
    lab.try_write_as(0, "sale-1", 1, sale()).unwrap();
    lab.try_write_as(0, "sale-2", 2, vec![create("orders", "9", r#"{"by":"lyon"}"#)]).unwrap();
    lab.in_cloud(vec![put("orders", "10", r#"{"by":"cloud"}"#)]);
    lab.converge(60_000);
    let first = lab.edges[0].id(1);
    lab.online(0, false);
    let wiped = lab.wiped(0);
    lab.online(wiped, true);
    lab.converge(60_000);
    lab.online(wiped, false);
    assert!(!lab.try_write_as(wiped, "sale-1", 1, sale()).unwrap().repeat, "the new database cannot know it");
    lab.try_write_as(wiped, "sale-2", 7, vec![create("orders", "11", r#"{"by":"lyon"}"#)]).unwrap();
    lab.write(wiped, vec![add("products", "1", "n", -1)]);
    lab.online(wiped, true);
    lab.converge(60_000);
    assert_eq!(lab.edges[wiped].answers(), ["1 applied", "2 rejected malformed", "3 applied"]);
    let told = lab.edges[wiped].reader().write(1).unwrap().unwrap().outcome.unwrap();
    assert!(told.detail.unwrap().contains(&format!("write {first} ")), "it names the first");
    assert_eq!((n(&mut lab, wiped, "products"), n_in_cloud(&mut lab)), (Some(16), 16));
    assert_eq!(lab.edges[wiped].value("orders", "11"), None);
    // From now on the new database knows it too.
    assert!(lab.try_write_as(wiped, "sale-1", 1, sale()).unwrap().repeat);
}

/// A POST whose key was made: the repeat made another one, which is nobody's, and goes away with its outcome.
#[test]
fn wiped_then_posted_again() {
    let mut lab = shop(&["lyon"]);
    lab.try_write_as(0, "post", 1, vec![create("orders", "made-1", r#"{"by":"lyon"}"#)]).unwrap();
    lab.converge(60_000);
    lab.online(0, false);
    let wiped = lab.wiped(0);
    lab.online(wiped, true);
    lab.converge(60_000);
    lab.online(wiped, false);
    lab.try_write_as(wiped, "post", 1, vec![create("orders", "made-2", r#"{"by":"lyon"}"#)]).unwrap();
    assert!(lab.edges[wiped].value("orders", "made-2").is_some(), "its own writes are read at once");
    lab.write(wiped, vec![merge("orders", "made-2", r#"{"note":"rung up again"}"#)]);
    lab.online(wiped, true);
    lab.converge(60_000);
    assert_eq!(lab.edges[wiped].value("orders", "made-2"), None);
    assert_eq!(lab.cloud.all("orders").len(), 1);
}

/// A rejected write under a key stays rejected for whoever asks again, under any database.
#[test]
fn a_rejection_is_repeated_too() {
    let mut lab = shop(&["lyon"]);
    lab.online(0, false);
    lab.in_cloud(vec![put("orders", "9", r#"{"by":"cloud"}"#)]);
    let order = || vec![create("orders", "9", r#"{"by":"lyon"}"#)];
    lab.try_write_as(0, "order", 1, order()).unwrap();
    lab.online(0, true);
    lab.converge(60_000);
    assert_eq!(lab.edges[0].answers(), ["1 rejected key_taken"]);
    let repeat = lab.try_write_as(0, "order", 1, order()).unwrap();
    assert_eq!((repeat.write, repeat.repeat), (WriteRef::Own(1), true));
    lab.online(0, false);
    let wiped = lab.wiped(0);
    lab.try_write_as(wiped, "order", 1, order()).unwrap_err();
    lab.online(wiped, true);
    lab.converge(60_000);
    lab.in_cloud(vec![tests::lab::words::delete("orders", "9", true)]);
    lab.converge(60_000);
    lab.try_write_as(wiped, "order", 1, order()).unwrap();
    lab.converge(60_000);
    assert_eq!(lab.edges[wiped].answers(), ["1 rejected key_taken"]);
}

/// Two copies of a card, and the till repeats a request at the copy that does not have it. And a cloud that is put back to
/// before the sale gets it again, once.
#[test]
fn copies_and_restores_know_requests() {
    let mut lab = shop(&["lyon"]);
    let before = lab.image(Side::Cloud);
    let image = lab.image(Side::Edge(0));
    let sale = || vec![add("products", "1", "n", -3)];
    lab.try_write_as(0, "sale-1", 1, sale()).unwrap();
    lab.converge(60_000);
    lab.online(0, false);
    let twin = lab.twin(0, &image);
    assert!(!lab.try_write_as(twin, "sale-1", 1, sale()).unwrap().repeat);
    lab.online(twin, true);
    lab.converge(120_000);
    assert_eq!(n_in_cloud(&mut lab), 17);
    lab.put_back(Side::Cloud, &before);
    lab.converge(120_000);
    assert_eq!(n_in_cloud(&mut lab), 17, "it came again, from the copy");
    lab.online(twin, false);
    lab.online(0, true);
    lab.converge(120_000);
    assert_eq!(n_in_cloud(&mut lab), 17, "and not from both");
}

fn n_in_cloud(lab: &mut Lab) -> i64 {
    tests::lab::words::number(&lab.cloud.value("products", "1").unwrap(), "n").unwrap()
}
