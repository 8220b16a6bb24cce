//! What happened, in order, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use tests::http::Client;

/// What the hub says of its line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    admitted: u64,
    waiting: u64,
    with_ticket: u64,
    without: u64,
}

#[derive(Debug)]
pub(super) enum Event {
    /// A node says Hello; `new`: it has no ticket.
    Hello { new: bool },
    /// A node is told to come back.
    Told { node: usize, ticket: Vec<u8>, retry_ms: u64 },
    /// A node was let in.
    In { node: usize },
    /// A dial failed, or a link broke before an answer.
    Failed { node: usize, why: String },
    /// A record is about to be written for the connected nodes.
    Serves,
    /// Each of them has acknowledged it.
    Served,
    /// The hub was asked after the event of this number.
    Counted { asked: usize, counts: Counts },
}

#[derive(Default)]
pub(super) struct Story(Mutex<Vec<Event>>);

impl Story {
    pub(super) fn note(&self, event: Event) {
        self.events().push(event);
    }

    pub(super) fn len(&self) -> usize {
        self.events().len()
    }

    fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        self.0.lock().unwrap()
    }

    pub(super) fn all_in(&self, nodes: usize) -> bool {
        self.events().iter().filter(|event| matches!(event, Event::In { .. })).count() == nodes
    }

    /// What went wrong on the way.
    pub(super) fn failures(&self) -> Vec<String> {
        self.events().iter().filter_map(|event| if let Event::Failed { why, .. } = event { Some(why.clone()) } else { None }).collect()
    }

    /// Notes what the hub counts.
    pub(super) fn count(&self, api: &mut Client) {
        let asked = self.len();
        let text = String::from_utf8(api.get("/metrics").unwrap().expect(200).body).unwrap();
        let figure = |name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
        };
        let counts = Counts {
            admitted: figure("tombolo_sessions_admitted_total"),
            waiting: figure("tombolo_sessions_waiting"),
            with_ticket: figure(r#"tombolo_sessions_deferred_total{ticket="yes"}"#),
            without: figure(r#"tombolo_sessions_deferred_total{ticket="no"}"#),
        };
        self.note(Event::Counted { asked, counts });
    }

    /// For whoever reads the output.
    pub(super) fn in_figures(&self) -> String {
        let events = self.events();
        let count = |kind: fn(&Event) -> bool| events.iter().filter(|event| kind(event)).count();
        let most = answered_meanwhile(&events).into_iter().max();
        format!(
            "{} Hellos, {} told to come back, {} dials failed; {} batches for others meanwhile, at most {} of the crowd answered during one",
            count(|event| matches!(event, Event::Hello { .. })),
            count(|event| matches!(event, Event::Told { .. })),
            count(|event| matches!(event, Event::Failed { .. })),
            count(|event| matches!(event, Event::Served)),
            most.unwrap_or(0)
        )
    }

    /// Nobody came in before its turn, turns were as far apart as the hub is configured, and nobody lost one.
    pub(super) fn says_that_turns_were_kept(&self, nodes: usize, rate: u64) {
        let events = self.events();
        let turns = turns(&events);
        let came: Vec<_> = events.iter().filter_map(let_in).collect();
        assert_eq!((came.len(), came.iter().collect::<BTreeSet<_>>().len()), (nodes, nodes), "each of them once");
        let every_us = 1_000_000 / rate;
        let line: Vec<_> = turns.values().copied().collect::<BTreeSet<_>>().into_iter().collect();
        assert_eq!(line.len(), turns.len(), "two nodes have one turn");
        assert!(line.windows(2).all(|pair| pair[1] - pair[0] >= every_us), "turns come faster than {rate} a second");
        let counted = counted(&events);
        let (first, last) = (counted[0].2, counted[counted.len() - 1].2);
        assert_eq!(last.admitted - first.admitted, nodes as u64, "a session ended, or began twice");
        assert_eq!(last.with_ticket - first.with_ticket, told(&events));
        assert_eq!((last.without - first.without, last.waiting), (0, 0), "each had a place, and none is left");
        let longest = counted.iter().map(|(_, _, counts)| counts.waiting).max().unwrap();
        assert!(!turns.is_empty() || longest <= rate, "{longest} waited, and none of them was told to come back");
        each_in_its_turn(&events, &counted, &turns, rate);
    }

    /// Batches of the connected nodes go on all the time: of twenty, nineteen are acknowledged before so many more of the crowd were
    /// answered. One may have been under way when all of the crowd came in one moment.
    pub(super) fn says_that_others_were_served(&self, most: usize) {
        let meanwhile = answered_meanwhile(&self.events());
        let late = meanwhile.iter().filter(|answered| **answered > most).count();
        assert!(meanwhile.len() >= 10 && late <= 1 + meanwhile.len() / 20, "of the crowd, {meanwhile:?} were answered first");
    }
}

