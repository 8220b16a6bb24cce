//! Conditions: a write applies only when they hold, and is rejected whole when they do not.

use proto::definition::{EdgeMode, FieldRule};
use proto::ids::Revision;
use proto::json::Raw;
use proto::op::{Body, Op};

use super::claims;
use super::conflict::{ConflictKind, RowState};
use super::entitlement::Reach;
use super::judge::{Case, Rejection, Site, Stop, rejected};
use super::world::World;

/// `"if": REVISION`: no other database changed the record above it.
pub(super) fn expect<W: World>(case: &Case<'_, W>, site: &Site<'_>) -> Result<(), Stop<W::Error>> {
    let Some(expected) = site.op.expect else {
        // A person decided about one state of the record, and names it.
        let unnamed = case.write.is_edge() && case.settles(&site.op.collection, &site.op.key);
        return if unnamed { rejected(site.malformed("a resolution names the revision of its record")) } else { Ok(()) };
    };
    let stored = site.record.now.as_ref().filter(|_| site.reach != Reach::Elsewhere);
    let stands = match stored.and_then(|stored| stored.clocks.changed.by_another(case.write.database())) {
        Some(other) => other.revision <= expected,
        // What was looked at for a resolution was gone, and its tombstone is by now.
        None => stored.is_some() || expected == Revision::ZERO || case.settles(&site.op.collection, &site.op.key),
    };
    if stands {
        return Ok(());
    }
    rejected(site.refuse("guard", ConflictKind::Guard, &format!("it changed since revision {expected}")))
}

/// `edge = "read-only"`, of the collection or of a field.
pub(super) fn writable<W: World>(case: &Case<'_, W>, site: &Site<'_>) -> Result<(), Stop<W::Error>> {
    let definition = &site.record.defined.definition;
    if !case.write.is_edge() {
        return Ok(());
    }
    let refuse = |what: &str| rejected(site.refuse("read_only", ConflictKind::Guard, &format!("{what} is written in the cloud alone")));
    if definition.edge == EdgeMode::ReadOnly && !site.op.is_check() {
        return refuse("the collection");
    }
    match written(site.op).find(|field| definition.is_read_only(field) && !case.gives_back(site.op, field)) {
        Some(field) => refuse(&format!("field {field:?}")),
        None => Ok(()),
    }
}

fn written(op: &Op) -> Box<dyn Iterator<Item = &str> + '_> {
    match &op.body {
        Body::Put(value) => Box::new(value.fields().map(|(field, _)| field)),
        Body::Merge(changes) => Box::new(changes.iter().map(|change| change.field.as_str())),
        Body::Increment(by) => Box::new(by.iter().map(|(field, _)| field.as_str())),
        Body::Delete { .. } | Body::Check(_) => Box::new(std::iter::empty()),
    }
}

/// Op `check`: these values still stand in the cloud.
pub(super) fn check<W: World>(case: &Case<'_, W>, site: &Site<'_>, expected: &[(String, Option<Raw>)]) -> Result<(), Stop<W::Error>> {
    let failed =
        expected.iter().find(|(field, expected)| changed_since_it_left(case, site, field) || !holds(site, field, expected.as_ref()));
    match failed {
        None => Ok(()),
        Some((field, _)) => rejected(site.refuse("guard", ConflictKind::Guard, &format!("field {field:?} is not what the check names"))),
    }
}

/// JSON null also stands for an absent field, in a check as in the record.
fn holds(site: &Site<'_>, field: &str, expected: Option<&Raw>) -> bool {
    let stored = site.live().and_then(|value| value.get(field)).filter(|raw| raw.as_str() != "null");
    match (stored, expected) {
        (None, None) => true,
        (Some(stored), Some(expected)) => stored.same(expected),
        _ => false,
    }
}

/// A record that moved out of the writer's grants may not be read through checks: what changed there since is just not
/// what it was.
fn changed_since_it_left<W: World>(case: &Case<'_, W>, site: &Site<'_>, field: &str) -> bool {
    let Reach::Left(left) = site.reach else { return false };
    site.clock(field).and_then(|clock| clock.by_another(case.write.database())).is_some_and(|other| other.revision >= left)
}

/// A guarded field follows its transitions, from the value that is stored.
pub(super) fn transition(rule: &FieldRule, from: Option<&Raw>, to: Option<&Raw>) -> bool {
    let text = |raw: Option<&Raw>| raw.and_then(|raw| raw.as_text()).map(|text| text.into_owned());
    let same = match (from, to) {
        (Some(from), Some(to)) => from.same(to),
        (None, None) => true,
        _ => false,
    };
    if same || (rule.transitions.is_empty() && from.is_some()) {
        return true;
    }
    match text(from) {
        Some(from) => text(to).is_some_and(|to| rule.transitions.get(&from).is_some_and(|next| next.contains(&to))),
        None => initial(rule, to),
    }
}

/// A guarded field of a new record has one of its first values. Whether it must be there is the schema's to say.
pub(super) fn initial(rule: &FieldRule, value: Option<&Raw>) -> bool {
    let Some(value) = value.filter(|value| value.as_str() != "null") else { return true };
    rule.initial.is_empty() || value.as_text().is_some_and(|text| rule.initial.iter().any(|first| *first == *text))
}

/// A guarded field that does not follow, for the outcome.
pub(super) fn bad_transition<W: World>(case: &Case<'_, W>, site: &Site<'_>, field: &str, to: Option<&Raw>) -> Result<(), Stop<W::Error>> {
    let rule = site.record.defined.definition.rule(field);
    let follows = |rule: &FieldRule| match site.value() {
        Some(value) => transition(rule, value.get(field), to),
        None => initial(rule, to),
    };
    if case.write.is_forced() || rule.is_none_or(|rule| !rule.guard || follows(rule)) {
        return Ok(());
    }
    let fields = claims::content(site.op, site.value()).into_iter().filter(|figures| figures.name == field).collect();
    let finding = site.finding(ConflictKind::Guard, field, RowState::Open, fields);
    let to = to.map_or("absent".to_owned(), |to| to.as_str().chars().take(60).collect());
    let detail = format!("{}: field {field:?} may not become {to}", site.name());
    rejected(Rejection::new("guard", detail, Some(finding)))
}
