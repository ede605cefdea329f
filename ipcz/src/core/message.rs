//! One message: who may say it, and what it means (wire.md 9, nodes.md 10).

use super::{Core, Effects};
use crate::clock::Time;
use crate::driver::Verdict;
use crate::ids::{DriverKey, FragmentDescriptor, LinkKey, NodeName, ObjectId, RouterKey, SublinkId};
use crate::mapping::Mapping;
use crate::memory::Adopted;
use crate::node::handshake::Enclosed;
use crate::node::{BufferWait, Doomed, Phase};
use crate::planted::Bug;
use crate::probe::{Probe, Probes};
use crate::routing::bypass::{self, Offered as Outcome};
use crate::routing::{Broken, Origin, Payload, State, Sublink, Violation};
use crate::wire::{AcceptBypassLink, BypassPeerWithLink, Message, RouteDisconnected};

/// A message as it enters the core: copied, decoded, its objects deserialized and its memory mapped.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// None: of an unknown kind, to be ignored.
    pub message: Option<Message<'a>>,
    /// The objects that came with it.
    pub objects: Vec<Option<ObjectId>>,
    /// The memory object it names, mapped.
    pub mapping: Option<Mapping>,
    /// The second one, if it names two.
    pub second_mapping: Option<Mapping>,
    /// A parcel's inline data, copied.
    pub payload: Payload,
}

/// A message that never became one; its objects are closed and its link dropped.
#[derive(Debug)]
pub struct Offered {
    /// What is wrong with it.
    pub reason: String,
    /// The objects that came with it.
    pub objects: Vec<Option<ObjectId>>,
}

impl Core {
    /// The driver and transport of a link that is not forgotten yet.
    pub fn link_end(&self, on: LinkKey) -> Option<(DriverKey, ObjectId)> {
        let link = self.net.links.get(on)?;
        Some((self.net.nodes.get(link.node)?.driver, link.outbox.transport))
    }

    /// The name of the node that a link belongs to.
    pub fn name_at(&self, on: LinkKey) -> NodeName {
        self.net.node_of(on).map(|node| node.name).unwrap_or_default()
    }

    /// A message arrived. Refused: the driver must report an error of the transport; nothing more is looked at.
    pub fn message(
        &mut self,
        on: LinkKey,
        driver: Option<DriverKey>,
        incoming: Result<Incoming<'_>, Offered>,
        now: Time,
        fx: &mut Effects,
    ) -> Verdict {
        self.begin(Origin::Notification, now);
        let mut incoming = incoming;
        let objects = match &incoming {
            Ok(incoming) => &incoming.objects,
            Err(offered) => &offered.objects,
        };
        self.net.objects += objects.iter().flatten().count();
        let alive = self.net.links.get(on).is_some_and(|link| !link.poisoned && !matches!(link.phase, Phase::Dead));
        let verdict = match &mut incoming {
            _ if !alive => Verdict::Accepted,
            Ok(incoming) => match self.dispatch(on, incoming) {
                Ok(()) => Verdict::Accepted,
                Err(violation) => {
                    let name = incoming.message.as_ref().map_or("", Message::name);
                    self.refuse(on, named(name, violation))
                }
            },
            Err(offered) => self.refuse(on, std::mem::take(&mut offered.reason)),
        };
        let (objects, payload, mappings) = match incoming {
            Ok(incoming) => (incoming.objects, incoming.payload, [incoming.mapping, incoming.second_mapping]),
            Err(offered) => (offered.objects, Payload::None, [None, None]),
        };
        let kept = self.routing.planted.has(Bug::ObjectKept);
        for object in objects.into_iter().flatten().filter(|_| !kept) {
            self.net.doom(driver.expect("objects come with their driver"), object);
        }
        self.net.out.doomed.extend(mappings.into_iter().flatten().map(Doomed::Mapping));
        if !payload.is_empty() {
            self.routing.discarded.push(crate::routing::Parcel { payload, ..Default::default() });
        }
        self.finish(fx);
        verdict
    }

