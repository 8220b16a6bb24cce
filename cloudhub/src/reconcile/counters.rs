//! Counters: increments always add; a plain set is a count, which adds the difference that was observed.

use proto::definition::OnViolation;
use proto::json::Raw;
use proto::op::{Change, To, Was};

use super::conflict::{ConflictKind, Figures, RowState};
use super::fields::is_forgotten;
use super::judge::{Case, Rejection, Site, Stop, rejected};
use super::world::{Content, World};

/// An increment adds, or is kept for a person where there is nothing to add to: a sale that happened stays.
pub(super) fn increment<W: World>(case: &mut Case<'_, W>, site: &mut Site<'_>, by: &[(String, i64)]) -> Result<(), Stop<W::Error>> {
    if !site.gone {
        super::append::refuse(case, site)?;
    }
    for (field, delta) in by {
        if site.gone {
            gone(case, site, field, *delta, None);
            continue;
        }
        if !site.record.defined.definition.is_counter(field) {
            return rejected(site.malformed(&format!("field {field:?} is no counter")));
        }
        add(case, site, field, *delta, None)?;
    }
    Ok(())
}

/// The delta is kept in an open conflict; nobody outside learns whether the record was deleted or is elsewhere.
fn gone<W: World>(case: &mut Case<'_, W>, site: &Site<'_>, field: &str, delta: i64, observed: Option<i64>) {
    if delta == 0 {
        return;
    }
    let edge = observed.map(Raw::integer);
    let figures = Figures { name: field.to_owned(), edge, delta: Some(delta), ..Figures::default() };
    let finding = site.with_what_was(site.finding(ConflictKind::Gone, field, RowState::Open, vec![figures]));
    let detail = format!("{}: there is no such record any more; {delta:+} on {field:?} is kept", site.name());
    case.flag("gone", detail, finding);
}

/// A plain set of a counter, in any of the forms that a change can have.
pub(super) fn count<W: World>(case: &mut Case<'_, W>, site: &mut Site<'_>, change: &Change) -> Result<(), Stop<W::Error>> {
    let Some((observed, delta)) = figures_of(change) else {
        return rejected(site.malformed(&format!("field {:?} is a counter: a whole 64-bit number, please", change.field)));
    };
    let field = &change.field;
    if site.gone {
        gone(case, site, field, delta, Some(observed));
        return Ok(());
    }
    let missed = missed(case, site, field, &change.was)?;
    let before = site.get(field).cloned();
    add(case, site, field, delta, Some((&change.was, observed)))?;
    site.record.claim(field);
    if change.to == To::Remove && site.get(field).is_some_and(|raw| raw.as_i64() == Some(0)) {
        take_away(case, site, field);
    }
    if missed {
        let result = site.get(field).cloned();
        let base = Some(change.was.clone());
        let figures = Figures { name: field.clone(), base, cloud: before, edge: Some(Raw::integer(observed)), result, delta: Some(delta) };
        let finding = site.finding(ConflictKind::Count, field, RowState::Open, vec![figures]);
        let detail = format!("{}: {field:?} was counted as {observed} while others changed it", site.name());
        case.flag("count", detail, finding);
    }
    Ok(())
}

/// What was observed, and its difference to the view. A counter that is removed is counted as zero, so that what others
/// added meanwhile is not lost with it.
fn figures_of(change: &Change) -> Option<(i64, i64)> {
    let was = match &change.was {
        Was::Absent => Some(0),
        Was::Value(raw) if raw.as_str() == "null" => Some(0),
        Was::Value(raw) => raw.as_i64(),
        Was::Hash(_) => None,
    };
    match &change.to {
        To::Count { observed, delta } => Some((*observed, *delta)),
        To::Set(raw) => raw.as_i64().and_then(|observed| Some((observed, observed.checked_sub(was?)?))),
        To::Remove => Some((0, was?.checked_neg()?)),
    }
}

