//! Lists: fetch one page, print its rows.

use serde_json::Value;

use super::table::{Table, cell_at};
use super::{CliError, Console, Format, OutputArgs};
use crate::client::{Client, Request};

/// How the rows of one kind of list are shown.
#[derive(Debug)]
pub struct List {
    /// The member of the answer that holds the rows.
    pub member: &'static str,
    /// Headings, each with the dotted path of its value in a row.
    pub columns: &'static [(&'static str, &'static str)],
    /// The path, if any, whose value is shown as JSON.
    pub whole: Option<&'static str>,
}

impl List {
    /// Asks for the list and prints it. Where it goes on, a note beside the table says how to see more.
    pub async fn run(&self, client: &Client, request: Request, output: OutputArgs, console: &mut Console<'_>) -> Result<(), CliError> {
        let answer = client.send(request).await?;
        if output.format == Format::Json {
            return console.pass(answer).await;
        }
        let value: Value = answer.json().await?;
        console.raw(self.table(&value).as_bytes())?;
        console.flush()?;
        if let Some(next) = value.get("next").and_then(Value::as_str) {
            console.note(&format!("there are more; go on with --after {next}"));
        }
        Ok(())
    }

    /// The rows of an answer as a table.
    pub fn table(&self, answer: &Value) -> String {
        let headings: Vec<&str> = self.columns.iter().map(|(heading, _)| *heading).collect();
        let mut table = Table::new(&headings);
        for row in answer.get(self.member).and_then(Value::as_array).into_iter().flatten() {
            table.row(self.columns.iter().map(|(_, path)| match row.get(path) {
                Some(value) if self.whole == Some(path) => value.to_string(),
                _ => cell_at(row, path),
            }));
        }
        table.render()
    }
}