    fn refuse(&mut self, on: LinkKey, reason: String) -> Verdict {
        self.net.blame(on, reason);
        Verdict::Refused
    }

    pub(super) fn dispatch(&mut self, on: LinkKey, incoming: &mut Incoming<'_>) -> Result<(), Violation> {
        let Some(message) = &incoming.message else { return Ok(()) };
        if self.net.peer(on).is_none() {
            let transport = match message {
                Message::ConnectToReferredNonBroker(m) => m.referrer_link_transport,
                _ => None,
            };
            let mut none = None;
            let enclosed = Enclosed {
                mappings: [incoming.mapping.as_ref(), incoming.second_mapping.as_ref()],
                transport: slot(&mut incoming.objects, transport, &mut none),
            };
            return self.net.greeted(on, message, enclosed);
        }
        let at = |id: &SublinkId| Sublink { link: on, id: *id };
        let mut none = None;
        match message {
            Message::ReferNonBroker(m) => self.net.referred(on, m, slot(&mut incoming.objects, m.transport, &mut none)),
            Message::NonBrokerReferralAccepted(m) => {
                let transport = slot(&mut incoming.objects, m.transport, &mut none);
                self.net.referral_accepted(on, m, transport, incoming.mapping.as_ref())
            }
            Message::NonBrokerReferralRejected(m) => self.net.referral_rejected(on, m.referral_id),
            Message::RequestIndirectIntroduction(m) => self.net.indirectly_requested(on, m.source_node, m.target_node),
            Message::RequestMemory(m) => self.net.memory_requested(on, m.size),
            Message::ProvideMemory(m) => {
                let memory = slot(&mut incoming.objects, m.buffer, &mut none);
                self.net.memory_provided(on, m, memory, &mut incoming.mapping)
            }
            Message::RequestIntroduction(m) => self.net.requested(on, m.name),
            Message::AcceptIntroduction(m) => {
                let transport = slot(&mut incoming.objects, m.transport, &mut none);
                self.net.introduced(on, m, transport, incoming.mapping.as_ref())
            }
            Message::RejectIntroduction(m) => self.net.rejected(on, m.name),
            Message::AddBlockBuffer(m) => self.net.buffer_added(on, m, incoming.mapping.as_ref()),
            Message::AcceptParcel(m) => {
                let payload = std::mem::take(&mut incoming.payload);
                self.accept_parcel(on, m, &mut incoming.objects, payload)
            }
            Message::AcceptParcelDriverObjects(m) => self.accept_objects(on, m, &mut incoming.objects),
            Message::RelayMessage(m) => self.relay_message(on, m, &mut incoming.objects),
            Message::AcceptRelayedMessage(m) => self.accept_relayed(on, m, &mut incoming.objects, &mut incoming.mapping),
            Message::RouteClosed(m) => self.on_router(at(&m.sublink), |core, router| {
                core.routing.route_closed(router, at(&m.sublink), m.sequence_length);
                Ok(())
            }),
            Message::RouteDisconnected(m) => self.on_router(at(&m.sublink), |core, router| {
                core.routing.route_disconnected(router, at(&m.sublink));
                Ok(())
            }),
            Message::BypassPeer(m) => self.on_router(at(&m.sublink), |core, router| {
                core.routing.bypass_peer(router, at(&m.sublink), m.bypass_target_node, m.bypass_target_sublink)
            }),
            Message::AcceptBypassLink(m) => self.accept_bypass_link(on, m),
            Message::StopProxying(m) => self.on_router(at(&m.sublink), |core, router| {
                core.routing.stop_proxying(router, at(&m.sublink), m.inbound_sequence_length, m.outbound_sequence_length)
            }),
            Message::ProxyWillStop(m) => {
                let via = at(&m.sublink);
                self.on_router(via, |core, router| core.routing.proxy_will_stop(router, via, m.inbound_sequence_length))
            }
            Message::BypassPeerWithLink(m) => self.bypass_peer_with_link(on, m),
            Message::StopProxyingToLocalPeer(m) => {
                self.on_router(at(&m.sublink), |core, router| core.routing.stop_proxying_to_local_peer(router, m.outbound_sequence_length))
            }
            Message::FlushRouter(m) => {
                if Probes::ON {
                    let useless = self.net.bound(at(&m.sublink)).is_none() && self.net.is_past(at(&m.sublink));
                    self.routing.probes.hit_if(useless, Probe::FlushUseless);
                }
                self.on_router(at(&m.sublink), |core, router| {
                    core.routing.probes.hit(Probe::FlushTold);
                    let force = !core.routing.planted.has(Bug::FlushNotForced);
                    core.routing.mark_dirty(router, force);
                    Ok(())
                })
            }
            Message::ConnectFromBrokerToNonBroker(_)
            | Message::ConnectFromNonBrokerToBroker(_)
            | Message::ConnectToReferredBroker(_)
            | Message::ConnectToReferredNonBroker(_)
            | Message::ConnectFromBrokerToBroker(_) => Err(Violation("a greeting on a link that works already")),
        }
    }

