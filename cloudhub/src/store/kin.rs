//! Databases that share a past: the copies of a card, and the one that was made from a damaged file. Each has an id of its
//! own and keeps the numbers, so a write that several of them brought is known by its number and its hash.

use std::collections::{BTreeMap, VecDeque};

use proto::frame::{Hello, NumberedWrite};
use proto::ids::{DatabaseId, Revision};
use proto::op::{Hash, Outcome};
use rusqlite::{Connection, OptionalExtension};

use super::error::{StoreError, counted, stored};
use super::lost;
use super::reads::strings;
use super::world::to_verdict;
use crate::reconcile::Decided;

/// A database of the same node that may have handed over this one's writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Relative {
    id: u32,
    /// Numbers that it took, and that may be this one's: `first..=last`.
    first: u64,
    last: u64,
}

/// What a database shares with others.
#[derive(Debug, Default)]
pub(super) struct Kin {
    own: u32,
    relatives: Vec<Relative>,
    /// What each of these changed up to there was changed by writes that are this database's too.
    shared: Vec<(u32, Revision)>,
}

/// What is known of a write elsewhere.
#[derive(Debug)]
pub(super) enum Known {
    /// No other database can have brought it.
    New,
    /// One did, with this outcome, at whose revision it took effect.
    Same(Outcome),
    /// One took this number, and what it was is not remembered any more.
    Forgotten,
}

/// The database that a Hello says it took the place of: its row and its last number taken.
pub(super) fn previous(conn: &Connection, node: i64, current: u32, hello: &Hello) -> Result<Option<(u32, u64)>, StoreError> {
    let Some(id) = hello.previous else { return Ok(None) };
    // A file that was damaged beyond its own id is of the node's last database.
    let (sql, current) = match id == DatabaseId::UNKNOWN {
        true => ("SELECT id, taken FROM databases WHERE node = ?1 AND id = ?3 AND ?2 IS NOT NULL", current),
        false => ("SELECT id, taken FROM databases WHERE node = ?1 AND database = ?2 AND ?3 IS NOT NULL", current),
    };
    let found: Option<(u32, i64)> =
        conn.prepare_cached(sql)?.query_row((node, id.0, current), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    found.map(|(row, taken)| Ok((row, counted(taken)?))).transpose()
}

/// A database began above `start` in the place of another one: what that one did up to there, it did for both.
pub(super) fn begin(conn: &Connection, database: u32, previous: u32, start: u64) -> Result<(), StoreError> {
    let last: Option<i64> = conn
        .prepare_cached("SELECT max(revision) FROM writes WHERE database = ?1 AND number <= ?2")?
        .query_row((previous, stored(start)?), |row| row.get(0))?;
    if let Some(last) = last {
        share(conn, database, previous, Revision(counted(last)?))?;
        conn.prepare_cached(
            "INSERT OR IGNORE INTO shared_history (database, other, revision)
             SELECT ?1, other, min(revision, ?3) FROM shared_history WHERE database = ?2 AND other <> ?1",
        )?
        .execute((database, previous, last))?;
    }
    Ok(())
}

fn share(conn: &Connection, database: u32, other: u32, revision: Revision) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT INTO shared_history (database, other, revision) VALUES (?1, ?2, ?3)
         ON CONFLICT (database, other) DO UPDATE SET revision = max(revision, excluded.revision)",
    )?
    .execute((database, other, stored(revision.0)?))?;
    Ok(())
}

/// One database of a node.
struct Link {
    previous: u32,
    start: u64,
    upto: u64,
    taken: u64,
}

