//! Every table has a bound, and numbers from outside cannot pass the store's own.

use proto::frame::{Fill, Grant, Share};
use proto::ids::{Position, Revision, WriteId};
use proto::session::cloud::Scan;

use super::bench::{Bench, Fixture, name, node, revision};
use super::edge::{Edge, increment, set};
use super::shops;
use crate::limits::{CLOSED_CONFLICT_MS, CLOSED_CONFLICTS_PER_RECORD, EVENTS_PER_NODE, TOKENS, WRITES_PER_DATABASE};
use crate::store::{AccessTokenRow, ConflictsRequest, Job, Refused, ScanRequest, Seen, Store, StoreRead};

fn known<F: Fixture>(bench: &mut Bench<F>, lyon: &Edge, number: u64) -> bool {
    bench.reader().write(&WriteId::edge(&node("lyon"), &lyon.database, number)).unwrap().is_some()
}

/// Of each database the newest writes stay, and all that were not acknowledged.
pub(super) fn old_writes_go_when_acknowledged<F: Fixture>() {
    let mut bench = shops::<F>();
    bench.put("products", "1", r#"{"ProductID":1,"UnitsInStock":0}"#);
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.sync(&mut bench);
    let seen = bench.head();
    let take = |bench: &mut Bench<F>, lyon: &mut Edge, count| {
        for _ in 0..count {
            lyon.commit(increment("1", seen, 1));
        }
        lyon.upload(bench).unwrap();
    };
    take(&mut bench, &mut lyon, WRITES_PER_DATABASE + 300);
    assert!(known(&mut bench, &lyon, 1), "nothing was acknowledged");
    lyon.sync(&mut bench);
    let at_ms = bench.now_ms;
    bench.done(Job::Seen(vec![Seen { peer: lyon.peer(), at_ms, cursor: Some(lyon.position()), report: None, verified_ms: None }]));
    take(&mut bench, &mut lyon, 300);
    assert!(!known(&mut bench, &lyon, 1));
    assert!(known(&mut bench, &lyon, 601), "the newest stay");
    let head = bench.head();
    let taken = lyon.send(&mut bench, vec![lyon.outbox[0].clone()]).unwrap();
    assert_eq!((taken.taken, taken.stop, bench.head()), (WRITES_PER_DATABASE + 600, None, head), "forgotten, and not applied again");
    let row = bench.reader().node(&node("lyon")).unwrap().unwrap();
    assert_eq!((row.position(), row.last_seen_ms), (lyon.position(), at_ms));
}

/// The last ACKs came after the last write: housekeeping removes what they freed.
pub(super) fn acknowledged_writes_go_without_another_write<F: Fixture>() {
    let mut bench = shops::<F>();
    bench.put("products", "1", r#"{"ProductID":1,"UnitsInStock":0}"#);
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.sync(&mut bench);
    let seen = bench.head();
    for _ in 0..WRITES_PER_DATABASE + 1_500 {
        lyon.commit(increment("1", seen, 1));
    }
    lyon.upload(&mut bench).unwrap();
    let tidy = |bench: &mut Bench<F>| {
        let now_ms = bench.now_ms;
        while bench.store().tidy(now_ms).unwrap().1 {}
    };
    tidy(&mut bench);
    assert!(known(&mut bench, &lyon, 1), "nothing was acknowledged");
    lyon.sync(&mut bench);
    let at_ms = bench.now_ms;
    bench.done(Job::Seen(vec![Seen { peer: lyon.peer(), at_ms, cursor: Some(lyon.position()), report: None, verified_ms: None }]));
    tidy(&mut bench);
    assert!(!known(&mut bench, &lyon, 1_500));
    assert!(known(&mut bench, &lyon, 1_501), "the newest stay");
}

/// Tokens that nobody can use any more make room, and go after a day.
pub(super) fn spent_tokens_go<F: Fixture>() {
    let mut bench = Bench::<F>::new();
    let begin_ms = bench.now_ms;
    let hash = |id: u64| {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&id.to_le_bytes());
        hash
    };
    let access = |id: u64, expires_ms| {
        let (name, role) = ("till".to_owned(), "viewer".to_owned());
        let row = AccessTokenRow { id: id.to_string(), name, role, collections: None, created_ms: begin_ms, expires_ms };
        Job::NewAccessToken(Box::new(row), hash(id))
    };
    for first in (0..TOKENS - 1).step_by(1_000) {
        let jobs = (first..(first + 1_000).min(TOKENS - 1)).map(|id| access(id, Some(begin_ms + 1_000_000))).collect();
        assert!(bench.group(jobs).iter().all(Result::is_ok));
    }
    bench.done(access(TOKENS, None));
    assert!(matches!(bench.job(access(TOKENS + 1, None)), Err(Refused::Full(_))));
    bench.now_ms = begin_ms + 1_000_000;
    bench.done(access(TOKENS + 1, Some(begin_ms + 2_000_000)));
    let left = |bench: &mut Bench<F>, now_ms| bench.reader().access_tokens(now_ms).unwrap().len();
    assert_eq!(left(&mut bench, 0), 2, "the expired ones made room");
    bench.now_ms = begin_ms + 2_000_000 + 86_400_000 + 1;
    let now_ms = bench.now_ms;
    bench.store().tidy(now_ms).unwrap();
    assert_eq!(left(&mut bench, 0), 1, "the one that never expires");
}

pub(super) fn settled_conflicts_go<F: Fixture>() {
    let mut bench = shops::<F>();
    bench.put("products", "1", r#"{"ProductID":1,"n":0}"#);
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.sync(&mut bench);
    let seen = bench.head();
    for at in 0..CLOSED_CONFLICTS_PER_RECORD + 5 {
        bench.put("products", "1", &format!(r#"{{"ProductID":1,"n":"cloud {at}"}}"#));
        lyon.commit(set("products", "1", seen, "m", "1"));
        lyon.commit(set("products", "1", seen, "n", &format!("\"edge {at}\"")));
        lyon.upload(&mut bench).unwrap();
    }
    lyon.sync(&mut bench);
    let count = |bench: &mut Bench<F>| bench.reader().conflicts(&ConflictsRequest { limit: 1_000, ..Default::default() }).unwrap().0.len();
    assert!(count(&mut bench) as u64 <= CLOSED_CONFLICTS_PER_RECORD && count(&mut bench) > 0);
    assert_eq!(lyon.holds("_conflicts"), count(&mut bench));
    bench.now_ms += CLOSED_CONFLICT_MS + 1_000;
    let now_ms = bench.now_ms;
    let (touched, _) = bench.store().tidy(now_ms).unwrap();
    assert!(touched.shares.contains(&Share { collection: name("_conflicts"), partition: Some("products".to_owned()) }));
    assert_eq!(count(&mut bench), 0);
    lyon.sync(&mut bench);
    assert_eq!(lyon.holds("_conflicts"), 0);
}

pub(super) fn events_are_bounded<F: Fixture>() {
    let mut bench = shops::<F>();
    for at in 0..EVENTS_PER_NODE + 10 {
        let detail = at.to_string();
        bench.now_ms += 3_600_000;
        let at_ms = bench.now_ms;
        bench.done(Job::Event { node: node("lyon"), kind: "clock_skew", detail, at_ms });
    }
    let events = bench.reader().events(&node("lyon")).unwrap().unwrap();
    assert_eq!(events.len() as u64, EVENTS_PER_NODE);
    assert_eq!(events.last().unwrap().detail, (EVENTS_PER_NODE + 9).to_string());
    let at_ms = bench.now_ms;
    bench.done(Job::Event { node: node("lyon"), kind: "clock_skew", detail: "again".to_owned(), at_ms });
    assert_ne!(bench.reader().events(&node("lyon")).unwrap().unwrap().last().unwrap().detail, "again");
    assert!(bench.reader().events(&node("rome")).unwrap().is_none());
}

/// Numbers that no honest edge sends cost their sender its answer, and nobody else anything.
pub(super) fn absurd_numbers_are_harmless<F: Fixture>() {
    let mut bench = shops::<F>();
    let mut lyon = Edge::new("lyon", 1);
    let mut absurd = lyon.admit_job(None);
    (absurd.hello.session, absurd.hello.newest_write, absurd.hello.outbox_first) = (u64::MAX, u64::MAX, u64::MAX);
    assert!(bench.job(Job::Admit(Box::new(absurd))).is_err());
    lyon.connect(&mut bench);
    lyon.sync(&mut bench);
    let mut absurd = lyon.admit_job(None);
    absurd.hello.cursor.as_mut().unwrap().position.revision = Revision(u64::MAX);
    assert!(bench.admit(absurd).unwrap().reset);
    let grant = Grant { share: Share { collection: name("products"), partition: None }, since: Revision(1), from: Revision(u64::MAX) };
    let fills = [Fill { grant, at: Position::at(Revision(u64::MAX)), ranges: None }];
    let from = lyon.position();
    let scan = Scan::plain(from.clone(), fills.to_vec(), revision(0), 1, 0);
    let batch = bench.reader().scan(&ScanRequest { peer: lyon.peer(), scan: &scan }).unwrap();
    assert!(batch.fill.is_none_or(|part| part.done && part.records.is_empty()));
    assert!(bench.reader().behind(&node("lyon"), &from, &fills).unwrap() <= 1);
    bench.put("products", "1", r#"{"ProductID":1}"#);
}

/// What a session saw is saved seconds later than what was decided meanwhile; the list is in the order of what happened.
pub(super) fn events_are_told_in_their_order<F: Fixture>() {
    let mut bench = shops::<F>();
    let mut old = Edge::new("lyon", 1);
    old.connect(&mut bench);
    let (connected, disconnected) = (bench.now_ms + 10, bench.now_ms + 20);
    bench.now_ms += 100;
    let note = |kind, at_ms| Job::Event { node: node("lyon"), kind, detail: String::new(), at_ms };
    Edge::new("lyon", 2).connect(&mut bench);
    bench.done(note("connected", connected));
    bench.done(note("disconnected", disconnected));
    bench.now_ms += 100;
    let at_ms = bench.now_ms;
    bench.done(note("connected", at_ms));
    bench.done(note("connected", at_ms + 1));
    let kinds: Vec<_> = bench.reader().events(&node("lyon")).unwrap().unwrap().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["joined", "connected", "disconnected", "database_replaced", "connected"], "the new one is news, once");
}
