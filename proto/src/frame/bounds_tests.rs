//! Every bound of a frame from outside, at its last good value and one beyond it; and what the two windows are counted with.
#![allow(clippy::unwrap_used)]

use alloc::vec;

use super::*;
use crate::clock::Hlc;
use crate::limits::{ACTOR_BYTES, IDEMPOTENCY_KEY_BYTES, REQUEST_ID_BYTES, WRITE_BYTES, WRITE_OPS};
use crate::op::{Body as OpBody, Idempotency, Op, Write};

fn stock() -> CollectionName {
    CollectionName::parse("stock").unwrap()
}

fn value(bytes: usize) -> Record {
    Record {
        collection: stock(),
        key: Key::parse("1").unwrap(),
        revision: Revision(1),
        born: Revision(1),
        partition: None,
        updated_ms: 0,
        writer: String::new(),
        actor: None,
        content: Content::Value("x".repeat(bytes)),
    }
}

fn nothing() -> Batch {
    Batch::empty(Position::default(), Position::at(Revision(1)))
}

/// Reads back what it wrote, or refuses it.
fn passes(frame: Frame) -> bool {
    let read = Frame::decode(&frame.encode());
    assert!(read.as_ref().is_err() || read.as_ref().is_ok_and(|read| *read == frame));
    read.is_ok()
}

#[test]
fn a_batch_has_so_many_entries_and_such_values() {
    let entries = |count: usize| passes(Frame::Batch(Batch { entries: vec![Entry::Record(value(0)); count], ..nothing() }));
    assert_eq!([2 * BATCH_RECORDS, 2 * BATCH_RECORDS + 1].map(entries), [true, false]);
    let asked = |count: usize| passes(Frame::Batch(Batch { asked: vec![value(0); count], ..nothing() }));
    assert_eq!([BATCH_RECORDS, BATCH_RECORDS + 1].map(asked), [true, false]);
    let large = |bytes: usize| passes(Frame::Batch(Batch { entries: vec![Entry::Record(value(bytes))], ..nothing() }));
    assert_eq!([CONFLICT_BYTES, CONFLICT_BYTES + 1].map(large), [true, false]);
    let ask = |count: usize| passes(Frame::Ask(vec![(stock(), Key::parse("1").unwrap()); count]));
    assert_eq!([ASK_RECORDS, ASK_RECORDS + 1].map(ask), [true, false]);
}

#[test]
fn a_frame_has_so_many_bytes() {
    let sized = |filler: usize| {
        let entries = [1_900_000, 1_900_000, filler].map(|bytes| Entry::Record(value(bytes))).to_vec();
        Frame::Batch(Batch { entries, ..nothing() })
    };
    let around = FRAME_BYTES - sized(300_000).encode().len();
    for (more, good) in [(0, true), (1, false), (2, false)] {
        let frame = sized(300_000 + around + more);
        assert_eq!((frame.encode().len(), passes(frame)), (FRAME_BYTES + more, good));
    }
}

/// What takes two bytes on the wire and some hundred once it is read: the last that is read, and the first that is not.
#[test]
fn what_is_read_takes_so_much_memory() {
    // The rest of the weight in numbers where a list of messages is meant: each weighs eight, and the decoder finds them wrong.
    let filled = |empty: &[u8; 2], own: usize, more: usize| {
        let count = READ_BYTES / own;
        let rest = (READ_BYTES - count * own) / 8 + more;
        [empty.repeat(count), [empty[0] & !7, 0].repeat(rest)].concat()
    };
    let framed = |more: usize| {
        let inside = filled(&[0x0a, 0], size_of::<wire::NumberedWrite>(), more);
        let mut bytes = vec![0x4a];
        prost::encoding::encode_varint(inside.len() as u64, &mut bytes);
        bytes.extend(inside);
        assert!(bytes.len() > crate::limits::READ_UNWEIGHED && bytes.len() < FRAME_BYTES);
        (wire::weight::of_frame(&bytes), Frame::decode(&bytes).unwrap_err().why)
    };
    let written = |more: usize| {
        let bytes = filled(&[0x2a, 0], size_of::<wire::Op>(), more);
        (wire::weight::of_write(&bytes), Write::decode(&bytes).unwrap_err().why)
    };
    for (what, refused, read) in [
        ("a frame", "of more entries than a frame may have", &framed as &dyn Fn(usize) -> (usize, String)),
        ("a write", "of more ops and fields than a write may have", &written),
    ] {
        for more in 0..3 {
            let (weight, why) = read(more);
            assert_eq!((weight, why == refused), (READ_BYTES + 8 * more, more > 0), "{what}: {why}");
        }
    }
}

