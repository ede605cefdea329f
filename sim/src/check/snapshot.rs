//! A world as it can be seen from outside the processes, at one instant: plain data, so that a test can make one up.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use ipcz::ids::{Handle, LinkKey, NodeName, RouterKey, SublinkId};
use ipcz::inspect::{LinkView, NodeLinkView, NodeView, RouterView, Totals, View};

use super::graph::{Graph, Ref};
use crate::world::World;

/// What is in one process.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// Its routers, by ascending key.
    pub routers: Vec<RouterView>,
    /// Its ends of node links, by ascending key; the sublinks of each by ascending id.
    pub links: Vec<NodeLinkView>,
    /// Those of them whose blocks were counted, by ascending key.
    pub counted: Vec<LinkKey>,
    /// Its nodes.
    pub nodes: Vec<NodeView>,
    /// Handles that applications hold, nodes included.
    pub handles: usize,
    /// Driver objects that its core says it owns.
    pub owned: usize,
    /// Driver objects that it has by the driver's account.
    pub open: usize,
    /// Boxes.
    pub boxes: usize,
    /// Objects of its application that it has not got back.
    pub applications: i64,
    /// Answers that it waits for.
    pub waits: usize,
    /// Its running totals.
    pub totals: Totals,
    /// Links that it lost, by the node they led to.
    pub lost_to: Vec<(NodeName, u64)>,
    /// What it blames others for.
    pub blames: Vec<(NodeName, LinkKey, String)>,
}

/// What is in every process; `None` for those that died.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// By number of the process.
    pub processes: Vec<Option<Sight>>,
    index: OnceCell<Index>,
    graph: OnceCell<Graph>,
}

/// Where things are in a snapshot: checkers ask for every router, so it is numbers in tables, not maps.
#[derive(Clone, Debug)]
struct Index {
    /// Of each process: how many routers those before it have.
    before: Vec<usize>,
    /// Of each process: its portals, by ascending handle, and which of its routers they are.
    portals: Vec<Vec<(Handle, usize)>>,
    /// Of each process and each of its links: what is at the other end.
    partners: Vec<Vec<Option<(u32, LinkKey)>>>,
}

impl Snapshot {
    /// What was seen.
    pub fn new(processes: Vec<Option<Sight>>) -> Snapshot {
        Snapshot { processes, index: OnceCell::new(), graph: OnceCell::new() }
    }

    /// The graph of it, which several checkers walk: made once, when one first asks.
    pub fn graph(&self) -> &Graph {
        self.graph.get_or_init(|| Graph::of(self))
    }

    /// Looks into every process. Blocks of link memory are only counted if asked, since that takes longer than all the rest; in big
    /// worlds at one end of each link, and at both ends of some. A process that stands in the middle of an input can't be seen.
    pub fn of(world: &World, count_blocks: bool) -> Snapshot {
        let look =
            |process| world.process(process).filter(|body| !body.is_busy()).map(|body| body.inspect(|view| sight(view, count_blocks)));
        let mut snapshot = Snapshot::new((0..world.processes()).map(look).collect());
        for (process, sight) in snapshot.processes.iter_mut().enumerate() {
            if let Some(sight) = sight {
                sight.open = world.objects_open(process as u32);
                sight.applications = world.applications_open(process as u32);
            }
        }
        snapshot
    }

    /// The living processes.
    pub fn alive(&self) -> impl Iterator<Item = (u32, &Sight)> {
        self.processes.iter().enumerate().filter_map(|(process, sight)| Some((process as u32, sight.as_ref()?)))
    }

    /// A router.
    pub fn router(&self, process: u32, key: RouterKey) -> Option<&RouterView> {
        let routers = &self.processes.get(process as usize)?.as_ref()?.routers;
        routers.binary_search_by_key(&key, |router| router.key).ok().map(|index| &routers[index])
    }

    /// The number of a router among those of all processes.
    pub fn place(&self, at: Ref) -> Option<usize> {
        let routers = &self.processes.get(at.process as usize)?.as_ref()?.routers;
        let place = routers.binary_search_by_key(&at.router, |router| router.key).ok()?;
        Some(self.index().before[at.process as usize] + place)
    }

