//! `[mqtt]`: where devices speak, and how edgehub gets in there.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use transport::tls::{Credentials, certificates};

use crate::config::is_open;

/// The port of the broker inside edgehub.
const INTERNAL_PORT: u16 = 1884;

/// `[mqtt]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MqttConfig {
    /// Where devices speak.
    pub mode: MqttMode,
    /// The broker beside edgehub: `mqtt://HOST[:1883]`, or `mqtts://HOST[:8883]` over TLS.
    pub broker: String,
    /// Who this is at the broker; absent: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The file that holds the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The file with the certificates of the CAs that may have issued the broker's; `mqtts` needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The file with the certificate that is shown to the broker, and its chain; absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// The file with that certificate's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// How often a property that changes all the time goes up, as `1s`.
    pub interval: String,
    /// Messages of one device in a second that are each answered; beyond them only the newest values count.
    pub device_rate: DeviceRate,
    /// Where the broker inside edgehub listens.
    pub listen: SocketAddr,
    /// Whether it speaks TLS there, with this node's certificate.
    pub listen_tls: bool,
    /// Who devices are at the broker inside edgehub; absent: they need not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_user: Option<String>,
    /// The file that holds their password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_password_file: Option<PathBuf>,
}

/// Where devices speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MqttMode {
    /// At a broker beside edgehub, e.g. mosquitto.
    #[default]
    External,
    /// At a broker inside edgehub, which keeps nothing on disk.
    Internal,
    /// At either.
    Both,
    /// Nowhere.
    Off,
}

impl MqttMode {
    /// Whether there is a broker beside edgehub.
    pub fn is_external(self) -> bool {
        matches!(self, Self::External | Self::Both)
    }

    /// Whether there is one inside.
    pub fn is_internal(self) -> bool {
        matches!(self, Self::Internal | Self::Both)
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::External => "external",
            Self::Internal => "internal",
            Self::Both => "both",
            Self::Off => "off",
        }
    }
}

/// Messages in a second: at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "u32")]
pub struct DeviceRate(pub u32);

impl TryFrom<i64> for DeviceRate {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, String> {
        let rate = u32::try_from(number).ok().filter(|rate| (1..=1_000_000).contains(rate));
        rate.map(Self).ok_or_else(|| "it is a number of messages a second, from 1 to 1000000".to_owned())
    }
}

impl From<DeviceRate> for u32 {
    fn from(rate: DeviceRate) -> Self {
        rate.0
    }
}

/// A broker beside edgehub, with what it takes to get in.
#[derive(Debug, Clone)]
pub struct Broker {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Who this is there.
    pub user: Option<User>,
    /// How its certificate is judged; none: it is spoken to in the clear.
    pub tls: Option<BrokerTls>,
}

/// What TLS to a broker needs.
#[derive(Debug, Clone)]
pub struct BrokerTls {
    /// Who may have issued its certificate.
    pub cas: Vec<CertificateDer<'static>>,
    /// What is shown to it.
    pub own: Option<Credentials>,
}

/// A name and its password.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A key of `[mqtt]` whose value cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// The key, as `mqtt.ca`.
    pub key: &'static str,
    /// Why, and what to do.
    pub why: String,
}

fn unusable(key: &'static str, why: impl Into<String>) -> Unusable {
    Unusable { key, why: why.into() }
}

impl MqttConfig {
    /// The broker beside edgehub. Its files are read: what is renewed counts from the next connection on.
    ///
    /// # Errors
    /// [`Unusable`], the first key that does not fit.
    pub fn broker(&self) -> Result<Broker, Unusable> {
        let Some((tls, host, port)) = broker_address(&self.broker) else {
            let why = format!("`{}` is no broker; write e.g. mqtt://127.0.0.1:1883, or mqtts://broker.lan:8883 for TLS", self.broker);
            return Err(unusable("mqtt.broker", why));
        };
        let user = self.user.clone().map(|name| user(name, self.password_file.as_deref(), "mqtt.password_file")).transpose()?;
        if user.is_none() && self.password_file.is_some() {
            return Err(unusable("mqtt.password_file", "a password needs a user: the line `user = \"NAME\"` is missing in [mqtt]"));
        }
        if !tls && let Some(key) = self.tls_key() {
            return Err(unusable(key, format!("{} is spoken to without TLS; for TLS write broker = \"mqtts://{host}\"", self.broker)));
        }
        Ok(Broker { host, port, user, tls: if tls { Some(self.tls()?) } else { None } })
    }

