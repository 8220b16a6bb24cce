//! Access tokens of the local API. Secrets are never here, only their hashes.

use proto::names::CollectionName;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::{Done, ReadError, StoreError};
use crate::ledger::{collection_name, number, stored};
use crate::limits::TOKENS;
use crate::reader::Reader;
use crate::store::Store;

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// What to revoke it by.
    pub id: String,
    /// Whom it is for.
    pub name: String,
    /// What it allows; a word of the API's.
    pub role: String,
    /// In which collections; none: in all.
    pub collections: Option<Vec<CollectionName>>,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
    /// When it ends; none: never.
    pub expires_ms: Option<u64>,
}

impl Store {
    /// Keeps a token under the hash of its secret. False: there are [`TOKENS`] that have not ended.
    pub fn keep_token(&mut self, token: &TokenRow, hash: &[u8; 32]) -> Result<bool, StoreError> {
        self.transaction(|tx| {
            tx.conn.execute("DELETE FROM access_tokens WHERE expires_ms <= ?1", [stored(token.created_ms)])?;
            if tx.conn.query_row("SELECT count(*) FROM access_tokens", [], |row| number(row, 0))? >= TOKENS {
                return Ok(false);
            }
            // A list of names always serialises.
            let names = token.collections.as_ref().map(|names| names.iter().map(CollectionName::as_str).collect::<Vec<_>>());
            let names = names.map(|names| serde_json::to_string(&names).unwrap_or_default());
            tx.conn.execute(
                "INSERT INTO access_tokens (id, hash, name, role, collections, created_ms, expires_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![token.id, hash, token.name, token.role, names, stored(token.created_ms), token.expires_ms.map(stored)],
            )?;
            Ok(true)
        })
    }

    /// Forgets a token. False: there is none of this id.
    pub fn revoke_token(&mut self, id: &str) -> Result<bool, StoreError> {
        self.transaction(|tx| Ok(tx.conn.execute("DELETE FROM access_tokens WHERE id = ?1", [id])? > 0))
    }
}

/// What has not ended, by the time that is given or the newest that was stored: a clock of 1970 revives no token.
const GOOD: &str = "SELECT id, name, role, collections, created_ms, expires_ms FROM access_tokens \
    WHERE (expires_ms IS NULL OR expires_ms > max(?1, (SELECT clock >> 16 FROM meta)))";

impl Reader {
    /// Tokens that can still be used, oldest first.
    pub fn tokens(&mut self, now_ms: u64) -> Result<Vec<TokenRow>, ReadError> {
        self.ask(|conn| {
            let mut statement = conn.prepare_cached(&format!("{GOOD} ORDER BY created_ms, id"))?;
            let mut rows = statement.query([stored(now_ms)])?;
            let mut tokens = Vec::new();
            while let Some(row) = rows.next()? {
                tokens.push(token(row)?);
            }
            Ok(tokens)
        })
    }

    /// The token of this hash, while it can be used.
    pub fn token(&mut self, hash: &[u8; 32], now_ms: u64) -> Result<Option<TokenRow>, ReadError> {
        self.ask(|conn| {
            let mut statement = conn.prepare_cached(&format!("{GOOD} AND hash = ?2"))?;
            let mut rows = statement.query(params![stored(now_ms), hash])?;
            rows.next()?.map(token).transpose()
        })
    }
}

fn token(row: &Row<'_>) -> Done<TokenRow> {
    let names: Option<String> = row.get(3)?;
    let names = names.map(|json| serde_json::from_str::<Vec<String>>(&json)).transpose();
    let names = names.map_err(|error| crate::error::Fault::damaged("an access token", error))?;
    Ok(TokenRow {
        id: row.get(0)?,
        name: row.get(1)?,
        role: row.get(2)?,
        collections: names.map(|names| names.iter().map(|name| collection_name(name)).collect::<Done<_>>()).transpose()?,
        created_ms: number(row, 4)?,
        expires_ms: row.get::<_, Option<i64>>(5)?.map(i64::cast_unsigned),
    })
}

/// Those of a damaged file: without them nobody but this machine gets in.
pub(crate) fn save(from: &Connection, into: &Connection) {
    let copy = || -> Done<()> {
        let mut query = from.prepare("SELECT id, hash, name, role, collections, created_ms, expires_ms FROM access_tokens")?;
        let mut insert = into.prepare("INSERT OR IGNORE INTO access_tokens VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let values = (0..7).map(|place| row.get::<_, rusqlite::types::Value>(place)).collect::<Result<Vec<_>, _>>()?;
            insert.execute(rusqlite::params_from_iter(values))?;
        }
        Ok(())
    };
    let there = from.query_row("SELECT 1 FROM sqlite_schema WHERE name = 'access_tokens'", [], |_| Ok(())).optional();
    if matches!(there, Ok(Some(())))
        && let Err(error) = copy()
    {
        tracing::warn!(?error, "some access tokens cannot be read; make them anew: edgehub access create");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proto::clock::Now;

    use super::*;
    use crate::store::Options;

    fn row(id: &str, created_ms: u64, expires_ms: Option<u64>) -> TokenRow {
        let collections = Some(vec![CollectionName::parse("stock").unwrap()]);
        TokenRow { id: id.into(), name: "till".into(), role: "editor".into(), collections, created_ms, expires_ms }
    }

    #[test]
    fn tokens_are_found_until_they_end_or_are_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(&folder.path().join("edge.db"), Options::default(), Now { wall_ms: 5, mono_ms: 5 }).unwrap();
        let (ever, short) = (row("a", 10, None), row("b", 20, Some(100)));
        assert!(store.keep_token(&ever, &[1; 32]).unwrap() && store.keep_token(&short, &[2; 32]).unwrap());
        assert!(store.keep_token(&ever, &[1; 32]).is_err(), "the same token twice");
        let mut reader = store.reader().unwrap();
        assert_eq!(reader.tokens(50).unwrap(), [ever.clone(), short.clone()]);
        assert_eq!(reader.token(&[2; 32], 99).unwrap(), Some(short));
        assert_eq!(reader.token(&[2; 32], 100).unwrap(), None);
        assert_eq!(reader.token(&[3; 32], 0).unwrap(), None);
        assert!(store.revoke_token("a").unwrap());
        assert!(!store.revoke_token("a").unwrap());
        assert_eq!(reader.token(&[1; 32], 50).unwrap(), None);
        assert!(store.keep_token(&row("c", 100, None), &[4; 32]).unwrap());
        let left: i64 =
            Connection::open(store.path()).unwrap().query_row("SELECT count(*) FROM access_tokens", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 1, "what has ended goes with the next one");
    }

    #[test]
    fn their_number_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(&folder.path().join("edge.db"), Options::default(), Now { wall_ms: 5, mono_ms: 5 }).unwrap();
        let file = Connection::open(store.path()).unwrap();
        let many = format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {TOKENS}) \
             INSERT INTO access_tokens SELECT i, CAST(i AS BLOB), 'x', 'viewer', NULL, 0, NULL FROM n"
        );
        file.execute_batch(&many).unwrap();
        assert!(!store.keep_token(&row("a", 10, None), &[1; 32]).unwrap());
        assert!(store.revoke_token("7").unwrap());
        assert!(store.keep_token(&row("a", 10, None), &[1; 32]).unwrap());
    }
}
