//! A proxy is bypassed, with one of the three played by hand: Y the proxy, X its outward peer, Z its inward one (routing.md 12).

mod hand;

use std::sync::Arc;

use hand::*;
use ipcz::Error;
use ipcz::ids::{FragmentDescriptor, Handle, LinkSide, NodeName, SublinkId};
use ipcz::inspect::{LinkKind, LinkView};
use ipcz::memory::{Adopted, LinkState};
use ipcz::wire::*;
use ipcz_drivers::InProcess;

const X: NodeName = NodeName { high: 1, low: 1 };
const Z: NodeName = NodeName { high: 2, low: 2 };

/// Whether a portal is linked straight to another node and nothing of the way before is left.
fn is_direct(program: &Program, portal: Handle) -> bool {
    let out = program.router(portal).out;
    out.decaying.is_none() && matches!(out.primary, Some(LinkView::Remote { kind: LinkKind::Central, status: Some(STABLE), .. }))
}

fn adopt(hand: &Hand, fragment: FragmentDescriptor) -> LinkState {
    match hand.memory.adopt_link_state(fragment).unwrap() {
        Adopted::State(state) => state,
        Adopted::Pending => panic!("not announced"),
    }
}

/// Puts into one portal what comes out of the other, both ways.
fn talk(x: &Program, p: Handle, z: &Program, q: Handle) {
    for data in [&b"to"[..], &[7; 3000], b"fro"] {
        x.put(p, data);
        z.put(q, data);
        assert_eq!((z.get(q).unwrap(), x.get(p).unwrap()), (data.to_vec(), data.to_vec()));
    }
}

/// Y is hand-made, X and Z are real and know only Y, which has moved the far end of X's portal to Z.
struct ByHand {
    x: Program,
    z: Program,
    /// Y's ends of its links.
    to_x: Hand,
    to_z: Hand,
    p: Handle,
    q: Handle,
    /// Y's sublink to Z.
    inner: SublinkId,
}

impl ByHand {
    fn new() -> ByHand {
        let driver = InProcess::new();
        let (x, z) = (Program::normal(&driver), Program::normal(&driver));
        let (to_x, p) = Hand::broker_of(&driver, &x, X, 1, 0);
        let (mut to_z, portals) = Hand::broker_of(&driver, &z, Z, 1, 0);
        let inner = to_z.sublinks(1);
        to_z.portals(0, 0, vec![proxied(inner)]);
        let q = z.get_portal(portals[0]);
        ByHand { x, z, to_x, to_z, p: p[0], q, inner }
    }

    /// Y locks its outward link for Z and tells Z to go past it.
    fn begin(&self) {
        let state = self.to_x.state(0);
        state.set_stable(LinkSide::A);
        assert!(state.try_lock(LinkSide::A).is_ok());
        state.allow_source(Z);
        self.to_z.say(BypassPeer { sublink: self.inner, bypass_target_node: X, bypass_target_sublink: SublinkId(0) });
    }

    /// Y, the broker, introduces Z and X.
    fn introduce(&self) {
        assert!(matches!(self.to_z.hear_one().message(), Message::RequestIntroduction(m) if m.name == X));
        introduce(&self.to_z, Z, &self.to_x, X);
    }
}

/// A hand-made broker introduces two of its clients.
fn introduce(first: &Wire, first_name: NodeName, second: &Wire, second_name: NodeName) {
    let (transports, memory) = (first.driver.transport_pair(), first.new_primary());
    let twin = ipcz::driver::Driver::duplicate(&*first.driver, memory).unwrap();
    second.say_with(introduction(first_name, LinkSide::B), &[transports[1], twin]);
    first.say_with(introduction(second_name, LinkSide::A), &[transports[0], memory]);
}

