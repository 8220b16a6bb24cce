//! A history of people who decide: conflicts of every kind, resolved at the nodes and in the cloud, by whoever comes
//! first, over links that break and through power that fails.

use std::collections::BTreeMap;

use cloudhub::store::{ConflictRow, ConflictsRequest, StoreRead};
use metamanager::LocalRequest;
use proto::op::Verdict;
use proto::resolve::Choice;

use super::dice::Dice;
use super::edge::TALLY;
use super::words::{add, create, delete, merge, put, resolve, value};
use super::{Fault, Lab, Side};

const DEFINITIONS: [(&str, &str); 4] = [
    (TALLY, r#"{"fields":{"n":{"type":"counter"}}}"#),
    (
        "goods",
        r#"{"fields":{"n":{"type":"counter","min":0},"m":{"type":"counter","min":0,"on_violation":"reject"},"price":{"edge":"read-only"}}}"#,
    ),
    ("orders", r#"{"policy":"guarded","fields":{"s":{"guard":true,"transitions":{"1":["2"],"2":["1","3"]}}}}"#),
    ("parts", r#"{"partition":{"field":"W","label":"site"}}"#),
];
const NODES: [(&str, &str); 3] = [("lyon", "lyon"), ("oslo", "oslo"), ("rome", "rome,lyon")];
const STEPS: u64 = 80;

/// Runs one history to its end and returns its laboratory, in sync.
pub fn run(seed: u64) -> Lab {
    let mut dice = Dice::new(seed ^ 0x6465_6369);
    let mut lab = Lab::new();
    lab.road.delay_ms = 1 + dice.below(20);
    lab.store_ms = 1 + dice.below(6);
    for (name, json) in DEFINITIONS {
        lab.define(name, json);
    }
    lab.in_cloud((1..4).map(|id| put(TALLY, &id.to_string(), r#"{"n":100}"#)).collect());
    lab.in_cloud((1..4).map(|id| put("goods", &id.to_string(), r#"{"a":0,"n":2,"m":2,"price":3}"#)).collect());
    for (name, site) in NODES {
        lab.join(name, &[("site", site)]);
    }
    for _ in 0..STEPS {
        step(&mut lab, &mut dice);
        let pause = dice.below(60);
        lab.pass(if dice.one_in(20) { pause * 100 } else { pause });
    }
    (0..lab.edges.len()).filter(|node| !lab.edges[*node].online).collect::<Vec<_>>().into_iter().for_each(|node| lab.online(node, true));
    lab.converge(600_000);
    lab
}

fn step(lab: &mut Lab, dice: &mut Dice) {
    let node = dice.below(NODES.len() as u64) as usize;
    match dice.below(24) {
        0 => lab.cut(node),
        1 => lab.half_open(node),
        2 => lab.kill(if dice.one_in(3) { Side::Cloud } else { Side::Edge(node) }),
        3 => {
            let side = if dice.one_in(3) { Side::Cloud } else { Side::Edge(node) };
            lab.fault(side, Fault { after: dice.below(6), commits: dice.one_in(2) });
        }
        4 | 5 => lab.online(node, dice.one_in(2)),
        6..=8 => {
            let rows = rows_of_cloud(lab).into_iter().map(|row| row.id).collect::<Vec<_>>();
            decide(dice, &rows).into_iter().for_each(|decision| drop(lab.try_in_cloud(vec![decision])));
        }
        9..=13 => {
            let rows = lab.edges[node].reader().conflicts(None, None, 1_000).unwrap().conflicts;
            let rows = rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
            decide(dice, &rows).into_iter().for_each(|decision| drop(lab.try_write(node, vec![decision])));
        }
        14..=17 => drop(lab.try_in_cloud(vec![change(dice)])),
        _ => drop(lab.try_write(node, vec![change(dice)])),
    }
}

fn decide(dice: &mut Dice, rows: &[String]) -> Option<LocalRequest> {
    let id = rows.get(dice.below(rows.len() as u64) as usize)?;
    let choice = match dice.below(5) {
        0 | 1 => Choice::Cloud,
        2 | 3 => Choice::Edge,
        _ => Choice::Value(value(&format!(r#"{{"a":{},"W":"{}"}}"#, dice.below(9), dice.pick(&["lyon", "oslo", "rome"])))),
    };
    Some(resolve(id, choice))
}

fn change(dice: &mut Dice) -> LocalRequest {
    let id = &(1 + dice.below(3)).to_string();
    let figure = dice.below(9);
    match dice.below(12) {
        0 => add(TALLY, id, "n", figure as i64 - 6),
        1 | 2 => merge("goods", id, &format!(r#"{{"a":{figure}}}"#)),
        3 => add("goods", id, "n", figure as i64 - 6),
        4 => add("goods", id, "m", figure as i64 - 6),
        5 => merge("goods", id, &format!(r#"{{"n":{figure}}}"#)),
        6 => delete("goods", id, true),
        7 => create("goods", id, &format!(r#"{{"a":{figure},"n":1}}"#)),
        8 => merge("orders", id, &format!(r#"{{"s":"{}","a":{figure}}}"#, 1 + dice.below(3))),
        9 => put("orders", id, r#"{"s":"1"}"#),
        10 => merge("parts", id, &format!(r#"{{"a":{figure}}}"#)),
        _ => put("parts", id, &format!(r#"{{"W":"{}","a":{figure}}}"#, dice.pick(&["lyon", "oslo"]))),
    }
}

fn rows_of_cloud(lab: &mut Lab) -> Vec<ConflictRow> {
    let request = ConflictsRequest { limit: 1_000, ..ConflictsRequest::default() };
    lab.cloud.reader().conflicts(&request).unwrap().0
}

/// How often each row was resolved: at most once, by the write that it names, and every other one was told so.
pub fn resolved_once(lab: &mut Lab) -> BTreeMap<String, u64> {
    let mut closed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in 0..lab.edges.len() {
        for (number, verdict) in lab.edges[node].outcomes() {
            let id = lab.edges[node].id(number).to_string();
            let row = lab.edges[node].reader().write(number).unwrap().unwrap();
            let closes = row.write.ops.iter().find(|op| op.collection.as_str() == "_conflicts");
            let Some(op) = closes else { continue };
            assert!(verdict == Verdict::Applied || verdict == Verdict::Rejected, "{id} {verdict:?}");
            assert!(row.outcome.unwrap().conflicts.is_empty(), "{id} opened a row of its own");
            if verdict == Verdict::Applied {
                closed.entry(op.key.to_string()).or_default().push(id);
            }
        }
    }
    let rows = rows_of_cloud(lab);
    for row in &rows {
        let json: serde_json::Value = serde_json::from_str(&row.json).unwrap();
        let by = json["resolved_in"].as_str();
        assert_eq!(by.is_some(), row.state == "resolved", "{}", row.json);
        assert_eq!(json["resolved_by"].is_string(), row.state == "resolved", "{}", row.json);
        let edges = closed.remove(&row.id).unwrap_or_default();
        match by {
            Some(by) if !by.starts_with("cloud:") => assert_eq!(edges, [by], "{}", row.json),
            _ => assert_eq!(edges, Vec::<String>::new(), "{}", row.json),
        }
    }
    assert!(closed.is_empty(), "resolved and not kept: {closed:?}");
    let mut states = BTreeMap::new();
    rows.into_iter().for_each(|row| *states.entry(row.state).or_default() += 1);
    states
}
