//! `cloudhub backup` and `cloudhub restore`: they work on the data folder, no running hub is needed.

use std::path::{Path, PathBuf};

use api::cli::{CliError, Console};
use clap::Args;

use crate::backup::{BackupError, restore, save};
use crate::clock::SystemClock;

#[derive(Debug, Args)]
pub(super) struct Backup {
    /// The file to write; it holds the authority's key: whoever has it can make nodes
    file: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    overwrite: bool,
}

impl Backup {
    pub(super) fn run(self, data: &Path, console: &mut Console<'_>) -> Result<(), CliError> {
        let saved = save(data, &self.file, self.overwrite, SystemClock::new().wall_ms()).map_err(failed)?;
        let (file, head, bytes) = (self.file.display(), saved.head, saved.bytes);
        console.line(&format!("{file}: {} at revision {head}, {bytes} bytes, {} files", data.display(), saved.members))
    }
}

#[derive(Debug, Args)]
pub(super) struct Restore {
    /// A file that `cloudhub backup` wrote
    file: PathBuf,
}

impl Restore {
    pub(super) fn run(self, data: &Path, console: &mut Console<'_>) -> Result<(), CliError> {
        let restored = restore(data, &self.file, SystemClock::new().wall_ms()).map_err(failed)?;
        let (file, folder) = (self.file.display(), data.display());
        console.line(&format!("{folder} is at revision {}, as {file} was made at {}", restored.head, restored.made_at))?;
        if restored.kept_revoked > 0 {
            console.line(&format!("{} certificates that were revoked since then stay revoked", restored.kept_revoked))?;
        }
        if let Some(before) = &restored.before {
            console.line(&format!("what was there before is in {}", before.display()))?;
        }
        console.line(&format!("start the hub now: cloudhub serve --data {folder}; the nodes hand back what they wrote since then"))
    }
}

fn failed(error: BackupError) -> CliError {
    CliError::Failed(error.to_string())
}
