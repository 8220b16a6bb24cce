//! What bytes on the link were spent on.

use proto::traffic::{Cause, Causes, Traffic};
use serde::{Deserialize, Serialize};

use super::Time;

/// Bytes on the link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LinkBytes {
    /// Since when `sent` and `received` count: the start of the hub that shows them.
    pub since: Time,
    /// To the other end.
    pub sent: CauseBytes,
    /// From the other end.
    pub received: CauseBytes,
    /// Those of the present day.
    pub today: DayBytes,
}

/// Bytes of one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DayBytes {
    /// The day in UTC, by the cloud's time: `2026-11-26`. Null at an edge that has never been told the time.
    pub day: Option<String>,
    /// To the other end.
    pub sent: CauseBytes,
    /// From the other end.
    pub received: CauseBytes,
    /// How many bytes both may come to before everything but control and writes waits for the next day; null: no limit, or it is not
    /// this hub's.
    pub limit: Option<u64>,
}

/// Bytes of one direction by cause; `total` is their sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CauseBytes {
    /// Pings and pongs.
    pub heartbeat: u64,
    /// Beginnings and ends of sessions.
    pub session: u64,
    /// Records, and what acknowledges them.
    pub records: u64,
    /// Writes and their outcomes.
    pub writes: u64,
    /// Digests, and what was sent again because they differed.
    pub verification: u64,
    /// Requests to services at the edge.
    pub requests: u64,
    /// What TLS, WebSocket or QUIC added. Headers of IP, TCP and UDP are not counted.
    pub overhead: u64,
    /// All of them.
    pub total: u64,
}

impl From<Causes> for CauseBytes {
    fn from(causes: Causes) -> Self {
        Self {
            heartbeat: causes.get(Cause::Heartbeat),
            session: causes.get(Cause::Session),
            records: causes.get(Cause::Records),
            writes: causes.get(Cause::Writes),
            verification: causes.get(Cause::Verification),
            requests: causes.get(Cause::Requests),
            overhead: causes.get(Cause::Overhead),
            total: causes.total(),
        }
    }
}

impl LinkBytes {
    /// What passed since `since`, and what of it on one day (counted from 1970) or before on the same.
    pub fn new(since: Time, all: Traffic, day: Option<u64>, today: Traffic, limit: Option<u64>) -> Self {
        let day = day.map(|day| Time(day.saturating_mul(DAY_MS)).to_string().chars().take(10).collect());
        let today = DayBytes { day, sent: today.sent.into(), received: today.received.into(), limit };
        Self { since, sent: all.sent.into(), received: all.received.into(), today }
    }
}

/// A day, milliseconds.
pub const DAY_MS: u64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_named_as_people_write_it() {
        let mut all = Traffic::default();
        all.sent.add(Cause::Writes, 7);
        let bytes = LinkBytes::new(Time(0), all, Some(20_783), Traffic::default(), Some(9));
        assert_eq!(bytes.today.day.as_deref(), Some("2026-11-26"));
        assert_eq!((bytes.sent.writes, bytes.sent.total, bytes.today.sent.total), (7, 7, 0));
    }
}
