//! At rest every route has the shortest form there is: two routers, one central link, stable and unlocked, nothing decaying, no
//! proxy (routing.md 19: E1, E2, E3, E4, E10).

use std::collections::BTreeSet;

use ipcz::ids::{Handle, LinkKey, RouterKey};
use ipcz::inspect::{LinkKind, LinkView, RouterView};

use super::broken::LIE;
use super::graph::{Ref, links};
use super::snapshot::Snapshot;
use super::{Checked, Tally, Violation};
use crate::ghost::{EndId, Ghost, Place};

const NAME: &str = "shape";
const NO_MEMORY: &str = "proxy that found no link memory";

/// A status word with both sides stable and nothing else.
const STABLE: u32 = 0x03;

/// The checker.
#[derive(Clone, Default, Debug)]
pub struct Shape {
    /// Its counts.
    pub tally: Tally,
    /// Link memory may have been short: a proxy may have waited for it in vain.
    pub scarce: bool,
    /// Routers of which nothing was known at rest: what lies have left behind.
    pub suspects: BTreeSet<Ref>,
}

impl Shape {
    /// Its name.
    pub const NAME: &str = NAME;

    /// Looks at every router of a world at rest.
    pub fn rest(&mut self, ghost: &Ghost, snapshot: &Snapshot) -> Checked {
        let suspects = suspects(ghost, snapshot);
        let starved = if self.scarce { starved(snapshot) } else { BTreeSet::new() };
        for (process, sight) in snapshot.alive() {
            for router in &sight.routers {
                if suspects.contains(&Ref { process, router: router.key }) {
                    self.tally.exempt(LIE);
                    continue;
                }
                if starved.contains(&Ref { process, router: router.key }) {
                    self.tally.exempt(NO_MEMORY);
                    continue;
                }
                self.router(snapshot, process, router)?;
            }
            for link in sight.links.iter().filter(|link| link.established && !link.dead) {
                let honest: Vec<_> =
                    link.sublinks.iter().filter(|(_, router)| !suspects.contains(&Ref { process, router: *router })).copied().collect();
                self.sublinks(snapshot, process, link.key, &honest)?;
            }
        }
        for (a, _) in ghost.pipes() {
            let holder = ghost.holder(a).filter(|_| !starved.is_empty());
            let router = holder.and_then(|(process, handle)| Some(Ref { process, router: snapshot.portal(process, handle)?.key }));
            if router.is_some_and(|router| starved.contains(&router)) {
                self.tally.exempt(NO_MEMORY);
                continue;
            }
            self.route(ghost, snapshot, a)?;
        }
        self.suspects = suspects;
        Ok(())
    }

    /// A router by itself: a terminal, on at most one link, which is central, stable, unlocked and awaited by nobody.
    fn router(&mut self, snapshot: &Snapshot, process: u32, router: &RouterView) -> Checked {
        self.tally.count();
        let no = |property, text: String| Err(Violation::new(NAME, property, text).in_process(process));
        let key = router.key;
        if let Some(inward) = router.inward {
            if self.joins_two_nodes(snapshot, process, router) {
                self.tally.exempt("proxy between two nodes of one process");
                return Ok(());
            }
            if let Some(text) = witness(snapshot, process, router) {
                return no("E10: whatever can be bypassed is", text);
            }
            let text = format!("{key:?} in process {process} is still a proxy: outward {:?}, inward {inward:?}", router.out);
            return no("E2: no proxy is left", text);
        }
        if let Some((link, _)) = links(router).find(|(_, decaying)| *decaying) {
            return no("E2: no link is left decaying", format!("{key:?} in process {process} has not finished with {link:?}"));
        }
        let Some(primary) = router.out.primary else {
            if router.held && !router.peer_closed && !router.disconnected {
                return no("E1: a route has a central link", format!("{key:?} in process {process} is open and has no link"));
            }
            if !router.held {
                return no("E5: a router has an owner or a link", format!("{key:?} in process {process} has neither, and is still there"));
            }
            return Ok(());
        };
        let status = match primary {
            LinkView::Local { status, peer: Some(_), .. } => Some(status),
            LinkView::Local { peer: None, .. } => {
                return no("E1: a link has two ends", format!("{key:?} in process {process} has lost its local peer"));
            }
            LinkView::Remote { kind: LinkKind::Central, status, link, sublink, .. } => {
                if snapshot.far(process, &primary).is_none() {
                    let text = format!("{key:?} in process {process} is on {sublink:?} of {link:?}, which is not bound at the other end");
                    return no("E1: a link has two ends", text);
                }
                status
            }
            LinkView::Remote { .. } | LinkView::Bridge { .. } => {
                return no(
                    "E1: the link of a route is central",
                    format!("{key:?} in process {process} is on the peripheral link {primary:?}"),
                );
            }
        };
        if status != Some(STABLE) {
            let text = format!("the link state of {key:?} in process {process} is {status:02x?}, not {STABLE:#04x}");
            return no("E3: links are stable, unlocked and awaited by nobody", text);
        }
        Ok(())
    }

