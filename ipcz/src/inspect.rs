//! Read-only views of a process's core, for checkers, reports and tests (feature `inspect`). No stable interface.

#![allow(missing_docs, reason = "the fields are the words of routing.md 6 and nodes.md 1")]

use crate::core::{Core, Entry};
use crate::ids::{FragmentDescriptor, Handle, LinkKey, LinkSide, NodeKey, NodeName, NodeType, PairKey, RouterKey, SublinkId};
use crate::memory::{Opened, Origin, status};
use crate::node::introduction::Waiter;
use crate::node::link::{Greeting, Role};
use crate::node::{MemoryWait, Node, NodeLink, Phase};
use crate::probe::Counts;
use crate::routing::{Edge, Kind, Object, Parcel, ParcelQueue, Payload, Router, RouterLink, State, Sublink};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkKind {
    Central,
    PeripheralInward,
    PeripheralOutward,
}

/// A router link as its router holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkView {
    /// To `peer` in the same process (none once it let go).
    Local { pair: PairKey, side: LinkSide, peer: Option<RouterKey>, status: u32 },
    /// To the other router of a bridge.
    Bridge { peer: RouterKey },
    /// Over a node link. `status` is the link-state word of a central link whose memory is known.
    Remote { link: LinkKey, sublink: SublinkId, kind: LinkKind, side: LinkSide, status: Option<u32>, state: Option<StateView> },
}

/// The state of a central link to another node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StateView {
    /// Where it is.
    pub at: FragmentDescriptor,
    /// References on it, if it is counted and its memory is known.
    pub references: Option<i32>,
}

impl LinkView {
    /// The node link it goes over, if it leaves the process.
    pub fn node_link(&self) -> Option<LinkKey> {
        match self {
            LinkView::Remote { link, .. } => Some(*link),
            LinkView::Local { .. } | LinkView::Bridge { .. } => None,
        }
    }
}

