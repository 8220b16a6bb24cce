#![allow(clippy::unwrap_used)]

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::definition::Definition;
use crate::overlay::lay;

const PRODUCTS: &str = r#"{"key":"ProductID","fields":{"UnitsInStock":{"type":"counter","min":0},"UnitPrice":{"edge":"read-only"}}}"#;

fn defined(json: &str) -> Defined {
    Defined { name: CollectionName::parse("products").unwrap(), revision: Revision(3), definition: Definition::parse(json).unwrap() }
}

fn value(json: &str) -> Value {
    Value::parse(json).unwrap()
}

fn request(action: Action) -> Request {
    Request { collection: CollectionName::parse("products").unwrap(), key: Key::parse("11").unwrap(), action, expect: None }
}

fn put(json: &str) -> Request {
    request(Action::Put { value: value(json), create: false })
}

struct Table {
    defined: Defined,
    view: Option<Value>,
    matched: bool,
    side: Side,
    depends: Option<u64>,
}

impl Table {
    fn new(json: &str, view: Option<&str>) -> Self {
        Self { defined: defined(json), view: view.map(value), matched: false, side: Side::Edge, depends: None }
    }

    fn build(&self, request: &Request) -> Result<Option<Op>, BuildError> {
        build(
            request,
            &Scene {
                defined: &self.defined,
                view: self.view.as_ref(),
                seen: Revision(40),
                depends: self.depends,
                stands_on: &[7],
                matched: self.matched,
                side: self.side,
            },
        )
    }

    fn op(&self, request: &Request) -> Op {
        self.build(request).unwrap().unwrap()
    }
}

fn changes(op: &Op) -> &[Change] {
    match &op.body {
        Body::Merge(changes) => changes,
        other => panic!("not a merge: {other:?}"),
    }
}

