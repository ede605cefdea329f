//! Cuts: of links and of nodes. Before anything breaks, everybody who may be touched is noted.

use ipcz::inspect::LinkView;

use super::acts::Deed;
use super::stage::{Home, Stage};
use crate::world::Strike;

/// For how many of the longest latencies a cut may still take routes along: until everybody knows.
const NOTICED: u64 = 8;
/// How many of the longest faults may come one after the other.
pub(crate) const LATE: u64 = 6;

impl Stage {
    /// Cuts the links between two nodes; false if there is none to cut.
    pub fn cut_link(&mut self, a: u32, b: u32) -> bool {
        let until = self.noticed();
        if !self.sever(a, b, until) {
            return false;
        }
        self.say(u32::MAX, || format!("the link between process {a} and process {b} is cut"));
        self.world.cut_link(a, b);
        true
    }

    /// Notes what goes down with the links between two nodes, which everybody has missed at `until`; false if there are none.
    pub(super) fn sever(&mut self, a: u32, b: u32, until: u64) -> bool {
        if self.world.is_gone(a) || self.world.is_gone(b) || !(self.neighbours(a).contains(&b) || self.are_connecting(a, b)) {
            return false;
        }
        self.doubt(&[a, b]);
        self.calls.cuts += 1;
        self.cuts += 1;
        self.note(Deed::CutLink { processes: [a, b] });
        self.checks.honesty.excuse(a, b);
        if until == u64::MAX {
            // Nobody knows when the second end learns it.
            self.checks.honesty.loosen(a, b);
        }
        self.checks.broken.wound(a, b, until);
        for (client, broker) in [(a, b), (b, a)] {
            if self.homes[broker as usize].broker && !self.homes[client as usize].broker {
                self.lose_all(client, until);
            }
        }
        if self.homes[a as usize].broker && self.homes[b as usize].broker {
            self.part_networks(a, b, until);
        }
        self.mark(None);
        true
    }

    /// Acts upon what struck since the last time; whether anything did.
    pub fn suffer(&mut self) -> bool {
        // Asked twice an event: the world's lock is not taken for nothing.
        if !self.faulty {
            return false;
        }
        let mut any = false;
        loop {
            let mut strikes = std::mem::take(&mut self.strikes);
            self.world.take_strikes(&mut strikes);
            if strikes.is_empty() {
                self.strikes = strikes;
                return any;
            }
            any = true;
            for strike in strikes.drain(..) {
                self.struck(strike);
            }
            self.strikes = strikes;
        }
    }

    fn struck(&mut self, strike: Strike) {
        match strike {
            Strike::Cut(a, b) => {
                if self.cut_link(a, b) {
                    self.checks.honesty.loosen(a, b);
                }
            }
            Strike::HalfOpen(a, b) => {
                if self.sever(a, b, u64::MAX) {
                    self.say(u32::MAX, || format!("the link between process {a} and process {b} is cut; only the first learns it"));
                    self.world.half_open(a, b);
                }
            }
            Strike::RefuseSend(a, b) => {
                if self.sever(a, b, u64::MAX) {
                    self.say(u32::MAX, || format!("the transport will refuse what process {a} next sends process {b}"));
                    self.world.refuse_next(a, b);
                }
            }
            Strike::Crash(process) | Strike::LoseBroker(process) => {
                self.kill(process);
            }
            Strike::NotIntroduced(a, b) => {
                self.cuts += 1;
                self.doubt(&[a, b]);
                let until = self.noticed();
                // Of two networks: a broker that was not introduced to a node of the other one can't introduce it to its own. And one end of
                // a link is nobody's while the message that brings it is under way: then it may be about anybody.
                let clients = [a, b].iter().all(|process| self.homes.get(*process as usize).is_some_and(|home| !home.broker));
                self.checks.broken.unintroduced(clients.then_some([a, b]), until);
                self.introduce_by_others(until);
                self.mark(None);
            }
            Strike::NoMemory(process) => {
                self.find_scarce();
                self.doubt(&[process]);
                if self.homes[process as usize].broker {
                    let until = self.noticed();
                    self.checks.broken.unintroduced(None, until);
                    self.introduce_by_others(until);
                }
                self.mark(None);
            }
            Strike::Corrupt(a, b) => self.distrust(a, b),
        }
    }

