//! Only routes that a cut could touch are lost, and each of them as a whole (routing.md 11.3, 14.3, 19: E7).
//!
//! From the moment of a cut until both its ends have noticed, whatever is bound to the link may go down with it. So at the cut, and after
//! every step of a process that has such a link, each router bound to it is followed along its route to a portal, whose pipe is marked.

use std::collections::{BTreeMap, BTreeSet};

use ipcz::ids::{Handle, LinkKey, NodeName, RouterKey, SublinkId};
use ipcz::inspect::{NodeLinkView, Way};

use super::{Checked, Tally, Violation};
use crate::ghost::{EndId, Ghost, Place};
use crate::world::World;

const NAME: &str = "broken";
/// Why what is wrong is let pass where a node lied to its neighbour.
pub(super) const LIE: &str = "route that a lie touched";

/// Which process a node's name is of.
#[derive(Clone, Default, Debug)]
pub struct Names {
    by_name: BTreeMap<NodeName, u32>,
}

impl Names {
    /// The names of the nodes of a world; a node has none before it is connected.
    pub fn of(world: &World) -> Names {
        let nodes = |process| world.process(process).map(|p| p.inspect(|view| view.nodes())).unwrap_or_default();
        (0..world.processes()).flat_map(|process| nodes(process).into_iter().map(move |node| (node.name, process))).collect()
    }

    /// Adds what the nodes of a world are called now.
    pub fn extend(&mut self, world: &World) {
        self.by_name.extend(Names::of(world).by_name);
    }

    /// A node has got a name.
    pub fn learn(&mut self, name: NodeName, process: u32) {
        self.by_name.entry(name).or_insert(process);
    }

    /// The name of a process's node.
    pub fn name(&self, process: u32) -> Option<NodeName> {
        self.by_name.iter().find(|(_, of)| **of == process).map(|(name, _)| *name)
    }

    /// The process of the node of this name.
    pub fn process(&self, name: NodeName) -> Option<u32> {
        self.by_name.get(&name).copied()
    }
}

impl FromIterator<(NodeName, u32)> for Names {
    fn from_iter<I: IntoIterator<Item = (NodeName, u32)>>(names: I) -> Names {
        Names { by_name: names.into_iter().collect() }
    }
}

/// What is wrong with the links between two processes.
#[derive(Clone, Copy, Default, Debug)]
struct Wound {
    /// They were cut, and until this time somebody may not have missed them yet.
    cut: Option<u64>,
    /// Somebody lies over them.
    lies: bool,
}

/// Processes that wait for an introduction that will not come.
#[derive(Clone, Copy, Debug)]
struct Waiters {
    /// These two for each other; or all for anybody.
    pair: Option<[u32; 2]>,
    until: u64,
}

/// The checker.
#[derive(Clone, Default, Debug)]
pub struct Broken {
    /// Its counts.
    pub tally: Tally,
    /// By the two processes, the lower one first.
    wounds: BTreeMap<(u32, u32), Wound>,
    /// Processes that lose every link, those too that they make until this time.
    alone: BTreeMap<u32, u64>,
    /// Sublinks whose pipes are marked already, by process.
    followed: BTreeSet<(u32, LinkKey, SublinkId)>,
    waiters: Vec<Waiters>,
    /// Whoever waits for link memory may wait in vain.
    pub scarce: bool,
    /// By process and peer: the link between them, as last found.
    known: BTreeMap<(u32, u32), LinkKey>,
    /// Those of them that are never replaced.
    only: BTreeSet<(u32, u32)>,
}

/// Finds the end that a process holds by a handle.
type Find<'a> = dyn Fn(&Ghost, u32, Handle) -> Option<EndId> + 'a;

impl Broken {
    /// Its name.
    pub const NAME: &str = NAME;

    /// The one link that a process will ever have to another one, a connection's: a broker has too many to search.
    pub fn know(&mut self, process: u32, peer: u32, link: LinkKey) {
        self.known.insert((process, peer), link);
        self.only.insert((process, peer));
    }

