//! Why a broker does not let edgehub speak, and what to do about it.

use std::fmt;
use std::io;

use rumqttc::ConnectReturnCode;
use rumqttc::mqttbytes::Error as MqttError;
use transport::tls::TlsProblem;

use crate::config::Unusable;

/// Why there is no connection, or none any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// `[mqtt]` names something that cannot be used.
    Config(Unusable),
    /// The broker's name leads nowhere.
    Unresolved(String),
    /// Nothing listens there.
    Refused,
    /// Nothing comes back.
    Silent(&'static str),
    /// The network says no.
    Unreachable(String),
    /// The handshake failed.
    Tls(TlsProblem),
    /// The broker says no.
    Denied(ConnectReturnCode),
    /// It ends the connection instead of answering the first message.
    Closed,
    /// What comes back is no MQTT 3.1.1.
    Foreign(String),
    /// It lets nobody of this name listen to devices.
    NoSubscription,
    /// The connection broke.
    Lost(String),
    /// The broker inside edgehub cannot listen.
    Listen(String),
    /// The database cannot take what devices say.
    Unkept,
}

impl Trouble {
    /// Of an I/O error before the broker's first answer.
    pub(super) fn of(error: &io::Error) -> Self {
        match (TlsProblem::of(error), error.kind()) {
            (Some(problem), _) => Self::Tls(problem),
            (None, io::ErrorKind::ConnectionRefused) => Self::Refused,
            (None, io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => Self::Closed,
            (None, io::ErrorKind::TimedOut) => Self::Silent("connecting"),
            (None, _) => Self::Unreachable(error.to_string()),
        }
    }

    /// Of what the other side sent.
    pub(super) fn of_mqtt(error: &MqttError) -> Self {
        match error {
            MqttError::Io(error) => Self::of(error),
            MqttError::InvalidConnectReturnCode(code) => Self::Foreign(format!("it answers with the unknown code {code}")),
            other => Self::Foreign(other.to_string()),
        }
    }

    /// What to do; the keys are those of `[mqtt]`.
    pub(crate) fn advice(&self) -> String {
        match self {
            Self::Config(Unusable { key, .. }) => format!("mend {key} in the configuration"),
            Self::Unresolved(_) => "write the right name or an address into broker under [mqtt]".to_owned(),
            Self::Refused => {
                "start the broker (systemctl start mosquitto), name its port in broker under [mqtt], or write mode = \"internal\" \
                              where there is none"
                    .to_owned()
            }
            Self::Silent(_) => "look for a firewall in between, and whether that address is the broker's".to_owned(),
            Self::Unreachable(_) => "look at the network between this machine and the broker".to_owned(),
            Self::Tls(problem) => tls_advice(problem),
            Self::Denied(ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized) => {
                "give user and password_file under [mqtt] as the broker has them; on mosquitto: mosquitto_passwd FILE edgehub, and \
                 allow_anonymous or password_file in mosquitto.conf"
                    .to_owned()
            }
            Self::Denied(ConnectReturnCode::ServiceUnavailable) => "look into the broker's log".to_owned(),
            Self::Denied(_) => "the broker must speak MQTT 3.1.1 and take the client ids edgehub-NODE and edgehub-NODE.says".to_owned(),
            Self::Closed => {
                "where the broker speaks TLS on that port, write broker = \"mqtts://…\"; else look into the broker's log, e.g. for \
                             its largest number of connections"
                    .to_owned()
            }
            Self::Foreign(_) => "name the port that speaks MQTT 3.1.1: 1883, with TLS 8883".to_owned(),
            Self::NoSubscription => {
                "allow edgehub's user to read and write $hw/# there; on mosquitto the line `topic readwrite $hw/#` in its acl_file"
                    .to_owned()
            }
            Self::Listen(_) => "another program may have the port: name another one in listen under [mqtt]".to_owned(),
            Self::Unkept => "look at the disk (edgehub doctor); devices repeat it meanwhile".to_owned(),
            Self::Lost(_) => "where it comes again and again, look into the broker's log".to_owned(),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(Unusable { key, why }) => write!(f, "`{key}`: {why}"),
            Self::Unresolved(why) => write!(f, "its name cannot be resolved: {why}"),
            Self::Refused => f.write_str("nothing listens there (connection refused)"),
            Self::Silent(what) => write!(f, "nothing comes back ({what})"),
            Self::Unreachable(why) | Self::Lost(why) => f.write_str(why),
            Self::Tls(problem) => f.write_str(&tls_words(problem)),
            Self::Denied(ConnectReturnCode::BadUserNamePassword) => f.write_str("it does not know this user or password"),
            Self::Denied(ConnectReturnCode::NotAuthorized) => f.write_str("it lets nobody in who has not this right (not authorized)"),
            Self::Denied(ConnectReturnCode::BadClientId) => f.write_str("it does not take our client id"),
            Self::Denied(ConnectReturnCode::RefusedProtocolVersion) => f.write_str("it does not speak MQTT 3.1.1"),
            Self::Denied(_) => f.write_str("it says that it is not available"),
            Self::Closed => f.write_str("it ended the connection without an answer"),
            Self::Foreign(what) => write!(f, "what answers there does not speak MQTT: {what}"),
            Self::Listen(why) => write!(f, "cannot listen: {why}"),
            Self::Unkept => f.write_str("the database cannot take what devices say"),
            Self::NoSubscription => f.write_str("it lets edgehub hear no device"),
        }
    }
}

fn tls_words(problem: &TlsProblem) -> String {
    match problem {
        TlsProblem::OtherCa => "its certificate was not issued by a CA of the file `ca`".to_owned(),
        TlsProblem::WrongName { asked, valid } => {
            let valid = if valid.is_empty() { "no name at all".to_owned() } else { valid.join(", ") };
            format!("its certificate is not valid for {asked}, only for {valid}")
        }
        TlsProblem::Expired { .. } => "its certificate has expired".to_owned(),
        TlsProblem::CertificateRequired => "it wants a certificate of edgehub's".to_owned(),
        TlsProblem::CertificateRefused(why) => format!("it refuses the certificate shown to it: {why}"),
        TlsProblem::NotTls => "what answers there does not speak TLS 1.3".to_owned(),
        other => other.to_string(),
    }
}

fn tls_advice(problem: &TlsProblem) -> String {
    match problem {
        TlsProblem::OtherCa => {
            "name the CA that issued the broker's certificate in ca under [mqtt]; a certificate that signed itself cannot \
                                be its own CA"
                .to_owned()
        }
        TlsProblem::WrongName { valid, .. } if !valid.is_empty() => {
            "write one of these names into broker under [mqtt], or give the broker a certificate for the name that is there".to_owned()
        }
        TlsProblem::WrongName { .. } => {
            "give the broker a certificate that has its name as a subject alternative name (DNS or IP)".to_owned()
        }
        TlsProblem::Expired { .. } => "renew the broker's certificate, and look at this machine's clock (edgehub doctor)".to_owned(),
        TlsProblem::CertificateRequired => "name certificate and key under [mqtt]".to_owned(),
        TlsProblem::CertificateRefused(_) => "name a certificate under [mqtt] whose CA is in the broker's cafile".to_owned(),
        TlsProblem::NotTls => "write mqtt:// for a port without TLS; a broker that speaks only TLS 1.2 has to be updated".to_owned(),
        _ => "look into the broker's log".to_owned(),
    }
}
