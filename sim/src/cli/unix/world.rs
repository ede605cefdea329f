//! The processes of a world: set-up, the scenario's steps in the order that they wait for each other, rest, the end.

use std::collections::BTreeMap;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use ipcz::{Attachment, BoxContents, Error, Node, Portal};
use ipcz_drivers::UnixDriver;
use ipcz_drivers::unix::launch;

use super::inbox::Inbox;
use super::ledger::{History, Ledger, News};
use super::words::{Key, Order, Report, To};
use crate::ghost::TAG_BYTES;
use crate::scenario::{Action, PortalId, Scenario, StepId, Wait};

/// The hidden command that a process of a world runs.
pub const COMMAND: &str = "unix-node";
/// How long nothing may happen while something is missing.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long routes may take to settle once everything has arrived, in looks and the time between two.
const LOOKS: u32 = 1000;
const BETWEEN: Duration = Duration::from_millis(10);
/// Bytes of a parcel that carries a portal.
const TAG: u64 = TAG_BYTES as u64;

/// Why a run has no result.
#[derive(Debug)]
pub enum Failed {
    /// Something that must hold does not.
    Violated(String),
    /// The system failed.
    Trouble(String),
    /// Ctrl-C.
    Interrupted,
}

/// What a world was like at rest.
pub struct Rest {
    /// Of each portal of the scenario.
    pub histories: Vec<History>,
    /// Parcels of `send` steps taken.
    pub delivered: u64,
    /// Over all processes.
    pub bypasses: u64,
    pub proxies: u64,
    /// Requirements that were not met.
    pub unmet: Vec<String>,
}

/// What is to be done once an order is carried out.
#[derive(Debug)]
enum After {
    /// Nothing.
    Nothing,
    /// These portals are the first of the new ones, in order.
    Place(Vec<PortalId>),
    /// Parcels were put.
    Put { from: PortalId, first: u64, count: u64, carried: Option<(PortalId, Key)> },
    /// A portal is closed.
    Closed(PortalId),
}

#[allow(clippy::disallowed_methods, reason = "real processes take real time")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

struct World<'a> {
    scenario: &'a Scenario,
    stop: &'a AtomicBool,
    mail: Arc<UnixDriver>,
    home: Node,
    parts: Vec<(Child, Portal)>,
    inbox: Inbox,
    ledger: Ledger,
    /// Orders not yet carried out, by number: whose, of which step, and what then.
    orders: BTreeMap<u64, (usize, Option<StepId>, After)>,
    ordered: u64,
    /// By step: not begun, begun, done.
    begun: Vec<bool>,
    done: Vec<bool>,
    arrivals: BTreeMap<(PortalId, usize), u64>,
    received: Vec<u64>,
    seen: Vec<(u64, u64, Vec<bool>)>,
}

/// Runs a scenario that is nothing but steps.
///
/// # Errors
/// Something did not hold, or the system failed.
pub fn run(scenario: &Scenario, stop: &AtomicBool) -> Result<Rest, Failed> {
    let trouble = |error: &dyn std::fmt::Display| Failed::Trouble(format!("can't start the world: {error}"));
    let mail = UnixDriver::new().map_err(|error| trouble(&error))?;
    let home = Node::broker(Arc::clone(&mail) as _).map_err(|error| trouble(&error))?;
    let inbox = Inbox::new();
    let mut parts = Vec::new();
    for node in 0..scenario.nodes.len() {
        let mut command = Command::new(std::env::current_exe().map_err(|error| trouble(&error))?);
        command.arg(COMMAND);
        let (child, mut portals) = launch(&home, &mail, command, 1).map_err(|error| trouble(&error))?;
        let portal = portals.remove(0);
        inbox.watch(node as u64, &portal);
        parts.push((child, portal));
    }
    let steps = scenario.steps.len();
    let mut world = World {
        ledger: Ledger::new(scenario),
        scenario,
        stop,
        mail,
        home,
        parts,
        inbox,
        orders: BTreeMap::new(),
        ordered: 0,
        begun: vec![false; steps],
        done: vec![false; steps],
        arrivals: BTreeMap::new(),
        received: vec![0; scenario.portals.len()],
        seen: vec![(0, 0, Vec::new()); scenario.nodes.len()],
    };
    let ended = world.live();
    let fallen = world.bury(ended.is_ok());
    // Whatever was seen first, this is why.
    match (ended, fallen) {
        (Err(Failed::Violated(why)), Some(node)) => Err(Failed::Violated(format!("the process of node {node} is gone; {why}"))),
        (ended, _) => ended,
    }
}

