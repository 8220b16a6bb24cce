//! What the query string of a request says. Unknown parameters are refused, except where they name fields.

use std::time::Duration;

use axum::extract::FromRequestParts;
use http::request::Parts;
use percent_encoding::percent_decode;
use proto::limits::{LIST_CONDITIONS, LIST_KEYS};
use proto::list::{Compare, Condition, Order};
use proto::names::Key;

use super::path;
use crate::hub::PageToken;
use crate::limits::{PAGE, PAGE_DEFAULT, PARAMETERS, WAIT};
use crate::problem::Problem;

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

    /// Takes `sort`.
    pub(crate) fn order(&mut self) -> Result<Order, Problem> {
        let sort = self.take("sort")?.unwrap_or_default();
        Order::parse(&sort).map_err(|error| Problem::bad_request(error.to_string()).field("sort"))
    }

    /// Takes what is left as conditions on fields.
    pub(crate) fn conditions(self) -> Result<Vec<Condition>, Problem> {
        if self.0.len() > LIST_CONDITIONS {
            return Err(Problem::bad_request(format!("a list takes at most {LIST_CONDITIONS} conditions")));
        }
        self.0.into_iter().map(|(name, text)| condition(name, text)).collect()
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

fn condition(name: String, text: String) -> Result<Condition, Problem> {
    let name = name.strip_prefix("value.").map(str::to_owned).unwrap_or(name);
    let (field, compare) = match name.strip_suffix(']').and_then(|rest| rest.rsplit_once('[')) {
        None => (name.as_str(), Compare::Equal),
        Some((field, word)) => match Compare::read(word) {
            Some(compare) => (field, compare),
            None => {
                let word: String = word.chars().take(80).collect();
                let detail =
                    format!("there is no operator [{word}]; a condition is FIELD=VALUE or FIELD[{}]=VALUE", Compare::WORDS.join("|"));
                return Err(Problem::bad_request(detail).field(name.chars().take(80).collect::<String>()));
            }
        },
    };
    if field.is_empty() {
        return Err(Problem::bad_request("a condition is FIELD=VALUE; the field is missing"));
    }
    let texts = if compare == Compare::OneOf { values(&text) } else { vec![text] };
    if texts.len() > LIST_CONDITIONS {
        return Err(Problem::bad_request(format!("[in] takes at most {LIST_CONDITIONS} values")).field(field));
    }
    Ok(Condition::new(field, compare, texts))
}

/// `a,b`, or as a JSON array of scalars where a value holds a comma: `["a,b","c"]`.
fn values(text: &str) -> Vec<String> {
    let listed = serde_json::from_str::<Vec<&serde_json::value::RawValue>>(text).ok().and_then(|listed| {
        listed
            .into_iter()
            .map(|raw| match raw.get().as_bytes().first() {
                Some(b'"') => serde_json::from_str::<String>(raw.get()).ok(),
                Some(b'[' | b'{') => None,
                _ => Some(raw.get().to_owned()),
            })
            .collect()
    });
    listed.unwrap_or_else(|| text.split(',').map(str::to_owned).collect())
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
        let conditions = query.conditions().unwrap();
        assert_eq!(conditions[0], Condition::new("Name", Compare::Equal, vec!["Chai & Tee".into()]));
        assert_eq!(conditions[1].field(), "limit");
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
    fn operators() {
        let one = |text: &str| Query::parse(text).unwrap().conditions().map(|mut all| all.remove(0));
        assert_eq!(one("UnitsInStock%5Blt%5D=10").unwrap(), Condition::new("UnitsInStock", Compare::Less, vec!["10".into()]));
        assert_eq!(one("value.key[ne]=").unwrap(), Condition::new("key", Compare::NotEqual, vec![String::new()]));
        let texts = |text: &str| one(text).unwrap().texts().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(texts("C[in]=1,2"), ["1", "2"]);
        assert_eq!(texts("C[in]=1%2C2"), ["1", "2"], "as URLSearchParams and urlencode write it");
        assert_eq!(texts("C[in]=%5B%22a,b%22,%203,null%5D"), ["a,b", "3", "null"]);
        assert_eq!(texts("C[in]=[1"), ["[1"]);
        for bad in ["C[like]=x", "[lt]=3", "=3", "value.=3"] {
            assert!(one(bad).is_err(), "{bad}");
        }
        assert!(one("C[like]=x").unwrap_err().detail().contains("FIELD[lt|lte|gt|gte|ne|in]=VALUE"));
        assert!(one(&format!("C[in]={}", vec!["1"; 101].join(","))).is_err());
    }
}
