//! The small tables in memory: read once at open, saved in every transaction that changed them. After a failed
//! transaction the copy is thrown away and read again.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use proto::definition::{Defined, Definition};
use proto::digest::RangeSet;
use proto::frame::{DefinitionText, Fill, Grant, Grants, Share};
use proto::ids::{Cursor, DatabaseId, Epoch, EpochStart, Position, Revision};
use proto::names::{CollectionName, Key};
use proto::schema::Schema;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::changes::{self, Changes};
use crate::digests::Digests;
use crate::error::{Done, Fault};

/// What is known of the whole database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) database: DatabaseId,
    /// The database that this one took the place of, with its numbers.
    pub(crate) previous: Option<DatabaseId>,
    pub(crate) session: u64,
    pub(crate) clock: u64,
    /// The newest number ever given to a write.
    pub(crate) newest: u64,
    /// Every write up to here has its outcome.
    pub(crate) answered: u64,
    /// Rejected writes above `answered`, which go up as declared numbers after the cloud lost their outcome.
    pub(crate) declared: u64,
    pub(crate) outbox_writes: u64,
    pub(crate) outbox_bytes: u64,
    /// Of them, those of writes about the system's collections alone.
    pub(crate) system_bytes: u64,
    pub(crate) delivered_bytes: u64,
    pub(crate) rejected_writes: u64,
    pub(crate) rejected_bytes: u64,
    /// Delivered writes up to here were trimmed; rejected ones below may still be there.
    pub(crate) trimmed: u64,
    /// Rows in `overlay`.
    pub(crate) overlays: u64,
    pub(crate) cursor: Option<Cursor>,
    /// A scan that began at or above this revision reached its head: base holds the effect of every outcome up to it.
    pub(crate) reached: Revision,
    /// The revision of the grants; none: they never came.
    pub(crate) grants_revision: Option<Revision>,
    /// The newest generation of a back-fill.
    pub(crate) generation: u64,
    pub(crate) conflicts_open: u64,
    /// When digests last agreed, milliseconds since 1970.
    pub(crate) verified_ms: Option<u64>,
    /// The newest revision that anything was stored of.
    pub(crate) top: Revision,
    /// It was made from what was saved from a damaged file, and the grants have not come since.
    pub(crate) saved: bool,
    /// One more than the pages that were wiped since a right was lost; 0: nothing is to be wiped.
    pub(crate) wipe: u64,
    /// The id of the log of changes.
    pub(crate) log: u64,
    /// The number of its next entry.
    pub(crate) changes: u64,
}

/// One collection, granted or once granted.
#[derive(Debug, Clone)]
pub(crate) struct Collection {
    pub(crate) id: i64,
    pub(crate) definition: Option<DefinitionText>,
    /// The definition, or why this version cannot read it.
    pub(crate) defined: Option<Result<Arc<Defined>, String>>,
    /// Its schema, compiled when the first write asks for it; none: there is none, or the cloud alone can judge it.
    schema: OnceLock<Option<Arc<Schema>>>,
}

/// How many records a collection has.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    /// In base.
    records: i64,
    /// That readers see.
    view: i64,
    changed: bool,
}

/// One grant and how far its back-fill has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) id: i64,
    pub(crate) collection: i64,
    pub(crate) grant: Grant,
    pub(crate) at: Position,
    pub(crate) done: bool,
    /// Base held rows of the share before the fill began: what it does not see has to go.
    pub(crate) sweep: bool,
    pub(crate) generation: u64,
    /// The back-fill is a repair: it reads these ranges of keys only, and what it brings replaces what is there.
    pub(crate) ranges: Option<RangeSet>,
}

#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) meta: Meta,
    saved: Meta,
    pub(crate) epochs: Vec<EpochStart>,
    pub(crate) collections: BTreeMap<CollectionName, Collection>,
    names: BTreeMap<i64, CollectionName>,
    counts: BTreeMap<i64, Counts>,
    /// In (collection, partition) order.
    pub(crate) grants: Vec<Granted>,
    pub(crate) digests: Digests,
    pub(crate) changes: Changes,
    /// Records that are put aside.
    pub(crate) blocked: u64,
    /// Base may have rows of a history that the cloud's store lost.
    pub(crate) unsure: bool,
}

