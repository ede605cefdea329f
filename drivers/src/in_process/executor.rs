//! The one thread that calls listeners of an asynchronous driver. It runs while a transport is active.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};

use ipcz::ids::ObjectId;

use super::{Shared, State};

/// Notifications of one transport before the others get their turn.
const TURN: usize = 64;

impl Shared {
    /// Starts the thread unless it runs.
    pub(super) fn start_executor(self: &Arc<Shared>, state: &mut State) -> std::io::Result<()> {
        if !state.running {
            let shared = Arc::clone(self);
            state.executor = Some(std::thread::Builder::new().name("ipcz-in-process".into()).spawn(move || shared.execute())?);
            state.running = true;
        }
        Ok(())
    }

    /// Has the thread deliver what waits at an end.
    pub(super) fn schedule(&self, state: &mut State, transport: ObjectId) {
        if let Some(end) = state.end(transport).filter(|end| !end.scheduled) {
            end.scheduled = true;
            state.due.push_back(transport);
            self.work.notify_all();
        }
    }

    fn execute(&self) {
        let mut state = self.lock();
        loop {
            let Some(transport) = state.due.pop_front() else {
                if state.active == 0 {
                    state.running = false;
                    return;
                }
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if let Some(end) = state.end(transport) {
                end.scheduled = false;
            }
            drop(state);
            let more = self.deliver(transport, TURN);
            state = self.lock();
            if more {
                self.schedule(&mut state, transport);
            }
        }
    }

    /// Calls a listener. One that panics costs its own link if the thread is the driver's, which serves the others; else it is its caller's to catch.
    pub(super) fn guarded<R>(&self, call: impl FnOnce() -> R) -> Option<R> {
        if self.options.asynchronous { catch_unwind(AssertUnwindSafe(call)).ok() } else { Some(call()) }
    }
}
