//! Where every decision of a run comes from (design.md 5): option 0 is always the plain one, so that a source that
//! only ever answers 0 gives first-in-first-out, no jitter and no fault.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// What is being decided. The numbers are part of what a seed means: never reuse or change one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Site {
    /// Which of several events at one instant goes first; the actor is the process.
    Tie,
    /// How much later than its link's latency a message arrives; the actor is the receiving transport end.
    Latency,
    /// How many messages in flight a cut link loses; the actor is the receiving transport end.
    Cut,
    /// Random bytes, hence node names; the actor is the process.
    Name,
    /// What a fault plan does.
    Fault(u8),
    /// What a workload does.
    Workload(u8),
    /// Which of the events or activities that are ready goes next; 0 is the one that would without anybody's doing.
    Next,
    /// What a policy draws for itself: never part of a log, since what it decides is.
    Policy(u8),
    /// What a random world is made of.
    Swarm(u8),
}

impl Site {
    /// The site's number for ever.
    pub const fn number(self) -> u32 {
        match self {
            Site::Tie => 1,
            Site::Latency => 2,
            Site::Cut => 3,
            Site::Name => 4,
            Site::Fault(n) => 0x100 + n as u32,
            Site::Workload(n) => 0x200 + n as u32,
            Site::Next => 5,
            Site::Policy(n) => 0x300 + n as u32,
            Site::Swarm(n) => 0x400 + n as u32,
        }
    }
}

/// Answers decisions. [`Source`] does; a trait so that whoever asks need not know which kind of source it is.
pub trait Choices {
    /// One of `options` (at least 1): uniform, or by weight. An option of weight 0 is never drawn by chance.
    fn choose(&mut self, site: Site, actor: u32, options: u32, weights: Option<&[u32]>) -> u32;

    /// A uniform number below `n`; 0 if `n` is 0.
    fn draw(&mut self, site: Site, actor: u32, n: u32) -> u32 {
        self.choose(site, actor, n, None)
    }
}

/// Every kind of source a world can be given; cloned with it.
#[derive(Clone, Debug)]
pub enum Source {
    /// Keyed streams: what one (site, actor) draws depends on nothing but the key and how often it drew before.
    Seeded(Keyed),
    /// A fuzzer's bytes, then option 0 for ever.
    Bytes(Tape),
    /// Option 0 for ever.
    Default(Keyed),
    /// A list of decisions over another source, and a log of all: replay, shrinking and enumeration.
    Listed(List),
}

impl Source {
    /// The run number `seed` of the scenario `scenario`.
    pub fn seeded(seed: u64, scenario: &str) -> Source {
        Source::Seeded(Keyed::new(seed, scenario))
    }

    /// Decisions spelt by `bytes`, as few as each needs: one byte up to 256 options, two up to 65,536, else four.
    pub fn bytes(bytes: impl Into<Arc<[u8]>>) -> Source {
        Source::Bytes(Tape { bytes: bytes.into(), at: 0, names: Keyed::new(0, "") })
    }

    /// `chosen[i]` decides the i-th decision of the run; where it is none, and beyond the list, `then` does. What `then`
    /// draws does not depend on the list: it is asked either way.
    pub fn listed(chosen: impl Into<Arc<[Option<u32>]>>, then: Source) -> Source {
        Source::Listed(List { chosen: chosen.into(), then: Box::new(then), log: Vec::new() })
    }

    /// A decision that somebody else proposes (a policy): a seeded source takes the proposal, a replay or a fuzzer says otherwise.
    pub fn settle(&mut self, site: Site, actor: u32, options: u32, proposal: u32) -> u32 {
        match self {
            Source::Seeded(_) => proposal,
            Source::Default(_) => 0,
            Source::Bytes(_) | Source::Listed(_) => self.choose(site, actor, options, None),
        }
    }

    /// Every decision so far, if this source keeps a list.
    pub fn log(&self) -> &[Decision] {
        match self {
            Source::Listed(list) => &list.log,
            _ => &[],
        }
    }

