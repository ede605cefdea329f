//! What holds of links and of whole routes at every instant, even in the middle of a bypass: both ends of each link agree, and each route
//! is one piece (routing.md 19.1: S4, S6, L5, Q4, G1, G2, G5). It takes a look at a whole world, so small worlds are looked at now and then,
//! all at rest.

use std::collections::BTreeSet;

use ipcz::inspect::{EdgeView, LinkKind, LinkView, RouterView};
use petgraph::unionfind::UnionFind;

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

impl Routes {
    /// Its name.
    pub const NAME: &str = NAME;

    /// Looks at a world in which nobody lies; and before it is at rest, only if no link was cut.
    pub fn look(&mut self, ghost: &Ghost, snapshot: &Snapshot, scope: Scope) -> Checked {
        for (process, sight) in snapshot.alive() {
            for router in &sight.routers {
                for edge in [Some(router.out), router.inward].iter().flatten() {
                    for link in edge.primary.iter().chain(&edge.decaying) {
                        let here = Ref { process, router: router.key };
                        let far = snapshot.far(process, link).and_then(|far| snapshot.router(far.process, far.router));
                        self.link(snapshot, here, (edge, link), far, scope)?;
                    }
                }
            }
        }
        self.bindings(snapshot)?;
        if scope > Scope::Links { self.pieces(ghost, snapshot) } else { Ok(()) }
    }

    /// S6, L5, Q4: both ends of a link agree.
    fn link(
        &mut self,
        snapshot: &Snapshot,
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
                Some((edge, links.find(|other| joined(snapshot, here, link, other))?))
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
    fn bindings(&mut self, snapshot: &Snapshot) -> Checked {
        for (process, sight) in snapshot.alive() {
            for link in sight.links.iter().filter(|link| !link.dead) {
                for (sublink, router) in &link.sublinks {
                    self.tally.count();
                    let held = (link.key, *sublink);
                    let is_it = |(link, _)| matches!(link, LinkView::Remote { link, sublink, .. } if (link, sublink) == held);
                    if !snapshot.router(process, *router).is_some_and(|router| links(router).any(is_it)) {
                        let text =
                            format!("{sublink:?} of {:?} in process {process} is bound to {router:?}, which does not hold it", link.key);
                        return Err(Violation::new(NAME, "S4: whatever is bound is held", text).in_process(process));
                    }
                }
            }
        }
        Ok(())
    }

    /// G1, G2, G5: each pipe whose ends are held is one piece, and no other pipe's; of its central links one is in use at both ends, and one
    /// more for each bridge.
    fn pieces(&mut self, ghost: &Ghost, snapshot: &Snapshot) -> Checked {
        let graph = snapshot.graph();
        let piece_of = pieces(graph);
        let router = |end: EndId| {
            let (process, handle) = ghost.holder(end)?;
            Some(Ref { process, router: snapshot.portal(process, handle)?.key })
        };
        let mut owners: Vec<Option<EndId>> = vec![None; piece_of.len()];
        for (a, pipe) in ghost.pipes() {
            let b = ghost.peer(a);
            let open = [a, b].into_iter().all(|end| matches!(ghost.end(end).place, Place::Held { .. }) && !ghost.end(end).saw_closed);
            if pipe.touched || pipe.tainted || !open {
                continue;
            }
            let (Some(x), Some(y)) = (router(a), router(b)) else { continue };
            let (Some(piece), Some(other)) = (snapshot.place(x), snapshot.place(y)) else { continue };
            let (piece, other) = (piece_of[piece], piece_of[other]);
            self.tally.count();
            let no = |property, text: String| Err(Violation::new(NAME, property, text).at(a));
            if piece != other {
                let text = format!("no way of links leads from {a}, {x:?}, to {b}, {y:?}");
                return no("G2: a way leads from each portal to its peer", text);
            }
            if let Some(first) = owners[piece].replace(a) {
                let text = format!("the routes of {first} and of {a} meet: {x:?} and {y:?}");
                return no("G5: the routes of two pipes never meet", text);
            }
        }
        let used = used(snapshot, graph, &piece_of);
        for (owner, (central, bridges)) in owners.into_iter().zip(used) {
            let Some(a) = owner else { continue };
            if central > bridges + 1 {
                let text = format!("the route of {a} has {central} central links that both ends use, and {bridges} bridges");
                return Err(Violation::new(NAME, "G1: a route has one central link", text).at(a));
            }
        }
        Ok(())
    }
}

/// Whether `other`, which the router at the far end of `link` holds, is the far end of it.
fn joined(snapshot: &Snapshot, here: Ref, link: &LinkView, other: &LinkView) -> bool {
    match (link, other) {
        (LinkView::Local { pair: a, .. }, LinkView::Local { pair: b, .. }) => a == b,
        (LinkView::Bridge { .. }, LinkView::Bridge { peer }) => *peer == here.router,
        (LinkView::Remote { link, sublink: a, .. }, LinkView::Remote { link: far, sublink: b, .. }) => {
            a == b && snapshot.partner(here.process, *link).is_some_and(|(_, partner)| partner == *far)
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
fn pieces(graph: &Graph) -> Vec<usize> {
    let mut pieces = UnionFind::new(graph.graph.node_count());
    for edge in graph.graph.raw_edges() {
        pieces.union(edge.source().index(), edge.target().index());
    }
    pieces.into_labeling()
}

/// By piece: central links that are primary at both ends, and bridges.
fn used(snapshot: &Snapshot, graph: &Graph, piece_of: &[usize]) -> Vec<(usize, usize)> {
    let mut used = vec![(0, 0); piece_of.len()];
    let mut bridges = BTreeSet::new();
    for edge in graph.graph.raw_edges() {
        let counts = &mut used[piece_of[edge.source().index()]];
        let ends = [graph.graph[edge.source()], graph.graph[edge.target()]];
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
            && joined(snapshot, ends[0], &x, &y)
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
