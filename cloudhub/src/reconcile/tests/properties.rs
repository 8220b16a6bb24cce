//! What holds for writes that nobody thought of.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proto::clock::Hlc;
use proto::ids::Revision;
use proto::json::{Raw, Value};
use proto::names::{CollectionName, Key, NodeName};
use proto::op::{Body, Change, Op, To, Verdict, Was, Write};

use super::hub::{Hub, Id};
use crate::reconcile::{Author, Decision, Row, RowState};

const FIELDS: [&str; 4] = ["a", "b", "c", "d"];

pub(super) fn hub() -> Hub {
    let mut hub = Hub::default();
    hub.define("merge", r#"{"groups":[["c","d"]],"fields":{"n":{"type":"counter"},"m":{"type":"counter","min":0}}}"#);
    hub.define("append", r#"{"policy":"append"}"#);
    hub.define("guarded", r#"{"policy":"guarded","fields":{"n":{"type":"counter","max":9,"on_violation":"reject"}}}"#);
    hub.define(
        "mixed",
        r#"{"partition":{"field":"a","label":"site"},"fields":{"b":{"guard":true,"transitions":{"1":["2"]}},"n":{"type":"counter"}}}"#,
    );
    for (node, partition) in [("lyon", "\"1\""), ("oslo", "\"2\""), ("rome", "\"1\"")] {
        ["merge", "append", "guarded"].into_iter().for_each(|name| hub.grant(node, name, None));
        hub.grant(node, "mixed", Some(partition.trim_matches('"')));
    }
    let mut ops = Vec::new();
    for name in ["merge", "append", "guarded", "mixed"] {
        for key in ["1", "2"] {
            ops.push(op(name, key, 0, Body::Put(Value::parse(r#"{"a":"1","b":"1","c":"1","n":5}"#).unwrap())));
        }
    }
    hub.commit(&Author::Cloud { force: false }, &Write { ops, ..Write::default() }, Hlc(0));
    hub
}

pub(super) fn op(collection: &str, key: &str, seen: u64, body: Body) -> Op {
    Op {
        collection: CollectionName::parse(collection).unwrap(),
        key: Key::parse(key).unwrap(),
        seen: Revision(seen),
        definition: Revision(4),
        depends: None,
        stands_on: Vec::new(),
        expect: None,
        body,
    }
}

fn author(database: u32, number: u64) -> Author {
    let node = NodeName::parse(["lyon", "oslo", "rome"][database as usize - 1]).unwrap();
    Author::Edge { node, database, number }
}

pub(super) fn commit(hub: &mut Hub, database: u32, number: u64, hlc: u64, ops: Vec<Op>) -> Decision {
    hub.commit(&author(database, number), &Write { ops, ..Write::default() }, Hlc(hlc))
}

fn values() -> impl Strategy<Value = Raw> {
    select(vec!["1", "2", "null", "7", "7.0", "\"1\"", "\"2\""]).prop_map(|text| Raw::parse(text).unwrap())
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let count = (-9i64..9, -9i64..9).prop_map(|(observed, delta)| To::Count { observed, delta });
    let to = prop_oneof![4 => values().prop_map(To::Set), 1 => Just(To::Remove), 1 => count];
    let was = prop_oneof![Just(Was::Absent), values().prop_map(Was::Value)];
    let change = (select(vec!["a", "b", "c", "d", "n"]), to, was).prop_map(|(field, to, was)| Change { field: field.to_owned(), to, was });
    prop::collection::vec(change, 0..4)
}

pub(super) fn bodies() -> impl Strategy<Value = Body> {
    let fields = || prop::collection::btree_map(select(FIELDS.to_vec()), values(), 0..4);
    let by = prop::collection::vec((select(vec!["n", "m"]).prop_map(str::to_owned), -9i64..9), 1..3);
    prop_oneof![
        fields().prop_map(|fields| {
            let mut value = Value::default();
            fields.into_iter().for_each(|(field, raw)| value.set(field, raw));
            Body::Put(value)
        }),
        changes().prop_map(Body::Merge),
        by.prop_map(Body::Increment),
        any::<bool>().prop_map(|force| Body::Delete { force }),
        fields().prop_map(|fields| Body::Check(fields.into_iter().map(|(field, raw)| (field.to_owned(), Some(raw))).collect())),
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let names = select(vec!["merge", "append", "guarded", "mixed", "none"]);
    let op = (names, select(vec!["1", "2", "3"]), 0u64..12, bodies(), prop::option::of(1u64..9), prop::option::weighted(0.1, 0u64..12))
        .prop_map(|(name, key, seen, body, on, expect)| {
            let stands_on = on.into_iter().collect();
            Op { depends: on.filter(|_| seen > 6), stands_on, expect: expect.map(Revision), ..op(name, key, seen, body) }
        });
    prop::collection::vec(op, 1..4)
}

/// What every decision keeps.
fn keeps(before: &Hub, after: &Hub, decision: &Decision) -> Result<(), TestCaseError> {
    let outcome = &decision.outcome;
    prop_assert_eq!(outcome.revision, before.head.next());
    if outcome.verdict == Verdict::Rejected {
        prop_assert!(decision.records.is_empty() && outcome.code.is_some());
        prop_assert_eq!(&before.records, &after.records);
    }
    let open = decision.conflicts.iter().any(|change| change.state == RowState::Open);
    prop_assert_eq!(outcome.verdict == Verdict::Flagged, open && outcome.verdict != Verdict::Rejected);
    for change in &decision.records {
        prop_assert!(change.stored.revision <= outcome.revision && change.stored.born <= change.stored.revision);
        prop_assert!(change.stored.revision == outcome.revision || change.left.is_none());
    }
    let ids: std::collections::BTreeSet<_> = decision.conflicts.iter().map(|change| &change.id).collect();
    prop_assert_eq!(ids.len(), decision.conflicts.len());
    prop_assert!(outcome.conflicts.iter().all(|id| ids.contains(id)));
    for change in &decision.conflicts {
        prop_assert!(!change.row.hidden || (change.partition.is_none() && !outcome.conflicts.contains(&change.id)));
        prop_assert!(Row::parse(&change.value.to_text()).is_ok());
    }
    Ok(())
}

/// A claim that took no effect is in a row, and so is a value that another database wrote unseen and that a claim
/// replaced.
fn loses_nothing(before: &Hub, after: &Hub, decision: &Decision, own: u32, changes: &[Change]) -> Result<(), TestCaseError> {
    let text: String = decision.conflicts.iter().map(|change| change.value.to_text()).collect();
    let id = id();
    for change in changes {
        let now = after.value(&id).and_then(|value| value.get(&change.field));
        if let To::Set(raw) = &change.to {
            prop_assert!(now.is_some_and(|now| now.same(raw)) || text.contains(&format!("\"edge\":{raw}")), "{change:?} {text}");
        }
        let Some(old) = before.value(&id).and_then(|value| value.get(&change.field)) else { continue };
        let clock = before.records[&id].clocks.field(&change.field, true).unwrap().newest;
        if clock.database != own && clock.revision > Revision(5) {
            prop_assert!(now.is_some_and(|now| now.same(old)) || text.contains(&format!("\"cloud\":{old}")), "{change:?} {text}");
        }
    }
    Ok(())
}

pub(super) fn id() -> Id {
    (CollectionName::parse("merge").unwrap(), Key::parse("1").unwrap())
}

proptest! {
    #[test]
    fn every_decision_keeps_its_promises(writes in prop::collection::vec((1u32..3, ops(), 0u64..9), 1..12)) {
        let mut hub = hub();
        for (number, (database, ops, hlc)) in (1..).zip(writes) {
            let write = Write { ops, ..Write::default() };
            let author = author(database, number);
            let decision = hub.judge(&author, &write, Hlc(hlc));
            // The same write in the same world gets the same answer.
            prop_assert_eq!(format!("{decision:?}"), format!("{:?}", hub.judge(&author, &write, Hlc(hlc))));
            let mut after = hub.clone();
            after.commit(&author, &write, Hlc(hlc));
            keeps(&hub, &after, &decision)?;
            hub = after;
        }
    }

    /// Two shops that saw the same state and went on blind: no value that was written is neither in the record nor in a row.
    #[test]
    fn no_value_is_lost(writes in prop::collection::vec((1u32..3, changes(), 0u64..9), 1..12)) {
        let mut hub = hub();
        for (number, (database, changes, hlc)) in (1..).zip(writes) {
            let mut plain: Vec<Change> = Vec::new();
            for change in changes.into_iter().filter(|change| change.field != "n" && !matches!(change.to, To::Count { .. })) {
                plain.retain(|earlier| earlier.field != change.field);
                plain.push(change);
            }
            let before = hub.clone();
            let decision = commit(&mut hub, database, number, hlc, vec![op("merge", "1", 5, Body::Merge(plain.clone()))]);
            prop_assert_ne!(decision.outcome.verdict, Verdict::Rejected);
            loses_nothing(&before, &hub, &decision, database, &plain)?;
        }
    }

    /// Increments commute, whatever the order that they arrive in, and every unit is there in the end.
    #[test]
    fn increments_commute(
        deltas in prop::collection::vec((1u32..4, -50i64..50), 1..20),
        order in prop::collection::vec(any::<Index>(), 20),
    ) {
        let sale = |delta: i64| vec![op("merge", "1", 5, Body::Increment(vec![("n".into(), delta)]))];
        let run = |deltas: &[(u32, i64)]| {
            let mut hub = hub();
            for (number, (database, delta)) in (1..).zip(deltas) {
                commit(&mut hub, *database, number, 1, sale(*delta));
            }
            hub.value(&id()).unwrap().get("n").unwrap().as_i64().unwrap()
        };
        let mut shuffled = deltas.clone();
        for (place, index) in order.iter().enumerate().take(deltas.len()) {
            shuffled.swap(place, index.index(deltas.len()));
        }
        prop_assert_eq!(run(&deltas), run(&shuffled));
        prop_assert_eq!(run(&deltas), 5 + deltas.iter().map(|(_, delta)| delta).sum::<i64>());
    }

    /// What counters hold is what was there plus every delta of a write that took effect; what met a deleted record is
    /// summed up in rows.
    #[test]
    fn counters_conserve_sums(writes in prop::collection::vec((1u32..3, 0u8..8, -20i64..20), 1..30)) {
        let mut hub = hub();
        let id = id();
        let (mut live, mut kept) = (5, 0);
        for (number, (database, kind, delta)) in (1..).zip(writes) {
            let seen = hub.head.0;
            let count = |to| Body::Merge(vec![Change { field: "n".into(), to, was: Was::Value(Raw::integer(3)) }]);
            let (body, delta) = match kind {
                0 => (Body::Delete { force: true }, 0),
                1 => (count(To::Remove), -3),
                2 | 3 => (count(To::Count { observed: 3 + delta, delta }), delta),
                _ => (Body::Increment(vec![("n".into(), delta)]), delta),
            };
            let delete = matches!(body, Body::Delete { .. });
            let there = hub.value(&id).is_some();
            let decision = commit(&mut hub, database, number, 1, vec![op("merge", "1", seen, body)]);
            prop_assert_ne!(decision.outcome.verdict, Verdict::Rejected);
            *if there { &mut live } else { &mut kept } += delta;
            if !delete && there {
                let now = hub.value(&id).unwrap().get("n").map_or(0, |raw| raw.as_i64().unwrap());
                prop_assert_eq!(now, live);
            }
        }
        let gone = hub.rows.values().filter(|change| change.row.kind.as_str() == "gone" && change.state == RowState::Open);
        let sums: i64 = gone.map(|change| Row::parse(&change.value.to_text()).unwrap().fields[0].sum.unwrap()).sum();
        prop_assert_eq!(sums, kept);
    }

    /// Two shops that saw the same state and set fields with clocks of their own: whoever comes first, the end is the
    /// same. Groups are claimed whole.
    #[test]
    fn sets_end_the_same_in_any_order(
        lyon in prop::collection::vec((changes(), any::<bool>()), 1..4),
        oslo in prop::collection::vec((changes(), any::<bool>()), 1..4),
        first in prop::collection::vec(any::<bool>(), 8),
        second in prop::collection::vec(any::<bool>(), 8),
    ) {
        let plain = |changes: &[Change], whole: bool| {
            let mut plain: Vec<Change> = Vec::new();
            let alone = |change: &&Change| !matches!(change.to, To::Count { .. }) && ["a", "b"].contains(&change.field.as_str());
            for change in changes.iter().filter(alone) {
                plain.retain(|earlier| earlier.field != change.field);
                plain.push(change.clone());
            }
            if whole {
                let text = Raw::string(&format!("{changes:?}"));
                plain.extend(["c", "d"].map(|field| Change { field: field.into(), to: To::Set(text.clone()), was: Was::Absent }));
            }
            Body::Merge(plain)
        };
        let run = |order: &[bool]| {
            let mut hub = hub();
            let (mut left, mut right) = (lyon.iter().zip(1..), oslo.iter().zip(1..));
            let mut order = order.iter();
            loop {
                let from_lyon = order.next().copied().unwrap_or(true);
                let next = if from_lyon { left.next().map(|next| (1, next)) } else { right.next().map(|next| (2, next)) };
                let next = next.or_else(|| left.next().map(|next| (1, next))).or_else(|| right.next().map(|next| (2, next)));
                let Some((database, ((changes, whole), number))) = next else { break };
                // Odd clocks are lyon's, even ones oslo's.
                commit(&mut hub, database, number, number * 2 + u64::from(database), vec![op("merge", "1", 5, plain(changes, *whole))]);
            }
            hub.value(&id()).unwrap().clone()
        };
        let (one, other) = (run(&first), run(&second));
        prop_assert!(one.same(&other), "{} {}", one.to_text(), other.to_text());
    }

    /// A sale that comes again under other numbers, from whichever database, changes nothing.
    #[test]
    fn repeats_of_appends_change_nothing(
        lines in prop::collection::btree_set(10u32..20, 1..4),
        repeats in prop::collection::vec(1u32..3, 1..5),
    ) {
        let mut hub = hub();
        let sale = || {
            let line = |key: &u32| op("append", &key.to_string(), 0, Body::Put(Value::parse(&format!("{{\"qty\":{key}}}")).unwrap()));
            let mut ops: Vec<_> = lines.iter().map(line).collect();
            ops.push(op("merge", "1", 5, Body::Increment(vec![("n".into(), -1)])));
            ops
        };
        commit(&mut hub, 1, 1, 1, sale());
        let records = hub.records.clone();
        for (number, database) in (2..).zip(repeats) {
            let decision = commit(&mut hub, database, number, 9, sale());
            prop_assert_eq!(decision.outcome.verdict, Verdict::Applied);
            prop_assert_eq!(&hub.records, &records);
        }
    }
}
