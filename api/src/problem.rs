//! What an application is told when a request is refused: `application/problem+json`, RFC 9457.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use serde::{Serialize, Serializer};

/// Makes the enum, its texts and its statuses from one table.
macro_rules! codes {
    ($($variant:ident $code:literal $status:literal $title:literal $doc:literal;)*) => {
        /// The stable codes of refusals. What they mean to a person is in the problem's `detail`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $doc] $variant,)*
        }

        impl Code {
            /// Every code, in the order of their statuses.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code as answers hold it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The HTTP status that it is answered with.
            pub fn status(self) -> StatusCode {
                let number = match self { $(Self::$variant => $status,)* };
                StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }

            /// What it means, as the API's description has it.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $doc,)* }
            }

            /// A short title, the same for every problem of this code.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

codes! {
    BadRequest "bad_request" 400 "Bad request" "The request cannot be understood.";
    BadKey "bad_key" 400 "Bad key" "A key breaks the rules for keys.";
    BadLine "bad_line" 400 "Bad line" "A line of an import cannot be taken; nothing has changed.";
    NoIndex "no_index" 400 "No index" "The list needs an index that the definition does not declare.";
    Unauthorized "unauthorized" 401 "Unauthorized" "No token, or not a valid one.";
    ReadOnly "read_only" 403 "Read-only" "The collection or field is written in the cloud only.";
    NotEntitled "not_entitled" 403 "Not entitled" "Outside of what this node or token may touch.";
    Origin "origin" 403 "Foreign origin" "A web page of another origin asks.";
    NotFound "not_found" 404 "Not found" "No such thing.";
    MethodNotAllowed "method_not_allowed" 405 "Method not allowed" "The path exists, but not with this method.";
    KeyTaken "key_taken" 409 "Key taken" "A record with this key exists.";
    Bound "bound" 409 "Bound passed" "A counter would pass its bound, and the definition says reject.";
    Guard "guard" 409 "Guarded" "A guarded value is not what the write needs it to be.";
    InProgress "in_progress" 409 "In progress" "The write has no outcome yet.";
    NotOpen "not_open" 409 "Not open" "The conflict is not open, or the write is not one that can be sent again.";
    InUse "in_use" 409 "In use" "Something that is there needs it.";
    NameTaken "name_taken" 409 "Name taken" "Another node has this name.";
    NodeOffline "node_offline" 409 "Node offline" "The node has no session, so it cannot be asked.";
    NodeTooOld "node_too_old" 409 "Node too old" "The node's software cannot do this.";
    Precondition "precondition" 412 "Precondition failed" "The record is not what the request says it must be.";
    TooLarge "too_large" 413 "Too large" "Over a bound; the detail names it.";
    MediaType "media_type" 415 "Unsupported media type" "A mutation needs a JSON content type.";
    Host "host" 421 "Misdirected request" "The Host header names another machine.";
    Schema "schema" 422 "Schema" "The value breaks the collection's schema.";
    NotObject "not_object" 422 "Not an object" "A record's value must be a JSON object.";
    CounterNotInteger "counter_not_integer" 422 "Counter not an integer" "A counter takes 64-bit integers.";
    KeyMismatch "key_mismatch" 422 "Key mismatch" "The key fields in the value are not the key in the path.";
    IdempotencyReuse "idempotency_reuse" 422 "Idempotency-Key reused" "The same Idempotency-Key with another request.";
    QueryLimit "query_limit" 422 "Query limit" "The query is over its limits.";
    CountNeedsMatch "count_needs_match" 428 "If-Match needed" "A PUT that changes a counter needs If-Match.";
    Rate "rate" 429 "Too many requests" "Ask again later.";
    Internal "internal" 500 "Internal error" "The hub failed; its log has the reason under the request id.";
    NotJoined "not_joined" 503 "Not joined" "The edge has not joined a cloud.";
    NotSynced "not_synced" 503 "Not synced" "The definitions have not arrived yet.";
    Unavailable "unavailable" 503 "Unavailable" "The hub is stopping, or its store reopens.";
    OutboxFull "outbox_full" 507 "Outbox full" "The outbox is at its bound.";
    DiskFull "disk_full" 507 "Disk full" "Too little free disk to accept writes.";
}

/// One refusal. Build it with [`Problem::new`] and say what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(Box<Parts>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    code: Code,
    detail: String,
    collection: Option<String>,
    key: Option<String>,
    field: Option<String>,
    line: Option<u64>,
    retry_after: Option<Duration>,
}

