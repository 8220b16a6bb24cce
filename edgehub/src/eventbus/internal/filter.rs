//! Topics and the filters that they fit (MQTT 3.1.1, section 4.7).

use super::limits::NAME_BYTES;

/// Whether something can be published there.
pub(super) fn is_topic(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_BYTES && !text.contains(['+', '#', '\0'])
}

/// Whether somebody can subscribe to it.
pub(super) fn is_filter(text: &str) -> bool {
    let levels = text.split('/').count();
    let fits = |(n, level): (usize, &str)| match level {
        "#" => n + 1 == levels,
        "+" => true,
        level => !level.contains(['+', '#', '\0']),
    };
    !text.is_empty() && text.len() <= NAME_BYTES && text.split('/').enumerate().all(fits)
}

/// Whether a topic fits a filter. A filter that begins with a wildcard fits no topic that begins with `$`.
pub(super) fn fits(topic: &str, filter: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            // Also the level above: `a/#` fits `a`.
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits() {
        for (topic, filter) in [
            ("$hw/events/device/a/twin/update", "$hw/events/device/+/twin/update"),
            ("$hw/events/device/a/twin/update", "$hw/#"),
            ("a", "a/#"),
            ("a/b", "+/+"),
            ("/a", "+/a"),
            ("a/", "a/+"),
            ("ü/ß", "ü/+"),
            ("a/b/c", "#"),
        ] {
            assert!(fits(topic, filter), "{topic} {filter}");
        }
        for (topic, filter) in
            [("$hw/a", "#"), ("$hw/a", "+/a"), ("a", "a/+"), ("a/b", "a"), ("a", "a/b"), ("a/b", "a/c"), ("A", "a"), ("ab", "a")]
        {
            assert!(!fits(topic, filter), "{topic} {filter}");
        }
    }

    #[test]
    fn what_is_a_filter() {
        assert!(["#", "+", "a/+/b", "a/#", "/", "$hw/#", "ü"].into_iter().all(is_filter));
        assert!(!["", "a#", "a/#/b", "a+/b", "#/a", "a\0"].into_iter().any(is_filter));
        assert!(["a", "/", "$hw/ü", " "].into_iter().all(is_topic));
        assert!(!["", "a/+", "#", "a\0b"].into_iter().any(is_topic));
        assert!(!is_topic(&"a".repeat(NAME_BYTES + 1)) && !is_filter(&"a".repeat(NAME_BYTES + 1)));
    }
}
