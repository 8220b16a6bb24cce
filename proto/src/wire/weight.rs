//! What a message will take in memory, counted on its bytes before it is read: an empty entry of a list is two bytes on the
//! wire and some hundred once it is read, so that a frame of 4 MiB could ask for half a gigabyte.

use core::mem::size_of;

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super as wire;

/// A member that may come any number of times, or that holds one that may.
enum Member {
    /// A message: what one takes, and what is in it.
    Message(usize, &'static Shape),
    /// A text or bytes in a list.
    Text,
    /// Numbers, packed or one by one.
    Numbers,
}

use Member::{Message, Numbers, Text};

/// The members of a message that weigh, by their numbers in the schema.
type Shape = [(u32, Member)];

/// A string in a list, with the smallest piece of memory that it takes elsewhere.
const TEXT: usize = 48;

const NONE: &Shape = &[];
const POSITION: &Shape = &[(2, Message(0, NONE))];
const FILL: &Shape = &[(5, Message(0, POSITION))];
const GRANTS: &Shape = &[
    (2, Message(size_of::<wire::Grant>(), NONE)),
    (3, Message(size_of::<wire::Definition>(), NONE)),
    (4, Message(size_of::<wire::Label>(), NONE)),
];
const FILLS: Member = Message(size_of::<wire::Fill>(), FILL);
const RECORDS: Member = Message(size_of::<wire::Record>(), NONE);
const EPOCHS: Member = Message(size_of::<wire::EpochStart>(), NONE);
const HELLO: &Shape = &[(3, Text), (6, EPOCHS), (9, FILLS), (12, Message(size_of::<wire::Range>(), NONE))];
const WELCOME: &Shape = &[(2, Text), (4, EPOCHS), (9, Message(0, GRANTS)), (14, Message(size_of::<wire::Label>(), NONE))];
const OUTCOME: &Shape = &[(6, Text)];
const ENTRY: &Shape = &[(2, Message(0, OUTCOME))];
const PART: &Shape = &[(3, RECORDS)];
const BATCH: &Shape = &[
    (4, Message(0, GRANTS)),
    (5, Message(size_of::<wire::Entry>(), ENTRY)),
    (6, Message(0, PART)),
    (7, Message(size_of::<wire::Digest>(), NONE)),
    (8, Message(size_of::<wire::Repair>(), NONE)),
    (9, RECORDS),
];
const ACK: &Shape = &[(2, FILLS)];
const WRITES: &Shape = &[(1, Message(size_of::<wire::NumberedWrite>(), NONE))];
const REPORT: &Shape = &[(3, Text)];
const PING: &Shape = &[(2, Message(0, REPORT))];
const COMPARED: &Shape = &[(2, Message(size_of::<wire::RangeSums>(), NONE))];
const ASK: &Shape = &[(1, Message(size_of::<wire::Inside>(), NONE))];
const FRAME: &Shape = &[
    (1, Message(0, HELLO)),
    (2, Message(0, WELCOME)),
    (4, Message(0, BATCH)),
    (5, Message(0, ACK)),
    (9, Message(0, WRITES)),
    (11, Message(0, PING)),
    (15, Message(0, COMPARED)),
    (17, Message(0, ASK)),
];

const MERGE: &Shape = &[(1, Message(size_of::<wire::Change>(), NONE))];
const INCREMENT: &Shape = &[(1, Message(size_of::<wire::Delta>(), NONE))];
const CHECK: &Shape = &[(1, Message(size_of::<wire::CheckField>(), NONE))];
const OP: &Shape = &[(6, Numbers), (9, Message(0, MERGE)), (10, Message(0, INCREMENT)), (12, Message(0, CHECK))];
const WRITE: &Shape = &[(5, Message(size_of::<wire::Op>(), OP))];

/// The bytes of a frame's lists once it is read, its texts aside.
pub(crate) fn of_frame(bytes: &[u8]) -> usize {
    sum(FRAME, bytes)
}

/// The same of a write.
pub(crate) fn of_write(bytes: &[u8]) -> usize {
    sum(WRITE, bytes)
}

/// Up to where the bytes cannot be read: the decoder stops there too. The depth is that of the tables above.
fn sum(shape: &Shape, mut bytes: &[u8]) -> usize {
    let mut total = 0usize;
    while !bytes.is_empty() {
        let Ok((number, kind)) = decode_key(&mut bytes) else { break };
        let member = shape.iter().find(|(own, _)| *own == number).map(|(_, member)| member);
        let Some(member) = member else {
            if skip_field(kind, number, &mut bytes, DecodeContext::default()).is_err() {
                break;
            }
            continue;
        };
        let weight = match kind {
            WireType::LengthDelimited => {
                let length = decode_varint(&mut bytes).ok().and_then(|length| usize::try_from(length).ok());
                let Some((inside, rest)) = length.and_then(|length| bytes.split_at_checked(length)) else { break };
                bytes = rest;
                match member {
                    Message(own, shape) => own + sum(shape, inside),
                    Text => TEXT,
                    Numbers => inside.len() * size_of::<u64>(),
                }
            }
            _ if skip_field(kind, number, &mut bytes, DecodeContext::default()).is_err() => break,
            _ => size_of::<u64>(),
        };
        total = total.saturating_add(weight);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{READ_BYTES, READ_UNWEIGHED};
    use alloc::vec;
    use prost::Message as _;

    fn frame(body: wire::frame::Body) -> usize {
        of_frame(&wire::Frame { body: Some(body) }.encode_to_vec())
    }

    #[test]
    fn what_is_empty_on_the_wire_weighs_what_it_takes() {
        let writes = wire::Writes { writes: vec![wire::NumberedWrite::default(); 1_000] };
        assert_eq!(frame(wire::frame::Body::Writes(writes)), 1_000 * size_of::<wire::NumberedWrite>());
        let hello = wire::Hello { features: vec![Default::default(); 10], fills: vec![wire::Fill::default(); 7], ..Default::default() };
        assert_eq!(frame(wire::frame::Body::Hello(hello)), 10 * TEXT + 7 * size_of::<wire::Fill>());
        let entry = wire::Entry {
            body: Some(wire::entry::Body::Outcome(wire::Outcome { conflicts: vec![Default::default(); 3], ..Default::default() })),
        };
        let batch = wire::Batch { entries: vec![entry; 2], ..Default::default() };
        assert_eq!(frame(wire::frame::Body::Batch(batch)), 2 * (size_of::<wire::Entry>() + 3 * TEXT));
    }

    #[test]
    fn a_write_weighs_its_ops_and_what_is_in_them() {
        let merge = wire::Merge { changes: vec![wire::Change::default(); 5] };
        let op = wire::Op { stands_on: vec![1, 2, 3], body: Some(wire::op::Body::Merge(merge)), ..Default::default() };
        let write = wire::Write { ops: vec![op; 2], ..Default::default() };
        assert_eq!(of_write(&write.encode_to_vec()), 2 * (size_of::<wire::Op>() + 5 * size_of::<wire::Change>() + 3 * 8));
    }

    /// Numbers come packed or one by one, as the sender likes: both take the same.
    #[test]
    fn numbers_weigh_the_same_packed_or_not() {
        let op = |numbers: &[u8]| {
            let mut bytes = vec![0x2a, u8::try_from(numbers.len()).unwrap_or(u8::MAX)];
            bytes.extend(numbers);
            assert_eq!(wire::Write::decode(&bytes[..]).map(|write| write.ops[0].stands_on.clone()), Ok(vec![1, 2, 3]));
            of_write(&bytes)
        };
        let (packed, single) = (op(&[0x32, 3, 1, 2, 3]), op(&[0x30, 1, 0x30, 2, 0x30, 3]));
        assert_eq!((packed, single), (size_of::<wire::Op>() + 24, size_of::<wire::Op>() + 24));
        assert_eq!(of_write(&[0x2a, 3, 0x30, 1, 0x30]), size_of::<wire::Op>() + 8, "the second number is cut off");
    }

    /// Messages of so few bytes are read unweighed: the heaviest that a byte can be must not add up to more than is allowed.
    #[test]
    fn what_is_not_weighed_is_never_too_heavy() {
        fn heaviest(shape: &Shape) -> usize {
            let of = |member: &Member| match member {
                Message(own, shape) => heaviest(shape).max(own.div_ceil(2)),
                Text => TEXT / 2,
                Numbers => size_of::<u64>(),
            };
            shape.iter().map(|(_, member)| of(member)).max().unwrap_or(0)
        }
        for shape in [FRAME, WRITE] {
            assert!(heaviest(shape) * READ_UNWEIGHED <= READ_BYTES, "{}", heaviest(shape));
        }
    }

    #[test]
    fn bytes_that_end_early_weigh_what_was_there() {
        let bytes = wire::Frame { body: Some(wire::frame::Body::Ask(wire::Ask { records: vec![Default::default(); 9] })) }.encode_to_vec();
        for end in 0..bytes.len() {
            assert!(of_frame(&bytes[..end]) <= of_frame(&bytes));
        }
        assert_eq!(of_frame(&[0xff; 40]), 0);
    }
}
