//! What is looked at while a run goes on: messages on the wire, the process that was called last, and now and then everything.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ipcz::inspect::{RouterView, View};

use super::{LOOK_AT_ALL_EVERY, LastProxy, Phase, Run, Verdict, config};
use crate::app::Stage;
use crate::check::{Checked, Checks, Scope, Seen, Snapshot, Violation, links};

/// One router is looked at once in so many steps.
const LOOK_EVERY: u64 = 8;
/// In a world of so few processes what a step has flushed is always looked at, and where each parcel came from; else once in so many.
const FEW_PROCESSES: usize = 16;
/// Proxies are looked at once in so many steps, in processes that hold at most so many portals.
const LOOK_AT_PROXIES_EVERY: u64 = 8;
const FEW_HELD: u64 = 256;

impl Run {
    /// What the wire has shown.
    pub(super) fn watched(&mut self) -> Checked {
        self.read_sent();
        let (violation, seen) = {
            let mut watch = self.watch.lock();
            for (name, process) in watch.named.drain(..) {
                self.stage.names.learn(name, process);
            }
            (watch.violation.take(), watch.seen.take())
        };
        if let Some(violation) = violation {
            return Err(violation);
        }
        match seen {
            Some(seen) => {
                self.stage.checks.hostility.delivered(&mut self.stage.ghost, seen)?;
                self.took(seen)?;
                let processes = self.stage.world.processes();
                self.stage.checks.secrecy.delivered(&mut self.stage.ghost, seen, processes)
            }
            None => Ok(()),
        }
    }

    /// Parcels in link memory that have just been sent are looked at before anybody can free their blocks: at depth L1 somebody can.
    pub(super) fn read_sent(&mut self) {
        let mut watch = self.watch.lock();
        if self.engine.is_some() {
            return watch.sent.clear();
        }
        for sent in watch.sent.drain(..) {
            self.stage.checks.secrecy.sent(&self.stage.world, &self.stage.names, sent);
        }
    }

    /// A process was called: its proxies are counted, and now and then one of its routers is looked at.
    pub(super) fn look(&mut self, process: u32) -> Checked {
        let home = &self.stage.homes[process as usize];
        let held = (home.free.len() + home.named.len() + home.connections.len()) as u64;
        let now_and_then = self.events.is_multiple_of(LOOK_EVERY);
        let chosen = (held > 0 && now_and_then).then(|| home.all().nth((self.events / LOOK_EVERY % held) as usize));
        let handle = chosen.flatten().and_then(|end| Some(self.stage.ghost.holder(end)?.1));
        let look_closely = self.small() || now_and_then;
        let Stage { world, names, checks: Checks { steps, hostility, honesty, broken, .. }, .. } = &mut self.stage;
        let Some(body) = world.process(process) else { return Ok(()) };
        // Where all liars are known, only what is linked with one is beyond belief.
        let (lied_to, precise) = (honesty.lied_to(process), hostility.any() && !broken.lied() && !hostility.is(process));
        let liar = |name| names.process(name).is_none_or(|far| hostility.is(far));
        let doubted = |view: &View<'_>, router: &RouterView| {
            let of_liar = |link| view.remote_name(link).is_none_or(liar);
            lied_to && (!precise || links(router).any(|(link, _)| link.node_link().is_some_and(of_liar)))
        };
        let proxies = body.inspect(|view| {
            let routers =
                [handle.and_then(|handle| view.router(view.router_of(handle)?)), if look_closely { view.last_flushed() } else { None }];
            let bound = |link, sublink| view.bound(link, sublink);
            routers.iter().flatten().try_for_each(|router| steps.router(process, router, bound, doubted(view, router)))?;
            if held <= FEW_HELD {
                steps.nodes(process, view)?;
            }
            Ok::<_, Box<Violation>>(view.proxies())
        })?;
        let known = &mut self.proxies[process as usize];
        let were = self.proxies_now;
        self.proxies_now = were + proxies - *known;
        *known = proxies;
        if matches!(self.phase, Phase::Work | Phase::Settle) && (were == 0) != (self.proxies_now == 0) {
            self.outcome.last_proxy = (self.proxies_now == 0).then(|| LastProxy {
                at_ns: world.now().saturating_sub(self.start),
                traffic: config::traffic(world).since(&self.before.0),
            });
        }
        if self.phase != Phase::SetUp {
            self.outcome.peaks.proxies = self.outcome.peaks.proxies.max(self.proxies_now as u64);
        }
        if proxies > 0 && held <= FEW_HELD && self.events.is_multiple_of(LOOK_AT_PROXIES_EVERY) {
            body.inspect(|view| {
                let bound = |link, sublink| view.bound(link, sublink);
                view.proxy_routers().try_for_each(|router| steps.router(process, &router, bound, doubted(view, &router)))
            })?;
        }
        Ok(())
    }

    /// What a process spends on liars; and a liar that was shut out comes back.
    pub(super) fn beset(&mut self, process: u32) -> Checked {
        if !self.stage.checks.hostility.any() {
            return Ok(());
        }
        let Stage { world, names, checks, .. } = &mut self.stage;
        if let Some(body) = world.process(process) {
            checks.hostility.spending(process, body, names)?;
        }
        if self.phase == Phase::Work && checks.hostility.is(process) {
            let scenario = Arc::clone(&self.scenario);
            self.stage.come_back(|liar| config::broker_of(&scenario, liar))?;
        }
        Ok(())
    }

    /// Whether a world is small enough to be looked at closely.
    pub(super) fn small(&self) -> bool {
        self.stage.homes.len() <= FEW_PROCESSES
    }

    /// A parcel has come: was it counted for the link that it took?
    pub(super) fn took(&mut self, seen: Seen) -> Checked {
        if !self.small() && !self.events.is_multiple_of(LOOK_AT_ALL_EVERY) {
            return Ok(());
        }
        let Some((to, from)) = self.stage.world.process(seen.to).filter(|body| !body.is_busy()).zip(self.stage.names.name(seen.from))
        else {
            return Ok(());
        };
        let found = to.inspect(|view| {
            let (link, router) = view.bound_from(from, seen.sublink)?;
            Some((link, view.router(router)?))
        });
        let Some((link, router)) = found else { return Ok(()) };
        let lied_to = self.stage.checks.honesty.lied_to(seen.to);
        self.stage.checks.steps.parcel(seen.to, &router, (link, seen.sublink), seen.number, lied_to)
    }

    /// Links and whole routes of a world in which no link was cut and nobody lies: there is nothing to excuse.
    pub(super) fn look_at_all(&mut self, scope: Scope) -> Checked {
        if self.stage.cuts > 0 || self.stage.checks.honesty.any_excuse() {
            return Ok(());
        }
        let snapshot = Snapshot::of(&self.stage.world, false);
        self.stage.checks.routes.look(&self.stage.ghost, &snapshot, scope)
    }

    /// Counts that cost more than an event.
    pub(super) fn seldom(&mut self) {
        let population = self.stage.world.population();
        let peaks = &mut self.outcome.peaks;
        peaks.pipes = peaks.pipes.max(self.stage.ghost.open_pipes());
        peaks.messages = peaks.messages.max(population.messages as u64);
        peaks.events = peaks.events.max(population.events as u64);
        peaks.pages = peaks.pages.max(population.resident_pages as u64);
        if self.options.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            self.outcome.verdict = Verdict::Stopped;
            self.phase = Phase::Done;
        }
    }
}
