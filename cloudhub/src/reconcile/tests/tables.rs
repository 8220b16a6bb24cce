//! The judgement in tables: one below a bound, at it and above, and what comes near to being something else.

use proto::clock::Hlc;
use proto::definition::FieldRule;
use proto::ids::Revision;
use proto::json::{Raw, Value};
use proto::limits::{VALUE_BYTES, VALUE_FIELDS};
use proto::names::{CollectionName, Key, NodeName};
use proto::op::{Body, Change, Op, To, Verdict, Was, Write};

use super::hub::Hub;
use super::raw;
use crate::reconcile::{Author, Decided, Decision, Row, guard};

/// The database that was there first; the ops that are looked at are of database 1.
const OTHER: u32 = 9;
const COUNTER: &str = r#"{"fields":{"n":{"type":"counter","min":0}}}"#;

fn json(text: &str) -> Raw {
    Raw::parse(text).unwrap()
}

fn value(text: &str) -> Value {
    Value::parse(text).unwrap()
}

fn at(id: &str, seen: u64, body: Body) -> Op {
    let (collection, key) = id.split_once('/').unwrap();
    Op { collection: CollectionName::parse(collection).unwrap(), key: Key::parse(key).unwrap(), ..raw::op(seen, body) }
}

fn put(id: &str, text: &str) -> Op {
    at(id, 0, Body::Put(value(text)))
}

fn set(id: &str, seen: u64, field: &str, to: &str, was: Was) -> Op {
    at(id, seen, Body::Merge(vec![Change { field: field.to_owned(), to: To::Set(json(to)), was }]))
}

fn add(id: &str, seen: u64, delta: i64) -> Op {
    at(id, seen, Body::Increment(vec![("n".to_owned(), delta)]))
}

fn delete(id: &str, seen: u64) -> Op {
    at(id, seen, Body::Delete { force: false })
}

fn was(text: &str) -> Was {
    Was::Value(json(text))
}

fn commit(hub: &mut Hub, database: u32, ops: Vec<Op>) -> Decision {
    let author = match database {
        0 => Author::Cloud { force: true },
        _ => Author::Edge { node: NodeName::parse("lyon").unwrap(), database, number: 100 + hub.head.0 },
    };
    hub.commit(&author, &Write { ops, ..Write::default() }, Hlc(1))
}

/// A collection `stock` at revision 1, and records of another database from revision 2 on.
fn hub(definition: &str, records: &[(&str, &str)]) -> Hub {
    let mut hub = Hub::default();
    hub.define("stock", definition);
    for (id, text) in records {
        assert_eq!(commit(&mut hub, OTHER, vec![put(id, text)]).outcome.verdict, Verdict::Applied);
    }
    hub
}

fn word(decision: &Decision) -> String {
    let code = decision.outcome.code.as_ref().map(|code| format!(" {code}")).unwrap_or_default();
    format!("{}{code}", decision.outcome.verdict.as_str())
}

/// What is said of ops in a hub that keeps nothing of them.
fn said(hub: &Hub, ops: Vec<Op>) -> String {
    word(&commit(&mut hub.clone(), 1, ops))
}

fn shown(hub: &Hub, id: &str) -> Value {
    let op = delete(id, 0);
    hub.value(&(op.collection, op.key)).unwrap().clone()
}

fn row(decision: &Decision) -> Row {
    Row::parse(&decision.conflicts[0].value.to_text()).unwrap()
}

