//! The devices of two shops and what has to be so of their twins: no count goes back, what was acknowledged to a device is what both
//! sides show in the end, what is desired is what was written last, and the device has done it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use serde_json::Value;

use super::device::BEGAN_MS;
use super::{Arena, check};
use crate::http::Client;
use crate::shops::{World, escape};
use crate::until::within;

/// Which shop has which, and whether it speaks at the broker inside edgehub; the other one has a mosquitto.
pub(super) const DEVICES: [(&str, &str, bool); 2] = [("lyon", "boiler", true), ("oslo", "cellar/pump", false)];
/// What is desired of them: the cloud alone sets one, the shop alone another, and both the third.
pub(super) const DESIRED: [&str; 3] = ["target", "mode", "shared"];

/// Declares them.
pub(super) fn declare(world: &World) {
    let wanted: String =
        DESIRED.iter().map(|name| format!("[model.properties.{name}]\ntype = \"int\"\naccess = \"read-write\"\n")).collect();
    let mut toml = format!("[[model]]\nname = \"counter\"\n[model.properties.count]\ntype = \"int\"\n{wanted}");
    for (node, id, _) in DEVICES {
        toml += &format!("[[device]]\nid = \"{id}\"\nmodel = \"counter\"\nnode = \"{node}\"\n");
    }
    let file = world.folder().join("devices.toml");
    std::fs::write(&file, toml).expect("a scratch file");
    world.cloud.cli(&["device", "apply", "-f", &file.display().to_string()]).done();
}

/// Waits until each edge knows its devices and has its broker, which keeps what it says from then on.
pub(super) fn known(arena: &Arena<'_>) -> Result<(), String> {
    let ready = |edge: &crate::shops::Edge, id: &str| {
        let mut client = edge.client();
        let (device, status) = (check::answer(&mut client, &path(id))?, check::answer(&mut client, "/v1/status")?);
        if status["mqtt"]["state"] == "online" { Ok(()) } else { Err(format!("{device}, {status}")) }
    };
    within(check::CONVERGES, || each(arena).try_for_each(|(edge, id)| ready(edge, id))).map(drop)
}

fn each<'a>(arena: &Arena<'a>) -> impl Iterator<Item = (&'a crate::shops::Edge, &'static str)> {
    let edge = |node| arena.world.edges.iter().find(move |edge| edge.name == node);
    DEVICES.iter().filter_map(move |(node, id, _)| Some((edge(*node)?, *id)))
}

fn path(id: &str) -> String {
    format!("/v1/devices/{}/twin", escape(id))
}

/// What is the last that was written of something desired, as one application knows it from the outcomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Last {
    /// The revision at which it was decided.
    pub revision: u64,
    /// What it asked for.
    pub number: u64,
    /// Whether it stood in any case: it was not made beside another one.
    pub stood: bool,
}

/// What may stand of what several have written: what was decided last, and where that was merged, the last of another one.
fn may_stand(lasts: &[Last]) -> Vec<u64> {
    let newest = lasts.iter().max_by_key(|last| last.revision);
    let others = |newest: &Last| lasts.iter().filter(|last| !newest.stood || *last == newest).map(|last| last.number).collect();
    newest.map(others).unwrap_or_default()
}

/// All has calmed down: both sides show what the device was acknowledged, and it has done what is desired.
pub(super) fn all(arena: &Arena<'_>) {
    for device in &arena.devices {
        let Some((edge, _)) = each(arena).find(|(_, id)| *id == device.id) else { continue };
        let said = device.said.load(Ordering::Relaxed);
        let mut clients = [arena.world.cloud.client(), edge.client()];
        let settled = within(check::CONVERGES, || settled(&mut clients, device.id, said));
        if let Err(shown) = settled {
            arena.findings.add(&format!("lost: {} was acknowledged number {said} and may not rest, but: {shown}", device.id));
            continue;
        }
        let twin = check::answer(&mut clients[0], &path(device.id)).unwrap_or_default();
        for property in DESIRED {
            let key = format!("{}/{property}", device.id);
            let lasts: Vec<Last> = arena.apps.iter().filter_map(|app| app.book().desired.get(&key).cloned()).collect();
            let (found, expected) = (twin["properties"][property]["desired"]["value"].as_u64(), may_stand(&lasts));
            if !expected.is_empty() && !found.is_some_and(|found| expected.contains(&found)) {
                arena.findings.add(&format!("lost: {key} is desired to be {found:?}; what was written last is one of {lasts:?}"));
            }
        }
    }
}

fn settled(clients: &mut [Client; 2], id: &str, said: u64) -> Result<(), String> {
    let [cloud, edge] = clients.each_mut().map(|client| check::answer(client, &path(id)));
    let (cloud, edge) = (cloud?, edge?);
    let shown = || format!("in the cloud {}, at the edge {}", cloud["properties"], edge["properties"]);
    let count = &cloud["properties"]["count"]["reported"];
    let newest = said == 0 || (count["value"] == said && count["at"] == stamp(said));
    let done = DESIRED.iter().all(|property| cloud["properties"][*property]["in_sync"] == true);
    if newest && done && cloud["properties"] == edge["properties"] { Ok(()) } else { Err(shown()) }
}

/// As the API spells when a number was measured.
fn stamp(number: u64) -> String {
    api::shapes::Time(BEGAN_MS + number).to_string()
}

/// What only one side counts up: it never goes back, whoever looks. A broker beside edgehub says again what edgehub did not acknowledge,
/// also behind what came after it: there a count may go back for a moment.
#[derive(Default)]
pub(super) struct Seen {
    newest: BTreeMap<String, u64>,
}

impl Seen {
    /// What is wrong with a twin that was told of.
    pub(super) fn twin(&mut self, record: &Value) -> Option<String> {
        let id = record["key"].as_str()?;
        let inside = DEVICES.iter().any(|(_, device, inside)| *device == id && *inside);
        let counted =
            if inside { vec!["reported.count", "desired.target", "desired.mode"] } else { vec!["desired.target", "desired.mode"] };
        counted.into_iter().find_map(|field| {
            let now = record["value"][field]["value"].as_u64()?;
            let before = self.newest.insert(format!("{id} {field}"), now).unwrap_or(0);
            (now < before).then(|| format!("{field} of {id} went from {before} back to {now}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_two_writers_the_later_one_stands_and_after_a_merge_either_may() {
        let last = |revision, number, stood| Last { revision, number, stood };
        assert!(may_stand(&[]).is_empty());
        assert_eq!(may_stand(&[last(7, 1, true)]), [1]);
        assert_eq!(may_stand(&[last(7, 1, true), last(8, 2, true)]), [2]);
        assert_eq!(may_stand(&[last(7, 1, true), last(8, 2, false)]), [1, 2]);
        assert_eq!(may_stand(&[last(9, 1, true), last(8, 2, false)]), [1]);
    }

    #[test]
    fn a_count_that_goes_back_is_seen_where_nothing_is_said_twice() {
        let mut seen = Seen::default();
        let twin = |id: &str, count: u64| json!({"key": id, "value": {"reported.count": {"value": count}}});
        assert_eq!((seen.twin(&twin("boiler", 3)), seen.twin(&twin("boiler", 3)), seen.twin(&twin("cellar/pump", 3))), (None, None, None));
        assert!(seen.twin(&twin("boiler", 2)).is_some_and(|wrong| wrong.contains("3 back to 2")));
        assert_eq!(seen.twin(&twin("cellar/pump", 2)), None);
    }
}
