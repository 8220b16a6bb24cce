#![allow(clippy::unwrap_used)]

use alloc::string::ToString;
use alloc::vec;

use super::*;
use crate::overlay::{lay, lay_all};

fn raw(json: &str) -> Raw {
    Raw::parse(json).unwrap()
}

fn set(field: &str, to: &str) -> Change {
    Change { field: field.to_string(), to: To::Set(raw(to)), was: Was::Absent }
}

/// On record `key1` of `stock`, nine bytes of names.
fn op(seen: u64, body: Body) -> Op {
    Op {
        collection: CollectionName::parse("stock").unwrap(),
        key: Key::parse("key1").unwrap(),
        seen: Revision(seen),
        definition: Revision(1),
        depends: None,
        stands_on: vec![],
        expect: None,
        body,
    }
}

/// One of each, in the order of the words; their field is `n`.
fn all(seen: u64) -> [Op; 5] {
    let field = || "n".to_string();
    [
        op(seen, Body::Put(Value::parse(r#"{"n":1}"#).unwrap())),
        op(seen, Body::Merge(vec![set("n", "1")])),
        op(seen, Body::Increment(vec![(field(), 1)])),
        op(seen, Body::Delete { force: false }),
        op(seen, Body::Check(vec![(field(), Some(raw("1")))])),
    ]
}

#[test]
fn what_an_op_saw_is_compared_whole_or_by_its_hash() {
    let long = |last: &str| raw(&alloc::format!("\"{}{last}\"", "x".repeat(WAS_BYTES)));
    let fits = raw(&alloc::format!("\"{}\"", "x".repeat(WAS_BYTES - 2)));
    assert!(matches!(Was::of(Some(&fits)), Was::Value(_)));
    assert!(matches!(Was::of(Some(&long(""))), Was::Hash(_)));
    let seen = [None, Some(raw("1")), Some(raw("\"a\"")), Some(long("a")), Some(long("b"))];
    for (at, was) in seen.iter().enumerate() {
        for (now, stored) in seen.iter().enumerate() {
            assert_eq!(Was::of(was.as_ref()).is(stored.as_ref()), at == now, "{at} {now}");
        }
    }
}

#[test]
fn what_each_op_is() {
    for (seen, creating) in [(0, [true, true, false, false, false]), (1, [false; 5])] {
        assert_eq!(all(seen).each_ref().map(Op::creates), creating);
    }
    let all = all(1);
    assert_eq!(all.each_ref().map(|op| op.body.word()), ["put", "merge", "increment", "delete", "check"]);
    assert_eq!(all.each_ref().map(Op::is_check), [false, false, false, false, true]);
    assert_eq!(all.each_ref().map(|op| op.claims("n")), [true, true, true, false, false]);
    assert_eq!(all.each_ref().map(|op| op.claims("m")), [false; 5]);
    assert_eq!(Verdict::ALL.map(Verdict::as_str), ["applied", "merged", "flagged", "rejected", "lost"]);
}

/// Both sides bound a write by it, so it is part of what they agree on.
#[test]
fn a_write_is_as_large_as_its_names_and_values() {
    assert_eq!(all(1).each_ref().map(Op::size), [9 + 8, 9 + 2, 9 + 9, 9, 9 + 2]);
    let change = |to: To, was: Was| op(1, Body::Merge(vec![Change { field: "abc".to_string(), to, was }])).size() - 9;
    assert_eq!(change(To::Set(raw("12345")), Was::Absent), 3 + 5);
    assert_eq!(change(To::Remove, Was::Value(raw("1234"))), 3 + 4);
    assert_eq!(change(To::Count { observed: 7, delta: 2 }, Was::Hash([0; 16])), 3 + 16 + 16);
    assert_eq!(op(1, Body::Check(vec![("abc".to_string(), None)])).size(), 9 + 3);
}

#[test]
fn pending_ops_are_laid_in_order() {
    let value = |json: &str| Some(Value::parse(json).unwrap());
    let count = |observed, delta| Change { field: "n".to_string(), to: To::Count { observed, delta }, was: Was::Absent };
    let text = |view: Option<Value>| view.map(|view| view.to_text());
    let [put, merge, more, delete, check] = all(1);
    assert_eq!(text(lay_all(value(r#"{"n":5,"m":1}"#), [&more, &more, &check])).unwrap(), r#"{"n":7,"m":1}"#);
    assert_eq!(text(lay_all(None, [&put, &more])).unwrap(), r#"{"n":2}"#);
    assert_eq!(lay_all(value("{}"), [&put, &delete]), None);
    assert_eq!(lay(None, &merge), None, "it had seen a record that is not there any more");
    assert_eq!(text(lay(None, &op(0, Body::Merge(vec![set("a", "1")])))).unwrap(), r#"{"a":1}"#, "it makes one");
    let counted = op(1, Body::Merge(vec![count(9, 4)]));
    for (before, after) in
        [("{}", r#"{"n":4}"#), (r#"{"n":null}"#, r#"{"n":4}"#), (r#"{"n":3}"#, r#"{"n":7}"#), (r#"{"n":"x"}"#, r#"{"n":"x"}"#)]
    {
        assert_eq!(text(lay(value(before), &counted)).unwrap(), after);
    }
}
