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
/// Bytes of messages that are being heard or wait for it: what devices say is not read meanwhile, and the broker keeps it.
pub(super) const INWARD_BYTES: usize = 4 << 20;
/// Acknowledgements that wait for the connection: MQTT has 65,535 numbers for what can wait for one.
pub(super) const ACKNOWLEDGEMENTS: usize = 65_536;
