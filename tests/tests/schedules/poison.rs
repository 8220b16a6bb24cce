//! Writes that the cloud cannot read, apply or store, and records that a node cannot: each stops nothing but itself.

use proto::frame::{Content, Entry, Frame};
use tests::lab::words::{add, create, merge, put};

use super::{n, shop};

/// As a newer edge would send it, or a damaged one: the second write is nothing that the cloud can read.
fn garbled(frame: Frame) -> Vec<u8> {
    let Frame::Writes(mut writes) = frame else { return frame.encode() };
    writes.iter_mut().filter(|write| write.number == 2).for_each(|write| write.bytes = vec![0xff; 40]);
    Frame::Writes(writes).encode()
}

#[test]
fn poison_write_of_bytes_that_are_no_write() {
    let mut lab = shop(&["lyon"]);
    lab.edge_says = garbled;
    for _ in 0..3 {
        lab.write(0, vec![add("tally", "1", "n", -1)]);
    }
    lab.converge(10_000);
    assert_eq!(lab.edges[0].answers(), ["1 applied", "2 rejected malformed", "3 applied"]);
    assert_eq!(n(&mut lab, 0, "tally"), Some(18), "its op left the view");
    let kept = lab.edges[0].reader().write(2).unwrap().unwrap();
    assert_eq!(kept.write.ops.len(), 1, "and its content can be read and sent again");
    assert!(lab.ends.is_empty());
}

/// Two nodes make a record too large together: the later one is rejected alone.
#[test]
fn poison_write_too_large_after_merge() {
    let mut lab = shop(&["lyon", "oslo"]);
    lab.in_cloud(vec![put("stock", "1", r#"{"W":"lyon"}"#)]);
    lab.label("oslo", "site", "lyon");
    lab.converge(10_000);
    (0..2).for_each(|node| lab.online(node, false));
    let half = "x".repeat(600 * 1024);
    lab.write(0, vec![merge("stock", "1", &format!(r#"{{"a":"{half}"}}"#))]);
    lab.write(1, vec![merge("stock", "1", &format!(r#"{{"b":"{half}"}}"#)), add("tally", "1", "n", -9)]);
    lab.write(1, vec![add("tally", "1", "n", -1)]);
    lab.online(0, true);
    lab.converge(60_000);
    lab.online(1, true);
    lab.converge(60_000);
    assert_eq!(lab.edges[1].answers(), ["1 rejected too_large", "2 applied"]);
    assert_eq!(n(&mut lab, 1, "tally"), Some(19));
    assert_eq!(lab.edges[1].value("stock", "1"), lab.cloud.value("stock", "1"));
}

/// The collection went while the node was away.
#[test]
fn poison_write_to_a_collection_that_is_gone() {
    let mut lab = shop(&["lyon"]);
    lab.online(0, false);
    lab.write(0, vec![create("stock", "1", r#"{"W":"lyon"}"#), add("tally", "1", "n", -9)]);
    lab.write(0, vec![add("tally", "1", "n", -1)]);
    lab.undefine("stock");
    lab.online(0, true);
    lab.converge(10_000);
    assert_eq!(lab.edges[0].answers(), ["1 rejected not_entitled", "2 applied"]);
    assert_eq!(n(&mut lab, 0, "tally"), Some(19));
}

/// What a newer hub would allow in a value and this version does not.
fn too_deep(frame: Frame) -> Vec<u8> {
    let Frame::Batch(mut batch) = frame else { return frame.encode() };
    for entry in &mut batch.entries {
        if let Entry::Record(record) = entry
            && record.key.as_str() == "new"
            && let Content::Value(text) = &mut record.content
        {
            *text = format!(r#"{{"x":{}{}}}"#, "[".repeat(100), "]".repeat(100));
        }
    }
    Frame::Batch(batch).encode()
}

/// `poison-record`: one of ten cannot be stored. The others come, the cursor goes on, writes go up, and a newer version of
/// it heals it.
#[test]
fn poison_record_in_a_batch() {
    let mut lab = shop(&["lyon"]);
    lab.cloud_says = too_deep;
    let mut all: Vec<_> = (0..9).map(|id| put("orders", &id.to_string(), r#"{"x":1}"#)).collect();
    all.push(put("orders", "new", r#"{"x":1}"#));
    lab.in_cloud(all);
    lab.write(0, vec![add("tally", "1", "n", -1)]);
    let head = lab.cloud.head();
    let came =
        |lab: &mut tests::lab::Lab| lab.edges[0].reader().status().unwrap().cursor.is_some_and(|cursor| cursor.position.revision > head);
    assert!(lab.run(10_000, came));
    let status = lab.edges[0].reader().status().unwrap();
    assert_eq!((status.blocked_count, status.blocked[0].key.as_str(), status.outbox_writes), (1, "new", 0));
    assert!(status.blocked[0].why.contains("deep"), "{:?}", status.blocked);
    assert!(lab.edges[0].value("orders", "8").is_some());
    assert!(lab.ends.is_empty());
    lab.cloud_says = |frame| frame.encode();
    lab.in_cloud(vec![merge("orders", "new", r#"{"x":2}"#)]);
    lab.converge(10_000);
    assert_eq!(lab.edges[0].reader().status().unwrap().blocked_count, 0);
}
