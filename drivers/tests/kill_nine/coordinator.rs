//! The broker's process: starts workers, hands them the ends of pipes, kills some, and holds what is left against what must be.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{self, Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ipcz::ids::{Handle, NodeType};

use super::said::{Carried, Command, EndId, Report};
use super::truth::{Tally, Truth};
use super::{Dice, Holdings};
use crate::processes::Program;

/// How many, how long.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub processes: usize,
    pub pipes: usize,
    pub duration: Duration,
    pub seed: u64,
    /// Killed a round.
    pub kills: usize,
    /// How long anything may take.
    pub patience: Duration,
}

/// What a run has shown.
pub struct Result {
    pub tally: Tally,
    /// Beside the counts of the routes: what survivors had at the end, as text.
    pub left: Vec<String>,
    pub wrong: Vec<String>,
}

struct Worker {
    child: Child,
    control: UnixStream,
    bootstrap: Handle,
    sent: u64,
    reader: JoinHandle<()>,
}

struct Coordinator<F> {
    command: F,
    settings: Settings,
    program: Program,
    workers: BTreeMap<u32, Worker>,
    started: u32,
    reports: Receiver<(u32, Option<String>)>,
    report: Sender<(u32, Option<String>)>,
    /// Killed, and not heard to the end.
    dying: usize,
    truth: Truth,
    dice: Dice,
    wrong: Vec<String>,
}

/// Runs it all. `command` makes the command that starts a worker, which is to call [`super::worker::work`] with its standard input, the
/// socket of the number that it is told, and the seed.
pub fn run<F: Fn() -> process::Command>(command: F, settings: Settings, tell: fn(&mut process::Command, i32, u64)) -> Result {
    let before = Holdings::now();
    let (report, reports) = channel();
    let mut all = Coordinator {
        command,
        settings,
        program: Program::new(NodeType::Broker),
        workers: BTreeMap::new(),
        started: 0,
        reports,
        report,
        dying: 0,
        truth: Truth::default(),
        dice: Dice::new(settings.seed),
        wrong: Vec::new(),
    };
    for _ in 0..settings.processes {
        all.start(tell);
    }
    let begun = Instant::now();
    let mut round = 0;
    while all.wrong.is_empty() && begun.elapsed() < settings.duration {
        round += 1;
        all.round(round, tell);
    }
    let mut left = all.end();
    let Coordinator { program, truth, mut wrong, .. } = all;
    program.end();
    let after = Holdings::now();
    left.push(format!("the broker had before and after {before:?}"));
    if after != before {
        wrong.push(format!("the broker had {before:?} and is left with {after:?}"));
    }
    Result { tally: truth.tally, left, wrong }
}

