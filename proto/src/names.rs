//! Names that are valid because they exist: nodes, collections, keys.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;

use crate::limits::{COLLECTION_NAME_BYTES, KEY_BYTES, NODE_NAME_BYTES};

/// Why a name was refused; the text says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not `[a-z][a-z0-9_-]{0,62}` (system collections: the same after a leading `_`).
    #[error("collection name {0:?} is not valid: a small letter, then up to 62 small letters, digits, '_' or '-'")]
    Collection(String),
    /// Empty, too long, control characters, `.` or `..`.
    #[error("key is not valid: {0}")]
    Key(&'static str),
    /// Not a DNS label in small letters.
    #[error("node name {0:?} is not valid: 1 to 63 small letters, digits or '-', not '-' at either end, and not \"cloud\"")]
    Node(String),
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl core::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// A collection's name. Names that start with `_` are the system's.
    CollectionName
);
name!(
    /// A record's key: 1 to 512 bytes of UTF-8 without control characters, not `.` or `..`.
    Key
);
name!(
    /// A node's name, as its certificate has it.
    NodeName
);

impl CollectionName {
    /// The collection of conflict rows.
    pub fn conflicts() -> Self {
        Self("_conflicts".to_owned())
    }

    /// The collection of devices' twins.
    pub fn twins() -> Self {
        Self(crate::device::TWINS.to_owned())
    }

    /// Parses a name; system names are accepted too, see [`CollectionName::is_system`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let plain = text.strip_prefix('_').unwrap_or(text);
        let mut bytes = plain.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
        let rest = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
        if first && rest && text.len() <= COLLECTION_NAME_BYTES {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Collection(text.chars().take(80).collect()))
        }
    }

    /// Whether the name starts with `_`: defined by the system, never by an operator.
    pub fn is_system(&self) -> bool {
        self.0.starts_with('_')
    }
}

impl Key {
    /// Parses a key that has already been percent-decoded.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match text {
            "" => Err(NameError::Key("it is empty")),
            "." | ".." => Err(NameError::Key("'.' and '..' mean something else in a path")),
            _ if text.len() > KEY_BYTES => Err(NameError::Key("it is longer than 512 bytes")),
            _ if text.chars().any(char::is_control) => Err(NameError::Key("it holds a control character")),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl NodeName {
    /// Parses a node name. `cloud` is refused because write ids of the cloud start with it.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let label = !text.is_empty()
            && text.len() <= NODE_NAME_BYTES
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if label && text != "cloud" { Ok(Self(text.to_owned())) } else { Err(NameError::Node(text.chars().take(80).collect())) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn collections() {
        for good in ["a", "products", "order_details", "_conflicts", "a-1"] {
            assert_eq!(CollectionName::parse(good).unwrap().as_str(), good);
        }
        for (name, system) in [("products", false), ("a_", false), ("_conflicts", true), ("_devices", true)] {
            assert_eq!(CollectionName::parse(name).unwrap().is_system(), system, "{name}");
        }
        assert!(CollectionName::parse(&"a".repeat(63)).is_ok());
        let long = "a".repeat(64);
        for bad in ["", "_", "1a", "A", "ä", "a b", "__a", long.as_str()] {
            assert!(CollectionName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys() {
        for good in ["1", "10248/11", "ü", "...", " "] {
            assert!(Key::parse(good).is_ok(), "{good}");
        }
        assert!(Key::parse(&"k".repeat(512)).is_ok() && Key::parse(&"ü".repeat(256)).is_ok());
        let long = "k".repeat(513);
        for bad in ["", ".", "..", "a\nb", "\u{7f}", "\u{85}", long.as_str()] {
            assert!(Key::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nodes() {
        assert!(NodeName::parse("lyon-2").is_ok() && NodeName::parse(&"n".repeat(63)).is_ok());
        let long = "n".repeat(64);
        for bad in ["", "-a", "a-", "Lyon", "a.b", "cloud", long.as_str()] {
            assert!(NodeName::parse(bad).is_err(), "{bad}");
        }
    }
}
