//! Whether the hub's ports are reached, and whether they are the right ones.

use transport::tls::TlsProblem;

use super::Check;
use super::probe::{Probe, Probes, Role, Trouble};

const NAME: &str = "port";

/// The link's port, where nobody chose another.
const LINK: u16 = 10000;
/// The API's.
const API: u16 = 10002;

pub(super) fn judge(probes: &Probes) -> Check {
    if probes.is_empty() {
        return Check::skipped(NAME, "no address of a hub is known: neither [link] servers nor [join] server is set");
    }
    let links: Vec<_> = probes.links.iter().map(one).collect();
    let apis: Vec<_> = probes.apis.iter().map(one).collect();
    let mut findings = one_is_enough(links, false);
    // The link alone carries everything but the renewal of the certificate.
    findings.extend(one_is_enough(apis, !findings.is_empty()));
    Check::worst(NAME, findings)
}

/// Of several addresses one must work; the others are worth a warning. `minor`: so is that none does.
fn one_is_enough(mut findings: Vec<Check>, minor: bool) -> Vec<Check> {
    if minor || findings.iter().any(|finding| finding.verdict == super::Verdict::Ok) {
        for finding in findings.iter_mut().filter(|finding| finding.verdict == super::Verdict::Failed) {
            finding.verdict = super::Verdict::Warning;
        }
    }
    findings
}

fn one(probe: &Probe) -> Check {
    let (what, usual, server) = match probe.role {
        Role::Link => ("link", LINK, &probe.server),
        Role::Api => ("API", API, &probe.server),
    };
    let answers = || {
        let through = probe.through.as_ref().map(|proxy| format!(" through the proxy {proxy}")).unwrap_or_default();
        Check::ok(NAME, format!("{what} {server} answers{through} ({} ms)", probe.took.as_millis()))
    };
    let Some(trouble) = &probe.trouble else { return answers() };
    let failed = |found: String, advice: String| Check::failed(NAME, found, advice);
    match trouble {
        Trouble::Silent(step) => failed(
            format!("{what} {server} does not answer within 5 s ({step})"),
            format!(
                "something on the way drops it: open TCP port {} outwards in firewall and router, and look whether the address is right",
                server.port
            ),
        ),
        Trouble::Refused => failed(
            format!("nothing listens on {server} (connection refused)"),
            format!(
                "start cloudhub there, or correct the port: the {what} is {usual} unless the operator chose another ({})",
                setting(probe.role)
            ),
        ),
        Trouble::Unresolved(_) => failed(format!("{what} {server}: its name cannot be resolved"), "see the dns check".into()),
        Trouble::Proxy(reason) => failed(
            format!("{what} {server} cannot be reached: {reason}"),
            "ask who runs the proxy, or reach the hub past it (NO_PROXY); HTTPS_PROXY must be set for the service, not only here".into(),
        ),
        Trouble::Unreachable(reason) => failed(
            format!("{what} {server} cannot be reached: {reason}"),
            "look at cable, Wi-Fi and the way out (ip route); is the address right?".into(),
        ),
        Trouble::Tls(TlsProblem::CertificateRequired) if probe.role == Role::Api => mixed_up(probe, "the link", "the API"),
        Trouble::Tls(TlsProblem::NotTls) => failed(
            format!("what answers on {server} does not speak TLS 1.3"),
            format!("another service has this port, or a proxy is in between; the {what} is {usual} ({})", setting(probe.role)),
        ),
        // The hub's own certificate was shown, or nothing would have been said.
        Trouble::Said { status, text } if probe.role == Role::Link && !trouble.is_gate() => match status {
            0..500 => mixed_up(probe, "the hub's API", "the link"),
            _ => failed(
                format!("what answers on {server} is no link: HTTP {status} {text}"),
                format!("a proxy is in between, or the port is another service's; the link is {LINK} ({})", setting(probe.role)),
            ),
        },
        Trouble::Foreign(reason) => failed(
            format!("what answers on {server} is not the {what}: {reason}"),
            format!("look at the port: the {what} is {usual} ({})", setting(probe.role)),
        ),
        // The port is the right one; what it says about certificates is the certificate check's.
        Trouble::Tls(_) | Trouble::Said { .. } => answers(),
    }
}

fn mixed_up(probe: &Probe, is: &str, wanted: &str) -> Check {
    let usual = if probe.role == Role::Link { LINK } else { API };
    Check::failed(
        NAME,
        format!("{} is {is}, not {wanted}", probe.server),
        format!("the two ports are mixed up: {wanted} is {usual} unless the operator chose another ({})", setting(probe.role)),
    )
}

fn setting(role: Role) -> &'static str {
    match role {
        Role::Link => "[link] servers in edgehub.toml",
        Role::Api => "[join] server; after the join, what the hub was told with --advertise",
    }
}
