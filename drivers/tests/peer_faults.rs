//! Messages that break a rule (wire.md 13): the offender loses its link, a bystander of the same process loses nothing. And
//! those that break none, however odd.

mod hand;

use std::sync::atomic::Ordering;

use hand::*;
use ipcz::driver::Driver;
use ipcz::ids::{BufferId, FragmentDescriptor, Handle, LinkSide, NodeName, NodeType, SublinkId};
use ipcz::limits::Limits;
use ipcz::wire::*;
use ipcz::{Error, NodeOptions};
use ipcz_drivers::InProcess;

/// A real broker with two hand-made clients, each with two portals.
struct Court {
    broker: Program,
    offender: Hand,
    portals: Vec<Handle>,
    bystander: Hand,
    theirs: Vec<Handle>,
}

impl Court {
    fn new() -> Court {
        Court::with(Limits::default())
    }

    fn with(limits: Limits) -> Court {
        let driver = InProcess::new();
        let broker = Program::with(driver.clone(), NodeType::Broker, NodeOptions { limits, ..NodeOptions::default() });
        let (offender, portals) = Hand::client(&driver, &broker, 2);
        let (bystander, theirs) = Hand::client(&driver, &broker, 2);
        Court { broker, offender, portals, bystander, theirs }
    }

    /// The offender lost its link and its routes for a reason that mentions `reason`; nobody else lost anything.
    fn condemns(&self, reason: &str) {
        assert!(self.offender.is_dropped(), "not dropped: {reason}");
        assert!(self.broker.violation().contains(reason), "{} instead of {reason}", self.broker.violation());
        for portal in &self.portals {
            while self.broker.get(*portal).is_ok() {}
            assert!(self.broker.is_dead(*portal));
        }
        assert!(self.broker.link(self.offender.name).is_none());
        self.bystander_is_well();
    }

    /// Nobody lost anything.
    fn acquits(&self) {
        assert!(!self.offender.is_dropped() && self.broker.violations().is_empty(), "{:?}", self.broker.violations());
        self.broker.put(self.portals[1], b"still here");
        let heard = self.offender.hear().pop().unwrap();
        assert!(matches!(heard.message(), Message::AcceptParcel(m) if m.parcel_data == b"still here"));
        self.bystander_is_well();
    }

    fn bystander_is_well(&self) {
        self.bystander.hear();
        self.bystander.parcel(0, 0, b"ping");
        assert_eq!(self.broker.get(self.theirs[0]).unwrap(), b"ping");
        self.broker.put(self.theirs[0], b"pong");
        assert!(matches!(self.bystander.hear_one().message(), Message::AcceptParcel(m) if m.parcel_data == b"pong"));
    }

    /// A portal pair of the broker, one of which is sent to the offender; gives the one kept and what the offender hears of the other.
    fn send_portal(&self) -> (Handle, RouterDescriptor) {
        let (kept, sent) = self.broker.process.open_portals(self.broker.node).unwrap();
        self.broker.process.put(self.portals[0], b"", &[sent]).unwrap();
        let heard = self.offender.hear().pop().unwrap();
        let Message::AcceptParcel(m) = heard.message() else { panic!("a parcel") };
        (kept, m.new_routers[0])
    }
}

/// A fresh court in which the offender does something, and the reason that must be given.
fn crime(reason: &str, act: impl FnOnce(&mut Court)) {
    let mut court = Court::new();
    act(&mut court);
    court.condemns(reason);
}

/// A fresh court in which the offender says what may be somebody else's lie: its first route ends, and nothing else.
fn hearsay(act: impl FnOnce(&mut Court)) {
    let mut court = Court::new();
    act(&mut court);
    while court.broker.get(court.portals[0]).is_ok() {}
    assert!(court.broker.is_dead(court.portals[0]));
    court.acquits();
}

/// A fresh court in which the offender does something odd.
fn oddity(act: impl FnOnce(&mut Court)) {
    let mut court = Court::new();
    act(&mut court);
    court.acquits();
}

