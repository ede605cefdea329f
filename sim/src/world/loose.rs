//! Loose nodes: what upstream's threads do to the order of a node's messages (docs/spec/routing.md 7). Between the decision to send a
//! message, under a router's lock, and its transmission another thread may send others; so a message about a route may be overtaken by
//! later ones of its transport, those about its own route included. One rule is left: what a message announces (the sublinks of a moved
//! portal, of a bypass link) is used only after it was transmitted (10.5). What nodes say about themselves is never held back.
//!
//! The header's sequence number stays what the sender's core wrote: upstream stamps and transmits in two steps, and nobody reads it
//! (wire.md 10). A message is overtaken by at most [`FAR`] others, as seen in recorded traffic there, and waits [`PATIENCE`] latencies
//! if fewer come.

use ipcz::ids::SublinkId;
use ipcz::wire::{AcceptParcel, Envelope, Message};

use super::config::Looseness;
use super::state::State;
use crate::choice::{Choices, Site};
use crate::trace::Kind;

/// Most messages that overtake one.
const FAR: usize = 8;
/// How long one is held if they do not come, in latencies of its link. A bypass takes three.
pub const PATIENCE: u64 = 4;
/// How likely it is that a message is not held, relative to each number of others that may overtake it.
const PROMPT: u32 = 8;

/// A message that a loose end holds back.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    slot: u32,
    about: About,
    /// How many may still overtake it.
    left: u32,
    /// When it goes in any case.
    due: u64,
}

/// What the order of a message depends on.
#[derive(Clone, Default, Debug)]
struct About {
    /// The sublink it is about; none if it is about no route.
    uses: Option<SublinkId>,
    announces: Vec<SublinkId>,
    parcel: bool,
    /// The parcel that it is a piece of: one thread sends them all.
    piece: Option<(SublinkId, u64)>,
}

impl About {
    fn of(bytes: &[u8]) -> About {
        let message = Envelope::parse(bytes, usize::MAX).ok().and_then(|envelope| envelope.message().ok().flatten());
        let on = |uses: SublinkId| About { uses: Some(uses), ..About::default() };
        match message {
            Some(Message::AcceptParcel(m)) => {
                let piece = (m.num_subparcels > 1).then_some((m.sublink, m.sequence_number));
                About { announces: announced(&m), parcel: true, piece, ..on(m.sublink) }
            }
            Some(Message::AcceptBypassLink(m)) => About { announces: vec![m.new_sublink], ..on(m.new_sublink) },
            Some(Message::BypassPeerWithLink(m)) => About { announces: vec![m.new_sublink], ..on(m.sublink) },
            Some(Message::RouteClosed(m)) => on(m.sublink),
            Some(Message::RouteDisconnected(m)) => on(m.sublink),
            Some(Message::BypassPeer(m)) => on(m.sublink),
            Some(Message::StopProxying(m)) => on(m.sublink),
            Some(Message::ProxyWillStop(m)) => on(m.sublink),
            Some(Message::StopProxyingToLocalPeer(m)) => on(m.sublink),
            Some(Message::FlushRouter(m)) => on(m.sublink),
            _ => About::default(),
        }
    }

    /// Whether this, sent later, may go before `earlier`.
    fn may_overtake(&self, earlier: &About, looseness: Looseness) -> bool {
        let early = looseness == Looseness::Early && self.parcel && earlier.parcel;
        if self.piece.is_some() && self.piece == earlier.piece {
            return false;
        }
        early || !self.uses.is_some_and(|id| earlier.announces.contains(&id))
    }
}

fn announced(parcel: &AcceptParcel<'_>) -> Vec<SublinkId> {
    let of = |d: &ipcz::wire::RouterDescriptor| [Some(d.new_sublink), d.proxy_already_bypassed.then_some(d.new_decaying_sublink)];
    parcel.new_routers.iter().flat_map(of).flatten().collect()
}

impl State {
    /// A loose end sends a message, now or later.
    pub fn send_loosely(&mut self, end: u32, slot: u32, looseness: Looseness) {
        let about = About::of(self.bytes_of(slot));
        let held = self.held.entry(end).or_default();
        let must: Vec<u32> = held.iter().filter(|held| !about.may_overtake(&held.about, looseness)).map(|held| held.slot).collect();
        for earlier in must {
            self.release(end, earlier, looseness);
        }
        let mut weights = [1; FAR + 1];
        weights[0] = PROMPT;
        let left = match about.uses {
            Some(_) => self.source.choose(Site::Loose, end, weights.len() as u32, Some(&weights)),
            None => 0,
        };
        if left == 0 {
            self.depart(slot);
            return self.passed(end, looseness);
        }
        self.trace.record(Kind::Held, end, self.now, left.into());
        let due = self.now.saturating_add(self.patience(end));
        self.held.entry(end).or_default().push(Held { slot, about, left, due });
        self.push_release(end, PATIENCE);
    }

    fn patience(&self, end: u32) -> u64 {
        self.profile(end).latency_ns.saturating_mul(PATIENCE).max(1)
    }

    /// A message overtook those held.
    fn passed(&mut self, end: u32, looseness: Looseness) {
        for held in self.held.entry(end).or_default() {
            held.left = held.left.saturating_sub(1);
        }
        self.release_where(end, looseness, |held| held.left == 0);
    }

    fn release_where(&mut self, end: u32, looseness: Looseness, which: impl Fn(&Held) -> bool) {
        while let Some(slot) = self.held.get(&end).and_then(|held| held.iter().find(|held| which(held))).map(|held| held.slot) {
            self.release(end, slot, looseness);
        }
    }

    /// Sends a held message, after those that it must not overtake.
    fn release(&mut self, end: u32, slot: u32, looseness: Looseness) {
        loop {
            let Some(queue) = self.held.get_mut(&end) else { return };
            let Some(at) = queue.iter().position(|held| held.slot == slot) else { return };
            let (before, from) = queue.split_at_mut(at);
            match before.iter().find(|earlier| !from[0].about.may_overtake(&earlier.about, looseness)).map(|earlier| earlier.slot) {
                Some(earlier) => self.release(end, earlier, looseness),
                None => {
                    for earlier in before {
                        earlier.left = earlier.left.saturating_sub(1);
                    }
                    queue.remove(at);
                    return self.depart(slot);
                }
            }
        }
    }

    /// The wait of what an end holds is over: in virtual time that of those that are due, in a schedule that of the oldest.
    pub fn release_due(&mut self, end: u32) {
        let (now, looseness) = (self.now, self.looseness(end));
        if self.queue.is_scheduled() {
            if let Some(slot) = self.held.get(&end).and_then(|held| held.first()).map(|held| held.slot) {
                self.release(end, slot, looseness);
            }
        } else {
            self.release_where(end, looseness, |held| held.due <= now);
        }
        self.release_where(end, looseness, |held| held.left == 0);
    }

    /// The end says nothing more: what it held back goes first.
    pub fn release_all(&mut self, end: u32) {
        for held in self.held.remove(&end).unwrap_or_default() {
            self.depart(held.slot);
        }
    }

    fn looseness(&self, end: u32) -> Looseness {
        self.config.loose.get(&self.ends[end as usize].holder).copied().unwrap_or(Looseness::Threads)
    }
}