fn let_in(event: &Event) -> Option<usize> {
    if let Event::In { node } = event { Some(*node) } else { None }
}

/// How often a node was told to come back.
fn told(events: &[Event]) -> u64 {
    events.iter().filter(|event| matches!(event, Event::Told { .. })).count() as u64
}

/// The turns of those who were told to come back, by their nodes. A ticket begins with its turn, in microseconds (decision 0013).
/// It is good for 10 s after that: only a node whose dials failed meanwhile, each after 5 s, is told again.
fn turns(events: &[Event]) -> BTreeMap<usize, u64> {
    let (mut turns, mut failed) = (BTreeMap::new(), BTreeSet::new());
    for event in events {
        if let Event::Failed { node, .. } = event {
            failed.insert(*node);
        }
        let Event::Told { node, ticket, retry_ms } = event else { continue };
        assert!(*retry_ms > 0, "node {node} was told to come back, and not when");
        let turn = ticket.first_chunk().unwrap_or_else(|| panic!("node {node} was told to come back without a ticket"));
        let again = turns.insert(*node, u64::from_be_bytes(*turn)).is_some();
        assert!(!again || failed.contains(node), "node {node} came in its turn, and was told to come back again");
        failed.remove(node);
    }
    turns
}

/// When the hub was asked, when its answer was there, and what it said.
fn counted(events: &[Event]) -> Vec<(usize, usize, Counts)> {
    let counted = events.iter().enumerate().filter_map(|(at, event)| match event {
        Event::Counted { asked, counts } => Some((*asked, at, *counts)),
        _ => None,
    });
    counted.collect()
}

/// By what the hub says of its line, twice in a row: who was in the first time came in by a turn that had come, and whose turn
/// has not come the second time still waits.
fn each_in_its_turn(events: &[Event], counted: &[(usize, usize, Counts)], turns: &BTreeMap<usize, u64>, rate: u64) {
    let before = counted[0].2.admitted;
    let last_us = turns.values().max();
    for pair in counted.windows(2) {
        let [(_, _, earlier), (asked, answered, later)] = pair else { continue };
        let newcomers = events[..*answered].iter().filter(|event| matches!(event, Event::Hello { new: true })).count() as u64;
        let newcomers = newcomers + told(events) - turns.len() as u64;
        let in_and_waiting = earlier.admitted - before + later.waiting;
        assert!(in_and_waiting <= newcomers + 1, "{newcomers} took a turn: {earlier:?}, and then {later:?}");
        // The last turn of all is a ticket's where more than a second of them waits: who has a nearer one stays on its link.
        let Some(last_us) = last_us.filter(|_| later.waiting > rate) else { continue };
        for turn_us in events[..*asked].iter().filter_map(let_in).filter_map(|node| turns.get(&node)) {
            let behind = (last_us - turn_us) / (1_000_000 / rate);
            assert!(later.waiting <= behind + 1, "the one with {behind} turns behind it was in when {} waited", later.waiting);
        }
    }
}

/// For each batch of the connected nodes: how many of the crowd were answered until all of them had acknowledged it.
fn answered_meanwhile(events: &[Event]) -> Vec<usize> {
    let (mut all, mut answered) = (Vec::new(), 0);
    for event in events {
        match event {
            Event::Serves => answered = 0,
            Event::Told { .. } | Event::In { .. } => answered += 1,
            Event::Served => all.push(answered),
            Event::Hello { .. } | Event::Failed { .. } | Event::Counted { .. } => {}
        }
    }
    all
}
