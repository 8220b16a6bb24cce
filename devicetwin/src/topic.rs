//! Topics: `{id}` is `name` or `namespace/name`.

use proto::device::DeviceId;

const DEVICE: &str = "$hw/events/device/";
const NODE: &str = "$hw/events/node/";
const MEMBERSHIP: &str = "/membership/get";

/// What edgehub listens to at a broker: each with one level for an id, and with two.
pub const SUBSCRIPTIONS: [&str; 7] = [
    "$hw/events/device/+/twin/update",
    "$hw/events/device/+/+/twin/update",
    "$hw/events/device/+/twin/get",
    "$hw/events/device/+/+/twin/get",
    "$hw/events/device/+/state/update",
    "$hw/events/device/+/+/state/update",
    "$hw/events/node/+/membership/get",
];

/// What a device, or something that speaks for it, wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// `twin/update`
    Update,
    /// `twin/get`
    Get,
    /// `state/update`
    State,
}

impl Ask {
    const ALL: [Self; 3] = [Self::Update, Self::Get, Self::State];

    /// The topic's end.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Update => "twin/update",
            Self::Get => "twin/get",
            Self::State => "state/update",
        }
    }
}

/// Whom a message is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked<'a> {
    /// A device. The id as the topic spells it: it may be none that a device can have.
    Device(&'a str, Ask),
    /// The devices of a node.
    Membership(&'a str),
}

/// Reads a topic; none: it is none of ours.
pub fn parse(topic: &str) -> Option<Asked<'_>> {
    if let Some(node) = topic.strip_prefix(NODE) {
        return node.strip_suffix(MEMBERSHIP).map(Asked::Membership);
    }
    let rest = topic.strip_prefix(DEVICE)?;
    Ask::ALL.into_iter().find_map(|ask| {
        let id = rest.strip_suffix(ask.as_str())?.strip_suffix('/')?;
        Some(Asked::Device(id, ask))
    })
}

/// Where an answer to a device goes.
pub fn result(id: &str, ask: Ask) -> String {
    format!("{DEVICE}{id}/{}/result", ask.as_str())
}

/// Where it is said what a device should still do.
pub fn delta(id: &DeviceId) -> String {
    format!("{DEVICE}{id}/twin/update/delta")
}

/// Where each change of a twin is told whole.
pub fn document(id: &DeviceId) -> String {
    format!("{DEVICE}{id}/twin/update/document")
}

/// Where it is told that a device was declared otherwise than before.
pub fn updated(id: &DeviceId) -> String {
    format!("{DEVICE}{id}/updated")
}

/// Topics about a node's devices: `get/result`, `updated`, `detail`.
pub fn membership(node: &str, what: &str) -> String {
    format!("{NODE}{node}/membership/{what}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_level_or_two() {
        for (topic, asked) in [
            ("$hw/events/device/boiler/twin/update", Asked::Device("boiler", Ask::Update)),
            ("$hw/events/device/default/boiler/twin/update", Asked::Device("default/boiler", Ask::Update)),
            ("$hw/events/device/twin/twin/get", Asked::Device("twin", Ask::Get)),
            ("$hw/events/device/a/twin/update/state/update", Asked::Device("a/twin/update", Ask::State)),
            ("$hw/events/device//twin/get", Asked::Device("", Ask::Get)),
            ("$hw/events/node/lyon/membership/get", Asked::Membership("lyon")),
        ] {
            assert_eq!(parse(topic), Some(asked), "{topic}");
        }
        for other in [
            "$hw/events/device/boiler/twin/update/result",
            "$hw/events/device/twin/update",
            "$hw/events/node/lyon/membership/get/result",
            "hw/events/device/boiler/twin/update",
            "",
        ] {
            assert!(!matches!(parse(other), Some(Asked::Device(id, _)) if DeviceId::parse(id).is_ok()), "{other}");
        }
    }

    #[test]
    fn an_answer_is_no_question() {
        let id = DeviceId::parse("default/boiler").unwrap();
        let answers = Ask::ALL.map(|ask| result(id.as_str(), ask));
        for topic in answers.into_iter().chain([delta(&id), document(&id), updated(&id), membership("lyon", "get/result")]) {
            assert_eq!(parse(&topic), None, "{topic}");
        }
    }
}
