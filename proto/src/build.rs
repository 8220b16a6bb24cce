//! From a request to an op: the difference to the view, at commit, by the same code on both sides (design §4).

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::definition::{Defined, EdgeMode, KeyError, Policy};
use crate::ids::Revision;
use crate::json::{JsonError, Raw, Value, merge_patch};
use crate::names::{CollectionName, Key};
use crate::op::{Body, Change, Op, To, Was};
use crate::resolve::Resolve;

/// What an application asked for on one record, before it is compared with the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The collection.
    pub collection: CollectionName,
    /// The record.
    pub key: Key,
    /// What is asked.
    pub action: Action,
    /// `"if": REVISION`, for the cloud to judge again.
    pub expect: Option<Revision>,
}

/// The verbs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The whole value; `create` (POST, `"if":"absent"`) only where the view holds none.
    Put {
        /// The new value.
        value: Value,
        /// Only where there is none.
        create: bool,
    },
    /// An RFC 7386 merge patch, already parsed as an object.
    Merge(Value),
    /// An earlier merge once more, on the present view: whole fields, as they were resolved then.
    Again {
        /// What each field becomes; a count is taken again from what was observed.
        changes: Vec<(String, To)>,
        /// It may create the record, as the earlier one might.
        create: bool,
    },
    /// Additions to counters.
    Increment(Vec<(String, i64)>),
    /// Removal.
    Delete {
        /// Also with a non-zero counter.
        force: bool,
    },
    /// A condition on fields; JSON null also stands for an absent field.
    Check(Vec<(String, Raw)>),
    /// A conflict row is to be resolved. Each store makes a [`Action::Close`] and a request on the record of it.
    Resolve(Resolve),
    /// On a conflict row: somebody resolved it.
    Close {
        /// Who.
        by: String,
    },
    /// Creates a record from what a conflict row kept of it: what the edge may not write is put back as it was.
    Restore(Value),
}

/// Which side builds: read-only rules bind the edge alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// An edge's local API.
    Edge,
    /// The cloud's API.
    Cloud,
}

/// What the database knows about the record at commit.
#[derive(Debug, Clone)]
pub struct Scene<'a> {
    /// The newest definition that this side has.
    pub defined: &'a Defined,
    /// The record as readers see it.
    pub view: Option<&'a Value>,
    /// Up to which revision this side knew the record; ignored (0) where the view holds none.
    pub seen: Revision,
    /// The pending write that created the record, where it exists only through that one.
    pub depends: Option<u64>,
    /// Pending writes that lie over the record.
    pub stands_on: &'a [u64],
    /// Whether a precondition named the present view, so that setting a counter is no accident.
    pub matched: bool,
    /// Which side this is.
    pub side: Side,
}

/// Why a request was refused at once. Nothing was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// 403 `read_only`.
    #[error("{what} is read-only here; change it in the cloud")]
    ReadOnly {
        /// The collection or the field.
        what: String,
        /// The field, where it is one.
        field: Option<String>,
    },
    /// 403 `read_only`: what an append collection holds is never changed.
    #[error("collection {0} is append-only: add a new record instead")]
    AppendOnly(String),
    /// 404 `not_found`.
    #[error("there is no record {key:?} in {collection}")]
    NotFound {
        /// The collection.
        collection: String,
        /// The key.
        key: String,
    },
    /// 409 `key_taken`.
    #[error("{collection} already holds a record {key:?}")]
    KeyTaken {
        /// The collection.
        collection: String,
        /// The key.
        key: String,
    },
    /// 422 `key_mismatch`.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// 422 `counter_not_integer`.
    #[error("field {0:?} is a counter: a whole 64-bit number, please")]
    Counter(String),
    /// 422 `counter_not_integer`: an increment on what is no counter.
    #[error("field {0:?} is no counter; declare [collection.fields] {0} = {{ type = \"counter\" }} or set it with PATCH")]
    NoCounter(String),
    /// 428 `count_needs_match`.
    #[error("this PUT changes counter {0:?}: name the record you read in If-Match, or use increment")]
    CountNeedsMatch(String),
    /// 413 `too_large`, or 422.
    #[error(transparent)]
    Value(#[from] JsonError),
}

