//! What the rules promise of the order in which writes arrive, and that where they promise nothing the answer is still one.
//!
//! Three shops that saw the same state write blind, each in an order of its own; a history is any way in which their outboxes meet at
//! the cloud. See also `increments_commute` and `sets_end_the_same_in_any_order` in [`super::properties`].

use proptest::prelude::*;
use proptest::sample::select;
use proto::json::Raw;
use proto::op::{Body, Change, Op, To, Verdict, Was};

use super::hub::{Hub, Id};
use super::properties::{bodies, commit, hub, id, op};
use crate::reconcile::{Content, Row, RowState};

/// What all of them had seen.
const SEEN: u64 = 5;
const SHOPS: usize = 3;

/// A write of a shop, with the clock that it was made at.
type Timed = (u64, Vec<Op>);

/// The outboxes, and in which order they meet.
fn outboxes(body: impl Strategy<Value = Body> + Clone) -> impl Strategy<Value = Vec<Vec<Body>>> {
    prop::collection::vec(prop::collection::vec(body, 0..5), SHOPS)
}

fn orders() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..SHOPS, 5 * SHOPS)
}

/// Each shop's clock runs, and no two writes have one time.
fn timed(outboxes: &[Vec<Body>]) -> Vec<Vec<Timed>> {
    let shop = |(shop, bodies): (usize, &Vec<Body>)| {
        let write = |(at, body): (usize, &Body)| ((at * SHOPS + shop + 1) as u64, vec![op("merge", "1", SEEN, body.clone())]);
        bodies.iter().enumerate().map(write).collect()
    };
    outboxes.iter().enumerate().map(shop).collect()
}

/// Hands the outboxes over: whose turn it is says `order`; who has nothing left is passed over.
fn meet(outboxes: &[Vec<Timed>], order: &[usize]) -> Hub {
    let mut hub = hub();
    let mut places = [0; SHOPS];
    for turn in order.iter().copied().chain((0..SHOPS).flat_map(|shop| std::iter::repeat_n(shop, outboxes[shop].len()))) {
        if let Some((hlc, ops)) = outboxes[turn].get(places[turn]) {
            places[turn] += 1;
            commit(&mut hub, turn as u32 + 1, places[turn] as u64, *hlc, ops.clone());
        }
    }
    hub
}

fn change(field: &str, to: To) -> Change {
    Change { field: field.to_owned(), to, was: Was::Absent }
}

fn set(field: &str, text: &str) -> Body {
    Body::Merge(vec![change(field, To::Set(Raw::string(text)))])
}

fn sale() -> impl Strategy<Value = Body> + Clone {
    (-20i64..20).prop_map(|delta| Body::Increment(vec![("n".into(), delta)]))
}

fn sets() -> impl Strategy<Value = Body> + Clone {
    (select(vec!["a", "b"]), 0u8..4)
        .prop_map(|(field, to)| if to == 0 { Body::Merge(vec![change(field, To::Remove)]) } else { set(field, &to.to_string()) })
}

/// Sales and changes of single fields: what a merge collection promises to bring together.
fn mergeable() -> impl Strategy<Value = Body> + Clone {
    prop_oneof![sale(), sets()]
}

/// The deltas of all sales.
fn sold(outboxes: &[Vec<Body>]) -> i64 {
    let delta = |body: &Body| match body {
        Body::Increment(by) => by.iter().map(|(_, delta)| delta).sum(),
        _ => 0,
    };
    outboxes.iter().flatten().map(delta).sum()
}

/// What open rows keep of sales that met a deleted record.
fn kept(hub: &Hub) -> i64 {
    let gone = hub.rows.values().filter(|change| change.row.kind.as_str() == "gone" && change.state == RowState::Open);
    gone.filter_map(|change| Row::parse(&change.value.to_text()).unwrap().fields[0].sum).sum()
}

/// All that a store would keep.
fn all(hub: &Hub) -> String {
    format!("{:?} {:?} {:?} {:?} {:?}", hub.head, hub.records, hub.exits, hub.outcomes, hub.rows)
}

