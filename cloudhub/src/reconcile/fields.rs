//! Plain fields: each wins or loses for itself, or with its group. A loser is kept.

use proto::definition::{Definition, Policy};
use proto::json::Raw;
use proto::op::{Change, To};

use super::claims::change_figures;
use super::clocks::Stamp;
use super::conflict::{ConflictKind, Figures, Finding, Lost, RowState};
use super::entitlement::not_entitled;
use super::judge::{Case, Rejection, Site, Stop, rejected};
use super::world::{Content, World};
use super::{append, claims, counters, create, guard};

/// How a stored field stands to an op.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The op had seen it, or its own database wrote it.
    Seen,
    /// Another database changed it above what the op had seen.
    Concurrent(Stamp),
    /// It is absent, and so long ago that a clock of its removal would be gone.
    Forgotten,
}

/// Claims that win or lose together.
struct Unit<'c> {
    /// Every field of the group, or the one field.
    fields: Vec<&'c str>,
    claims: Vec<&'c Change>,
}

pub(super) fn merge<W: World>(case: &mut Case<'_, W>, site: &mut Site<'_>, changes: &[Change]) -> Result<(), Stop<W::Error>> {
    if site.op.creates() && site.live().is_none() {
        return create::merge(case, site);
    }
    if changes.is_empty() {
        return Ok(());
    }
    let defined = site.record.defined.clone();
    let (counts, plain): (Vec<_>, Vec<_>) = changes.iter().partition(|change| defined.definition.is_counter(&change.field));
    if site.gone {
        lost_to_delete(case, site, &plain)?;
    } else {
        append::refuse(case, site)?;
        let place = site.record.now.as_ref().map(|stored| stored.place.clone());
        for unit in units(&defined.definition, &plain) {
            judge(case, site, &unit)?;
        }
        moved(case, site, place)?;
    }
    counts.into_iter().try_for_each(|change| counters::count(case, site, change))
}

/// A move to a partition that the writer does not have is a create there.
fn moved<W: World>(case: &Case<'_, W>, site: &Site<'_>, before: Option<super::world::Place>) -> Result<(), Stop<W::Error>> {
    let after = site.record.now.as_ref().map(|stored| stored.place.clone());
    match after {
        Some(place) if Some(&place) != before.as_ref() && !case.may_hold(&site.op.collection, &place)? => rejected(not_entitled(site.op)),
        _ => Ok(()),
    }
}