    /// Acts on the router that a sublink leads to; a message for an unknown one is ignored.
    fn on_router(&mut self, at: Sublink, act: impl FnOnce(&mut Core, RouterKey) -> Result<(), Violation>) -> Result<(), Violation> {
        match self.net.bound(at) {
            Some(router) => act(self, router),
            None => {
                let past = Probes::ON && self.net.is_past(at);
                self.routing.probes.hit(if past { Probe::MessageForPast } else { Probe::MessageForUnbound });
                Ok(())
            }
        }
    }

    /// Takes over the reference on a link state that a message carried (memory.md 9).
    pub(super) fn adopt_state(&mut self, on: LinkKey, fragment: FragmentDescriptor) -> Result<State, Violation> {
        let peer = self.net.peer(on).ok_or(Violation("link state: no link"))?;
        match peer.memory.adopt_link_state(fragment) {
            Ok(Adopted::State(state)) => Ok(State::Ready(state)),
            Ok(Adopted::Pending) => Ok(State::Pending { fragment, stable: false }),
            Err(_) => Err(Violation("link state: null, too short, misaligned or out of bounds")),
        }
    }

    /// Lets a bound central link wait for its state's buffer, if that is not known yet.
    pub(super) fn await_state(&mut self, at: Sublink, fragment: FragmentDescriptor) -> Result<(), Violation> {
        if self.net.peer(at.link).is_some_and(|peer| !peer.memory.has_buffer(fragment.buffer)) {
            self.routing.probes.hit(Probe::StatePending);
            let wait = BufferWait::State { sublink: Some(at.id), fragment };
            return self.net.wait_for_buffer(at.link, fragment.buffer, wait);
        }
        Ok(())
    }

    /// Gives back the reference on a link state that nobody here wants: now, or when its buffer is known (routing.md 18, D15).
    fn return_state(&mut self, on: LinkKey, state: State) -> Result<(), Violation> {
        match state {
            State::Ready(state) => {
                state.release();
                Ok(())
            }
            State::Pending { fragment, .. } => self.await_to_return(on, fragment),
        }
    }

    fn await_to_return(&mut self, on: LinkKey, fragment: FragmentDescriptor) -> Result<(), Violation> {
        self.net.wait_for_buffer(on, fragment.buffer, BufferWait::State { sublink: None, fragment })
    }

