//! Brokers that are connected to each other, and introductions across their networks (nodes.md 5.3, 7.6, 7.7, 15).

mod hand;

use std::sync::Arc;
use std::time::Duration;

use hand::*;
use ipcz::driver::{Driver, Travel};
use ipcz::ids::{LinkSide, NodeName, NodeType, ObjectId, SublinkId};
use ipcz::limits::Limits;
use ipcz::wire::*;
use ipcz::{ConnectTo, NodeOptions};
use ipcz_drivers::InProcess;

/// A name that is greater than any that is drawn; and one that is less.
const GREAT: NodeName = NodeName { high: u64::MAX, low: u64::MAX };
const SMALL: NodeName = NodeName { high: 0, low: 1 };

fn wants(name: NodeName) -> RequestIntroduction {
    RequestIntroduction { name }
}

fn indirectly(source_node: NodeName, target_node: NodeName) -> RequestIndirectIntroduction {
    RequestIndirectIntroduction { source_node, target_node }
}

/// Introductions that a broker has another one make.
fn elsewhere(broker: &Program) -> usize {
    broker.process.inspect(|view| view.introduced_elsewhere())
}

/// Whether what was heard is one refusal of `name`.
fn refused(wire: &Wire, name: NodeName) -> bool {
    matches!(wire.hear_one().message(), Message::RejectIntroduction(m) if m.name == name)
}

#[test]
fn the_greater_name_is_side_a_and_its_memory_counts() {
    for (name, side) in [(GREAT, LinkSide::B), (SMALL, LinkSide::A)] {
        let driver = InProcess::new();
        let broker = Program::broker(&driver);
        let (fellow, portals) = Hand::fellow(&driver, &broker, name, 1);
        let link = broker.link(name).unwrap();
        assert_eq!((link.side, link.remote_type), (side, Some(NodeType::Broker)));
        // The same memory: each sees that the other end of the first portal's link is stable.
        assert_eq!(fellow.state(0).status(), if side == LinkSide::A { 1 } else { 2 });
        fellow.settle(0);
        fellow.parcel(0, 0, b"hello");
        assert_eq!(broker.get(portals[0]).unwrap(), b"hello");
        // Memory of one side alone is left, here and there.
        assert_eq!(driver.live_objects(), 2, "the two ends of the transport");
    }
}

#[test]
fn two_real_brokers_connect_in_either_order() {
    for _ in 0..8 {
        let driver = InProcess::new();
        let brokers = [Program::broker(&driver), Program::broker(&driver)];
        let ends = driver.transport_pair();
        let portals = [0, 1].map(|i| brokers[i].process.connect_node(brokers[i].node, ends[i], i + 1, ConnectTo::Broker).unwrap());
        let [a, b] = &brokers;
        let (near, far) = (a.link(b.name()).unwrap(), b.link(a.name()).unwrap());
        assert_eq!(near.side == LinkSide::A, a.name() > b.name());
        assert_eq!(near.side, far.side.opposite());
        a.put(portals[0][0], &[7; 5000]);
        b.put(portals[1][0], &[8; 5000]);
        assert_eq!((b.get(portals[1][0]).unwrap(), a.get(portals[0][0]).unwrap()), (vec![7; 5000], vec![8; 5000]));
        assert!(b.is_dead(portals[1][1]), "surplus");
        assert_eq!(driver.live_objects(), 2, "the memory that was not chosen is gone");
    }
}

