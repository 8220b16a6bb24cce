//! The log of changes, read: the next of what changed since a place in it, each record as readers see it now.
//!
//! A step is bounded, is of one state of the file, and holds no lock that the writer needs. A record that changed several
//! times within a step is told once, where it changed last, so that every place between two changes is good to go on from.

use std::collections::BTreeMap;

use proto::names::{CollectionName, Key};
use rusqlite::{Connection, OptionalExtension, params};

use crate::changes::{self, Entry};
use crate::conflicts::{self, ConflictRow};
use crate::error::{Done, ReadError};
use crate::history::{self, WriteRow};
use crate::ledger::{collection_name, number, record_key, stored};
use crate::limits::{FOLLOW_BYTES, FOLLOW_ENTRIES, FOLLOW_RECORDS};
use crate::reader::{self, Reader};
use crate::view::ViewRow;

/// A place in the log of changes: everything before it has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Since {
    /// Which log.
    pub log: u64,
    /// The number of the next entry.
    pub next: u64,
}

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What it is about.
    pub what: What,
    /// Where to go on after it.
    pub after: Since,
}

/// What a change is about.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A record, as readers see it now; none: it is gone.
    Record(CollectionName, Key, Option<ViewRow>),
    /// A conflict row that is new or has changed. The record of `_conflicts` comes beside it, where that is wanted.
    Conflict(ConflictRow),
    /// A write of this database that has its outcome.
    Outcome(WriteRow),
}

/// The next changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// In the order in which they became durable.
    pub changes: Vec<Change>,
    /// Where to go on after all of them.
    pub next: Since,
    /// There are more already.
    pub more: bool,
}

/// What came of following.
#[derive(Debug, Clone, PartialEq)]
pub enum Followed {
    /// The next changes.
    Step(Step),
    /// The log does not reach back to that place, or it is of another log: list again, and go on here.
    Lost {
        /// The end of the log that there is.
        end: Since,
    },
}

impl Reader {
    /// Where the log of changes ends now.
    pub fn log_end(&mut self) -> Result<Since, ReadError> {
        self.ask(end)
    }

    /// What changed since a place in the log. Of records only those of collections that are `wanted`; of outcomes and
    /// conflicts all of them.
    pub fn follow(&mut self, since: Since, wanted: &dyn Fn(&CollectionName) -> bool) -> Result<Followed, ReadError> {
        self.ask(|conn| {
            let state = conn.unchecked_transaction()?;
            let end = end(&state)?;
            let followed = match read(&state, since, end)? {
                Some(read) => Followed::Step(tell(&state, since, end, read, wanted)?),
                None => Followed::Lost { end },
            };
            state.finish()?;
            Ok(followed)
        })
    }
}

/// Records of a collection, in key order, from one state: a stretch of everything that is there.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stretch {
    /// As readers see them.
    pub records: Vec<ViewRow>,
    /// The last key that was looked at, when there may be more.
    pub next: Option<Key>,
}

const KEYS: &str = "SELECT key FROM base WHERE collection = ?1 AND key > ?2 \
    UNION SELECT key FROM overlay WHERE collection = ?1 AND key > ?2 ORDER BY key LIMIT ?3";

impl Reader {
    /// The next records of a collection, of the size of one step.
    pub fn stretch(&mut self, collection: &CollectionName, after: Option<&Key>) -> Result<Stretch, ReadError> {
        let id = self.id(collection)?;
        self.ask(|conn| {
            let state = conn.unchecked_transaction()?;
            let mut stretch = Stretch::default();
            {
                let mut statement = state.prepare_cached(KEYS)?;
                let mut rows = statement.query(params![id, after.map_or("", Key::as_str), FOLLOW_RECORDS as i64 + 1])?;
                let (mut seen, mut bytes) = (0, 0);
                let mut last = None;
                while let Some(row) = rows.next()? {
                    if seen == FOLLOW_RECORDS || bytes >= FOLLOW_BYTES {
                        stretch.next = last;
                        break;
                    }
                    let key = record_key(row.get_ref(0)?.as_str().unwrap_or_default())?;
                    seen += 1;
                    if let Some(view) = reader::point(&state, reader::POINT, id, collection, &key)? {
                        bytes += view.value.len();
                        stretch.records.push(view);
                    }
                    last = Some(key);
                }
            }
            state.finish()?;
            Ok(stretch)
        })
    }
}

/// The end of the log in this state.
pub(crate) fn end(conn: &Connection) -> Done<Since> {
    let mut statement = conn.prepare_cached("SELECT log, changes FROM meta")?;
    Ok(statement.query_row([], |row| Ok(Since { log: number(row, 0)?, next: number(row, 1)? }))?)
}

