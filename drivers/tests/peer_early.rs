//! Parcels that come before or after the time of their sublink (hazards.md RC-03, RC-04), and parcels with objects too many.

mod hand;

use hand::*;
use ipcz::Error;
use ipcz::NodeOptions;
use ipcz::driver::Driver;
use ipcz::ids::{Handle, NodeType, SublinkId};
use ipcz::limits::Limits;
use ipcz::wire::*;
use ipcz_drivers::InProcess;

fn pair(limits: Limits) -> (Program, Hand, Vec<Handle>) {
    let driver = InProcess::new();
    let broker = Program::with(driver.clone(), NodeType::Broker, NodeOptions { limits, ..NodeOptions::default() });
    let (client, portals) = Hand::client(&driver, &broker, 2);
    (broker, client, portals)
}

fn early(program: &Program) -> usize {
    program.process.inspect(|view| view.links()).iter().map(|link| link.early).sum()
}

/// Routers whose owner did not close them.
fn open(program: &Program) -> usize {
    program.process.inspect(|view| view.routers()).iter().filter(|router| !router.closed).count()
}

#[test]
fn what_comes_before_its_router_is_kept_for_it() {
    let (broker, mut client, portals) = pair(Limits::default());
    let via = client.sublinks(1);
    client.parcel(via.0, 1, b"one");
    client.parcel(via.0, 0, b"zero");
    assert_eq!(early(&broker), 2);
    client.portals(0, 0, vec![proxied(via)]);
    assert_eq!(early(&broker), 0);
    let portal = broker.get_portal(portals[0]);
    assert_eq!((broker.get(portal).unwrap(), broker.get(portal).unwrap()), (b"zero".to_vec(), b"one".to_vec()));
    assert!(!client.is_dropped());
}

#[test]
fn portals_in_it_are_closed_if_the_link_is_lost_first() {
    let (broker, mut client, _) = pair(Limits::default());
    let routers = broker.routers();
    let [first, second] = [client.sublinks(1), client.sublinks(1)];
    client.portals(first.0, 0, vec![proxied(second)]);
    assert_eq!((early(&broker), broker.routers()), (1, routers + 1));
    client.die();
    assert_eq!((early(&broker), broker.routers()), (0, routers));
}

#[test]
fn no_more_is_kept_than_the_limits_say() {
    for limits in [Limits { link_early_parcels: 2, ..Limits::default() }, Limits { link_early_bytes: 7, ..Limits::default() }] {
        let (broker, mut client, portals) = pair(limits);
        let routers = open(&broker);
        let [via, inside] = [client.sublinks(1), client.sublinks(1)];
        for number in 0..3 {
            client.parcel(via.0, number, b"abc");
        }
        assert_eq!(early(&broker), 2);
        if limits.link_early_parcels == 2 {
            client.portals(via.0, 3, vec![proxied(inside)]);
            assert_eq!(open(&broker), routers, "what it carried is closed");
        }
        client.portals(0, 0, vec![proxied(via)]);
        let portal = broker.get_portal(portals[0]);
        assert!(broker.get(portal).is_ok() && broker.get(portal).is_ok());
        assert_eq!((broker.get(portal), client.is_dropped()), (Err(Error::Unavailable), false));
    }
}

#[test]
fn what_comes_after_its_router_is_not_kept() {
    let (broker, mut client, portals) = pair(Limits::default());
    let via = client.sublinks(1);
    client.portals(0, 0, vec![proxied(via)]);
    let portal = broker.get_portal(portals[0]);
    client.say(RouteDisconnected { sublink: via });
    broker.close(portal);
    let routers = open(&broker);
    client.parcel(via.0, 0, b"late");
    let inside = client.sublinks(1);
    client.portals(via.0, 1, vec![proxied(inside)]);
    assert_eq!((early(&broker), open(&broker), client.is_dropped()), (0, routers, false));
}

#[test]
fn no_ring_of_portals_comes_of_it() {
    let (broker, mut client, portals) = pair(Limits::default());
    let [first, second] = [client.sublinks(1), client.sublinks(1)];
    // A parcel for each that carries the other: inside one another, nobody would ever find them.
    client.portals(first.0, 0, vec![proxied(second)]);
    client.portals(second.0, 0, vec![proxied(first)]);
    client.die();
    for portal in portals {
        broker.close(portal);
    }
    assert_eq!(broker.routers(), 0);
}

#[test]
fn an_object_that_no_box_claims_ends_the_link() {
    let (broker, client, _) = pair(Limits::default());
    let before = client.driver.live_objects();
    client.say_with(plain_parcel(0, 0), &[client.driver.allocate(64).unwrap()]);
    assert!(client.is_dropped() && broker.violation().contains("boxes and driver objects"), "{}", broker.violation());
    assert!(client.driver.live_objects() <= before);
}

#[test]
fn a_sublink_that_was_refused_is_past() {
    let (broker, mut client, _) = pair(Limits::default());
    let via = client.sublinks(1);
    client.parcel(via.0, 0, b"early");
    let new_link_state_fragment = client.memory.new_link_state().unwrap().descriptor();
    client.say(BypassPeerWithLink { sublink: SublinkId(999), new_sublink: via, new_link_state_fragment, inbound_sequence_length: 0 });
    assert_eq!(early(&broker), 0);
    client.parcel(via.0, 1, b"late");
    assert_eq!((early(&broker), client.is_dropped()), (0, false));
}
