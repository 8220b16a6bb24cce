//! `record …`: the records of a collection, from the command line of either hub.

use clap::{Args, Subcommand};
use http::{HeaderValue, Method};
use serde_json::Value;

use super::input::json_value;
use super::pairs::{comparison, delta, deltas_json};
use super::table::{Table, cell, cell_at};
use super::transfer::{Export, Import};
use super::watch::Watch;
use super::{CliError, Console, Format, List, OutputArgs, Page, describe};
use crate::client::{Answer, Client, Request};

/// What can be done with records.
#[derive(Debug, Subcommand)]
pub enum RecordVerb {
    /// Show one record
    Get(Get),
    /// List a collection's records
    List(Lists),
    /// Create or replace a record
    Put(Put),
    /// Change some fields of a record (JSON merge patch: null removes a field)
    Merge(Merge),
    /// Add to counters, e.g. UnitsInStock=-3
    Increment(Increment),
    /// Delete a record
    Delete(Delete),
    /// Send a file of newline-delimited JSON; the whole file is checked before anything changes
    Import(Import),
    /// Write all records as newline-delimited JSON
    Export(Export),
    /// Print what changes, as it comes, until this is ended; goes on by itself where the connection is lost
    Watch(Watch),
}

/// Names one record.
#[derive(Debug, Args)]
struct Name {
    /// The collection
    collection: String,
    /// The record's key
    key: String,
}

/// `record get`.
#[derive(Debug, Args)]
pub struct Get {
    #[command(flatten)]
    name: Name,
    /// Also who set which field of the value, and when
    #[arg(long)]
    fields: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// `record list`.
#[derive(Debug, Args)]
pub struct Lists {
    /// The collection
    collection: String,
    /// Only records whose field has this value; also FIELD[lt|lte|gt|gte|ne|in]=VALUE, or FIELD<VALUE and the like (repeatable;
    /// all must hold)
    #[arg(long = "where", value_name = "FIELD=VALUE", value_parser = comparison)]
    conditions: Vec<(String, String)>,
    /// Only records whose key starts with this
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Order by this field, for which an index is declared (a minus before it: downwards; repeatable)
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    sort: Vec<String>,
    #[command(flatten)]
    page: Page,
    #[command(flatten)]
    output: OutputArgs,
}

/// `record put`.
#[derive(Debug, Args)]
pub struct Put {
    #[command(flatten)]
    name: Name,
    /// The value: JSON, @FILE, or - for standard input
    #[arg(value_name = "JSON|@FILE|-")]
    value: String,
    /// Only when the record still has this ETag (from `record get -o json`'s header or the revision); needed to set a counter
    #[arg(long, value_name = "ETAG", value_parser = etag)]
    if_match: Option<HeaderValue>,
    #[command(flatten)]
    output: OutputArgs,
}

/// `record merge`.
#[derive(Debug, Args)]
pub struct Merge {
    #[command(flatten)]
    name: Name,
    /// The merge patch: JSON, @FILE, or - for standard input
    #[arg(value_name = "JSON|@FILE|-")]
    value: String,
    #[command(flatten)]
    output: OutputArgs,
}

/// `record increment`.
#[derive(Debug, Args)]
pub struct Increment {
    #[command(flatten)]
    name: Name,
    /// Counters and what to add to each
    #[arg(required = true, value_name = "FIELD=N", value_parser = delta)]
    by: Vec<(String, i64)>,
    #[command(flatten)]
    output: OutputArgs,
}

/// `record delete`.
#[derive(Debug, Args)]
pub struct Delete {
    #[command(flatten)]
    name: Name,
    /// Also when a counter is not zero, or in an append collection (admins)
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    output: OutputArgs,
}

const RECORDS: List = List {
    member: "records",
    columns: &[("KEY", "key"), ("REVISION", "revision"), ("SYNC", "sync.state"), ("UPDATED-AT", "updated_at"), ("VALUE", "value")],
    whole: Some("value"),
};

impl RecordVerb {
    /// Does it, against the hub that `client` knows.
    pub async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        match self {
            RecordVerb::Get(get) => get.run(client, console).await,
            RecordVerb::List(list) => list.run(client, console).await,
            RecordVerb::Put(put) => {
                let body = json_value(&put.value, console)?;
                let mut request = put.name.request(Method::PUT).json(body);
                if let Some(tag) = put.if_match {
                    request = request.header("if-match", tag);
                }
                mutated(client.send(request).await?, put.output, console).await
            }
            RecordVerb::Merge(merge) => {
                let body = json_value(&merge.value, console)?;
                let request = merge.name.request(Method::PATCH).json(body);
                mutated(client.send(request).await?, merge.output, console).await
            }
            RecordVerb::Increment(increment) => {
                let Name { collection, key } = &increment.name;
                let path = ["v1", "collections", collection, "records", key, "increment"];
                let request = Request::new(Method::POST, &path).json(deltas_json(&increment.by).to_string());
                mutated(client.send(request).await?, increment.output, console).await
            }
            RecordVerb::Delete(delete) => {
                let force = delete.force.then_some("true");
                let request = delete.name.request(Method::DELETE).query_opt("force", force);
                mutated(client.send(request).await?, delete.output, console).await
            }
            RecordVerb::Import(import) => import.run(client, console).await,
            RecordVerb::Export(export) => export.run(client, console).await,
            RecordVerb::Watch(watch) => watch.run(client, console).await,
        }
    }
}

