//! What a TLS failure means to the person who reads about it.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::{AlertDescription, CertificateError, Error};

use super::verify::{NodeForHub, PinMismatch};

/// Webpki's word for a certificate that signed itself, for which rustls has no variant: a proxy or another device answers.
pub(crate) const SIGNED_ITSELF: &str = "CaUsedAsEndEntity";

/// Why a handshake with a hub failed, as far as it concerns certificates, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsProblem {
    /// The hub's certificate comes from a CA that this side does not trust.
    #[error(
        "its certificate was issued by another CA than the one trusted here: either this is another hub, or the hub's \
         CA was replaced (then join again)"
    )]
    OtherCa,
    /// Joining: the hub's CA is not the token's.
    #[error("its CA is not the one that the join token names: the token belongs to another hub, or somebody is in between")]
    PinMismatch,
    /// A node answers in the place of a hub.
    #[error("it shows the certificate of a node, not of a hub: this is the address of an edgehub, or a node passes itself off as the hub")]
    NodeForHub,
    /// The hub's certificate is for other names.
    #[error("its certificate is not valid for {asked}, only for {}; use one of these, or start cloudhub with --advertise {asked}", valid.join(", "))]
    WrongName {
        /// The name that was connected to.
        asked: String,
        /// The names in the certificate.
        valid: Vec<String>,
    },
    /// The hub's certificate has ended.
    #[error("its certificate has expired{}; a hub renews its own when it starts", days_ago(*not_after))]
    Expired {
        /// When it ended, if known.
        not_after: Option<SystemTime>,
    },
    /// The other side wants a client certificate, and none was shown: this is a hub's link port.
    #[error("it asks for a node certificate, as the link port (10000) does; the API port is 10002")]
    CertificateRequired,
    /// The hub did not accept the certificate that was shown.
    #[error("it refused the certificate shown ({0}); a node whose certificate has expired renews it, one of another CA joins again")]
    CertificateRefused(String),
    /// What answers does not speak TLS.
    #[error("what answers there does not speak TLS 1.3; check address and port")]
    NotTls,
    /// Anything else, in rustls' words.
    #[error("TLS failed: {0}")]
    Other(String),
}

impl TlsProblem {
    /// What is behind an I/O error of a TLS stream; `None` when it is not TLS that failed.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Error>().map(Self::of_rustls)
    }

    pub(super) fn of_rustls(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => Self::of_certificate(error),
            Error::AlertReceived(alert) => Self::of_alert(*alert),
            Error::InvalidMessage(_) => Self::NotTls,
            other => Self::Other(other.to_string()),
        }
    }

    /// What the other side says that it does not like.
    pub(crate) fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::CertificateRequired => Self::CertificateRequired,
            AlertDescription::ProtocolVersion => Self::NotTls,
            alert if about_certificates(alert) => Self::CertificateRefused(words(alert)),
            alert => Self::Other(Error::AlertReceived(alert).to_string()),
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::OtherCa,
            CertificateError::Other(other) if other.0.to_string() == SIGNED_ITSELF => Self::OtherCa,
            CertificateError::Expired => Self::Expired { not_after: None },
            CertificateError::ExpiredContext { not_after, .. } => {
                Self::Expired { not_after: Some(UNIX_EPOCH + Duration::from_secs(not_after.as_secs())) }
            }
            CertificateError::NotValidForNameContext { expected, presented } => {
                Self::WrongName { asked: expected.to_str().into_owned(), valid: presented.iter().map(|name| plain(name)).collect() }
            }
            CertificateError::Other(other) if other.0.downcast_ref::<PinMismatch>().is_some() => Self::PinMismatch,
            CertificateError::Other(other) if other.0.downcast_ref::<NodeForHub>().is_some() => Self::NodeForHub,
            other => Self::Other(other.to_string()),
        }
    }
}

/// Webpki shows names as `DnsName("a")` and `IpAddress(10.0.0.1)`.
fn plain(name: &str) -> String {
    let inside = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inside.unwrap_or(name).trim_matches('"').to_owned()
}

fn about_certificates(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
    )
}

fn words(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateExpired => "it has expired, or one of the two clocks is wrong".to_owned(),
        AlertDescription::UnknownCA | AlertDescription::DecryptError => "another CA issued it".to_owned(),
        AlertDescription::CertificateRevoked => "it was revoked".to_owned(),
        other => format!("{other:?}"),
    }
}

fn days_ago(not_after: Option<SystemTime>) -> String {
    let ago = not_after.and_then(|end| SystemTime::now().duration_since(end).ok());
    ago.map(|ago| format!(" {} days ago", ago.as_secs() / 86_400)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_plainly() {
        assert_eq!(plain("DnsName(\"hub.example\")"), "hub.example");
        assert_eq!(plain("IpAddress(10.0.0.1)"), "10.0.0.1");
        assert_eq!(plain("odd"), "odd");
    }

    #[test]
    fn other_errors_are_not_tls() {
        assert_eq!(TlsProblem::of(&io::Error::from(io::ErrorKind::ConnectionReset)), None);
        let alert = io::Error::other(Error::AlertReceived(AlertDescription::CertificateRequired));
        assert_eq!(TlsProblem::of(&alert), Some(TlsProblem::CertificateRequired));
    }
}
