//! Hubs and nodes of different versions: whoever is ahead speaks the version that both know, with members, features and
//! codes that the other has never heard of.

use proto::frame::{Entry, Frame};
use proto::op::Outcome;
use tests::kept::frames;
use tests::kept::newer::with_unknown_members;
use tests::lab::Lab;
use tests::lab::words::{add, collection, create, delete, merge, put};

use super::{n, shop};

#[test]
fn unknown_members_change_no_frame() {
    for (name, frame) in frames::every() {
        let newer = with_unknown_members(&frame.encode());
        assert!(newer.len() > frame.encode().len());
        assert_eq!(Frame::decode(&newer).as_ref(), Ok(&frame), "{name}");
    }
}

/// Of the version after this one: features and codes that this one does not know.
fn newer_cloud(frame: Frame) -> Vec<u8> {
    let frame = match frame {
        Frame::Welcome(mut welcome) => {
            welcome.features.extend(["columnar".to_owned(), "zstd9".to_owned()]);
            Frame::Welcome(welcome)
        }
        Frame::Batch(mut batch) => {
            batch.entries.iter_mut().for_each(newer_codes);
            Frame::Batch(batch)
        }
        frame => frame,
    };
    with_unknown_members(&frame.encode())
}

fn newer_codes(entry: &mut Entry) {
    if let Entry::Outcome { outcome: Outcome { code, detail, .. }, .. } = entry {
        *code = Some("quarantined".to_owned());
        *detail = Some("a word of the next version".to_owned());
    }
}

fn newer_edge(frame: Frame) -> Vec<u8> {
    let frame = match frame {
        Frame::Hello(mut hello) => {
            hello.versions = (1, 2);
            hello.features.push("columnar".to_owned());
            Frame::Hello(hello)
        }
        Frame::Ping { sent_ms, report: Some(mut report) } => {
            report.warnings.push("a warning of the next version".to_owned());
            Frame::Ping { sent_ms, report: Some(report) }
        }
        frame => frame,
    };
    with_unknown_members(&frame.encode())
}

