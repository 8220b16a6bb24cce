//! The join token of a machine that has not joined yet.

use std::time::SystemTime;

use api::shapes::Time;
use transport::tls::TlsProblem;
use transport::token::JoinToken;

use super::probe::{Probes, Trouble};
use super::{Check, millis};
use crate::config::{RunConfig, TOKEN_VARIABLE};

const NAME: &str = "token";

/// Where a token is looked for: in the file of `[join]`, then in the environment.
#[derive(Debug)]
pub(super) enum Facts {
    /// The machine has an identity.
    Joined,
    /// There is none.
    None {
        /// Whether `[join]` names a server, so that there should be one.
        wanted: bool,
    },
    /// The file cannot be read.
    Unreadable(String),
    /// There is one, with where it comes from.
    Found(String, Box<Result<JoinToken, String>>),
}

impl Facts {
    pub(super) fn read(config: &RunConfig, variable: Option<String>, joined: bool) -> Self {
        if joined {
            return Self::Joined;
        }
        let (text, from) = match (&config.join.token_file, variable.filter(|text| !text.is_empty())) {
            (Some(file), _) => match std::fs::read_to_string(file) {
                Ok(text) => (text, file.display().to_string()),
                Err(error) => return Self::Unreadable(format!("cannot read the token file {}: {error}", file.display())),
            },
            (None, Some(text)) => (text, format!("${TOKEN_VARIABLE}")),
            (None, None) => return Self::None { wanted: config.join.server.is_some() },
        };
        Self::Found(from, Box::new(text.parse().map_err(|error: transport::token::TokenError| error.to_string())))
    }

    /// The token, where there is a whole one.
    pub(super) fn token(&self) -> Option<&JoinToken> {
        match self {
            Self::Found(_, token) => token.as_ref().as_ref().ok(),
            _ => None,
        }
    }
}

/// `now` is the latest time that this machine knows of.
pub(super) fn judge(facts: &Facts, probes: &Probes, now: SystemTime) -> Check {
    let new = "make a new one on the cloud: cloudhub token create";
    let (from, token) = match facts {
        Facts::Joined => return Check::skipped(NAME, "this machine has joined and needs none"),
        Facts::None { wanted: false } => {
            return Check::skipped(
                NAME,
                format!("neither [join] token_file nor ${TOKEN_VARIABLE} holds one; `edgehub join` takes it on its command line"),
            );
        }
        Facts::None { wanted: true } => {
            return Check::failed(
                NAME,
                format!("[join] names a server and no token_file, and ${TOKEN_VARIABLE} is not set here"),
                format!("{new}; then set token_file in [join]"),
            );
        }
        Facts::Unreadable(reason) => return Check::failed(NAME, reason.clone(), "correct token_file in [join], or the file's owner"),
        Facts::Found(from, token) => match token.as_ref() {
            Err(error) => return Check::failed(NAME, format!("{from}: {error}"), "copy the whole token again"),
            Ok(token) => (from, token),
        },
    };
    let ends = Time(millis(token.expires()));
    if token.check_expiry(now).is_err() {
        return Check::failed(NAME, format!("the token in {from} ended {ends}"), new);
    }
    match probes.apis.first().map(|probe| (&probe.server, &probe.trouble)) {
        Some((server, None)) => Check::ok(
            NAME,
            format!(
                "the token in {from} is whole, good until {ends}, and of the hub at {server}; only the hub knows whether it was used up"
            ),
        ),
        Some((server, Some(Trouble::Tls(TlsProblem::PinMismatch)))) => Check::failed(
            NAME,
            format!("the hub at {server} is not the one that the token in {from} is of"),
            "correct [join] server, or get a token from the operator of that hub; if both are right, somebody is in between",
        ),
        Some((server, Some(_))) => Check::warning(
            NAME,
            format!("the token in {from} is whole and good until {ends}; {server} could not be asked whether it is its own"),
            "see the port check",
        ),
        None => Check::warning(
            NAME,
            format!("the token in {from} is whole and good until {ends}; no [join] server is set to use it with"),
            "set server in [join], or run edgehub join --server HOST",
        ),
    }
}
