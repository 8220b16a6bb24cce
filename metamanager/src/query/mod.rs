//! SQL for applications: one SELECT over one table a collection, on a connection of its own that can do nothing else.
//!
//! Three walls stand behind one another. The file is opened read-only and the connection is told to stay so. `gate` judges
//! everything that a statement names while it is prepared: the collections' views and a list of functions, nothing else.
//! `bounds` ends what takes too long or too much memory. `views` spells the tables. A query begins with a new connection
//! and takes it with it, so that nothing of one is left for the next, and nothing is held while none runs.

mod bounds;
mod gate;
mod views;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use proto::names::CollectionName;
use rusqlite::config::DbConfig;
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Batch, Connection, ErrorCode, Statement, ToSql};

use crate::damage::Damage;
use crate::error::{Fault, ReadError, StoreError};
use crate::limits::{
    QUERY_COLUMNS, QUERY_COMPOUND, QUERY_DEPTH, QUERY_FUNCTION_ARGUMENTS, QUERY_OPS, QUERY_PARAMETERS, QUERY_PATTERN_BYTES,
    QUERY_SQL_BYTES, QUERY_STEPS, QUERY_VALUE_BYTES,
};
use crate::open;
use bounds::{Bounds, Shared};
use gate::{Gate, Refused};
use views::Views;

/// One SELECT.
#[derive(Debug, Clone)]
pub struct Query {
    /// The statement.
    pub sql: String,
    /// What stands in the places of its parameters.
    pub params: Params,
    /// The tables that there are; `None`: every collection of this node.
    pub collections: Option<Arc<[CollectionName]>>,
    /// Rows that are answered; the rest is cut off.
    pub rows: usize,
    /// How long it may run.
    pub time: Duration,
    /// Set when nobody waits for the answer any more.
    pub cancelled: Arc<AtomicBool>,
}

/// The values of a statement's parameters.
#[derive(Debug, Clone)]
pub enum Params {
    /// `?`, in order.
    Positional(Vec<Param>),
    /// `:name`, `@name`, `$name`; here with or without the sign.
    Named(Vec<(String, Param)>),
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Param {
    /// SQL's NULL.
    Null,
    /// A whole number; true and false are 1 and 0.
    Integer(i64),
    /// Any other number.
    Real(f64),
    /// A text.
    Text(String),
}

/// One value of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// SQL's NULL.
    Null,
    /// A whole number.
    Integer(i64),
    /// Any other number; may be infinite.
    Real(f64),
    /// A text, as bytes: SQL can make some that are no UTF-8.
    Text(&'a [u8]),
}

/// What was answered besides the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queried {
    /// The names of the columns; they need not differ.
    pub columns: Vec<String>,
    /// There are more rows.
    pub truncated: bool,
}

/// Why a query was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// 400 `bad_request`.
    #[error("{0}")]
    Refused(String),
    /// 400 `bad_request`: none of the collections, or not for this caller.
    #[error("there is no table {0}; each collection is one, and its name is quoted where it has a hyphen: \"price-list\"")]
    NoTable(String),
    /// 422 `query_limit`.
    #[error("{0}")]
    Limit(String),
    /// As any read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The queries of one opened database.
pub struct Queries {
    path: PathBuf,
    damage: Arc<Damage>,
    shared: Arc<Shared>,
}

impl Queries {
    pub(crate) fn of(path: &Path, damage: Arc<Damage>) -> Self {
        Self { path: path.to_owned(), damage, shared: Arc::default() }
    }