fn units<'c>(definition: &'c Definition, changes: &[&'c Change]) -> Vec<Unit<'c>> {
    let mut units: Vec<Unit<'c>> = Vec::new();
    for change in changes {
        let group = definition.group_of(&change.field);
        let same = |unit: &&mut Unit<'_>| group.is_some() && unit.fields.contains(&change.field.as_str());
        match units.iter_mut().find(same) {
            Some(unit) => unit.claims.push(change),
            None => {
                let fields = group.map_or(vec![change.field.as_str()], |group| group.iter().map(String::as_str).collect());
                units.push(Unit { fields, claims: vec![change] });
            }
        }
    }
    units
}

/// A delete wins over a change that meets it, and keeps what the change said; a guarded one is rejected instead.
fn lost_to_delete<W: World>(case: &mut Case<'_, W>, site: &Site<'_>, plain: &[&Change]) -> Result<(), Stop<W::Error>> {
    let definition = &site.record.defined.definition;
    if plain.is_empty() {
        return Ok(());
    }
    if definition.policy != Policy::Merge || plain.iter().any(|change| definition.is_guarded(&change.field)) {
        return rejected(site.refuse("gone", ConflictKind::Gone, "there is no such record any more"));
    }
    let fields = plain.iter().map(|change| change_figures(change, None)).collect();
    case.lost(site.with_what_was(site.finding(ConflictKind::Gone, "", RowState::Auto, fields)));
    Ok(())
}

fn judge<W: World>(case: &mut Case<'_, W>, site: &mut Site<'_>, unit: &Unit<'_>) -> Result<(), Stop<W::Error>> {
    guarded(case, site, unit)?;
    let standings: Vec<_> = unit.fields.iter().map(|field| (*field, standing(case, site, field))).collect();
    let open: Vec<_> = standings.into_iter().filter(|(field, standing)| contends(site, unit, field, *standing)).collect();
    if open.is_empty() || wins(case, unit, &open)? {
        if !open.is_empty() {
            let claims = unit.claims.iter().filter(|change| open.iter().any(|(field, _)| *field == change.field));
            case.findings.push(overruled(site, unit, claims.copied().collect()));
        }
        unit.claims.iter().for_each(|change| apply(case, site, change));
        return Ok(());
    }
    let lost: Vec<_> = unit.claims.iter().filter(|change| !is_equal(site, change)).collect();
    if !lost.is_empty() {
        let fields = lost.into_iter().map(|change| change_figures(change, site.value())).collect();
        case.lost(site.finding(ConflictKind::Field, &unit.claims[0].field, RowState::Auto, fields));
    }
    Ok(())
}

/// The policy `guarded` and fields with `guard`: nothing that the unit touches is concurrent, all is as the op saw it,
/// and follows its transitions.
fn guarded<W: World>(case: &Case<'_, W>, site: &Site<'_>, unit: &Unit<'_>) -> Result<(), Stop<W::Error>> {
    let definition = &site.record.defined.definition;
    let whole = definition.policy == Policy::Guarded;
    if !whole && !unit.fields.iter().any(|field| definition.is_guarded(field)) {
        return Ok(());
    }
    let stale = unit.fields.iter().any(|field| standing(case, site, field) != Standing::Seen)
        || unit.claims.iter().any(|change| !change.was.is(site.get(&change.field)));
    if case.write.is_edge() && stale {
        let field = &unit.claims[0].field;
        let detail = format!("{}: field {field:?} changed meanwhile", site.name());
        let fields = match whole {
            true => claims::content(site.op, site.value()),
            false => unit.claims.iter().map(|change| change_figures(change, site.value())).collect(),
        };
        let finding = site.finding(ConflictKind::Guard, if whole { "" } else { field }, RowState::Open, fields);
        return rejected(Rejection::new("guard", detail, Some(finding)));
    }
    unit.claims.iter().try_for_each(|change| guard::bad_transition(case, site, &change.field, target(change)))
}

fn standing<W: World>(case: &Case<'_, W>, site: &Site<'_>, field: &str) -> Standing {
    if !case.write.is_edge() {
        return Standing::Seen;
    }
    match site.clock(field).map(|clock| clock.newest) {
        Some(stamp) if stamp.revision > site.op.seen && stamp.database != case.write.database() => Standing::Concurrent(stamp),
        Some(_) => Standing::Seen,
        None if is_forgotten(site) => Standing::Forgotten,
        None => Standing::Seen,
    }
}

/// Whether the op saw so little that a field could have been removed since, and its clock be forgotten.
pub(super) fn is_forgotten(site: &Site<'_>) -> bool {
    site.op.seen < site.floor && site.record.now.as_ref().is_some_and(|stored| stored.born <= site.floor)
}

/// Whether a field of the unit stands against it: changed unseen, to something else than the op makes of it.
fn contends(site: &Site<'_>, unit: &Unit<'_>, field: &str, standing: Standing) -> bool {
    let claim = unit.claims.iter().find(|change| change.field == field);
    match (standing, claim) {
        (Standing::Seen, _) => false,
        (_, Some(change)) if is_equal(site, change) => false,
        (Standing::Concurrent(_), _) => true,
        // Absent now as it was for the op: whatever came and went between left nothing to lose.
        (Standing::Forgotten, Some(change)) => !change.was.is(None),
        (Standing::Forgotten, None) => false,
    }
}

/// The later clock wins, all or nothing. A field of the group that the op does not claim cannot become what the op saw,
/// and a field whose removal is forgotten stays removed: nothing comes back because a node was away.
fn wins<W: World>(case: &Case<'_, W>, unit: &Unit<'_>, open: &[(&str, Standing)]) -> Result<bool, W::Error> {
    for (field, standing) in open {
        let claimed = unit.claims.iter().any(|change| change.field == *field);
        match standing {
            Standing::Concurrent(stamp) if claimed && later(case, *stamp)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Whether the write's clock is later than a stored one; equal clocks are told apart by the database ids.
fn later<W: World>(case: &Case<'_, W>, stored: Stamp) -> Result<bool, W::Error> {
    let own = case.write.stamp();
    if own.hlc != stored.hlc {
        return Ok(own.hlc > stored.hlc);
    }
    Ok(case.world.database(own.database)? > case.world.database(stored.database)?)
}

/// A row for the cloud's values that lose to the op.
fn overruled(site: &Site<'_>, unit: &Unit<'_>, claims: Vec<&Change>) -> Finding {
    let figures = |change: &&Change| Figures { result: target(change).cloned(), ..change_figures(change, site.value()) };
    let fields = claims.iter().map(figures).collect();
    let finding = site.finding(ConflictKind::Field, &unit.claims[0].field, RowState::Auto, fields);
    Finding { lost: Lost::Cloud, ..finding }
}

fn target(change: &Change) -> Option<&Raw> {
    if let To::Set(raw) = &change.to { Some(raw) } else { None }
}

fn is_equal(site: &Site<'_>, change: &Change) -> bool {
    match (site.get(&change.field), target(change)) {
        (Some(stored), Some(new)) => stored.same(new),
        (None, None) => true,
        _ => false,
    }
}

/// The claim takes effect. One that changes nothing leaves its clock all the same, where that is the later one, so that
/// the next to come meets the same clock in whatever order they came.
fn apply<W: World>(case: &Case<'_, W>, site: &mut Site<'_>, change: &Change) {
    let field = change.field.as_str();
    let stamp = case.write.stamp();
    let equal = is_equal(site, change);
    if equal && site.clock(field).is_some_and(|clock| clock.newest.hlc >= stamp.hlc) {
        return;
    }
    let Some(stored) = &mut site.record.now else { return };
    let Content::Live(value) = &mut stored.content else { return };
    if !equal {
        match target(change) {
            Some(raw) => value.set(field, raw.clone()),
            None => drop(value.remove(field)),
        }
    }
    stored.clocks.set(field, value.get(field).is_some(), stamp);
    site.record.claim(field);
    if !equal {
        site.record.changed(case.write);
    }
}
