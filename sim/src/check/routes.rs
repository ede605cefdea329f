//! What holds of links and of whole routes at every instant, even in the middle of a bypass: both ends of each link agree, and each route
//! is one piece (routing.md 19.1: S4, S6, L5, Q4, G1, G2, G5). It takes a look at a whole world, so small worlds are looked at now and then,
//! all at rest.

use std::collections::{BTreeMap, BTreeSet};

use ipcz::ids::{Handle, LinkKey, RouterKey, SublinkId};
use ipcz::inspect::{EdgeView, LinkKind, LinkView, RouterView};

use super::graph::{Graph, Ref, links};
use super::snapshot::Snapshot;
use super::{Checked, Tally, Violation};
use crate::ghost::{EndId, Ghost, Place};

const NAME: &str = "routes";

/// How much can be said of a world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scope {
    /// The ledger runs ahead of the library: each link by itself.
    Links,
    /// Messages are under way.
    Routes,
    /// Nothing is under way.
    Rest,
}

/// The checker.
#[derive(Clone, Default, Debug)]
pub struct Routes {
    /// Its counts.
    pub tally: Tally,
}

/// By process and key: the other end of each node link.
type Partners = BTreeMap<(u32, LinkKey), (u32, LinkKey)>;
/// Which router each bound sublink leads to.
type Bound = BTreeMap<(u32, LinkKey, SublinkId), RouterKey>;

impl Routes {
    /// Its name.
    pub const NAME: &str = NAME;

    /// Looks at a world in which nobody lies; and before it is at rest, only if no link was cut.
    pub fn look(&mut self, ghost: &Ghost, snapshot: &Snapshot, scope: Scope) -> Checked {
        let partners = snapshot.partners();
        let bound = bound(snapshot);
        for (process, sight) in snapshot.alive() {
            for router in &sight.routers {
                for edge in [Some(router.out), router.inward].iter().flatten() {
                    for link in edge.primary.iter().chain(&edge.decaying) {
                        let here = Ref { process, router: router.key };
                        let far = far(&partners, &bound, process, link).and_then(|far| snapshot.router(far.process, far.router));
                        self.link(&partners, here, (edge, link), far, scope)?;
                    }
                }
            }
        }
        self.bindings(snapshot, &bound)?;
        if scope > Scope::Links { self.pieces(&partners, ghost, snapshot) } else { Ok(()) }
    }

    /// S6, L5, Q4: both ends of a link agree.
    fn link(
        &mut self,
        partners: &Partners,
        here: Ref,
        (edge, link): (&EdgeView, &LinkView),
        far: Option<&RouterView>,
        scope: Scope,
    ) -> Checked {
        self.tally.count();
        let no = |property, text: String| {
            let text = format!("{:?} in process {} has {text}", here.router, here.process);
            Err(Violation::new(NAME, property, text).in_process(here.process))
        };
        let theirs = far.and_then(|far| {
            [Some(far.out), far.inward].into_iter().flatten().find_map(|edge| {
                let mut links = edge.primary.into_iter().chain(edge.decaying);
                Some((edge, links.find(|other| joined(partners, here, link, other))?))
            })
        });
        // What was announced and not yet heard of, or let go already, has one end.
        let Some((opposite, other)) = theirs else { return Ok(()) };
        if let Some(text) = disagree(link, &other) {
            return no("S6: both ends of a link agree on what it is", format!("{link:?}, and its other end {other:?}: {text}"));
        }
        if let (LinkView::Remote { state: Some(mine), .. }, LinkView::Remote { state: Some(_), .. }) = (link, &other)
            && mine.references.is_some_and(|count| if scope == Scope::Rest { count != 2 } else { count < 2 })
        {
            return no("L5: a link state is counted once for each end that has it", format!("{link:?}, which both ends have"));
        }
        if edge.decaying.as_ref() == Some(link) && opposite.decaying == Some(other) {
            for (to, from) in [(edge.length_to, opposite.length_from), (opposite.length_to, edge.length_from)] {
                if let (Some(to), Some(from)) = (to, from)
                    && to != from
                {
                    return no("Q4: both ends of a decaying link count alike", format!("{edge:?}, and its other end {opposite:?}"));
                }
            }
        }
        Ok(())
    }