pub(crate) fn stored(number: u64) -> i64 {
    number.cast_signed()
}

pub(crate) fn number(row: &Row<'_>, place: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(place)?.cast_unsigned())
}

pub(crate) fn optional(row: &Row<'_>, place: usize) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(place)?.map(i64::cast_unsigned))
}

/// A revision and the collection and key reached in the next one, from three columns.
pub(crate) fn position(row: &Row<'_>, place: usize) -> Done<Position> {
    let revision = Revision(number(row, place)?);
    let inside = row.get::<_, Option<String>>(place + 1)?.zip(row.get::<_, Option<String>>(place + 2)?);
    let parse = |(collection, key): (String, String)| Ok::<_, Fault>((collection_name(&collection)?, record_key(&key)?));
    Ok(Position { revision, inside: inside.map(parse).transpose()? })
}

pub(crate) fn collection_name(text: &str) -> Done<CollectionName> {
    CollectionName::parse(text).map_err(|error| Fault::damaged("a stored collection name", error))
}

pub(crate) fn record_key(text: &str) -> Done<Key> {
    Key::parse(text).map_err(|error| Fault::damaged("a stored key", error))
}

impl Ledger {
    pub(crate) fn load(conn: &Connection) -> Done<Self> {
        let meta = load_meta(conn)?;
        let (collections, counts) = load_collections(conn)?;
        let names: BTreeMap<i64, CollectionName> = collections.iter().map(|(name, collection)| (collection.id, name.clone())).collect();
        let grants = load_grants(conn, &names)?;
        let blocked = conn.prepare_cached("SELECT count(*) FROM blocked")?.query_row([], |row| number(row, 0))?;
        let digests = Digests::load(conn)?;
        let unsure = crate::fork::any(conn)?;
        let epochs = load_epochs(conn)?;
        let changes = Changes::load(conn, &meta)?;
        Ok(Self { saved: meta.clone(), meta, epochs, grants, collections, names, counts, digests, changes, blocked, unsure })
    }

    /// Writes what changed; part of the transaction that changed it.
    pub(crate) fn save(&mut self, conn: &Connection) -> Done<()> {
        self.store_changes(conn)?;
        if self.meta != self.saved {
            save_meta(conn, &self.meta)?;
            self.saved = self.meta.clone();
        }
        for (id, counts) in self.counts.iter_mut().filter(|(_, counts)| counts.changed) {
            let mut statement = conn.prepare_cached("UPDATE collections SET records = ?2, view = ?3 WHERE id = ?1")?;
            statement.execute(params![id, counts.records, counts.view])?;
            counts.changed = false;
        }
        self.digests.save(conn)
    }

    /// The id of a collection, made when it is new.
    pub(crate) fn collection_id(&mut self, conn: &Connection, name: &CollectionName) -> Done<i64> {
        if let Some(collection) = self.collections.get(name) {
            return Ok(collection.id);
        }
        conn.execute("INSERT INTO collections (name) VALUES (?1)", [name.as_str()])?;
        let id = conn.last_insert_rowid();
        self.collections.insert(name.clone(), Collection { id, definition: None, defined: None, schema: OnceLock::new() });
        self.names.insert(id, name.clone());
        Ok(id)
    }

    pub(crate) fn name_of(&self, id: i64) -> Done<&CollectionName> {
        self.names.get(&id).ok_or_else(|| Fault::damaged("collections", format!("no row {id}")))
    }

    /// Counts records that came or went.
    pub(crate) fn count(&mut self, collection: i64, records: i64, view: i64) {
        if records != 0 || view != 0 {
            let counts = self.counts.entry(collection).or_default();
            *counts = Counts { records: counts.records + records, view: counts.view + view, changed: true };
        }
    }

