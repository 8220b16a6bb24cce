use proptest::prelude::*;
use proto::clock::Hlc;
use proto::ids::Revision;
use proto::json::Value;

use crate::reconcile::{ClockError, Clocks, Stamp};

fn stamp(revision: u64, hlc: u64, database: u32) -> Stamp {
    Stamp { revision: Revision(revision), hlc: Hlc(hlc), database }
}

#[test]
fn a_new_record_has_one_clock() {
    let born = stamp(70_000, Hlc::from_ms(1_795_000_000_000).0, 3);
    let mut clocks = Clocks::new(born);
    assert!(clocks.encode().len() <= 16, "{}", clocks.encode().len());
    assert_eq!(clocks.field("a", true).map(|pair| pair.newest), Some(born));
    assert_eq!(clocks.field("a", false), None);
    // What the creating write itself sets later needs no clock of its own.
    clocks.set("a", true, born);
    assert_eq!(clocks, Clocks::new(born));
    assert_eq!((clocks.newest("a"), clocks.newest("b")), (born, born));
    // What it removes does: an absent field has none else.
    clocks.set("a", false, born);
    assert_eq!(clocks.field("a", false).map(|pair| pair.newest), Some(born));
}

#[test]
fn two_clocks_answer_for_every_database() {
    let mut clocks = Clocks::new(stamp(1, 1, 0));
    clocks.add("n", true, true, stamp(2, 2, 1));
    clocks.add("n", true, true, stamp(3, 3, 2));
    clocks.add("n", true, true, stamp(4, 4, 2));
    assert_eq!((clocks.newest("n"), clocks.newest("m")), (stamp(4, 4, 2), stamp(1, 1, 0)));
    let pair = clocks.field("n", true).unwrap();
    assert_eq!(pair.by_another(2), Some(stamp(2, 2, 1)));
    assert_eq!(pair.by_another(1), Some(stamp(4, 4, 2)));
    assert_eq!(pair.by_another(0), Some(stamp(4, 4, 2)));
}

#[test]
fn damage_is_named() {
    let good = Clocks::new(stamp(300, 70_000, 1)).encode();
    assert_eq!(Clocks::decode(&[]), Err(ClockError::Damaged("empty")));
    assert_eq!(Clocks::decode(&[9]), Err(ClockError::Version(9)));
    for end in 1..good.len() {
        assert_eq!(Clocks::decode(&good[..end]), Err(ClockError::Damaged("cut off")), "{end}");
    }
    let mut long = good.clone();
    long.extend([0xff; 10]);
    assert_eq!(Clocks::decode(&long), Err(ClockError::Damaged("a number above 64 bits")));
    // The tenth byte of a number has one bit to give.
    for (last, error) in [(0, "cut off"), (1, "cut off"), (2, "a number above 64 bits"), (4, "a number above 64 bits")] {
        let long = [&good[..], &[0x80; 9], &[last]].concat();
        assert_eq!(Clocks::decode(&long), Err(ClockError::Damaged(error)), "{last}");
    }
    let mut name = good.clone();
    name.extend([1, 0xff, 0, 1, 1, 1]);
    assert_eq!(Clocks::decode(&name), Err(ClockError::Damaged("a name that is not UTF-8")));
    let mut database = good;
    database.extend([1, b'a', 0, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    assert_eq!(Clocks::decode(&database), Err(ClockError::Damaged("a database above 32 bits")));
}

fn stamps() -> impl Strategy<Value = Stamp> {
    (any::<u64>(), any::<u64>(), any::<u32>()).prop_map(|(revision, hlc, database)| stamp(revision, hlc, database))
}

proptest! {
    #[test]
    fn reading_back_what_was_written(
        born in stamps(),
        changes in prop::collection::vec(("\\PC{0,5}", any::<bool>(), any::<bool>(), stamps()), 0..12),
    ) {
        let mut clocks = Clocks::new(born);
        for (field, counter, present, stamp) in &changes {
            if *counter { clocks.add(field, true, *present, *stamp) } else { clocks.set(field, *present, *stamp) }
            clocks.touch(*stamp);
        }
        prop_assert_eq!(Clocks::decode(&clocks.encode()), Ok(clocks));
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = Clocks::decode(&bytes);
        let _ = Clocks::decode(&[&[1][..], &bytes].concat());
    }
}

/// What a database goes on with of another one is its own, up to where that one had come; nobody is another to itself.
#[test]
fn changes_of_a_database_that_was_saved_become_its_heirs() {
    let mut clocks = Clocks::new(stamp(1, 1, 7));
    clocks.set("a", true, stamp(5, 5, 7));
    clocks.set("b", true, stamp(6, 6, 7));
    let before = clocks.clone();
    clocks.adopt(&[], 9);
    assert_eq!(clocks, before);
    clocks.adopt(&[(7, Revision(5))], 9);
    let by = |clocks: &Clocks, name: &str| clocks.field(name, true).map(|pair| pair.newest.database);
    assert_eq!(["a", "b", "c"].map(|name| by(&clocks, name)), [Some(9), Some(7), Some(9)]);
    let mut clocks = Clocks::new(stamp(1, 1, 7));
    clocks.add("n", true, true, stamp(2, 2, 9));
    assert_eq!(clocks.field("n", true).and_then(|pair| pair.by_another(9)), Some(stamp(1, 1, 7)));
    clocks.adopt(&[(7, Revision(5))], 9);
    assert_eq!(clocks.field("n", true).and_then(|pair| pair.by_another(9)), None);
}

/// The floor rises to the newest of what was forgotten, so no less may be told, and nothing that the value has is forgotten.
#[test]
fn removed_fields_are_forgotten_the_oldest_first() {
    let value = Value::parse(r#"{"kept":1}"#).unwrap();
    let mut clocks = Clocks::new(stamp(1, 1, 1));
    clocks.set("kept", true, stamp(2, 2, 2));
    assert!(!clocks.has_removed(&value));
    for (name, revision) in [("d", 2), ("c", 3), ("b", 4), ("a", 5)] {
        clocks.set(name, false, stamp(revision, revision, 2));
    }
    assert!(clocks.has_removed(&value));
    let left = |clocks: &Clocks| clocks.fields().map(|(name, _)| name.to_owned()).collect::<String>();
    assert_eq!(clocks.forget(&value, Revision(0), 4), None);
    assert_eq!(clocks.forget(&value, Revision(3), 4), Some(Revision(3)));
    assert_eq!(left(&clocks), "abkept");
    assert_eq!(clocks.forget(&value, Revision(0), 1), Some(Revision(4)));
    assert_eq!((left(&clocks).as_str(), clocks.forget(&value, Revision(0), 1)), ("akept", None));
    assert_eq!(clocks.forget(&value, Revision(5), 9), Some(Revision(5)));
    assert!(!clocks.has_removed(&value) && left(&clocks) == "kept");
}
