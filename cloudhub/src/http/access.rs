//! Who asks: the administrator whose token is in the data folder, or somebody with an access token.

use std::path::Path;
use std::time::Duration;

use api::access::{self, Hash, Recent, hash, random_hex};
use api::hub::{Caller, Credentials, Role};
use api::problem::{Code, Problem};
use subtle::ConstantTimeEq;
use transport::private_file::{self, FileError};

use super::CloudHub;

/// The file with the administrator's token.
pub(super) const ADMIN_TOKEN: &str = "admin.token";

/// What is known of tokens without asking the store.
#[derive(Debug)]
pub struct Access {
    admin: Hash,
    recent: Recent,
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
        Ok(Self { admin: hash(&token), recent: Recent::default() })
    }

    /// What is known without the store.
    fn known(&self, hash: &Hash) -> Option<Caller> {
        if bool::from(self.admin.ct_eq(hash)) {
            return Some(Caller { name: Some("admin".into()), role: Role::Admin, collections: None });
        }
        self.recent.known(hash)
    }

    /// A token was revoked: none is believed unseen.
    pub(super) fn forget(&self) {
        self.recent.forget();
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
        let row = row.ok_or_else(access::unknown)?;
        let left = row.expires_ms.map(|end| Duration::from_millis(end.saturating_sub(now_ms)));
        let caller = row.caller()?;
        self.access.recent.remember(hash, &caller, left);
        Ok(caller)
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
}
