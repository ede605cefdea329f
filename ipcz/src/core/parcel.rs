//! Parcels between nodes: how their portals are moved on, and how they come in (routing.md 9, 10).

use std::collections::BTreeSet;

use super::Core;
use crate::ids::{FragmentDescriptor, LinkKey, ObjectId, RouterKey, SublinkId};
use crate::memory::Opened;
use crate::node::{Arrival, BufferWait, Gathered, MemoryWait, Outgoing, ParcelData, Piece, Place};
use crate::planted::Bug;
use crate::probe::{Probe, Probes};
use crate::routing::{Boxed, Broken, Decay, MovePlan, Object, Parcel, Payload, Router, RouterLink, State, Sublink, Violation};
use crate::wire::{AcceptParcel, AcceptParcelDriverObjects, HandleType, RouterDescriptor};

impl Core {
    /// Whether a parcel has more portals than its link has room for: then its route ends. Put asks first; this is for what is passed on: a
    /// peer may send portals for which the next node would drop our link.
    fn is_crowded(&mut self, at: Sublink, parcel: &Parcel) -> bool {
        if parcel.objects.is_empty() || self.routing.planted.has(Bug::PortalsPassedUnbounded) {
            return false;
        }
        let portals = self.routing.portals_in(&parcel.objects).len();
        let crowded = portals > 0 && 2 * portals > self.net.sublinks_to_give(at.link, parcel.via.is_some());
        if crowded {
            self.routing.probes.hit(Probe::PortalsTooMany);
            if let Some(router) = self.net.bound(at) {
                let inward = self.routing.get(router).is_some_and(|router| router.is_inward(at));
                self.routing.break_route(router, if inward { Broken::Inward } else { Broken::Outward });
            }
        }
        crowded
    }

    /// Sends a parcel over a sublink. Its portals become proxies in the same step (design.md 3, "a portal that travels").
    pub(super) fn send_parcel(&mut self, at: Sublink, mut parcel: Parcel) {
        if self.net.peer(at.link).is_none() {
            self.routing.probes.hit_if(!parcel.objects.is_empty(), Probe::MoveOverDead);
            return self.routing.discard(parcel);
        }
        if self.is_crowded(at, &parcel) {
            return self.routing.discard(parcel);
        }
        if parcel.objects.iter().any(|object| matches!(object, Object::Box(_))) {
            return self.send_boxes(at, parcel);
        }
        let portals = self.routing.portals_in(&parcel.objects);
        let Some(routers) = self.move_portals(at.link, &portals) else { return self.discard_unmoved(parcel) };
        let data = self.outgoing_data(at.link, std::mem::take(&mut parcel.payload));
        let size = match &data {
            ParcelData::Inline(payload) => payload.len(),
            ParcelData::Fragment(_) => 0,
        };
        let bytes = 104 + size + routers.len() * 104;
        let message = Outgoing::Parcel { sublink: at.id, number: parcel.number, data, routers };
        self.net.append(at.link, message, Vec::new(), bytes, false);
    }

    /// A block of the carrying link's own memory goes as it is; anything else is copied into the message.
    pub(super) fn outgoing_data(&mut self, link: LinkKey, payload: Payload) -> ParcelData {
        match payload {
            Payload::Block { link: of, block } if of == link || self.routing.planted.has(Bug::ForeignBlockSent) => {
                self.routing.probes.hit(Probe::ParcelBlockPassedOn);
                ParcelData::Fragment(block.descriptor())
            }
            payload => {
                self.routing.probes.hit_if(matches!(payload, Payload::Block { .. }), Probe::ParcelBlockCopied);
                ParcelData::Inline(payload)
            }
        }
    }