    fn tls_key(&self) -> Option<&'static str> {
        let set = [(&self.ca, "mqtt.ca"), (&self.certificate, "mqtt.certificate"), (&self.key, "mqtt.key")];
        set.into_iter().find_map(|(file, key)| file.is_some().then_some(key))
    }

    fn tls(&self) -> Result<BrokerTls, Unusable> {
        let Some(ca) = &self.ca else {
            let why = "mqtts needs the CA that issued the broker's certificate: the line `ca = \"FILE.pem\"` is missing in [mqtt]; for a \
                       certificate of a public CA name the system's list, e.g. /etc/ssl/certs/ca-certificates.crt";
            return Err(unusable("mqtt.broker", why));
        };
        let pem = |key, file: &Path, error: transport::tls::PemError| unusable(key, format!("{}: {error}", file.display()));
        let cas = certificates(&read("mqtt.ca", ca)?).map_err(|error| pem("mqtt.ca", ca, error))?;
        let own = match (&self.certificate, &self.key) {
            (None, None) => None,
            (Some(_), None) => return Err(unusable("mqtt.certificate", "its key is missing: the line `key = \"FILE\"` in [mqtt]")),
            (None, Some(_)) => return Err(unusable("mqtt.key", "its certificate is missing: the line `certificate = \"FILE\"` in [mqtt]")),
            (Some(certificate), Some(key)) => {
                let (chain, secret) = (read("mqtt.certificate", certificate)?, read("mqtt.key", key)?);
                Some(Credentials::from_pem(&chain, &secret).map_err(|error| match error {
                    transport::tls::PemError::Certificate(_) => pem("mqtt.certificate", certificate, error),
                    transport::tls::PemError::Key(_) => pem("mqtt.key", key, error),
                })?)
            }
        };
        Ok(BrokerTls { cas, own })
    }

    /// Who gets in at the broker inside edgehub; none: whoever reaches it.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn devices(&self) -> Result<Option<User>, Unusable> {
        let found = match (&self.device_user, &self.device_password_file) {
            (None, None) => None,
            (None, Some(_)) => {
                return Err(unusable("mqtt.device_password_file", "the line `device_user = \"NAME\"` is missing in [mqtt]"));
            }
            (Some(name), file) => Some(user(name.clone(), file.as_deref(), "mqtt.device_password_file")?),
        };
        if found.as_ref().is_none_or(|user| user.password.is_empty()) && is_open(&self.listen) {
            let why = format!(
                "{} is not a loopback address; others than this machine need a password: the lines `device_user = \"NAME\"` and \
                 `device_password_file = \"FILE\"` are missing in [mqtt]",
                self.listen
            );
            return Err(unusable("mqtt.listen", why));
        }
        Ok(found)
    }

    /// Everything that can be seen to be wrong before a start.
    ///
    /// # Errors
    /// [`Unusable`], the first.
    pub fn check(&self) -> Result<(), Unusable> {
        self.broker()?;
        if proto::definition::duration_ms(&self.interval).is_none() {
            return Err(unusable("mqtt.interval", format!("`{}` is no time; write e.g. 1s", self.interval)));
        }
        self.devices().map(drop)
    }

    /// How often a property goes up.
    pub fn interval(&self) -> Duration {
        Duration::from_millis(proto::definition::duration_ms(&self.interval).unwrap_or(1_000))
    }

    /// The broker inside edgehub, as devices name it.
    pub fn internal_url(&self) -> String {
        format!("{}://{}", if self.listen_tls { "mqtts" } else { "mqtt" }, self.listen)
    }

    /// The files that hold secrets, with the keys that name them.
    pub fn secrets(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let files = [("password_file", &self.password_file), ("key", &self.key), ("device_password_file", &self.device_password_file)];
        files.into_iter().filter_map(|(key, file)| Some((key, file.as_deref()?)))
    }
}

impl Default for MqttConfig {
    fn default() -> Self {
        Self {
            mode: MqttMode::default(),
            broker: "mqtt://127.0.0.1:1883".to_owned(),
            user: None,
            password_file: None,
            ca: None,
            certificate: None,
            key: None,
            interval: "1s".to_owned(),
            device_rate: DeviceRate(500),
            listen: (Ipv4Addr::LOCALHOST, INTERNAL_PORT).into(),
            listen_tls: false,
            device_user: None,
            device_password_file: None,
        }
    }
}

fn read(key: &'static str, file: &Path) -> Result<String, Unusable> {
    std::fs::read_to_string(file).map_err(|error| unusable(key, format!("{}: {error}", file.display())))
}