    /// The links between two processes are lost from now on; everybody knows at `until`.
    pub fn wound(&mut self, a: u32, b: u32, until: u64) {
        let cut = &mut self.wounds.entry((a.min(b), a.max(b))).or_default().cut;
        *cut = (*cut).max(Some(until));
    }

    /// A process loses all its links, and those that are being made; everybody knows at `until`.
    pub fn isolate(&mut self, process: u32, until: u64) {
        let last = self.alone.entry(process).or_default();
        *last = until.max(*last);
    }

    /// Somebody lies over the links between two processes, from now on.
    pub fn lie(&mut self, a: u32, b: u32) {
        self.wounds.entry((a.min(b), a.max(b))).or_default().lies = true;
    }

    /// Whether somebody has lied.
    pub fn lied(&self) -> bool {
        self.wounds.values().any(|wound| wound.lies)
    }

    /// Everybody has missed what is cut by now at `until`; who lied stays a liar.
    pub fn forgive(&mut self, until: u64) {
        let cuts = self.wounds.values_mut().filter_map(|wound| wound.cut.as_mut());
        cuts.chain(self.alone.values_mut()).for_each(|last| *last = until.min(*last));
    }

    /// Two processes, or any, were not introduced; everybody knows at `until`.
    pub fn unintroduced(&mut self, pair: Option<[u32; 2]>, until: u64) {
        self.waiters.push(Waiters { pair, until });
    }

    /// Marks the pipes of all routers bound to wounded links, of all processes or of one that has just done something.
    pub fn mark(&mut self, world: &World, ghost: &mut Ghost, names: &Names, find: &Find<'_>, process: Option<u32>) {
        if self.wounds.is_empty() && self.alone.is_empty() && self.waiters.is_empty() && !self.scarce {
            return;
        }
        let now = world.now();
        self.wounds.retain(|_, wound| wound.lies || wound.cut.is_some_and(|until| until >= now));
        self.alone.retain(|_, until| *until >= now);
        if !self.wounds.is_empty() || !self.alone.is_empty() {
            for here in (0..world.processes()).filter(|here| process.is_none_or(|process| process == *here)) {
                self.mark_links(world, ghost, names, find, here);
            }
        }
        self.mark_waiters(world, ghost, names, find, process);
    }

    /// Marks the pipes of all routers bound to wounded links of a process.
    fn mark_links(&mut self, world: &World, ghost: &mut Ghost, names: &Names, find: &Find<'_>, here: u32) {
        let now = world.now();
        let Some(body) = world.process(here) else { return };
        // Most processes have nothing to do with it, and some have a link to every other.
        if self.alone.is_empty() && !self.wounds.keys().any(|(a, b)| *a == here || *b == here) {
            return;
        }
        for (link, name) in body.inspect(|view| view.peers()) {
            let Some(there) = names.process(name) else { continue };
            let wound = self.wounds.get(&(here.min(there), here.max(there))).copied().unwrap_or_default();
            let alone = self.alone.contains_key(&here) || self.alone.contains_key(&there);
            if wound.lies {
                self.mark_lies(world, ghost, names, find, (here, link));
            } else if alone || wound.cut.is_some_and(|until| until >= now) {
                self.mark_cut(world, ghost, names, find, (here, link));
            }
        }
    }

    /// Marks the pipes of all routers bound to a link that was cut.
    fn mark_cut(&mut self, world: &World, ghost: &mut Ghost, names: &Names, find: &Find<'_>, (here, link): (u32, LinkKey)) {
        for (sublink, router) in bound(world, here, link) {
            if self.followed.contains(&(here, link, sublink)) {
                continue;
            }
            self.tally.count();
            match self.pipe_of(world, ghost, names, find, (here, router)) {
                Some(end) => {
                    self.followed.insert((here, link, sublink));
                    ghost.touch(end);
                }
                None => ghost.touch_travelling(false),
            }
        }
    }

