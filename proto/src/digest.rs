//! Digests (design §5, "scans reach head"): by them both sides know, and need not assume, that they hold the same records.
//!
//! A digest is a count and the sum of the records' hashes modulo 2^128: it does not depend on an order, and a record is
//! taken out as easily as it is put in. A difference is narrowed by [`RANGES`] ranges of the keys' hashes.

use sha2::{Digest as _, Sha256};

use crate::ids::Revision;
use crate::op::Hash;

/// Ranges that a difference is narrowed to.
pub const RANGES: usize = 256;

/// All of a record that a node holds, as far as readers can see it.
#[derive(Debug, Clone, Copy)]
pub struct Hashed<'a> {
    /// The key.
    pub key: &'a str,
    /// The revision that last changed it.
    pub revision: Revision,
    /// The revision that created it.
    pub born: Revision,
    /// When it was changed, milliseconds since 1970.
    pub updated_ms: u64,
    /// The id of the write that last changed it.
    pub writer: &'a str,
    /// Who, as that write said.
    pub actor: Option<&'a str>,
    /// Its value's text, byte for byte.
    pub value: &'a str,
}

impl Hashed<'_> {
    /// The first 16 bytes of SHA-256 over every member, the texts with their lengths before them.
    pub fn hash(&self) -> Hash {
        let mut hasher = Sha256::new();
        for number in [self.revision.0, self.born.0, self.updated_ms] {
            hasher.update(number.to_le_bytes());
        }
        for text in [self.key, self.writer, self.actor.unwrap_or_default(), self.value] {
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        let mut short = [0; 16];
        short.copy_from_slice(&hasher.finalize()[..16]);
        short
    }
}

/// Which range a key belongs to.
pub fn range_of(key: &str) -> u8 {
    Sha256::digest(key.as_bytes())[0]
}

/// What a set of records adds up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest {
    /// How many.
    pub count: u64,
    /// The sum of their hashes, read as little-endian numbers, modulo 2^128.
    pub sum: u128,
}

impl Digest {
    /// Puts a record in.
    pub fn add(&mut self, hash: &Hash) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(u128::from_le_bytes(*hash));
    }

    /// Takes a record out.
    pub fn remove(&mut self, hash: &Hash) {
        self.count = self.count.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(u128::from_le_bytes(*hash));
    }
}

/// Some of the ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RangeSet([u8; RANGES / 8]);

impl RangeSet {
    /// Adds a range.
    pub fn insert(&mut self, range: u8) {
        self.0[usize::from(range / 8)] |= 1 << (range % 8);
    }

    /// Whether it holds a range.
    pub fn contains(&self, range: u8) -> bool {
        self.0[usize::from(range / 8)] & (1 << (range % 8)) != 0
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    /// How many it holds.
    pub fn len(&self) -> u32 {
        self.0.iter().map(|byte| byte.count_ones()).sum()
    }

    /// A bit for each range, the lowest first.
    pub fn to_bytes(self) -> [u8; RANGES / 8] {
        self.0
    }

    /// From what [`RangeSet::to_bytes`] gave; `None`: of another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn record(key: &str) -> Hashed<'_> {
        Hashed { key, revision: Revision(7), born: Revision(3), updated_ms: 5, writer: "cloud:7", actor: None, value: "{}" }
    }

    #[test]
    fn every_member_counts() {
        let own = record("a");
        let others = [
            Hashed { key: "b", ..own },
            Hashed { revision: Revision(8), ..own },
            Hashed { born: Revision(4), ..own },
            Hashed { updated_ms: 6, ..own },
            Hashed { writer: "cloud:8", ..own },
            Hashed { actor: Some("x"), ..own },
            Hashed { value: "{ }", ..own },
        ];
        assert!(others.iter().all(|other| other.hash() != own.hash()));
        assert_eq!(own.hash(), record("a").hash());
    }

    #[test]
    fn the_order_does_not_count_and_what_goes_leaves_nothing() {
        let (a, b) = (record("a").hash(), record("b").hash());
        let mut one = Digest::default();
        one.add(&a);
        one.add(&b);
        let mut other = Digest::default();
        other.add(&b);
        other.add(&a);
        assert_eq!(one, other);
        one.remove(&a);
        one.remove(&b);
        assert_eq!(one, Digest::default());
    }

    /// Both ends narrow a difference by it, of whatever version each is.
    #[test]
    fn a_key_is_in_the_range_of_its_hash() {
        for (key, range) in [("a", 0xca), ("b", 0x3e), ("c", 0x2e), ("abc", 0xba)] {
            assert_eq!(range_of(key), range, "{key}");
        }
    }

    #[test]
    fn range_sets_round_trip() {
        let mut set = RangeSet::default();
        assert!(set.is_empty());
        [0, 7, 8, 255].into_iter().for_each(|range| set.insert(range));
        assert_eq!(set.len(), 4);
        assert!(set.contains(255) && set.contains(8) && !set.contains(9));
        assert_eq!(RangeSet::from_bytes(&set.to_bytes()), Some(set));
        assert_eq!(RangeSet::from_bytes(&[0; 31]), None);
    }
}