#[test]
fn a_hand_made_proxy_is_bypassed_and_what_it_still_holds_comes_first() {
    let y = ByHand::new();
    y.x.put(y.p, b"x0");
    y.z.put(y.q, b"z0");
    y.z.put(y.q, b"z1");
    assert_eq!(parcels(&y.to_x.hear()), [(0, 0, b"x0".to_vec())]);
    assert_eq!(parcels(&y.to_z.hear()).len(), 2);
    y.begin();
    y.introduce();
    let stop = y.to_x.hear_one();
    let Message::StopProxying(m) = stop.message() else { panic!("{}", stop.message()) };
    assert_eq!((m.sublink.0, m.inbound_sequence_length, m.outbound_sequence_length), (0, 1, 2));
    // What is put from now on goes straight, and waits for what the proxy holds.
    y.x.put(y.p, b"x1");
    y.z.put(y.q, b"z2");
    assert_eq!((y.to_x.hear_ids(), y.to_z.hear_ids()), (vec![], vec![]));
    assert_eq!((y.z.get(y.q), y.x.get(y.p)), (Err(Error::Unavailable), Err(Error::Unavailable)));
    assert!(!is_direct(&y.x, y.p) && !is_direct(&y.z, y.q));
    y.to_z.parcel(y.inner.0, 0, b"x0");
    assert_eq!((y.z.get(y.q).unwrap(), y.z.get(y.q).unwrap()), (b"x0".to_vec(), b"x1".to_vec()));
    y.to_x.parcel(0, 0, b"z0");
    y.to_x.parcel(0, 1, b"z1");
    for data in [b"z0", b"z1", b"z2"] {
        assert_eq!(y.x.get(y.p).unwrap(), data);
    }
    assert!(is_direct(&y.x, y.p) && is_direct(&y.z, y.q));
    talk(&y.x, y.p, &y.z, y.q);
    let used = |program: &Program| program.link(BROKER).unwrap().sublinks.len();
    assert_eq!((used(&y.x), used(&y.z)), (0, 1), "the old sublinks are free; the portal that brought the other is not closed");
    y.x.close(y.p);
    assert!(y.z.is_dead(y.q));
}

#[test]
fn a_proxy_that_dies_in_the_middle_ends_the_route_for_both() {
    let y = ByHand::new();
    y.x.put(y.p, b"x0");
    y.begin();
    y.introduce();
    y.to_x.die();
    y.to_z.die();
    assert!(y.x.is_dead(y.p) && y.z.is_dead(y.q));
    assert_eq!(y.x.process.inspect(|view| view.waits()) + y.z.process.inspect(|view| view.waits()), 0);
}

#[test]
fn who_bypasses_without_a_lock_gets_nothing_but_an_answer() {
    // Y does not lock: X does not know that Z may.
    let y = ByHand::new();
    y.to_x.settle(0);
    y.to_z.say(BypassPeer { sublink: y.inner, bypass_target_node: X, bypass_target_sublink: SublinkId(0) });
    y.introduce();
    assert!(y.z.is_dead(y.q), "it is told that its new link leads nowhere");
    assert_eq!(y.x.process.inspect(|view| view.totals().unauthorised), 1);
    assert!(!y.to_x.is_dropped() && y.x.link(Z).is_some() && y.z.link(X).is_some());
    y.x.put(y.p, b"still");
    assert_eq!(parcels(&y.to_x.hear()), [(0, 0, b"still".to_vec())]);
}

#[test]
fn a_bypass_to_the_receivers_own_node_needs_no_third() {
    // X and Z are portals of one program, joined through Y.
    let driver = InProcess::new();
    let program = Program::normal(&driver);
    let (mut y, portals) = Hand::broker_of(&driver, &program, X, 2, 0);
    let inner = y.sublinks(1);
    y.portals(1, 0, vec![proxied(inner)]);
    let (p, q) = (portals[0], program.get_portal(portals[1]));
    y.settle(0);
    program.put(p, b"x0");
    program.put(q, b"z0");
    y.hear();
    assert!(y.state(0).try_lock(LinkSide::A).is_ok());
    y.say(BypassPeer { sublink: inner, bypass_target_node: X, bypass_target_sublink: SublinkId(0) });
    let stop = y.hear_one();
    assert!(matches!(stop.message(), Message::StopProxying(m) if (m.inbound_sequence_length, m.outbound_sequence_length) == (1, 1)));
    program.put(p, b"x1");
    assert_eq!(program.get(q), Err(Error::Unavailable));
    y.parcel(inner.0, 0, b"x0");
    y.parcel(0, 0, b"z0");
    assert_eq!((program.get(q).unwrap(), program.get(q).unwrap()), (b"x0".to_vec(), b"x1".to_vec()));
    assert_eq!(program.get(p).unwrap(), b"z0");
    let local = |portal| matches!(program.router(portal).out.primary, Some(LinkView::Local { status: STABLE, .. }));
    assert!(local(p) && local(q) && program.router(p).out.decaying.is_none());
    talk(&program, p, &program, q);
    assert_eq!(y.hear_ids(), [] as [u8; 0]);
}

