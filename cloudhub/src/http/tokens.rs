//! Join tokens and access tokens: made here, shown once, kept as hashes.

use std::time::Duration;

use api::hub::Origin;
use api::problem::Problem;
use api::shapes::{AccessToken, AccessTokenRequest, JoinToken, JoinTokenRequest, NewAccessToken, NewJoinToken, Time};
use proto::names::{CollectionName, NodeName};

use super::access::{hash, random_hex, role, role_text};
use super::{CloudHub, by};
use crate::clock::{millis, since_1970};
use crate::limits::{JOIN_TOKEN_TTL, JOIN_TOKEN_TTL_MAX, JOIN_TOKEN_USES, TOKEN_NAME_BYTES};
use crate::store::{AccessTokenRow, Job, JoinTokenRow};

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
        rows.iter().map(access_token).collect()
    }

    pub(super) async fn new_access_token(&self, request: AccessTokenRequest, origin: &Origin) -> Result<NewAccessToken, Problem> {
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
        let created_ms = self.clock.wall_ms();
        let ends = |ttl| created_ms.saturating_add(millis(Duration::from_secs(ttl))).min(i64::MAX.unsigned_abs());
        let token = format!("tba_{}", random_hex::<32>());
        let row = AccessTokenRow {
            id: random_hex::<6>(),
            name,
            role: role_text(request.role).to_owned(),
            collections: Some(names).filter(|names| !names.is_empty()),
            created_ms,
            expires_ms: request.ttl_seconds.map(ends),
        };
        let about = access_token(&row)?;
        self.job(Job::NewAccessToken(Box::new(row), hash(&token))).await?;
        tracing::info!(token = about.id, name = about.name, by = by(origin), "access token made");
        Ok(NewAccessToken { token, about })
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

fn access_token(row: &AccessTokenRow) -> Result<AccessToken, Problem> {
    Ok(AccessToken {
        id: row.id.clone(),
        name: row.name.clone(),
        role: role(&row.role).ok_or_else(|| Problem::internal(format!("access token {} has the role {:?}", row.id, row.role)))?,
        collections: row.collections.iter().flatten().map(ToString::to_string).collect(),
        created_at: Time(row.created_ms),
        expires_at: row.expires_ms.map(Time),
    })
}