fn fragment(buffer: u64, offset: u32, size: u32) -> FragmentDescriptor {
    FragmentDescriptor { buffer: BufferId(buffer), offset, size }
}

fn says(message: impl Into<Said> + 'static) -> impl FnOnce(&mut Court) {
    move |court| court.offender.say(message)
}

#[test]
fn f5_an_object_that_the_driver_refuses() {
    for handles in [0, 2] {
        crime("F5", |court| {
            let offender = &court.offender;
            let objects: Vec<_> = (0..handles).map(|_| offender.new_primary()).collect();
            let before = offender.driver.live_objects();
            let mut data = Vec::new();
            let message = AddBlockBuffer { id: BufferId(9), block_size: 64, buffer: Some(0) };
            let bytes = [ObjectBytes { data: b"?", handles }];
            Message::AddBlockBuffer(message).encode(0, &bytes, &mut data).unwrap();
            offender.say_raw(&data, &objects);
            // The handles, and the transport of the lost link.
            assert_eq!(offender.driver.live_objects(), before - objects.len() - 1);
        });
    }
}

#[test]
fn handles_that_no_object_claims_are_closed() {
    let court = Court::new();
    let offender = &court.offender;
    let before = offender.driver.live_objects();
    let mut data = Vec::new();
    Message::FlushRouter(FlushRouter { sublink: SublinkId(0) }).encode(0, &[], &mut data).unwrap();
    offender.say_raw(&data, &[offender.new_primary(), offender.new_primary()]);
    assert_eq!(offender.driver.live_objects(), before);
    court.acquits();
    crime("F1", |court| {
        let before = court.offender.driver.live_objects();
        court.offender.say_raw(b"garbage", &[court.offender.new_primary()]);
        assert_eq!(court.offender.driver.live_objects(), before - 1);
    });
}

#[test]
fn f15_a_bad_parcel_gives_back_the_block_it_came_in() {
    crime("RouterDescriptor", |court| {
        let taken = court.offender.memory.blocks_taken();
        let mut block = court.offender.memory.allocate(512).unwrap();
        block.fill(b"data");
        let parcel_fragment = block.descriptor();
        court.offender.say(AcceptParcel { parcel_fragment, ..with_portals(0, 0, vec![proxied(SublinkId(0))]) });
        assert_eq!(court.offender.memory.blocks_taken(), taken);
    });
}

#[test]
fn f10_a_greeting_on_a_working_link() {
    crime("ConnectFromNonBrokerToBroker", says(to_broker(1, 0)));
}

#[test]
fn f11_a_client_that_plays_the_broker() {
    crime("RejectIntroduction", says(RejectIntroduction { name: name(7) }));
    crime("AcceptIntroduction", |court| {
        let offender = &court.offender;
        let before = offender.driver.live_objects();
        let [theirs, ours] = offender.driver.transport_pair();
        offender.say_with(introduction(name(7), LinkSide::A), &[theirs, offender.new_primary()]);
        offender.driver.close(ours);
        // Nothing is left of what came along, nor of the link's transport.
        assert_eq!(offender.driver.live_objects(), before - 1);
    });
}

#[test]
fn f12_memory_that_is_missing_or_none() {
    let message = |buffer| AddBlockBuffer { id: BufferId(9), block_size: 64, buffer };
    crime("AddBlockBuffer: buffer is missing", says(message(None)));
    crime("AddBlockBuffer: buffer is missing", |court| {
        let transport = court.offender.driver.transport_pair()[0];
        court.offender.say_with(message(Some(0)), &[transport]);
    });
}

