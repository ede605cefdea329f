//! Hand-made peers: a real process at one end of an in-process transport pair, a test at the other that says what it likes.
//!
//! Here lives what several of the `peer_*` tests need. What a single one needs stays there.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipcz::clock::{Clock, Time, Wake};
use ipcz::driver::{Activity, Driver, Frame, Listener, Verdict};
use ipcz::ids::{BufferId, FragmentDescriptor, Handle, LinkSide, NodeName, NodeType, ObjectId, SublinkId};
use ipcz::inspect::{NodeLinkView, RouterView};
use ipcz::mapping::Mapping;
use ipcz::memory::{LinkMemory, LinkState, PRIMARY_BYTES, initialise_primary};
use ipcz::trap::{TrapEvent, TrapTarget};
use ipcz::wire::*;
use ipcz::{Connect, ConnectTo, NodeOptions, Process};
use ipcz_drivers::{InProcess, MonotonicClock};

/// Status words of a link state that tests look at (memory.md 10.3).
pub const STABLE: u32 = 0x03;

struct Nobody;

impl TrapTarget for Nobody {
    fn fired(&self, _: &TrapEvent) {}
}

/// A clock that the test sets.
#[derive(Default)]
pub struct ByHand(AtomicU64);

impl ByHand {
    /// Time passes.
    pub fn pass(&self, time: Duration) {
        self.0.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }
}

impl Clock for ByHand {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::Relaxed))
    }

    fn wake_at(&self, _: Time, _: Arc<dyn Wake>) {}
}

/// A real process with one node.
pub struct Program {
    pub process: Arc<Process>,
    pub node: Handle,
}

impl Program {
    /// A process whose one node uses `driver`.
    pub fn with(driver: Arc<dyn Driver>, kind: NodeType, options: NodeOptions) -> Program {
        let process = Process::new(Arc::new(MonotonicClock::new()), Arc::new(Nobody));
        let node = process.create_node(kind, driver, options).unwrap();
        Program { process, node }
    }

    /// The same, with a clock of its own.
    pub fn timed(driver: Arc<dyn Driver>, kind: NodeType, options: NodeOptions) -> (Program, Arc<ByHand>) {
        let clock = Arc::new(ByHand::default());
        let process = Process::new(clock.clone(), Arc::new(Nobody));
        let node = process.create_node(kind, driver, options).unwrap();
        (Program { process, node }, clock)
    }

    pub fn broker(driver: &Arc<InProcess>) -> Program {
        Program::with(driver.clone(), NodeType::Broker, NodeOptions::default())
    }

    pub fn normal(driver: &Arc<InProcess>) -> Program {
        Program::with(driver.clone(), NodeType::Normal, NodeOptions::default())
    }

    /// The working link to the node called `name`.
    pub fn link(&self, name: NodeName) -> Option<NodeLinkView> {
        self.process.inspect(|view| view.links()).into_iter().find(|link| link.established && link.remote_name == name)
    }

    /// The reasons of all dropped links so far.
    pub fn violations(&self) -> Vec<String> {
        self.process.inspect(|view| view.violations()).into_iter().map(|(_, reason)| reason).collect()
    }

    /// The reason of the only dropped link so far.
    pub fn violation(&self) -> String {
        let mut all = self.violations();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    pub fn router(&self, portal: Handle) -> RouterView {
        self.process.inspect(|view| view.router(view.router_of(portal).unwrap()).unwrap())
    }

    pub fn routers(&self) -> usize {
        self.process.inspect(|view| view.router_count())
    }

    pub fn put(&self, portal: Handle, data: &[u8]) {
        self.process.put(portal, data, &[]).unwrap();
    }

    /// The data of the next parcel.
    pub fn get(&self, portal: Handle) -> Result<Vec<u8>, ipcz::Error> {
        self.process.get(portal).map(|received| received.data)
    }

    /// The one portal attached to the next parcel.
    pub fn get_portal(&self, from: Handle) -> Handle {
        let received = self.process.get(from).unwrap();
        assert_eq!(received.handles.len(), 1);
        received.handles[0]
    }

    /// Whether nothing more can come out of a portal.
    pub fn is_dead(&self, portal: Handle) -> bool {
        self.process.query(portal).unwrap().dead
    }

    pub fn close(&self, handle: Handle) {
        self.process.close(handle).unwrap();
    }

    /// What it waits for. Looks on the way whether its tables agree.
    pub fn waits(&self) -> usize {
        self.process.inspect(|view| view.check_nodes()).unwrap();
        self.process.inspect(|view| view.waits())
    }

    /// The node's name.
    pub fn name(&self) -> NodeName {
        self.process.inspect(|view| view.nodes())[0].name
    }
}

/// Connects a real client and a real broker, and gives the ends of their pipe, client's first.
pub fn connect(driver: &InProcess, client: &Program, broker: &Program) -> (Handle, Handle) {
    let [a, b] = driver.transport_pair();
    let here = client.process.connect_node(client.node, a, 1, ConnectTo::Broker).unwrap();
    let there = broker.process.connect_node(broker.node, b, 1, ConnectTo::Normal).unwrap();
    (here[0], there[0])
}

/// One message as it arrived.
#[derive(Clone, Debug)]
pub struct Heard {
    pub data: Vec<u8>,
    pub handles: Vec<ObjectId>,
}

impl Heard {
    pub fn id(&self) -> u8 {
        Envelope::parse(&self.data, self.handles.len()).unwrap().id()
    }