#[test]
fn brokers_that_cannot_be_connected_both_learn_it() {
    let no_memory: fn(&Wire) -> Vec<ObjectId> = |_| vec![];
    let short: fn(&Wire) -> Vec<ObjectId> = |wire| vec![wire.driver.allocate(131_064).unwrap()];
    let transport: fn(&Wire) -> Vec<ObjectId> = |wire| vec![wire.driver.transport_pair()[0]];
    let good: fn(&Wire) -> Vec<ObjectId> = |wire| vec![wire.new_primary()];
    for (name, objects) in [(GREAT, no_memory), (GREAT, short), (GREAT, transport), (NodeName::INVALID, good)] {
        let driver = InProcess::new();
        let broker = Program::broker(&driver);
        let (wire, portals) = Wire::to(&driver, &broker, 1, ConnectTo::Broker);
        wire.hear().iter().flat_map(|heard| heard.handles.clone()).for_each(|handle| driver.close(handle));
        let objects = objects(&wire);
        wire.say_with(ConnectFromBrokerToBroker { buffer: (!objects.is_empty()).then_some(0), ..to_fellow(name, 1, 0) }, &objects);
        assert!(wire.is_dropped() && broker.is_dead(portals[0]) && broker.violation().contains("ConnectFromBrokerToBroker"));
        assert!(objects.iter().all(|object| driver.can_travel(*object, None) == Travel::Never), "closed");
        wire.die();
        assert_eq!((broker.process.inspect(|view| view.objects_owned()), broker.waits()), (0, 0));
    }
    // Its own name: a broker connected to itself.
    let driver = InProcess::new();
    let broker = Program::broker(&driver);
    let [a, b] = driver.transport_pair();
    let near = broker.process.connect_node(broker.node, a, 1, ConnectTo::Broker).unwrap();
    let far = broker.process.connect_node(broker.node, b, 1, ConnectTo::Broker).unwrap();
    assert!(broker.is_dead(near[0]) && broker.is_dead(far[0]));
    assert_eq!((broker.process.inspect(|view| view.links().len()), driver.live_objects()), (0, 0));
}

/// Every pair of ends that do not fit each other (nodes.md 4.2): both learn it.
#[test]
fn ends_that_do_not_fit_are_both_refused() {
    use ConnectTo::{Broker, Inherited, Normal};
    let (broker, normal) = (NodeType::Broker, NodeType::Normal);
    let pairs = [
        ((broker, Normal), (broker, Normal)),
        ((broker, Broker), (broker, Normal)),
        ((normal, Broker), (normal, Broker)),
        ((broker, Normal), (normal, Inherited)),
        ((broker, Broker), (normal, Broker)),
        ((broker, Broker), (normal, Inherited)),
        ((normal, Broker), (normal, Inherited)),
        ((normal, Inherited), (normal, Inherited)),
    ];
    for (one, other) in pairs.into_iter().flat_map(|(a, b)| [(a, b), (b, a)]) {
        let driver = InProcess::new();
        let ends = driver.transport_pair();
        let programs = [one, other].map(|(kind, _)| Program::with(driver.clone(), kind, NodeOptions::default()));
        let portals: Vec<_> = [one.1, other.1]
            .into_iter()
            .zip(&programs)
            .zip(ends)
            .map(|((to, p), end)| p.process.connect_node(p.node, end, 1, to))
            .collect();
        for (program, portal) in programs.iter().zip(portals) {
            // Who comes second may learn it before its call returns; its transport is its own again then.
            let dead = portal.map_or(true, |portals| program.is_dead(portals[0]));
            assert!(dead && program.process.inspect(|view| view.links().is_empty()), "{one:?} {other:?}");
            assert_eq!((program.waits(), program.process.inspect(|view| view.objects_owned())), (0, 0), "{one:?} {other:?}");
        }
    }
}

/// Clients of two brokers, each with a portal to its own.
struct Networks {
    brokers: [Program; 2],
    clients: [Program; 2],
}

impl Networks {
    /// A portal that is sent from the one client over both brokers to the other leads back to it directly.
    fn check(&self, driver: &Arc<InProcess>) {
        let [x, v] = &self.clients;
        let [b, b2] = &self.brokers;
        let ends = driver.transport_pair();
        let bridge = [0, 1].map(|i| self.brokers[i].process.connect_node(self.brokers[i].node, ends[i], 1, ConnectTo::Broker).unwrap()[0]);
        let (x_b, b_x) = connect(driver, x, b);
        let (v_b2, b2_v) = connect(driver, v, b2);
        let (near, far) = x.process.open_portals(x.node).unwrap();
        x.process.put(x_b, b"", &[far]).unwrap();
        b.process.put(bridge[0], b"", &[b.get_portal(b_x)]).unwrap();
        b2.process.put(b2_v, b"", &[b2.get_portal(bridge[1])]).unwrap();
        let far = v.get_portal(v_b2);
        x.put(near, b"across");
        v.put(far, b"back");
        assert_eq!((v.get(far).unwrap(), x.get(near).unwrap()), (b"across".to_vec(), b"back".to_vec()));
        assert!(x.link(v.name()).is_some() && v.link(x.name()).is_some());
        for program in self.brokers.iter().chain(&self.clients) {
            assert_eq!((program.process.inspect(|view| view.proxies()), program.violations()), (0, vec![]));
        }
    }
}

