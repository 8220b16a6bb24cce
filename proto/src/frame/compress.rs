//! Frames in fewer bytes: zstd (RFC 8878), where both sides agreed to it. What a hostile peer sends costs at most one frame's
//! memory: the size is judged before anything is allocated, and nothing is written beyond it. Contexts live for one frame, so
//! that a node at rest holds none (`docs/decisions/0015-compression.md`).

use alloc::vec;
use alloc::vec::Vec;

use zstd_safe::{CCtx, DCtx};

use super::Malformed;
use crate::limits::{COMPRESS_ABOVE, COMPRESS_SAVES, COMPRESS_WINDOW, FRAME_BYTES};

/// zstd's lowest ordinary level: on records the higher ones save a twentieth more at twice the work and more.
const LEVEL: i32 = 1;

/// The frame compressed, where it is large enough and that saves enough.
pub(super) fn pack(frame: &[u8]) -> Option<Vec<u8>> {
    if frame.len() <= COMPRESS_ABOVE {
        return None;
    }
    // No more room than what is worth sending: zstd gives up when it is full.
    let mut packed = vec![0; frame.len() - frame.len() / COMPRESS_SAVES];
    let size = CCtx::try_create()?.compress(&mut packed[..], frame, LEVEL).ok()?;
    packed.truncate(size);
    Some(packed)
}

/// What was compressed: exactly one zstd frame that states a content size within the frame bound, and holds it.
pub(super) fn unpack(packed: &[u8]) -> Result<Vec<u8>, Malformed> {
    let wrong = |why| Malformed::new("compressed frame", why);
    let window = window(packed).ok_or_else(|| wrong("not zstd"))?;
    if window > COMPRESS_WINDOW {
        return Err(wrong("a window above 4 MiB"));
    }
    let stated = zstd_safe::get_frame_content_size(packed).map_err(|_| wrong("not zstd"))?;
    let stated = stated.ok_or_else(|| wrong("without its size"))?;
    let size = usize::try_from(stated).ok().filter(|size| *size <= FRAME_BYTES).ok_or_else(|| wrong("larger than 4 MiB"))?;
    if zstd_safe::find_frame_compressed_size(packed) != Ok(packed.len()) {
        return Err(wrong("cut off, or with something behind it"));
    }
    let mut frame = vec![0; size];
    let mut context = DCtx::try_create().ok_or_else(|| wrong("no memory to unpack it"))?;
    match context.decompress(&mut frame[..], packed) {
        Ok(written) if written == size => Ok(frame),
        Ok(_) => Err(wrong("of another size than it states")),
        Err(_) => Err(wrong("damaged, or of another size than it states")),
    }
}

