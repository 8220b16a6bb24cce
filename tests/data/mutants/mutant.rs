/// Which mistake this run makes, by its number in the environment. The copy of a crate that has them ends with this text.
#[doc(hidden)]
pub mod mutant {
    pub extern crate std;
    use core::sync::atomic::{AtomicBool, Ordering};
    use std::io::Write as _;
    pub use std::vec;

    struct Run {
        number: u32,
        reached: Option<std::fs::File>,
    }

    static RUN: std::sync::LazyLock<Run> = std::sync::LazyLock::new(|| Run {
        number: std::env::var("MUTANT").ok().and_then(|number| number.parse().ok()).unwrap_or(0),
        reached: std::env::var_os("MUTANTS_REACHED").and_then(|file| std::fs::File::options().append(true).create(true).open(file).ok()),
    });

    static SEEN: [AtomicBool; super::MUTANT_SITES] = [const { AtomicBool::new(false) }; super::MUTANT_SITES];

    /// The number of the mistake; notes that the run came by here, where that is asked for.
    pub fn at(site: u32) -> u32 {
        if let Some(mut file) = RUN.reached.as_ref() {
            if !SEEN[site as usize].swap(true, Ordering::Relaxed) {
                let _ = file.write_all(std::format!("{site}\n").as_bytes());
            }
        }
        RUN.number
    }
}