    pub fn message(&self) -> Message<'_> {
        Envelope::parse(&self.data, self.handles.len()).unwrap().message().unwrap().unwrap()
    }
}

#[derive(Default)]
struct Ear {
    heard: Mutex<Vec<Heard>>,
    errors: Mutex<usize>,
}

impl Activity for Ear {
    fn message(self: Arc<Self>, _: u64, data: &[u8], handles: &[ObjectId], _: Option<ObjectId>) -> Verdict {
        self.heard.lock().unwrap().push(Heard { data: data.to_vec(), handles: handles.to_vec() });
        Verdict::Accepted
    }

    fn error(self: Arc<Self>, _: u64) {
        *self.errors.lock().unwrap() += 1;
    }

    fn deactivated(self: Arc<Self>, _: u64) {}
}

/// A hand-made end of a transport. Nothing is said unless the test says it.
pub struct Wire {
    pub driver: Arc<InProcess>,
    pub end: ObjectId,
    ear: Arc<Ear>,
}

impl Wire {
    /// Listens at `end`.
    pub fn over(driver: &Arc<InProcess>, end: ObjectId) -> Wire {
        let ear = Arc::new(Ear::default());
        driver.activate(end, Listener::new(ear.clone(), 0)).unwrap();
        Wire { driver: driver.clone(), end, ear }
    }

    /// Connects `program` with `portals` portals to a hand-made end that has not greeted yet.
    pub fn to(driver: &Arc<InProcess>, program: &Program, portals: usize, to: impl Into<Connect>) -> (Wire, Vec<Handle>) {
        let [theirs, ours] = driver.transport_pair();
        let portals = program.process.connect_node(program.node, theirs, portals, to).unwrap();
        (Wire::over(driver, ours), portals)
    }

    /// Says a message that names no objects.
    pub fn say(&self, message: impl Into<Said>) {
        self.say_with(message, &[]);
    }

    /// Says a message with objects of the driver, which are bare handles.
    pub fn say_with(&self, message: impl Into<Said>, objects: &[ObjectId]) {
        let bytes: Vec<_> = objects.iter().map(|_| ObjectBytes { data: &[], handles: 1 }).collect();
        let mut data = Vec::new();
        message.into().0.encode(0, &bytes, &mut data).unwrap();
        self.say_raw(&data, objects);
    }

    /// Says any bytes.
    pub fn say_raw(&self, data: &[u8], handles: &[ObjectId]) {
        self.driver.transmit(self.end, &[Frame { data, handles }]).unwrap();
    }

    /// Everything heard since the last call.
    pub fn hear(&self) -> Vec<Heard> {
        std::mem::take(&mut *self.ear.heard.lock().unwrap())
    }

    /// The ids of everything heard since the last call.
    pub fn hear_ids(&self) -> Vec<u8> {
        self.hear().iter().map(Heard::id).collect()
    }

    /// The only message heard since the last call.
    pub fn hear_one(&self) -> Heard {
        let mut heard = self.hear();
        assert_eq!(heard.len(), 1, "{:?}", heard.iter().map(Heard::id).collect::<Vec<_>>());
        heard.remove(0)
    }

    /// Whether the far end dropped the connection.
    pub fn is_dropped(&self) -> bool {
        *self.ear.errors.lock().unwrap() > 0
    }

    /// Shared memory that is a fresh primary buffer.
    pub fn new_primary(&self) -> ObjectId {
        let memory = self.driver.allocate(PRIMARY_BYTES).unwrap();
        initialise_primary(&self.driver.map(memory).unwrap());
        memory
    }

