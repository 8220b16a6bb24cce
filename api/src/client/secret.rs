//! A token that cannot be printed by accident.

use std::fmt;

use http::HeaderValue;

/// A secret of one line of visible ASCII. Its `Debug` shows nothing, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the secret from `text`, as it stands in a file: space around it does not count.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match text {
            "" => Err("is empty".into()),
            _ if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Self(text.to_owned())),
            _ => Err("is not a token: one word of visible ASCII".into()),
        }
    }

    /// The secret itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The value of an `Authorization` header.
    pub(super) fn bearer(&self) -> HeaderValue {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0)).expect("visible ASCII is a header value");
        value.set_sensitive(true);
        value
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl std::str::FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::new(text).map_err(|reason| format!("the token {reason}"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn is_one_word_and_never_shown() {
        let secret = Secret::new(" abc.def\n").unwrap();
        assert_eq!(secret.reveal(), "abc.def");
        assert!(!format!("{secret:?} {:?}", secret.bearer()).contains("abc"));
        for text in ["", " \n", "a b", "é", "a\nb"] {
            assert!(Secret::new(text).is_err(), "{text:?}");
        }
    }
}