/// The entries from a place on, with their numbers: as many as one step looks at. None: the log does not say.
fn read(conn: &Connection, since: Since, end: Since) -> Done<Option<Vec<(u64, Entry)>>> {
    if since.log != end.log || since.next > end.next {
        return Ok(None);
    }
    let mut found = Vec::new();
    if since.next == end.next {
        return Ok(Some(found));
    }
    let mut statement = conn.prepare_cached(
        "SELECT seq, entries FROM changes WHERE seq >= (SELECT max(seq) FROM changes WHERE seq <= ?1) ORDER BY seq LIMIT ?2",
    )?;
    let mut rows = statement.query(params![stored(since.next), FOLLOW_ENTRIES as i64])?;
    let mut next = None;
    while let Some(row) = rows.next()? {
        let seq = number(row, 0)?;
        if next.is_some_and(|next| next != seq) {
            return Ok(None);
        }
        let entries = changes::entries(row.get_ref(1)?.as_blob().map_err(|error| crate::error::Fault::damaged("changes", error))?)?;
        next = Some(seq + entries.len() as u64);
        found.extend((seq..).zip(entries).skip_while(|(seq, _)| *seq < since.next));
        if found.len() >= FOLLOW_ENTRIES {
            break;
        }
    }
    Ok(if found.is_empty() { None } else { Some(found) })
}

fn tell(conn: &Connection, since: Since, end: Since, entries: Vec<(u64, Entry)>, wanted: &dyn Fn(&CollectionName) -> bool) -> Done<Step> {
    let after = |seq: u64| Since { next: seq + 1, ..since };
    let mut telling = Telling { conn, wanted, names: BTreeMap::new(), changes: Vec::new(), bytes: 0 };
    let last: BTreeMap<&Entry, u64> = entries.iter().map(|(seq, entry)| (entry, *seq)).collect();
    let mut next = since;
    for (seq, entry) in &entries {
        if telling.changes.len() >= FOLLOW_RECORDS || telling.bytes >= FOLLOW_BYTES {
            break;
        }
        if last.get(entry) == Some(seq) {
            telling.entry(entry, after(*seq))?;
        }
        next = after(*seq);
    }
    Ok(Step { changes: telling.changes, next, more: next != end })
}

struct Telling<'a> {
    conn: &'a Connection,
    wanted: &'a dyn Fn(&CollectionName) -> bool,
    /// Collections by id, and whether their records are wanted.
    names: BTreeMap<i64, Option<(CollectionName, bool)>>,
    changes: Vec<Change>,
    bytes: usize,
}

impl Telling<'_> {
    fn entry(&mut self, entry: &Entry, after: Since) -> Done<()> {
        match entry {
            Entry::Outcome { number } => {
                // One that is not kept any more has nothing to tell.
                if let Some(row) = history::find(self.conn, *number)? {
                    self.bytes += row.write.ops.len() * 64;
                    self.changes.push(Change { what: What::Outcome(row), after });
                }
                Ok(())
            }
            Entry::Record { collection, key } => self.record(*collection, &record_key(key)?, after),
        }
    }

    fn record(&mut self, collection: i64, key: &Key, after: Since) -> Done<()> {
        let Some((name, wanted)) = self.name(collection)? else { return Ok(()) };
        let row = if name == CollectionName::conflicts() { conflicts::find(self.conn, key.as_str())? } else { None };
        // Going on inside the two would tell the first again, which does no harm.
        let before = Since { next: after.next - 1, ..after };
        if wanted {
            let view = reader::point(self.conn, reader::POINT, collection, &name, key)?;
            self.bytes += view.as_ref().map_or(0, |view| view.value.len());
            let after = if row.is_some() { before } else { after };
            self.changes.push(Change { what: What::Record(name, key.clone(), view), after });
        }
        if let Some(row) = row {
            self.bytes += row.row.len();
            self.changes.push(Change { what: What::Conflict(row), after });
        }
        Ok(())
    }

    fn name(&mut self, id: i64) -> Done<Option<(CollectionName, bool)>> {
        if let Some(known) = self.names.get(&id) {
            return Ok(known.clone());
        }
        let mut statement = self.conn.prepare_cached("SELECT name FROM collections WHERE id = ?1")?;
        let name: Option<String> = statement.query_row([id], |row| row.get(0)).optional()?;
        let name = name.as_deref().map(collection_name).transpose()?;
        let found = name.map(|name| ((self.wanted)(&name), name)).map(|(wanted, name)| (name, wanted));
        self.names.insert(id, found.clone());
        Ok(found)
    }
}