impl Kin {
    /// Reads what a database shares; for nearly all of them: nothing.
    pub(super) fn load(conn: &Connection, node: i64, own: u32) -> Result<Self, StoreError> {
        let renewed = "SELECT 1 FROM databases WHERE node = ?1 AND previous <> 0";
        if !conn.prepare_cached(renewed)?.exists([node])? {
            return Ok(Self { own, ..Self::default() });
        }
        let mut query = conn.prepare_cached("SELECT id, previous, start, upto, taken FROM databases WHERE node = ?1")?;
        let mut rows = query.query([node])?;
        let mut links = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let link =
                Link { previous: row.get(1)?, start: counted(row.get(2)?)?, upto: counted(row.get(3)?)?, taken: counted(row.get(4)?)? };
            links.insert(row.get::<_, u32>(0)?, link);
        }
        let mut query = conn.prepare_cached("SELECT other, revision FROM shared_history WHERE database = ?1")?;
        let rows = query.query_map([own], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, i64>(1)?)))?;
        let shared = rows.map(|row| row.map_err(StoreError::from).and_then(|(other, to)| Ok((other, Revision(counted(to)?)))));
        let shared = shared.collect::<Result<_, _>>()?;
        Ok(Self { own, relatives: relatives(&links, own), shared })
    }

    /// The newest number that another database may have taken of what this one has pending.
    pub(super) fn newest(&self) -> u64 {
        self.relatives.iter().map(|relative| relative.last).max().unwrap_or(0)
    }

    /// Up to where what others did is this database's own doing.
    pub(super) fn shared(&self) -> &[(u32, Revision)] {
        &self.shared
    }

    fn of(&self, number: u64) -> impl Iterator<Item = &Relative> {
        self.relatives.iter().filter(move |relative| (relative.first..=relative.last).contains(&number))
    }

    /// What became of a write that another database may have brought.
    pub(super) fn find(&mut self, conn: &Connection, number: u64, hash: &Hash) -> Result<Known, StoreError> {
        let mut known = Known::New;
        for relative in self.of(number).copied().collect::<Vec<_>>() {
            match held(conn, relative.id, number)? {
                // A number that it declared it never handed over.
                None if lost::above(conn, relative.id, number.saturating_sub(1))?.first().is_some_and(|(first, _)| *first <= number) => {}
                None => known = Known::Forgotten,
                Some((held, by, outcome)) if held == *hash => {
                    if let Some(by) = by.filter(|by| *by != self.own) {
                        share(conn, self.own, by, outcome.revision)?;
                        self.shared.retain(|(other, _)| *other != by);
                        self.shared.push((by, outcome.revision));
                    }
                    return Ok(Known::Same(outcome));
                }
                Some(_) => {}
            }
        }
        Ok(known)
    }

    /// What became of an earlier write that another database brought before this one began.
    pub(super) fn decided(&self, conn: &Connection, number: u64) -> Result<Option<Decided>, StoreError> {
        for relative in self.of(number) {
            if let Some((_, _, outcome)) = held(conn, relative.id, number)? {
                return Ok(Some(Decided { verdict: outcome.verdict, revision: outcome.revision }));
            }
        }
        Ok(None)
    }
}

/// Walks from one database to all that it shares a past with; what two of them share ends where either was renewed.
fn relatives(links: &BTreeMap<u32, Link>, own: u32) -> Vec<Relative> {
    let mut found = Vec::new();
    let mut bounds = BTreeMap::from([(own, u64::MAX)]);
    let mut next = VecDeque::from([own]);
    while let Some(at) = next.pop_front() {
        let bound = bounds.get(&at).copied().unwrap_or(0);
        let parent = links.get(&at).map(|link| (link.previous, link.upto));
        let children = links.iter().filter(|(_, link)| link.previous == at).map(|(id, link)| (*id, link.upto));
        for (id, upto) in children.chain(parent) {
            let Some(link) = links.get(&id).filter(|_| !bounds.contains_key(&id)) else { continue };
            let bound = bound.min(upto);
            bounds.insert(id, bound);
            next.push_back(id);
            found.push(Relative { id, first: link.start + 1, last: link.taken.min(bound) });
        }
    }
    found
}

type Held = (Hash, Option<u32>, Outcome);

/// A remembered write: its hash, the database by which it took effect, and its outcome, at the revision of the effect.
fn held(conn: &Connection, database: u32, number: u64) -> Result<Option<Held>, StoreError> {
    let Ok(number) = stored(number) else { return Ok(None) };
    let mut query = conn.prepare_cached(
        "SELECT w.hash, coalesce(w.effect, w.revision), w.verdict, w.code, w.detail, w.conflicts,
             (SELECT e.database FROM writes e WHERE e.revision = coalesce(w.effect, w.revision))
         FROM writes w WHERE w.database = ?1 AND w.number = ?2",
    )?;
    let mut rows = query.query((database, number))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let outcome = Outcome {
        verdict: to_verdict(row.get(2)?)?,
        revision: Revision(counted(row.get(1)?)?),
        code: row.get(3)?,
        detail: row.get(4)?,
        conflicts: strings(row.get(5)?)?,
    };
    Ok(Some((row.get(0)?, row.get(6)?, outcome)))
}

/// The hash of what was committed.
pub(super) fn hash_of(write: &NumberedWrite) -> Hash {
    write.hash.unwrap_or_else(|| proto::op::hash(&write.bytes))
}

/// The hashes of a database's writes from `first` to `taken`, the newest last; zeros: not held.
pub(super) fn hashes(conn: &Connection, database: u32, first: u64, taken: u64, most: u64) -> Result<Vec<Hash>, StoreError> {
    if first == 0 || first > taken {
        return Ok(Vec::new());
    }
    let first = first.max(taken.saturating_sub(most.saturating_sub(1)));
    let count = usize::try_from(taken - first + 1).unwrap_or(0);
    let mut hashes = vec![Hash::default(); count];
    let mut query = conn.prepare_cached("SELECT number, hash FROM writes WHERE database = ?1 AND number BETWEEN ?2 AND ?3")?;
    let mut rows = query.query((database, stored(first)?, stored(taken)?))?;
    while let Some(row) = rows.next()? {
        let place = usize::try_from(counted(row.get(0)?)? - first).unwrap_or(usize::MAX);
        if let Some(hash) = hashes.get_mut(place) {
            *hash = row.get(1)?;
        }
    }
    Ok(hashes)
}