/// Where a router link leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// To a router in the same process.
    Local(RouterKey),
    /// To whatever is bound to the sublink at the other end of the node link.
    Remote(LinkKey, SublinkId),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EdgeView {
    pub primary: Option<LinkView>,
    pub decaying: Option<LinkView>,
    pub length_to: Option<u64>,
    pub length_from: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueView {
    pub next: u64,
    pub length: u64,
    pub final_length: Option<u64>,
    pub available: usize,
    pub bytes: usize,
    pub beyond_gap: usize,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouterView {
    pub key: RouterKey,
    /// The portal an application holds, if it is one.
    pub portal: Option<Handle>,
    /// Whether a handle, a queued parcel or a connection attempt keeps it.
    pub held: bool,
    pub out: EdgeView,
    /// Present iff proxy.
    pub inward: Option<EdgeView>,
    pub inbound: QueueView,
    pub outbound: QueueView,
    pub peer_closed: bool,
    pub disconnected: bool,
    /// Its owner closed the portal.
    pub closed: bool,
    /// Raised: peer closed, and everything it sent has arrived.
    pub status_peer_closed: bool,
    /// Raised: and has been read.
    pub status_dead: bool,
    /// Traps that wait.
    pub traps: usize,
    /// Of those, the ones that wait for what is so already.
    pub missed_traps: usize,
    /// Routers of portals attached to parcels that wait in this router's queues, or that an overlapped get has taken out.
    pub carried: Vec<RouterKey>,
    /// Two-phase calls that are open.
    pub transactions: usize,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeLinkView {
    pub key: LinkKey,
    pub node: NodeKey,
    pub established: bool,
    pub dead: bool,
    pub local_name: NodeName,
    pub remote_name: NodeName,
    pub remote_type: Option<NodeType>,
    pub side: LinkSide,
    /// Bound sublinks and the routers they lead to.
    pub sublinks: Vec<(SublinkId, RouterKey)>,
    /// Blocks taken in this end's view of the link memory, summed over all buffers: found by walking the free lists.
    pub blocks_taken: u64,
    pub outbox: usize,
    pub buffers: usize,
    pub buffer_waits: usize,
    /// Parcels kept for sublinks that are not there yet.
    pub early: usize,
    /// Pieces of parcels that wait for others.
    pub pieces: usize,
}

/// What a process spends on one link because of its peer ([`crate::limits::Limits`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spending {
    pub link: LinkKey,
    /// The peer.
    pub remote: NodeName,
    /// Bound sublinks.
    pub sublinks: usize,
    /// Parcels kept for sublinks that are not there yet, and their bytes.
    pub early: usize,
    pub early_bytes: usize,
    /// Parcels and link states that wait for buffers.
    pub buffer_waits: usize,
    /// Buffers that the peer has announced, and their bytes.
    pub buffers: usize,
    pub buffer_bytes: u64,
    /// Pieces of parcels that wait for others, and their bytes.
    pub pieces: usize,
    pub piece_bytes: usize,
    /// Introductions under way that it asked for.
    pub introductions: usize,
    /// Nodes that it referred and that are not taken up yet.
    pub referrals: usize,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeView {
    pub key: NodeKey,
    pub name: NodeName,
    pub kind: NodeType,
    pub broker_link: Option<LinkKey>,
    pub delegate: Option<LinkKey>,
    pub other_brokers: Vec<NodeName>,
    pub pending_introductions: Vec<NodeName>,
}

/// Running totals since the process began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Proxies bypassed, counted where the new link was accepted.
    pub bypasses: u64,
    /// Parcels that a proxy passed on.
    pub forwarded: u64,
    /// Routers made.
    pub routers_made: u64,
    /// Node links lost.
    pub links_lost: u64,
    /// Links dropped for their peer's fault.
    pub refused: u64,
    /// Bypass requests without authority.
    pub unauthorised: u64,
    /// Answers of drivers to questions of the core.
    pub answers: u64,
    /// Probes reached.
    pub probes: Counts,
}

impl Totals {
    /// Both together.
    pub fn and(self, other: Totals) -> Totals {
        Totals {
            bypasses: self.bypasses + other.bypasses,
            forwarded: self.forwarded + other.forwarded,
            routers_made: self.routers_made + other.routers_made,
            links_lost: self.links_lost + other.links_lost,
            refused: self.refused + other.refused,
            unauthorised: self.unauthorised + other.unauthorised,
            answers: self.answers + other.answers,
            probes: self.probes.and(&other.probes),
        }
    }
}

/// What can be seen of a core.
pub struct View<'a> {
    core: &'a Core,
}

impl<'a> View<'a> {
    pub(crate) fn of(core: &'a Core) -> View<'a> {
        View { core }
    }

    /// Every router, in the order of their keys' positions.
    pub fn routers(&self) -> Vec<RouterView> {
        let mut views = Vec::with_capacity(self.router_count());
        views.extend(self.core.routing.routers.iter().map(|(key, router)| self.router_view(key, router)));
        views
    }

    /// The routers that have an inward edge, in the order of their keys' positions.
    pub fn proxy_routers(&self) -> impl Iterator<Item = RouterView> + '_ {
        let proxies = self.core.routing.routers.iter().filter(|(_, router)| router.inward.is_some());
        proxies.map(|(key, router)| self.router_view(key, router))
    }

    /// One router.
    pub fn router(&self, key: RouterKey) -> Option<RouterView> {
        self.core.routing.get(key).map(|router| self.router_view(key, router))
    }

    /// The router that was flushed last, if it is still there.
    pub fn last_flushed(&self) -> Option<RouterView> {
        self.router(self.core.routing.probes.last_flushed()?)
    }

    /// The router bound to a sublink of a link to the node called `name`.
    pub fn bound_from(&self, name: NodeName, sublink: SublinkId) -> Option<(LinkKey, RouterKey)> {
        let (link, _) = self.peers().into_iter().find(|(_, remote)| *remote == name)?;
        Some((link, self.bound(link, sublink)?))
    }

    /// The portal of a router, if it is one, and where its links lead: outward, then inward, of each the primary one and the decaying.
    /// Much less than all of a [`RouterView`], for those who follow routes.
    pub fn ways(&self, key: RouterKey) -> Option<(Option<Handle>, [Option<Way>; 4])> {
        let router = self.core.routing.get(key)?;
        let way = |link: Option<&RouterLink>| match link? {
            RouterLink::Local { .. } => link?.local_peer(&self.core.routing.pairs).map(Way::Local),
            RouterLink::Bridge(peer) => Some(Way::Local(*peer)),
            RouterLink::Remote(remote) => Some(Way::Remote(remote.at.link, remote.at.id)),
        };
        let inward = router.inward.as_deref();
        let primary = [router.out.primary.as_ref(), inward.and_then(|edge| edge.primary.as_ref())].map(way);
        let decaying = [router.out.decay.as_deref(), inward.and_then(|edge| edge.decay.as_deref())].map(|decay| way(Some(&decay?.link)));
        Some((self.portal_of(router), [primary[0], decaying[0], primary[1], decaying[1]]))
    }

    fn portal_of(&self, router: &Router) -> Option<Handle> {
        router.portal.filter(|portal| matches!(self.core.handles.get(*portal), Some(Entry::Portal(_))))
    }

    /// The router of a portal.
    pub fn router_of(&self, portal: Handle) -> Option<RouterKey> {
        self.core.portal(portal).ok()
    }

    /// Every node link that is not forgotten.
    pub fn links(&self) -> Vec<NodeLinkView> {
        self.core.net.links.iter().filter_map(|(key, _)| self.link(key)).collect()
    }

    /// One node link.
    pub fn link(&self, key: LinkKey) -> Option<NodeLinkView> {
        Some(NodeLinkView { blocks_taken: self.blocks_taken(key), ..self.link_uncounted(key)? })
    }

    /// [`NodeLinkView::blocks_taken`] of a link.
    pub fn blocks_taken(&self, link: LinkKey) -> u64 {
        self.core.net.links.get(link).and_then(|link| link.peer()).map_or(0, |peer| peer.memory.blocks_taken())
    }

    /// As [`View::links`] but for `blocks_taken`, which is 0: walking the free lists takes longer than all the rest.
    pub fn links_uncounted(&self) -> Vec<NodeLinkView> {
        self.core.net.links.iter().filter_map(|(key, _)| self.link_uncounted(key)).collect()
    }

    /// As [`View::link`] but for `blocks_taken`, which is 0.
    pub fn link_uncounted(&self, key: LinkKey) -> Option<NodeLinkView> {
        let link = self.core.net.links.get(key)?;
        let peer = link.peer();
        Some(NodeLinkView {
            key,
            node: link.node,
            established: peer.is_some(),
            dead: matches!(link.phase, Phase::Dead),
            local_name: peer.map(|p| p.local_name).unwrap_or_default(),
            remote_name: peer.map(|p| p.remote_name).unwrap_or_default(),
            remote_type: peer.map(|p| p.remote_type),
            side: peer.map_or(LinkSide::A, |p| p.side),
            sublinks: peer.map(|p| p.sublinks.iter().map(|(id, router)| (*id, *router)).collect()).unwrap_or_default(),
            blocks_taken: 0,
            outbox: link.outbox.len(),
            buffers: peer.map_or(0, |p| p.memory.buffers()),
            buffer_waits: peer.map_or(0, |p| p.buffer_waits()),
            early: peer.map_or(0, |p| p.early.len()),
            pieces: peer.map_or(0, |p| p.pieces.len()),
        })
    }

    /// What each link that works and is not about to be dropped costs because of its peer. Counted, not walked: cheap enough for every event.
    pub fn spending(&self) -> impl Iterator<Item = Spending> + '_ {
        let net = &self.core.net;
        net.links.iter().filter_map(|(key, link)| {
            let peer = link.peer().filter(|_| !link.poisoned)?;
            let introducing = net.nodes.get(link.node).map(|node| node.introducing.values().filter(|i| i.asked_by == key).count());
            Some(Spending {
                link: key,
                remote: peer.remote_name,
                sublinks: peer.sublinks.len(),
                early: peer.early.len(),
                early_bytes: peer.early.bytes(),
                buffer_waits: peer.buffer_waits(),
                buffers: peer.memory.buffers_from(Origin::Theirs),
                buffer_bytes: peer.memory.bytes_from(Origin::Theirs),
                pieces: peer.pieces.len(),
                piece_bytes: peer.pieces.bytes(),
                introductions: introducing.unwrap_or(0),
                referrals: net.referrals_of(key),
            })
        })
    }

    /// Every link that works, and the node it leads to.
    pub fn peers(&self) -> Vec<(LinkKey, NodeName)> {
        self.core.net.links.iter().filter_map(|(key, link)| Some((key, link.peer()?.remote_name))).collect()
    }

    /// Routers in whose queues are parcels with data in the memory of a link.
    pub fn keepers(&self, link: LinkKey) -> Vec<RouterKey> {
        let kept = |parcel: &Parcel| matches!(parcel.payload, Payload::Block { link: of, .. } if of == link);
        let keeps = |router: &Router| router.inbound.iter().chain(router.outbound.iter()).any(kept);
        self.core.routing.routers.iter().filter(|(_, router)| keeps(router)).map(|(key, _)| key).collect()
    }

    /// The first bytes of the data of a parcel in the memory of the link to a node that `is` knows; none if it has less, or if that is
    /// no parcel.
    pub fn parcel_begins<const N: usize>(&self, at: FragmentDescriptor, is: impl Fn(NodeName) -> bool) -> Option<[u8; N]> {
        let peer = self.core.net.links.iter().filter_map(|(_, link)| link.peer()).find(|peer| is(peer.remote_name))?;
        let Ok(Opened::Block(block)) = peer.memory.open_parcel(at) else { return None };
        let mut bytes = [0; N];
        (block.read(&mut bytes) == N).then_some(bytes)
    }

    /// The name of the node at the far end of a link; the invalid one while that is not known.
    pub fn remote_name(&self, link: LinkKey) -> Option<NodeName> {
        Some(self.core.net.links.get(link)?.peer().map(|peer| peer.remote_name).unwrap_or_default())
    }

    /// The router bound to a sublink.
    pub fn bound(&self, link: LinkKey, sublink: SublinkId) -> Option<RouterKey> {
        self.core.net.bound(Sublink { link, id: sublink })
    }

    /// Every node.
    pub fn nodes(&self) -> Vec<NodeView> {
        let view = |(key, node): (NodeKey, &crate::node::Node)| NodeView {
            key,
            name: node.name,
            kind: node.kind,
            broker_link: node.broker_link,
            delegate: node.delegate,
            other_brokers: node.other_brokers.iter().copied().collect(),
            pending_introductions: node.pending.keys().copied().collect(),
        };
        self.core.net.nodes.iter().map(view).collect()
    }

    /// Number of routers that have an inward edge.
    pub fn proxies(&self) -> usize {
        self.core.routing.proxies
    }

    /// Number of routers.
    pub fn router_count(&self) -> usize {
        self.core.routing.routers.len()
    }

    /// Number of handles that applications hold.
    pub fn handle_count(&self) -> usize {
        self.core.handles.len()
    }

    /// Routers of portals attached to parcels and boxes that applications hold.
    pub fn kept(&self) -> Vec<RouterKey> {
        let parcels = self.core.parcels.iter().flat_map(|(_, kept)| self.core.routing.portals_in(&kept.parcel.objects));
        let held =
            self.core.handles.iter().filter_map(|(_, entry)| if let Entry::Box(key) = entry { Some(Object::Box(*key)) } else { None });
        parcels.chain(self.core.routing.portals_in(&held.collect::<Vec<_>>())).collect()
    }

    /// Boxes, in the hands of applications and in parcels.
    pub fn boxes(&self) -> usize {
        self.core.routing.boxes.len()
    }

    /// Driver objects that the core owns: transports, memory, and those in boxes.
    pub fn objects_owned(&self) -> usize {
        self.core.net.objects
    }

    /// Questions to the driver, waits for links and waits for memory that are open.
    pub fn waits(&self) -> usize {
        let net = &self.core.net;
        let waits = |node: &Node| node.pending.len() + node.introducing.len() + node.sharing.len() + node.parking.waiting();
        let introductions: usize = net.nodes.iter().map(|(_, node)| waits(node)).sum();
        let growing: usize = net.links.iter().filter_map(|(_, link)| Some(link.peer()?.growing.len())).sum();
        let referred = |link: &NodeLink| match &link.phase {
            Phase::Greeting(Greeting { role: Role::Referral(_), .. }) => 1,
            Phase::Established(peer) => peer.referrals.len(),
            Phase::Greeting(_) | Phase::Dead => 0,
        };
        let referrals: usize = net.links.iter().map(|(_, link)| referred(link)).sum();
        net.requests.len() + introductions + growing + referrals + self.core.timers()
    }

    /// Introductions that another broker was asked to make: it says nothing if it does.
    pub fn introduced_elsewhere(&self) -> usize {
        self.core.net.nodes.iter().map(|(_, node)| node.indirect.len()).sum()
    }

    /// Routers that wait to be introduced to the node called `name`, or to anybody.
    pub fn seekers(&self, name: Option<NodeName>) -> Vec<RouterKey> {
        let nodes = self.core.net.nodes.iter();
        let pending = nodes.flat_map(|(_, node)| &node.pending).filter(|(known, _)| name.is_none_or(|name| name == **known));
        let route = |waiter: &Waiter| match waiter {
            Waiter::Route(seek) => Some(seek.router),
            Waiter::Request(_) | Waiter::Indirect { .. } | Waiter::Relays => None,
        };
        pending.flat_map(|(_, pending)| pending.waiters.iter().filter_map(route)).collect()
    }

    /// Routers that wait for link memory.
    pub fn starving(&self) -> Vec<RouterKey> {
        let growing = self.core.net.links.iter().filter_map(|(_, link)| link.peer()).flat_map(|peer| peer.growing.values().flatten());
        self.core.waits().chain(growing).filter_map(MemoryWait::router).collect()
    }

    /// The first of the invariants of nodes and node links that does not hold, in words.
    pub fn check_nodes(&self) -> Result<(), String> {
        self.core.net.check()
    }

    /// The nodes that links were dropped for the fault of, with what they did, newest last; the newest few are kept.
    pub fn blamed(&self) -> Vec<(NodeName, LinkKey, String)> {
        self.core.net.blames.iter().map(|blame| (blame.peer, blame.link, blame.reason.clone())).collect()
    }

    /// How many links to which nodes were lost.
    pub fn lost_to(&self) -> Vec<(NodeName, u64)> {
        self.core.net.lost_to.iter().map(|(name, count)| (*name, *count)).collect()
    }

    /// Running totals.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.add_totals(&mut totals);
        totals
    }

    /// Adds the running totals to those of others.
    pub fn add_totals(&self, sum: &mut Totals) {
        let (routing, net) = (&self.core.routing.totals, &self.core.net);
        sum.bypasses += routing.bypasses;
        sum.forwarded += routing.forwarded;
        sum.routers_made += routing.routers;
        sum.links_lost += net.links_lost;
        sum.refused += net.refused;
        sum.unauthorised += routing.unauthorised;
        sum.answers += net.answers;
        sum.probes.add(self.core.routing.probes.counts());
        sum.probes.add(net.probes.counts());
    }

    /// Why links were dropped for a peer's fault, newest last; the newest few are kept.
    pub fn violations(&self) -> Vec<(LinkKey, String)> {
        self.core.net.blames.iter().map(|blame| (blame.link, blame.reason.clone())).collect()
    }

    fn router_view(&self, key: RouterKey, router: &Router) -> RouterView {
        let parcels = router.inbound.iter().chain(router.outbound.iter());
        let held = router.transactions.iter().flat_map(|open| open.objects());
        RouterView {
            key,
            portal: self.portal_of(router),
            held: router.holders > 0,
            out: self.edge_view(&router.out),
            inward: router.inward.as_deref().map(|edge| self.edge_view(edge)),
            inbound: queue_view(&router.inbound),
            outbound: queue_view(&router.outbound),
            peer_closed: router.peer_closed,
            disconnected: router.disconnected,
            closed: router.closed,
            status_peer_closed: router.status_peer_closed,
            status_dead: router.status_dead,
            traps: router.traps.len(),
            missed_traps: router.missed_traps(),
            carried: self.core.routing.portals_in(&parcels.flat_map(|parcel| &parcel.objects).chain(held).copied().collect::<Vec<_>>()),
            transactions: router.transactions.as_ref().map_or(0, |open| open.len()),
        }
    }

    fn edge_view(&self, edge: &Edge) -> EdgeView {
        let decay = edge.decay.as_deref();
        EdgeView {
            primary: edge.primary.as_ref().map(|link| self.link_view(link)),
            decaying: decay.map(|decay| self.link_view(&decay.link)),
            length_to: decay.and_then(|decay| decay.length_to),
            length_from: decay.and_then(|decay| decay.length_from),
        }
    }

    fn link_view(&self, link: &RouterLink) -> LinkView {
        let pairs = &self.core.routing.pairs;
        match link {
            RouterLink::Local { pair, side } => {
                let status = link.status(pairs).unwrap_or(status::STABLE);
                LinkView::Local { pair: *pair, side: *side, peer: link.local_peer(pairs), status }
            }
            RouterLink::Bridge(peer) => LinkView::Bridge { peer: *peer },
            RouterLink::Remote(remote) => {
                let (kind, status, state) = match &remote.kind {
                    Kind::Central(State::Ready(state)) => {
                        let view = StateView { at: state.descriptor(), references: state.references() };
                        (LinkKind::Central, Some(state.status()), Some(view))
                    }
                    Kind::Central(State::Pending { fragment, .. }) => {
                        (LinkKind::Central, None, Some(StateView { at: *fragment, references: None }))
                    }
                    Kind::Inward => (LinkKind::PeripheralInward, None, None),
                    Kind::Outward => (LinkKind::PeripheralOutward, None, None),
                };
                LinkView::Remote { link: remote.at.link, sublink: remote.at.id, kind, side: remote.side, status, state }
            }
        }
    }
}

fn queue_view(queue: &ParcelQueue) -> QueueView {
    QueueView {
        next: queue.next(),
        length: queue.length(),
        final_length: queue.final_length(),
        available: queue.available(),
        bytes: queue.available_bytes(),
        beyond_gap: queue.beyond_gap(),
    }
}
