//! A real broker, and devices that speak at it or at another one.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::Connect;
use rumqttc::{Client, Event, MqttOptions, NetworkOptions, Packet, Publish, QoS};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::Process;
use crate::shops::free_port;
use crate::until::{PATIENCE, until_shown};

/// A mosquitto with a folder of its own.
pub struct Mosquitto {
    folder: TempDir,
    address: SocketAddr,
    process: Option<Process>,
    /// The end of its configuration.
    lines: String,
}

impl Mosquitto {
    /// Starts one on a free port.
    pub fn start() -> Self {
        Self::with(|_| "allow_anonymous true\nlog_type all\nmax_queued_messages 0\n".to_owned())
    }

    /// The same with these lines in its configuration, by which it logs information at least; they may name files of its folder.
    pub fn with(lines: impl FnOnce(&Path) -> String) -> Self {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let lines = lines(folder.path());
        let mut broker = Self { folder, address: free_port(), process: None, lines };
        broker.again();
        broker
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// Starts it where it was, with what it kept.
    pub fn again(&mut self) {
        let folder = self.folder.path();
        // The user that the package made may not write here; whoever runs the tests may.
        let text = format!(
            "listener {} 127.0.0.1\npersistence true\npersistence_location {}/\nuser root\n{}",
            self.address.port(),
            folder.display(),
            self.lines
        );
        let file = folder.join("mosquitto.conf");
        std::fs::write(&file, text).expect("its configuration");
        let mut command = Command::new(program());
        command.arg("-c").arg(file);
        let mut process = Process::start("mosquitto", command);
        process.line_with("running");
        self.process = Some(process);
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As edgehub's configuration has it.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// Somebody who speaks here, and hears what these topics bring.
    pub fn device(&self, name: &str, topics: &[&str]) -> Device {
        Device::at(self.address, name, topics)
    }
}

impl Device {
    /// Somebody who speaks at a broker, and hears what these topics bring.
    pub fn at(address: SocketAddr, name: &str, topics: &[&str]) -> Self {
        let mut options = MqttOptions::new(name, address.ip().to_string(), address.port());
        options.set_max_packet_size(4 << 20, 4 << 20).set_keep_alive(Duration::from_secs(30));
        let (client, mut connection) = Client::new(options, 4_096);
        // Otherwise a small packet waits up to 40 ms until the broker's kernel has acknowledged the one before.
        let mut prompt = NetworkOptions::new();
        prompt.set_tcp_nodelay(true);
        connection.eventloop.set_network_options(prompt);
        let (sender, heard) = sync_channel(100_000);
        let (ready, is_ready) = sync_channel(1);
        let wanted = topics.len();
        std::thread::spawn(move || {
            let mut subscribed = 0;
            // Ends with the client, or with the broker.
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::ConnAck(_))) if wanted == 0 => drop(ready.try_send(())),
                    Ok(Event::Incoming(Packet::SubAck(_))) => {
                        subscribed += 1;
                        if subscribed == wanted {
                            let _ = ready.try_send(());
                        }
                    }
                    Ok(Event::Incoming(Packet::Publish(message))) => {
                        let payload = serde_json::from_slice(&message.payload).unwrap_or(Value::Null);
                        if sender.send((message.topic, payload)).is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
        for topic in topics {
            client.subscribe(*topic, QoS::AtLeastOnce).expect("a broker");
        }
        is_ready.recv_timeout(PATIENCE).expect("the broker answers");
        Self { client, heard }
    }
}

/// Debian keeps it out of the way of users.
fn program() -> PathBuf {
    let known = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto"].map(PathBuf::from);
    known.into_iter().find(|path| path.is_file()).unwrap_or_else(|| "mosquitto".into())
}

/// A client of a broker.
pub struct Device {
    client: Client,
    heard: Receiver<(String, Value)>,
}

impl Device {
    /// Says something, at least once.
    pub fn say(&self, topic: &str, payload: &str) {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).expect("a broker");
    }

    /// The next message on a topic that ends so; others are passed over.
    #[track_caller]
    pub fn hear(&self, end: &str) -> Value {
        loop {
            let (topic, payload) = self.heard.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("nothing was said on …{end}"));
            if topic.ends_with(end) {
                return payload;
            }
        }
    }

    /// The next message on a topic that ends so, if there is one yet.
    pub fn heard(&self, end: &str) -> Option<Value> {
        self.heard.try_iter().find(|(topic, _)| topic.ends_with(end)).map(|(_, payload)| payload)
    }

    /// The next message whatever it is.
    #[track_caller]
    pub fn hear_any(&self) -> (String, Value) {
        self.heard.recv_timeout(PATIENCE).expect("a message")
    }
}

/// A publisher that says one thing until it is acknowledged, before the next: what a device does that must lose nothing. It connects
/// again by itself.
pub struct Publisher {
    address: SocketAddr,
    name: String,
    login: Option<(String, String)>,
    stream: Option<TcpStream>,
    number: u16,
    /// How often something was said again.
    pub repeated: u64,
}

impl Publisher {
    /// One that is not connected yet.
    pub fn at(address: SocketAddr, name: &str) -> Self {
        Self { address, name: name.into(), login: None, stream: None, number: 0, repeated: 0 }
    }

    /// With a name and a password.
    pub fn login(mut self, name: &str, password: &str) -> Self {
        self.login = Some((name.into(), password.into()));
        self
    }

    /// Says it until it is acknowledged.
    #[track_caller]
    pub fn say(&mut self, topic: &str, payload: &str) {
        self.number = self.number.checked_add(1).unwrap_or(1);
        let mut again = false;
        until_shown("a message is acknowledged", || {
            let said = self.once(topic, payload, again).map_err(|error| format!("{topic} {payload}: {error}"));
            if said.is_err() {
                self.stream = None;
                (again, self.repeated) = (true, self.repeated + 1);
            }
            said
        });
    }

    /// Says it once; `Ok`: it was acknowledged. Who hears otherwise says it again.
    ///
    /// # Errors
    /// It was not acknowledged, or nobody knows; the next one is said on a new connection.
    pub fn try_say(&mut self, topic: &str, payload: &str) -> io::Result<()> {
        self.number = self.number.checked_add(1).unwrap_or(1);
        let said = self.once(topic, payload, false);
        if said.is_err() {
            self.stream = None;
        }
        said
    }

    /// Connects; the code of the answer.
    pub fn connect(&mut self) -> io::Result<u8> {
        let mut stream = dial(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut connect = Connect::new(&self.name);
        if let Some((name, password)) = &self.login {
            connect.set_login(name, password);
        }
        write(&mut stream, Packet::Connect(connect))?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        self.stream = Some(stream);
        Ok(answer[3])
    }

    fn once(&mut self, topic: &str, payload: &str, dup: bool) -> io::Result<()> {
        if self.stream.is_none() && self.connect()? != 0 {
            return Err(io::Error::other("the broker refuses"));
        }
        let number = self.number;
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        write(stream, Packet::Publish(Publish { dup, pkid: number, ..Publish::new(topic, QoS::AtLeastOnce, payload) }))?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        match answer == [0x40, 2, (number >> 8) as u8, number as u8] {
            true => Ok(()),
            false => Err(io::Error::other(format!("{answer:?}"))),
        }
    }
}

/// A connection to a broker that may die at any moment, also while it is made.
///
/// # Errors
/// There is no broker.
pub fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

fn write(stream: &mut TcpStream, packet: Packet) -> io::Result<()> {
    let mut bytes = BytesMut::new();
    packet.write(&mut bytes, 4 << 20).map_err(io::Error::other)?;
    stream.write_all(&bytes)
}
