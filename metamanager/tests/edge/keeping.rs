//! Bounds: the outbox, the disk, and what is kept how long.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metamanager::limits::{DELIVERED_BYTES, DELIVERED_KEPT, REJECTED_KEPT};
use metamanager::{ApplyError, Disk, LocalWrite, Space, WriteState};
use proto::clock::Now;
use proto::frame::Entry;
use proto::op::Verdict;
use rusqlite::Connection;

use crate::kit::{Edge, answered, at, batch, create, is, merge, now, sell, welcome};

fn counted() -> Edge {
    let mut edge = Edge::new();
    edge.apply(vec![batch(10, 11, true, vec![is("stock", "1", 11, r#"{"id":1,"n":20}"#)])]);
    edge
}

/// Answers writes `first..` one revision each, from revision 11 on, at a time.
fn answer(edge: &mut Edge, first: u64, verdicts: &[Verdict], when: Now) {
    let start = 10 + first;
    let entries: Vec<Entry> = (first..).zip(verdicts).map(|(number, verdict)| answered(number, 11 + number, *verdict)).collect();
    let through = start + verdicts.len() as u64;
    edge.store().apply(&[batch(start, through, true, entries)], when).unwrap();
}

#[test]
fn the_outbox_is_bounded_and_rejected_writes_give_way() {
    let mut edge = Edge::unjoined();
    edge.options.max_outbox_bytes = 700;
    edge.reopen();
    edge.adopt(&welcome(1, 11, Some(crate::kit::grants(10))));
    let note = |id: u64| vec![create("stock", &id.to_string(), &format!(r#"{{"id":{id},"note":"{}"}}"#, "x".repeat(150)))];
    let written = (1..10).take_while(|id| edge.try_write(note(*id)).is_ok()).count() as u64;
    assert!((2..5).contains(&written), "{written}");
    let error = edge.try_write(note(77)).unwrap_err();
    assert_eq!(error.code(), "outbox_full");
    assert_eq!(edge.view("stock", "77"), None);
    let verdicts: Vec<_> = (0..written).map(|_| Verdict::Rejected).collect();
    answer(&mut edge, 1, &verdicts, now(5));
    let status = edge.store().status().unwrap();
    assert_eq!((status.rejected, status.outbox_writes, status.outbox_bytes), (written, 0, 0));
    edge.write(note(78));
    assert_eq!(edge.store().status().unwrap().rejected, written - 1, "the oldest rejected one made room");
    assert_eq!(edge.reader().write(1).unwrap(), None);
}

#[test]
fn old_writes_go_in_their_time() {
    let mut edge = counted();
    edge.store().observe_cloud_time(now(0).wall_ms, now(0)).unwrap();
    for _ in 0..4 {
        edge.write(vec![sell("1", 1)]);
    }
    answer(&mut edge, 1, &[Verdict::Applied, Verdict::Rejected, Verdict::Flagged], now(5));
    let kept = |edge: &mut Edge| edge.reader().writes(None, 0, 10).unwrap().writes.iter().map(|write| write.number).collect::<Vec<_>>();
    assert_eq!(kept(&mut edge), [1, 2, 3, 4]);
    let later = |kept: std::time::Duration| now(6 + kept.as_millis() as u64);
    let sale = LocalWrite { requests: vec![sell("1", 1)], actor: None, request_id: None, idempotency: None, resends: None };
    assert!(edge.store().commit(later(DELIVERED_KEPT), vec![sale.clone()])[0].is_ok());
    assert_eq!(kept(&mut edge), [2, 4, 5], "delivered ones went, the rejected one stays");
    assert!(edge.store().commit(later(REJECTED_KEPT), vec![sale])[0].is_ok());
    assert_eq!(kept(&mut edge), [4, 5, 6], "what waits stays for ever");
}

/// An op stays laid until its record or the head has come; without its write it could not be laid again.
#[test]
fn an_old_write_that_is_still_laid_stays() {
    let mut edge = counted();
    edge.store().observe_cloud_time(now(0).wall_ms, now(0)).unwrap();
    edge.write(vec![sell("1", 1)]);
    edge.store().apply(&[batch(11, 12, false, vec![answered(1, 12, Verdict::Applied)])], now(5)).unwrap();
    let sale = LocalWrite { requests: vec![sell("1", 1)], actor: None, request_id: None, idempotency: None, resends: None };
    let later = now(6 + DELIVERED_KEPT.as_millis() as u64);
    assert!(edge.store().commit(later, vec![sale])[0].is_ok());
    assert!(edge.reader().write(1).unwrap().is_some());
    assert_eq!(edge.n("1"), Some(18));
}

/// However much is answered at once, not more than 64 MiB of delivered writes stay, and the newest do.
#[test]
fn delivered_bytes_are_bounded_whatever_comes_at_once() {
    let mut edge = counted();
    let large = "x".repeat(1024 * 1024 - 100);
    let count = DELIVERED_BYTES / (1024 * 1024) + 20;
    let write = |id: u64| LocalWrite {
        requests: vec![create("cut", &id.to_string(), &format!(r#"{{"W":"lyon","p":"{large}"}}"#))],
        actor: None,
        request_id: None,
        idempotency: None,
        resends: None,
    };
    for first in (1..=count).step_by(20) {
        let batch = (first..(first + 20).min(count + 1)).map(write).collect();
        assert!(edge.store().commit(now(5), batch).iter().all(Result::is_ok));
    }
    let verdicts: Vec<_> = (0..count).map(|_| Verdict::Applied).collect();
    answer(&mut edge, 1, &verdicts, now(6));
    let kept: Vec<_> = edge.reader().writes(None, 0, 1_000).unwrap().writes.iter().map(|write| write.number).collect();
    let page_first = kept[0];
    let rows = Connection::open(edge.path()).unwrap().query_row("SELECT count(*), sum(length(bytes)) FROM writes", [], |row| {
        Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, i64>(1)?.cast_unsigned()))
    });
    let (rows, bytes) = rows.unwrap();
    assert!(bytes <= DELIVERED_BYTES && bytes > DELIVERED_BYTES - 3 * 1024 * 1024, "{bytes} bytes of {rows} writes");
    assert_eq!(page_first, count - rows + 1, "the oldest went");
}

/// A Pi that woke up in 1970, or whose clock somebody set, has not kept anything for longer than it has: the cloud's time counts,
/// and where that is not known yet, nothing goes.
#[test]
fn a_wall_clock_that_jumps_removes_nothing() {
    let mut edge = counted();
    edge.write(vec![sell("1", 1)]);
    edge.write(vec![sell("1", 1)]);
    let early = proto::clock::Now { wall_ms: 0, mono_ms: 5 };
    answer(&mut edge, 1, &[Verdict::Applied, Verdict::Rejected], early);
    let sale = LocalWrite { requests: vec![sell("1", 1)], actor: None, request_id: None, idempotency: None, resends: None };
    let jumped = proto::clock::Now { wall_ms: 2_100_000_000_000, mono_ms: 6 };
    assert!(edge.store().commit(jumped, vec![sale.clone()])[0].is_ok());
    edge.reopen();
    let unknown = now(6 + REJECTED_KEPT.as_millis() as u64);
    assert!(edge.store().commit(unknown, vec![sale])[0].is_ok());
    let kept: Vec<_> = edge.reader().writes(None, 0, 10).unwrap().writes.iter().map(|write| write.number).collect();
    assert_eq!(kept, [1, 2, 3, 4]);
}

/// The answer to a number whose write is gone is kept as long as that of a rejected write.
#[test]
fn outcomes_of_gaps_go_too() {
    let mut edge = counted();
    for _ in 0..3 {
        edge.write(vec![sell("1", 1)]);
    }
    edge.store = None;
    Connection::open(edge.path()).unwrap().execute_batch("DELETE FROM writes WHERE number = 2; UPDATE meta SET outbox_writes = 2").unwrap();
    edge.reopen();
    edge.adopt(&welcome(2, 11, None));
    assert_eq!(edge.store().facts().unwrap().gaps, [(2, 2)], "what is missing is found when the cloud asks, and declared");
    answer(&mut edge, 1, &[Verdict::Applied, Verdict::Lost, Verdict::Applied], now(5));
    assert_eq!(edge.store().status().unwrap().rejected, 1);
    let outcomes = |edge: &Edge| {
        let conn = Connection::open(edge.path()).unwrap();
        conn.query_row("SELECT count(*) FROM outcomes", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(outcomes(&edge), 3);
    let sale = LocalWrite { requests: vec![sell("1", 1)], actor: None, request_id: None, idempotency: None, resends: None };
    assert!(edge.store().commit(now(6 + REJECTED_KEPT.as_millis() as u64), vec![sale])[0].is_ok());
    assert_eq!((outcomes(&edge), edge.store().status().unwrap().rejected), (0, 0));
}

#[test]
fn writes_are_found_by_state() {
    let mut edge = counted();
    for _ in 0..5 {
        edge.write(vec![sell("1", 1)]);
    }
    answer(&mut edge, 1, &[Verdict::Applied, Verdict::Rejected, Verdict::Merged], now(5));
    let mut reader = edge.reader();
    let mut of = |state| reader.writes(state, 0, 10).unwrap().writes.iter().map(|write| write.number).collect::<Vec<_>>();
    assert_eq!(of(None), [1, 2, 3, 4, 5]);
    assert_eq!(of(Some(WriteState::Pending)), [4, 5]);
    assert_eq!(of(Some(WriteState::Answered(Verdict::Applied))), [1]);
    assert_eq!(of(Some(WriteState::Answered(Verdict::Rejected))), [2]);
    assert_eq!(of(Some(WriteState::Answered(Verdict::Merged))), [3]);
    assert!(of(Some(WriteState::Answered(Verdict::Lost))).is_empty());
    let page = reader.writes(None, 1, 2).unwrap();
    assert_eq!((page.writes[0].number, page.next), (2, Some(3)));
    let part = reader.outbox_after(0, 1).unwrap();
    assert_eq!((part.writes.len(), part.writes[0].number, part.more), (1, 4, true));
    assert_eq!(edge.store().facts().unwrap().outbox_first, 4);
    for state in ["pending", "applied", "merged", "flagged", "rejected", "lost"] {
        assert_eq!(state.parse::<WriteState>().unwrap().as_str(), state);
    }
    assert!("gone".parse::<WriteState>().is_err());
}

#[test]
fn what_a_restored_cloud_lost_goes_up_again() {
    let mut edge = counted();
    for _ in 0..4 {
        edge.write(vec![sell("1", 1)]);
    }
    answer(&mut edge, 1, &[Verdict::Applied, Verdict::Rejected, Verdict::Applied], now(5));
    edge.apply(vec![batch(14, 15, true, vec![is("stock", "1", 15, r#"{"id":1,"n":18}"#)])]);
    assert_eq!(edge.n("1"), Some(17));
    let restored = proto::frame::Welcome { taken: 1, ..welcome(2, 12, None) };
    let adopted = edge.adopt(&restored);
    assert_eq!((adopted.repended, adopted.cursor), (1, at(12)));
    let outbox = edge.store().outbox_after(1, usize::MAX).unwrap().writes;
    let numbers: Vec<_> = outbox.iter().map(|write| (write.number, write.rejected, write.bytes.is_empty())).collect();
    assert_eq!(numbers, [(2, true, true), (3, false, false), (4, false, false)]);
    let facts = edge.store().facts().unwrap();
    assert_eq!((facts.outbox_first, facts.gaps.len()), (2, 0));
    // The store answers again: the declared one stays rejected, and each sale counts once.
    let entries = vec![answered(2, 13, Verdict::Rejected), answered(3, 14, Verdict::Applied), is("stock", "1", 14, r#"{"id":1,"n":18}"#)];
    edge.apply(vec![batch(12, 14, true, entries)]);
    assert_eq!(edge.store().status().unwrap().outbox_writes, 1);
    let rejected = edge.reader().write(2).unwrap().unwrap();
    assert_eq!(rejected.state, WriteState::Answered(Verdict::Rejected));
}

#[test]
fn laid_again_after_a_reset() {
    // The cloud starts from nothing: sales that it had taken are pending again, over what it sends now.
    let mut edge = counted();
    for _ in 0..3 {
        edge.write(vec![sell("1", 1)]);
    }
    answer(&mut edge, 1, &[Verdict::Applied, Verdict::Applied], now(5));
    let empty = proto::frame::Welcome { reset: true, taken: 0, ..welcome(2, 1, Some(crate::kit::grants(1))) };
    assert_eq!(edge.adopt(&empty).repended, 2);
    edge.apply(vec![batch(1, 2, true, vec![is("stock", "1", 2, r#"{"id":1,"n":100}"#)])]);
    assert_eq!(edge.n("1"), Some(97));
    edge.write(vec![merge("stock", "1", r#"{"note":"x"}"#)]);
    let entries = (1..=4).map(|number| answered(number, 2 + number, Verdict::Applied)).collect();
    edge.apply(vec![batch(2, 6, false, entries)]);
    assert_eq!(edge.n("1"), Some(97));
    edge.apply(vec![batch(6, 7, true, vec![is("stock", "1", 7, r#"{"id":1,"n":97,"note":"x"}"#)])]);
    let row = edge.row("stock", "1").unwrap();
    assert_eq!((row.pending.len(), row.value.as_str()), (0, r#"{"id":1,"n":97,"note":"x"}"#));
}

/// A disk of 100 GiB with as much room as a test says.
#[derive(Default)]
struct Fake(AtomicU64);

impl Disk for Fake {
    fn space(&self, _: &Path) -> Option<Space> {
        Some(Space { free: self.0.load(Ordering::Relaxed) << 20, total: 100 << 30 })
    }
}

#[test]
fn a_filling_disk_pauses_the_stream_then_refuses_writes() {
    let disk = Arc::new(Fake::default());
    disk.0.store(1_000, Ordering::Relaxed);
    let mut edge = Edge::unjoined();
    edge.options.disk = disk.clone();
    edge.reopen();
    edge.adopt(&welcome(1, 10, Some(crate::kit::grants(10))));
    disk.0.store(400, Ordering::Relaxed);
    let refused = edge.store().apply(&[batch(10, 11, true, Vec::new())], now(0));
    assert_eq!(refused, Err(ApplyError::DiskLow { free: 400 << 20 }));
    assert_eq!(edge.store().disk_pause(), Some(400 << 20));
    edge.write(vec![create("stock", "1", r#"{"id":1}"#)]);
    disk.0.store(200, Ordering::Relaxed);
    assert_eq!(edge.try_write(vec![create("stock", "2", r#"{"id":2}"#)]).unwrap_err().code(), "disk_full");
    assert!(edge.view("stock", "1").is_some(), "reads go on");
    disk.0.store(600, Ordering::Relaxed);
    assert_eq!(edge.store().disk_pause(), None);
    edge.apply(vec![batch(10, 11, true, Vec::new())]);
}
