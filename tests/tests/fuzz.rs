//! What libFuzzer has found and what it began with, on the stable compiler: every input of `tests/data/fuzz/` goes through its entry,
//! and so do some thousand mutations, the same in every run. `make fuzz MINUTES=60` looks for more.
#![allow(clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use peak_alloc::PeakAlloc;
use tests::fuzz::{Memory, TARGETS, corpus};
use tests::lab::dice::Dice;

/// Memory is counted over all threads, so this binary has one test that enters anything.
#[global_allocator]
static COUNTER: PeakAlloc = PeakAlloc;
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// `TOMBOLO_TARGET=frame` enters that one alone, `TOMBOLO_TRIES=100` mutates a hundred times as often.
#[test]
fn every_input_and_its_mutations() {
    let memory = Memory::of(&COUNTER);
    // A panic on a thread of a hub is a finding too.
    let before = take_hook();
    set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        before(panic);
    }));
    let only = std::env::var("TOMBOLO_TARGET").ok();
    let times = std::env::var("TOMBOLO_TRIES").map_or(1, |text| text.parse::<usize>().unwrap());
    let mut found = Vec::new();
    for target in TARGETS.iter().filter(|target| only.as_deref().is_none_or(|only| only == target.name)) {
        let (begun, inputs) = (Instant::now(), corpus::inputs(target.name));
        assert!(!inputs.is_empty(), "{} has no inputs", target.name);
        let mut dice = Dice::new(0x6675_7a7a);
        let mutated = (0..target.tries * times).map(|_| corpus::mutated(&inputs, &mut dice));
        for bytes in inputs.iter().cloned().chain(mutated) {
            let _ = catch_unwind(AssertUnwindSafe(|| (target.enter)(&bytes, &memory)));
            if PANICS.swap(0, Ordering::Relaxed) > 0 {
                println!("target {}, input {}", target.name, corpus::escape(&bytes));
                found.push(target.name);
                break;
            }
        }
        println!("{}: {} inputs, {} mutations, {:?}", target.name, inputs.len(), target.tries * times, begun.elapsed());
    }
    assert!(
        found.is_empty(),
        "{found:?}: what each panicked at is above, and the input, which goes into tests/data/fuzz/ when it is mended"
    );
}

#[test]
fn lines_of_the_corpus_are_bytes() {
    for bytes in [&b"a\\\n\"'\xff\0\xc3\xa9"[..], b""] {
        assert_eq!(corpus::unescape(&corpus::escape(bytes)).as_deref(), Some(bytes));
    }
    assert_eq!(corpus::unescape("\u{e9}").as_deref(), Some("\u{e9}".as_bytes()));
    assert_eq!(corpus::unescape("\\q"), None);
}

/// `make fuzz` builds a program of each.
#[test]
fn every_target_has_its_program() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let programs = manifest["bin"].as_array().unwrap().iter().map(|program| program["name"].as_str().unwrap());
    assert!(programs.eq(TARGETS.iter().map(|target| target.name)));
}
