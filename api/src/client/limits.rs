//! Bounds of the client, each with its reason.

use std::time::Duration;

/// Connecting and the TLS handshake: a hub on the same machine or network answers in milliseconds; who waits longer
/// wants to know.
pub(super) const CONNECT: Duration = Duration::from_secs(5);

/// From the end of the request to the head of the answer. The slowest ordinary answer is a page of a long list.
pub(super) const ANSWER: Duration = Duration::from_secs(60);

/// Without a byte moving in a streamed upload or download. An import of a million records commits for minutes after
/// its last byte has been taken.
pub(super) const QUIET: Duration = Duration::from_secs(600);

/// Largest answer that is held in memory: a page of 1,000 ordinary records is far below, and one of 1,000 records of
/// 1 MiB can be asked for in smaller pages or streamed with `-o json`.
pub(super) const MAX_ANSWER: usize = 64 << 20;

/// Largest problem document that is read; the rest of it would not help anybody.
pub(super) const MAX_PROBLEM: usize = 64 << 10;

/// Pieces in which an upload is read from its file, and how many wait between the file and the socket.
pub(super) const UPLOAD_PIECE: usize = 64 << 10;
pub(super) const UPLOAD_WAITING: usize = 4;

/// Longest line of an event stream, and most data of one event: a hub's longest is a write's outcome with its ops, and a
/// write is 2 MiB at most, before its text is escaped.
pub(super) const MAX_EVENT: usize = 8 << 20;
