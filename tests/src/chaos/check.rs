//! The faults have stopped and nobody writes: what has to be so now.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde_json::{Value, json};

use super::app::App;
use super::book::{Promise, Sold};
use super::rights::{self, RACKS};
use super::watch::Watcher;
use super::{Arena, COLLECTIONS, PRODUCTS, SEATS, STOCKS, twins};
use crate::http::Client;
use crate::shops::{Edge, records};
use crate::until::within;

/// The longest that it may take, after the last fault, until all is in sync: a machine that others use too.
pub(super) const CONVERGES: Duration = Duration::from_secs(90);
/// More descriptors than this no hub has for what it does here; the machines allow 20,000.
const DESCRIPTORS: u64 = 500;
/// More memory than this, KiB, no hub of these few records takes.
const RESIDENT_KIB: u64 = 256 * 1024;
/// What happens to a node that lost something, or whose records were not what the cloud thought.
const BAD_EVENTS: [&str; 6] = ["records_differ", "repaired", "writes_lost", "database_renewed", "database_replaced", "store_restored"];

type Records = BTreeMap<String, Value>;

/// Waits until all agree, and looks at everything. How long that took; none: they did not, and nothing else was looked at.
pub(super) fn all(arena: &Arena<'_>) -> Option<Duration> {
    let took = match in_sync(arena) {
        Ok(took) => took,
        Err(shown) => {
            arena.findings.add(&format!("unconverged: {CONVERGES:?} after the last fault: {shown}"));
            return None;
        }
    };
    // What answers with something else than expected ends the look, with what it said.
    let looked = catch_unwind(AssertUnwindSafe(|| {
        arena.apps.iter().for_each(|app| promises(arena, app));
        let cloud = records(&mut arena.world.cloud.client(), &COLLECTIONS);
        what_the_cloud_has(arena, &cloud);
        arena.world.edges.iter().for_each(|edge| rights::holds(arena, edge, &cloud));
        twins::all(arena);
        arena.watchers.iter().for_each(|watcher| told(arena, watcher));
        arena.twin_watchers.iter().for_each(|watcher| watcher.seen().looked_at());
        arena.world.edges.iter().for_each(|edge| sound(arena, edge));
        bounded(arena);
    }));
    if let Err(panic) = looked {
        let said = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
        arena.findings.add(&format!("other: the last look failed: {}", said.unwrap_or_default()));
    }
    Some(took)
}

pub(super) fn answer(client: &mut Client, path: &str) -> Result<Value, String> {
    let answer = client.get(path).map_err(|error| format!("{path}: {error}"))?;
    if answer.status == 200 { Ok(answer.json()) } else { Err(format!("{path}: {answer}")) }
}

/// Waits until all edges have everything, and every write its outcome. Errors: the first that does not, and how far it is.
pub(super) fn in_sync(arena: &Arena<'_>) -> Result<Duration, String> {
    let mut cloud = arena.world.cloud.client();
    let mut edges: Vec<_> = arena.world.edges.iter().map(|edge| (edge, edge.client())).collect();
    within(CONVERGES, || {
        for (edge, client) in &mut edges {
            let before = answer(client, "/v1/status")?;
            let node = answer(&mut cloud, &format!("/v1/nodes/{}", edge.name))?;
            let here = answer(client, "/v1/status")?;
            let seen = node["state"] == "online" && node["sync"]["state"] == "in-sync" && node["sync"]["lag_records"] == 0;
            if !seen || before["outbox"]["writes"] != 0 || here["sync"]["state"] != "in-sync" {
                return Err(format!("{}: {here}\n{node}", edge.name));
            }
        }
        Ok(())
    })
}

