//! What must be true of a world of processes: what was put into each end and not yet taken, where each end is, who is closed. Unlike the
//! simulator's (`ghost/`) it learns of things after they happened, and of things in different processes in any order.

use std::collections::{BTreeMap, VecDeque};

use xxhash_rust::xxh3::xxh3_64;

use super::words::Key;
use crate::ghost::{EndId, write_payload};
use crate::scenario::{PortalId, Scenario};

/// What an end of a pipe saw.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct History {
    /// Parcels taken, in order.
    pub taken: Vec<Taken>,
    /// Its owner knows that nothing will come any more.
    pub dead: bool,
}

/// A parcel that was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// Bytes of data.
    pub bytes: u64,
    /// The portal in it.
    pub carries: Option<PortalId>,
}

/// A parcel under way.
#[derive(Clone, Copy, Debug)]
struct Parcel {
    from: PortalId,
    number: u64,
    bytes: u64,
    carries: Option<PortalId>,
    /// Of a `send`, not of a `hand`.
    counted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// Not open yet, or merged.
    Nowhere,
    /// A process has it.
    At(usize, Key),
    /// In a parcel that goes to this end.
    Under(PortalId),
    /// Its owner closed it.
    Closed,
}

#[derive(Clone, Debug)]
struct End {
    place: Place,
    peer: PortalId,
    /// Parcels put and not yet taken.
    coming: VecDeque<Parcel>,
    /// Number of the next parcel put into it.
    next: u64,
    history: History,
}

/// Something learnt from a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// A parcel of a `send` was taken from a portal.
    Received(PortalId),
    /// A portal arrived at a node.
    Arrived(PortalId, usize),
    /// Nothing a step may wait for.
    Nothing,
}

/// All ends of a scenario.
pub struct Ledger {
    ends: Vec<End>,
    names: Vec<String>,
    /// Every portal that a process has or had by some key.
    held: BTreeMap<(usize, Key), PortalId>,
}

impl Ledger {
    /// Nothing is open.
    pub fn new(scenario: &Scenario) -> Ledger {
        let end = |peer| End { place: Place::Nowhere, peer, coming: VecDeque::new(), next: 0, history: History::default() };
        Ledger {
            ends: scenario.portals.iter().map(|portal| end(portal.peer)).collect(),
            names: scenario.portals.iter().map(|portal| format!("{} of {}", portal.name, scenario.nodes[portal.home].name)).collect(),
            held: BTreeMap::new(),
        }
    }

    /// A process has it, by this key.
    pub fn place(&mut self, portal: PortalId, node: usize, key: Key) {
        self.ends[portal].place = Place::At(node, key);
        self.held.insert((node, key), portal);
    }

    /// Who has it, and by what key.
    pub fn holder(&self, portal: PortalId) -> Option<(usize, Key)> {
        match self.ends[portal].place {
            Place::At(node, key) => Some((node, key)),
            _ => None,
        }
    }

    /// So many parcels are about to be put; answers the number of the first.
    pub fn put(&mut self, from: PortalId, count: u64, bytes: u64, carries: Option<PortalId>) -> u64 {
        let (first, peer) = (self.ends[from].next, self.ends[from].peer);
        self.ends[from].next += count;
        let parcels = (first..first + count).map(|number| Parcel { from, number, bytes, carries, counted: carries.is_none() });
        self.ends[peer].coming.extend(parcels);
        if let Some(carried) = carries {
            // Its process still takes parcels from it, until it gets that far.
            self.ends[carried].place = Place::Under(peer);
        }
        first
    }

    /// Of those only `times` were, by the process `node`: the rest were refused, which must have a reason.
    pub fn refused(
        &mut self,
        from: PortalId,
        numbers: std::ops::Range<u64>,
        carried: Option<(PortalId, Key)>,
        node: usize,
    ) -> Result<(), String> {
        let peer = self.ends[from].peer;
        if !self.is_closed(peer) {
            return Err(format!("a put into {} was refused, whose peer is open", self.names[from]));
        }
        for end in &mut self.ends {
            end.coming.retain(|parcel| parcel.from != from || !numbers.contains(&parcel.number));
        }
        if let Some((carried, key)) = carried {
            self.place(carried, node, key);
        }
        Ok(())
    }