    /// Fills `out` with bytes that look random, different for each call and actor whatever the source: names must
    /// differ even where nothing is left to chance. A fuzzer still steers their order through the first byte.
    pub fn fill(&mut self, site: Site, actor: u32, out: &mut [u8]) {
        let (keyed, mask) = match self {
            Source::Seeded(keyed) | Source::Default(keyed) => (keyed, 0),
            Source::Bytes(tape) => {
                let mask = tape.take(256) as u8;
                (&mut tape.names, mask)
            }
            Source::Listed(list) => return list.then.fill(site, actor, out),
        };
        for chunk in out.chunks_mut(8) {
            let bytes = keyed.next(site, actor).to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        if let Some(first) = out.first_mut() {
            *first ^= mask;
        }
    }
}

impl Default for Source {
    fn default() -> Source {
        Source::Default(Keyed::new(0, ""))
    }
}

impl Choices for Source {
    fn choose(&mut self, site: Site, actor: u32, options: u32, weights: Option<&[u32]>) -> u32 {
        match self {
            Source::Seeded(keyed) => match weights {
                None => keyed.below(site, actor, options.into()) as u32,
                Some(weights) => {
                    let total = weights.iter().map(|&w| u64::from(w)).sum();
                    let mut left = keyed.below(site, actor, total);
                    let chosen = weights.iter().position(|&w| {
                        let here = left < u64::from(w);
                        left = left.saturating_sub(w.into());
                        here
                    });
                    chosen.unwrap_or(0) as u32
                }
            },
            Source::Bytes(tape) => match weights {
                None => tape.take(options),
                Some(weights) => {
                    let possible = weights.iter().filter(|&&w| w > 0).count() as u32;
                    let nth = tape.take(possible) as usize;
                    weights.iter().enumerate().filter(|(_, w)| **w > 0).nth(nth).map_or(0, |(i, _)| i as u32)
                }
            },
            Source::Default(_) => 0,
            Source::Listed(list) => {
                let drawn = list.then.choose(site, actor, options, weights);
                let listed = list.chosen.get(list.log.len()).copied().flatten();
                let chosen = listed.unwrap_or(drawn).min(options.saturating_sub(1));
                list.log.push(Decision { site, actor, options, chosen });
                chosen
            }
        }
    }
}

/// A decision that was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision {
    /// About what.
    pub site: Site,
    /// For whom.
    pub actor: u32,
    /// Out of how many.
    pub options: u32,
    /// Which.
    pub chosen: u32,
}

/// Decisions fixed beforehand, and all that were taken.
#[derive(Clone, Debug)]
pub struct List {
    chosen: Arc<[Option<u32>]>,
    then: Box<Source>,
    log: Vec<Decision>,
}

/// A fuzzer's bytes.
#[derive(Clone, Debug)]
pub struct Tape {
    bytes: Arc<[u8]>,
    at: usize,
    names: Keyed,
}

impl Tape {
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
}

/// Draws of one (site, actor): how many there were, and the ChaCha block that the latest came from.
#[derive(Clone, Copy, Debug)]
struct Stream {
    next: u64,
    block: u64,
    window: [u64; WINDOW as usize],
}

/// Values of eight bytes in a ChaCha block.
const WINDOW: u64 = 8;

impl Stream {
    const NEW: Stream = Stream { next: 0, block: u64::MAX, window: [0; WINDOW as usize] };
}

/// ChaCha8 keyed by seed and scenario; the stream is (site, actor), the position the number of earlier draws there.
#[derive(Clone, Debug)]
pub struct Keyed {
    rng: ChaCha8Rng,
    /// By site, then actor: actors are small dense numbers as a rule.
    dense: BTreeMap<u32, Vec<Stream>>,
    /// Actors of [`DENSE`] and above.
    sparse: BTreeMap<(u32, u32), Stream>,
}

const DENSE: u32 = 1 << 18;

impl Keyed {
    fn new(seed: u64, scenario: &str) -> Keyed {
        let mut text = seed.to_le_bytes().to_vec();
        text.extend_from_slice(scenario.as_bytes());
        let mut key = [0; 32];
        for (half, salt) in key.chunks_exact_mut(16).zip(0..) {
            half.copy_from_slice(&xxh3_128_with_seed(&text, salt).to_le_bytes());
        }
        Keyed { rng: ChaCha8Rng::from_seed(key), dense: BTreeMap::new(), sparse: BTreeMap::new() }
    }

    /// The next 64 bits of (site, actor).
    fn next(&mut self, site: Site, actor: u32) -> u64 {
        let site = site.number();
        let stream = if actor < DENSE {
            let streams = self.dense.entry(site).or_default();
            if streams.len() <= actor as usize {
                streams.resize(actor as usize + 1, Stream::NEW);
            }
            &mut streams[actor as usize]
        } else {
            self.sparse.entry((site, actor)).or_insert(Stream::NEW)
        };
        let (block, at) = (stream.next / WINDOW, stream.next % WINDOW);
        if stream.block != block {
            self.rng.set_stream(u64::from(site) << 32 | u64::from(actor));
            self.rng.set_word_pos(u128::from(block) * 16);
            stream.window = std::array::from_fn(|_| self.rng.next_u64());
            stream.block = block;
        }
        stream.next += 1;
        stream.window[at as usize]
    }

