//! Resolving a conflict through the cloud's API: one ordinary write, that the row is resolved and what becomes of its
//! record, made in the transaction that decides it.

use proto::build::Action;
use proto::ids::Revision;
use proto::names::{CollectionName, Key};
use proto::resolve::{Resolve, ResolveError, Row};

use super::conflicts;
use super::error::StoreError;
use super::job::{CloudOp, Condition};
use super::refused::Refused;
use super::work::{JobError, Work};
use super::world::stored_record;

/// Who resolved a row, where neither an actor nor a token says.
const CLOUD: &str = "cloud";

/// The ops as they are judged: one that resolves a row becomes two.
pub(super) fn expand(work: &Work<'_>, ops: Vec<CloudOp>) -> Result<Vec<CloudOp>, JobError> {
    match ops.as_slice() {
        [CloudOp { collection, key, action: Action::Resolve(resolve), .. }] => two(work, collection, key, resolve),
        ops if ops.iter().any(|op| matches!(op.action, Action::Resolve(_))) => Err(Refused::Resolve(ResolveError::NotAlone).into()),
        _ => Ok(ops),
    }
}

fn two(work: &Work<'_>, rows: &CollectionName, id: &Key, resolve: &Resolve) -> Result<Vec<CloudOp>, JobError> {
    let unknown = || Refused::Resolve(ResolveError::Unknown(id.to_string()));
    let text = conflicts::text(work.conn, id)?.ok_or_else(unknown)?;
    let row = Row::read(id.as_str(), &text).map_err(|error| StoreError::Damaged(error.to_string()))?;
    let (collection, key) = row.record().map_err(|error| StoreError::Damaged(error.to_string()))?;
    let entry = work.catalog.get(work.conn, &collection)?.ok_or_else(|| Refused::NoCollection(collection.clone()))?;
    let stored = stored_record(work.conn, entry.id, &key)?;
    let live = stored.as_ref().and_then(|stored| Some((stored.live()?, stored.revision)));
    let step = row.step(&resolve.choice, live.map(|(value, _)| value), &entry.defined.definition).map_err(Refused::Resolve)?;
    let close = Action::Close { by: resolve.by.clone().unwrap_or_else(|| CLOUD.to_owned()) };
    Ok(vec![op(rows.clone(), id.clone(), close, None), op(collection, key, step.into_action(), live.map(|(_, revision)| revision))])
}

/// An op that names the present version, so that a counter may be set.
fn op(collection: CollectionName, key: Key, action: Action, present: Option<Revision>) -> CloudOp {
    let condition = present.map_or(Condition::None, |revision| Condition::Revisions(vec![revision]));
    CloudOp { collection, key, key_from_value: false, action, condition }
}
