//! What a seed means: streams keyed by seed and scenario, one for each (site, actor).

use std::collections::BTreeMap;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::Site;

/// Draws of one (site, actor): how many there were, and the values around the latest.
#[derive(Clone, Copy, Debug)]
struct Stream {
    next: u64,
    /// Which window it is; [`u64::MAX`]: none yet.
    place: u64,
    window: [u64; WINDOW],
}

/// Values of eight bytes that the generator makes at a time: four ChaCha blocks.
const WINDOW: usize = 32;

impl Stream {
    const NEW: Stream = Stream { next: 0, place: u64::MAX, window: [0; WINDOW] };

    /// The next value of the stream `number` of `rng`.
    #[inline]
    fn next(&mut self, rng: &mut ChaCha8Rng, number: u64) -> u64 {
        let (place, at) = (self.next / WINDOW as u64, self.next % WINDOW as u64);
        if self.place != place {
            rng.set_stream(number);
            rng.set_word_pos(u128::from(place) * WINDOW as u128 * 2);
            self.window = std::array::from_fn(|_| rng.next_u64());
            self.place = place;
        }
        self.next += 1;
        self.window[at as usize]
    }
}

/// ChaCha8 keyed by seed and scenario; the stream is (site, actor), the position the number of earlier draws there.
#[derive(Clone, Debug)]
pub(super) struct Keyed {
    /// What it is keyed by.
    pub seed: u64,
    /// Likewise.
    pub scenario: Arc<str>,
    rng: ChaCha8Rng,
    /// Of [`PICK`], the only one that is drawn from at every operation of depth L1.
    pick: Stream,
    /// By site, then actor: actors are small dense numbers as a rule.
    dense: BTreeMap<u32, Vec<Stream>>,
    /// Actors of [`DENSE`] and above.
    sparse: BTreeMap<(u32, u32), Stream>,
}

/// The stream that policies pick by: actor 0.
const PICK: u64 = (Site::Policy(0).number() as u64) << 32;

/// Streams of actors below are looked up by index.
pub(super) const DENSE: u32 = 1 << 18;

impl Keyed {
    pub fn new(seed: u64, scenario: &str) -> Keyed {
        let mut text = seed.to_le_bytes().to_vec();
        text.extend_from_slice(scenario.as_bytes());
        let mut key = [0; 32];
        for (half, salt) in key.chunks_exact_mut(16).zip(0..) {
            half.copy_from_slice(&xxh3_128_with_seed(&text, salt).to_le_bytes());
        }
        let rng = ChaCha8Rng::from_seed(key);
        Keyed { seed, scenario: scenario.into(), rng, pick: Stream::NEW, dense: BTreeMap::new(), sparse: BTreeMap::new() }
    }

    /// The next 64 bits of (site, actor).
    #[inline]
    pub fn next(&mut self, site: Site, actor: u32) -> u64 {
        let (site, number) = (site.number(), u64::from(site.number()) << 32 | u64::from(actor));
        if number == PICK { self.pick.next(&mut self.rng, number) } else { self.next_of(site, actor, number) }
    }

    fn next_of(&mut self, site: u32, actor: u32, number: u64) -> u64 {
        let stream = if actor < DENSE {
            let streams = self.dense.entry(site).or_default();
            if streams.len() <= actor as usize {
                streams.resize(actor as usize + 1, Stream::NEW);
            }
            &mut streams[actor as usize]
        } else {
            self.sparse.entry((site, actor)).or_insert(Stream::NEW)
        };
        stream.next(&mut self.rng, number)
    }

    /// A number below `n`, from exactly one draw: the product of 64 random bits, whose bias is below 2^-32.
    #[inline]
    pub fn below(&mut self, site: Site, actor: u32, n: u64) -> u64 {
        ((u128::from(self.next(site, actor)) * u128::from(n)) >> 64) as u64
    }

    /// One of `options`: uniform, or by weight.
    pub fn choose(&mut self, site: Site, actor: u32, options: u32, weights: Option<&[u32]>) -> u32 {
        let Some(weights) = weights else { return self.below(site, actor, options.into()) as u32 };
        let total = weights.iter().map(|&w| u64::from(w)).sum();
        let mut left = self.below(site, actor, total);
        let chosen = weights.iter().position(|&w| {
            let here = left < u64::from(w);
            left = left.saturating_sub(w.into());
            here
        });
        chosen.unwrap_or(0) as u32
    }

    /// Bytes that look random.
    pub fn fill(&mut self, site: Site, actor: u32, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let bytes = self.next(site, actor).to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}
