#![allow(clippy::unwrap_used)]

use alloc::format;
use alloc::vec;

use super::*;
use crate::ids::Revision;
use crate::op::{Change, Was};

fn row(kind: &str, op: &str, outcome: &str, fields: &str) -> Row {
    let op = if op.is_empty() { String::new() } else { format!(r#""op":"{op}","#) };
    let text = format!(
        r#"{{"id":"c1","collection":"stock","key":"1","kind":"{kind}",{op}"outcome":"{outcome}","state":"open","revision":9,"fields":[{fields}]}}"#
    );
    Row::read("c1", &text).unwrap()
}

fn step(row: &Row, choice: &Choice, view: &str) -> String {
    let definition = Definition::parse(r#"{"fields":{"n":{"type":"counter"}}}"#).unwrap();
    let view = (view != "-").then(|| Value::parse(view).unwrap());
    match row.step(choice, view.as_ref(), &definition) {
        Ok(Step::Keep) => "keep".to_owned(),
        Ok(Step::Delete) => "delete".to_owned(),
        Ok(Step::Put(value)) => format!("put {}", value.to_text()),
        Ok(Step::Restore(value)) => format!("restore {}", value.to_text()),
        Ok(Step::Merge(value)) => format!("merge {}", value.to_text()),
        Err(ResolveError::NothingKept { .. }) => "nothing".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Kind, op (none: a row of an older hub), outcome and fields of a row; the record now (`-`: there is none); what comes of it.
type Case = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

fn check(choice: &Choice, cases: &[Case]) {
    for case @ (kind, op, outcome, fields, view, expected) in cases {
        assert_eq!(step(&row(kind, op, outcome, fields), choice, view), *expected, "{case:?}");
    }
}

#[test]
fn what_the_cloud_had_is_put_back() {
    const KEPT: &str = r#"{"name":"a","cloud":1},{"name":"b","cloud":null},{"name":"c","edge":4}"#;
    const CASES: [Case; 19] = [
        // A record that is gone: what a delete took away comes back; a change that came too late is nothing of the cloud's.
        ("gone", "merge", "flagged", KEPT, "-", "keep"),
        ("gone", "delete", "flagged", KEPT, "-", r#"restore {"a":1,"b":null}"#),
        ("gone", "delete", "flagged", KEPT, r#"{"a":2,"z":9}"#, r#"put {"a":1,"z":9,"b":null}"#),
        ("gone", "", "flagged", "", "-", "keep"),
        ("gone", "", "flagged", r#"{"name":"a","cloud":1}"#, "-", r#"restore {"a":1}"#),
        ("gone", "", "flagged", r#"{"name":"a","cloud":1,"delta":2}"#, "-", "keep"),
        ("gone", "delete", "flagged", r#"{"name":"a","cloud":{"$hash":"ab"}}"#, "-", "nothing"),
        // What never took effect took nothing away.
        ("field", "merge", "rejected", r#"{"name":"a","cloud":1,"edge":2,"result":2}"#, r#"{"a":2}"#, "keep"),
        ("field", "merge", "merged", r#"{"name":"a","cloud":1,"edge":2,"result":2}"#, "-", "keep"),
        // The side that stands changes nothing, also where it was changed since.
        ("field", "merge", "merged", r#"{"name":"a","cloud":1,"edge":2,"result":1}"#, r#"{"a":5}"#, "keep"),
        ("field", "merge", "merged", r#"{"name":"a","edge":2}"#, r#"{"a":5}"#, "keep"),
        ("field", "merge", "merged", r#"{"name":"a","cloud":1,"edge":2,"result":2}"#, r#"{"a":2}"#, r#"put {"a":1}"#),
        ("field", "merge", "merged", r#"{"name":"a","edge":2,"result":2}"#, r#"{"a":2,"b":1}"#, r#"put {"b":1}"#),
        ("field", "merge", "merged", r#"{"name":"a","cloud":{"$hash":"ab"},"result":2}"#, r#"{"a":2}"#, "nothing"),
        // Counters go back by the difference.
        ("bound", "increment", "flagged", r#"{"name":"n","delta":-3}"#, r#"{"n":17}"#, r#"put {"n":20}"#),
        ("bound", "increment", "flagged", r#"{"name":"n","delta":-3,"sum":-5}"#, r#"{"n":17}"#, r#"put {"n":22}"#),
        ("field", "put", "merged", r#"{"name":"n","cloud":20,"result":17}"#, r#"{"n":10}"#, r#"put {"n":13}"#),
        ("field", "put", "merged", r#"{"name":"n","cloud":null,"result":4}"#, r#"{"n":10}"#, r#"put {"n":6}"#),
        ("field", "put", "merged", r#"{"name":"n","cloud":"x","result":4}"#, r#"{"n":10}"#, "keep"),
    ];
    check(&Choice::Cloud, &CASES);
}

#[test]
fn what_the_edge_said_is_put_in_place() {
    const CASES: [Case; 17] = [
        ("gone", "delete", "flagged", r#"{"name":"a","cloud":1}"#, r#"{"a":1}"#, "keep"),
        ("guard", "delete", "rejected", r#"{"name":"a","cloud":1}"#, r#"{"a":1}"#, "delete"),
        ("guard", "", "rejected", r#"{"name":"a","cloud":1}"#, r#"{"a":1}"#, "delete"),
        ("field", "", "merged", r#"{"name":"a","cloud":1}"#, r#"{"a":1}"#, "keep"),
        ("guard", "", "rejected", r#"{"name":"a","cloud":1,"edge":2}"#, r#"{"a":1}"#, r#"put {"a":2}"#),
        ("guard", "check", "rejected", r#"{"name":"a","base":1}"#, r#"{"a":1}"#, "nothing"),
        ("guard", "", "rejected", r#"{"name":"a","base":1}"#, r#"{"a":1}"#, "nothing"),
        ("guard", "", "rejected", r#"{"name":"n","base":1,"delta":2}"#, r#"{"n":1}"#, r#"put {"n":3}"#),
        ("field", "", "merged", r#"{"name":"a","base":1,"cloud":2,"result":2}"#, r#"{"a":2,"b":1}"#, r#"put {"b":1}"#),
        // What the losing write did not speak of stays as it is.
        (
            "field",
            "merge",
            "merged",
            r#"{"name":"a","cloud":1,"edge":2,"result":1},{"name":"c","cloud":7}"#,
            r#"{"a":1,"c":8}"#,
            r#"put {"a":2,"c":8}"#,
        ),
        ("field", "merge", "merged", r#"{"name":"a","cloud":1,"edge":2,"result":2}"#, r#"{"a":9}"#, "keep"),
        ("gone", "merge", "flagged", r#"{"name":"a","edge":2,"result":2}"#, r#"{"a":9}"#, r#"put {"a":2}"#),
        // The edge's figure, with all that happened since.
        ("field", "put", "merged", r#"{"name":"n","edge":15,"result":12}"#, r#"{"n":10}"#, r#"put {"n":13}"#),
        ("bound", "increment", "rejected", r#"{"name":"n","edge":15,"result":12,"delta":-3}"#, r#"{"n":20}"#, r#"put {"n":17}"#),
        ("gone", "increment", "flagged", r#"{"name":"n","edge":15,"result":12,"delta":-3}"#, r#"{"n":20}"#, r#"put {"n":17}"#),
        ("bound", "increment", "flagged", r#"{"name":"n","delta":-3}"#, r#"{"n":20}"#, "keep"),
        ("bound", "increment", "rejected", r#"{"name":"n","delta":-3}"#, r#"{"n":"none"}"#, "keep"),
    ];
    check(&Choice::Edge, &CASES);
}

#[test]
fn a_record_that_is_gone_is_made_anew_where_the_row_holds_it() {
    const CASES: [Case; 12] = [
        ("gone", "delete", "flagged", r#"{"name":"a","cloud":1}"#, "-", "keep"),
        ("field", "put", "merged", r#"{"name":"a","cloud":1,"edge":2},{"name":"c","cloud":7}"#, "-", r#"restore {"a":2}"#),
        ("field", "merge", "merged", r#"{"name":"a","cloud":1,"edge":2}"#, "-", "nothing"),
        ("gone", "merge", "flagged", r#"{"name":"a","cloud":1,"edge":2},{"name":"c","cloud":7}"#, "-", r#"restore {"a":2,"c":7}"#),
        ("gone", "merge", "flagged", r#"{"name":"a","edge":2}"#, "-", r#"restore {"a":2}"#),
        ("gone", "increment", "flagged", r#"{"name":"n","delta":-3}"#, "-", "nothing"),
        ("gone", "merge", "flagged", r#"{"name":"n","edge":17,"delta":-3}"#, "-", "nothing"),
        ("gone", "increment", "flagged", r#"{"name":"n","cloud":20,"delta":-3}"#, "-", r#"restore {"n":17}"#),
        ("gone", "merge", "flagged", r#"{"name":"n","cloud":20,"edge":5}"#, "-", r#"restore {"n":5}"#),
        ("gone", "put", "flagged", r#"{"name":"a","cloud":1,"edge":2},{"name":"x","edge":4,"delta":3}"#, "-", r#"restore {"a":2,"x":4}"#),
        ("guard", "check", "rejected", r#"{"name":"a","base":1}"#, "-", "nothing"),
        ("field", "put", "merged", r#"{"name":"a","edge":{"$hash":"ab"}}"#, "-", "nothing"),
    ];
    check(&Choice::Edge, &CASES);
}

#[test]
fn a_row_is_resolved_once_and_a_value_is_a_patch() {
    let patch = Choice::Value(Value::parse(r#"{"a":3}"#).unwrap());
    let mut own = row("field", "merge", "merged", r#"{"name":"a","cloud":1,"edge":2,"result":2}"#);
    assert_eq!(step(&own, &patch, r#"{"a":1}"#), r#"merge {"a":3}"#);
    assert_eq!(own.record().unwrap().1.as_str(), "1");
    own.state = "resolved".to_owned();
    for choice in [Choice::Cloud, Choice::Edge, patch] {
        assert_eq!(step(&own, &choice, r#"{"a":1}"#), "conflict c1 is resolved already");
    }
    assert!(matches!(Row::read("c1", "{}"), Err(ResolveError::Unreadable { .. })));
}

/// Nothing else may be written to a row, or a node could rewrite what a person is to judge.
#[test]
fn only_a_resolution_is_one() {
    let resolution = |collection: &str, changes: &[(&str, &str)]| {
        let change =
            |(field, to): &(&str, &str)| Change { field: (*field).to_owned(), to: To::Set(Raw::parse(to).unwrap()), was: Was::Absent };
        resolver(&Op {
            collection: CollectionName::parse(collection).unwrap(),
            key: Key::parse("c1").unwrap(),
            seen: Revision(1),
            definition: Revision(1),
            depends: None,
            stands_on: vec![],
            expect: None,
            body: Body::Merge(changes.iter().map(change).collect()),
        })
    };
    let good = [("state", r#""resolved""#), ("resolved_by", r#""ann""#)];
    assert_eq!(resolution("_conflicts", &good).as_deref(), Some("ann"));
    assert_eq!(resolution("stock", &good), None);
    assert_eq!(resolution("_conflicts", &good[..1]), None);
    assert_eq!(resolution("_conflicts", &[good[0], good[1], ("a", "1")]), None);
    for other in
        [[("state", r#""open""#), good[1]], [("a", r#""resolved""#), good[1]], [good[0], ("a", r#""ann""#)], [("state", "1"), good[1]]]
    {
        assert_eq!(resolution("_conflicts", &other), None, "{other:?}");
    }
}