    /// Moves a portal over a node link (routing.md 10.1 to 10.4). None if the link has no sublinks to give.
    pub(super) fn move_portal(&mut self, y: RouterKey, link: LinkKey) -> Option<RouterDescriptor> {
        let locked = match self.routing.plan_move(y, link) {
            MovePlan::Split { peer } => {
                match self.net.peer(link)?.memory.new_link_state() {
                    Some(state) => match self.net.draw_sublinks(link, 2) {
                        Some(new) => {
                            self.net.bind(new, peer);
                            self.net.bind(Sublink { link, id: SublinkId(new.id.0 + 1) }, y);
                            return Some(self.routing.split(y, peer, new, state));
                        }
                        None => {
                            state.release();
                            return None;
                        }
                    },
                    // A proxy for now; it is bypassed when there is memory again.
                    None => {
                        self.routing.probes.hit(Probe::MoveSplitNoMemory);
                        self.net.request_capacity(link, 64, MemoryWait::Nobody);
                    }
                }
                true
            }
            MovePlan::Proxy { locked } => locked,
        };
        let new = self.net.draw_sublinks(link, 1)?;
        self.net.bind(new, y);
        Some(self.routing.extend(y, new, locked))
    }

    /// AcceptParcel (routing.md 9.4). Everything is validated before anything changes. Takes the objects if it takes the parcel.
    pub(super) fn accept_parcel(
        &mut self,
        on: LinkKey,
        m: &AcceptParcel<'_>,
        objects: &mut Vec<Option<ObjectId>>,
        payload: Payload,
    ) -> Result<(), Violation> {
        if let Err(error) = m.validate(objects.len()) {
            // Its block is the receiver's in any case.
            if let Ok(Data::Here(payload)) = self.open_data(on, m.parcel_fragment) {
                self.routing.discard(Parcel { payload, ..Parcel::default() });
            }
            return Err(Violation(error.rule()));
        }
        let (payload, pending) = match self.open_data(on, m.parcel_fragment)? {
            Data::Inline => (payload, false),
            Data::Here(payload) => (payload, false),
            Data::Pending => (Payload::None, true),
        };
        let arrived = match self.arrive_all(on, m) {
            Ok(arrived) => arrived,
            Err(violation) => {
                self.routing.discard(Parcel { payload, ..Parcel::default() });
                return Err(violation);
            }
        };
        let at = |id| Sublink { link: on, id };
        let plain = !pending && m.num_subparcels == 1 && objects.is_empty() && m.handle_types.len() == arrived.len();
        let accepted = if plain {
            let objects = arrived.into_iter().map(Object::Portal).collect();
            let parcel = Parcel { number: m.sequence_number, payload, objects, via: Some(on) };
            if Probes::ON {
                self.note_order(at(m.sublink), &parcel);
            }
            self.deliver(at(m.sublink), parcel);
            Ok(())
        } else {
            let boxes = self.box_arrived(on, objects);
            let places = places(m, arrived, boxes);
            let fragment = if pending { m.parcel_fragment } else { FragmentDescriptor::NULL };
            let piece = Piece { index: m.subparcel_index, total: m.num_subparcels, payload, fragment, places };
            self.accept_piece(at(m.sublink), m.sequence_number, piece)
        };
        for descriptor in m.new_routers.iter() {
            self.deliver_early(at(descriptor.new_sublink));
            if descriptor.proxy_already_bypassed {
                self.deliver_early(at(descriptor.new_decaying_sublink));
            }
        }
        accepted
    }

    /// AcceptParcelDriverObjects: the half of a parcel, or of a piece of one, that came through the broker (wire.md 11.3).
    pub(super) fn accept_objects(
        &mut self,
        on: LinkKey,
        m: &AcceptParcelDriverObjects,
        objects: &mut Vec<Option<ObjectId>>,
    ) -> Result<(), Violation> {
        let at = Sublink { link: on, id: m.sublink };
        let boxes = self.box_arrived(on, objects);
        self.gather(at, m.sequence_number, Arrival::Objects(boxes))
    }

    /// A parcel that is not all of it: it waits for other pieces, for its objects, for its data.
    fn accept_piece(&mut self, at: Sublink, number: u64, piece: Piece) -> Result<(), Violation> {
        if piece.total == 1 && piece.relayed() == 0 {
            return self.settle_piece(at, number, piece);
        }
        self.gather(at, number, Arrival::Piece(piece))
    }