    /// The router of a portal.
    pub fn portal(&self, process: u32, handle: Handle) -> Option<&RouterView> {
        let portals = self.index().portals.get(process as usize)?;
        let place = portals.binary_search_by_key(&handle, |(portal, _)| *portal).ok()?;
        self.processes[process as usize].as_ref()?.routers.get(portals[place].1)
    }

    /// What is at the other end of a node link, if both ends live.
    pub fn partner(&self, process: u32, link: LinkKey) -> Option<(u32, LinkKey)> {
        let links = &self.processes.get(process as usize)?.as_ref()?.links;
        let place = links.binary_search_by_key(&link, |link| link.key).ok()?;
        self.index().partners[process as usize][place]
    }

    /// The router bound to a sublink.
    pub fn bound(&self, process: u32, link: LinkKey, sublink: SublinkId) -> Option<RouterKey> {
        let links = &self.processes.get(process as usize)?.as_ref()?.links;
        let sublinks = &links[links.binary_search_by_key(&link, |link| link.key).ok()?].sublinks;
        Some(sublinks[sublinks.binary_search_by_key(&sublink, |(id, _)| *id).ok()?].1)
    }

    /// The router at the other end of a link that a router of `process` holds.
    pub fn far(&self, process: u32, link: &LinkView) -> Option<Ref> {
        match *link {
            LinkView::Local { peer, .. } => peer.map(|router| Ref { process, router }),
            LinkView::Bridge { peer } => Some(Ref { process, router: peer }),
            LinkView::Remote { link, sublink, .. } => {
                let (process, link) = self.partner(process, link)?;
                Some(Ref { process, router: self.bound(process, link, sublink)? })
            }
        }
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::of(self))
    }
}

impl Index {
    fn of(snapshot: &Snapshot) -> Index {
        let mut by_names: BTreeMap<(NodeName, NodeName), (u32, LinkKey)> = BTreeMap::new();
        let lives = |link: &NodeLinkView| link.established && !link.dead;
        for (process, sight) in snapshot.alive() {
            for link in sight.links.iter().filter(|link| lives(link)) {
                by_names.insert((link.local_name, link.remote_name), (process, link.key));
            }
        }
        let mut index = Index { before: Vec::new(), portals: Vec::new(), partners: Vec::new() };
        let mut before = 0;
        for sight in &snapshot.processes {
            index.before.push(before);
            let (routers, links) = sight.as_ref().map_or((&[][..], &[][..]), |sight| (&sight.routers[..], &sight.links[..]));
            before += routers.len();
            let mut portals: Vec<_> = routers.iter().enumerate().filter_map(|(place, router)| Some((router.portal?, place))).collect();
            portals.sort_unstable_by_key(|(portal, _)| *portal);
            index.portals.push(portals);
            // Of two links between the same two nodes the one seen last counts, at both ends.
            let partner = |link: &NodeLinkView| {
                let here = by_names.get(&(link.local_name, link.remote_name)).filter(|here| lives(link) && here.1 == link.key);
                here.and_then(|_| by_names.get(&(link.remote_name, link.local_name)).copied())
            };
            index.partners.push(links.iter().map(partner).collect());
        }
        index
    }
}

/// Links of one process from which on not all blocks are counted at both ends.
const MANY_LINKS: usize = 16;

fn sight(view: &View<'_>, count_blocks: bool) -> Sight {
    let mut routers = view.routers();
    routers.sort_by_key(|router| router.key);
    let mut links = view.links_uncounted();
    links.sort_by_key(|link| link.key);
    let many = links.len() > MANY_LINKS;
    let mut counted = Vec::new();
    for link in &mut links {
        link.sublinks.sort_unstable_by_key(|(id, _)| *id);
    }
    for (index, link) in links.iter_mut().enumerate().filter(|_| count_blocks) {
        if !many || link.local_name < link.remote_name || index % MANY_LINKS == 0 {
            link.blocks_taken = view.blocks_taken(link.key);
            counted.push(link.key);
        }
    }
    Sight {
        routers,
        links,
        counted,
        nodes: view.nodes(),
        handles: view.handle_count(),
        owned: view.objects_owned(),
        open: 0,
        boxes: view.boxes(),
        applications: 0,
        waits: view.waits(),
        totals: view.totals(),
        lost_to: view.lost_to(),
        blames: view.blamed(),
    }
}
