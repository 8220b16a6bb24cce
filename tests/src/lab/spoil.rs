//! A link that changes what it carries: bits, ends, order, number.

use super::dice::Dice;

/// What it does is drawn from a seed.
#[derive(Debug)]
pub(super) struct Spoiler {
    node: usize,
    dice: Dice,
    /// A frame of each direction that comes later.
    late: [Option<Vec<u8>>; 2],
}

impl Spoiler {
    pub(super) fn new(node: usize, seed: u64) -> Self {
        Self { node, dice: Dice::new(seed), late: [None, None] }
    }
}

/// What arrives in place of a frame.
pub(super) fn spoilt(spoiler: &mut Option<Spoiler>, node: usize, up: bool, bytes: Vec<u8>) -> Vec<Vec<u8>> {
    let Some(Spoiler { dice, late, .. }) = spoiler.as_mut().filter(|spoiler| spoiler.node == node) else { return vec![bytes] };
    let late = &mut late[usize::from(up)];
    let mut bytes = bytes;
    match dice.below(16) {
        0 | 1 => {
            for _ in 0..1 + dice.below(3) {
                let bit = dice.below(8 * bytes.len() as u64) as usize;
                bytes.get_mut(bit / 8).into_iter().for_each(|byte| *byte ^= 1 << (bit % 8));
            }
            vec![bytes]
        }
        2 => {
            bytes.truncate(dice.below(bytes.len() as u64) as usize);
            vec![bytes]
        }
        3 => vec![bytes.clone(), bytes],
        4 => {
            bytes.extend((0..dice.below(40)).map(|_| dice.roll() as u8).collect::<Vec<_>>());
            vec![bytes]
        }
        // It comes behind the next one, or never.
        5 => late.replace(bytes).into_iter().collect(),
        _ => [Some(bytes), late.take()].into_iter().flatten().collect(),
    }
}
