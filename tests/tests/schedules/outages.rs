//! An outage of any length, from 10 ms to beyond what is remembered of deletions, with one change: it is delivered, and nothing
//! else has to happen for that.

use tests::lab::Lab;
use tests::lab::words::{add, delete, merge, put};

use super::{n, shop};

const SECOND_MS: u64 = 1_000;
const HOUR_MS: u64 = 3_600 * SECOND_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Cloud,
    Shop,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Cutting,
    Inside,
    Mending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Both ends are told.
    Cut,
    /// Nothing gets through, and nobody is told.
    Hole,
    /// The node's end is gone, and the cloud's lives on.
    HalfOpen,
}

const BYS: [By; 3] = [By::Cloud, By::Shop, By::Both];
const ATS: [At; 3] = [At::Cutting, At::Inside, At::Mending];
const KINDS: [Kind; 3] = [Kind::Cut, Kind::Hole, Kind::HalfOpen];

struct Ladder {
    lab: Lab,
    turn: i64,
    sold: i64,
}

impl Ladder {
    fn new() -> Self {
        let mut lab = shop(&["lyon"]);
        lab.define("devices", "{}");
        lab.back_off(0, 7);
        lab.in_cloud(vec![put("devices", "pump", r#"{"desired":0,"reported":0}"#)]);
        lab.converge(60_000);
        Self { lab, turn: 0, sold: 0 }
    }

    fn change(&mut self, by: By) {
        let turn = self.turn;
        if by != By::Shop {
            self.lab.in_cloud(vec![merge("devices", "pump", &format!(r#"{{"desired":{turn}}}"#))]);
        }
        if by != By::Cloud {
            self.sold += 1;
            self.lab.write(0, vec![merge("devices", "pump", &format!(r#"{{"reported":{turn}}}"#)), add("tally", "1", "n", -1)]);
        }
    }

    fn step(&mut self, lasts_ms: u64, kind: Kind, by: By, at: At) {
        self.turn += 1;
        let ended = self.lab.ends.len();
        if at == At::Cutting {
            self.change(by);
        }
        match kind {
            Kind::Cut => self.lab.online(0, false),
            Kind::Hole => self.lab.darken(0, lasts_ms),
            Kind::HalfOpen => {
                self.lab.edges[0].online = false;
                self.lab.half_open(0);
            }
        }
        self.lab.pass(lasts_ms / 2);
        if at == At::Inside {
            self.change(by);
        }
        self.lab.pass(lasts_ms - lasts_ms / 2);
        self.lab.edges[0].online = true;
        if at == At::Mending {
            self.change(by);
        }
        // One try that began too early, and the longest wait after it.
        self.lab.converge(40_000);
        let what = format!("{kind:?} of {lasts_ms} ms, changed by {by:?} at {at:?}");
        let codes = self.lab.ends[ended..].iter().map(|end| end.reason.code.clone());
        let codes: Vec<_> = codes.filter(|code| code != "silence" && code != "handshake_timeout" && code != "replaced").collect();
        assert!(codes.is_empty(), "{what}: {codes:?}");
        let (there, here) = (self.lab.cloud.value("devices", "pump").unwrap(), self.lab.edges[0].value("devices", "pump").unwrap());
        assert_eq!(there, here, "{what}");
        let changed = |name: &str| here.contains(&format!(r#""{name}":{}"#, self.turn));
        assert_eq!((changed("desired"), changed("reported")), (by != By::Shop, by != By::Cloud), "{what}: {here}");
        assert_eq!(n(&mut self.lab, 0, "tally"), Some(20 - self.sold), "{what}");
    }
}

/// Every length up to beyond the deadline of silence, of every kind, with every change at every moment.
#[test]
fn outages_of_milliseconds_to_minutes() {
    let mut ladder = Ladder::new();
    for lasts_ms in [10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 44_000, 46_000, 60_000, 300_000] {
        for (kind, by, at) in KINDS.into_iter().flat_map(|kind| BYS.into_iter().flat_map(move |by| ATS.map(|at| (kind, by, at)))) {
            ladder.step(lasts_ms, kind, by, at);
        }
    }
}

/// Hours and months. Beyond the retention a record is deleted meanwhile, and of that nothing is left to be sent.
#[test]
fn outages_of_hours_and_months() {
    let mut ladder = Ladder::new();
    for (lasts_ms, kind) in [(HOUR_MS, Kind::Hole), (6 * HOUR_MS, Kind::Hole), (6 * HOUR_MS, Kind::HalfOpen), (DAY_MS, Kind::Cut)] {
        for (by, at) in BYS.into_iter().zip(ATS) {
            ladder.step(lasts_ms, kind, by, at);
        }
    }
    for (days, at) in [(29, At::Inside), (31, At::Cutting), (45, At::Inside), (400, At::Mending)] {
        let key = format!("gone after {days}");
        ladder.lab.in_cloud(vec![put("devices", &key, "{}")]);
        ladder.lab.converge(60_000);
        ladder.lab.online(0, false);
        ladder.lab.in_cloud(vec![delete("devices", &key, true)]);
        ladder.lab.pass(DAY_MS);
        for _ in 0..3 {
            ladder.lab.pass(days * DAY_MS / 3);
            ladder.lab.tidy();
        }
        ladder.step(DAY_MS, Kind::Cut, By::Both, at);
        assert_eq!(ladder.lab.edges[0].value("devices", &key), None, "{days} days");
    }
}
