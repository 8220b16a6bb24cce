//! Ops as no honest edge of today makes them.

use std::sync::Arc;

use proto::clock::Hlc;
use proto::definition::Defined;
use proto::ids::{DatabaseId, Revision, WriteId};
use proto::json::{Raw, Value};
use proto::names::{CollectionName, Key, NodeName};
use proto::op::{Body, Change, Op, Outcome, To, Verdict, Was, Write};

use super::hub::Hub;
use crate::reconcile::{Author, Decided, Held, Judged, Row, RowKey, SchemaError, Stored, World, judge};

const COUNTERS: &str = r#"{"key":"ID","fields":{"n":{"type":"counter"}}}"#;

fn hub() -> Hub {
    let mut hub = Hub::default();
    hub.define("stock", COUNTERS);
    let outcome = commit(&mut hub, 9, 1, vec![op(0, Body::Put(value(r#"{"ID":1,"n":5,"name":"tea"}"#)))]);
    assert_eq!(outcome.verdict, Verdict::Applied);
    hub
}

fn value(json: &str) -> Value {
    Value::parse(json).unwrap()
}

fn raw(json: &str) -> Raw {
    Raw::parse(json).unwrap()
}

pub(super) fn op(seen: u64, body: Body) -> Op {
    Op {
        collection: CollectionName::parse("stock").unwrap(),
        key: Key::parse("1").unwrap(),
        seen: Revision(seen),
        definition: Revision(1),
        depends: None,
        stands_on: Vec::new(),
        expect: None,
        body,
    }
}

fn set(field: &str, json: &str, was: Was) -> Body {
    Body::Merge(vec![Change { field: field.to_owned(), to: To::Set(raw(json)), was }])
}

fn edge(database: u32, number: u64) -> Author {
    Author::Edge { node: NodeName::parse("lyon").unwrap(), database, number }
}

fn commit(hub: &mut Hub, database: u32, number: u64, ops: Vec<Op>) -> Outcome {
    hub.commit(&edge(database, number), &Write { ops, ..Write::default() }, Hlc(1)).outcome
}

/// Verdict and code of one op on the record that [`hub`] holds.
fn said(op: Op) -> String {
    let outcome = commit(&mut hub(), 1, 7, vec![op]);
    let code = outcome.code.map(|code| format!(" {code}")).unwrap_or_default();
    format!("{}{code}", outcome.verdict.as_str())
}

#[test]
fn unknown_collections() {
    let mut foreign = op(2, set("name", "1", Was::Absent));
    foreign.collection = CollectionName::parse("nothing").unwrap();
    assert_eq!(said(foreign.clone()), "rejected not_entitled");
    let write = Write { ops: vec![foreign], ..Write::default() };
    let decision = hub().judge(&Author::Cloud { force: false }, &write, Hlc(1));
    assert_eq!(decision.outcome.code.as_deref(), Some("malformed"));
    assert!(decision.conflicts.is_empty());
}

#[test]
fn counters_that_are_none() {
    assert_eq!(said(op(2, Body::Increment(vec![("name".into(), 1)]))), "rejected malformed");
    assert_eq!(said(op(2, set("n", "1.5", Was::Value(raw("5"))))), "rejected malformed");
    assert_eq!(said(op(2, set("n", "\"x\"", Was::Value(raw("5"))))), "rejected malformed");
    assert_eq!(said(op(2, set("n", "7", Was::Hash([0; 16])))), "rejected malformed");
    let mut put = op(0, Body::Put(value(r#"{"n":"many"}"#)));
    put.key = Key::parse("2").unwrap();
    assert_eq!(said(put), "rejected malformed");
}

#[test]
fn a_set_of_a_counter_is_a_count() {
    let mut hub = hub();
    commit(&mut hub, 1, 1, vec![op(2, set("n", "8", Was::Value(raw("5"))))]);
    assert_eq!(hub.records.values().next().unwrap().live().unwrap().get("n"), Some(&raw("8")));
}

#[test]
fn keys_that_do_not_agree() {
    assert_eq!(said(op(2, set("ID", "2", Was::Value(raw("1"))))), "rejected malformed");
    let mut put = op(0, Body::Put(value(r#"{"ID":1}"#)));
    put.key = Key::parse("2").unwrap();
    assert_eq!(said(put), "rejected malformed");
    // A key field that is taken away is filled in again.
    let mut hub = hub();
    let remove = Body::Merge(vec![Change { field: "ID".into(), to: To::Remove, was: Was::Value(raw("1")) }]);
    assert_eq!(commit(&mut hub, 1, 1, vec![op(2, remove)]).verdict, Verdict::Applied);
    assert_eq!(hub.records.values().next().unwrap().live().unwrap().get("ID"), Some(&raw("1")));
}

#[test]
fn too_large() {
    let big = format!("\"{}\"", "x".repeat(600_000));
    let change = |field: &str| Change { field: field.to_owned(), to: To::Set(raw(&big)), was: Was::Absent };
    assert_eq!(said(op(2, Body::Merge(vec![change("a"), change("b")]))), "rejected too_large");
    let many = (0..2001).map(|field| Change { field: field.to_string(), to: To::Remove, was: Was::Absent }).collect();
    assert_eq!(said(op(2, Body::Merge(many))), "rejected too_large");
    // Each fits, the result does not.
    let mut hub = hub();
    assert_eq!(commit(&mut hub, 1, 1, vec![op(2, Body::Merge(vec![change("a")]))]).verdict, Verdict::Applied);
    let outcome = commit(&mut hub, 2, 1, vec![op(2, Body::Merge(vec![change("b")]))]);
    assert_eq!((outcome.code.as_deref(), outcome.conflicts.len()), (Some("too_large"), 0));
}

#[test]
fn a_field_claimed_twice() {
    let change = |json: &str| Change { field: "name".into(), to: To::Set(raw(json)), was: Was::Absent };
    assert_eq!(said(op(2, Body::Merge(vec![change("1"), change("2")]))), "rejected malformed");
}

#[test]
fn what_an_op_depends_on() {
    let mut hub = hub();
    let depending = |on| Op { depends: Some(on), ..op(2, set("name", "\"x\"", Was::Absent)) };
    // Unknown, later, or the write itself: only a rejected write takes others with it.
    for (number, on) in [(1, 999), (2, 2), (3, 1)] {
        assert_eq!(commit(&mut hub, 1, number, vec![depending(on)]).verdict, Verdict::Applied);
    }
    hub.outcomes.insert((1, 4), Decided { verdict: Verdict::Lost, revision: Revision(1) });
    assert_eq!(commit(&mut hub, 1, 5, vec![depending(4)]).code.as_deref(), Some("depends"));
    assert_eq!(commit(&mut hub, 2, 5, vec![depending(4)]).verdict, Verdict::Applied);
}

#[test]
fn expectations_of_what_is_not_there() {
    let expecting =
        |key: &str, revision| Op { key: Key::parse(key).unwrap(), expect: Some(Revision(revision)), ..op(2, Body::Delete { force: true }) };
    assert_eq!(said(expecting("1", 2)), "applied");
    assert_eq!(said(expecting("1", 1)), "rejected guard");
    assert_eq!(said(expecting("none", 1)), "rejected guard");
}

#[test]
fn a_store_that_cannot_answer_decides_nothing() {
    struct Broken;
    impl World for Broken {
        type Error = &'static str;
        fn record(&self, _: &CollectionName, _: &Key) -> Result<Option<Stored>, Self::Error> {
            Err("record")
        }
        fn definition(&self, _: &CollectionName) -> Result<Option<Arc<Defined>>, Self::Error> {
            Err("definition")
        }
        fn granted(&self, _: &CollectionName, _: Option<&str>) -> Result<bool, Self::Error> {
            Err("granted")
        }
        fn exit_above(&self, _: &CollectionName, _: &Key, _: Revision) -> Result<Option<Revision>, Self::Error> {
            Err("exit")
        }
        fn floor(&self, _: &CollectionName) -> Result<Revision, Self::Error> {
            Err("floor")
        }
        fn outcome(&self, _: u64) -> Result<Option<Decided>, Self::Error> {
            Err("outcome")
        }
        fn open_conflict(&self, _: &RowKey) -> Result<Option<Row>, Self::Error> {
            Err("conflict")
        }
        fn conflict(&self, _: &Key) -> Result<Option<Held>, Self::Error> {
            Err("row")
        }
        fn schema_error(&self, _: &Defined, _: &Value) -> Result<Option<SchemaError>, Self::Error> {
            Err("schema")
        }
        fn database(&self, _: u32) -> Result<DatabaseId, Self::Error> {
            Err("database")
        }
    }
    let write = Write { ops: vec![op(2, Body::Delete { force: false })], ..Write::default() };
    let judged =
        Judged { author: edge(1, 1), id: WriteId::Cloud(Revision(3)), write: &write, hlc: Hlc(1), revision: Revision(3), now_ms: 0 };
    assert_eq!(judge(&judged, &Broken).unwrap_err(), "definition");
}
