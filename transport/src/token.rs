//! Join tokens: what an operator pastes on a new machine so that it can prove it was invited, and can tell the
//! right hub from any other before it trusts it.
//!
//! The text is `tbl1_` and 80 letters of base64url: 32 bytes SHA-256 of the hub's CA, 16 bytes of secret, 8 bytes
//! of expiry (seconds since 1970, big-endian), 4 bytes of SHA-256 over all before. No letter can be lost or
//! changed unseen; white space inside is ignored, because terminals break lines.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};

const PREFIX: &str = "tbl1_";
const BODY: usize = 32 + 16 + 8;
const CHECK: usize = 4;
const LETTERS: usize = (BODY + CHECK) * 4 / 3;

/// A join token. `Display` is its text, secret included; `Debug` leaves the secret out, for logs.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    ca_sha256: [u8; 32],
    secret: Secret,
    expires: u64,
}

/// The secret of a token, 128 random bits.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 16]);

/// What is stored of a secret: its SHA-256. The secret is random and long, so a plain hash cannot be turned
/// around; compare it in constant time all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretHash(pub [u8; 32]);

/// Why a text is no usable token, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not begin as tokens do.
    #[error("this is not a join token: one starts with {PREFIX}; make one on the cloud with: cloudhub token create")]
    NotAToken,
    /// Letters are missing, or there are too many.
    #[error("the join token is not whole: it has {found} letters after {PREFIX} instead of {LETTERS}; copy all of it")]
    Length {
        /// How many letters came.
        found: usize,
    },
    /// A letter changed on the way.
    #[error("the join token is damaged: its check sum does not fit; copy it again")]
    Garbled,
    /// Its time is over.
    #[error("the join token has expired; make a new one on the cloud with: cloudhub token create")]
    Expired,
    /// The secret of a request is not one.
    #[error("the token's secret is not 22 letters of base64url")]
    BadSecret,
}

impl JoinToken {
    /// A new token for the CA with this hash, good for `ttl` from `now`, and the hash to store.
    pub fn generate(ca_sha256: [u8; 32], now: SystemTime, ttl: Duration) -> (Self, SecretHash) {
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).expect("the operating system has random numbers");
        let expires = seconds(now).saturating_add(ttl.as_secs());
        let token = Self { ca_sha256, secret: Secret(secret), expires };
        let hash = token.secret.hash();
        (token, hash)
    }

    /// SHA-256 of the only CA that may answer to this token.
    pub fn ca_sha256(&self) -> [u8; 32] {
        self.ca_sha256
    }

    /// The secret, to be shown to that hub alone.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// When the token ends.
    pub fn expires(&self) -> SystemTime {
        UNIX_EPOCH.checked_add(Duration::from_secs(self.expires)).unwrap_or(UNIX_EPOCH)
    }

    /// Refuses a token whose time is over. A machine whose clock is behind learns it from the hub instead.
    ///
    /// # Errors
    /// [`TokenError::Expired`].
    pub fn check_expiry(&self, now: SystemTime) -> Result<(), TokenError> {
        if seconds(now) < self.expires { Ok(()) } else { Err(TokenError::Expired) }
    }
}

