//! What readers see where it is not base: one row a record that has ops laid over it.
//!
//! An op stays laid until its write is rejected, or base holds its effect: because base has the record at or above the
//! outcome's revision, or because a scan that began at or above that revision reached its head (docs/design.md §5). So
//! the view counts each op exactly once. [`settle`] lays a record's ops again over a base that changed; a local write
//! lays its own op on top without looking at the others.

use proto::ids::{DatabaseId, Revision, WriteId};
use proto::json::Value;
use proto::names::{Key, NodeName};
use proto::op::{Op, Verdict};
use proto::overlay::lay;
use rusqlite::{Connection, params};

use crate::base::{self, Base};
use crate::conflicts;
use crate::error::{Done, Fault};
use crate::ledger::{Ledger, number, optional, stored};
use crate::limits::LAID_LISTED;
use crate::numbers::{pack, unpack};
use crate::outbox::Writes;
use crate::renew::Alias;

/// One row of the overlay.
#[derive(Debug, Clone)]
pub(crate) struct Overlay {
    /// The newest write in the chain.
    pub(crate) newest: u64,
    /// The oldest that may still be laid: the chain is not followed below it.
    pub(crate) oldest: u64,
    /// The newest revision of the record that arrived while ops were laid, deleted or left ones too.
    pub(crate) floor: Revision,
    /// Base was last changed by this write of this database, so it holds the effect of every one up to it.
    pub(crate) included: u64,
    /// The laid write that the record exists through; none: base has it.
    pub(crate) creator: Option<u64>,
    /// When the newest laid write was committed.
    pub(crate) at_ms: u64,
    /// By whom.
    pub(crate) actor: Option<String>,
    /// The newest laid writes, oldest first.
    pub(crate) laid: Vec<u64>,
    /// The record; none: the laid ops delete it.
    pub(crate) value: Option<String>,
}

/// Who this database is, to recognise its own writes.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    pub(crate) node: Option<NodeName>,
    pub(crate) database: DatabaseId,
    /// Ids that the database had.
    pub(crate) aliases: Vec<Alias>,
}

impl Own {
    /// The number, when a write id is one that this database gave out, under whatever id it had then.
    pub(crate) fn number(&self, id: &WriteId) -> Option<u64> {
        let WriteId::Edge { node, database, number } = id else { return None };
        let named = |alias: &Alias| *number <= alias.upto && alias.database.short() == *database;
        let own = *database == self.database.short() || self.aliases.iter().any(named);
        (own && Some(node) == self.node.as_ref()).then_some(*number)
    }

    /// A write of this database as people see it.
    pub(crate) fn spell(&self, number: u64) -> String {
        match &self.node {
            Some(node) => WriteId::edge(node, &self.database, number).to_string(),
            None => number.to_string(),
        }
    }

    /// The number, when base was last changed by a write of this database. Under an old id it may be a copy's.
    pub(crate) fn number_of(&self, writer: &str) -> Option<u64> {
        self.node.as_ref()?;
        match writer.parse().ok()? {
            WriteId::Edge { node, database, number } if Some(&node) == self.node.as_ref() && database == self.database.short() => {
                Some(number)
            }
            _ => None,
        }
    }
}

pub(crate) fn load(conn: &Connection, collection: i64, key: &Key) -> Done<Option<Overlay>> {
    let mut statement = conn.prepare_cached(
        "SELECT newest, oldest, floor, included, creator, at_ms, actor, laid, value FROM overlay WHERE collection = ?1 AND key = ?2",
    )?;
    let mut rows = statement.query(params![collection, key.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Overlay {
        newest: number(row, 0)?,
        oldest: number(row, 1)?,
        floor: Revision(number(row, 2)?),
        included: number(row, 3)?,
        creator: optional(row, 4)?,
        at_ms: number(row, 5)?,
        actor: row.get(6)?,
        laid: unpack(row.get_ref(7)?.as_blob().map_err(|error| Fault::damaged("overlay", error))?)?,
        value: row.get(8)?,
    }))
}

pub(crate) fn exists(conn: &Connection, collection: i64, key: &Key) -> Done<bool> {
    Ok(conn.prepare_cached("SELECT 1 FROM overlay WHERE collection = ?1 AND key = ?2")?.exists(params![collection, key.as_str()])?)
}

/// Stores a row; counts it when it is new.
pub(crate) fn store(conn: &Connection, ledger: &mut Ledger, collection: i64, key: &Key, row: &Overlay, new: bool) -> Done<()> {
    let sql = if new {
        ledger.meta.overlays += 1;
        "INSERT INTO overlay (collection, key, newest, oldest, floor, included, creator, at_ms, actor, laid, value) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
    } else {
        "UPDATE overlay SET newest = ?3, oldest = ?4, floor = ?5, included = ?6, creator = ?7, at_ms = ?8, actor = ?9, laid = ?10, \
         value = ?11 WHERE collection = ?1 AND key = ?2"
    };
    conn.prepare_cached(sql)?.execute(params![
        collection,
        key.as_str(),
        stored(row.newest),
        stored(row.oldest),
        stored(row.floor.0),
        stored(row.included),
        row.creator.map(stored),
        stored(row.at_ms),
        row.actor,
        pack(row.laid.iter().copied()),
        row.value,
    ])?;
    Ok(())
}

fn remove(conn: &Connection, ledger: &mut Ledger, collection: i64, key: &Key) -> Done<()> {
    let mut statement = conn.prepare_cached("DELETE FROM overlay WHERE collection = ?1 AND key = ?2")?;
    let gone = statement.execute(params![collection, key.as_str()])?;
    ledger.meta.overlays -= gone as u64;
    Ok(())
}