impl Name {
    fn request(&self, method: Method) -> Request {
        Request::new(method, &["v1", "collections", &self.collection, "records", &self.key])
    }
}

impl Get {
    async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        let request = self.name.request(Method::GET).query_opt("fields", self.fields.then_some("true"));
        let answer = client.send(request).await?;
        if !self.fields || self.output.format == Format::Json {
            return console.show(answer, self.output, |record| describe(record, &["value"])).await;
        }
        let record: Value = answer.json().await?;
        let (text, known) = with_fields(record);
        console.raw(text.as_bytes())?;
        console.flush()?;
        if !known {
            console.note("where nothing stands, it is not known here: the cloud keeps the history of single fields");
        }
        Ok(())
    }
}

/// The record without its value, then a table of its fields; and whether of every field it is known when it was set.
fn with_fields(mut record: Value) -> (String, bool) {
    let mut take = |name: &str| record.as_object_mut().and_then(|members| members.remove(name)).unwrap_or_default();
    let (value, changes) = (take("value"), take("fields"));
    let mut table = Table::new(&["FIELD", "VALUE", "REVISION", "AT", "WRITER", "ACTOR"]);
    let mut known = true;
    for (name, value) in value.as_object().into_iter().flatten() {
        let change = changes.get(name).unwrap_or(&Value::Null);
        known &= change.get("at").is_some_and(|at| !at.is_null());
        let facts = ["revision", "at", "writer", "actor"].map(|fact| cell_at(change, fact));
        table.row([name.clone(), cell(value)].into_iter().chain(facts));
    }
    (format!("{}\n{}", describe(&record, &[]), table.render()), known)
}

impl Lists {
    async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        let mut request = Request::get(&["v1", "collections", &self.collection, "records"])
            .query_opt("prefix", self.prefix.as_deref())
            .query_opt("sort", Some(self.sort.join(",")).filter(|sort| !sort.is_empty()));
        for (field, value) in &self.conditions {
            request = request.query(&parameter(field), value);
        }
        RECORDS.run(client, paged(request, &self.page), self.output, console).await
    }
}

/// Adds `limit` and `after`.
pub(super) fn paged(request: Request, page: &Page) -> Request {
    request.query_opt("limit", page.limit.map(|limit| limit.to_string())).query_opt("after", page.after.as_deref())
}

/// A field as a query parameter; one that is named like a parameter of the list says that it is a field.
fn parameter(field: &str) -> String {
    let name = field.split('[').next().unwrap_or(field);
    let taken = matches!(name, "after" | "limit" | "prefix" | "key" | "sort" | "since" | "read" | "value");
    if taken || name.starts_with("value.") { format!("value.{field}") } else { field.to_owned() }
}

/// `42`, `"42"` or `*` as the value of `If-Match`.
fn etag(text: &str) -> Result<HeaderValue, String> {
    let quoted = text == "*" || (text.len() > 1 && text.starts_with('"') && text.ends_with('"'));
    let text = if quoted { text.to_owned() } else { format!("\"{text}\"") };
    HeaderValue::from_str(&text).map_err(|_| "an ETag is one line of text".to_owned())
}

/// Says what became of a change.
async fn mutated(answer: Answer, output: OutputArgs, console: &mut Console<'_>) -> Result<(), CliError> {
    if output.format == Format::Json {
        return console.pass(answer).await;
    }
    let record: Value = answer.json().await?;
    console.line(&sentence(&record))
}

fn sentence(record: &Value) -> String {
    let at = |path| super::table::clean(&cell_at(record, path));
    let deleted = if record.get("deleted").is_some() { "deleted, " } else { "" };
    let what = format!("{}/{}: {deleted}{}", at("collection"), at("key"), at("write.state"));
    let mut more = vec![format!("write {}", at("write.id"))];
    for (name, path) in [("revision", "write.revision"), ("code", "write.code"), ("conflicts", "write.conflicts")] {
        let value = at(path);
        if value != "-" {
            more.push(format!("{name} {value}"));
        }
    }
    format!("{what} ({})", more.join(", "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_named_like_parameters_say_so() {
        assert_eq!(parameter("City"), "City");
        assert_eq!(parameter("limit"), "value.limit");
        assert_eq!(parameter("key[ne]"), "value.key[ne]");
        assert_eq!(parameter("value.x"), "value.value.x");
    }

    #[test]
    fn etags_may_be_bare() {
        assert_eq!(etag("42").unwrap(), "\"42\"");
        assert_eq!(etag("\"42+lyon:1\"").unwrap(), "\"42+lyon:1\"");
        assert_eq!(etag("*").unwrap(), "*");
        assert!(etag("4\n2").is_err());
    }

    #[test]
    fn changes_in_words() {
        let put = json!({"collection": "products", "key": "11", "write": {"id": "lyon:7f3a9c:42", "state": "pending", "revision": null, "conflicts": []}});
        assert_eq!(sentence(&put), "products/11: pending (write lyon:7f3a9c:42)");
        let delete = json!({"collection": "p", "key": "1", "deleted": true, "write": {"id": "cloud:9", "state": "applied", "revision": 9}});
        assert_eq!(sentence(&delete), "p/1: deleted, applied (write cloud:9, revision 9)");
    }
}
