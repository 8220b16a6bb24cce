//! Numbers by their decimal value, as JSON spells them.

use alloc::string::ToString;
use core::cmp::Ordering;

use serde_json::Number;

fn whole(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

/// Digits and the power of ten that they stand at.
fn decimal(number: &Number) -> Option<(i128, i32)> {
    let text = number.to_string();
    let (digits, power) = match text.split_once(['e', 'E']) {
        Some((digits, power)) => (digits, power.parse::<i32>().ok()?),
        None => (text.as_str(), 0),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let mut joined = whole.to_string();
    joined.push_str(part);
    Some((joined.parse().ok()?, power.checked_sub(i32::try_from(part.len()).ok()?)?))
}

/// Both at the same power of ten, where they fit.
fn aligned(one: &Number, other: &Number) -> Option<(i128, i128)> {
    let ((a, at), (b, bt)) = (decimal(one)?, decimal(other)?);
    let to = at.min(bt);
    let scale = |digits: i128, from: i32| digits.checked_mul(10i128.checked_pow(u32::try_from(from.checked_sub(to)?).ok()?)?);
    Some((scale(a, at)?, scale(b, bt)?))
}

pub(super) fn compare(one: &Number, other: &Number) -> Ordering {
    if let (Some(one), Some(other)) = (whole(one), whole(other)) {
        return one.cmp(&other);
    }
    if let Some((one, other)) = aligned(one, other) {
        return one.cmp(&other);
    }
    let float = |number: &Number| number.as_f64().unwrap_or_default();
    float(one).partial_cmp(&float(other)).unwrap_or(Ordering::Equal)
}

/// 3.0 is an integer.
pub(super) fn is_integer(number: &Number) -> bool {
    whole(number).is_some() || number.as_f64().is_some_and(integral)
}

/// The whole number that it is, where no other spelling of it can be any other.
pub(super) fn integer(number: &Number) -> Option<i128> {
    let exact = |float: &f64| integral(*float) && float.abs() < 1e30;
    whole(number).or_else(|| number.as_f64().filter(exact).map(|float| float as i128))
}

fn integral(float: f64) -> bool {
    // From 2^53 on every float is whole.
    float.abs() >= 9_007_199_254_740_992.0 || (float as i64) as f64 == float
}

pub(super) fn is_multiple(number: &Number, of: &Number) -> bool {
    match aligned(number, of) {
        Some((number, of)) => of != 0 && number % of == 0,
        None => integral(number.as_f64().unwrap_or_default() / of.as_f64().unwrap_or(1.0)),
    }
}
