//! Writes that come in parts: what is kept of them, for how long, and what becomes of parts that are not what they say.

use proto::frame::{Held, NumberedWrite, Part};
use proto::limits::PART_BYTES;
use proto::op::hash;

use super::bench::{Bench, node};
use super::edge::{Edge, put};
use super::shops;
use super::sqlite::Embedded;
use crate::limits::{PARTIAL_IDLE_MS, PARTIAL_KEPT_MS, PARTIAL_WRITES};
use crate::store::{Admitted, Job, Refused, Store};

/// A product whose value takes four parts.
fn large(id: u8) -> String {
    format!(r#"{{"ProductID":{id},"p":"{}"}}"#, "x".repeat(3 * PART_BYTES + 1_000))
}

/// A node that has such a write, and a small one behind it.
fn lyon(bench: &mut Bench<Embedded>, database: u8) -> Edge {
    let mut lyon = Edge::new("lyon", database);
    lyon.commit(put("products", &database.to_string(), &large(database)));
    lyon.commit(put("products", "small", r#"{"ProductID":"small"}"#));
    admit(bench, &mut lyon);
    lyon
}

fn admit(bench: &mut Bench<Embedded>, edge: &mut Edge) -> Box<Admitted> {
    let mut job = edge.admit_job(None);
    job.hello.features = vec!["parts".to_owned()];
    job.hello.newest_write = 2;
    job.hello.outbox_first = edge.taken + 1;
    let admitted = bench.admit(job).unwrap();
    edge.adopt(&admitted);
    admitted
}

/// The parts of a write from `at` on.
fn parts(write: &NumberedWrite, at: usize) -> Vec<NumberedWrite> {
    let (total, hash) = (write.bytes.len(), hash(&write.bytes));
    let part = |at: usize| {
        let bytes = write.bytes[at..total.min(at + PART_BYTES)].to_vec();
        NumberedWrite { bytes, part: Some(Part { at, total, hash }), ..write.without_bytes() }
    };
    (at..total).step_by(PART_BYTES).map(part).collect()
}

fn held(write: &NumberedWrite, bytes: usize) -> Option<Held> {
    Some(Held { number: write.number, hash: hash(&write.bytes), bytes })
}

/// Rows of both tables.
fn rows(bench: &Bench<Embedded>) -> (i64, i64) {
    let sql = "SELECT (SELECT count(*) FROM partial_writes), (SELECT count(*) FROM parts)";
    bench.fixture.raw().query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

#[test]
fn what_came_outlives_the_session_and_the_hub() {
    let mut bench = shops::<Embedded>();
    let mut lyon = lyon(&mut bench, 1);
    let (write, small) = (lyon.outbox[0].clone(), lyon.outbox[1].clone());
    let head = bench.head();
    let mut at = 0;
    while at + PART_BYTES < write.bytes.len() {
        let taken = lyon.send(&mut bench, parts(&write, at)[..1].to_vec()).unwrap();
        at += PART_BYTES;
        assert_eq!((taken.taken, taken.held, taken.stop), (0, held(&write, at), None));
        bench.crash();
        assert_eq!(admit(&mut bench, &mut lyon).held, held(&write, at));
    }
    assert_eq!((bench.head(), rows(&bench)), (head, (1, 3)), "a part decides nothing");
    let mut rest = parts(&write, at);
    rest.push(small);
    let taken = lyon.send(&mut bench, rest).unwrap();
    assert_eq!((taken.taken, taken.held, taken.stop), (2, None, None));
    assert_eq!(rows(&bench), (0, 0));
    assert_eq!(bench.get("products", "1").unwrap().value, large(1));
    assert_eq!(admit(&mut bench, &mut lyon).held, None);
    lyon.sync(&mut bench);
    lyon.answered(&[(1, "applied", ""), (2, "applied", "")]);
}

/// What comes in one group is joined: one row, and none where it is the whole write.
#[test]
fn parts_of_one_group_are_one() {
    let mut bench = shops::<Embedded>();
    let mut lyon = lyon(&mut bench, 1);
    let write = lyon.outbox[0].clone();
    lyon.send(&mut bench, parts(&write, 0)[..3].to_vec()).unwrap();
    assert_eq!(rows(&bench), (1, 1));
    admit(&mut bench, &mut lyon);
    assert_eq!(lyon.send(&mut bench, parts(&write, 0)).unwrap().taken, 1);
    assert_eq!(rows(&bench), (0, 0));
    assert_eq!(bench.get("products", "1").unwrap().value, large(1));
}

#[test]
fn parts_that_are_not_what_they_say_begin_anew() {
    let mut bench = shops::<Embedded>();
    let mut lyon = lyon(&mut bench, 1);
    let write = lyon.outbox[0].clone();
    // Damaged in the hub's file; gone from it; of another hash from the beginning; beginning in the middle.
    let damages = ["UPDATE parts SET bytes = zeroblob(length(bytes))", "DELETE FROM partial_writes"];
    for damage in damages {
        lyon.send(&mut bench, parts(&write, 0)[..2].to_vec()).unwrap();
        assert_eq!(bench.fixture.raw().execute(damage, []).unwrap(), 1);
        let taken = lyon.send(&mut bench, parts(&write, 2 * PART_BYTES)).unwrap();
        assert_eq!((taken.taken, taken.held, taken.stop.unwrap().code.as_str()), (0, None, "parts"), "{damage}");
        assert_eq!(admit(&mut bench, &mut lyon).held, None);
        bench.fixture.raw().execute("DELETE FROM parts", []).unwrap();
    }
    let mut lies = parts(&write, 0);
    lies.iter_mut().filter_map(|part| part.part.as_mut()).for_each(|part| part.hash = [9; 16]);
    assert_eq!(lyon.send(&mut bench, lies).unwrap().stop.unwrap().code, "parts");
    assert_eq!(lyon.send(&mut bench, parts(&write, PART_BYTES)).unwrap().stop.unwrap().code, "parts");
    assert_eq!(rows(&bench), (0, 0));
    assert!(bench.get("products", "1").is_none());
    // Nothing of that stands in the way of the write.
    admit(&mut bench, &mut lyon);
    assert_eq!(lyon.send(&mut bench, parts(&write, 0)).unwrap().taken, 1);
}

/// Its old values were cut out since, or an older program goes on: the write comes with other bytes, or whole.
#[test]
fn another_write_under_the_number_takes_the_place() {
    let mut bench = shops::<Embedded>();
    let mut lyon = lyon(&mut bench, 1);
    let write = lyon.outbox[0].clone();
    lyon.send(&mut bench, parts(&write, 0)[..2].to_vec()).unwrap();
    let mut other = Edge::new("lyon", 1);
    other.commit(put("products", "1", &large(7).replace("\"ProductID\":7", "\"ProductID\":1")));
    let other = other.outbox[0].clone();
    let taken = lyon.send(&mut bench, parts(&other, 0)[..1].to_vec()).unwrap();
    assert_eq!((taken.held, rows(&bench)), (held(&other, PART_BYTES), (1, 1)));
    assert_eq!(lyon.send(&mut bench, vec![write]).unwrap().taken, 1);
    assert_eq!(rows(&bench), (0, 0));
}

#[test]
fn a_replaced_session_keeps_nothing() {
    let mut bench = shops::<Embedded>();
    let mut lyon = lyon(&mut bench, 1);
    let (write, old) = (lyon.outbox[0].clone(), lyon.session);
    admit(&mut bench, &mut lyon);
    let late = Job::Take { peer: lyon.peer(), session: old, writes: parts(&write, 0)[..1].to_vec() };
    assert!(matches!(bench.job(late), Err(Refused::Replaced)));
    assert_eq!(rows(&bench), (0, 0));
}

/// `clone-same-number`, in parts: another database of the node has a write of this number too.
#[test]
fn of_a_node_one_write_is_kept() {
    let mut bench = shops::<Embedded>();
    let mut one = lyon(&mut bench, 1);
    one.send(&mut bench, parts(&one.outbox[0].clone(), 0)[..2].to_vec()).unwrap();
    let mut two = lyon(&mut bench, 2);
    assert_eq!(admit(&mut bench, &mut two).held, None, "what is held is the other database's");
    let first = two.outbox[0].clone();
    two.send(&mut bench, parts(&first, 0)[..1].to_vec()).unwrap();
    assert_eq!(rows(&bench), (1, 1), "of a node one write is kept");
    two.send(&mut bench, parts(&first, PART_BYTES)).unwrap();
    assert_eq!(bench.get("products", "2").unwrap().value, large(2));
    assert_eq!(admit(&mut bench, &mut one).held, None);
}

#[test]
fn what_nobody_goes_on_with_goes() {
    let mut bench = shops::<Embedded>();
    let mut edge = lyon(&mut bench, 1);
    let begun = parts(&edge.outbox[0].clone(), 0)[..1].to_vec();
    edge.send(&mut bench, begun.clone()).unwrap();
    let tidy = |bench: &mut Bench<Embedded>| {
        let now_ms = bench.now_ms;
        while bench.store().tidy(now_ms).unwrap().1 {}
    };
    bench.now_ms += PARTIAL_KEPT_MS - 1_000;
    tidy(&mut bench);
    assert_eq!(rows(&bench), (1, 1));
    bench.now_ms += 2_000;
    tidy(&mut bench);
    assert_eq!(rows(&bench), (0, 0));
    edge.send(&mut bench, begun).unwrap();
    bench.done(Job::DeleteNode { node: node("lyon") });
    assert_eq!(rows(&bench), (0, 0));
}

#[test]
fn so_many_at_once_and_the_next_one_waits() {
    let mut bench = shops::<Embedded>();
    let mut edge = lyon(&mut bench, 1);
    let begun = parts(&edge.outbox[0].clone(), 0)[..1].to_vec();
    let others = "WITH RECURSIVE n (i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 999 + ?1)
                  INSERT INTO partial_writes SELECT i, 1, x'00', 9, 0, ?2 + i FROM n";
    bench.fixture.raw().execute(others, (PARTIAL_WRITES as i64, bench.now_ms.cast_signed())).unwrap();
    let head = bench.head();
    assert!(matches!(edge.send(&mut bench, begun.clone()), Err(Refused::TooManyParts)));
    assert_eq!((bench.head(), rows(&bench).1), (head, 0));
    // The one that stands still for longest gives way.
    bench.now_ms += PARTIAL_IDLE_MS + 2_000;
    edge.send(&mut bench, begun).unwrap();
    let conn = bench.fixture.raw();
    let oldest: i64 = conn.query_row("SELECT min(database) FROM partial_writes WHERE database >= 1000", [], |row| row.get(0)).unwrap();
    assert_eq!((rows(&bench).0, oldest), (PARTIAL_WRITES as i64, 1001));
}
