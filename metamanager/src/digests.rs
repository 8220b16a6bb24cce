//! Digests (docs/design.md §5): what each grant's records add up to, kept while they change, so that comparing with the
//! cloud costs nothing. `check` finds out whether these figures are true to the rows.

use std::collections::BTreeMap;

use proto::digest::{Digest, Hashed};
use proto::frame::{GrantDigest, Record};
use proto::ids::Revision;
use proto::op::Hash;
use rusqlite::{Connection, Row, params};

use crate::error::{Done, Fault};
use crate::ledger::{Granted, Ledger, number, stored};
use crate::limits::CHECK_STEP;

/// The digests of all grants, by the grant's id. What is of no grant counts nowhere.
#[derive(Debug, Default)]
pub(crate) struct Digests(BTreeMap<i64, Figures>);

#[derive(Debug, Default)]
struct Figures {
    digest: Digest,
    changed: bool,
}

impl Digests {
    pub(crate) fn load(conn: &Connection) -> Done<Self> {
        let mut statement = conn.prepare_cached("SELECT id, digest_count, digest_sum FROM grants")?;
        let mut rows = statement.query([])?;
        let mut digests = Self::default();
        while let Some(row) = rows.next()? {
            digests.0.insert(row.get(0)?, Figures { digest: digest(row, 1)?, changed: false });
        }
        Ok(digests)
    }

    /// Writes what changed.
    pub(crate) fn save(&mut self, conn: &Connection) -> Done<()> {
        for (id, figures) in self.0.iter_mut().filter(|(_, figures)| figures.changed) {
            let mut statement = conn.prepare_cached("UPDATE grants SET digest_count = ?2, digest_sum = ?3 WHERE id = ?1")?;
            statement.execute(params![id, stored(figures.digest.count), figures.digest.sum.to_le_bytes()])?;
            figures.changed = false;
        }
        Ok(())
    }

    pub(crate) fn of(&self, granted: i64) -> Digest {
        self.0.get(&granted).map(|figures| figures.digest).unwrap_or_default()
    }

    /// A new grant, which has nothing.
    pub(crate) fn open(&mut self, granted: i64) {
        self.0.insert(granted, Figures::default());
    }

    pub(crate) fn forget(&mut self, granted: i64) {
        self.0.remove(&granted);
    }

    /// A row came, unless it does not count.
    pub(crate) fn add(&mut self, granted: i64, hash: Option<&Hash>) {
        self.change(granted, hash, Digest::add);
    }

    /// A row went, unless it did not count.
    pub(crate) fn remove(&mut self, granted: i64, hash: Option<&Hash>) {
        self.change(granted, hash, Digest::remove);
    }

    fn change(&mut self, granted: i64, hash: Option<&Hash>, change: fn(&mut Digest, &Hash)) {
        if let (Some(figures), Some(hash)) = (self.0.get_mut(&granted), hash) {
            change(&mut figures.digest, hash);
            figures.changed = true;
        }
    }

    /// Adds what the figures were found to lack; modulo, so that it can also be too much.
    pub(crate) fn correct(&mut self, granted: i64, lack: Digest) {
        if let Some(figures) = self.0.get_mut(&granted) {
            figures.digest.count = figures.digest.count.wrapping_add(lack.count);
            figures.digest.sum = figures.digest.sum.wrapping_add(lack.sum);
            figures.changed = true;
        }
    }

    /// No row counts any more.
    pub(crate) fn clear(&mut self) {
        self.0.values_mut().for_each(|figures| *figures = Figures { digest: Digest::default(), changed: true });
    }
}

/// A count and a sum from two columns.
pub(crate) fn digest(row: &Row<'_>, place: usize) -> Done<Digest> {
    let sum: [u8; 16] = row.get::<_, Vec<u8>>(place + 1)?.try_into().map_err(|_| Fault::damaged("grants", "a sum has not 16 bytes"))?;
    Ok(Digest { count: number(row, place)?, sum: u128::from_le_bytes(sum) })
}

/// The hash in a column; one of another length counts as none.
pub(crate) fn stored_hash(row: &Row<'_>, place: usize) -> Option<Hash> {
    row.get_ref(place).ok()?.as_blob_or_null().ok()??.try_into().ok()
}

/// What a record contributes.
pub(crate) fn hash_of(record: &Record, value: &str) -> Hash {
    Hashed {
        key: record.key.as_str(),
        revision: record.revision,
        born: record.born,
        updated_ms: record.updated_ms,
        writer: &record.writer,
        actor: record.actor.as_deref(),
        value,
    }
    .hash()
}

/// What a row of base contributes, from its members beginning at `place`: key, revision, born, updated_ms, writer, actor,
/// value. None: these columns cannot hold a record.
pub(crate) fn row_hash(row: &Row<'_>, place: usize) -> Option<Hash> {
    let text = |at: usize| row.get_ref(place + at).ok()?.as_str().ok();
    let actor = row.get_ref(place + 5).ok()?.as_str_or_null().ok()?;
    let number = |at: usize| number(row, place + at).ok();
    let (revision, born) = (Revision(number(1)?), Revision(number(2)?));
    Some(Hashed { key: text(0)?, revision, born, updated_ms: number(3)?, writer: text(4)?, actor, value: text(6)? }.hash())
}

/// The members that [`row_hash`] reads.
pub(crate) const MEMBERS: &str = "key, revision, born, updated_ms, writer, actor, value";

/// How what the cloud has and what is held here compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Agreement {
    /// Nothing that was compared differs.
    pub(crate) equal: bool,
    /// And everything was compared: no back-fill is open, and the cloud named every grant.
    pub(crate) complete: bool,
}

/// Compares the cloud's digests with those that `held` gives; done grants of the same revision only.
pub(crate) fn compare(grants: &[Granted], digests: &[GrantDigest], held: impl Fn(i64) -> Digest) -> (Agreement, Vec<i64>) {
    let theirs: BTreeMap<_, _> = digests.iter().map(|digest| ((&digest.share, digest.since), digest.digest)).collect();
    let (mut complete, mut differing) = (true, Vec::new());
    for granted in grants {
        match theirs.get(&(&granted.grant.share, granted.grant.since)) {
            Some(digest) if granted.done && *digest != held(granted.id) => differing.push(granted.id),
            Some(_) if granted.done => {}
            _ => complete = false,
        }
    }
    (Agreement { equal: differing.is_empty(), complete }, differing)
}

impl Ledger {
    /// Compares with the figures that are kept.
    pub(crate) fn agrees(&self, digests: &[GrantDigest]) -> Agreement {
        compare(&self.grants, digests, |id| self.digests.of(id)).0
    }
}

/// Gives every row its hash and every grant its digest: what a file of an older format does not have.
pub(crate) fn compute_all(conn: &Connection) -> Done<()> {
    let mut digests = Digests::load(conn)?;
    let mut read = conn.prepare(&format!("SELECT {MEMBERS}, id, granted FROM base WHERE id > ?1 ORDER BY id LIMIT ?2"))?;
    let mut write = conn.prepare("UPDATE base SET hash = ?2 WHERE id = ?1")?;
    let mut after = i64::MIN;
    loop {
        let mut found = Vec::new();
        let mut rows = read.query(params![after, CHECK_STEP as i64])?;
        while let Some(row) = rows.next()? {
            found.push((row.get::<_, i64>(7)?, row.get::<_, i64>(8)?, row_hash(row, 0)));
        }
        let Some((last, ..)) = found.last() else { return digests.save(conn) };
        after = *last;
        for (id, granted, hash) in found {
            write.execute(params![id, hash])?;
            digests.add(granted, hash.as_ref());
        }
    }
}
