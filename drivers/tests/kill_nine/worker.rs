//! A process that is killed or not: puts, gets and hands over what ends it has.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ipcz::Error;
use ipcz::ids::{Handle, NodeType};
use ipcz::inspect::{LinkKind, LinkView};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::said::{Carried, Command, EndId, Progress, Report, heard, talk};
use super::{Dice, Holdings};
use crate::processes::Program;

/// Where both ends of a link are stable and nobody holds its lock (routing.md 5).
const STABLE: u32 = 0x03;

/// One in so many actions is a hand-over.
const HAND_OVERS: usize = 40;

/// Actions between looks at the coordinator's commands and the carriers.
const ACTIONS: usize = 40;

struct End {
    id: EndId,
    portal: Handle,
    progress: Progress,
    /// In this round: said how much it sent, and heard how much the other did.
    said: bool,
    heard: bool,
}

/// A pipe for hand-overs.
struct Carrier {
    portal: Handle,
    sent: u64,
    received: u64,
    /// The last round that the other end is done with.
    marked: u32,
}

struct Worker {
    program: Program,
    control: UnixStream,
    bootstrap: Carrier,
    carriers: BTreeMap<u32, Carrier>,
    ends: Vec<End>,
    dice: Dice,
    before: Holdings,
}

type Outcome<T> = Result<T, String>;

/// Works until it is told to end, or killed. `control` leads to the coordinator, `socket` to the broker.
pub fn work(control: UnixStream, socket: OwnedFd, seed: u64) -> Outcome<()> {
    let mut before = Holdings::now();
    // It is counted there, and is the node's from now on.
    (before.descriptors, before.sockets) = (before.descriptors - 1, before.sockets - 1);
    let program = Program::new(NodeType::Normal);
    let portal = program.join_broker(socket);
    let bootstrap = Carrier { portal, sent: 0, received: 0, marked: 0 };
    let mut worker = Worker { program, control, bootstrap, carriers: BTreeMap::new(), ends: Vec::new(), dice: Dice::new(seed), before };
    let outcome = worker.obey();
    if let Err(what) = &outcome {
        worker.say(&Report::Violation(what.clone()))?;
    }
    let Worker { program, mut control, .. } = worker;
    program.end();
    let after = Holdings::now();
    let ended = Report::Ended { before: format!("{before:?}"), after: format!("{after:?}") };
    writeln!(control, "{ended}").map_err(|error| error.to_string())?;
    outcome
}

impl Worker {
    fn say(&mut self, report: &Report) -> Outcome<()> {
        // In one piece, so that a victim's last line is whole or not there.
        self.control.write_all(format!("{report}\n").as_bytes()).map_err(|error| format!("the coordinator is gone: {error}"))
    }

    /// The next command, if one is there or comes in this time.
    fn command(&self, wait: Duration) -> Outcome<Option<(Command, u32)>> {
        let wait = Timespec::try_from(wait).map_err(|error| error.to_string())?;
        let there = poll(&mut [PollFd::from_borrowed_fd(self.control.as_fd(), PollFlags::IN)], Some(&wait));
        if there != Ok(1) {
            return Ok(None);
        }
        let mut bytes = [0; 5];
        std::io::Read::read_exact(&mut &self.control, &mut bytes).map_err(|_| "the coordinator is gone")?;
        Ok(Command::parse(bytes))
    }

    fn obey(&mut self) -> Outcome<()> {
        let mut working = false;
        loop {
            let wait = Duration::from_millis(if working { 1 } else { 5 });
            match self.command(wait)? {
                Some((Command::Go, _)) => working = true,
                Some((Command::Stop, round)) => {
                    working = false;
                    self.finish(round)?;
                    self.say(&Report::Done { round })?;
                }
                Some((Command::List, _)) => self.list()?,
                Some((Command::End, _)) => return Ok(()),
                None => {}
            }
            self.take_carried()?;
            if working {
                for _ in 0..ACTIONS {
                    self.act()?;
                }
            }
        }
    }

