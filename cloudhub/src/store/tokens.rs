//! Join tokens and access tokens. Secrets are never here, only their hashes; the tables find them by hash, and a random
//! 128-bit secret gives a guess nothing to compare with.

use proto::definition::Labels;
use proto::names::{CollectionName, NodeName};
use rusqlite::{Connection, OptionalExtension, Row};

use super::error::{StoreError, counted, stored};
use super::nodes::{check_label, labels_json, parse_labels};
use super::refused::{Refused, TokenRefused};
use super::rows::{AccessTokenRow, JoinTokenRow};
use super::work::{JobError, Work};
use crate::limits::TOKENS;

/// What a join token lets happen.
pub(super) struct Permit {
    /// The token's id.
    pub(super) token: String,
    /// The node's name.
    pub(super) node: NodeName,
    /// The token's labels.
    pub(super) labels: Labels,
}

/// Whether a token lets a node in now, and under which name.
pub(super) fn permit(
    conn: &Connection,
    hash: &[u8; 32],
    asked: Option<&NodeName>,
    now_ms: u64,
) -> Result<Result<Permit, Refused>, StoreError> {
    let found = conn
        .prepare_cached("SELECT id, node, replaces, labels, uses, used, created_ms, expires_ms FROM join_tokens WHERE hash = ?1")?
        .query_row([hash], |row| Ok(join_row(row)))
        .optional()?
        .transpose()?;
    let Some(token) = found else { return Ok(Err(TokenRefused::Unknown.into())) };
    if token.expires_ms <= now_ms {
        return Ok(Err(TokenRefused::Expired.into()));
    }
    if token.used >= token.uses {
        return Ok(Err(TokenRefused::UsedUp.into()));
    }
    let node = match (token.node, asked) {
        (Some(bound), Some(asked)) if bound != *asked => return Ok(Err(TokenRefused::OtherNode.into())),
        (Some(bound), _) => bound,
        (None, Some(asked)) => asked.clone(),
        (None, None) => return Ok(Err(Refused::BadRequest("the token names no node: say which with --node NAME".to_owned()))),
    };
    let taken: Option<(bool, i64)> = conn
        .prepare_cached("SELECT revoked, last_seen_ms FROM nodes WHERE name = ?1")?
        .query_row([node.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let (Some((_, last_seen)), false) = (taken, token.replaces) {
        return Ok(Err(Refused::NameTaken { node, last_seen_ms: counted(last_seen)? }));
    }
    Ok(Ok(Permit { token: token.id, node, labels: token.labels }))
}

/// Counts one use.
pub(super) fn use_up(conn: &Connection, id: &str) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE join_tokens SET used = used + 1 WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// Room for one more token. At the bound those that nobody can use any more (`spent`) go first.
fn room(work: &Work<'_>, table: &str, spent: &str) -> Result<(), JobError> {
    let full = || -> Result<bool, JobError> {
        let count: i64 = work.conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
        Ok(counted(count)? >= TOKENS)
    };
    if full()? {
        work.conn.execute(&format!("DELETE FROM {table} WHERE {spent}"), [stored(work.now_ms)?])?;
        if full()? {
            return Err(Refused::Full(format!("there are {TOKENS} tokens already; revoke some")).into());
        }
    }
    Ok(())
}

/// Keeps a join token.
pub(super) fn new_join(work: &Work<'_>, token: &JoinTokenRow, hash: &[u8; 32]) -> Result<(), JobError> {
    room(work, "join_tokens", "used >= uses OR expires_ms <= ?1")?;
    for (name, value) in &token.labels {
        check_label(name, value)?;
    }
    work.conn
        .prepare_cached(
            "INSERT INTO join_tokens (id, hash, node, replaces, labels, uses, used, created_ms, expires_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8)",
        )?
        .execute((
            &token.id,
            hash,
            token.node.as_ref().map(NodeName::as_str),
            token.replaces,
            labels_json(&token.labels),
            stored(token.uses)?,
            stored(token.created_ms)?,
            stored(token.expires_ms)?,
        ))?;
    Ok(())
}

/// Keeps an access token.
pub(super) fn new_access(work: &Work<'_>, token: &AccessTokenRow, hash: &[u8; 32]) -> Result<(), JobError> {
    room(work, "access_tokens", "expires_ms <= ?1")?;
    let names = token.collections.as_ref().map(|names| names.iter().map(CollectionName::as_str).collect::<Vec<_>>());
    work.conn
        .prepare_cached(
            "INSERT INTO access_tokens (id, hash, name, role, collections, created_ms, expires_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute((
            &token.id,
            hash,
            &token.name,
            &token.role,
            // A list of strings always serialises.
            names.map(|names| serde_json::to_string(&names).unwrap_or_default()),
            stored(token.created_ms)?,
            token.expires_ms.map(stored).transpose()?,
        ))?;
    Ok(())
}

/// Removes a token of either kind.
pub(super) fn revoke(work: &Work<'_>, table: &'static str, what: &'static str, id: &str) -> Result<(), JobError> {
    let gone = work.conn.execute(&format!("DELETE FROM {table} WHERE id = ?1"), [id])?;
    if gone == 0 {
        return Err(Refused::NotFound { what, id: id.to_owned() }.into());
    }
    Ok(())
}

/// Join tokens that can still be used.
pub(super) fn join_tokens(conn: &Connection, now_ms: u64) -> Result<Vec<JoinTokenRow>, StoreError> {
    conn.prepare_cached(
        "SELECT id, node, replaces, labels, uses, used, created_ms, expires_ms FROM join_tokens
         WHERE used < uses AND expires_ms > ?1 ORDER BY created_ms, id",
    )?
    .query_map([stored(now_ms)?], |row| Ok(join_row(row)))?
    .map(|row| row?)
    .collect()
}

fn join_row(row: &Row<'_>) -> Result<JoinTokenRow, StoreError> {
    let node: Option<String> = row.get(1)?;
    let damaged = |error: proto::names::NameError| StoreError::Damaged(error.to_string());
    Ok(JoinTokenRow {
        id: row.get(0)?,
        node: node.map(|name| NodeName::parse(&name).map_err(damaged)).transpose()?,
        replaces: row.get(2)?,
        labels: parse_labels(&row.get::<_, String>(3)?)?,
        uses: counted(row.get(4)?)?,
        used: counted(row.get(5)?)?,
        created_ms: counted(row.get(6)?)?,
        expires_ms: counted(row.get(7)?)?,
    })
}

const ACCESS: &str = "SELECT id, name, role, collections, created_ms, expires_ms FROM access_tokens
     WHERE (expires_ms IS NULL OR expires_ms > ?1)";

/// Access tokens that can still be used.
pub(super) fn access_tokens(conn: &Connection, now_ms: u64) -> Result<Vec<AccessTokenRow>, StoreError> {
    conn.prepare_cached(&format!("{ACCESS} ORDER BY created_ms, id"))?
        .query_map([stored(now_ms)?], |row| Ok(access_row(row)))?
        .map(|row| row?)
        .collect()
}

/// One access token, by the hash of its secret.
pub(super) fn access_token(conn: &Connection, hash: &[u8; 32], now_ms: u64) -> Result<Option<AccessTokenRow>, StoreError> {
    conn.prepare_cached(&format!("{ACCESS} AND hash = ?2"))?
        .query_row((stored(now_ms)?, hash), |row| Ok(access_row(row)))
        .optional()?
        .transpose()
}

fn access_row(row: &Row<'_>) -> Result<AccessTokenRow, StoreError> {
    let names: Option<Vec<String>> = match row.get::<_, Option<String>>(3)? {
        Some(json) => Some(serde_json::from_str(&json).map_err(|error| StoreError::Damaged(format!("access token: {error}")))?),
        None => None,
    };
    let parse = |name: String| CollectionName::parse(&name).map_err(|error| StoreError::Damaged(error.to_string()));
    Ok(AccessTokenRow {
        id: row.get(0)?,
        name: row.get(1)?,
        role: row.get(2)?,
        collections: names.map(|names| names.into_iter().map(parse).collect::<Result<_, _>>()).transpose()?,
        created_ms: counted(row.get(4)?)?,
        expires_ms: row.get::<_, Option<i64>>(5)?.map(counted).transpose()?,
    })
}
