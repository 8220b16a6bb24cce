//! Logs of a running hub: lines on standard error, as text or JSON, where a message that repeats is counted, not
//! repeated.
//!
//! The rule for everybody who logs: no token, key or certificate ever goes into a message or field, and a message
//! that will repeat keeps what varies (a back-off, an attempt) out of it, or it cannot be counted.

mod fold;
mod layer;
mod line;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;

pub use layer::LogGuard;
pub use line::LogFormat;

/// How much a hub logs, and in which form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    /// Text for people, JSON for collectors.
    pub format: LogFormat,
    /// The least important lines that are written.
    pub level: LogLevel,
}

/// A level, or levels by module: `info`, `warn,edgehub=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevel(String);

impl Default for LogLevel {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // `Targets` takes a lone unknown word for the name of a module.
        let known = |part: &str| !part.is_empty() && (part.contains('=') || part.parse::<tracing::metadata::LevelFilter>().is_ok());
        if text.split(',').all(known) && text.parse::<Targets>().is_ok() {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("`{text}` is not a log level; write error, warn, info, debug or trace, or e.g. info,transport=debug"))
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for LogLevel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LogLevel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Starts logging to standard error for the whole process. Keep the guard until the end: it writes the last count.
/// Where logging has been started before, that one stays.
pub fn start(config: &LogConfig) -> LogGuard {
    let (layer, guard) = layer::stderr(config.format);
    let levels: Targets = config.level.0.parse().unwrap_or_default();
    let subscriber = tracing_subscriber::registry().with(levels).with(layer);
    let _ = tracing::subscriber::set_global_default(subscriber);
    guard
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        for text in ["error", "info", "debug", "warn,edgehub=debug", "info,transport=trace"] {
            assert!(text.parse::<LogLevel>().is_ok(), "{text}");
        }
        for text in ["", "inf", "info,loud", "edgehub=loud"] {
            assert!(text.parse::<LogLevel>().is_err(), "{text}");
        }
    }
}
