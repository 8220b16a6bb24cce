//! Devices as records (design §6): what a model declares, which node has a device, and its twin, a record with one field a
//! property. Both sides judge with this code; MQTT and its payloads are devicetwin's.
//!
//! Three collections of the system hold them, with definitions that every hub makes at its start ([`definitions`]):
//!
//! | collection | key | value |
//! |---|---|---|
//! | `_device_models` | the model's name | [`Model`]: `{"description","properties":{NAME:{"type",…}}}` |
//! | `_devices` | the device's id | [`Device`]: `{"model","node","description","labels","protocol"}` |
//! | `_twins` | the same id | `{"node","state":F,"desired.NAME":F,"reported.NAME":F}`, see [`Twin`] |
//!
//! A device and its twin are cut by the node's name, so that they move from node to node by one write that sets `node` in both.

mod declared;
mod model;
mod twin;

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use core::fmt;

pub use declared::Device;
pub use model::{Access, DataType, Model, Property, Unfit};
pub use twin::{Half, Reading, Twin, TwinField};

use crate::definition::{Definition, Partition};
use crate::names::{CollectionName, Key};

/// The collection of models.
pub const MODELS: &str = "_device_models";
/// The collection of devices.
pub const DEVICES: &str = "_devices";
/// The collection of twins.
pub const TWINS: &str = "_twins";
/// The field of a twin that holds what the device says of itself.
pub const STATE: &str = "state";
/// All three.
pub const COLLECTIONS: [&str; 3] = [MODELS, DEVICES, TWINS];
/// The label that holds a node's own name. Every node has it, and no operator can set it: a label's name has no `=`.
pub const NODE_LABEL: &str = "=node";

/// Longest part of a device id, and longest name of a property, bytes.
pub const NAME_BYTES: usize = 128;
/// Properties of one model: a twin has two fields for each, and its node and state.
pub const PROPERTIES: usize = 400;
/// Largest value of a property, bytes of JSON: 400 of them, twice, stay below the largest record.
pub const PROPERTY_BYTES: usize = 1024;

/// What was wrong with a model, a device or a value, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct DeviceError {
    /// The member that is wrong, as a path: `properties.temp.minimum`.
    pub field: String,
    /// Why, and what would be right.
    pub reason: String,
}

impl DeviceError {
    pub(crate) fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

/// What a device is called: `name`, or `namespace/name`; each part is one level of an MQTT topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(String);

impl DeviceId {
    /// Parses an id that has already been percent-decoded.
    ///
    /// # Errors
    /// What may stand in an id.
    pub fn parse(text: &str) -> Result<Self, DeviceError> {
        let parts = text.split('/').count();
        if parts <= 2 && text.split('/').all(is_part) {
            return Ok(Self(text.to_owned()));
        }
        Err(DeviceError::new(
            "id",
            "a device is called NAME or NAMESPACE/NAME; a part has 1 to 128 bytes without '+', '#' and control characters",
        ))
    }

    /// The id as text, as topics and keys have it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key of the device's records.
    pub fn key(&self) -> Option<Key> {
        Key::parse(&self.0).ok()
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_part(part: &str) -> bool {
    !part.is_empty()
        && part.len() <= NAME_BYTES
        && !matches!(part, "." | "..")
        && !part.chars().any(|c| c.is_control() || matches!(c, '+' | '#'))
}

/// Whether a collection is one of the three.
pub fn holds(collection: &CollectionName) -> bool {
    COLLECTIONS.contains(&collection.as_str())
}

/// The three collections, as every hub defines them. `read-write`: an installer declares devices beside them, link up or down.
pub fn definitions() -> BTreeMap<CollectionName, Definition> {
    let by_node = || Some(Partition { field: "node".to_owned(), label: NODE_LABEL.to_owned() });
    let defined = |name| {
        let partition = if name == MODELS { None } else { by_node() };
        Some((CollectionName::parse(name).ok()?, Definition { partition, ..Definition::default() }))
    };
    COLLECTIONS.into_iter().filter_map(defined).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn ids_are_one_or_two_levels_of_a_topic() {
        for good in ["boiler", "default/boiler-1", "ü", "a b", "$x"] {
            let id = DeviceId::parse(good).unwrap();
            assert_eq!((id.key().unwrap().as_str(), id.as_str(), id.to_string().as_str()), (good, good, good));
        }
        let long = "d".repeat(NAME_BYTES);
        assert!(DeviceId::parse(&long).is_ok() && DeviceId::parse(&alloc::format!("{long}/{long}")).is_ok());
        let long = "d".repeat(NAME_BYTES + 1);
        for bad in ["", "/", "a/", "/a", "a/b/c", "a+", "#", "a\0", ".", "a/..", long.as_str()] {
            assert!(DeviceId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_collections_are_sound_and_cut_by_the_node() {
        let all = definitions();
        assert_eq!(all.len(), 3);
        let own = BTreeMap::from([(NODE_LABEL.to_owned(), "lyon".to_owned())]);
        for (name, definition) in &all {
            definition.check().unwrap();
            assert_eq!(Definition::parse(&definition.to_json()).unwrap(), *definition);
            assert!(name.is_system() && holds(name), "{name}");
            let wanted = if name.as_str() == MODELS { None } else { Some("lyon".to_owned()) };
            assert_eq!(definition.partitions(&own), [wanted]);
        }
        for other in ["products", "devices", "_nodes"] {
            assert!(CollectionName::parse(other).is_ok_and(|name| !holds(&name)), "{other}");
        }
    }
}