#[test]
fn a_part_is_inside_its_whole_and_no_crumb() {
    let part = |at: u64, total: u64, len: usize| part(wire::Part { at, total, hash: vec![0; 16] }, len).is_ok();
    let min = PART_BYTES_MIN as u64;
    assert!(part(0, 1, 1) && part(5, 6, 1), "the last one may be short");
    assert!(!part(5, 5, 0) && !part(0, 0, 0), "not empty");
    assert!(part(0, 9 * min, PART_BYTES_MIN) && !part(0, 9 * min, PART_BYTES_MIN - 1));
    assert!(!part(0, min, PART_BYTES_MIN + 1) && !part(u64::MAX, u64::MAX, 1));
    let piece = |total: usize| piece(wire::Piece { hash: vec![0; 16], total: total as u64, at: 0, bytes: vec![0; PART_BYTES_MIN] }).is_ok();
    assert_eq!([CONFLICT_BYTES, CONFLICT_BYTES + 1].map(piece), [true, false]);
}

#[test]
fn a_list_of_hashes_is_whole_and_bounded() {
    let most = 16 * usize::try_from(UNACKED_WRITES).unwrap();
    let read = |bytes: usize| hashes(&vec![0; bytes]).is_ok();
    assert_eq!([0, 16, 17, most, most + 16].map(read), [true, true, false, true, false]);
}

fn op(body: OpBody) -> Op {
    let (collection, key) = (stock(), Key::parse("1").unwrap());
    let (depends, stands_on, expect) = (None, Vec::new(), None);
    Op { collection, key, seen: Revision(1), definition: Revision(1), depends, stands_on, expect, body }
}

fn write(ops: usize) -> Write {
    let ops = vec![op(OpBody::Delete { force: false }); ops];
    Write { hlc: Hlc(1), at_ms: 1, actor: None, request_id: None, idempotency: None, ops }
}

/// Two ops that are so large together.
fn heavy(bytes: usize) -> Write {
    let names = op(OpBody::Check(vec![("f".into(), None)])).size();
    let own = |bytes: usize| {
        let text = crate::json::Raw::parse(&alloc::format!("\"{}\"", "x".repeat(bytes - names - 2))).unwrap();
        op(OpBody::Check(vec![("f".into(), Some(text))]))
    };
    Write { ops: vec![own(bytes / 2), own(bytes - bytes / 2)], ..write(0) }
}

#[test]
fn a_write_has_so_many_ops_and_names_of_such_length() {
    let whole = |write: Write| {
        let read = Write::decode(&write.encode());
        assert!(read.as_ref().is_err() || read.as_ref().is_ok_and(|read| *read == write));
        read.is_ok()
    };
    assert_eq!([0, 1, WRITE_OPS, WRITE_OPS + 1].map(|ops| whole(write(ops))), [false, true, true, false]);
    assert_eq!([WRITE_OPS, WRITE_OPS + 1].map(|ops| write(ops).check_size().is_ok()), [true, false]);
    let actor = |bytes| whole(Write { actor: Some("a".repeat(bytes)), ..write(1) });
    assert_eq!([ACTOR_BYTES, ACTOR_BYTES + 1].map(actor), [true, false]);
    let request = |bytes| whole(Write { request_id: Some("a".repeat(bytes)), ..write(1) });
    assert_eq!([REQUEST_ID_BYTES, REQUEST_ID_BYTES + 1].map(request), [true, false]);
    let named = |bytes| whole(Write { idempotency: Some(Idempotency { key: "a".repeat(bytes), request: [7; 16] }), ..write(1) });
    assert_eq!([0, 1, IDEMPOTENCY_KEY_BYTES, IDEMPOTENCY_KEY_BYTES + 1].map(named), [false, true, true, false]);
    assert_eq!([WRITE_BYTES, WRITE_BYTES + 1].map(|bytes| heavy(bytes).check_size().is_ok()), [true, false]);
    assert_eq!([WRITE_BYTES, WRITE_BYTES + 1].map(|bytes| whole(heavy(bytes))), [true, false]);
}

