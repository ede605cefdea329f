//! The route graph of a world: every router of every process, and the links between them (design.md 5).

use std::collections::BTreeMap;

use ipcz::ids::{LinkKey, LinkSide, RouterKey, SublinkId};
use ipcz::inspect::{LinkKind as Kind, LinkView, RouterView};
use petgraph::graph::{NodeIndex, UnGraph};

use super::snapshot::Snapshot;
use crate::run::{GraphData, LinkKind, RouterKind};

/// A router, by its process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ref {
    /// The process.
    pub process: u32,
    /// The router in it.
    pub router: RouterKey,
}

/// A link as one of its ends, the first one, sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edge {
    /// What it is to that end.
    pub kind: LinkKind,
    /// Whether that end is about to give it up.
    pub decaying: bool,
}

/// The graph. Each link is there once; a link whose far end no router has is not there but in `loose`.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Routers and links.
    pub graph: UnGraph<Ref, Edge>,
    /// Where each router is in it.
    pub index: BTreeMap<Ref, NodeIndex>,
    /// Links that lead nowhere.
    pub loose: Vec<(Ref, LinkView)>,
}

/// Every link a router holds, and whether it is decaying.
pub fn links(router: &RouterView) -> impl Iterator<Item = (LinkView, bool)> {
    let edges = [Some(router.out), router.inward];
    edges.into_iter().flatten().flat_map(|edge| edge.primary.map(|l| (l, false)).into_iter().chain(edge.decaying.map(|l| (l, true))))
}

impl Graph {
    /// The graph of what is seen.
    pub fn of(snapshot: &Snapshot) -> Graph {
        let partners = snapshot.partners();
        let mut found = Graph::default();
        for (process, sight) in snapshot.alive() {
            for router in &sight.routers {
                let at = Ref { process, router: router.key };
                found.index.insert(at, found.graph.add_node(at));
            }
        }
        let bound: BTreeMap<(u32, LinkKey, SublinkId), RouterKey> = snapshot
            .alive()
            .flat_map(|(process, sight)| {
                sight.links.iter().flat_map(move |link| link.sublinks.iter().map(move |(id, router)| ((process, link.key, *id), *router)))
            })
            .collect();
        for (process, sight) in snapshot.alive() {
            for router in &sight.routers {
                let here = Ref { process, router: router.key };
                for (link, decaying) in links(router) {
                    let far = match link {
                        LinkView::Local { peer, .. } => peer.map(|router| Ref { process, router }),
                        LinkView::Bridge { peer } => Some(Ref { process, router: peer }),
                        LinkView::Remote { link, sublink, .. } => partners
                            .get(&(process, link))
                            .and_then(|(process, link)| Some(Ref { process: *process, router: *bound.get(&(*process, *link, sublink))? })),
                    };
                    found.add(snapshot, here, far, link, decaying);
                }
            }
        }
        found
    }

    /// Adds a link, unless its other end, which sees it too, adds it.
    fn add(&mut self, snapshot: &Snapshot, here: Ref, far: Option<Ref>, link: LinkView, decaying: bool) {
        let Some(there) = far.and_then(|far| self.index.get(&far).map(|index| (far, *index))) else {
            self.loose.push((here, link));
            return;
        };
        let (side, kind) = match link {
            LinkView::Local { side, .. } => (side, LinkKind::Local),
            LinkView::Bridge { peer } => (if here.router < peer { LinkSide::A } else { LinkSide::B }, LinkKind::Local),
            LinkView::Remote { side, kind: Kind::Central, .. } => (side, LinkKind::Central),
            LinkView::Remote { side, .. } => (side, LinkKind::Peripheral),
        };
        let seen_there = snapshot.router(there.0.process, there.0.router).is_some_and(|router| links(router).any(|(l, _)| same(&link, &l)));
        if side == LinkSide::A || !seen_there {
            let edge = Edge { kind: if decaying { LinkKind::Decaying } else { kind }, decaying };
            self.graph.add_edge(self.index[&here], there.1, edge);
        }
    }

    /// It as plain data, to be drawn; routers without links left out.
    pub fn data(&self, snapshot: &Snapshot) -> GraphData {
        let mut data = GraphData::default();
        let mut place = BTreeMap::new();
        for (at, index) in &self.index {
            let Some(router) = snapshot.router(at.process, at.router) else { continue };
            if self.graph.neighbors(*index).next().is_some() {
                let kind = match router.inward {
                    None => RouterKind::Terminal,
                    Some(edge) if matches!(edge.primary.or(edge.decaying), Some(LinkView::Bridge { .. })) => RouterKind::Bridge,
                    Some(_) => RouterKind::Proxy,
                };
                place.insert(*index, data.routers.len());
                data.routers.push((at.process, format!("{:?}", at.router), kind));
            }
        }
        for edge in self.graph.raw_edges() {
            if let (Some(a), Some(b)) = (place.get(&edge.source()), place.get(&edge.target())) {
                data.links.push((*a, *b, edge.weight.kind));
            }
        }
        data
    }
}

/// Whether two routers' views are of one link.
fn same(a: &LinkView, b: &LinkView) -> bool {
    match (a, b) {
        (LinkView::Local { pair: a, side: x, .. }, LinkView::Local { pair: b, side: y, .. }) => a == b && x != y,
        (LinkView::Remote { sublink: a, side: x, .. }, LinkView::Remote { sublink: b, side: y, .. }) => a == b && x != y,
        (LinkView::Bridge { peer: a }, LinkView::Bridge { peer: b }) => a != b,
        _ => false,
    }
}