#[test]
fn a_route_across_two_networks_ends_up_direct_whichever_broker_is_side_a() {
    let mut sides = [0; 2];
    for _ in 0..12 {
        let driver = InProcess::new();
        let brokers = [Program::broker(&driver), Program::broker(&driver)];
        sides[usize::from(brokers[0].name() > brokers[1].name())] += 1;
        Networks { brokers, clients: [Program::normal(&driver), Program::normal(&driver)] }.check(&driver);
    }
    assert!(sides.iter().all(|side| *side > 0), "{sides:?}");
}

/// A real broker with a hand-made client and a hand-made other broker.
struct Between {
    driver: Arc<InProcess>,
    broker: Program,
    clock: Arc<ByHand>,
    client: Hand,
    fellow: Hand,
}

impl Between {
    fn new(name: NodeName) -> Between {
        Between::with(name, NodeOptions::default())
    }

    fn with(name: NodeName, options: NodeOptions) -> Between {
        let driver = InProcess::new();
        let (broker, clock) = Program::timed(driver.clone(), NodeType::Broker, options);
        let (client, _) = Hand::client(&driver, &broker, 1);
        let (fellow, _) = Hand::fellow(&driver, &broker, name, 1);
        Between { driver, broker, clock, client, fellow }
    }

    fn another(&self, name: NodeName) -> Hand {
        Hand::fellow(&self.driver, &self.broker, name, 1).0
    }

    fn pass(&self, seconds: u64) {
        self.clock.pass(Duration::from_secs(seconds));
        ipcz::clock::Wake::timer(&*self.broker.process);
    }
}

#[test]
fn an_unknown_name_is_asked_of_every_other_broker_but_who_asks() {
    let between = Between::new(SMALL);
    let other = between.another(name(2));
    between.client.say(wants(name(7)));
    between.client.say(wants(name(7)));
    assert_eq!((between.fellow.hear_ids(), other.hear_ids(), between.client.hear_ids()), (vec![10], vec![10], vec![]), "once");
    // The last refusal counts; then each is asked once more, to ask others in turn.
    for asked_again in [vec![10], vec![]] {
        other.say(RejectIntroduction { name: name(7) });
        assert_eq!((between.client.hear_ids(), between.broker.waits()), (vec![], 1));
        other.say(RejectIntroduction { name: name(7) });
        assert_eq!((between.client.hear_ids(), other.hear_ids()), (vec![], vec![]), "twice from one is once");
        between.fellow.say(RejectIntroduction { name: name(7) });
        assert_eq!((between.fellow.hear_ids(), other.hear_ids()), (asked_again.clone(), asked_again));
    }
    assert!(refused(&between.client, name(7)) && between.broker.waits() == 0);
}

#[test]
fn a_broker_asks_further_ones_only_when_it_is_asked_again() {
    let between = Between::new(SMALL);
    let other = between.another(name(2));
    let theirs = other.introduced(name(7), LinkSide::A);
    // The node's own broker is asked too, if there is a way: it introduces.
    for wanted in [7, 8] {
        between.fellow.say(wants(name(wanted)));
        assert!(refused(&between.fellow, name(wanted)) && other.hear().is_empty() && theirs.hear().is_empty());
    }
    between.fellow.say(wants(name(7)));
    assert_eq!((between.fellow.hear_ids(), theirs.hear_ids()), (vec![11], vec![11]), "there was no other way");
    between.fellow.say(wants(name(8)));
    assert_eq!((between.fellow.hear_ids(), other.hear_ids(), between.broker.waits()), (vec![], vec![10], 1), "who asks is not asked back");
    for _ in 0..2 {
        other.say(RejectIntroduction { name: name(8) });
    }
    other.say(RejectIntroduction { name: name(8) });
    assert!(refused(&between.fellow, name(8)) && between.broker.waits() == 0);
    // Its own clients it introduces at once.
    between.fellow.say(wants(between.client.name));
    assert_eq!((between.fellow.hear_ids(), between.client.hear_ids()), (vec![11], vec![11]));
    // As upstream: at once whoever it may be.
    let strict = Between::with(SMALL, NodeOptions { compat_strict: true, ..NodeOptions::default() });
    let other = strict.another(name(2));
    strict.fellow.say(wants(name(8)));
    assert_eq!((strict.fellow.hear_ids(), other.hear_ids()), (vec![], vec![10]));
}

