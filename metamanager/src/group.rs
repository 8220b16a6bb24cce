//! The records that one group commit touches, each read once and stored once.

use std::collections::BTreeMap;

use proto::ids::Revision;
use proto::json::Value;
use proto::names::{CollectionName, Key};
use proto::op::Write;
pub use proto::repeat::Did;

use crate::base::{self, Base};
use crate::conflicts;
use crate::error::{Done, Fault};
use crate::limits::LAID_LISTED;
use crate::local::Place;
use crate::overlay::{self, Laying, Overlay};
use crate::store::Tx;
use crate::view::{LaidRow, ViewRow, merge};

/// What became of one request's record.
#[derive(Debug, Clone, PartialEq)]
pub struct Laid {
    /// The collection.
    pub collection: CollectionName,
    /// The key, also where the value told it.
    pub key: Key,
    /// What the request did.
    pub did: Did,
    /// The record after the whole write; none where it is gone, and for a check.
    pub view: Option<ViewRow>,
}

/// One record inside a group commit.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) base: Option<Base>,
    pub(crate) overlay: Option<Overlay>,
    pub(crate) laying: Laying,
    /// Whether `overlay` has a row of this record, and whether readers saw it, before the group.
    stored: bool,
    seen: bool,
    changed: bool,
}

/// A record of a group: its collection's id and its key.
pub(crate) type RecordId = (i64, Key);

#[derive(Debug, Default)]
pub(crate) struct Group {
    entries: BTreeMap<RecordId, Entry>,
}

impl Group {
    pub(crate) fn entry(&mut self, tx: &Tx<'_>, id: &RecordId) -> Done<&mut Entry> {
        if !self.entries.contains_key(id) {
            self.entries.insert(id.clone(), Entry::load(tx, id)?);
        }
        self.entries.get_mut(id).ok_or_else(|| Fault::damaged("group", "a record vanished"))
    }

    /// Lays a planned write over its records. Returns, op by op, the write that lay there before.
    pub(crate) fn lay(&mut self, tx: &Tx<'_>, number: u64, write: &Write, laying: BTreeMap<RecordId, Laying>) -> Vec<u64> {
        let mut before = BTreeMap::new();
        for (id, laying) in laying {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            let newest = entry.overlay.as_ref().map_or(0, |overlay| overlay.newest);
            before.insert(id, newest);
            entry.lay(tx, number, write, laying);
        }
        let of = |op: &proto::op::Op| {
            let collection = tx.ledger.collections.get(&op.collection)?.id;
            before.get(&(collection, op.key.clone())).copied()
        };
        write.ops.iter().map(|op| if op.is_check() { 0 } else { of(op).unwrap_or(0) }).collect()
    }

    /// The records of a write, as readers will see them.
    pub(crate) fn results(&mut self, tx: &Tx<'_>, places: &[Place]) -> Done<Vec<Laid>> {
        let mut results = Vec::with_capacity(places.len());
        for place in places {
            let id = (place.collection, place.key.clone());
            let view = match place.did {
                Did::Checked => None,
                _ => self.entry(tx, &id)?.row(tx, place)?,
            };
            results.push(Laid { collection: place.name.clone(), key: place.key.clone(), did: place.did, view });
        }
        Ok(results)
    }

    /// Stores what changed.
    pub(crate) fn store(self, tx: &mut Tx<'_>) -> Done<()> {
        for ((collection, key), entry) in self.entries {
            if let (Some(row), true) = (&entry.overlay, entry.changed) {
                overlay::store(tx.conn, tx.ledger, collection, &key, row, !entry.stored)?;
                tx.ledger.count(collection, 0, i64::from(row.value.is_some()) - i64::from(entry.seen));
                if conflicts::is(tx.ledger.name_of(collection)?) {
                    conflicts::follow_view(tx.conn, tx.ledger, &key, row.value.as_deref())?;
                }
                tx.ledger.note(tx.conn, collection, key.as_str())?;
            }
        }
        Ok(())
    }
}

impl Entry {
    fn load(tx: &Tx<'_>, (collection, key): &RecordId) -> Done<Self> {
        let overlay = if tx.ledger.meta.overlays > 0 { overlay::load(tx.conn, *collection, key)? } else { None };
        let base = base::load(tx.conn, *collection, key)?;
        let text = match &overlay {
            Some(overlay) => overlay.value.as_deref(),
            None => base.as_ref().map(|base| base.value.as_str()),
        };
        let view = text.map(Value::read).transpose().map_err(|error| Fault::damaged("a stored value", error))?;
        let creator = overlay.as_ref().and_then(|overlay| overlay.creator);
        Ok(Self { stored: overlay.is_some(), seen: view.is_some(), changed: false, laying: Laying { view, creator }, base, overlay })
    }

    /// Up to which revision the node knows the record: its cursor, or the record's own revision while its grant fills, and also where
    /// that is newer: on a full disk records come ahead of the stream, and the cursor waits.
    pub(crate) fn known(&self, tx: &Tx<'_>) -> Revision {
        let cursor = tx.ledger.position().map_or(Revision::ZERO, |at| at.revision);
        let Some(base) = &self.base else { return cursor };
        if base.revision == Revision::ZERO {
            // Of a history that is lost. Never 0: then the op would create.
            let filled = tx.ledger.granted_by_id(base.granted).is_none_or(|granted| granted.done);
            return if filled { cursor } else { base.born }.max(Revision(1));
        }
        let filled = tx.ledger.granted_by_id(base.granted).is_none_or(|granted| granted.done);
        if filled { cursor.max(base.revision) } else { base.revision }
    }

    fn lay(&mut self, tx: &Tx<'_>, number: u64, write: &Write, laying: Laying) {
        let base = self.base.as_ref();
        let row = self.overlay.get_or_insert_with(|| Overlay {
            newest: 0,
            oldest: number,
            floor: base.map_or(Revision::ZERO, |base| base.revision),
            included: base.and_then(|base| tx.own.number_of(&base.writer)).unwrap_or(0),
            creator: None,
            at_ms: 0,
            actor: None,
            laid: Vec::new(),
            value: None,
        });
        row.newest = number;
        row.laid.push(number);
        if row.laid.len() > LAID_LISTED {
            row.laid.remove(0);
        }
        row.creator = laying.creator;
        row.at_ms = write.at_ms;
        row.actor.clone_from(&write.actor);
        row.value = laying.view.as_ref().map(Value::to_text);
        self.laying = laying;
        self.changed = true;
    }

    fn row(&self, tx: &Tx<'_>, place: &Place) -> Done<Option<ViewRow>> {
        let open = tx.ledger.meta.conflicts_open > 0;
        let conflicts = if open { conflicts::open_of(tx.conn, place.name.as_str(), &place.key)? } else { Vec::new() };
        let laid = self.overlay.as_ref().map(|row| LaidRow {
            value: row.value.clone(),
            at_ms: row.at_ms,
            actor: row.actor.clone(),
            laid: row.laid.clone(),
        });
        let base = self.base.as_ref().map(|base| if laid.is_some() { base.without_value() } else { base.clone() });
        Ok(merge(&place.key, laid, base, conflicts))
    }
}
