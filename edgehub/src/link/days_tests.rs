#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const LIMIT: u64 = 1_000;
/// What can still come after the limit was reached.
const WINDOW: u64 = 64;

fn bytes(count: u64) -> Traffic {
    let mut traffic = Traffic::default();
    traffic.received.add(Cause::Records, count);
    traffic
}

/// Noon of a day.
fn noon(day: u64) -> u64 {
    day * DAY_MS + DAY_MS / 2
}

#[test]
fn a_day_ends_at_midnight_of_the_clouds_time_whatever_this_machines_clock_says() {
    let mut days = Days::new(Some(LIMIT));
    days.told(noon(20_000), 5);
    days.book(&bytes(LIMIT), 5);
    assert!(days.is_used_up(0));
    days.turn(5 + DAY_MS / 2 - 1);
    assert!(days.is_used_up(0), "a millisecond before midnight");
    days.turn(5 + DAY_MS / 2);
    assert!(!days.is_used_up(0));
    assert_eq!(days.today(), (Some(20_001), Traffic::default()));
    assert!(days.is_used_up(LIMIT), "what is on its way counts");
}

#[test]
fn without_a_limit_nothing_is_used_up() {
    let mut days = Days::new(None);
    days.book(&bytes(u64::MAX), 0);
    assert!(!days.is_used_up(u64::MAX));
}

/// What a start without a session spends, on a machine that knows no time, is not lost.
#[test]
fn what_was_booked_before_the_time_was_known_belongs_to_the_first_day() {
    let mut days = Days::new(Some(LIMIT));
    days.book(&bytes(10), 0);
    assert_eq!(days.today().0, None);
    days.told(noon(3), 1);
    assert_eq!(days.today(), (Some(3), bytes(10)));
}

/// Ten years ahead for a while, and back.
#[test]
fn a_clock_that_was_ten_years_off_blocks_nothing_and_wins_nothing() {
    let mut days = Days::new(Some(LIMIT));
    days.told(noon(20_000), 0);
    days.book(&bytes(LIMIT), 0);
    days.told(noon(23_650), 1);
    assert!(!days.is_used_up(0), "the wrong day begins at nothing");
    days.book(&bytes(LIMIT), 1);
    days.told(noon(20_000), 2);
    assert!(days.is_used_up(0), "the right day has its sum still");
    days.told(noon(20_001), 3);
    assert!(!days.is_used_up(0), "and the next one is not blocked");
}

#[test]
fn a_file_brings_all_days_back() {
    let mut days = Days::new(Some(LIMIT));
    for day in 0..20 {
        days.told(noon(day), day);
        days.book(&bytes(day), day);
    }
    let text = days.to_text();
    assert_eq!(text.lines().count(), KEPT);
    assert_eq!(text.lines().next_back(), Some("19 0 0 0 0 0 0 0 0 0 19 0 0 0 0"));
    let again = Days::new(Some(LIMIT)).with_text(&text).unwrap();
    assert_eq!((again.today(), again.to_text()), (days.today(), text));
    for broken in ["x\n", "1 2\n", "\n", "1 0 0 0 0 0 0 0 0 0 19 0 0 0 0 7\n", &"1 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n".repeat(9)] {
        assert_eq!(Days::new(None).with_text(broken), None, "{broken:?}");
    }
    assert_eq!(Days::new(None).with_text(""), Some(Days::new(None)));
}

#[derive(Debug, Clone)]
enum Step {
    /// The cloud's clock shows this day.
    Told(u64),
    /// Time goes by.
    Pass(u64),
    /// Bytes want to pass.
    Bytes(u64),
    /// The process ends and starts, with what it saved; its monotonic clock begins anew.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let days = prop_oneof![Just(0u64), Just(20_000), Just(20_001), Just(23_650), Just(20_002)];
    let step = prop_oneof![
        days.prop_map(Step::Told),
        (0..DAY_MS / 3).prop_map(Step::Pass),
        (1..=WINDOW).prop_map(Step::Bytes),
        Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn a_days_sum_never_exceeds_the_limit_and_one_window(steps in steps()) {
        let mut days = Days::new(Some(LIMIT));
        let (mut mono_ms, mut spent) = (0, BTreeMap::<u64, u64>::new());
        days.told(noon(20_000), mono_ms);
        for step in steps {
            match step {
                Step::Told(day) => days.told(noon(day), mono_ms),
                Step::Pass(ms) => mono_ms += ms,
                Step::Restart => {
                    days = Days::new(Some(LIMIT)).with_text(&days.to_text()).unwrap();
                    mono_ms = 0;
                }
                Step::Bytes(count) => {
                    days.turn(mono_ms);
                    if !days.is_used_up(0) {
                        days.book(&bytes(count), mono_ms);
                        *spent.entry(days.today().0.unwrap()).or_default() += count;
                    }
                }
            }
            // A clock that runs through more days than are kept has more days to spend on; this one has fewer.
            if spent.len() > KEPT {
                break;
            }
            for (day, sum) in &spent {
                prop_assert!(*sum < LIMIT + WINDOW, "{sum} on day {day}");
            }
        }
        days.told(noon(30_000), mono_ms);
        prop_assert!(!days.is_used_up(0), "a new day is never blocked");
    }
}
