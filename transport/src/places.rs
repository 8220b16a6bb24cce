//! Who may be in a handshake: so many at a time, and when there are more, a newcomer from elsewhere does not wait for a crowd from
//! one address.
//!
//! A handshake comes before anybody is known, so an address is all there is to be fair by. Pure: the time is an argument.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use tokio::time::Instant;

use crate::limits::{HANDSHAKE_PATIENT, HANDSHAKES, HANDSHAKES_SHARE};

/// Handshakes in progress, in the order in which they began, each with what ends it.
#[derive(Debug)]
pub(crate) struct Places<K>(Vec<Place<K>>);

#[derive(Debug)]
struct Place<K> {
    id: K,
    remote: SocketAddr,
    since: Instant,
}

/// Whether a newcomer may begin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Room<K> {
    /// Now.
    Free,
    /// Now, when this one has been ended.
    InPlaceOf(K),
    /// When a place is free, or then.
    At(Instant),
    /// Too many from its address are there.
    None,
}

impl<K: Copy + PartialEq> Places<K> {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn enter(&mut self, id: K, remote: SocketAddr, now: Instant) {
        self.0.push(Place { id, remote, since: now });
    }

    /// Whoever has left already may leave again.
    pub(crate) fn leave(&mut self, id: K) {
        self.0.retain(|place| place.id != id);
    }

    /// For a newcomer from there. While all places are taken, who has most of them gives way to the others: the one that is at it
    /// for longest, at once where an address has more than its share, else when it had its time.
    pub(crate) fn room(&self, remote: SocketAddr, now: Instant) -> Room<K> {
        if self.0.len() < HANDSHAKES {
            return Room::Free;
        }
        let own = network(remote);
        let crowded = self.crowded();
        if let Some(place) = self.oldest_of(crowded.filter(|crowded| *crowded != own)) {
            return Room::InPlaceOf(place.id);
        }
        let Some(place) = self.0.first() else { return Room::Free };
        let patient = place.since + HANDSHAKE_PATIENT;
        match (patient <= now, crowded.is_some()) {
            (true, _) => Room::InPlaceOf(place.id),
            (false, true) => Room::None,
            (false, false) => Room::At(patient),
        }
    }

    /// The network that has more than its share.
    fn crowded(&self) -> Option<IpAddr> {
        // It has more than half of all, so it is what is left when each one is set off against one of another network.
        let (mut candidate, mut ahead) = (None, 0_usize);
        for place in &self.0 {
            let network = network(place.remote);
            if ahead == 0 {
                candidate = Some(network);
            }
            ahead = if candidate == Some(network) { ahead + 1 } else { ahead - 1 };
        }
        candidate.filter(|crowded| self.0.iter().filter(|place| network(place.remote) == *crowded).count() > HANDSHAKES_SHARE)
    }

    fn oldest_of(&self, crowded: Option<IpAddr>) -> Option<&Place<K>> {
        let crowded = crowded?;
        self.0.iter().find(|place| network(place.remote) == crowded)
    }
}

/// An address, or what one customer of an IPv6 provider has at least.
fn network(remote: SocketAddr) -> IpAddr {
    match remote.ip().to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn from(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), 1)
    }

    fn taken_by(address: impl Fn(usize) -> SocketAddr, now: Instant) -> Places<usize> {
        let mut places = Places::new();
        (0..HANDSHAKES).for_each(|id| places.enter(id, address(id), now));
        places
    }

    #[test]
    fn whoever_comes_from_elsewhere_does_not_wait_for_a_crowd_from_one_address() {
        let now = Instant::now();
        let mut places = taken_by(|id| if id < 100 { from("10.0.0.1") } else { from("10.0.0.2") }, now);
        assert_eq!(places.room(from("10.0.0.3"), now), Room::InPlaceOf(100), "the oldest of the crowd");
        assert_eq!(places.room(from("10.0.0.1"), now), Room::InPlaceOf(100));
        assert_eq!(places.room(from("10.0.0.2"), now), Room::None, "the crowd itself blocks nobody");
        places.leave(100);
        assert_eq!(places.room(from("10.0.0.2"), now), Room::Free);
    }

    #[test]
    fn a_crowd_from_everywhere_is_let_be_for_as_long_as_a_handshake_takes() {
        let now = Instant::now();
        let places = taken_by(|id| SocketAddr::new(IpAddr::from([10, 1, (id / 256) as u8, (id % 256) as u8]), 1), now);
        assert_eq!(places.room(from("10.0.0.3"), now), Room::At(now + HANDSHAKE_PATIENT));
        assert_eq!(places.room(from("10.0.0.3"), now + HANDSHAKE_PATIENT), Room::InPlaceOf(0), "the oldest of all");
    }

    #[test]
    fn behind_one_address_the_silent_make_room_for_the_others() {
        let now = Instant::now();
        let places = taken_by(|_| from("::ffff:10.0.0.1"), now);
        assert_eq!(places.room(from("10.0.0.1"), now), Room::None);
        assert_eq!(places.room(from("10.0.0.1"), now + HANDSHAKE_PATIENT), Room::InPlaceOf(0));
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_are_one_crowd() {
        let now = Instant::now();
        let places = taken_by(|id| SocketAddr::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, id as u16).into(), 1), now);
        assert_eq!(places.room(from("2001:db8:0:2::1"), now), Room::InPlaceOf(0));
        assert_eq!(places.room(from("2001:db8:0:1::ffff"), now + Duration::from_millis(1)), Room::None);
    }
}
