//! Who asks: whoever reaches the socket, whose mode is the permission; through TCP whoever is on this machine, or shows a token
//! where `[api] tokens` asks for one.

use std::time::Duration;

use api::access::{self, Kept, Recent, hash};
use api::hub::{Caller, Credentials, Origin, Peer};
use api::problem::{Code, Problem};
use api::shapes::{AccessToken, AccessTokenRequest, NewAccessToken};
use metamanager::limits::TOKENS;
use metamanager::{StoreError, TokenRow};
use tokio::sync::oneshot;

use super::{LocalHub, shape};

/// Who needs a token.
#[derive(Debug, Default)]
pub struct Access {
    /// Everybody who comes through TCP.
    pub required: bool,
    recent: Recent,
}

impl Access {
    /// The rule of the configuration.
    pub fn new(required: bool) -> Self {
        Self { required, ..Self::default() }
    }
}

impl LocalHub {
    pub(super) fn who(&self, credentials: Credentials<'_>) -> Result<Caller, Problem> {
        if credentials.peer == Peer::Unix || !self.access.required {
            return Ok(Caller::LOCAL);
        }
        let Some(token) = credentials.bearer else {
            let detail = "send Authorization: Bearer TOKEN; tokens are made on this machine: edgehub access create NAME --role editor";
            return Err(Problem::new(Code::Unauthorized, detail));
        };
        let hash = hash(token);
        if let Some(caller) = self.access.recent.known(&hash) {
            return Ok(caller);
        }
        let now_ms = self.clock.now().wall_ms;
        let row = self.store.read(|reader| reader.token(&hash, now_ms)).map_err(shape::read_problem)?.ok_or_else(access::unknown)?;
        let left = row.expires_ms.map(|end| Duration::from_millis(end.saturating_sub(now_ms)));
        let caller = kept(row).caller()?;
        self.access.recent.remember(hash, &caller, left);
        Ok(caller)
    }

    pub(super) fn list_tokens(&self) -> Result<Vec<AccessToken>, Problem> {
        let now_ms = self.clock.now().wall_ms;
        let rows = self.store.read(|reader| reader.tokens(now_ms)).map_err(shape::read_problem)?;
        rows.into_iter().map(|row| kept(row).shown()).collect()
    }

    pub(super) async fn new_token(&self, request: AccessTokenRequest, origin: &Origin) -> Result<NewAccessToken, Problem> {
        let (answer, made) = oneshot::channel();
        let work = move |store: &mut metamanager::Store, now| {
            // By the stored clock where that is ahead: a token that is made while the system's says 1970 does not end at once.
            let (kept, token) = Kept::new(request, store.time_ms(now))?;
            let there_is_room = store.keep_token(&row(&kept), &hash(&token)).map_err(failed)?;
            if there_is_room { kept.answer(token) } else { Err(full()) }
        };
        self.store.run_then(work, move |result: Result<NewAccessToken, Problem>| drop(answer.send(result)));
        let made = made.await.map_err(|_| closing())??;
        tracing::info!(token = made.about.id, name = made.about.name, by = by(origin), "access token made");
        Ok(made)
    }

    pub(super) async fn revoke_token(&self, id: &str, origin: &Origin) -> Result<(), Problem> {
        let (answer, revoked) = oneshot::channel();
        let named = id.to_owned();
        self.store.run_then(move |store, _| store.revoke_token(&named), move |result| drop(answer.send(result)));
        let there_was = revoked.await.map_err(|_| closing())?.map_err(failed)?;
        self.access.recent.forget();
        if !there_was {
            return Err(Problem::not_found(format!("there is no access token {id:?} here")));
        }
        tracing::info!(token = id, by = by(origin), "access token revoked");
        Ok(())
    }
}

fn by(origin: &Origin) -> &str {
    origin.caller.name.as_deref().unwrap_or("this machine")
}

fn full() -> Problem {
    Problem::new(Code::DiskFull, format!("there are {TOKENS} tokens already; revoke some"))
}

fn closing() -> Problem {
    Problem::new(Code::Unavailable, "edgehub is stopping").retry_after(Duration::from_secs(2))
}

fn failed(error: StoreError) -> Problem {
    if error.is_full() { Problem::new(Code::DiskFull, error.to_string()) } else { Problem::internal(error) }
}

fn row(kept: &Kept) -> TokenRow {
    let Kept { id, name, role, collections, created_ms, expires_ms } = kept.clone();
    TokenRow { id, name, role, collections, created_ms, expires_ms }
}

fn kept(row: TokenRow) -> Kept {
    let TokenRow { id, name, role, collections, created_ms, expires_ms } = row;
    Kept { id, name, role, collections, created_ms, expires_ms }
}
