//! Parcels that arrive in pieces: subparcels of one parcel, and the two halves of one whose driver objects come through the broker
//! (wire.md 11.2, 11.3; nodes.md D-7). Kept by link, sublink and number, so that they end with their link or route.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::network::Network;
use crate::ids::{FragmentDescriptor, SublinkId};
use crate::planted::Bug;
use crate::probe::Probe;
use crate::routing::{Object, Parcel, Payload, Sublink, Violation};
use crate::wire::MAX_SUBPARCELS;

/// One attachment of a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// It is here.
    Here(Object),
    /// A driver object that comes with the other half.
    Relayed,
    /// The next subparcel.
    Subparcel,
}

/// A parcel or subparcel as one AcceptParcel brings it.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Which of the parcel's pieces; 0 is the main one.
    pub index: u32,
    /// How many there are.
    pub total: u32,
    /// Its data, unless that lies in `fragment`.
    pub payload: Payload,
    /// Where the data is that could not be looked at yet; else null.
    pub fragment: FragmentDescriptor,
    /// Its attachments.
    pub places: Vec<Place>,
}

impl Piece {
    /// Driver objects that are still to come.
    pub fn relayed(&self) -> usize {
        self.places.iter().filter(|place| **place == Place::Relayed).count()
    }

    /// What is here of it, to be thrown away.
    pub fn into_parcel(self) -> Parcel {
        let here = |place: Place| if let Place::Here(object) = place { Some(object) } else { None };
        Parcel { payload: self.payload, objects: self.places.into_iter().filter_map(here).collect(), ..Parcel::default() }
    }

    fn fill(&mut self, objects: Vec<Object>) {
        let holes = self.places.iter_mut().filter(|place| **place == Place::Relayed);
        holes.zip(objects).for_each(|(hole, object)| *hole = Place::Here(object));
    }
}

/// Something that belongs to a parcel and is not all of it.
#[derive(Clone, Debug)]
pub enum Arrival {
    /// A piece.
    Piece(Piece),
    /// Driver objects, in boxes, of a piece that comes without them.
    Objects(Vec<Object>),
}

impl Arrival {
    fn bytes(&self) -> usize {
        match self {
            Arrival::Piece(piece) => piece.payload.len(),
            Arrival::Objects(_) => 0,
        }
    }

    /// All that is here of it, to be thrown away.
    pub fn into_parcel(self) -> Parcel {
        match self {
            Arrival::Piece(piece) => piece.into_parcel(),
            Arrival::Objects(objects) => Parcel { objects, ..Parcel::default() },
        }
    }
}

/// What became of an arrival.
#[derive(Debug)]
pub enum Gathered {
    /// It waits for others.
    Waits,
    /// This piece has all its objects now; its data may still have to be looked at.
    Joined(Piece),
    /// No honest peer sends it: what is here of it is to be thrown away.
    Refused(Violation, Parcel),
}

/// What is here of one parcel.
#[derive(Clone, Default, Debug)]
struct Gathering {
    /// How many pieces it has, once one has come.
    total: Option<u32>,
    seen: BTreeSet<u32>,
    /// Pieces that lack their driver objects, and driver objects that lack their piece, in the order of arrival: at most one of the two
    /// holds any.
    data: VecDeque<Piece>,
    objects: VecDeque<Vec<Object>>,
    /// How many of the one have come, and of the other.
    lacking: u32,
    object_halves: u32,
    whole: BTreeMap<u32, Piece>,
}

impl Gathering {
    fn held(&self) -> usize {
        self.data.len() + self.objects.len() + self.whole.len()
    }

    fn bytes(&self) -> usize {
        self.data.iter().chain(self.whole.values()).map(|piece| piece.payload.len()).sum()
    }

    fn into_arrivals(self) -> impl Iterator<Item = Arrival> {
        let pieces = self.data.into_iter().chain(self.whole.into_values()).map(Arrival::Piece);
        pieces.chain(self.objects.into_iter().map(Arrival::Objects))
    }

    /// Takes in a piece or half, and pairs the oldest of each kind (with the bug `swapped`: the newest piece).
    fn take_in(&mut self, arrival: Arrival, swapped: bool) -> Gathered {
        match arrival {
            Arrival::Piece(piece) => {
                if let Err(violation) = self.enter(&piece).and_then(|()| self.count_halves()) {
                    return Gathered::Refused(violation, piece.into_parcel());
                }
                if piece.relayed() == 0 {
                    return Gathered::Joined(piece);
                }
                self.data.push_back(piece);
            }
            Arrival::Objects(objects) => {
                self.object_halves += 1;
                if let Err(violation) = self.count_halves() {
                    return Gathered::Refused(violation, Parcel { objects, ..Parcel::default() });
                }
                self.objects.push_back(objects);
            }
        }
        if self.data.is_empty() || self.objects.is_empty() {
            return Gathered::Waits;
        }
        let piece = if swapped { self.data.pop_back() } else { self.data.pop_front() };
        let (Some(mut piece), Some(objects)) = (piece, self.objects.pop_front()) else { return Gathered::Waits };
        if piece.relayed() != objects.len() {
            let mut parcel = piece.into_parcel();
            parcel.objects.extend(objects);
            return Gathered::Refused(Violation("AcceptParcelDriverObjects: not one object for each place"), parcel);
        }
        piece.fill(objects);
        Gathered::Joined(piece)
    }

