//! Requests that were refused: nothing of them was stored, and the text says what to do.

use proto::build::BuildError;
use proto::definition::DefinitionError;
use proto::ids::Revision;
use proto::json::JsonError;
use proto::names::{CollectionName, NodeName};
use proto::resolve::ResolveError;

use crate::limits::PARTIAL_WRITES;

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refused {
    /// 404.
    #[error("there is no collection {0}; define it with: cloudhub collection apply -f FILE")]
    NoCollection(CollectionName),
    /// 404.
    #[error("there is no node {0}")]
    NoNode(NodeName),
    /// 404: a token or another thing named by an id.
    #[error("there is no {what} {id}")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// 403: what starts with `_` is the system's.
    #[error("collection {0} is the system's own: it is read-only")]
    System(CollectionName),
    /// As the same request would be refused at an edge.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// 412.
    #[error("{collection} {key}: {reason}")]
    Precondition {
        /// The collection.
        collection: CollectionName,
        /// The record.
        key: String,
        /// What holds instead.
        reason: String,
    },
    /// 422: the request under this key was another one.
    #[error("this Idempotency-Key was used for another request, which is write {write}; a new request takes a new key")]
    KeyReused {
        /// The write that answers that request.
        write: String,
    },
    /// By the collection's rules; the code is the outcome's.
    #[error("{detail}")]
    Rejected {
        /// `key_taken`, `guard`, `bound`, `schema`, …
        code: String,
        /// For people.
        detail: String,
        /// The field that it is about, where it is one.
        field: Option<String>,
    },
    /// A conflict that cannot be resolved so: 404, 409 `not_open` or 400.
    #[error(transparent)]
    Resolve(ResolveError),
    /// 413.
    #[error("{0}")]
    TooLarge(String),
    /// 400, with the member that is wrong.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// 409: the definition is fine, and cannot take the old one's place.
    #[error("{field}: {reason}")]
    CannotChange {
        /// The member.
        field: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// 400.
    #[error(transparent)]
    NoIndex(#[from] proto::list::NoIndex),
    /// 400: a line of an import.
    #[error("line {line}: {reason}")]
    BadLine {
        /// Its number.
        line: u64,
        /// What is wrong with it.
        reason: Box<Refused>,
    },
    /// 409.
    #[error(
        "{node} is taken (last seen {last_seen_ms} ms since 1970); to replace that machine run on the cloud: cloudhub token create --node {node} --replace"
    )]
    NameTaken {
        /// The name.
        node: NodeName,
        /// When that machine was last heard of, milliseconds since 1970; 0: never.
        last_seen_ms: u64,
    },
    /// 401.
    #[error(transparent)]
    Token(#[from] TokenRefused),
    /// 400.
    #[error("label {name:?}: {reason}")]
    Label {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// 400: a name is needed, or a different one.
    #[error("{0}")]
    BadRequest(String),
    /// 507: a bound of this hub.
    #[error("{0}")]
    Full(String),
    /// The session was replaced by a newer one.
    #[error("the session was replaced")]
    Replaced,
    /// The write waits until another node's is whole.
    #[error("{PARTIAL_WRITES} writes come in parts at once, as many as are kept; this one waits")]
    TooManyParts,
    /// The node's writes wait until somebody resolves conflicts.
    #[error("{node} has {open} open conflicts; its writes wait until some are resolved")]
    TooManyConflicts {
        /// The node.
        node: NodeName,
        /// How many.
        open: u64,
    },
    /// 500: SQLite refused this one alone.
    #[error("it cannot be stored: {0}")]
    Unstorable(String),
}

/// Why a join token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// Never made here, or revoked.
    #[error("the join token is not known here: it was revoked, or made by another hub")]
    Unknown,
    /// Too late.
    #[error("the join token has expired; make a new one on the cloud with: cloudhub token create")]
    Expired,
    /// As often as it may be.
    #[error("the join token is used up; make a new one on the cloud with: cloudhub token create")]
    UsedUp,
    /// Bound to a node.
    #[error("the join token is for another node name")]
    OtherNode,
}

impl Refused {
    /// The stable code of the public interface.
    pub fn code(&self) -> &str {
        match self {
            Self::NoCollection(_) | Self::NoNode(_) | Self::NotFound { .. } => "not_found",
            Self::System(_) => "read_only",
            Self::Build(error) => build_code(error),
            Self::Precondition { .. } => "precondition",
            Self::Resolve(ResolveError::Unknown(_)) => "not_found",
            Self::Resolve(ResolveError::NotOpen(_)) => "not_open",
            Self::Resolve(ResolveError::Unreadable { .. }) => "internal",
            Self::Resolve(_) => "bad_request",
            Self::KeyReused { .. } => "idempotency_reuse",
            Self::Rejected { code, .. } => code,
            Self::TooLarge(_) => "too_large",
            Self::Definition(_) | Self::Label { .. } | Self::BadRequest(_) => "bad_request",
            Self::NoIndex(_) => "no_index",
            Self::CannotChange { .. } => "cannot_change",
            Self::BadLine { .. } => "bad_line",
            Self::NameTaken { .. } => "name_taken",
            Self::Token(_) => "unauthorized",
            Self::Full(_) => "full",
            Self::Replaced => "replaced",
            Self::TooManyConflicts { .. } => "conflicts",
            Self::TooManyParts => "parts",
            Self::Unstorable(_) => "internal",
        }
    }

    /// The HTTP status that goes with it.
    pub fn status(&self) -> u16 {
        match self.code() {
            "bad_request" | "bad_line" | "bad_key" => 400,
            "unauthorized" => 401,
            "read_only" | "not_entitled" => 403,
            "not_found" => 404,
            "precondition" => 412,
            "too_large" => 413,
            "schema" | "idempotency_reuse" | "not_object" | "counter_not_integer" | "key_mismatch" => 422,
            "count_needs_match" => 428,
            "internal" => 500,
            "full" => 507,
            _ => 409,
        }
    }

    /// The field that is wrong, where it is one.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Definition(DefinitionError::Invalid { field, .. }) | Self::CannotChange { field, .. } => Some(field),
            Self::Build(BuildError::ReadOnly { field, .. }) => field.as_deref(),
            Self::Build(BuildError::Counter(field) | BuildError::NoCounter(field) | BuildError::CountNeedsMatch(field)) => Some(field),
            Self::KeyReused { .. } => Some("Idempotency-Key"),
            Self::BadLine { reason, .. } => reason.field(),
            Self::Rejected { field, .. } => field.as_deref(),
            _ => None,
        }
    }

    pub(super) fn precondition(collection: &CollectionName, key: &str, found: Option<Revision>) -> Self {
        let reason = match found {
            Some(revision) => format!("it exists, at revision {revision}; read it again"),
            None => "there is no such record".to_owned(),
        };
        Self::Precondition { collection: collection.clone(), key: key.to_owned(), reason }
    }

    pub(super) fn at_line(self, line: u64) -> Self {
        Self::BadLine { line, reason: Box::new(self) }
    }
}

fn build_code(error: &BuildError) -> &'static str {
    match error {
        BuildError::ReadOnly { .. } | BuildError::AppendOnly(_) => "read_only",
        BuildError::NotFound { .. } => "not_found",
        BuildError::KeyTaken { .. } => "key_taken",
        BuildError::Key(_) => "key_mismatch",
        BuildError::Counter(_) | BuildError::NoCounter(_) => "counter_not_integer",
        BuildError::CountNeedsMatch(_) => "count_needs_match",
        BuildError::Value(JsonError::TooLarge(_)) => "too_large",
        BuildError::Value(JsonError::NotObject) => "not_object",
        BuildError::Value(_) => "bad_request",
    }
}