/// Makes the op. `Ok(None)`: an append of what the view already holds with the same content, a repeat.
pub fn build(request: &Request, scene: &Scene<'_>) -> Result<Option<Op>, BuildError> {
    let definition = &scene.defined.definition;
    let name = || request.collection.to_string();
    let open = matches!(request.action, Action::Check(_) | Action::Close { .. });
    if scene.side == Side::Edge && definition.edge == EdgeMode::ReadOnly && !open {
        return Err(BuildError::ReadOnly { what: format!("collection {}", name()), field: None });
    }
    let body = match (&request.action, definition.policy) {
        (Action::Put { value, create }, policy) => match put(request, scene, value, *create, policy)? {
            Some(body) => body,
            None => return Ok(None),
        },
        (Action::Resolve(_), _) => return Err(BuildError::ReadOnly { what: format!("collection {}", name()), field: None }),
        (Action::Close { by }, _) => close(scene, by),
        (Action::Restore(value), policy) => {
            let everywhere = Scene { side: Side::Cloud, ..scene.clone() };
            match put(request, &everywhere, value, true, policy)? {
                Some(body) => body,
                None => return Ok(None),
            }
        }
        (Action::Check(fields), _) => Body::Check(fields.iter().map(|(field, raw)| (field.clone(), present(raw))).collect()),
        (Action::Delete { force }, policy) => {
            if policy == Policy::Append && !(*force && scene.side == Side::Cloud) {
                return Err(BuildError::AppendOnly(name()));
            }
            found(request, scene)?;
            Body::Delete { force: *force }
        }
        (_, Policy::Append) if scene.view.is_some() || matches!(request.action, Action::Increment(_)) => {
            return Err(BuildError::AppendOnly(name()));
        }
        (Action::Merge(patch), _) => merge(request, scene, patch)?,
        (Action::Again { changes, create }, _) => again(request, scene, changes, *create)?,
        (Action::Increment(by), _) => increment(request, scene, by)?,
    };
    let counts = matches!(&body, Body::Merge(changes) if changes.iter().any(|change| matches!(change.to, To::Count { .. })));
    Ok(Some(Op {
        collection: request.collection.clone(),
        key: request.key.clone(),
        seen: if scene.view.is_some() { scene.seen.max(Revision(1)) } else { Revision::ZERO },
        definition: scene.defined.revision,
        depends: scene.depends.filter(|_| scene.view.is_some()),
        stands_on: if counts { scene.stands_on.to_vec() } else { Vec::new() },
        expect: request.expect,
        body,
    }))
}

fn put(request: &Request, scene: &Scene<'_>, value: &Value, create: bool, policy: Policy) -> Result<Option<Body>, BuildError> {
    let definition = &scene.defined.definition;
    let mut value = value.clone();
    definition.fill_key(&request.key, &mut value)?;
    value.check_bounds()?;
    let taken = || BuildError::KeyTaken { collection: request.collection.to_string(), key: request.key.to_string() };
    let Some(view) = scene.view else {
        check_new(scene, &value)?;
        return Ok(Some(Body::Put(value)));
    };
    if policy == Policy::Append {
        return if view.same(&value) { Ok(None) } else { Err(taken()) };
    }
    if create {
        return Err(taken());
    }
    let mut changes = Vec::new();
    for (field, raw) in value.fields() {
        if !view.get(field).is_some_and(|old| old.same(raw)) {
            changes.push(change(scene, field, To::Set(raw.clone()))?);
        }
    }
    for (field, _) in view.fields().filter(|(field, _)| value.get(field).is_none()) {
        changes.push(change(scene, field, To::Remove)?);
    }
    widen(scene, &mut changes, &value);
    match changes.iter().find(|change| definition.is_counter(&change.field)) {
        Some(counter) if !scene.matched => Err(BuildError::CountNeedsMatch(counter.field.clone())),
        _ => Ok(Some(Body::Merge(changes))),
    }
}

/// The cloud judges whether the row still stands, and puts down itself who it was.
fn close(scene: &Scene<'_>, by: &str) -> Body {
    let change = |field: &str, text: &str| {
        let was = Was::of(scene.view.and_then(|view| view.get(field)));
        Change { field: field.to_owned(), to: To::Set(Raw::string(text)), was }
    };
    Body::Merge(alloc::vec![change("state", "resolved"), change("resolved_by", by)])
}

fn merge(request: &Request, scene: &Scene<'_>, patch: &Value) -> Result<Body, BuildError> {
    let mut changes = Vec::new();
    let mut result = scene.view.cloned().unwrap_or_default();
    for (field, raw) in patch.fields() {
        let old = scene.view.and_then(|view| view.get(field));
        let to = match raw.as_str() {
            "null" if old.is_none() => continue,
            "null" if scene.defined.definition.key_fields().any(|own| own == field) => {
                let wanted = request.key.to_string();
                return Err(KeyError::Mismatch { field: field.to_owned(), found: "null".to_owned(), wanted }.into());
            }
            "null" => To::Remove,
            _ => To::Set(merge_patch(old, raw)?),
        };
        if let (To::Set(new), Some(old)) = (&to, old)
            && new.same(old)
        {
            continue;
        }
        match &to {
            To::Set(new) => result.set(field, new.clone()),
            _ => drop(result.remove(field)),
        }
        changes.push(change(scene, field, to)?);
    }
    merged(request, scene, changes, result)
}

