//! What changed since a revision, for whoever watches: records and outcomes in the order of their revisions, newest versions
//! only. A scan of one index; nothing is kept per watcher.

use std::collections::BTreeMap;

use proto::ids::{Epoch, Revision};
use proto::names::{CollectionName, Key};
use rusqlite::{Connection, OptionalExtension, Row};

use super::error::{StoreError, counted, limit, stored};
use super::list;
use super::reads::{self, WRITE, record_row, write_row};
use super::rows::{ConflictRow, RecordRow, WriteRow};
use super::scan::to_key;
use crate::limits::{WATCH_BYTES, WATCH_EVENTS, WATCH_LOOKS};

/// How far a watch has come: all revisions up to this one are told, or of this one the records up to a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchPlace {
    /// The epoch that the revision belongs to: a store that was restored has another one there.
    pub epoch: Epoch,
    /// The revision.
    pub revision: Revision,
    /// The last record of it that was told: a collection's id and a key. None: all of them.
    pub inside: Option<(i64, String)>,
}

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub struct WatchChange {
    /// Where to go on after it.
    pub after: WatchPlace,
    /// What it is about.
    pub what: WatchWhat,
}

/// What a change is about.
#[derive(Debug, Clone, PartialEq)]
pub enum WatchWhat {
    /// A record, as it is now.
    Record(RecordRow),
    /// A record is gone.
    Gone(CollectionName, Key),
    /// A conflict row.
    Conflict(ConflictRow),
    /// A decided write.
    Outcome(Box<WriteRow>),
}

/// What came of looking.
#[derive(Debug, Clone, PartialEq)]
pub enum WatchPage {
    /// The next changes, where to go on, and whether there is more.
    Changes(Vec<WatchChange>, WatchPlace, bool),
    /// The place is of another history, or older than what is kept of deletions: list again, and go on here.
    Lost(WatchPlace),
}

/// Where a watch that begins now goes on.
pub(super) fn end(conn: &Connection) -> Result<WatchPlace, StoreError> {
    let revision = reads::head(conn)?;
    Ok(WatchPlace { epoch: epoch_of(conn, revision)?, revision: Revision(revision), inside: None })
}

/// The epoch that a revision belongs to.
pub(super) fn epoch_of(conn: &Connection, revision: u64) -> Result<Epoch, StoreError> {
    let sql = "SELECT epoch FROM epochs WHERE first <= ?1 OR seq = (SELECT min(seq) FROM epochs) ORDER BY seq DESC LIMIT 1";
    let epoch: i64 = conn.prepare_cached(sql)?.query_row([stored(revision)?], |row| row.get(0))?;
    Ok(Epoch(epoch.cast_unsigned()))
}

/// The next changes of the records that are wanted; outcomes and conflicts all of them.
pub(super) fn read(conn: &Connection, from: &WatchPlace, wanted: &dyn Fn(&CollectionName) -> bool) -> Result<WatchPage, StoreError> {
    let end = end(conn)?;
    if from.revision > end.revision || epoch_of(conn, from.revision.0)? != from.epoch || is_below_floor(conn, from, wanted)? {
        return Ok(WatchPage::Lost(end));
    }
    let mut telling =
        Telling { conn, wanted, reached: from.clone(), epochs: BTreeMap::new(), names: BTreeMap::new(), changes: Vec::new(), bytes: 0 };
    let more = telling.merge(from)?;
    let next = match more {
        Some(place) => place,
        None => end.clone(),
    };
    let more = next != end;
    Ok(WatchPage::Changes(telling.changes, next, more))
}

/// Whether something that is wanted was deleted above the place and forgotten since.
fn is_below_floor(conn: &Connection, from: &WatchPlace, wanted: &dyn Fn(&CollectionName) -> bool) -> Result<bool, StoreError> {
    let mut above = conn.prepare_cached("SELECT c.name FROM floors f JOIN collections c ON c.id = f.collection WHERE f.revision > ?1")?;
    let mut rows = above.query([stored(from.revision.0)?])?;
    while let Some(row) = rows.next()? {
        if CollectionName::parse(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?).is_ok_and(|name| wanted(&name)) {
            return Ok(true);
        }
    }
    Ok(false)
}