#[test]
fn two_brokers_that_ask_each_other_do_not_wait_for_each_other() {
    let between = Between::new(SMALL);
    between.client.say(wants(name(7)));
    assert_eq!(between.fellow.hear_ids(), [10]);
    for _ in 0..2 {
        between.fellow.say(wants(name(7)));
        assert!(refused(&between.fellow, name(7)), "nobody but itself could know");
    }
    assert_eq!((between.client.hear_ids(), between.broker.waits()), (vec![], 1), "what it knows is still waited for");
    for _ in 0..2 {
        between.fellow.say(RejectIntroduction { name: name(7) });
    }
    between.fellow.hear();
    assert!(refused(&between.client, name(7)) && between.broker.waits() == 0);
    // With a third that may know, both are waited for.
    let other = between.another(name(2));
    between.client.say(wants(name(9)));
    between.fellow.say(wants(name(9)));
    between.fellow.say(wants(name(9)));
    assert_eq!(between.fellow.hear_ids(), [10, 12]);
    other.say(RejectIntroduction { name: name(9) });
    assert!(refused(&between.fellow, name(9)) && between.broker.waits() == 1);
}

#[test]
fn what_is_never_answered_is_given_up_in_time() {
    let between = Between::new(SMALL);
    between.client.say(wants(name(7)));
    between.pass(9);
    assert_eq!(between.client.hear_ids(), [] as [u8; 0]);
    between.pass(1);
    assert!(refused(&between.client, name(7)) && between.broker.waits() == 0);
    // An answer that comes later is welcome, or meets nobody.
    between.fellow.say(RejectIntroduction { name: name(7) });
    assert!(!between.fellow.is_dropped() && between.client.hear_ids().is_empty());
    // As upstream: for ever.
    let strict = Between::with(SMALL, NodeOptions { compat_strict: true, ..NodeOptions::default() });
    strict.client.say(wants(name(7)));
    strict.pass(1000);
    assert_eq!((strict.client.hear_ids(), strict.broker.waits()), (vec![], 1));
}

#[test]
fn a_broker_that_dies_answers_no_more() {
    let between = Between::new(SMALL);
    between.client.say(wants(name(7)));
    let other = between.another(name(2));
    between.client.say(wants(name(8)));
    other.hear();
    between.fellow.die();
    assert_eq!((between.client.hear_ids(), other.hear_ids()), (vec![], vec![10]), "who came since is asked instead");
    other.die();
    assert_eq!((between.client.hear_ids(), between.broker.waits()), (vec![12, 12], 0));
    // Nor does a client that dies wait.
    let Between { client, broker, driver, .. } = between;
    let (fellow, _) = Hand::fellow(&driver, &broker, name(3), 1);
    client.say(wants(name(9)));
    client.die();
    for _ in 0..2 {
        fellow.say(RejectIntroduction { name: name(9) });
    }
    assert_eq!((broker.waits(), broker.violations()), (0, vec![]));
}

#[test]
fn the_side_a_broker_introduces_across_networks() {
    // The real broker is side A.
    let between = Between::new(SMALL);
    between.client.say(wants(name(7)));
    between.fellow.hear();
    let theirs = between.fellow.introduced(name(7), LinkSide::A);
    // Its client is told, and so is their node; and their broker learns of its client, in order to relay (nodes.md D-5).
    let [known, met] = <[Heard; 2]>::try_from(between.client.hear()).unwrap();
    let introduced = |heard: &Heard| match heard.message() {
        Message::AcceptIntroduction(m) => (m.name, m.link_side, m.remote_node_type),
        other => panic!("{other}"),
    };
    assert_eq!(introduced(&known), (SMALL, LinkSide::B, NodeType::Broker));
    assert_eq!(introduced(&met), (name(7), LinkSide::A, NodeType::Normal));
    assert_eq!(introduced(&theirs.hear_one()), (between.client.name, LinkSide::B, NodeType::Normal));
    assert_eq!(introduced(&between.fellow.hear_one()), (between.client.name, LinkSide::A, NodeType::Normal));
    assert_eq!(between.broker.waits(), 0);
    // Just once for each.
    between.client.say(wants(name(7)));
    assert_eq!((between.client.hear_ids(), between.fellow.hear_ids()), (vec![11], vec![]));
    // As upstream: not at all.
    let strict = Between::with(SMALL, NodeOptions { compat_strict: true, ..NodeOptions::default() });
    strict.client.say(wants(name(7)));
    let _theirs = strict.fellow.introduced(name(7), LinkSide::A);
    assert_eq!((strict.client.hear_ids(), strict.fellow.hear_ids()), (vec![11], vec![10]));
}