#[test]
fn a_parcel_that_was_never_sent_breaks_the_route_when_its_end_is_known() {
    let driver = InProcess::new();
    let program = Program::normal(&driver);
    let (mut y, portals) = Hand::broker_of(&driver, &program, X, 2, 0);
    let inner = y.sublinks(1);
    y.portals(1, 0, vec![proxied(inner)]);
    let (p, q) = (portals[0], program.get_portal(portals[1]));
    y.parcel(0, 5, b"made up");
    y.settle(0);
    y.say(BypassPeer { sublink: inner, bypass_target_node: X, bypass_target_sublink: SublinkId(0) });
    program.put(q, b"z0");
    program.close(q);
    assert_eq!(program.get(p).unwrap(), b"z0");
    assert!(program.is_dead(p));
}

#[test]
fn ends_that_do_not_agree_on_their_numbers_are_not_joined() {
    let driver = InProcess::new();
    let program = Program::normal(&driver);
    let (mut y, portals) = Hand::broker_of(&driver, &program, X, 2, 0);
    let inner = y.sublinks(1);
    y.portals(1, 0, vec![proxied(inner)]);
    let (p, q) = (portals[0], program.get_portal(portals[1]));
    y.parcel(0, 0, b"made up");
    y.settle(0);
    y.say(BypassPeer { sublink: inner, bypass_target_node: X, bypass_target_sublink: SublinkId(0) });
    assert!(program.get(p).is_ok() && program.is_dead(p) && program.is_dead(q));
    // Another node may have moved either to where it is: Y is not to blame.
    assert!(!y.is_dropped() && program.violations().is_empty());
}

#[test]
fn nobody_is_its_own_peer() {
    let driver = InProcess::new();
    let program = Program::normal(&driver);
    let (y, portals) = Hand::broker_of(&driver, &program, X, 1, 0);
    y.say(BypassPeer { sublink: SublinkId(0), bypass_target_node: X, bypass_target_sublink: SublinkId(0) });
    assert!(y.is_dropped() && program.is_dead(portals[0]));
    assert!(program.violation().contains("no peer of its own"));
}

/// A real broker Y with two clients, of which `hand` is hand-made and the other real.
struct AroundBroker {
    driver: Arc<InProcess>,
    y: Program,
    real: Program,
    /// The pipe between the real client and Y.
    near: Handle,
    far: Handle,
    hand: Hand,
    /// Y's end of the pipe to the hand-made client.
    portal: Handle,
}

impl AroundBroker {
    fn new() -> AroundBroker {
        let driver = InProcess::new();
        let (y, real) = (Program::broker(&driver), Program::normal(&driver));
        let (near, far) = connect(&driver, &real, &y);
        let (hand, portals) = Hand::client(&driver, &y, 1);
        hand.settle(0);
        AroundBroker { driver, y, real, near, far, hand, portal: portals[0] }
    }
}

/// X by hand: Y hands the portal on to the real Z.
struct HandX {
    world: AroundBroker,
    /// Z's portal.
    q: Handle,
    /// X's end of its link to Z.
    direct: Hand,
    offer: AcceptBypassLink,
    state: LinkState,
}

