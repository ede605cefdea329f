//! A peer that says whatever comes to its mind and scribbles over the shared memory: it may lose its own routes, over and over, but
//! nobody panics, nothing leaks, and a bystander notices nothing.

mod hand;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hand::*;
use ipcz::driver::Driver;
use ipcz::ids::{BufferId, FragmentDescriptor, Handle, NodeName, SublinkId};
use ipcz::wire::*;
use ipcz_drivers::InProcess;

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % sides
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len() as u64) as usize]
    }

    /// A length or number of a sequence: mostly small.
    fn number(&mut self) -> u64 {
        match self.roll(20) {
            0 => self.pick(&[u64::MAX, u64::MAX - 1, 1 << 63, 1_000_000, 1_000_001, 999_999]),
            n => n % 4,
        }
    }
}

/// The offender: what it has seen, to be said again at the wrong moment.
struct Offender {
    hand: Hand,
    sublinks: Vec<u64>,
    names: Vec<NodeName>,
    buffers: Vec<u64>,
    number: u64,
}

impl Offender {
    fn new(driver: &Arc<InProcess>, broker: &Program, others: &[NodeName]) -> (Offender, Vec<Handle>) {
        let (hand, portals) = Hand::client(driver, broker, 2);
        let mut names = vec![hand.name, hand.peer, NodeName::INVALID, name(7)];
        names.extend(others);
        (Offender { hand, sublinks: vec![0, 1, 999], names, buffers: vec![0, 77, u64::MAX], number: 0 }, portals)
    }

    /// Takes note of what it hears, and closes what came along.
    fn listen(&mut self) {
        for heard in self.hand.hear() {
            match heard.message() {
                Message::AcceptParcel(m) => self
                    .sublinks
                    .extend(m.new_routers.iter().flat_map(|r| [r.new_sublink.0, r.new_decaying_sublink.0, r.proxy_peer_sublink.0])),
                Message::BypassPeerWithLink(m) => self.sublinks.push(m.new_sublink.0),
                Message::BypassPeer(m) => self.names.push(m.bypass_target_node),
                Message::AddBlockBuffer(m) => self.buffers.push(m.id.0),
                _ => {}
            }
            heard.handles.iter().for_each(|handle| self.hand.driver.close(*handle));
        }
    }

    fn sublink(&mut self, dice: &mut Dice) -> SublinkId {
        if dice.roll(4) == 0 {
            let fresh = self.hand.sublinks(2).0;
            self.sublinks.extend([fresh, fresh + 1]);
        }
        SublinkId(dice.pick(&self.sublinks))
    }

    fn fragment(&mut self, dice: &mut Dice) -> FragmentDescriptor {
        let good = self.hand.memory.new_link_state();
        match (dice.roll(4), good) {
            (0, _) => FragmentDescriptor::NULL,
            (1, _) => FragmentDescriptor {
                buffer: BufferId(dice.pick(&self.buffers)),
                offset: dice.pick(&[0, 4, 1024, 1088, 131_008, 131_072, u32::MAX]),
                size: dice.pick(&[0, 8, 64, 256, u32::MAX]),
            },
            (_, Some(state)) => state.descriptor(),
            (_, None) => FragmentDescriptor::NULL,
        }
    }

    fn router(&mut self, dice: &mut Dice) -> RouterDescriptor {
        let first = self.sublink(dice);
        let shape = match dice.roll(3) {
            0 => split(first, self.fragment(dice)),
            1 => {
                RouterDescriptor { proxy_peer_node_name: dice.pick(&self.names), proxy_peer_sublink: self.sublink(dice), ..proxied(first) }
            }
            _ => proxied(first),
        };
        RouterDescriptor {
            peer_closed: dice.roll(6) == 0,
            closed_peer_sequence_length: dice.number(),
            next_outgoing_sequence_number: dice.number(),
            next_incoming_sequence_number: dice.number(),
            decaying_incoming_sequence_length: dice.number(),
            ..shape
        }
    }

