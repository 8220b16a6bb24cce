//! What the query string of a request says. Unknown parameters are refused, except where they name fields.

use std::time::Duration;

use axum::extract::FromRequestParts;
use http::request::Parts;
use percent_encoding::percent_decode;
use proto::names::Key;

use super::path;
use crate::hub::{FieldFilter, PageToken};
use crate::limits::{LIST_KEYS, PAGE, PAGE_DEFAULT, PARAMETERS, WAIT};
use crate::problem::{Code, Problem};

/// The decoded parameters, taken one by one.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.uri.query().map_or_else(|| Ok(Self::default()), Self::parse)
    }
}

impl Query {
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let mut decoded = Vec::new();
        for pair in pairs {
            if decoded.len() == PARAMETERS {
                return Err(Problem::bad_request(format!("a query takes at most {PARAMETERS} parameters")));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            decoded.push((decode(name)?, decode(value)?));
        }
        Ok(Self(decoded))
    }

    /// Takes a parameter that may stand once.
    pub(crate) fn take(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut all = self.take_all(name);
        match all.len() {
            0 | 1 => Ok(all.pop()),
            _ => Err(Problem::bad_request(format!("parameter {name} stands more than once")).field(name)),
        }
    }

    pub(crate) fn take_all(&mut self, name: &str) -> Vec<String> {
        self.0.extract_if(.., |(own, _)| own == name).map(|(_, value)| value).collect()
    }

    /// Takes `true` or `false`; absent is false.
    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.take(name)?.as_deref() {
            None | Some("false") => Ok(false),
            Some("true" | "") => Ok(true),
            Some(_) => Err(Problem::bad_request(format!("{name} takes true or false")).field(name)),
        }
    }

    /// Takes `limit`.
    pub(crate) fn limit(&mut self) -> Result<usize, Problem> {
        let Some(text) = self.take("limit")? else { return Ok(PAGE_DEFAULT) };
        let limit = text.parse().ok().filter(|limit| (1..=PAGE).contains(limit));
        limit.ok_or_else(|| Problem::bad_request(format!("limit takes a number from 1 to {PAGE}")).field("limit"))
    }

    /// Takes `after`.
    pub(crate) fn after(&mut self) -> Result<Option<PageToken>, Problem> {
        Ok(self.take("after")?.map(PageToken))
    }

    /// Takes `wait`, seconds, at most [`WAIT`].
    pub(crate) fn wait(&mut self) -> Result<Option<Duration>, Problem> {
        let Some(text) = self.take("wait")? else { return Ok(None) };
        let seconds = text
            .parse()
            .map_err(|_| Problem::bad_request(format!("wait takes a number of seconds, at most {}", WAIT.as_secs())).field("wait"))?;
        Ok(Some(Duration::from_secs(seconds).min(WAIT)))
    }

    /// Takes every `key`.
    pub(crate) fn keys(&mut self) -> Result<Vec<Key>, Problem> {
        let texts = self.take_all("key");
        if texts.len() > LIST_KEYS {
            return Err(Problem::bad_request(format!("a list takes at most {LIST_KEYS} keys")).field("key"));
        }
        texts.iter().map(|text| path::key(text)).collect()
    }

    /// Takes what is left as conditions on fields.
    pub(crate) fn filters(self) -> Result<Vec<FieldFilter>, Problem> {
        self.0.into_iter().map(|(name, text)| filter(name, text)).collect()
    }

    /// Refuses what is left; `known` are the parameters that this path takes.
    pub(crate) fn finish(self, known: &str) -> Result<(), Problem> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => {
                let takes = if known.is_empty() { "no parameters".to_owned() } else { known.to_owned() };
                let name: String = name.chars().take(80).collect();
                Err(Problem::bad_request(format!("unknown parameter {name:?}; this path takes {takes}")).field(name))
            }
        }
    }
}

fn filter(name: String, text: String) -> Result<FieldFilter, Problem> {
    let field = name.strip_prefix("value.").map(str::to_owned).unwrap_or(name);
    if field.is_empty() {
        return Err(Problem::bad_request("a condition is FIELD=VALUE; the field is missing"));
    }
    if let Some((plain, operator)) = field.strip_suffix(']').and_then(|rest| rest.rsplit_once('[')) {
        let detail = format!("operator [{operator}] is not supported by this version; it takes {plain}=VALUE alone");
        return Err(Problem::bad_request(detail).field(field.clone()));
    }
    Ok(FieldFilter { field, text })
}

/// Refuses an order other than the key's.
pub(crate) fn check_sort(sort: Option<String>, collection: &str) -> Result<(), Problem> {
    match sort.as_deref() {
        None | Some("" | "key") => Ok(()),
        Some("-key") => Err(Problem::bad_request("this version lists by key upwards only; leave out sort").field("sort")),
        Some(fields) => {
            let field = fields.split(',').map(|field| field.trim_start_matches('-')).find(|field| *field != "key");
            let field: String = field.unwrap_or_default().chars().take(80).collect();
            let detail = format!(
                "{collection} cannot be listed by {field:?}: no index serves that; add the line indexes = [{field:?}] \
                 to its [[collection]] definition, and list by key until this version serves other orders"
            );
            Err(Problem::new(Code::NoIndex, detail).collection(collection).field(field))
        }
    }
}

fn decode(text: &str) -> Result<String, Problem> {
    let spaced: Vec<u8> = text.bytes().map(|byte| if byte == b'+' { b' ' } else { byte }).collect();
    let decoded = percent_decode(&spaced).decode_utf8();
    let decoded = decoded.map_err(|_| Problem::bad_request("the query is not UTF-8 once its percent-encoding is undone"))?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded() {
        let mut query = Query::parse("prefix=a%2Fb&Name=Chai+%26+Tee&value.limit=3&&flag").unwrap();
        assert_eq!(query.take("prefix").unwrap().as_deref(), Some("a/b"));
        assert!(query.flag("flag").unwrap());
        let filters = query.filters().unwrap();
        assert_eq!(filters[0], FieldFilter { field: "Name".into(), text: "Chai & Tee".into() });
        assert_eq!(filters[1].field, "limit");
    }

    #[test]
    fn bounds_and_unknown_names() {
        let limit = |text: &str| Query::parse(text).unwrap().limit();
        assert_eq!(limit("").unwrap(), PAGE_DEFAULT);
        assert_eq!(limit("limit=1000").unwrap(), 1_000);
        for bad in ["limit=0", "limit=1001", "limit=x", "limit=1&limit=2"] {
            assert!(limit(bad).is_err(), "{bad}");
        }
        let keys = vec!["key=a"; 101].join("&");
        assert!(Query::parse(&keys).unwrap().keys().is_err());
        assert_eq!(Query::parse(&keys[..keys.len() - 6]).unwrap().keys().unwrap().len(), 100);
        assert!(Query::parse("reed=base").unwrap().finish("read").unwrap_err().detail().contains("takes read"));
        assert!(Query::parse("a=%ff").is_err());
        assert!(Query::parse(&vec!["a=1"; 201].join("&")).is_err());
    }

    #[test]
    fn what_comes_later_is_refused_clearly() {
        let problem = Query::parse("UnitsInStock%5Blt%5D=3").unwrap().filters().unwrap_err();
        assert!(problem.detail().contains("[lt]"));
        let problem = check_sort(Some("key,-UnitPrice".into()), "products").unwrap_err();
        assert_eq!(problem.code(), Code::NoIndex);
        assert!(problem.detail().contains("indexes = [\"UnitPrice\"]"), "{problem}");
        assert!(check_sort(Some("key".into()), "products").is_ok());
    }
}
