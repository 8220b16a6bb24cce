//! Which of what a device says its model allows. What is refused is told and keeps nothing else from counting.

use std::collections::BTreeMap;

use proto::device::{Access, Model, Property, Unfit};
use proto::json::Raw;

use crate::incoming::{PropertyUpdate, Said, TwinUpdate};
use crate::limits::REFUSED_NAMED;

/// States that KubeEdge knows.
pub const STATES: [&str; 5] = ["online", "offline", "ok", "unknown", "unhealthy"];

/// A value that may be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fit {
    /// As it is kept.
    pub value: Raw,
    /// When it was measured, where that was said.
    pub timestamp: Option<u64>,
}

/// An update, judged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Judged {
    /// New reported values, by property.
    pub reported: BTreeMap<String, Fit>,
    /// New desired values, by property.
    pub desired: BTreeMap<String, Fit>,
    /// What was refused, and why, in the order of names.
    pub refused: Vec<(String, String)>,
}

impl Judged {
    /// Judges an update by the device's model.
    pub fn of(update: &TwinUpdate, model: &Model) -> Self {
        let mut judged = Self::default();
        for (name, said) in &update.properties {
            match model.properties.get(name) {
                None => judged.refuse(name, "the model has no such property"),
                // The property is the model's and stays; what was reported of it is not known any more.
                Some(_) if said.removed => drop(judged.reported.insert(name.clone(), Fit { value: Raw::null(), timestamp: None })),
                Some(property) => judged.property(name, property, said),
            }
        }
        judged
    }

    fn property(&mut self, name: &str, property: &Property, said: &PropertyUpdate) {
        if said.reported.is_none() && said.desired.is_none() {
            return self.refuse(name, "it has neither an actual nor an expected value");
        }
        if let Some(half) = &said.reported {
            match fit(property, half) {
                Ok(fit) => drop(self.reported.insert(name.to_owned(), fit)),
                Err(unfit) => self.refuse(name, unfit),
            }
        }
        match &said.desired {
            None => {}
            Some(_) if property.access == Access::ReadOnly => self.refuse(name, "it is read-only: nothing is expected of it"),
            Some(half) => match fit(property, half) {
                Ok(fit) => drop(self.desired.insert(name.to_owned(), fit)),
                Err(unfit) => self.refuse(name, unfit),
            },
        }
    }

    fn refuse(&mut self, name: &str, why: impl ToString) {
        self.refused.push((name.chars().take(128).collect(), why.to_string()));
    }

    /// What is told of what was refused; none: nothing was.
    pub fn reason(&self) -> Option<String> {
        let named = self.refused.iter().take(REFUSED_NAMED).map(|(name, why)| format!("{name}: {why}"));
        let mut reason = named.collect::<Vec<_>>().join("; ");
        if let Some(more) = self.refused.len().checked_sub(REFUSED_NAMED).filter(|more| *more > 0) {
            reason.push_str(&format!("; and {more} more"));
        }
        (!self.refused.is_empty()).then_some(reason)
    }
}

fn fit(property: &Property, said: &Said) -> Result<Fit, Unfit> {
    let value = match said.value.as_text() {
        Some(text) => property.read(&text)?,
        None => property.judge(&said.value)?,
    };
    Ok(Fit { value, timestamp: said.timestamp })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn judged(payload: &str) -> Judged {
        let model = Model::parse(
            r#"{"properties":{"temp":{"type":"int","maximum":30},"target":{"type":"float","access":"read-write"},"name":{"type":"string"}}}"#,
        );
        Judged::of(&TwinUpdate::read(payload.as_bytes()).unwrap(), &model.unwrap())
    }

    #[test]
    fn what_fits_counts_whatever_stands_beside_it() {
        let judged = judged(
            r#"{"twin":{"temp":{"actual":{"value":"31"}},"target":{"actual":{"value":"20.5"},"expected":{"value":19}},
                "name":{"actual":{"value":"7"},"expected":{"value":"x"}},"rpm":{"actual":{"value":"1"}},"gone":null}}"#,
        );
        let kept = |side: &BTreeMap<String, Fit>| -> Vec<(String, String)> {
            side.iter().map(|(name, fit)| (name.clone(), fit.value.as_str().to_owned())).collect()
        };
        assert_eq!(kept(&judged.reported), [("name".into(), "\"7\"".into()), ("target".into(), "20.5".into())]);
        assert_eq!(kept(&judged.desired), [("target".to_owned(), "19".to_owned())]);
        let names: Vec<_> = judged.refused.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["gone", "name", "rpm", "temp"]);
        assert!(judged.reason().unwrap().contains("temp: 31 is above 30"));
    }

    #[test]
    fn null_takes_back_what_was_reported() {
        let judged = judged(r#"{"twin":{"temp":null,"name":{"actual":{"value":"x"}}}}"#);
        assert_eq!(judged.reported["temp"], Fit { value: Raw::null(), timestamp: None });
        assert_eq!((judged.reported.len(), judged.desired.len(), judged.reason()), (2, 0, None));
    }

    #[test]
    fn ten_thousand_strangers_are_one_sentence() {
        let many: Vec<String> = (0..10_000).map(|n| format!(r#""p{n}":{{"actual":{{"value":"1"}}}}"#)).collect();
        let judged = judged(&format!(r#"{{"twin":{{{}}}}}"#, many.join(",")));
        assert_eq!(judged.refused.len(), 10_000);
        let reason = judged.reason().unwrap();
        assert!(reason.ends_with("; and 9992 more") && reason.len() < 1_000, "{reason}");
    }

    #[test]
    fn nothing_refused_says_nothing() {
        assert_eq!(judged(r#"{"twin":{"temp":{"actual":{"value":"3"}}}}"#).reason(), None);
    }
}
