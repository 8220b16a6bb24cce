#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::*;

const PACE: Pace = Pace { rate: 20, burst: 10 };

fn name(number: u64) -> NodeName {
    NodeName::parse(&format!("shop-{number}")).unwrap()
}

fn turns(pace: Pace) -> Turns {
    Turns::new(pace, &[7; 32])
}

/// One that knows tickets.
fn ask(turns: &mut Turns, number: u64, ticket: &[u8], now_ms: u64) -> Turn {
    turns.ask(&name(number), ticket, true, now_ms)
}

fn ticket_of(turn: Turn) -> Vec<u8> {
    match turn {
        Turn::Later { ticket, .. } | Turn::Soon { ticket, .. } => ticket,
        Turn::Now => panic!("it was let in"),
    }
}

/// Takes so many turns that the next one comes after `ms`.
fn fill_up_to(turns: &mut Turns, ms: u64, now_ms: u64) {
    let mut number = 1_000_000;
    while turns.next_us < (now_ms + ms) * MS + turns.kept_us {
        turns.ask(&name(number), &[], true, now_ms);
        number += 1;
    }
}

/// A fleet whose nodes come when they are told, or where they stay.
struct Fleet {
    turns: Turns,
    /// By time and node: the ticket.
    due: BTreeMap<(u64, u64), Vec<u8>>,
    admitted: Vec<(u64, u64)>,
    hellos: usize,
}

impl Fleet {
    fn new(pace: Pace, nodes: u64) -> Self {
        let due = (0..nodes).map(|node| ((0, node), Vec::new())).collect();
        Self { turns: turns(pace), due, admitted: Vec::new(), hellos: 0 }
    }

    /// `late_ms`: how much later than it was told a node comes; none: it never does.
    fn run(&mut self, patient: bool, late_ms: impl Fn(u64) -> Option<u64>) {
        while let Some(((now_ms, node), ticket)) = self.due.pop_first() {
            self.hellos += 1;
            // On the open link the hub itself keeps the ticket.
            let again = match self.turns.ask(&name(node), &ticket, patient, now_ms) {
                Turn::Now => {
                    self.admitted.push((now_ms, node));
                    continue;
                }
                Turn::Soon { at_ms, ticket } => Some((at_ms, ticket)),
                Turn::Later { retry_ms, ticket } => {
                    let ticket = if patient { ticket } else { Vec::new() };
                    late_ms(node).map(|late_ms| (now_ms + retry_ms + late_ms, ticket))
                }
            };
            if let Some((at_ms, ticket)) = again {
                self.due.insert((at_ms, node), ticket);
            }
        }
    }

    fn is_paced(&self, pace: Pace) -> bool {
        let (rate, burst) = (u64::from(pace.rate), u64::from(pace.burst));
        self.admitted.iter().enumerate().all(|(before, (at_ms, _))| (before as u64) < burst + rate * at_ms / 1000)
    }
}

#[test]
fn five_hundred_at_once_come_in_at_the_rate_and_in_the_order_they_came() {
    let mut fleet = Fleet::new(PACE, 500);
    fleet.run(true, |_| Some(0));
    assert!(fleet.is_paced(PACE));
    let order: Vec<_> = fleet.admitted.iter().map(|(_, node)| *node).collect();
    assert_eq!(order, (0..500).collect::<Vec<_>>());
    assert_eq!(fleet.admitted.last().unwrap().0, 490 * 1000 / 20, "no turn was lost");
    assert!(fleet.hellos <= 500 + 490 + 20, "nobody came more often than it had to: {}", fleet.hellos);
    assert_eq!(fleet.turns.counts(30_000).waiting, 0);
    assert!(fleet.turns.used.len() <= 20 * 11, "{}", fleet.turns.used.len());
}

#[test]
fn all_come_in_also_when_each_is_a_little_late_and_half_of_them_never_come_back() {
    let mut fleet = Fleet::new(PACE, 500);
    fleet.run(true, |node| (node % 2 == 0).then_some(node * 37 % 4_000));
    assert!(fleet.is_paced(PACE));
    assert!(fleet.admitted.len() >= 250);
    assert!((0..500).step_by(2).all(|node| fleet.admitted.iter().any(|(_, own)| *own == node)));
    assert!(fleet.admitted.iter().all(|(at_ms, _)| *at_ms < 25_000 + 4_000), "who stayed away held up nobody");
}

#[test]
fn edges_that_know_no_tickets_come_in_at_the_rate_too() {
    let mut fleet = Fleet::new(PACE, 500);
    fleet.run(false, |_| Some(0));
    assert!(fleet.is_paced(PACE));
    assert_eq!(fleet.admitted.len(), 500);
    assert!(fleet.admitted.last().unwrap().0 < 2 * 25_000, "{:?}", fleet.admitted.last());
}

