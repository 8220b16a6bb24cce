//! Who last changed what in a record, kept small: one clock for everything that stands as it was created, one more for
//! each field that changed since. Field clocks never leave the cloud.

use std::collections::BTreeMap;

use proto::clock::Hlc;
use proto::ids::Revision;
use proto::json::Value;

/// One change: when in the cloud's order, when by the writer's clock, by which database (0: the cloud).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// The revision that it was decided at.
    pub revision: Revision,
    /// The writer's clock, clamped.
    pub hlc: Hlc,
    /// The store's small number of the writing database.
    pub database: u32,
}

/// The newest change, and the newest by another database than that one. Together they answer, for every database, when
/// another one changed this last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Pair {
    pub(super) newest: Stamp,
    pub(super) other: Option<Stamp>,
}

impl Pair {
    fn new(newest: Stamp) -> Self {
        Self { newest, other: None }
    }

    fn then(self, stamp: Stamp) -> Self {
        let other = if self.newest.database == stamp.database { self.other } else { Some(self.newest) };
        Self { newest: stamp, other }
    }

    /// The newest change by a database that is not `own`.
    pub(super) fn by_another(&self, own: u32) -> Option<Stamp> {
        if self.newest.database == own { self.other } else { Some(self.newest) }
    }
}

/// All clocks of one record. A field without an entry has the creation's clock while it is present, and none while it
/// is absent; a field that was removed keeps its entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Clocks {
    pub(super) born: Stamp,
    pub(super) changed: Pair,
    fields: BTreeMap<String, Pair>,
}

impl Clocks {
    /// The clocks of a record that is created now.
    pub fn new(born: Stamp) -> Self {
        Self { born, changed: Pair::new(born), fields: BTreeMap::new() }
    }

    /// The clock of a field.
    pub(super) fn field(&self, name: &str, present: bool) -> Option<Pair> {
        self.fields.get(name).copied().or_else(|| present.then(|| Pair::new(self.born)))
    }

    /// The newest change of a field that the value has.
    pub fn newest(&self, name: &str) -> Stamp {
        self.fields.get(name).map_or(self.born, |pair| pair.newest)
    }

    /// The fields that changed since the record was created.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &Pair)> {
        self.fields.iter().map(|(name, pair)| (name.as_str(), pair))
    }

    /// A field was set (`present`) or removed.
    pub(super) fn set(&mut self, name: &str, present: bool, stamp: Stamp) {
        self.keep(name, present, Pair::new(stamp));
    }

    /// A counter was changed; `before`: whether the value had it.
    pub(super) fn add(&mut self, name: &str, before: bool, present: bool, stamp: Stamp) {
        let pair = self.field(name, before).map_or(Pair::new(stamp), |pair| pair.then(stamp));
        self.keep(name, present, pair);
    }

    /// What each of `others` changed up to its revision was changed by writes that are `own`'s too.
    pub(crate) fn adopt(&mut self, others: &[(u32, Revision)], own: u32) {
        if others.is_empty() {
            return;
        }
        let adopt = |stamp: &mut Stamp| {
            if others.iter().any(|(other, to)| stamp.database == *other && stamp.revision <= *to) {
                stamp.database = own;
            }
        };
        adopt(&mut self.born);
        for pair in self.fields.values_mut().chain([&mut self.changed]) {
            adopt(&mut pair.newest);
            pair.other.iter_mut().for_each(adopt);
            pair.other = pair.other.filter(|other| other.database != pair.newest.database);
        }
    }

    /// The record was changed.
    pub(super) fn touch(&mut self, stamp: Stamp) {
        self.changed = self.changed.then(stamp);
    }

    /// The record was deleted: what its fields were no longer matters.
    pub(super) fn bury(&mut self) {
        self.fields.clear();
    }

    /// The record is created where another one was deleted: who changed that one is still known.
    pub(super) fn follow(&mut self, before: &Self, stamp: Stamp) {
        self.changed = before.changed.then(stamp);
    }

    /// Whether the clock of a field is kept that the value does not have any more.
    pub fn has_removed(&self, value: &Value) -> bool {
        self.fields.keys().any(|name| value.get(name).is_none())
    }

    /// Forgets the removed fields that changed at or below `old`, and then the oldest until `most` are left. The newest
    /// revision among what was forgotten.
    pub fn forget(&mut self, value: &Value, old: Revision, most: usize) -> Option<Revision> {
        let absent = self.fields.iter().filter(|(name, _)| value.get(name).is_none());
        let mut removed: Vec<_> = absent.map(|(name, pair)| (pair.newest.revision, name.clone())).collect();
        removed.sort();
        let excess = removed.len().saturating_sub(most);
        let goes = removed.iter().enumerate().filter(|(place, (revision, _))| *place < excess || *revision <= old);
        let mut newest = None;
        for (_, (revision, name)) in goes {
            self.fields.remove(name);
            newest = newest.max(Some(*revision));
        }
        newest
    }

    fn keep(&mut self, name: &str, present: bool, pair: Pair) {
        if present && pair == Pair::new(self.born) {
            self.fields.remove(name);
        } else {
            self.fields.insert(name.to_owned(), pair);
        }
    }
}

