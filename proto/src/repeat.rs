//! What a request with an `Idempotency-Key` was answered, as few bytes: a repeat gets the same status and names the same
//! records, also when its write is no longer kept.

use alloc::vec::Vec;

use crate::names::Key;

/// What a request did to its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Did {
    /// It did not exist before.
    Created,
    /// It existed before; perhaps nothing about it changed.
    Changed,
    /// It is gone.
    Deleted,
    /// It was only looked at.
    Checked,
}

/// One op of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What it did.
    pub did: Did,
    /// The record's key, where the request did not name it.
    pub key: Option<Key>,
}

/// A key follows.
const KEYED: u8 = 0x80;

/// Writes down an answer, op by op: a byte for what it did, and where a key was made, its length and itself.
pub fn pack<'a>(told: impl IntoIterator<Item = (Did, Option<&'a Key>)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (did, key) in told {
        bytes.push(did as u8 | if key.is_some() { KEYED } else { 0 });
        if let Some(key) = key.map(|key| key.as_str().as_bytes()) {
            // A key has at most 512 bytes.
            bytes.extend_from_slice(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes());
            bytes.extend_from_slice(key);
        }
    }
    bytes
}

/// Reads it back; none: these bytes are no answer.
pub fn unpack(mut bytes: &[u8]) -> Option<Vec<Told>> {
    let mut all = Vec::new();
    while let Some((first, rest)) = bytes.split_first() {
        let did = match first & !KEYED {
            0 => Did::Created,
            1 => Did::Changed,
            2 => Did::Deleted,
            3 => Did::Checked,
            _ => return None,
        };
        bytes = rest;
        let mut key = None;
        if first & KEYED != 0 {
            let (length, rest) = bytes.split_first_chunk::<2>()?;
            let (text, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
            key = Some(Key::parse(core::str::from_utf8(text).ok()?).ok()?);
            bytes = rest;
        }
        all.push(Told { did, key });
    }
    Some(all)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_told_is_told_again() {
        let key = Key::parse("10248/11 ü").unwrap();
        let told = [(Did::Created, Some(&key)), (Did::Changed, None), (Did::Deleted, None), (Did::Checked, None)];
        let bytes = pack(told);
        assert_eq!(bytes.len(), 4 + 2 + key.as_str().len());
        let read: Vec<_> = unpack(&bytes).unwrap();
        assert_eq!(read.iter().map(|told| (told.did, told.key.as_ref())).collect::<Vec<_>>(), told);
        assert!(unpack(&bytes[..5]).is_none());
    }

    proptest! {
        #[test]
        fn damage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = unpack(&bytes);
        }
    }
}