#[test]
fn who_has_waited_goes_before_who_comes_new() {
    let mut turns = turns(PACE);
    fill_up_to(&mut turns, 3_000, 0);
    let Turn::Later { retry_ms, ticket: first } = ask(&mut turns, 1, &[], 0) else { panic!() };
    assert_eq!(retry_ms, 3_000);
    fill_up_to(&mut turns, 30_000, 0);
    assert!(matches!(ask(&mut turns, 2, &[], 3_000), Turn::Later { retry_ms: 27_000, .. }));
    assert_eq!(ask(&mut turns, 1, &first, 3_000), Turn::Now);
}

#[test]
fn who_comes_early_keeps_its_place() {
    let mut turns = turns(PACE);
    fill_up_to(&mut turns, 3_000, 0);
    let first = ticket_of(ask(&mut turns, 1, &[], 0));
    let next_us = turns.next_us;
    assert_eq!(ask(&mut turns, 1, &first, 500), Turn::Later { retry_ms: 2_500, ticket: first.clone() });
    assert_eq!(ask(&mut turns, 1, &first, 2_400), Turn::Soon { at_ms: 3_000, ticket: first.clone() }, "it may stay on the line");
    assert_eq!(turns.next_us, next_us, "and costs no second turn");
    assert_eq!(ask(&mut turns, 1, &first, 3_000), Turn::Now);
}

#[test]
fn a_ticket_that_is_no_good_is_a_newcomers() {
    let mut turns = turns(PACE);
    fill_up_to(&mut turns, 3_000, 0);
    let own = ticket_of(ask(&mut turns, 1, &[], 0));
    fill_up_to(&mut turns, 20_000, 0);
    let newcomer = |turns: &mut Turns, number, ticket: &[u8], now_ms| matches!(ask(turns, number, ticket, now_ms), Turn::Later { retry_ms, .. } if retry_ms > 5_000);
    assert!(newcomer(&mut turns, 2, &own, 3_000), "of another node");
    let mut forged = own.clone();
    forged[..8].fill(0);
    assert!(newcomer(&mut turns, 1, &forged, 3_000), "forged");
    assert!(newcomer(&mut turns, 1, &own[..own.len() - 1], 3_000), "cut short");
    assert!(newcomer(&mut turns, 1, &[0; 64], 3_000), "not ours");
    let mut restarted = Turns::new(PACE, &[8; 32]);
    fill_up_to(&mut restarted, 20_000, 0);
    assert!(newcomer(&mut restarted, 1, &own, 3_000), "of another start of the hub");
    assert_eq!(ask(&mut turns, 1, &own, 3_000), Turn::Now);
    assert!(newcomer(&mut turns, 1, &own, 3_100), "used before");
    let late = ticket_of(ask(&mut turns, 3, &[], 3_000));
    let turn_ms = (turns.next_us - turns.every_us - turns.kept_us) / MS;
    fill_up_to(&mut turns, 40_000, 3_000);
    assert!(newcomer(&mut turns, 3, &late, turn_ms + TURN_LATE_MS + 1), "too old");
}

/// KubeEdge #3567 and #7278: one node that comes again and again.
#[test]
fn one_node_cannot_take_the_turns_of_the_others() {
    let mut turns = turns(PACE);
    let mut admitted = 0;
    for now_ms in (0..60_000).step_by(10) {
        admitted += u64::from(ask(&mut turns, 1, &[], now_ms) == Turn::Now);
    }
    let allowed = 60_000 / TURN_OWN_EVERY_MS + u64::from(TURN_OWN_BURST);
    assert!((100..=allowed).contains(&admitted), "{admitted} of {allowed}");
    assert_eq!(ask(&mut turns, 2, &[], 60_000), Turn::Now, "another one does not wait for it");
    for _ in 0..100 {
        ask(&mut turns, 1, &[], 60_000);
    }
    assert!(turns.own.len() <= 2);
    turns.clean(200_000 * MS);
    assert!(turns.own.is_empty(), "nothing is kept of who comes no more");
}

#[test]
fn the_line_has_an_end() {
    let mut turns = turns(PACE);
    fill_up_to(&mut turns, TURNS_AHEAD_MS + 1, 0);
    let next_us = turns.next_us;
    let Turn::Later { retry_ms, ticket } = ask(&mut turns, 1, &[], 0) else { panic!() };
    assert!(ticket.is_empty() && (TURN_RETRY_BLIND_MS / 2..=TURN_RETRY_BLIND_MS).contains(&retry_ms));
    assert_eq!(turns.next_us, next_us);
    assert_eq!(turns.counts(0).waiting, (TURNS_AHEAD_MS + 1).div_ceil(50));
    assert!(!ticket_of(ask(&mut turns, 2, &[], 2_000)).is_empty(), "it moves on");
}

#[test]
fn a_quiet_hub_lets_a_burst_in_at_any_time() {
    for now_ms in [0, 1, 3_600_000] {
        let mut turns = turns(PACE);
        let at_once = (0..100).filter(|number| ask(&mut turns, *number, &[], now_ms) == Turn::Now).count();
        assert_eq!(at_once, 10);
    }
    let mut fast = turns(Pace { rate: 5_000_000, burst: 0 });
    assert!((0..1_000).any(|number| ask(&mut fast, number, &[], 10) == Turn::Now), "no configuration divides by zero");
}
