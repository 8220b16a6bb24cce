//! Every bound of what comes from devices, with its reason.

/// Largest payload that is read, bytes: a twin whose every property is at its bound, twice.
pub const PAYLOAD_BYTES: usize = 1024 * 1024;
/// Longest event id that is echoed, bytes. A longer one is cut: it is for the sender's own bookkeeping.
pub const EVENT_ID_BYTES: usize = 256;
/// Refused properties that an answer names; the rest is a number.
pub const REFUSED_NAMED: usize = 8;
/// Writes of reported values without an outcome at one time: one on its way, one being judged.
pub const WRITES_UNDER_WAY: usize = 2;