impl Secret {
    /// What the store keeps and looks up.
    pub fn hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(self.0).into())
    }

    /// As a join request carries it.
    pub fn to_text(&self) -> String {
        BASE64URL_NOPAD.encode(&self.0)
    }

    /// The secret of a join request.
    ///
    /// # Errors
    /// [`TokenError::BadSecret`].
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok();
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(TokenError::BadSecret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ca = HEXLOWER.encode(&self.ca_sha256);
        f.debug_struct("JoinToken").field("ca_sha256", &ca).field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(BODY + CHECK);
        bytes.extend_from_slice(&self.ca_sha256);
        bytes.extend_from_slice(&self.secret.0);
        bytes.extend_from_slice(&self.expires.to_be_bytes());
        let check = check(&bytes);
        bytes.extend_from_slice(&check);
        write!(f, "{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        // Nothing longer can be a token; the rest is not looked at.
        let text: String = text.chars().filter(|c| !c.is_whitespace()).take(2 * LETTERS).collect();
        let letters = text.strip_prefix(PREFIX).ok_or(TokenError::NotAToken)?;
        if letters.len() != LETTERS {
            return Err(TokenError::Length { found: letters.chars().count() });
        }
        let bytes = BASE64URL_NOPAD.decode(letters.as_bytes()).map_err(|_| TokenError::Garbled)?;
        let (body, sum) = bytes.split_at_checked(BODY).ok_or(TokenError::Garbled)?;
        if sum != check(body) {
            return Err(TokenError::Garbled);
        }
        let part = |from: usize, to: usize| body.get(from..to).ok_or(TokenError::Garbled);
        Ok(Self {
            ca_sha256: part(0, 32)?.try_into().map_err(|_| TokenError::Garbled)?,
            secret: Secret(part(32, 48)?.try_into().map_err(|_| TokenError::Garbled)?),
            expires: u64::from_be_bytes(part(48, BODY)?.try_into().map_err(|_| TokenError::Garbled)?),
        })
    }
}

fn check(body: &[u8]) -> [u8; CHECK] {
    let mut sum = [0; CHECK];
    sum.copy_from_slice(&Sha256::digest(body)[..CHECK]);
    sum
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token() -> JoinToken {
        JoinToken::generate([7; 32], UNIX_EPOCH + Duration::from_secs(1_000), Duration::from_secs(60)).0
    }

    proptest! {
        #[test]
        fn texts_round_trip(ca in any::<[u8; 32]>(), secret in any::<[u8; 16]>(), expires in any::<u64>()) {
            let token = JoinToken { ca_sha256: ca, secret: Secret(secret), expires };
            prop_assert_eq!(token.to_string().parse::<JoinToken>(), Ok(token.clone()));
            prop_assert_eq!(Secret::parse(&token.secret.to_text()), Ok(token.secret));
        }

        #[test]
        fn a_changed_letter_is_noticed(at in 0..LETTERS, letter in "[A-Za-z0-9_=+/é-]") {
            let text = token().to_string();
            let at = PREFIX.len() + at;
            let changed = format!("{}{letter}{}", &text[..at], &text[at + 1..]);
            prop_assume!(changed != text);
            let parsed = changed.parse::<JoinToken>();
            prop_assert!(matches!(parsed, Err(TokenError::Garbled | TokenError::Length { .. })), "{:?}", parsed);
        }

        #[test]
        fn no_text_panics(text in ".*") {
            prop_assert!(text.parse::<JoinToken>().is_err());
        }
    }

    #[test]
    fn each_mistake_has_its_error() {
        let text = token().to_string();
        assert_eq!("hello".parse::<JoinToken>(), Err(TokenError::NotAToken));
        assert_eq!("".parse::<JoinToken>(), Err(TokenError::NotAToken));
        assert_eq!(text[..text.len() - 3].parse::<JoinToken>(), Err(TokenError::Length { found: LETTERS - 3 }));
        assert_eq!(format!("{text}x").parse::<JoinToken>(), Err(TokenError::Length { found: LETTERS + 1 }));
        let broken = format!(" {}\n  {}\r\n", &text[..40], &text[40..]);
        assert_eq!(broken.parse::<JoinToken>(), Ok(token_of(&text)));
    }

    fn token_of(text: &str) -> JoinToken {
        text.parse().unwrap()
    }

    #[test]
    fn a_token_ends() {
        let token = token();
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(token.check_expiry(at(1_059)), Ok(()));
        assert_eq!(token.check_expiry(at(1_060)), Err(TokenError::Expired));
        assert_eq!(token.expires(), at(1_060));
    }

    #[test]
    fn secrets_differ_and_stay_out_of_logs() {
        let (one, hash) = JoinToken::generate([7; 32], UNIX_EPOCH, Duration::MAX);
        assert_eq!(Secret::parse(&one.secret().to_text()).unwrap().hash(), hash);
        assert_ne!(one.secret(), token().secret());
        assert!(!format!("{one:?}").contains(&one.secret().to_text()));
    }
}