    fn say_something(&mut self, dice: &mut Dice) {
        let (sublink, node, new_sublink) = (self.sublink(dice), dice.pick(&self.names), self.sublink(dice));
        let (a, b) = (dice.number(), dice.number());
        match dice.roll(14) {
            0 => self.hand.say(RouteClosed { sublink, sequence_length: a }),
            1 => self.hand.say(RouteDisconnected { sublink }),
            2 => self.hand.say(BypassPeer { sublink, bypass_target_node: node, bypass_target_sublink: new_sublink }),
            3 => {
                let (new_link_state_fragment, current_peer_sublink) = (self.fragment(dice), sublink);
                self.hand.say(AcceptBypassLink {
                    current_peer_node: node,
                    current_peer_sublink,
                    inbound_sequence_length_from_bypassed_link: a,
                    new_sublink,
                    new_link_state_fragment,
                });
            }
            4 => self.hand.say(StopProxying { sublink, inbound_sequence_length: a, outbound_sequence_length: b }),
            5 => self.hand.say(ProxyWillStop { sublink, inbound_sequence_length: a }),
            6 => {
                let new_link_state_fragment = self.fragment(dice);
                self.hand.say(BypassPeerWithLink { sublink, new_sublink, new_link_state_fragment, inbound_sequence_length: a });
            }
            7 => self.hand.say(StopProxyingToLocalPeer { sublink, outbound_sequence_length: a }),
            8 => self.hand.say(FlushRouter { sublink }),
            9 => self.hand.say(RequestIntroduction { name: node }),
            10 => {
                let at = dice.pick(&[0, 8, 256, 260, 320, 324, 1024, 1028, 1088, 1092, 96_000, 98_304]) & !3;
                self.hand.primary.store32(at, dice.pick(&[0, 1, 3, 0x13, 0x23, 0x33, 0xFF, u32::MAX]), Ordering::SeqCst);
            }
            11 => {
                let memory = self.hand.driver.allocate(65_536).unwrap();
                let (id, block_size) = (BufferId(dice.pick(&self.buffers)), dice.pick(&[64, 256, 8192, 0, 65_536]));
                self.hand.say_with(AddBlockBuffer { id, block_size, buffer: Some(0) }, &[memory]);
            }
            _ => {
                let routers: Vec<_> = (0..dice.roll(3)).map(|_| self.router(dice)).collect();
                let parcel_fragment = if dice.roll(4) == 0 { self.fragment(dice) } else { FragmentDescriptor::NULL };
                let number = if sublink.0 == 0 { self.number } else { a };
                self.number += u64::from(sublink.0 == 0);
                self.hand.say(AcceptParcel { parcel_fragment, parcel_data: b"data", ..with_portals(sublink.0, number, routers) });
            }
        }
    }
}

/// The application at the broker: puts, gets, moves and closes portals at random.
fn act(dice: &mut Dice, broker: &Program, mine: &mut Vec<Handle>, toward_client: Handle) {
    let process = &broker.process;
    if mine.is_empty() {
        let (p, q) = process.open_portals(broker.node).unwrap();
        mine.extend([p, q]);
    }
    let at = dice.roll(mine.len() as u64) as usize;
    match dice.roll(6) {
        0 => {
            let (p, q) = process.open_portals(broker.node).unwrap();
            mine.extend([p, q]);
        }
        1 => process.close(mine.swap_remove(at)).unwrap(),
        2 => {
            let sent = mine.swap_remove(at);
            if process.put(toward_client, b"portal", &[sent]).is_err() {
                mine.push(sent);
            }
        }
        // Always a new one: portals that lie in each other's queues would keep each other for ever.
        3 => {
            let (kept, sent) = process.open_portals(broker.node).unwrap();
            if process.put(mine[at], &[7; 300], &[sent]).is_err() {
                process.close(sent).unwrap();
            }
            mine.push(kept);
        }
        4 => {
            let _ = process.put(mine[at], b"data", &[]);
        }
        _ => {
            if let Ok(got) = process.get(mine[at]) {
                mine.extend(got.handles);
            }
        }
    }
}

#[test]
fn whatever_a_peer_says_it_harms_itself_alone() {
    let mut dropped = 0;
    for seed in 1..300u64 {
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15 ^ (seed << 20));
        let driver = InProcess::new();
        let (broker, client) = (Program::broker(&driver), Program::normal(&driver));
        let (near, far) = connect(&driver, &client, &broker);
        let others = [client.name()];
        let bystander = broker.link(client.name()).unwrap().key;
        let (mut offender, mut mine) = Offender::new(&driver, &broker, &others);
        let mut theirs = Vec::new();
        for step in 0..120u64 {
            offender.say_something(&mut dice);
            offender.listen();
            act(&mut dice, &broker, &mut mine, far);
            while let Ok(got) = client.process.get(near) {
                theirs.extend(got.handles);
            }
            for portal in &theirs {
                let _ = client.process.put(*portal, b"from the client", &[]);
            }
            let blamed = broker.process.inspect(|view| view.violations()).into_iter().find(|(link, _)| *link == bystander);
            assert_eq!((blamed, client.violations()), (None, vec![]), "seed {seed} step {step}");
            if offender.hand.is_dropped() {
                dropped += 1;
                offender.hand.die();
                let (another, portals) = Offender::new(&driver, &broker, &others);
                offender = another;
                mine.extend(portals);
            }
            if step % 16 == 0 {
                client.put(near, b"ping");
                assert_eq!(broker.get(far).unwrap(), b"ping", "seed {seed} step {step}");
            }
        }
        offender.listen();
        offender.hand.die();
        // Parcels not read yet hold portals: they go with those they wait at.
        mine.drain(..).for_each(|portal| broker.close(portal));
        theirs.drain(..).for_each(|portal| client.close(portal));
        broker.close(far);
        client.close(near);
        broker.close(broker.node);
        client.close(client.node);
        let routers = broker.process.inspect(|view| view.routers());
        assert_eq!((routers.len(), client.routers()), (0, 0), "seed {seed}: {routers:#?}");
        for program in [&broker, &client] {
            let left = program.process.inspect(|view| (view.objects_owned(), view.links().len(), view.handle_count(), view.waits()));
            assert_eq!(left, (0, 0, 0, 0), "seed {seed}");
        }
        assert_eq!(client.violations(), [] as [String; 0], "seed {seed}");
        assert_eq!(driver.live_objects(), 0, "seed {seed}");
    }
    assert!(dropped > 300, "a barrage, not a drizzle: {dropped}");
}
