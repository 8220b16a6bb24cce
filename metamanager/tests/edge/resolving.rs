//! Resolving a conflict here, with the link down: readers see the decision at once, and the cloud's answer at the end.

use metamanager::{ConflictState, LocalRequest, Refusal};
use proto::build::Action;
use proto::op::{Body, Verdict};
use proto::resolve::{Choice, Resolve, ResolveError};

use crate::kit::{Edge, answered, batch, gone, is, key, merge, name, record, sell, value};
use proto::frame::{Content, Entry};

const OPEN: &str = r#"{"id":"c11-1","collection":"stock","key":"1","write":"lyon:010101:1","node":"lyon","actor":null,"kind":"bound","op":"increment","fields":[{"name":"n","base":0,"cloud":0,"edge":-2,"result":-2,"delta":-2,"sum":-2}],"outcome":"flagged","revision":11,"opened_at":"2026-11-26T09:00:00.000Z","state":"open","resolved_by":null,"count":1}"#;
const GONE: &str = r#"{"id":"c11-1","collection":"stock","key":"1","write":"lyon:010101:1","node":"lyon","actor":null,"kind":"gone","op":"merge","fields":[{"name":"name","base":"tea","cloud":"tea","edge":"green"},{"name":"price","cloud":3},{"name":"n","cloud":0}],"outcome":"merged","revision":11,"opened_at":"2026-11-26T09:00:00.000Z","state":"auto","resolved_by":null,"count":1}"#;

fn row(revision: u64, text: &str) -> Entry {
    let mut row = record("_conflicts", "c11-1", revision, Content::Value(text.to_owned()));
    row.partition = Some("stock".to_owned());
    Entry::Record(row)
}