    /// From now on link memory may be short.
    pub fn find_scarce(&mut self) {
        self.cuts += 1;
        (self.checks.broken.scarce, self.checks.shape.scarce) = (true, true);
    }

    /// Somebody lied over the link between two processes. Whom a broker lies to, nobody can trust: it may be linked with anybody under
    /// any name.
    fn distrust(&mut self, a: u32, b: u32) {
        // Who lies and dies has lied nevertheless: what it said arrives.
        if a == b || b == u32::MAX {
            return;
        }
        self.cuts += 1;
        self.say(u32::MAX, || format!("what process {a} and process {b} tell each other is no longer true"));
        let mut pairs = vec![(a, b)];
        for (client, broker) in [(a, b), (b, a)] {
            if self.homes[broker as usize].broker && !self.homes[client as usize].broker {
                pairs.extend((0..self.homes.len() as u32).filter(|other| *other != client).map(|other| (client, other)));
            }
        }
        if self.homes[a as usize].broker && self.homes[b as usize].broker {
            // Each believes of the other's network what it is told.
            let nodes = 0..self.homes.len() as u32;
            pairs.extend(nodes.clone().flat_map(|one| nodes.clone().map(move |other| (one, other))).filter(|(one, other)| one < other));
        }
        for (a, b) in pairs {
            self.checks.honesty.lie(a, b);
            self.checks.broken.lie(a, b);
            let pair = (a.min(b), a.max(b));
            if !self.lies.contains(&pair) {
                self.lies.push(pair);
            }
        }
        self.mark(None);
    }

    /// The work is over and faults end: links over which somebody lied are cut, so that everything else can be judged.
    pub fn heal(&mut self) {
        self.world.disarm_faults();
        self.suffer();
        self.shut_out();
        for (a, b) in std::mem::take(&mut self.lies) {
            self.cut_link(a, b);
        }
        self.checks.broken.forgive(self.noticed());
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
        let until = self.noticed();
        self.doubt(&[process]);
        if self.homes[process as usize].broker {
            if self.homes.iter().filter(|home| home.broker).count() > 1 {
                // Nodes of networks that it connected are not introduced to each other any more.
                self.checks.broken.unintroduced(None, u64::MAX);
            }
            for client in self.neighbours(process) {
                if !self.homes[client as usize].broker {
                    self.lose_all(client, until);
                }
            }
        }
        self.lose_all(process, until);
        self.mark(None);
        self.world.kill(process);
        self.ghost.kill(process);
        self.forget_open(process);
        let Home { broker, delegate, .. } = self.homes[process as usize];
        self.homes[process as usize] = Home { broker, delegate, ..Home::default() };
        true
    }

    /// When everybody knows of what happens now.
    pub(super) fn noticed(&self) -> u64 {
        if self.world.is_scheduled() || self.threads.is_some() {
            // Who is slow to notice is the schedule's business.
            return u64::MAX;
        }
        self.world.now() + NOTICED * self.longest + LATE * self.world.longest_fault()
    }

    /// A process is about to lose all its links.
    fn lose_all(&mut self, process: u32, until: u64) {
        // Whom an introduction is on its way to will make that link first and lose it then.
        self.checks.broken.isolate(process, until);
        self.doubt(&[process]);
        if until == u64::MAX || self.world.is_dying(process) {
            // Nobody knows when, or it is just about to make links.
            (0..self.homes.len() as u32).for_each(|other| self.checks.honesty.loosen(process, other));
        }
        self.checks.honesty.excuse_all(process);
        self.checks.honesty.late |= self.world.longest_fault() > 0;
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
            let (Some((here, handle)), Some((there, _))) = (self.ghost.holder(end), self.ghost.holder(self.ghost.peer(end))) else {
                continue;
            };
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
            self.ghost.touch_all();
            if self.checks.broken.lied() {
                self.ghost.taint_all();
            }
            return;
        }
        let Stage { world, ghost, checks, names, homes, .. } = self;
        let find = |ghost: &crate::ghost::Ghost, at, handle| Stage::find(homes, ghost, at, handle);
        checks.broken.mark(world, ghost, names, &find, process);
    }
}