    /// S4: whatever is bound is held by the router it is bound to.
    fn bindings(&mut self, snapshot: &Snapshot, bound: &Bound) -> Checked {
        for ((process, key, sublink), router) in bound {
            self.tally.count();
            let holds = |view: &RouterView| {
                links(view).any(|(link, _)| matches!(link, LinkView::Remote { link, sublink: id, .. } if (link, id) == (*key, *sublink)))
            };
            if !snapshot.router(*process, *router).is_some_and(holds) {
                let text = format!("{sublink:?} of {key:?} in process {process} is bound to {router:?}, which does not hold it");
                return Err(Violation::new(NAME, "S4: whatever is bound is held", text).in_process(*process));
            }
        }
        Ok(())
    }

    /// G1, G2, G5: each pipe whose ends are held is one piece, and no other pipe's; of its central links one is in use at both ends, and one
    /// more for each bridge.
    fn pieces(&mut self, partners: &Partners, ghost: &Ghost, snapshot: &Snapshot) -> Checked {
        let graph = snapshot.graph();
        let piece_of = pieces(graph);
        let portals = snapshot.portals();
        let router = |end: EndId| router_of(ghost, &portals, end);
        let mut owners: BTreeMap<usize, EndId> = BTreeMap::new();
        for (a, pipe) in ghost.pipes() {
            let b = ghost.peer(a);
            let open = [a, b].into_iter().all(|end| matches!(ghost.end(end).place, Place::Held { .. }) && !ghost.end(end).saw_closed);
            if pipe.touched || pipe.tainted || !open {
                continue;
            }
            let (Some(x), Some(y)) = (router(a), router(b)) else { continue };
            let (Some(piece), Some(other)) = (piece_of.get(&x), piece_of.get(&y)) else { continue };
            self.tally.count();
            let no = |property, text: String| Err(Violation::new(NAME, property, text).at(a));
            if piece != other {
                let text = format!("no way of links leads from {a}, {x:?}, to {b}, {y:?}");
                return no("G2: a way leads from each portal to its peer", text);
            }
            if let Some(first) = owners.insert(*piece, a) {
                let text = format!("the routes of {first} and of {a} meet: {x:?} and {y:?}");
                return no("G5: the routes of two pipes never meet", text);
            }
        }
        let used = used(partners, snapshot, graph, &piece_of);
        for (piece, a) in owners {
            let (central, bridges) = used.get(&piece).copied().unwrap_or_default();
            if central > bridges + 1 {
                let text = format!("the route of {a} has {central} central links that both ends use, and {bridges} bridges");
                return Err(Violation::new(NAME, "G1: a route has one central link", text).at(a));
            }
        }
        Ok(())
    }
}

fn router_of(ghost: &Ghost, portals: &BTreeMap<(u32, Handle), RouterKey>, end: EndId) -> Option<Ref> {
    let at = ghost.holder(end)?;
    Some(Ref { process: at.0, router: *portals.get(&at)? })
}

fn bound(snapshot: &Snapshot) -> Bound {
    let live = snapshot.alive().flat_map(|(process, sight)| sight.links.iter().filter(|link| !link.dead).map(move |link| (process, link)));
    live.flat_map(|(process, link)| link.sublinks.iter().map(move |(id, router)| ((process, link.key, *id), *router))).collect()
}

/// The router at the other end of a link.
fn far(partners: &Partners, bound: &Bound, process: u32, link: &LinkView) -> Option<Ref> {
    match link {
        LinkView::Local { peer, .. } => peer.map(|router| Ref { process, router }),
        LinkView::Bridge { peer } => Some(Ref { process, router: *peer }),
        LinkView::Remote { link, sublink, .. } => {
            let (process, link) = partners.get(&(process, *link))?;
            Some(Ref { process: *process, router: *bound.get(&(*process, *link, *sublink))? })
        }
    }
}

