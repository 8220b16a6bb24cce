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

/// What a new record may hold, whoever makes it.
#[test]
fn a_new_record_has_whole_counters_and_nothing_that_is_the_clouds() {
    let counter = || Err(BuildError::Counter("UnitsInStock".into()));
    let read_only = || Err(BuildError::ReadOnly { what: "field \"UnitPrice\"".into(), field: Some("UnitPrice".into()) });
    for (json, edge, cloud) in [
        (r#"{"UnitsInStock":39}"#, Ok(()), Ok(())),
        (r#"{"UnitsInStock":-3.0}"#, Ok(()), Ok(())),
        (r#"{"UnitsInStock":null,"Name":"x","Other":1.5}"#, Ok(()), Ok(())),
        (r#"{"UnitsInStock":"39"}"#, counter(), counter()),
        (r#"{"UnitsInStock":1.5}"#, counter(), counter()),
        (r#"{"UnitsInStock":9223372036854775808}"#, counter(), counter()),
        (r#"{"UnitPrice":18}"#, read_only(), Ok(())),
        (r#"{"UnitPrice":null}"#, read_only(), Ok(())),
    ] {
        for (side, expected) in [(Side::Edge, edge), (Side::Cloud, cloud)] {
            let table = Table { side, ..Table::new(PRODUCTS, None) };
            for create in [false, true] {
                let built = table.build(&request(Action::Put { value: value(json), create }));
                assert_eq!(built.map(|op| assert!(matches!(op.unwrap().body, Body::Put(_)))), expected, "{json} {side:?}");
            }
        }
    }
}

/// What a conflict row kept is put back as it was, read-only fields too, and over nothing that is there.
#[test]
fn restoring_is_for_what_is_gone() {
    let kept = r#"{"ProductID":11,"UnitPrice":18,"UnitsInStock":3}"#;
    let restore = request(Action::Restore(value(kept)));
    for side in [Side::Edge, Side::Cloud] {
        let gone = Table { side, ..Table::new(PRODUCTS, None) };
        assert_eq!(gone.op(&restore).body, Body::Put(value(kept)));
        let there = Table { side, ..Table::new(PRODUCTS, Some(kept)) };
        assert!(matches!(there.build(&restore), Err(BuildError::KeyTaken { .. })));
    }
    let held = Table::new(r#"{"key":"ProductID","policy":"append"}"#, Some(kept));
    assert_eq!(held.build(&restore), Ok(None), "what is appended already");
}

/// In an append collection a patch may make a record, and change none.
#[test]
fn a_patch_appends_where_there_is_nothing() {
    let append = r#"{"key":"ProductID","policy":"append","fields":{"n":{"type":"counter"}}}"#;
    let patch = request(Action::Merge(value(r#"{"a":1}"#)));
    let again = request(Action::Again { changes: vec![("a".into(), To::Set(Raw::integer(1)))], create: true });
    let by = request(Action::Increment(vec![("n".into(), 1)]));
    for asked in [&patch, &again] {
        assert_eq!(changes(&Table::new(append, None).op(asked)).len(), 2, "the field and the key");
    }
    let refused = |view, asked: &Request| matches!(Table::new(append, view).build(asked), Err(BuildError::AppendOnly(_)));
    let there = Some(r#"{"ProductID":11,"n":1}"#);
    assert!(refused(there, &patch) && refused(there, &again) && refused(there, &by) && refused(None, &by));
}

#[test]
fn a_check_takes_null_for_what_is_absent() {
    let fields = vec![("a".into(), Raw::null()), ("b".into(), Raw::integer(5)), ("c".into(), Raw::string("null"))];
    let op = Table::new("{}", Some(r#"{"b":5}"#)).op(&request(Action::Check(fields)));
    let expected = vec![("a".into(), None), ("b".into(), Some(Raw::integer(5))), ("c".into(), Some(Raw::string("null")))];
    assert_eq!(op.body, Body::Check(expected));
}

/// What a record that a patch makes needs besides: its key's fields, each once, whether the patch names them or not.
#[test]
fn a_patch_that_creates_claims_the_key() {
    let lines = r#"{"key":"OrderID/Line"}"#;
    let create = |patch: &str| {
        let request = Request { key: Key::parse("10248/a").unwrap(), ..request(Action::Merge(value(patch))) };
        let op = Table::new(lines, None).op(&request);
        assert!(changes(&op).iter().all(|change| change.was == Was::Absent));
        changes(&op).iter().map(|change| format!("{}={:?}", change.field, change.to)).collect::<Vec<_>>()
    };
    let (order, line, n) = (
        format!("OrderID={:?}", To::Set(Raw::integer(10248))),
        format!("Line={:?}", To::Set(Raw::string("a"))),
        format!("n={:?}", To::Set(Raw::integer(1))),
    );
    assert_eq!(create(r#"{"n":1}"#), [n.clone(), order.clone(), line.clone()]);
    assert_eq!(create(r#"{"Line":"a","n":1}"#), [line.clone(), n, order.clone()]);
    assert_eq!(create(r#"{"Line":"a","OrderID":10248}"#), [line.clone(), order.clone()]);
    assert_eq!(create("{}"), [order, line]);
}

/// An earlier merge once more: what the view has meanwhile makes no claim, the rest claims whole fields as they were resolved.
#[test]
fn again_claims_what_the_view_has_not() {
    let count = To::Count { observed: 40, delta: 1 };
    let set = |text: &str| To::Set(Raw::parse(text).unwrap());
    let view = Some(r#"{"ProductID":11,"UnitsInStock":33,"Name":"Chai","Gone":1}"#);
    let again = |field: &str, to: To, create| request(Action::Again { changes: vec![(field.into(), to)], create });
    for (field, to, expected) in [
        ("Name", set("\"Chai\""), None),
        ("Name", set("\"\\u0043hai\""), None),
        ("Name", set("\"Chang\""), Some(set("\"Chang\""))),
        ("New", set("[1]"), Some(set("[1]"))),
        ("New", To::Remove, None),
        ("Gone", To::Remove, Some(To::Remove)),
        ("ProductID", set("11.0"), None),
        ("UnitsInStock", count.clone(), Some(To::Count { observed: 40, delta: 7 })),
        ("UnitsInStock", To::Count { observed: 33, delta: 5 }, None),
        ("NoCounter", count.clone(), Some(set("40"))),
    ] {
        for create in [false, true] {
            let op = Table::new(PRODUCTS, view).op(&again(field, to.clone(), create));
            let claims: Vec<_> = changes(&op).iter().map(|change| (change.field.as_str(), change.to.clone())).collect();
            assert_eq!(claims, expected.clone().map(|to| (field, to)).into_iter().collect::<Vec<_>>(), "{field} {to:?}");
        }
    }
    let key = |to: To| Table::new(PRODUCTS, view).build(&again("ProductID", to, true)).map(|_| ());
    assert!(matches!(key(set("12")), Err(BuildError::Key(KeyError::Mismatch { .. }))));
    let nothing = Table::new(PRODUCTS, None);
    let one = |create| nothing.build(&again("Name", set("1"), create));
    assert!(matches!(one(false), Err(BuildError::NotFound { .. })));
    assert_eq!(changes(&one(true).unwrap().unwrap()).iter().map(|change| change.field.as_str()).collect::<Vec<_>>(), ["Name", "ProductID"]);
}

/// The bounds are those of what the record becomes, not of what was sent.
#[test]
fn what_a_merge_makes_is_inside_the_bounds() {
    let wide = |n: usize| format!("{{{}}}", (0..n).map(|at| format!("\"f{at}\":1")).collect::<Vec<_>>().join(","));
    for (held, good) in [(998, true), (999, true), (1_000, false)] {
        let table = Table::new("{}", Some(&wide(held)));
        let again = request(Action::Again { changes: vec![("new".into(), To::Set(Raw::integer(1)))], create: false });
        for asked in [request(Action::Merge(value(r#"{"new":1}"#))), again] {
            assert_eq!(table.build(&asked).is_ok(), good, "{held} fields and {asked:?}");
        }
        let instead =
            request(Action::Again { changes: vec![("f0".into(), To::Remove), ("new".into(), To::Set(Raw::integer(1)))], create: false });
        assert!(table.build(&instead).is_ok(), "one for one of {held}");
    }
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