/// `rename-by-put`: price and stock untouched.
#[test]
fn a_put_claims_only_what_it_changed() {
    let table = Table::new(PRODUCTS, Some(r#"{"ProductID":11,"ProductName":"Chai","UnitPrice":18,"UnitsInStock":39}"#));
    let op = table.op(&put(r#"{"ProductID":11,"ProductName":"Chai Latte","UnitPrice":18.0,"UnitsInStock":39}"#));
    assert_eq!(changes(&op).len(), 1);
    assert_eq!(changes(&op)[0].field, "ProductName");
    assert_eq!(changes(&op)[0].was, Was::Value(Raw::string("Chai")));
    assert_eq!((op.seen, op.depends, op.stands_on), (Revision(40), None, vec![]));
}

#[test]
fn a_put_that_changes_nothing_is_no_change() {
    let table = Table::new(PRODUCTS, Some(r#"{"ProductID":11,"a":1}"#));
    assert!(changes(&table.op(&put(r#"{"a":1e0}"#))).is_empty());
}

#[test]
fn a_put_of_nothing_creates() {
    let table = Table::new(PRODUCTS, None);
    let op = table.op(&put(r#"{"ProductName":"Chai"}"#));
    assert_eq!(op.seen, Revision::ZERO);
    assert_eq!(op.body, Body::Put(value(r#"{"ProductName":"Chai","ProductID":11}"#)));
}

#[test]
fn a_put_removes_what_it_leaves_out() {
    let table = Table::new("{}", Some(r#"{"a":1,"b":null}"#));
    let op = table.op(&put(r#"{"a":1}"#));
    assert_eq!(changes(&op), [Change { field: "b".into(), to: To::Remove, was: Was::Value(Raw::null()) }]);
}

/// `null-roundtrip`: null is a value in a put, and removes in a merge patch.
#[test]
fn null_roundtrip() {
    let table = Table::new("{}", Some(r#"{"a":1}"#));
    assert_eq!(changes(&table.op(&put(r#"{"a":null}"#)))[0].to, To::Set(Raw::null()));
    assert_eq!(changes(&table.op(&request(Action::Merge(value(r#"{"a":null}"#)))))[0].to, To::Remove);
    assert!(changes(&table.op(&request(Action::Merge(value(r#"{"b":null}"#))))).is_empty());
}

#[test]
fn counters_become_counts_and_need_a_match() {
    let mut table = Table::new(PRODUCTS, Some(r#"{"ProductID":11,"UnitsInStock":33}"#));
    assert_eq!(table.build(&put(r#"{"UnitsInStock":40}"#)), Err(BuildError::CountNeedsMatch("UnitsInStock".into())));
    table.matched = true;
    let op = table.op(&put(r#"{"UnitsInStock":40}"#));
    assert_eq!(changes(&op)[0].to, To::Count { observed: 40, delta: 7 });
    assert_eq!(op.stands_on, [7]);
    table.matched = false;
    let patch = |json| request(Action::Merge(value(json)));
    assert_eq!(changes(&table.op(&patch(r#"{"UnitsInStock":40}"#)))[0].to, To::Count { observed: 40, delta: 7 });
    assert_eq!(table.build(&patch(r#"{"UnitsInStock":"x"}"#)), Err(BuildError::Counter("UnitsInStock".into())));
    assert_eq!(table.build(&patch(r#"{"UnitsInStock":1.5}"#)), Err(BuildError::Counter("UnitsInStock".into())));
}

#[test]
fn read_only_binds_the_edge_alone() {
    let mut table = Table::new(PRODUCTS, Some(r#"{"ProductID":11,"UnitPrice":18}"#));
    let patch = request(Action::Merge(value(r#"{"UnitPrice":19}"#)));
    assert!(matches!(table.build(&patch), Err(BuildError::ReadOnly { field: Some(field), .. }) if field == "UnitPrice"));
    table.side = Side::Cloud;
    assert_eq!(changes(&table.op(&patch)).len(), 1);
    let mut table = Table::new(r#"{"edge":"read-only"}"#, Some("{}"));
    assert!(matches!(table.build(&request(Action::Delete { force: true })), Err(BuildError::ReadOnly { field: None, .. })));
    table.side = Side::Cloud;
    assert!(table.build(&request(Action::Delete { force: false })).is_ok());
}

#[test]
fn append_only_inserts() {
    let line = r#"{"ProductID":11,"n":1}"#;
    let held = Table::new(r#"{"key":"ProductID","policy":"append"}"#, Some(line));
    assert_eq!(held.build(&put(line)), Ok(None));
    assert!(matches!(held.build(&put(r#"{"n":2}"#)), Err(BuildError::KeyTaken { .. })));
    assert!(matches!(held.build(&request(Action::Merge(value("{}")))), Err(BuildError::AppendOnly(_))));
    assert!(matches!(held.build(&request(Action::Delete { force: true })), Err(BuildError::AppendOnly(_))));
    let empty = Table::new(r#"{"policy":"append"}"#, None);
    assert!(matches!(empty.op(&put(line)).body, Body::Put(_)));
}

#[test]
fn what_is_not_there_is_not_found() {
    let table = Table::new(PRODUCTS, None);
    let by = request(Action::Increment(vec![("UnitsInStock".into(), -1)]));
    assert!(matches!(table.build(&by), Err(BuildError::NotFound { .. })));
    assert!(matches!(table.build(&request(Action::Delete { force: false })), Err(BuildError::NotFound { .. })));
    let table = Table::new(PRODUCTS, Some(r#"{"ProductID":11}"#));
    let by = request(Action::Increment(vec![("Name".into(), -1)]));
    assert_eq!(table.build(&by), Err(BuildError::NoCounter("Name".into())));
}

#[test]
fn keys_cannot_be_patched_away() {
    let table = Table::new(PRODUCTS, Some(r#"{"ProductID":11}"#));
    for patch in [r#"{"ProductID":null}"#, r#"{"ProductID":12}"#] {
        assert!(matches!(table.build(&request(Action::Merge(value(patch)))), Err(BuildError::Key(_))), "{patch}");
    }
}

#[test]
fn an_op_on_a_pending_record_names_its_creator() {
    let mut table = Table::new(PRODUCTS, Some(r#"{"ProductID":11}"#));
    table.depends = Some(5);
    let op = table.op(&request(Action::Merge(value(r#"{"a":1}"#))));
    assert_eq!((op.depends, op.seen), (Some(5), Revision(40)));
}

/// Fields that win or lose together are claimed together.
#[test]
fn a_claim_on_one_field_of_a_group_is_a_claim_on_all() {
    let groups = r#"{"groups":[["street","zip","city"]]}"#;
    let table = Table::new(groups, Some(r#"{"street":"a","zip":"1","name":"x"}"#));
    let claimed = |request: &Request| changes(&table.op(request)).iter().map(|change| change.field.clone()).collect::<Vec<_>>();
    assert_eq!(claimed(&put(r#"{"street":"b","zip":"1","name":"x"}"#)), ["street", "zip"]);
    assert_eq!(claimed(&request(Action::Merge(value(r#"{"zip":"2"}"#)))), ["zip", "street"]);
    assert_eq!(claimed(&request(Action::Merge(value(r#"{"name":"y"}"#)))), ["name"]);
}

fn small_value() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[abcn]", prop_oneof![Just("null".into()), "[0-9]", Just("{\"x\":1}".into())], 0..4).prop_map(|fields| {
        let mut value = Value::default();
        fields.iter().for_each(|(name, text): (_, &String)| value.set(name, Raw::parse(text).unwrap()));
        value
    })
}

proptest! {
    /// What a put leaves in the view is what was put, whatever stood there.
    #[test]
    fn a_put_reads_back(old in prop::option::of(small_value()), new in small_value()) {
        let mut table = Table::new("{}", None);
        table.view = old.clone();
        let op = table.op(&request(Action::Put { value: new.clone(), create: false }));
        prop_assert!(lay(old, &op).unwrap().same(&new));
    }

    /// Every op survives its bytes.
    #[test]
    fn writes_round_trip(old in prop::option::of(small_value()), new in small_value(), patch: bool, by: i64) {
        let mut table = Table::new(r#"{"fields":{"n":{"type":"counter"}}}"#, None);
        table.matched = true;
        table.view = old;
        let action = if patch { Action::Merge(new) } else { Action::Put { value: new, create: false } };
        let mut ops: Vec<_> = table.build(&request(action)).into_iter().flatten().collect();
        ops.extend(table.build(&request(Action::Increment(vec![("n".into(), by)]))).into_iter().flatten());
        ops.extend(table.build(&request(Action::Check(vec![("n".into(), Raw::integer(by))]))).into_iter().flatten());
        let write = crate::op::Write { ops, at_ms: 5, ..Default::default() };
        prop_assert_eq!(crate::op::Write::decode(&write.encode()).unwrap(), write);
    }
}
