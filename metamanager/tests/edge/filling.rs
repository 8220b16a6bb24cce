//! Grants and back-fills: what comes, what goes, what stays.

use metamanager::{ApplyError, ConflictState};
use proto::frame::{Batch, Content, Entry, FillPart, Grants};
use proto::ids::{Position, Revision};

use crate::kit::{Edge, at, batch, create, filled, grant, grants, is, key, name, now, record, sell, welcome};

fn thing(id: &str, revision: u64, n: i64) -> proto::frame::Record {
    record("stock", id, revision, Content::Value(format!(r#"{{"id":"{id}","n":{n}}}"#)))
}

fn part(at: u64, fill: FillPart) -> Batch {
    Batch { fill: Some(fill), ..batch(at, at, true, Vec::new()) }
}

fn open(edge: &mut Edge) -> Vec<String> {
    edge.store().facts().unwrap().fills.iter().map(|fill| fill.grant.share.collection.to_string()).collect()
}

#[test]
fn a_fill_goes_on_where_it_was_and_never_overtakes() {
    let mut edge = Edge::unjoined();
    let adopted = edge.adopt(&welcome(1, 10, Some(grants(10))));
    assert_eq!((adopted.cursor, adopted.fills.len()), (at(10), 7));
    let stock = grant("stock", None, 1, 10);
    edge.apply(vec![part(10, filled(stock.clone(), 5, false, vec![thing("a", 4, 1), thing("b", 5, 2)]))]);
    edge.apply(vec![batch(10, 12, true, vec![is("stock", "b", 12, r#"{"id":"b","n":20}"#)])]);
    edge.reopen();
    let fill = edge.store().facts().unwrap().fills.into_iter().find(|fill| fill.grant == stock).unwrap();
    assert_eq!(fill.at, at(5));
    // The same part again, and one that is older than what came in the stream.
    edge.apply(vec![part(12, filled(stock.clone(), 5, false, vec![thing("a", 4, 1)]))]);
    // One of before that goes back to where it was then.
    let applied = edge.apply(vec![part(12, filled(stock.clone(), 4, false, vec![thing("a", 4, 1)]))]);
    assert_eq!(applied.fills.into_iter().find(|fill| fill.grant == stock).unwrap().at, at(5));
    let applied = edge.apply(vec![part(12, filled(stock, 10, true, vec![thing("b", 9, 3), thing("c", 10, 4)]))]);
    assert!(applied.fills.iter().all(|fill| fill.grant.share.collection.as_str() != "stock"));
    assert_eq!((edge.n("a"), edge.n("b"), edge.n("c")), (Some(1), Some(20), Some(4)));
}

#[test]
fn what_a_new_fill_does_not_see_goes() {
    let mut edge = Edge::new();
    let entries = ["old", "kept", "newer"].iter().map(|id| Entry::Record(thing(id, 11, 1))).collect();
    edge.apply(vec![batch(10, 11, true, entries)]);
    edge.write(vec![sell("old", 1)]);
    let mut anew = grants(10);
    let place = anew.grants.iter().position(|grant| grant.share.collection.as_str() == "stock").unwrap();
    anew.grants[place] = grant("stock", None, 12, 12);
    anew.revision = Revision(12);
    let grants = Batch { grants: Some(anew.clone()), ..batch(11, 12, true, Vec::new()) };
    let applied = edge.apply(vec![grants]);
    assert_eq!(applied.fills.len(), 1);
    assert_eq!(edge.n("old"), Some(0), "readable until the fill is done");
    edge.apply(vec![batch(12, 14, true, vec![Entry::Record(thing("newer", 14, 9))])]);
    // A part of the grant as it was before does nothing.
    edge.apply(vec![part(14, filled(grant("stock", None, 1, 10), 10, true, Vec::new()))]);
    assert_eq!(open(&mut edge), ["stock"]);
    edge.apply(vec![part(14, filled(anew.grants[place].clone(), 12, true, vec![thing("kept", 11, 1)]))]);
    assert_eq!((edge.n("old"), edge.n("kept"), edge.n("newer")), (None, Some(1), Some(9)));
    assert_eq!(edge.reader().count(&name("stock")).unwrap(), 2);
}

#[test]
fn a_right_that_is_gone_goes_with_its_data() {
    let mut edge = Edge::new();
    let conflict = r#"{"id":"x1","collection":"cut","key":"c","state":"open"}"#;
    let conflict = proto::frame::Record {
        partition: Some("cut/lyon".to_owned()),
        ..record("_conflicts", "x1", 11, Content::Value(conflict.to_owned()))
    };
    let entries = vec![is("cut", "c", 11, r#"{"W":"lyon","secret":"formula"}"#), Entry::Record(conflict), Entry::Record(thing("1", 11, 5))];
    edge.apply(vec![batch(10, 11, true, entries)]);
    edge.write(vec![create("cut", "mine", r#"{"W":"lyon"}"#)]);
    assert_eq!(edge.row("cut", "c").unwrap().conflicts, ["x1"]);
    let mut fewer = grants(10);
    fewer.revision = Revision(12);
    fewer.grants.retain(|grant| grant.share.partition.as_deref().is_none_or(|value| !value.contains("lyon")));
    fewer.definitions.retain(|definition| definition.name.as_str() != "cut");
    edge.apply(vec![Batch { grants: Some(fewer.clone()), ..batch(11, 12, true, Vec::new()) }]);
    assert_eq!(edge.view("cut", "c"), None);
    assert_eq!(edge.store().status().unwrap().conflicts_open, 0);
    assert_eq!(edge.reader().conflicts(None, None, 10).unwrap().conflicts, []);
    assert_eq!(edge.try_write(vec![create("cut", "d", r#"{"W":"lyon"}"#)]).unwrap_err().code(), "not_found");
    assert_eq!(edge.n("1"), Some(5), "the others stay");
    assert_eq!(edge.store().status().unwrap().outbox_writes, 1, "what this node wrote still goes up");
    assert_eq!(edge.store().facts().unwrap().grants_hash, fewer.hash());
    for file in std::fs::read_dir(edge.folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(7).any(|bytes| bytes == b"formula"), "not a byte of it is left in the files");
    }
}

#[test]
fn a_reset_keeps_rows_readable_until_they_are_replaced() {
    let mut edge = Edge::new();
    edge.apply(vec![batch(10, 50, true, vec![Entry::Record(thing("1", 50, 5)), Entry::Record(thing("2", 50, 5))])]);
    let other = proto::frame::Welcome { reset: true, ..welcome(2, 20, Some(grants(20))) };
    let adopted = edge.adopt(&other);
    assert_eq!((adopted.cursor, adopted.fills.len()), (at(20), 7));
    assert_eq!(edge.n("1"), Some(5));
    edge.apply(vec![part(20, filled(grant("stock", None, 1, 20), 20, true, vec![thing("1", 3, 8)]))]);
    assert_eq!((edge.n("1"), edge.n("2")), (Some(8), None));
}

#[test]
fn a_record_that_cannot_be_stored_is_put_aside() {
    let mut edge = Edge::new();
    let entries = vec![
        is("stock", "bad", 11, r#"{"n":1,"n":2}"#),
        Entry::Record(thing("good", 11, 1)),
        is("cut", "far", 11, r#"{"W":"lyon"}"#),
        Entry::Record(proto::frame::Record { partition: Some("oslo".into()), ..record("cut", "far", 11, Content::Value("{}".into())) }),
    ];
    let applied = edge.apply(vec![batch(10, 11, true, entries)]);
    assert_eq!((applied.cursor, applied.blocked, applied.records), (at(11), 2, 2));
    let status = edge.store().status().unwrap();
    assert_eq!((status.blocked_count, status.blocked[1].key.as_str()), (2, "bad"));
    assert_eq!(edge.n("good"), Some(1));
    edge.apply(vec![batch(11, 12, true, vec![Entry::Record(thing("bad", 12, 7))])]);
    assert_eq!(edge.store().status().unwrap().blocked_count, 1);
    assert_eq!(edge.n("bad"), Some(7));
}

#[test]
fn a_gap_is_an_error_and_changes_nothing() {
    let mut edge = Edge::new();
    let gap = edge.store().apply(&[batch(10, 11, true, vec![Entry::Record(thing("1", 11, 1))]), batch(12, 13, true, Vec::new())], now(0));
    assert_eq!(gap, Err(ApplyError::Gap { cursor: at(11), from: at(12) }));
    assert_eq!(edge.n("1"), None);
    assert_eq!(edge.store().facts().unwrap().cursor.unwrap().position, at(10));
    let mut new = Edge::unjoined();
    assert_eq!(new.store().apply(&[batch(0, 1, true, Vec::new())], now(0)), Err(ApplyError::NotAdopted));
}

#[test]
fn ack_without_change() {
    // A batch that changes nothing: what is acknowledged is what was durable before, also after a start that found
    // it in the log only.
    let mut edge = Edge::new();
    let first = edge.apply(vec![batch(10, 11, true, vec![Entry::Record(thing("1", 11, 1))])]);
    edge.reopen();
    let again = edge.apply(vec![batch(10, 11, true, vec![Entry::Record(thing("1", 11, 1))])]);
    assert_eq!((again.cursor.clone(), again.records), (first.cursor, 0));
    let position = edge.store().facts().unwrap().cursor.unwrap().position;
    assert_eq!(position, Position::at(Revision(11)));
}

#[test]
fn conflict_rows_are_listed_and_named() {
    let mut edge = Edge::new();
    let row = |id: &str, revision, state: &str| {
        let text = format!(r#"{{"id":"{id}","collection":"stock","key":"1","state":"{state}","kind":"bound"}}"#);
        let record = record("_conflicts", id, revision, Content::Value(text));
        Entry::Record(proto::frame::Record { partition: Some("stock".to_owned()), ..record })
    };
    edge.apply(vec![batch(10, 12, true, vec![Entry::Record(thing("1", 11, 5)), row("a", 12, "open"), row("b", 12, "auto")])]);
    assert_eq!(edge.row("stock", "1").unwrap().conflicts, ["a"]);
    let committed = edge.write(vec![sell("1", 1)]);
    assert_eq!(committed.results[0].view.as_ref().unwrap().conflicts, ["a"]);
    let mut reader = edge.reader();
    let ids = |page: metamanager::ConflictsPage| page.conflicts.into_iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!(ids(reader.conflicts(Some(ConflictState::Open), None, 10).unwrap()), ["a"]);
    assert_eq!(ids(reader.conflicts(None, Some("a"), 10).unwrap()), ["b"]);
    let first = reader.conflicts(None, None, 1).unwrap();
    assert_eq!((first.next.as_deref(), first.conflicts.len()), (Some("a"), 1));
    assert_eq!(reader.conflict("b").unwrap().unwrap().state, ConflictState::Auto);
    assert_eq!(reader.conflict("z").unwrap(), None);
    assert_eq!(reader.status().unwrap().conflicts_open, 1);
    edge.apply(vec![batch(12, 13, true, vec![row("a", 13, "resolved")])]);
    assert_eq!(edge.row("stock", "1").unwrap().conflicts, Vec::<String>::new());
    assert_eq!(edge.store().status().unwrap().conflicts_open, 0);
    assert!(edge.reader().get(&name("_conflicts"), &key("a")).unwrap().is_some(), "a record like any other");
}

#[test]
fn facts_hash_what_is_held() {
    let mut edge = Edge::new();
    assert_eq!(edge.store().facts().unwrap().grants_hash, grants(10).hash());
    assert_eq!(edge.store().facts().unwrap().grants_hash, Grants { revision: Revision(99), ..grants(77) }.hash());
    assert_eq!(edge.store().facts().unwrap().session, 1);
}

/// What was put aside is stored when the same version comes in a form that can be, or goes with the rights of the node.
#[test]
fn what_was_put_aside_heals_or_goes() {
    let mut edge = Edge::new();
    let entries = ["a", "b"].iter().map(|id| is("stock", id, 11, "no object")).collect();
    let applied = edge.apply(vec![batch(10, 11, true, entries)]);
    let elsewhere = proto::frame::Record { partition: Some("oslo".to_owned()), ..record("cut", "c", 12, Content::Value("{}".to_owned())) };
    edge.apply(vec![batch(11, 12, true, vec![Entry::Record(elsewhere)])]);
    assert_eq!((applied.blocked, edge.store().status().unwrap().blocked_count), (2, 3));
    // As a back-fill that reads the same state again brings it.
    let mut anew = grants(10);
    let place = anew.grants.iter().position(|grant| grant.share.collection.as_str() == "stock").unwrap();
    anew.grants[place] = grant("stock", None, 13, 13);
    anew.revision = Revision(13);
    edge.apply(vec![Batch { grants: Some(anew.clone()), ..batch(12, 13, true, Vec::new()) }]);
    let keys = |edge: &mut Edge| edge.store().status().unwrap().blocked.into_iter().map(|row| row.key).collect::<Vec<_>>();
    assert_eq!(keys(&mut edge), ["a", "b"], "what is no right of this node is not waited for");
    edge.apply(vec![part(13, filled(anew.grants[place].clone(), 11, false, vec![thing("a", 11, 1)]))]);
    assert_eq!((keys(&mut edge), edge.n("a")), (vec!["b".to_owned()], Some(1)));
    let mut fewer = grants(10);
    fewer.revision = Revision(14);
    fewer.grants.retain(|grant| grant.share.collection.as_str() != "stock");
    edge.apply(vec![Batch { grants: Some(fewer), ..batch(13, 14, true, Vec::new()) }]);
    assert!(keys(&mut edge).is_empty());
}

/// Names of collections that nothing mentions go at a start; those with a write that waits stay.
#[test]
fn names_that_nothing_mentions_go_at_a_start() {
    let mut edge = Edge::new();
    edge.write(vec![create("cut", "mine", r#"{"W":"lyon"}"#)]);
    let mut fewer = grants(10);
    fewer.revision = Revision(11);
    fewer.grants.retain(|grant| ["fixed", "stock"].contains(&grant.share.collection.as_str()));
    fewer.definitions.retain(|definition| ["fixed", "stock"].contains(&definition.name.as_str()));
    edge.apply(vec![Batch { grants: Some(fewer), ..batch(10, 11, true, Vec::new()) }]);
    let names = |edge: &Edge| {
        let conn = rusqlite::Connection::open(edge.path()).unwrap();
        let mut names = conn.prepare("SELECT name FROM collections WHERE name NOT LIKE '\\_%' ESCAPE '\\' ORDER BY name").unwrap();
        names.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap).collect::<Vec<_>>()
    };
    assert_eq!(names(&edge), ["cut", "fixed", "sales", "stock"]);
    edge.reopen();
    assert_eq!(names(&edge), ["cut", "fixed", "stock"]);
    assert!(edge.view("cut", "mine").is_some());
    edge.apply(vec![Batch { grants: Some(Grants { revision: Revision(12), ..grants(12) }), ..batch(11, 12, true, Vec::new()) }]);
    assert_eq!(edge.store().status().unwrap().collections.len(), 4);
}