fn user(name: String, file: Option<&Path>, key: &'static str) -> Result<User, Unusable> {
    let password = file.map(|file| read(key, file)).transpose()?.unwrap_or_default();
    Ok(User { name, password: password.trim_end_matches(['\r', '\n']).to_owned() })
}

/// `mqtt://HOST[:PORT]` or `mqtts://HOST[:PORT]`: whether it is TLS, and where.
fn broker_address(text: &str) -> Option<(bool, String, u16)> {
    let (tls, rest) = match text.strip_prefix("mqtts://") {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix("mqtt://")?),
    };
    let rest = rest.trim_end_matches('/');
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok().filter(|port| *port > 0)?),
        _ => (rest, if tls { 8883 } else { 1883 }),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty() && !host.contains(['/', '@', ' ', '?', '#'])).then(|| (tls, host.to_owned(), port))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn brokers_have_a_scheme_and_the_port_that_goes_with_it() {
        for (text, found) in [
            ("mqtt://127.0.0.1", Some((false, "127.0.0.1", 1883))),
            ("mqtts://broker.lan/", Some((true, "broker.lan", 8883))),
            ("mqtts://[::1]:1", Some((true, "::1", 1))),
            ("mqtt://[fe80::1]", Some((false, "fe80::1", 1883))),
            ("mqtt://user@broker", None),
            ("mqtt://", None),
            ("mqtt://a:0", None),
            ("mqtt://a:70000", None),
            ("tcp://a", None),
            ("127.0.0.1:1883", None),
        ] {
            assert_eq!(broker_address(text), found.map(|(tls, host, port)| (tls, host.to_owned(), port)), "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["broker.lan".into()]).unwrap().self_signed(&key).unwrap().pem();
        let (ca, secret, none) = (file("ca.pem", &certificate), file("key.pem", &key.serialize_pem()), file("none", "no secret\n"));
        let plain = MqttConfig::default;
        let tls = || MqttConfig { broker: "mqtts://broker.lan".into(), ca: ca.clone(), ..plain() };
        let open = || MqttConfig { listen: "0.0.0.0:1884".parse().unwrap(), ..plain() };
        let missing = Some(folder.path().join("missing"));
        for (config, key, words) in [
            (MqttConfig { broker: "mqtts://broker.lan".into(), ..plain() }, "mqtt.broker", "`ca = \"FILE.pem\"` is missing"),
            (MqttConfig { ca: ca.clone(), ..plain() }, "mqtt.ca", "mqtts://127.0.0.1"),
            (MqttConfig { ca: none.clone(), ..tls() }, "mqtt.ca", "no certificate"),
            (MqttConfig { ca: missing.clone(), ..tls() }, "mqtt.ca", "No such file"),
            (MqttConfig { certificate: ca.clone(), ..tls() }, "mqtt.certificate", "its key is missing"),
            (MqttConfig { key: secret.clone(), ..tls() }, "mqtt.key", "its certificate is missing"),
            (MqttConfig { certificate: ca.clone(), key: none.clone(), ..tls() }, "mqtt.key", "no private key"),
            (MqttConfig { password_file: none.clone(), ..plain() }, "mqtt.password_file", "`user = \"NAME\"` is missing"),
            (MqttConfig { user: Some("x".into()), password_file: missing, ..plain() }, "mqtt.password_file", "No such file"),
            (MqttConfig { interval: "soon".into(), ..plain() }, "mqtt.interval", "is no time"),
            (open(), "mqtt.listen", "device_password_file"),
            (MqttConfig { device_user: Some("x".into()), ..open() }, "mqtt.listen", "not a loopback address"),
            (MqttConfig { device_password_file: none.clone(), ..plain() }, "mqtt.device_password_file", "device_user"),
        ] {
            let found = config.check().unwrap_err();
            assert!(found.key == key && found.why.contains(words), "{found:?}, wanted {key} {words}");
        }
        let whole = MqttConfig { certificate: ca.clone(), key: secret, user: Some("x".into()), password_file: none.clone(), ..tls() };
        let broker = whole.broker().unwrap();
        assert_eq!(broker.user, Some(User { name: "x".into(), password: "no secret".into() }));
        assert!(broker.tls.is_some_and(|tls| tls.cas.len() == 1 && tls.own.is_some()));
        assert!(!format!("{:?}", whole.broker().unwrap()).contains("no secret"), "a password is never printed");
        assert!(MqttConfig { device_user: Some("x".into()), device_password_file: none, ..open() }.check().is_ok());
    }
}
