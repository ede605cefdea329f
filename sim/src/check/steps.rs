//! What holds of a router after every step, even in the middle of a bypass (routing.md 19.1: S1, S2, L1, L2, Q6, T1). Each step looks at
//! one router of the process that it touched, all portals in turn and now and
//! then the proxies of a process that is not too big: looking at all of them would cost more than the step itself.

use ipcz::ids::LinkSide;
use ipcz::inspect::{EdgeView, LinkKind, LinkView, QueueView, RouterView, View};

use super::{Checked, Tally, Violation};

const NAME: &str = "steps";

/// Lock bits of a status word.
const LOCKS: u32 = 0x30;
/// Stable bits of a status word.
const STABLE: u32 = 0x03;

/// The checker.
#[derive(Clone, Default, Debug)]
pub struct Steps {
    /// Its counts.
    pub tally: Tally,
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

    /// A router of a process that has just carried out an input.
    pub fn router(&mut self, process: u32, router: &RouterView, lied_to: bool) -> Checked {
        self.tally.count();
        match fault(router) {
            None => Ok(()),
            Some((property, _)) if lied_to && property.starts_with('L') => {
                self.tally.exempt("shared words that a liar may have written");
                Ok(())
            }
            Some((property, text)) => {
                Err(Violation::new(NAME, property, format!("{:?} in process {process}: {text}", router.key)).in_process(process))
            }
        }
    }
}

fn fault(router: &RouterView) -> Option<(&'static str, String)> {
    if router.inward.is_some() && router.portal.is_some() {
        return Some(("S1: a terminal has no inward edge", format!("it has both the portal {:?} and {:?}", router.portal, router.inward)));
    }
    if router.status_dead && !router.status_peer_closed {
        return Some(("T1: who is dead has a closed peer", "DEAD without PEER_CLOSED".into()));
    }
    let inward = |link: &LinkView| matches!(link, LinkView::Remote { kind: LinkKind::PeripheralInward, .. } | LinkView::Bridge { .. });
    edge(&router.out, |link| !inward(link))
        .or_else(|| edge(router.inward.as_ref()?, inward))
        .or_else(|| queue(&router.inbound))
        .or_else(|| queue(&router.outbound))
        .or_else(|| early(router))
}

fn early(router: &RouterView) -> Option<(&'static str, String)> {
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
    let bit = if side == LinkSide::A { 1 } else { 2 };
    (status & bit != 0).then_some(side)
}

/// A proxy whose peer had closed when it became one leaves its inward link at once, and keeps its outward one (routing.md 10.3).
fn known_end(router: &RouterView) -> bool {
    router.inbound.final_length.is_some()
}

fn edge(edge: &EdgeView, belongs: impl Fn(&LinkView) -> bool) -> Option<(&'static str, String)> {
    if let Some(link) = edge.primary.iter().chain(&edge.decaying).find(|link| !belongs(link)) {
        return Some(("S2: an edge has only links of its own kind", format!("{link:?} is on the wrong edge")));
    }
    if edge.primary.is_some() && edge.primary == edge.decaying {
        return Some(("S2: an edge's links are distinct", format!("{:?} is primary and decaying", edge.primary)));
    }
    let status = |link: &LinkView| match link {
        LinkView::Local { status, .. } => Some(*status),
        LinkView::Remote { status, .. } => *status,
        LinkView::Bridge { .. } => None,
    };
    let bad = |status: &u32| status & LOCKS == LOCKS || (status & LOCKS != 0 && status & STABLE != STABLE);
    let status = edge.primary.iter().chain(&edge.decaying).filter_map(status).find(bad)?;
    Some(("L1: one side at most locks a link, and only a stable one", format!("the status word is {status:#04x}")))
}

fn queue(queue: &QueueView) -> Option<(&'static str, String)> {
    let counts = queue.next + queue.available as u64 == queue.length;
    let ends = queue.final_length.is_none_or(|last| queue.length <= last);
    (!counts || !ends).then(|| ("Q6: next <= length <= final, and what is available lies between", format!("{queue:?}")))
}
