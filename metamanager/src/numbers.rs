//! Numbers as few bytes: 7 bits a byte, lowest first, the high bit says that more follow.

use crate::error::{Done, Fault};

pub(crate) fn pack(numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    numbers.into_iter().for_each(|number| push(&mut bytes, number));
    bytes
}

/// Appends one number.
pub(crate) fn push(bytes: &mut Vec<u8>, mut rest: u64) {
    while rest >= 0x80 {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

/// Takes the first number off.
pub(crate) fn take(bytes: &mut &[u8]) -> Done<u64> {
    let (mut number, mut shift) = (0u64, 0u32);
    loop {
        let (byte, rest) = bytes.split_first().ok_or_else(|| Fault::damaged("a list of numbers", "it ends inside a number"))?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if shift > 63 || (part << shift) >> shift != part {
            return Err(Fault::damaged("a list of numbers", "a number is above 64 bits"));
        }
        number |= part << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
}

pub(crate) fn unpack(mut bytes: &[u8]) -> Done<Vec<u64>> {
    let mut numbers = Vec::new();
    while !bytes.is_empty() {
        numbers.push(take(&mut bytes)?);
    }
    Ok(numbers)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(numbers in prop::collection::vec(any::<u64>(), 0..20)) {
            prop_assert_eq!(unpack(&pack(numbers.iter().copied())).unwrap(), numbers);
        }

        #[test]
        fn damage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = unpack(&bytes);
        }
    }
}
