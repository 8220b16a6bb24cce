//! What a conflict row keeps, and what it leaves out to stay within its bound.

use proto::clock::Hlc;
use proto::ids::Revision;
use proto::json::{Raw, Value};
use proto::names::NodeName;
use proto::op::{Body, Change, Op, To, Was, Write};

use super::hub::Hub;
use super::raw::op;
use crate::limits::{CONFLICT_LOSERS, CONFLICT_ROW_BYTES};
use crate::reconcile::{Author, ConflictKind, Decision, Row};

fn commit(hub: &mut Hub, database: u32, ops: Vec<Op>) -> Decision {
    let number = hub.head.0;
    let author = Author::Edge { node: NodeName::parse("lyon").unwrap(), database, number };
    let write = Write { ops, actor: Some(format!("till-{number}")), ..Write::default() };
    hub.commit(&author, &write, Hlc(1))
}

fn row(decision: &Decision) -> Row {
    let [change] = decision.conflicts.as_slice() else { panic!("{decision:?}") };
    Row::parse(&change.value.to_text()).unwrap()
}

fn hub(definition: &str, value: &str) -> Hub {
    let mut hub = Hub::default();
    hub.define("stock", definition);
    commit(&mut hub, 9, vec![op(0, Body::Put(Value::parse(value).unwrap()))]);
    hub
}

fn long(byte: char, length: usize) -> Raw {
    Raw::parse(&format!("\"{}\"", byte.to_string().repeat(length))).unwrap()
}

fn put(field: &str, raw: Raw) -> Op {
    let mut value = Value::default();
    value.set(field, raw);
    op(0, Body::Put(value))
}