/// Why stored clocks could not be read: the store is damaged, or a newer program wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClockError {
    /// Written by a newer program.
    #[error("field clocks of format {0}, this program reads format 1: start the newer cloudhub")]
    Version(u8),
    /// Not what [`Clocks::encode`] makes.
    #[error("field clocks are damaged: {0}")]
    Damaged(&'static str),
}

const VERSION: u8 = 1;
/// The record was changed since it was created.
const CHANGED: u64 = 1;
/// A pair has its second clock.
const OTHER: u64 = 2;

impl Clocks {
    /// A version byte, then LEB128 numbers and names with their length: 12 to 20 bytes for a record as it was created.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        let changed = if self.changed.newest == self.born { 0 } else { CHANGED };
        number(&mut out, changed | flag(&self.changed));
        stamp(&mut out, &self.born);
        if changed != 0 {
            stamp(&mut out, &self.changed.newest);
        }
        self.changed.other.iter().for_each(|other| stamp(&mut out, other));
        for (name, pair) in &self.fields {
            number(&mut out, name.len() as u64);
            out.extend_from_slice(name.as_bytes());
            number(&mut out, flag(pair));
            stamp(&mut out, &pair.newest);
            pair.other.iter().for_each(|other| stamp(&mut out, other));
        }
        out
    }

    /// Reads what [`Clocks::encode`] made.
    pub fn decode(bytes: &[u8]) -> Result<Self, ClockError> {
        let (version, rest) = bytes.split_first().ok_or(ClockError::Damaged("empty"))?;
        if *version != VERSION {
            return Err(ClockError::Version(*version));
        }
        let mut reader = Reader(rest);
        let flags = reader.number()?;
        let born = reader.stamp()?;
        let newest = if flags & CHANGED == 0 { born } else { reader.stamp()? };
        let changed = Pair { newest, other: reader.other(flags)? };
        let mut fields = BTreeMap::new();
        while !reader.0.is_empty() {
            let name = reader.name()?;
            let flags = reader.number()?;
            fields.insert(name, Pair { newest: reader.stamp()?, other: reader.other(flags)? });
        }
        Ok(Self { born, changed, fields })
    }
}

fn flag(pair: &Pair) -> u64 {
    if pair.other.is_some() { OTHER } else { 0 }
}

fn stamp(out: &mut Vec<u8>, stamp: &Stamp) {
    number(out, stamp.revision.0);
    number(out, stamp.hlc.0);
    number(out, u64::from(stamp.database));
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn number(&mut self) -> Result<u64, ClockError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(ClockError::Damaged("cut off"))?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ClockError::Damaged("a number above 64 bits"))
    }

    fn stamp(&mut self) -> Result<Stamp, ClockError> {
        let (revision, hlc) = (Revision(self.number()?), Hlc(self.number()?));
        let database = u32::try_from(self.number()?).map_err(|_| ClockError::Damaged("a database above 32 bits"))?;
        Ok(Stamp { revision, hlc, database })
    }

    fn other(&mut self, flags: u64) -> Result<Option<Stamp>, ClockError> {
        if flags & OTHER == 0 { Ok(None) } else { self.stamp().map(Some) }
    }

    fn name(&mut self) -> Result<String, ClockError> {
        let length = usize::try_from(self.number()?).map_err(|_| ClockError::Damaged("a name's length"))?;
        let (name, rest) = self.0.split_at_checked(length).ok_or(ClockError::Damaged("cut off"))?;
        self.0 = rest;
        String::from_utf8(name.to_vec()).map_err(|_| ClockError::Damaged("a name that is not UTF-8"))
    }
}
