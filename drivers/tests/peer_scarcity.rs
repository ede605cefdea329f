//! A bypass that finds no link memory: it asks again for a while, then gives the route up (routing.md 18, D6).

mod hand;

use std::sync::Arc;
use std::time::Duration;

use hand::*;
use ipcz::NodeOptions;
use ipcz::clock::Wake;
use ipcz::ids::{Handle, LinkSide, NodeType, SublinkId};
use ipcz::limits::Limits;
use ipcz::memory::LinkState;
use ipcz::wire::*;
use ipcz_drivers::InProcess;

/// A real Z that may not grow its links, a hand-made broker Y that has told it to bypass, and a hand-made X that has used up the
/// memory of their link.
struct Scarcity {
    clock: Arc<ByHand>,
    z: Program,
    _y: Hand,
    x: Hand,
    portal: Handle,
    last: LinkState,
}

impl Scarcity {
    fn new() -> Scarcity {
        let driver = InProcess::new();
        let limits = Limits { link_buffers: 1, ..Limits::default() };
        let (z, clock) = Program::timed(driver.clone(), NodeType::Normal, NodeOptions { limits, ..NodeOptions::default() });
        let (mut y, portals) = Hand::broker(&driver, &z, 1);
        let x = y.introduced(name(7), LinkSide::A);
        let last = std::iter::from_fn(|| x.memory.new_link_state()).last().unwrap();
        let router = RouterDescriptor { proxy_peer_node_name: name(7), proxy_peer_sublink: SublinkId(50), ..proxied(y.sublinks(1)) };
        y.portals(0, 0, vec![router]);
        let portal = z.get_portal(portals[0]);
        Scarcity { clock, z, _y: y, x, portal, last }
    }

    fn pass_a_second(&self) {
        self.clock.pass(Duration::from_secs(1));
        self.z.process.timer();
    }

    fn waits(&self) -> usize {
        self.z.process.inspect(|view| view.waits())
    }
}

#[test]
fn a_bypass_goes_on_when_there_is_memory_again() {
    let scarcity = Scarcity::new();
    scarcity.pass_a_second();
    assert_eq!((scarcity.waits(), scarcity.x.hear_ids()), (1, vec![]));
    assert!(scarcity.last.clone().release(), "the only reference");
    scarcity.z.process.timer();
    assert_eq!(scarcity.x.hear_ids(), [] as [u8; 0], "not before its time");
    scarcity.pass_a_second();
    assert_eq!((scarcity.waits(), scarcity.x.hear_ids()), (0, vec![31]));
    assert!(!scarcity.z.is_dead(scarcity.portal));
}

#[test]
fn a_bypass_without_memory_ends_its_route_in_the_end() {
    let scarcity = Scarcity::new();
    for _ in 0..4 {
        scarcity.pass_a_second();
        assert!(!scarcity.z.is_dead(scarcity.portal) && scarcity.waits() == 1);
    }
    scarcity.pass_a_second();
    assert!(scarcity.z.is_dead(scarcity.portal) && scarcity.waits() == 0);
    assert!(!scarcity.x.is_dropped() && scarcity.z.violations().is_empty());
}