    fn gather(&mut self, at: Sublink, number: u64, arrival: Arrival) -> Result<(), Violation> {
        if self.net.is_let_go(at) {
            self.discard_piece(at, number, arrival);
            return Ok(());
        }
        match self.net.gather(at, number, arrival) {
            Gathered::Joined(piece) => self.settle_piece(at, number, piece),
            Gathered::Waits => Ok(()),
            Gathered::Refused(violation, parcel) => {
                self.routing.discard(parcel);
                Err(violation)
            }
        }
    }

    /// A piece or half is thrown away whose route was let go. Its block is the receiver's also if it lies in a buffer not known yet: then it
    /// waits for that.
    pub(super) fn discard_piece(&mut self, at: Sublink, number: u64, mut arrival: Arrival) {
        self.routing.probes.hit(Probe::PieceDropped);
        if let Arrival::Piece(piece) = &mut arrival
            && !piece.fragment.is_null()
        {
            match self.open_data(at.link, piece.fragment) {
                Ok(Data::Here(payload)) => piece.payload = payload,
                Ok(Data::Pending) => {
                    let fragment = piece.fragment;
                    let block = Piece { index: 0, total: 1, payload: Payload::None, fragment, places: Vec::new() };
                    let wait = BufferWait::Parcel { sublink: at.id, number, piece: block };
                    // One too many drops the link with the next that its peer sends.
                    let _ = self.net.wait_for_buffer(at.link, fragment.buffer, wait);
                }
                Ok(Data::Inline) | Err(_) => {}
            }
        }
        self.routing.discard(arrival.into_parcel());
    }

    /// A piece that has all its objects waits for its data, if need be; with the last one the parcel is delivered.
    fn settle_piece(&mut self, at: Sublink, number: u64, mut piece: Piece) -> Result<(), Violation> {
        if !piece.fragment.is_null() {
            match self.open_data(at.link, piece.fragment) {
                Ok(Data::Pending) => {
                    self.routing.probes.hit(Probe::ParcelInUnknownBuffer);
                    let buffer = piece.fragment.buffer;
                    return self.net.wait_for_buffer(at.link, buffer, BufferWait::Parcel { sublink: at.id, number, piece });
                }
                Ok(Data::Inline) => {}
                Ok(Data::Here(payload)) => piece.payload = payload,
                Err(violation) => {
                    self.routing.discard(piece.into_parcel());
                    return Err(violation);
                }
            }
            piece.fragment = FragmentDescriptor::NULL;
        }
        if let Some((main, subparcels)) = self.net.complete(at, number, piece) {
            let parcel = self.assemble(at.link, number, main, subparcels);
            self.deliver_late(at, parcel);
        }
        Ok(())
    }

    /// Puts each subparcel into its place.
    fn assemble(&mut self, on: LinkKey, number: u64, main: Piece, mut subparcels: Vec<Piece>) -> Parcel {
        self.routing.probes.hit_if(!subparcels.is_empty(), Probe::SubparcelsAssembled);
        if self.routing.planted.has(Bug::SubparcelsTurned) {
            subparcels.reverse();
        }
        let mut subparcels = subparcels.into_iter();
        let mut place = |place| match place {
            Place::Here(object) => Some(object),
            Place::Relayed => None,
            Place::Subparcel => {
                let inner = Boxed::Parcel(subparcels.next()?.into_parcel());
                Some(Object::Box(self.routing.boxes.insert(inner)))
            }
        };
        let objects = main.places.into_iter().filter_map(&mut place).collect();
        Parcel { number, payload: main.payload, objects, via: Some(on) }
    }

