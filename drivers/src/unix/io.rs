//! Who reads, writes what had to wait, and calls listeners: one thread, or the application's own by [`poll`]. Only who holds
//! the active transports calls their listeners, so notifications of one never overlap, and none can follow the last.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::thread::JoinHandle;

use ipcz::driver::{DriverError, Listener, Verdict};
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::{Errno, read, write};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};

use super::Objects;
use super::frame::Inbox;
use super::socket::receive;
use super::transport::{Stage, Transport};

/// Bytes read from one transport before the others get their turn.
const BUDGET: usize = 256 << 10;

/// Events taken from the kernel at once.
const EVENTS: usize = 64;

/// What is waited for beside transports, whose tokens follow.
const WAKE: u64 = 0;
const TIMER: u64 = 1;

/// How long the kernel, short of something, is left alone before a send is tried again.
const RETRY: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// What the driver and whoever does its work share.
pub(super) struct Reactor {
    epoll: OwnedFd,
    wake: OwnedFd,
    timer: OwnedFd,
    threaded: bool,
    state: Mutex<State>,
    /// By token. Held while listeners are called; taken before `state`.
    active: Mutex<BTreeMap<u64, Active>>,
}

struct State {
    /// Activated, not yet among the active.
    arriving: Vec<(u64, Active)>,
    /// Tokens of those that are to end.
    stopping: Vec<u64>,
    /// The kernel was short of something when they wanted to send.
    starved: Vec<Arc<Transport>>,
    last: u64,
    running: bool,
    thread: Option<JoinHandle<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Reactor {
    /// Without a thread yet, or for ever without one.
    pub(super) fn new(threaded: bool) -> Result<Reactor, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER), epoll::EventFlags::IN)?;
        let state = State { arriving: Vec::new(), stopping: Vec::new(), starved: Vec::new(), last: TIMER, running: false, thread: None };
        Ok(Reactor { epoll, wake, timer, threaded, state: Mutex::new(state), active: Mutex::default() })
    }

    /// What tells that there is something to do.
    pub(super) fn epoll(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Ends the transport of this token, soon.
    pub(super) fn stop(&self, token: u64) {
        lock(&self.state).stopping.push(token);
        // Full means that it is awake.
        let _ = write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Tries again, after a while, to send what waits there.
    pub(super) fn retry(&self, transport: Arc<Transport>) {
        let mut state = lock(&self.state);
        state.starved.push(transport);
        if state.starved.len() == 1 {
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: RETRY };
            // It has no way to fail with arguments that are valid.
            let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once);
        }
    }

    /// Waits until the thread has ended.
    pub(super) fn join(&self) {
        let thread = lock(&self.state).thread.take();
        if let Some(thread) = thread {
            // It catches the panics of listeners.
            let _ = thread.join();
        }
    }

    /// Takes up what was activated and ends what is to end. Whether anything was ended.
    fn settle(&self, active: &mut BTreeMap<u64, Active>) -> bool {
        let stopping = {
            let mut state = lock(&self.state);
            active.extend(state.arriving.drain(..));
            std::mem::take(&mut state.stopping)
        };
        for token in &stopping {
            if let Some(one) = active.remove(token) {
                one.stop(self.epoll());
            }
        }
        !stopping.is_empty()
    }

    fn flush(&self, transport: &Arc<Transport>) {
        if transport.flush(self.epoll()) {
            self.retry(Arc::clone(transport));
        }
    }
}

/// Makes a transport active, and starts the thread if need be. An error leaves it as it was.
pub(super) fn adopt(objects: &Arc<Objects>, transport: Arc<Transport>, listener: Listener) -> Result<(), DriverError> {
    let reactor = &objects.reactor;
    let mut state = lock(&reactor.state);
    if reactor.threaded && !state.running {
        let shared = Arc::clone(objects);
        let thread = std::thread::Builder::new().name("ipcz-io".into()).spawn(move || run(&shared));
        state.thread = Some(thread.map_err(|_| DriverError::ResourceExhausted)?);
        state.running = true;
    }
    let token = state.last + 1;
    // Events come from here on; whoever gets one waits for `state`.
    transport.activate(token, reactor.epoll())?;
    state.last = token;
    let inbox = Some(Inbox::new(objects.limits.frame_bytes));
    state.arriving.push((token, Active { transport, listener, inbox, held: Arc::default() }));
    Ok(())
}

/// The thread: works until nothing is active.
fn run(objects: &Objects) {
    let reactor = &objects.reactor;
    let mut active = lock(&reactor.active);
    loop {
        reactor.settle(&mut active);
        if active.is_empty() {
            let mut state = lock(&reactor.state);
            if state.arriving.is_empty() && state.stopping.is_empty() {
                state.running = false;
                return;
            }
            continue;
        }
        turn(objects, &mut active, None);
    }
}