    /// Dies: its transport is gone.
    pub fn die(&self) {
        self.driver.deactivate(self.end);
        self.driver.close(self.end);
    }
}

/// A message to be said.
pub struct Said(Message<'static>);

macro_rules! said {
    ($($name:ident)*) => {$(
        impl From<$name> for Said {
            fn from(message: $name) -> Said {
                Said(Message::$name(message))
            }
        }
    )*};
}

said! {
    ConnectFromBrokerToNonBroker ConnectFromNonBrokerToBroker RequestIntroduction AcceptIntroduction RejectIntroduction AddBlockBuffer
    RouteClosed RouteDisconnected BypassPeer AcceptBypassLink StopProxying ProxyWillStop BypassPeerWithLink StopProxyingToLocalPeer
    FlushRouter ReferNonBroker ConnectToReferredBroker ConnectToReferredNonBroker NonBrokerReferralAccepted NonBrokerReferralRejected
    ConnectFromBrokerToBroker RequestIndirectIntroduction RequestMemory ProvideMemory
}

impl From<AcceptParcel<'static>> for Said {
    fn from(message: AcceptParcel<'static>) -> Said {
        Said(Message::AcceptParcel(message))
    }
}

impl From<Message<'static>> for Said {
    fn from(message: Message<'static>) -> Said {
        Said(message)
    }
}

/// A hand-made node with a working link to a real one.
pub struct Hand {
    pub wire: Wire,
    /// What the real node calls it.
    pub name: NodeName,
    /// The real node.
    pub peer: NodeName,
    /// Its side of the link.
    pub side: LinkSide,
    /// Its view of the link's memory.
    pub memory: LinkMemory,
    /// The link's first buffer, to be written at will.
    pub primary: Mapping,
}

impl std::ops::Deref for Hand {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.wire
    }
}

impl Hand {
    /// A hand-made client of the real broker `program`, with as many initial portals at both ends.
    pub fn client(driver: &Arc<InProcess>, program: &Program, portals: usize) -> (Hand, Vec<Handle>) {
        Hand::client_with(driver, program, portals, 0)
    }

    /// The same, with features.
    pub fn client_with(driver: &Arc<InProcess>, program: &Program, portals: usize, features: u64) -> (Hand, Vec<Handle>) {
        let (wire, handles) = Wire::to(driver, program, portals, ConnectTo::Normal);
        let greeting = wire.hear_one();
        let Message::ConnectFromBrokerToNonBroker(m) = greeting.message() else { panic!("a broker greets with id 0") };
        wire.say(to_broker(portals as u32, features));
        let mapping = driver.map(greeting.handles[0]).unwrap();
        driver.close(greeting.handles[0]);
        let v2 = features & m.features[0] & 1 != 0;
        let memory = LinkMemory::new(mapping.clone(), LinkSide::B, v2).unwrap();
        (Hand { name: m.receiver_name, peer: m.broker_name, side: LinkSide::B, memory, primary: mapping, wire }, handles)
    }

    /// A hand-made broker of the real normal node `program`, with as many initial portals at both ends.
    pub fn broker(driver: &Arc<InProcess>, program: &Program, portals: usize) -> (Hand, Vec<Handle>) {
        Hand::broker_with(driver, program, portals, 0)
    }

    /// The same, with features.
    pub fn broker_with(driver: &Arc<InProcess>, program: &Program, portals: usize, features: u64) -> (Hand, Vec<Handle>) {
        Hand::broker_of(driver, program, CLIENT, portals, features)
    }

    /// The same, with a name for the client.
    pub fn broker_of(driver: &Arc<InProcess>, program: &Program, client: NodeName, portals: usize, features: u64) -> (Hand, Vec<Handle>) {
        let (wire, handles) = Wire::to(driver, program, portals, ConnectTo::Broker);
        let greeting = wire.hear_one();
        let Message::ConnectFromNonBrokerToBroker(m) = greeting.message() else { panic!("a client greets with id 1") };
        let v2 = features & m.features[0] & 1 != 0;
        let primary = wire.new_primary();
        let mapping = driver.map(primary).unwrap();
        let memory = LinkMemory::new(mapping.clone(), LinkSide::A, v2).unwrap();
        wire.say_with(to_client(BROKER, client, portals as u32, features), &[primary]);
        (Hand { name: BROKER, peer: client, side: LinkSide::A, memory, primary: mapping, wire }, handles)
    }