fn resolved(text: &str, state: &str) -> String {
    let state = format!(r#""state":"{state}","resolved_by":null"#);
    assert!(text.contains(&state));
    text.replace(&state, r#""state":"resolved","resolved_by":"anna""#)
}

fn resolve(choice: Choice) -> LocalRequest {
    let mut request = merge("_conflicts", "c11-1", "{}");
    request.request.action = Action::Resolve(Resolve { choice, by: None });
    request
}

fn counted() -> Choice {
    Choice::Value(value(r#"{"n":4}"#))
}

fn edge() -> Edge {
    let mut edge = Edge::new();
    edge.apply(vec![batch(10, 11, true, vec![is("stock", "1", 11, r#"{"id":"1","n":-2}"#), row(11, OPEN)])]);
    edge
}

fn states(edge: &mut Edge) -> (Vec<(String, ConflictState)>, usize, u64) {
    let all = edge.reader().conflicts(None, None, 10).unwrap().conflicts;
    let open = edge.reader().conflicts(Some(ConflictState::Open), None, 10).unwrap().conflicts.len();
    let figures = edge.reader().status().unwrap().conflicts_open;
    (all.into_iter().map(|row| (row.id, row.state)).collect(), open, figures)
}

fn are(edge: &mut Edge, state: ConflictState) {
    let open = usize::from(state == ConflictState::Open);
    assert_eq!(states(edge), (vec![("c11-1".to_owned(), state)], open, open as u64));
    let held = edge.row("stock", "1").map(|row| row.conflicts.len()).unwrap_or(open);
    assert_eq!(held, open, "what the record says");
    let text = edge.reader().conflict("c11-1").unwrap().unwrap().row;
    let spelled = format!("\"state\":\"{}\"", if state == ConflictState::Open { "open" } else { "resolved" });
    assert!(text.contains(&spelled), "{text}");
}

#[test]
fn readers_see_the_decision_at_once_and_the_cloud_confirms_it() {
    let mut edge = edge();
    are(&mut edge, ConflictState::Open);
    let committed = edge.write(vec![resolve(counted())]);
    assert_eq!(committed.results[1].view.as_ref().map(|row| row.value.as_str()), Some(r#"{"id":"1","n":4}"#));
    are(&mut edge, ConflictState::Resolved);
    edge.reopen();
    are(&mut edge, ConflictState::Resolved);
    assert_eq!(edge.n("1"), Some(4));
    assert_eq!(edge.try_write(vec![resolve(Choice::Edge)]).unwrap_err().code(), "not_open");
    let done = resolved(OPEN, "open");
    edge.apply(vec![batch(
        11,
        12,
        true,
        vec![answered(1, 12, Verdict::Applied), is("stock", "1", 12, r#"{"id":"1","n":4}"#), row(12, &done)],
    )]);
    are(&mut edge, ConflictState::Resolved);
    assert!(edge.reader().conflict("c11-1").unwrap().unwrap().row.contains("anna"));
    assert_eq!((edge.n("1"), edge.reader().status().unwrap().outbox_writes), (Some(4), 0));
}

#[test]
fn a_resolution_that_the_cloud_rejects_opens_the_row_again() {
    let mut edge = edge();
    edge.write(vec![resolve(counted())]);
    edge.write(vec![sell("1", 1)]);
    assert_eq!(edge.n("1"), Some(3));
    // The sale was decided too: −3, after somebody else's delivery of 5.
    let entries = vec![answered(1, 13, Verdict::Rejected), answered(2, 14, Verdict::Applied), is("stock", "1", 14, r#"{"id":"1","n":2}"#)];
    edge.apply(vec![batch(11, 14, true, entries)]);
    are(&mut edge, ConflictState::Open);
    assert_eq!(edge.n("1"), Some(2));
    edge.write(vec![resolve(Choice::Cloud)]);
    assert_eq!(edge.n("1"), Some(4), "what the row's events took is given back");
    are(&mut edge, ConflictState::Resolved);
}

#[test]
fn a_row_that_goes_takes_the_resolution_with_it() {
    let mut edge = edge();
    edge.write(vec![resolve(counted())]);
    let mut left = record("_conflicts", "c11-1", 12, Content::Left);
    left.partition = Some("stock".to_owned());
    edge.apply(vec![batch(11, 12, true, vec![Entry::Record(left)])]);
    assert_eq!(states(&mut edge), (Vec::new(), 0, 0));
    assert_eq!(edge.try_write(vec![resolve(Choice::Cloud)]).unwrap_err().code(), "not_found");
}

#[test]
fn a_deleted_record_is_restored_with_what_it_had() {
    let mut edge = Edge::new();
    edge.apply(vec![batch(10, 11, true, vec![gone("stock", "1", 11), row(11, GONE)])]);
    // `price` may not be written here; it is given back.
    let committed = edge.write(vec![resolve(Choice::Edge)]);
    assert_eq!(edge.view("stock", "1").as_deref(), Some(r#"{"name":"green","price":3,"n":0,"id":1}"#));
    assert_eq!(states(&mut edge), (vec![("c11-1".to_owned(), ConflictState::Resolved)], 0, 0));
    let ops = edge.reader().write(1).unwrap().unwrap().write.ops;
    assert_eq!(ops.iter().map(|op| op.expect.map(|revision| revision.0)).collect::<Vec<_>>(), [Some(11), Some(11)]);
    assert!(matches!((&ops[0].body, &ops[1].body), (Body::Merge(_), Body::Put(_))));
    assert_eq!(committed.results.len(), 2);
}

#[test]
fn the_side_that_stands_is_guarded_all_the_same() {
    let mut edge = edge();
    edge.write(vec![resolve(Choice::Edge)]);
    let ops = edge.reader().write(1).unwrap().unwrap().write.ops;
    assert_eq!((&ops[1].body, ops[1].expect.map(|revision| revision.0)), (&Body::Check(Vec::new()), Some(11)));
    assert_eq!((&ops[1].collection, &ops[1].key), (&name("stock"), &key("1")));
}

#[test]
fn only_a_resolution_passes_this_door() {
    let mut edge = edge();
    let refused = |edge: &mut Edge, requests| edge.try_write(requests).unwrap_err().reason;
    assert_eq!(
        refused(&mut edge, vec![merge("stock", "1", r#"{"name":"tea"}"#), resolve(Choice::Edge)]),
        Refusal::Resolve(ResolveError::NotAlone)
    );
    for request in [merge("_conflicts", "c11-1", r#"{"state":"resolved"}"#), merge("_commands", "1", "{}")] {
        assert!(matches!(refused(&mut edge, vec![request]), Refusal::SystemCollection(_)));
    }
    let mut close = resolve(Choice::Edge);
    close.request.action = Action::Close { by: "anna".to_owned() };
    assert!(matches!(refused(&mut edge, vec![close]), Refusal::SystemCollection(_)));
    let mut restore = merge("stock", "9", "{}");
    restore.request.action = Action::Restore(value(r#"{"price":1}"#));
    assert!(matches!(refused(&mut edge, vec![restore]), Refusal::SystemCollection(_)));
    let mut other = resolve(Choice::Edge);
    other.request.key = key("c99-1");
    assert_eq!(refused(&mut edge, vec![other]), Refusal::Resolve(ResolveError::Unknown("c99-1".to_owned())));
    are(&mut edge, ConflictState::Open);
    assert_eq!(edge.n("1"), Some(-2));
}
