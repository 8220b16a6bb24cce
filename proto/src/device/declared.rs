//! One device, as an installer or an operator declares it.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};

use serde::{Deserialize, Serialize};

use super::DeviceError;
use crate::json::{JsonError, Value};
use crate::names::NodeName;

/// A record of `_devices`, without its key.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// The name of its model.
    pub model: String,
    /// The node that it is connected to; absent: none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// For selecting.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How a mapper reaches it: an object that Tombolo carries and does not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<serde_json::Value>,
}

impl Device {
    /// Reads a record, or what was sent to become one.
    ///
    /// # Errors
    /// The member that is wrong, and what would be right.
    pub fn parse(text: &str) -> Result<Self, DeviceError> {
        let device: Self = serde_json::from_str(text).map_err(|error| DeviceError::new("device", error.to_string()))?;
        device.check()?;
        Ok(device)
    }

    /// The record's value.
    ///
    /// # Errors
    /// It is above the bounds of a record.
    pub fn to_value(&self) -> Result<Value, JsonError> {
        Value::parse(&serde_json::to_string(self).unwrap_or_default())
    }

    fn check(&self) -> Result<(), DeviceError> {
        if self.model.is_empty() {
            return Err(DeviceError::new("model", "the name of a model, please"));
        }
        if let Some(node) = &self.node {
            NodeName::parse(node).map_err(|error| DeviceError::new("node", error.to_string()))?;
        }
        if self.protocol.as_ref().is_some_and(|protocol| !protocol.is_object()) {
            return Err(DeviceError::new("protocol", format!("an object such as {}", r#"{"modbus":{"slave":1}}"#)));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_declared_comes_back() {
        let text = r#"{"model":"thermostat","node":"lyon","labels":{"room":"cellar"},"protocol":{"modbus":{"slave":1}}}"#;
        let device = Device::parse(text).unwrap();
        assert_eq!(Device::parse(&device.to_value().unwrap().to_text()).unwrap(), device);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, field) in [
            ("{}", "device"),
            (r#"{"model":""}"#, "model"),
            (r#"{"model":"m","node":"Lyon!"}"#, "node"),
            (r#"{"model":"m","protocol":7}"#, "protocol"),
            (r#"{"model":"m","colour":"red"}"#, "device"),
        ] {
            assert_eq!(Device::parse(text).unwrap_err().field, field, "{text}");
        }
    }
}