/// Base holds the effect of a record's writes up to this one, until it is replaced.
pub(crate) fn include(conn: &Connection, collection: i64, key: &Key, upto: u64) -> Done<()> {
    let mut statement = conn.prepare_cached("UPDATE overlay SET included = ?3 WHERE collection = ?1 AND key = ?2")?;
    statement.execute(params![collection, key.as_str(), stored(upto)])?;
    Ok(())
}

/// A record while ops are laid on it.
#[derive(Debug, Clone)]
pub(crate) struct Laying {
    pub(crate) view: Option<Value>,
    pub(crate) creator: Option<u64>,
}

impl Laying {
    pub(crate) fn lay(&mut self, op: &Op, number: u64) {
        let before = self.view.is_some();
        self.view = lay(self.view.take(), op);
        self.creator = match (before, self.view.is_some()) {
            (_, false) => None,
            (false, true) => Some(number),
            (true, true) => self.creator,
        };
    }
}

/// Lays a record's ops again, after base, an outcome or the reached head changed; `arrived` is the revision at which
/// the record came. A record without laid ops needs no row.
pub(crate) fn settle(
    conn: &Connection,
    ledger: &mut Ledger,
    own: &Own,
    writes: &mut Writes,
    (collection, key): (i64, &Key),
    arrived: Revision,
) -> Done<()> {
    let Some(mut row) = load(conn, collection, key)? else { return Ok(()) };
    let before = row.value.is_some();
    let base = base::load(conn, collection, key)?;
    row.floor = row.floor.max(arrived).max(base.as_ref().map_or(Revision::ZERO, |base| base.revision));
    row.included = row.included.max(base.as_ref().and_then(|base| own.number_of(&base.writer)).unwrap_or(0));
    let mut chain = chain(conn, writes, ledger.meta.reached, &row, (collection, key), ledger)?;
    if base.as_ref().is_none_or(|base| base.revision > Revision::ZERO) {
        chain.included.clear();
    }
    let after = match chain.laid.iter().chain(&chain.included).min().copied() {
        None => {
            remove(conn, ledger, collection, key)?;
            row.value = base.map(|base| base.value);
            row.value.is_some()
        }
        Some(oldest) => {
            row.oldest = oldest;
            lay_again(conn, writes, &mut row, base.as_ref(), &chain.laid, (ledger.name_of(collection)?.as_str(), key))?;
            store(conn, ledger, collection, key, &row, false)?;
            row.value.is_some()
        }
    };
    ledger.count(collection, 0, i64::from(after) - i64::from(before));
    if conflicts::is(ledger.name_of(collection)?) {
        conflicts::follow_view(conn, ledger, key, row.value.as_deref())?;
    }
    ledger.note(conn, collection, key.as_str())?;
    hold(conn, collection, key, chain.waiting)
}

/// Remembers that a laid op has its outcome and waits for the head; or forgets it.
fn hold(conn: &Connection, collection: i64, key: &Key, waiting: bool) -> Done<()> {
    let sql = if waiting {
        "INSERT OR IGNORE INTO held (collection, key) VALUES (?1, ?2)"
    } else {
        "DELETE FROM held WHERE collection = ?1 AND key = ?2"
    };
    conn.prepare_cached(sql)?.execute(params![collection, key.as_str()])?;
    Ok(())
}

/// The writes that are laid over a record, oldest first, and whether one of them has its outcome already.
struct Chain {
    laid: Vec<u64>,
    /// Those that are not laid because base holds them. A row of a lost history will be replaced by one that does not.
    included: Vec<u64>,
    waiting: bool,
}

fn chain(conn: &Connection, writes: &mut Writes, reached: Revision, row: &Overlay, of: (i64, &Key), ledger: &Ledger) -> Done<Chain> {
    let name = ledger.name_of(of.0)?.as_str();
    let mut found = Chain { laid: Vec::new(), included: Vec::new(), waiting: false };
    let mut number = row.newest;
    while number >= row.oldest.max(1) {
        let outcome = crate::outbox::outcome_of(conn, number)?;
        let waits = match outcome {
            None => Some(false),
            Some((Verdict::Rejected | Verdict::Lost, _)) => None,
            Some((_, revision)) => (revision > row.floor.max(reached)).then_some(true),
        };
        match waits {
            Some(waiting) if number > row.included => {
                found.laid.push(number);
                found.waiting |= waiting;
            }
            Some(_) => found.included.push(number),
            None => {}
        }
        let Some(before) = writes.before(conn, number, name, of.1)? else { break };
        number = before;
    }
    found.laid.reverse();
    found.included.reverse();
    Ok(found)
}

fn lay_again(conn: &Connection, writes: &mut Writes, row: &mut Overlay, base: Option<&Base>, laid: &[u64], of: (&str, &Key)) -> Done<()> {
    let view = base.map(|base| Value::read(&base.value)).transpose().map_err(|error| Fault::damaged("a stored value", error))?;
    let mut laying = Laying { view, creator: None };
    for number in laid {
        let kept = writes.get(conn, *number)?.ok_or_else(|| Fault::damaged("writes", format!("number {number} is missing")))?;
        for op in kept.write.ops.iter().filter(|op| op.collection.as_str() == of.0 && op.key == *of.1) {
            laying.lay(op, *number);
        }
        (row.at_ms, row.actor) = (kept.write.at_ms, kept.write.actor.clone());
    }
    if let (Some(base), true) = (base, laid.is_empty()) {
        (row.at_ms, row.actor) = (base.updated_ms, base.actor.clone());
    }
    row.creator = laying.creator;
    row.laid = laid[laid.len().saturating_sub(LAID_LISTED)..].to_vec();
    row.value = laying.view.map(|view| view.to_text());
    Ok(())
}