    /// A number below `n`, from exactly one draw: the product of 64 random bits, whose bias is below 2^-32.
    fn below(&mut self, site: Site, actor: u32, n: u64) -> u64 {
        ((u128::from(self.next(site, actor)) * u128::from(n)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(source: &mut Source, site: Site, actor: u32, count: usize) -> Vec<u32> {
        (0..count).map(|_| source.draw(site, actor, 1000)).collect()
    }

    #[test]
    fn a_stream_does_not_feel_what_others_draw() {
        let mut alone = Source::seeded(7, "keys");
        let expected = draws(&mut alone, Site::Latency, 3, 40);
        let mut busy = Source::seeded(7, "keys");
        let mut got = Vec::new();
        for i in 0..40 {
            got.push(busy.draw(Site::Latency, 3, 1000));
            draws(&mut busy, Site::Latency, 4, i % 3);
            draws(&mut busy, Site::Workload(0), 3, i % 5);
            draws(&mut busy, Site::Latency, DENSE + 3, 1);
        }
        assert_eq!(got, expected);
        assert_ne!(draws(&mut Source::seeded(7, "keys"), Site::Latency, 4, 40), expected);
        assert_ne!(draws(&mut Source::seeded(7, "keys"), Site::Tie, 3, 40), expected);
        assert_ne!(draws(&mut Source::seeded(8, "keys"), Site::Latency, 3, 40), expected);
        assert_ne!(draws(&mut Source::seeded(7, "other"), Site::Latency, 3, 40), expected);
    }

    #[test]
    fn a_seed_means_the_same_for_ever() {
        let mut source = Source::seeded(1, "golden");
        let mut name = [0; 16];
        source.fill(Site::Name, 2, &mut name);
        let values = (
            draws(&mut source, Site::Tie, 0, 4),
            draws(&mut source, Site::Latency, 5, 10),
            draws(&mut source, Site::Workload(3), u32::MAX, 4),
            u128::from_le_bytes(name),
        );
        let expected = (
            vec![0xc7, 0xe9, 0x164, 0x9],
            vec![0x216, 0x260, 0x12b, 0x325, 0x21c, 0x9f, 0x388, 0x52, 0x9, 0x234],
            vec![0xf2, 0x349, 0x303, 0x141],
            0x5022_ca97_382f_91f2_6d4c_240b_c168_6627,
        );
        assert_eq!(values, expected);
    }

    #[test]
    fn weights_are_respected() {
        let mut source = Source::seeded(3, "weights");
        let mut counts = [0; 4];
        for _ in 0..10_000 {
            counts[source.choose(Site::Workload(1), 0, 4, Some(&[1, 0, 2, 7])) as usize] += 1;
        }
        assert!((800..1200).contains(&counts[0]) && counts[1] == 0, "{counts:?}");
        assert!((1800..2200).contains(&counts[2]) && (6700..7300).contains(&counts[3]), "{counts:?}");
        let mut fuzzed = Source::bytes([0, 1, 2, 3]);
        let chosen = [(); 5].map(|_| fuzzed.choose(Site::Workload(1), 0, 4, Some(&[0, 5, 0, 1])));
        assert_eq!(chosen, [1, 3, 1, 3, 1]);
    }

    #[test]
    fn uniform_draws_reach_every_option_equally() {
        let mut source = Source::seeded(9, "uniform");
        let mut counts = [0; 3];
        for _ in 0..30_000 {
            counts[source.draw(Site::Tie, 0, 3) as usize] += 1;
        }
        assert!(counts.iter().all(|c| (9_500..10_500).contains(c)), "{counts:?}");
    }

    #[test]
    fn a_list_replays_and_changes_single_decisions() {
        let run = |source: &mut Source| [7, 8, 7, 7, 8, 7].map(|actor| source.draw(Site::Tie, actor, 1000));
        let plain = run(&mut Source::seeded(4, "list"));
        let mut recorder = Source::listed([], Source::seeded(4, "list"));
        assert_eq!(run(&mut recorder), plain);
        let log: Vec<_> = recorder.log().iter().map(|d| (d.actor, d.options, d.chosen)).collect();
        assert_eq!(log, [7, 8, 7, 7, 8, 7].into_iter().zip(plain).map(|(a, c)| (a, 1000, c)).collect::<Vec<_>>());
        let replay: Vec<_> = plain.map(Some).into();
        assert_eq!(run(&mut Source::listed(replay, Source::default())), plain);
        let changed = run(&mut Source::listed([None, None, Some(0), Some(5000)], Source::seeded(4, "list")));
        assert_eq!(changed, [plain[0], plain[1], 0, 999, plain[4], plain[5]]);
    }

    #[test]
    fn an_exhausted_tape_answers_zero() {
        let mut source = Source::bytes([5, 0x34, 0x12]);
        assert_eq!(source.draw(Site::Tie, 0, 4), 1);
        assert_eq!(source.draw(Site::Tie, 0, 1), 0);
        assert_eq!(source.draw(Site::Tie, 0, 60_000), 0x1234);
        assert_eq!(source.draw(Site::Tie, 0, 256), 0);
    }

    #[test]
    fn names_differ_even_where_nothing_is_left_to_chance() {
        for mut source in [Source::default(), Source::bytes([]), Source::seeded(0, "")] {
            let mut names = [[0; 16]; 4];
            for (i, name) in names.iter_mut().enumerate() {
                source.fill(Site::Name, i as u32 / 2, name);
            }
            assert!((0..4).all(|i| names[i] != [0; 16] && names[..i].iter().all(|n| *n != names[i])));
        }
        assert_eq!(Source::default().draw(Site::Latency, 0, 1000), 0);
    }
}
