//! A hostile peer against the core, input by input: what it says costs at most its own link and its own routes.

use std::sync::atomic::Ordering;

use ipcz::NodeOptions;
use ipcz::arena::Key;
use ipcz::clock::Time;
use ipcz::core::{Core, Effects, Incoming, Way};
use ipcz::driver::Verdict;
use ipcz::ids::*;
use ipcz::limits::Limits;
use ipcz::mapping::Mapping;
use ipcz::memory::{PRIMARY_BYTES, initialise_primary};
use ipcz::node::handshake::Joining;
use ipcz::routing::Payload;
use ipcz::wire::*;

const VICTIM: NodeName = NodeName { high: 7, low: 7 };
const BROKER: NodeName = NodeName { high: 9, low: 9 };
const STRANGER: NodeName = NodeName { high: 5, low: 5 };
const DRIVER: fn() -> DriverKey = || DriverKey::new(0, 0);

/// A normal node, connected to a hand-made broker by some portals, whose memory is in the test's hands.
struct Victim {
    core: Core,
    node: Handle,
    broker: LinkKey,
    memory: Mapping,
    portals: Vec<Handle>,
}

impl Victim {
    fn new(portals: usize, limits: Limits) -> Victim {
        let mut core = Core::default();
        let node = core.create_node(NodeType::Normal, DRIVER(), NodeName::INVALID, NodeOptions { limits, ..NodeOptions::default() });
        let mut fx = Effects::default();
        let transport = ObjectId::new(1).unwrap();
        let way = Way::Join(Joining { referred: false, delegate: false });
        let (broker, handles) = core.connect(node, transport, portals, way, Time(0), &mut fx).unwrap();
        let broker = broker.unwrap();
        let memory = Mapping::zeroed(PRIMARY_BYTES);
        initialise_primary(&memory);
        let mut victim = Victim { core, node, broker, memory: memory.clone(), portals: handles };
        let greeting = ConnectFromBrokerToNonBroker {
            broker_name: BROKER,
            receiver_name: VICTIM,
            protocol_version: 0,
            num_initial_portals: portals as u32,
            buffer: Some(0),
            features: vec![],
        };
        let objects = vec![ObjectId::new(2)];
        assert_eq!(victim.hear(broker, greeting.into(), objects, Some(memory)), Verdict::Accepted);
        // The broker's ends are stable.
        for portal in 0..portals {
            let status = 256 + 64 * portal + 4;
            victim.memory.store32(status, victim.memory.load32(status, Ordering::SeqCst) | 1, Ordering::SeqCst);
        }
        victim
    }

    fn hear(&mut self, on: LinkKey, message: Message<'_>, objects: Vec<Option<ObjectId>>, mapping: Option<Mapping>) -> Verdict {
        let incoming = Incoming { message: Some(message), objects, mapping, second_mapping: None, payload: Payload::None };
        self.core.message(on, Some(DRIVER()), Ok(incoming), Time(0), &mut Effects::default())
    }

    fn parcel(&mut self, on: LinkKey, sublink: u64, number: u64, routers: &[RouterDescriptor]) -> Verdict {
        let parcel = AcceptParcel {
            sublink: SublinkId(sublink),
            sequence_number: number,
            subparcel_index: 0,
            num_subparcels: 1,
            parcel_fragment: FragmentDescriptor::NULL,
            parcel_data: &[],
            handle_types: vec![HandleType::Portal as u32; routers.len()].into(),
            new_routers: routers.into(),
            driver_objects: ObjectRange { first: 0, num: 0 },
        };
        self.hear(on, parcel.into(), vec![], None)
    }

    /// A link to a stranger that the broker introduces.
    fn meet(&mut self) -> LinkKey {
        let memory = Mapping::zeroed(PRIMARY_BYTES);
        initialise_primary(&memory);
        let introduction = AcceptIntroduction {
            name: STRANGER,
            link_side: LinkSide::A,
            remote_node_type: NodeType::Normal,
            remote_protocol_version: 0,
            transport: Some(0),
            memory: Some(1),
            remote_features: vec![],
        };
        let objects = vec![ObjectId::new(5), ObjectId::new(6)];
        let incoming =
            Incoming { message: Some(introduction.into()), objects, mapping: Some(memory), second_mapping: None, payload: Payload::None };
        let mut fx = Effects::default();
        let verdict = self.core.message(self.broker, Some(DRIVER()), Ok(incoming), Time(0), &mut fx);
        assert_eq!(verdict, Verdict::Accepted);
        fx.batches.iter().map(|batch| batch.link).find(|link| *link != self.broker).expect("a new link is activated")
    }
}

fn plain(sublink: u64) -> RouterDescriptor {
    RouterDescriptor::proxied(SublinkId(sublink))
}

#[test]
fn a_portal_that_counts_less_than_its_local_target_has_seen_is_refused() {
    let mut victim = Victim::new(2, Limits::default());
    let broker = victim.broker;
    for number in 0..5 {
        assert_eq!(victim.parcel(broker, 0, number, &[]), Verdict::Accepted);
    }
    let lie = RouterDescriptor { proxy_peer_node_name: VICTIM, proxy_peer_sublink: SublinkId(0), ..plain(100) };
    assert_eq!(victim.parcel(broker, 1, 0, &[lie]), Verdict::Accepted);
    // Discards the unread parcel, and with it the portal that never counted to five.
    victim.core.close(victim.portals[1], Time(0), &mut Effects::default()).unwrap();
    assert!(victim.core.query(victim.portals[0]).is_ok(), "the core lives");
}