    /// Marks the pipes of all routers bound to a link over which somebody lies, and of those with parcels that lie in its memory.
    /// Again and again: a lie may join two routes at any time.
    fn mark_lies(&mut self, world: &World, ghost: &mut Ghost, names: &Names, find: &Find<'_>, (here, link): (u32, LinkKey)) {
        let Some(body) = world.process(here) else { return };
        let bound = bound(world, here, link).into_iter().map(|(_, router)| router);
        for router in bound.chain(body.inspect(|view| view.keepers(link))) {
            self.tally.count();
            match self.ends_of(world, ghost, names, find, (here, router), 2).as_slice() {
                [] => ghost.touch_travelling(true),
                ends => ends.iter().for_each(|end| ghost.taint(*end)),
            }
        }
    }

    /// Marks the pipes whose routers wait in vain for an introduction or for memory.
    fn mark_waiters(&mut self, world: &World, ghost: &mut Ghost, names: &Names, find: &Find<'_>, process: Option<u32>) {
        let now = world.now();
        self.waiters.retain(|waiters| waiters.until >= now);
        if self.waiters.is_empty() && !self.scarce {
            return;
        }
        for here in (0..world.processes()).filter(|here| process.is_none_or(|process| process == *here)) {
            let Some(body) = world.process(here) else { continue };
            let mut routers = if self.scarce { body.inspect(|view| view.starving()) } else { Vec::new() };
            for waiters in &self.waiters {
                match waiters.pair {
                    None => routers.extend(body.inspect(|view| view.seekers(None))),
                    Some([a, b]) if here == a || here == b => {
                        let there = if here == a { b } else { a };
                        let known = names.by_name.iter().filter(|(_, process)| **process == there);
                        routers.extend(known.flat_map(|(name, _)| body.inspect(|view| view.seekers(Some(*name)))));
                    }
                    Some(_) => (),
                }
            }
            for router in routers {
                self.tally.count();
                match self.pipe_of(world, ghost, names, find, (here, router)) {
                    Some(end) => ghost.touch(end),
                    None => ghost.touch_travelling(false),
                }
            }
        }
    }

    /// The live link of a process to another one, and the routers bound to it.
    fn link(&mut self, world: &World, names: &Names, here: u32, there: u32) -> Option<(LinkKey, Vec<(SublinkId, RouterKey)>)> {
        let process = world.process(here)?;
        let known = self.known.get(&(here, there)).and_then(|key| process.inspect(|view| view.link_uncounted(*key)));
        let live = |link: &NodeLinkView| link.established && !link.dead && names.process(link.remote_name) == Some(there);
        let link = match known {
            Some(link) if live(&link) => link,
            _ if self.only.contains(&(here, there)) => return None,
            _ => process.inspect(|view| view.links_uncounted()).into_iter().find(live)?,
        };
        self.known.insert((here, there), link.key);
        Some((link.key, link.sublinks))
    }

    /// Follows a route in both directions until it meets a portal.
    fn pipe_of(&mut self, world: &World, ghost: &Ghost, names: &Names, find: &Find<'_>, start: (u32, RouterKey)) -> Option<EndId> {
        self.ends_of(world, ghost, names, find, start, 1).first().copied()
    }

    /// The first `most` portals that a route leads to.
    fn ends_of(
        &mut self,
        world: &World,
        ghost: &Ghost,
        names: &Names,
        find: &Find<'_>,
        start: (u32, RouterKey),
        most: usize,
    ) -> Vec<EndId> {
        let mut ends = Vec::new();
        let mut seen = vec![start];
        let mut next = 0;
        while let Some(&(process, key)) = seen.get(next) {
            next += 1;
            let Some((portal, ways)) = world.process(process).and_then(|body| body.inspect(|view| view.ways(key))) else { continue };
            ends.extend(portal.and_then(|handle| find(ghost, process, handle)));
            if ends.len() == most {
                break;
            }
            for way in ways.into_iter().flatten() {
                let far = match way {
                    Way::Local(peer) => Some((process, peer)),
                    Way::Remote(link, sublink) => self
                        .partner(world, names, process, link)
                        .and_then(|(far, link)| world.process(far)?.inspect(|view| view.bound(link, sublink)).map(|router| (far, router))),
                };
                seen.extend(far.filter(|far| !seen.contains(far)));
            }
        }
        ends
    }

