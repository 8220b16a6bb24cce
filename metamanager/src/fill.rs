//! Back-fills: a new grant's records in revision order, beside the stream. A filled record never replaces a newer one;
//! when the fill is done, what it did not see of the grant goes.

use proto::frame::FillPart;
use rusqlite::params;

use crate::apply::Applying;
use crate::error::Done;
use crate::grants;
use crate::ledger::{Granted, stored};

/// Applies one part. One of a grant that the node does not have (any more), or that came before, is passed over.
pub(crate) fn apply(applying: &mut Applying<'_, '_>, part: &FillPart) -> Done<()> {
    let wanted = &part.fill.grant;
    let share = &wanted.share;
    let Some(place) = applying.tx.ledger.granted(share.collection.as_str(), share.partition.as_deref()) else { return Ok(()) };
    let granted = applying.tx.ledger.grants[place].clone();
    let behind = part.fill.at < granted.at || (part.fill.at == granted.at && !part.done);
    if granted.done || granted.grant.since != wanted.since || behind {
        return Ok(());
    }
    for record in &part.records {
        applying.record(record)?;
    }
    if part.done && granted.sweep {
        sweep(applying, &granted)?;
    }
    let open = &mut applying.tx.ledger.grants[place];
    open.at.clone_from(&part.fill.at);
    open.done = part.done;
    save(applying, place)
}

fn save(applying: &Applying<'_, '_>, place: usize) -> Done<()> {
    let granted = &applying.tx.ledger.grants[place];
    let inside = granted.at.inside.as_ref();
    let mut statement =
        applying.tx.conn.prepare_cached("UPDATE grants SET at_revision = ?2, at_collection = ?3, at_key = ?4, done = ?5 WHERE id = ?1")?;
    let (collection, key) = (inside.map(|(collection, _)| collection.as_str()), inside.map(|(_, key)| key.as_str()));
    statement.execute(params![granted.id, stored(granted.at.revision.0), collection, key, granted.done])?;
    Ok(())
}

/// Removes what the fill did not see and whose revision is not above it.
fn sweep(applying: &mut Applying<'_, '_>, granted: &Granted) -> Done<()> {
    grants::remove_rows(applying, granted, Some((granted.generation, granted.grant.from)))
}
