//! Lists of write numbers as few bytes: 7 bits a byte, lowest first, the high bit says that more follow.

use crate::error::{Done, Fault};

pub(crate) fn pack(numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for mut rest in numbers {
        while rest >= 0x80 {
            bytes.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
    }
    bytes
}

pub(crate) fn unpack(bytes: &[u8]) -> Done<Vec<u64>> {
    let mut numbers = Vec::new();
    let (mut number, mut shift) = (0u64, 0u32);
    for byte in bytes {
        let part = u64::from(byte & 0x7f);
        if shift > 63 || (part << shift) >> shift != part {
            return Err(Fault::damaged("a list of write numbers", "a number is above 64 bits"));
        }
        number |= part << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            numbers.push(number);
            (number, shift) = (0, 0);
        }
    }
    if shift > 0 {
        return Err(Fault::damaged("a list of write numbers", "it ends inside a number"));
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