/// Every promised write has its outcome, and none that nobody competes with was rejected.
fn promises(arena: &Arena<'_>, app: &App<'_>) {
    let promises = std::mem::take(&mut app.book().promises);
    let mut client = super::client(arena.world, app.place());
    for Promise { write, what, decided } in promises {
        let answer = client.get(&format!("/v1/writes/{write}")).expect("an answer");
        let shown = if answer.status == 200 { answer.json() } else { json!({"answer": answer.to_string()}) };
        if shown["final"] != true {
            arena.findings.add(&format!("lost: {} was promised {write} ({what:?}), which is now {shown}", app.name));
        } else if shown["accepted"] == true {
            arena.counts.add("writes: accepted", 1);
            if !decided {
                app.book().accepted(&what, &shown);
            }
        } else {
            let code = shown["code"].as_str().unwrap_or_default();
            let lost = ["not_entitled", "depends"].contains(&code);
            arena.counts.add(if lost { "writes: rejected, the right being lost" } else { "writes: rejected" }, 1);
            if !what.may_be_rejected(code) {
                arena.findings.add(&format!("lost: {} was promised {write} ({what:?}), which was rejected: {shown}", app.name));
            }
        }
        if !app.central {
            arena
                .decided
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .entry(app.place().to_owned())
                .or_default()
                .insert(write);
        }
    }
}

/// What the applications know, and what the cloud holds.
fn what_the_cloud_has(arena: &Arena<'_>, cloud: &Records) {
    sales(arena, cloud);
    let number = |record: &str, field: &str| cloud.get(record).and_then(|value| value[field].as_i64());
    let expect = |record: &str, found: Option<i64>, expected: i64| {
        if found != Some(expected) {
            let kind = if found.unwrap_or(0) < expected { "lost" } else { "doubled" };
            arena.findings.add(&format!("{kind}: {record} is {found:?} and has to be {expected}"));
        }
    };
    let mut tallied = 0;
    let mut seats: BTreeMap<String, i64> = BTreeMap::new();
    let mut fields: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for app in &arena.apps {
        let book = app.book();
        expect(&format!("tally/{}", app.name), number(&format!("tally/{}", app.name), "n"), book.tallied);
        expect(&format!("plain/{}", app.name), number(&format!("plain/{}", app.name), "n"), book.plain);
        if let Some(found) = number(&format!("{RACKS}/{}", app.name), "number") {
            expect(&format!("{RACKS}/{}", app.name), Some(found), book.rack as i64);
        }
        tallied += book.tallied;
        book.seats.iter().for_each(|(key, times)| *seats.entry(key.clone()).or_default() += times);
        book.fields.iter().for_each(|(place, texts)| fields.entry(place.clone()).or_default().extend(texts.iter().cloned()));
        for (key, known) in &book.notes {
            let found = cloud.get(&format!("notes/{key}")).and_then(|value| value["number"].as_u64());
            if found != *known {
                arena.findings.add(&format!("lost: notes/{key} has number {found:?}; its only writer's last was {known:?}"));
            }
        }
        for side in ["left", "right"].into_iter().filter(|_| book.pair > 0) {
            let record = format!("pairs/{}-{side}", app.name);
            if number(&record, "number") != Some(book.pair as i64) {
                arena.findings.add(&format!("lost: {record} is {:?}, and {} was written last, into both", cloud.get(&record), book.pair));
            }
        }
        for (key, site) in &book.moves {
            if cloud.get(&format!("parcels/{key}")).is_none_or(|value| value["site"] != **site) {
                arena.findings.add(&format!("lost: parcels/{key} was moved to {site}"));
            }
        }
    }
    expect("tally/all", number("tally/all", "n"), tallied);
    for key in SEATS {
        expect(&format!("seats/{key}"), number(&format!("seats/{key}"), "n"), seats.get(key).copied().unwrap_or(0));
    }
    for product in PRODUCTS {
        for (field, text) in cloud.get(&format!("products/{product}")).and_then(Value::as_object).into_iter().flatten() {
            let written = fields.get(&format!("{product}/{field}"));
            if field.starts_with('f') && !written.is_some_and(|texts| text.as_str().is_some_and(|text| texts.contains(text))) {
                arena.findings.add(&format!("other: products/{product} holds {field} = {text}, which nobody wrote"));
            }
        }
    }
}

