//! Whole histories with everything that goes wrong in the field, from a plan: two to eight nodes, people at work on both sides,
//! rights that move, links, power, disks and clocks that fail, and, in some, copies and old images of either side's database.
//!
//! A [`Plan`] is a list of steps, each with chances of its own: any of them can be left out and the others stay what they are. So a
//! plan that fails is made shorter until nothing more can go ([`Plan::shortest`]).

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use proto::definition::{Definition, Labels};

use super::dice::Dice;
use super::edge::TALLY;
use super::season::{DEFINITIONS, MOVES, SITES, move_or_sell, write};
use super::words::put;
use super::{Fault, Lab, Side, check};

const NAMES: [&str; 8] = ["lyon", "oslo", "rome", "bonn", "cork", "graz", "kiel", "nice"];
const STEPS: usize = 80;
const DAY_MS: u64 = 86_400_000;
/// How long everybody may take to be in sync once nothing fails any more, simulated.
const CONVERGED_MS: u64 = 900_000;
/// So many old images of each side are kept at most.
const IMAGES: usize = 3;

/// One history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Where its chances come from.
    pub seed: u64,
    /// Which of its steps are taken.
    pub steps: Vec<usize>,
    /// Its links have streams that overtake each other, as over QUIC.
    pub streams: bool,
}

/// `17` is all of plan 17; `17:3,9` of it the steps 3 and 9; `q17` the same over links with streams.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<_> = self.steps.iter().map(ToString::to_string).collect();
        write!(f, "{}{}:{}", if self.streams { "q" } else { "" }, self.seed, steps.join(","))
    }
}

impl Plan {
    /// All of a seed's. Of six seeds three have streams, of these one has databases that are copied, lost and put back.
    pub fn of(seed: u64) -> Self {
        Self { seed, steps: (0..STEPS).collect(), streams: seed / 3 % 2 == 1 }
    }

    /// Reads what [`Plan`] shows itself as.
    pub fn parse(text: &str) -> Option<Self> {
        let (text, streams) = text.strip_prefix('q').map_or((text, false), |text| (text, true));
        let (seed, steps) = match text.split_once(':') {
            Some((seed, steps)) => (seed, steps.split(',').map(|step| step.parse().ok()).collect::<Option<_>>()?),
            None => (text, (0..STEPS).collect()),
        };
        Some(Self { seed: seed.parse().ok()?, steps, streams })
    }

    /// Runs it to its end; panics where something does not hold that must.
    pub fn run(&self) -> Lab {
        let mut sim = Sim::new(self.seed, self.streams);
        for step in &self.steps {
            let mut dice = Dice::new(self.seed.wrapping_mul(0x1000_0001).wrapping_add(*step as u64));
            sim.step(&mut dice);
            let pause = dice.below(40);
            sim.lab.pass(if dice.one_in(20) { pause * 200 } else { pause });
        }
        sim.settle();
        sim.lab
    }

