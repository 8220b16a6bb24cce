//! One log line and its two written forms.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tracing::Level;
use tracing::field::{Field, Visit};

use crate::shapes::Time;

/// Text for people or JSON for collectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `TIME LEVEL module: message field=value`
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        })
    }
}

/// What an event or a span says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) at: Time,
    pub(super) level: Level,
    pub(super) target: &'static str,
    pub(super) message: String,
    /// In the order in which they were given; those of the spans around it come first.
    pub(super) fields: Vec<(&'static str, Value)>,
}

impl Line {
    /// Whether `other` says the same, at whatever time.
    pub(super) fn says_the_same(&self, other: &Line) -> bool {
        self.level == other.level && self.target == other.target && self.message == other.message && self.fields == other.fields
    }

    /// The line with its end.
    pub(super) fn write(&self, format: LogFormat, repeated: Option<u64>) -> String {
        match format {
            LogFormat::Text => self.text(repeated),
            LogFormat::Json => self.json(repeated),
        }
    }

    fn text(&self, repeated: Option<u64>) -> String {
        let mut text = format!("{} {:>5} {}: ", self.at, self.level, self.target);
        push_clean(&mut text, &self.message);
        for (name, value) in &self.fields {
            let _ = write!(text, " {name}=");
            match value {
                Value::String(value) if value.chars().all(|c| !c.is_whitespace() && c != '"') && !value.is_empty() => {
                    push_clean(&mut text, value)
                }
                other => text += &other.to_string(),
            }
        }
        if let Some(repeated) = repeated {
            let _ = write!(text, " ({})", times(repeated));
        }
        text.push('\n');
        text
    }

    fn json(&self, repeated: Option<u64>) -> String {
        let mut members = Map::new();
        members.insert("time".into(), self.at.to_string().into());
        members.insert("level".into(), self.level.as_str().to_lowercase().into());
        members.insert("target".into(), self.target.into());
        members.insert("message".into(), self.message.clone().into());
        if !self.fields.is_empty() {
            let fields = self.fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
            members.insert("fields".into(), Value::Object(fields.collect()));
        }
        if let Some(repeated) = repeated {
            members.insert("repeated".into(), repeated.into());
        }
        Value::Object(members).to_string() + "\n"
    }

    #[cfg(test)]
    pub(super) fn sample(message: &str) -> Self {
        Self { at: Time(0), level: Level::INFO, target: "t", message: message.to_owned(), fields: Vec::new() }
    }
}

fn times(repeated: u64) -> String {
    match repeated {
        1 => "once more".to_owned(),
        n => format!("{n} times more"),
    }
}

/// A line is one line, and what a peer sent cannot command the terminal that shows the log.
fn push_clean(text: &mut String, part: &str) {
    for c in part.chars() {
        if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
    }
}

/// Collects what an event or a span says.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub(super) message: String,
    pub(super) fields: Vec<(&'static str, Value)>,
}

impl Words {
    fn take(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => self.fields.push((name, value)),
        }
    }
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.take(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, value.into());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn line() -> Line {
        let fields = vec![("node", "lyon".into()), ("reason", "no\nway \u{1b}[31m".into()), ("n", 3.into())];
        Line { target: "edgehub::link", fields, ..Line::sample("link\rdown") }
    }

    #[test]
    fn text_is_one_clean_line() {
        let expected = "1970-01-01T00:00:00.000Z  INFO edgehub::link: link\\rdown node=lyon reason=\"no\\nway \\u001b[31m\" n=3\n";
        assert_eq!(line().write(LogFormat::Text, None), expected);
        assert!(line().write(LogFormat::Text, Some(4)).ends_with(" n=3 (4 times more)\n"));
    }

    #[test]
    fn json_is_one_object() {
        let text = line().write(LogFormat::Json, Some(2));
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!((&value["level"], &value["message"], &value["repeated"]), (&"info".into(), &"link\rdown".into(), &2.into()));
        assert_eq!(value["fields"]["n"], 3);
        assert_eq!(text.lines().count(), 1);
    }
}
