//! Parcels for sublinks that no message has created yet (hazards.md RC-03, RC-04): kept until their router comes, within limits.
//! Those for a sublink that was let go are thrown away; it is known for so many others let go since.

use std::collections::{BTreeMap, BTreeSet};

use super::network::{Network, NodeEvent};
use crate::ids::{MAX_INITIAL_PORTALS, SublinkId};
use crate::planted::Bug;
use crate::probe::Probe;
use crate::routing::{Parcel, Payload, Sublink};

/// Sublinks of one generation: the last one to two times as many that were let go are known.
const GENERATION: usize = 32_768;

/// What came for sublinks that are not bound, and which of those were.
#[derive(Clone, Default, Debug)]
pub struct Early {
    kept: BTreeMap<SublinkId, Vec<Parcel>>,
    parcels: usize,
    bytes: usize,
    past: [BTreeSet<SublinkId>; 2],
}

impl Early {
    fn note_past(&mut self, id: SublinkId) {
        if self.past[0].len() >= GENERATION {
            self.past.swap(0, 1);
            self.past[0].clear();
        }
        self.past[0].insert(id);
    }

    fn is_past(&self, id: SublinkId) -> bool {
        self.past.iter().any(|past| past.contains(&id))
    }

    fn take(&mut self, id: SublinkId) -> Vec<Parcel> {
        let taken = self.kept.remove(&id).unwrap_or_default();
        self.parcels -= taken.len();
        self.bytes -= taken.iter().map(|parcel| parcel.payload.len()).sum::<usize>();
        taken
    }

    /// Parcels kept.
    pub fn len(&self) -> usize {
        self.parcels
    }

    /// Their data's bytes.
    #[cfg(feature = "inspect")]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.parcels == 0
    }

    /// Everything kept.
    pub fn into_parcels(self) -> impl Iterator<Item = Parcel> {
        self.kept.into_values().flatten()
    }

    /// The data of everything kept.
    pub fn payloads_mut(&mut self) -> impl Iterator<Item = &mut Payload> {
        self.kept.values_mut().flatten().map(|parcel| &mut parcel.payload)
    }
}

impl Network {
    /// Keeps a parcel for a sublink that may come to be; gives it back if that cannot be, or there is no room.
    pub fn keep_early(&mut self, at: Sublink, parcel: Parcel) -> Result<(), Parcel> {
        let limits = self.limits_of(at.link);
        let (past, unbounded) = (self.is_past(at), self.planted.has(Bug::EarlyUnbounded));
        let Some(peer) = self.peer_mut(at.link) else { return Err(parcel) };
        let early = &mut peer.early;
        let room = early.parcels < limits.link_early_parcels && early.bytes + parcel.payload.len() <= limits.link_early_bytes;
        if past || !(room || unbounded) {
            self.probes.hit(if past { Probe::ParcelForPastSublink } else { Probe::EarlyParcelDropped });
            return Err(parcel);
        }
        early.parcels += 1;
        early.bytes += parcel.payload.len();
        early.kept.entry(at.id).or_default().push(parcel);
        self.probes.hit(Probe::ParcelBeforeRouter);
        Ok(())
    }

    /// What was kept for a sublink, in the order of arrival.
    pub fn take_early(&mut self, at: Sublink) -> Vec<Parcel> {
        let Some(peer) = self.peer_mut(at.link).filter(|peer| !peer.early.is_empty()) else { return Vec::new() };
        let taken = peer.early.take(at.id);
        if !taken.is_empty() {
            self.probes.hit(Probe::EarlyParcelTaken);
        }
        taken
    }

    /// A sublink leads nowhere any more, or will not come to be: nor are pieces of parcels for it awaited.
    pub fn note_past(&mut self, at: Sublink) {
        let Some(peer) = self.peer_mut(at.link) else { return };
        peer.early.note_past(at.id);
        if !peer.pieces.is_empty() {
            let left = peer.pieces.take(at.id);
            self.out.events.extend(left.into_iter().map(|(number, arrival)| NodeEvent::PieceLeft { at, number, arrival }));
        }
    }

    /// Whether a sublink leads nowhere any more.
    pub fn is_let_go(&self, at: Sublink) -> bool {
        self.bound(at).is_none() && self.is_past(at)
    }

    /// Whether a sublink that leads nowhere did once, or can never be announced: the initial portals' are bound with the link.
    pub fn is_past(&self, at: Sublink) -> bool {
        let known = |early: &Early| early.is_past(at.id);
        at.id.0 < u64::from(MAX_INITIAL_PORTALS) || self.peer(at.link).is_some_and(|peer| known(&peer.early))
    }
}
