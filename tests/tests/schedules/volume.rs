//! A link on which only so much may pass in a day: beyond it records wait, and nothing else does.

use proto::frame::Frame;
use proto::limits::WINDOW_BYTES_MAX;
use proto::traffic::Cause;
use tests::lab::Lab;
use tests::lab::words::{add, merge, put};

use super::{n, shop};

const DAY_MS: u64 = 86_400_000;
/// What a day's sales and pings may come to beside the records.
const SMALL: u64 = 200_000;

/// A shop whose limit is reached while an import of 2,000 products is on its way; how many of them are there.
fn used_up(road_rate: u64) -> (Lab, usize) {
    let mut lab = shop(&["lyon"]);
    lab.online(0, false);
    lab.road.rate = road_rate;
    let filler = "x".repeat(1_000);
    for hundred in 0..20 {
        let ids = hundred * 100..hundred * 100 + 100;
        lab.in_cloud(ids.map(|id| put("products", &format!("p{id}"), &format!(r#"{{"id":"p{id}","name":"{filler}"}}"#))).collect());
    }
    let spent = spent(&lab);
    lab.limit(0, Some(spent + 100_000));
    lab.online(0, true);
    lab.until("says Nack");
    lab.pass(60_000);
    let have = products(&mut lab);
    assert!(have < 2_000, "all of it came");
    assert!(spent + 100_000 <= self::spent(&lab) && self::spent(&lab) <= spent + 100_000 + WINDOW_BYTES_MAX as u64 + SMALL);
    (lab, have)
}

fn products(lab: &mut Lab) -> usize {
    lab.edges[0].all(&tests::lab::words::collection("products")).len()
}

fn spent(lab: &Lab) -> u64 {
    lab.edges[0].days.today().1.total()
}

/// Until midnight of the cloud's time.
fn to_midnight(lab: &mut Lab) {
    let wall_ms = tests::lab::cloud::WALL_MS + lab.now_ms;
    lab.pass(DAY_MS - wall_ms % DAY_MS + 20_000);
}

#[test]
fn beyond_the_daily_limit_records_wait_and_writes_get_their_outcomes() {
    for rate in [10_000_000, 50_000] {
        let (mut lab, have) = used_up(rate);
        let records = lab.edges[0].days.today().1.received.get(Cause::Records);
        lab.in_cloud(vec![merge("products", "1", r#"{"note":"sale"}"#)]);
        for sale in 1..=3 {
            lab.write(0, vec![add("tally", "1", "n", -1), add("products", "1", "n", -1)]);
            lab.pass(10_000);
            assert_eq!((lab.edges[0].outcomes().len(), lab.edges[0].pending()), (sale, 0), "at {rate} bytes/s");
        }
        assert_eq!(n(&mut lab, 0, "tally"), Some(17), "what its writes touched comes with their outcomes");
        assert_eq!(products(&mut lab), have);
        assert_eq!(lab.edges[0].days.today().1.received.get(Cause::Records), records, "not a record passes");
        to_midnight(&mut lab);
        assert!(products(&mut lab) > have, "the next day has room of its own");
        lab.limit(0, None);
        lab.converge(600_000);
        assert_eq!((products(&mut lab), n(&mut lab, 0, "products")), (2_001, Some(17)));
    }
}

/// A cut must not be a way around the limit: the session begins with the pause.
#[test]
fn a_link_that_flaps_spends_nothing_on_records() {
    let (mut lab, have) = used_up(10_000_000);
    let records = lab.edges[0].days.today().1.received.get(Cause::Records);
    for _ in 0..30 {
        lab.cut(0);
        lab.pass(2_000);
    }
    assert_eq!((products(&mut lab), lab.edges[0].days.today().1.received.get(Cause::Records)), (have, records));
    lab.kill_edge(0, |_| {});
    lab.pass(60_000);
    assert_eq!(products(&mut lab), have, "nor does a restart");
    lab.limit(0, None);
    lab.converge(600_000);
}

/// A hub that knows nothing of limits: it hears of the pause by Nack, and a window may have left it before.
#[test]
fn an_older_hub_pauses_too() {
    let (mut lab, have) = used_up(10_000_000);
    lab.edge_says = |frame| match frame {
        Frame::Hello(hello) => Frame::Hello(proto::frame::Hello { paused: None, ..hello }).encode(),
        frame => frame.encode(),
    };
    lab.cut(0);
    lab.pass(60_000);
    let after = products(&mut lab);
    assert!(after < 2_000, "{have} {after}");
    lab.write(0, vec![add("tally", "1", "n", -1)]);
    lab.pass(10_000);
    assert_eq!(lab.edges[0].outcomes().len(), 1);
    to_midnight(&mut lab);
    assert!(products(&mut lab) > after);
    lab.limit(0, None);
    lab.converge(600_000);
}

/// A machine that was off at midnight knows no other day than the last one until the hub tells it the time.
#[test]
fn a_node_that_comes_back_the_next_day_is_not_held_up() {
    let (mut lab, _) = used_up(10_000_000);
    let limit = lab.edges[0].days.limit();
    lab.online(0, false);
    to_midnight(&mut lab);
    // From now on it has what the file kept, and nothing else.
    lab.limit(0, limit);
    lab.online(0, true);
    lab.until("says Ready");
    let day = lab.edges[0].days.today();
    assert!(day.1.total() < limit.unwrap(), "{day:?}");
    lab.limit(0, None);
    lab.converge(600_000);
}

/// The disk fills while the day's limit is reached, and one ends before the other.
#[test]
fn a_full_disk_and_a_used_up_day_end_in_any_order() {
    for disk_first in [true, false] {
        let (mut lab, have) = used_up(10_000_000);
        lab.fill_disk(0, true);
        lab.in_cloud(vec![merge("products", "1", r#"{"note":"both"}"#)]);
        lab.pass(120_000);
        if disk_first {
            lab.fill_disk(0, false);
            lab.pass(120_000);
            assert_eq!(products(&mut lab), have, "the limit still holds");
            lab.limit(0, None);
        } else {
            lab.limit(0, None);
            lab.pass(120_000);
            assert!(products(&mut lab) < 2_001, "the disk still is full");
            lab.fill_disk(0, false);
        }
        lab.converge(600_000);
        assert_eq!(products(&mut lab), 2_001);
    }
}

/// What its own writes touch is all that changes there.
#[test]
fn a_node_that_is_in_sync_is_not_held_up_by_a_limit_that_was_reached() {
    let mut lab = shop(&["lyon"]);
    let spent = spent(&lab);
    lab.limit(0, Some(spent + 1));
    lab.write(0, vec![add("tally", "1", "n", -1)]);
    lab.pass(60_000);
    assert_eq!(lab.edges[0].outcomes().len(), 1);
    assert_eq!(n(&mut lab, 0, "tally"), Some(19));
    to_midnight(&mut lab);
    lab.limit(0, None);
    lab.converge(600_000);
}
