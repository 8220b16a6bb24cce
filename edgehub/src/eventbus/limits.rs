//! Every bound of what is under way between devices and the event bus, with its reason. How much one device may say is `rates`; the
//! broker inside edgehub has bounds of its own.

/// Messages for devices that wait for the connection: one batch's answers. When it is full nothing more is answered, so nothing more is
/// acknowledged, and the broker sends no more.
pub(super) const OUTWARD: usize = 256;
/// Bytes of messages that wait for the connection or for the broker's acknowledgement. One larger message goes alone.
pub(super) const OUTWARD_BYTES: usize = 2 << 20;
/// What is counted for a message beside its topic and payload, bytes.
pub(super) const AROUND: usize = 256;
/// Messages of ours that wait for the broker's acknowledgement: more than one turn of the connection sends.
pub(super) const INFLIGHT: u16 = 512;
/// Messages that wait for the worker.
pub(super) const WAITING: usize = 256;
/// Bytes of messages that are being heard or wait for it: the connection is not read meanwhile, unless our own messages wait for the
/// broker's acknowledgement, which comes behind what it says.
pub(super) const INWARD_BYTES: usize = 4 << 20;
/// The same where it has to be read. Messages at QoS 0 are dropped above [`INWARD_BYTES`], and this many of the others come only from a
/// broker that sends far more than mosquitto's 20 without an acknowledgement: that connection ends, and they come again.
pub(super) const UNASKED_BYTES: usize = 32 << 20;
/// Acknowledgements that wait for the connection: MQTT has 65,535 numbers for what can wait for one.
pub(super) const ACKNOWLEDGEMENTS: usize = 65_536;