    /// Notes what only a peer with threads does: on one link, parcels go out in another order than they were numbered, and after
    /// messages that count them (routing.md 7).
    fn note_order(&mut self, at: Sublink, parcel: &Parcel) {
        let Some(router) = self.net.bound(at).and_then(|router| self.routing.get(router)) else { return };
        let inward = router.is_inward(at);
        let (queue, edge) = match &router.inward {
            Some(edge) if inward => (&router.outbound, &**edge),
            _ => (&router.inbound, &router.out),
        };
        let overtaken = edge.is_stable() && queue.highest() > parcel.number;
        let counted = !inward && edge.primary.as_ref().is_some_and(RouterLink::is_central) && queue.final_length().is_some();
        let told = |decay: &Decay| decay.link.at() == Some(at) && decay.length_from.is_some();
        // Only a proxy told to stop has both edges decaying with their lengths known.
        let stopping = router.inward.as_ref().and_then(|edge| edge.decay.as_ref()).is_some_and(|decay| decay.length_to.is_some());
        let late = !inward && stopping && edge.decay.as_deref().is_some_and(told);
        let probes = &mut self.routing.probes;
        probes.hit_if(overtaken, Probe::ParcelOvertaken);
        probes.hit_if(overtaken && !parcel.objects.is_empty(), Probe::PortalsBehindParcel);
        probes.hit_if(counted, Probe::ParcelBehindClosure);
        probes.hit_if(late, Probe::ParcelLateOnDecayed);
    }

    fn open_data(&mut self, on: LinkKey, fragment: FragmentDescriptor) -> Result<Data, Violation> {
        if fragment.is_null() {
            return Ok(Data::Inline);
        }
        let early = self.routing.planted.has(Bug::BlockFreedEarly);
        let Some(peer) = self.net.peer(on) else { return Ok(Data::Inline) };
        match peer.memory.open_parcel(fragment) {
            Ok(Opened::Block(block)) => {
                if early {
                    block.clone().free();
                }
                self.routing.probes.hit(Probe::ParcelInBlock);
                Ok(Data::Here(Payload::Block { link: on, block }))
            }
            Ok(Opened::Pending) => Ok(Data::Pending),
            Err(_) => Err(Violation("AcceptParcel: parcel_fragment does not hold a parcel")),
        }
    }

    /// The buffer of a waiting parcel's data came.
    pub(super) fn resume_parcel(&mut self, at: Sublink, number: u64, piece: Piece) {
        self.routing.probes.hit(Probe::ParcelResumed);
        // Its other pieces went with the sublink.
        if piece.total > 1 && !self.net.is_gathered(at, number) {
            return self.discard_piece(at, number, Arrival::Piece(piece));
        }
        if let Err(violation) = self.settle_piece(at, number, piece) {
            self.drop_link(at.link, violation.to_string());
        }
    }

    /// Hands a complete parcel to the router its sublink leads to.
    fn deliver(&mut self, at: Sublink, parcel: Parcel) {
        match self.net.bound(at) {
            None => {
                if let Err(parcel) = self.net.keep_early(at, parcel) {
                    self.routing.discard(parcel);
                }
            }
            Some(router) if self.routing.get(router).is_some_and(|r| r.is_inward(at)) => self.routing.accept_outbound(router, parcel),
            Some(router) => self.routing.accept_inbound(router, parcel),
        }
    }

    /// The sublink has its router now: hands over what came before it (hazards.md RC-03).
    pub(super) fn deliver_early(&mut self, at: Sublink) {
        for parcel in self.net.take_early(at) {
            self.deliver_late(at, parcel);
        }
    }

    /// As [`Core::deliver`], long after the parcel came: by now its router may be inside a queue of one that it carries, and
    /// nobody could ever reach the two. No honest peer sends such a parcel.
    fn deliver_late(&mut self, at: Sublink, parcel: Parcel) {
        match self.net.bound(at) {
            Some(router) if self.routing.carries(&parcel, router) => self.routing.discard(parcel),
            _ => self.deliver(at, parcel),
        }
    }

