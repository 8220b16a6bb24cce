//! The schedules of docs/design.md §12 that live in the edge database.

use crate::kit::{self, Edge, answered, at, batch, create, delete, gone, is, key, merge, name, put, record, sell, value, when};
use metamanager::{ApplyError, Etag, Precondition, WriteRef, WriteState};
use proto::frame::{Batch, Content, Entry, Record, Welcome};
use proto::ids::{Position, Revision};
use proto::op::Verdict;

/// An edge whose base has twenty of product 1.
fn twenty() -> Edge {
    let mut edge = Edge::new();
    edge.apply(vec![batch(10, 11, true, vec![is("stock", "1", 11, r#"{"id":1,"n":20}"#)])]);
    edge
}

/// The record as this edge's write left it.
fn by(edge: &mut Edge, number: u64, id: &str, revision: u64, text: &str) -> Entry {
    let writer = edge.id(number);
    Entry::Record(Record { writer, ..record("stock", id, revision, Content::Value(text.to_owned())) })
}

#[test]
fn record_before_outcome() {
    let sold = r#"{"id":1,"n":17}"#;
    for together in [true, false] {
        for record_first in [true, false] {
            let mut edge = twenty();
            edge.write(vec![sell("1", 3)]);
            assert_eq!(edge.n("1"), Some(17));
            let mut entries = vec![answered(1, 12, Verdict::Applied), by(&mut edge, 1, "1", 12, sold)];
            if record_first {
                entries.reverse();
            }
            if together {
                edge.apply(vec![batch(11, 12, false, entries)]);
            } else {
                for (step, entry) in entries.into_iter().enumerate() {
                    // One revision in two parts would be staged; a scan that began anew shows the same as two revisions.
                    let from = 11 + step as u64;
                    let entry = match entry {
                        Entry::Record(record) => Entry::Record(Record { revision: Revision(from + 1), ..record }),
                        outcome => outcome,
                    };
                    edge.apply(vec![batch(from, from + 1, false, vec![entry])]);
                    assert_eq!(edge.n("1"), Some(17), "record first {record_first}, step {step}");
                }
            }
            assert_eq!(edge.n("1"), Some(17));
            let row = edge.row("stock", "1").unwrap();
            assert_eq!(row.pending, Vec::<u64>::new());
        }
    }
}

#[test]
fn an_outcome_holds_its_op_until_the_record_or_the_head() {
    let mut edge = twenty();
    edge.write(vec![sell("1", 3)]);
    edge.apply(vec![batch(11, 12, false, vec![answered(1, 12, Verdict::Applied)])]);
    assert_eq!(edge.n("1"), Some(17), "still laid: base is 20");
    assert_eq!(edge.row("stock", "1").unwrap().pending, [1]);
    edge.reopen();
    // The record left in the meantime: nothing comes for it, but the head was reached.
    edge.apply(vec![batch(12, 13, true, vec![gone("stock", "1", 13)])]);
    assert_eq!(edge.n("1"), None);
    assert_eq!(edge.store().status().unwrap().outbox_writes, 0);
}

#[test]
fn an_outcome_that_changed_nothing_ends_at_the_head() {
    // All of its fields lost: the record has no new version that could come.
    let mut edge = twenty();
    edge.write(vec![merge("stock", "1", r#"{"note":"mine"}"#)]);
    edge.apply(vec![batch(11, 12, false, vec![answered(1, 12, Verdict::Merged)])]);
    assert_eq!(edge.row("stock", "1").unwrap().pending, [1]);
    edge.reopen();
    edge.apply(vec![batch(12, 13, true, Vec::new())]);
    let row = edge.row("stock", "1").unwrap();
    assert_eq!((row.value.as_str(), row.pending.len()), (r#"{"id":1,"n":20}"#, 0));
}

/// The cloud took something else under the number of a write that waits here: another machine has a copy of this database.
#[test]
fn a_copy_is_known_by_the_hashes_of_what_waits() {
    let mut edge = twenty();
    edge.write(vec![sell("1", 3)]);
    let own = proto::op::hash(&edge.reader().outbox_after(0, 1_000).unwrap().writes[0].bytes);
    let of = |hash| Welcome { taken: 1, hashes: vec![hash], ..kit::welcome(2, 11, None) };
    let refused = edge.store().adopt(&of([7; 16]), kit::now(5));
    assert!(matches!(refused, Err(ApplyError::Copied { number: 1 })), "{refused:?}");
    assert!(edge.store().adopt(&of(own), kit::now(5)).is_ok());
}

/// A hub that answers what nobody wrote yet: the write that takes the number later still goes up.
#[test]
fn an_outcome_of_a_number_that_was_never_given_is_none() {
    let mut edge = twenty();
    edge.apply(vec![batch(11, 12, true, vec![answered(1, 12, Verdict::Rejected), answered(0, 12, Verdict::Applied)])]);
    edge.write(vec![sell("1", 3)]);
    assert_eq!(edge.n("1"), Some(17));
    assert_eq!(edge.reader().outbox_after(0, 1_000).unwrap().writes.len(), 1);
}

#[test]
fn created_here_and_deleted_there() {
    let mut edge = Edge::new();
    edge.write(vec![create("stock", "9", r#"{"id":9,"n":1}"#)]);
    edge.apply(vec![batch(10, 12, false, vec![answered(1, 11, Verdict::Applied), gone("stock", "9", 12)])]);
    assert_eq!(edge.n("9"), None, "the tombstone holds the effect of the create");
    assert_eq!(edge.reader().count(&name("stock")).unwrap(), 0);
    let mut edge = Edge::new();
    edge.write(vec![create("stock", "9", r#"{"id":9,"n":1}"#), create("stock", "8", r#"{"id":8,"n":1}"#)]);
    edge.write(vec![sell("8", 1)]);
    edge.apply(vec![batch(10, 12, false, vec![answered(1, 11, Verdict::Applied), gone("stock", "9", 12)])]);
    assert_eq!((edge.n("9"), edge.n("8")), (None, Some(0)));
    edge.apply(vec![batch(12, 13, false, vec![answered(2, 13, Verdict::Applied)])]);
    assert_eq!((edge.n("9"), edge.n("8")), (None, Some(0)));
}

#[test]
fn outcome_before_newest() {
    // The outcome at 12, then only the newest version at 14, which holds the sale and a delivery of five.
    let mut edge = twenty();
    edge.write(vec![sell("1", 3)]);
    edge.write(vec![sell("1", 1)]);
    edge.apply(vec![batch(11, 12, false, vec![answered(1, 12, Verdict::Applied)])]);
    assert_eq!(edge.n("1"), Some(16));
    edge.apply(vec![batch(12, 14, true, vec![is("stock", "1", 14, r#"{"id":1,"n":22}"#)])]);
    assert_eq!(edge.n("1"), Some(21), "the second sale is still pending");
}

#[test]
fn reject_at_head() {
    let mut edge = twenty();
    edge.write(vec![sell("1", 30)]);
    edge.write(vec![sell("1", 2)]);
    assert_eq!(edge.n("1"), Some(-12));
    edge.apply(vec![batch(11, 12, true, vec![answered(1, 12, Verdict::Rejected)])]);
    assert_eq!(edge.n("1"), Some(18), "gone at once, the later sale stays");
    let rejected = edge.reader().writes(Some(WriteState::Answered(Verdict::Rejected)), 0, 10).unwrap().writes;
    assert_eq!(rejected.len(), 1, "its content stays readable");
    assert_eq!(rejected[0].write.ops.len(), 1);
    edge.apply(vec![batch(12, 13, true, vec![answered(2, 13, Verdict::Applied), is("stock", "1", 13, r#"{"id":1,"n":18}"#)])]);
    assert_eq!(edge.n("1"), Some(18));
}

#[test]
fn own_delete_overtaken() {
    // Deleted here, and the tombstone comes before and after the outcome; made again here in the meantime.
    for outcome_first in [true, false] {
        let mut edge = twenty();
        edge.write(vec![delete("stock", "1")]);
        assert_eq!(edge.n("1"), None);
        edge.write(vec![put("stock", "1", r#"{"id":1,"n":5}"#)]);
        let outcome = batch(11, 12, false, vec![answered(1, 12, Verdict::Applied)]);
        let tombstone = gone("stock", "1", 12);
        if outcome_first {
            edge.apply(vec![outcome]);
            assert_eq!(edge.n("1"), Some(5));
            edge.apply(vec![batch(12, 13, false, vec![gone("stock", "1", 13)])]);
        } else {
            edge.apply(vec![batch(11, 12, false, vec![tombstone])]);
            assert_eq!(edge.n("1"), Some(5));
            edge.apply(vec![batch(12, 13, false, vec![answered(1, 12, Verdict::Applied)])]);
        }
        assert_eq!(edge.n("1"), Some(5));
        edge.apply(vec![batch(13, 14, false, vec![answered(2, 14, Verdict::Rejected)])]);
        assert_eq!(edge.n("1"), None);
        assert_eq!(edge.reader().count(&name("stock")).unwrap(), 0);
    }
}

#[test]
fn newest_version_resend() {
    let mut edge = twenty();
    let first = batch(11, 13, true, vec![is("stock", "1", 12, r#"{"id":1,"n":19}"#), is("stock", "2", 13, r#"{"id":2,"n":1}"#)]);
    edge.apply(vec![first.clone()]);
    edge.apply(vec![batch(13, 15, true, vec![is("stock", "1", 14, r#"{"id":1,"n":18}"#), gone("stock", "2", 15)])]);
    // No ACK came through: the cloud scans again, and what was in flight comes once more too.
    let applied = edge.apply(vec![first, batch(11, 15, true, vec![is("stock", "1", 14, r#"{"id":1,"n":18}"#), gone("stock", "2", 15)])]);
    assert_eq!((applied.cursor, applied.records), (at(15), 0));
    assert_eq!((edge.n("1"), edge.n("2")), (Some(18), None));
}

/// A part of revision 12, whose records have keys in order.
fn part(from: Position, keys: std::ops::Range<u32>, last: bool) -> Batch {
    let id = |number: u32| format!("k{number:03}");
    let entries = keys.clone().map(|number| is("stock", &id(number), 12, &format!(r#"{{"id":"{}","n":1}}"#, id(number)))).collect();
    let through = if last { at(12) } else { Position { revision: Revision(11), inside: Some((name("stock"), key(&id(keys.end - 1)))) } };
    Batch { at_head: last, entries, ..Batch::empty(from, through) }
}

#[test]
fn six_hundred_in_one_revision() {
    let mut edge = twenty();
    let first = part(at(11), 0..256, false);
    let cursor = edge.apply(vec![first.clone()]).cursor;
    assert_eq!(edge.n("k000"), None, "nothing of it is visible");
    edge.reopen();
    assert_eq!(edge.store().facts().unwrap().cursor.unwrap().position, cursor);
    assert_eq!(edge.n("k000"), None);
    // Cut after the first part; the cloud goes on from the ACK. The old part comes twice.
    let second = part(cursor.clone(), 256..512, false);
    let third = part(second.through.clone(), 512..600, true);
    edge.apply(vec![first, second]);
    assert_eq!(edge.n("k300"), None);
    edge.apply(vec![third]);
    assert_eq!(edge.reader().count(&name("stock")).unwrap(), 601);
    assert_eq!(edge.n("k000"), Some(1));
    assert_eq!(edge.store().facts().unwrap().cursor.unwrap().position, at(12));
}

#[test]
fn staged_parts_are_dropped_when_the_stream_begins_elsewhere() {
    let mut edge = twenty();
    edge.apply(vec![part(at(11), 0..256, false)]);
    edge.adopt(&kit::welcome(2, 11, None));
    edge.apply(vec![batch(11, 12, true, Vec::new())]);
    assert_eq!(edge.n("k000"), None);
}

#[test]
fn etag_pending() {
    let mut edge = twenty();
    let tag = |edge: &mut Edge, revision: u64, number: Option<u64>| {
        let write = number.map(|number| edge.id(number).parse().unwrap());
        Precondition::Match(vec![Etag { revision: Revision(revision), write }])
    };
    let count = |n: i64| put("stock", "1", &format!(r#"{{"id":1,"n":{n}}}"#));
    assert_eq!(edge.try_write(vec![count(19)]).unwrap_err().code(), "count_needs_match");
    let clean = tag(&mut edge, 11, None);
    edge.write(vec![when(count(19), clean.clone())]);
    assert_eq!(edge.try_write(vec![when(count(18), clean)]).unwrap_err().code(), "precondition", "another version now");
    let own = tag(&mut edge, 11, Some(1));
    edge.write(vec![when(count(18), own.clone())]);
    assert_eq!(edge.try_write(vec![when(count(17), own)]).unwrap_err().code(), "precondition");
    // The second write is decided and made the present revision: its tag is still good.
    let last = tag(&mut edge, 11, Some(2));
    let made = by(&mut edge, 2, "1", 13, r#"{"id":1,"n":18}"#);
    edge.apply(vec![batch(11, 13, true, vec![answered(1, 12, Verdict::Applied), answered(2, 13, Verdict::Applied), made])]);
    edge.write(vec![when(count(17), last.clone())]);
    assert_eq!(edge.n("1"), Some(17));
    // Another's change: it is not.
    edge.apply(vec![batch(13, 15, true, vec![answered(3, 14, Verdict::Applied), is("stock", "1", 15, r#"{"id":1,"n":40}"#)])]);
    let late = tag(&mut edge, 13, Some(3));
    assert_eq!(edge.try_write(vec![when(count(16), late)]).unwrap_err().code(), "precondition");
    assert_eq!(edge.try_write(vec![when(count(16), last)]).unwrap_err().code(), "precondition");
}

#[test]
fn null_roundtrip() {
    let mut edge = Edge::new();
    edge.apply(vec![batch(10, 11, true, vec![is("stock", "1", 11, r#"{"id":1,"note":null,"n":1}"#)])]);
    assert_eq!(edge.view("stock", "1").unwrap(), r#"{"id":1,"note":null,"n":1}"#);
    edge.write(vec![merge("stock", "1", r#"{"note":"x"}"#)]);
    let put_null = when(put("stock", "1", r#"{"id":1,"note":null,"n":1}"#), Precondition::None);
    edge.write(vec![put_null]);
    assert!(value(&edge.view("stock", "1").unwrap()).same(&value(r#"{"id":1,"note":null,"n":1}"#)));
    edge.write(vec![merge("stock", "1", r#"{"note":null}"#)]);
    assert!(value(&edge.view("stock", "1").unwrap()).same(&value(r#"{"id":1,"n":1}"#)));
}

#[test]
fn repeated_appends_answer_the_first_write() {
    let mut edge = twenty();
    let sale = || vec![create("sales", "s1/1", r#"{"p":1}"#), create("sales", "s1/2", r#"{"p":2}"#), sell("1", 3)];
    let first = edge.write(sale());
    let again = edge.write(sale());
    assert_eq!((again.write, again.repeat), (WriteRef::Own(1), true));
    assert_eq!(first.write, WriteRef::Own(1));
    assert_eq!(edge.n("1"), Some(17), "sold once");
    let half = vec![create("sales", "s1/1", r#"{"p":1}"#), create("sales", "s1/3", r#"{"p":3}"#)];
    assert_eq!(edge.try_write(half).unwrap_err().code(), "key_taken");
    assert_eq!(edge.try_write(vec![create("sales", "s1/1", r#"{"p":9}"#)]).unwrap_err().code(), "key_taken");
    // Also when the cloud has it: the id that base names.
    let writer = edge.id(1);
    let lines = ["s1/1", "s1/2"].map(|id| {
        let text = if id == "s1/1" { r#"{"p":1}"# } else { r#"{"p":2}"# };
        Entry::Record(Record { writer: writer.clone(), ..record("sales", id, 12, Content::Value(text.to_owned())) })
    });
    let mut entries = vec![answered(1, 12, Verdict::Applied)];
    entries.extend(lines);
    edge.apply(vec![batch(11, 12, true, entries)]);
    assert_eq!(edge.write(vec![create("sales", "s1/1", r#"{"p":1}"#)]).write, WriteRef::Own(1));
}

#[test]
fn create_edit_offline() {
    let mut edge = Edge::new();
    edge.write(vec![create("stock", "9", r#"{"id":9,"n":1}"#)]);
    edge.write(vec![merge("stock", "9", r#"{"name":"x"}"#)]);
    edge.write(vec![delete("stock", "9")]);
    edge.write(vec![create("stock", "9", r#"{"id":9,"n":2}"#)]);
    edge.write(vec![sell("9", 1)]);
    let writes = edge.reader().writes(None, 0, 10).unwrap().writes;
    let depends: Vec<_> = writes.iter().map(|write| write.write.ops[0].depends).collect();
    assert_eq!(depends, [None, Some(1), Some(1), None, Some(4)]);
    let seen: Vec<_> = writes.iter().map(|write| write.write.ops[0].seen.0).collect();
    assert_eq!(seen, [0, 10, 10, 0, 10]);
    // The first create is rejected and what stood on it; the second one stays.
    let rejected = (1..=3).map(|number| answered(number, 10 + number, Verdict::Rejected)).collect();
    edge.apply(vec![batch(10, 13, true, rejected)]);
    assert_eq!(edge.n("9"), Some(1));
    edge.apply(vec![batch(13, 14, true, vec![answered(4, 14, Verdict::Rejected)])]);
    assert_eq!(edge.n("9"), None);
}
