//! Decisions spelt by a fuzzer's bytes.

use std::sync::Arc;

/// A fuzzer's bytes.
#[derive(Clone, Debug)]
pub(super) struct Tape {
    bytes: Arc<[u8]>,
    at: usize,
}

impl Tape {
    pub fn new(bytes: Arc<[u8]>) -> Tape {
        Tape { bytes, at: 0 }
    }

    /// A number below `options`.
    fn take(&mut self, options: u32) -> u32 {
        let width = match options {
            0 | 1 => return 0,
            2..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 4,
        };
        let mut value = [0; 4];
        for (to, from) in value[..width].iter_mut().zip(&self.bytes[self.at..]) {
            *to = *from;
            self.at += 1;
        }
        u32::from_le_bytes(value) % options
    }

    /// One of `options`; of weighted ones, one that has a weight.
    pub fn choose(&mut self, options: u32, weights: Option<&[u32]>) -> u32 {
        let Some(weights) = weights else { return self.take(options) };
        let possible = weights.iter().filter(|&&w| w > 0).count() as u32;
        let nth = self.take(possible) as usize;
        weights.iter().enumerate().filter(|(_, w)| **w > 0).nth(nth).map_or(0, |(i, _)| i as u32)
    }
}
