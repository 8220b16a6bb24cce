//! Creating: a put creates and only creates; a merge of a record that the view did not hold creates where there is none.

use proto::definition::Policy;
use proto::json::{Raw, Value};
use proto::op::hash;

use super::claims;
use super::clocks::Clocks;
use super::conflict::{ConflictKind, Figures};
use super::counters;
use super::entitlement::{Reach, not_entitled};
use super::guard;
use super::judge::{Case, Site, Stop, rejected};
use super::world::{Content, Stored, World};

/// Whatever the policy, a key that is taken stays as it is; the same content again is no news.
pub(super) fn put<W: World>(case: &mut Case<'_, W>, site: &mut Site<'_>, value: &Value) -> Result<(), Stop<W::Error>> {
    let mut value = value.clone();
    if let Err(error) = site.record.defined.definition.fill_key(&site.op.key, &mut value) {
        return rejected(site.malformed(&error.to_string()));
    }
    let place = site.record.defined.definition.partition_of(&value);
    if !case.may_hold(&site.op.collection, &place)? {
        return rejected(not_entitled(site.op));
    }
    match site.record.now.as_ref().map(|stored| &stored.content) {
        None | Some(Content::Deleted { .. }) => create(case, site, value),
        Some(Content::Live(live)) if live.same(&value) && is_no_news(case, site) => Ok(()),
        Some(Content::Live(_) | Content::Removed { .. }) => key_taken(site, &value),
    }
}

/// An append that is there already counts as a repeat only together with all others of its write; see `append`.
fn is_no_news<W: World>(case: &Case<'_, W>, site: &Site<'_>) -> bool {
    let here = site.record.now.as_ref().is_some_and(|stored| stored.born == case.write.revision);
    here || site.record.defined.definition.policy != Policy::Append
}

pub(super) fn key_taken<E>(site: &Site<'_>, value: &Value) -> Result<(), Stop<E>> {
    // What stands under a key that is not the writer's is for the cloud's eyes.
    let live = site.live();
    let stored = |field: &str| live.and_then(|live| live.get(field)).cloned();
    let figures = |(field, raw): (&str, &Raw)| Figures {
        name: field.to_owned(),
        cloud: stored(field),
        edge: Some(raw.clone()),
        result: stored(field),
        ..Figures::default()
    };
    let fields = value.fields().map(figures).collect();
    let mut rejection = site.refuse("key_taken", ConflictKind::KeyTaken, "another record has this key");
    if let Some(finding) = &mut rejection.finding {
        finding.fields = fields;
        finding.key.hidden = site.reach != Reach::Granted;
    }
    rejected(rejection)
}

/// What a creating merge makes of nothing.
pub(super) fn merge<W: World>(case: &mut Case<'_, W>, site: &mut Site<'_>) -> Result<(), Stop<W::Error>> {
    let mut value = claims::created(site.op);
    if let Err(error) = site.record.defined.definition.fill_key(&site.op.key, &mut value) {
        return rejected(site.malformed(&error.to_string()));
    }
    let place = site.record.defined.definition.partition_of(&value);
    if !case.may_hold(&site.op.collection, &place)? {
        return rejected(not_entitled(site.op));
    }
    match site.record.now.as_ref().map(|stored| &stored.content) {
        Some(Content::Removed { .. }) => key_taken(site, &value),
        _ => create(case, site, value),
    }
}

fn create<W: World>(case: &mut Case<'_, W>, site: &mut Site<'_>, value: Value) -> Result<(), Stop<W::Error>> {
    site.gone = true;
    let defined = site.record.defined.clone();
    for (field, rule) in &defined.definition.fields {
        if rule.guard {
            guard::bad_transition(case, site, field, value.get(field))?;
        }
    }
    for (field, raw) in value.fields() {
        if defined.definition.is_counter(field) {
            counters::first(case, site, field, raw)?;
        }
        site.record.claim(field);
    }
    let stamp = case.write.stamp();
    let mut clocks = Clocks::new(stamp);
    if let Some(before) = &site.record.now {
        clocks.follow(&before.clocks, stamp);
    }
    let place = defined.definition.partition_of(&value);
    site.record.dirty = true;
    site.record.now = Some(Stored { content: Content::Live(value), revision: stamp.revision, born: stamp.revision, clocks, place });
    site.gone = false;
    Ok(())
}

/// Whether a record is there with exactly this content, or was before an admin removed it.
pub(super) fn is_there(stored: &Stored, value: &Value) -> bool {
    match &stored.content {
        Content::Live(live) => live.same(value),
        Content::Removed { hash: removed } => *removed == hash(value.to_text().as_bytes()),
        Content::Deleted { .. } => false,
    }
}