#[test]
fn f12_introductions_without_what_they_need() {
    let usable = |wire: &Wire| (Some(wire.driver.transport_pair()[0]), Some(wire.new_primary()));
    let cases: [fn(&Wire, &mut AcceptIntroduction) -> Vec<ipcz::ids::ObjectId>; 4] = [
        |wire, m| {
            (m.transport, m.memory) = (None, Some(0));
            vec![wire.new_primary()]
        },
        |wire, m| {
            m.memory = None;
            vec![wire.driver.transport_pair()[0]]
        },
        |wire, _| vec![wire.driver.transport_pair()[0], wire.driver.allocate(131_064).unwrap()],
        |wire, _| vec![wire.driver.transport_pair()[0], wire.driver.transport_pair()[0]],
    ];
    for case in cases {
        let driver = InProcess::new();
        let client = Program::normal(&driver);
        let (broker, portals) = Hand::broker(&driver, &client, 1);
        let mut message = introduction(name(7), LinkSide::A);
        let objects = case(&broker, &mut message);
        broker.say_with(message, &objects);
        assert!(broker.is_dropped() && client.is_dead(portals[0]) && client.link(name(7)).is_none());
        assert_eq!(objects.iter().filter(|object| driver.can_travel(**object, None) == ipcz::driver::Travel::Yes).count(), 0);
    }
    let driver = InProcess::new();
    let client = Program::normal(&driver);
    let (broker, _) = Hand::broker(&driver, &client, 1);
    let (transport, memory) = usable(&broker);
    broker.say_with(introduction(name(7), LinkSide::A), &[transport.unwrap(), memory.unwrap()]);
    assert!(client.link(name(7)).is_some(), "what the cases above lack is all they lack");
}

#[test]
fn f14_buffers_that_no_link_can_have() {
    let add = |id: u64, block_size: u32, bytes: usize| {
        move |court: &mut Court| {
            let memory = court.offender.driver.allocate(bytes).unwrap();
            court.offender.say_with(AddBlockBuffer { id: BufferId(id), block_size, buffer: Some(0) }, &[memory]);
        }
    };
    for (id, block_size, bytes) in
        [(u64::MAX, 64, 65_536), (0, 64, 65_536), (9, 0, 65_536), (9, 32, 65_536), (9, 96, 65_536), (9, 64, 7 * 64), (9, 64, 32_768 * 64)]
    {
        crime("AddBlockBuffer", add(id, block_size, bytes));
    }
    crime("AddBlockBuffer", |court| {
        add(9, 64, 65_536)(court);
        assert!(!court.offender.is_dropped());
        add(9, 64, 65_536)(court);
    });
    oddity(add(9, 64, 8 * 64));
    oddity(add(9, 64, 32_767 * 64));
}

#[test]
fn f14_more_memory_than_a_link_may_have() {
    let mut court = Court::with(Limits { link_buffers: 2, ..Limits::default() });
    // A peer's own buffers count, beside the one that the link began with.
    for _ in 0..2 {
        let allowed = court.offender.grow(64);
        court.offender.announce(&allowed);
        assert!(!court.offender.is_dropped());
    }
    let third = court.offender.grow(64);
    court.offender.announce(&third);
    court.condemns("more memory");
}

#[test]
fn f15_attachments_that_do_not_add_up() {
    let parcel = |types: &[u32], routers: usize| {
        let routers: Vec<_> = (0..routers).map(|i| proxied(SublinkId(100 + i as u64))).collect();
        AcceptParcel { handle_types: types.to_vec().into(), new_routers: routers.into(), ..plain_parcel(0, 0) }
    };
    for (types, routers) in [(&[0][..], 0), (&[], 1), (&[0, 0], 1), (&[0], 2), (&[4], 0), (&[4], 1)] {
        crime("AcceptParcel", says(parcel(types, routers)));
    }
    oddity(says(parcel(&[0, 0], 2)));
}

