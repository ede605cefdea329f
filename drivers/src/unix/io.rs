//! The one thread that reads, writes what had to wait, and calls listeners. It alone owns a listener, so notifications of
//! one never overlap, and none can follow the last.

use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use ipcz::driver::{Listener, Verdict};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::{Errno, read, write};

use super::Objects;
use super::frame::Inbox;
use super::socket::receive;
use super::transport::{Stage, Transport};

/// Bytes read from one transport before the others get their turn.
const BUDGET: usize = 256 << 10;

/// What the thread and its driver share.
pub(super) struct Reactor {
    wake: OwnedFd,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Activated, not yet seen by the thread.
    arriving: Vec<Active>,
    running: bool,
    thread: Option<JoinHandle<()>>,
}

impl Reactor {
    /// Without a thread yet.
    pub(super) fn new() -> Result<Reactor, Errno> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Reactor { wake, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Makes the thread look at its transports again.
    pub(super) fn wake(&self) {
        // Full means that it is awake.
        let _ = write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Waits until the thread has ended.
    pub(super) fn join(&self) {
        let thread = self.lock().thread.take();
        if let Some(thread) = thread {
            // It catches the panics of listeners.
            let _ = thread.join();
        }
    }
}

/// Hands a transport to the thread, and starts that if need be.
pub(super) fn adopt(objects: &Arc<Objects>, transport: Arc<Transport>, listener: Listener) -> std::io::Result<()> {
    let mut state = objects.reactor.lock();
    if !state.running {
        let shared = Arc::clone(objects);
        state.thread = Some(std::thread::Builder::new().name("ipcz-io".into()).spawn(move || run(&shared))?);
        state.running = true;
    }
    state.arriving.push(Active { transport, listener, inbox: Some(Inbox::new(objects.limits.frame_bytes)) });
    drop(state);
    objects.reactor.wake();
    Ok(())
}

fn run(objects: &Objects) {
    let mut active: Vec<Active> = Vec::new();
    loop {
        active.append(&mut objects.reactor.lock().arriving);
        let (stopping, live): (Vec<_>, Vec<_>) = active.into_iter().partition(|one| one.transport.stage() == Stage::Stopping);
        active = live;
        stopping.into_iter().for_each(Active::stop);
        if active.is_empty() {
            let mut state = objects.reactor.lock();
            if state.arriving.is_empty() {
                state.running = false;
                return;
            }
            continue;
        }
        let ready = wait(&objects.reactor, &active);
        for (one, events) in active.iter_mut().zip(ready) {
            if events.contains(PollFlags::OUT) {
                one.transport.flush();
            }
            if !events.difference(PollFlags::OUT).is_empty() {
                one.read(objects);
            }
        }
    }
}

/// Waits until something can be done; says what, for each transport.
fn wait(reactor: &Reactor, active: &[Active]) -> Vec<PollFlags> {
    let mut polled = vec![PollFd::new(&reactor.wake, PollFlags::IN)];
    // A transport whose listener heard of its end is only waited with, but poll() would report its end for ever.
    polled.extend(active.iter().filter(|one| one.inbox.is_some()).map(|one| {
        let out = if one.transport.queued() > 0 { PollFlags::OUT } else { PollFlags::empty() };
        PollFd::from_borrowed_fd(one.transport.socket(), PollFlags::IN | out)
    }));
    // Interrupted, or short of memory: nothing is ready, and it is tried again.
    let _ = poll(&mut polled, None);
    if !polled[0].revents().is_empty() {
        // Resets it.
        let _ = read(reactor.wake.as_fd(), &mut [0; 8]);
    }
    let mut events = polled[1..].iter().map(PollFd::revents);
    active.iter().map(|one| one.inbox.as_ref().and_then(|_| events.next()).unwrap_or(PollFlags::empty())).collect()
}

/// A transport somebody listens to.
struct Active {
    transport: Arc<Transport>,
    listener: Listener,
    /// None once the listener heard that the connection is broken.
    inbox: Option<Inbox>,
}

impl Active {
    /// Reads and delivers what is there, within the budget.
    fn read(&mut self, objects: &Objects) {
        let mut left = BUDGET;
        while let Some(inbox) = &mut self.inbox
            && self.transport.stage() == Stage::Active
        {
            let (space, descriptors) = inbox.space();
            let room = space.len();
            match receive(self.transport.socket(), space, descriptors) {
                Ok(0) => return self.fail(),
                Ok(bytes) => {
                    inbox.received(bytes);
                    if self.deliver(objects).is_err() {
                        return self.fail();
                    }
                    left = left.saturating_sub(bytes);
                    // Less than there was room for: most likely all there was. If not, poll() says so.
                    if bytes < room || left == 0 {
                        return;
                    }
                }
                Err(Errno::AGAIN) => return,
                Err(_) => return self.fail(),
            }
        }
    }

    /// Delivers every whole message. An error ends the connection.
    fn deliver(&mut self, objects: &Objects) -> Result<(), ()> {
        let Some(inbox) = &mut self.inbox else { return Ok(()) };
        while let Some(arrived) = inbox.next().map_err(|_damage| ())? {
            if self.transport.stage() != Stage::Active {
                return Ok(());
            }
            let handles = objects.add_descriptors(arrived.descriptors);
            let data = inbox.bytes(&arrived.at);
            match guarded(|| self.listener.message(data, &handles, None)) {
                Some(Verdict::Accepted) => {}
                Some(Verdict::Refused) | None => return Err(()),
            }
        }
        Ok(())
    }

    /// The connection is over; nothing more is read from it.
    fn fail(&mut self) {
        self.inbox = None;
        guarded(|| self.listener.error());
    }

    /// The last of it.
    fn stop(self) {
        self.transport.finish();
        guarded(|| self.listener.deactivated());
    }
}

/// Calls a listener. One that panics costs its own link; the thread serves the others.
fn guarded<R>(call: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}
