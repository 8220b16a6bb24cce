//! `name=value` on the command line.

use serde_json::{Map, Value};

/// Splits `name=value`; the value may be empty and may hold further `=`.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not of the form NAME=VALUE")),
    }
}

/// Splits a condition: `FIELD=VALUE`, `FIELD[lt]=VALUE`, or `FIELD<VALUE` with the sign for the word.
pub(super) fn comparison(text: &str) -> Result<(String, String), String> {
    let signs = [("<=", "[lte]"), (">=", "[gte]"), ("!=", "[ne]"), ("<", "[lt]"), (">", "[gt]"), ("=", "")];
    let found = (0..text.len()).filter(|at| text.is_char_boundary(*at)).find_map(|at| {
        let sign = signs.iter().find(|(sign, _)| text[at..].starts_with(sign))?;
        Some((&text[..at], sign.1, &text[at + sign.0.len()..]))
    });
    match found {
        Some((field, word, value)) if !field.is_empty() => Ok((format!("{field}{word}"), value.to_owned())),
        _ => Err(format!("`{text}` is not of the form FIELD=VALUE, FIELD<VALUE or FIELD[in]=VALUE,VALUE")),
    }
}

/// Splits `FIELD=N`, where N is a 64-bit integer.
pub(super) fn delta(text: &str) -> Result<(String, i64), String> {
    let (name, value) = pair(text)?;
    let number = value.parse().map_err(|_| format!("`{value}` is not a whole number (of 64 bits)"))?;
    Ok((name, number))
}

/// Increments as a JSON object; of two with one name the later counts.
pub(super) fn deltas_json(pairs: &[(String, i64)]) -> Value {
    Value::Object(pairs.iter().map(|(name, value)| (name.clone(), (*value).into())).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_have_signs_or_words() {
        for (text, field, value) in [
            ("City=Lyon", "City", "Lyon"),
            ("UnitsInStock<10", "UnitsInStock[lt]", "10"),
            ("UnitPrice>=18.5", "UnitPrice[gte]", "18.5"),
            ("City!=", "City[ne]", ""),
            ("CategoryID[in]=1,2", "CategoryID[in]", "1,2"),
            ("Name=a<b", "Name", "a<b"),
        ] {
            assert_eq!(comparison(text), Ok((field.into(), value.into())), "{text}");
        }
        assert!(comparison("City").is_err() && comparison("<3").is_err());
    }

    #[test]
    fn splits_at_the_first_sign() {
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(pair("a="), Ok(("a".into(), String::new())));
        assert!(pair("a").is_err() && pair("=b").is_err());
        assert_eq!(delta("Stock=-3"), Ok(("Stock".into(), -3)));
        assert!(delta("Stock=1.5").is_err() && delta("Stock=99999999999999999999").is_err());
    }
}
