//! What holds of a router after every step, even in the middle of a bypass (routing.md 19.1: S1 to S4, L1 to L5, Q3, Q6, G3, T1, T2).
//! After each step of a small world the router that it flushed is looked at, in a big one now and then; further all portals in turn, and
//! the proxies of a process that is not too big: looking at all of them each time would cost more than the step itself.

use std::collections::BTreeMap;

use ipcz::ids::{LinkKey, LinkSide, RouterKey, SublinkId};
use ipcz::inspect::{EdgeView, LinkKind, LinkView, QueueView, RouterView, StateView, View};

use super::{Checked, Tally, Violation};

const NAME: &str = "steps";

/// Stable bits of a status word.
const STABLE: u32 = 0x03;
/// Lock bits of a status word.
const LOCKS: u32 = 0x30;
/// Routers that are remembered; if there are more, all are forgotten.
const MANY: usize = 1 << 12;

/// What is wrong with a router: the property, and what was found.
type Fault = (&'static str, String);

/// The checker.
#[derive(Clone, Default, Debug)]
pub struct Steps {
    /// Its counts.
    pub tally: Tally,
    /// What is seen is remembered of every router; else only while it has decaying links.
    pub thorough: bool,
    /// What was last seen of routers.
    seen: BTreeMap<(u32, RouterKey), Seen>,
}

/// What must not change while the same links are held.
#[derive(Clone, Debug)]
struct Seen {
    inward: bool,
    edges: [EdgeView; 2],
}

impl Steps {
    /// Its name.
    pub const NAME: &str = NAME;

    /// The nodes and node links of a process that has just carried out an input (nodes.md 14: I2 to I6, I24).
    pub fn nodes(&mut self, process: u32, view: &View<'_>) -> Checked {
        self.tally.count();
        let property = "a node's tables agree with each other";
        view.check_nodes().map_err(|text| Violation::new(NAME, property, format!("process {process}: {text}")).in_process(process))
    }

    /// A router of a process that has just carried out an input; `bound` says which router a sublink is bound to.
    pub fn router(
        &mut self,
        process: u32,
        router: &RouterView,
        bound: impl Fn(LinkKey, SublinkId) -> Option<RouterKey>,
        lied_to: bool,
    ) -> Checked {
        self.tally.count();
        let fault = fault(router).or_else(|| unbound(router, bound)).or_else(|| self.changed(process, router));
        self.judge(process, router, fault, lied_to)
    }

    /// Parcel `number` has come over a sublink that is bound to this router now. What a bridge still passes on into a route whose far end
    /// is closed was counted by nobody: it comes from inside, and is for nobody.
    pub fn parcel(&mut self, process: u32, router: &RouterView, at: (LinkKey, SublinkId), number: u64, lied_to: bool) -> Checked {
        self.tally.count();
        let closed = router.inbound.final_length.is_some();
        let edges = [Some(router.out), router.inward.filter(|_| !closed)];
        let fault = edges.iter().flatten().find_map(|edge| {
            let from = edge.length_from?;
            let wrong = (is_at(edge.decaying, at) && number >= from) || (is_at(edge.primary, at) && number < from);
            wrong.then(|| ("Q3: each parcel takes the link that it was counted for", format!("parcel {number} came over {at:?}: {edge:?}")))
        });
        self.judge(process, router, fault, lied_to)
    }

    fn judge(&mut self, process: u32, router: &RouterView, fault: Option<Fault>, lied_to: bool) -> Checked {
        match fault {
            None => Ok(()),
            Some((property, _)) if lied_to && property.starts_with(['L', 'Q', 'G']) => {
                self.tally.exempt("what a liar may have written or said");
                Ok(())
            }
            Some((property, text)) => {
                Err(Violation::new(NAME, property, format!("{:?} in process {process}: {text}", router.key)).in_process(process))
            }
        }
    }

    /// What has changed since this router was last seen and must not have.
    fn changed(&mut self, process: u32, router: &RouterView) -> Option<Fault> {
        let at = (process, router.key);
        let edges = [router.out, router.inward.unwrap_or(NO_LINKS)];
        if !self.thorough && edges.iter().all(|edge| edge.decaying.is_none()) {
            return None;
        }
        if self.seen.len() >= MANY {
            self.seen.clear();
        }
        let before = self.seen.insert(at, Seen { inward: router.inward.is_some(), edges })?;
        if before.inward && router.inward.is_none() {
            return Some(("S1: a proxy never becomes a portal again", format!("{router:?}")));
        }
        before.edges.iter().zip(&edges).find_map(|(old, new)| turned(old, new))
    }
}

const NO_LINKS: EdgeView = EdgeView { primary: None, decaying: None, length_to: None, length_from: None };

/// What changed of an edge that must not have.
fn turned(old: &EdgeView, new: &EdgeView) -> Option<Fault> {
    let same = |a: &Option<LinkView>, b: &Option<LinkView>| matches!((a, b), (Some(a), Some(b)) if is_one(a, b));
    if same(&old.decaying, &new.decaying) {
        let kept = |old: Option<u64>, new| old.is_none() || old == new;
        if !kept(old.length_to, new.length_to) || !kept(old.length_from, new.length_from) {
            return Some(("S3: the lengths of a decaying link are set once", format!("{old:?} became {new:?}")));
        }
    }
    let stable = |link: &Option<LinkView>| link.as_ref().and_then(status).map_or(0, |word| word & STABLE);
    [&new.primary, &new.decaying].into_iter().find_map(|now| {
        let then = [&old.primary, &old.decaying].into_iter().find(|then| same(then, now))?;
        let lost = status(now.as_ref()?).is_some() && stable(then) & !stable(now) != 0;
        lost.then(|| ("L1: a side that is stable stays stable", format!("{then:?} became {now:?}")))
    })
}

/// Whether two views are of one end of one link.
fn is_one(a: &LinkView, b: &LinkView) -> bool {
    match (a, b) {
        (LinkView::Local { pair: a, side: x, .. }, LinkView::Local { pair: b, side: y, .. }) => a == b && x == y,
        (LinkView::Remote { link: a, sublink: x, .. }, LinkView::Remote { link: b, sublink: y, .. }) => a == b && x == y,
        (LinkView::Bridge { peer: a }, LinkView::Bridge { peer: b }) => a == b,
        _ => false,
    }
}

fn is_at(link: Option<LinkView>, at: (LinkKey, SublinkId)) -> bool {
    matches!(link, Some(LinkView::Remote { link, sublink, .. }) if (link, sublink) == at)
}

fn status(link: &LinkView) -> Option<u32> {
    match link {
        LinkView::Local { status, .. } => Some(*status),
        LinkView::Remote { status, .. } => *status,
        LinkView::Bridge { .. } => None,
    }
}

fn fault(router: &RouterView) -> Option<Fault> {
    if router.inward.is_some() && router.portal.is_some() {
        return Some(("S1: a terminal has no inward edge", format!("it has both the portal {:?} and {:?}", router.portal, router.inward)));
    }
    if router.status_dead && !router.status_peer_closed {
        return Some(("T1: who is dead has a closed peer", "DEAD without PEER_CLOSED".into()));
    }
    if router.traps > 0 && (router.inward.is_some() || router.closed) {
        return Some(("T2: only an open portal has traps", format!("{} traps: {router:?}", router.traps)));
    }
    let inward = |link: &LinkView| matches!(link, LinkView::Remote { kind: LinkKind::PeripheralInward, .. } | LinkView::Bridge { .. });
    edge(&router.out, |link| !inward(link))
        .or_else(|| edge(router.inward.as_ref()?, inward))
        .or_else(|| queue(&router.inbound))
        .or_else(|| queue(&router.outbound))
        .or_else(|| early(router))
        .or_else(|| leaving(router))
}

/// S4: each link to another node is bound to the router that holds it.
fn unbound(router: &RouterView, bound: impl Fn(LinkKey, SublinkId) -> Option<RouterKey>) -> Option<Fault> {
    let edges = [Some(router.out), router.inward];
    edges.iter().flatten().flat_map(|edge| edge.primary.into_iter().chain(edge.decaying)).find_map(|link| {
        let LinkView::Remote { link: at, sublink, .. } = link else { return None };
        let to = bound(at, sublink);
        (to != Some(router.key)).then(|| ("S4: a router's link is bound to it", format!("{link:?} is bound to {to:?}")))
    })
}

/// G3: what is inward begins to decay only at a router that leaves its outward link too, or where the peer is closed (routing.md 10.3),
/// and nothing takes its place.
fn leaving(router: &RouterView) -> Option<Fault> {
    let inward = router.inward.filter(|edge| edge.decaying.is_some())?;
    (inward.primary.is_some() || (router.out.primary.is_some() && !known_end(router)))
        .then(|| ("G3: links decay only where a bypass, a split or a closure leaves them", format!("{router:?}")))
}

fn early(router: &RouterView) -> Option<Fault> {
    let side = marked_stable(&router.out)?;
    let inward = router.inward.is_some_and(|edge| edge.decaying.is_some()) && !known_end(router);
    (router.out.decaying.is_some() || inward)
        .then(|| ("L2: who is stable has nothing decaying", format!("side {side:?} of its outward link is stable: {router:?}")))
}

/// The side of a central primary link that is marked stable, if it is.
fn marked_stable(edge: &EdgeView) -> Option<LinkSide> {
    let (side, status) = match edge.primary? {
        LinkView::Local { side, status, .. } => (side, status),
        LinkView::Remote { side, status, .. } => (side, status?),
        LinkView::Bridge { .. } => return None,
    };
    (status & bit(side) != 0).then_some(side)
}

/// The stable bit of a side; its waiting bit is the next but one.
fn bit(side: LinkSide) -> u32 {
    if side == LinkSide::A { 1 } else { 2 }
}

/// A proxy whose peer had closed when it became one leaves its inward link at once, and keeps its outward one (routing.md 10.3).
fn known_end(router: &RouterView) -> bool {
    router.inbound.final_length.is_some()
}

fn edge(edge: &EdgeView, belongs: impl Fn(&LinkView) -> bool) -> Option<Fault> {
    if let Some(link) = edge.primary.iter().chain(&edge.decaying).find(|link| !belongs(link)) {
        return Some(("S2: an edge has only links of its own kind", format!("{link:?} is on the wrong edge")));
    }
    if let (Some(primary), Some(decaying)) = (&edge.primary, &edge.decaying)
        && is_one(primary, decaying)
    {
        return Some(("S2: an edge's links are distinct", format!("{:?} is primary and decaying", edge.primary)));
    }
    if let Some(link) = edge.decaying.filter(|link| status(link).is_some_and(|word| word & LOCKS == 0)) {
        return Some(("L3: a central link is locked before it decays", format!("{link:?} decays and is not locked")));
    }
    edge.primary.iter().chain(&edge.decaying).find_map(state)
}

/// What is wrong with the state of a link.
fn state(link: &LinkView) -> Option<Fault> {
    let word = status(link)?;
    if word & LOCKS == LOCKS || (word & LOCKS != 0 && word & STABLE != STABLE) {
        return Some(("L1: one side at most locks a link, and only a stable one", format!("the status word is {word:#04x}")));
    }
    if [LinkSide::A, LinkSide::B].into_iter().any(|side| word & (bit(side) << 2) != 0 && word & bit(side) == 0) {
        return Some(("L4: only a stable side waits", format!("the status word is {word:#04x}")));
    }
    if let LinkView::Remote { state: Some(StateView { references: Some(references), .. }), .. } = link
        && *references < 1
    {
        return Some(("L5: who holds a link has a reference on its state", format!("{link:?}")));
    }
    None
}

fn queue(queue: &QueueView) -> Option<Fault> {
    let counts = queue.next + queue.available as u64 == queue.length;
    let ends = queue.final_length.is_none_or(|last| queue.length <= last);
    (!counts || !ends).then(|| ("Q6: next <= length <= final, and what is available lies between", format!("{queue:?}")))
}
