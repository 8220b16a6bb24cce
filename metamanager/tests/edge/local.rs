//! Local writes: what is refused, with which code, and that a refusal leaves nothing behind.

use std::collections::BTreeSet;

use metamanager::{Did, ListQuery, LocalRequest, LocalWrite, Precondition, ViewRow, WriteRef};
use proto::build::Action;
use proto::frame::{Batch, Content};
use proto::ids::Revision;
use proto::op::{Body, Write};

use crate::kit::{Edge, at, batch, check, create, delete, grants, is, key, merge, name, now, put, record, sell, value, welcome, when};

fn stocked() -> Edge {
    let mut edge = Edge::new();
    let entries = vec![
        is("stock", "1", 11, r#"{"id":1,"n":20,"price":3}"#),
        is("fixed", "f", 11, r#"{"a":1}"#),
        is("cut", "c", 11, r#"{"W":"lyon"}"#),
        is("sales", "s", 11, r#"{"p":1}"#),
    ];
    edge.apply(vec![batch(10, 11, true, entries)]);
    edge
}

#[test]
fn refusals_have_codes_and_leave_nothing() {
    let mut edge = stocked();
    let long = "x".repeat(1024 * 1024);
    let cases: Vec<(LocalRequest, &str)> = vec![
        (put("nowhere", "1", "{}"), "not_found"),
        (put("_conflicts", "1", "{}"), "read_only"),
        (put("fixed", "g", "{}"), "read_only"),
        (merge("stock", "1", r#"{"price":4}"#), "read_only"),
        (sell("2", 1), "not_found"),
        (delete("stock", "2"), "not_found"),
        (create("stock", "1", r#"{"id":1}"#), "key_taken"),
        (put("stock", "2", r#"{"id":3}"#), "key_mismatch"),
        (merge("stock", "1", r#"{"n":"many"}"#), "counter_not_integer"),
        (put("stock", "1", r#"{"id":1,"n":7,"price":3}"#), "count_needs_match"),
        (put("cut", "d", r#"{"W":"oslo"}"#), "not_entitled"),
        (put("cut", "d", r#"{"W":3}"#), "not_entitled"),
        (merge("cut", "c", r#"{"W":"oslo"}"#), "not_entitled"),
        (delete("sales", "s"), "read_only"),
        (merge("sales", "s", r#"{"p":2}"#), "read_only"),
        (merge("stock", "1", &format!(r#"{{"big":"{}"}}"#, &long[..long.len() - 12])), "too_large"),
        (when(put("stock", "2", r#"{"id":2}"#), Precondition::Present), "precondition"),
        (when(put("stock", "1", r#"{"id":1}"#), Precondition::Absent), "precondition"),
        (when(merge("stock", "1", r#"{"a":1}"#), Precondition::Base(Revision(10))), "precondition"),
    ];
    for (request, code) in cases {
        let first = merge("stock", "1", r#"{"touched":true}"#);
        let error = edge.try_write(vec![first, request.clone()]).unwrap_err();
        assert_eq!((error.code(), error.op), (code, Some(1)), "{request:?}: {error}");
    }
    assert_eq!(edge.try_write(Vec::new()).unwrap_err().code(), "bad_request");
    let many = (0..1_001).map(|_| sell("1", 1)).collect();
    assert_eq!(edge.try_write(many).unwrap_err().code(), "too_large");
    assert_eq!(edge.view("stock", "1").unwrap(), r#"{"id":1,"n":20,"price":3}"#);
    assert_eq!(edge.store().status().unwrap().newest_write, 0);
}

#[test]
fn nothing_is_taken_before_the_definitions_have_come() {
    let mut edge = Edge::unjoined();
    assert_eq!(edge.try_write(vec![sell("1", 1)]).unwrap_err().code(), "not_synced");
    assert!(matches!(edge.reader().get(&name("stock"), &key("1")), Err(metamanager::ReadError::NotSynced)));
    edge.adopt(&welcome(1, 10, Some(grants(10))));
    assert_eq!(edge.try_write(vec![sell("1", 1)]).unwrap_err().code(), "not_found");
    edge.write(vec![create("stock", "1", r#"{"id":1,"n":1}"#)]);
}

#[test]
fn a_sale_is_one_atomic_write() {
    let mut edge = stocked();
    let sale = vec![create("sales", "o1/1", r#"{"p":"1","q":3}"#), sell("1", 3), check("stock", "1", "price", "3")];
    let committed = edge.write(sale);
    assert_eq!(committed.write, WriteRef::Own(1));
    let did: Vec<_> = committed.results.iter().map(|laid| laid.did).collect();
    assert_eq!(did, [Did::Created, Did::Changed, Did::Checked]);
    let row = committed.results[1].view.clone().unwrap();
    assert_eq!((row.value.as_str(), row.revision, row.pending.as_slice()), (r#"{"id":1,"n":17,"price":3}"#, Revision(11), &[1][..]));
    assert_eq!(edge.row("stock", "1").unwrap(), row, "the answer is what readers see");
    let write = edge.reader().write(1).unwrap().unwrap().write;
    assert_eq!(write.ops.iter().map(|op| op.seen.0).collect::<Vec<_>>(), [0, 11, 11]);
    assert!(matches!(write.ops[2].body, Body::Check(_)));
}

#[test]
fn later_ops_see_earlier_ones() {
    let mut edge = stocked();
    let ops = vec![
        create("stock", "5", r#"{"id":5,"n":1}"#),
        sell("5", 3),
        merge("stock", "5", r#"{"a":1}"#),
        delete("stock", "1"),
        put("stock", "1", r#"{"id":1,"n":9}"#),
    ];
    let ops =
        ops.into_iter().filter(|request| !matches!(&request.request.action, Action::Put { value, .. } if value.get("price").is_some()));
    edge.write(ops.collect());
    assert_eq!((edge.n("5"), edge.n("1")), (Some(-2), Some(9)));
    let write = edge.reader().write(1).unwrap().unwrap().write;
    assert_eq!(write.ops[1].depends, None, "a write does not depend on itself");
    edge.write(vec![sell("5", 1)]);
    assert_eq!(edge.reader().write(2).unwrap().unwrap().write.ops[0].depends, Some(1));
}

#[test]
fn one_commit_answers_each_write_for_itself() {
    let mut edge = stocked();
    let write = |requests| LocalWrite { requests, actor: Some("till-4".to_owned()), request_id: None, idempotency: None, resends: None };
    let batch = vec![
        write(vec![sell("1", 5)]),
        write(vec![sell("9", 1)]),
        write(vec![create("stock", "9", r#"{"id":9,"n":1}"#)]),
        write(vec![sell("9", 1)]),
    ];
    let answers = edge.store().commit(now(5), batch);
    let numbers: Vec<_> = answers.iter().map(|answer| answer.as_ref().ok().map(|committed| committed.write.clone())).collect();
    assert_eq!(numbers, [Some(WriteRef::Own(1)), None, Some(WriteRef::Own(2)), Some(WriteRef::Own(3))]);
    assert_eq!((edge.n("1"), edge.n("9")), (Some(15), Some(0)));
    assert_eq!(edge.row("stock", "9").unwrap().actor.as_deref(), Some("till-4"));
    edge.reopen();
    assert_eq!((edge.n("1"), edge.n("9")), (Some(15), Some(0)));
    let outbox = edge.store().outbox_after(0, usize::MAX).unwrap();
    let writes: Vec<_> = outbox.writes.iter().map(|numbered| Write::decode(&numbered.bytes).unwrap()).collect();
    assert!(writes.windows(2).all(|pair| pair[0].hlc < pair[1].hlc));
    assert_eq!(outbox.writes.iter().map(|numbered| numbered.number).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn a_post_takes_the_key_of_its_value() {
    let mut edge = stocked();
    let post = |text: &str| LocalRequest { own_key: true, ..create("stock", "generated", text) };
    assert_eq!(edge.write(vec![post(r#"{"id":7,"n":0}"#)]).results[0].key, key("7"));
    let committed = edge.write(vec![post(r#"{"n":0}"#)]);
    assert_eq!(committed.results[0].key, key("generated"));
    assert_eq!(edge.view("stock", "generated").unwrap(), r#"{"n":0,"id":"generated"}"#);
}

#[test]
fn a_count_names_what_it_stood_on() {
    let mut edge = stocked();
    for _ in 0..70 {
        edge.write(vec![sell("1", 1)]);
    }
    let row = edge.row("stock", "1").unwrap();
    assert_eq!((row.pending.len(), row.pending[0], row.pending[63]), (64, 7, 70));
    edge.write(vec![merge("stock", "1", r#"{"n":100}"#)]);
    let op = edge.reader().write(71).unwrap().unwrap().write.ops[0].clone();
    assert_eq!((op.stands_on.len(), op.stands_on[0]), (64, 7));
    // A chain longer than what a record lists is still followed to its end.
    edge.apply(vec![batch(11, 12, false, vec![is("stock", "1", 12, r#"{"id":1,"n":1000}"#)])]);
    assert_eq!(edge.n("1"), Some(1000 - 70 + 150));
}

#[test]
fn the_clock_is_stored_with_each_write() {
    let mut edge = stocked();
    edge.write(vec![sell("1", 1)]);
    let before = edge.store().clock();
    edge.reopen();
    assert_eq!(edge.store().clock(), before);
    // The machine starts in 1970: time goes on from the stored value.
    let early = proto::clock::Now { wall_ms: 0, mono_ms: 50 };
    let write = LocalWrite { requests: vec![sell("1", 1)], actor: None, request_id: None, idempotency: None, resends: None };
    let committed = edge.store().commit(early, vec![write]).pop().unwrap().unwrap();
    assert!(committed.at_ms >= before.ms());
    assert!(edge.store().clock() > before);
    // Far ahead of the cloud: set back, durably.
    assert!(edge.store().observe_cloud_time(1_700_000_000_000, early).unwrap());
    edge.reopen();
    assert_eq!(edge.store().clock().ms(), 1_700_000_000_000);
    assert!(!edge.store().observe_cloud_time(1_700_000_000_000, early).unwrap());
}

#[test]
fn seen_is_the_records_own_revision_while_its_grant_fills() {
    let mut edge = Edge::unjoined();
    edge.adopt(&welcome(1, 10, Some(grants(10))));
    edge.apply(vec![batch(10, 30, true, vec![is("stock", "1", 25, r#"{"id":1,"n":1}"#)])]);
    edge.write(vec![sell("1", 1)]);
    assert_eq!(edge.reader().write(1).unwrap().unwrap().write.ops[0].seen, Revision(25));
    assert_eq!(edge.store().facts().unwrap().cursor.unwrap().position, at(30));
}

/// On a full disk the records that own writes touched come ahead of the stream, with what others made of them. Who writes on such a
/// record has seen that: with the cursor as `seen` its own write lost to the very value that it was made on.
#[test]
fn seen_is_the_records_own_revision_where_it_came_ahead_of_the_stream() {
    let mut edge = stocked();
    let cursor = edge.store().facts().unwrap().cursor.unwrap().position.revision.0;
    let newer = record("stock", "1", cursor + 20, Content::Value(r#"{"id":1,"n":12,"price":3}"#.to_owned()));
    edge.apply(vec![Batch { asked: vec![newer], ..batch(cursor, cursor, false, Vec::new()) }]);
    edge.write(vec![sell("1", 1)]);
    edge.write(vec![create("sales", "t", r#"{"p":1}"#), check("fixed", "f", "a", "1")]);
    let mut seen = |number| edge.reader().write(number).unwrap().unwrap().write.ops.iter().map(|op| op.seen.0).collect::<Vec<_>>();
    assert_eq!((seen(1), seen(2)), (vec![cursor + 20], vec![0, cursor]), "what has not come ahead is known to the cursor");
    assert_eq!(edge.store().facts().unwrap().cursor.unwrap().position, at(cursor));
}

#[test]
fn an_unreadable_definition_is_readable_data() {
    let mut edge = stocked();
    let mut newer = grants(10);
    let stock = newer.definitions.iter_mut().find(|definition| definition.name.as_str() == "stock").unwrap();
    stock.json = r#"{"of_a_later_version":true}"#.to_owned();
    stock.revision = Revision(12);
    edge.apply(vec![proto::frame::Batch { grants: Some(newer), ..batch(11, 12, true, Vec::new()) }]);
    assert_eq!(edge.try_write(vec![sell("1", 1)]).unwrap_err().code(), "unavailable");
    assert_eq!(edge.store().unreadable().iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["stock"]);
    assert!(value(&edge.view("stock", "1").unwrap()).get("n").is_some());
}

/// A reader that never rests sees each write of a thousand ops whole or not at all.
#[test]
fn a_thousand_ops_are_seen_together() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let mut edge = Edge::new();
    let write =
        |round: u32| (0..1_000).map(|id| put("stock", &format!("{id:04}"), &format!(r#"{{"id":"{id:04}","r":{round}}}"#))).collect();
    edge.write(write(0));
    let (mut reader, done) = (edge.reader(), AtomicBool::new(false));
    let query = ListQuery::all(name("stock"), 1_000);
    std::thread::scope(|scope| {
        let hammer = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !done.load(Ordering::Acquire) {
                let rows = reader.list(&query).unwrap().records;
                let round = |row: &ViewRow| value(&row.value).get("r").unwrap().to_string();
                let rounds: BTreeSet<_> = rows.iter().map(round).collect();
                assert_eq!((rows.len(), rounds.len()), (1_000, 1), "{rounds:?}");
                seen.extend(rounds);
            }
            seen
        });
        for round in 1..20 {
            edge.write(write(round));
        }
        done.store(true, Ordering::Release);
        let seen = hammer.join().unwrap();
        assert!(!seen.is_empty());
    });
}
