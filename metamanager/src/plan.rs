//! What a local write would do, found out in memory: preconditions, definitions, rights, the ops themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::build::{Action, BuildError, Scene, Side, build};
use proto::definition::{Defined, Definition, Policy};
use proto::device;
use proto::ids::Revision;
use proto::json::Value;
use proto::limits::WRITE_OPS;
use proto::names::{CollectionName, Key};
use proto::op::Op;

use crate::error::{Done, Refusal, WriteError};
use crate::group::{Did, Entry, Group, RecordId};
use crate::ledger::Collection;
use crate::local::{Etag, LocalRequest, LocalWrite, Place, Precondition, WriteRef};
use crate::overlay::{Laying, Own};
use crate::resolve;
use crate::store::Tx;

/// A write that nothing refuses.
#[derive(Debug)]
pub(crate) enum Plan {
    New(New),
    /// Every append of it is there with the same content.
    Repeat {
        first: WriteRef,
        places: Vec<Place>,
    },
}

#[derive(Debug)]
pub(crate) struct New {
    pub(crate) ops: Vec<Op>,
    /// The records after it.
    pub(crate) laying: BTreeMap<RecordId, Laying>,
    pub(crate) places: Vec<Place>,
}

/// A request whose collection and key are known to be good.
struct Target<'a> {
    asked: &'a LocalRequest,
    place: usize,
    id: RecordId,
    defined: Arc<Defined>,
}

impl Target<'_> {
    fn refuse(&self, reason: impl Into<Refusal>) -> WriteError {
        refuse(self.place, &self.asked.request.collection, &self.id.1, reason)
    }

    fn place(&self, did: Did) -> Place {
        let (collection, key) = self.id.clone();
        Place { collection, name: self.asked.request.collection.clone(), key, did }
    }

    fn appends(&self) -> bool {
        self.defined.definition.policy == Policy::Append && matches!(self.asked.request.action, Action::Put { .. })
    }
}

fn refuse(place: usize, collection: &CollectionName, key: &Key, reason: impl Into<Refusal>) -> WriteError {
    WriteError { op: Some(place), collection: Some(collection.to_string()), key: Some(key.to_string()), reason: reason.into() }
}

pub(crate) fn plan(tx: &Tx<'_>, group: &mut Group, write: &LocalWrite) -> Done<Result<Plan, WriteError>> {
    let resolution = match resolve::expand(tx, group, write)? {
        Ok(resolution) => resolution,
        Err(error) => return Ok(Err(error)),
    };
    let write = resolution.as_ref().unwrap_or(write);
    let targets = match targets(tx, write) {
        Ok(targets) => targets,
        Err(error) => return Ok(Err(error)),
    };
    match repeat(tx, group, &targets)? {
        Some(Ok(first)) => return Ok(Ok(Plan::Repeat { first, places: repeated(&targets) })),
        Some(Err(error)) => return Ok(Err(error)),
        None => {}
    }
    let mut new = New { ops: Vec::with_capacity(targets.len()), laying: BTreeMap::new(), places: Vec::new() };
    for target in &targets {
        if let Err(error) = plan_op(tx, group, &mut new, target)? {
            return Ok(Err(error));
        }
    }
    if let Some(error) = schemas(tx, group, &targets, &new)? {
        return Ok(Err(error));
    }
    let outside = targets.iter().find_map(|target| entitled(tx, target, &new.laying).err());
    Ok(outside.map_or(Ok(Plan::New(new)), Err))
}

fn targets<'a>(tx: &Tx<'_>, write: &'a LocalWrite) -> Result<Vec<Target<'a>>, WriteError> {
    if tx.ledger.meta.grants_revision.is_none() {
        return Err(Refusal::NotSynced.into());
    }
    match write.requests.len() {
        0 => return Err(Refusal::Empty.into()),
        1..=WRITE_OPS => {}
        _ => return Err(Refusal::TooLarge("a write has at most 1,000 ops".to_owned()).into()),
    }
    write.requests.iter().enumerate().map(|(place, asked)| target(tx, place, asked)).collect()
}

