//! What both sides must agree on before a session begins.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::frame::{Reason, Refuse};

/// Lowest and highest protocol version of this build.
pub const VERSIONS: (u32, u32) = (1, 1);

/// Optional features of this build.
pub const FEATURES: &[&str] = &[FEATURE_REPAIR, FEATURE_TICKET, FEATURE_ZSTD, FEATURE_PARTS, FEATURE_PIECES];

/// Digests, repairs, records asked for by key, and outcomes ahead of the stream.
pub const FEATURE_REPAIR: &str = "repair";

/// Who is told to wait comes back with its ticket, so that it may be told to wait for longer than five seconds.
pub const FEATURE_TICKET: &str = "ticket";

/// Frames may be compressed with zstd.
pub const FEATURE_ZSTD: &str = "zstd";

/// Large writes go up in parts that outlive the session.
pub const FEATURE_PARTS: &str = "parts";

/// Large values come down in pieces that outlive the session.
pub const FEATURE_PIECES: &str = "pieces";

/// Nack: the edge's disk is full. What is on its way is lost; the cloud asks now and then whether there is room.
pub const DISK_FULL: &str = "disk_full";

/// Nack: as much has passed today as may. What is on its way is taken still; the edge says by itself when it is over.
pub const DAILY_LIMIT: &str = "daily_limit";

/// The highest version that both ranges hold.
pub(super) fn common_version(ours: (u32, u32), theirs: (u32, u32)) -> Option<u32> {
    let highest = ours.1.min(theirs.1);
    let lowest = ours.0.max(theirs.0);
    (lowest <= highest).then_some(highest)
}

/// The features of this build that the peer named too, in this build's order.
pub(super) fn common_features(theirs: &[String]) -> Vec<String> {
    let both = FEATURES.iter().filter(|own| theirs.iter().any(|name| name == *own));
    both.map(ToString::to_string).collect()
}

/// The answer to an edge with which no version is shared.
pub(super) fn refuse_version(theirs: (u32, u32)) -> Refuse {
    let older = if theirs.1 < VERSIONS.0 { "edgehub" } else { "cloudhub" };
    let detail = format!(
        "this hub speaks protocol versions {} to {}, the edge {} to {}: upgrade {older}",
        VERSIONS.0, VERSIONS.1, theirs.0, theirs.1
    );
    Refuse { reason: Reason { code: "version".to_string(), detail }, retry_ms: 0, versions: VERSIONS, renew: false, ticket: Vec::new() }
}

/// The session numbers that the cloud keeps of one database: by them it tells the database from a copy of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Numbers {
    /// The newest one that the database is known to have committed; 0: none.
    pub confirmed: u64,
    /// The newest one that was offered to it in a Welcome.
    pub offered: u64,
}

impl Numbers {
    /// What to keep when a Hello names `session`, the new offer in it. The named number counts as confirmed: an edge
    /// that committed it may lose any number of Welcomes afterwards and still names a known one. `None`: neither
    /// the confirmed nor the offered one, so the Hello comes from a copy or an old image.
    pub fn offer(self, session: u64) -> Option<Self> {
        let rightful = session == self.confirmed || session == self.offered;
        rightful.then(|| Self { confirmed: session, offered: self.confirmed.max(self.offered) + 1 })
    }

    /// What to keep when the first frame after a Welcome shows that the edge committed the number.
    pub fn confirm(self, session: u64) -> Self {
        if session == self.offered { Self { confirmed: session, ..self } } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_wins() {
        assert_eq!(common_version((1, 3), (2, 5)), Some(3));
        assert_eq!(common_version((1, 3), (1, 1)), Some(1));
        assert_eq!(common_version((1, 3), (4, 5)), None);
        assert_eq!(common_version((1, 3), (3, 2)), None, "a range that is upside down holds nothing");
    }

    #[test]
    fn refusal_names_who_is_to_upgrade() {
        assert!(refuse_version((0, 0)).reason.detail.ends_with("upgrade edgehub"));
        assert!(refuse_version((7, 9)).reason.detail.ends_with("upgrade cloudhub"));
    }

    /// `welcome-lost-twice`, at the level of the numbers.
    #[test]
    fn a_rightful_database_is_known_whatever_is_lost() {
        let first = Numbers::default().offer(0).expect("a new database is rightful");
        assert_eq!(first, Numbers { confirmed: 0, offered: 1 });
        let lost_once = first.offer(0).expect("the Welcome was lost");
        let lost_twice = lost_once.offer(0).expect("it was lost again");
        assert_eq!(lost_twice, Numbers { confirmed: 0, offered: 3 });
        let started_lost = lost_twice.offer(3).expect("committed, but Started was lost");
        assert_eq!(started_lost, Numbers { confirmed: 3, offered: 4 });
        assert!(started_lost.offer(3).is_some(), "and the next Welcome too");
    }

    #[test]
    fn a_copy_is_neither() {
        let numbers = Numbers { confirmed: 5, offered: 6 }.confirm(6);
        assert_eq!(numbers, Numbers { confirmed: 6, offered: 6 });
        assert_eq!(numbers.offer(5), None);
        assert_eq!(numbers.offer(7), None);
        assert_eq!(numbers.confirm(2), numbers, "a late confirmation of a replaced session changes nothing");
    }
}