impl HandX {
    /// X has said one parcel to Y, which passes it on.
    fn new() -> HandX {
        let world = AroundBroker::new();
        world.hand.parcel(0, 0, b"x0");
        world.y.process.put(world.far, b"", &[world.portal]).unwrap();
        let q = world.real.get_portal(world.near);
        assert_eq!(world.real.get(q).unwrap(), b"x0");
        let direct = world.hand.accept(&world.hand.hear_one());
        let heard = direct.hear_one();
        let Message::AcceptBypassLink(offer) = heard.message() else { panic!("{}", heard.message()) };
        let state = adopt(&direct, offer.new_link_state_fragment);
        HandX { world, q, direct, offer, state }
    }

    fn stop(&self, inbound: u64, outbound: u64) {
        let sublink = SublinkId(0);
        self.world.hand.say(StopProxying { sublink, inbound_sequence_length: inbound, outbound_sequence_length: outbound });
    }

    fn will_stop(&self, inbound: u64) {
        self.direct.say(ProxyWillStop { sublink: self.offer.new_sublink, inbound_sequence_length: inbound });
    }
}

#[test]
fn a_hand_made_x_accepts_a_bypass() {
    let x = HandX::new();
    assert_eq!((x.offer.current_peer_node, x.offer.current_peer_sublink.0), (x.world.hand.peer, 0));
    assert_eq!(x.offer.inbound_sequence_length_from_bypassed_link, 0);
    assert!(x.world.hand.state(0).is_locked_by(LinkSide::A), "Y let Z in");
    // The second goes by way of Y, the third straight; the third comes first.
    let new = x.offer.new_sublink.0;
    x.direct.parcel(new, 2, b"x2");
    x.stop(2, 0);
    x.will_stop(2);
    assert_eq!((x.world.real.get(x.q), x.state.status()), (Err(Error::Unavailable), 0), "Z is not done with Y");
    x.world.hand.parcel(0, 1, b"x1");
    assert_eq!((x.world.real.get(x.q).unwrap(), x.world.real.get(x.q).unwrap()), (b"x1".to_vec(), b"x2".to_vec()));
    assert_eq!(x.state.status(), 0x01, "Z is stable");
    x.world.real.put(x.q, b"z0");
    assert_eq!(parcels(&x.direct.hear()), [(new, 0, b"z0".to_vec())]);
    assert_eq!((x.world.y.link(x.world.hand.name).unwrap().sublinks, x.world.y.process.inspect(|view| view.proxies())), (vec![], 0));
    // Closing takes the lock that only both can make possible.
    x.world.real.close(x.q);
    assert_eq!(x.direct.hear_ids(), [] as [u8; 0]);
    x.state.set_stable(LinkSide::B);
    assert!(x.state.take_waiting(LinkSide::A));
    x.direct.say(FlushRouter { sublink: x.offer.new_sublink });
    assert!(matches!(x.direct.hear_one().message(), Message::RouteClosed(m) if m.sequence_length == 1));
}

#[test]
fn a_proxy_is_told_once_how_much_is_left() {
    let x = HandX::new();
    x.stop(2, 0);
    assert!(!x.world.hand.is_dropped());
    x.stop(2, 0);
    assert!(x.world.hand.is_dropped() && x.world.y.violation().contains("StopProxying: the lengths are known"));
    assert!(x.world.real.is_dead(x.q));
    x.world.y.put(x.world.far, b"bystander");
    assert_eq!(x.world.real.get(x.world.near).unwrap(), b"bystander");
}

#[test]
fn impossible_lengths_for_a_proxy_end_the_route_alone() {
    // X may have come to its node with wrong numbers.
    for (inbound, outbound) in [(0, 0), (1_000_002, 0), (u64::MAX, 0)] {
        let x = HandX::new();
        x.stop(inbound, outbound);
        assert!(!x.world.hand.is_dropped() && x.world.y.violations().is_empty(), "{inbound} {outbound}");
        assert!(x.world.real.is_dead(x.q), "{inbound} {outbound}");
    }
    let x = HandX::new();
    x.stop(1_000_001, 1_000_000);
    assert!(!x.world.hand.is_dropped() && !x.world.real.is_dead(x.q));
}