#[test]
fn f15_data_that_is_not_where_it_is_said_to_be() {
    let at = |parcel_fragment| AcceptParcel { parcel_fragment, ..plain_parcel(0, 0) };
    for (offset, size) in [(98_304, 8), (98_304, 0), (98_308, 512), (131_072, 64), (131_064, 64), (u32::MAX, u32::MAX)] {
        crime("parcel_fragment", says(at(fragment(0, offset, size))));
    }
    for (claimed, allowed) in [(504, true), (505, false), (u32::MAX, false)] {
        let court = Court::new();
        let mut block = court.offender.memory.allocate(512).unwrap();
        block.fill(b"data");
        let d = block.descriptor();
        court.offender.primary.store32(d.offset as usize, claimed, Ordering::Release);
        court.offender.say(at(d));
        match allowed {
            true => assert_eq!(court.broker.get(court.portals[0]).unwrap().len(), claimed as usize),
            false => court.condemns("parcel_fragment"),
        }
    }
}

#[test]
fn f15_routers_that_cannot_be() {
    let first = SublinkId(100);
    let good = fragment(0, 1088, 64);
    let closed = |next, last| RouterDescriptor {
        peer_closed: true,
        next_incoming_sequence_number: next,
        closed_peer_sequence_length: last,
        ..proxied(first)
    };
    let many = |court: &mut Court, routers: Vec<RouterDescriptor>| court.offender.portals(0, 0, routers);
    for routers in [
        vec![closed(5, 4)],
        vec![closed(5, u64::MAX)],
        // A sublink named twice: the parcel's own, one of another router, its own other one.
        vec![proxied(SublinkId(0))],
        vec![proxied(first), proxied(first)],
        vec![split(first, good), proxied(SublinkId(101))],
        vec![RouterDescriptor { new_decaying_sublink: first, ..split(first, good) }],
        vec![RouterDescriptor { new_decaying_sublink: SublinkId(0), ..split(first, good) }],
        // A sublink in use, by the other portal.
        vec![split(SublinkId(1), good)],
        vec![RouterDescriptor { new_decaying_sublink: SublinkId(1), ..split(first, good) }],
        // A link state where none belongs.
        vec![RouterDescriptor { new_link_state_fragment: good, ..proxied(first) }],
    ] {
        crime("RouterDescriptor", |court| many(court, routers));
    }
    for state in [FragmentDescriptor::NULL, fragment(0, 1088, 63), fragment(0, 1092, 64), fragment(0, 131_064, 64)] {
        crime("link state", |court| many(court, vec![split(first, state)]));
        // What came before the bad one is undone: the two portals of either client, and the ends of what is lost.
        let mut court = Court::new();
        many(&mut court, vec![proxied(SublinkId(200)), split(SublinkId(202), good), split(first, state)]);
        court.condemns("link state");
        for portal in court.portals.iter().chain(&court.theirs) {
            court.broker.close(*portal);
        }
        court.bystander.say(RouteClosed { sublink: SublinkId(0), sequence_length: 1 });
        court.bystander.say(RouteClosed { sublink: SublinkId(1), sequence_length: 0 });
        assert_eq!(court.broker.routers(), 0);
    }
    for routers in [vec![closed(5, 5)], vec![closed(5, 1_000_006)], vec![closed(5, 1 << 63)], vec![proxied(first)]] {
        oddity(|court| many(court, routers));
    }
}

#[test]
fn f17_a_closed_route_of_impossible_length() {
    let sublink = SublinkId(0);
    let close = |sequence_length| RouteClosed { sublink, sequence_length };
    hearsay(|court| {
        court.offender.parcel(0, 0, b"");
        court.offender.parcel(0, 1, b"");
        court.offender.say(close(1));
    });
    hearsay(|court| {
        court.offender.parcel(0, 5, b"beyond a gap");
        court.offender.say(close(5));
    });
    hearsay(says(close(1_000_001)));
    hearsay(|court| {
        court.offender.say(close(3));
        court.offender.say(close(2));
    });
    oddity(says(close(1_000_000)));
    oddity(|court| {
        court.offender.say(close(2));
        court.offender.say(close(2));
        court.offender.say(close(3));
    });
}

