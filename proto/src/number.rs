//! JSON numbers compared by decimal value: `18`, `18.0` and `1.8e1` are equal, and no precision is lost.

use alloc::string::String;
use core::cmp::Ordering;

use crate::limits::NUMBER_EXPONENT;

/// A number as sign, digits without zeros at either end, and the power of ten of the last digit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// Reads a number that is already known to follow JSON's grammar; none when its exponent is out of bounds.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (text, 0),
        };
        // Not `abs`: the smallest exponent that can be read has none.
        if exponent.unsigned_abs() > NUMBER_EXPONENT.unsigned_abs() {
            return None;
        }
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits = String::with_capacity(whole.len() + fraction.len());
        digits.push_str(whole);
        digits.push_str(fraction);
        let significant = digits.trim_end_matches('0');
        let dropped = digits.len() - significant.len();
        let digits = String::from(significant.trim_start_matches('0'));
        if digits.is_empty() {
            return Some(Self { negative: false, digits, exponent: 0 });
        }
        let exponent = exponent - i64::try_from(fraction.len()).ok()? + i64::try_from(dropped).ok()?;
        Some(Self { negative, digits, exponent })
    }

    /// Whether one multiplication or division of two exact doubles makes the nearest double of it, so that every sound
    /// conversion, of whatever spelling, comes to the same one.
    pub fn is_plain(&self) -> bool {
        self.digits.len() <= 15 && self.exponent.abs() <= 22
    }

    /// The number as a whole 64-bit one, if it is one: `3.0` is 3.
    pub fn to_i64(&self) -> Option<i64> {
        // A fraction has a power below 0, and what is too large for the multiplication is too large for the answer.
        let power = 10i128.checked_pow(u32::try_from(self.exponent).ok()?)?;
        let digits = if self.digits.is_empty() { 0 } else { self.digits.parse::<i128>().ok()? };
        let value = digits.checked_mul(power)?;
        i64::try_from(if self.negative { -value } else { value }).ok()
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |number: &Self| match number.digits.is_empty() {
            true => 0,
            false => 1 - 2 * i8::from(number.negative),
        };
        // Digits begin with none but zero's empty ones, so the place of the first says which is larger; then they do.
        let first = |number: &Self| number.exponent.saturating_add(number.digits.len() as i64);
        let size = || first(self).cmp(&first(other)).then_with(|| self.digits.cmp(&other.digits));
        sign(self).cmp(&sign(other)).then_with(|| match self.negative {
            true => size().reverse(),
            false => size(),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use alloc::format;
    use proptest::prelude::*;

    #[test]
    fn equal_by_decimal_value() {
        for same in [["18", "18.0"], ["18", "1.8e1"], ["0", "-0.00"], ["0.1", "1E-1"], ["100", "1e+2"], ["120e3", "1.2e5"]] {
            assert_eq!(Decimal::parse(same[0]), Decimal::parse(same[1]), "{same:?}");
        }
        for other in [["18", "-18"], ["1", "10"], ["0.1", "0.01"], ["9007199254740993", "9007199254740992"]] {
            assert_ne!(Decimal::parse(other[0]), Decimal::parse(other[1]), "{other:?}");
        }
        assert_eq!(Decimal::parse("1e9999999999"), None);
        assert_eq!(Decimal::parse("1e99999999999999999999999"), None);
    }

    /// It has no absolute value: it passed for a small one, or stopped a build that looks for overflows.
    #[test]
    fn the_smallest_exponent_is_out_of_bounds() {
        for text in ["1e-9223372036854775808", "-1.5E-9223372036854775808", "1e9223372036854775807"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_exponent_of_a_million_is_the_last() {
        for (text, good) in [("1e1000000", true), ("1e1000001", false), ("-2.5E-1000000", true), ("2.5e-1000001", false)] {
            assert_eq!(Decimal::parse(text).is_some(), good, "{text}");
        }
    }

    /// Doubles hold fifteen digits, and ten to the 22nd, exactly: `sqlite` and Rust come to the same double of such a number.
    #[test]
    fn plain_numbers_have_few_digits_and_a_small_power() {
        for (text, plain) in [
            ("0", true),
            ("-123456789012345", true),
            ("1234567890123456", false),
            ("12345678901234500000", true),
            ("0.123456789012345", true),
            ("0.1234567890123456", false),
            ("1e22", true),
            ("1e23", false),
            ("1e-22", true),
            ("1e-23", false),
        ] {
            assert_eq!(Decimal::parse(text).unwrap().is_plain(), plain, "{text}");
        }
    }

    #[test]
    fn whole_numbers() {
        for (text, value) in [
            ("3.0", Some(3)),
            ("-7", Some(-7)),
            ("1e3", Some(1000)),
            ("3.5", None),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("1e18", Some(1_000_000_000_000_000_000)),
            ("9e18", Some(9_000_000_000_000_000_000)),
            ("1e19", None),
            ("-1e19", None),
            ("1e20", None),
            ("1e40", None),
            ("1e1000000", None),
            ("1e-1000000", None),
            ("-0.5", None),
            ("0e40", Some(0)),
            ("170141183460469231731687303715884105728", None),
            ("0", Some(0)),
        ] {
            assert_eq!(Decimal::parse(text).unwrap().to_i64(), value, "{text}");
        }
    }

    #[test]
    fn ordered_by_decimal_value() {
        let rising =
            ["-1e30", "-10", "-9.5", "-1e-9", "0", "1e-9", "0.1", "0.11", "9.99", "10", "9007199254740992.5", "9007199254740993", "1e30"];
        for (place, low) in rising.iter().enumerate() {
            for (other, high) in rising.iter().enumerate() {
                let (low, high) = (Decimal::parse(low).unwrap(), Decimal::parse(high).unwrap());
                assert_eq!((low.cmp(&high), low < high, low > high), (place.cmp(&other), place < other, place > other), "{low:?} {high:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn ordered_as_whole_numbers_are(a: i64, b: i64) {
            prop_assert_eq!(Decimal::parse(&format!("{a}")).cmp(&Decimal::parse(&format!("{b}.0"))), a.cmp(&b));
        }

        #[test]
        fn every_i64_survives(value: i64, zeros in 0usize..5) {
            let text = format!("{value}.{}", "0".repeat(zeros + 1));
            prop_assert_eq!(Decimal::parse(&text).unwrap().to_i64(), Some(value));
        }
    }
}
