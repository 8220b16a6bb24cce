//! What came of asking a node whether what it holds is what the cloud has.

use serde::{Deserialize, Serialize};

use super::Time;

/// Which collection to answer for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// Its name; all of them where left out.
    pub collection: Option<String>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Verified {
    /// Whether all that is here is what the cloud has, after repairs; null where nothing could be compared.
    pub agreed: Option<bool>,
    /// The revision that was compared at.
    pub revision: Option<u64>,
    /// How many records were read.
    pub records: Option<u64>,
    /// How many of them were not as they were stored.
    pub damaged: Option<u64>,
    /// What was read again from the cloud because of this.
    pub repaired: Vec<Repaired>,
    /// When digests last agreed, of everything that is here.
    pub verified_at: Option<Time>,
    /// For people.
    pub detail: String,
}

/// What was read again of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Repaired {
    /// The collection.
    pub collection: String,
    /// Its partition; null where it is not cut.
    pub partition: Option<String>,
    /// How many of the 256 ranges of its keys.
    pub ranges: u32,
}
