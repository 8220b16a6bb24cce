//! One thing, shown whole: a line for each plain member, a small table for each list of objects.

use std::collections::BTreeSet;

use serde_json::Value;

use super::table::{Table, cell, clean, is_plain};

/// `value` as lines of `path  value`. Members named in `whole` stay on one line, as JSON; the paths are those of the
/// API's JSON, so that what is read here can be looked up there.
pub fn describe(value: &Value, whole: &[&str]) -> String {
    let mut facts = Facts { whole, lines: Vec::new(), lists: Vec::new() };
    facts.walk("", value);
    let width = facts.lines.iter().map(|(path, _)| path.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (path, value) in &facts.lines {
        let gap = width - path.chars().count() + 2;
        text += &format!("{}{}{}\n", clean(path), " ".repeat(gap), clean(value));
    }
    for (path, items) in facts.lists {
        text += &format!("\n{}:\n{}", clean(&path), rows(items));
    }
    text
}

struct Facts<'a> {
    whole: &'a [&'a str],
    lines: Vec<(String, String)>,
    lists: Vec<(String, &'a [Value])>,
}

impl<'a> Facts<'a> {
    fn walk(&mut self, path: &str, value: &'a Value) {
        match value {
            Value::Object(members) if self.whole.contains(&path) && !members.is_empty() => {
                self.lines.push((path.to_owned(), value.to_string()));
            }
            Value::Object(members) if !members.is_empty() => {
                for (name, member) in members {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    self.walk(&path, member);
                }
            }
            Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_object) => {
                self.lists.push((path.to_owned(), items));
            }
            _ => self.lines.push((path.to_owned(), cell(value))),
        }
    }
}

/// A list of objects; a column for every member that any of them has.
fn rows(items: &[Value]) -> String {
    let members = items.iter().filter_map(Value::as_object);
    let mut seen = BTreeSet::new();
    let names: Vec<&String> = members.flat_map(|item| item.keys()).filter(|name| seen.insert(*name)).collect();
    let headings: Vec<String> = names.iter().map(|name| name.to_uppercase().replace('_', "-")).collect();
    let mut table = Table::new(&headings);
    for item in items {
        table.row(names.iter().map(|name| {
            let value = item.get(name.as_str()).unwrap_or(&Value::Null);
            if is_plain(value) { cell(value) } else { value.to_string() }
        }));
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_members_then_lists() {
        let thing = json!({
            "id": "c1",
            "sync": {"state": "clean", "pending": []},
            "value": {"A": 1, "B": {"c": 2}},
            "fields": [{"name": "ProductName", "cloud": "Chai"}, {"name": "X", "edge": {"y": 1}}],
        });
        let expected = "\
id            c1
sync.pending  -
sync.state    clean
value         {\"A\":1,\"B\":{\"c\":2}}

fields:
CLOUD  NAME         EDGE
Chai   ProductName  -
-      X            {\"y\":1}
";
        assert_eq!(describe(&thing, &["value"]), expected);
    }
}
