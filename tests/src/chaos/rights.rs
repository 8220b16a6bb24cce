//! Labels that an operator changes while everything goes wrong, and what every node has to hold in the end: what its labels give it,
//! and nothing else.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Arena, COLLECTIONS, check};
use crate::shops::{Edge, records};
use crate::until::within;

/// The shops whose labels are changed.
pub(super) const RELABELLED: [&str; 2] = ["rome", "bern"];
/// What only depots get: a whole collection.
pub(super) const RACKS: &str = "racks";
/// Stands in each of its records, and no shop writes it: where it stands, the record does.
pub(super) const SEAL: &str = "seal-of-the-depot";
/// How long overwriting what is not a node's any more may take.
const WIPED: Duration = Duration::from_secs(30);

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Labels {
    /// Whose parcels it gets; none: nobody's.
    pub sites: Vec<&'static str>,
    /// Whether it is a depot.
    pub depot: bool,
}

impl Labels {
    /// As every shop is in the beginning.
    pub(super) fn of(node: &'static str) -> Self {
        Self { sites: vec![node], depot: false }
    }

    /// As an operator sets it.
    pub(super) fn change(&self) -> Value {
        let site = (!self.sites.is_empty()).then(|| self.sites.join(","));
        json!({"labels": {"site": site, "role": self.depot.then_some("depot")}})
    }

    /// As the cloud has it.
    fn read(labels: &Value, known: &[&'static str]) -> Self {
        let sites: Vec<&str> = labels["site"].as_str().unwrap_or_default().split(',').collect();
        Self { sites: known.iter().filter(|site| sites.contains(site)).copied().collect(), depot: labels["role"] == "depot" }
    }

    /// Whether a node of these labels gets a record.
    pub(super) fn give(&self, record: &str, value: &Value) -> bool {
        match record.split('/').next() {
            Some("parcels") => value["site"].as_str().is_some_and(|site| self.sites.contains(&site)),
            Some(RACKS) => self.depot,
            _ => true,
        }
    }
}

/// What each node may be, as far as its operator knows: the last that was answered, and what was asked for since.
pub(super) type Known = BTreeMap<&'static str, Vec<Labels>>;

/// The operator asks for other labels. Whether it was answered: otherwise either may be so.
pub(super) fn relabel(arena: &Arena<'_>, node: &'static str, labels: Labels) {
    let mut cloud = arena.world.cloud.client();
    let answer = cloud.json("PATCH", &format!("/v1/nodes/{node}"), &labels.change());
    let mut known = arena.labels.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.entry(node).or_insert_with(|| vec![Labels::of(node)]);
    match answer {
        Ok(answer) if answer.status == 200 => {
            known.clear();
            arena.counts.add("faults: labels of a node changed", 1);
        }
        Ok(answer) if answer.status < 500 && answer.status != 429 => {
            arena.findings.add(&format!("other: {node} cannot be given {labels:?}: {answer}"));
        }
        _ => arena.counts.add("faults: labels of a node perhaps changed", 1),
    }
    known.push(labels);
}

/// An edge holds what the cloud has, of what its labels give it, and nothing else, down to the bytes of its file.
pub(super) fn holds(arena: &Arena<'_>, edge: &Edge, cloud: &BTreeMap<String, Value>) {
    let node = check::answer(&mut arena.world.cloud.client(), &format!("/v1/nodes/{}", edge.name)).unwrap_or_default();
    let labels = Labels::read(&node["labels"], &super::EDGES);
    if let Some(known) = arena.labels.lock().unwrap_or_else(PoisonError::into_inner).get(edge.name.as_str())
        && !known.contains(&labels)
    {
        arena.findings.add(&format!("lost: {} is {labels:?}, and was made one of {known:?}", edge.name));
    }
    let mut client = edge.client();
    let here = |name: &&str| check::answer(&mut client, &format!("/v1/collections/{name}")).is_ok();
    let there: Vec<&str> = COLLECTIONS.into_iter().filter(here).collect();
    let mut expected = cloud.clone();
    expected.retain(|record, value| labels.give(record, value));
    let found = records(&mut edge.client(), &there);
    let differ: Vec<_> = expected.keys().chain(found.keys()).filter(|record| expected.get(*record) != found.get(*record)).collect();
    for record in differ.iter().take(3) {
        let (here, there) = (found.get(*record), expected.get(*record));
        let which = format!("{record} at {} ({labels:?}) is {here:?}", edge.name);
        arena.findings.add(&format!("diverged: {which}, and should be {there:?} ({} records)", differ.len()));
    }
    if let Err(shown) = within(WIPED, || sealed(edge, labels.depot)) {
        arena.findings.add(&format!("diverged: {} ({labels:?}): {shown}", edge.name));
    }
}

/// The bytes of what only depots get are in the database of a depot, and nowhere in that of another shop.
fn sealed(edge: &Edge, depot: bool) -> Result<(), String> {
    let stands = |file: &str| {
        let bytes = std::fs::read(edge.data.join(file)).unwrap_or_default();
        bytes.windows(SEAL.len()).any(|window| window == SEAL.as_bytes())
    };
    let files: Vec<&str> = ["edge.db", "edge.db-wal"].into_iter().filter(|file| stands(file)).collect();
    if files.is_empty() != depot { Ok(()) } else { Err(format!("bytes of {RACKS} stand in {files:?}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_they_were_given() {
        let known = ["lyon", "oslo", "rome"];
        for labels in [Labels::of("rome"), Labels { sites: vec!["lyon", "rome"], depot: true }, Labels { sites: vec![], depot: false }] {
            assert_eq!(Labels::read(&labels.change()["labels"], &known), labels);
        }
        let parcel = json!({"site": "lyon"});
        assert!(!Labels::of("rome").give("parcels/x1", &parcel) && Labels::of("lyon").give("parcels/x1", &parcel));
        assert!(!Labels::of("rome").give("racks/x1", &parcel) && Labels::of("rome").give("notes/x1", &parcel));
    }
}
