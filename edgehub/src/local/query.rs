//! SQL of applications: a few at a time, on threads of their own, and their rows as JSON.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::hub::{Caller, QueryAnswer, QueryParam, QueryParams, QueryRequest};
use api::problem::{Code, Problem};
use api::shapes::RawJson;
use metamanager::limits::{QUERIES, QUERIES_WAITING, QUERY_BYTES, QUERY_ROWS, QUERY_ROWS_MOST, QUERY_TIME, QUERY_TIME_MOST, QUERY_TURN};
use metamanager::{Cell, Param, Params, Query, QueryError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{LocalHub, shape};

/// Whose turn it is.
#[derive(Debug)]
pub struct Turns {
    running: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Default for Turns {
    fn default() -> Self {
        Self { running: Arc::new(Semaphore::new(QUERIES)), waiting: Semaphore::new(QUERIES_WAITING) }
    }
}

impl Turns {
    async fn take(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let busy = || Problem::new(Code::Rate, format!("{QUERIES} queries run already; ask again")).retry_after(QUERY_TURN);
        let _waits = self.waiting.try_acquire().map_err(|_| busy())?;
        let turn = tokio::time::timeout(QUERY_TURN, Arc::clone(&self.running).acquire_owned()).await;
        turn.map_err(|_| busy())?.map_err(Problem::internal)
    }
}

/// Tells a query that nobody waits for it any more.
struct Waits(Arc<AtomicBool>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl LocalHub {
    pub(super) async fn answer_query(&self, request: QueryRequest) -> Result<QueryAnswer, Problem> {
        self.node()?;
        let turn = self.queries.take().await?;
        let waits = Waits(Arc::default());
        let query = Query {
            sql: request.sql,
            params: match request.params {
                QueryParams::Positional(values) => Params::Positional(values.into_iter().map(param).collect()),
                QueryParams::Named(values) => Params::Named(values.into_iter().map(|(name, value)| (name, param(value))).collect()),
            },
            collections: request.caller.collections.clone(),
            rows: request.limit.unwrap_or(QUERY_ROWS).min(QUERY_ROWS_MOST),
            time: request.timeout.unwrap_or(QUERY_TIME).min(QUERY_TIME_MOST),
            cancelled: Arc::clone(&waits.0),
        };
        let store = self.store.clone();
        let run = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let mut rows = Rows::default();
            let queried = store.queries().ask(&query, |cells| rows.take(cells))?;
            Ok((queried, rows.finish()))
        });
        let (queried, rows) = run.await.map_err(Problem::internal)?.map_err(|error| problem(error, &request.caller))?;
        drop(waits);
        Ok(QueryAnswer { columns: queried.columns, rows: RawJson::trusted(rows), truncated: queried.truncated })
    }
}

fn param(value: QueryParam) -> Param {
    match value {
        QueryParam::Null => Param::Null,
        QueryParam::Integer(number) => Param::Integer(number),
        QueryParam::Real(number) => Param::Real(number),
        QueryParam::Text(text) => Param::Text(text),
    }
}

fn problem(error: QueryError, caller: &Caller) -> Problem {
    match error {
        QueryError::NoTable(name) if !caller.sees(&name.to_ascii_lowercase()) => {
            let token = caller.name.as_deref().unwrap_or("this caller");
            Problem::new(Code::NotEntitled, format!("the token {token:?} does not allow to read {name}; ask for one that does"))
        }
        QueryError::Refused(_) | QueryError::NoTable(_) => Problem::bad_request(error.to_string()).field("sql"),
        QueryError::Limit(detail) => Problem::new(Code::QueryLimit, detail),
        QueryError::Read(error) => shape::read_problem(error),
    }
}

/// The rows of an answer, as a JSON list.
#[derive(Debug, Default)]
struct Rows(Vec<u8>);

impl Rows {
    fn take(&mut self, cells: &[Cell<'_>]) -> bool {
        let before = self.0.len();
        self.0.push(if before == 0 { b'[' } else { b',' });
        for (place, cell) in cells.iter().enumerate() {
            self.0.push(if place == 0 { b'[' } else { b',' });
            write_cell(&mut self.0, cell);
        }
        self.0.push(b']');
        let fits = self.0.len() < QUERY_BYTES;
        if !fits {
            self.0.truncate(before);
        }
        fits
    }

    fn finish(mut self) -> String {
        if self.0.is_empty() {
            self.0.push(b'[');
        }
        self.0.push(b']');
        // Texts were made UTF-8 as they came.
        String::from_utf8(self.0).unwrap_or_default()
    }
}

fn write_cell(out: &mut Vec<u8>, cell: &Cell<'_>) {
    // Neither writing into a Vec nor a text or a number as JSON can fail; a number that JSON does not have becomes null.
    let _ = match cell {
        Cell::Null => out.write_all(b"null"),
        Cell::Integer(number) => write!(out, "{number}"),
        Cell::Real(number) => serde_json::to_writer(out, number).map_err(Into::into),
        Cell::Text(text) => serde_json::to_writer(out, &String::from_utf8_lossy(text)).map_err(Into::into),
    };
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_json_up_to_their_bound() {
        assert_eq!(Rows::default().finish(), "[]");
        let mut rows = Rows::default();
        let text = Cell::Text("\u{e9}\"\n\u{1}".as_bytes());
        assert!(rows.take(&[Cell::Null, Cell::Integer(i64::MIN), Cell::Real(3.0), Cell::Real(f64::INFINITY), text]));
        assert!(rows.take(&[Cell::Text(&[0xff, b'a'])]));
        let large = "x".repeat(QUERY_BYTES);
        assert!(!rows.take(&[Cell::Text(large.as_bytes())]), "it does not fit, and leaves nothing behind");
        assert_eq!(rows.finish(), "[[null,-9223372036854775808,3.0,null,\"é\\\"\\n\\u0001\"],[\"\u{fffd}a\"]]");
    }
}