fn target<'a>(tx: &Tx<'_>, place: usize, asked: &'a LocalRequest) -> Result<Target<'a>, WriteError> {
    let request = &asked.request;
    let failed = |reason: Refusal| refuse(place, &request.collection, &request.key, reason);
    if let (Action::Close { .. }, Some(rows)) = (&request.action, tx.ledger.collections.get(&request.collection)) {
        let defined = Defined { name: request.collection.clone(), revision: Revision::ZERO, definition: Definition::default() };
        return Ok(Target { asked, place, id: (rows.id, request.key.clone()), defined: Arc::new(defined) });
    }
    if request.collection.is_system() && !device::holds(&request.collection) {
        return Err(failed(Refusal::SystemCollection(request.collection.to_string())));
    }
    let known = tx.ledger.collections.get(&request.collection);
    let Some((collection, defined)) = known.and_then(|known| Some((known.id, known.defined.as_ref()?))) else {
        return Err(failed(Refusal::UnknownCollection(request.collection.to_string())));
    };
    let defined =
        defined.clone().map_err(|detail| failed(Refusal::UnreadableDefinition { collection: request.collection.to_string(), detail }))?;
    let mut key = request.key.clone();
    if let (Action::Put { value, .. }, true) = (&request.action, asked.own_key) {
        let own = defined.definition.key_of(value).map_err(|error| failed(BuildError::from(error).into()))?;
        key = own.unwrap_or(key);
    }
    Ok(Target { asked, place, id: (collection, key), defined })
}

/// Whether the write repeats an earlier one: every append of it is there, with the same content (design §4). Only some
/// of them: the key is taken.
fn repeat(tx: &Tx<'_>, group: &mut Group, targets: &[Target<'_>]) -> Done<Option<Result<WriteRef, WriteError>>> {
    let (mut first, mut new) = (None, false);
    for target in targets.iter().filter(|target| target.appends()) {
        let entry = group.entry(tx, &target.id)?;
        let there = holds(tx.own, &target.asked.precondition, entry, &entry.laying).is_ok()
            && matches!(op(tx, target, entry, &entry.laying, false), Ok(None));
        if there {
            first = first.or_else(|| Some((target, writer_of(tx.own, entry))));
        } else {
            new = true;
        }
    }
    Ok(first.map(|(target, first)| if new { Err(target.refuse(taken(target))) } else { Ok(first) }))
}

fn taken(target: &Target<'_>) -> BuildError {
    BuildError::KeyTaken { collection: target.asked.request.collection.to_string(), key: target.id.1.to_string() }
}

/// The write that made a record which is never changed.
fn writer_of(own: &Own, entry: &Entry) -> WriteRef {
    let creator = entry.overlay.as_ref().and_then(|overlay| overlay.creator);
    match (creator, &entry.base) {
        (Some(number), _) => WriteRef::Own(number),
        (None, Some(base)) => own.number_of(&base.writer).map_or_else(|| WriteRef::Known(base.writer.clone()), WriteRef::Own),
        (None, None) => WriteRef::Own(entry.overlay.as_ref().map_or(0, |overlay| overlay.newest)),
    }
}