/// Both sides count the window with it: each part adds what it takes, whatever is beside it.
#[test]
fn a_batch_weighs_what_is_in_it() {
    let text = |bytes: usize| "x".repeat(bytes);
    let record = Record { partition: Some(text(10)), writer: text(20), actor: Some(text(30)), ..value(0) };
    let name = stock().as_str().len();
    assert_eq!(value(0).wire_len(), name + 1 + 40);
    assert_eq!(value(100).wire_len() - value(0).wire_len(), 100);
    assert_eq!(record.wire_len() - value(0).wire_len(), 10 + 20 + 30);
    assert_eq!(Record { content: Content::Deleted, ..value(0) }.wire_len() - value(0).wire_len(), 2);
    let outcome = |conflicts: usize| Entry::Outcome {
        database: None,
        number: 1,
        outcome: Outcome {
            verdict: Verdict::Applied,
            revision: Revision(1),
            code: Some(text(10)),
            detail: Some(text(20)),
            conflicts: vec![text(5); conflicts],
        },
    };
    let share = Share { collection: stock(), partition: Some(text(7)) };
    let grant = Grant { share: share.clone(), since: Revision(1), from: Revision(1) };
    let definition = DefinitionText { name: stock(), revision: Revision(1), json: text(50) };
    let grants = Grants { grants: vec![grant.clone(); 2], definitions: vec![definition; 3], ..Grants::default() };
    let digest = GrantDigest { share, since: Revision(1), digest: Digest::default() };
    let fill = FillPart {
        fill: Fill { grant: grant.clone(), at: Position::default(), ranges: None },
        done: true,
        records: vec![record.clone(); 2],
    };
    let empty = nothing().wire_len();
    assert_eq!(empty, 32);
    let adds = |batch: Batch| batch.wire_len() - empty;
    assert_eq!(adds(Batch { entries: vec![outcome(0), outcome(2)], ..nothing() }), 2 * (10 + 20 + 24) + 2 * (5 + 2));
    assert_eq!(adds(Batch { entries: vec![Entry::Record(record.clone())], ..nothing() }), record.wire_len());
    assert_eq!(adds(Batch { grants: Some(grants.clone()), ..nothing() }), 2 * (name + 7 + 24) + 3 * (name + 50 + 16));
    assert_eq!(adds(Batch { fill: Some(fill.clone()), ..nothing() }), 2 * record.wire_len() + 64);
    assert_eq!(adds(Batch { asked: vec![record.clone(); 2], ..nothing() }), 2 * record.wire_len());
    assert_eq!(adds(Batch { digests: vec![digest.clone(); 2], ..nothing() }), 2 * 64);
    let repairs = vec![Repair { grant, ranges: RangeSet::default() }; 3];
    assert_eq!(adds(Batch { repairs: repairs.clone(), ..nothing() }), 3 * 64);
    let all = Batch {
        entries: vec![outcome(0)],
        grants: Some(grants.clone()),
        fill: Some(fill.clone()),
        digests: vec![digest],
        repairs,
        ..nothing()
    };
    let apart = adds(Batch { grants: Some(grants), ..nothing() }) + adds(Batch { fill: Some(fill), ..nothing() });
    assert_eq!(adds(all), apart + (10 + 20 + 24) + 4 * 64);
}