    /// A collection's records, and those that readers see.
    pub(crate) fn counted(&self, collection: i64) -> (i64, i64) {
        self.counts.get(&collection).map_or((0, 0), |counts| (counts.records, counts.view))
    }

    /// The grant of a share.
    pub(crate) fn granted(&self, collection: &str, partition: Option<&str>) -> Option<usize> {
        let order = |granted: &Granted| {
            let share = &granted.grant.share;
            (share.collection.as_str(), share.partition.as_deref()).cmp(&(collection, partition))
        };
        self.grants.binary_search_by(order).ok()
    }

    pub(crate) fn granted_by_id(&self, id: i64) -> Option<&Granted> {
        self.grants.iter().find(|granted| granted.id == id)
    }

    /// The open back-fills, as Hello and Ack carry them.
    pub(crate) fn fills(&self) -> Vec<Fill> {
        let open = self.grants.iter().filter(|granted| !granted.done);
        open.map(|granted| Fill { grant: granted.grant.clone(), at: granted.at.clone(), ranges: granted.ranges }).collect()
    }

    /// What the node holds, in the form that the cloud hashes.
    pub(crate) fn held(&self) -> Grants {
        Grants {
            revision: self.meta.grants_revision.unwrap_or_default(),
            grants: self.grants.iter().map(|granted| granted.grant.clone()).collect(),
            definitions: self.collections.values().filter_map(|collection| collection.definition.clone()).collect(),
            labels: Vec::new(),
        }
    }

    /// The cursor as a position; none before the first Welcome.
    pub(crate) fn position(&self) -> Option<&Position> {
        self.meta.cursor.as_ref().map(|cursor| &cursor.position)
    }

    /// The epoch that a revision belongs to: the newest that had begun there.
    pub(crate) fn epoch_of(&self, revision: Revision, otherwise: Epoch) -> Epoch {
        self.epochs.iter().rev().find(|start| start.first <= revision).map_or(otherwise, |start| start.epoch)
    }
}

impl Collection {
    /// What a value of this collection is judged by.
    pub(crate) fn schema(&self) -> Option<&Arc<Schema>> {
        let defined = self.defined.as_ref()?.as_ref().ok()?;
        let compile = || {
            let compiled = Schema::compile(defined.definition.schema.as_ref()?);
            let unable =
                |error: &proto::schema::BadSchema| tracing::warn!(collection = %defined.name, %error, "the cloud alone judges this schema");
            compiled.inspect_err(unable).ok().map(Arc::new)
        };
        self.schema.get_or_init(compile).as_ref()
    }

    pub(crate) fn define(&mut self, text: Option<DefinitionText>) {
        self.schema = OnceLock::new();
        self.defined = text.as_ref().map(|text| match Definition::parse(&text.json) {
            Ok(definition) => Ok(Arc::new(Defined { name: text.name.clone(), revision: text.revision, definition })),
            Err(error) => Err(error.to_string()),
        });
        self.definition = text;
    }
}

const META: &str = "SELECT database, session, clock, newest, answered, declared, outbox_writes, outbox_bytes, delivered_bytes, \
    rejected_writes, rejected_bytes, trimmed, overlays, epoch, reached, grants_revision, generation, conflicts_open, \
    cursor_revision, cursor_collection, cursor_key, verified_ms, previous, top, saved, wipe, log, changes, system_bytes FROM meta";