#[test]
fn the_side_b_broker_has_the_other_one_introduce() {
    let between = Between::new(GREAT);
    between.client.say(wants(name(7)));
    between.fellow.hear();
    let _theirs = between.fellow.introduced(name(7), LinkSide::A);
    let heard = between.fellow.hear_one();
    let Message::RequestIndirectIntroduction(m) = heard.message() else { panic!("{}", heard.message()) };
    assert_eq!((m.source_node, m.target_node), (between.client.name, name(7)));
    // Then it wants a link to the client itself.
    between.fellow.say(wants(between.client.name));
    assert_eq!((between.fellow.hear_ids(), between.client.hear_ids()), (vec![11], vec![11]));
    // A refusal is passed on; what is never answered is given up.
    between.fellow.say(RejectIntroduction { name: name(7) });
    assert!(refused(&between.client, name(7)) && elsewhere(&between.broker) == 0);
    between.client.say(wants(name(7)));
    assert_eq!((between.fellow.hear_ids(), elsewhere(&between.broker)), (vec![13], 1));
    between.pass(10);
    assert!(refused(&between.client, name(7)) && elsewhere(&between.broker) == 0);
    // Their broker's death is an answer.
    between.client.say(wants(name(7)));
    between.fellow.die();
    assert!(refused(&between.client, name(7)) && elsewhere(&between.broker) == 0);
    between.client.say(wants(name(7)));
    assert!(refused(&between.client, name(7)), "its network is out of reach");
}

#[test]
fn an_indirect_introduction_is_made_or_refused_to_whoever_can_be_reached() {
    let between = Between::new(SMALL);
    let ours = between.client.name;
    // Their node is unknown: it is asked for.
    between.fellow.say(indirectly(name(7), ours));
    between.fellow.say(RejectIntroduction { name: name(7) });
    assert_eq!(between.fellow.hear_ids(), [10, 10]);
    between.fellow.say(RejectIntroduction { name: name(7) });
    assert!(refused(&between.client, name(7)), "ours is told");
    assert!(refused(&between.fellow, ours), "theirs through its broker");
    // Ours is gone: theirs is told.
    let theirs = between.fellow.introduced(name(8), LinkSide::A);
    between.fellow.say(indirectly(name(8), name(9)));
    assert!(refused(&theirs, name(9)) && between.fellow.hear().is_empty());
    // Both are there: ours is side A.
    between.fellow.say(indirectly(name(8), ours));
    assert!(
        matches!(between.client.hear_one().message(), Message::AcceptIntroduction(m) if m.name == name(8) && m.link_side == LinkSide::A)
    );
    assert!(matches!(theirs.hear_one().message(), Message::AcceptIntroduction(m) if m.name == ours && m.link_side == LinkSide::B));
    // One node twice, or none.
    between.fellow.say(indirectly(ours, ours));
    assert_eq!((between.client.hear_ids(), between.fellow.hear_ids()), (vec![12, 12], vec![]));
    between.fellow.say(indirectly(NodeName::INVALID, ours));
    assert_eq!((between.client.hear_ids(), between.fellow.hear_ids()), (vec![12], vec![12]));
    assert_eq!((between.broker.waits(), between.broker.violations()), (0, vec![]));
}

#[test]
fn only_the_lesser_broker_may_ask_for_an_indirect_introduction() {
    for from in 0..3 {
        let between = Between::new(if from == 0 { GREAT } else { SMALL });
        let (bystander, portals) = Hand::client(&between.driver, &between.broker, 1);
        let friend = between.fellow.introduced(name(7), LinkSide::A);
        let who: &Wire = match from {
            0 => &between.fellow,
            1 => &between.client,
            _ => &friend,
        };
        who.say(indirectly(name(7), bystander.name));
        assert!(who.is_dropped() && !bystander.is_dropped() && between.broker.violation().contains("RequestIndirectIntroduction"));
        bystander.parcel(0, 0, b"on");
        assert_eq!(between.broker.get(portals[0]).unwrap(), b"on");
    }
}

