//! What the shared rules refuse, as problems: one wording on both sides.

use proto::build::BuildError;
use proto::definition::KeyError;
use proto::json::JsonError;
use proto::list::NoIndex;
use proto::resolve::ResolveError;

use crate::problem::{Code, Problem};

impl From<JsonError> for Problem {
    fn from(error: JsonError) -> Self {
        let code = match error {
            JsonError::Syntax(_) | JsonError::Duplicate(_) | JsonError::Number(_) => Code::BadRequest,
            JsonError::NotObject => Code::NotObject,
            JsonError::TooLarge(_) => Code::TooLarge,
        };
        let field = match &error {
            JsonError::Duplicate(name) => Some(name.clone()),
            _ => None,
        };
        let problem = Self::new(code, error.to_string());
        field.into_iter().fold(problem, |problem, field| problem.field(field))
    }
}

impl From<NoIndex> for Problem {
    fn from(error: NoIndex) -> Self {
        let detail = error.to_string();
        Self::new(Code::NoIndex, detail).collection(error.collection).field(error.field)
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        let detail = error.to_string();
        match error {
            KeyError::Mismatch { field, .. } | KeyError::Part(field) => Self::new(Code::KeyMismatch, detail).field(field),
            KeyError::Parts { .. } => Self::new(Code::KeyMismatch, detail),
            KeyError::Name(_) => Self::new(Code::BadKey, detail),
        }
    }
}

impl From<BuildError> for Problem {
    fn from(error: BuildError) -> Self {
        let detail = error.to_string();
        match error {
            BuildError::ReadOnly { field: Some(field), .. } => Self::new(Code::ReadOnly, detail).field(field),
            BuildError::ReadOnly { field: None, .. } => Self::new(Code::ReadOnly, detail),
            BuildError::AppendOnly(collection) => Self::new(Code::ReadOnly, detail).collection(collection),
            BuildError::NotFound { collection, key } => Self::not_found(detail).collection(collection).key(key),
            BuildError::KeyTaken { collection, key } => Self::new(Code::KeyTaken, detail).collection(collection).key(key),
            BuildError::Key(error) => error.into(),
            BuildError::Counter(field) | BuildError::NoCounter(field) => Self::new(Code::CounterNotInteger, detail).field(field),
            BuildError::CountNeedsMatch(field) => Self::new(Code::CountNeedsMatch, detail).field(field),
            BuildError::Value(error) => error.into(),
        }
    }
}

/// The collection of conflict rows.
const CONFLICTS: &str = "_conflicts";

impl From<ResolveError> for Problem {
    fn from(error: ResolveError) -> Self {
        let detail = error.to_string();
        match error {
            ResolveError::Unknown(id) => Self::not_found(detail).collection(CONFLICTS).key(id),
            ResolveError::NotOpen(id) => Self::new(Code::NotOpen, detail).collection(CONFLICTS).key(id),
            ResolveError::NothingKept { id, .. } => Self::bad_request(detail).collection(CONFLICTS).key(id).field("use"),
            ResolveError::NotAlone => Self::bad_request(detail).field("ops"),
            ResolveError::Unreadable { .. } => Self::internal(detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_keep_what_they_are_about() {
        let problem = Problem::from(BuildError::CountNeedsMatch("UnitsInStock".into()));
        assert_eq!((problem.code(), problem.body().field), (Code::CountNeedsMatch, Some("UnitsInStock")));
        let problem = Problem::from(JsonError::Duplicate("a".into()));
        assert_eq!((problem.code(), problem.body().field), (Code::BadRequest, Some("a")));
        assert_eq!(Problem::from(JsonError::NotObject).code(), Code::NotObject);
        assert_eq!(Problem::from(KeyError::Parts { found: 1, wanted: 2 }).code(), Code::KeyMismatch);
    }
}
