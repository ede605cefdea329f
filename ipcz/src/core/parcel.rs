//! Parcels between nodes: how their portals are moved on, and how they come in (routing.md 9, 10).

use std::collections::BTreeSet;

use super::Core;
use super::message::release;
use crate::ids::{FragmentDescriptor, LinkKey, RouterKey, SublinkId};
use crate::memory::Opened;
use crate::node::{BufferWait, MemoryWait, Outgoing, ParcelData};
use crate::planted::Bug;
use crate::probe::{Probe, Probes};
use crate::routing::{Broken, Decay, MovePlan, Object, Parcel, Payload, Router, RouterLink, State, Sublink, Violation};
use crate::wire::{AcceptParcel, HandleType, RouterDescriptor};

impl Core {
    /// Sends a parcel over a sublink. Its portals become proxies in the same step (design.md 3, "a portal that travels").
    pub(super) fn send_parcel(&mut self, at: Sublink, mut parcel: Parcel) {
        if self.net.peer(at.link).is_none() {
            self.routing.probes.hit_if(!parcel.objects.is_empty(), Probe::MoveOverDead);
            return self.routing.discard(parcel);
        }
        // Put asks first. This is for what is passed on: a peer may send portals that our link to the next node has no room for, which
        // would drop it.
        let passed_on = parcel.via.is_some();
        let crowded = 2 * parcel.objects.len() > self.net.sublinks_to_give(at.link, passed_on);
        if crowded && !parcel.objects.is_empty() && !self.routing.planted.has(Bug::PortalsPassedUnbounded) {
            self.routing.probes.hit(Probe::PortalsTooMany);
            if let Some(router) = self.net.bound(at) {
                let inward = self.routing.get(router).is_some_and(|router| router.is_inward(at));
                self.routing.break_route(router, if inward { Broken::Inward } else { Broken::Outward });
            }
            return self.routing.discard(parcel);
        }
        let objects = std::mem::take(&mut parcel.objects);
        let mut routers = Vec::with_capacity(objects.len());
        for (i, Object::Portal(portal)) in objects.iter().copied().enumerate() {
            match self.move_portal(portal, at.link) {
                Some(descriptor) => routers.push(descriptor),
                None => {
                    // The portal may have been locked for the move: only its loss frees its peer.
                    self.routing.break_route(portal, Broken::Outward);
                    self.drop_link(at.link, "the link's sublink counter is spoilt".into());
                    parcel.objects = objects[i..].to_vec();
                    return self.routing.discard(parcel);
                }
            }
        }
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
    fn outgoing_data(&mut self, link: LinkKey, payload: Payload) -> ParcelData {
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
    fn move_portal(&mut self, y: RouterKey, link: LinkKey) -> Option<RouterDescriptor> {
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

    /// AcceptParcel (routing.md 9.4). Everything is validated before anything changes.
    pub(super) fn accept_parcel(&mut self, on: LinkKey, m: &AcceptParcel<'_>, objects: usize, payload: Payload) -> Result<(), Violation> {
        if let Err(violation) = check_parcel(m, objects) {
            // Its block is the receiver's in any case.
            if let Ok(Data::Here(payload)) = self.open_data(on, m.parcel_fragment) {
                self.routing.discard(Parcel { payload, ..Parcel::default() });
            }
            return Err(violation);
        }
        let (payload, pending) = match self.open_data(on, m.parcel_fragment)? {
            Data::Inline => (payload, false),
            Data::Here(payload) => (payload, false),
            Data::Pending => (Payload::None, true),
        };
        let arrived = self.arrive_all(on, m);
        let objects = arrived.iter().flatten().copied().map(Object::Portal).collect();
        let parcel = Parcel { number: m.sequence_number, payload, objects, via: Some(on) };
        if let Err(violation) = arrived {
            self.routing.discard(parcel);
            return Err(violation);
        }
        let at = |id| Sublink { link: on, id };
        let mut waits = Ok(());
        if pending {
            self.routing.probes.hit(Probe::ParcelInUnknownBuffer);
            let wait = BufferWait::Parcel { sublink: m.sublink, parcel, fragment: m.parcel_fragment };
            waits = self.net.wait_for_buffer(on, m.parcel_fragment.buffer, wait);
        } else {
            if Probes::ON {
                self.note_order(at(m.sublink), &parcel);
            }
            self.deliver(at(m.sublink), parcel);
        }
        for descriptor in m.new_routers.iter() {
            self.deliver_early(at(descriptor.new_sublink));
            if descriptor.proxy_already_bypassed {
                self.deliver_early(at(descriptor.new_decaying_sublink));
            }
        }
        waits
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
    pub(super) fn resume_parcel(&mut self, on: LinkKey, sublink: SublinkId, mut parcel: Parcel, fragment: FragmentDescriptor) {
        match self.open_data(on, fragment) {
            Ok(Data::Here(payload)) => {
                parcel.payload = payload;
                self.routing.probes.hit(Probe::ParcelResumed);
                self.deliver_late(Sublink { link: on, id: sublink }, parcel);
            }
            Ok(_) => self.routing.discard(parcel),
            Err(violation) => {
                self.routing.discard(parcel);
                self.drop_link(on, violation.to_string());
            }
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
                    for state in states.into_iter().flatten() {
                        release(state);
                    }
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

/// What a parcel shows by itself (wire.md 9.5), and what is not supported yet.
fn check_parcel(m: &AcceptParcel<'_>, objects: usize) -> Result<(), Violation> {
    m.validate(objects).map_err(|error| Violation(error.rule()))?;
    if m.num_subparcels != 1 {
        return Err(Violation("AcceptParcel: subparcels are not supported yet"));
    }
    if m.handle_types.iter().any(|kind| *kind != HandleType::Portal as u32) {
        return Err(Violation("AcceptParcel: only portals can be attached yet"));
    }
    Ok(())
}

/// Beyond any number a route can have reached: such a route is not gone on with.
const LAST_NUMBER: u64 = 1 << 62;

/// Nobody counts as far as from the one to the other: who says this has not been told it by somebody else. Far enough from the end of the
/// type to count on from.
const IMPOSSIBLE_NUMBER: u64 = 1 << 63;

fn highest(d: &RouterDescriptor) -> u64 {
    d.next_incoming_sequence_number.max(d.next_outgoing_sequence_number)
}

/// Where a parcel's data is.
enum Data {
    Inline,
    Here(Payload),
    Pending,
}
