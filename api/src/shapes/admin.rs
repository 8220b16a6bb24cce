//! What the cloud's definitions and tokens carry; what joining carries is in [`transport::join`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Time;
use crate::hub::Role;

/// What applying a definition did, or with `dry_run` would do. Neither created nor changed: it was the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AppliedCollection {
    /// The collection.
    pub name: String,
    /// It is new.
    pub created: bool,
    /// It was another.
    pub changed: bool,
    /// How many nodes it selects.
    pub selects: u64,
    /// How many nodes there are.
    pub nodes: u64,
}

/// A wish for a join token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JoinTokenRequest {
    /// Only a node of this name may use it.
    pub node: Option<String>,
    /// It may replace a node that exists; needs `node`.
    pub replace: bool,
    /// The labels that the node gets.
    pub labels: BTreeMap<String, String>,
    /// How long it is good, seconds; 24 hours where left out.
    #[serde(deserialize_with = "whole")]
    pub ttl_seconds: Option<u64>,
    /// How often it can be used; once where left out.
    #[serde(deserialize_with = "whole")]
    pub uses: Option<u32>,
}

/// A join token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JoinToken {
    /// What to revoke it by.
    pub id: String,
    /// The only node that may use it.
    pub node: Option<String>,
    /// Whether it may replace a node that exists.
    pub replace: bool,
    /// The labels that the node gets.
    pub labels: BTreeMap<String, String>,
    /// How often it can be used in all.
    pub uses: u32,
    /// How often it was.
    pub used: u32,
    /// When it was made.
    pub created_at: Time,
    /// When it ends.
    pub expires_at: Time,
}

/// A join token that was just made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NewJoinToken {
    /// The token, shown this once.
    pub token: String,
    /// The line to paste on the node.
    pub join_command: String,
    /// The SHA-256 of the CA's certificate, which the token holds too, in hex.
    pub ca_sha256: String,
    /// What it is.
    #[serde(flatten)]
    pub about: JoinToken,
}

/// A wish for an access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessTokenRequest {
    /// Whom it is for.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// Only in these collections; none: in all.
    #[serde(default)]
    pub collections: Vec<String>,
    /// How long it is good, seconds; for ever where left out.
    #[serde(default, deserialize_with = "whole")]
    pub ttl_seconds: Option<u64>,
}

/// An access token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AccessToken {
    /// What to revoke it by.
    pub id: String,
    /// Whom it is for.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// Only in these collections; none: in all.
    pub collections: Vec<String>,
    /// When it was made.
    pub created_at: Time,
    /// When it ends; null: never.
    pub expires_at: Option<Time>,
}

/// An access token that was just made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NewAccessToken {
    /// The token, shown this once.
    pub token: String,
    /// What it is.
    #[serde(flatten)]
    pub about: AccessToken,
}

/// A whole number or null, however it is spelled: 60.0 is 60, as in records.
pub(super) fn whole<'de, T: TryFrom<u64>, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let Some(raw) = Option::<Box<serde_json::value::RawValue>>::deserialize(deserializer)? else { return Ok(None) };
    let number = proto::json::Raw::parse(raw.get()).ok().and_then(|raw| u64::try_from(raw.as_i64()?).ok());
    let number = number.and_then(|number| T::try_from(number).ok());
    number.map(Some).ok_or_else(|| serde::de::Error::custom(format!("{} is not a whole number in its range", raw.get())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_however_they_are_spelled() {
        let uses = |text: &str| serde_json::from_str::<JoinTokenRequest>(text).map(|request| request.uses);
        assert_eq!(uses(r#"{"uses":3.0}"#).unwrap(), Some(3));
        assert_eq!(uses(r#"{"uses":3e2}"#).unwrap(), Some(300));
        assert_eq!(uses(r#"{"uses":null}"#).unwrap(), None);
        assert_eq!(uses("{}").unwrap(), None);
        for bad in [r#"{"uses":3.5}"#, r#"{"uses":-1}"#, r#"{"uses":4294967296}"#, r#"{"uses":"3"}"#] {
            assert!(uses(bad).is_err(), "{bad}");
        }
    }
}
