//! Join tokens and access tokens: made here, shown once, kept as hashes.

use std::time::Duration;

use api::access::{Kept, hash, random_hex};
use api::hub::Origin;
use api::problem::Problem;
use api::shapes::{AccessToken, AccessTokenRequest, JoinToken, JoinTokenRequest, NewAccessToken, NewJoinToken, Time};
use proto::names::NodeName;

use super::{CloudHub, by};
use crate::clock::since_1970;
use crate::limits::{JOIN_TOKEN_TTL, JOIN_TOKEN_TTL_MAX, JOIN_TOKEN_USES};
use crate::store::{Job, JoinTokenRow};

impl CloudHub {
    pub(super) async fn list_join_tokens(&self) -> Result<Vec<JoinToken>, Problem> {
        let now_ms = self.clock.wall_ms();
        let rows = self.read(move |store| store.join_tokens(now_ms)).await?;
        Ok(rows.iter().map(join_token).collect())
    }

    pub(super) async fn new_join_token(&self, request: JoinTokenRequest, origin: &Origin) -> Result<NewJoinToken, Problem> {
        let field = |name: &'static str, detail: String| Problem::bad_request(detail).field(name);
        let node = request.node.as_deref().map(NodeName::parse).transpose().map_err(|error| field("node", error.to_string()))?;
        if request.replace && node.is_none() {
            return Err(field("replace", "a token that replaces a machine must name its node: add \"node\"".to_owned()));
        }
        let uses = request.uses.unwrap_or(1);
        if !(1..=JOIN_TOKEN_USES).contains(&uses) {
            return Err(field("uses", format!("uses is 1 to {JOIN_TOKEN_USES}")));
        }
        let ttl = request.ttl_seconds.map_or(JOIN_TOKEN_TTL, Duration::from_secs);
        if ttl.is_zero() || ttl > JOIN_TOKEN_TTL_MAX {
            return Err(field("ttl_seconds", format!("a join token is good for 1 s to {} days", JOIN_TOKEN_TTL_MAX.as_secs() / 86_400)));
        }
        let (token, secret) = self.pki.new_token(self.clock.system(), ttl);
        let row = JoinTokenRow {
            id: random_hex::<6>(),
            node,
            replaces: request.replace,
            labels: request.labels,
            uses: uses.into(),
            used: 0,
            created_ms: self.clock.wall_ms(),
            expires_ms: since_1970(token.expires()),
        };
        let about = join_token(&row);
        self.job(Job::NewJoinToken(Box::new(row), secret.0)).await?;
        tracing::info!(token = about.id, node = about.node, by = by(origin), "join token made");
        let server = self.servers.api.first().map_or("HUB", String::as_str);
        Ok(NewJoinToken {
            join_command: format!("edgehub join --server {server} --token {token}"),
            token: token.to_string(),
            ca_sha256: self.pki.ca_sha256().iter().map(|byte| format!("{byte:02x}")).collect(),
            about,
        })
    }

    pub(super) async fn list_access_tokens(&self) -> Result<Vec<AccessToken>, Problem> {
        let now_ms = self.clock.wall_ms();
        let rows = self.read(move |store| store.access_tokens(now_ms)).await?;
        rows.iter().map(Kept::shown).collect()
    }

    pub(super) async fn new_access_token(&self, request: AccessTokenRequest, origin: &Origin) -> Result<NewAccessToken, Problem> {
        let (kept, token) = Kept::new(request, self.clock.wall_ms())?;
        let answer = kept.answer(token)?;
        self.job(Job::NewAccessToken(Box::new(kept), hash(&answer.token))).await?;
        tracing::info!(token = answer.about.id, name = answer.about.name, by = by(origin), "access token made");
        Ok(answer)
    }
}

fn join_token(row: &JoinTokenRow) -> JoinToken {
    let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    JoinToken {
        id: row.id.clone(),
        node: row.node.as_ref().map(ToString::to_string),
        replace: row.replaces,
        labels: row.labels.clone(),
        uses: count(row.uses),
        used: count(row.used),
        created_at: Time(row.created_ms),
        expires_at: Time(row.expires_ms),
    }
}