#[test]
fn f18_a_bypass_link_without_a_state() {
    for state in [FragmentDescriptor::NULL, fragment(0, 1088, 63), fragment(0, 1092, 64), fragment(0, 131_064, 64)] {
        let offer = AcceptBypassLink {
            current_peer_node: name(7),
            current_peer_sublink: SublinkId(0),
            inbound_sequence_length_from_bypassed_link: 0,
            new_sublink: SublinkId(100),
            new_link_state_fragment: state,
        };
        crime("link state", says(offer));
        let offer = BypassPeerWithLink {
            sublink: SublinkId(0),
            new_sublink: SublinkId(100),
            new_link_state_fragment: state,
            inbound_sequence_length: 0,
        };
        crime("link state", says(offer));
    }
}

#[test]
fn f18_a_bypass_link_for_a_router_whose_outward_link_is_local_or_decays() {
    let offer = |sublink, state| BypassPeerWithLink {
        sublink,
        new_sublink: SublinkId(100),
        new_link_state_fragment: state,
        inbound_sequence_length: 0,
    };
    // No memory, no split: the portal becomes a proxy between its local peer and the offender.
    let court = Court::with(Limits { link_buffers: 1, ..Limits::default() });
    let mut state = None;
    while let Some(next) = court.offender.memory.new_link_state() {
        state = Some(next);
    }
    court.offender.settle(0);
    let (_, router) = court.send_portal();
    assert!(!router.proxy_already_bypassed);
    court.offender.say(offer(router.new_sublink, state.unwrap().share()));
    court.condemns("the outward link is local");

    crime("decays already", |court| {
        let first = court.offender.sublinks(3);
        let state = court.offender.memory.new_link_state().unwrap();
        let router = RouterDescriptor { decaying_incoming_sequence_length: 1, ..split(first, state.share()) };
        court.offender.portals(0, 0, vec![router]);
        let message = BypassPeerWithLink { new_sublink: SublinkId(first.0 + 2), ..offer(first, state.share()) };
        court.offender.say(message);
    });
}

/// The bystander offers a link in place of one between the broker and the offender, which told it to: only that comes to nothing.
fn misled(court: &mut Court, current_peer_sublink: SublinkId) {
    let state = court.bystander.memory.new_link_state().unwrap();
    let new_sublink = court.bystander.sublinks(1);
    court.bystander.say(AcceptBypassLink {
        current_peer_node: court.offender.name,
        current_peer_sublink,
        inbound_sequence_length_from_bypassed_link: 0,
        new_sublink,
        new_link_state_fragment: state.share(),
    });
    assert!(matches!(court.bystander.hear_one().message(), Message::RouteDisconnected(m) if m.sublink == new_sublink));
    assert!(!court.bystander.is_dropped());
    court.acquits();
}

#[test]
fn f18_who_was_misled_to_offer_a_link_keeps_its_own() {
    // The outward link is local.
    let mut court = Court::with(Limits { link_buffers: 1, ..Limits::default() });
    while court.offender.memory.new_link_state().is_some() {}
    court.offender.settle(0);
    let (_, router) = court.send_portal();
    misled(&mut court, router.new_sublink);

    // It decays, though the offender has written that it does not.
    let mut court = Court::new();
    let first = court.offender.sublinks(2);
    let state = court.offender.memory.new_link_state().unwrap();
    let router = RouterDescriptor { decaying_incoming_sequence_length: 1, ..split(first, state.share()) };
    court.offender.portals(0, 0, vec![router]);
    for side in [LinkSide::A, LinkSide::B] {
        state.set_stable(side);
    }
    assert!(state.try_lock(LinkSide::A).is_ok());
    state.allow_source(court.bystander.name);
    misled(&mut court, first);
}

#[test]
fn a_portal_that_has_counted_too_far_ends_alone() {
    let arrive = |number| {
        move |court: &mut Court| {
            let router = RouterDescriptor { next_outgoing_sequence_number: number, ..proxied(court.offender.sublinks(1)) };
            court.offender.portals(0, 0, vec![router]);
        }
    };
    crime("impossible sequence number", arrive((1 << 63) + 1));
    for (number, dead) in [(1 << 62, false), ((1 << 62) + 1, true), (1 << 63, true)] {
        let mut court = Court::new();
        arrive(number)(&mut court);
        let portal = court.broker.get_portal(court.portals[0]);
        assert_eq!(court.broker.is_dead(portal), dead, "{number:#x}");
        court.offender.hear();
        court.acquits();
    }
}