    /// Something at random.
    fn act(&mut self) -> Outcome<()> {
        if self.ends.is_empty() {
            return Ok(());
        }
        let at = self.dice.below(self.ends.len());
        // What has heard that this is all waits for the others to stop, too.
        if self.ends[at].progress.closed || self.ends[at].heard {
            return Ok(());
        }
        if self.dice.below(HAND_OVERS) == 0 && !self.carriers.is_empty() {
            let to = *self.carriers.keys().nth(self.dice.below(self.carriers.len())).expect("one of them");
            return self.hand_over(at, to);
        }
        if self.dice.below(2) == 0 {
            let filler = [0, 10, 100, 300, 2000, 20_000][self.dice.below(6)];
            return self.talk(at, filler);
        }
        for _ in 0..4 {
            if !self.listen(at)? {
                break;
            }
        }
        Ok(())
    }

    fn hand_over(&mut self, at: usize, to: u32) -> Outcome<()> {
        let end = &self.ends[at];
        let (id, portal, progress) = (end.id, end.portal, end.progress);
        self.say(&Report::Hands { end: id, to })?;
        let carrier = self.carriers.get_mut(&to).expect("chosen among them");
        let parcel = Carried::End { end: id, sent: progress.sent, received: progress.received }.bytes(carrier.sent);
        match self.program.process.put(carrier.portal, &parcel, &[portal]) {
            Ok(()) => {
                carrier.sent += 1;
                self.ends.swap_remove(at);
                Ok(())
            }
            // The worker at its other end is gone, or the way to it full.
            Err(Error::NotFound | Error::ResourceExhausted) => Ok(()),
            Err(error) => Err(format!("handing {id} to {to}: {error}")),
        }
    }

    fn talk(&mut self, at: usize, filler: usize) -> Outcome<()> {
        let end = &mut self.ends[at];
        match self.program.process.put(end.portal, &talk(end.id, false, end.progress.sent, filler), &[]) {
            Ok(()) => end.progress.sent += 1,
            // Closed, which reading will tell; or much waits.
            Err(Error::NotFound | Error::ResourceExhausted) => {}
            Err(error) => return Err(format!("{} put: {error}", end.id)),
        }
        Ok(())
    }

    /// Takes a parcel of a route, if there is one.
    fn listen(&mut self, at: usize) -> Outcome<bool> {
        let end = &mut self.ends[at];
        if end.progress.closed {
            return Ok(false);
        }
        match self.program.process.get(end.portal) {
            Ok(parcel) => {
                let (last, number) = heard(end.id, &parcel.data)?;
                if number != end.progress.received {
                    return Err(format!("{} got {number} (last: {last}) after {} parcels", end.id, end.progress.received));
                }
                match last {
                    true if end.heard => return Err(format!("{} was told twice that {number} is all", end.id)),
                    true => end.heard = true,
                    false => end.progress.received += 1,
                }
                Ok(true)
            }
            Err(Error::Unavailable) => Ok(false),
            Err(Error::NotFound) => {
                end.progress.closed = true;
                self.program.process.close(end.portal).map_err(|error| format!("{} close: {error}", end.id))?;
                Ok(false)
            }
            Err(error) => Err(format!("{} get: {error}", end.id)),
        }
    }

    /// Takes what the broker and other workers hand over.
    fn take_carried(&mut self) -> Outcome<()> {
        let gone = |worker: Option<u32>| match worker {
            Some(_) => Ok(()),
            None => Err("the broker's portal is closed".to_string()),
        };
        let peers: Vec<Option<u32>> = std::iter::once(None).chain(self.carriers.keys().copied().map(Some)).collect();
        for from in peers {
            loop {
                let carrier = match from {
                    None => &mut self.bootstrap,
                    Some(worker) => self.carriers.get_mut(&worker).expect("listed"),
                };
                let parcel = match self.program.process.get(carrier.portal) {
                    Ok(parcel) => parcel,
                    Err(Error::Unavailable) => break,
                    Err(Error::NotFound) => {
                        gone(from)?;
                        let carrier = self.carriers.remove(&from.expect("not the broker")).expect("listed");
                        self.program.process.close(carrier.portal).map_err(|error| format!("closing a carrier: {error}"))?;
                        break;
                    }
                    Err(error) => return Err(format!("get from {from:?}: {error}")),
                };
                let Some((number, carried)) = Carried::parse(&parcel.data) else { return Err("a carried parcel is damaged".into()) };
                if number != carrier.received {
                    return Err(format!("carried {number} came from {from:?} after {}", carrier.received));
                }
                carrier.received += 1;
                match (carried, &parcel.handles[..]) {
                    (Carried::Mark { round }, []) => carrier.marked = round,
                    (Carried::Carrier { to }, &[portal]) => {
                        self.carriers.insert(to, Carrier { portal, sent: 0, received: 0, marked: 0 });
                    }
                    (Carried::End { end, sent, received }, &[portal]) => {
                        let progress = Progress { sent, received, closed: false };
                        self.ends.push(End { id: end, portal, progress, said: false, heard: false });
                    }
                    (carried, handles) => return Err(format!("{carried:?} came with {} handles", handles.len())),
                }
            }
        }
        Ok(())
    }