const RECORDS: &str = "SELECT key, revision, born, updated_ms, writer, actor, value, collection, deleted FROM records
     INDEXED BY records_changes WHERE (revision, collection, key) > (?1, ?2, ?3) ORDER BY revision, collection, key LIMIT ?4";

struct Telling<'a> {
    conn: &'a Connection,
    wanted: &'a dyn Fn(&CollectionName) -> bool,
    /// Where to go on after the last row that was told.
    reached: WatchPlace,
    epochs: BTreeMap<u64, Epoch>,
    names: BTreeMap<i64, Option<CollectionName>>,
    changes: Vec<WatchChange>,
    bytes: usize,
}

impl Telling<'_> {
    /// Both streams by revision, an outcome before the records of its revision. The place where it stopped; none: at the end.
    fn merge(&mut self, from: &WatchPlace) -> Result<Option<WatchPlace>, StoreError> {
        let (revision, inside) = (stored(from.revision.0)?, from.inside.clone());
        let (collection, key) = inside.unwrap_or((i64::MAX, String::new()));
        let mut records = self.conn.prepare_cached(RECORDS)?;
        let mut records = records.query((revision, collection, key, limit(WATCH_LOOKS + 1)))?;
        let mut writes = self.conn.prepare_cached(&format!("{WRITE} WHERE w.revision > ?1 ORDER BY w.revision LIMIT ?2"))?;
        let mut writes = writes.query((revision, limit(WATCH_LOOKS + 1)))?;
        let of = |row: &Row<'_>, at: usize| row.get::<_, i64>(at).map_err(StoreError::from).and_then(counted);
        let (mut record, mut write) = (records.next()?, writes.next()?);
        let mut place = None;
        for looks in 0.. {
            let revisions = (write.map(|row| of(row, 0)).transpose()?, record.map(|row| of(row, 1)).transpose()?);
            let outcome = match revisions {
                (None, None) => return Ok(None),
                (Some(write), Some(record)) => write <= record,
                (write, None) => write.is_some(),
                (None, Some(_)) => false,
            };
            if looks >= WATCH_LOOKS || self.changes.len() >= WATCH_EVENTS || self.bytes >= WATCH_BYTES {
                break;
            }
            let told = self.changes.len();
            let after = if outcome {
                let after = self.outcome(write)?;
                write = writes.next()?;
                after
            } else {
                let after = self.record(record)?;
                record = records.next()?;
                after
            };
            // A row may bring several changes: who was cut off between them is told all of them again.
            let all_but_last = self.changes.len().saturating_sub(1);
            for change in self.changes.iter_mut().take(all_but_last).skip(told) {
                change.after.clone_from(&self.reached);
            }
            self.reached.clone_from(&after);
            place = Some(after);
        }
        Ok(place)
    }

    fn place(&mut self, revision: Revision, inside: (i64, String)) -> Result<WatchPlace, StoreError> {
        let epoch = match self.epochs.get(&revision.0) {
            Some(epoch) => *epoch,
            None => epoch_of(self.conn, revision.0)?,
        };
        // Revisions come in order: only the newest is asked for again.
        self.epochs = BTreeMap::from([(revision.0, epoch)]);
        Ok(WatchPlace { epoch, revision, inside: Some(inside) })
    }

    fn outcome(&mut self, row: Option<&Row<'_>>) -> Result<WatchPlace, StoreError> {
        let row = write_row(row.ok_or_else(lost)?)?;
        let after = self.place(row.revision, (0, String::new()))?;
        self.bytes += row.ops.len() * 64;
        self.changes.push(WatchChange { after: after.clone(), what: WatchWhat::Outcome(Box::new(row)) });
        Ok(after)
    }

    fn record(&mut self, row: Option<&Row<'_>>) -> Result<WatchPlace, StoreError> {
        let row = row.ok_or_else(lost)?;
        let (revision, collection, key): (i64, i64, String) = (row.get(1)?, row.get(7)?, row.get(0)?);
        let after = self.place(Revision(counted(revision)?), (collection, key.clone()))?;
        let Some(name) = self.name(collection)? else { return Ok(after) };
        let gone: bool = row.get(8)?;
        if (self.wanted)(&name) {
            let what = if gone {
                WatchWhat::Gone(name.clone(), to_key(&key)?)
            } else {
                WatchWhat::Record(record_row(self.conn, collection, &name, row)?)
            };
            self.push(&after, what);
        }
        if name == CollectionName::conflicts() && !gone {
            self.conflict(&after, &key)?;
        }
        Ok(after)
    }

    /// The row, and the record that it is about: which open conflicts that has is told with it.
    fn conflict(&mut self, after: &WatchPlace, id: &str) -> Result<(), StoreError> {
        let Some(row) = list::conflict(self.conn, id)? else { return Ok(()) };
        let (about, key) = (row.collection.clone(), Key::parse(&row.key));
        self.push(after, WatchWhat::Conflict(row));
        let (true, Ok(key)) = ((self.wanted)(&about), key) else { return Ok(()) };
        let known: Option<i64> = self
            .conn
            .prepare_cached("SELECT id FROM collections WHERE name = ?1")?
            .query_row([about.as_str()], |row| row.get(0))
            .optional()?;
        if let Some(record) = known.map(|known| reads::record(self.conn, known, &about, &key)).transpose()?.flatten() {
            self.push(after, WatchWhat::Record(record));
        }
        Ok(())
    }

    fn push(&mut self, after: &WatchPlace, what: WatchWhat) {
        self.bytes += match &what {
            WatchWhat::Record(row) => row.value.len(),
            WatchWhat::Conflict(row) => row.json.len(),
            _ => 0,
        };
        self.changes.push(WatchChange { after: after.clone(), what });
    }

    /// A collection's name; none: it is deleted, and its rows are on their way out.
    fn name(&mut self, id: i64) -> Result<Option<CollectionName>, StoreError> {
        if let Some(known) = self.names.get(&id) {
            return Ok(known.clone());
        }
        let name: Option<String> =
            self.conn.prepare_cached("SELECT name FROM collections WHERE id = ?1")?.query_row([id], |row| row.get(0)).optional()?;
        let name = name.map(|name| CollectionName::parse(&name).map_err(|error| StoreError::Damaged(error.to_string()))).transpose()?;
        self.names.insert(id, name.clone());
        Ok(name)
    }
}

fn lost() -> StoreError {
    StoreError::Damaged("a row vanished while it was read".to_owned())
}

/// The next records of a collection in key order, and the last key that was looked at when there are more.
pub(super) fn stretch(
    conn: &Connection,
    collection: i64,
    name: &CollectionName,
    after: Option<&Key>,
) -> Result<(Vec<RecordRow>, Option<Key>), StoreError> {
    let mut query = conn.prepare_cached(
        "SELECT key, revision, born, updated_ms, writer, actor, value FROM records
         WHERE collection = ?1 AND key > ?2 AND deleted = 0 ORDER BY key LIMIT ?3",
    )?;
    let mut rows = query.query((collection, after.map_or("", Key::as_str), limit(WATCH_EVENTS + 1)))?;
    let (mut records, mut bytes) = (Vec::<RecordRow>::new(), 0);
    while let Some(row) = rows.next()? {
        if records.len() >= WATCH_EVENTS || bytes >= WATCH_BYTES {
            let last = records.last().map(|row| row.key.clone());
            return Ok((records, last));
        }
        let row = record_row(conn, collection, name, row)?;
        bytes += row.value.len();
        records.push(row);
    }
    Ok((records, None))
}
