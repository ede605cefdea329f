//! An activity begins, goes on from where it stopped, and ends.

use std::panic::resume_unwind;

use super::{BEGINNING, Done, Engine, Running, Turned, Who, double_fetch, site, strikes};
use crate::app::{Stage, perform};
use crate::check::Checked;
use crate::fault::Fault;
use crate::world::activity::{self, Activity, Go, Kind, Resumed, Stop};
use crate::world::{Input, State};

impl Engine {
    /// The next input of a chain begins, and runs up to its first operation.
    pub(super) fn begin(&mut self, stage: &mut Stage, number: u32) -> Checked<Turned> {
        self.counts.inputs += 1;
        let chain = &mut self.chains[number as usize];
        chain.fetches.clear();
        let began = match chain.who {
            Who::Application(process) => self.begin_call(stage, number, process)?,
            _ => self.begin_event(stage, number),
        };
        if began != Turned::Began {
            self.refresh(number, stage.threads.as_ref());
            return Ok(began);
        }
        let turned = self.go_on(stage, number, BEGINNING, Go::On)?;
        Ok(if turned == Turned::Stopped { Turned::Began } else { turned })
    }

    fn begin_event(&mut self, stage: &mut Stage, number: u32) -> Turned {
        let Some(entry) = self.chains[number as usize].queue.pop_front() else { return Turned::Over };
        let (event, call) = stage.world.happen(entry.what);
        if let crate::world::Event::App { token } = event {
            return Turned::Token(token);
        }
        let Some(call) = call else { return Turned::Over };
        let process = call.process();
        self.disturb(stage, process);
        let input: Input = stage.world.input(call);
        self.start(number, process, Activity::new(move || Done::Told(input.run())))
    }

    /// A process is being notified: it may be paused, or its clock may leap.
    fn disturb(&mut self, stage: &Stage, process: u32) {
        let mut state = stage.world.state();
        if !state.faults.armed() {
            return;
        }
        if state.pauses(process) {
            let until = self.counts.operations() + state.hindrance(Fault::Pause, process);
            if self.paused.len() <= process as usize {
                self.paused.resize(process as usize + 1, 0);
            }
            self.paused[process as usize] = until;
            self.holding = true;
        }
        state.leap(process);
    }

    fn begin_call(&mut self, stage: &mut Stage, number: u32, process: u32) -> Checked<Turned> {
        let chain = &mut self.chains[number as usize];
        let call = match chain.next.take() {
            Some(call) => call,
            None => {
                let Some((job, errand)) = stage.threads.as_mut().and_then(|threads| threads.take(process)) else { return Ok(Turned::Over) };
                chain.errand = errand;
                // The end may have moved on since: whoever has it now reads it.
                let here = stage.ghost.holder(job.end()).is_some_and(|(holder, _)| holder == process);
                match if here { stage.begin(job)? } else { None } {
                    Some(call) => call,
                    None => {
                        stage.done(errand);
                        return Ok(Turned::Over);
                    }
                }
            }
        };
        let Some(body) = stage.world.process(process).cloned() else { return Ok(Turned::Over) };
        stage.world.state().seat(process).odd.calling = true;
        let activity = Activity::new(move || {
            let answer = perform(&body, &call.doing);
            Done::Answered(call, answer)
        });
        Ok(self.start(number, process, activity))
    }

    fn start(&mut self, number: u32, process: u32, activity: Activity<Done>) -> Turned {
        if self.busy.len() <= process as usize {
            self.busy.resize(process as usize + 1, None);
        }
        self.chains[number as usize].running = Some(Running { process, activity, stop: BEGINNING });
        Turned::Began
    }