/// Everything that a session does, both ways: streams, a back-fill, a transaction in parts, outcomes of every kind.
fn a_working_day(lab: &mut Lab) {
    lab.cut(0);
    lab.write(0, vec![create("sales", "s1", r#"{"q":3}"#), add("products", "1", "n", -3)]);
    lab.converge(60_000);
    lab.in_cloud((0..600).map(|id| put("stock", &format!("{id:03}"), r#"{"W":"lyon"}"#)).collect());
    lab.converge(60_000);
    lab.online(0, false);
    lab.write(0, vec![merge("products", "1", r#"{"name":"lyon's"}"#)]);
    lab.write(0, vec![create("orders", "1", r#"{"by":"lyon"}"#)]);
    lab.write(0, vec![delete("stock", "007", false)]);
    lab.in_cloud(vec![create("orders", "1", r#"{"by":"cloud"}"#), merge("products", "1", r#"{"name":"the cloud's"}"#)]);
    lab.label("lyon", "site", "lyon,oslo");
    lab.in_cloud((0..300).map(|id| put("stock", &format!("o{id:03}"), r#"{"W":"oslo"}"#)).collect());
    lab.online(0, true);
    lab.converge(60_000);
    assert_eq!(n(lab, 0, "products"), Some(17));
    assert_eq!(lab.edges[0].reader().count(&collection("stock")).unwrap(), 899);
}

#[test]
fn a_hub_that_is_one_version_ahead_serves_its_nodes() {
    let mut lab = shop(&["lyon"]);
    lab.cloud_says = newer_cloud;
    a_working_day(&mut lab);
    assert_eq!(lab.edges[0].answers()[2], "3 rejected quarantined", "a code that nobody here knows is shown as it is");
    assert!(lab.ends.is_empty(), "{:?}", lab.ends);
}

#[test]
fn a_node_that_is_one_version_ahead_is_served() {
    let mut lab = shop(&["lyon"]);
    lab.edge_says = newer_edge;
    a_working_day(&mut lab);
    assert_eq!(lab.edges[0].answers()[2], "3 rejected key_taken");
    assert!(lab.ends.is_empty(), "{:?}", lab.ends);
}

/// Two of this version, on a day with frames of every size.
#[test]
fn two_sides_that_compress_have_the_same_day() {
    let mut lab = shop(&["lyon"]);
    lab.cloud_says = |frame| frame.encode_compressed();
    lab.edge_says = |frame| frame.encode_compressed();
    a_working_day(&mut lab);
    assert_eq!(lab.edges[0].answers()[2], "3 rejected key_taken");
    assert!(lab.ends.is_empty(), "{:?}", lab.ends);
}

/// No version in common: both sides are told which of them to upgrade, and the node goes on by itself.
#[test]
fn without_a_common_version_the_older_side_is_named() {
    for (versions, older) in [((2, 3), "upgrade cloudhub"), ((0, 0), "upgrade edgehub")] {
        let mut lab = shop(&["lyon"]);
        lab.edge_says = if older.ends_with("cloudhub") { |frame| hello_of(frame, (2, 3)) } else { |frame| hello_of(frame, (0, 0)) };
        lab.cut(0);
        lab.in_cloud(vec![merge("products", "1", r#"{"name":"mint"}"#)]);
        lab.pass(5_000);
        let refused: Vec<_> = lab.ends.iter().filter(|end| end.by_peer).collect();
        assert!(!refused.is_empty());
        for end in refused {
            assert!(end.refused && end.reason.code == "version", "{end:?}");
            assert!(end.reason.detail.ends_with(older), "{versions:?}: {}", end.reason.detail);
        }
        lab.write(0, vec![add("products", "1", "n", -1)]);
        assert_eq!((n(&mut lab, 0, "products"), lab.edges[0].pending()), (Some(19), 1));
        // It is upgraded, and everything goes on where it was.
        lab.edge_says = |frame| frame.encode();
        lab.converge(10_000);
        assert!(lab.edges[0].value("products", "1").unwrap().contains("mint"));
    }
}

fn hello_of(frame: Frame, versions: (u32, u32)) -> Vec<u8> {
    match frame {
        Frame::Hello(hello) => Frame::Hello(proto::frame::Hello { versions, ..hello }).encode(),
        frame => frame.encode(),
    }
}

/// A definition that only a newer edge can read: its data is served, its collection takes no local writes, and every
/// other one does.
#[test]
fn a_definition_of_a_newer_hub_stops_its_own_collection_alone() {
    let mut lab = shop(&["lyon"]);
    lab.in_cloud(vec![put("orders", "1", r#"{"s":1}"#)]);
    lab.converge(10_000);
    lab.cloud_says = |frame| {
        let Frame::Batch(mut batch) = frame else { return frame.encode() };
        for definition in batch.grants.iter_mut().flat_map(|grants| &mut grants.definitions) {
            if definition.name.as_str() == "orders" {
                definition.json = r#"{"policy":"consensus","quorum":3}"#.to_owned();
            }
        }
        Frame::Batch(batch).encode()
    };
    lab.define("orders", r#"{"policy":"guarded","indexes":["s"]}"#);
    lab.converge(10_000);
    assert_eq!(lab.try_write(0, vec![merge("orders", "1", r#"{"s":2}"#)]).unwrap_err().code(), "unavailable");
    let both = vec![add("tally", "1", "n", -1), merge("orders", "1", r#"{"s":2}"#)];
    assert_eq!(lab.try_write(0, both).unwrap_err().code(), "unavailable", "a write is refused whole");
    lab.write(0, vec![add("tally", "1", "n", -1)]);
    lab.in_cloud(vec![merge("orders", "1", r#"{"s":3}"#)]);
    lab.converge(10_000);
    assert_eq!(lab.edges[0].value("orders", "1").unwrap(), r#"{"s":3}"#);
    assert_eq!(n(&mut lab, 0, "tally"), Some(19));
    // The hub says it in words that this version knows.
    lab.cloud_says = |frame| frame.encode();
    lab.define("orders", r#"{"policy":"guarded"}"#);
    lab.converge(10_000);
    lab.write(0, vec![merge("orders", "1", r#"{"s":4}"#)]);
    lab.converge(10_000);
    assert_eq!(lab.cloud.value("orders", "1").unwrap(), r#"{"s":4}"#);
}