#[test]
fn f19_a_bypass_of_a_link_that_is_not_the_outward_one() {
    let bypass = |sublink| BypassPeer { sublink, bypass_target_node: name(7), bypass_target_sublink: SublinkId(0) };
    let arrive = |court: &mut Court, length| {
        let first = court.offender.sublinks(2);
        let state = court.offender.memory.new_link_state().unwrap();
        court.offender.portals(0, 0, vec![RouterDescriptor { decaying_incoming_sequence_length: length, ..split(first, state.share()) }]);
        first
    };
    crime("not this router's outward link", |court| {
        let first = arrive(court, 1);
        court.offender.say(bypass(SublinkId(first.0 + 1)));
    });
    crime("already", |court| {
        let first = arrive(court, 1);
        court.offender.say(bypass(first));
    });
    let court = Court::new();
    let (_, router) = court.send_portal();
    court.offender.say(bypass(router.new_decaying_sublink));
    court.acquits();
}

#[test]
fn f20_answers_to_a_bypass_that_is_not_going_on() {
    let sublink = SublinkId(0);
    crime("StopProxying: no bypass", says(StopProxying { sublink, inbound_sequence_length: 0, outbound_sequence_length: 0 }));
    crime("ProxyWillStop: no bypass", says(ProxyWillStop { sublink, inbound_sequence_length: 0 }));
    crime("StopProxyingToLocalPeer: no bypass", says(StopProxyingToLocalPeer { sublink, outbound_sequence_length: 0 }));
}

#[test]
fn after_a_refused_message_nothing_more_is_handled() {
    let court = Court::new();
    // All three are on their way before the first is looked at.
    let offender = &court.offender;
    let frames: Vec<Vec<u8>> = [b"first", b"never"]
        .into_iter()
        .enumerate()
        .map(|(i, data)| {
            let mut bytes = Vec::new();
            Message::AcceptParcel(AcceptParcel { parcel_data: data, ..plain_parcel(0, i as u64) }).encode(0, &[], &mut bytes).unwrap();
            bytes
        })
        .collect();
    let frame = |data| ipcz::driver::Frame { data, handles: &[] };
    offender.driver.transmit(offender.end, &[frame(&frames[0]), frame(b"garbage"), frame(&frames[1])]).unwrap();
    assert_eq!(court.broker.get(court.portals[0]).unwrap(), b"first");
    assert_eq!(court.broker.get(court.portals[0]), Err(Error::NotFound));
    court.condemns("F1");
}

#[test]
fn a_poisoned_link_ignores_what_a_driver_still_delivers() {
    use ipcz::driver::{Activity, Verdict};
    let court = Court::new();
    let link = court.broker.link(court.offender.name).unwrap().key;
    let process = &court.broker.process;
    let deliver = |data: &[u8]| process.clone().message(link.to_bits(), data, &[], None);
    let mut parcel = Vec::new();
    Message::AcceptParcel(plain_parcel(0, 0)).encode(0, &[], &mut parcel).unwrap();
    assert_eq!(deliver(b"garbage"), Verdict::Refused);
    assert_eq!(deliver(&parcel), Verdict::Accepted);
    assert_eq!(court.broker.get(court.portals[0]), Err(Error::Unavailable));
    process.clone().error(link.to_bits());
    assert_eq!(court.broker.get(court.portals[0]), Err(Error::NotFound));
    court.bystander_is_well();
}

