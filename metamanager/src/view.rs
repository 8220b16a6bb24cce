//! A record as readers see it.

use proto::ids::Revision;
use proto::names::Key;

use crate::base::Base;

/// One record, its value as text, unparsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewRow {
    /// The key.
    pub key: Key,
    /// JSON text.
    pub value: String,
    /// The revision of its base; 0: the cloud does not hold it yet.
    pub revision: Revision,
    /// The revision that created it; 0: the cloud does not hold it yet.
    pub born: Revision,
    /// When it was changed last, milliseconds since 1970.
    pub updated_ms: u64,
    /// The id of the write that changed it last; none: the newest of `pending`.
    pub writer: Option<String>,
    /// By whom, as that write said.
    pub actor: Option<String>,
    /// The writes that are laid over it, oldest first: the newest [`crate::limits::LAID_LISTED`].
    pub pending: Vec<u64>,
    /// The ids of its open conflicts.
    pub conflicts: Vec<String>,
}

/// What the overlay says of a record.
#[derive(Debug)]
pub(crate) struct LaidRow {
    pub(crate) value: Option<String>,
    pub(crate) at_ms: u64,
    pub(crate) actor: Option<String>,
    pub(crate) laid: Vec<u64>,
}

/// The view of a record from its two rows; base's value does not matter where ops are laid over it.
pub(crate) fn merge(key: &Key, laid: Option<LaidRow>, base: Option<Base>, conflicts: Vec<String>) -> Option<ViewRow> {
    let (revision, born) = base.as_ref().map_or_else(Default::default, |base| (base.revision, base.born));
    let key = key.clone();
    match (laid, base) {
        (Some(laid), _) => Some(ViewRow {
            key,
            value: laid.value?,
            revision,
            born,
            updated_ms: laid.at_ms,
            writer: None,
            actor: laid.actor,
            pending: laid.laid,
            conflicts,
        }),
        (None, Some(base)) => Some(ViewRow {
            key,
            value: base.value,
            revision,
            born,
            updated_ms: base.updated_ms,
            writer: Some(base.writer),
            actor: base.actor,
            pending: Vec::new(),
            conflicts,
        }),
        (None, None) => None,
    }
}
