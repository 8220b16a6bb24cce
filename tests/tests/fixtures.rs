//! What a released version left is opened by today's: its databases serve and go on where they were, its frames are
//! read as they were meant. See `tests/data/fixtures/README.md`.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "fixtures/databases.rs"]
mod databases;
#[path = "fixtures/frames.rs"]
mod frames;

use std::path::PathBuf;

use tempfile::TempDir;
use tests::kept::{DATABASES, folder, load};

/// Versions whose fixtures are kept, with the format of their databases.
const VERSIONS: [(&str, i64); 1] = [("v0.1.0", 1)];

/// The database files of a version in a scratch folder.
fn files(version: &str) -> (TempDir, [PathBuf; 3]) {
    let scratch = tempfile::tempdir().unwrap();
    let files = DATABASES.map(|name| {
        let file = scratch.path().join(format!("{name}.db"));
        load(&std::fs::read_to_string(folder(version).join(format!("{name}.sql"))).unwrap(), &file).unwrap();
        file
    });
    (scratch, files)
}
