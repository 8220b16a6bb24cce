//! Which time certificates are judged by.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 2026-11-20, before every edgehub that contains this line: moved forward with releases.
const SOURCE_DATE: u64 = 1_795_132_800;

/// A moment before which this program cannot have run: the date of its source or, when the build names it (as
/// `make dist` does), `SOURCE_DATE_EPOCH`. Both are inputs of the build, so the same build gives the same bytes.
pub fn build_date() -> SystemTime {
    let named = option_env!("SOURCE_DATE_EPOCH").and_then(|seconds| seconds.parse().ok());
    UNIX_EPOCH + Duration::from_secs(named.unwrap_or(0).max(SOURCE_DATE))
}

/// The system's clock; where that was never set (it begins in 1970 on a Raspberry Pi without a network, and so lies before
/// the [`build_date`]), the later of the stored hybrid clock (milliseconds since 1970, 0 for none), which has seen the
/// cloud's, and the build date. A stored clock does not count beside a clock that was set: it may have been made while that
/// one was years ahead, and then only the link can set it back (docs/decisions/0005-certificate-time.md).
pub fn certificate_time(system: SystemTime, stored_hlc_ms: u64, build_date: SystemTime) -> SystemTime {
    if system >= build_date {
        return system;
    }
    let stored = UNIX_EPOCH.checked_add(Duration::from_millis(stored_hlc_ms)).unwrap_or(UNIX_EPOCH);
    stored.max(build_date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_never_set_counts_for_nothing() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(certificate_time(at(0), 0, at(500)), at(500), "a Pi that boots in 1970, before its first join");
        assert_eq!(certificate_time(at(0), 900_000, at(500)), at(900), "and after it");
        assert_eq!(certificate_time(at(1_000), 900_000, at(500)), at(1_000));
        assert_eq!(certificate_time(at(1_000), 9_000_000, at(500)), at(1_000), "a stored clock from a day that was years ahead");
    }

    #[test]
    fn the_build_date_is_not_1970() {
        assert!(build_date() >= UNIX_EPOCH + Duration::from_secs(SOURCE_DATE));
    }
}
