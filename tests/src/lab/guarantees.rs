//! The twelve guarantees of docs/design.md §2, each stated once: what is looked at after every step of a node, what when everyone is
//! done, and which tests look where a laboratory does not. The laboratory runs what stands here (`every_step`, `when_done`), and
//! whoever finds one broken says so in its words: `guarantee 4 (order): node lyon: …`.
//!
//! [`INVARIANTS`] are the same promises as a tester counts them; each belongs to a guarantee, and those about the tests' own tools stand
//! beside. `tests/tests/schedules/stated.rs` compares this page with the design, and finds every test that it names.

use std::fmt;

use super::{Lab, check};

/// What a look found; `Err`: what is wrong, without saying where.
pub type Found = Result<(), String>;
/// A look at one node.
pub type Look = fn(&mut Lab, usize) -> Found;

/// One of the twelve.
pub struct Guarantee {
    /// Its number in design §2.
    pub number: u8,
    /// Its name there.
    pub name: &'static str,
    /// After every step of a node whose database nobody copied or put back.
    pub always: &'static [Look],
    /// When everyone is done, of every node on the network.
    pub when_done: &'static [Look],
    /// Which of [`INVARIANTS`] it holds, by number.
    pub invariants: &'static [usize],
    /// Tests that look elsewhere, or at one thing alone.
    pub tests: &'static [&'static str],
}

/// A write that was answered with 2xx survives.
pub static DURABLE: Guarantee = Guarantee {
    number: 1,
    name: "Durable",
    always: &[check::reports_are_kept],
    when_done: &[check::every_write_is_answered, check::reports_are_in_the_cloud],
    invariants: &[1],
    tests: &["any_history_on_failing_disks_ends_in_sync", "a_cut_at_any_write_leaves_what_was_promised", "a_hundred_kills_lose_nothing"],
};

/// One outcome, and the effect once.
pub static ONCE: Guarantee = Guarantee {
    number: 2,
    name: "At least once on the wire, exactly once in effect",
    always: &[check::counters_show_each_increment_once],
    when_done: &[check::outcomes_are_the_clouds, check::sums_are_what_was_promised],
    invariants: &[2, 7],
    tests: &["write_hash_duplicates", "any_history_is_the_references", "counters_conserve_sums"],
};

/// Nothing leaves before it is durable. The laboratory looks where an ACK arrives: `Guarantee::holds` in `work`.
pub static NO_FALSE_ACK: Guarantee = Guarantee {
    number: 3,
    name: "No false ACK",
    always: &[],
    when_done: &[],
    invariants: &[3],
    tests: &["a_cut_between_two_commits_leaves_no_cursor_ahead_of_its_records", "ack_without_change"],
};

/// Outcomes in write order, records never back.
pub static ORDER: Guarantee = Guarantee {
    number: 4,
    name: "Order",
    always: &[check::outcomes_come_once_and_in_order, check::records_never_go_back],
    when_done: &[],
    invariants: &[4],
    tests: &["record_before_outcome", "own_rejected_writes_keep_the_order"],
};

/// At once, link up or down.
pub static OWN_WRITES: Guarantee = Guarantee {
    number: 5,
    name: "Read your writes",
    always: &[check::own_writes_show],
    when_done: &[],
    invariants: &[5],
    tests: &["the_view_is_the_models"],
};

/// Base equals the cloud's records. The laboratory looks until it is so: [`check::differences`].
pub static CONVERGENCE: Guarantee = Guarantee {
    number: 6,
    name: "Convergence",
    always: &[],
    when_done: &[check::views_are_base],
    invariants: &[6, 14],
    tests: &["any_plan_ends_in_sync", "any_interleaving_ends_in_one_state", "bit_flip_digest"],
};

/// No part of a write, and in steady state none of a cloud transaction.
pub static ATOMIC: Guarantee = Guarantee {
    number: 7,
    name: "Atomic",
    always: &[],
    when_done: &[],
    invariants: &[10],
    tests: &["six_hundred_in_one_revision", "cloud_transactions_are_whole", "a_sale_is_one_atomic_write"],
};

/// A loser is in a row that both sides list: in [`check::differences`].
pub static NOTHING_LOST: Guarantee = Guarantee {
    number: 8,
    name: "Nothing lost in silence",
    always: &[],
    when_done: &[],
    invariants: &[11],
    tests: &["no_value_is_lost", "deletes_win_in_any_order_and_keep_the_sales"],
};

/// Nothing that a node has no right to: in [`check::differences`].
pub static ENTITLEMENT: Guarantee = Guarantee {
    number: 9,
    name: "Entitlement",
    always: &[],
    when_done: &[],
    invariants: &[8],
    tests: &["any_history_of_moves_ends_in_sync", "key_taken_leak", "any_history_is_the_references"],
};

