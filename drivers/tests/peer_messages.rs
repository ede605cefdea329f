//! Every message of wire.md 9.1 in every place where one can arrive: what is handled, and what ends the connection.

mod hand;

use std::fmt::Write;
use std::sync::Arc;

use hand::*;
use ipcz::driver::Driver;
use ipcz::ids::{BufferId, FragmentDescriptor, LinkSide, NodeName, SublinkId};
use ipcz::memory::LinkMemory;
use ipcz::wire::*;
use ipcz::{Connect, ConnectTo};
use ipcz_drivers::InProcess;

/// Where a message arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// At a broker, over a working link from its client.
    FromClient,
    /// At a client, over a working link from its broker, of whom it has asked for memory and to whom it has referred a node.
    FromBroker,
    /// At a broker, over a working link from another one that has the lesser name.
    FromFellow,
    /// At a broker, first on a new connection.
    FirstToBroker,
    /// At a client, first on a new connection.
    FirstToClient,
    /// At a broker, first on a new connection to another one.
    FirstToFellow,
    /// At a broker, first from a node that was referred to it.
    FirstFromReferred,
    /// At a node that is referred, first from its broker.
    FirstToReferred,
}

use Place::*;

const PLACES: [Place; 8] =
    [FromClient, FromBroker, FromFellow, FirstToBroker, FirstToClient, FirstToFellow, FirstFromReferred, FirstToReferred];

/// The places where a well-formed message is handled. Elsewhere it ends the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    In(&'static [Place]),
}

use Answer::*;

const LINKS: Answer = In(&[FromClient, FromBroker, FromFellow]);
const ASKED: Answer = In(&[FromBroker]);
const BY_BROKERS: Answer = In(&[FromBroker, FromFellow]);

const TABLE: [(u8, Answer); 28] = [
    (0, In(&[FirstToClient])),
    (1, In(&[FirstToBroker])),
    (2, In(&[FromClient])),
    (3, In(&[FirstFromReferred])),
    (4, In(&[FirstToReferred])),
    (5, ASKED),
    (6, ASKED),
    (7, In(&[FirstToFellow])),
    (10, In(&[FromClient, FromFellow])),
    (11, BY_BROKERS),
    (12, BY_BROKERS),
    (13, In(&[FromFellow])),
    (14, LINKS),
    (20, LINKS),
    (21, LINKS),
    (22, LINKS),
    (23, LINKS),
    (30, LINKS),
    (31, LINKS),
    (32, LINKS),
    (33, LINKS),
    (34, LINKS),
    (35, LINKS),
    (36, LINKS),
    (64, LINKS),
    (65, ASKED),
    (66, In(&[FromClient, FromFellow])),
    (67, BY_BROKERS),
];

impl Answer {
    fn handles(self, place: Place) -> bool {
        let In(places) = self;
        places.contains(&place)
    }

    fn text(self) -> &'static str {
        match self {
            LINKS => "handled on every link",
            BY_BROKERS => "handled from a broker; ends any other connection",
            ASKED => "handled if it answers something that was asked and not answered yet; ends any other connection",
            In([FromClient]) => "handled by a broker from a client; ends any other connection",
            In([FromClient, FromFellow]) => "handled by a broker; ends any other connection",
            In([FromFellow]) => "handled by a broker from another one that has the lesser name; ends any other connection",
            In([FirstToClient]) => "handled as a broker's greeting to its client; ends any other connection",
            In([FirstToBroker]) => "handled as a client's greeting to its broker; ends any other connection",
            In([FirstToFellow]) => "handled as a broker's greeting to another one; ends any other connection",
            In([FirstFromReferred]) => "handled as the greeting of a node that was referred to a broker; ends any other connection",
            In([FirstToReferred]) => "handled as a broker's answer to that; ends any other connection",
            In(other) => unreachable!("no words for {other:?}"),
        }
    }
}

/// The table as markdown.
fn table() -> String {
    let mut text = String::from("| id | message | answer |\n| --- | --- | --- |\n");
    for (id, answer) in TABLE {
        let name = message_name(id).unwrap();
        writeln!(text, "| {id} | {name} | {} |", answer.text()).unwrap();
    }
    text + "| any other | unknown | ignored everywhere, its objects closed |\n"
}