/// Whether `other`, which the router at the far end of `link` holds, is the far end of it.
fn joined(partners: &Partners, here: Ref, link: &LinkView, other: &LinkView) -> bool {
    match (link, other) {
        (LinkView::Local { pair: a, .. }, LinkView::Local { pair: b, .. }) => a == b,
        (LinkView::Bridge { .. }, LinkView::Bridge { peer }) => *peer == here.router,
        (LinkView::Remote { link, sublink: a, .. }, LinkView::Remote { link: far, sublink: b, .. }) => {
            a == b && partners.get(&(here.process, *link)).is_some_and(|(_, partner)| partner == far)
        }
        _ => false,
    }
}

/// On what the two ends of a link do not agree.
fn disagree(link: &LinkView, other: &LinkView) -> Option<&'static str> {
    match (link, other) {
        (LinkView::Local { side: a, .. }, LinkView::Local { side: b, .. }) => (a == b).then_some("sides"),
        (
            LinkView::Remote { kind: k, side: a, state: s, .. }, //
            LinkView::Remote { kind: l, side: b, state: t, .. },
        ) => {
            let kinds = matches!(
                (k, l),
                (LinkKind::Central, LinkKind::Central)
                    | (LinkKind::PeripheralInward, LinkKind::PeripheralOutward)
                    | (LinkKind::PeripheralOutward, LinkKind::PeripheralInward)
            );
            let states = s.map(|state| state.at) == t.map(|state| state.at);
            if a == b {
                Some("sides")
            } else if !kinds {
                Some("kinds")
            } else {
                (!states).then_some("states")
            }
        }
        _ => None,
    }
}

/// Which piece of the graph each router is in.
fn pieces(graph: &Graph) -> BTreeMap<Ref, usize> {
    let mut piece_of = BTreeMap::new();
    for (piece, start) in graph.index.keys().enumerate() {
        let mut next = vec![*start];
        while let Some(at) = next.pop() {
            if piece_of.contains_key(&at) {
                continue;
            }
            piece_of.insert(at, piece);
            next.extend(graph.graph.neighbors(graph.index[&at]).map(|near| graph.graph[near]));
        }
    }
    piece_of
}

/// By piece: central links that are primary at both ends, and bridges.
fn used(partners: &Partners, snapshot: &Snapshot, graph: &Graph, piece_of: &BTreeMap<Ref, usize>) -> BTreeMap<usize, (usize, usize)> {
    let mut used: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    let mut bridges = BTreeSet::new();
    for edge in graph.graph.raw_edges() {
        let ends = [graph.graph[edge.source()], graph.graph[edge.target()]];
        let Some(piece) = piece_of.get(&ends[0]) else { continue };
        let counts = used.entry(*piece).or_default();
        let view = |at: Ref| snapshot.router(at.process, at.router);
        let [Some(a), Some(b)] = ends.map(view) else { continue };
        let inward = |router: &RouterView| router.inward.and_then(|edge| edge.primary.or(edge.decaying));
        let leads = |router: &RouterView, to: Ref| matches!(inward(router), Some(LinkView::Bridge { peer }) if peer == to.router);
        if ends[0].process == ends[1].process && leads(a, ends[1]) && leads(b, ends[0]) {
            counts.1 += usize::from(bridges.insert(ends[0].min(ends[1])));
            continue;
        }
        if let (Some(x), Some(y)) = (a.out.primary, b.out.primary)
            && central(&x)
            && central(&y)
            && joined(partners, ends[0], &x, &y)
            && edge.weight.kind != crate::run::LinkKind::Decaying
        {
            counts.0 += 1;
        }
    }
    used
}

fn central(link: &LinkView) -> bool {
    matches!(link, LinkView::Local { .. } | LinkView::Remote { kind: LinkKind::Central, .. })
}