fn repeated(targets: &[Target<'_>]) -> Vec<Place> {
    let did = |action: &Action| match action {
        Action::Delete { .. } => Did::Deleted,
        Action::Check(_) => Did::Checked,
        _ => Did::Changed,
    };
    targets.iter().map(|target| target.place(did(&target.asked.request.action))).collect()
}

fn plan_op(tx: &Tx<'_>, group: &mut Group, new: &mut New, target: &Target<'_>) -> Done<Result<(), WriteError>> {
    let entry = group.entry(tx, &target.id)?;
    let laying = new.laying.get(&target.id).unwrap_or(&entry.laying);
    let matched = match holds(tx.own, &target.asked.precondition, entry, laying) {
        Ok(matched) => matched,
        Err(reason) => return Ok(Err(target.refuse(reason))),
    };
    let op = match op(tx, target, entry, laying, matched) {
        Ok(Some(op)) => op,
        Ok(None) => return Ok(Err(target.refuse(taken(target)))),
        Err(error) => return Ok(Err(target.refuse(error))),
    };
    let did = if op.is_check() {
        Did::Checked
    } else {
        let mut laying = laying.clone();
        let before = laying.view.is_some();
        laying.lay(&op, tx.ledger.meta.newest + 1);
        let after = laying.view.is_some();
        new.laying.insert(target.id.clone(), laying);
        match (before, after) {
            // Of a resolution the answer shows the record.
            _ if matches!(target.asked.request.action, Action::Close { .. }) => Did::Checked,
            (_, false) => Did::Deleted,
            (false, true) => Did::Created,
            (true, true) => Did::Changed,
        }
    };
    new.places.push(target.place(did));
    new.ops.push(op);
    Ok(Ok(()))
}

fn op(tx: &Tx<'_>, target: &Target<'_>, entry: &Entry, laying: &Laying, matched: bool) -> Result<Option<Op>, BuildError> {
    let stands_on = entry.overlay.as_ref().map_or(&[][..], |overlay| &overlay.laid);
    let scene = Scene {
        defined: &target.defined,
        view: laying.view.as_ref(),
        seen: entry.known(tx),
        depends: laying.creator.filter(|number| *number <= tx.ledger.meta.newest),
        stands_on,
        matched,
        side: Side::Edge,
    };
    if target.id.1 == target.asked.request.key {
        return build(&target.asked.request, &scene);
    }
    let request = proto::build::Request { key: target.id.1.clone(), ..target.asked.request.clone() };
    build(&request, &scene)
}

/// Whether the precondition holds, and whether it named the present view.
fn holds(own: &Own, precondition: &Precondition, entry: &Entry, laying: &Laying) -> Result<bool, Refusal> {
    let present = laying.view.is_some();
    let base = entry.base.as_ref().map(|base| base.revision).unwrap_or_default();
    let (holds, matched) = match precondition {
        Precondition::None => (true, false),
        Precondition::Absent => (!present, false),
        Precondition::Present => (present, false),
        Precondition::Match(tags) => {
            let good = present && tags.iter().any(|tag| names(own, tag, entry));
            (good, good)
        }
        Precondition::View => (true, present),
        Precondition::Base(revision) => (*revision == base, entry.overlay.is_none()),
    };
    if holds { Ok(matched) } else { Err(Refusal::Precondition { present: spell(own, entry, present) }) }
}

/// Whether a tag names the record as it is: the same revision and newest pending write; or the application's own last
/// write, when that one made the present revision.
fn names(own: &Own, tag: &Etag, entry: &Entry) -> bool {
    let base = entry.base.as_ref();
    let newest = entry.overlay.as_ref().map(|overlay| overlay.newest);
    let same = tag.revision == base.map(|base| base.revision).unwrap_or_default();
    let Some(write) = &tag.write else { return newest.is_none() && same };
    let made = base.and_then(|base| own.number_of(&base.writer));
    match (newest, own.number(write)) {
        (Some(newest), Some(tagged)) => tagged == newest && (same || made.is_some_and(|made| made <= tagged)),
        (None, Some(tagged)) => made == Some(tagged) || base.is_some_and(|base| base.writer == write.to_string()),
        (None, None) => base.is_some_and(|base| base.writer == write.to_string()),
        (Some(_), None) => false,
    }
}

fn spell(own: &Own, entry: &Entry, present: bool) -> String {
    if !present {
        return "absent".to_owned();
    }
    let revision = entry.base.as_ref().map(|base| base.revision).unwrap_or_default();
    match (&entry.overlay, &own.node) {
        (Some(overlay), Some(_)) => format!("\"{revision}+{}\"", own.spell(overlay.newest)),
        (Some(_), None) => "changed by a pending write".to_owned(),
        (None, _) => format!("\"{revision}\""),
    }
}

/// The newest schema that is here judges what the write leaves behind, as the cloud will: unless that was wrong before and the
/// write did not touch it.
fn schemas(tx: &Tx<'_>, group: &mut Group, targets: &[Target<'_>], new: &New) -> Done<Option<WriteError>> {
    for target in targets.iter().filter(|target| target.defined.definition.schema.is_some()) {
        let schema = tx.ledger.collections.get(&target.asked.request.collection).and_then(Collection::schema);
        let view = new.laying.get(&target.id).and_then(|laying| laying.view.as_ref());
        let (Some(schema), Some(view)) = (schema, view) else { continue };
        let Some(violation) = schema.judge(view) else { continue };
        let claimed = new
            .ops
            .iter()
            .any(|op| op.key == target.id.1 && op.collection == target.asked.request.collection && op.claims(&violation.field));
        let before = group.entry(tx, &target.id)?.laying.view.as_ref();
        if claimed || before.is_none_or(|before| schema.judge(before).is_none()) {
            return Ok(Some(target.refuse(Refusal::Schema(violation))));
        }
    }
    Ok(None)
}

/// The result has to lie in a partition that this node gets.
fn entitled(tx: &Tx<'_>, target: &Target<'_>, laying: &BTreeMap<RecordId, Laying>) -> Result<(), WriteError> {
    let view: Option<&Value> = laying.get(&target.id).and_then(|laying| laying.view.as_ref());
    let Some(view) = view.filter(|_| target.asked.request.collection != CollectionName::conflicts()) else { return Ok(()) };
    let partition = target.defined.definition.partition_of(view);
    let collection = &target.asked.request.collection;
    let granted = partition.as_ref().is_some_and(|partition| tx.ledger.granted(collection.as_str(), partition.as_deref()).is_some());
    if granted {
        return Ok(());
    }
    let (collection, key) = (collection.to_string(), target.id.1.to_string());
    Err(target.refuse(Refusal::NotEntitled { collection, key, partition: partition.flatten() }))
}