/// The application's thread: waits as long as this for something to do, and does it. Answers how much there was.
pub(super) fn poll(objects: &Objects, timeout: Option<&Timespec>) -> Result<usize, DriverError> {
    if objects.reactor.threaded {
        return Err(DriverError::Unimplemented);
    }
    let mut active = match objects.reactor.active.try_lock() {
        Ok(active) => active,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        // Somebody is at it, maybe the caller's own listener.
        Err(TryLockError::WouldBlock) => return Ok(0),
    };
    if objects.reactor.settle(&mut active) {
        return Ok(1);
    }
    let done = turn(objects, &mut active, timeout);
    Ok(done + usize::from(objects.reactor.settle(&mut active)))
}

/// Ends what is to end, if nobody else will.
pub(super) fn finish(objects: &Objects) {
    if !objects.reactor.threaded {
        let mut active = lock(&objects.reactor.active);
        while objects.reactor.settle(&mut active) {}
    }
}

/// One turn: waits, and does what there is to do. Answers how many transports had something.
fn turn(objects: &Objects, active: &mut BTreeMap<u64, Active>, timeout: Option<&Timespec>) -> usize {
    let reactor = &objects.reactor;
    let mut done = 0;
    let mut space = [const { MaybeUninit::uninit() }; EVENTS];
    // Interrupted, or short of memory: nothing is ready, and it is tried again.
    let Ok((events, _)) = epoll::wait(&reactor.epoll, &mut space[..], timeout) else { return done };
    for epoll::Event { flags, data, .. } in events.iter().copied() {
        match data.u64() {
            WAKE => {
                // Resets it.
                let _ = read(&reactor.wake, &mut [0; 8]);
            }
            TIMER => {
                let _ = read(&reactor.timer, &mut [0; 8]);
                let starved = std::mem::take(&mut lock(&reactor.state).starved);
                starved.iter().for_each(|transport| reactor.flush(transport));
            }
            token => {
                // Just activated.
                if !active.contains_key(&token) {
                    active.extend(lock(&reactor.state).arriving.drain(..));
                }
                if let Some(one) = active.get_mut(&token) {
                    done += 1;
                    if flags.contains(epoll::EventFlags::OUT) {
                        reactor.flush(&one.transport);
                    }
                    if !flags.difference(epoll::EventFlags::OUT).is_empty() {
                        one.read(objects);
                    }
                }
            }
        }
    }
    done
}

/// A transport somebody listens to.
struct Active {
    transport: Arc<Transport>,
    listener: Listener,
    /// None once the listener heard that the connection is broken.
    inbox: Option<Inbox>,
    /// Descriptors received here that the process has as objects and does not use yet.
    held: Arc<AtomicUsize>,
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
                Ok(0) => return self.fail(objects),
                Ok(bytes) => {
                    inbox.received(bytes);
                    if self.deliver(objects).is_err() {
                        return self.fail(objects);
                    }
                    left = left.saturating_sub(bytes);
                    // Less than there was room for: most likely all there was. If not, epoll says so.
                    if bytes < room || left == 0 {
                        return;
                    }
                }
                Err(Errno::AGAIN) => return,
                Err(_) => return self.fail(objects),
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
            if self.held.load(Ordering::Relaxed) + arrived.descriptors.len() > objects.limits.held_descriptors {
                return Err(());
            }
            let handles = objects.add_descriptors(arrived.descriptors, &self.held);
            let data = inbox.bytes(&arrived.at);
            match guarded(|| self.listener.message(data, &handles, None)) {
                Some(Verdict::Accepted) => {}
                Some(Verdict::Refused) | None => return Err(()),
            }
        }
        Ok(())
    }

    /// The connection is over; nothing more is read from it.
    fn fail(&mut self, objects: &Objects) {
        self.inbox = None;
        self.transport.ignore(objects.reactor.epoll());
        guarded(|| self.listener.error());
    }

    /// The last of it.
    fn stop(self, epoll: BorrowedFd<'_>) {
        self.transport.finish(epoll);
        guarded(|| self.listener.deactivated());
    }
}

/// Calls a listener. One that panics costs its own link; the others are served.
fn guarded<R>(call: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

/// That a received descriptor is held: ends with the object.
pub(super) struct Lease(Arc<AtomicUsize>);

impl Lease {
    /// One more.
    pub(super) fn new(held: &Arc<AtomicUsize>) -> Lease {
        held.fetch_add(1, Ordering::Relaxed);
        Lease(Arc::clone(held))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
