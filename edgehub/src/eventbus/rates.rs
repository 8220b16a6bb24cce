//! How much each device may say: a bucket of messages that fills all the time. MQTT does not tell who published a message, so what is
//! bounded is the device that it is about; all that are not declared share one bucket, and so do questions about the node.
//!
//! What comes beyond the bound is folded, not lost: of its values the newest are kept, in one report with those around it, and it is
//! answered at most once a second.

use std::collections::BTreeMap;

use proto::names::Key;

/// How often one who says too much is told so, milliseconds.
const TOLD_EVERY_MS: u64 = 1_000;
/// Buckets before the full ones, of devices that were quiet, are looked for and forgotten.
const BUCKETS: usize = 4_096;

/// Whose bucket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// A declared device.
    Device(Key),
    /// All others.
    Undeclared,
    /// Questions about the node's devices.
    Membership,
}

#[derive(Debug, Clone)]
struct Bucket {
    /// Thousandths of a message.
    left: u64,
    at_ms: u64,
    /// Messages that were folded and of which nobody was told.
    folded: u64,
    told_ms: Option<u64>,
}

/// All buckets.
#[derive(Debug)]
pub(super) struct Rates {
    per_second: u64,
    buckets: BTreeMap<Who, Bucket>,
}

impl Rates {
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second: per_second.into(), buckets: BTreeMap::new() }
    }

    /// What a bucket holds at most: two seconds' messages, because devices speak in bursts.
    fn full(&self) -> u64 {
        self.per_second * 2_000
    }

    /// Somebody speaks: whether that is within his bound. Where it is not, it counts as folded.
    pub(super) fn takes(&mut self, who: &Who, now_ms: u64) -> bool {
        let (full, per_second) = (self.full(), self.per_second);
        if self.buckets.len() >= BUCKETS && !self.buckets.contains_key(who) {
            let filled = |bucket: &Bucket| bucket.left + now_ms.saturating_sub(bucket.at_ms) * per_second >= full;
            self.buckets.retain(|_, bucket| bucket.folded > 0 || !filled(bucket));
        }
        let bucket = self.buckets.entry(who.clone()).or_insert(Bucket { left: full, at_ms: now_ms, folded: 0, told_ms: None });
        bucket.left = full.min(bucket.left + now_ms.saturating_sub(bucket.at_ms) * per_second);
        bucket.at_ms = now_ms;
        let within = bucket.left >= 1_000;
        match within {
            true => bucket.left -= 1_000,
            false => bucket.folded += 1,
        }
        within
    }

    /// One more of somebody who is over his bound, whatever his bucket holds by now.
    pub(super) fn fold(&mut self, who: &Who) {
        if let Some(bucket) = self.buckets.get_mut(who) {
            bucket.folded += 1;
        }
    }

    /// How many messages he is to be told of now; none: he was told a moment ago.
    pub(super) fn tell(&mut self, who: &Who, now_ms: u64) -> Option<u64> {
        let bucket = self.buckets.get_mut(who)?;
        if bucket.folded == 0 || bucket.told_ms.is_some_and(|told| now_ms.saturating_sub(told) < TOLD_EVERY_MS) {
            return None;
        }
        bucket.told_ms = Some(now_ms);
        Some(std::mem::take(&mut bucket.folded))
    }

    /// The devices that are to be told now although they say nothing any more.
    pub(super) fn owed(&self, now_ms: u64) -> Vec<Key> {
        let due = |bucket: &Bucket| bucket.folded > 0 && bucket.told_ms.is_none_or(|told| now_ms.saturating_sub(told) >= TOLD_EVERY_MS);
        let device = |(who, bucket): (&Who, &Bucket)| match who {
            Who::Device(key) if due(bucket) => Some(key.clone()),
            _ => None,
        };
        self.buckets.iter().filter_map(device).collect()
    }

    /// When the next device is to be told; none: all know.
    pub(super) fn next_ms(&self) -> Option<u64> {
        let waits = |(who, bucket): (&Who, &Bucket)| {
            (bucket.folded > 0 && matches!(who, Who::Device(_))).then(|| bucket.told_ms.map_or(0, |told| told + TOLD_EVERY_MS))
        };
        self.buckets.iter().filter_map(waits).min()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn device(name: &str) -> Who {
        Who::Device(Key::parse(name).unwrap())
    }

    #[test]
    fn a_burst_passes_and_a_flood_is_told_once_a_second() {
        let mut rates = Rates::new(10);
        let loud = device("loud");
        assert!((0..20).all(|_| rates.takes(&loud, 5_000)), "two seconds' worth at once");
        assert!(!rates.takes(&loud, 5_000) && rates.takes(&device("quiet"), 5_000) && rates.takes(&Who::Undeclared, 5_000));
        assert_eq!(rates.tell(&loud, 5_000), Some(1));
        assert!(!rates.takes(&loud, 5_099) && rates.takes(&loud, 5_100) && !rates.takes(&loud, 5_101));
        rates.fold(&loud);
        assert_eq!((rates.tell(&loud, 5_900), rates.next_ms(), rates.owed(5_999)), (None, Some(6_000), vec![]));
        assert_eq!(rates.owed(6_000), [Key::parse("loud").unwrap()]);
        assert_eq!((rates.tell(&loud, 6_000), rates.next_ms()), (Some(3), None));
        assert_eq!(rates.tell(&loud, 9_000), None, "nothing to tell of");
    }

    #[test]
    fn buckets_of_quiet_devices_are_forgotten() {
        let mut rates = Rates::new(1);
        for n in 0..20_000_u64 {
            rates.takes(&device(&format!("d{n}")), n);
        }
        assert!(rates.buckets.len() <= BUCKETS, "{}", rates.buckets.len());
    }
}