    /// Answers a SELECT on the caller's thread, for as long as it takes; the caller bounds how many run at once
    /// ([`crate::limits::QUERIES`]). `take` is given each row and says whether it had room for it.
    pub fn ask(&self, query: &Query, mut take: impl FnMut(&[Cell<'_>]) -> bool) -> Result<Queried, QueryError> {
        if query.sql.len() > QUERY_SQL_BYTES {
            return Err(QueryError::Limit(format!("the statement has {} bytes; at most {QUERY_SQL_BYTES}", query.sql.len())));
        }
        if query.sql.contains('\0') {
            return Err(QueryError::Refused("the statement holds a NUL character".to_owned()));
        }
        let (mut conn, views) = self.open(query)?;
        let failed = |error: rusqlite::Error| self.failed(error.into());
        let bounds = Bounds::begin(&self.shared, query.time, Arc::clone(&query.cancelled));
        let gate = Gate::close(&mut conn, views, &bounds).map_err(failed)?;
        let watched = bounds.clone();
        conn.progress_handler(QUERY_STEPS, Some(move || watched.is_over())).map_err(failed)?;
        query.answer(&conn, &mut take).map_err(|error| match error {
            Ended::Told(told) => told,
            Ended::Sql(error) => explain(error, &gate, &bounds).unwrap_or_else(failed),
        })
    }

    /// A connection on which nothing is of the caller's but the views that they name. Everything from here on is of one state.
    fn open(&self, query: &Query) -> Result<(Connection, Views), QueryError> {
        let failed = |error: rusqlite::Error| self.failed(error.into());
        let conn = open::reader(&self.path).map_err(|fault| self.failed(fault))?;
        settle(&conn).map_err(failed)?;
        conn.execute_batch("BEGIN").map_err(failed)?;
        let views = views::create(&conn, query).map_err(|error| match error {
            Unmade::Told(told) => told,
            Unmade::Fault(fault) => self.failed(fault),
        })?;
        conn.pragma_update(None, "query_only", true).map_err(failed)?;
        Ok((conn, views))
    }

    fn failed(&self, fault: Fault) -> QueryError {
        QueryError::Read(self.damage.look(StoreError::of(fault, &self.path)).into())
    }

    /// Ends those that run.
    pub(crate) fn close(&self) {
        self.shared.close();
    }
}

impl Query {
    fn answer(&self, conn: &Connection, take: &mut impl FnMut(&[Cell<'_>]) -> bool) -> Result<Queried, Ended> {
        // Not `prepare`, which calls itself for each statement that follows.
        let mut statements = Batch::new(conn, &self.sql);
        let refused = |text: &str| Ended::Told(QueryError::Refused(text.to_owned()));
        let mut statement = statements.next()?.ok_or_else(|| refused("there is no statement; send one SELECT"))?;
        if statements.next()?.is_some() {
            return Err(refused("there are several statements; send one SELECT"));
        }
        if statement.is_explain() != 0 || !statement.readonly() || statement.column_count() == 0 {
            return Err(refused("only a SELECT is taken here"));
        }
        self.bind(&mut statement).map_err(Ended::Told)?;
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let mut rows = statement.raw_query();
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let mut cells = Vec::with_capacity(columns.len());
            for (place, column) in columns.iter().enumerate() {
                cells.push(cell(row.get_ref(place)?).ok_or_else(|| refused(&blob(column)))?);
            }
            if count == self.rows || !take(&cells) {
                return if count > 0 { Ok(Queried { columns, truncated: true }) } else { Err(Ended::Told(QueryError::Limit(one_row()))) };
            }
            count += 1;
        }
        Ok(Queried { columns, truncated: false })
    }

    fn bind(&self, statement: &mut Statement<'_>) -> Result<(), QueryError> {
        let wanted = statement.parameter_count();
        let refused = |text: String| Err(QueryError::Refused(text));
        let bound = |result: Result<(), rusqlite::Error>| result.map_err(|error| QueryError::Refused(format!("a parameter: {error}")));
        match &self.params {
            Params::Positional(values) => {
                if values.len() != wanted {
                    return refused(format!("the statement has {wanted} parameters, and {} came", values.len()));
                }
                values.iter().enumerate().try_for_each(|(place, value)| bound(statement.raw_bind_parameter(place + 1, value)))
            }
            Params::Named(values) => {
                let bare = |name: &str| name.trim_start_matches([':', '@', '$']).to_owned();
                let names: Vec<Option<String>> = (1..=wanted).map(|place| statement.parameter_name(place).map(bare)).collect();
                if let Some((unknown, _)) = values.iter().find(|(name, _)| !names.contains(&Some(bare(name)))) {
                    return refused(format!("the statement has no parameter {unknown:?}"));
                }
                names.iter().enumerate().try_for_each(|(place, name)| match name {
                    None => refused("the statement has a parameter without a name; send `params` as a list".to_owned()),
                    Some(name) => match values.iter().find(|(given, _)| bare(given) == *name) {
                        Some((_, value)) => bound(statement.raw_bind_parameter(place + 1, value)),
                        None => refused(format!("the parameter {name:?} has no value")),
                    },
                })
            }
        }
    }
}

impl ToSql for Param {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        let value = match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        };
        Ok(rusqlite::types::ToSqlOutput::Borrowed(value))
    }
}

fn cell(value: ValueRef<'_>) -> Option<Cell<'_>> {
    match value {
        ValueRef::Null => Some(Cell::Null),
        ValueRef::Integer(number) => Some(Cell::Integer(number)),
        ValueRef::Real(number) => Some(Cell::Real(number)),
        ValueRef::Text(text) => Some(Cell::Text(text)),
        ValueRef::Blob(_) => None,
    }
}

fn blob(column: &str) -> String {
    format!("column {column:?} holds bytes, which JSON has no form for; select hex(…) of them")
}

fn one_row() -> String {
    "the first row alone is larger than an answer may be; select fewer columns, or parts of the value".to_owned()
}

/// How the inside ends early.
enum Ended {
    Told(QueryError),
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Ended {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// What SQLite's error means to the caller; the error itself where it is the file's.
fn explain(error: rusqlite::Error, gate: &Gate, bounds: &Bounds) -> Result<QueryError, rusqlite::Error> {
    if let Some(reason) = bounds.reason() {
        return Ok(QueryError::Limit(reason));
    }
    match gate.refused() {
        Some(Refused::Table(name)) => return Ok(QueryError::NoTable(name)),
        Some(Refused::Deed(what)) => return Ok(QueryError::Refused(what)),
        None => {}
    }
    let text = error.to_string();
    let code = match &error {
        rusqlite::Error::SqlInputError { error, .. } => Some(error.code),
        other => other.sqlite_error_code(),
    };
    match code {
        Some(ErrorCode::TooBig | ErrorCode::OutOfMemory) => Ok(QueryError::Limit(format!("the query makes too much at once: {text}"))),
        Some(
            ErrorCode::Unknown | ErrorCode::TypeMismatch | ErrorCode::ParameterOutOfRange | ErrorCode::AuthorizationForStatementDenied,
        ) => Ok(spelt(error)),
        _ => Err(error),
    }
}

/// SQLite's own words about the statement.
fn spelt(error: rusqlite::Error) -> QueryError {
    let (text, at) = match error {
        rusqlite::Error::SqlInputError { msg, offset, sql, .. } => {
            let place = usize::try_from(offset).ok().and_then(|offset| sql.get(..offset)).map(|before| before.chars().count() + 1);
            (msg, place)
        }
        other => (other.to_string(), None),
    };
    if let Some(name) = text.strip_prefix("no such table: ") {
        return QueryError::NoTable(name.to_owned());
    }
    let text = gate::without_secret(&text);
    QueryError::Refused(at.map_or_else(|| text.clone(), |at| format!("{text}, at character {at} of the statement")))
}

/// Before anything of the caller's is looked at.
fn settle(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    // A misspelt column is an error, not the text of its name.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    // What is sorted stays in memory, where it is bounded: no temporary file wears a card or fills it.
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    let limits = [
        (Limit::SQLITE_LIMIT_LENGTH, QUERY_VALUE_BYTES),
        (Limit::SQLITE_LIMIT_COLUMN, QUERY_COLUMNS),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, QUERY_DEPTH),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, QUERY_COMPOUND),
        (Limit::SQLITE_LIMIT_VDBE_OP, QUERY_OPS),
        (Limit::SQLITE_LIMIT_FUNCTION_ARG, QUERY_FUNCTION_ARGUMENTS),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, QUERY_PATTERN_BYTES),
        (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, QUERY_PARAMETERS),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 0),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ];
    limits.into_iter().try_for_each(|(limit, value)| conn.set_limit(limit, value).map(drop))
}

