//! Sizes at their bounds, and what cannot be stored.

use tests::lab::Side;
use tests::lab::dice::Dice;
use tests::lab::road::Road;
use tests::lab::words::{add, collection, create, merge, put};

use super::{n, shop};

/// A value of so many bytes.
fn padded(bytes: usize) -> String {
    format!(r#"{{"p":"{}"}}"#, "x".repeat(bytes))
}

/// The same, of bytes that no compression makes much fewer.
fn noise(bytes: usize) -> String {
    format!(r#"{{"p":"{}"}}"#, Dice::new(bytes as u64).noise(bytes))
}

/// `600-in-one-revision`: cut after the first 256; visible together all the same.
#[test]
fn six_hundred_in_one_revision() {
    let mut lab = shop(&["lyon"]);
    lab.in_cloud((0..600).map(|id| put("orders", &format!("{id:03}"), r#"{"x":1}"#)).collect());
    let orders = collection("orders");
    assert!(lab.run(10_000, |lab| lab.edges[0].reader().status().unwrap().cursor.unwrap().position.inside.is_some()));
    lab.cut(0);
    lab.kill(Side::Edge(0));
    lab.converge_seeing(60_000, |lab| {
        let held = lab.edges[0].reader().count(&orders).unwrap();
        assert!(held == 0 || held == 600, "{held} of one transaction are visible");
    });
    assert_eq!(lab.edges[0].reader().count(&orders).unwrap(), 600);
}

/// `2MiB-write`: the largest write goes up and comes down at the other node; one more byte is refused at once.
#[test]
fn two_mib_write() {
    let mut lab = shop(&["lyon", "oslo"]);
    let half = padded(1024 * 1024 - 100);
    lab.write(0, vec![create("orders", "a", &half), create("orders", "b", &half)]);
    let refused = lab.try_write(0, vec![create("orders", "c", &half), create("orders", "d", &half), create("orders", "e", &half)]);
    assert_eq!(refused.unwrap_err().code(), "too_large");
    lab.write(0, vec![add("tally", "1", "n", -1)]);
    lab.converge(60_000);
    assert_eq!(lab.edges[0].answers(), ["1 applied", "2 applied"]);
    assert_eq!(lab.edges[1].value("orders", "b").unwrap().len(), half.len());
}

/// `64kbit`: 1 MiB takes 131 s; bytes that arrive are progress, and nothing is sent twice.
#[test]
fn sixty_four_kbit() {
    let mut lab = shop(&["lyon"]);
    lab.road = Road { rate: 8_000, delay_ms: 50 };
    lab.cut(0);
    lab.converge(60_000);
    let (begin, before) = ((lab.now_ms, lab.trace.len()), lab.brought);
    lab.in_cloud(vec![put("orders", "a", &noise(1024 * 1024 - 100))]);
    lab.pass(1_000);
    lab.write(0, vec![add("tally", "1", "n", -1)]);
    lab.converge(200_000);
    assert!(lab.now_ms - begin.0 > 130_000, "the link is as slow as it should be");
    assert!(lab.ends.is_empty());
    let batches = lab.trace[begin.1..].iter().filter(|line| line.contains("says Batch")).count();
    assert!(batches <= 3, "{batches} batches");
    assert!(lab.brought.bytes[1] - before.bytes[1] < 1024 * 1024 + 10_000, "{:?}", lab.brought);
    assert_eq!(lab.brought.records - before.records, 2);
}

/// The same up: the largest write takes 262 s, and what the node has to say meanwhile waits behind it.
#[test]
fn sixty_four_kbit_up() {
    let mut lab = shop(&["lyon"]);
    lab.road = Road { rate: 8_000, delay_ms: 50 };
    lab.cut(0);
    lab.converge(60_000);
    let (begin_ms, before) = (lab.now_ms, lab.brought);
    lab.write(0, vec![create("orders", "a", &noise(1024 * 1024 - 100)), create("orders", "b", &noise(1024 * 1024 - 200))]);
    lab.pass(1_000);
    lab.in_cloud(vec![add("tally", "1", "n", -1)]);
    assert!(lab.run(400_000, |lab| lab.cloud.value("orders", "b").is_some()));
    assert!(lab.now_ms - begin_ms > 260_000, "the link is as slow as it should be");
    assert!(lab.ends.is_empty());
    assert!(lab.brought.bytes[0] - before.bytes[0] < 2 * 1024 * 1024 + 10_000, "{:?}", lab.brought);
    assert_eq!(lab.brought.writes - before.writes, 1);
    lab.converge(400_000);
}

/// `was-4MiB`: every old value is as large as may be, and the write still fits a frame.
#[test]
fn was_4mib() {
    let mut lab = shop(&["lyon"]);
    let old = "w".repeat(1_000);
    let fields = |text: &str| {
        let fields: Vec<_> = (0..900).map(|field| format!(r#""f{field}":"{text}""#)).collect();
        format!("{{{}}}", fields.join(","))
    };
    for id in ["a", "b", "c", "d", "e"] {
        lab.in_cloud(vec![put("orders", id, &fields(&old))]);
    }
    lab.converge(60_000);
    let all = |ids: &[&str]| ids.iter().map(|id| merge("orders", id, &fields("y"))).collect::<Vec<_>>();
    assert_eq!(lab.try_write(0, all(&["a", "b", "c", "d", "e"])).unwrap_err().code(), "too_large");
    lab.write(0, all(&["a", "b"]));
    lab.converge(60_000);
    assert_eq!(lab.edges[0].answers(), ["1 applied"]);
    assert!(lab.ends.is_empty());
}

/// One bad write stops nothing behind it.
#[test]
fn poison_write() {
    let mut lab = shop(&["lyon", "oslo"]);
    lab.online(0, false);
    lab.write(0, vec![create("orders", "1", r#"{"by":"lyon"}"#), add("tally", "1", "n", -7)]);
    for _ in 0..50 {
        lab.write(0, vec![add("tally", "1", "n", -1)]);
    }
    lab.write(1, vec![create("orders", "1", r#"{"by":"oslo"}"#)]);
    lab.converge(10_000);
    lab.online(0, true);
    lab.converge(10_000);
    assert_eq!(lab.edges[0].answers()[0], "1 rejected key_taken");
    assert_eq!(n(&mut lab, 0, "tally"), Some(-30), "nothing of the bad one, all of the others");
    assert_eq!(lab.edges[0].value("orders", "1").unwrap(), r#"{"by":"oslo"}"#);
}

/// A record that cannot be stored is put aside and shown, and the stream goes on behind it.
#[test]
fn poison_record() {
    let mut lab = shop(&["lyon"]);
    lab.online(0, false);
    lab.in_cloud(vec![put("orders", "bad", r#"{"x":1}"#)]);
    lab.in_cloud(vec![put("orders", "good", r#"{"x":1}"#)]);
    lab.kill_cloud(|file| {
        assert_eq!(file.execute("UPDATE records SET value = '{\"x\":' WHERE key = 'bad'", []).unwrap(), 1);
    });
    lab.write(0, vec![add("tally", "1", "n", -1)]);
    lab.online(0, true);
    assert!(lab.run(20_000, |lab| lab.edges[0].pending() == 0 && lab.edges[0].value("orders", "good").is_some()));
    let blocked = lab.edges[0].reader().status().unwrap().blocked;
    assert_eq!(blocked.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), ["bad"]);
    lab.kill_cloud(|file| {
        assert_eq!(file.execute("UPDATE records SET value = '{\"x\":1}' WHERE key = 'bad'", []).unwrap(), 1);
    });
    lab.in_cloud(vec![merge("orders", "bad", r#"{"x":2}"#)]);
    lab.converge(20_000);
    assert_eq!(lab.edges[0].reader().status().unwrap().blocked_count, 0, "a version that can be stored takes its place");
}

/// A node that starts in 1970, and whose clock's counter is nearly full: writes carry it into the milliseconds, each is
/// later than the one before, and in the cloud the last one stands.
#[test]
fn clock_1970_70000_writes() {
    let mut lab = shop(&["lyon"]);
    lab.online(0, false);
    lab.edges[0].wall_ms = 0;
    lab.kill_edge(0, |file| {
        // As 65,000 writes of the millisecond 100,000 left it.
        file.execute("UPDATE meta SET clock = (100000 << 16) + 65000", []).unwrap();
    });
    let begin = lab.edges[0].reader().status().unwrap().newest_write;
    for round in 0..1_000 {
        lab.write(0, vec![merge("products", &format!("new-{}", round % 20), &format!(r#"{{"note":{round}}}"#))]);
    }
    let page = lab.edges[0].reader().writes(None, begin, 1_000).unwrap().writes;
    let clocks: Vec<_> = page.iter().map(|row| row.write.hlc).collect();
    assert!(clocks.is_sorted_by(|one, other| one < other));
    assert_eq!((clocks[0].ms(), clocks[999].ms()), (100_000, 100_001));
    lab.online(0, true);
    lab.converge(60_000);
    assert_eq!(lab.edges[0].outcomes().len(), 1_000);
    assert!(lab.cloud.value("products", "new-19").unwrap().contains("999"));
}
