//! Named limits of a node: everything a peer or an application can grow, with the defaults (nodes.md D-15, hazards.md RE).

use std::time::Duration;

use crate::driver::DriverLimits;

/// Bytes that an attachment takes in a parcel's message: its type and its router's descriptor.
const OBJECT_ROOM: usize = 4 + 96;

/// Bytes that the rest of a parcel's message takes beside its data: header, parameters, headers and padding of arrays.
const PARCEL_ROOM: usize = 256;

/// Limits of one node and of each of its links. The defaults let a million routes live on one link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Data bytes of one parcel. Beyond: Put answers `ResourceExhausted`.
    pub parcel_bytes: usize,
    /// Attachments of one parcel. Beyond: Put answers `ResourceExhausted`.
    pub parcel_objects: usize,
    /// Boxes among them. Beyond: the same.
    pub parcel_boxes: usize,
    /// Parcels up to this size travel inside the message; bigger ones take a block of link memory if one is free.
    pub inline_bytes: usize,
    /// Bytes waiting on a link: in its outbox, and in the driver as last told. Beyond: Put answers `ResourceExhausted`.
    pub link_backlog_bytes: usize,
    /// Parcels that may wait on a portal that has no link yet. Beyond: Put answers `ResourceExhausted`.
    pub portal_backlog_parcels: usize,
    /// Two-phase puts and gets that may be open at a portal. Beyond: BeginPut and BeginGet answer `ResourceExhausted`.
    pub portal_transactions: usize,
    /// Bound sublinks a link. Beyond: a peer that moves more portals here loses the link. From half of it on: Put of a portal answers
    /// `ResourceExhausted`. From a quarter on: a route that would pass on a peer's portals ends.
    pub link_sublinks: usize,
    /// Memory buffers that one end of a link adds to the first. Beyond, with those of both ends: ours fail to grow. Beyond, with the
    /// peer's alone (both ends may grow at once): the link is dropped.
    pub link_buffers: usize,
    /// Bytes of them. Beyond: as for `link_buffers`.
    pub link_memory_bytes: u64,
    /// Parcels and link states on a link that wait for a buffer not announced yet. Beyond: the link is dropped.
    pub link_buffer_waits: usize,
    /// Parcels on a link kept for sublinks that are not there yet. Beyond: they are dropped, which loses no honest peer's.
    pub link_early_parcels: usize,
    /// Bytes of those.
    pub link_early_bytes: usize,
    /// Pieces of parcels on a link that wait for others: subparcels, and halves of parcels whose driver objects are relayed. Beyond: the
    /// link is dropped. Those of honest peers wait no longer than the broker takes.
    pub link_pieces: usize,
    /// Bytes of those. Beyond: the same.
    pub link_piece_bytes: usize,
    /// Introductions a peer may have pending here. Beyond: rejected.
    pub pending_introductions: usize,
    /// The same for a broker, which asks for all its clients.
    pub broker_introductions: usize,
    /// Until when an introduction that a broker asks others for must have been answered. Then: rejected. So long relayed messages also wait for
    /// a link to their source.
    pub introduction_deadline: Duration,
    /// Relayed messages that may wait for a link: at a broker, of one client for nodes that it has yet to be linked with; at a node, from one
    /// that it has yet to be linked with. Beyond: the client's link is dropped, the other one as soon as it comes.
    pub parked_relays: usize,
    /// Bytes of those. Beyond: the same.
    pub parked_relay_bytes: usize,
    /// Nodes of which relayed messages may wait here. Beyond: they are dropped.
    pub parked_sources: usize,
    /// Referrals a client may have pending here. Beyond: rejected.
    pub pending_referrals: usize,
    /// Referrals pending here whose referrers are gone. Beyond: the oldest are given up.
    pub orphaned_referrals: usize,
    /// Until when a referred node must have greeted. Then: rejected.
    pub referral_deadline: Duration,
    /// Bytes that a peer may ask for at once. Beyond: it gets none.
    pub grant_bytes: u64,
    /// Bytes that a peer may have asked for and not got yet. Beyond: it gets none.
    pub granting_bytes: u64,
    /// Bytes of parcel memory a link may grow to per block size (memory.md 6.1).
    pub parcel_capacity_bytes: u64,
    /// Whether a link's memory may grow for parcel data at all (api.md: fixed parcel capacity).
    pub grow_parcel_capacity: bool,
}

impl Limits {
    /// With parcels that fit into one message of the driver: attachments take up to half of it, data the rest; boxes with one handle each.
    pub fn within(self, driver: DriverLimits) -> Limits {
        let parcel_objects = self.parcel_objects.min(driver.message_bytes / 2 / OBJECT_ROOM);
        let data = driver.message_bytes.saturating_sub(parcel_objects * OBJECT_ROOM + PARCEL_ROOM);
        let parcel_boxes = self.parcel_boxes.min(driver.message_handles);
        Limits { parcel_objects, parcel_boxes, parcel_bytes: self.parcel_bytes.min(data), ..self }
    }

    /// The smaller of each limit that a portal without a link has.
    pub(crate) fn and(self, other: Limits) -> Limits {
        Limits {
            parcel_bytes: self.parcel_bytes.min(other.parcel_bytes),
            parcel_objects: self.parcel_objects.min(other.parcel_objects),
            parcel_boxes: self.parcel_boxes.min(other.parcel_boxes),
            portal_backlog_parcels: self.portal_backlog_parcels.min(other.portal_backlog_parcels),
            portal_transactions: self.portal_transactions.min(other.portal_transactions),
            ..self
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            parcel_bytes: 128 << 20,
            parcel_objects: 65_535,
            parcel_boxes: 65_535,
            inline_bytes: 240,
            link_backlog_bytes: 1 << 30,
            portal_backlog_parcels: 1_000_000,
            portal_transactions: 1_000_000,
            link_sublinks: 2_097_152,
            link_buffers: 4096,
            link_memory_bytes: 1 << 30,
            link_buffer_waits: 4096,
            link_early_parcels: 4096,
            link_early_bytes: 16 << 20,
            link_pieces: 65_536,
            link_piece_bytes: 256 << 20,
            pending_introductions: 64,
            broker_introductions: 65_536,
            introduction_deadline: Duration::from_secs(10),
            parked_relays: 256,
            parked_relay_bytes: 4 << 20,
            parked_sources: 256,
            pending_referrals: 16,
            orphaned_referrals: 64,
            referral_deadline: Duration::from_secs(60),
            grant_bytes: 8 << 20,
            granting_bytes: 64 << 20,
            parcel_capacity_bytes: 2 << 20,
            grow_parcel_capacity: true,
        }
    }
}
