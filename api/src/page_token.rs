//! Places in lists, opaque to applications and safe in a query string.

use std::fmt::Write as _;

use proto::list::Position;
use proto::names::Key;
use proto::op::hash;

use crate::hub::{ListQuery, PageToken};
use crate::problem::Problem;

impl PageToken {
    /// After a key.
    pub fn of_key(key: &Key) -> Self {
        Self::of_text(key.as_str())
    }

    /// After a name or an id.
    pub fn of_text(text: &str) -> Self {
        Self(hex('t', text.as_bytes()))
    }

    /// After a place in a list of records, of this order and these conditions and no other.
    pub fn of_place(query: &ListQuery, place: &Position) -> Self {
        let bytes = [&fingerprint(query)[..], &place.to_bytes()].concat();
        Self(hex('l', &bytes))
    }

    /// The place again. Errors: `bad_request` for a token of another list, or one that this API did not make.
    pub fn to_place(&self, query: &ListQuery) -> Result<Position, Problem> {
        let bytes = self.bytes('l')?;
        let (own, place) = bytes.split_first_chunk::<FINGERPRINT>().ok_or_else(foreign)?;
        if own != &fingerprint(query) {
            let detail = "after takes the next of the page before, with the same sort, prefix, keys and conditions as that page";
            return Err(Problem::bad_request(detail).field("after"));
        }
        Position::from_bytes(place, &query.order).ok_or_else(foreign)
    }

    fn bytes(&self, kind: char) -> Result<Vec<u8>, Problem> {
        let hex = self.0.strip_prefix(kind).filter(|hex| hex.is_ascii() && hex.len() % 2 == 0).ok_or_else(foreign)?;
        let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok());
        bytes.collect::<Option<_>>().ok_or_else(foreign)
    }

    /// After a number.
    pub fn of_number(number: u64) -> Self {
        Self(format!("n{number}"))
    }

    /// The token as answers hold it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key again. Errors: `bad_request` for a token that this API did not make.
    pub fn to_key(&self) -> Result<Key, Problem> {
        Key::parse(&self.to_text()?).map_err(|_| foreign())
    }

    /// The name or id again. Errors: as [`PageToken::to_key`].
    pub fn to_text(&self) -> Result<String, Problem> {
        String::from_utf8(self.bytes('t')?).map_err(|_| foreign())
    }

    /// The number again. Errors: as [`PageToken::to_key`].
    pub fn to_number(&self) -> Result<u64, Problem> {
        self.0.strip_prefix('n').and_then(|number| number.parse().ok()).ok_or_else(foreign)
    }
}

/// Bytes of a list's fingerprint: enough to notice a mistake, and nobody gains by forging one.
const FINGERPRINT: usize = 6;

/// What of a list decides which places are in it.
fn fingerprint(query: &ListQuery) -> [u8; FINGERPRINT] {
    let mut bytes = Vec::new();
    let mut text = |text: &str| {
        bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    };
    text(query.collection.as_str());
    text(&query.order.to_string());
    text(query.prefix.as_deref().unwrap_or_default());
    text(&query.keys.len().to_string());
    query.keys.iter().for_each(|key| text(key.as_str()));
    for condition in &query.conditions {
        text(condition.field());
        text(&format!("{:?} {}", condition.compare(), condition.texts().count()));
        condition.texts().for_each(&mut text);
    }
    let hash = hash(&bytes);
    [hash[0], hash[1], hash[2], hash[3], hash[4], hash[5]]
}

fn hex(kind: char, bytes: &[u8]) -> String {
    let mut token = String::with_capacity(1 + 2 * bytes.len());
    token.push(kind);
    for byte in bytes {
        // Writing into a String cannot fail.
        let _ = write!(token, "{byte:02x}");
    }
    token
}

fn foreign() -> Problem {
    Problem::bad_request("after takes the next of the page before, from this same list").field("after")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proto::list::{Compare, Condition, Order, SortValue};
    use proto::names::CollectionName;

    #[test]
    fn tokens_round_trip_and_others_are_refused() {
        let key = Key::parse("10248/11 ü&=").unwrap();
        let token = PageToken::of_key(&key);
        assert!(token.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_eq!(token.to_key().unwrap(), key);
        assert_eq!(PageToken::of_number(42).to_number().unwrap(), 42);
        for bad in ["", "t", "t0", "tzz", "tff", "n1", "t+1", "tü"] {
            assert!(PageToken(bad.into()).to_key().is_err(), "{bad}");
        }
        assert!(PageToken("nx".into()).to_number().is_err());
    }

    #[test]
    fn places_belong_to_their_list() {
        let list = |sort: &str, condition: &str| {
            let conditions = vec![Condition::new("CategoryID", Compare::Equal, vec![condition.into()])];
            let all = ListQuery::all(CollectionName::parse("products").unwrap(), 10);
            ListQuery { order: Order::parse(sort).unwrap(), conditions, ..all }
        };
        let place = Position::new(vec![SortValue::Real(18.5)], "11");
        let token = PageToken::of_place(&list("-UnitPrice", "1"), &place);
        let again = ListQuery { limit: 3, ..list("-UnitPrice", "1") };
        assert_eq!(token.to_place(&again).unwrap(), place);
        for other in [list("UnitPrice", "1"), list("-UnitPrice", "2"), list("", "1")] {
            assert!(token.to_place(&other).unwrap_err().detail().contains("same sort"));
        }
        for bad in ["", "l", "lzz", "l00", "t00", "lü"] {
            assert!(PageToken(bad.into()).to_place(&again).is_err(), "{bad}");
        }
    }
}