impl<'a> World<'a> {
    fn live(&mut self) -> Result<Rest, Failed> {
        self.set_up()?;
        let before = self.look()?;
        loop {
            while let Some(step) = (0..self.done.len()).find(|step| !self.begun[*step] && self.is_due(*step)) {
                self.begun[step] = true;
                self.begin(step)?;
            }
            if self.done.iter().all(|done| *done) && self.orders.is_empty() && self.ledger.missing().is_none() {
                break;
            }
            self.hear()?;
        }
        let mut rest = self.settle()?;
        rest.bypasses -= before.1;
        self.end()?;
        Ok(rest)
    }

    /// Gives an order.
    fn order(&mut self, node: usize, order: &Order, step: Option<StepId>, after: After, with: Vec<Attachment>) -> Result<(), Failed> {
        self.ordered += 1;
        let text = serde_json::to_vec(&(self.ordered, order)).map_err(|error| Failed::Trouble(format!("an order as text: {error}")))?;
        self.orders.insert(self.ordered, (node, step, after));
        self.parts[node].1.put_with(text, with).map_err(|refused| self.lost(node, refused.error))
    }

    fn lost(&self, node: usize, error: Error) -> Failed {
        Failed::Violated(format!("node {} does not answer any more: {error}", self.scenario.nodes[node].name))
    }

    /// Waits for something to happen, and takes note of it.
    fn hear(&mut self) -> Result<(), Failed> {
        let mut quiet = Duration::ZERO;
        let tick = Duration::from_millis(200);
        let node = loop {
            if self.stop.load(Relaxed) {
                return Err(Failed::Interrupted);
            }
            match self.inbox.next(tick) {
                Some(node) => break node as usize,
                None if quiet < PATIENCE => quiet += tick,
                None => return Err(Failed::Violated(self.stalled())),
            }
        };
        loop {
            match self.parts[node].1.get() {
                Ok(parcel) => {
                    let report = serde_json::from_slice(&parcel.data);
                    self.note(node, report.map_err(|error| Failed::Trouble(format!("a report that is none: {error}")))?)?;
                }
                Err(Error::Unavailable) => {
                    self.inbox.watch(node as u64, &self.parts[node].1);
                    return Ok(());
                }
                Err(error) => return Err(self.lost(node, error)),
            }
        }
    }

    fn stalled(&self) -> String {
        let step = (0..self.done.len()).find(|step| !self.done[*step]);
        let step = step.map(|step| format!("\"{}\" is not done", self.scenario.steps[step].id));
        let order = self.orders.values().next().map(|(node, ..)| format!("node {} does not answer", self.scenario.nodes[*node].name));
        let all: Vec<_> = [self.ledger.missing(), order, step].into_iter().flatten().collect();
        format!("nothing has happened for {} s: {}", PATIENCE.as_secs(), all.join("; "))
    }

    fn note(&mut self, node: usize, report: Report) -> Result<(), Failed> {
        match report {
            Report::Took { portal, bytes, hash, arrived } => {
                match self.ledger.took(node, portal, bytes, hash, &arrived).map_err(Failed::Violated)? {
                    News::Received(portal) => self.received[portal] += 1,
                    News::Arrived(portal, node) => *self.arrivals.entry((portal, node)).or_default() += 1,
                    News::Nothing => {}
                }
            }
            Report::Dead { portal } => self.ledger.died(node, portal).map_err(Failed::Violated)?,
            Report::Seen { proxies, bypasses, direct } => self.seen[node] = (proxies, bypasses, direct),
            Report::Left { objects, library } => {
                let name = &self.scenario.nodes[node].name;
                if objects > 0 || !library.is_empty() {
                    return Err(Failed::Violated(format!("node {name} leaves {objects} objects of its driver; {library}")));
                }
            }
            Report::Done { order, times, made, refused } => {
                let Some((_, step, after)) = self.orders.remove(&order) else {
                    return Err(Failed::Trouble("an order was carried out twice".to_owned()));
                };
                match (after, refused) {
                    (After::Put { from, first, count, carried }, Some(_)) => {
                        self.ledger.refused(from, first + times..first + count, carried, node).map_err(Failed::Violated)?;
                    }
                    (_, Some(why)) => {
                        let what =
                            step.map_or_else(|| "set-up or the end".to_owned(), |step| format!("\"{}\"", self.scenario.steps[step].id));
                        return Err(Failed::Violated(format!("{what} was refused by node {}: {why}", self.scenario.nodes[node].name)));
                    }
                    (After::Place(portals), None) => {
                        portals.into_iter().zip(made).for_each(|(portal, key)| self.ledger.place(portal, node, key))
                    }
                    (After::Closed(portal), None) => self.ledger.closed(portal),
                    (After::Nothing | After::Put { .. }, None) => {}
                }
                if let Some(step) = step {
                    self.done[step] = !self.orders.values().any(|(_, of, _)| *of == Some(step));
                }
            }
        }
        Ok(())
    }

