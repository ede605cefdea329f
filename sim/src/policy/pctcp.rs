//! PCT with chain partitioning (Ozkan et al., OOPSLA 2018): what is prioritised is not channels but chains of the causal order of messages,
//! which is found out while the run goes. A new event goes to the end of a chain whose last event it depends on, else begins a chain.

use std::sync::Arc;

use super::Ready;
use super::priorities::Priorities;
use crate::choice::Source;

/// An event's place: its chain, and how many events of every chain come before it or are it.
#[derive(Clone, Debug)]
struct Placed {
    chain: u32,
    past: Arc<[u32]>,
}

/// The state of a PCTCP run.
#[derive(Clone, Debug)]
pub struct Pctcp {
    priorities: Priorities,
    /// By chain: events in it.
    lengths: Vec<u32>,
    /// By `born`: every event that was the head of its channel once.
    placed: Vec<Option<Placed>>,
    /// By channel: the `born` of its latest head.
    heads: Vec<u64>,
    /// Chains of the events that are ready; kept for its room.
    chains: Vec<u32>,
}

impl Pctcp {
    /// For bugs of this depth (at least 1), in runs of this length.
    pub fn new(depth: u32, length: u64) -> Pctcp {
        let priorities = Priorities::new(depth, length);
        Pctcp { priorities, lengths: Vec::new(), placed: Vec::new(), heads: Vec::new(), chains: Vec::new() }
    }

    pub(super) fn chains(&self) -> u64 {
        self.lengths.len() as u64
    }

    pub(super) fn pick(&mut self, ready: &[Ready], source: &mut Source) -> u32 {
        let mut chains = std::mem::take(&mut self.chains);
        chains.clear();
        // New ones are placed in the order of their age, so that those of one channel never are out of order.
        for one in ready {
            let chain = match self.placed(one.born) {
                Some(placed) => placed.chain,
                None => self.place(one),
            };
            chains.push(chain);
        }
        let at = self.priorities.pick(chains.iter().copied(), source);
        self.chains = chains;
        at
    }

    fn placed(&self, born: u64) -> Option<&Placed> {
        self.placed.get(born as usize)?.as_ref()
    }

    /// Everything that comes before it is placed already: what caused it has happened, as has what was before it in its channel.
    fn place(&mut self, one: &Ready) -> u32 {
        let channel = one.chain as usize;
        if self.heads.len() <= channel {
            self.heads.resize(channel + 1, 0);
        }
        let before = std::mem::replace(&mut self.heads[channel], one.born);
        let mut past = vec![0; self.lengths.len()];
        for placed in [before, one.cause].into_iter().filter_map(|born| self.placed(born)) {
            for (mine, theirs) in past.iter_mut().zip(placed.past.iter()) {
                *mine = (*mine).max(*theirs);
            }
        }
        let extended = past.iter().zip(&self.lengths).position(|(known, length)| known == length);
        let chain = extended.unwrap_or_else(|| {
            self.lengths.push(0);
            past.push(0);
            self.lengths.len() - 1
        });
        self.lengths[chain] += 1;
        past[chain] = self.lengths[chain];
        let born = one.born as usize;
        if self.placed.len() <= born {
            self.placed.resize(born + 1, None);
        }
        self.placed[born] = Some(Placed { chain: chain as u32, past: past.into() });
        chain as u32
    }
}
