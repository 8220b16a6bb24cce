//! What must hold: after every step of a node, and when everyone is done.

use std::collections::{BTreeMap, BTreeSet};

use cloudhub::store::{ConflictRow, ConflictsRequest, StoreRead};
use proto::ids::Revision;
use proto::json::Value;
use proto::names::Key;
use proto::op::Verdict;

use super::Lab;
use super::edge::TALLY;
use super::words::{collection, number};

/// How much of the trace a failure shows.
const SHOWN: usize = 80;

/// The end of the trace.
pub fn recent(lab: &Lab) -> String {
    let noise = |line: &&String| !line.contains("says Ping") && !line.contains("says Pong");
    let mut lines: Vec<_> = lab.trace.iter().rev().filter(noise).take(SHOWN).cloned().collect();
    lines.reverse();
    lines.join("\n")
}

/// After each step of a node: no record of base goes back, outcomes come once and in order, and a counter of [`TALLY`]
/// shows each increment once.
pub(super) fn moment(lab: &mut Lab, node: usize) {
    if !lab.edges[node].watched {
        return;
    }
    never_back(lab, node);
    tally(lab, node);
    lab.check_reports(node);
    let numbers = lab.edges[node].outcomes().into_iter().map(|(number, _)| number);
    assert!(numbers.eq(1..=lab.edges[node].outcomes().len() as u64), "outcomes of node {node}: {:?}", lab.edges[node].outcomes());
}

fn never_back(lab: &mut Lab, node: usize) {
    let watched = lab.edges[node].seen.clone();
    for ((collection, key), was) in watched {
        // A collection that the node does not get (any more) has nothing that could go back.
        let Ok(Some(base)) = lab.edges[node].reader().get_base(&collection, &key) else { continue };
        let now = base.revision;
        assert!(now >= was, "{collection}/{key} at node {node} went back from {was} to {now}\n{}", recent(lab));
        lab.edges[node].seen.insert((collection, key), now);
    }
}

fn tally(lab: &mut Lab, node: usize) {
    let (name, heard) = (collection(TALLY), lab.edges[node].outcomes().len() as u64);
    let keys: BTreeSet<_> = lab.edges[node].open.iter().map(|added| added.key.clone()).collect();
    for key in keys {
        let edge = &mut lab.edges[node];
        let (Ok(Some(base)), Ok(Some(view))) = (edge.reader().get_base(&name, &key), edge.reader().get(&name, &key)) else { continue };
        let mut own = 0;
        for added in edge.open.clone().into_iter().filter(|added| added.key == key) {
            let id = edge.id(added.number);
            let over = match lab.cloud.decided(&id) {
                Some(row) if row.verdict == Verdict::Rejected => heard >= added.number,
                Some(row) => row.revision <= base.revision,
                None => false,
            };
            if over {
                edge.open.retain(|open| *open != added);
            } else {
                own += added.delta;
            }
        }
        let (shown, stored) = (count(&view.value), count(&base.value));
        assert_eq!(shown, stored + own, "{key} at node {node}: base {stored} at {}, own {own}\n{}", base.revision, recent(lab));
    }
}

fn count(json: &str) -> i64 {
    number(json, "n").unwrap_or(0)
}

/// A record as both sides must have it: revision, born, writer, value.
type Row = (Revision, Revision, String, String);

/// What a node should hold.
fn expected(lab: &mut Lab, node: usize, name: &str) -> BTreeMap<Key, Row> {
    let definition = lab.cloud.definitions[name].clone();
    let granted = definition.partitions(&lab.cloud.labels[lab.edges[node].name.as_str()]);
    let rows = lab.cloud.all(name).into_iter();
    let entitled = rows.filter(|row| {
        let place = definition.partition_of(&Value::read(&row.value).unwrap());
        place.is_some_and(|place| granted.contains(&place))
    });
    entitled.map(|row| (row.key, (row.revision, row.born, row.writer, row.value))).collect()
}

/// Where the base of nodes on the network differs from the cloud.
pub fn differences(lab: &mut Lab) -> Vec<String> {
    let mut found = Vec::new();
    let names: Vec<_> = lab.cloud.definitions.keys().cloned().collect();
    let online: Vec<_> = (0..lab.edges.len()).filter(|node| lab.edges[*node].online).collect();
    for (node, name) in online.iter().flat_map(|node| names.iter().map(move |name| (*node, name))) {
        let should = expected(lab, node, name);
        let rows = lab.edges[node].all(&collection(name)).into_iter();
        let is: BTreeMap<_, _> = rows.map(|row| (row.key, (row.revision, row.born, row.writer.unwrap_or_default(), row.value))).collect();
        let keys: BTreeSet<_> = should.keys().chain(is.keys()).collect();
        let differ = keys.into_iter().filter(|key| should.get(*key) != is.get(*key));
        found.extend(differ.map(|key| format!("node {node} {name}/{key}: {:?}, cloud {:?}", is.get(key), should.get(key))));
    }
    found.extend(online.into_iter().flat_map(|node| conflicts(lab, node)));
    found
}