    /// X is told of a link that replaces the one to its proxy (routing.md 12.4).
    fn accept_bypass_link(&mut self, on: LinkKey, m: &AcceptBypassLink) -> Result<(), Violation> {
        let state = self.adopt_state(on, m.new_link_state_fragment)?;
        let node = self.net.links.get(on).map(|link| link.node);
        let old = node.and_then(|node| self.net.link_to(node, m.current_peer_node));
        let target = old.and_then(|link| {
            let old = Sublink { link, id: m.current_peer_sublink };
            Some((old, self.net.bound(old)?))
        });
        let new = Sublink { link: on, id: m.new_sublink };
        let Some((old, router)) = target else {
            self.routing.probes.hit(Probe::BypassIgnored);
            self.forget_early(new);
            return self.return_state(on, state);
        };
        let offer = bypass::Offer { old, new, state, inbound_length: m.inbound_sequence_length_from_bypassed_link };
        self.offer(router, offer, m.new_link_state_fragment)
    }

    /// Z is told of a link to its proxy's local peer (routing.md 12.5).
    fn bypass_peer_with_link(&mut self, on: LinkKey, m: &BypassPeerWithLink) -> Result<(), Violation> {
        let state = self.adopt_state(on, m.new_link_state_fragment)?;
        let old = Sublink { link: on, id: m.sublink };
        let new = Sublink { link: on, id: m.new_sublink };
        let Some(router) = self.net.bound(old) else {
            self.routing.probes.hit(Probe::BypassIgnored);
            self.forget_early(new);
            return self.return_state(on, state);
        };
        let offer = bypass::Offer { old, new, state, inbound_length: m.inbound_sequence_length };
        self.offer(router, offer, m.new_link_state_fragment)
    }

    /// A sublink will not come to be: what came for it is thrown away.
    fn forget_early(&mut self, at: Sublink) {
        for parcel in self.net.take_early(at) {
            self.routing.probes.hit(Probe::EarlyParcelDropped);
            self.routing.discard(parcel);
        }
        self.net.note_past(at);
    }

    fn offer(&mut self, router: RouterKey, offer: bypass::Offer, fragment: FragmentDescriptor) -> Result<(), Violation> {
        let new = offer.new;
        let free = self.net.is_free(new);
        let pending = matches!(offer.state, State::Pending { .. });
        let offerer = self.net.peer(new.link).map(|peer| peer.remote_name).unwrap_or_default();
        let outcome = self.routing.accept_bypass_link(router, offer, offerer, free)?;
        if outcome != Outcome::Adopted && free {
            self.forget_early(new);
        }
        if outcome != Outcome::Adopted && pending {
            self.await_to_return(new.link, fragment)?;
        }
        match outcome {
            Outcome::Adopted => {
                self.net.bind(new, router);
                self.deliver_early(new);
                self.await_state(new, fragment)
            }
            Outcome::Ignored => {
                self.routing.probes.hit(Probe::BypassIgnored);
                Ok(())
            }
            Outcome::Taken => {
                self.routing.probes.hit(Probe::BypassTaken);
                self.routing.break_route(router, Broken::Outward);
                Ok(())
            }
            Outcome::Miscounted => {
                self.routing.break_route(router, Broken::Outward);
                self.net.send(new.link, Message::RouteDisconnected(RouteDisconnected { sublink: new.id }));
                Ok(())
            }
            Outcome::Unauthorised if self.net.node_of(new.link).is_some_and(|node| node.compat_strict) => {
                self.routing.count_unauthorised();
                Err(Violation("AcceptBypassLink: its sender may not bypass"))
            }
            Outcome::Unauthorised => {
                // Only the route that relied on it ends, not the link to whoever was misled (nodes.md D-14).
                self.routing.count_unauthorised();
                self.net.send(new.link, Message::RouteDisconnected(RouteDisconnected { sublink: new.id }));
                Ok(())
            }
        }
    }
}

/// The object that a message's field names.
fn slot<'a>(objects: &'a mut [Option<ObjectId>], index: Option<u32>, none: &'a mut Option<ObjectId>) -> &'a mut Option<ObjectId> {
    index.and_then(|index| objects.get_mut(index as usize)).unwrap_or(none)
}

/// A reason that names the message it is about.
fn named(message: &str, violation: Violation) -> String {
    if violation.0.starts_with(message) { violation.to_string() } else { format!("{message}: {violation}") }
}