pub(crate) fn load_meta(conn: &Connection) -> Done<Meta> {
    let mut statement = conn.prepare_cached(META)?;
    let mut rows = statement.query([])?;
    let row = rows.next()?.ok_or_else(|| Fault::damaged("meta", "its row is missing"))?;
    let database = row.get::<_, Vec<u8>>(0)?.try_into().map_err(|_| Fault::damaged("meta", "the database id has not 16 bytes"))?;
    let cursor = match optional(row, 13)? {
        None => None,
        Some(epoch) => Some(Cursor { epoch: Epoch(epoch), position: position(row, 18)? }),
    };
    Ok(Meta {
        database: DatabaseId(database),
        session: number(row, 1)?,
        clock: number(row, 2)?,
        newest: number(row, 3)?,
        answered: number(row, 4)?,
        declared: number(row, 5)?,
        outbox_writes: number(row, 6)?,
        outbox_bytes: number(row, 7)?,
        delivered_bytes: number(row, 8)?,
        rejected_writes: number(row, 9)?,
        rejected_bytes: number(row, 10)?,
        trimmed: number(row, 11)?,
        overlays: number(row, 12)?,
        cursor,
        reached: Revision(number(row, 14)?),
        grants_revision: optional(row, 15)?.map(Revision),
        generation: number(row, 16)?,
        conflicts_open: number(row, 17)?,
        verified_ms: optional(row, 21)?,
        previous: row.get::<_, Option<[u8; 16]>>(22)?.map(DatabaseId),
        top: Revision(number(row, 23)?),
        saved: row.get(24)?,
        wipe: number(row, 25)?,
        log: number(row, 26)?,
        changes: number(row, 27)?,
        system_bytes: number(row, 28)?,
    })
}

fn save_meta(conn: &Connection, meta: &Meta) -> Done<()> {
    let at = meta.cursor.as_ref().map(|cursor| &cursor.position);
    let inside = at.and_then(|at| at.inside.as_ref());
    let mut statement = conn.prepare_cached(
        "UPDATE meta SET session = ?1, clock = ?2, newest = ?3, answered = ?4, declared = ?5, outbox_writes = ?6, outbox_bytes = ?7, \
         delivered_bytes = ?8, rejected_writes = ?9, rejected_bytes = ?10, trimmed = ?11, overlays = ?12, epoch = ?13, reached = ?14, \
         grants_revision = ?15, generation = ?16, conflicts_open = ?17, cursor_revision = ?18, cursor_collection = ?19, cursor_key = ?20, \
         verified_ms = ?21, database = ?22, previous = ?23, top = ?24, saved = ?25, wipe = ?26, \
         log = ?27, changes = ?28, system_bytes = ?29",
    )?;
    statement.execute(params![
        stored(meta.session),
        stored(meta.clock),
        stored(meta.newest),
        stored(meta.answered),
        stored(meta.declared),
        stored(meta.outbox_writes),
        stored(meta.outbox_bytes),
        stored(meta.delivered_bytes),
        stored(meta.rejected_writes),
        stored(meta.rejected_bytes),
        stored(meta.trimmed),
        stored(meta.overlays),
        meta.cursor.as_ref().map(|cursor| stored(cursor.epoch.0)),
        stored(meta.reached.0),
        meta.grants_revision.map(|revision| stored(revision.0)),
        stored(meta.generation),
        stored(meta.conflicts_open),
        at.map(|at| stored(at.revision.0)),
        inside.map(|(collection, _)| collection.as_str()),
        inside.map(|(_, key)| key.as_str()),
        meta.verified_ms.map(stored),
        meta.database.0,
        meta.previous.map(|previous| previous.0),
        stored(meta.top.0),
        meta.saved,
        stored(meta.wipe),
        stored(meta.log),
        stored(meta.changes),
        stored(meta.system_bytes),
    ])?;
    Ok(())
}

/// The database's row of `meta`, made with a fresh id when the file is new; then a change that the commit must sync,
/// so that whatever an earlier process left in the log is durable before anything is said about it.
pub(crate) fn begin(conn: &Connection) -> Done<()> {
    let tx = conn.unchecked_transaction()?;
    let exists: Option<i64> = tx.query_row("SELECT 1 FROM meta", [], |row| row.get(0)).optional()?;
    if exists.is_none() {
        tx.execute("INSERT INTO meta (id, database) VALUES (1, ?1)", [crate::renew::fresh()?.0])?;
    }
    tx.execute("UPDATE meta SET opens = opens + 1, log = CASE log WHEN 0 THEN ?1 ELSE log END", [stored(changes::fresh()?)])?;
    Ok(tx.commit()?)
}

