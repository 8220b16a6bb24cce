//! Lays every op again, from the writes themselves: after the cloud lost what it had answered. Rare and thorough.

use std::collections::BTreeMap;

use proto::ids::Revision;
use proto::names::Key;
use rusqlite::params;

use crate::apply::Applying;
use crate::base;
use crate::error::{Done, Fault};
use crate::ledger::{number, record_key, stored};
use crate::numbers::pack;
use crate::outbox::{self, without_effect};
use crate::overlay::{self, Overlay};

/// Forgets the overlay and builds a chain of every kept write that may be laid, record by record; settling them, which
/// the caller's transaction does at its end, decides which are.
pub(crate) fn again(applying: &mut Applying<'_, '_>) -> Done<()> {
    forget(applying)?;
    let mut chains: BTreeMap<(i64, Key), (u64, u64)> = BTreeMap::new();
    for of in candidates(applying)? {
        let write = outbox::Writes::default().get(applying.tx.conn, of)?.ok_or_else(|| Fault::damaged("writes", "one vanished"))?;
        let mut prev = Vec::with_capacity(write.write.ops.len());
        for op in &write.write.ops {
            let collection = applying.tx.ledger.collection_id(applying.tx.conn, &op.collection)?;
            let id = (collection, op.key.clone());
            let before = chains.get(&id).map_or(0, |(_, newest)| *newest);
            prev.push(if op.is_check() || before == of { before_same(&prev, &write.write.ops, op) } else { before });
            if !op.is_check() {
                chains.entry(id).and_modify(|(_, newest)| *newest = of).or_insert((of, of));
            }
        }
        applying.tx.conn.execute("UPDATE writes SET prev = ?2 WHERE number = ?1", params![stored(of), pack(prev)])?;
    }
    for (id, (oldest, newest)) in chains {
        start(applying, id, oldest, newest)?;
    }
    Ok(())
}

/// The second op of a write on one record names what the first one does.
fn before_same(prev: &[u64], ops: &[proto::op::Op], op: &proto::op::Op) -> u64 {
    let same = |other: &proto::op::Op| !other.is_check() && other.key == op.key && other.collection == op.collection;
    ops.iter().zip(prev).find(|(other, _)| same(other)).map_or(0, |(_, before)| *before)
}

/// A row whose value is base's, until it is settled.
fn start(applying: &mut Applying<'_, '_>, (collection, key): (i64, Key), oldest: u64, newest: u64) -> Done<()> {
    let value = base::load(applying.tx.conn, collection, &key)?.map(|base| base.value);
    let (laid, floor) = (Vec::new(), Revision::ZERO);
    let row = Overlay { newest, oldest, floor, included: 0, creator: None, at_ms: 0, actor: None, laid, value };
    overlay::store(applying.tx.conn, applying.tx.ledger, collection, &key, &row, true)?;
    applying.unsettle((collection, key), Revision::ZERO);
    Ok(())
}

/// Empties the overlay: readers would see base.
fn forget(applying: &mut Applying<'_, '_>) -> Done<()> {
    let mut statement = applying.tx.conn.prepare("SELECT collection, key, value IS NOT NULL FROM overlay")?;
    let mut rows = statement.query([])?;
    let mut seen = Vec::new();
    while let Some(row) = rows.next()? {
        seen.push((row.get::<_, i64>(0)?, record_key(&row.get::<_, String>(1)?)?, row.get::<_, bool>(2)?));
    }
    for (collection, key, seen) in seen {
        let base = base::load(applying.tx.conn, collection, &key)?.is_some();
        applying.tx.ledger.count(collection, 0, i64::from(base) - i64::from(seen));
    }
    applying.tx.conn.execute("DELETE FROM overlay", [])?;
    applying.tx.conn.execute("DELETE FROM held", [])?;
    applying.tx.ledger.meta.overlays = 0;
    Ok(())
}

/// Writes without an outcome, and those whose effect base may not hold yet, oldest first.
fn candidates(applying: &Applying<'_, '_>) -> Done<Vec<u64>> {
    let mut statement = applying.tx.conn.prepare(
        "SELECT writes.number, outcomes.verdict, outcomes.revision FROM writes LEFT JOIN outcomes ON outcomes.number = writes.number \
         ORDER BY writes.number",
    )?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let laid = match row.get::<_, Option<i64>>(1)? {
            None => true,
            Some(code) => !without_effect(outbox::verdict(code)?) && number(row, 2)? > applying.tx.ledger.meta.reached.0,
        };
        if laid {
            found.push(number(row, 0)?);
        }
    }
    Ok(found)
}