    /// Runs it; what it fails with, if it does.
    ///
    /// # Errors
    /// With what a check said.
    pub fn outcome(&self) -> Result<Lab, String> {
        catch_unwind(AssertUnwindSafe(|| self.run())).map_err(|failed| {
            let text = failed.downcast_ref::<String>().cloned();
            text.or_else(|| failed.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        })
    }

    /// The shortest plan of these steps that `fails` still holds of: no step of it can be left out alone.
    pub fn shortest(mut self, mut fails: impl FnMut(&Self) -> bool) -> Self {
        let mut part = self.steps.len().div_ceil(2);
        while part > 0 {
            let mut at = 0;
            while at < self.steps.len() {
                let mut shorter = self.clone();
                shorter.steps.drain(at..(at + part).min(self.steps.len()));
                if fails(&shorter) {
                    self = shorter;
                } else {
                    at += part;
                }
            }
            part = if part == 1 { 0 } else { part.div_ceil(2) };
        }
        self
    }
}

/// What the test knows of a hub beside its file.
type Known = (BTreeMap<String, Definition>, BTreeMap<String, Labels>);

struct Sim {
    lab: Lab,
    nodes: usize,
    /// Databases are copied, lost and put back.
    copies: bool,
    hub_images: Vec<(Vec<u8>, Known)>,
    edge_images: Vec<(usize, Vec<u8>)>,
}

impl Sim {
    fn new(seed: u64, streams: bool) -> Self {
        let mut dice = Dice::new(seed ^ 0x0073_696d);
        let mut lab = if dice.one_in(2) { Lab::failing(seed) } else { Lab::new() };
        lab.streams = streams.then(|| Dice::new(seed ^ 0x7175_6963));
        lab.road.delay_ms = 1 + dice.below(20);
        lab.road.rate = dice.pick(&[10_000_000, 125_000, 50_000]);
        lab.store_ms = 1 + dice.below(6);
        for (name, json) in DEFINITIONS.iter().chain([&MOVES[3]]) {
            lab.define(name, json);
        }
        lab.in_cloud((1..4).map(|id| put(TALLY, &id.to_string(), r#"{"n":100}"#)).collect());
        let nodes = 2 + dice.below(NAMES.len() as u64 - 1) as usize;
        for name in &NAMES[..nodes] {
            lab.join(name, &[("site", name), ("zone", "oslo"), ("role", "shop")]);
        }
        Self { lab, nodes, copies: seed % 3 == 2, hub_images: Vec::new(), edge_images: Vec::new() }
    }

    fn step(&mut self, dice: &mut Dice) {
        // Also the machines that came later.
        let node = dice.below(self.lab.edges.len() as u64) as usize;
        let side = if dice.one_in(3) { Side::Cloud } else { Side::Edge(node) };
        let lab = &mut self.lab;
        match dice.below(40) {
            0 => lab.cut(node),
            1 => lab.half_open(node),
            2 => lab.freeze(node, dice.below(3_000)),
            3 => lab.darken(node, dice.below(60_000)),
            4 | 5 => self.online(node, dice.one_in(2)),
            6 => lab.fault(side, Fault { after: dice.below(6), commits: dice.one_in(2) }),
            7 => lab.kill(side),
            8 => lab.fill_disk(node, dice.one_in(2)),
            9 => lab.limit(node, dice.one_in(2).then_some(1 + 2_000 * dice.below(20))),
            // A clock that was set, or a Pi that woke up in 1970.
            10 => lab.edges[node].wall_ms = dice.pick(&[0, 1_800_000_000_000, 1_800_003_600_000, 2_100_000_000_000]),
            11 | 12 => lab.label(NAMES[node % self.nodes], dice.pick(&["site", "zone"]), dice.pick(&SITES)),
            13 => lab.label(NAMES[node % self.nodes], "role", dice.pick(&["shop", "bank"])),
            14 => {
                let (name, json) = dice.pick(&MOVES);
                lab.define(name, json);
            }
            15 => lab.tidy(),
            16 => self.long_night(dice),
            17..=19 if self.copies => self.accident(node, dice),
            // What a side refuses at once is no promise.
            20..=24 => drop(lab.try_in_cloud(write(dice, 99))),
            25..=28 => drop(lab.try_in_cloud(vec![move_or_sell(dice)])),
            29..=33 => drop(lab.try_write(node, vec![move_or_sell(dice)])),
            _ => drop(lab.try_write(node, write(dice, node))),
        }
    }

    /// Of the machines that go by one name, one is on the network at a time: which of two is the node is not for them to say.
    fn online(&mut self, node: usize, online: bool) {
        if online {
            let name = self.lab.edges[node].name.clone();
            let others: Vec<_> = (0..self.lab.edges.len()).filter(|other| *other != node && self.lab.edges[*other].name == name).collect();
            others.into_iter().for_each(|other| self.lab.online(other, false));
        }
        self.lab.online(node, online);
    }

    /// Everybody is away for longer than anything is remembered; some stay away.
    fn long_night(&mut self, dice: &mut Dice) {
        let online: Vec<_> = (0..self.lab.edges.len()).filter(|node| self.lab.edges[*node].online).collect();
        online.iter().for_each(|node| self.lab.online(*node, false));
        self.lab.tidy();
        self.lab.pass((20 + dice.below(20)) * DAY_MS);
        self.lab.tidy();
        online.into_iter().filter(|_| !dice.one_in(3)).for_each(|node| self.lab.online(node, true));
    }

    /// A database is saved, put back, lost, or copied to another machine.
    fn accident(&mut self, node: usize, dice: &mut Dice) {
        let known = |lab: &Lab| (lab.cloud.definitions.clone(), lab.cloud.labels.clone());
        match dice.below(7) {
            0 | 1 => {
                let image = self.lab.image(Side::Cloud);
                self.hub_images.truncate(IMAGES - 1);
                self.hub_images.insert(0, (image, known(&self.lab)));
            }
            2 | 3 => {
                let image = self.lab.image(Side::Edge(node));
                self.edge_images.truncate(IMAGES - 1);
                self.edge_images.insert(0, (node, image));
            }
            4 if !self.hub_images.is_empty() => {
                let (image, (definitions, labels)) = &self.hub_images[dice.below(self.hub_images.len() as u64) as usize];
                self.lab.put_back(Side::Cloud, image);
                (self.lab.cloud.definitions, self.lab.cloud.labels) = (definitions.clone(), labels.clone());
            }
            5 if !self.edge_images.is_empty() => {
                let (of, image) = self.edge_images[dice.below(self.edge_images.len() as u64) as usize].clone();
                self.lab.put_back(Side::Edge(of), &image);
            }
            6 if self.lab.edges.len() < 2 * self.nodes => {
                let image = dice.one_in(2).then(|| self.lab.image(Side::Edge(node)));
                let other = match image {
                    Some(image) => self.lab.twin(node, &image),
                    None => self.lab.wiped(node),
                };
                self.online(other, true);
            }
            _ => {}
        }
    }

    /// Nothing fails any more, and every node is on the network.
    fn settle(&mut self) {
        for node in 0..self.lab.edges.len() {
            self.lab.fill_disk(node, false);
            self.lab.limit(node, None);
        }
        for name in &NAMES[..self.nodes] {
            let of_name: Vec<_> = (0..self.lab.edges.len()).filter(|node| self.lab.edges[*node].name.as_str() == *name).collect();
            if !of_name.iter().any(|node| self.lab.edges[*node].online) {
                self.online(of_name[0], true);
            }
        }
        self.lab.converge(CONVERGED_MS);
        if !self.copies {
            check::never_differed(&self.lab);
        }
    }
}
