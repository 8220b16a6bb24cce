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

/// The latest of three times that are never ahead of the truth by design: the system's clock, which begins in
/// 1970 on a Raspberry Pi without a network; the stored hybrid clock (milliseconds since 1970, 0 for none), which
/// has seen the cloud's; and the [`build_date`].
pub fn certificate_time(system: SystemTime, stored_hlc_ms: u64, build_date: SystemTime) -> SystemTime {
    let stored = UNIX_EPOCH.checked_add(Duration::from_millis(stored_hlc_ms)).unwrap_or(UNIX_EPOCH);
    system.max(stored).max(build_date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_of_the_three_counts() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(certificate_time(at(0), 0, at(500)), at(500), "a Pi that boots in 1970, before its first join");
        assert_eq!(certificate_time(at(0), 900_000, at(500)), at(900), "and after it");
        assert_eq!(certificate_time(at(1_000), 900_000, at(500)), at(1_000));
    }

    #[test]
    fn the_build_date_is_not_1970() {
        assert!(build_date() >= UNIX_EPOCH + Duration::from_secs(SOURCE_DATE));
    }
}