impl<F: Fn() -> process::Command> Coordinator<F> {
    /// One more worker, with a carrier to each other.
    fn start(&mut self, tell: fn(&mut process::Command, i32, u64)) {
        let id = self.started;
        self.started += 1;
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let mut command = (self.command)();
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null());
        let seed = self.settings.seed.wrapping_mul(1_000_003) + u64::from(id);
        let (child, bootstrap) = self.program.start(command, |command, number| tell(command, number, seed));
        let (report, lines) = (self.report.clone(), BufReader::new(ours.try_clone().expect("a descriptor")));
        let reader = std::thread::spawn(move || {
            for line in lines.lines().map_while(std::result::Result::ok) {
                let _ = report.send((id, Some(line)));
            }
            let _ = report.send((id, None));
        });
        let others: Vec<u32> = self.workers.keys().copied().collect();
        self.workers.insert(id, Worker { child, control: ours, bootstrap, sent: 0, reader });
        for other in others {
            let (p, q) = self.program.process.open_portals(self.program.node).expect("a pair of portals");
            self.give(id, Carried::Carrier { to: other }, Some(p));
            self.give(other, Carried::Carrier { to: id }, Some(q));
        }
    }

    /// Sends it over its bootstrap portal, unless it is gone.
    fn give(&mut self, to: u32, what: Carried, portal: Option<Handle>) {
        let Some(worker) = self.workers.get_mut(&to) else { return };
        match self.program.process.put(worker.bootstrap, &what.bytes(worker.sent), portal.as_slice()) {
            Ok(()) => worker.sent += 1,
            // Its reader will say that it is dead, or else that is wrong.
            Err(error) => self.wrong.push(format!("giving {what:?} to {to}: {error}")),
        }
    }

    fn tell_all(&mut self, command: Command, round: u32) {
        for worker in self.workers.values_mut() {
            // Its reader hears of its end.
            let _ = worker.control.write_all(&command.bytes(round));
        }
    }

    fn round(&mut self, round: u32, tell: fn(&mut process::Command, i32, u64)) {
        while self.truth.open_routes() < self.settings.pipes {
            let ids: Vec<u32> = self.workers.keys().copied().collect();
            let holders = [0, 0].map(|_| ids[self.dice.below(ids.len())]);
            let route = self.truth.open(holders);
            let (p, q) = self.program.process.open_portals(self.program.node).expect("a pair of portals");
            for (side, (worker, portal)) in holders.into_iter().zip([p, q]).enumerate() {
                let end = EndId { route, side: side as u8 };
                self.give(worker, Carried::End { end, sent: 0, received: 0 }, Some(portal));
            }
        }
        self.tell_all(Command::Go, round);
        let length = 200 + self.dice.below(800) as u64;
        let end = Instant::now() + Duration::from_millis(length);
        let mut deaths: Vec<Instant> =
            (0..self.settings.kills).map(|_| Instant::now() + Duration::from_millis(self.dice.below(length as usize + 1) as u64)).collect();
        deaths.sort();
        for death in deaths {
            self.hear_until(death);
            self.kill();
            self.start(tell);
            let newest = self.workers.last_entry().expect("just started").into_mut();
            let _ = newest.control.write_all(&Command::Go.bytes(round));
        }
        self.hear_until(end);
        let all: Vec<u32> = self.workers.keys().copied().collect();
        all.iter().for_each(|worker| self.give(*worker, Carried::Mark { round }, None));
        self.tell_all(Command::Stop, round);
        let workers = self.workers.len();
        if !self.gather("delivered everything", workers, |report| *report == Report::Done { round }) {
            return;
        }
        self.tell_all(Command::List, round);
        if self.gather("said what they hold", workers, |report| matches!(report, Report::Listed { .. })) {
            self.wrong.extend(self.truth.judge());
        }
    }

    fn kill(&mut self) {
        let ids: Vec<u32> = self.workers.keys().copied().collect();
        let id = ids[self.dice.below(ids.len())];
        let mut worker = self.workers.remove(&id).expect("one of them");
        worker.child.kill().expect("it is ours");
        worker.child.wait().expect("it was killed");
        self.truth.killed(id);
        self.dying += 1;
        // What is left there says its reader.
        let _ = self.program.process.close(worker.bootstrap);
    }

    fn hear_until(&mut self, end: Instant) {
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            match self.reports.recv_timeout(left) {
                Ok((from, line)) => drop(self.hear(from, line)),
                Err(_) => return,
            }
        }
    }

    /// Hears until so many have said it, and the dying have said their last. False if not all did in time.
    fn gather(&mut self, what: &str, many: usize, is: impl Fn(&Report) -> bool) -> bool {
        let mut said = 0;
        while said < many || self.dying > 0 {
            match self.reports.recv_timeout(self.settings.patience) {
                Ok((from, line)) => said += usize::from(self.hear(from, line).is_some_and(|report| is(&report))),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    self.wrong.push(format!("{said} of {many} workers have {what} in {:?}", self.settings.patience));
                    return false;
                }
            }
            if !self.wrong.is_empty() {
                return false;
            }
        }
        true
    }

    fn hear(&mut self, from: u32, line: Option<String>) -> Option<Report> {
        let Some(line) = line else {
            match self.workers.contains_key(&from) {
                true => self.wrong.push(format!("worker {from} ended by itself")),
                false => self.dying -= 1,
            }
            return None;
        };
        let report = Report::parse(&line);
        match &report {
            Some(Report::Hands { end, to }) => self.truth.hands(from, *end, *to),
            Some(Report::Holds { end, progress }) => self.wrong.extend(self.truth.holds(from, *end, *progress).err()),
            Some(Report::Listed { links, sockets, mappings, buffers }) => {
                // Each link has a socket, and each of its buffers a mapping; nothing of a victim's is left.
                if (links, buffers) != (sockets, mappings) || *links > self.workers.len() {
                    self.wrong.push(format!(
                        "worker {from} has {links} links with {buffers} buffers to {} others; sockets: {sockets}, mappings: {mappings}",
                        self.workers.len()
                    ));
                }
            }
            Some(Report::Violation(what)) => self.wrong.push(format!("worker {from}: {what}")),
            Some(Report::Done { .. } | Report::Ended { .. }) => {}
            None => self.wrong.push(format!("worker {from} said {line:?}")),
        }
        report
    }

    /// Ends the workers, and says what they had before and after.
    fn end(&mut self) -> Vec<String> {
        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        if self.wrong.is_empty() {
            self.tell_all(Command::End, 0);
            let mut left = self.workers.len();
            while left > 0
                && let Ok((from, line)) = self.reports.recv_timeout(self.settings.patience)
            {
                match line.as_deref().map(Report::parse) {
                    Some(Some(Report::Ended { before, after })) => {
                        if before != after {
                            self.wrong.push(format!("worker {from} had {before} and is left with {after}"));
                        }
                        *lines.entry(format!("had before and after {before}")).or_default() += 1;
                    }
                    Some(_) => self.wrong.push(format!("worker {from} said {line:?} at its end")),
                    None => left -= 1,
                }
            }
            if left > 0 {
                self.wrong.push(format!("{left} workers did not end"));
            }
        }
        for (_, mut worker) in std::mem::take(&mut self.workers) {
            if !self.wrong.is_empty() {
                let _ = worker.child.kill();
            }
            let status = worker.child.wait();
            if self.wrong.is_empty() && !status.as_ref().is_ok_and(|status| status.success()) {
                self.wrong.push(format!("a worker ended with {status:?}"));
            }
            drop(worker.control);
            let _ = worker.reader.join();
        }
        lines.into_iter().map(|(line, workers)| format!("{workers} surviving workers {line}")).collect()
    }
}
