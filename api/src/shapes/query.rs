//! A SELECT and its answer.

use serde::Deserialize;
use serde_json::Value;

/// A SELECT over the edge's records.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueryBody {
    /// One SELECT.
    pub(crate) sql: String,
    /// What stands in the places of its parameters: a list for `?`, an object for `:name`; each null, true, false, a number
    /// or a text.
    #[serde(default)]
    pub(crate) params: Option<Value>,
    /// Rows to answer, 1 to 100,000; 10,000 where left out.
    #[serde(default, deserialize_with = "super::admin::whole")]
    pub(crate) limit: Option<u64>,
    /// Seconds that it may run, 1 to 30; 5 where left out.
    #[serde(default, deserialize_with = "super::admin::whole")]
    pub(crate) timeout: Option<u64>,
}

/// The rows of a SELECT.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes what the edge writes around the rows' text")]
pub(crate) struct QueryResult {
    /// The names of the columns, in order.
    columns: Vec<String>,
    /// The rows: numbers and texts as SQL has them, null for NULL, and for a number that is infinite.
    rows: Vec<Vec<Value>>,
    /// There are more rows than were asked for, or than fit an answer of 4 MiB.
    truncated: bool,
}
