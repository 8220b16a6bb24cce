//! Append: sales, stock moves, audit. What is there never changes, and a write that comes twice is recognised by it.

use proto::definition::Policy;
use proto::op::{Body, Op};

use super::claims;
use super::conflict::ConflictKind;
use super::create;
use super::entitlement::Reach;
use super::judge::{Case, Record, Site, Stop, rejected};
use super::world::World;

/// Every append of the write is there with the same content: the whole write is a repeat, its increments too. The
/// records are as they are before the write.
pub(super) fn is_repeat<W: World>(case: &mut Case<'_, W>) -> Result<bool, Stop<W::Error>> {
    let mut appends = 0;
    for op in &case.write.write.ops {
        if !matches!(op.body, Body::Put(_)) && !op.creates() {
            continue;
        }
        let Some(defined) = case.world.definition(&op.collection)? else { return Ok(false) };
        if defined.definition.policy != Policy::Append {
            continue;
        }
        let record = case.take(op)?;
        let there = is_there(case, op, &record)?;
        case.records.insert((op.collection.clone(), op.key.clone()), record);
        if !there {
            return Ok(false);
        }
        appends += 1;
    }
    Ok(appends > 0)
}

fn is_there<W: World>(case: &Case<'_, W>, op: &Op, record: &Record) -> Result<bool, W::Error> {
    let mut value = claims::created(op);
    let definition = &record.defined.definition;
    let Some(stored) = &record.now else { return Ok(false) };
    let same = definition.fill_key(&op.key, &mut value).is_ok() && create::is_there(stored, &value);
    Ok(same && case.reach(op, record)? == Reach::Granted)
}

/// A change of what is there.
pub(super) fn refuse<W: World>(case: &Case<'_, W>, site: &Site<'_>) -> Result<(), Stop<W::Error>> {
    if site.record.defined.definition.policy != Policy::Append || case.write.is_forced() {
        return Ok(());
    }
    let detail = "the collection is append-only: what is there does not change, add a new record instead";
    rejected(site.refuse("read_only", ConflictKind::Guard, detail))
}
