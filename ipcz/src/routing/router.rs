//! A router: its edges, queues and status (routing.md 6).

use super::edge::Edge;
use super::link::RouterLink;
use super::queue::ParcelQueue;
use super::transactions::Transactions;
use crate::ids::{Handle, RouterKey};
use crate::trap::{PortalStatus, TrapConditions};

/// Why a parcel was not taken; it is given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PutRefused {
    /// The peer is closed or lost.
    PeerClosed,
    /// Too many parcels wait for a link.
    Full,
}

/// An installed trap; fires once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trap {
    /// What it waits for.
    pub conditions: TrapConditions,
    /// What its owner gave.
    pub context: u64,
}

/// A link in the chain between two portals. Terminal (a portal's own) as long as it has no inward edge.
#[derive(Clone, Default, Debug)]
pub struct Router {
    /// Towards the opposite end.
    pub out: Edge,
    /// Towards the own end, iff this is a proxy; or across the bridge, iff the portal was merged. Once present it stays.
    pub inward: Option<Box<Edge>>,
    /// From the opposite end.
    pub inbound: ParcelQueue,
    /// To the opposite end.
    pub outbound: ParcelQueue,
    /// The opposite portal is known to be closed or lost.
    pub peer_closed: bool,
    /// A link was lost; no new one is adopted any more.
    pub disconnected: bool,
    /// Raised: peer closed, and everything it sent has arrived.
    pub status_peer_closed: bool,
    /// Raised: and has been read.
    pub status_dead: bool,
    /// The portal was closed by its owner: what arrives is discarded.
    pub closed: bool,
    /// Handle, parcel or connection attempts that keep this router.
    pub holders: u32,
    /// The handle an application holds on it.
    pub portal: Option<Handle>,
    /// Traps, oldest first; only while terminal.
    pub traps: Vec<Trap>,
    /// Two-phase calls that the application has begun and not ended; only while terminal.
    pub transactions: Option<Box<Transactions>>,
    /// Told to bypass its outward peer, and looking for the way.
    pub seeking: bool,
    pub(super) dirty: bool,
    pub(super) force: bool,
}

impl Router {
    /// Whether this is the end of its route.
    pub fn is_terminal(&self) -> bool {
        self.inward.is_none()
    }

    /// The other router of the bridge, if this belongs to one that is not gone.
    pub fn bridged(&self) -> Option<RouterKey> {
        let inward = self.inward.as_ref()?;
        inward.primary.as_ref().or(inward.decay.as_ref().map(|decay| &decay.link))?.bridged()
    }

    /// Whether neither edge has a decaying link.
    pub fn is_quiet(&self) -> bool {
        self.out.is_stable() && self.inward.as_ref().is_none_or(|edge| edge.is_stable())
    }

    /// Whether nothing refers to this router any more.
    pub fn is_unreachable(&self) -> bool {
        self.holders == 0 && self.out.is_empty() && self.inward.as_ref().is_none_or(|edge| edge.is_empty())
    }

    /// What a portal's owner may know.
    pub fn status(&self) -> PortalStatus {
        PortalStatus {
            peer_closed: self.status_peer_closed,
            dead: self.status_dead,
            parcels: self.inbound.available(),
            bytes: self.inbound.available_bytes(),
        }
    }

    /// Every link of every edge.
    pub fn links_mut(&mut self) -> impl Iterator<Item = &mut RouterLink> {
        self.out.links_mut().chain(self.inward.iter_mut().flat_map(|edge| edge.links_mut()))
    }
}
