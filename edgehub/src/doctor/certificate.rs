//! Certificates: this node's own files, and what the hub shows.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use api::shapes::Time;
use transport::tls::{TlsProblem, check_node_chain};

use super::probe::{Probe, Probes, Role, Trouble};
use super::{Check, millis};
use crate::identity::Identity;

const NAME: &str = "certificate";

/// The files of an identity, and whether one of them is a secret.
const FILES: [(&str, bool); 4] = [("node.key", true), ("node.crt", false), ("ca.crt", false), ("join.json", false)];

/// One file of `DATA/pki`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum File {
    Mode(u32),
    Missing,
    Unreadable(String),
}

/// This node's own files.
pub(super) struct Own {
    pki: PathBuf,
    files: Vec<(&'static str, bool, File)>,
    identity: Result<Option<Identity>, String>,
    /// Whether `edgehub run` would join by itself.
    joins: bool,
}

impl Own {
    pub(super) fn read(data: &Path, joins: bool) -> Self {
        let pki = data.join("pki");
        let file = |name: &str| match std::fs::metadata(pki.join(name)) {
            Ok(found) => File::Mode(found.permissions().mode() & 0o777),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => File::Missing,
            Err(error) => File::Unreadable(error.to_string()),
        };
        let files = FILES.map(|(name, secret)| (name, secret, file(name))).to_vec();
        let identity = Identity::load(data).map_err(|error| error.to_string());
        Self { pki, files, identity, joins }
    }

    /// The identity, where there is a usable one.
    pub(super) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref().ok()?.as_ref()
    }
}

/// `now` is the time that certificates are judged by here.
pub(super) fn judge(own: &Own, probes: &Probes, now: SystemTime) -> Check {
    let mut findings = modes(&own.pki, &own.files);
    match &own.identity {
        Ok(None) => findings.push(not_joined(own)),
        Err(error) => findings.push(unusable(own, error)),
        Ok(Some(identity)) => {
            findings.push(own_certificate(identity, now));
            findings.extend(probes.all().filter_map(|probe| shown(probe, now)));
        }
    }
    Check::worst(NAME, findings)
}

fn not_joined(own: &Own) -> Check {
    let found = format!("this machine has not joined: there is no identity in {}", own.pki.display());
    let advice = match own.joins {
        true => "[join] is set: start edgehub, it joins by itself; see the checks port and token when it does not",
        false => "join it: edgehub join --server HOST --token T; the operator makes a token with: cloudhub token create",
    };
    Check::failed(NAME, found, advice)
}

fn unusable(own: &Own, error: &str) -> Check {
    let advice = match own.files.iter().any(|(_, _, file)| matches!(file, File::Unreadable(_))) || error.contains("ermission denied") {
        true => "run this as the user that edgehub runs as: sudo -u edgehub edgehub doctor",
        false => {
            "bring pki back from a backup, or join again with a token that replaces this node: cloudhub token create --node NAME --replace"
        }
    };
    Check::failed(NAME, error, advice)
}

fn modes(pki: &Path, files: &[(&'static str, bool, File)]) -> Vec<Check> {
    let open = files.iter().filter_map(|(name, secret, file)| match file {
        File::Mode(mode) if mode & 0o077 != 0 => {
            let path = pki.join(name).display().to_string();
            let found = format!("{path} has mode {mode:04o} instead of 0600");
            Some(match secret {
                true => Check::failed(
                    NAME,
                    format!("{found}: others on this machine can read the node's key"),
                    format!("chmod 600 {path}; if somebody may have read it, let the operator revoke the node and join it again"),
                ),
                false => Check::warning(NAME, found, format!("chmod 600 {path}")),
            })
        }
        _ => None,
    });
    open.collect()
}

fn own_certificate(identity: &Identity, now: SystemTime) -> Check {
    let (node, ends) = (identity.node(), Time(millis(identity.not_after())));
    match check_node_chain(identity.chain(), identity.ca(), now) {
        Ok(Ok(())) => Check::ok(NAME, format!("{node}, good until {ends}")),
        _ if identity.not_after() <= now => Check::failed(
            NAME,
            format!("the certificate of {node} ended {ends}, by this node's clock ({})", Time(millis(now))),
            "look at the clock check first; edgehub renews the certificate by itself as soon as it reaches the hub's API port (10002)",
        ),
        Ok(Err(TlsProblem::OtherCa)) => Check::failed(
            NAME,
            "node.crt was not issued by the authority in ca.crt",
            "bring pki back from a backup, or join again with a token that replaces this node",
        ),
        Ok(Err(problem)) => Check::failed(NAME, format!("node.crt: {problem}"), "join again"),
        Err(error) => Check::failed(NAME, error.to_string(), "bring pki back from a backup, or join again"),
    }
}

/// What a hub's address shows, as far as certificates are concerned.
fn shown(probe: &Probe, now: SystemTime) -> Option<Check> {
    let server = &probe.server;
    let Some(trouble) = &probe.trouble else {
        let ends = probe.shown.as_ref()?.not_after;
        return Some(Check::ok(NAME, format!("the hub's at {server} until {}", Time(millis(ends)))));
    };
    let failed = |found: String, advice: &str| Some(Check::failed(NAME, found, advice));
    match trouble {
        Trouble::Said { text, .. } if trouble.is_gate() && probe.role == Role::Link => {
            failed(format!("{server} refuses this node: {text}"), "a revoked node joins again with a new token from the operator")
        }
        Trouble::Tls(TlsProblem::OtherCa) => {
            let issuer = probe.shown.as_ref().map_or(String::new(), |shown| format!(" (issued by {})", shown.issuer));
            failed(
                format!("{server} shows a certificate that the authority in ca.crt did not issue{issuer}"),
                "a proxy or firewall opens TLS on the way (let this address pass through it unopened), or this is another hub, or the \
                 hub's authority was replaced (join again)",
            )
        }
        Trouble::Tls(TlsProblem::Expired { .. }) => {
            let ends = probe.shown.as_ref().map(|shown| format!(" {}", Time(millis(shown.not_after)))).unwrap_or_default();
            failed(
                format!("the certificate of {server} ended{ends}, by this node's clock ({})", Time(millis(now))),
                "look at the clock check first; when the clock is right, let the operator restart cloudhub, which renews its own",
            )
        }
        Trouble::Tls(problem @ TlsProblem::WrongName { .. }) => {
            failed(format!("{server}: {problem}"), "use one of these names in [link] servers, or let the operator add this one")
        }
        Trouble::Tls(problem @ TlsProblem::CertificateRefused(_)) => {
            failed(format!("{server}: {problem}"), "look at the clocks of both machines; a node of another hub joins again")
        }
        Trouble::Tls(problem @ (TlsProblem::PinMismatch | TlsProblem::Other(_))) => {
            failed(format!("{server}: {problem}"), "let the operator look at the hub's log for the same moment")
        }
        _ => None,
    }
}
