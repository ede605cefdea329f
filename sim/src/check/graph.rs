//! The route graph of a world: every router of every process, and the links between them (design.md 5).

use ipcz::ids::{LinkSide, RouterKey};
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
    /// Routers, each at its [`Snapshot::place`], and links.
    pub graph: UnGraph<Ref, Edge>,
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
        let mut found = Graph::default();
        for (process, sight) in snapshot.alive() {
            for router in &sight.routers {
                found.graph.add_node(Ref { process, router: router.key });
            }
        }
        let routers = snapshot.alive().flat_map(|(_, sight)| &sight.routers);
        for (near, router) in found.graph.node_indices().zip(routers) {
            for (link, decaying) in links(router) {
                found.add(snapshot, near, link, decaying);
            }
        }
        found
    }

    /// Adds a link, unless its other end, which sees it too, adds it.
    fn add(&mut self, snapshot: &Snapshot, near: NodeIndex, link: LinkView, decaying: bool) {
        let here = self.graph[near];
        let Some(far) = snapshot.far(here.process, &link).and_then(|far| Some((far, snapshot.place(far)?))) else {
            self.loose.push((here, link));
            return;
        };
        let (side, kind) = match link {
            LinkView::Local { side, .. } => (side, LinkKind::Local),
            LinkView::Bridge { peer } => (if here.router < peer { LinkSide::A } else { LinkSide::B }, LinkKind::Local),
            LinkView::Remote { side, kind: Kind::Central, .. } => (side, LinkKind::Central),
            LinkView::Remote { side, .. } => (side, LinkKind::Peripheral),
        };
        let seen_there = || snapshot.router(far.0.process, far.0.router).is_some_and(|router| links(router).any(|(l, _)| same(&link, &l)));
        if side == LinkSide::A || !seen_there() {
            let edge = Edge { kind: if decaying { LinkKind::Decaying } else { kind }, decaying };
            self.graph.add_edge(near, NodeIndex::new(far.1), edge);
        }
    }

    /// The routers that have a link with that one.
    pub fn neighbours(&self, snapshot: &Snapshot, at: Ref) -> impl Iterator<Item = Ref> + '_ {
        let place = snapshot.place(at).map(NodeIndex::new);
        place.into_iter().flat_map(|place| self.graph.neighbors(place)).map(|near| self.graph[near])
    }

    /// It as plain data, to be drawn; routers without links left out.
    pub fn data(&self, snapshot: &Snapshot) -> GraphData {
        let mut data = GraphData::default();
        let mut places = vec![None; self.graph.node_count()];
        for index in self.graph.node_indices() {
            let at = self.graph[index];
            let Some(router) = snapshot.router(at.process, at.router) else { continue };
            if self.graph.neighbors(index).next().is_some() {
                let kind = match router.inward {
                    None => RouterKind::Terminal,
                    Some(edge) if matches!(edge.primary.or(edge.decaying), Some(LinkView::Bridge { .. })) => RouterKind::Bridge,
                    Some(_) => RouterKind::Proxy,
                };
                places[index.index()] = Some(data.routers.len());
                data.routers.push((at.process, at.router, kind));
            }
        }
        for edge in self.graph.raw_edges() {
            if let (Some(a), Some(b)) = (places[edge.source().index()], places[edge.target().index()]) {
                data.links.push((a, b, edge.weight.kind));
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