/// The memory that the client in [`FromBroker`] asks for: blocks of 128 KiB.
const ASKED_FOR: u32 = 1 << 20;

/// A well-formed message of each kind, with as many objects as it names. On a link, sublink 0 leads to a portal.
fn sample(id: u8, wire: &Wire) -> (Message<'static>, Vec<ipcz::ids::ObjectId>) {
    let (sublink, referral_id, protocol_version, num_initial_portals) = (SublinkId(0), 0, 0, 1);
    let (unknown, objects) = (SublinkId(999), ObjectRange { first: 0, num: 0 });
    let state = FragmentDescriptor { buffer: BufferId(0), offset: 1088, size: 64 };
    let features = Vec::new;
    let transport = || wire.driver.transport_pair()[0];
    let blocks = || {
        let memory = wire.driver.allocate(LinkMemory::region_bytes(64)).unwrap();
        LinkMemory::initialise_region(&wire.driver.map(memory).unwrap(), 64);
        memory
    };
    match id {
        0 => (Message::ConnectFromBrokerToNonBroker(to_client(BROKER, CLIENT, 1, 0)), vec![wire.new_primary()]),
        1 => (Message::ConnectFromNonBrokerToBroker(to_broker(1, 0)), vec![]),
        2 => (Message::ReferNonBroker(ReferNonBroker { referral_id, num_initial_portals, transport: Some(0) }), vec![transport()]),
        3 => (
            Message::ConnectToReferredBroker(ConnectToReferredBroker { protocol_version, num_initial_portals, features: features() }),
            vec![],
        ),
        4 => {
            let message = ConnectToReferredNonBroker {
                name: CLIENT,
                broker_name: BROKER,
                referrer_name: name(7),
                broker_protocol_version: 0,
                referrer_protocol_version: 0,
                num_initial_portals,
                broker_link_buffer: Some(0),
                referrer_link_transport: Some(1),
                referrer_link_buffer: Some(2),
                broker_features: features(),
                referrer_features: features(),
            };
            (Message::ConnectToReferredNonBroker(message), vec![wire.new_primary(), transport(), wire.new_primary()])
        }
        5 => {
            let message = NonBrokerReferralAccepted {
                referral_id,
                protocol_version,
                num_initial_portals,
                name: name(7),
                transport: Some(0),
                buffer: Some(1),
                features: features(),
            };
            (Message::NonBrokerReferralAccepted(message), vec![transport(), wire.new_primary()])
        }
        6 => (Message::NonBrokerReferralRejected(NonBrokerReferralRejected { referral_id }), vec![]),
        7 => {
            let (name, buffer, features) = (BROKER, Some(0), features());
            let message = ConnectFromBrokerToBroker { name, protocol_version, num_initial_portals, buffer, features };
            (Message::ConnectFromBrokerToBroker(message), vec![wire.new_primary()])
        }
        10 => (Message::RequestIntroduction(RequestIntroduction { name: name(7) }), vec![]),
        11 => (Message::AcceptIntroduction(introduction(name(7), LinkSide::A)), vec![transport(), wire.new_primary()]),
        12 => (Message::RejectIntroduction(RejectIntroduction { name: name(7) }), vec![]),
        13 => {
            let message = RequestIndirectIntroduction { source_node: name(7), target_node: name(8) };
            (Message::RequestIndirectIntroduction(message), vec![])
        }
        14 => (Message::AddBlockBuffer(AddBlockBuffer { id: BufferId(77), block_size: 64, buffer: Some(0) }), vec![blocks()]),
        20 => (Message::AcceptParcel(AcceptParcel { parcel_data: b"hello", ..plain_parcel(0, 0) }), vec![]),
        21 => {
            let message = AcceptParcelDriverObjects { sublink, sequence_number: 0, driver_objects: objects };
            (Message::AcceptParcelDriverObjects(message), vec![])
        }
        22 => (Message::RouteClosed(RouteClosed { sublink, sequence_length: 0 }), vec![]),
        23 => (Message::RouteDisconnected(RouteDisconnected { sublink }), vec![]),
        // A peer has no business saying these without a bypass going on; to a sublink that leads nowhere they do no harm.
        30 => {
            let message = BypassPeer { sublink: unknown, bypass_target_node: name(7), bypass_target_sublink: sublink };
            (Message::BypassPeer(message), vec![])
        }
        31 => {
            let message = AcceptBypassLink {
                current_peer_node: name(7),
                current_peer_sublink: sublink,
                inbound_sequence_length_from_bypassed_link: 0,
                new_sublink: unknown,
                new_link_state_fragment: state,
            };
            (Message::AcceptBypassLink(message), vec![])
        }
        32 => {
            let message = StopProxying { sublink: unknown, inbound_sequence_length: 0, outbound_sequence_length: 0 };
            (Message::StopProxying(message), vec![])
        }
        33 => (Message::ProxyWillStop(ProxyWillStop { sublink: unknown, inbound_sequence_length: 0 }), vec![]),
        34 => {
            let message =
                BypassPeerWithLink { sublink: unknown, new_sublink: unknown, new_link_state_fragment: state, inbound_sequence_length: 0 };
            (Message::BypassPeerWithLink(message), vec![])
        }
        35 => (Message::StopProxyingToLocalPeer(StopProxyingToLocalPeer { sublink: unknown, outbound_sequence_length: 0 }), vec![]),
        36 => (Message::FlushRouter(FlushRouter { sublink }), vec![]),
        64 => (Message::RequestMemory(RequestMemory { size: 65_536 }), vec![]),
        65 => {
            let memory = wire.driver.allocate(ASKED_FOR as usize).unwrap();
            (Message::ProvideMemory(ProvideMemory { size: ASKED_FOR, buffer: Some(0) }), vec![memory])
        }
        66 => (Message::RelayMessage(RelayMessage { destination: name(7), data: b"", driver_objects: objects }), vec![]),
        67 => (
            Message::AcceptRelayedMessage(AcceptRelayedMessage { source: name(7), data: &[0; HEADER_SIZE], driver_objects: objects }),
            vec![],
        ),
        other => panic!("no sample of {other}"),
    }
}

