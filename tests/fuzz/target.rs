//! One entry of [`tests::fuzz`], the one that this program is called after, before libFuzzer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use peak_alloc::PeakAlloc;
use tests::fuzz::{Memory, target};

#[global_allocator]
static COUNTER: PeakAlloc = PeakAlloc;

fuzz_target!(|bytes: &[u8]| (target(env!("CARGO_BIN_NAME")).enter)(bytes, &Memory::of(&COUNTER)));
