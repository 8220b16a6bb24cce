//! Why a QUIC connection is over, in the words that every link uses.

use std::io;

use quinn::{ApplicationClose, ConnectionError};
use rustls::AlertDescription;

use crate::admission::{EXPIRED, NO_CERTIFICATE, OTHER_CA, RefusalReason};
use crate::dial::ConnectReason;
use crate::limits::REFUSAL_TEXT;
use crate::link::{CloseCode, CloseReason, LinkError};
use crate::tls::{SIGNED_ITSELF, TlsProblem};

/// A goodbye; `None` where the peer's process dropped the link without one (code 0).
pub(super) fn goodbye(close: &ApplicationClose) -> Option<CloseReason> {
    let number = u16::try_from(close.error_code.into_inner()).ok()?;
    (number > 0).then(|| CloseReason::new(CloseCode::of(number), text(close)))
}

fn text(close: &ApplicationClose) -> String {
    String::from_utf8_lossy(&close.reason[..close.reason.len().min(REFUSAL_TEXT)]).into_owned()
}

/// Why an established link cannot go on.
pub(super) fn lost(error: &ConnectionError) -> LinkError {
    LinkError::Lost(match error {
        ConnectionError::ApplicationClosed(close) if goodbye(close).is_none() => "the connection ended without a goodbye".to_owned(),
        ConnectionError::ApplicationClosed(_) | ConnectionError::LocallyClosed => "the link has ended".to_owned(),
        ConnectionError::Reset => "the other side does not know this connection any more: it has restarted".to_owned(),
        ConnectionError::TimedOut => "nothing came for too long".to_owned(),
        other => other.to_string(),
    })
}

/// The TLS alert inside a QUIC error code.
fn alert(code: quinn::TransportErrorCode) -> Option<AlertDescription> {
    let code = u64::from(code);
    (0x100..0x200).contains(&code).then(|| AlertDescription::from(code as u8))
}

/// Why the edge's handshake failed.
pub(super) fn of_connect(error: &ConnectionError) -> ConnectReason {
    match error {
        // The hub's certificate was judged here; rustls' words name what is valid.
        ConnectionError::TransportError(own) => match alert(own.code) {
            Some(AlertDescription::UnknownCA | AlertDescription::DecryptError) => ConnectReason::Tls(TlsProblem::OtherCa),
            Some(AlertDescription::CertificateExpired) => ConnectReason::Tls(TlsProblem::Expired { not_after: None }),
            Some(_) if own.reason.contains(SIGNED_ITSELF) => ConnectReason::Tls(TlsProblem::OtherCa),
            Some(_) => ConnectReason::Tls(TlsProblem::Other(own.reason.clone())),
            None => ConnectReason::Quic(own.to_string()),
        },
        ConnectionError::ConnectionClosed(close) => match alert(close.error_code) {
            Some(AlertDescription::NoApplicationProtocol) => ConnectReason::Quic("what answers there is no link port".to_owned()),
            Some(alert) => ConnectReason::Tls(TlsProblem::of_alert(alert)),
            None => ConnectReason::Quic(close.to_string()),
        },
        ConnectionError::ApplicationClosed(close) => match goodbye(close) {
            Some(CloseReason { code: CloseCode::Refused, .. }) => ConnectReason::NotAdmitted(text(close)),
            Some(reason) => ConnectReason::Quic(reason.to_string()),
            None => ConnectReason::Quic("it ended the connection without a word".to_owned()),
        },
        other => ConnectReason::Quic(other.to_string()),
    }
}

/// Why a connection did not become a link at the hub.
pub(super) fn of_accept(error: ConnectionError) -> RefusalReason {
    match &error {
        ConnectionError::TransportError(own) => match alert(own.code) {
            Some(AlertDescription::CertificateRequired) => RefusalReason::Tls(NO_CERTIFICATE.to_owned()),
            Some(AlertDescription::UnknownCA | AlertDescription::DecryptError) => RefusalReason::Tls(OTHER_CA.to_owned()),
            Some(AlertDescription::CertificateExpired) => RefusalReason::Tls(EXPIRED.to_owned()),
            Some(AlertDescription::NoApplicationProtocol) => {
                RefusalReason::Quic("the protocol tombolo/1 must be offered (ALPN)".to_owned())
            }
            Some(_) => RefusalReason::Tls(format!("TLS failed: {}", own.reason)),
            None => RefusalReason::Quic(own.to_string()),
        },
        ConnectionError::ConnectionClosed(close) => match alert(close.error_code) {
            Some(alert) => RefusalReason::Tls(TlsProblem::of_alert(alert).to_string()),
            None => RefusalReason::Lost(io::Error::other(error)),
        },
        _ => RefusalReason::Lost(io::Error::other(error)),
    }
}