    /// Ends a round: takes what is on its way, then has each of its ends say and hear how much there was.
    fn finish(&mut self, round: u32) -> Outcome<()> {
        while self.bootstrap.marked < round {
            self.take_carried()?;
            std::thread::sleep(Duration::from_millis(1));
        }
        // From now on no carrier is added.
        for carrier in self.carriers.values_mut() {
            if self.program.process.put(carrier.portal, &Carried::Mark { round }.bytes(carrier.sent), &[]).is_ok() {
                carrier.sent += 1;
            }
        }
        while self.carriers.values().any(|carrier| carrier.marked < round) {
            self.take_carried()?;
            std::thread::sleep(Duration::from_millis(1));
        }
        // And no end.
        while !self.ends.iter().all(|end| end.progress.closed || end.said && end.heard) {
            self.speak_and_listen()?;
            // A command means that the coordinator has lost patience.
            if let Some((command, _)) = self.command(Duration::from_millis(1))? {
                let open = self.ends.iter().filter(|end| !end.progress.closed && !end.heard);
                let open: Vec<String> = open.map(|end| format!("{} {:?}", end.id, self.describe(end.portal))).take(3).collect();
                return Err(format!("{command:?} while {open:?} wait for the other end"));
            }
        }
        Ok(())
    }

    fn speak_and_listen(&mut self) -> Outcome<()> {
        for at in 0..self.ends.len() {
            let end = &mut self.ends[at];
            if !end.progress.closed && !end.said {
                end.said = self.program.process.put(end.portal, &talk(end.id, true, end.progress.sent, 0), &[]).is_ok();
            }
            while self.listen(at)? {}
        }
        Ok(())
    }

    fn describe(&self, portal: Handle) -> String {
        self.program.process.inspect(|view| format!("{:?}", view.router_of(portal).and_then(|key| view.router(key))))
    }

    /// Whether nothing is between a portal and its peer.
    fn is_direct(&self, portal: Handle) -> bool {
        self.program.process.inspect(|view| {
            let Some(out) = view.router_of(portal).and_then(|key| view.router(key)).map(|router| router.out) else { return false };
            out.decaying.is_none()
                && match out.primary {
                    Some(LinkView::Local { status, .. }) => status == STABLE,
                    Some(LinkView::Remote { kind: LinkKind::Central, status, .. }) => status == Some(STABLE),
                    _ => false,
                }
        })
    }

    /// Waits until every route is direct or closed, says what there is, and forgets what is closed.
    fn list(&mut self) -> Outcome<()> {
        loop {
            self.speak_and_listen()?;
            let proxies = self.program.process.inspect(|view| view.proxies());
            let winding = self.ends.iter().find(|end| !end.progress.closed && !self.is_direct(end.portal));
            if proxies == 0 && winding.is_none() {
                break;
            }
            if let Some((command, _)) = self.command(Duration::from_millis(1))? {
                let winding = winding.map(|end| format!("{} {}", end.id, self.describe(end.portal)));
                return Err(format!("{command:?} while {proxies} proxies are left; not direct: {winding:?}"));
            }
        }
        for end in std::mem::take(&mut self.ends) {
            self.say(&Report::Holds { end: end.id, progress: end.progress })?;
            if !end.progress.closed {
                self.ends.push(End { said: false, heard: false, ..end });
            }
        }
        let (links, buffers) = self.program.process.inspect(|view| {
            let links = view.links();
            (links.len(), links.iter().map(|link| link.buffers).sum())
        });
        let Holdings { sockets, mappings, .. } = Holdings::now();
        self.say(&Report::Listed { links, sockets: sockets - self.before.sockets, mappings, buffers })
    }
}
