//! Deletes: under `merge` a delete wins over what it had not seen, and keeps it; under `guarded` the second of the two
//! is rejected; a counter that is not zero wants `force`.

use proto::definition::{Definition, Policy};
use proto::json::Value;
use proto::op::hash;

use super::append;
use super::clocks::Pair;
use super::conflict::{ConflictKind, Figures, Finding, Lost, RowState};
use super::fields::is_forgotten;
use super::judge::{Case, Site, Stop, rejected};
use super::world::{Content, Stored, World};

pub(super) fn delete<W: World>(case: &mut Case<'_, W>, site: &mut Site<'_>, force: bool) -> Result<(), Stop<W::Error>> {
    // What is gone already is as its writer wants it.
    let Some(value) = site.value().cloned() else { return Ok(()) };
    append::refuse(case, site)?;
    let definition = &site.record.defined.definition;
    if let Some(field) = counting(definition, &value).filter(|_| !force && !case.write.is_forced()) {
        let detail = format!("counter {field:?} is not zero: delete with force");
        return rejected(site.refuse("guard", ConflictKind::Guard, &detail));
    }
    let unseen = unseen(case, site);
    if let Some(what) = unseen.as_ref().and_then(|unseen| unseen.guarded(definition)) {
        let mut rejection = site.refuse("guard", ConflictKind::Guard, &format!("{what} changed meanwhile, so it is not deleted"));
        rejection.finding = Some(kept(site, &value, RowState::Open, ConflictKind::Guard, true));
        return rejected(rejection);
    }
    if unseen.is_some() {
        case.findings.push(kept(site, &value, RowState::Auto, ConflictKind::Gone, false));
    }
    bury(case, site, value);
    Ok(())
}

/// The first counter that is not zero.
fn counting<'d>(definition: &'d Definition, value: &Value) -> Option<&'d str> {
    let zero = |field: &str| value.get(field).is_none_or(|raw| raw.as_str() == "null" || raw.as_i64() == Some(0));
    definition.fields.keys().map(String::as_str).find(|field| definition.is_counter(field) && !zero(field))
}

/// What other databases changed above what the writer had seen.
struct Unseen {
    /// The whole record was born unseen.
    born: bool,
    /// It changed unseen, so long ago that clocks of fields that went are forgotten.
    forgotten: bool,
    fields: Vec<String>,
}

impl Unseen {
    /// What forbids the delete: anything where the policy is guarded, else a guarded field.
    fn guarded(&self, definition: &Definition) -> Option<String> {
        if definition.policy == Policy::Guarded {
            return Some("the record".to_owned());
        }
        let field = self.fields.iter().find(|field| definition.is_guarded(field));
        let born = (self.born || self.forgotten).then(|| definition.fields.keys().find(|field| definition.is_guarded(field))).flatten();
        field.or(born).map(|field| format!("field {field:?}"))
    }
}

fn unseen<W: World>(case: &Case<'_, W>, site: &Site<'_>) -> Option<Unseen> {
    let stored = site.record.now.as_ref().filter(|_| case.write.is_edge())?;
    let unseen = Unseen::of(stored, site, case.write.database());
    (unseen.born || unseen.forgotten || !unseen.fields.is_empty()).then_some(unseen)
}

impl Unseen {
    fn of(stored: &Stored, site: &Site<'_>, own: u32) -> Self {
        let seen = site.op.seen;
        let newer = |pair: &Pair| pair.by_another(own).is_some_and(|other| other.revision > seen);
        let fields = stored.clocks.fields().filter(|(_, pair)| newer(pair)).map(|(field, _)| field.to_owned()).collect();
        let born = stored.clocks.born;
        let forgotten = is_forgotten(site) && newer(&stored.clocks.changed);
        Self { born: born.revision > seen && born.database != own, forgotten, fields }
    }
}

/// A row with the content that a delete meets: lost to it, or what it was rejected for.
fn kept(site: &Site<'_>, value: &Value, state: RowState, kind: ConflictKind, stands: bool) -> Finding {
    let figures = |(field, raw): (&str, &proto::json::Raw)| Figures {
        name: field.to_owned(),
        cloud: Some(raw.clone()),
        result: stands.then(|| raw.clone()),
        ..Figures::default()
    };
    let finding = site.finding(kind, "", state, value.fields().map(figures).collect());
    Finding { lost: if stands { Lost::Edge } else { Lost::Cloud }, ..finding }
}

fn bury<W: World>(case: &mut Case<'_, W>, site: &mut Site<'_>, value: Value) {
    let removed = site.record.defined.definition.policy == Policy::Append;
    let content = if removed { Content::Removed { hash: hash(value.to_text().as_bytes()) } } else { Content::Deleted { last: value } };
    if let Some(stored) = &mut site.record.now {
        stored.content = content;
        stored.clocks.bury();
    }
    site.record.changed(case.write);
}
