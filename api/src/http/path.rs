//! What the path of a request names. A key is one percent-encoded segment.

use axum::extract::{FromRequestParts, RawPathParams};
use http::Method;
use http::request::Parts;
use proto::names::{CollectionName, Key, NodeName};

use crate::problem::{Code, Problem};

/// The collection of `/v1/collections/{c}…`.
pub(crate) struct InCollection(pub(crate) CollectionName);

/// The record of `/v1/collections/{c}/records/{key}…`.
pub(crate) struct OfRecord {
    pub(crate) collection: CollectionName,
    pub(crate) key: Key,
}

/// The node of `/v1/nodes/{n}…`.
pub(crate) struct OfNode(pub(crate) NodeName);

/// The id of `…/{id}`.
pub(crate) struct OfId(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for InCollection {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = segments(parts, state, Code::BadRequest).await?;
        let name = segment(&params, "c")?;
        if parts.method == Method::PUT {
            // To define a collection under a bad name is a mistake; to look for one finds nothing.
            return CollectionName::parse(name).map(Self).map_err(|error| Problem::bad_request(error.to_string()));
        }
        collection(name).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OfRecord {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = segments(parts, state, Code::BadKey).await?;
        let collection = collection(segment(&params, "c")?)?;
        let key = key(segment(&params, "key")?).map_err(|problem| problem.collection(collection.as_str()))?;
        Ok(Self { collection, key })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OfNode {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = segments(parts, state, Code::BadRequest).await?;
        let name = segment(&params, "n")?;
        NodeName::parse(name).map(Self).map_err(|error| Problem::not_found(error.to_string()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OfId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = segments(parts, state, Code::BadRequest).await?;
        segment(&params, "id").map(|id| Self(id.to_owned()))
    }
}

/// The decoded segments; what is not UTF-8 after decoding is refused with `code`.
async fn segments<S: Send + Sync>(parts: &mut Parts, state: &S, code: Code) -> Result<RawPathParams, Problem> {
    let params = RawPathParams::from_request_parts(parts, state).await;
    params.map_err(|_| Problem::new(code, "the path is not UTF-8 once its percent-encoding is undone"))
}

fn segment<'a>(params: &'a RawPathParams, name: &str) -> Result<&'a str, Problem> {
    let found = params.iter().find(|(own, _)| *own == name);
    found.map(|(_, value)| value).ok_or_else(|| Problem::internal(format!("a route without {{{name}}}")))
}

/// A name that breaks the rules cannot be a collection's, so there is none.
pub(crate) fn collection(text: &str) -> Result<CollectionName, Problem> {
    CollectionName::parse(text).map_err(|error| Problem::not_found(error.to_string()).collection(text))
}

/// Parses a key that is decoded already.
pub(crate) fn key(text: &str) -> Result<Key, Problem> {
    Key::parse(text).map_err(|error| {
        let start: String = text.chars().take(80).collect();
        Problem::new(Code::BadKey, error.to_string()).key(start)
    })
}

/// Answers `…/records/` with nothing behind it.
pub(crate) async fn empty_key() -> Problem {
    Problem::new(Code::BadKey, "the key is empty; for the list leave out the last slash").key("")
}
