//! A whole history from one seed: applications at three nodes and in the cloud, links that break, power that fails.

use metamanager::LocalRequest;

use proto::device::TWINS;

use super::devices::desired;
use super::dice::Dice;
use super::edge::TALLY;
use super::words::{add, check, create, delete, merge, put};
use super::{Fault, Lab, Side};

/// What the shops share: fields, counters and bounds; sales; orders with a state; a part of the stock each.
pub(super) const DEFINITIONS: [(&str, &str); 5] = [
    (TALLY, r#"{"fields":{"n":{"type":"counter"}}}"#),
    ("goods", r#"{"fields":{"n":{"type":"counter","min":0},"m":{"type":"counter","min":0,"on_violation":"reject"}},"groups":[["a","b"]]}"#),
    ("sales", r#"{"policy":"append"}"#),
    ("orders", r#"{"policy":"guarded","fields":{"s":{"guard":true,"transitions":{"1":["2"],"2":["1","3"]}}}}"#),
    ("parts", r#"{"partition":{"field":"W","label":"site"}}"#),
];
const NODES: [(&str, &str); 3] = [("lyon", "lyon"), ("oslo", "oslo"), ("rome", "rome,lyon")];
pub(super) const SITES: [&str; 4] = ["lyon", "oslo", "rome", "lyon,oslo"];
const STEPS: u64 = 60;

/// Runs one history to its end and returns its laboratory, in sync.
pub fn run(seed: u64) -> Lab {
    on(Lab::new(), seed)
}

/// The same with an empty laboratory of another kind.
pub fn on(mut lab: Lab, seed: u64) -> Lab {
    let mut dice = Dice::new(seed);
    lab.streams = (seed % 4 == 3).then(|| Dice::new(seed ^ 0x7175_6963));
    lab.road.delay_ms = 1 + dice.below(20);
    lab.road.rate = dice.pick(&[10_000_000, 125_000, 20_000]);
    lab.store_ms = 1 + dice.below(6);
    for (name, json) in DEFINITIONS {
        lab.define(name, json);
    }
    let early = dice.one_in(2);
    if early {
        lab.in_cloud((1..4).map(|id| put(TALLY, &id.to_string(), r#"{"n":100}"#)).collect());
    }
    for (name, site) in NODES {
        lab.join(name, &[("site", site)]);
    }
    if !early {
        lab.in_cloud((1..4).map(|id| put(TALLY, &id.to_string(), r#"{"n":100}"#)).collect());
    }
    let mut plant = Plant::new(&mut lab, seed);
    for _ in 0..STEPS {
        plant.step(&mut lab);
        step(&mut lab, &mut dice);
        let pause = dice.below(40);
        lab.pass(if dice.one_in(20) { pause * 200 } else { pause });
    }
    (0..lab.edges.len()).for_each(|node| lab.fill_disk(node, false));
    (0..lab.edges.len()).for_each(|node| lab.limit(node, None));
    (0..lab.edges.len()).filter(|node| !lab.edges[*node].online).collect::<Vec<_>>().into_iter().for_each(|node| lab.online(node, true));
    lab.converge(600_000);
    super::check::never_differed(&lab);
    lab
}

/// What `parts` and `wares` may become: who gets them, and by which label they are cut.
pub(super) const MOVES: [(&str, &str); 6] = [
    ("parts", r#"{"partition":{"field":"W","label":"site"}}"#),
    ("parts", r#"{"partition":{"field":"W","label":"zone"}}"#),
    ("parts", r#"{"partition":{"field":"W","label":"site"},"nodes":{"role":"shop"}}"#),
    ("wares", r#"{"nodes":{"role":"shop"}}"#),
    ("wares", r#"{"nodes":{"role":"bank"}}"#),
    ("wares", "{}"),
];
const DAY_MS: u64 = 86_400_000;
const DEVICES: [&str; 3] = ["boiler", "fan", "line/pump"];

/// Devices that report beside all that, are moved, and of which something is desired. They have chances of their own.
struct Plant {
    dice: Dice,
    said: u64,
}

impl Plant {
    fn new(lab: &mut Lab, seed: u64) -> Self {
        lab.define_devices();
        for (device, (node, _)) in DEVICES.iter().zip(NODES) {
            lab.declare(device, node);
        }
        Self { dice: Dice::new(seed ^ 0x6465_7669), said: 0 }
    }

    fn step(&mut self, lab: &mut Lab) {
        let dice = &mut self.dice;
        let (node, device) = (dice.below(NODES.len() as u64) as usize, dice.pick(&DEVICES));
        let property = dice.pick(&["temp", "rpm"]);
        match dice.below(12) {
            0..=4 => {
                // What a node refuses is no promise: the device is another node's, or its disk is full.
                for _ in 0..1 + dice.below(6) {
                    self.said += 1;
                    let field = format!("reported.{property}");
                    let _refused = lab.try_report(node, device, &[(&field, &self.said.to_string())]);
                }
            }
            5 => drop(lab.try_report(node, device, &[("state", dice.pick(&[r#""online""#, r#""offline""#]))])),
            6 => drop(lab.try_in_cloud(vec![merge(TWINS, device, &desired(property, &dice.below(100).to_string(), "cloud"))])),
            7 if lab.twin_at(node, device).is_some() => {
                drop(lab.try_write(node, vec![merge(TWINS, device, &desired(property, &dice.below(100).to_string(), NODES[node].0))]));
            }
            8 if dice.one_in(2) => lab.declare(device, NODES[node].0),
            _ => {}
        }
    }
}

/// A history of rights that come and go, to its end: labels, definitions, records that move, and long absences after which
/// the hub has forgotten what was deleted.
pub fn moves(seed: u64) -> Lab {
    let mut dice = Dice::new(seed ^ 0x6d6f_7665);
    let mut lab = Lab::new();
    lab.road.rate = dice.pick(&[10_000_000, 50_000]);
    lab.store_ms = 1 + dice.below(6);
    lab.define(TALLY, DEFINITIONS[0].1);
    for at in [0, 3] {
        lab.define(MOVES[at].0, MOVES[at].1);
    }
    lab.in_cloud((1..4).map(|id| put(TALLY, &id.to_string(), r#"{"n":100}"#)).collect());
    for (name, site) in NODES {
        lab.join(name, &[("site", site), ("zone", "oslo"), ("role", "shop")]);
    }
    let mut plant = Plant::new(&mut lab, seed);
    for _ in 0..STEPS {
        plant.step(&mut lab);
        shift(&mut lab, &mut dice);
        let pause = dice.below(40);
        lab.pass(if dice.one_in(10) { pause * 50 } else { pause });
    }
    (0..lab.edges.len()).filter(|node| !lab.edges[*node].online).collect::<Vec<_>>().into_iter().for_each(|node| lab.online(node, true));
    lab.converge(600_000);
    super::check::never_differed(&lab);
    lab
}

fn shift(lab: &mut Lab, dice: &mut Dice) {
    let node = dice.below(NODES.len() as u64) as usize;
    match dice.below(20) {
        0 => lab.cut(node),
        1 => lab.kill(if dice.one_in(3) { Side::Cloud } else { Side::Edge(node) }),
        2 => {
            let side = if dice.one_in(3) { Side::Cloud } else { Side::Edge(node) };
            lab.fault(side, Fault { after: dice.below(6), commits: dice.one_in(2) });
        }
        3 => lab.online(node, dice.one_in(2)),
        4 | 5 => lab.label(NODES[node].0, dice.pick(&["site", "zone"]), dice.pick(&SITES)),
        6 => lab.label(NODES[node].0, "role", dice.pick(&["shop", "bank"])),
        7 => {
            let (name, json) = dice.pick(&MOVES);
            lab.define(name, json);
        }
        8 if dice.one_in(2) => long_night(lab, dice),
        8 => lab.tidy(),
        9..=13 => drop(lab.try_in_cloud(vec![move_or_sell(dice)])),
        _ => drop(lab.try_write(node, vec![move_or_sell(dice)])),
    }
}

/// Nobody is on the network, for longer than anything is remembered; some stay away.
fn long_night(lab: &mut Lab, dice: &mut Dice) {
    let online: Vec<_> = (0..NODES.len()).filter(|node| lab.edges[*node].online).collect();
    online.iter().for_each(|node| lab.online(*node, false));
    lab.tidy();
    lab.pass((20 + dice.below(20)) * DAY_MS);
    lab.tidy();
    online.into_iter().filter(|_| !dice.one_in(3)).for_each(|node| lab.online(node, true));
}

pub(super) fn move_or_sell(dice: &mut Dice) -> LocalRequest {
    let id = &(1 + dice.below(6)).to_string();
    let site = dice.pick(&["lyon", "oslo", "rome", "nowhere"]);
    match dice.below(10) {
        0 | 1 => add(TALLY, &(1 + dice.below(3)).to_string(), "n", dice.below(9) as i64 - 6),
        2 => delete("parts", id, true),
        3 => merge("parts", id, &format!(r#"{{"W":"{site}"}}"#)),
        4 => merge("parts", id, &format!(r#"{{"x{}":{}}}"#, dice.below(3), dice.below(100))),
        5 => merge("parts", id, &format!(r#"{{"x{}":null}}"#, dice.below(3))),
        6 => put("wares", id, &format!(r#"{{"x":{}}}"#, dice.below(100))),
        7 => delete("wares", id, true),
        _ => put("parts", id, &format!(r#"{{"W":"{site}","x0":{}}}"#, dice.below(100))),
    }
}

fn step(lab: &mut Lab, dice: &mut Dice) {
    let node = dice.below(NODES.len() as u64) as usize;
    match dice.below(26) {
        0 => lab.cut(node),
        1 => lab.half_open(node),
        2 => lab.freeze(node, dice.below(3_000)),
        3 => lab.online(node, dice.one_in(2)),
        4 => {
            let side = if dice.one_in(3) { Side::Cloud } else { Side::Edge(node) };
            lab.fault(side, Fault { after: dice.below(6), commits: dice.one_in(2) });
        }
        5 => lab.kill(if dice.one_in(3) { Side::Cloud } else { Side::Edge(node) }),
        6 if dice.one_in(2) => lab.label(NODES[node].0, "site", dice.pick(&SITES)),
        24 => lab.fill_disk(node, dice.one_in(2)),
        25 => lab.limit(node, dice.one_in(2).then_some(1 + 2_000 * dice.below(20))),
        // What a side refuses at once is no promise.
        7..=14 => drop(lab.try_in_cloud(write(dice, NODES.len()))),
        _ => drop(lab.try_write(node, write(dice, node))),
    }
}

/// One op, sometimes several.
pub(super) fn write(dice: &mut Dice, who: usize) -> Vec<LocalRequest> {
    let ops = if dice.one_in(4) { 1 + dice.below(4) } else { 1 };
    (0..ops).map(|_| request(dice, who)).collect()
}

fn request(dice: &mut Dice, who: usize) -> LocalRequest {
    let id = &(1 + dice.below(3)).to_string();
    let small = dice.below(4);
    match dice.below(10) {
        0..=2 => add(TALLY, id, "n", dice.below(9) as i64 - 6),
        3..=5 => good(dice, id),
        // Each names its till: two sales of one key and content are one sale, and the second has no effect.
        6 => create("sales", &dice.below(30).to_string(), &format!(r#"{{"q":{},"till":{who}}}"#, dice.below(2))),
        7 => match small {
            0 => put("orders", id, r#"{"s":"1"}"#),
            1 => delete("orders", id, false),
            _ => merge("orders", id, &format!(r#"{{"s":"{}","by":{}}}"#, 1 + dice.below(3), dice.below(3))),
        },
        _ => {
            let site = dice.pick(&["lyon", "oslo", "rome", "nowhere"]);
            match small {
                0 => delete("parts", id, false),
                1 => merge("parts", id, &format!(r#"{{"W":"{site}"}}"#)),
                2 => merge("parts", id, &format!(r#"{{"x":{}}}"#, dice.below(100))),
                _ => put("parts", id, &format!(r#"{{"W":"{site}","x":{}}}"#, dice.below(100))),
            }
        }
    }
}

fn good(dice: &mut Dice, id: &str) -> LocalRequest {
    let (few, figure) = (dice.below(4), dice.below(100));
    match dice.below(8) {
        0 => put("goods", id, &format!(r#"{{"a":{few},"b":{figure}}}"#)),
        1 => create("goods", id, &format!(r#"{{"a":{few},"n":{figure},"m":3}}"#)),
        2 => merge("goods", id, &format!(r#"{{"a":{few}}}"#)),
        3 => merge("goods", id, &format!(r#"{{"b":{figure},"c":null}}"#)),
        4 => merge("goods", id, &format!(r#"{{"n":{figure}}}"#)),
        5 => add("goods", id, if few > 1 { "n" } else { "m" }, figure as i64 % 7 - 4),
        6 => delete("goods", id, few > 0),
        _ => check("goods", id, "a", &few.to_string()),
    }
}