    /// Makes the routers of all portals attached to a parcel, or none of them.
    fn arrive_all(&mut self, on: LinkKey, m: &AcceptParcel<'_>) -> Result<Vec<RouterKey>, Violation> {
        let limits = self.net.limits_of(on);
        let sublinks: usize = m.new_routers.iter().map(|d| 1 + usize::from(d.proxy_already_bypassed)).sum();
        if m.new_routers.len() > limits.parcel_objects || sublinks > self.net.sublinks_left(on) {
            return Err(Violation("AcceptParcel: more portals than a parcel or a link may have"));
        }
        let mut named = BTreeSet::from([m.sublink]);
        let mut states = Vec::with_capacity(m.new_routers.len());
        for descriptor in m.new_routers.iter() {
            match self.check_descriptor(on, descriptor, &mut named) {
                Ok(state) => states.push(state),
                Err(violation) => {
                    states.into_iter().flatten().for_each(State::release);
                    return Err(violation);
                }
            }
        }
        let mut routers = Vec::with_capacity(states.len());
        let mut waits = Ok(());
        for (descriptor, state) in m.new_routers.iter().zip(states) {
            let at = |id| Sublink { link: on, id };
            let router = self.routing.insert(Router::default());
            let bound = self.net.is_free(at(descriptor.new_sublink)) || self.routing.planted.has(Bug::SublinkReused);
            if bound {
                self.net.bind(at(descriptor.new_sublink), router);
            }
            let split = state.is_some();
            if split {
                self.net.bind(at(descriptor.new_decaying_sublink), router);
            }
            self.routing.arrive(router, on, descriptor, state, bound);
            // Who brought it may have got these numbers from a third node, and counted on.
            if highest(descriptor) > LAST_NUMBER {
                self.routing.break_route(router, Broken::Outward);
            }
            if split {
                waits = waits.and(self.await_state(at(descriptor.new_sublink), descriptor.new_link_state_fragment));
            }
            routers.push(router);
        }
        match waits {
            Ok(()) => Ok(routers),
            Err(violation) => {
                self.routing.discard(Parcel { objects: routers.into_iter().map(Object::Portal).collect(), ..Parcel::default() });
                Err(violation)
            }
        }
    }

    /// wire.md 7.1, beyond what the descriptor shows by itself. Takes over the reference on the link state of a split route.
    fn check_descriptor(&mut self, on: LinkKey, d: &RouterDescriptor, named: &mut BTreeSet<SublinkId>) -> Result<Option<State>, Violation> {
        if highest(d) > IMPOSSIBLE_NUMBER {
            return Err(Violation("RouterDescriptor: impossible sequence number"));
        }
        let mut distinct = |id: SublinkId| {
            if named.insert(id) { Ok(()) } else { Err(Violation("RouterDescriptor: a sublink is named twice")) }
        };
        distinct(d.new_sublink)?;
        if !d.proxy_already_bypassed {
            return Ok(None);
        }
        distinct(d.new_decaying_sublink)?;
        let free = |id| self.net.is_free(Sublink { link: on, id });
        if !free(d.new_sublink) || !free(d.new_decaying_sublink) {
            return Err(Violation("RouterDescriptor: a sublink is in use"));
        }
        self.adopt_state(on, d.new_link_state_fragment).map(Some)
    }
}

/// What stands where among a piece's attachments. Portals and boxes are as many as their types.
fn places(m: &AcceptParcel<'_>, portals: Vec<RouterKey>, boxes: Vec<Object>) -> Vec<Place> {
    let (mut portals, mut boxes) = (portals.into_iter(), boxes.into_iter());
    let place = |kind: &u32| match HandleType::try_from(*kind) {
        Ok(HandleType::Portal) => portals.next().map(|portal| Place::Here(Object::Portal(portal))),
        Ok(HandleType::Box) => boxes.next().map(Place::Here),
        Ok(HandleType::RelayedBox) => Some(Place::Relayed),
        Ok(HandleType::Subparcel) => Some(Place::Subparcel),
        Err(_) => None,
    };
    m.handle_types.iter().filter_map(place).collect()
}

/// Beyond any number a route can have reached: such a route is not gone on with.
const LAST_NUMBER: u64 = 1 << 62;

/// Nobody counts as far as from the one to the other: who says this has not been told it by somebody else. Far enough from the end of the
/// type to count on from.
const IMPOSSIBLE_NUMBER: u64 = 1 << 63;

fn highest(d: &RouterDescriptor) -> u64 {
    let closed = if d.peer_closed { d.closed_peer_sequence_length } else { 0 };
    closed.max(d.next_incoming_sequence_number).max(d.next_outgoing_sequence_number)
}

/// Where a parcel's data is.
enum Data {
    Inline,
    Here(Payload),
    Pending,
}
