//! The cloud's store was replaced by an older copy of itself (design §5): up to the fork both have one history, and what is
//! held above it is of another one.
//!
//! Such a row stays readable and is asked for by its key: revision 0 says so. What the stream brings meanwhile is newer in any
//! case. Writes that were delivered in the lost history go up once more; where base holds their effect already, they are not
//! laid over it a second time.

use std::collections::BTreeMap;

use proto::ids::Revision;
use proto::limits::ASK_RECORDS;
use proto::names::{CollectionName, Key};
use proto::op::Verdict;
use rusqlite::{Connection, params};

use crate::digests::stored_hash;
use crate::error::Done;
use crate::ledger::{Ledger, collection_name, number, record_key, stored};
use crate::outbox::{self, Writes, without_effect};
use crate::store::Tx;
use crate::{base, blocked, staging};

/// The newest own write whose effect base holds, by record.
pub(crate) type Included = BTreeMap<(i64, Key), u64>;

/// What base holds of the writes above `taken`: they were decided in the history that is lost.
pub(crate) fn included(tx: &Tx<'_>, taken: u64) -> Done<Included> {
    let (mut found, mut writes) = (Included::new(), Writes::default());
    let mut statement = tx.conn.prepare("SELECT number, revision, verdict FROM outcomes WHERE number > ?1 AND declared = 0")?;
    let mut rows = statement.query([stored(taken)])?;
    while let Some(row) = rows.next()? {
        let (of, revision) = (number(row, 0)?, Revision(number(row, 1)?));
        let verdict: Verdict = outbox::verdict(row.get(2)?)?;
        let Some(kept) = writes.get(tx.conn, of)?.filter(|_| !without_effect(verdict)) else { continue };
        for op in kept.write.ops.iter().filter(|op| !op.is_check()) {
            let Some(collection) = tx.ledger.collections.get(&op.collection).map(|collection| collection.id) else { continue };
            let base = base::load(tx.conn, collection, &op.key)?.map_or(Revision::ZERO, |base| base.revision);
            if revision <= base.max(tx.ledger.meta.reached) {
                let newest = found.entry((collection, op.key.clone())).or_default();
                *newest = of.max(*newest);
            }
        }
    }
    Ok(found)
}

/// Lets go of the lost history: its rows are unsure, what it had reached is not reached, what was staged is dropped. Writes that
/// nobody has decided yet were made with it in sight, and say so.
pub(crate) fn leave(tx: &mut Tx<'_>, fork: Revision) -> Done<()> {
    let at = stored(fork.0);
    uncount(tx, at)?;
    let unsure = tx
        .conn
        .execute("UPDATE base SET revision = 0, hash = NULL, born = CASE WHEN born > ?1 THEN 0 ELSE born END WHERE revision > ?1", [at])?;
    blocked::forget_above(tx, fork)?;
    staging::clear(tx.conn)?;
    let meta = &mut tx.ledger.meta;
    meta.reached = meta.reached.min(fork);
    meta.top = fork;
    let newest = meta.newest;
    tx.conn.execute("DELETE FROM forks WHERE revision >= ?1", [at])?;
    tx.conn.execute("INSERT OR REPLACE INTO forks (number, revision) VALUES (?1, ?2)", params![stored(newest), at])?;
    tx.ledger.unsure |= unsure > 0;
    tracing::warn!(records = unsure, %fork, "the cloud's store was restored: records that came after its backup are asked for again");
    Ok(())
}

/// Takes the rows above a revision out of their grants' digests: nobody knows what they are now.
fn uncount(tx: &mut Tx<'_>, above: i64) -> Done<()> {
    let mut statement = tx.conn.prepare("SELECT granted, hash FROM base WHERE revision > ?1")?;
    let mut rows = statement.query([above])?;
    while let Some(row) = rows.next()? {
        tx.ledger.digests.remove(row.get(0)?, stored_hash(row, 1).as_ref());
    }
    Ok(())
}

/// Forks that no pending write is older than.
pub(crate) fn forget(conn: &Connection, answered: u64) -> Done<()> {
    conn.prepare_cached("DELETE FROM forks WHERE number <= ?1")?.execute([stored(answered)])?;
    Ok(())
}

/// The records to ask for, once the stream stands at the head: what it brings need not be asked for.
pub(crate) fn asks(conn: &Connection, ledger: &mut Ledger) -> Done<Vec<(CollectionName, Key)>> {
    let at_head = ledger.position().is_some_and(|at| at.inside.is_none() && ledger.meta.reached >= at.revision);
    if !ledger.unsure || !at_head {
        return Ok(Vec::new());
    }
    let mut statement = conn.prepare_cached(
        "SELECT collections.name, base.key FROM base INDEXED BY base_unsure JOIN collections ON collections.id = base.collection \
         WHERE base.revision = 0 LIMIT ?1",
    )?;
    let mut rows = statement.query([ASK_RECORDS as i64])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((collection_name(&row.get::<_, String>(0)?)?, record_key(&row.get::<_, String>(1)?)?));
    }
    ledger.unsure = !found.is_empty();
    Ok(found)
}

/// Whether a row is of a history that may be lost.
pub(crate) fn is_unsure(conn: &Connection, ledger: &Ledger, collection: i64, key: &Key) -> Done<bool> {
    if !ledger.unsure {
        return Ok(false);
    }
    let mut statement =
        conn.prepare_cached("SELECT 1 FROM base INDEXED BY base_unsure WHERE collection = ?1 AND key = ?2 AND revision = 0")?;
    Ok(statement.exists(params![collection, key.as_str()])?)
}

/// Whether there is such a row at all.
pub(crate) fn any(conn: &Connection) -> Done<bool> {
    Ok(conn.prepare_cached("SELECT 1 FROM base INDEXED BY base_unsure WHERE revision = 0 LIMIT 1")?.exists([])?)
}
