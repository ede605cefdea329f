//! Router links: what an edge holds, and the operations on the state both ends share (routing.md 2, 3).

use crate::arena::Arena;
use crate::ids::{FragmentDescriptor, LinkKey, LinkSide, NodeName, PairKey, RouterKey, SublinkId};
use crate::memory::status::Refused;
use crate::memory::{LinkState, status};

/// Address of a remote router link: a sublink of a node link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Sublink {
    /// The node link.
    pub link: LinkKey,
    /// The sublink on it.
    pub id: SublinkId,
}

/// A link between two routers of this process; always central here.
#[derive(Clone, Debug)]
pub struct LocalPair {
    /// The router at each side, until it lets go.
    pub ends: [Option<RouterKey>; 2],
    /// The status word of routing.md 2.4.
    pub status: u32,
}

/// The links between routers of this process.
pub type Pairs = Arena<PairKey, LocalPair>;

/// The shared state of a remote central link.
#[derive(Clone, Debug)]
pub enum State {
    /// In link memory.
    Ready(LinkState),
    /// In a buffer that is not known yet: nothing can be locked, "stable" is remembered.
    Pending {
        /// Where it will be.
        fragment: FragmentDescriptor,
        /// Whether this end marked itself stable meanwhile.
        stable: bool,
    },
}

impl State {
    /// Gives the reference back. One on a state that is still pending cannot be (memory.md 8.2).
    pub fn release(self) {
        if let State::Ready(state) = self {
            state.release();
        }
    }
}

/// What a remote link is to the route.
#[derive(Clone, Debug)]
pub enum Kind {
    /// The one link between the two halves of the route.
    Central(State),
    /// Towards the portal at this router's own end.
    Inward,
    /// Towards the central link.
    Outward,
}

/// One end of a link to a router of another node.
#[derive(Clone, Debug)]
pub struct RemoteLink {
    /// Its address.
    pub at: Sublink,
    /// This end.
    pub side: LinkSide,
    /// What it is to the route.
    pub kind: Kind,
}

/// What an edge holds. Given up only through `Routing::deactivate`.
#[derive(Clone, Debug)]
pub enum RouterLink {
    /// Within this process.
    Local {
        /// The pair.
        pair: PairKey,
        /// This end of it.
        side: LinkSide,
    },
    /// To the other router of a bridge, which stands in for this one's own end (routing.md 13). It has no state.
    Bridge(RouterKey),
    /// To another node.
    Remote(RemoteLink),
}

impl RouterLink {
    /// A remote central link.
    pub fn central(at: Sublink, side: LinkSide, state: State) -> RouterLink {
        RouterLink::Remote(RemoteLink { at, side, kind: Kind::Central(state) })
    }

    /// A remote link without state.
    pub fn peripheral(at: Sublink, side: LinkSide, kind: Kind) -> RouterLink {
        RouterLink::Remote(RemoteLink { at, side, kind })
    }

    /// Whether this is a central link.
    pub fn is_central(&self) -> bool {
        matches!(self, RouterLink::Local { .. } | RouterLink::Remote(RemoteLink { kind: Kind::Central(_), .. }))
    }

    /// Its address, if it leads to another node.
    pub fn at(&self) -> Option<Sublink> {
        match self {
            RouterLink::Remote(remote) => Some(remote.at),
            RouterLink::Local { .. } | RouterLink::Bridge(_) => None,
        }
    }

    /// The router at the other end of a bridge.
    pub fn bridged(&self) -> Option<RouterKey> {
        match self {
            RouterLink::Bridge(peer) => Some(*peer),
            RouterLink::Local { .. } | RouterLink::Remote(_) => None,
        }
    }

    /// The router at the other end of a local central link, if it is of this process and still there.
    pub fn local_peer(&self, pairs: &Pairs) -> Option<RouterKey> {
        match self {
            RouterLink::Local { pair, side } => pairs.get(*pair)?.ends[side.opposite() as usize],
            RouterLink::Bridge(_) | RouterLink::Remote(_) => None,
        }
    }

    /// The status word, if there is one and it can be reached.
    pub fn status(&self, pairs: &Pairs) -> Option<u32> {
        match self {
            RouterLink::Local { pair, .. } => Some(pairs.get(*pair)?.status),
            RouterLink::Remote(RemoteLink { kind: Kind::Central(State::Ready(state)), .. }) => Some(state.status()),
            RouterLink::Bridge(_) | RouterLink::Remote(_) => None,
        }
    }

