//! Whether QUIC gets through beside WebSocket. Where it does not, the link is up all the same, and nothing else would tell why
//! it is never the faster one.

use super::Check;
use super::probe::{Probe, Probes, Trouble};
use crate::config::{LinkConfig, Transport};

const NAME: &str = "quic";

pub(super) fn judge(link: &LinkConfig, probes: &Probes) -> Check {
    match link.transport {
        Transport::Quic => return Check::skipped(NAME, "the link uses nothing else: see the port check"),
        Transport::Websocket => return Check::skipped(NAME, "[link] transport is websocket"),
        Transport::Auto if link.metered => return Check::skipped(NAME, "the link is metered: WebSocket alone"),
        Transport::Auto if probes.quic.is_empty() => return Check::skipped(NAME, "no QUIC port of a hub is known"),
        Transport::Auto => {}
    }
    Check::worst(NAME, probes.quic.iter().map(one).collect())
}

fn one(probe: &Probe) -> Check {
    let Probe { server, took, trouble, .. } = probe;
    let why = match trouble {
        // What it says about certificates is the certificate check's.
        None | Some(Trouble::Tls(_) | Trouble::Said { .. }) => {
            return Check::ok(NAME, format!("{server} answers over UDP ({} ms)", took.as_millis()));
        }
        Some(Trouble::Silent(_)) => "nothing comes back within 5 s".to_owned(),
        Some(Trouble::Unresolved(_)) => return Check::skipped(NAME, format!("{server}: see the dns check")),
        Some(Trouble::Refused) => "nothing listens".to_owned(),
        Some(Trouble::Unreachable(reason) | Trouble::Foreign(reason) | Trouble::Proxy(reason)) => reason.clone(),
    };
    Check::warning(
        NAME,
        format!("{server} is not reached over UDP: {why}"),
        format!(
            "nothing is lost, the link uses WebSocket; for QUIC let UDP port {0} out, and on the hub in; where there is never to be any, \
             write transport = \"websocket\" under [link]",
            server.port
        ),
    )
}
