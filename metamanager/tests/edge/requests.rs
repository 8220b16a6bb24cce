//! Requests that are made again under their `Idempotency-Key`, and answered writes that are taken up again.

use metamanager::limits::{DELIVERED_KEPT, REJECTED_KEPT};
use metamanager::{Committed, Did, LocalRequest, LocalWrite, Precondition, WriteError, WriteRef};
use proto::build::{Action, Request};
use proto::clock::Now;
use proto::op::{Idempotency, Verdict};

use crate::kit::{Edge, answered, batch, check, create, delete, is, key, merge, name, now, put, sell, value, when};

fn counted() -> Edge {
    let mut edge = Edge::new();
    edge.apply(vec![batch(10, 11, true, vec![is("stock", "1", 11, r#"{"id":1,"n":20}"#)])]);
    edge
}

fn named(key: &str, request: u8, requests: Vec<LocalRequest>) -> LocalWrite {
    let idempotency = Some(Idempotency { key: key.to_owned(), request: [request; 16] });
    LocalWrite { requests, actor: None, request_id: None, idempotency, resends: None }
}

fn again(number: u64) -> LocalWrite {
    LocalWrite { requests: Vec::new(), actor: None, request_id: None, idempotency: None, resends: Some(number) }
}

impl Edge {
    fn ask(&mut self, when: Now, write: LocalWrite) -> Result<Committed, WriteError> {
        self.store().commit(when, vec![write]).pop().unwrap()
    }

    fn resend(&mut self, number: u64) -> Result<Committed, WriteError> {
        self.ask(now(5), again(number))
    }

    fn outcome(&mut self, number: u64, verdict: Verdict) {
        let from = self.store().status().unwrap().cursor.unwrap().position.revision.0;
        self.apply(vec![batch(from, from + 1, true, vec![answered(number, from + 1, verdict)])]);
    }
}

#[test]
fn the_same_request_is_done_once() {
    let mut edge = counted();
    let sale = || named("k1", 1, vec![sell("1", 3)]);
    let all = edge.store().commit(now(5), vec![sale(), sale(), named("k2", 1, vec![sell("1", 1)])]);
    let numbers: Vec<_> = all.iter().map(|one| one.as_ref().unwrap()).map(|one| (one.write.clone(), one.repeat)).collect();
    assert_eq!(numbers, [(WriteRef::Own(1), false), (WriteRef::Own(1), true), (WriteRef::Own(2), false)]);
    assert_eq!(edge.n("1"), Some(16));
    let other = edge.ask(now(6), named("k1", 2, vec![sell("1", 4)])).unwrap_err();
    assert_eq!((other.code(), other.field()), ("idempotency_reuse", Some("Idempotency-Key")));
    edge.reopen();
    assert!(edge.ask(now(7), sale()).unwrap().repeat);
    assert_eq!(edge.n("1"), Some(16));
    assert_eq!(edge.store().facts().unwrap().newest_write, 2);
}

/// What was refused is no answer to keep: the key is free.
#[test]
fn only_what_was_taken_is_kept() {
    let mut edge = counted();
    let refused = edge.ask(now(5), named("k1", 1, vec![sell("77", 1)])).unwrap_err();
    assert_eq!(refused.code(), "not_found");
    assert!(!edge.ask(now(5), named("k1", 2, vec![sell("1", 1)])).unwrap().repeat);
    for key in [String::new(), "k".repeat(256)] {
        assert_eq!(edge.ask(now(5), named(&key, 1, vec![sell("1", 1)])).unwrap_err().code(), "bad_request");
    }
    assert!(edge.ask(now(5), named(&"k".repeat(255), 1, vec![sell("1", 1)])).is_ok());
}

/// A repeat names the record that the first one made, says what was done to it then, and shows it as it is now.
#[test]
fn a_repeat_is_answered_as_the_first() {
    let mut edge = counted();
    let made = |id: &str| LocalRequest { own_key: true, ..create("cut", id, r#"{"W":"lyon"}"#) };
    edge.ask(now(5), named("k1", 1, vec![made("first")])).unwrap();
    let repeat = edge.ask(now(6), named("k1", 1, vec![made("second")])).unwrap();
    assert_eq!((repeat.results[0].key.as_str(), repeat.results[0].did), ("first", Did::Created));
    assert!(repeat.results[0].view.is_some());
    assert_eq!(edge.view("cut", "second"), None);
    edge.write(vec![delete("cut", "first")]);
    let repeat = edge.ask(now(7), named("k1", 1, vec![made("third")])).unwrap();
    assert_eq!((repeat.results[0].did, repeat.results[0].view.clone()), (Did::Created, None));
    let several = || named("k2", 2, vec![check("stock", "1", "n", "20"), sell("1", 1), put("cut", "x", r#"{"W":"lyon"}"#)]);
    let first = edge.ask(now(8), several()).unwrap();
    let repeat = edge.ask(now(9), several()).unwrap();
    assert_eq!(first.results, repeat.results);
}

/// The present view does not matter, nor what the precondition would say now.
#[test]
fn a_repeat_is_not_judged_again() {
    let mut edge = counted();
    let first = || named("k1", 1, vec![when(create("cut", "a", r#"{"W":"lyon"}"#), Precondition::Absent)]);
    assert!(!edge.ask(now(5), first()).unwrap().repeat);
    assert!(edge.ask(now(6), first()).unwrap().repeat);
    edge.outcome(1, Verdict::Rejected);
    let repeat = edge.ask(now(7), first()).unwrap();
    assert_eq!((repeat.write, repeat.repeat), (WriteRef::Own(1), true));
    assert_eq!(edge.view("cut", "a"), None, "rejected stays rejected");
}

/// An append that is there already writes nothing, and its name is remembered all the same.
#[test]
fn a_repeated_append_remembers_its_key() {
    let mut edge = counted();
    let sale = |key: &str, q: u8| named(key, q, vec![create("sales", "s1", &format!(r#"{{"q":{q}}}"#))]);
    edge.ask(now(5), sale("k1", 1)).unwrap();
    let repeat = edge.ask(now(6), sale("k2", 1)).unwrap();
    assert_eq!((repeat.write, repeat.repeat), (WriteRef::Own(1), true));
    edge.reopen();
    assert_eq!(edge.ask(now(7), sale("k2", 2)).unwrap_err().code(), "idempotency_reuse");
}

/// Once the write itself is no longer kept, its answer still names it and says what became of it.
#[test]
fn an_answer_outlives_its_write() {
    let mut edge = counted();
    edge.store().observe_cloud_time(now(0).wall_ms, now(0)).unwrap();
    for (key, request) in [("k1", 1), ("k2", 2)] {
        edge.ask(now(5), named(key, request, vec![sell("1", 1)])).unwrap();
    }
    edge.outcome(1, Verdict::Rejected);
    edge.outcome(2, Verdict::Flagged);
    let later = now(1_000 + REJECTED_KEPT.max(DELIVERED_KEPT).as_millis() as u64);
    for _ in 0..2 {
        edge.ask(later, LocalWrite { idempotency: None, ..named("", 0, vec![sell("1", 1)]) }).unwrap();
    }
    for (number, key, verdict) in [(1, "k1", Verdict::Rejected), (2, "k2", Verdict::Flagged)] {
        assert_eq!(edge.reader().write(number).unwrap(), None);
        let repeat = edge.ask(later, named(key, number as u8, vec![sell("1", 1)])).unwrap();
        assert_eq!((repeat.write, repeat.kept_verdict), (WriteRef::Own(number), Some(verdict)));
    }
}

/// A clock that jumps ten years to and fro between repeats changes nothing: what is kept is counted.
#[test]
fn clocks_have_no_say() {
    const TEN_YEARS: u64 = 315_576_000_000;
    let mut edge = counted();
    let sale = || named("k1", 1, vec![sell("1", 1)]);
    let jumps = [0, TEN_YEARS, 0, 2 * TEN_YEARS].map(|ms| Now { wall_ms: 1_800_000_000_000 - TEN_YEARS + ms, mono_ms: 5 });
    let repeats: Vec<_> = jumps.into_iter().map(|when| edge.ask(when, sale()).unwrap().repeat).collect();
    assert_eq!(repeats, [false, true, true, true]);
    assert_eq!(edge.n("1"), Some(19));
}

#[test]
fn a_salvaged_database_knows_its_requests() {
    let mut edge = counted();
    let made = |id: &str| LocalRequest { own_key: true, ..create("cut", id, r#"{"W":"lyon"}"#) };
    edge.ask(now(5), named("k1", 1, vec![made("first")])).unwrap();
    edge.ask(now(5), named("k2", 2, vec![sell("1", 1)])).unwrap();
    let mark = edge.folder.path().join("edge.db.damaged");
    edge.closed(|| std::fs::write(&mark, "").unwrap());
    assert!(!mark.exists() && edge.store().facts().unwrap().previous.is_some(), "the file was replaced");
    edge.adopt(&crate::kit::welcome(1, 11, Some(crate::kit::grants(11))));
    let repeat = edge.ask(now(6), named("k1", 1, vec![made("second")])).unwrap();
    assert_eq!((repeat.write, repeat.repeat, repeat.results[0].key.as_str()), (WriteRef::Own(1), true, "first"));
    assert!(edge.ask(now(6), named("k2", 2, vec![sell("1", 1)])).unwrap().repeat);
}

#[test]
fn a_rejected_write_is_sent_again_on_the_present_view() {
    let mut edge = counted();
    let nested = r#"{"id":1,"n":20,"a":{"x":1,"y":2},"b":1}"#;
    edge.apply(vec![batch(11, 12, true, vec![is("stock", "1", 12, nested)])]);
    let request = Request {
        collection: name("stock"),
        key: key("1"),
        action: Action::Merge(value(r#"{"a":{"y":null},"b":null,"n":15}"#)),
        expect: None,
    };
    edge.write(vec![LocalRequest { request, precondition: Precondition::None, own_key: false }]);
    assert_eq!(edge.resend(1).unwrap_err().code(), "in_progress");
    edge.outcome(1, Verdict::Rejected);
    // Meanwhile the record is another one.
    let other = r#"{"id":1,"n":18,"a":{"x":9,"z":9},"b":2,"c":3}"#;
    edge.apply(vec![batch(13, 14, true, vec![is("stock", "1", 14, other)])]);
    let sent = edge.resend(1).unwrap();
    assert_eq!(sent.write, WriteRef::Own(2));
    let shown = value(&edge.view("stock", "1").unwrap());
    assert!(shown.same(&value(r#"{"id":1,"n":15,"a":{"x":1},"c":3}"#)), "{}", shown.to_text());
    let (old, new) = (edge.reader().write(1).unwrap().unwrap(), edge.reader().write(2).unwrap().unwrap());
    assert_eq!((old.resent, new.resent), (Some(2), None));
    let proto::op::Body::Merge(changes) = &new.write.ops[0].body else { panic!("{new:?}") };
    assert!(changes.iter().any(|change| change.to == proto::op::To::Count { observed: 15, delta: -3 }), "{changes:?}");
    // Once is enough; what came of the newer one is asked of that.
    assert_eq!(edge.resend(1).unwrap_err().code(), "not_open");
}

#[test]
fn what_is_sent_again_is_refused_like_any_write() {
    let mut edge = counted();
    edge.write(vec![create("cut", "a", r#"{"W":"lyon"}"#), sell("1", 1)]);
    edge.write(vec![merge("stock", "1", r#"{"x":1}"#)]);
    edge.write(vec![delete("stock", "1")]);
    for (number, verdict) in [(1, Verdict::Rejected), (2, Verdict::Merged), (3, Verdict::Lost)] {
        edge.outcome(number, verdict);
    }
    assert_eq!(edge.resend(2).unwrap_err().code(), "not_open", "it took effect");
    assert_eq!(edge.resend(4).unwrap_err().code(), "not_found");
    let cut = crate::kit::record("cut", "a", 15, proto::frame::Content::Value(r#"{"W":"lyon"}"#.to_owned()));
    edge.apply(vec![batch(14, 15, true, vec![proto::frame::Entry::Record(cut)])]);
    assert_eq!(edge.resend(1).unwrap_err().code(), "key_taken", "a put creates, as it did");
    edge.apply(vec![batch(15, 16, true, vec![crate::kit::gone("stock", "1", 16)])]);
    assert_eq!(edge.resend(3).unwrap_err().code(), "not_found");
    assert_eq!(edge.store().facts().unwrap().newest_write, 3, "nothing was left behind");
}

#[test]
fn sending_again_can_be_repeated_under_a_key() {
    let mut edge = counted();
    edge.write(vec![sell("1", 1), check("stock", "1", "n", "19")]);
    edge.outcome(1, Verdict::Rejected);
    let keyed = || LocalWrite { resends: Some(1), ..named("r1", 7, Vec::new()) };
    let first = edge.ask(now(5), keyed()).unwrap_or_else(|error| panic!("{error}"));
    let repeat = edge.ask(now(6), keyed()).unwrap();
    assert_eq!((&first.write, &repeat.write, repeat.repeat), (&WriteRef::Own(2), &WriteRef::Own(2), true));
    assert_eq!(repeat.results[0].key.as_str(), "1");
    assert_eq!(edge.n("1"), Some(19));
}

#[test]
fn a_discarded_write_is_gone() {
    let mut edge = counted();
    for request in 1..=3 {
        edge.ask(now(5), named(&format!("k{request}"), request, vec![sell("1", 1)])).unwrap();
    }
    let drop = |edge: &mut Edge, number| edge.store().discard(number).unwrap().map_err(|refusal| WriteError::from(refusal).code());
    assert_eq!(drop(&mut edge, 1), Err("in_progress"));
    edge.outcome(1, Verdict::Rejected);
    edge.outcome(2, Verdict::Applied);
    let before = edge.store().status().unwrap();
    assert_eq!((before.rejected, before.outbox_writes), (1, 1));
    assert_eq!((drop(&mut edge, 1), drop(&mut edge, 2)), (Ok(()), Ok(())));
    assert_eq!((drop(&mut edge, 1), drop(&mut edge, 9)), (Err("not_found"), Err("not_found")));
    let after = edge.store().status().unwrap();
    assert_eq!((after.rejected, after.outbox_writes), (0, 1));
    edge.reopen();
    assert_eq!(edge.reader().write(1).unwrap(), None);
    let repeat = edge.ask(now(9), named("k1", 1, vec![sell("1", 1)])).unwrap();
    assert_eq!((repeat.write, repeat.kept_verdict), (WriteRef::Own(1), Some(Verdict::Rejected)), "its key still names it");
    edge.outcome(3, Verdict::Applied);
    assert_eq!(edge.store().status().unwrap().outbox_writes, 0);
}

/// A tag names the newest pending write; one below it that was rejected changed the view behind the same tag.
#[test]
fn a_tag_does_not_tell_of_a_rejection_below() {
    let mut edge = counted();
    let steady = |edge: &mut Edge, newest| edge.reader().is_steady(&name("stock"), &key("1"), newest).unwrap();
    edge.write(vec![sell("1", 1)]);
    assert!(steady(&mut edge, 1));
    edge.write(vec![sell("1", 2)]);
    assert!(steady(&mut edge, 2));
    edge.outcome(1, Verdict::Rejected);
    assert_eq!(edge.n("1"), Some(18));
    assert!(!steady(&mut edge, 2));
}
