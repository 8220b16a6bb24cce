//! A disk whose power fails, under the real SQLite.
//!
//! A disk that keeps what it synced promises nothing about the rest: what was written since the last sync of a file may be
//! there or not, in any order, and in parts. [`Watch`] records what SQLite asks of the files below a folder; [`Disk`] says
//! what may be left of them when the power fails now; [`Log`] has every such moment of a whole run.
//!
//! - `disk`: what is durable and what is not; pure.
//! - `log`: all that was asked for, with marks between, moment by moment.
//! - `vfs`: SQLite's way into the real file system, through the record; the only unsafe code of the project.
//!
//! What a cut may do is what SQLite itself reckons with on a disk with power-safe overwrite
//! (<https://sqlite.org/atomiccommit.html>, section 2; <https://sqlite.org/psow.html>): a write that did not come whole
//! never harms bytes beside it, sectors of 512 bytes come whole or hold anything that was or was to be there.

mod disk;
mod log;
mod vfs;

pub use disk::{Disk, Event, Image, Loss};
pub use log::{Log, Moment};
pub use vfs::Watch;