    /// Enters a piece; what of it contradicts what came before is refused.
    fn enter(&mut self, piece: &Piece) -> Result<(), Violation> {
        if *self.total.get_or_insert(piece.total) != piece.total {
            return Err(Violation("AcceptParcel: pieces of a parcel name different totals"));
        }
        if !self.seen.insert(piece.index) {
            return Err(Violation("AcceptParcel: a piece of a parcel came twice"));
        }
        self.lacking += u32::from(piece.relayed() > 0);
        Ok(())
    }

    /// No more driver objects have come than pieces lack or may lack: so none is left over when the parcel is complete.
    fn count_halves(&self) -> Result<(), Violation> {
        let total = self.total.unwrap_or(MAX_SUBPARCELS);
        if self.object_halves > self.lacking + total.saturating_sub(self.seen.len() as u32) {
            return Err(Violation("AcceptParcelDriverObjects: more halves than the parcel has pieces without objects"));
        }
        Ok(())
    }
}

/// What a link has of parcels that are not complete.
#[derive(Clone, Default, Debug)]
pub struct Pieces {
    parcels: BTreeMap<(SublinkId, u64), Gathering>,
    held: usize,
    bytes: usize,
}

impl Pieces {
    /// Pieces and halves kept.
    pub fn len(&self) -> usize {
        self.held
    }

    /// Their bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// What is here for a sublink, which is let go, with the numbers of the parcels it belongs to.
    pub fn take(&mut self, sublink: SublinkId) -> Vec<(u64, Arrival)> {
        let keys: Vec<_> = self.parcels.range((sublink, 0)..=(sublink, u64::MAX)).map(|(key, _)| *key).collect();
        let taken = keys.into_iter().filter_map(|key| Some((key.1, self.remove(key)?)));
        taken.flat_map(|(number, gathering)| gathering.into_arrivals().map(move |arrival| (number, arrival))).collect()
    }

    /// Everything kept, of a link that is lost.
    pub fn into_parcels(self) -> impl Iterator<Item = Parcel> {
        self.parcels.into_values().flat_map(Gathering::into_arrivals).map(Arrival::into_parcel)
    }

    /// The data of everything kept.
    pub fn payloads_mut(&mut self) -> impl Iterator<Item = &mut Payload> {
        let pieces = self.parcels.values_mut().flat_map(|gathering| gathering.data.iter_mut().chain(gathering.whole.values_mut()));
        pieces.map(|piece| &mut piece.payload)
    }

    fn remove(&mut self, key: (SublinkId, u64)) -> Option<Gathering> {
        let gathering = self.parcels.remove(&key)?;
        self.held -= gathering.held();
        self.bytes -= gathering.bytes();
        Some(gathering)
    }

    fn with<T>(&mut self, key: (SublinkId, u64), act: impl FnOnce(&mut Gathering) -> T) -> T {
        let gathering = self.parcels.entry(key).or_default();
        let before = (gathering.held(), gathering.bytes());
        let result = act(gathering);
        self.held = self.held + gathering.held() - before.0;
        self.bytes = self.bytes + gathering.bytes() - before.1;
        result
    }
}

impl Network {
    /// Takes in a piece or half.
    pub fn gather(&mut self, at: Sublink, number: u64, arrival: Arrival) -> Gathered {
        let limits = self.limits_of(at.link);
        let swapped = self.planted.has(Bug::HalvesSwapped);
        let Some(peer) = self.peer_mut(at.link) else { return Gathered::Refused(Violation("a piece: no link"), arrival.into_parcel()) };
        if peer.pieces.held >= limits.link_pieces {
            return Gathered::Refused(Violation("AcceptParcel: more pieces wait than Limits::link_pieces"), arrival.into_parcel());
        }
        if peer.pieces.bytes + arrival.bytes() > limits.link_piece_bytes {
            return Gathered::Refused(Violation("AcceptParcel: more bytes wait than Limits::link_piece_bytes"), arrival.into_parcel());
        }
        let key = (at.id, number);
        let first = !peer.pieces.parcels.contains_key(&key);
        let gathered = peer.pieces.with(key, |gathering| gathering.take_in(arrival, swapped));
        match &gathered {
            // A parcel of one piece is not waited for any more.
            Gathered::Joined(piece) if piece.total == 1 => {
                peer.pieces.remove(key);
            }
            Gathered::Waits => self.probes.hit_if(first, Probe::HalfWaits),
            Gathered::Joined(_) | Gathered::Refused(..) => {}
        }
        gathered
    }

    /// Takes in a piece with all its objects and data. Answers the parcel if it is complete: the main piece and its subparcels in order.
    pub fn complete(&mut self, at: Sublink, number: u64, piece: Piece) -> Option<(Piece, Vec<Piece>)> {
        if piece.total == 1 {
            return Some((piece, Vec::new()));
        }
        let peer = self.peer_mut(at.link)?;
        let total = piece.total as usize;
        let complete = peer.pieces.with((at.id, number), |gathering| {
            gathering.whole.insert(piece.index, piece);
            gathering.whole.len() == total
        });
        if !complete {
            return None;
        }
        let mut pieces = peer.pieces.remove((at.id, number))?.whole.into_values();
        Some((pieces.next()?, pieces.collect()))
    }

    /// Whether pieces of this parcel are awaited: not if its sublink was let go meanwhile.
    pub fn is_gathered(&self, at: Sublink, number: u64) -> bool {
        self.peer(at.link).is_some_and(|peer| peer.pieces.parcels.contains_key(&(at.id, number)))
    }
}
