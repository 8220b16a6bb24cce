//! devicetwin: what devices say over MQTT and what they are answered, with the topics and payloads of KubeEdge's DeviceTwin, so that
//! a sensor or mapper that was written for it works unchanged (design §6, decision 0011).
//!
//! Pure: messages come in as bytes, twins as [`proto::device::Twin`]s, and messages go out. Who keeps a twin, and who carries
//! messages to a broker, is edgehub's. Read [`topic`] (who is meant), [`incoming`] (what was said), [`update`] (which of it a model
//! allows), [`outgoing`] (what is answered), and [`pace`] (how often what was reported goes up).

pub mod incoming;
pub mod limits;
pub mod outgoing;
pub mod pace;
pub mod topic;
pub mod update;
