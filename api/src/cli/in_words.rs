//! How far a node is, and what somebody should know, as sentences.

use serde_json::Value;

use super::describe;
use super::traffic::traffic;

/// A status, or a node, whole: `sentence` first, the warnings last, each on a line of its own.
pub fn describe_with_warnings(sentence: &str, value: &Value) -> String {
    let mut rest = value.clone();
    let mut take = |path: &str, name: &str| rest.pointer_mut(path).and_then(|at| at.as_object_mut()?.remove(name));
    let warnings = take("", "warnings");
    let bytes = take("", "bytes").or_else(|| take("/link", "bytes"));
    let mut text = if sentence.is_empty() { String::new() } else { format!("{sentence}\n\n") };
    text += &describe(&rest, &[]);
    text += &bytes.as_ref().map(traffic).unwrap_or_default();
    let warnings: Vec<&str> = warnings.iter().filter_map(Value::as_array).flatten().filter_map(Value::as_str).collect();
    if warnings.is_empty() {
        return text + "\nno warnings\n";
    }
    text += "\nwarnings:\n";
    for warning in warnings {
        text += &format!("  {}\n", super::table::clean(warning));
    }
    text
}

/// `sync` of a node or of an edge's status, in words; `reason` as the API has it.
pub fn how_far(sync: &Value, reason: Option<&str>) -> String {
    let number = |name: &str| sync.get(name).and_then(Value::as_u64);
    let at = number("cursor").map_or_else(|| "no revision yet".to_owned(), |cursor| format!("revision {cursor}"));
    if sync.get("state").and_then(Value::as_str) == Some("in-sync") {
        return format!("in sync at {at}");
    }
    let why = reason.map_or_else(|| "no reason is known".to_owned(), because);
    match number("lag_records") {
        Some(0) => format!("nothing is known to be missing at {at}, but not in sync, because {why}"),
        Some(1) => format!("behind by 1 record at {at}, because {why}"),
        Some(lag) => format!("behind by {lag} records at {at}, because {why}"),
        None => format!("not in sync at {at}, because {why}"),
    }
}

fn because(reason: &str) -> String {
    match reason {
        "link-down" => "the link is down".into(),
        "catching-up" => "changes are on their way".into(),
        "snapshot" => "it is reading whole partitions".into(),
        "paused-disk-full" => "its disk is nearly full".into(),
        "paused-daily-limit" => "its daily volume is used up".into(),
        "refused-copied-database" => "it was refused: its database is a copy of one in use, or an old image".into(),
        "refused-version" => "it was refused: the two versions have no protocol in common".into(),
        "revoked" => "it was revoked".into(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn how_far_a_node_is() {
        let sync = |state: &str, lag: Value| json!({"state": state, "cursor": 40, "head": 43, "lag_records": lag});
        assert_eq!(how_far(&sync("in-sync", json!(0)), None), "in sync at revision 40");
        let behind = how_far(&sync("offline", json!(3)), Some("link-down"));
        assert_eq!(behind, "behind by 3 records at revision 40, because the link is down");
        let one = how_far(&sync("syncing", json!(1)), Some("catching-up"));
        assert_eq!(one, "behind by 1 record at revision 40, because changes are on their way");
        let known = how_far(&sync("offline", json!(0)), Some("refused-copied-database"));
        assert!(known.starts_with("nothing is known to be missing at revision 40, but not in sync, because it was refused"), "{known}");
        let edge = how_far(&sync("blocked", Value::Null), Some("2 records cannot be stored"));
        assert_eq!(edge, "not in sync at revision 40, because 2 records cannot be stored");
        assert_eq!(
            how_far(&json!({"state": "offline", "cursor": null}), None),
            "not in sync at no revision yet, because no reason is known"
        );
    }

    #[test]
    fn warnings_come_last() {
        let status = json!({"name": "lyon", "warnings": ["a, b", "c"]});
        assert_eq!(describe_with_warnings("so", &status), "so\n\nname  lyon\n\nwarnings:\n  a, b\n  c\n");
        assert_eq!(describe_with_warnings("", &json!({"name": "lyon", "warnings": []})), "name  lyon\n\nno warnings\n");
    }

    #[test]
    fn bytes_are_a_table_wherever_they_stand() {
        let mut spent = proto::traffic::Traffic::default();
        spent.sent.add(proto::traffic::Cause::Writes, 7);
        spent.received.add(proto::traffic::Cause::Records, 11);
        let bytes = crate::shapes::LinkBytes::new(crate::shapes::Time(0), spent, Some(20_783), spent, Some(100));
        let status = json!({"link": {"state": "online", "bytes": bytes}, "warnings": []});
        let text = describe_with_warnings("", &status);
        let words: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let wanted = [
            "link.state online",
            "",
            "bytes on the link since 1970-01-01T00:00:00.000Z; today is 2026-11-26: 18 of 100 bytes",
            "BYTES HEARTBEAT SESSION RECORDS WRITES VERIFICATION REQUESTS OVERHEAD TOTAL",
            "sent 0 0 0 7 0 0 0 7",
            "received 0 0 11 0 0 0 0 11",
            "sent today 0 0 0 7 0 0 0 7",
            "received today 0 0 11 0 0 0 0 11",
            "",
            "no warnings",
        ];
        assert_eq!(words, wanted, "{text}");
        assert!(describe_with_warnings("", &json!({"bytes": status["link"]["bytes"]})).contains("received today"), "a node's");
    }
}
