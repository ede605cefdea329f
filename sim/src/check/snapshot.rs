//! A world as it can be seen from outside the processes, at one instant: plain data, so that a test can make one up.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use ipcz::ids::{Handle, LinkKey, NodeName, RouterKey};
use ipcz::inspect::{NodeLinkView, NodeView, RouterView, Totals, View};

use super::graph::Graph;
use crate::world::World;

/// What is in one process.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// Its routers, by ascending key.
    pub routers: Vec<RouterView>,
    /// Its ends of node links, by ascending key.
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
    graph: OnceCell<Graph>,
}

impl Snapshot {
    /// What was seen.
    pub fn new(processes: Vec<Option<Sight>>) -> Snapshot {
        Snapshot { processes, graph: OnceCell::new() }
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

    /// The routers of all portals.
    pub fn portals(&self) -> BTreeMap<(u32, Handle), RouterKey> {
        let of = |(process, sight): (u32, &Sight)| {
            sight.routers.iter().filter_map(move |router| Some(((process, router.portal?), router.key))).collect::<Vec<_>>()
        };
        self.alive().flat_map(of).collect()
    }

    /// Both ends of each live node link, by process and key: what is at the other side.
    pub fn partners(&self) -> BTreeMap<(u32, LinkKey), (u32, LinkKey)> {
        let mut by_names: BTreeMap<(NodeName, NodeName), (u32, LinkKey)> = BTreeMap::new();
        for (process, sight) in self.alive() {
            for link in sight.links.iter().filter(|link| link.established && !link.dead) {
                by_names.insert((link.local_name, link.remote_name), (process, link.key));
            }
        }
        let far = |((local, remote), here): (&(NodeName, NodeName), &(u32, LinkKey))| Some((*here, *by_names.get(&(*remote, *local))?));
        by_names.iter().filter_map(far).collect()
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
    for (index, link) in links.iter_mut().enumerate().filter(|_| count_blocks) {
        if !many || link.local_name < link.remote_name || index % MANY_LINKS == 0 {
            link.blocks_taken = view.link(link.key).map_or(0, |link| link.blocks_taken);
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