/// Removes the names of collections that nothing mentions any more; how many. Only at a start: while the process runs,
/// readers remember ids.
pub(crate) fn forget_names(conn: &Connection) -> Done<usize> {
    let tx = conn.unchecked_transaction()?;
    let gone = tx.execute(
        "DELETE FROM collections WHERE definition IS NULL AND name NOT LIKE '\\_%' ESCAPE '\\' AND NOT EXISTS (SELECT 1 FROM grants WHERE collection = collections.id) \
         AND NOT EXISTS (SELECT 1 FROM base WHERE base.collection = collections.id) \
         AND NOT EXISTS (SELECT 1 FROM overlay WHERE overlay.collection = collections.id) \
         AND NOT EXISTS (SELECT 1 FROM held WHERE held.collection = collections.id)",
        [],
    )?;
    if gone > 0 {
        // An id may come to mean another name.
        tx.execute("DELETE FROM changes", [])?;
        tx.execute("UPDATE meta SET log = ?1", [stored(changes::fresh()?)])?;
    }
    tx.commit()?;
    Ok(gone)
}

fn load_epochs(conn: &Connection) -> Done<Vec<EpochStart>> {
    let mut statement = conn.prepare_cached("SELECT epoch, first FROM epochs ORDER BY place")?;
    let epochs = statement.query_map([], |row| Ok(EpochStart { epoch: Epoch(number(row, 0)?), first: Revision(number(row, 1)?) }))?;
    Ok(epochs.collect::<Result<_, _>>()?)
}

type Collections = (BTreeMap<CollectionName, Collection>, BTreeMap<i64, Counts>);

fn load_collections(conn: &Connection) -> Done<Collections> {
    let (mut collections, mut counts) = (BTreeMap::new(), BTreeMap::new());
    let mut statement = conn.prepare("SELECT id, name, revision, definition, records, view FROM collections")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let name = collection_name(&row.get::<_, String>(1)?)?;
        let text = optional(row, 2)?.zip(row.get::<_, Option<String>>(3)?);
        let mut collection = Collection { id: row.get(0)?, definition: None, defined: None, schema: OnceLock::new() };
        collection.define(text.map(|(revision, json)| DefinitionText { name: name.clone(), revision: Revision(revision), json }));
        counts.insert(collection.id, Counts { records: row.get(4)?, view: row.get(5)?, changed: false });
        collections.insert(name, collection);
    }
    Ok((collections, counts))
}

fn ranges(bytes: Option<Vec<u8>>) -> Done<Option<RangeSet>> {
    let parse = |bytes: Vec<u8>| RangeSet::from_bytes(&bytes).ok_or_else(|| Fault::damaged("grants", "the ranges have not 32 bytes"));
    bytes.map(parse).transpose()
}

pub(crate) fn load_grants(conn: &Connection, names: &BTreeMap<i64, CollectionName>) -> Done<Vec<Granted>> {
    let mut statement = conn.prepare_cached(
        "SELECT id, collection, share, since, filled_from, done, sweep, generation, at_revision, at_collection, at_key, ranges \
         FROM grants",
    )?;
    let mut rows = statement.query([])?;
    let mut grants = Vec::new();
    while let Some(row) = rows.next()? {
        let collection: i64 = row.get(1)?;
        let name = names.get(&collection).ok_or_else(|| Fault::damaged("grants", format!("no collection {collection}")))?;
        let share = Share { collection: name.clone(), partition: row.get(2)? };
        grants.push(Granted {
            id: row.get(0)?,
            collection,
            grant: Grant { share, since: Revision(number(row, 3)?), from: Revision(number(row, 4)?) },
            done: row.get(5)?,
            sweep: row.get(6)?,
            generation: number(row, 7)?,
            at: position(row, 8)?,
            ranges: ranges(row.get::<_, Option<Vec<u8>>>(11)?)?,
        });
    }
    grants.sort_by(|a, b| a.grant.share.cmp(&b.grant.share));
    Ok(grants)
}
