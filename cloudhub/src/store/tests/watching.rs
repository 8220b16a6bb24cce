//! Watching: whoever lists once and then takes every change has what a list has.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::bench::{Bench, Fixture, name, put_op};
use super::edge::Edge;
use super::shops;
use super::streams::{run, step};
use crate::store::{RecordRow, Store, StoreRead, WatchPage, WatchPlace, WatchWhat, WritesRequest};

const COLLECTIONS: [&str; 3] = ["_conflicts", "products", "stock"];

type Records = BTreeMap<(String, String), RecordRow>;

fn listed<F: Fixture>(bench: &mut Bench<F>) -> Records {
    let mut all = Records::new();
    for collection in COLLECTIONS {
        let mut after = None;
        loop {
            let (rows, next) = bench.reader().stretch(&name(collection), after.as_ref()).unwrap().unwrap();
            all.extend(rows.into_iter().map(|row| ((collection.to_owned(), row.key.to_string()), row)));
            after = next;
            if after.is_none() {
                break;
            }
        }
    }
    all
}

/// An application with a map of its own.
struct Follower {
    place: WatchPlace,
    records: Records,
    outcomes: Vec<u64>,
    lists: u32,
}

impl Follower {
    fn new<F: Fixture>(bench: &mut Bench<F>) -> Self {
        let place = bench.reader().watch_end().unwrap();
        Self { place, records: listed(bench), outcomes: Vec::new(), lists: 1 }
    }

    /// Takes at most `most` changes of a step. Tells whether there is more.
    fn step<F: Fixture>(&mut self, bench: &mut Bench<F>, most: usize) -> bool {
        let (changes, next, more) = match bench.reader().watch(&self.place, &|_| true).unwrap() {
            WatchPage::Changes(changes, next, more) => (changes, next, more),
            WatchPage::Lost(end) => {
                (self.records, self.place, self.lists) = (listed(bench), end, self.lists + 1);
                return false;
            }
        };
        let all = changes.len() <= most;
        for change in changes.into_iter().take(most) {
            self.place = change.after;
            match change.what {
                WatchWhat::Record(row) => drop(self.records.insert((row.collection.to_string(), row.key.to_string()), row)),
                WatchWhat::Gone(collection, key) => drop(self.records.remove(&(collection.to_string(), key.to_string()))),
                WatchWhat::Outcome(row) => self.outcomes.push(row.revision.0),
                WatchWhat::Conflict(_) => {}
            }
        }
        if all {
            self.place = next;
        }
        more || !all
    }

    fn catch_up<F: Fixture>(&mut self, bench: &mut Bench<F>) {
        while self.step(bench, usize::MAX) {}
        assert_eq!(self.records, listed(bench));
    }
}

pub(super) fn who_watches_has_what_a_list_has<F: Fixture>() {
    let config = ProptestConfig { cases: 48, max_shrink_iters: 300, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in prop::collection::vec((step(), 0usize..4), 1..40))| {
        let mut bench = shops::<F>();
        let mut lyon = Edge::new("lyon", 1);
        lyon.connect(&mut bench);
        let (mut eager, mut slow) = (Follower::new(&mut bench), Follower::new(&mut bench));
        for (at, (step, most)) in steps.iter().enumerate() {
            run(&mut bench, &mut lyon, at, step);
            eager.catch_up(&mut bench);
            if *most > 0 {
                slow.step(&mut bench, *most);
            }
        }
        slow.catch_up(&mut bench);
        prop_assert_eq!((eager.lists, slow.lists), (1, 1));
        let all = WritesRequest { verdict: None, after: None, limit: 1_000 };
        let decided: Vec<u64> = bench.reader().writes(&all).unwrap().0.iter().map(|write| write.revision.0).collect();
        prop_assert_eq!(&eager.outcomes, &decided);
        prop_assert_eq!(&slow.outcomes, &decided);
    });
}

/// More records in one transaction than a step brings: it is cut inside, and goes on there.
pub(super) fn a_large_transaction_is_told_in_steps<F: Fixture>() {
    let mut bench = shops::<F>();
    let mut follower = Follower::new(&mut bench);
    bench.write((0..600).map(|id| put_op("stock", &format!("k{id:03}"), r#"{"W":"lyon"}"#)).collect()).unwrap();
    let mut steps = 1;
    while follower.step(&mut bench, 100) {
        steps += 1;
    }
    assert_eq!((steps, follower.records.len(), follower.outcomes.len()), (7, 600, 1));
}

pub(super) fn what_is_forgotten_or_foreign_is_told_as_such<F: Fixture>() {
    let mut bench = shops::<F>();
    bench.put("products", "1", r#"{"ProductID":1}"#);
    let mut follower = Follower::new(&mut bench);
    let old = follower.place.clone();
    bench.delete("products", "1");
    follower.catch_up(&mut bench);
    bench.now_ms += 31 * 86_400_000;
    let now_ms = bench.now_ms;
    while bench.store().tidy(now_ms).unwrap().1 {}
    let end = bench.reader().watch_end().unwrap();
    let ask = |bench: &mut Bench<F>, place: &WatchPlace| bench.reader().watch(place, &|own| own.as_str() == "products").unwrap();
    assert_eq!(ask(&mut bench, &old), WatchPage::Lost(end.clone()), "the deletion is forgotten");
    let stock = bench.reader().watch(&old, &|own| own.as_str() == "stock").unwrap();
    assert!(matches!(stock, WatchPage::Changes(..)), "nothing of that is");
    let other = WatchPlace { epoch: proto::ids::Epoch(end.epoch.0 ^ 1), ..end.clone() };
    assert_eq!(ask(&mut bench, &other), WatchPage::Lost(end.clone()));
    let above = WatchPlace { revision: proto::ids::Revision(end.revision.0 + 1), ..end.clone() };
    assert_eq!(ask(&mut bench, &above), WatchPage::Lost(end.clone()));
    bench.restart();
    assert!(matches!(ask(&mut bench, &end), WatchPage::Changes(..)), "a start is no other history");
}
