//! What a process holds: for leak hunting.

use super::process::Process;
use crate::error::Error;

/// How much of each kind a process holds. After everything of a program is closed, and its peers have heard of it, all are zero.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LiveObjects {
    /// Handles that the program has not closed: nodes, portals, kept parcels and boxes.
    pub handles: usize,
    /// Nodes, and those that are closed but for transports that have not ended yet.
    pub nodes: usize,
    /// Links to other nodes, working or ending.
    pub links: usize,
    /// Ends and middles of routes: portals, portals on their way, and proxies.
    pub routers: usize,
    /// Those of them that pass on what others sent, until their peers are linked directly. A peer that never lets them go has as many of a
    /// process as portals were moved over its links (hazards.md RE-14). To be counted each router is looked at.
    pub proxies: usize,
    /// Boxes, attached ones included.
    pub boxes: usize,
    /// Parcels kept as objects.
    pub parcels: usize,
    /// Objects of drivers that are the library's to close: transports, boxed objects, and those on their way.
    pub driver_objects: usize,
}

impl Process {
    /// What the process holds now. `Internal`: its core has failed.
    pub fn live_objects(&self) -> Result<LiveObjects, Error> {
        let core = self.lock()?;
        Ok(LiveObjects {
            handles: core.handles.len(),
            nodes: core.net.nodes.len(),
            links: core.net.links.len(),
            routers: core.routing.routers.len(),
            proxies: core.routing.routers.iter().filter(|(_, router)| !router.is_terminal()).count(),
            boxes: core.routing.boxes.len(),
            parcels: core.parcels.len(),
            driver_objects: core.net.objects,
        })
    }
}
