//! Plain columns: no lines, no colours, nothing cut off, so that `grep` and `awk` can read them.

use comfy_table::presets::NOTHING;
use serde_json::Value;

/// A table with upper-case headings.
#[derive(Debug)]
pub struct Table(comfy_table::Table);

impl Table {
    /// An empty table.
    pub fn new<H: AsRef<str>>(headings: &[H]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING);
        table.set_header(headings.iter().map(|heading| clean(heading.as_ref())));
        Self(table)
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.add_row(cells.into_iter().map(|cell| clean(&cell)));
    }

    /// The text, each line ended.
    pub fn render(mut self) -> String {
        for column in self.0.column_iter_mut() {
            column.set_padding((0, 2));
        }
        self.0.trim_fmt() + "\n"
    }
}

/// A JSON value as one cell: text as it is, `-` for nothing, `a,b` for a list, `k=v,l=w` for an object of plain values.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) if items.iter().all(is_plain) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        Value::Object(members) if members.is_empty() => "-".to_owned(),
        Value::Object(members) if members.values().all(is_plain) => {
            members.iter().map(|(name, value)| format!("{name}={}", cell(value))).collect::<Vec<_>>().join(",")
        }
        Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// The value at a dotted path, as a cell.
pub(super) fn cell_at(value: &Value, path: &str) -> String {
    let found = path.split('.').try_fold(value, |value, name| value.get(name));
    cell(found.unwrap_or(&Value::Null))
}

pub(super) fn is_plain(value: &Value) -> bool {
    !value.is_array() && !value.is_object()
}

/// Without control characters: what others wrote must not command this terminal, nor break a row.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_needed_and_plain() {
        let mut table = Table::new(&["NAME", "LABELS", "BEHIND"]);
        table.row(["lyon".to_owned(), cell(&json!({"role": "shop", "site": "lyon"})), cell(&json!(0))]);
        table.row(["a".to_owned(), cell(&json!({})), cell(&json!(null))]);
        let expected = "\
NAME  LABELS               BEHIND
lyon  role=shop,site=lyon  0
a     -                    -
";
        assert_eq!(table.render(), expected);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(clean("a\u{1b}[31m\nb ü"), "a\\u{1b}[31m\\nb ü");
    }

    #[test]
    fn cells() {
        assert_eq!(cell(&json!(["a", 1])), "a,1");
        assert_eq!(cell(&json!([{"a": 1}])), "[{\"a\":1}]");
        assert_eq!(cell(&json!("")), "\"\"");
        assert_eq!(cell_at(&json!({"sync": {"state": "clean"}}), "sync.state"), "clean");
        assert_eq!(cell_at(&json!({"sync": 1}), "sync.state"), "-");
    }
}
