//! A damaged file while it is in use: noticed once, whoever meets it, and remembered beside the file, so that the next opening
//! saves what can be saved instead of meeting the damage again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::StoreError;
use crate::store::{Event, Observer};

/// `edge.db.damaged`: the next opening puts the file aside.
pub(crate) fn mark_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".damaged");
    PathBuf::from(name)
}

/// Shared by all connections of one opening.
pub(crate) struct Damage {
    path: PathBuf,
    noticed: AtomicBool,
    observer: Option<Observer>,
}

impl Damage {
    pub(crate) fn new(path: &Path, observer: Option<Observer>) -> Arc<Self> {
        Arc::new(Self { path: path.to_owned(), noticed: AtomicBool::new(false), observer })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at an error on its way up.
    pub(crate) fn look(&self, error: StoreError) -> StoreError {
        if let StoreError::Corrupt { detail, .. } = &error {
            self.notice(detail);
        }
        error
    }

    /// The file is damaged: says so, once.
    pub(crate) fn notice(&self, detail: &str) {
        if self.noticed.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::error!(path = %self.path.display(), detail, "the edge database is damaged; it is put aside, and what was not sent is saved from it");
        if let Err(error) = std::fs::write(mark_of(&self.path), detail) {
            tracing::error!(%error, "that could not be noted beside the file");
        }
        if let Some(observer) = &self.observer {
            observer(&Event::Damaged);
        }
    }
}