/// A real node and a hand-made end in the named place.
fn arrange(driver: &Arc<InProcess>, place: Place) -> (Program, Wire, Vec<ipcz::ids::Handle>) {
    let program = match place {
        FromClient | FromFellow | FirstToBroker | FirstToFellow | FirstFromReferred => Program::broker(driver),
        FromBroker | FirstToClient | FirstToReferred => Program::normal(driver),
    };
    let (wire, portals) = match place {
        FromClient => {
            let (hand, portals) = Hand::client(driver, &program, 1);
            (hand.wire, portals)
        }
        FromBroker => {
            let (wire, portals) = Wire::to(driver, &program, 1, Connect { to: ConnectTo::Broker, delegate: true });
            wire.say_with(to_client(BROKER, CLIENT, 1, 0), &[wire.new_primary()]);
            let [theirs, _] = driver.transport_pair();
            program.process.connect_node(program.node, theirs, 1, ConnectTo::Referred).unwrap();
            program.put(portals[0], &[7; 100_000]);
            let asked = |heard: &Heard| matches!(heard.message(), Message::RequestMemory(m) if m.size == ASKED_FOR);
            assert!(wire.hear().iter().any(asked));
            (wire, portals)
        }
        FromFellow => {
            let (hand, portals) = Hand::fellow(driver, &program, name(1), 1);
            (hand.wire, portals)
        }
        FirstToFellow => Wire::to(driver, &program, 1, ConnectTo::Broker),
        FirstToReferred => Wire::to(driver, &program, 1, ConnectTo::Inherited),
        FirstFromReferred => {
            let (referrer, portals) = Hand::client(driver, &program, 1);
            let [theirs, ours] = driver.transport_pair();
            referrer.say_with(ReferNonBroker { referral_id: 0, num_initial_portals: 1, transport: Some(0) }, &[theirs]);
            (Wire::over(driver, ours), portals)
        }
        FirstToBroker => Wire::to(driver, &program, 1, ConnectTo::Normal),
        FirstToClient => Wire::to(driver, &program, 1, ConnectTo::Broker),
    };
    wire.hear();
    (program, wire, portals)
}

