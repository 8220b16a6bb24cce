//! Bytes of the link and of what both stores keep.

use cloudhub::reconcile::Clocks;
use proto::digest::RangeSet;
use proto::frame::Frame;
use proto::limits::{FRAME_BYTES, READ_BYTES};
use proto::op::Write;

use super::Memory;

/// What a frame may take while it is read: its lists as the wire has them and as frames have them, its texts, and its bytes unpacked.
const FRAME: usize = 2 * READ_BYTES + 3 * FRAME_BYTES;

/// One frame of the link, compressed or not.
pub(super) fn frame(bytes: &[u8], memory: &Memory) {
    for decode in [Frame::decode, Frame::decode_compressed] {
        let Ok(frame) = memory.within(FRAME, || decode(bytes)) else { continue };
        let (plain, packed) = (frame.encode(), frame.encode_compressed());
        assert!(packed.len() <= plain.len(), "compressed, it is larger");
        assert_eq!(Frame::decode(&plain).as_ref(), Ok(&frame), "as it was encoded");
        assert_eq!(Frame::decode_compressed(&packed).as_ref(), Ok(&frame), "as it was compressed");
        assert_eq!(Frame::decode_compressed(&plain).as_ref(), Ok(&frame), "a plain frame is one where compressed ones are understood");
        let _ = (frame.name(), frame.cause());
        if let Frame::Writes(writes) = &frame {
            writes.iter().filter(|own| !own.bytes.is_empty()).for_each(|own| write(&own.bytes, memory));
        }
    }
}

/// A write as outboxes keep it and links carry it; and what the stores keep beside records.
pub(super) fn write(bytes: &[u8], memory: &Memory) {
    if let Ok(write) = memory.within(FRAME, || Write::decode(bytes)) {
        write.check_size().unwrap();
        assert_eq!(Write::decode(&write.encode()), Ok(write), "as it was encoded");
    }
    if let Ok(clocks) = memory.within(64 * bytes.len(), || Clocks::decode(bytes)) {
        assert_eq!(Clocks::decode(&clocks.encode()), Ok(clocks), "as they were encoded");
    }
    if let Some(ranges) = RangeSet::from_bytes(bytes) {
        assert_eq!(ranges.to_bytes().as_slice(), bytes);
    }
    let _ = memory.within(64 * bytes.len(), || proto::repeat::unpack(bytes));
}
