//! Times as answers show them.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, PrimitiveDateTime};

/// Milliseconds since 1970, UTC; in JSON RFC 3339 with three decimals: `2026-11-20T09:30:00.000Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, utoipa::ToSchema)]
#[schema(value_type = String, format = DateTime)]
pub struct Time(pub u64);

impl Time {
    /// What the system's clock says.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A time beyond the year 9999 can only come from a damaged clock; the last representable one is shown.
        let seconds = i64::try_from(self.0 / 1000).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
        let (time, millis) = seconds.map_or((PrimitiveDateTime::MAX.assume_utc(), 999), |time| (time, self.0 % 1000));
        let (year, month, day) = time.to_calendar_date();
        let (hour, minute, second) = time.to_hms();
        write!(f, "{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z", u8::from(month))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = OffsetDateTime::parse(&text, &Rfc3339).map_err(serde::de::Error::custom)?;
        let seconds = u64::try_from(time.unix_timestamp()).map_err(|_| serde::de::Error::custom("a time before 1970"))?;
        Ok(Self(seconds * 1000 + u64::from(time.millisecond())))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Time;

    #[test]
    fn always_three_decimals_and_utc() {
        assert_eq!(Time(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Time(1_795_166_400_120).to_string(), "2026-11-20T09:20:00.120Z");
        assert_eq!(Time(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
        let text = serde_json::to_string(&Time(1_795_166_400_120)).unwrap();
        assert_eq!(serde_json::from_str::<Time>(&text).unwrap(), Time(1_795_166_400_120));
        assert_eq!(serde_json::from_str::<Time>(r#""2026-11-20T10:20:00.1209+01:00""#).unwrap(), Time(1_795_166_400_120));
        assert!(serde_json::from_str::<Time>(r#""1969-12-31T23:59:59Z""#).is_err());
    }
}
