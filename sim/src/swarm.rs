//! Random worlds (swarm testing): each seed draws a scenario of its own, then runs it. Every feature is off in half of the worlds, since
//! what is always there hides what happens only without it.

use std::sync::Arc;

use crate::choice::{Choices, Site, Source};
use crate::fault::{ALL, Class, Fault, Strength, Strengths};
use crate::scenario::{Caps, LinkSpec, Memory, NodeSpec, PipeSpec, PortalSpec, Random, Range, Scenario, Swarm, Verbs};

/// What is drawn.
mod site {
    use crate::choice::Site;

    pub const NODES: Site = Site::Swarm(0);
    pub const LINKS: Site = Site::Swarm(1);
    pub const KNOBS: Site = Site::Swarm(2);
    pub const WORK: Site = Site::Swarm(3);
    pub const FAULTS: Site = Site::Swarm(4);
    pub const STRENGTH: Site = Site::Swarm(5);
    pub const NETWORKS: Site = Site::Swarm(6);
    pub const HOSTILE: Site = Site::Swarm(7);
    pub const LIES: Site = Site::Swarm(8);
}

const NS: u64 = 1;
const US: u64 = 1_000 * NS;
const MS: u64 = 1_000 * US;

struct Draw<'a>(&'a mut Source);

impl Draw<'_> {
    fn one(&mut self, site: Site, actor: u32, of: &[u64]) -> u64 {
        of[self.0.draw(site, actor, of.len() as u32) as usize]
    }

    fn within(&mut self, site: Site, range: Range) -> u64 {
        range.min + u64::from(self.0.draw(site, 0, (range.max - range.min + 1) as u32))
    }

    fn half(&mut self, site: Site, actor: u32) -> bool {
        self.0.draw(site, actor, 2) == 1
    }
}

/// The concrete scenario that a seed's source draws; a scenario that is no swarm is itself.
pub fn expand(scenario: &Scenario, source: &mut Source) -> Arc<Scenario> {
    let Some(swarm) = &scenario.swarm else { return Arc::new(scenario.clone()) };
    let mut draw = Draw(source);
    let mut world = Scenario { swarm: None, ..scenario.clone() };
    let clients = size(swarm.nodes, &mut draw) - 1;
    let broker = world.nodes.iter().position(|node| node.broker).unwrap_or(0);
    world.nodes = vec![world.nodes[broker].clone()];
    let client = |n| NodeSpec { name: format!("n{n}"), broker: false, loose: None, delegate: false, mem_v2: false, hostile: false };
    world.nodes.extend((1..=clients).map(client));
    hostile(&mut world, swarm, &mut draw);
    links(&mut world, clients, &mut draw);
    if swarm.brokers.max > 1 {
        networks(&mut world, swarm, clients, &mut draw);
    }
    world.memory = Memory {
        inline: draw.half(site::KNOBS, 0).then(|| draw.one(site::KNOBS, 1, &[0, 16, 64, 1024])),
        link_capacity: draw.half(site::KNOBS, 2).then(|| draw.one(site::KNOBS, 3, &[256 << 10, 512 << 10, 1 << 20])),
    };
    world.random = Some(work(&world, swarm, clients, &mut draw));
    world.faults = faults(&world, swarm, &mut draw);
    if world.connects.iter().any(|link| !world.nodes[link.broker].broker) {
        // It strikes in set-up too, where a referral would fail for it.
        world.faults.remove(&Fault::RefuseRandom);
    }
    // What a lie about a relayed half means for the route it belongs to, no checker knows.
    let lies = ALL.iter().any(|about| about.class == Class::Corrupting && world.faults.contains_key(&about.fault));
    if let Some(random) = world.random.as_mut().filter(|_| lies) {
        random.boxes = [0, 1];
    }
    world.brokered = !lies && draw.one(site::LINKS, 5, &[0, 0, 1]) == 1;
    Arc::new(world)
}

/// How many nodes. Where worlds may be large a third have up to 16, and a third up to 64: what takes few nodes shows sooner among few.
fn size(nodes: Range, draw: &mut Draw<'_>) -> usize {
    let most = if nodes.max > 64 { draw.one(site::NODES, 1, &[16, 64, nodes.max]).clamp(nodes.min, nodes.max) } else { nodes.max };
    draw.within(site::NODES, Range { max: most, ..nodes }) as usize
}

