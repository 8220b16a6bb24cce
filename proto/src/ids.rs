//! Revisions, epochs, cursors, databases, write ids.

use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

use crate::names::{CollectionName, Key, NodeName};

/// The number of one cloud transaction or one decided write; 0 is before everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl Revision {
    /// Before the first revision: "the view held none".
    pub const ZERO: Self = Self(0);

    /// The revision after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A random id made at every start of cloudhub. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// An epoch and the first revision that it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: Epoch,
    /// The first revision that a store of this epoch decided.
    pub first: Revision,
}

/// A place in the cloud's order of changes: everything up to `revision`, and of the next revision all records
/// up to `inside`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// Everything up to here.
    pub revision: Revision,
    /// Inside the next revision, the last record reached, in (collection, key) order.
    pub inside: Option<(CollectionName, Key)>,
}

impl Position {
    /// The position right after a whole revision.
    pub fn at(revision: Revision) -> Self {
        Self { revision, inside: None }
    }
}

/// How far a node has durably applied what it is entitled to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The epoch that the position is counted in.
    pub epoch: Epoch,
    /// The place in that epoch's order.
    pub position: Position,
}

/// The random id of one edge database file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatabaseId(pub [u8; 16]);

impl DatabaseId {
    /// Says in [`crate::frame::Hello::previous`] that the file before was damaged beyond its id: the node's last one is meant.
    pub const UNKNOWN: Self = Self([0xff; 16]);

    /// The six hex digits that stand in write ids.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(6);
        text
    }
}

impl fmt::Display for DatabaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for DatabaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for DatabaseId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let bytes = text.as_bytes();
        if bytes.len() != 32 || !bytes.iter().all(u8::is_ascii_hexdigit) {
            return Err(());
        }
        let mut id = [0; 16];
        for (byte, pair) in id.iter_mut().zip(bytes.chunks(2)) {
            let pair = core::str::from_utf8(pair).map_err(|_| ())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| ())?;
        }
        Ok(Self(id))
    }
}

/// The id of a write, as people and programs see it: `lyon:7f3a9c:42` or `cloud:1041`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WriteId {
    /// Made at an edge: node, six hex digits of the database id, number.
    Edge {
        /// The node whose database holds it.
        node: NodeName,
        /// The first six hex digits of the database id.
        database: String,
        /// Counts from 1 in that database.
        number: u64,
    },
    /// Made through the cloud's API: the revision that it was decided at.
    Cloud(Revision),
}

impl WriteId {
    /// The id of a database's write.
    pub fn edge(node: &NodeName, database: &DatabaseId, number: u64) -> Self {
        Self::Edge { node: node.clone(), database: database.short(), number }
    }
}

impl fmt::Display for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edge { node, database, number } => write!(f, "{node}:{database}:{number}"),
            Self::Cloud(revision) => write!(f, "cloud:{revision}"),
        }
    }
}

/// A text that is no write id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a write id; it looks like lyon:7f3a9c:42 or cloud:1041")]
pub struct BadWriteId;

impl FromStr for WriteId {
    type Err = BadWriteId;

    fn from_str(text: &str) -> Result<Self, BadWriteId> {
        let number = |text: &str| text.parse::<u64>().map_err(|_| BadWriteId);
        if let Some(revision) = text.strip_prefix("cloud:") {
            return Ok(Self::Cloud(Revision(number(revision)?)));
        }
        let mut parts = text.splitn(3, ':');
        let (Some(node), Some(database), Some(count)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(BadWriteId);
        };
        let hex = database.len() == 6 && database.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !hex {
            return Err(BadWriteId);
        }
        let node = NodeName::parse(node).map_err(|_| BadWriteId)?;
        Ok(Self::Edge { node, database: database.to_string(), number: number(count)? })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn write_ids_round_trip() {
        for text in ["lyon:7f3a9c:42", "cloud:1041"] {
            assert_eq!(text.parse::<WriteId>().unwrap().to_string(), text);
        }
        for bad in ["", "lyon", "lyon:7f3a9c", "lyon:7F3A9C:1", "lyon:7f3a9c:-1", "cloud:", "cloud:x", "a:b:c:d"] {
            assert!(bad.parse::<WriteId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn positions_order_inside_a_revision() {
        let inside =
            |key| Position { revision: Revision(4), inside: Some((CollectionName::parse("a").unwrap(), Key::parse(key).unwrap())) };
        assert!(Position::at(Revision(4)) < inside("a"));
        assert!(inside("a") < inside("b"));
        assert!(inside("b") < Position::at(Revision(5)));
    }

    #[test]
    fn database_ids_round_trip() {
        let id = DatabaseId([0x7f; 16]);
        assert_eq!(id.to_string().parse::<DatabaseId>(), Ok(id));
        assert_eq!(id.short(), "7f7f7f");
        assert_eq!("00FF7f00000000000000000000000001".parse::<DatabaseId>().unwrap().to_string(), "00ff7f00000000000000000000000001");
        let hex = "7f".repeat(16);
        for bad in
            [&hex[1..], &hex[2..], &format!("{hex}7"), &format!("{hex}7f"), &format!("{}g", &hex[1..]), &format!("+7{}", &hex[2..]), ""]
        {
            assert_eq!(bad.parse::<DatabaseId>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn revisions_count_one_by_one() {
        assert_eq!([0, 1, 2, 1040].map(|revision| Revision(revision).next()), [1, 2, 3, 1041].map(Revision));
    }
}
