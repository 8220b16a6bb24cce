#![allow(clippy::unwrap_used)]

use proto::digest::{Digest, RangeSet};
use proto::frame::{Grant, GrantDigest, Repair};
use proto::ids::Position;
use proto::names::CollectionName;

use super::*;

fn share(name: &str) -> Share {
    Share { collection: CollectionName::parse(name).unwrap(), partition: Some("lyon".into()) }
}

fn at(revision: u64) -> Batch {
    let position = Position::at(Revision(revision));
    Batch { at_head: true, ..Batch::empty(position.clone(), position) }
}

fn digests(revision: u64) -> Batch {
    let digest = GrantDigest { share: share("stock"), since: Revision(1), digest: Digest::default() };
    Batch { digests: vec![digest], ..at(revision) }
}

fn repair(revision: u64, ranges: &[u8]) -> Batch {
    let mut set = RangeSet::default();
    ranges.iter().for_each(|range| set.insert(*range));
    let grant = Grant { share: share("stock"), since: Revision(1), from: Revision(revision) };
    Batch { repairs: vec![Repair { grant, ranges: set }], ..at(revision) }
}

fn send(check: &mut Verification, open: &[Share], batch: &Batch) {
    check.scan(Some(open));
    assert_eq!(check.scanned(batch), []);
}

#[test]
fn what_agrees_at_once_is_the_answer() {
    let mut check = Verification::default();
    check.asked(3);
    send(&mut check, &[], &digests(7));
    let checked = Checked { revision: Revision(7), agreed: true, differences: Vec::new() };
    assert_eq!(check.compared(Revision(7), 0, false, false), Finding::Done(3, checked));
}

#[test]
fn a_difference_is_told_once_and_belongs_to_the_answer() {
    let mut check = Verification::default();
    send(&mut check, &[], &digests(7));
    check.asked(1);
    assert_eq!(check.compared(Revision(7), 1, true, false), Finding::Open);
    check.scan(None);
    let found = vec![Difference { share: share("stock"), ranges: 2 }];
    assert_eq!(check.scanned(&repair(8, &[3, 9])), found);
    check.scan(None);
    assert_eq!(check.scanned(&repair(8, &[3, 9])), [], "the same batch read again after a stall");
    send(&mut check, &[], &digests(8));
    assert_eq!(
        check.compared(Revision(8), 0, false, false),
        Finding::Done(1, Checked { revision: Revision(8), agreed: true, differences: found.clone() })
    );
    assert_eq!(in_words(&found), "stock/lyon (2 of 256 ranges of keys)");
    send(&mut check, &[], &digests(9));
    assert_eq!(
        check.compared(Revision(9), 0, false, false),
        Finding::Done(1, Checked { revision: Revision(9), agreed: true, differences: vec![] })
    );
}

#[test]
fn what_no_repair_mends_is_said() {
    let mut check = Verification::default();
    check.asked(1);
    send(&mut check, &[], &digests(7));
    assert_eq!(
        check.compared(Revision(7), 1, false, false),
        Finding::Done(1, Checked { revision: Revision(7), agreed: false, differences: vec![] })
    );
}

#[test]
fn grants_that_were_left_out_are_waited_for() {
    let mut check = Verification::default();
    check.asked(1);
    send(&mut check, &[share("stock")], &digests(7));
    assert_eq!(check.compared(Revision(7), 0, false, true), Finding::Open, "the end of the back-fill brings digests");
    send(&mut check, &[share("stock")], &digests(7));
    assert_eq!(check.compared(Revision(7), 0, false, false), Finding::Again, "it ended before these were compared");
    send(&mut check, &[], &digests(7));
    assert!(matches!(check.compared(Revision(7), 0, false, false), Finding::Done(1, _)));
}

#[test]
fn a_request_after_the_digests_left_is_answered_by_the_next() {
    let mut check = Verification::default();
    send(&mut check, &[], &digests(7));
    check.asked(1);
    assert!(matches!(check.compared(Revision(7), 0, false, false), Finding::Done(0, _)));
    send(&mut check, &[], &digests(7));
    assert!(matches!(check.compared(Revision(7), 0, false, false), Finding::Done(1, _)));
}

#[test]
fn a_node_that_never_answers_costs_nothing() {
    let mut check = Verification::default();
    (0..100).for_each(|revision| send(&mut check, &[], &digests(revision)));
    assert_eq!(check.sent.len(), ON_THEIR_WAY);
    assert_eq!(check.compared(Revision(3), 0, false, false), Finding::Open, "of digests that are forgotten");
}