/// Conflict rows follow the grants of their records: what a node has, the cloud has, and of collections that are not cut
/// every node on the network has all, except what was not its writer's to touch.
fn conflicts(lab: &mut Lab, node: usize) -> Vec<String> {
    let here = lab.edges[node].reader().conflicts(None, None, 1_000).unwrap().conflicts;
    let here: BTreeMap<_, _> = here.into_iter().map(|row| (row.id, row.row)).collect();
    let request = ConflictsRequest { limit: 1_000, ..ConflictsRequest::default() };
    let there = lab.cloud.reader().conflicts(&request).unwrap().0;
    let due = |row: &&ConflictRow| {
        let definition = &lab.cloud.definitions[row.collection.as_str()];
        let labels = &lab.cloud.labels[lab.edges[node].name.as_str()];
        // What its writer had no right to touch stays in the cloud, and what depended on that.
        let hidden = [r#""kind":"not_entitled""#, r#""kind":"depends""#].iter().any(|kind| row.json.contains(kind));
        definition.partition.is_none() && definition.selects(labels) && !hidden
    };
    let missing = there.iter().filter(due).filter(|row| !here.contains_key(&row.id)).map(|row| format!("node {node} lacks {}", row.json));
    let missing: Vec<_> = missing.collect();
    let there: BTreeMap<_, _> = there.into_iter().map(|row| (row.id, row.json)).collect();
    let differ = here.iter().filter(|(id, row)| there.get(*id).is_none_or(|stored| !same(stored, row)));
    differ.map(|(id, row)| format!("node {node} has conflict {id}: {row}")).chain(missing).collect()
}

fn same(one: &str, other: &str) -> bool {
    Value::read(one).unwrap().same(&Value::read(other).unwrap())
}

/// When everyone is done: every write of a node on the network has one outcome, the cloud's; nothing is laid over base;
/// the counters of [`TALLY`] are the sums of what was promised.
pub(super) fn settled(lab: &mut Lab) {
    for node in (0..lab.edges.len()).filter(|node| lab.edges[*node].online).collect::<Vec<_>>() {
        moment(lab, node);
        views_are_base(lab, node);
        lab.check_reports_in_cloud(node);
        if !lab.edges[node].watched {
            assert_eq!(lab.edges[node].pending(), 0, "writes without an outcome at node {node}\n{}", recent(lab));
            continue;
        }
        let newest = lab.edges[node].reader().status().unwrap().newest_write;
        let outcomes = lab.edges[node].outcomes();
        assert_eq!(outcomes.len() as u64, newest, "writes without an outcome at node {node}\n{}", recent(lab));
        for (number, verdict) in outcomes {
            let id = lab.edges[node].id(number);
            assert_eq!(lab.cloud.decided(&id).map(|row| row.verdict), Some(verdict), "{id}");
        }
    }
    if lab.edges.iter().all(|edge| edge.online && edge.watched) && lab.cloud.definitions.contains_key(TALLY) {
        sums(lab);
    }
}

/// Nobody touched a file, so no digest ever found a difference: one would be mended, and whatever made it would stay unseen.
pub fn never_differed(lab: &Lab) {
    let found: Vec<_> = lab.trace.iter().filter(|line| line.ends_with(" differ") && !line.ends_with(": 0 differ")).collect();
    assert!(found.is_empty(), "digests found differences: {found:?}\n{}", recent(lab));
}

fn views_are_base(lab: &mut Lab, node: usize) {
    let names: Vec<_> = lab.cloud.definitions.keys().map(|name| collection(name)).collect();
    let edge = &mut lab.edges[node];
    for name in names {
        for row in edge.all(&name) {
            assert!(row.pending.is_empty(), "{name}/{} at node {node} is laid over by {:?}", row.key, row.pending);
            assert_eq!(edge.reader().get_base(&name, &row.key).unwrap(), Some(row));
        }
    }
}

fn sums(lab: &mut Lab) {
    let mut sums: BTreeMap<Key, i64> = BTreeMap::new();
    for (key, delta) in &lab.promised {
        *sums.entry(key.clone()).or_default() += delta;
    }
    for node in 0..lab.edges.len() {
        let rejected = |(number, verdict)| (verdict == Verdict::Rejected).then_some(number);
        let rejected: BTreeSet<u64> = lab.edges[node].outcomes().into_iter().filter_map(rejected).collect();
        for added in lab.edges[node].promised.iter().filter(|added| !rejected.contains(&added.number)) {
            *sums.entry(added.key.clone()).or_default() += added.delta;
        }
    }
    for row in lab.cloud.all(TALLY) {
        assert_eq!(Some(&count(&row.value)), sums.get(&row.key), "{}\n{}", row.key, recent(lab));
    }
}