/// Why the views could not be made.
enum Unmade {
    Told(QueryError),
    Fault(Fault),
}

impl<E: Into<Fault>> From<E> for Unmade {
    fn from(fault: E) -> Self {
        Self::Fault(fault.into())
    }
}

type Made<T> = Result<T, Unmade>;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proto::clock::Now;
    use proto::index::index_expression;

    use super::*;
    use crate::store::{Options, Store};

    fn query(sql: &str) -> Query {
        let params = Params::Positional(Vec::new());
        Query { sql: sql.to_owned(), params, collections: None, rows: 10, time: Duration::from_secs(60), cancelled: Arc::default() }
    }

    fn plan(queries: &Queries, sql: &str) -> String {
        let (conn, _) = queries.open(&query(sql)).unwrap();
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let mut rows = statement.raw_query();
        let mut plan = String::new();
        while let Some(row) = rows.next().unwrap() {
            plan.push_str(&row.get::<_, String>(3).unwrap());
            plan.push('\n');
        }
        plan
    }

    #[test]
    fn a_declared_index_serves_a_query() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.db");
        let store = Store::open(&path, Options::default(), Now { wall_ms: 5, mono_ms: 5 }).unwrap();
        let file = Connection::open(&path).unwrap();
        let column = index_expression("c").unwrap();
        file.execute_batch(&format!(
            "UPDATE meta SET grants_revision = 1; \
             INSERT INTO collections (id, name, revision, definition) VALUES (3, 'stock', 1, '{{\"indexes\":[\"c\"]}}'); \
             CREATE INDEX base_3_c ON base ({column}, key) WHERE collection = 3; \
             CREATE INDEX overlay_3_c ON overlay ({column}, key) WHERE collection = 3;"
        ))
        .unwrap();
        let queries = store.queries();
        for sql in [
            "SELECT _key, _value FROM stock WHERE c = 1",
            "SELECT count(*) FROM stock WHERE c >= 1 AND c < 3",
            "SELECT _value->>'$.x' AS x, count(*) FROM stock WHERE c = ?1 GROUP BY 1 ORDER BY 2",
            "WITH some AS (SELECT * FROM stock WHERE c IN (1, 2)) SELECT * FROM some WHERE _pending = 0",
        ] {
            let plan = plan(&queries, sql);
            assert!(plan.contains("base_3_c (") && !plan.contains("SCAN base"), "{sql}\n{plan}");
            assert!(!plan.contains("SCAN overlay"), "{sql}\n{plan}");
        }
        let point = plan(&queries, "SELECT * FROM stock WHERE _key = 'a'");
        assert!(point.contains("base_key (collection=? AND key=?)") && !point.contains("SCAN base"), "{point}");
        let page = plan(&queries, "SELECT * FROM stock WHERE _key > 'a' ORDER BY _key LIMIT 10");
        assert!(page.contains("base_key (collection=? AND key>?)") && !page.contains("TEMP B-TREE"), "{page}");
        let joined = plan(&queries, "SELECT * FROM stock a JOIN stock b ON b._key = a.c WHERE a._key = 'x'");
        assert!(!joined.contains("SCAN base"), "{joined}");
    }
}
