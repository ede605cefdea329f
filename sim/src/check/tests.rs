//! What the checkers of a world at rest say to made-up worlds: yes to a healthy one, no to each way of breaking it.

use std::collections::BTreeSet;

use ipcz::arena::Key;
use ipcz::ids::{Handle, LinkKey, LinkSide, NodeKey, NodeName, NodeType, PairKey, RouterKey, SublinkId};
use ipcz::inspect::{EdgeView, LinkKind, LinkView, NodeLinkView, NodeView, QueueView, RouterView};

use super::graph::Ref;
use super::*;
use crate::ghost::{Ghost, Role};

const QUEUE: QueueView = QueueView { next: 0, length: 0, final_length: None, available: 0, bytes: 0, beyond_gap: 0 };
const NO_LINKS: EdgeView = EdgeView { primary: None, decaying: None, length_to: None, length_from: None };

fn name(process: u32) -> NodeName {
    NodeName { high: 7, low: u64::from(process) }
}

fn key<K: Key>() -> K {
    K::new(1, 1)
}

fn central(side: LinkSide) -> LinkView {
    LinkView::Remote { link: key(), sublink: SublinkId(12), kind: LinkKind::Central, side, status: Some(3) }
}

fn router(side: LinkSide) -> RouterView {
    RouterView {
        key: key(),
        portal: Some(key()),
        held: true,
        out: EdgeView { primary: Some(central(side)), ..NO_LINKS },
        inward: None,
        inbound: QUEUE,
        outbound: QUEUE,
        peer_closed: false,
        disconnected: false,
        closed: false,
        status_peer_closed: false,
        status_dead: false,
        missed_traps: 0,
        transactions: 0,
        carried: Vec::new(),
    }
}

fn sight(process: u32, side: LinkSide) -> Sight {
    let link = NodeLinkView {
        key: key(),
        node: key(),
        established: true,
        dead: false,
        local_name: name(process),
        remote_name: name(1 - process),
        remote_type: Some(NodeType::Normal),
        side,
        sublinks: vec![(SublinkId(12), key())],
        blocks_taken: 0,
        outbox: 0,
        buffers: 1,
        buffer_waits: 0,
        early: 0,
    };
    let node = NodeView {
        key: key::<NodeKey>(),
        name: name(process),
        kind: NodeType::Normal,
        broker_link: None,
        delegate: None,
        other_brokers: Vec::new(),
        pending_introductions: Vec::new(),
    };
    Sight {
        routers: vec![router(side)],
        links: vec![link],
        counted: vec![key()],
        nodes: vec![node],
        handles: 2,
        owned: 1,
        open: 1,
        ..Sight::default()
    }
}

/// One pipe between two processes, one link, everything at rest.
fn healthy() -> (Ghost, Snapshot) {
    let mut ghost = Ghost::default();
    ghost.open(Role::Random, [(0, key::<Handle>()), (1, key())]);
    (ghost, Snapshot { processes: vec![Some(sight(0, LinkSide::A)), Some(sight(1, LinkSide::B))] })
}

fn first(snapshot: &mut Snapshot) -> &mut Sight {
    snapshot.processes[0].as_mut().unwrap()
}

/// What the shape checker says of a world broken like this; the property begins with its label.
fn shape(damage: impl FnOnce(&mut Sight)) -> String {
    let (ghost, mut snapshot) = healthy();
    damage(first(&mut snapshot));
    match Shape::default().rest(&ghost, &snapshot) {
        Ok(()) => "fine".into(),
        Err(violation) => violation.property.split(':').next().unwrap_or_default().into(),
    }
}

fn set_status(sight: &mut Sight, word: Option<u32>) {
    if let Some(LinkView::Remote { status, .. }) = &mut sight.routers[0].out.primary {
        *status = word;
    }
}

#[test]
fn a_healthy_route_has_its_shape_and_a_broken_one_has_not() {
    assert_eq!(shape(|_| ()), "fine");
    for word in [Some(0), Some(0x0b), Some(0x13), None] {
        assert_eq!(shape(|sight| set_status(sight, word)), "E3", "{word:?}");
    }
    assert_eq!(shape(|sight| sight.routers[0].out.decaying = Some(central(LinkSide::A))), "E2");
    assert_eq!(shape(|sight| sight.routers[0].out.primary = None), "E1");
    assert_eq!(shape(|sight| sight.links[0].dead = true), "E1");
    let outward =
        LinkView::Remote { link: key(), sublink: SublinkId(12), kind: LinkKind::PeripheralOutward, side: LinkSide::A, status: None };
    assert_eq!(shape(|sight| sight.routers[0].out.primary = Some(outward)), "E1");
    let alone = LinkView::Local { pair: key::<PairKey>(), side: LinkSide::A, peer: None, status: 3 };
    assert_eq!(shape(|sight| sight.routers[0].out.primary = Some(alone)), "E1");
    assert_eq!(shape(|sight| sight.routers[0].portal = None), "E1");
    assert_eq!(shape(|sight| sight.links[0].sublinks.push((SublinkId(99), key()))), "E4");
}

