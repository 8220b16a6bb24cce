//! Access tokens, as both hubs make, keep and recognise them: shown once, kept as a hash. A token is random and long, so a
//! plain hash cannot be turned around, and a guess has nothing to be compared with.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use proto::names::CollectionName;
use sha2::{Digest, Sha256};

use crate::hub::{Caller, Role};
use crate::limits::{TOKEN_CACHE, TOKEN_CACHE_TIME, TOKEN_NAME_BYTES};
use crate::problem::{Code, Problem};
use crate::shapes::{AccessToken, AccessTokenRequest, NewAccessToken, Time};

/// The hash of a token, which is all that is kept of one.
pub type Hash = [u8; 32];

/// Hashes a token as it came in or was made.
pub fn hash(token: &str) -> Hash {
    Sha256::digest(token.as_bytes()).into()
}

/// So many random bytes, in hex.
pub fn random_hex<const N: usize>() -> String {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A token as a store keeps it, beside its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What to revoke it by.
    pub id: String,
    /// Whom it is for.
    pub name: String,
    /// [`Role::as_str`].
    pub role: String,
    /// In which collections; none: in all.
    pub collections: Option<Vec<CollectionName>>,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
    /// When it ends; none: never.
    pub expires_ms: Option<u64>,
}

impl Kept {
    /// Makes a token of a wish, and its secret. Errors: `bad_request`, naming the member.
    pub fn new(request: AccessTokenRequest, now_ms: u64) -> Result<(Self, String), Problem> {
        let name = request.name.trim().to_owned();
        if name.is_empty() || name.len() > TOKEN_NAME_BYTES || name.chars().any(char::is_control) {
            return Err(
                Problem::bad_request(format!("a token's name has 1 to {TOKEN_NAME_BYTES} bytes and no control characters")).field("name")
            );
        }
        let names = request.collections.iter().map(|name| CollectionName::parse(name));
        let names = names.collect::<Result<Vec<_>, _>>().map_err(|error| Problem::bad_request(error.to_string()).field("collections"))?;
        if request.ttl_seconds == Some(0) {
            return Err(Problem::bad_request("ttl_seconds is at least 1; leave it out for a token that does not end").field("ttl_seconds"));
        }
        let ends = |ttl: u64| now_ms.saturating_add(ttl.saturating_mul(1_000)).min(i64::MAX.unsigned_abs());
        let kept = Self {
            id: random_hex::<6>(),
            name,
            role: request.role.as_str().to_owned(),
            collections: Some(names).filter(|names| !names.is_empty()),
            created_ms: now_ms,
            expires_ms: request.ttl_seconds.map(ends),
        };
        Ok((kept, format!("tba_{}", random_hex::<32>())))
    }

    fn role(&self) -> Result<Role, Problem> {
        Role::read(&self.role).ok_or_else(|| Problem::internal(format!("access token {} has the role {:?}", self.id, self.role)))
    }

    /// As lists show it.
    pub fn shown(&self) -> Result<AccessToken, Problem> {
        Ok(AccessToken {
            id: self.id.clone(),
            name: self.name.clone(),
            role: self.role()?,
            collections: self.collections.iter().flatten().map(ToString::to_string).collect(),
            created_at: Time(self.created_ms),
            expires_at: self.expires_ms.map(Time),
        })
    }

    /// The answer to who made it, with its secret.
    pub fn answer(&self, token: String) -> Result<NewAccessToken, Problem> {
        Ok(NewAccessToken { token, about: self.shown()? })
    }

    /// Who holds it.
    pub fn caller(self) -> Result<Caller, Problem> {
        let role = self.role()?;
        Ok(Caller { name: Some(self.name.into()), role, collections: self.collections.map(Into::into) })
    }
}

/// 401 for a token that no store knows.
pub fn unknown() -> Problem {
    Problem::new(Code::Unauthorized, "the token is not known here: it was revoked, has expired, or is another hub's")
}

/// Callers who proved who they are a moment ago.
#[derive(Debug, Default)]
pub struct Recent(Mutex<BTreeMap<Hash, (Caller, Instant)>>);

impl Recent {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Hash, (Caller, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who it is, without asking the store.
    pub fn known(&self, hash: &Hash) -> Option<Caller> {
        self.lock().get(hash).filter(|(_, until)| Instant::now() < *until).map(|(caller, _)| caller.clone())
    }

    /// Remembers one for a moment, and no longer than its token is good.
    pub fn remember(&self, hash: Hash, caller: &Caller, good_for: Option<Duration>) {
        let mut recent = self.lock();
        if recent.len() >= TOKEN_CACHE {
            recent.clear();
        }
        let time = good_for.map_or(TOKEN_CACHE_TIME, |left| left.min(TOKEN_CACHE_TIME));
        recent.insert(hash, (caller.clone(), Instant::now() + time));
    }

    /// A token was revoked: none is believed unseen.
    pub fn forget(&self) {
        self.lock().clear();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn wish(name: &str, collections: &[&str], ttl_seconds: Option<u64>) -> AccessTokenRequest {
        let collections = collections.iter().map(|name| (*name).to_owned()).collect();
        AccessTokenRequest { name: name.to_owned(), role: Role::Editor, collections, ttl_seconds }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_can_be_forgotten() {
        let recent = Recent::default();
        let caller = Caller { name: Some("till".into()), role: Role::Viewer, collections: None };
        (0..=TOKEN_CACHE).for_each(|n| recent.remember(hash(&n.to_string()), &caller, None));
        assert_eq!(recent.lock().len(), 1);
        assert!(recent.known(&hash(&TOKEN_CACHE.to_string())).is_some());
        recent.forget();
        assert!(recent.known(&hash(&TOKEN_CACHE.to_string())).is_none());
        recent.remember(hash("a"), &caller, Some(Duration::ZERO));
        assert!(recent.known(&hash("a")).is_none(), "it has ended");
    }

    #[test]
    fn roles_round_trip() {
        for text in ["viewer", "editor", "admin"] {
            assert_eq!(Role::read(text).unwrap().as_str(), text);
        }
        assert_eq!(Role::read("root"), None);
    }

    #[test]
    fn wishes_become_tokens() {
        let (kept, token) = Kept::new(wish(" till ", &["products"], Some(60)), 5_000).unwrap();
        assert_eq!((kept.name.as_str(), kept.role.as_str(), kept.expires_ms), ("till", "editor", Some(65_000)));
        assert!(token.starts_with("tba_") && token.len() == 68);
        assert_ne!(token, Kept::new(wish("till", &[], None), 5_000).unwrap().1);
        let caller = kept.caller().unwrap();
        assert!(caller.may_write("products") && !caller.sees("orders"));
        for (wrong, field) in [
            (wish("", &[], None), "name"),
            (wish("a\nb", &[], None), "name"),
            (wish("a", &["No"], None), "collections"),
            (wish("a", &[], Some(0)), "ttl_seconds"),
        ] {
            assert_eq!(Kept::new(wrong, 0).unwrap_err().body().field, Some(field));
        }
    }
}