proptest! {
    /// The same writes from several nodes, in any interleaving that keeps each node's order: one record in the end.
    #[test]
    fn any_interleaving_ends_in_one_state(outboxes in outboxes(mergeable()), one in orders(), other in orders()) {
        let writes = timed(&outboxes);
        let (one, other) = (meet(&writes, &one), meet(&writes, &other));
        let (left, right) = (one.value(&id()).unwrap(), other.value(&id()).unwrap());
        prop_assert!(left.same(right), "{} {}", left.to_text(), right.to_text());
        prop_assert_eq!(left.get("n").unwrap().as_i64().unwrap(), 5 + sold(&outboxes));
        prop_assert!(one.outcomes.values().chain(other.outcomes.values()).all(|decided| decided.verdict != Verdict::Rejected));
    }

    /// Shops that change fields of their own never meet: every write is applied, nothing lost, no row opened.
    #[test]
    fn independent_fields_commute(texts in prop::collection::vec(prop::collection::vec("[a-z]{1,3}", 0..5), SHOPS), one in orders(), other in orders()) {
        let own = |(shop, texts): (usize, &Vec<String>)| texts.iter().map(|text| set(["a", "b", "e"][shop], text)).collect();
        let writes = timed(&texts.iter().enumerate().map(own).collect::<Vec<_>>());
        let (one, other) = (meet(&writes, &one), meet(&writes, &other));
        prop_assert!(one.value(&id()).unwrap().same(other.value(&id()).unwrap()));
        for hub in [&one, &other] {
            prop_assert!(hub.rows.is_empty() && hub.outcomes.values().all(|decided| decided.verdict == Verdict::Applied));
        }
    }

    /// A delete wins over whatever it meets, in any order, and no sale is lost by it: those before it are in what it took, those after it
    /// in open rows.
    #[test]
    fn deletes_win_in_any_order_and_keep_the_sales(outboxes in outboxes(prop_oneof![3 => mergeable(), 1 => Just(Body::Delete { force: true })]), one in orders(), other in orders()) {
        prop_assume!(outboxes.iter().flatten().any(|body| matches!(body, Body::Delete { .. })));
        let writes = timed(&outboxes);
        for order in [one, other] {
            let hub = meet(&writes, &order);
            let Content::Deleted { last } = &hub.records[&id()].content else { panic!("it lives: {:?}", hub.records[&id()]) };
            prop_assert_eq!(last.get("n").unwrap().as_i64().unwrap() + kept(&hub), 5 + sold(&outboxes));
        }
    }

    /// What says again what it said, under another number, changes no record and opens no row.
    #[test]
    fn repeated_sets_change_nothing(bodies in prop::collection::vec(sets(), 1..5), again in prop::collection::vec(1usize..3, 1..4)) {
        let mut hub = hub();
        for (number, body) in (1..).zip(&bodies) {
            commit(&mut hub, 1, number, number, vec![op("merge", "1", SEEN, body.clone())]);
        }
        let (value, revision) = (hub.value(&id()).unwrap().clone(), hub.records[&id()].revision);
        let last = bodies.last().unwrap();
        for (number, _) in (10..).zip(again) {
            let decision = commit(&mut hub, 1, number, number, vec![op("merge", "1", SEEN, last.clone())]);
            prop_assert_eq!(decision.outcome.verdict, Verdict::Applied);
            prop_assert!(hub.value(&id()).unwrap().same(&value) && hub.records[&id()].revision == revision && hub.rows.is_empty());
        }
    }

    /// Where the rules promise nothing of the order, the same order still gives the same state, to the last clock and row.
    #[test]
    fn one_order_gives_one_state(
        outboxes in prop::collection::vec(prop::collection::vec((select(vec!["merge", "append", "guarded", "mixed"]), bodies()), 0..5), SHOPS),
        order in orders(),
    ) {
        let write = |(at, (name, body)): (usize, &(&str, Body))| (at as u64 % 3, vec![op(name, "1", SEEN, body.clone())]);
        let writes: Vec<Vec<Timed>> = outboxes.iter().map(|bodies| bodies.iter().enumerate().map(write).collect()).collect();
        prop_assert_eq!(all(&meet(&writes, &order)), all(&meet(&writes, &order)));
    }

    /// Whoever comes first creates; the other hears that the key is taken, and the content is one of the two, whole.
    #[test]
    fn of_two_creates_one_stands_whole(texts in prop::collection::vec("[a-z]{1,2}", SHOPS), order in orders()) {
        let create = |text: &String| Body::Put(proto::json::Value::parse(&format!(r#"{{"a":"{text}","b":"{text}"}}"#)).unwrap());
        let writes: Vec<Vec<Timed>> = texts.iter().map(|text| vec![(1, vec![op("merge", "new", 0, create(text))])]).collect();
        let hub = meet(&writes, &order);
        let place: Id = (id().0, proto::names::Key::parse("new").unwrap());
        let value = hub.value(&place).unwrap();
        prop_assert!(value.get("a").unwrap().same(value.get("b").unwrap()));
        let stands = |shop: usize| value.get("a").unwrap().as_text().unwrap() == texts[shop].as_str();
        for shop in 0..SHOPS {
            let verdict = hub.outcomes[&(shop as u32 + 1, 1)].verdict;
            prop_assert_eq!(verdict == Verdict::Applied, stands(shop));
            prop_assert!(matches!(verdict, Verdict::Applied | Verdict::Rejected));
        }
    }
}