#[test]
fn a_length_that_x_only_repeats_is_not_held_against_it() {
    // Z told X how much it sends by way of Y, and sends something else: X is honest, and keeps its link.
    for lie in [0, 1_000_002, u64::MAX] {
        let x = HandX::new();
        x.world.real.put(x.q, b"late");
        if lie == 0 {
            // What Z has put since is not to go by way of Y; by hand it does.
            let y = x.world.y.link(x.world.real.name()).unwrap();
            let (inner, _) = y.sublinks.into_iter().rfind(|(id, _)| id.0 > 11).unwrap();
            let mut data = Vec::new();
            Message::AcceptParcel(plain_parcel(inner.0, 0)).encode(0, &[], &mut data).unwrap();
            let _ = ipcz::driver::Activity::message(x.world.y.process.clone(), y.key.to_bits(), &data, &[], None);
        }
        x.stop(1, lie);
        assert!(!x.world.hand.is_dropped() && x.world.y.violations().is_empty(), "{lie}");
        assert!(x.world.real.is_dead(x.q), "{lie}");
        x.world.y.put(x.world.far, b"bystander");
        assert_eq!(x.world.real.get(x.world.near).unwrap(), b"bystander");
    }
}

#[test]
fn the_bypassing_router_is_told_once_how_much_is_left() {
    let x = HandX::new();
    x.will_stop(2);
    assert!(!x.direct.is_dropped());
    x.will_stop(2);
    assert!(x.direct.is_dropped() && !x.world.hand.is_dropped() && x.world.real.is_dead(x.q));
    assert!(x.world.real.violation().contains("ProxyWillStop: the length is known"));
}

#[test]
fn a_proxy_is_told_to_stop_by_its_outward_peer_alone() {
    // As if Y had offered X a link: what is left of the old one would be known, and StopProxying refused.
    let x = HandX::new();
    x.world.hand.say(ProxyWillStop { sublink: SublinkId(0), inbound_sequence_length: 1 });
    assert!(x.world.hand.is_dropped() && x.world.y.violation().contains("ProxyWillStop: not over the link"));
    // Z says what X should.
    let z = HandZ::new();
    z.world.hand.say(StopProxying { sublink: z.router.new_sublink, inbound_sequence_length: 0, outbound_sequence_length: 0 });
    assert!(z.world.hand.is_dropped() && z.world.y.violation().contains("StopProxying: not over the outward link"));
    assert!(z.world.real.is_dead(z.world.near));
}

#[test]
fn impossible_lengths_for_the_bypassing_router_end_the_route_alone() {
    for inbound in [1_000_002, u64::MAX] {
        let x = HandX::new();
        x.will_stop(inbound);
        assert!(!x.direct.is_dropped() && x.world.real.violations().is_empty() && x.world.real.is_dead(x.q), "{inbound}");
    }
}

#[test]
fn who_is_misled_to_stop_a_proxy_by_a_lock_left_over_keeps_its_link() {
    // The portal is closed but for a parcel: Y needs no bypass, yet the lock that it took for Z's sake still names Z.
    let world = AroundBroker::new();
    world.hand.parcel(0, 0, b"x0");
    world.hand.say(RouteClosed { sublink: SublinkId(0), sequence_length: 2 });
    world.y.process.put(world.far, b"", &[world.portal]).unwrap();
    let q = world.real.get_portal(world.near);
    assert!(world.hand.state(0).is_locked_by(LinkSide::A));
    world.hand.say(StopProxying { sublink: SublinkId(0), inbound_sequence_length: 2, outbound_sequence_length: 0 });
    assert!(!world.hand.is_dropped() && world.y.violations().is_empty(), "{:?}", world.y.violations());
    assert_eq!(world.real.get(q).unwrap(), b"x0");
    assert!(world.real.is_dead(q));
}

#[test]
fn an_offered_link_that_is_disconnected_ends_its_route_alone() {
    let x = HandX::new();
    x.direct.say(RouteDisconnected { sublink: x.offer.new_sublink });
    assert!(x.world.real.is_dead(x.q) && !x.direct.is_dropped());
    x.world.y.put(x.world.far, b"bystander");
    assert_eq!(x.world.real.get(x.world.near).unwrap(), b"bystander");
}