#[test]
fn not_failures() {
    let sublink = SublinkId(999);
    oddity(says(RouteClosed { sublink, sequence_length: u64::MAX }));
    oddity(says(RouteDisconnected { sublink }));
    oddity(says(BypassPeer { sublink, bypass_target_node: NodeName::INVALID, bypass_target_sublink: sublink }));
    oddity(says(StopProxying { sublink, inbound_sequence_length: u64::MAX, outbound_sequence_length: 0 }));
    oddity(says(ProxyWillStop { sublink, inbound_sequence_length: u64::MAX }));
    oddity(says(StopProxyingToLocalPeer { sublink, outbound_sequence_length: u64::MAX }));
    oddity(says(FlushRouter { sublink }));
    oddity(|court| court.offender.parcel(0, 1_000_001, b"beyond the window"));
    oddity(|court| court.offender.parcel(0, u64::MAX, b"far beyond the window"));
}

#[test]
fn what_is_offered_to_nobody_is_given_back() {
    oddity(|court| {
        let taken = court.offender.memory.blocks_taken();
        let offer = |new_link_state_fragment| BypassPeerWithLink {
            sublink: SublinkId(999),
            new_sublink: SublinkId(100),
            new_link_state_fragment,
            inbound_sequence_length: 0,
        };
        court.offender.say(offer(court.offender.memory.new_link_state().unwrap().descriptor()));
        let offer = |new_link_state_fragment| AcceptBypassLink {
            current_peer_node: name(7),
            current_peer_sublink: SublinkId(0),
            inbound_sequence_length_from_bypassed_link: 0,
            new_sublink: SublinkId(100),
            new_link_state_fragment,
        };
        court.offender.say(offer(court.offender.memory.new_link_state().unwrap().descriptor()));
        // A parcel to nobody, now or ever (an initial portal's sublink): its block is freed, its portals are closed.
        let routers = court.broker.routers();
        let mut block = court.offender.memory.allocate(300).unwrap();
        block.fill(&[7; 292]);
        let first = court.offender.sublinks(1);
        court.offender.say(AcceptParcel { parcel_fragment: block.descriptor(), ..with_portals(11, 0, vec![proxied(first)]) });
        assert_eq!(court.offender.hear().iter().map(Heard::id).collect::<Vec<_>>(), [] as [u8; 0]);
        court.offender.say(RouteClosed { sublink: first, sequence_length: 0 });
        assert_eq!(court.broker.routers(), routers);
        assert_eq!(court.offender.memory.blocks_taken(), taken);
    });
}

#[test]
fn a_portal_whose_sublink_is_in_use_arrives_disconnected() {
    let court = Court::new();
    court.offender.portals(0, 0, vec![proxied(SublinkId(1))]);
    let portal = court.broker.get_portal(court.portals[0]);
    assert!(court.broker.is_dead(portal));
    court.acquits();
}

#[test]
fn reserved_bytes_trailing_bytes_and_sequence_numbers_mean_nothing() {
    oddity(|court| {
        let mut data = Vec::new();
        Message::RouteClosed(RouteClosed { sublink: SublinkId(0), sequence_length: 0 }).encode(u64::MAX, &[], &mut data).unwrap();
        data[3..8].fill(0xAA);
        data[20..24].fill(0xAA);
        data[28..32].fill(0xAA);
        data.extend([0xAA; 13]);
        court.offender.say_raw(&data, &[]);
        assert!(court.broker.is_dead(court.portals[0]));
    });
}

#[test]
fn redundant_introductions_and_rejections_mean_nothing() {
    let driver = InProcess::new();
    let client = Program::normal(&driver);
    let (broker, portals) = Hand::broker(&driver, &client, 1);
    let first = broker.introduced(name(7), LinkSide::A);
    let second = broker.introduced(name(7), LinkSide::A);
    broker.say(RejectIntroduction { name: name(7) });
    broker.say(RejectIntroduction { name: name(8) });
    assert!(!broker.is_dropped() && !first.is_dropped() && client.link(name(7)).is_some());
    assert!(second.is_dropped(), "the transport of the second is closed");
    broker.parcel(0, 0, b"on");
    assert_eq!(client.get(portals[0]).unwrap(), b"on");
}
