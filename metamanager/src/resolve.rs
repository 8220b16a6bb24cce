//! Resolving a conflict at this node, with the link up or down: one ordinary write, that the row is resolved and what
//! becomes of its record. The cloud judges whether both still stand as they were here.

use proto::build::{Action, Request};
use proto::ids::Revision;
use proto::names::{CollectionName, Key};
use proto::resolve::{Resolve, ResolveError, Row};

use crate::error::{Done, Fault, Refusal, WriteError};
use crate::group::Group;
use crate::local::{LocalRequest, LocalWrite, Precondition};
use crate::store::Tx;

/// The requests that a resolution consists of; none: the write is another one.
pub(crate) fn expand(tx: &Tx<'_>, group: &mut Group, write: &LocalWrite) -> Done<Result<Option<LocalWrite>, WriteError>> {
    let inner = |asked: &LocalRequest| matches!(asked.request.action, Action::Close { .. } | Action::Restore(_));
    if let Some(asked) = write.requests.iter().find(|asked| inner(asked)) {
        return Ok(Err(Refusal::SystemCollection(asked.request.collection.to_string()).into()));
    }
    let resolves = |asked: &LocalRequest| matches!(asked.request.action, Action::Resolve(_));
    match write.requests.as_slice() {
        [asked] => match &asked.request.action {
            Action::Resolve(resolve) => {
                let requests = two(tx, group, write, &asked.request.key, resolve)?;
                Ok(requests.map(|requests| Some(LocalWrite { requests, ..write.clone() })).map_err(WriteError::from))
            }
            _ => Ok(Ok(None)),
        },
        several if several.iter().any(resolves) => Ok(Err(Refusal::Resolve(ResolveError::NotAlone).into())),
        _ => Ok(Ok(None)),
    }
}

fn two(tx: &Tx<'_>, group: &mut Group, write: &LocalWrite, id: &Key, resolve: &Resolve) -> Done<Result<Vec<LocalRequest>, Refusal>> {
    let Some(node) = &tx.own.node else { return Ok(Err(Refusal::NotSynced)) };
    let rows = CollectionName::conflicts();
    let unknown = || Refusal::Resolve(ResolveError::Unknown(id.to_string()));
    let Some(held) = tx.ledger.collections.get(&rows).map(|held| held.id) else { return Ok(Err(unknown())) };
    let Some(text) = group.entry(tx, &(held, id.clone()))?.laying.view.as_ref().map(|view| view.to_text()) else {
        return Ok(Err(unknown()));
    };
    let damaged = |error: ResolveError| Fault::damaged("a conflict row", error);
    let row = Row::read(id.as_str(), &text).map_err(damaged)?;
    let (collection, key) = row.record().map_err(damaged)?;
    let known = tx.ledger.collections.get(&collection);
    let Some((place, defined)) = known.and_then(|known| Some((known.id, known.defined.as_ref()?))) else {
        return Ok(Err(Refusal::UnknownCollection(collection.to_string())));
    };
    let definition = match defined {
        Ok(defined) => &defined.definition,
        Err(detail) => {
            return Ok(Err(Refusal::UnreadableDefinition { collection: collection.to_string(), detail: detail.clone() }));
        }
    };
    let entry = group.entry(tx, &(place, key.clone()))?;
    let step = match row.step(&resolve.choice, entry.laying.view.as_ref(), definition) {
        Ok(step) => step,
        Err(error) => return Ok(Err(error.into())),
    };
    let by = write.actor.clone().or_else(|| resolve.by.clone()).unwrap_or_else(|| node.to_string());
    let seen = entry.known(tx);
    Ok(Ok(vec![
        request(rows, id.clone(), Action::Close { by }, Revision(row.revision)),
        request(collection, key, step.into_action(), seen),
    ]))
}

/// A request that was made from the view as it is, and is judged again in the cloud.
fn request(collection: CollectionName, key: Key, action: Action, expect: Revision) -> LocalRequest {
    let request = Request { collection, key, action, expect: Some(expect) };
    LocalRequest { request, precondition: Precondition::View, own_key: false }
}