    fn joins_two_nodes(&self, snapshot: &Snapshot, process: u32, router: &RouterView) -> bool {
        let sight = snapshot.processes[process as usize].as_ref();
        let node = |link: LinkView| match link {
            LinkView::Remote { link, .. } => sight?.links.iter().find(|l| l.key == link).map(|l| l.node),
            LinkView::Local { .. } | LinkView::Bridge { .. } => None,
        };
        let inward = router.inward.and_then(|edge| match edge.primary? {
            LinkView::Bridge { peer } => node(snapshot.router(process, peer)?.out.primary?),
            link => node(link),
        });
        let outward = router.out.primary.and_then(node);
        inward.is_some() && outward.is_some() && inward != outward
    }

    /// E4: what is bound is used.
    fn sublinks(&mut self, snapshot: &Snapshot, process: u32, key: LinkKey, bound: &[(ipcz::ids::SublinkId, RouterKey)]) -> Checked {
        for (id, router) in bound {
            self.tally.count();
            let uses = |(link, _)| matches!(link, LinkView::Remote { link, sublink, .. } if link == key && sublink == *id);
            if !snapshot.router(process, *router).is_some_and(|router| links(router).any(uses)) {
                let text = format!("{id:?} of {key:?} in process {process} is bound to {router:?}, which does not use it");
                return Err(Violation::new(NAME, "E4: bound sublinks belong to live routes", text).in_process(process));
            }
        }
        Ok(())
    }

    /// E1: the two ends of a healthy pipe are on one link.
    fn route(&mut self, ghost: &Ghost, snapshot: &Snapshot, a: EndId) -> Checked {
        let b = ghost.peer(a);
        let ends = [a, b].map(|end| (ghost.end(end), ghost.holder(end)));
        let [(near, Some(here)), (far, Some(there))] = ends else {
            if ends.iter().any(|(end, _)| matches!(end.place, Place::Carried { .. })) {
                self.tally.exempt("end in an unread parcel");
            }
            return Ok(());
        };
        if near.saw_closed || far.saw_closed {
            return Ok(());
        }
        if ghost.pipe(a).tainted {
            self.tally.exempt(LIE);
            return Ok(());
        }
        self.tally.count();
        match direct(snapshot, here, there) {
            Ok(()) => Ok(()),
            Err(text) => Err(Violation::new(NAME, "E1: the two ends of a pipe are on one link", format!("{a} and {b}: {text}")).at(a)),
        }
    }
}