    /// A process took a parcel: it must be the next one, and as it was put.
    pub fn took(&mut self, node: usize, key: Key, bytes: u64, hash: u64, arrived: &[Key]) -> Result<News, String> {
        let Some(portal) = self.held.get(&(node, key)).copied() else {
            return Err("a parcel was taken from a portal that nobody has".to_owned());
        };
        let name = &self.names[portal];
        let nth = self.ends[portal].history.taken.len() + 1;
        let Some(parcel) = self.ends[portal].coming.pop_front() else {
            return Err(format!("{name} got a parcel (its no. {nth}, {bytes} bytes) that nobody sent"));
        };
        let mut data = Vec::new();
        write_payload(EndId(parcel.from as u32), parcel.number, parcel.bytes as usize, &mut data);
        if (bytes, hash) != (parcel.bytes, xxh3_64(&data)) {
            return Err(format!(
                "{name} should have got parcel {} of {} as its no. {nth}, {} bytes; it got {bytes} bytes that are not those",
                parcel.number, self.names[parcel.from], parcel.bytes
            ));
        }
        if arrived.len() != usize::from(parcel.carries.is_some()) {
            return Err(format!("{name} got {} portals with its parcel no. {nth}", arrived.len()));
        }
        self.ends[portal].history.taken.push(Taken { bytes, carries: parcel.carries });
        Ok(match (parcel.carries, arrived.first()) {
            (Some(carried), Some(key)) => {
                self.place(carried, node, *key);
                News::Arrived(carried, node)
            }
            _ if parcel.counted => News::Received(portal),
            _ => News::Nothing,
        })
    }

    /// A process was told that a portal's peer is closed: so it must be, and nothing may be missing.
    pub fn died(&mut self, node: usize, key: Key) -> Result<(), String> {
        let Some(portal) = self.held.get(&(node, key)).copied() else { return Err("a portal that nobody has is dead".to_owned()) };
        let end = &self.ends[portal];
        if !self.is_closed(end.peer) {
            return Err(format!("{} was told that its peer is closed, which it is not", self.names[portal]));
        }
        if let Some(lost) = end.coming.front() {
            let lost = lost.number;
            return Err(format!("{} was told that its peer is closed and nothing is left, but parcel {lost} is", self.names[portal]));
        }
        self.ends[portal].history.dead = true;
        Ok(())
    }

    /// Its owner is about to close it.
    pub fn close(&mut self, portal: PortalId) {
        self.ends[portal].place = Place::Closed;
    }

    /// It has: what it had not taken is gone, with the portals in it.
    pub fn closed(&mut self, portal: PortalId) {
        self.ends[portal].coming.clear();
    }

    /// Two ends are about to be merged.
    pub fn merge(&mut self, a: PortalId, b: PortalId) {
        let (x, y) = (self.ends[a].peer, self.ends[b].peer);
        (self.ends[x].peer, self.ends[y].peer) = (y, x);
        for (merged, heir) in [(a, y), (b, x)] {
            let coming = std::mem::take(&mut self.ends[merged].coming);
            for parcel in &coming {
                if let Some(carried) = parcel.carries {
                    self.ends[carried].place = Place::Under(heir);
                }
            }
            self.ends[heir].coming.extend(coming);
            self.ends[merged].place = Place::Nowhere;
        }
    }

    /// Whether it is closed, or in a parcel that nobody will take.
    fn is_closed(&self, portal: PortalId) -> bool {
        match self.ends[portal].place {
            Place::Closed => true,
            Place::Under(toward) => self.is_closed(toward),
            Place::At(..) | Place::Nowhere => false,
        }
    }

    /// What has yet to happen before the world is at rest, for people.
    pub fn missing(&self) -> Option<String> {
        self.ends.iter().zip(&self.names).find_map(|(end, name)| match end.place {
            Place::At(..) if !end.coming.is_empty() => Some(format!("{name} has yet to get {} parcels", end.coming.len())),
            Place::At(..) if self.is_closed(end.peer) && !end.history.dead => {
                Some(format!("{name} has yet to hear that its peer is closed"))
            }
            Place::Under(toward) if !self.is_closed(toward) => Some(format!("{name} is under way to {}", self.names[toward])),
            _ => None,
        })
    }

