//! The looks that [`super::guarantees`] is made of: each at one node, after a step of it or when everyone is done.

use std::collections::{BTreeMap, BTreeSet};

use cloudhub::store::{ConflictRow, ConflictsRequest, StoreRead};
use proto::ids::Revision;
use proto::json::Value;
use proto::names::Key;
use proto::op::{Body, Verdict};

use super::Lab;
use super::edge::TALLY;
use super::guarantees::{CONVERGENCE, ENTITLEMENT, Found, Guarantee, NO_RESURRECTION, NOTHING_LOST};
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

pub(super) fn outcomes_come_once_and_in_order(lab: &mut Lab, node: usize) -> Found {
    let outcomes = lab.edges[node].outcomes();
    let in_order = outcomes.iter().map(|(number, _)| *number).eq(1..=outcomes.len() as u64);
    require(in_order, || format!("outcomes came as {outcomes:?}"))
}

pub(super) fn records_never_go_back(lab: &mut Lab, node: usize) -> Found {
    let watched = lab.edges[node].seen.clone();
    for ((collection, key), was) in watched {
        // A collection that the node does not get (any more) has nothing that could go back.
        let Ok(Some(base)) = lab.edges[node].reader().get_base(&collection, &key) else { continue };
        let now = base.revision;
        require(now >= was, || format!("{collection}/{key} went back from {was} to {now}"))?;
        lab.edges[node].seen.insert((collection, key), now);
    }
    Ok(())
}

/// A counter of [`TALLY`] shows what base has and each own increment that is not in it, once.
pub(super) fn counters_show_each_increment_once(lab: &mut Lab, node: usize) -> Found {
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
        require(shown == stored + own, || format!("{key} shows {shown}: base {stored} at {}, own {own}", base.revision))?;
    }
    Ok(())
}

/// What the newest write without an outcome touched is shown with it, where anything is shown.
pub(super) fn own_writes_show(lab: &mut Lab, node: usize) -> Found {
    let reader = lab.edges[node].reader();
    let number = reader.status().unwrap().newest_write;
    let Some(row) = reader.write(number).unwrap().filter(|row| row.outcome.is_none()) else { return Ok(()) };
    for op in row.write.ops.iter().filter(|op| !op.collection.is_system() && !matches!(op.body, Body::Check(_))) {
        let Ok(Some(shown)) = reader.get(&op.collection, &op.key) else { continue };
        require(shown.pending.contains(&number), || format!("write {number} does not show in {}/{}", op.collection, op.key))?;
    }
    Ok(())
}

pub(super) fn the_outbox_is_bounded(lab: &mut Lab, node: usize) -> Found {
    let (most, held) = (lab.edges[node].outbox_bound(), lab.edges[node].reader().status().unwrap().outbox_bytes);
    require(held <= most, || format!("the outbox has {held} bytes; {most} is the most"))
}

pub(super) fn reports_are_kept(lab: &mut Lab, node: usize) -> Found {
    lab.check_reports(node)
}

pub(super) fn reports_are_in_the_cloud(lab: &mut Lab, node: usize) -> Found {
    lab.check_reports_in_cloud(node)
}

