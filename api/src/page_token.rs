//! Places in lists, opaque to applications and safe in a query string.

use std::fmt::Write as _;

use proto::names::Key;

use crate::hub::PageToken;
use crate::problem::Problem;

impl PageToken {
    /// After a key.
    pub fn of_key(key: &Key) -> Self {
        Self::of_text(key.as_str())
    }

    /// After a name or an id.
    pub fn of_text(text: &str) -> Self {
        let mut token = String::with_capacity(1 + 2 * text.len());
        token.push('t');
        for byte in text.bytes() {
            // Writing into a String cannot fail.
            let _ = write!(token, "{byte:02x}");
        }
        Self(token)
    }

    /// After a number.
    pub fn of_number(number: u64) -> Self {
        Self(format!("n{number}"))
    }

    /// The token as answers hold it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key again. Errors: `bad_request` for a token that this API did not make.
    pub fn to_key(&self) -> Result<Key, Problem> {
        Key::parse(&self.to_text()?).map_err(|_| foreign())
    }

    /// The name or id again. Errors: as [`PageToken::to_key`].
    pub fn to_text(&self) -> Result<String, Problem> {
        let hex = self.0.strip_prefix('t').filter(|hex| hex.is_ascii() && hex.len() % 2 == 0).ok_or_else(foreign)?;
        let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16));
        let bytes: Result<Vec<_>, _> = bytes.collect();
        bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(foreign)
    }

    /// The number again. Errors: as [`PageToken::to_key`].
    pub fn to_number(&self) -> Result<u64, Problem> {
        self.0.strip_prefix('n').and_then(|number| number.parse().ok()).ok_or_else(foreign)
    }
}

fn foreign() -> Problem {
    Problem::bad_request("after takes the next of the page before, from this same list").field("after")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip_and_others_are_refused() {
        let key = Key::parse("10248/11 ü&=").unwrap();
        let token = PageToken::of_key(&key);
        assert!(token.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_eq!(token.to_key().unwrap(), key);
        assert_eq!(PageToken::of_number(42).to_number().unwrap(), 42);
        for bad in ["", "t", "t0", "tzz", "tff", "n1", "t+1", "tü"] {
            assert!(PageToken(bad.into()).to_key().is_err(), "{bad}");
        }
        assert!(PageToken("nx".into()).to_number().is_err());
    }
}