/// The last of the clients are hostile: each lie in half of the worlds, and limits that floods reach in half of them.
fn hostile(world: &mut Scenario, swarm: &Swarm, draw: &mut Draw<'_>) {
    if swarm.hostile.max == 0 {
        return;
    }
    let count = draw.within(site::HOSTILE, swarm.hostile) as usize;
    world.nodes.iter_mut().skip(1).rev().take(count).for_each(|node| node.hostile = true);
    let lies = &mut world.hostile.lies;
    let all = lies.clone();
    lies.retain(|lie| draw.half(site::LIES, *lie as u32));
    if lies.is_empty() {
        *lies = all;
    }
    world.hostile.chance = [1, draw.one(site::HOSTILE, 1, &[2, 4, 8, 16, 64]) as u32];
    if !draw.half(site::HOSTILE, 2) {
        world.limits = Caps::default();
    }
}

/// Every client is the broker's; some pairs know each other from the start.
fn links(world: &mut Scenario, clients: usize, draw: &mut Draw<'_>) {
    world.latency_ns = draw.one(site::LINKS, 0, &[US, 10 * US, 100 * US, MS]);
    world.jitter_ns = world.latency_ns * draw.one(site::LINKS, 1, &[0, 1, 2, 4]) / 2;
    (world.connects, world.pipes, world.portals) = (Vec::new(), Vec::new(), Vec::new());
    for client in 1..=clients {
        let pipe = format!("b{client}");
        let ends = portals(world, &pipe, [client, 0]);
        let latency_ns = world.latency_ns * draw.one(site::LINKS, 2, &[1, 1, 2, 4]);
        world.connects.push(LinkSpec { client, broker: 0, pipe, ends, latency_ns, jitter_ns: world.jitter_ns });
    }
    if draw.half(site::LINKS, 3) {
        // A third of all pairs, but not more than some eight for each node.
        let odds = (clients as u32 / 8).max(3);
        for (a, b) in (1..=clients).flat_map(|a| (a + 1..=clients).map(move |b| (a, b))) {
            if draw.0.draw(site::LINKS, 4, odds) == odds - 1 {
                let name = format!("k{a}x{b}");
                let ends = portals(world, &name, [a, b]);
                world.pipes.push(PipeSpec { name, a, b, broker: 0, links: [a - 1, b - 1], ends });
            }
        }
    }
}

/// More brokers, each connected to all before it (brokers are not introduced to brokers); clients are theirs, or are referred by one before them.
fn networks(world: &mut Scenario, swarm: &Swarm, clients: usize, draw: &mut Draw<'_>) {
    let others = draw.within(site::NETWORKS, swarm.brokers) as usize - 1;
    let brokers: Vec<usize> = std::iter::once(0).chain(clients + 1..=clients + others).collect();
    let name = |n| NodeSpec { name: format!("B{n}"), ..world.nodes[0].clone() };
    world.nodes.extend((1..=others).map(name).collect::<Vec<_>>());
    for (at, broker) in brokers.iter().enumerate().skip(1) {
        for (number, to) in brokers[..at].iter().enumerate() {
            let pipe = format!("bb{number}x{at}");
            let ends = portals(world, &pipe, [*broker, *to]);
            let (latency_ns, jitter_ns) = (world.latency_ns, world.jitter_ns);
            world.connects.push(LinkSpec { client: *broker, broker: *to, pipe, ends, latency_ns, jitter_ns });
        }
    }
    let refer = draw.half(site::NETWORKS, 2);
    let mut known: Vec<usize> = world.pipes.iter().flat_map(|pipe| [pipe.a, pipe.b]).collect();
    known.sort_unstable();
    for client in 1..=clients {
        let spec = &mut world.nodes[client];
        spec.delegate = draw.one(site::NETWORKS, 3, &[0, 0, 0, 1]) == 1;
        spec.mem_v2 = draw.half(site::NETWORKS, 4);
        // Who has pipes to others from set-up on is a client of the first broker, which made them.
        let referrer = 1 + draw.0.draw(site::NETWORKS, 5, clients as u32) as usize;
        let broker = brokers[draw.0.draw(site::NETWORKS, 6, brokers.len() as u32) as usize];
        if known.binary_search(&client).is_ok() {
            continue;
        }
        let by = if refer && referrer < client { referrer } else { broker };
        world.connects[client - 1].broker = by;
        world.portals[world.connects[client - 1].ends[1]].home = by;
    }
    for broker in brokers {
        world.nodes[broker].mem_v2 = draw.half(site::NETWORKS, 7);
    }
}