#[test]
fn a_proxy_at_rest_is_told_from_one_that_nobody_bypasses() {
    let inward =
        LinkView::Remote { link: key(), sublink: SublinkId(13), kind: LinkKind::PeripheralInward, side: LinkSide::A, status: None };
    let proxy = |sight: &mut Sight| {
        sight.routers[0].portal = None;
        sight.routers[0].inward = Some(EdgeView { primary: Some(inward), ..NO_LINKS });
    };
    assert_eq!(shape(proxy), "E10");
    assert_eq!(
        shape(|sight| {
            proxy(sight);
            set_status(sight, Some(0x13));
        }),
        "E2"
    );
}

#[test]
fn a_proxy_between_two_nodes_of_one_process_may_stay() {
    let (ghost, mut snapshot) = healthy();
    let sight = first(&mut snapshot);
    let other = LinkKey::new(2, 1);
    let inward =
        LinkView::Remote { link: other, sublink: SublinkId(12), kind: LinkKind::PeripheralInward, side: LinkSide::A, status: None };
    sight.routers[0].inward = Some(EdgeView { primary: Some(inward), ..NO_LINKS });
    let link = NodeLinkView { key: other, node: Key::new(9, 1), remote_name: name(5), local_name: name(6), ..sight.links[0].clone() };
    sight.links.push(link);
    let mut checker = Shape::default();
    checker.rest(&ghost, &snapshot).unwrap();
    assert_eq!(checker.tally.exempted("proxy between two nodes of one process"), 1);
}

#[test]
fn whatever_is_left_when_all_is_closed_is_a_leak() {
    let closed_with = |suspects: &BTreeSet<Ref>, damage: &dyn Fn(&mut Sight)| {
        let (mut ghost, mut snapshot) = healthy();
        let end = EndId(0);
        ghost.close(end);
        ghost.close(end.twin());
        for sight in snapshot.processes.iter_mut().flatten() {
            sight.routers.clear();
            sight.links[0].sublinks.clear();
            sight.handles = 1;
        }
        damage(first(&mut snapshot));
        Leaks::default().rest(&ghost, &snapshot, suspects)
    };
    let closed = |damage: &dyn Fn(&mut Sight)| closed_with(&BTreeSet::new(), damage);
    closed(&|_| ()).unwrap();
    let damages: [&dyn Fn(&mut Sight); 11] = [
        &|sight| sight.routers.push(router(LinkSide::A)),
        &|sight| sight.handles = 2,
        &|sight| sight.links[0].sublinks.push((SublinkId(12), key())),
        &|sight| sight.links[0].outbox = 1,
        &|sight| sight.links[0].buffer_waits = 1,
        &|sight| sight.links[0].early = 1,
        &|sight| sight.links[0].blocks_taken = 1,
        &|sight| sight.waits = 1,
        &|sight| sight.nodes[0].pending_introductions.push(name(4)),
        &|sight| sight.open = 2,
        &|sight| sight.owned = 2,
    ];
    for (index, damage) in damages.into_iter().enumerate() {
        assert!(closed(damage).is_err(), "damage {index}");
    }
    assert!(closed(&|sight| sight.links[0].remote_name = name(8)).unwrap_err().property.starts_with("I10"));

    // What a lie has left behind is no leak; everything else is, there too.
    let left = |sight: &mut Sight| {
        sight.routers.push(router(LinkSide::A));
        sight.links[0].sublinks.push((SublinkId(12), sight.routers[0].key));
    };
    let here = |process| BTreeSet::from([Ref { process, router: router(LinkSide::A).key }]);
    closed_with(&here(0), &left).unwrap();
    assert!(closed_with(&here(1), &left).is_err());
    assert!(closed_with(&here(0), &|sight| sight.waits = 1).is_err());
    assert!(closed_with(&here(0), &|sight| sight.links[0].blocks_taken = 1).is_err());
    assert!(closed_with(&here(0), &|sight| sight.links[0].sublinks.push((SublinkId(12), key()))).is_err());
}