#[test]
fn a_parcel_beyond_a_gap_does_not_make_a_closure_impossible_to_bear() {
    let mut victim = Victim::new(2, Limits::default());
    let broker = victim.broker;
    assert_eq!(victim.parcel(broker, 0, 7, &[]), Verdict::Accepted);
    let lie = RouterDescriptor { proxy_peer_node_name: VICTIM, proxy_peer_sublink: SublinkId(0), ..plain(100) };
    assert_eq!(victim.parcel(broker, 1, 0, &[lie]), Verdict::Accepted);
    victim.core.close(victim.portals[1], Time(0), &mut Effects::default()).unwrap();
    assert!(victim.core.query(victim.portals[0]).unwrap().peer_closed, "its route is lost, and nothing else");
}

#[test]
fn numbers_at_the_end_of_the_type_are_refused() {
    let mut victim = Victim::new(1, Limits::default());
    let broker = victim.broker;
    for descriptor in [
        RouterDescriptor { next_incoming_sequence_number: u64::MAX, ..plain(100) },
        RouterDescriptor { next_outgoing_sequence_number: u64::MAX - 1, ..plain(100) },
    ] {
        assert_eq!(victim.parcel(broker, 0, 0, &[descriptor]), Verdict::Refused);
        victim = Victim::new(1, Limits::default());
    }
}

#[test]
fn a_stranger_cannot_cut_the_route_of_another_link() {
    let mut victim = Victim::new(1, Limits::default());
    let stranger = victim.meet();
    // The stranger first occupies the sublink it is going to offer.
    assert_eq!(victim.parcel(stranger, 3, 0, &[plain(200)]), Verdict::Accepted);
    let offer = AcceptBypassLink {
        current_peer_node: BROKER,
        current_peer_sublink: SublinkId(0),
        inbound_sequence_length_from_bypassed_link: 0,
        new_sublink: SublinkId(200),
        new_link_state_fragment: FragmentDescriptor { buffer: BufferId(0), offset: 1088, size: 64 },
    };
    assert_eq!(victim.hear(stranger, offer.into(), vec![], None), Verdict::Accepted);
    assert!(!victim.core.query(victim.portals[0]).unwrap().peer_closed);
}

#[test]
fn a_second_bypass_of_one_generation_is_refused() {
    let mut victim = Victim::new(2, Limits::default());
    let broker = victim.broker;
    assert_eq!(victim.parcel(broker, 0, 0, &[plain(100)]), Verdict::Accepted);
    let order =
        |low| BypassPeer { sublink: SublinkId(100), bypass_target_node: NodeName { high: 77, low }, bypass_target_sublink: SublinkId(12) };
    assert_eq!(victim.hear(broker, order(1).into(), vec![], None), Verdict::Accepted);
    assert_eq!(victim.hear(broker, order(2).into(), vec![], None), Verdict::Refused);
}

#[test]
fn more_portals_than_a_link_may_have_are_refused_on_both_sides() {
    let limits = Limits { link_sublinks: 2, ..Limits::default() };
    let mut victim = Victim::new(1, limits);
    let (_, b) = victim.core.open_portals(victim.node).unwrap();
    let refused = victim.core.put(victim.portals[0], Payload::None, &[b], Time(0), &mut Effects::default());
    assert_eq!(refused.map_err(|(error, _)| error), Err(ipcz::Error::ResourceExhausted));
    assert!(victim.core.query(b).is_ok(), "nothing was taken");
    let broker = victim.broker;
    assert_eq!(victim.parcel(broker, 0, 0, &[plain(100)]), Verdict::Accepted);
    assert_eq!(victim.parcel(broker, 0, 1, &[plain(101)]), Verdict::Refused);
}

#[test]
fn a_route_that_would_pass_on_more_portals_than_the_next_link_may_have_ends_alone() {
    let mut victim = Victim::new(1, Limits { link_sublinks: 8, ..Limits::default() });
    let mut pairs = Vec::new();
    for _ in 0..4 {
        pairs.push(victim.core.open_portals(victim.node).unwrap());
    }
    let (kept, sent) = pairs[0];
    let (peers, carried): (Vec<_>, Vec<_>) = pairs[1..].iter().copied().unzip();
    let fx = &mut Effects::default();
    victim.core.put(kept, Payload::None, &carried, Time(0), fx).unwrap();
    victim.core.put(victim.portals[0], Payload::None, &[sent], Time(0), fx).unwrap();
    for portal in &peers {
        assert!(victim.core.query(*portal).unwrap().peer_closed, "what was not passed on is closed");
    }
    assert!(!victim.core.query(victim.portals[0]).unwrap().peer_closed, "the link and all else stay");
    let broker = victim.broker;
    assert_eq!(victim.parcel(broker, 0, 0, &[plain(100)]), Verdict::Accepted);
}

#[test]
fn a_spoilt_sublink_counter_frees_the_peer_of_the_portal_that_cannot_move() {
    let mut victim = Victim::new(1, Limits::default());
    let (a, b) = victim.core.open_portals(victim.node).unwrap();
    let (broker, in_use): (_, Vec<_>) = (victim.broker, (100..160).map(plain).collect());
    assert_eq!(victim.parcel(broker, 0, 0, &in_use), Verdict::Accepted);
    victim.memory.store64(8, 100, Ordering::SeqCst);
    victim.core.put(victim.portals[0], Payload::None, &[b], Time(0), &mut Effects::default()).unwrap();
    assert!(victim.core.query(a).unwrap().peer_closed);
}