    /// A hand-made broker called `name` that is connected to the real broker `program`, with as many initial portals at both ends.
    pub fn fellow(driver: &Arc<InProcess>, program: &Program, name: NodeName, portals: usize) -> (Hand, Vec<Handle>) {
        let (wire, handles) = Wire::to(driver, program, portals, ConnectTo::Broker);
        let greeting = wire.hear_one();
        let Message::ConnectFromBrokerToBroker(m) = greeting.message() else { panic!("brokers greet each other with id 7") };
        let (own, peer) = (wire.new_primary(), m.name);
        let (side, chosen) = if name > peer { (LinkSide::A, own) } else { (LinkSide::B, greeting.handles[0]) };
        let primary = driver.map(chosen).unwrap();
        wire.say_with(to_fellow(name, portals as u32, 0), &[own]);
        driver.close(greeting.handles[0]);
        let memory = LinkMemory::new(primary.clone(), side, false).unwrap();
        (Hand { wire, name, peer, side, memory, primary }, handles)
    }

    /// The hand-made end of a link that a hand-made broker introduces the real node to, under the name `name`.
    pub fn introduced(&self, name: NodeName, side: LinkSide) -> Hand {
        let [theirs, ours] = self.driver.transport_pair();
        let primary = self.new_primary();
        let mapping = self.driver.map(primary).unwrap();
        let memory = LinkMemory::new(mapping.clone(), side, false).unwrap();
        self.say_with(introduction(name, side.opposite()), &[theirs, primary]);
        Hand { wire: Wire::over(&self.driver, ours), name, peer: self.peer, side, memory, primary: mapping }
    }

    /// Accepts an introduction that it has heard.
    pub fn accept(&self, heard: &Heard) -> Hand {
        let Message::AcceptIntroduction(m) = heard.message() else { panic!("{}", heard.message()) };
        let [transport, memory] = [m.transport, m.memory].map(|index| heard.handles[index.unwrap() as usize]);
        let primary = self.driver.map(memory).unwrap();
        self.driver.close(memory);
        let memory = LinkMemory::new(primary.clone(), m.link_side, false).unwrap();
        Hand { wire: Wire::over(&self.driver, transport), name: self.name, peer: m.name, side: m.link_side, memory, primary }
    }

    /// Sublinks of its own choosing.
    pub fn sublinks(&mut self, count: u64) -> SublinkId {
        self.memory.draw_sublinks(count, |_| false).unwrap()
    }

    /// Its view of the state of an initial portal's link.
    pub fn state(&self, portal: u32) -> LinkState {
        self.memory.initial_link_state(portal)
    }

    /// Marks its end of an initial portal's link stable.
    pub fn settle(&self, portal: u32) {
        self.state(portal).set_stable(self.side);
    }

    /// Says a parcel with inline data.
    pub fn parcel(&self, sublink: u64, number: u64, data: &'static [u8]) {
        self.say(AcceptParcel { parcel_data: data, ..plain_parcel(sublink, number) });
    }

    /// Says a parcel with portals.
    pub fn portals(&self, sublink: u64, number: u64, routers: Vec<RouterDescriptor>) {
        self.say(with_portals(sublink, number, routers));
    }

    /// Grows the link's memory, of blocks of `block_size` bytes; whether it is announced is the caller's to choose.
    pub fn grow(&mut self, block_size: u32) -> Grown {
        let memory = self.driver.allocate(LinkMemory::region_bytes(block_size)).unwrap();
        let mapping = self.driver.map(memory).unwrap();
        LinkMemory::initialise_region(&mapping, block_size);
        let id = self.memory.draw_buffer_id().unwrap();
        self.memory.add_buffer(id, block_size, mapping, ipcz::memory::Origin::Ours).unwrap();
        Grown { id, block_size, memory }
    }

    /// Announces it.
    pub fn announce(&self, grown: &Grown) {
        self.say_with(AddBlockBuffer { id: grown.id, block_size: grown.block_size, buffer: Some(0) }, &[grown.memory]);
    }
}

/// The parcels among what was heard: sublink, number, data.
pub fn parcels(heard: &[Heard]) -> Vec<(u64, u64, Vec<u8>)> {
    let parcel = |heard: &Heard| match heard.message() {
        Message::AcceptParcel(m) => Some((m.sublink.0, m.sequence_number, m.parcel_data.to_vec())),
        _ => None,
    };
    heard.iter().filter_map(parcel).collect()
}