/// Z by hand: Y hands the real X's portal on to it.
struct HandZ {
    world: AroundBroker,
    /// The sublink from Y.
    router: RouterDescriptor,
    /// Z's end of its link to X.
    direct: Hand,
}

impl HandZ {
    fn new() -> HandZ {
        let world = AroundBroker::new();
        world.y.process.put(world.portal, b"", &[world.far]).unwrap();
        let heard = world.hand.hear_one();
        let Message::AcceptParcel(m) = heard.message() else { panic!("{}", heard.message()) };
        let router = m.new_routers[0];
        world.hand.say(RequestIntroduction { name: router.proxy_peer_node_name });
        let direct = world.hand.accept(&world.hand.hear_one());
        HandZ { world, router, direct }
    }

    fn offer(&mut self, direct: impl Fn(&mut HandZ) -> &mut Hand) -> (AcceptBypassLink, LinkState) {
        let (node, sublink) = (self.world.hand.peer, self.router.proxy_peer_sublink);
        let direct = direct(self);
        let state = direct.memory.new_link_state().unwrap();
        let offer = AcceptBypassLink {
            current_peer_node: node,
            current_peer_sublink: sublink,
            inbound_sequence_length_from_bypassed_link: 0,
            new_sublink: direct.sublinks(1),
            new_link_state_fragment: state.share(),
        };
        (offer, state)
    }
}

#[test]
fn a_hand_made_z_bypasses_a_real_proxy() {
    let mut z = HandZ::new();
    assert!(z.router.proxy_peer_node_name == z.direct.peer && !z.router.proxy_already_bypassed);
    let (x, p) = (&z.world.real, z.world.near);
    // On its way through Y before X hears of the bypass.
    x.put(p, b"x0");
    assert_eq!(parcels(&z.world.hand.hear()), [(z.router.new_sublink.0, 0, b"x0".to_vec())]);
    let (offer, state) = z.offer(|z| &mut z.direct);
    let sublink = offer.new_sublink;
    z.direct.say(offer);
    assert!(matches!(z.direct.hear_one().message(), Message::ProxyWillStop(m) if m.sublink == sublink && m.inbound_sequence_length == 1));
    assert_eq!(state.status(), 0x02, "X expects nothing more by way of Y");
    state.set_stable(LinkSide::A);
    let (x, p) = (&z.world.real, z.world.near);
    z.direct.parcel(sublink.0, 0, b"z0");
    x.put(p, b"x1");
    assert_eq!((x.get(p).unwrap(), parcels(&z.direct.hear())), (b"z0".to_vec(), vec![(sublink.0, 1, b"x1".to_vec())]));
    assert!(is_direct(x, p));
    assert_eq!((z.world.y.process.inspect(|view| view.proxies()), z.world.hand.hear_ids()), (0, vec![]));
    z.direct.say(RouteClosed { sublink, sequence_length: 1 });
    assert!(x.is_dead(p));
}

#[test]
fn only_whom_the_proxy_let_in_may_bypass_it() {
    let mut z = HandZ::new();
    // Another client knows all the names and numbers.
    let (other, _) = Hand::client(&z.world.driver, &z.world.y, 1);
    other.say(RequestIntroduction { name: z.direct.peer });
    let mut other = other.accept(&other.hear_one());
    let (node, current) = (z.world.hand.peer, z.router.proxy_peer_sublink);
    let taken = other.memory.blocks_taken();
    let state = other.memory.new_link_state().unwrap();
    let new_sublink = other.sublinks(1);
    other.say(AcceptBypassLink {
        current_peer_node: node,
        current_peer_sublink: current,
        inbound_sequence_length_from_bypassed_link: 0,
        new_sublink,
        new_link_state_fragment: state.descriptor(),
    });
    assert!(matches!(other.hear_one().message(), Message::RouteDisconnected(m) if m.sublink == new_sublink));
    assert!(!other.is_dropped() && other.memory.blocks_taken() == taken);
    assert_eq!(z.world.real.process.inspect(|view| (view.totals().unauthorised, view.totals().bypasses)), (1, 0));
    // The one that may still can.
    let (offer, _) = z.offer(|z| &mut z.direct);
    z.direct.say(offer);
    assert_eq!(z.direct.hear_ids(), [33]);
    assert_eq!(z.world.real.process.inspect(|view| view.totals().bypasses), 1);
}

