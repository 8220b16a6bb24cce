#![allow(clippy::unwrap_used)]

use proto::definition::Labels;
use proto::frame::Report;
use proto::ids::Revision;
use proto::names::NodeName;

use super::super::fleet::Fleet;
use super::*;
use crate::peers::Presence;
use crate::store::NodeRow;

const DAY: u64 = 86_400_000;
const NOW: u64 = 20_000 * DAY;

fn node(name: &str) -> Seen {
    let row = NodeRow {
        verified_ms: None,
        name: NodeName::parse(name).unwrap(),
        labels: Labels::from([("role".to_owned(), "till".to_owned()), ("site".to_owned(), "lyon".to_owned())]),
        revoked: false,
        created_ms: 1,
        last_seen_ms: NOW - DAY,
        address: String::new(),
        transport: String::new(),
        version: String::new(),
        database: None,
        serial: String::new(),
        old_serial: None,
        not_after_ms: NOW + 60 * DAY,
        cursor: Revision(5),
        report: Report { outbox_writes: 2, outbox_oldest_ms: NOW - 7, ..Report::default() },
        conflicts_open: 0,
        selected: true,
    };
    Seen { row, presence: Presence::default(), behind: 0, devices: None }
}

#[test]
fn a_node_that_is_well_has_none() {
    assert_eq!(warnings(&node("lyon"), NOW), Vec::<String>::new());
}

#[test]
fn a_node_that_no_collection_selects_is_named_with_its_labels() {
    let mut lyon = node("lyon");
    lyon.row.selected = false;
    assert_eq!(warnings(&lyon, NOW), ["no collection selects this node; labels: role=till,site=lyon"]);
    lyon.row.report.warnings = warnings(&lyon, NOW);
    assert_eq!(warnings(&lyon, NOW).len(), 1, "said by both sides, shown once");
    lyon.row.labels.clear();
    lyon.row.report.warnings.clear();
    assert_eq!(warnings(&lyon, NOW), ["no collection selects this node; labels: none"]);
    lyon.row.revoked = true;
    assert_eq!(warnings(&lyon, NOW), Vec::<String>::new());
}

#[test]
fn refusals_are_the_reason_or_a_warning() {
    let mut lyon = node("lyon");
    for (code, reason) in [("copied_database", NodeReason::RefusedCopiedDatabase), ("version", NodeReason::RefusedVersion)] {
        lyon.presence.refused = Some(code.to_owned());
        assert_eq!(lyon.state().1, Some(reason));
        assert_eq!(warnings(&lyon, NOW), Vec::<String>::new());
    }
    lyon.presence.refused = Some("too_many_databases".to_owned());
    assert!(warnings(&lyon, NOW)[0].contains("(too_many_databases)"));
}

#[test]
fn long_absence_and_short_certificates_are_said() {
    let mut lyon = node("lyon");
    (lyon.behind, lyon.row.last_seen_ms) = (7, NOW - 3 * DAY);
    assert!(warnings(&lyon, NOW)[0].ends_with("and is behind by 7 records"), "{:?}", warnings(&lyon, NOW));
    lyon.row.last_seen_ms = NOW - DAY;
    lyon.row.not_after_ms = NOW - 1;
    assert!(warnings(&lyon, NOW)[0].starts_with("its certificate ended "));
}

#[test]
fn a_fleet_at_a_glance() {
    let (mut oslo, mut rome, mut gone) = (node("oslo"), node("rome"), node("zone"));
    (oslo.behind, oslo.row.last_seen_ms) = (9, NOW - 30 * DAY);
    rome.row.selected = false;
    rome.presence.refused = Some("copied_database".to_owned());
    gone.row.revoked = true;
    let all = [node("lyon"), oslo, rome, gone];
    let Fleet { status, warnings } = Fleet::of(all.iter(), NOW);
    assert_eq!((status.in_sync, status.behind, status.paused, status.refused, status.away), (0, 1, 0, 1, 1));
    assert_eq!((status.outbox.writes, status.outbox.oldest_at), (6, Some(Time(NOW - 7))), "what a revoked node holds never comes");
    assert_eq!(status.oldest_last_seen.unwrap().node, "oslo");
    assert_eq!((status.unselected.count, status.unselected.nodes), (1, vec!["rome".to_owned()]));
    assert_eq!(status.behind_long.nodes, ["oslo"]);
    assert_eq!(status.warned.nodes, ["oslo", "rome"]);
    assert!(warnings.contains(&"no collection selects rome: cloudhub node label, or the collection's nodes".to_owned()), "{warnings:?}");
}
