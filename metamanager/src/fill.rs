//! Back-fills: a new grant's records in revision order, beside the stream. A filled record never replaces a newer one;
//! when the fill is done, what it did not see of the grant goes. A repair is a back-fill of some ranges of keys, and what
//! it brings replaces the row in any case.

use proto::frame::FillPart;
use rusqlite::params;

use crate::apply::Applying;
use crate::error::Done;
use crate::ledger::{Granted, stored};
use crate::{blocked, grants, repair};

/// Applies one part. One of a grant that the node does not have (any more), or that came before, is passed over.
pub(crate) fn apply(applying: &mut Applying<'_, '_>, part: &FillPart) -> Done<()> {
    let wanted = &part.fill.grant;
    let share = &wanted.share;
    let Some(place) = applying.tx.ledger.granted(share.collection.as_str(), share.partition.as_deref()) else { return Ok(()) };
    let granted = applying.tx.ledger.grants[place].clone();
    let behind = part.fill.at < granted.at || (part.fill.at == granted.at && !part.done);
    if granted.done || granted.grant.since != wanted.since || granted.ranges != part.fill.ranges || behind {
        return Ok(());
    }
    applying.repairing = granted.ranges.is_some();
    for record in &part.records {
        applying.record(record)?;
    }
    applying.repairing = false;
    if part.done {
        blocked::forget_unseen(applying.tx, share)?;
        sweep(applying, &granted)?;
    }
    let open = &mut applying.tx.ledger.grants[place];
    open.at.clone_from(&part.fill.at);
    open.done = part.done;
    open.ranges = open.ranges.filter(|_| !part.done);
    save(applying, place)?;
    let filled = applying.tx.ledger.grants.iter().all(|own| own.done || own.collection != granted.collection);
    if part.done && filled {
        let mut statement = applying.tx.conn.prepare_cached("UPDATE collections SET arriving = 0 WHERE id = ?1 AND arriving = 1")?;
        statement.execute([granted.collection])?;
    }
    Ok(())
}

/// A damaged file was replaced: nothing is read from a collection before its back-fill is done, or readers would take what has
/// not come yet for what is not there.
pub(crate) fn await_all(applying: &mut Applying<'_, '_>) -> Done<()> {
    let granted = "EXISTS (SELECT 1 FROM grants WHERE grants.collection = collections.id)";
    applying.tx.conn.execute(&format!("UPDATE collections SET arriving = 1 WHERE {granted}"), [])?;
    Ok(())
}

fn save(applying: &Applying<'_, '_>, place: usize) -> Done<()> {
    let granted = &applying.tx.ledger.grants[place];
    let inside = granted.at.inside.as_ref();
    let mut statement = applying
        .tx
        .conn
        .prepare_cached("UPDATE grants SET at_revision = ?2, at_collection = ?3, at_key = ?4, done = ?5, ranges = ?6 WHERE id = ?1")?;
    let (collection, key) = (inside.map(|(collection, _)| collection.as_str()), inside.map(|(_, key)| key.as_str()));
    let ranges = granted.ranges.map(|ranges| ranges.to_bytes());
    statement.execute(params![granted.id, stored(granted.at.revision.0), collection, key, granted.done, ranges])?;
    Ok(())
}

/// Removes what the fill did not see and whose revision is not above it; in a repair's ranges, whatever its revision.
fn sweep(applying: &mut Applying<'_, '_>, granted: &Granted) -> Done<()> {
    match &granted.ranges {
        Some(ranges) => repair::sweep(applying, granted, ranges),
        None if granted.sweep => grants::remove_rows(applying, granted, Some((granted.generation, granted.grant.from))),
        None => Ok(()),
    }
}
