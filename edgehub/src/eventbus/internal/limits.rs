//! Every bound of the broker inside edgehub, with its reason: it lives in the memory of a small machine, beside the database.

use std::time::Duration;

/// Clients at one time. A machine with more of them needs a broker that is made for it.
pub(super) const CONNECTIONS: usize = 64;
/// Bytes of the first packet, before it is known who speaks: client id, will, user and password.
pub(super) const CONNECT_BYTES: usize = 16 * 1024;
/// How long the first packet, a TLS handshake, and one answer's way out may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// A client that wants no keep-alive is asked after no more often than this: it may be gone without a word.
pub(super) const QUIET: Duration = Duration::from_secs(24 * 3_600);
/// Sessions that are kept for clients which are not there; the one that left first goes first.
pub(super) const SESSIONS: usize = 256;
/// What one client may be called, and what a topic or filter may be, bytes.
pub(super) const NAME_BYTES: usize = 1_024;
/// Filters of one client.
pub(super) const FILTERS: usize = 128;
/// Messages that wait for one client, and that are on their way to it without its acknowledgement.
pub(super) const WAITING: usize = 1_000;
/// On their way to it.
pub(super) const INFLIGHT: usize = 20;
/// Messages of one client that wait for their acknowledgement: it is not read meanwhile.
pub(super) const UNACKNOWLEDGED: usize = 64;
/// Bytes that wait for all clients together, and those that are retained.
pub(super) const WAITING_BYTES: usize = 8 << 20;
/// Retained messages.
pub(super) const RETAINED: usize = 1_024;
/// Bytes of all retained messages.
pub(super) const RETAINED_BYTES: usize = 2 << 20;
/// The pause before it listens again where it could not.
pub(super) const LISTEN_AGAIN: Duration = Duration::from_secs(5);
