//! What was done, what was found.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// So many findings are kept: the first ones say what is wrong.
const FINDINGS: usize = 50;

/// What is wrong, in words.
#[derive(Default)]
pub(super) struct Findings(Mutex<Vec<String>>);

impl Findings {
    /// One more.
    pub(super) fn add(&self, text: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < FINDINGS {
            eprintln!("FOUND: {text}");
            all.push(text.to_owned());
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How often what happened, and the most that each process held.
#[derive(Default)]
pub struct Counts {
    events: Mutex<BTreeMap<String, u64>>,
    held: Mutex<BTreeMap<String, Held>>,
}

/// The most that was seen of one program.
#[derive(Debug, Clone, Copy, Default)]
pub struct Held {
    /// Open descriptors.
    pub descriptors: u64,
    /// Resident memory, KiB.
    pub resident_kib: u64,
}

impl Counts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It happened so often more.
    pub fn add(&self, what: &str, times: u64) {
        *self.lock().entry(what.to_owned()).or_default() += times;
    }

    /// How often it happened.
    pub fn of(&self, what: &str) -> u64 {
        self.lock().get(what).copied().unwrap_or(0)
    }

    /// What one process holds now.
    pub fn held(&self, name: &str, descriptors: u64, resident_kib: u64) {
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = all.entry(name.to_owned()).or_default();
        held.descriptors = held.descriptors.max(descriptors);
        held.resident_kib = held.resident_kib.max(resident_kib);
    }

    /// The most that each held.
    pub fn most(&self) -> BTreeMap<String, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a run ended with.
pub struct Report {
    /// Which one it was.
    pub seed: u64,
    /// How long it took.
    pub took: Duration,
    /// The longest that it took after the faults of a round until all was in sync.
    pub slowest: Duration,
    /// What is wrong.
    pub findings: Vec<String>,
    /// Where the data folders are kept, when something is.
    pub kept: Option<std::path::PathBuf>,
    /// How often what happened.
    pub counts: Counts,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | how much |\n|---|---|")?;
        writeln!(f, "| seed | {} |", self.seed)?;
        writeln!(f, "| minutes | {:.1} |", self.took.as_secs_f64() / 60.0)?;
        for (what, times) in self.counts.lock().iter() {
            writeln!(f, "| {what} | {times} |")?;
        }
        writeln!(f, "| slowest to agree after the faults | {:.1} s |", self.slowest.as_secs_f64())?;
        for (name, held) in self.counts.most() {
            writeln!(f, "| most that {name} held | {} descriptors, {} MiB |", held.descriptors, held.resident_kib / 1024)?;
        }
        writeln!(f, "| violations | {} |", self.findings.len())?;
        self.findings.iter().try_for_each(|finding| writeln!(f, "\n- {finding}"))?;
        match &self.kept {
            Some(kept) => writeln!(f, "\nThe data folders and logs are kept in {}.", kept.display()),
            None => Ok(()),
        }
    }
}