/// How far back the frame's content refers, as its header says (RFC 8878, 3.1.1.1). None: it is no zstd frame.
fn window(packed: &[u8]) -> Option<u64> {
    const SINGLE_SEGMENT: u8 = 0x20;
    let [0x28, 0xb5, 0x2f, 0xfd, descriptor, window, ..] = *packed else { return None };
    if descriptor & SINGLE_SEGMENT != 0 {
        // There is no such member: the window is the content.
        return Some(0);
    }
    let (exponent, mantissa) = (window >> 3, u64::from(window & 7));
    let base = 1u64 << (10 + exponent);
    Some(base + base / 8 * mantissa)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use alloc::string::String;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Text of so many bytes with something to find in it.
    fn text(len: usize) -> Vec<u8> {
        let row = |n: usize| alloc::format!(r#"{{"OrderID":{},"ShipCity":"Münster","Freight":{}.38}}"#, 10_248 + n, n % 97);
        let mut text: Vec<u8> = (0..len / 40 + 1).map(row).collect::<String>().into_bytes();
        text.truncate(len);
        text
    }

    /// Bytes in which nothing repeats.
    fn noise(len: usize) -> Vec<u8> {
        let mut state = 88_172_645_463_325_252_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        (0..len).map(|_| next()).collect()
    }

    /// Compressed by whatever level, whatever that saves.
    fn packed(bytes: &[u8], level: i32) -> Vec<u8> {
        let mut packed = vec![0; zstd_safe::compress_bound(bytes.len())];
        let size = CCtx::create().compress(&mut packed[..], bytes, level).unwrap();
        packed.truncate(size);
        packed
    }

    /// A zstd frame of this header and one run of `count` zeros.
    fn run(header: &[u8], count: u32) -> Vec<u8> {
        let block = (count << 3) | 0b011;
        [&[0x28, 0xb5, 0x2f, 0xfd], header, &block.to_le_bytes()[..3], &[0]].concat()
    }

    fn refused(packed: &[u8]) -> String {
        unpack(packed).unwrap_err().why
    }

    #[test]
    fn only_what_is_large_and_saves_enough_is_compressed() {
        assert_eq!(pack(&text(COMPRESS_ABOVE)), None);
        let small = pack(&text(COMPRESS_ABOVE + 1)).unwrap();
        assert!(small.len() < COMPRESS_ABOVE / 2, "{}", small.len());
        for len in [COMPRESS_ABOVE + 1, 64 << 10, 1 << 20] {
            assert_eq!(pack(&noise(len)), None, "{len} bytes of noise");
        }
    }

    #[test]
    fn the_largest_frame_of_any_level_is_read() {
        for level in [-5, 1, 3, 9, 19] {
            for bytes in [text(FRAME_BYTES), noise(FRAME_BYTES), vec![0; FRAME_BYTES]] {
                assert_eq!(unpack(&packed(&bytes, level)).as_ref(), Ok(&bytes), "level {level}");
            }
        }
        assert_eq!(refused(&packed(&vec![0; FRAME_BYTES + 1], 1)), "larger than 4 MiB");
    }

    #[test]
    fn a_size_that_lies_is_no_frame() {
        // Single segment, a content size of 4 bytes: what is announced beyond the bound is refused before anything is allocated.
        let sized = |size: u32, count: u32| run(&[&[0b1010_0000][..], &size.to_le_bytes()].concat(), count);
        assert_eq!(unpack(&sized(1000, 1000)), Ok(vec![0; 1000]));
        assert_eq!(refused(&sized(u32::MAX, 1000)), "larger than 4 MiB");
        assert_eq!(refused(&run(&[&[0b1110_0000][..], &(u64::MAX / 2).to_le_bytes()].concat(), 1)), "larger than 4 MiB");
        // A bomb: 128 KiB of zeros where ten bytes are stated, and the other way round.
        for (stated, held) in [(10, 128 << 10), (1_000_000, 10), (11, 10), (10, 11), (0, 1)] {
            assert_eq!(refused(&sized(stated, held)), "damaged, or of another size than it states", "{held} stated as {stated}");
        }
        for unknown in [run(&[0b0000_0000, 0x50], 1000), run(&[&[0b1110_0000][..], &u64::MAX.to_le_bytes()].concat(), 1000)] {
            assert_eq!(refused(&unknown), "without its size");
        }
    }

    #[test]
    fn a_window_beyond_the_frame_bound_is_refused() {
        // The content size in 4 bytes behind the window: 2^22, one eighth above it, and all that can be said.
        let windowed = |window: u8| run(&[&[0b1000_0000, window][..], &1000_u32.to_le_bytes()].concat(), 1000);
        for window in [12 << 3, (11 << 3) | 1, (11 << 3) | 7, 0, 7] {
            assert_eq!(unpack(&windowed(window)), Ok(vec![0; 1000]), "{window:#x}");
        }
        for window in [(12 << 3) | 1, 0xff] {
            assert_eq!(refused(&windowed(window)), "a window above 4 MiB");
        }
    }

    #[test]
    fn exactly_one_frame_and_no_dictionary() {
        let good = packed(&text(5_000), 1);
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0][..], &[7; 4]].concat();
        for (what, bytes) in [
            ("two", [&good[..], &good].concat()),
            ("skippable behind", [&good[..], &skippable].concat()),
            ("a byte behind", [&good[..], &[0]].concat()),
            ("cut off", good[..good.len() - 1].to_vec()),
        ] {
            assert_eq!(refused(&bytes), "cut off, or with something behind it", "{what}");
        }
        for bytes in [&skippable[..], &[skippable.clone(), good.clone()].concat(), b"", b"(\xb5/\xfd", b"not zstd at all"] {
            assert_eq!(refused(bytes), "not zstd");
        }
        let named = run(&[&[0b1010_0001, 9][..], &1000_u32.to_le_bytes()].concat(), 1000);
        assert_eq!(refused(&named), "damaged, or of another size than it states", "a dictionary that nobody has");
    }

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked(bytes in vec(any::<u8>(), 0..5_000), times in 1_usize..60) {
            let bytes = bytes.repeat(times);
            if let Some(packed) = pack(&bytes) {
                prop_assert!(packed.len() <= bytes.len() - bytes.len() / COMPRESS_SAVES);
                prop_assert_eq!(unpack(&packed), Ok(bytes));
            }
        }

        #[test]
        fn damage_never_writes_more_than_was_stated(
            len in 1_usize..20_000, flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), level in 1..4,
        ) {
            let mut bytes = packed(&text(len), level);
            for (at, byte) in flips {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(frame) = unpack(&bytes) {
                prop_assert!(frame.len() <= FRAME_BYTES);
            }
        }

        #[test]
        fn noise_behind_the_magic_is_refused(bytes in vec(any::<u8>(), 0..300)) {
            let _ = unpack(&[&[0x28, 0xb5, 0x2f, 0xfd][..], &bytes].concat());
        }
    }
}