#[test]
fn brokers_that_are_introduced_are_none_to_each_other() {
    let between = Between::new(SMALL);
    let other = between.another(name(2));
    let introduced = |wire: &Wire, to: NodeName| {
        let heard = wire.hear_one();
        matches!(heard.message(), Message::AcceptIntroduction(m) if m.name == to && m.remote_node_type == NodeType::Normal)
    };
    other.say(wants(SMALL));
    assert!(refused(&other, SMALL) && between.fellow.hear().is_empty());
    other.say(wants(SMALL));
    assert!(introduced(&other, SMALL) && introduced(&between.fellow, other.name), "a route leads there, and there is no other way");
    // As upstream: not at all.
    let strict = Between::with(SMALL, NodeOptions { compat_strict: true, ..NodeOptions::default() });
    let other = strict.another(name(2));
    for _ in 0..2 {
        other.say(wants(SMALL));
        assert!(refused(&other, SMALL) && strict.fellow.hear().is_empty());
    }
    // To clients they are brokers.
    between.client.say(wants(SMALL));
    let heard = between.client.hear_one();
    assert!(matches!(heard.message(), Message::AcceptIntroduction(m) if m.name == SMALL && m.remote_node_type == NodeType::Broker));
    // A broker that is introduced to this one as one is nobody's.
    let [theirs, ours] = between.driver.transport_pair();
    let message = AcceptIntroduction { remote_node_type: NodeType::Broker, ..introduction(name(5), LinkSide::A) };
    between.fellow.say_with(message, &[theirs, between.fellow.new_primary()]);
    assert!(Wire::over(&between.driver, ours).is_dropped() && between.broker.link(name(5)).is_none() && !between.fellow.is_dropped());
}

#[test]
fn a_client_takes_a_refusal_from_any_broker() {
    for strict in [false, true] {
        let driver = InProcess::new();
        let client = Program::with(driver.clone(), NodeType::Normal, NodeOptions { compat_strict: strict, ..NodeOptions::default() });
        let (broker, portals) = Hand::broker(&driver, &client, 1);
        let [theirs, ours] = driver.transport_pair();
        let message = AcceptIntroduction { remote_node_type: NodeType::Broker, ..introduction(name(5), LinkSide::A) };
        broker.say_with(message, &[theirs, broker.new_primary()]);
        let foreign = Wire::over(&driver, ours);
        let waiting = RouterDescriptor { proxy_peer_node_name: name(8), ..proxied(SublinkId(100)) };
        broker.portals(0, 0, vec![waiting]);
        let portal = client.get_portal(portals[0]);
        foreign.say(RejectIntroduction { name: name(8) });
        assert_eq!((client.is_dead(portal), client.waits()), (!strict, usize::from(strict)));
        assert!(!foreign.is_dropped());
    }
}

#[test]
fn an_unauthorised_bypass_costs_a_route_and_only_strictly_the_link() {
    for strict in [false, true] {
        let driver = InProcess::new();
        let broker = Program::with(driver.clone(), NodeType::Broker, NodeOptions { compat_strict: strict, ..NodeOptions::default() });
        let (y, _) = Hand::client(&driver, &broker, 1);
        let (z, portals) = Hand::client(&driver, &broker, 1);
        let state = z.memory.new_link_state().unwrap();
        z.say(AcceptBypassLink {
            current_peer_node: y.name,
            current_peer_sublink: SublinkId(0),
            inbound_sequence_length_from_bypassed_link: 0,
            new_sublink: SublinkId(77),
            new_link_state_fragment: state.descriptor(),
        });
        assert_eq!((z.is_dropped(), broker.is_dead(portals[0])), (strict, strict));
        assert!(!y.is_dropped());
    }
}

#[test]
fn a_strict_node_takes_a_second_broker() {
    let driver = InProcess::new();
    let client = Program::with(driver.clone(), NodeType::Normal, NodeOptions { compat_strict: true, ..NodeOptions::default() });
    let (first, _) = Hand::broker(&driver, &client, 1);
    let (other, theirs) = Wire::to(&driver, &client, 1, ConnectTo::Broker);
    other.say_with(to_client(name(0xB2), name(0xC2), 1, 0), &[other.new_primary()]);
    assert!(!other.is_dropped() && !client.is_dead(theirs[0]) && !first.is_dropped() && client.name() == name(0xC2));
}