#[test]
fn the_table_of_messages() {
    for (id, answer) in TABLE {
        for place in PLACES {
            let driver = InProcess::new();
            let (program, wire, portals) = arrange(&driver, place);
            let (message, objects) = sample(id, &wire);
            wire.say_with(message, &objects);
            let about = format!("{id} {place:?}: {:?}", program.violations());
            assert_eq!(wire.is_dropped(), !answer.handles(place), "{about}");
            if answer.handles(place) {
                assert!(program.violations().is_empty(), "{about}");
                continue;
            }
            // Says which message it was, and ends the routes.
            assert!(program.violation().contains(message_name(id).unwrap()), "{about}");
            // The referrer's portal at the broker leads elsewhere.
            assert_eq!(program.is_dead(portals[0]), place != FirstFromReferred, "{about}");
        }
    }
    let table = table();
    println!("{table}");
    let written = include_str!("../../docs/messages.md");
    assert!(written.contains(&table), "docs/messages.md holds another table than\n{table}");
}

#[test]
fn a_table_row_for_every_message() {
    let known: Vec<u8> = (0..=255).filter(|id| message_name(*id).is_some()).collect();
    assert_eq!(known, TABLE.map(|(id, _)| id));
}

#[test]
fn messages_have_the_effect_that_their_names_promise() {
    let effect = |id: u8, place: Place| {
        let driver = InProcess::new();
        let (program, wire, portals) = arrange(&driver, place);
        let (message, objects) = sample(id, &wire);
        wire.say_with(message, &objects);
        (program, wire, portals[0])
    };
    for place in [FromClient, FromBroker] {
        let (program, _, portal) = effect(20, place);
        assert_eq!(program.get(portal).unwrap(), b"hello");
        for id in [22, 23] {
            let (program, _, portal) = effect(id, place);
            assert!(program.is_dead(portal));
        }
        let (program, ..) = effect(14, place);
        assert_eq!(program.process.inspect(|view| view.links())[0].buffers, 2);
    }
    let (_, wire, _) = effect(10, FromClient);
    let answer = wire.hear_one();
    assert!(matches!(answer.message(), Message::RejectIntroduction(m) if m.name == name(7)));
    let (program, ..) = effect(11, FromBroker);
    assert!(program.link(name(7)).is_some());
    let (program, ..) = effect(0, FirstToClient);
    assert!(program.link(BROKER).is_some() && program.name() == CLIENT);
    let (program, ..) = effect(1, FirstToBroker);
    assert_eq!(program.process.inspect(|view| view.links()).iter().filter(|link| link.established).count(), 1);
}

#[test]
fn unknown_messages_are_ignored_everywhere_and_their_objects_closed() {
    for id in [8, 9, 200] {
        for place in PLACES {
            let driver = InProcess::new();
            let (program, mut wire, portals) = arrange(&driver, place);
            let before = driver.live_objects();
            let mut data = Vec::new();
            let bare = [ObjectBytes { data: &[], handles: 1 }];
            Message::ConnectFromBrokerToNonBroker(to_client(NodeName::INVALID, NodeName::INVALID, 0, 0))
                .encode(0, &bare, &mut data)
                .unwrap();
            data[2] = id;
            wire.say_raw(&data, &[wire.new_primary()]);
            assert!(!wire.is_dropped() && program.violations().is_empty(), "{id} {place:?}");
            assert_eq!(driver.live_objects(), before, "{id} {place:?}");
            // What comes next is handled as if nothing had happened.
            match place {
                FirstToBroker => wire.say(to_broker(1, 0)),
                FirstToClient => wire.say_with(to_client(BROKER, CLIENT, 1, 0), &[wire.new_primary()]),
                FirstToFellow => wire.say_with(to_fellow(name(1), 1, 0), &[wire.new_primary()]),
                FirstFromReferred => {
                    wire.say(to_referred_broker(1));
                    assert_eq!(wire.hear_ids(), [4]);
                    continue;
                }
                FirstToReferred => {
                    let [theirs, ours] = driver.transport_pair();
                    let objects = [wire.new_primary(), theirs, wire.new_primary()];
                    wire.say_with(to_referred(CLIENT, BROKER, name(7), 1), &objects);
                    // Its portal leads to the referrer.
                    wire = Wire::over(&driver, ours);
                }
                FromClient | FromBroker | FromFellow => {}
            }
            wire.say(AcceptParcel { parcel_data: b"next", ..plain_parcel(0, 0) });
            assert_eq!(program.get(portals[0]).unwrap(), b"next", "{id} {place:?}");
        }
    }
}