impl Problem {
    /// A refusal; `detail` tells a person what happened and what to do.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self(Box::new(Parts { code, detail, collection: None, key: None, field: None, line: None, retry_after: None }))
    }

    /// 400 `bad_request`.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, detail)
    }

    /// 404 `not_found`.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Code::NotFound, detail)
    }

    /// 404 for a record.
    pub fn no_record(collection: &str, key: &str) -> Self {
        Self::not_found(format!("collection {collection} has no record {key:?}")).collection(collection).key(key)
    }

    /// 404 for a collection.
    pub fn no_collection(collection: &str) -> Self {
        Self::not_found(format!("there is no collection {collection:?}; GET /v1/collections lists them")).collection(collection)
    }

    /// 500: `reason` goes to the log, under the request id, and never into the answer.
    pub fn internal(reason: impl fmt::Display) -> Self {
        tracing::error!("a request failed inside: {reason}");
        Self::new(Code::Internal, "the hub could not do this; its log has the reason under this request's Request-Id")
    }

    /// Names the collection that it is about.
    pub fn collection(mut self, name: impl Into<String>) -> Self {
        self.0.collection = Some(name.into());
        self
    }

    /// Names the key that it is about.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.0.key = Some(key.into());
        self
    }

    /// Names the field, header or parameter that it is about.
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// Names the line of the input, counted from 1.
    pub fn line(mut self, line: u64) -> Self {
        self.0.line = Some(line);
        self
    }

    /// Says when to come back, in a `Retry-After` header.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Says which op of a write it is about, counted from 0 as in `ops`.
    pub fn in_op(mut self, place: usize) -> Self {
        self.0.detail = format!("ops[{place}]: {}", self.0.detail);
        self.0.field = Some(match self.0.field {
            Some(field) => format!("ops[{place}].{field}"),
            None => format!("ops[{place}]"),
        });
        self
    }

    /// The same refusal as the reason why line `line` of an import cannot be taken: 400 `bad_line`.
    pub fn into_bad_line(mut self, line: u64) -> Self {
        if !matches!(self.0.code, Code::Internal | Code::Unavailable | Code::DiskFull | Code::BadLine) {
            self.0.detail = format!("line {line}: {}", self.0.detail);
            self.0.code = Code::BadLine;
            self.0.line = Some(line);
        }
        self
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The text for people.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// When to come back.
    pub fn retry_in(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The answer's body.
    pub fn body(&self) -> ProblemBody<'_> {
        let parts = &*self.0;
        ProblemBody {
            r#type: "about:blank",
            title: parts.code.title(),
            status: parts.code.status().as_u16(),
            detail: &parts.detail,
            code: parts.code,
            collection: parts.collection.as_deref(),
            key: parts.key.as_deref(),
            field: parts.field.as_deref(),
            line: parts.line,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.0.code.title(), self.0.code.as_str(), self.0.detail)
    }
}

impl std::error::Error for Problem {}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// `application/problem+json`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// Always `about:blank`: the code says what it is.
    pub r#type: &'a str,
    /// The code in words.
    pub title: &'a str,
    /// The HTTP status.
    pub status: u16,
    /// What happened and what to do, for people.
    pub detail: &'a str,
    /// The stable code, for programs.
    #[schema(value_type = String)]
    pub code: Code,
    /// The collection that it is about.
    pub collection: Option<&'a str>,
    /// The key that it is about.
    pub key: Option<&'a str>,
    /// The field, header or parameter that it is about.
    pub field: Option<&'a str>,
    /// The line of the input that it is about, counted from 1.
    pub line: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_status_and_its_own_text() {
        let mut texts: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|code| code.status().is_client_error() || code.status().is_server_error()));
        assert_eq!(Code::CountNeedsMatch.status(), 428);
        assert_eq!(Code::DiskFull.status(), 507);
    }

    #[test]
    fn a_bad_line_keeps_what_it_is_about() {
        let problem = Problem::new(Code::NotObject, "a value must be an object").into_bad_line(17);
        assert_eq!(problem.code(), Code::BadLine);
        assert_eq!(problem.body().line, Some(17));
        assert!(problem.detail().starts_with("line 17: "));
    }
}