#[test]
fn a_bypass_link_of_impossible_length_ends_the_route_alone() {
    for length in [0, 1_000_002, u64::MAX] {
        let mut z = HandZ::new();
        z.world.hand.parcel(z.router.new_sublink.0, 0, b"z0");
        let (offer, _) = z.offer(|z| &mut z.direct);
        z.direct.say(AcceptBypassLink { inbound_sequence_length_from_bypassed_link: length, ..offer });
        let x = &z.world.real;
        assert!(!z.direct.is_dropped() && !z.world.hand.is_dropped() && x.violations().is_empty(), "{length}");
        assert!(matches!(z.direct.hear_one().message(), Message::RouteDisconnected(m) if m.sublink == offer.new_sublink));
        assert_eq!((x.get(z.world.near).unwrap(), x.is_dead(z.world.near)), (b"z0".to_vec(), true));
    }
}

/// Makes X bind a sublink of the link to `by`.
fn occupy(by: &mut Hand) -> SublinkId {
    let used = by.sublinks(2);
    by.portals(used.0 + 1, 0, vec![proxied(used)]);
    used
}

#[test]
fn a_bypass_link_whose_sublink_is_in_use_ends_the_route_alone() {
    let mut z = HandZ::new();
    let new_sublink = occupy(&mut z.direct);
    let (offer, _) = z.offer(|z| &mut z.direct);
    z.direct.say(AcceptBypassLink { new_sublink, ..offer });
    assert!(z.world.real.is_dead(z.world.near) && !z.direct.is_dropped() && !z.world.hand.is_dropped());
}

#[test]
fn a_sublink_in_use_is_no_way_round_the_need_for_authority() {
    let z = HandZ::new();
    let (other, _) = Hand::client(&z.world.driver, &z.world.y, 1);
    other.say(RequestIntroduction { name: z.direct.peer });
    let mut other = other.accept(&other.hear_one());
    let new_sublink = occupy(&mut other);
    other.say(AcceptBypassLink {
        current_peer_node: z.world.hand.peer,
        current_peer_sublink: z.router.proxy_peer_sublink,
        inbound_sequence_length_from_bypassed_link: 0,
        new_sublink,
        new_link_state_fragment: other.memory.new_link_state().unwrap().descriptor(),
    });
    assert!(!z.world.real.is_dead(z.world.near), "it is not theirs to end");
    assert_eq!(z.world.real.process.inspect(|view| view.totals().unauthorised), 1);
}

/// A proxy of the real Y whose other end is Y's own: the hand-made Z has used all memory up, so that the pair could not be split.
struct LocalPeer {
    world: AroundBroker,
    /// X's portal, at Y.
    p: Handle,
    /// The sublink to Z.
    inner: SublinkId,
    offer: BypassPeerWithLink,
}

impl LocalPeer {
    fn new() -> LocalPeer {
        let mut world = AroundBroker::new();
        while world.hand.memory.new_link_state().is_some() {}
        let (p, sent) = world.y.process.open_portals(world.y.node).unwrap();
        world.y.process.put(world.portal, b"", &[sent]).unwrap();
        let heard = world.hand.hear();
        assert_eq!(heard.iter().map(Heard::id).collect::<Vec<_>>(), [20, 14, 34], "a portal, then the memory for its bypass");
        let Message::AcceptParcel(parcel) = heard[0].message() else { panic!("{}", heard[0].message()) };
        let Message::AddBlockBuffer(buffer) = heard[1].message() else { panic!("{}", heard[1].message()) };
        let Message::BypassPeerWithLink(offer) = heard[2].message() else { panic!("{}", heard[2].message()) };
        let mapping = ipcz::driver::Driver::map(&*world.driver, heard[1].handles[0]).unwrap();
        world.hand.memory.add_buffer(buffer.id, buffer.block_size, mapping, ipcz::memory::Origin::Theirs).unwrap();
        let inner = parcel.new_routers[0].new_sublink;
        LocalPeer { world, p, inner, offer }
    }