#[test]
fn a_flood_of_introductions_is_refused_beyond_the_limit() {
    let between = Between::new(SMALL);
    let names: Vec<NodeName> = (100..200).map(name).collect();
    names.iter().for_each(|name| between.client.say(wants(*name)));
    let refusals = between.client.hear().len();
    assert_eq!((refusals, between.fellow.hear().len(), between.broker.waits()), (36, 64, 64), "64 of a hundred are waited for");
    // Others have their own; a broker asks for many.
    let (other, _) = Hand::client(&between.driver, &between.broker, 1);
    other.say(wants(name(7)));
    assert_eq!((other.hear_ids(), between.fellow.hear_ids()), (vec![], vec![10]));
    let third = between.another(name(2));
    names.iter().chain(&names).for_each(|name| third.say(wants(*name)));
    assert_eq!(third.hear_ids(), [12; 100], "then it waits for the other broker with the rest");
    third.die();
    for id in names[..64].iter().chain(&names[..64]) {
        between.fellow.say(RejectIntroduction { name: *id });
    }
    assert_eq!(between.client.hear().len(), 64);
    between.client.say(wants(name(300)));
    assert_eq!(between.client.hear_ids(), [] as [u8; 0], "there is room again");
    // A limit of its own for what others are to introduce.
    let limits = Limits { broker_introductions: 2, ..Limits::default() };
    let few = Between::with(SMALL, NodeOptions { limits, ..NodeOptions::default() });
    for id in 10..14 {
        few.fellow.say(indirectly(name(id), few.client.name));
    }
    assert_eq!(few.fellow.hear_ids(), [10, 10, 12, 12]);
    assert!(!few.fellow.is_dropped() && few.broker.waits() == 2);
}

#[test]
fn a_broker_that_is_connected_again_replaces_its_link_and_keeps_its_clients() {
    let between = Between::new(SMALL);
    let theirs = between.fellow.introduced(name(7), LinkSide::A);
    between.client.say(wants(name(9)));
    between.fellow.hear();
    let again = between.another(SMALL);
    assert!(between.fellow.is_dropped() && refused(&between.client, name(9)), "what the old link was asked is answered");
    assert!(!theirs.is_dropped() && between.broker.link(name(7)).is_some());
    // Its client is still known to be of its network.
    between.client.say(wants(name(7)));
    assert_eq!((between.client.hear_ids(), again.hear_ids(), theirs.hear_ids()), (vec![11, 11], vec![11], vec![11]));
}

#[test]
fn a_client_that_says_it_met_as_a_node_has_no_more_rights() {
    let driver = InProcess::new();
    let broker = Program::broker(&driver);
    let (client, _) = Hand::client_with(&driver, &broker, 1, ipcz::ids::Features::MET_AS_NODES.0);
    client.say(RejectIntroduction { name: name(9) });
    assert!(client.is_dropped() && broker.violation().contains("RejectIntroduction: its sender is no broker"));
}

#[test]
fn a_separate_network_is_introduced_to_nobody() {
    let options = NodeOptions { separate: true, ..NodeOptions::default() };
    let between = Between::with(SMALL, options);
    let Between { broker, client, fellow, .. } = &between;
    client.say(wants(name(7)));
    assert!(refused(client, name(7)) && fellow.hear().is_empty(), "nobody is asked");
    client.say(wants(SMALL));
    assert!(refused(client, SMALL));
    for _ in 0..2 {
        fellow.say(wants(client.name));
        assert!(refused(fellow, client.name) && client.hear().is_empty());
    }
    let theirs = fellow.introduced(name(7), LinkSide::A);
    assert!(theirs.is_dropped() && broker.link(name(7)).is_none());
    client.say(wants(name(7)));
    assert!(refused(client, name(7)));
    // What passes the brokers themselves goes on, and clients know each other as ever.
    let (other, _) = Hand::client(&between.driver, broker, 1);
    client.say(wants(other.name));
    assert_eq!((client.hear_ids(), other.hear_ids()), (vec![11], vec![11]));
    assert!(!fellow.is_dropped() && broker.waits() == 0 && broker.violations().is_empty());
    // Nor on behalf of another broker.
    let between = Between::with(SMALL, options);
    between.fellow.say(indirectly(name(7), between.client.name));
    assert!(refused(&between.fellow, between.client.name) && between.client.hear().is_empty() && between.broker.waits() == 0);
}