#[test]
fn a_repeat_is_known_by_its_appends_alone() {
    let created = |op: Op| [op, add("stock/1", 2, -1)];
    let looked = at("sales/1", 9, Body::Check(vec![("n".to_owned(), Some(json("1")))]));
    for first in [put("sales/1", r#"{"n":1}"#), set("sales/1", 0, "n", "1", Was::Absent)] {
        let mut hub = hub(COUNTER, &[("stock/1", r#"{"n":10}"#)]);
        hub.define("sales", r#"{"policy":"append"}"#);
        assert_eq!(word(&commit(&mut hub, 1, created(first.clone()).to_vec())), "applied");
        for more in [vec![], vec![looked.clone()]] {
            assert_eq!(word(&commit(&mut hub, 2, [created(first.clone()).to_vec(), more].concat())), "applied");
        }
        assert_eq!(shown(&hub, "stock/1"), value(r#"{"n":9}"#));
    }
}

#[test]
fn what_is_append_only_is_not_added_to() {
    let hub = hub(r#"{"policy":"append","fields":{"n":{"type":"counter"}}}"#, &[("stock/1", r#"{"n":1}"#)]);
    assert_eq!(said(&hub, vec![add("stock/1", 2, 1)]), "rejected read_only");
    assert_eq!(said(&hub, vec![add("stock/2", 2, 1)]), "flagged gone");
}

#[test]
fn a_removed_append_keeps_its_key_from_a_creating_merge() {
    let mut hub = hub(r#"{"policy":"append"}"#, &[("stock/1", r#"{"n":1}"#)]);
    assert_eq!(word(&commit(&mut hub, 0, vec![delete("stock/1", 2)])), "applied");
    assert_eq!(said(&hub, vec![set("stock/1", 0, "n", "2", Was::Absent)]), "rejected key_taken");
    assert_eq!(said(&hub, vec![set("stock/1", 0, "n", "1", Was::Absent)]), "applied");
}

/// On a record that is gone: no bound of a whole value comes in between.
#[test]
fn one_op_sets_as_much_as_a_value_holds() {
    let mut hub = hub("{}", &[("stock/1", r#"{"a":1}"#)]);
    commit(&mut hub, 0, vec![delete("stock/1", 2)]);
    let change = |field: String, to: To| Change { field, to, was: Was::Absent };
    let removing = |count: usize| (0..count).map(|field| change(field.to_string(), To::Remove)).collect();
    let long = |length: usize| To::Set(json(&format!("\"{}\"", "x".repeat(length - 2))));
    let setting = |size: usize| vec![change("a".into(), long(1_000)), change("b".into(), long(size - 1_000))];
    let cases: [(Vec<Change>, &str); 6] = [
        (removing(2 * VALUE_FIELDS - 1), "merged"),
        (removing(2 * VALUE_FIELDS), "merged"),
        (removing(2 * VALUE_FIELDS + 1), "rejected too_large"),
        (setting(VALUE_BYTES - 1), "merged"),
        (setting(VALUE_BYTES), "merged"),
        (setting(VALUE_BYTES + 1), "rejected too_large"),
    ];
    for (place, (changes, expected)) in cases.into_iter().enumerate() {
        assert_eq!(said(&hub, vec![at("stock/1", 2, Body::Merge(changes))]), expected, "{place}");
    }
}

#[test]
fn a_count_of_null_starts_at_zero() {
    let mut hub = hub(COUNTER, &[("stock/1", r#"{"n":null}"#)]);
    assert_eq!(word(&commit(&mut hub, 1, vec![set("stock/1", 2, "n", "7", was("null"))])), "applied");
    assert_eq!(shown(&hub, "stock/1"), value(r#"{"n":7}"#));
}

/// The floor is at 5: below it nobody knows any more what was removed.
#[test]
fn what_was_removed_below_the_floor_is_missed() {
    let mut hub = hub(COUNTER, &[("stock/1", r#"{"name":"tea"}"#), ("stock/2", r#"{"n":5}"#)]);
    hub.head = Revision(9);
    hub.floors.insert(CollectionName::parse("stock").unwrap(), Revision(5));
    let cases = [
        ("stock/1", "n", "8", 4, was("5"), "flagged count"),
        ("stock/1", "n", "8", 4, Was::Absent, "applied"),
        ("stock/1", "n", "8", 5, was("5"), "applied"),
        ("stock/1", "n", "8", 5, Was::Absent, "applied"),
        ("stock/2", "n", "8", 4, was("5"), "applied"),
        ("stock/1", "note", "1", 4, was("0"), "merged"),
        ("stock/1", "note", "1", 4, Was::Absent, "applied"),
        ("stock/1", "note", "1", 5, was("0"), "applied"),
        ("stock/1", "note", "1", 6, was("0"), "applied"),
    ];
    for (id, field, to, seen, was, expected) in cases {
        assert_eq!(said(&hub, vec![set(id, seen, field, to, was.clone())]), expected, "{id} {field} {seen} {was:?}");
    }
}

#[test]
fn a_delete_that_had_not_seen_all() {
    const GUARDED: &str = r#"{"fields":{"s":{"guard":true}}}"#;
    for (definition, floor, database, seen, expected) in [
        // The whole record was born unseen.
        (GUARDED, 0, 1, 0, "rejected guard 1"),
        (GUARDED, 0, OTHER, 0, "applied 0"),
        // It changed, and what went of it is forgotten.
        (GUARDED, 5, 1, 2, "rejected guard 1"),
        (GUARDED, 5, 1, 3, "applied 0"),
        // A plain field changed at 3.
        (GUARDED, 0, 1, 2, "applied 1"),
        ("{}", 0, 1, 2, "applied 1"),
        ("{}", 0, 1, 3, "applied 0"),
    ] {
        let mut hub = hub(definition, &[("stock/1", r#"{"s":"a","name":"tea"}"#)]);
        commit(&mut hub, OTHER, vec![set("stock/1", 2, "name", "\"oat\"", was("\"tea\""))]);
        hub.head = Revision(9);
        hub.floors.insert(CollectionName::parse("stock").unwrap(), Revision(floor));
        let decision = commit(&mut hub, database, vec![delete("stock/1", seen)]);
        let said = format!("{} {}", word(&decision), decision.conflicts.len());
        assert_eq!(said, expected, "{definition} floor {floor}, {database} at {seen}");
    }
}

#[test]
fn what_a_delete_takes_is_kept_whole() {
    let long = format!("\"{}\"", "x".repeat(9_000));
    for (definition, whole) in [("{}", true), (r#"{"policy":"guarded"}"#, false)] {
        let mut hub = hub(definition, &[("stock/1", r#"{"a":1}"#)]);
        commit(&mut hub, OTHER, vec![set("stock/1", 2, "a", &long, was("1"))]);
        let kept = row(&commit(&mut hub, 1, vec![delete("stock/1", 2)]));
        assert_eq!(kept.fields[0].cloud.as_ref().unwrap().get() == long, whole, "{definition}");
        assert_eq!(kept.fields[0].result.is_none(), whole);
    }
    // What is gone leaves no clocks of its fields.
    let mut hub = hub("{}", &[("stock/1", r#"{"a":1}"#)]);
    commit(&mut hub, OTHER, vec![set("stock/1", 2, "a", "2", was("1"))]);
    let fields = |hub: &Hub| hub.records.values().next().unwrap().clocks.fields().count();
    assert_eq!(fields(&hub), 1);
    commit(&mut hub, OTHER, vec![delete("stock/1", 3)]);
    assert_eq!(fields(&hub), 0);
}

#[test]
fn a_key_elsewhere_may_be_tried_where_nothing_is_live() {
    let mut hub = hub(r#"{"partition":{"field":"p","label":"site"}}"#, &[]);
    hub.grant("lyon", "stock", Some("a"));
    commit(&mut hub, 0, vec![put("stock/1", r#"{"p":"b"}"#)]);
    let tried = || vec![set("stock/1", 0, "p", "\"a\"", Was::Absent)];
    assert_eq!(said(&hub, tried()), "rejected not_entitled");
    commit(&mut hub, 0, vec![delete("stock/1", 2)]);
    assert_eq!(said(&hub, tried()), "applied");
}

#[test]
fn expected_revisions() {
    let mut hub = hub("{}", &[("stock/1", r#"{"a":1}"#)]);
    commit(&mut hub, 1, vec![put("stock/2", r#"{"a":1}"#)]);
    let expecting = |op: Op, revision| vec![Op { expect: Some(Revision(revision)), ..op }];
    for (op, revision, expected) in [
        (delete("stock/1", 3), 1, "rejected guard"),
        (delete("stock/1", 3), 2, "applied"),
        (delete("stock/1", 3), 3, "applied"),
        // No other database touched it.
        (delete("stock/2", 3), 1, "applied"),
        (put("stock/3", r#"{"a":1}"#), 0, "applied"),
        (put("stock/3", r#"{"a":1}"#), 1, "rejected guard"),
    ] {
        assert_eq!(said(&hub, expecting(op.clone(), revision)), expected, "{op:?} if {revision}");
    }
}

#[test]
fn a_guarded_field_may_stay_what_it_is() {
    let rule: FieldRule = serde_json::from_str(r#"{"guard":true,"initial":["draft"],"transitions":{"draft":["sent"]}}"#).unwrap();
    for (from, to, follows) in [
        (Some("\"draft\""), Some("\"draft\""), true),
        (Some("\"sent\""), Some("\"sent\""), true),
        (Some("\"draft\""), Some("\"sent\""), true),
        (Some("\"sent\""), Some("\"draft\""), false),
        (Some("\"draft\""), None, false),
        (None, Some("\"draft\""), true),
        (None, Some("\"sent\""), false),
        (None, None, true),
    ] {
        let (before, after) = (from.map(json), to.map(json));
        assert_eq!(guard::transition(&rule, before.as_ref(), after.as_ref()), follows, "{from:?} to {to:?}");
    }
}

#[test]
fn a_rejection_names_its_record_and_its_field() {
    let hub = hub(r#"{"schema":{"required":["name"],"strings":["size"]}}"#, &[("stock/1", r#"{"name":"tea"}"#)]);
    for (text, field) in [(r#"{"a":1}"#, None), (r#"{"name":"tea","size":7}"#, Some("size"))] {
        let decision = commit(&mut hub.clone(), 1, vec![put("stock/2", text)]);
        assert_eq!((word(&decision).as_str(), decision.field.as_deref()), ("rejected schema", field), "{text}");
    }
    let decision = commit(&mut hub.clone(), 1, vec![put("stock/1", r#"{"name":"oat"}"#)]);
    assert_eq!(decision.outcome.detail.as_deref(), Some("stock/1: another record has this key"));
    // Of a collection that is not there nothing is kept but the answer.
    let decision = commit(&mut hub.clone(), 1, vec![put("nothing/1", "{}")]);
    assert_eq!((word(&decision).as_str(), decision.conflicts.len()), ("rejected not_entitled", 0));
}

#[test]
fn a_refused_increment_is_shown() {
    let mut hub = hub(r#"{"fields":{"n":{"type":"counter","edge":"read-only"}}}"#, &[]);
    commit(&mut hub, 0, vec![put("stock/1", r#"{"n":5}"#)]);
    let decision = commit(&mut hub, 1, vec![add("stock/1", 2, -3)]);
    assert_eq!(word(&decision), "rejected read_only");
    let field = &row(&decision).fields[0];
    assert_eq!((field.name.as_str(), field.delta), ("n", Some(-3)));
}

/// The record of the view was deleted, and another one born at 4. An own write may have merged into that.
#[test]
fn a_record_born_later_is_another_one() {
    let mut hub = hub("{}", &[("stock/1", r#"{"a":1}"#)]);
    commit(&mut hub, 0, vec![delete("stock/1", 2)]);
    commit(&mut hub, OTHER, vec![put("stock/1", r#"{"a":2}"#)]);
    for (decided, expected) in [(None, "merged"), (Some(3), "merged"), (Some(4), "applied"), (Some(5), "applied")] {
        let mut hub = hub.clone();
        hub.outcomes.extend(decided.map(|at| ((1, 7), Decided { verdict: Verdict::Applied, revision: Revision(at) })));
        let op = Op { depends: Some(7), ..set("stock/1", 2, "note", "1", Was::Absent) };
        assert_eq!(said(&hub, vec![op]), expected, "{decided:?}");
    }
}

fn close(id: &str, expect: u64) -> Op {
    let change = |field: &str, text: &str| Change { field: field.to_owned(), to: To::Set(Raw::string(text)), was: Was::Absent };
    let body = Body::Merge(vec![change("state", "resolved"), change("resolved_by", "ann")]);
    Op { expect: Some(Revision(expect)), ..at(&format!("_conflicts/{id}"), 1, body) }
}

#[test]
fn a_row_is_resolved_as_it_was_looked_at() {
    let mut hub = hub(COUNTER, &[("stock/1", r#"{"n":0}"#), ("stock/2", r#"{"n":0}"#)]);
    for _ in 0..2 {
        assert_eq!(word(&commit(&mut hub, 1, vec![add("stock/1", 3, -2)])), "flagged bound");
    }
    // It grew at 5.
    for (expect, expected) in [(4, "rejected guard"), (5, "applied"), (6, "applied")] {
        assert_eq!(said(&hub, vec![close("c4-1", expect)]), expected, "{expect}");
    }
    // It speaks of its own record: what the write does to another one is judged as ever.
    let own = Op { expect: Some(Revision(5)), ..add("stock/1", 5, -2) };
    assert_eq!(said(&hub, vec![close("c4-1", 5), own]), "applied");
    assert_eq!(said(&hub, vec![close("c4-1", 5), add("stock/2", 5, -2)]), "flagged bound");
}

#[test]
fn a_read_only_field_comes_back_in_its_own_record_alone() {
    const PRICED: &str = r#"{"fields":{"price":{"edge":"read-only"}}}"#;
    let mut hub = hub(PRICED, &[]);
    commit(&mut hub, 0, vec![put("stock/1", r#"{"name":"tea","price":3}"#)]);
    commit(&mut hub, 0, vec![delete("stock/1", 2)]);
    let decision = commit(&mut hub, 1, vec![set("stock/1", 2, "name", "\"oat\"", was("\"tea\""))]);
    assert_eq!((word(&decision).as_str(), decision.conflicts[0].id.as_str()), ("merged", "c4-1"));
    hub.define("other", PRICED);
    for (id, text, expected) in [
        ("stock/1", r#"{"price":3}"#, "applied"),
        ("stock/1", r#"{"price":4}"#, "rejected read_only"),
        ("stock/2", r#"{"price":3}"#, "rejected read_only"),
        ("other/1", r#"{"price":3}"#, "rejected read_only"),
    ] {
        let restored = Op { expect: Some(Revision(5)), ..put(id, text) };
        let restored = if id == "stock/1" { restored } else { Op { expect: None, ..restored } };
        assert_eq!(said(&hub, vec![close("c4-1", 4), restored]), expected, "{id} {text}");
    }
}