    /// Counts and notes what a chain is about to do; of a word in memory it is also done, so that the activity need not ask the world.
    pub(super) fn carry_out(&mut self, state: &mut State, number: u32, process: u32, stop: Stop) -> Go {
        state.operation(number, stop);
        let Stop::Access(access) = stop else {
            self.counts.turns += 1;
            return Go::On;
        };
        self.counts.accesses += 1;
        if state.liars.at_work() {
            state.lie_between(process, access);
        }
        let faults = self.fine.faults;
        let mut flipped = 0;
        if self.chains[number as usize].fetches.again(access) {
            if faults.flipped == 0 {
                return Go::Tell;
            }
            flipped = u64::from(strikes(&mut state.source, site::FLIPPED, number, faults.flipped)) << (access.at % 7);
        }
        match access.kind {
            Kind::Read if flipped != 0 => Go::Flipped(flipped),
            Kind::Exchange { .. } if strikes(&mut state.source, site::SPURIOUS, number, faults.spurious) && !state.is_dying(process) => {
                Go::Done(Err(state.load(access)))
            }
            _ => state.carry_out(process, access).map_or(Go::On, |result| Go::Done(result.map(|value| value ^ flipped))),
        }
    }

    /// A chain goes on up to its next operation, or to its end.
    pub(super) fn go_on(&mut self, stage: &mut Stage, number: u32, stop: Stop, go: Go) -> Checked<Turned> {
        let Some(running) = &mut self.chains[number as usize].running else { return Ok(Turned::Over) };
        let process = running.process;
        let resumed = running.activity.resume(go);
        if let (Go::Tell, Stop::Access(access)) = (go, stop) {
            let place = activity::place().unwrap_or_default();
            self.abandoned.extend(self.chains[number as usize].running.take().map(|running| running.activity));
            return Err(double_fetch(access, process, &place));
        }
        self.busy[process as usize] = None;
        match resumed {
            Resumed::Stopped(stop) => {
                running.stop = stop;
                self.age(number, stage.threads.as_ref());
                if self.crashes > 0 && strikes(&mut stage.world.state().source, site::CRASH, process, self.fine.faults.crash) {
                    self.crashes -= 1;
                    stage.kill(process);
                    self.bury(stage);
                }
                Ok(Turned::Stopped)
            }
            Resumed::Done(done) => {
                self.chains[number as usize].running = None;
                self.over(stage, number, done)?;
                self.age(number, stage.threads.as_ref());
                Ok(Turned::Over)
            }
            Resumed::Panicked(panic) => {
                self.chains[number as usize].running = None;
                self.end();
                resume_unwind(panic)
            }
        }
    }

    /// An input is over.
    fn over(&mut self, stage: &mut Stage, number: u32, done: Done) -> Checked {
        match done {
            Done::Told(told) => stage.world.told(told),
            Done::Answered(call, answer) => {
                let process = call.process;
                let next = stage.finish(call, answer)?;
                stage.world.state().seat(process).odd.calling = next.is_some();
                stage.read_all()?;
                let chain = &mut self.chains[number as usize];
                if next.is_none() {
                    let errand = chain.errand.take();
                    stage.done(errand);
                }
                chain.next = next;
            }
        }
        Ok(())
    }

    /// What dead processes were doing stands still for ever.
    pub fn bury(&mut self, stage: &mut Stage) {
        self.busy.fill(None);
        for chain in &mut self.chains {
            let process = match (&chain.running, chain.who) {
                (Some(running), _) => running.process,
                (None, Who::Application(process)) => process,
                (None, _) => continue,
            };
            if !stage.world.is_gone(process) {
                continue;
            }
            self.abandoned.extend(chain.running.take().map(|running| running.activity));
            chain.next = None;
            if let Who::Application(_) = chain.who {
                let errand = chain.errand.take();
                stage.done(errand);
                for errand in stage.threads.as_mut().map(|threads| threads.forget(process)).unwrap_or_default() {
                    stage.news.push(crate::app::News::Did { errand });
                }
            }
        }
        for number in 0..self.chains.len() as u32 {
            self.refresh(number, stage.threads.as_ref());
        }
    }

    /// Brings every input to its end, in whatever order the locks allow: for a world that nobody looks at any more. What can't be ended
    /// is given up.
    pub fn end(&mut self) {
        let running = self.chains.iter_mut().filter_map(|chain| Some(chain.running.take()?.activity));
        let mut left: Vec<_> = self.abandoned.drain(..).chain(running).collect();
        // While this thread unwinds nothing can be suspended.
        while !std::thread::panicking() {
            let before = left.len();
            left.retain_mut(|activity| !activity.end());
            if left.len() == before {
                break;
            }
        }
        left.into_iter().for_each(Activity::leak);
    }
}