#[test]
fn blame_and_lost_links_are_seen_unless_a_cut_excuses_them() {
    let names: Names = (0..2).map(|process| (name(process), process)).collect();
    let check = |checker: &mut Honesty, damage: &dyn Fn(&mut Sight)| {
        let (_, mut snapshot) = healthy();
        damage(first(&mut snapshot));
        checker.rest(&snapshot, &names)
    };
    check(&mut Honesty::default(), &|_| ()).unwrap();
    assert!(check(&mut Honesty::default(), &|sight| sight.blames.push((name(1), key(), "late".into()))).is_err());
    assert!(check(&mut Honesty::default(), &|sight| sight.totals.refused = 1).is_err());
    assert!(check(&mut Honesty::default(), &|sight| sight.totals.unauthorised = 1).is_err());
    assert!(Honesty::default().refused(&[(0, 1)]).is_err() && Honesty::default().refused(&[]).is_ok());
    let lost = |sight: &mut Sight| sight.lost_to.push((name(1), 1));
    assert!(check(&mut Honesty::default(), &lost).is_err());
    let mut excused = Honesty::default();
    excused.excuse(1, 0);
    check(&mut excused, &lost).unwrap();
    let mut other = Honesty::default();
    other.excuse(0, 5);
    assert!(check(&mut other, &lost).is_err());
    assert!(check(&mut excused, &|sight| sight.lost_to.push((name(1), 2))).is_err());
    let stale = |sight: &mut Sight| {
        sight.lost_to.push((name(1), 1));
        sight.totals.unauthorised = 1;
    };
    check(&mut excused, &stale).unwrap();
    let gone = |sight: &mut Sight| {
        stale(sight);
        sight.links.clear();
    };
    assert!(check(&mut excused, &gone).is_err(), "the link was not made anew");
    assert!(check(&mut excused, &|sight| sight.lost_to.push((name(8), 1))).is_err(), "a link to nobody");
    let mut liars = Honesty::default();
    liars.lie(0, 1);
    check(&mut liars, &lost).unwrap();
    let mut others = Honesty::default();
    others.lie(1, 5);
    assert!(check(&mut others, &lost).is_err(), "only the lying link suffers");
}

#[test]
fn every_rule_of_a_router_is_looked_at() {
    let rule = |damage: &dyn Fn(&mut RouterView)| {
        let mut router = router(LinkSide::A);
        damage(&mut router);
        match Steps::default().router(0, &router, false) {
            Ok(()) => "fine".to_owned(),
            Err(violation) => violation.property[..2].to_owned(),
        }
    };
    assert_eq!(rule(&|_| ()), "fine");
    assert_eq!(rule(&|router| router.inward = Some(NO_LINKS)), "S1");
    assert_eq!(rule(&|router| router.out.decaying = router.out.primary), "S2");
    let decaying =
        LinkView::Remote { link: key(), sublink: SublinkId(13), kind: LinkKind::PeripheralOutward, side: LinkSide::A, status: None };
    assert_eq!(rule(&|router| router.out.decaying = Some(decaying)), "L2");
    assert_eq!(rule(&|router| router.status_dead = true), "T1");
    assert_eq!(rule(&|router| router.inbound.available = 1), "Q6");
    assert_eq!(rule(&|router| router.outbound = QueueView { length: 3, next: 3, final_length: Some(2), ..QUEUE }), "Q6");
    for word in [0x33, 0x30, 0x11, 0x20] {
        let locked = LinkView::Local { pair: key::<PairKey>(), side: LinkSide::A, peer: Some(key::<RouterKey>()), status: word };
        assert_eq!(rule(&|router| router.out.primary = Some(locked)), "L1", "{word:#x}");
    }
    let inward =
        LinkView::Remote { link: key(), sublink: SublinkId(13), kind: LinkKind::PeripheralInward, side: LinkSide::A, status: None };
    assert_eq!(rule(&|router| router.out.primary = Some(inward)), "S2");
}

#[test]
fn the_graph_has_each_link_once() {
    let (_, snapshot) = healthy();
    let graph = Graph::of(&snapshot);
    assert_eq!((graph.graph.node_count(), graph.graph.edge_count(), graph.loose.len()), (2, 1, 0));
    let data = graph.data(&snapshot);
    assert_eq!((data.routers.len(), data.links), (2, vec![(0, 1, crate::run::LinkKind::Central)]));
    let (_, mut torn) = healthy();
    first(&mut torn).links[0].dead = true;
    assert_eq!(Graph::of(&torn).loose.len(), 2);
}
