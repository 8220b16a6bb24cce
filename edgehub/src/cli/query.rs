//! `edgehub query`: a SELECT over what is here.

use api::cli::{CliError, Console, Format, OutputArgs, Table, cell};
use api::client::{Client, Request};
use clap::Args;
use http::Method;
use serde_json::{Value, json};

/// The flags of `edgehub query`.
#[derive(Debug, Args)]
pub(super) struct QueryArgs {
    /// One SELECT: each collection is a table with _key, _value, _revision, _pending and its indexed fields
    #[arg(value_name = "SELECT")]
    sql: String,
    /// The value of the next `?` (repeatable): a number, true, false or null where it spells one, else a text
    #[arg(long = "param", value_name = "VALUE", allow_hyphen_values = true)]
    params: Vec<String>,
    /// Show at most this many rows [default: 10000]
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Let it run this many seconds [default: 5]
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
    #[command(flatten)]
    output: OutputArgs,
}

impl QueryArgs {
    /// Prints the rows; that there are more is said beside them.
    pub(super) async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        let answer = client.send(Request::new(Method::POST, &["v1", "query"]).json(self.body().to_string())).await?;
        if self.output.format == Format::Json {
            return console.pass(answer).await;
        }
        let value: Value = answer.json().await?;
        console.raw(table(&value).as_bytes())?;
        console.flush()?;
        if value.get("truncated").and_then(Value::as_bool) == Some(true) {
            console.note("there are more rows; ask for fewer columns, or for the rows that you need");
        }
        Ok(())
    }

    fn body(&self) -> Value {
        let params: Vec<Value> = self.params.iter().map(|text| param(text)).collect();
        let mut body = json!({ "sql": self.sql, "params": params });
        for (name, value) in [("limit", self.limit), ("timeout", self.timeout)] {
            if let Some(value) = value {
                body[name] = value.into();
            }
        }
        body
    }
}

/// What a text spells.
fn param(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(Value::Array(_) | Value::Object(_) | Value::String(_)) | Err(_) => Value::String(text.to_owned()),
        Ok(plain) => plain,
    }
}

fn table(answer: &Value) -> String {
    let list = |name: &str| answer.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let columns: Vec<String> = list("columns").iter().map(cell).collect();
    let mut table = Table::new(&columns);
    for row in list("rows") {
        table.row(row.as_array().into_iter().flatten().map(cell));
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_what_they_spell() {
        assert_eq!(param("18"), json!(18));
        assert_eq!(param("-1.5"), json!(-1.5));
        assert_eq!(param("null"), Value::Null);
        for text in ["\"18\"", "[1]", "{}", "lyon", "", "1 2"] {
            assert_eq!(param(text), json!(text));
        }
    }

    #[test]
    fn an_answer_is_a_table() {
        let answer = json!({"columns": ["_key", "sum(n)"], "rows": [["11", 5], ["a\u{1b}b", null]], "truncated": false});
        assert_eq!(table(&answer), "_key      sum(n)\n11        5\na\\u{1b}b  -\n");
        assert_eq!(table(&json!({"columns": ["a"], "rows": []})), "a\n");
    }
}