    /// From here on histories count: what set-up did is no part of them.
    pub fn begin(&mut self) {
        self.ends.iter_mut().for_each(|end| end.history = History::default());
    }

    /// What each end saw.
    pub fn histories(&self) -> Vec<History> {
        self.ends.iter().map(|end| end.history.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
name = "small"
purpose = "a test"
[nodes]
A = { broker = true }
[[step]]
on = "A"
open = ["p", "q"]
[[step]]
on = "A"
open = ["r", "s"]
"#;
    const P: PortalId = 0;
    const Q: PortalId = 1;
    const R: PortalId = 2;
    const S: PortalId = 3;

    /// Two pipes in one process, by keys 10 to 13.
    fn ledger() -> Ledger {
        let scenario = Scenario::parse("small", TEXT, &[]).unwrap();
        let mut ledger = Ledger::new(&scenario);
        (P..=S).for_each(|portal| ledger.place(portal, 0, 10 + portal as u64));
        ledger
    }

    fn hash(from: PortalId, number: u64, bytes: usize) -> u64 {
        let mut data = Vec::new();
        write_payload(EndId(from as u32), number, bytes, &mut data);
        xxh3_64(&data)
    }

    #[test]
    fn parcels_come_once_in_order_and_whole() {
        let mut ledger = ledger();
        assert_eq!((ledger.put(P, 2, 50, None), ledger.put(P, 1, 60, None)), (0, 2));
        assert_eq!(ledger.took(0, 11, 50, hash(P, 0, 50), &[]), Ok(News::Received(Q)));
        assert!(ledger.missing().unwrap().contains("q of A has yet to get 2 parcels"));
        // The second is left out; it is damaged; it brings what nobody gave; then it comes twice.
        assert!(ledger.took(0, 11, 60, hash(P, 2, 60), &[]).unwrap_err().contains("should have got parcel 1"));
        assert!(ledger.took(0, 11, 60, hash(P, 1, 60), &[]).is_err());
        assert!(ledger.took(0, 11, 60, hash(P, 2, 60), &[]).unwrap_err().contains("that nobody sent"));
        assert!(ledger.took(0, 99, 60, 0, &[]).unwrap_err().contains("nobody has"));
        ledger.put(P, 1, 16, None);
        assert!(ledger.took(0, 11, 16, hash(P, 3, 16), &[14]).unwrap_err().contains("1 portals"));
    }

    #[test]
    fn an_end_is_closed_when_its_owner_says_so_or_nobody_can_get_it() {
        let mut ledger = ledger();
        assert!(ledger.died(0, 10).unwrap_err().contains("which it is not"));
        assert!(ledger.refused(P, 0..1, None, 0).is_err(), "its peer is open");
        // s goes to q, which is closed before it takes it.
        ledger.put(P, 1, 16, Some(S));
        ledger.close(Q);
        assert_eq!(ledger.died(0, 12), Ok(()), "r's peer is lost");
        ledger.closed(Q);
        assert!(ledger.missing().unwrap().contains("p of A has yet to hear"));
        assert_eq!(ledger.died(0, 10), Ok(()));
        assert_eq!(ledger.missing(), None);
        let put = ledger.put(P, 2, 50, None);
        assert_eq!(ledger.refused(P, put..put + 2, None, 0), Ok(()));
    }

    #[test]
    fn a_portal_is_where_it_was_taken_and_merged_pipes_are_one() {
        let mut ledger = ledger();
        ledger.put(P, 1, 16, Some(S));
        assert!(ledger.holder(S).is_none() && ledger.missing().is_some());
        assert_eq!(ledger.took(0, 11, 16, hash(P, 0, 16), &[20]), Ok(News::Arrived(S, 0)));
        assert_eq!((ledger.holder(S), ledger.histories()[Q].taken[0].carries), (Some((0, 20)), Some(S)));
        let mut ledger = self::ledger();
        ledger.put(P, 1, 50, None);
        ledger.merge(Q, R);
        assert_eq!(ledger.took(0, 13, 50, hash(P, 0, 50), &[]), Ok(News::Received(S)));
        ledger.close(S);
        ledger.closed(S);
        assert_eq!((ledger.died(0, 10), ledger.missing()), (Ok(()), None));
    }
}