    /// The other end of a node link.
    fn partner(&mut self, world: &World, names: &Names, process: u32, link: LinkKey) -> Option<(u32, LinkKey)> {
        let remote = world.process(process)?.inspect(|view| view.remote_name(link))?;
        let far = names.process(remote)?;
        if let Some(link) = self.known.get(&(far, process)) {
            return Some((far, *link));
        }
        let (link, _) = self.link(world, names, far, process)?;
        Some((far, link))
    }

    /// At rest: a route is lost at both ends or at none.
    pub fn rest(&mut self, ghost: &Ghost) -> Checked {
        for (a, pipe) in ghost.pipes() {
            let ends = [a, ghost.peer(a)].map(|end| (end, ghost.end(end)));
            for ((end, state), (far, peer)) in [(ends[0], ends[1]), (ends[1], ends[0])] {
                if !state.saw_closed {
                    continue;
                }
                if pipe.tainted {
                    self.tally.exempt(LIE);
                    continue;
                }
                self.tally.count();
                let no = |property, text: String| Err(Violation::new(NAME, property, text).at(far));
                match peer.place {
                    Place::Held { process, .. } if !peer.saw_closed => {
                        let text = format!("{end} was told that its peer is closed; {far}, open in process {process}, was told nothing");
                        return no("E7: a route is lost at both its ends or at none", text);
                    }
                    Place::Held { .. } if !pipe.touched => {
                        let text = format!("{end} and {far} lost each other, but no cut touched a link of their route");
                        return no("only routes that a cut touched are lost", text);
                    }
                    Place::Carried { .. } if !pipe.touched => {
                        let text = format!("{end} was told that its peer is closed, but {far} waits in a parcel that can still be read");
                        return no("only routes that a cut touched are lost", text);
                    }
                    _ => (),
                }
            }
        }
        Ok(())
    }
}

/// The routers bound to a link.
fn bound(world: &World, process: u32, link: LinkKey) -> Vec<(SublinkId, RouterKey)> {
    world.process(process).and_then(|body| body.inspect(|view| view.link_uncounted(link))).map_or_else(Vec::new, |link| link.sublinks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ghost::Role;

    fn ghost() -> (Ghost, EndId) {
        let mut ghost = Ghost::default();
        let handles = [1, 2].map(|bits| Handle::from_bits(bits).unwrap());
        let end = ghost.open(Role::Random, [(0, handles[0]), (1, handles[1])]);
        (ghost, end)
    }

    #[test]
    fn a_route_is_lost_as_a_whole_and_only_if_touched() {
        let (mut ghost, end) = ghost();
        let mut checker = Broken::default();
        checker.rest(&ghost).unwrap();
        ghost.end_mut(end).saw_closed = true;
        assert!(checker.rest(&ghost).unwrap_err().property.starts_with("E7"));
        ghost.end_mut(end.twin()).saw_closed = true;
        assert!(checker.rest(&ghost).unwrap_err().property.starts_with("only routes"));
        ghost.touch(end);
        checker.rest(&ghost).unwrap();
    }

    #[test]
    fn a_route_whose_end_waits_in_a_parcel_is_not_lost() {
        let (mut ghost, end) = ghost();
        let handles = [3, 4].map(|bits| Handle::from_bits(bits).unwrap());
        let other = ghost.open(Role::Random, [(0, handles[0]), (1, handles[1])]);
        ghost.put(other, 0, 16, Some(end), false);
        ghost.end_mut(end.twin()).saw_closed = true;
        assert!(Broken::default().rest(&ghost).is_err());
    }
}
