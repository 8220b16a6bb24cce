//! A real broker, and devices that speak at it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::Process;
use crate::shops::free_port;
use crate::until::PATIENCE;

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
        let mut options = MqttOptions::new(name, self.address.ip().to_string(), self.address.port());
        options.set_max_packet_size(4 << 20, 4 << 20).set_keep_alive(Duration::from_secs(30));
        let (client, mut connection) = Client::new(options, 4_096);
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
        Device { client, heard }
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