    fn calm(&mut self) -> Result<(), Failed> {
        while !self.orders.is_empty() || self.ledger.missing().is_some() {
            self.hear()?;
        }
        Ok(())
    }

    fn set_up(&mut self) -> Result<(), Failed> {
        let scenario = self.scenario;
        for (node, spec) in scenario.nodes.iter().enumerate() {
            self.order(node, &Order::Be { broker: spec.broker, mem_v2: spec.mem_v2 }, None, After::Nothing, Vec::new())?;
        }
        for link in &scenario.connects {
            self.connect(link.client, link.broker, link.ends, None)?;
        }
        self.calm()?;
        for pipe in &scenario.pipes {
            self.order(pipe.broker, &Order::Open, None, After::Place(pipe.ends.to_vec()), Vec::new())?;
            self.calm()?;
            for side in 0..2 {
                self.put(scenario.connects[pipe.links[side]].ends[1], 1, TAG, Some(pipe.ends[side]), None)?;
            }
        }
        self.calm()?;
        self.ledger.begin();
        self.received.fill(0);
        self.arrivals.clear();
        Ok(())
    }

    fn connect(&mut self, node: usize, to: usize, portals: [PortalId; 2], step: Option<StepId>) -> Result<(), Failed> {
        let ends = UnixDriver::socket_pair().map_err(|error| Failed::Trouble(format!("a pair of sockets: {error}")))?;
        let hows = match (self.scenario.nodes[node].broker, self.scenario.nodes[to].broker) {
            (true, _) => [To::Broker; 2],
            (false, true) => [To::Broker, To::Normal],
            (false, false) => [To::Inherited, To::Referred],
        };
        for (((at, how), socket), portal) in [node, to].into_iter().zip(hows).zip(ends).zip(portals) {
            let boxed = self.home.box_object(BoxContents::Driver(self.mail.file(socket)));
            let boxed = boxed.map_err(|error| Failed::Trouble(format!("a socket in a box: {error}")))?;
            let order = Order::Connect { to: how, delegate: at == node && self.scenario.nodes[node].delegate };
            self.order(at, &order, step, After::Place(vec![portal]), vec![boxed.into()])?;
        }
        Ok(())
    }

    /// Puts parcels into a portal, if somebody has it.
    fn put(&mut self, from: PortalId, count: u64, bytes: u64, carried: Option<PortalId>, step: Option<StepId>) -> Result<(), Failed> {
        let Some((node, portal)) = self.ledger.holder(from) else { return self.skip(step) };
        let key = match carried.map(|carried| (carried, self.ledger.holder(carried))) {
            None => None,
            Some((carried, Some((at, key)))) if at == node => Some((carried, key)),
            Some(_) => return self.skip(step),
        };
        let number = self.ledger.put(from, count, bytes, carried);
        let order = Order::Put { portal, from: from as u32, number, count, bytes, carries: key.map(|(_, key)| key) };
        self.order(node, &order, step, After::Put { from, first: number, count, carried: key }, Vec::new())
    }

    /// What a step was about is no longer there.
    fn skip(&mut self, step: Option<StepId>) -> Result<(), Failed> {
        step.into_iter().for_each(|step| self.done[step] = true);
        Ok(())
    }

    fn is_due(&self, step: StepId) -> bool {
        self.scenario.steps[step].after.iter().all(|wait| match *wait {
            Wait::Done(other) => self.done[other],
            Wait::Arrived { portal, node, times } => self.arrivals.get(&(portal, node)).is_some_and(|had| *had >= u64::from(times)),
            Wait::Received { portal, count } => self.received[portal] >= count,
        })
    }

    fn begin(&mut self, id: StepId) -> Result<(), Failed> {
        let step = &self.scenario.steps[id];
        let node = step.on.unwrap_or_default();
        match step.action {
            Action::Open { portals } => self.order(node, &Order::Open, Some(id), After::Place(portals.to_vec()), Vec::new()),
            Action::Connect { to, portals } => self.connect(node, to, portals, Some(id)),
            Action::Send { from, count, bytes, .. } => self.put(from, count, bytes, None, Some(id)),
            Action::Hand { portal, over, .. } => self.put(over, 1, TAG, Some(portal), Some(id)),
            Action::Close { portal } => {
                let Some((node, key)) = self.ledger.holder(portal) else { return self.skip(Some(id)) };
                self.ledger.close(portal);
                self.order(node, &Order::Close { portal: key }, Some(id), After::Closed(portal), Vec::new())
            }
            Action::Merge { portals: [a, b] } => {
                let (Some((at, x)), Some((with, y))) = (self.ledger.holder(a), self.ledger.holder(b)) else { return self.skip(Some(id)) };
                if at != with {
                    return self.skip(Some(id));
                }
                self.ledger.merge(a, b);
                self.order(at, &Order::Merge { portals: [x, y] }, Some(id), After::Nothing, Vec::new())
            }
            Action::Query { portal } => {
                let Some((node, portal)) = self.ledger.holder(portal) else { return self.skip(Some(id)) };
                self.order(node, &Order::Query { portal }, Some(id), After::Nothing, Vec::new())
            }
            // How parcels are taken makes no difference to what is in them.
            Action::Get { .. } => self.skip(Some(id)),
            Action::CutNode { .. } | Action::CutLink { .. } => Err(Failed::Trouble("a cut in real processes".to_owned())),
        }
    }