#[test]
fn one_row_gathers_what_happens_until_it_is_resolved() {
    let mut hub = hub(r#"{"fields":{"n":{"type":"counter","min":0}}}"#, r#"{"n":0}"#);
    let mut last = None;
    for _ in 0..150 {
        last = Some(commit(&mut hub, 1, vec![op(2, Body::Increment(vec![("n".into(), -2)]))]));
    }
    assert_eq!(hub.rows.len(), 1);
    let row = row(&last.unwrap());
    assert_eq!((row.id.as_str(), row.count, row.kind), ("c3-1", 150, ConflictKind::Bound));
    assert_eq!((row.fields[0].delta, row.fields[0].sum), (Some(-2), Some(-300)));
    // The newest stands in front, 99 before it are listed.
    assert_eq!((row.write.as_str(), row.actor.as_deref(), row.revision), ("lyon:010101:151", Some("till-151"), 152));
    assert_eq!(row.losers.len(), CONFLICT_LOSERS - 1);
    assert_eq!((row.losers[0].write.as_str(), row.losers[98].write.as_str()), ("lyon:010101:150", "lyon:010101:52"));
    assert!(row.losers.iter().all(|loser| loser.fields[0].delta == Some(-2) && loser.fields[0].sum.is_none()));
    assert_eq!(row.opened_at, "1970-01-01T00:00:00.003Z");
}

#[test]
fn one_write_may_add_to_a_row_twice() {
    let mut hub = hub(r#"{"fields":{"n":{"type":"counter","min":0}}}"#, r#"{"n":0}"#);
    let sale = || op(2, Body::Increment(vec![("n".into(), -2)]));
    let decision = commit(&mut hub, 1, vec![sale(), sale()]);
    let row = row(&decision);
    assert_eq!((row.count, row.fields[0].sum, decision.outcome.conflicts), (2, Some(-4), vec!["c3-1".to_owned()]));
}

#[test]
fn null_is_a_value_that_can_lose() {
    let mut hub = hub("{}", r#"{"a":1}"#);
    let first = commit(&mut hub, 1, vec![put("a", Raw::null())]);
    assert!(first.conflicts[0].value.to_text().contains(r#""edge":null"#));
    let second = commit(&mut hub, 2, vec![put("a", long('x', 1))]);
    let row = row(&second);
    assert_eq!(row.losers[0].fields[0].edge.as_ref().map(|raw| raw.get()), Some("null"));
    assert!(second.conflicts[0].value.to_text().contains(r#""edge":null"#));
}

/// The content of the record stands once, with the newest event; what the events said stands with each.
#[test]
fn what_an_earlier_event_said_is_kept() {
    let mut hub = hub("{}", r#"{"a":1}"#);
    let two = |json: &str| op(0, Body::Put(Value::parse(json).unwrap()));
    commit(&mut hub, 1, vec![two(r#"{"a":2,"b":3}"#)]);
    let row_of_puts = row(&commit(&mut hub, 2, vec![two(r#"{"a":4,"b":5}"#)]));
    let names = |row: &Row| row.losers[0].fields.iter().map(|field| field.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&row_of_puts), ["a", "b"]);
    let mut hub = self::hub(r#"{"fields":{"n":{"type":"counter"}}}"#, r#"{"n":3,"name":"tea"}"#);
    let author = Author::Cloud { force: true };
    hub.commit(&author, &Write { ops: vec![op(2, Body::Delete { force: true })], ..Write::default() }, Hlc(1));
    let sale = || op(2, Body::Increment(vec![("n".into(), -2)]));
    commit(&mut hub, 1, vec![sale()]);
    let row_of_sales = row(&commit(&mut hub, 1, vec![sale()]));
    assert_eq!(row_of_sales.fields.len(), 2);
    assert_eq!(names(&row_of_sales), ["n"]);
}

#[test]
fn a_row_names_who_wrote() {
    let mut hub = hub(r#"{"fields":{"n":{"type":"counter","min":0}}}"#, r#"{"n":0}"#);
    let sale = || vec![op(2, Body::Increment(vec![("n".into(), -2)]))];
    assert_eq!(row(&commit(&mut hub, 1, sale())).node, "lyon");
    let write = Write { ops: sale(), ..Write::default() };
    let row = row(&hub.commit(&Author::Cloud { force: false }, &write, Hlc(1)));
    assert_eq!((row.node.as_str(), row.losers[0].node.as_str()), ("cloud", "lyon"));
}

#[test]
fn only_the_loser_is_whole() {
    let mut hub = hub("{}", r#"{"a":1}"#);
    let change = |hub: &mut Hub, database, raw: Raw, hlc| {
        let author = Author::Edge { node: NodeName::parse("lyon").unwrap(), database, number: 1 };
        let body = Body::Merge(vec![Change { field: "a".into(), to: To::Set(raw), was: Was::Value(long('w', 900)) }]);
        hub.commit(&author, &Write { ops: vec![op(2, body)], ..Write::default() }, Hlc(hlc))
    };
    change(&mut hub, 1, long('1', 9_000), 5);
    let later = row(&change(&mut hub, 2, long('2', 9_000), 6));
    let text = |raw: &Option<Box<serde_json::value::RawValue>>| raw.as_ref().unwrap().get().to_owned();
    assert_eq!(text(&later.fields[0].cloud), long('1', 9_000).as_str());
    assert!(text(&later.fields[0].edge).starts_with(r#"{"$hash":""#) && text(&later.fields[0].edge).ends_with(r#"","$bytes":9002}"#));
    assert!(text(&later.fields[0].result).starts_with(r#"{"$hash""#));
    assert_eq!(text(&later.fields[0].base), long('w', 900).as_str());
    let earlier = row(&change(&mut hub, 3, long('3', 9_000), 1));
    assert_eq!(text(&earlier.fields[0].edge), long('3', 9_000).as_str());
    assert!(text(&earlier.fields[0].cloud).starts_with(r#"{"$hash""#));
}

#[test]
fn a_row_stays_within_its_bound() {
    let mut hub = hub("{}", r#"{"a":1}"#);
    for database in 1..=5 {
        let decision = commit(&mut hub, database, vec![put("a", long('x', 900_000))]);
        let text = decision.conflicts[0].value.to_text();
        assert!(text.len() <= CONFLICT_ROW_BYTES, "{}", text.len());
        let row = row(&decision);
        assert_eq!((row.count, row.losers.len()), (u64::from(database), 1.min(database as usize - 1)));
        assert_eq!(row.fields[0].edge.as_ref().unwrap().get().len(), 900_002);
    }
}

#[test]
fn many_values_that_did_not_lose_are_hashed() {
    let field = |n: usize| format!("field-{n:04}");
    let mut value = Value::default();
    (0..1000).for_each(|n| value.set(&field(n), long('c', 900)));
    let mut hub = hub("{}", &value.to_text());
    let mut other = Value::default();
    (0..1000).for_each(|n| other.set(&field(n), long('e', 900)));
    let decision = commit(&mut hub, 1, vec![op(0, Body::Put(other))]);
    let text = decision.conflicts[0].value.to_text();
    assert!(text.len() <= CONFLICT_ROW_BYTES, "{}", text.len());
    let row = row(&decision);
    assert_eq!(row.fields.len(), 1000);
    assert!(row.fields.iter().all(|field| field.edge.as_ref().unwrap().get() == long('e', 900).as_str()));
    assert!(row.fields[0].cloud.as_ref().unwrap().get().starts_with(r#"{"$hash""#));
}

#[test]
fn values_deeper_than_a_records_are_kept() {
    let deep = format!("{}{}", "[".repeat(63), "]".repeat(63));
    let mut hub = hub("{}", r#"{"a":1}"#);
    let decision = commit(&mut hub, 1, vec![put("a", Raw::parse(&deep).unwrap())]);
    let text = decision.conflicts[0].value.to_text();
    assert!(Value::read(&text).is_ok() && text.contains(&deep));
    assert_eq!(decision.outcome.revision, Revision(3));
}
