//! Bytes on the link as a table: a row a direction, a column a cause.

use proto::traffic::Cause;
use serde_json::Value;

use super::table::{Table, cell_at};

/// `bytes` of a node or of a status, the whole and the day's.
pub(super) fn traffic(bytes: &Value) -> String {
    let headings = ["BYTES"].into_iter().chain(Cause::ALL.map(Cause::as_str)).chain(["total"]);
    let headings: Vec<_> = headings.map(str::to_uppercase).collect();
    let mut table = Table::new(&headings);
    for (name, path) in [("sent", "sent"), ("received", "received"), ("sent today", "today.sent"), ("received today", "today.received")] {
        let figures = Cause::ALL.map(Cause::as_str).into_iter().chain(["total"]).map(|cause| cell_at(bytes, &format!("{path}.{cause}")));
        table.row([name.to_owned()].into_iter().chain(figures));
    }
    let number = |path: &str| bytes.pointer(path).and_then(Value::as_u64);
    let spent = number("/today/sent/total").unwrap_or(0).saturating_add(number("/today/received/total").unwrap_or(0));
    let limit = number("/today/limit").map(|limit| format!(": {spent} of {limit} bytes")).unwrap_or_default();
    format!("\nbytes on the link since {}; today is {}{limit}\n{}", cell_at(bytes, "since"), cell_at(bytes, "today.day"), table.render())
}