    /// Proxies and bypasses of all processes, and which of the pairs of `require.direct` are linked directly.
    fn look(&mut self) -> Result<(u64, u64, Vec<bool>), Failed> {
        let pairs = &self.scenario.require.direct;
        let holders: Vec<_> = pairs.iter().map(|pair| pair.map(|portal| self.ledger.holder(portal))).collect();
        let of = |node: usize| holders.iter().flatten().flatten().filter(move |(at, _)| *at == node).map(|(_, key)| *key);
        for node in 0..self.parts.len() {
            let portals = of(node).collect();
            self.order(node, &Order::Look { portals }, None, After::Nothing, Vec::new())?;
        }
        while !self.orders.is_empty() {
            self.hear()?;
        }
        let mut told: Vec<_> = self.seen.iter().map(|(_, _, direct)| direct.iter()).collect();
        let direct = holders.iter().map(|pair| {
            let ends = pair.map(|end| end.is_some_and(|(node, _)| told[node].next().copied().unwrap_or(false)));
            ends.into_iter().all(|direct| direct)
        });
        let direct = direct.collect();
        Ok((self.seen.iter().map(|seen| seen.0).sum(), self.seen.iter().map(|seen| seen.1).sum(), direct))
    }

    /// Waits until no proxy is left, and says what came of it all.
    fn settle(&mut self) -> Result<Rest, Failed> {
        let mut seen = self.look()?;
        for _ in 0..LOOKS {
            if seen.0 == 0 && seen.2.iter().all(|direct| *direct) {
                break;
            }
            pause(BETWEEN);
            seen = self.look()?;
        }
        let (proxies, bypasses, direct) = seen;
        if proxies > 0 {
            return Err(Failed::Violated(format!("{proxies} proxies are left for good")));
        }
        let scenario = self.scenario;
        let histories = self.ledger.histories();
        let delivered = self.received.iter().sum();
        let closed = histories.iter().filter(|history| history.dead).count() as u64;
        let short = |name: &str, demanded: Option<u64>, reached: u64| {
            demanded.filter(|demanded| reached < *demanded).map(|demanded| format!("{name}: {reached}, at least {demanded} are demanded"))
        };
        let indirect = scenario.require.direct.iter().zip(direct).filter(|(_, direct)| !direct);
        let unmet = indirect
            .map(|(pair, _)| format!("{} are not linked directly", pair.map(|portal| &*scenario.portals[portal].name).join(" and ")));
        let counts = [short("delivered", scenario.require.delivered, delivered), short("closed", scenario.require.closed, closed)];
        let unmet = unmet.chain(counts.into_iter().flatten()).collect();
        Ok(Rest { histories, delivered, bypasses, proxies, unmet })
    }

    /// Everything is closed; nothing may be left.
    fn end(&mut self) -> Result<(), Failed> {
        (0..self.scenario.portals.len()).for_each(|portal| self.ledger.close(portal));
        for order in [Order::CloseAll, Order::End] {
            for node in 0..self.parts.len() {
                self.order(node, &order, None, After::Nothing, Vec::new())?;
            }
            while !self.orders.is_empty() {
                self.hear()?;
            }
        }
        Ok(())
    }

    /// Lets the processes go, or ends them if something went wrong; answers the node of one that had ended by itself.
    fn bury(mut self, well: bool) -> Option<&'a str> {
        let mut fallen = None;
        if !well {
            // The system closes what a process had before it says that there is none.
            pause(Duration::from_millis(100));
        }
        for ((mut child, portal), spec) in std::mem::take(&mut self.parts).into_iter().zip(&self.scenario.nodes) {
            if !well && child.try_wait().is_ok_and(|status| status.is_some()) {
                fallen.get_or_insert(spec.name.as_str());
            }
            drop(portal);
            if !well {
                // It may have ended by itself.
                let _ = child.kill();
            }
            let _ = child.wait();
        }
        fallen
    }
}