/// Every sale has its record and its part of the counter, or neither.
fn sales(arena: &Arena<'_>, cloud: &Records) {
    let mut tried = BTreeMap::new();
    arena.apps.iter().for_each(|app| tried.extend(app.book().sales.iter().map(|(key, told)| (key.clone(), *told))));
    for (key, told) in &tried {
        let there = cloud.contains_key(&format!("sales/{key}"));
        match told {
            Sold::Promised if !there => arena.findings.add(&format!("lost: sale {key} was promised")),
            Sold::Refused if there => arena.findings.add(&format!("doubled: sale {key} was refused, and is there")),
            _ => {}
        }
    }
    let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
    for (record, value) in cloud.iter().filter(|(record, _)| record.starts_with("sales/")) {
        if !tried.contains_key(record.trim_start_matches("sales/")) {
            arena.findings.add(&format!("other: {record} is there, and nobody sold that"));
        }
        *sums.entry(value["stock"].as_str().unwrap_or_default()).or_default() += value["by"].as_i64().unwrap_or(0);
    }
    for stock in STOCKS {
        let (found, expected) = (cloud[&format!("stock/{stock}")]["n"].as_i64().unwrap_or(0), sums.get(stock).copied().unwrap_or(0));
        if found != expected {
            let kind = if found < expected { "lost" } else { "doubled" };
            arena.findings.add(&format!("{kind}: stock/{stock} is {found}; the sales that are there make {expected}"));
        }
    }
}

/// The watcher of an edge was told the outcome of every write that was promised there.
fn told(arena: &Arena<'_>, watcher: &Watcher<'_>) {
    let mut decided = arena.decided.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(promised) = decided.get_mut(&watcher.place) else { return };
    let waited = within(CONVERGES, || {
        let seen = watcher.seen();
        if seen.reset || promised.is_subset(&seen.outcomes) {
            return Ok(());
        }
        let missing: Vec<_> = promised.difference(&seen.outcomes).take(3).collect();
        Err(format!("{missing:?} and perhaps more"))
    });
    if let Err(missing) = waited {
        arena.findings.add(&format!("lost: the watcher at {} was not told the outcome of {missing}", watcher.place));
    }
    promised.clear();
    watcher.seen().looked_at();
}

/// What an operator would ask: digests, the doctor, the node's history, files put aside.
fn sound(arena: &Arena<'_>, edge: &Edge) {
    let told = arena.world.cloud.cli(&["node", "verify", &edge.name]);
    let said = String::from_utf8_lossy(&told.output.stdout).into_owned();
    if !told.output.status.success() || !said.contains(" holds what the cloud has at revision ") {
        arena.findings.add(&format!("diverged: cloudhub node verify {}: {said}{}", edge.name, told.stderr()));
    }
    let doctor = edge.cli(&["doctor", "-o", "json"]);
    if !doctor.output.status.success() {
        let said = String::from_utf8_lossy(&doctor.output.stdout).into_owned();
        arena.findings.add(&format!("other: edgehub doctor at {}: {said}{}", edge.name, doctor.stderr()));
    }
    let events = answer(&mut arena.world.cloud.client(), &format!("/v1/nodes/{}/events", edge.name)).expect("an answer");
    for event in events["events"].as_array().into_iter().flatten() {
        if event["kind"].as_str().is_some_and(|kind| BAD_EVENTS.contains(&kind)) {
            arena.findings.add(&format!("diverged: what happened to {}: {event}", edge.name));
        }
    }
    for folder in [&edge.data, &arena.world.cloud.data] {
        let names = std::fs::read_dir(folder).expect("a data folder").flatten().map(|entry| entry.file_name());
        for name in names.filter(|name| name.to_string_lossy().contains(".corrupt.")) {
            arena.findings.add(&format!("other: {} was put aside in {}", name.display(), folder.display()));
        }
    }
}

/// No process takes more and more.
fn bounded(arena: &Arena<'_>) {
    arena.hubs.iter().for_each(super::hub::Hub::look);
    for (name, held) in arena.counts.most() {
        if held.descriptors > DESCRIPTORS || held.resident_kib > RESIDENT_KIB {
            arena.findings.add(&format!("other: {name} held {} descriptors and {} KiB", held.descriptors, held.resident_kib));
        }
    }
}
