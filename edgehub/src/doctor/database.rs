//! The edge database, read from outside: whether it can be opened, is whole, and has room for writes.

use std::path::{Path, PathBuf};

use metamanager::limits::LOG_BYTES;
use metamanager::{Inspection, OpenError, Soundness, inspect, quick_check};

use super::{Check, PATIENCE, size};

const NAME: &str = "database";

/// The file, and what it says of itself.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) path: PathBuf,
    pub(super) found: Result<Option<Inspection>, OpenError>,
    /// What the outbox may hold.
    pub(super) outbox_bound: u64,
}

impl Facts {
    pub(super) fn read(data: &Path, outbox_bound: u64) -> Self {
        let path = data.join("edge.db");
        Self { found: inspect(&path), path, outbox_bound }
    }

    /// The stored clock.
    pub(super) fn clock_ms(&self) -> Option<u64> {
        self.found.as_ref().ok()?.as_ref().map(|found| found.clock_ms)
    }
}

/// Looks for damage, where there is a database; blocks for [`PATIENCE`] at most.
pub(super) fn check(data: &Path) -> Result<Soundness, String> {
    quick_check(&data.join("edge.db"), PATIENCE).map_err(|error| error.to_string())
}

pub(super) fn judge(facts: &Facts, sound: Option<&Result<Soundness, String>>) -> Check {
    let shown = facts.path.display();
    let found = match &facts.found {
        Ok(None) => return Check::skipped(NAME, format!("there is no {shown} yet: the first `edgehub run` makes it")),
        Ok(Some(found)) => found,
        Err(error) => return Check::failed(NAME, error.to_string(), unusable(error)),
    };
    let mut findings = vec![soundness(facts, found, sound)];
    if found.outbox_bytes >= facts.outbox_bound / 10 * 8 {
        let text = format!("the outbox holds {} of at most {}", size(found.outbox_bytes), size(facts.outbox_bound));
        let advice = "bring the link up so that writes are handed over; a larger bound: [outbox] max_bytes";
        findings.push(match found.outbox_bytes >= facts.outbox_bound {
            true => Check::failed(NAME, format!("{text}: local writes are refused (507)"), advice),
            false => Check::warning(NAME, text, advice),
        });
    }
    if found.log_bytes > 2 * u64::from(LOG_BYTES) {
        let text = format!("the log beside the database has {}", size(found.log_bytes));
        findings.push(Check::warning(NAME, text, "it shrinks at a restart of edgehub; when it grows again, tell the operator"));
    }
    Check::worst(NAME, findings)
}

fn soundness(facts: &Facts, found: &Inspection, sound: Option<&Result<Soundness, String>>) -> Check {
    let shown = facts.path.display();
    let state = format!(
        "format {}, {}, {} writes ({}) wait in the outbox",
        found.format,
        size(found.file_bytes),
        found.outbox_writes,
        size(found.outbox_bytes)
    );
    match sound {
        Some(Ok(Soundness::Sound)) => Check::ok(NAME, format!("sound, {state}")),
        Some(Ok(Soundness::Unfinished)) | None => {
            Check::ok(NAME, format!("{state}; too large to be looked through in {} s", PATIENCE.as_secs()))
        }
        Some(Ok(Soundness::Damaged(words))) => Check::failed(NAME, format!("{shown} is damaged: {words}"), keep(facts)),
        Some(Err(error)) => Check::failed(NAME, error.clone(), "look at dmesg: the disk may be failing"),
    }
}

fn keep(facts: &Facts) -> String {
    format!(
        "stop edgehub and copy {} and the files beside it somewhere safe: writes that were not sent may be saved from it; then look at \
         dmesg and replace the card",
        facts.path.display()
    )
}

fn unusable(error: &OpenError) -> &'static str {
    match error {
        OpenError::Newer { .. } => "install the newer edgehub again; no older one opens this file",
        OpenError::Foreign { .. } => {
            "keep the file, it may be a damaged database of this node: copy it somewhere safe and let somebody look at it; edgehub does \
             not start with it"
        }
        OpenError::Folder { .. } => "run this as the user that edgehub runs as: sudo -u edgehub edgehub doctor",
        _ => "keep the file: writes that were not sent may be saved from it; look at dmesg, the disk may be failing",
    }
}
