//! What the checkers of a world at rest say to made-up worlds: yes to a healthy one, no to each way of breaking it.

use std::collections::BTreeSet;

use ipcz::arena::Key;
use ipcz::ids::{BufferId, FragmentDescriptor, Handle, LinkKey, LinkSide, NodeKey, NodeName, NodeType, PairKey, RouterKey, SublinkId};
use ipcz::inspect::{EdgeView, LinkKind, LinkView, NodeLinkView, NodeView, QueueView, RouterView, StateView};

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
    on(SublinkId(12), side, 3, 2)
}

/// A central link with so many references on its state.
fn on(sublink: SublinkId, side: LinkSide, word: u32, count: i32) -> LinkView {
    let state = StateView { at: FragmentDescriptor { buffer: BufferId(0), offset: 4096, size: 64 }, references: Some(count) };
    LinkView::Remote { link: key(), sublink, kind: LinkKind::Central, side, status: Some(word), state: Some(state) }
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
        traps: 0,
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
        pieces: 0,
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
    (ghost, Snapshot::new(vec![Some(sight(0, LinkSide::A)), Some(sight(1, LinkSide::B))]))
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
    let outward = LinkView::Remote {
        link: key(),
        sublink: SublinkId(12),
        kind: LinkKind::PeripheralOutward,
        side: LinkSide::A,
        status: None,
        state: None,
    };
    assert_eq!(shape(|sight| sight.routers[0].out.primary = Some(outward)), "E1");
    let alone = LinkView::Local { pair: key::<PairKey>(), side: LinkSide::A, peer: None, status: 3 };
    assert_eq!(shape(|sight| sight.routers[0].out.primary = Some(alone)), "E1");
    assert_eq!(shape(|sight| sight.routers[0].portal = None), "E1");
    assert_eq!(shape(|sight| sight.links[0].sublinks.push((SublinkId(99), key()))), "E4");
}