/// Whether a count was taken without a change by another database, or on a write that was rejected.
fn missed<W: World>(case: &Case<'_, W>, site: &Site<'_>, field: &str, was: &Was) -> Result<bool, W::Error> {
    if !case.write.is_edge() {
        return Ok(false);
    }
    let clock = site.clock(field);
    // It was there when it was counted, and so long ago that nobody knows who took it away.
    if clock.is_none() && !was.is(None) && is_forgotten(site) {
        return Ok(true);
    }
    let other = clock.and_then(|clock| clock.by_another(case.write.database()));
    if other.is_some_and(|other| other.revision > site.op.seen) {
        return Ok(true);
    }
    for number in &site.op.stands_on {
        if case.world.outcome(*number)?.is_some_and(|decided| decided.is_void()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Adds `delta`; a count names what was there for its writer and what was counted. An increment speaks of neither: it
/// stands on whatever it meets.
fn add<W: World>(
    case: &mut Case<'_, W>,
    site: &mut Site<'_>,
    field: &str,
    delta: i64,
    counted: Option<(&Was, i64)>,
) -> Result<(), Stop<W::Error>> {
    let before = site.get(field).cloned();
    let Some(old) = before.as_ref().map_or(Some(0), whole) else {
        return rejected(site.malformed(&format!("field {field:?} holds no whole number to add to")));
    };
    if delta == 0 {
        return Ok(());
    }
    let new = old.saturating_add(delta);
    if let Some(Content::Live(value)) = site.record.now.as_mut().map(|stored| &mut stored.content) {
        value.set(field, Raw::integer(new));
    }
    let stamp = case.write.stamp();
    if let Some(stored) = &mut site.record.now {
        stored.clocks.add(field, before.is_some(), true, stamp);
    }
    site.record.claim(field);
    site.record.changed(case.write);
    if old.checked_add(delta).is_some() && !past_bound(site, field, new, delta) {
        return Ok(());
    }
    let (base, edge) = match counted {
        Some((was, observed)) => (was.clone(), Raw::integer(observed)),
        None => (Was::of(before.as_ref()), sum(old, delta)),
    };
    let result = site.get(field).cloned();
    bound(case, site, Figures { name: field.to_owned(), base: Some(base), cloud: before, edge: Some(edge), result, delta: Some(delta) })
}

/// What adding would have made, also beyond 64 bits.
fn sum(old: i64, delta: i64) -> Raw {
    let text = (i128::from(old) + i128::from(delta)).to_string();
    Raw::parse(&text).expect("digits are JSON")
}

fn whole(raw: &Raw) -> Option<i64> {
    if raw.as_str() == "null" { Some(0) } else { raw.as_i64() }
}

fn take_away<W: World>(case: &mut Case<'_, W>, site: &mut Site<'_>, field: &str) {
    let Some(stored) = &mut site.record.now else { return };
    if let Content::Live(value) = &mut stored.content {
        value.remove(field);
        stored.clocks.add(field, true, false, case.write.stamp());
        site.record.changed(case.write);
    }
}

/// A change that leads back towards the bounds passes none.
fn past_bound(site: &Site<'_>, field: &str, new: i64, delta: i64) -> bool {
    let rule = site.record.defined.definition.rule(field);
    let below = rule.and_then(|rule| rule.min).is_some_and(|min| new < min);
    let above = rule.and_then(|rule| rule.max).is_some_and(|max| new > max);
    (below && delta < 0) || (above && delta > 0)
}

/// A counter of a new record.
pub(super) fn first<W: World>(case: &mut Case<'_, W>, site: &mut Site<'_>, field: &str, raw: &Raw) -> Result<(), Stop<W::Error>> {
    let Some(value) = whole(raw) else {
        return rejected(site.malformed(&format!("field {field:?} is a counter: a whole 64-bit number, please")));
    };
    let past = past_bound(site, field, value, -1) || past_bound(site, field, value, 1);
    if !past {
        return Ok(());
    }
    let (edge, result) = (Some(raw.clone()), Some(site.get(field).unwrap_or(raw).clone()));
    bound(case, site, Figures { name: field.to_owned(), edge, result, ..Figures::default() })
}

/// A bound was passed. Beyond 64 bits the counter stops at its end, and the row keeps the whole delta. `figures` as if it
/// applies.
fn bound<W: World>(case: &mut Case<'_, W>, site: &Site<'_>, mut figures: Figures) -> Result<(), Stop<W::Error>> {
    let field = figures.name.clone();
    let rule = site.record.defined.definition.rule(&field);
    let rejects = rule.and_then(|rule| rule.on_violation) == Some(OnViolation::Reject) && !case.write.is_forced();
    if rejects {
        figures.result.clone_from(&figures.cloud);
    }
    let finding = site.finding(ConflictKind::Bound, &field, RowState::Open, vec![figures]);
    let detail = format!("{}: {field:?} passed its bound", site.name());
    if rejects {
        return rejected(Rejection::new("bound", detail, Some(finding)));
    }
    case.flag("bound", detail, finding);
    Ok(())
}