    fn answer(&self, outbound: u64) {
        self.world.hand.say(StopProxyingToLocalPeer { sublink: self.inner, outbound_sequence_length: outbound });
    }
}

#[test]
fn a_proxy_gives_its_local_peer_a_link_of_its_own() {
    let y = LocalPeer::new();
    let (hand, new) = (&y.world.hand, y.offer.new_sublink.0);
    assert_eq!((y.offer.sublink, y.offer.inbound_sequence_length), (y.inner, 0));
    let state = adopt(hand, y.offer.new_link_state_fragment);
    y.world.y.put(y.p, b"x0");
    assert_eq!(parcels(&hand.hear()), [(new, 0, b"x0".to_vec())]);
    // One more goes by way of the proxy, the next straight.
    hand.parcel(new, 1, b"z1");
    y.answer(1);
    assert_eq!((y.world.y.get(y.p), state.status()), (Err(Error::Unavailable), 0));
    hand.parcel(y.inner.0, 0, b"z0");
    assert_eq!((y.world.y.get(y.p).unwrap(), y.world.y.get(y.p).unwrap()), (b"z0".to_vec(), b"z1".to_vec()));
    assert_eq!((state.status(), y.world.y.process.inspect(|view| view.proxies())), (0x01, 0));
}

#[test]
fn a_proxy_with_a_local_peer_is_answered_once_and_possibly() {
    let y = LocalPeer::new();
    y.answer(1);
    assert!(!y.world.hand.is_dropped());
    y.answer(1);
    assert!(y.world.hand.is_dropped() && y.world.y.violation().contains("StopProxyingToLocalPeer: the length is known"));
    assert!(y.world.y.is_dead(y.p));
    for impossible in [1_000_001, u64::MAX] {
        let y = LocalPeer::new();
        y.answer(impossible);
        assert!(y.world.hand.is_dropped() && y.world.y.violation().contains("StopProxyingToLocalPeer: impossible"));
    }
    let y = LocalPeer::new();
    y.world.hand.parcel(y.inner.0, 0, b"z0");
    y.answer(0);
    assert!(y.world.hand.is_dropped(), "one has passed already");
}

#[test]
fn a_hand_made_proxy_gives_its_local_peer_a_link_to_a_real_z() {
    let y = ByHand::new();
    let mut to_z = y.to_z;
    y.z.put(y.q, b"z0");
    to_z.hear();
    let (state, new_sublink) = (to_z.memory.new_link_state().unwrap(), to_z.sublinks(1));
    let new_link_state_fragment = state.share();
    to_z.say(BypassPeerWithLink { sublink: y.inner, new_sublink, new_link_state_fragment, inbound_sequence_length: 1 });
    assert!(
        matches!(to_z.hear_one().message(), Message::StopProxyingToLocalPeer(m) if (m.sublink, m.outbound_sequence_length) == (y.inner, 1))
    );
    to_z.parcel(new_sublink.0, 1, b"x1");
    assert_eq!((y.z.get(y.q), state.status()), (Err(Error::Unavailable), 0));
    to_z.parcel(y.inner.0, 0, b"x0");
    assert_eq!((y.z.get(y.q).unwrap(), y.z.get(y.q).unwrap()), (b"x0".to_vec(), b"x1".to_vec()));
    assert_eq!(state.status(), 0x02);
    y.z.put(y.q, b"z1");
    assert_eq!(parcels(&to_z.hear()), [(new_sublink.0, 1, b"z1".to_vec())]);
    assert!(!y.z.link(BROKER).unwrap().sublinks.iter().any(|(id, _)| *id == y.inner), "the old sublink is free");
}