/// Whole fields, compared with the present view; what the view has already makes no claim.
fn again(request: &Request, scene: &Scene<'_>, earlier: &[(String, To)], create: bool) -> Result<Body, BuildError> {
    if !create {
        found(request, scene)?;
    }
    let mut changes = Vec::new();
    let mut result = scene.view.cloned().unwrap_or_default();
    for (field, to) in earlier {
        let to = match to {
            To::Count { observed, .. } => To::Set(Raw::integer(*observed)),
            other => other.clone(),
        };
        match (&to, scene.view.and_then(|view| view.get(field))) {
            (To::Remove, None) => continue,
            (To::Set(new), Some(old)) if new.same(old) => continue,
            (To::Set(new), _) => result.set(field, new.clone()),
            _ => drop(result.remove(field)),
        }
        changes.push(change(scene, field, to)?);
    }
    merged(request, scene, changes, result)
}

/// What a merge claims besides the fields that it names: its key's fields, and the rest of their groups.
fn merged(request: &Request, scene: &Scene<'_>, mut changes: Vec<Change>, mut result: Value) -> Result<Body, BuildError> {
    scene.defined.definition.fill_key(&request.key, &mut result)?;
    result.check_bounds()?;
    widen(scene, &mut changes, &result);
    if scene.view.is_none() {
        for field in scene.defined.definition.key_fields() {
            if let (Some(raw), true) = (result.get(field), changes.iter().all(|change| change.field != field)) {
                changes.push(Change { field: field.to_owned(), to: To::Set(raw.clone()), was: Was::Absent });
            }
        }
    }
    Ok(Body::Merge(changes))
}

/// A claim on one field of a group is a claim on all of them: half an address of one writer and half of another is the
/// address of neither.
fn widen(scene: &Scene<'_>, changes: &mut Vec<Change>, result: &Value) {
    for group in &scene.defined.definition.groups {
        let claims = |field: &String, changes: &[Change]| changes.iter().any(|change| change.field == *field);
        if !group.iter().any(|field| claims(field, changes)) {
            continue;
        }
        for field in group.iter().filter(|field| writable(scene, field).is_ok()) {
            if let (Some(raw), false) = (result.get(field), claims(field, changes)) {
                let was = Was::of(scene.view.and_then(|view| view.get(field)));
                changes.push(Change { field: field.clone(), to: To::Set(raw.clone()), was });
            }
        }
    }
}

fn increment(request: &Request, scene: &Scene<'_>, by: &[(String, i64)]) -> Result<Body, BuildError> {
    found(request, scene)?;
    for (field, _) in by {
        if !scene.defined.definition.is_counter(field) {
            return Err(BuildError::NoCounter(field.clone()));
        }
        writable(scene, field)?;
    }
    Ok(Body::Increment(by.to_vec()))
}

/// One field's claim: a counter's becomes a count, and what the edge may not write is refused.
fn change(scene: &Scene<'_>, field: &str, to: To) -> Result<Change, BuildError> {
    writable(scene, field)?;
    let old = scene.view.and_then(|view| view.get(field));
    let to = match to {
        To::Set(raw) if scene.defined.definition.is_counter(field) => {
            let observed = raw.as_i64().ok_or_else(|| BuildError::Counter(field.to_owned()))?;
            let view = old.and_then(Raw::as_i64).unwrap_or(0);
            let delta = observed.checked_sub(view).ok_or_else(|| BuildError::Counter(field.to_owned()))?;
            To::Count { observed, delta }
        }
        other => other,
    };
    Ok(Change { field: field.to_owned(), to, was: Was::of(old) })
}

/// A new record may hold what the edge may not change later, except where a field is the cloud's alone.
fn check_new(scene: &Scene<'_>, value: &Value) -> Result<(), BuildError> {
    for (field, raw) in value.fields() {
        writable(scene, field)?;
        let null = raw.as_str() == "null";
        if scene.defined.definition.is_counter(field) && !null && raw.as_i64().is_none() {
            return Err(BuildError::Counter(field.to_owned()));
        }
    }
    Ok(())
}

fn writable(scene: &Scene<'_>, field: &str) -> Result<(), BuildError> {
    if scene.side == Side::Edge && scene.defined.definition.is_read_only(field) {
        return Err(BuildError::ReadOnly { what: format!("field {field:?}"), field: Some(field.to_owned()) });
    }
    Ok(())
}

fn found(request: &Request, scene: &Scene<'_>) -> Result<(), BuildError> {
    if scene.view.is_some() {
        return Ok(());
    }
    Err(BuildError::NotFound { collection: request.collection.to_string(), key: request.key.to_string() })
}

fn present(raw: &Raw) -> Option<Raw> {
    if raw.as_str() == "null" { None } else { Some(raw.clone()) }
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