/// Routers of routes that end where a proxy has a peer in its own process and found no memory to let it go (routing.md 18, D6).
fn starved(snapshot: &Snapshot) -> BTreeSet<Ref> {
    let graph = snapshot.graph();
    let mut found = BTreeSet::new();
    let local = |router: &RouterView| router.inward.is_some() && matches!(router.out.primary, Some(LinkView::Local { .. }));
    let proxies = snapshot.alive().flat_map(|(process, sight)| {
        sight.routers.iter().filter(|router| local(router)).map(move |router| Ref { process, router: router.key })
    });
    let mut next: Vec<Ref> = proxies.collect();
    while let Some(at) = next.pop() {
        if found.insert(at) {
            next.extend(graph.neighbours(snapshot, at));
        }
    }
    found
}

/// Routers of which nothing is known: what is left of a route that a lie touched, from its portals or without any.
fn suspects(ghost: &Ghost, snapshot: &Snapshot) -> BTreeSet<Ref> {
    let mut suspects = BTreeSet::new();
    if !ghost.any_tainted() {
        return suspects;
    }
    let graph = snapshot.graph();
    let mut honest: Vec<_> = Vec::new();
    for (end, state) in ghost.ends() {
        // A portal in a parcel of an honest pipe has no handle: its router is known by the parcel that carries it.
        if let Place::Held { process, handle } = state.place
            && !ghost.pipe(end).tainted
            && let Some(router) = snapshot.portal(process, handle)
        {
            honest.push(Ref { process, router: router.key });
        }
    }
    let mut known = BTreeSet::new();
    while let Some(at) = honest.pop() {
        if !known.insert(at) {
            continue;
        }
        honest.extend(graph.neighbours(snapshot, at));
        let carried = snapshot.router(at.process, at.router).map(|router| router.carried.clone()).unwrap_or_default();
        honest.extend(carried.into_iter().map(|router| Ref { process: at.process, router }));
    }
    suspects.extend(graph.graph.node_weights().filter(|at| !known.contains(at)));
    suspects
}

/// Whether two portals are on the two ends of one stable, unlocked central link; else why not.
pub(super) fn direct(snapshot: &Snapshot, here: (u32, Handle), there: (u32, Handle)) -> Result<(), String> {
    let find = |at: (u32, Handle)| snapshot.portal(at.0, at.1).ok_or_else(|| format!("process {} has no router for {:?}", at.0, at.1));
    let (a, b) = (find(here)?, find(there)?);
    match (a.out.primary, b.out.primary) {
        (Some(LinkView::Local { pair: x, side: s, status, .. }), Some(LinkView::Local { pair: y, side: t, .. }))
            if here.0 == there.0 && x == y && s != t && status == STABLE =>
        {
            Ok(())
        }
        (
            Some(LinkView::Remote { link: k, sublink: x, side: s, status: v, kind: LinkKind::Central, .. }),
            Some(LinkView::Remote { link: l, sublink: y, side: t, status: w, kind: LinkKind::Central, .. }),
        ) if x == y && s != t && v == Some(STABLE) && w == v && snapshot.partner(here.0, k) == Some((there.0, l)) => Ok(()),
        (x, y) => Err(format!("{:?} in process {} has {x:?}, {:?} in process {} has {y:?}", a.key, here.0, b.key, there.0)),
    }
}

/// E10: a proxy or a bridge that could be bypassed at once.
fn witness(snapshot: &Snapshot, process: u32, router: &RouterView) -> Option<String> {
    let free = |router: &RouterView| {
        matches!(
            router.out.primary,
            Some(LinkView::Local { status: STABLE, .. } | LinkView::Remote { kind: LinkKind::Central, status: Some(STABLE), .. })
        )
    };
    let inward = router.inward?.primary?;
    let stuck = match inward {
        LinkView::Bridge { peer } => !free(snapshot.router(process, peer)?),
        _ => false,
    };
    (free(router) && !stuck).then(|| {
        let key = router.key;
        format!("{key:?} in process {process} has a stable, unlocked central link and the inward link {inward:?}, and nobody bypasses it")
    })
}
