//! `edgehub verify`: is what is here what the cloud has?

use api::cli::{CliError, Console, Format, OutputArgs};
use api::client::{Client, Request};
use clap::Args;
use http::Method;
use serde_json::{Value, json};

/// The flags of `edgehub verify`.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Answer for this collection alone
    #[arg(value_name = "C")]
    collection: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

impl VerifyArgs {
    /// Prints the answer; an error, so exit code 1, where it is not so or could not be found out.
    pub(super) async fn run(self, client: &Client, console: &mut Console<'_>) -> Result<(), CliError> {
        let wish = self.collection.map_or_else(|| json!({}), |name| json!({ "collection": name }));
        let body = client.send(Request::new(Method::POST, &["v1", "verify"]).json(wish.to_string())).await?.bytes().await?;
        let answer: Value =
            serde_json::from_slice(&body).map_err(|error| CliError::Failed(format!("{} answered no JSON: {error}", client.hub())))?;
        if self.output.format == Format::Json {
            console.raw(&body)?;
            if console.is_terminal() {
                console.raw(b"\n")?;
            }
        } else {
            repaired(&answer).iter().try_for_each(|line| console.line(line))?;
        }
        let detail = answer.get("detail").and_then(Value::as_str).unwrap_or_default();
        match answer.get("agreed").and_then(Value::as_bool) {
            Some(true) if self.output.format == Format::Json => console.flush(),
            Some(true) => {
                console.line(&format!(
                    "verified at revision {}, {} records read: {detail}",
                    number(&answer, "revision"),
                    number(&answer, "records")
                ))?;
                console.flush()
            }
            _ => Err(CliError::Failed(detail.to_owned())),
        }
    }
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or(0)
}

/// A line for each partition that was read again.
fn repaired(answer: &Value) -> Vec<String> {
    let parts = answer.get("repaired").and_then(Value::as_array).into_iter().flatten();
    let text = |part: &Value, name: &str| part.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    parts
        .map(|part| {
            let (collection, partition) = (text(part, "collection"), text(part, "partition"));
            let place = if partition.is_empty() { collection } else { format!("{collection} of {partition}") };
            format!("repaired: {place}, {} of 256 ranges of keys read again", number(part, "ranges"))
        })
        .collect()
}