/// What is deleted stays so: in [`check::differences`].
pub static NO_RESURRECTION: Guarantee = Guarantee {
    number: 10,
    name: "No resurrection",
    always: &[],
    when_done: &[],
    invariants: &[9],
    tests: &["forty_five_days_merge", "floor_without_tombstones", "delete_recreate_increment_of_compacted"],
};

/// Nothing grows without end.
pub static BOUNDED: Guarantee = Guarantee {
    number: 11,
    name: "Bounded",
    always: &[check::the_outbox_is_bounded],
    when_done: &[],
    invariants: &[12, 15],
    tests: &["every_table_stays_inside_its_bound", "batches_keep_their_bounds", "spoilt_frames_harm_nobody_else_and_the_node_comes_back"],
};

/// In sync within a stated simulated time ([`Lab::converge`]), whatever one write or record does.
pub static LIVE: Guarantee = Guarantee {
    number: 12,
    name: "Live",
    always: &[],
    when_done: &[],
    invariants: &[13],
    tests: &["ten_seconds_in_every_sixty_drain", "poison_write", "poison_record", "outages_of_milliseconds_to_minutes"],
};

/// All of them, in their order.
pub static ALL: [&Guarantee; 12] = [
    &DURABLE,
    &ONCE,
    &NO_FALSE_ACK,
    &ORDER,
    &OWN_WRITES,
    &CONVERGENCE,
    &ATOMIC,
    &NOTHING_LOST,
    &ENTITLEMENT,
    &NO_RESURRECTION,
    &BOUNDED,
    &LIVE,
];

/// The invariants, from 1.
pub static INVARIANTS: [&str; 16] = [
    "Durability: every write that an edge answered with 2xx has exactly one outcome in the end, whenever the power failed",
    "Once: the cloud's state holds the effect of each write once, or not at all where it was rejected",
    "No false ACK: what a side acknowledged is there after any crash",
    "Order: outcomes come in the order of their numbers, versions of a record and revisions at a node only grow",
    "Read your writes: a read after an answered write shows it, a later version, or that it was rejected or merged",
    "Convergence: in the end digests agree, and every view is base",
    "Conservation: a counter is what it began with and the sum of all deltas that took effect",
    "Scope: a node stores nothing outside its grants once it knows that it lost them, and misses nothing inside",
    "No resurrection: what was deleted at a revision is not live above it, unless somebody created it anew",
    "Atomicity: no reader at an edge sees part of a local write or of a cloud transaction",
    "No silent loss: a value that is not in the state has a row, or a later write knew it and replaced it",
    "Boundedness: outbox, tables, what is unacknowledged, and what an absent node costs have bounds",
    "Liveness: with the link up 10 s in 60 s backlogs drain; nothing that was sent waits for ever",
    "Containment: a bit that flips in a database is harmless or found within one round of digests, and then all agree again",
    "Decoders: any bytes cost no more than their connection, no panic, no allocation above the frame's bound",
    "Determinism: the same seed gives the same trace",
];

/// The ones that say something of the tests themselves.
pub static OF_THE_TESTS: [(usize, &[&str]); 1] = [(16, &["the_same_plan_gives_the_same_trace", "the_same_seed_gives_the_same_trace"])];

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "guarantee {} ({})", self.number, self.name.to_lowercase())
    }
}

impl Guarantee {
    /// A finding at a node, in the words that every finding has.
    pub fn finding(&self, lab: &Lab, node: usize, what: &str) -> String {
        format!("{self}: node {} ({node}): {what}", lab.edges[node].name)
    }

    /// Ends the run where it does not hold.
    pub(super) fn holds(&self, lab: &Lab, node: usize, found: Found) {
        if let Err(what) = found {
            panic!("{}\n{}", self.finding(lab, node, &what), check::recent(lab));
        }
    }

    /// Ends the run: nobody is done in the time that there was.
    pub(super) fn missed(&self, lab: &Lab, what: &str) -> ! {
        panic!("{self}: {what}\n{}", check::recent(lab));
    }
}

/// After a step of a node. Of a database that was copied or put back records may go back, and a write may get its outcome twice.
pub(super) fn every_step(lab: &mut Lab, node: usize) {
    if !lab.edges[node].watched {
        return;
    }
    for guarantee in ALL {
        for look in guarantee.always {
            let found = look(lab, node);
            guarantee.holds(lab, node, found);
        }
    }
}

/// When everyone is done.
pub(super) fn when_done(lab: &mut Lab) {
    for node in (0..lab.edges.len()).filter(|node| lab.edges[*node].online).collect::<Vec<_>>() {
        every_step(lab, node);
        for guarantee in ALL {
            for look in guarantee.when_done {
                let found = look(lab, node);
                guarantee.holds(lab, node, found);
            }
        }
    }
}