    /// Whether the other end waits for this one.
    pub fn is_awaited(&self, pairs: &Pairs) -> bool {
        let side = match self {
            RouterLink::Local { side, .. } | RouterLink::Remote(RemoteLink { side, .. }) => *side,
            RouterLink::Bridge(_) => return false,
        };
        self.status(pairs).is_some_and(|word| word & status::waiting(side.opposite()) != 0)
    }

    /// Says that no link decays behind this end.
    pub fn mark_stable(&mut self, pairs: &mut Pairs) {
        match self {
            RouterLink::Local { pair, side } => with_status(pairs, *pair, |word| status::set_stable(word, *side)),
            RouterLink::Remote(remote) => match &mut remote.kind {
                Kind::Central(State::Ready(state)) => state.set_stable(remote.side),
                Kind::Central(State::Pending { stable, .. }) => *stable = true,
                Kind::Inward | Kind::Outward => {}
            },
            RouterLink::Bridge(_) => {}
        }
    }

    /// Takes the lock if both ends are stable and nobody has it. If only the other end is not stable, it will know
    /// that this one waits.
    pub fn try_lock(&mut self, pairs: &mut Pairs) -> Result<(), Refused> {
        match self {
            RouterLink::Local { pair, side } => {
                let p = pairs.get_mut(*pair).ok_or(Refused::Peripheral)?;
                let before = p.status;
                let (word, locked) = status::try_lock(before, *side);
                p.status = word;
                if locked { Ok(()) } else { Err(status::refusal(before, *side)) }
            }
            RouterLink::Remote(RemoteLink { kind: Kind::Central(State::Ready(state)), side, .. }) => state.try_lock(*side),
            RouterLink::Remote(RemoteLink { kind: Kind::Central(State::Pending { .. }), .. }) => Err(Refused::Pending),
            RouterLink::Bridge(_) | RouterLink::Remote(_) => Err(Refused::Peripheral),
        }
    }

    /// [`RouterLink::try_lock`], then names the node that may ask the other end for a bypass.
    pub fn try_lock_for_bypass(&mut self, pairs: &mut Pairs, source: NodeName) -> Result<(), Refused> {
        self.try_lock(pairs)?;
        if let RouterLink::Remote(RemoteLink { kind: Kind::Central(State::Ready(state)), .. }) = self {
            state.allow_source(source);
        }
        Ok(())
    }

    /// Gives the lock back. Whoever failed to take it meanwhile must be flushed by the caller.
    pub fn unlock(&mut self, pairs: &mut Pairs) {
        match self {
            RouterLink::Local { pair, side } => with_status(pairs, *pair, |word| status::unlock(word, *side)),
            RouterLink::Remote(RemoteLink { kind: Kind::Central(State::Ready(state)), side, .. }) => state.unlock(*side),
            RouterLink::Bridge(_) | RouterLink::Remote(_) => {}
        }
    }

    /// Whether the other end waits for the lock and could have it now; it is then told once.
    pub fn take_waiting(&mut self, pairs: &mut Pairs) -> bool {
        match self {
            RouterLink::Local { pair, side } => pairs.get_mut(*pair).is_some_and(|p| {
                let (word, waited) = status::take_waiting(p.status, side.opposite());
                p.status = word;
                waited
            }),
            RouterLink::Remote(RemoteLink { kind: Kind::Central(State::Ready(state)), side, .. }) => state.take_waiting(side.opposite()),
            RouterLink::Bridge(_) | RouterLink::Remote(_) => false,
        }
    }

    /// Whether the other end locked this link for a bypass by `source` (routing.md 12.8).
    pub fn may_bypass(&self, source: NodeName) -> bool {
        match self {
            RouterLink::Remote(RemoteLink { kind: Kind::Central(State::Ready(state)), side, .. }) => {
                state.is_locked_by(side.opposite()) && state.allowed_source() == source
            }
            _ => false,
        }
    }
}

fn with_status(pairs: &mut Pairs, pair: PairKey, change: impl FnOnce(u32) -> u32) {
    if let Some(pair) = pairs.get_mut(pair) {
        pair.status = change(pair.status);
    }
}