fn portals(world: &mut Scenario, name: &str, homes: [usize; 2]) -> [usize; 2] {
    let first = world.portals.len();
    let ends = [first, first + 1];
    world.portals.extend(homes.iter().zip([first + 1, first]).map(|(home, peer)| PortalSpec {
        name: name.to_owned(),
        home: *home,
        peer,
        opened_by: None,
    }));
    ends
}

fn work(world: &Scenario, swarm: &Swarm, clients: usize, draw: &mut Draw<'_>) -> Random {
    let verbs = Verbs {
        open: draw.one(site::WORK, 0, &[1, 4, 16]) as u32,
        send: draw.one(site::WORK, 1, &[0, 8, 32]) as u32,
        hand: draw.one(site::WORK, 2, &[4, 16, 32]) as u32,
        close: draw.one(site::WORK, 3, &[0, 1, 8]) as u32,
        merge: draw.one(site::WORK, 11, &[0, 0, 2, 8]) as u32,
        cut: 0,
    };
    let first = usize::from(!draw.half(site::WORK, 9) && clients > 0);
    Random {
        pipes: draw.one(site::WORK, 4, &[1, 4, 16]),
        duration_ns: None,
        operations: Some(draw.within(site::WORK, swarm.operations)),
        gap_ns: (world.latency_ns * draw.one(site::WORK, 5, &[1, 4, 16, 64]) / 8).max(1),
        verbs,
        count: Range { min: 1, max: draw.one(site::WORK, 6, &[1, 3, 8]) },
        bytes: Range { min: 0, max: draw.one(site::WORK, 7, &[16, 300, 2048, 10_000]) },
        cut_links: 0,
        cut_nodes: 0,
        lazy: if draw.half(site::WORK, 8) { [1, 4] } else { [0, 1] },
        two_phase: if draw.one(site::WORK, 11, &[0, 0, 1]) == 1 { [1, 3] } else { [0, 1] },
        objects: if draw.one(site::WORK, 12, &[0, 0, 1]) == 1 { [1, 4] } else { [0, 1] },
        query: if draw.one(site::WORK, 13, &[0, 0, 1]) == 1 { [1, 2] } else { [0, 1] },
        boxes: if draw.one(site::WORK, 14, &[0, 0, 1]) == 1 { [1, 3] } else { [0, 1] },
        keep: draw.half(site::WORK, 10),
        on: (first..world.nodes.len()).collect(),
    }
}

/// Each kind in every other world that has faults at all; every fourth has none, and every other no lies.
fn faults(world: &Scenario, swarm: &Swarm, draw: &mut Draw<'_>) -> Strengths {
    let mut strengths = Strengths::new();
    let (calm, honest) = (draw.one(site::FAULTS, 200, &[0, 0, 0, 1]) == 1, draw.half(site::FAULTS, 201));
    for about in ALL.iter().filter(|about| swarm.faults.contains(&about.fault)) {
        let kind = about.fault as u32;
        let on = draw.half(site::FAULTS, kind);
        let odds = draw.one(site::STRENGTH, kind, odds(about.fault));
        let lasts_ns = world.latency_ns * draw.one(site::STRENGTH, 64 + kind, &[1, 4, 16, 64]);
        if on && !calm && !(honest && about.class == Class::Corrupting) {
            let most = if about.class == Class::Corrupting { 4 } else { u64::MAX };
            strengths.insert(about.fault, Strength { chance: [1, odds as u32], nth: None, lasts_ns, most });
        }
    }
    strengths
}

/// One of how many opportunities a kind may strike at: what ends links or nodes seldom, or nothing would be left to look at.
fn odds(fault: Fault) -> &'static [u64] {
    match fault {
        Fault::Cut | Fault::HalfOpen | Fault::RefuseSend => &[200, 800, 2_000],
        Fault::CrashBeforeSend | Fault::CrashAfterSend => &[400, 1_600, 4_000],
        Fault::LoseBroker => &[1_000, 4_000],
        Fault::FlipByte | Fault::ChangeField | Fault::Replay | Fault::Misdirect | Fault::Scribble => &[100, 400, 1_600],
        Fault::ExhaustBlocks => &[200, 800],
        Fault::TinyCapacity => &[2],
        Fault::RefuseIntroduction | Fault::LateIntroduction | Fault::RefuseMemory | Fault::RefuseRandom => &[2, 4, 8],
        Fault::SpuriousFailure => &[3, 10, 50],
        Fault::CloseAtOnce => &[10, 50],
        _ => &[10, 50, 250],
    }
}
