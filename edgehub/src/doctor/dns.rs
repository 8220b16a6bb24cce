//! Whether the names of the hub's addresses can be resolved, and how long it takes.

use std::time::Duration;

use super::Check;
use super::probe::{Lookup, Probes};

const NAME: &str = "dns";

/// A name server that takes longer makes every try of the link slow.
const SLOW: Duration = Duration::from_secs(1);

pub(super) fn judge(probes: &Probes) -> Check {
    if probes.lookups.is_empty() {
        return match probes.is_empty() {
            true => Check::skipped(NAME, "no address of a hub is known"),
            false => Check::skipped(NAME, "the hub's addresses are numbers, no name has to be resolved"),
        };
    }
    Check::worst(NAME, probes.lookups.iter().map(one).collect())
}

fn one(lookup: &Lookup) -> Check {
    let Lookup { host, result, took } = lookup;
    let ms = took.as_millis();
    match result {
        Ok(addresses) if *took > SLOW => Check::warning(
            NAME,
            format!("{host} is {}, after {ms} ms", addresses.join(", ")),
            "the name server is slow: name a nearer one, or give the hub's address as a number in [link] servers",
        ),
        Ok(addresses) => Check::ok(NAME, format!("{host} is {} ({ms} ms)", addresses.join(", "))),
        Err(reason) => Check::failed(
            NAME,
            format!("{host} cannot be resolved: {reason}"),
            format!(
                "look at /etc/resolv.conf and the router, and try: getent hosts {host}; if the network has no name server, give the \
                 hub's address as a number in [link] servers (the hub must know it: cloudhub serve --advertise ADDRESS)"
            ),
        ),
    }
}