#[test]
fn a_proxy_at_rest_is_told_from_one_that_nobody_bypasses() {
    let inward = LinkView::Remote {
        link: key(),
        sublink: SublinkId(13),
        kind: LinkKind::PeripheralInward,
        side: LinkSide::A,
        status: None,
        state: None,
    };
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
    let inward = LinkView::Remote {
        link: other,
        sublink: SublinkId(12),
        kind: LinkKind::PeripheralInward,
        side: LinkSide::A,
        status: None,
        state: None,
    };
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

    // Halves of parcels may be left where two nodes lost their link and met again, and nowhere else.
    let piece = |sight: &mut Sight| (sight.links[0].pieces, sight.boxes) = (1, 1);
    assert!(closed(&piece).is_err() && closed(&|sight| sight.boxes = 1).is_err() && closed(&|sight| sight.applications = -1).is_err());
    let met_again = |sight: &mut Sight| {
        piece(sight);
        sight.lost_to.push((name(1), 1));
    };
    closed(&met_again).unwrap();
    assert!(closed(&|sight| (met_again(sight), sight.applications = 1).1).is_err());

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

/// A broker that was not told introduces others to a node that has lost all its links, again and again.
#[test]
fn who_is_introduced_to_a_corpse_loses_it_again_only_if_messages_are_late() {
    let names: Names = (0..2).map(|process| (name(process), process)).collect();
    let lost = |times, late, alone: Option<u32>| {
        let (_, mut snapshot) = healthy();
        first(&mut snapshot).lost_to.push((name(1), times));
        let mut checker = Honesty::default();
        checker.late = late;
        alone.into_iter().for_each(|process| checker.excuse_all(process));
        checker.rest(&snapshot, &names).is_ok()
    };
    assert!(!lost(1, false, None) && !lost(1, true, None), "nobody died");
    for alone in [0, 1] {
        assert!(lost(1, false, Some(alone)) && !lost(2, false, Some(alone)), "told in time");
        assert!(lost(2, true, Some(alone)));
    }
    assert!(!lost(2, true, Some(5)), "it was somebody else");
}

#[test]
fn every_rule_of_a_router_is_looked_at() {
    let rule = |damage: &dyn Fn(&mut RouterView)| {
        let mut router = router(LinkSide::A);
        damage(&mut router);
        let bound = |_, sublink| (sublink != SublinkId(99)).then(key);
        match Steps::default().router(0, &router, bound, false) {
            Ok(()) => "fine".to_owned(),
            Err(violation) => violation.property[..2].to_owned(),
        }
    };
    assert_eq!(rule(&|_| ()), "fine");
    assert_eq!(rule(&|router| router.inward = Some(NO_LINKS)), "S1");
    assert_eq!(rule(&|router| router.out.decaying = router.out.primary), "S2");
    let decaying = LinkView::Remote {
        link: key(),
        sublink: SublinkId(13),
        kind: LinkKind::PeripheralOutward,
        side: LinkSide::A,
        status: None,
        state: None,
    };
    assert_eq!(rule(&|router| router.out.decaying = Some(decaying)), "L2");
    assert_eq!(rule(&|router| router.status_dead = true), "T1");
    assert_eq!(rule(&|router| router.inbound.available = 1), "Q6");
    assert_eq!(rule(&|router| router.outbound = QueueView { length: 3, next: 3, final_length: Some(2), ..QUEUE }), "Q6");
    for word in [0x33, 0x30, 0x11, 0x20] {
        let locked = LinkView::Local { pair: key::<PairKey>(), side: LinkSide::A, peer: Some(key::<RouterKey>()), status: word };
        assert_eq!(rule(&|router| router.out.primary = Some(locked)), "L1", "{word:#x}");
    }
    let inward = LinkView::Remote {
        link: key(),
        sublink: SublinkId(13),
        kind: LinkKind::PeripheralInward,
        side: LinkSide::A,
        status: None,
        state: None,
    };
    assert_eq!(rule(&|router| router.out.primary = Some(inward)), "S2");
    let proxy = |router: &mut RouterView| (router.portal, router.inward) = (None, Some(EdgeView { primary: Some(inward), ..NO_LINKS }));
    assert_eq!(rule(&proxy), "fine");
    for closed in [true, false] {
        let trapped = |router: &mut RouterView| {
            (router.traps, router.closed) = (1, closed);
            if !closed {
                proxy(router);
            }
        };
        assert_eq!(rule(&trapped), "T2");
    }
    assert_eq!(rule(&|router| router.traps = 1), "fine");
    let leaving = |router: &mut RouterView, word| {
        router.out.decaying = Some(on(SublinkId(13), LinkSide::A, word, 2));
        router.out.primary = Some(on(SublinkId(12), LinkSide::A, 0, 2));
    };
    assert_eq!(rule(&|router| leaving(router, 3)), "L3");
    assert_eq!(rule(&|router| leaving(router, 0x13)), "fine");
    assert_eq!(rule(&|router| router.out.primary = Some(on(SublinkId(12), LinkSide::A, 0x06, 2))), "L4");
    assert_eq!(rule(&|router| router.out.primary = Some(on(SublinkId(12), LinkSide::B, 0x0a, 2))), "fine");
    assert_eq!(rule(&|router| router.out.primary = Some(on(SublinkId(12), LinkSide::A, 3, 0))), "L5");
    assert_eq!(rule(&|router| router.out.primary = Some(on(SublinkId(99), LinkSide::A, 3, 2))), "S4");
    let decays = |router: &mut RouterView| {
        (router.portal, router.inward) = (None, Some(EdgeView { decaying: Some(inward), ..NO_LINKS }));
        router.out.primary = Some(on(SublinkId(12), LinkSide::A, 0, 2));
    };
    assert_eq!(rule(&decays), "G3");
    let closing = |router: &mut RouterView| {
        decays(router);
        router.inbound.final_length = Some(0);
    };
    assert_eq!(rule(&closing), "fine", "its peer is closed");
}

#[test]
fn what_must_not_change_is_remembered() {
    let turned = |before: &dyn Fn(&mut RouterView), after: &dyn Fn(&mut RouterView)| {
        let mut checker = Steps::default();
        checker.thorough = true;
        let [first, second] = [before, after].map(|damage| {
            let mut router = router(LinkSide::A);
            router.out.decaying = Some(on(SublinkId(13), LinkSide::A, 0x13, 2));
            router.out.primary = Some(on(SublinkId(12), LinkSide::A, 0, 2));
            damage(&mut router);
            router
        });
        let bound = |_, _| Some(key());
        checker.router(0, &first, bound, false).unwrap();
        checker.router(0, &second, bound, false).map_or_else(|violation| violation.property[..2].to_owned(), |()| "fine".to_owned())
    };
    let to = |length| move |router: &mut RouterView| router.out.length_to = length;
    let from = |length| move |router: &mut RouterView| router.out.length_from = length;
    assert_eq!(turned(&to(None), &to(Some(3))), "fine");
    assert_eq!(turned(&to(Some(3)), &to(Some(3))), "fine");
    assert_eq!(turned(&to(Some(3)), &to(Some(4))), "S3");
    assert_eq!(turned(&from(Some(3)), &from(None)), "S3");
    let next = |router: &mut RouterView| {
        router.out.length_to = Some(4);
        router.out.decaying = Some(on(SublinkId(14), LinkSide::A, 0x13, 2));
    };
    assert_eq!(turned(&to(Some(3)), &next), "fine", "it is another link");
    let word = |word| move |router: &mut RouterView| router.out.primary = Some(on(SublinkId(12), LinkSide::A, word, 2));
    assert_eq!(turned(&word(2), &word(0)), "L1");
    let proxy = |router: &mut RouterView| (router.portal, router.inward) = (None, Some(NO_LINKS));
    assert_eq!((turned(&|_| (), &proxy), turned(&proxy, &|_| ())), ("fine".into(), "S1".into()));
}

#[test]
fn a_parcel_that_took_the_wrong_link_is_seen() {
    let came = |sublink, number, from| {
        let mut router = router(LinkSide::A);
        router.out.decaying = Some(on(SublinkId(13), LinkSide::A, 0x13, 2));
        router.out.length_from = from;
        Steps::default().parcel(0, &router, (key(), SublinkId(sublink)), number, false).is_ok()
    };
    assert!(came(13, 4, Some(5)) && came(12, 5, Some(5)) && came(13, 9, None) && came(12, 0, None));
    assert!(!came(13, 5, Some(5)) && !came(12, 4, Some(5)));
    // From inside: wrong as well, unless the far end is closed and nobody counts any more.
    let passed_on = |closed: Option<u64>| {
        let mut router = router(LinkSide::A);
        let inward = EdgeView { decaying: Some(on(SublinkId(13), LinkSide::A, 0x13, 2)), length_from: Some(5), ..NO_LINKS };
        (router.portal, router.inward, router.inbound.final_length) = (None, Some(inward), closed);
        Steps::default().parcel(0, &router, (key(), SublinkId(13)), 5, false).is_ok()
    };
    assert!(!passed_on(None) && passed_on(Some(3)));
}

/// What the checker of routes says of a healthy world in which something was changed; the property begins with its label.
fn routes(scope: Scope, damage: impl FnOnce(&mut Ghost, &mut [Option<Sight>])) -> String {
    let (mut ghost, mut snapshot) = healthy();
    damage(&mut ghost, &mut snapshot.processes);
    match Routes::default().look(&ghost, &snapshot, scope) {
        Ok(()) => "fine".into(),
        Err(violation) => violation.property[..2].into(),
    }
}

#[test]
fn the_ends_of_a_link_agree() {
    let mine =
        |damage: &dyn Fn(&mut RouterView)| routes(Scope::Routes, |_, processes| damage(&mut processes[0].as_mut().unwrap().routers[0]));
    assert_eq!(mine(&|_| ()), "fine");
    assert_eq!(mine(&|router| router.out.primary = Some(on(SublinkId(12), LinkSide::B, 3, 2))), "S6");
    let outward = LinkView::Remote {
        link: key(),
        sublink: SublinkId(12),
        kind: LinkKind::PeripheralOutward,
        side: LinkSide::A,
        status: None,
        state: None,
    };
    assert_eq!(mine(&|router| router.out.primary = Some(outward)), "S6");
    let elsewhere = |router: &mut RouterView| {
        if let Some(LinkView::Remote { state: Some(state), .. }) = &mut router.out.primary {
            state.at.offset += 64;
        }
    };
    assert_eq!(mine(&elsewhere), "S6");
    let counted = |count| move |router: &mut RouterView| router.out.primary = Some(on(SublinkId(12), LinkSide::A, 3, count));
    assert_eq!((mine(&counted(1)), mine(&counted(3))), ("L5".into(), "fine".into()), "a message may carry one");
    let rest = routes(Scope::Rest, |_, processes| counted(3)(&mut processes[0].as_mut().unwrap().routers[0]));
    assert_eq!(rest, "L5", "nothing is under way");
}

#[test]
fn the_ends_of_a_decaying_link_count_alike() {
    let count = |to, from| {
        routes(Scope::Links, |_, processes| {
            for (sight, side) in processes.iter_mut().flatten().zip([LinkSide::A, LinkSide::B]) {
                let router = &mut sight.routers[0];
                router.out = EdgeView { primary: None, decaying: Some(on(SublinkId(12), side, 0x13, 2)), ..NO_LINKS };
                if side == LinkSide::A {
                    router.out.length_to = to;
                } else {
                    router.out.length_from = from;
                }
            }
        })
    };
    assert_eq!((count(Some(4), Some(4)), count(Some(4), None), count(Some(4), Some(5))), ("fine".into(), "fine".into(), "Q4".into()));
}

#[test]
fn a_sublink_bound_to_whom_does_not_hold_it_is_seen() {
    let bind = |to| routes(Scope::Links, move |_, processes| processes[0].as_mut().unwrap().links[0].sublinks.push((SublinkId(99), to)));
    assert_eq!((bind(key()), bind(RouterKey::new(7, 7))), ("S4".into(), "S4".into()));
}

#[test]
fn a_route_is_one_piece_and_its_own() {
    let tear = |_: &mut Ghost, processes: &mut [Option<Sight>]| {
        let sight = processes[0].as_mut().unwrap();
        (sight.routers[0].out.primary, sight.links[0].sublinks) = (None, Vec::new());
        processes[1].as_mut().unwrap().links[0].dead = true;
    };
    assert_eq!(routes(Scope::Routes, tear), "G2");
    assert_eq!(routes(Scope::Links, tear), "fine", "the ledger is not asked");
    let touched = |ghost: &mut Ghost, processes: &mut [Option<Sight>]| {
        tear(ghost, processes);
        ghost.touch(EndId(0));
    };
    assert_eq!(routes(Scope::Routes, touched), "fine", "a cut may have done it");

    // A second pipe within process 0; a router with one link to each route joins the two.
    let second = |ghost: &mut Ghost, processes: &mut [Option<Sight>], joins: bool| {
        let handles = [2, 3].map(|at| Handle::new(at, 1));
        ghost.open(Role::Random, handles.map(|handle| (0, handle)));
        let local = |side, peer| LinkView::Local { pair: Key::new(1, 1), side, peer: Some(RouterKey::new(peer, 1)), status: 3 };
        let routers = &mut processes[0].as_mut().unwrap().routers;
        for (at, side) in [(2, LinkSide::A), (3, LinkSide::B)] {
            let out = EdgeView { primary: Some(local(side, 5 - at)), ..NO_LINKS };
            routers.push(RouterView { key: RouterKey::new(at, 1), portal: Some(handles[at as usize - 2]), out, ..router(side) });
        }
        if joins {
            let bridge = |peer| EdgeView { primary: Some(LinkView::Bridge { peer }), ..NO_LINKS };
            routers[0].inward = Some(bridge(RouterKey::new(2, 1)));
            routers[1].inward = Some(bridge(key()));
        }
    };
    assert_eq!(routes(Scope::Routes, |ghost, processes| second(ghost, processes, false)), "fine");
    assert_eq!(routes(Scope::Routes, |ghost, processes| second(ghost, processes, true)), "G5");
}

#[test]
fn a_route_has_one_central_link_more_than_bridges() {
    // A, then two routers of one process whose inward edges are `inward`, then D: two central links.
    let joined = |inward: &dyn Fn(RouterKey) -> LinkView| {
        let mut ghost = Ghost::default();
        let handles = [Handle::new(1, 1), Handle::new(4, 1)];
        ghost.open(Role::Random, handles.map(|handle| (0, handle)));
        let local = |pair, side, peer| {
            let link = LinkView::Local { pair: Key::new(pair, 1), side, peer: Some(RouterKey::new(peer, 1)), status: 3 };
            EdgeView { primary: Some(link), ..NO_LINKS }
        };
        let at = |key, out, portal| RouterView { key: RouterKey::new(key, 1), portal, out, ..router(LinkSide::A) };
        let across = |peer| Some(EdgeView { primary: Some(inward(RouterKey::new(peer, 1))), ..NO_LINKS });
        let routers = vec![
            at(1, local(1, LinkSide::A, 2), Some(handles[0])),
            RouterView { inward: across(3), ..at(2, local(1, LinkSide::B, 1), None) },
            RouterView { inward: across(2), ..at(3, local(2, LinkSide::A, 4), None) },
            at(4, local(2, LinkSide::B, 3), Some(handles[1])),
        ];
        let snapshot = Snapshot::new(vec![Some(Sight { routers, ..Sight::default() })]);
        Routes::default()
            .look(&ghost, &snapshot, Scope::Routes)
            .map_or_else(|violation| violation.property[..2].to_owned(), |()| "fine".into())
    };
    assert_eq!(joined(&|peer| LinkView::Bridge { peer }), "fine");
    let pair = |peer: RouterKey| {
        let side = if peer == RouterKey::new(3, 1) { LinkSide::A } else { LinkSide::B };
        LinkView::Local { pair: Key::new(9, 1), side, peer: Some(peer), status: 3 }
    };
    assert_eq!(joined(&pair), "G1");
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
