//! Who asks: the administrator whose token is in the data folder, or somebody with an access token.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use api::hub::{Caller, Credentials, Role};
use api::problem::{Code, Problem};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use transport::private_file::{self, FileError};

use super::CloudHub;
use crate::limits::{TOKEN_CACHE, TOKEN_CACHE_TIME};
use crate::store::AccessTokenRow;

/// The file with the administrator's token.
pub(super) const ADMIN_TOKEN: &str = "admin.token";

/// The hash of a token, which is all that is kept of one.
pub(super) type Hash = [u8; 32];

/// Hashes a token as it came in or was made: it is random and long, so a plain hash cannot be turned around.
pub(super) fn hash(token: &str) -> Hash {
    Sha256::digest(token.as_bytes()).into()
}

/// So many random bytes, in hex.
pub(super) fn random_hex<const N: usize>() -> String {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is known of tokens without asking the store.
#[derive(Debug)]
pub struct Access {
    admin: Hash,
    recent: Mutex<BTreeMap<Hash, (Caller, Instant)>>,
}

impl Access {
    /// Reads the administrator's token, or makes one (0600, 256 random bits).
    ///
    /// # Errors
    /// [`FileError`], naming the file.
    pub fn open(data: &Path) -> Result<Self, FileError> {
        let path = data.join(ADMIN_TOKEN);
        let token = match private_file::read(&path)?.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()) {
            Some(token) => token,
            None => {
                let token = random_hex::<32>();
                private_file::write(&path, format!("{token}\n").as_bytes())?;
                token
            }
        };
        Ok(Self { admin: hash(&token), recent: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Hash, (Caller, Instant)>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known without the store.
    fn known(&self, hash: &Hash) -> Option<Caller> {
        if bool::from(self.admin.ct_eq(hash)) {
            return Some(Caller { name: Some("admin".into()), role: Role::Admin, collections: None });
        }
        self.lock().get(hash).filter(|(_, until)| Instant::now() < *until).map(|(caller, _)| caller.clone())
    }

    fn remember(&self, hash: Hash, caller: &Caller) {
        let mut recent = self.lock();
        if recent.len() >= TOKEN_CACHE {
            recent.clear();
        }
        recent.insert(hash, (caller.clone(), Instant::now() + TOKEN_CACHE_TIME));
    }

    /// A token was revoked: none is believed unseen.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }
}

impl CloudHub {
    pub(super) async fn who(&self, credentials: Credentials<'_>) -> Result<Caller, Problem> {
        let Some(token) = credentials.bearer else {
            // Nothing about this machine goes to somebody who has proved nothing.
            let detail = "send Authorization: Bearer TOKEN; the administrator's is the file admin.token in the hub's data folder, \
                          others are made with: cloudhub access create";
            return Err(Problem::new(Code::Unauthorized, detail));
        };
        let hash = hash(token);
        if let Some(caller) = self.access.known(&hash) {
            return Ok(caller);
        }
        let now_ms = self.clock.wall_ms();
        let row = self.read(move |store| store.access_token(&hash, now_ms)).await?;
        let row = row.ok_or_else(|| {
            Problem::new(Code::Unauthorized, "the token is not known here: it was revoked, has expired, or is another hub's")
        })?;
        let caller = caller(row)?;
        self.access.remember(hash, &caller);
        Ok(caller)
    }
}

fn caller(row: AccessTokenRow) -> Result<Caller, Problem> {
    Ok(Caller {
        name: Some(row.name.into()),
        role: role(&row.role).ok_or_else(|| Problem::internal(format!("access token {} has the role {:?}", row.id, row.role)))?,
        collections: row.collections.map(Into::into),
    })
}

/// A role as the store keeps it.
pub(super) fn role(text: &str) -> Option<Role> {
    [Role::Viewer, Role::Editor, Role::Admin].into_iter().find(|role| role_text(*role) == text)
}

/// The same, the other way round.
pub(super) fn role_text(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Editor => "editor",
        Role::Admin => "admin",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_administrators_token_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let access = Access::open(dir.path()).unwrap();
        let path = dir.path().join(ADMIN_TOKEN);
        let token = std::fs::read_to_string(&path).unwrap();
        assert_eq!(token.trim().len(), 64);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(access.known(&hash(token.trim())).unwrap().role, Role::Admin);
        assert!(access.known(&hash("guess")).is_none());
        assert_eq!(Access::open(dir.path()).unwrap().admin, access.admin, "the next start keeps it");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_can_be_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let access = Access::open(dir.path()).unwrap();
        let caller = Caller { name: Some("till".into()), role: Role::Viewer, collections: None };
        (0..=TOKEN_CACHE).for_each(|n| access.remember(hash(&n.to_string()), &caller));
        assert_eq!(access.lock().len(), 1);
        assert!(access.known(&hash(&TOKEN_CACHE.to_string())).is_some());
        access.forget();
        assert!(access.known(&hash(&TOKEN_CACHE.to_string())).is_none());
    }

    #[test]
    fn roles_round_trip() {
        for text in ["viewer", "editor", "admin"] {
            assert_eq!(role_text(role(text).unwrap()), text);
        }
        assert_eq!(role("root"), None);
    }
}