/// A buffer not announced yet.
pub struct Grown {
    pub id: BufferId,
    pub block_size: u32,
    pub memory: ObjectId,
}

/// The name of hand-made brokers.
pub const BROKER: NodeName = NodeName { high: 0xB, low: 0xB };
/// The name that hand-made brokers give.
pub const CLIENT: NodeName = NodeName { high: 0xC, low: 0xC };

pub fn name(n: u64) -> NodeName {
    NodeName { high: n, low: n }
}

/// A broker's greeting, whose memory is the first object.
pub fn to_client(broker_name: NodeName, receiver_name: NodeName, portals: u32, features: u64) -> ConnectFromBrokerToNonBroker {
    ConnectFromBrokerToNonBroker {
        broker_name,
        receiver_name,
        protocol_version: 0,
        num_initial_portals: portals,
        buffer: Some(0),
        features: vec![features],
    }
}

/// A client's greeting.
pub fn to_broker(portals: u32, features: u64) -> ConnectFromNonBrokerToBroker {
    ConnectFromNonBrokerToBroker { protocol_version: 0, num_initial_portals: portals, features: vec![features] }
}

/// A broker's greeting to another one, whose memory is the first object.
pub fn to_fellow(name: NodeName, portals: u32, features: u64) -> ConnectFromBrokerToBroker {
    ConnectFromBrokerToBroker { name, protocol_version: 0, num_initial_portals: portals, buffer: Some(0), features: vec![features] }
}

/// A referred node's greeting to the broker.
pub fn to_referred_broker(portals: u32) -> ConnectToReferredBroker {
    ConnectToReferredBroker { protocol_version: 0, num_initial_portals: portals, features: vec![0] }
}

/// A broker's answer to a referred node; objects: memory of its link to the broker, transport and memory of the one to its referrer.
pub fn to_referred(name: NodeName, broker_name: NodeName, referrer_name: NodeName, portals: u32) -> ConnectToReferredNonBroker {
    ConnectToReferredNonBroker {
        name,
        broker_name,
        referrer_name,
        broker_protocol_version: 0,
        referrer_protocol_version: 0,
        num_initial_portals: portals,
        broker_link_buffer: Some(0),
        referrer_link_transport: Some(1),
        referrer_link_buffer: Some(2),
        broker_features: vec![0],
        referrer_features: vec![0],
    }
}

/// A broker's answer to a referrer; objects: transport and memory of its link to the referred node.
pub fn referral_accepted(referral_id: u64, name: NodeName, portals: u32) -> NonBrokerReferralAccepted {
    NonBrokerReferralAccepted {
        referral_id,
        protocol_version: 0,
        num_initial_portals: portals,
        name,
        transport: Some(0),
        buffer: Some(1),
        features: vec![0],
    }
}

/// An introduction whose transport and memory are the first two objects.
pub fn introduction(name: NodeName, link_side: LinkSide) -> AcceptIntroduction {
    AcceptIntroduction {
        name,
        link_side,
        remote_node_type: NodeType::Normal,
        remote_protocol_version: 0,
        transport: Some(0),
        memory: Some(1),
        remote_features: vec![0],
    }
}

/// A parcel with nothing in it.
pub fn plain_parcel(sublink: u64, number: u64) -> AcceptParcel<'static> {
    AcceptParcel {
        sublink: SublinkId(sublink),
        sequence_number: number,
        subparcel_index: 0,
        num_subparcels: 1,
        parcel_fragment: FragmentDescriptor::NULL,
        parcel_data: &[],
        handle_types: Vec::new().into(),
        new_routers: Vec::new().into(),
        driver_objects: ObjectRange { first: 0, num: 0 },
    }
}

/// A parcel with portals.
pub fn with_portals(sublink: u64, number: u64, routers: Vec<RouterDescriptor>) -> AcceptParcel<'static> {
    AcceptParcel { handle_types: vec![0; routers.len()].into(), new_routers: routers.into(), ..plain_parcel(sublink, number) }
}

/// The router of a portal that was moved by a proxy.
pub fn proxied(new_sublink: SublinkId) -> RouterDescriptor {
    RouterDescriptor::proxied(new_sublink)
}

/// The router of a portal that left a split local pair: its link is `first`, its decaying one the sublink after.
pub fn split(first: SublinkId, state: FragmentDescriptor) -> RouterDescriptor {
    RouterDescriptor {
        new_link_state_fragment: state,
        new_decaying_sublink: SublinkId(first.0 + 1),
        proxy_already_bypassed: true,
        ..proxied(first)
    }
}
