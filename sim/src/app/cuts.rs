//! Cuts: of links and of nodes. Before anything breaks, everybody who may be touched is noted.

use ipcz::inspect::LinkView;

use super::acts::Deed;
use super::stage::{Home, Stage};

/// For how many of the longest latencies a cut may still take routes along: until everybody knows.
const NOTICED: u64 = 8;

impl Stage {
    /// Cuts the links between two nodes; false if there is none to cut.
    pub fn cut_link(&mut self, a: u32, b: u32) -> bool {
        if self.world.is_gone(a) || self.world.is_gone(b) || !self.neighbours(a).contains(&b) {
            return false;
        }
        self.calls.cuts += 1;
        self.cuts += 1;
        self.note(Deed::CutLink { processes: [a, b] });
        self.say(u32::MAX, || format!("the link between process {a} and process {b} is cut"));
        self.checks.honesty.excuse(a, b);
        let until = self.noticed();
        self.checks.broken.wound(a, b, until);
        for (client, broker) in [(a, b), (b, a)] {
            if self.homes[broker as usize].broker && !self.homes[client as usize].broker {
                self.lose_all(client);
            }
        }
        self.mark(None);
        self.world.cut_link(a, b);
        true
    }

    /// Kills a node; false if it is dead already.
    pub fn kill(&mut self, process: u32) -> bool {
        let Some(body) = self.world.process(process) else { return false };
        // In the middle of an input nobody can look.
        if !body.is_busy() {
            let totals = body.inspect(|view| view.totals());
            self.lost_totals = self.lost_totals.and(totals);
        }
        self.calls.cuts += 1;
        self.cuts += 1;
        self.note(Deed::CutNode { process });
        self.say(u32::MAX, || format!("process {process} dies"));
        if self.homes[process as usize].broker {
            for client in self.neighbours(process) {
                if !self.homes[client as usize].broker {
                    self.lose_all(client);
                }
            }
        }
        self.lose_all(process);
        self.mark(None);
        self.world.kill(process);
        self.ghost.kill(process);
        let broker = self.homes[process as usize].broker;
        self.homes[process as usize] = Home { broker, ..Home::default() };
        true
    }

    fn noticed(&self) -> u64 {
        if self.world.is_scheduled() {
            // Who is slow to notice is the schedule's business.
            return u64::MAX;
        }
        self.world.now() + NOTICED * self.longest
    }

    /// A process is about to lose all its links.
    fn lose_all(&mut self, process: u32) {
        let until = self.noticed();
        for neighbour in self.neighbours(process) {
            self.checks.broken.wound(process, neighbour, until);
        }
        self.checks.honesty.excuse_all(process);
    }

    /// The processes that a process has a link with.
    pub fn neighbours(&self, process: u32) -> Vec<u32> {
        if self.world.is_busy(process) {
            // It cannot be asked, so it may be any.
            return (0..self.world.processes()).filter(|other| *other != process && !self.world.is_gone(*other)).collect();
        }
        let links = self.world.process(process).map(|p| p.inspect(|view| view.links_uncounted())).unwrap_or_default();
        let live = links.iter().filter(|link| link.established && !link.dead);
        let mut found: Vec<u32> = live.filter_map(|link| self.names.process(link.remote_name)).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Tells the checker of lost routes which links the connections of set-up became.
    pub fn know_connections(&mut self) {
        for end in self.homes.iter().flat_map(|home| home.connections.iter().copied()) {
            let (Some((here, handle)), Some((there, _))) = (self.ghost.holder(end), self.ghost.holder(end.peer())) else { continue };
            let Some(process) = self.world.process(here) else { continue };
            let router = process.inspect(|view| view.router(view.router_of(handle)?));
            if let Some(LinkView::Remote { link, .. }) = router.and_then(|router| router.out.primary) {
                self.checks.broken.know(here, there, link);
            }
        }
    }

    /// Marks the pipes that cuts may have touched, after a step of `process`, or of all.
    ///
    /// At depth L1 that is all of them: activities stand in the middle of routers, so nobody can look.
    pub fn mark(&mut self, process: Option<u32>) {
        if self.threads.is_some() {
            return self.ghost.touch_all();
        }
        let Stage { world, ghost, checks, names, homes, .. } = self;
        let find = |ghost: &crate::ghost::Ghost, at, handle| Stage::find(homes, ghost, at, handle);
        checks.broken.mark(world, ghost, names, &find, process);
    }
}