fn require(holds: bool, what: impl FnOnce() -> String) -> Found {
    if holds { Ok(()) } else { Err(what()) }
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

/// Where nodes on the network differ from the cloud, and which guarantee each difference breaks if it stays.
pub fn differences(lab: &mut Lab) -> Vec<String> {
    let mut found = Vec::new();
    let names: Vec<_> = lab.cloud.definitions.keys().cloned().collect();
    let online: Vec<_> = (0..lab.edges.len()).filter(|node| lab.edges[*node].online).collect();
    for (node, name) in online.iter().flat_map(|node| names.iter().map(move |name| (*node, name))) {
        let should = expected(lab, node, name);
        let rows = lab.edges[node].all(&collection(name)).into_iter();
        let is: BTreeMap<_, _> = rows.map(|row| (row.key, (row.revision, row.born, row.writer.unwrap_or_default(), row.value))).collect();
        let keys: BTreeSet<_> = should.keys().chain(is.keys()).collect();
        for key in keys.into_iter().filter(|key| should.get(*key) != is.get(*key)) {
            let broken = breaks(lab, name, key, should.contains_key(key));
            found.push(broken.finding(lab, node, &format!("{name}/{key}: {:?}, cloud {:?}", is.get(key), should.get(key))));
        }
    }
    for node in online {
        let rows = conflicts(lab, node);
        found.extend(rows.iter().map(|row| NOTHING_LOST.finding(lab, node, row)));
    }
    found
}

/// A node that should hold a record and holds another one, or none, has not converged; what it should not hold it has no right to, or
/// nobody has it any more.
fn breaks(lab: &mut Lab, name: &str, key: &Key, should: bool) -> &'static Guarantee {
    match lab.cloud.record(name, key.as_str()) {
        _ if should => &CONVERGENCE,
        Some(_) => &ENTITLEMENT,
        None => &NO_RESURRECTION,
    }
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
    let missing = there.iter().filter(due).filter(|row| !here.contains_key(&row.id)).map(|row| format!("lacks {}", row.json));
    let missing: Vec<_> = missing.collect();
    let there: BTreeMap<_, _> = there.into_iter().map(|row| (row.id, row.json)).collect();
    let differ = here.iter().filter(|(id, row)| there.get(*id).is_none_or(|stored| !same(stored, row)));
    differ.map(|(id, row)| format!("has conflict {id}: {row}")).chain(missing).collect()
}

fn same(one: &str, other: &str) -> bool {
    Value::read(one).unwrap().same(&Value::read(other).unwrap())
}

/// Every write of a node has its outcome.
pub(super) fn every_write_is_answered(lab: &mut Lab, node: usize) -> Found {
    let (pending, newest) = (lab.edges[node].pending(), lab.edges[node].reader().status().unwrap().newest_write);
    require(pending == 0, || format!("{pending} writes wait for their outcome"))?;
    let told = lab.edges[node].outcomes().len() as u64;
    require(!lab.edges[node].watched || told == newest, || format!("{told} outcomes came of {newest} writes"))
}

/// And it is the cloud's.
pub(super) fn outcomes_are_the_clouds(lab: &mut Lab, node: usize) -> Found {
    if !lab.edges[node].watched {
        return Ok(());
    }
    for (number, verdict) in lab.edges[node].outcomes() {
        let id = lab.edges[node].id(number);
        let decided = lab.cloud.decided(&id).map(|row| row.verdict);
        require(decided == Some(verdict), || format!("{id} is {verdict:?} here, and in the cloud {decided:?}"))?;
    }
    Ok(())
}

/// Nobody touched a file, so no digest ever found a difference: one would be mended, and whatever made it would stay unseen.
pub fn never_differed(lab: &Lab) {
    let found: Vec<_> = lab.trace.iter().filter(|line| line.ends_with(" differ") && !line.ends_with(": 0 differ")).collect();
    assert!(found.is_empty(), "{CONVERGENCE}: digests found differences: {found:?}\n{}", recent(lab));
}

/// Nothing is laid over base.
pub(super) fn views_are_base(lab: &mut Lab, node: usize) -> Found {
    let names: Vec<_> = lab.cloud.definitions.keys().map(|name| collection(name)).collect();
    let edge = &mut lab.edges[node];
    for name in names {
        for row in edge.all(&name) {
            require(row.pending.is_empty(), || format!("{name}/{} is laid over by {:?}", row.key, row.pending))?;
            let base = edge.reader().get_base(&name, &row.key).unwrap();
            require(base.as_ref() == Some(&row), || format!("{name}/{} shows {row:?}, base is {base:?}", row.key))?;
        }
    }
    Ok(())
}

/// The counters of [`TALLY`] are the sums of what was promised, where every node is here to say what it was.
pub(super) fn sums_are_what_was_promised(lab: &mut Lab, _: usize) -> Found {
    if !lab.edges.iter().all(|edge| edge.online && edge.watched) || !lab.cloud.definitions.contains_key(TALLY) {
        return Ok(());
    }
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
        let (stored, sum) = (count(&row.value), sums.get(&row.key));
        require(Some(&stored) == sum, || format!("{} is {stored} in the cloud; {sum:?} was promised", row.key))?;
    }
    Ok(())
}
