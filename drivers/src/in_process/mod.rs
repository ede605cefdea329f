//! Drivers for nodes of one address space (driver.md 8.1 to 8.3).
//!
//! [`InProcess::new`] is synchronous: everything happens on the caller's stack, and a transmission re-enters the receiving process.
//! [`InProcess::asynchronous`] has one thread that calls all listeners, so that a call returns before anybody hears of it. Either can be
//! told to behave like drivers that move objects only to or from a broker; nodes that cannot allocate memory of their own are had by giving
//! them the driver behind [`Faults`](crate::middleware::Faults).
//!
//! Unlike the original's they tell the peer at Deactivate as well as at Close, and a sender that closes loses nothing it sent before;
//! no deactivation waits for a thread (driver.md 11.2).

mod executor;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use ipcz::driver::{Driver, DriverError, Frame, Listener, Packed, Travel, Verdict};
use ipcz::ids::ObjectId;
use ipcz::mapping::{Mapping, NativeMapping};

/// How a driver behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InProcessOptions {
    /// Listeners are called by a thread of the driver's, which runs while a transport is active; else on the stack of whoever transmits.
    pub asynchronous: bool,
    /// Objects go only over the transports that a program makes, not over those that a broker makes for two nodes it introduces: they
    /// must be relayed.
    pub brokering: bool,
    /// Bytes that wait to be delivered on one transport. Beyond: `transmit` fails, and the link is lost.
    pub queued_bytes: usize,
}

impl Default for InProcessOptions {
    fn default() -> Self {
        InProcessOptions { asynchronous: false, brokering: false, queued_bytes: 2 << 30 }
    }
}

/// A driver whose objects are known to every process that uses the same value.
pub struct InProcess {
    shared: Arc<Shared>,
}

/// What the driver and its thread share.
struct Shared {
    state: Mutex<State>,
    options: InProcessOptions,
    /// There is something to deliver, or nothing is active any more.
    work: Condvar,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<ObjectId, Object>,
    last: u64,
    /// Transports that are active.
    active: usize,
    /// Those with something to deliver, each once: what the thread does next.
    due: VecDeque<ObjectId>,
    running: bool,
    executor: Option<JoinHandle<()>>,
}

enum Object {
    Transport(End),
    /// The words, and how many bytes were asked for.
    Memory(Arc<[AtomicU64]>, usize),
    /// Anything else that an application boxes.
    Token(u64),
}

/// One end of a transport pair.
struct End {
    peer: ObjectId,
    /// It does not carry objects: both ends are of nodes that were introduced.
    bare: bool,
    listener: Option<Listener>,
    stage: Stage,
    /// Waiting to be delivered: the end is not active, a delivery is in progress further down some stack, or it is the thread's turn.
    waiting: VecDeque<Notice>,
    /// Bytes of those.
    queued: usize,
    delivering: bool,
    scheduled: bool,
    /// The listener was told, or will be, that the transport is broken: once.
    told: bool,
    /// Closed while it was active: it goes once its listener has heard of the end.
    closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Inactive,
    Active,
    Done,
}

enum Notice {
    Message(Vec<u8>, Vec<ObjectId>),
    Error,
    Deactivated,
}

impl InProcess {
    /// A synchronous driver without objects.
    pub fn new() -> Arc<InProcess> {
        InProcess::with(InProcessOptions::default())
    }

    /// One with a thread of its own.
    pub fn asynchronous() -> Arc<InProcess> {
        InProcess::with(InProcessOptions { asynchronous: true, ..InProcessOptions::default() })
    }

    /// A synchronous one whose objects go only to or from a broker.
    pub fn brokering() -> Arc<InProcess> {
        InProcess::with(InProcessOptions { brokering: true, ..InProcessOptions::default() })
    }

    /// One that behaves like this.
    pub fn with(options: InProcessOptions) -> Arc<InProcess> {
        Arc::new(InProcess { shared: Arc::new(Shared { state: Mutex::default(), options, work: Condvar::new() }) })
    }

    /// A connected pair of inactive transports, for [`ipcz::Process::connect_node`] on both sides.
    pub fn transport_pair(&self) -> [ObjectId; 2] {
        self.shared.pair(false)
    }

    /// An object to be boxed, which stands for `value`.
    pub fn token(&self, value: u64) -> ObjectId {
        let mut state = self.shared.lock();
        let id = state.next();
        state.objects.insert(id, Object::Token(value));
        id
    }

    /// What an object made by [`InProcess::token`] stands for; none if it is closed or none of those.
    pub fn value(&self, token: ObjectId) -> Option<u64> {
        match self.shared.lock().objects.get(&token) {
            Some(Object::Token(value)) => Some(*value),
            _ => None,
        }
    }

    /// Objects that nobody has closed: for leak hunting.
    pub fn live_objects(&self) -> usize {
        self.shared.lock().objects.len()
    }

    /// Waits until no transport is active any more and the thread, if the driver has one, has ended. Not to be called from a listener or
    /// trap.
    pub fn join(&self) {
        let executor = self.shared.lock().executor.take();
        if let Some(executor) = executor {
            // It catches the panics of listeners.
            let _ = executor.join();
        }
    }
}

impl Drop for InProcess {
    /// Whoever still listens to an asynchronous driver hears the end of it. Nobody can listen to a synchronous one that nobody can use.
    fn drop(&mut self) {
        if self.shared.options.asynchronous {
            let transports: Vec<ObjectId> = self.shared.lock().objects.keys().copied().collect();
            transports.into_iter().for_each(|transport| self.shared.stop(transport));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pair(&self, bare: bool) -> [ObjectId; 2] {
        let mut state = self.lock();
        let ends = [state.next(), state.next()];
        for (end, peer) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            state.objects.insert(end, Object::Transport(End::new(peer, bare)));
        }
        ends
    }

    /// Something waits at an end: delivers it, or has the thread do so.
    fn notify(&self, transport: ObjectId) {
        if self.options.asynchronous {
            let mut state = self.lock();
            self.schedule(&mut state, transport);
        } else {
            self.deliver(transport, usize::MAX);
        }
    }

    /// Delivers what waits at an end, `turn` notifications at most, unless a delivery there is in progress: then that one will. Answers
    /// whether something is left.
    fn deliver(&self, transport: ObjectId, turn: usize) -> bool {
        {
            let mut state = self.lock();
            match state.end(transport) {
                Some(end) if !end.delivering && end.stage != Stage::Inactive => end.delivering = true,
                _ => return false,
            }
        }
        for _ in 0..turn {
            let mut state = self.lock();
            let Some(end) = state.end(transport) else { return false };
            let Some(notice) = end.pop() else {
                end.delivering = false;
                return false;
            };
            match notice {
                Notice::Deactivated => {
                    end.stage = Stage::Done;
                    let listener = end.listener.take();
                    let dropped = end.clear();
                    end.delivering = false;
                    if end.closed {
                        state.objects.remove(&transport);
                    }
                    state.active -= 1;
                    drop(state);
                    self.close_handles_of(dropped);
                    if let Some(listener) = listener {
                        self.guarded(|| listener.deactivated());
                    }
                    return false;
                }
                Notice::Error => {
                    let listener = end.listener.clone();
                    drop(state);
                    if let Some(listener) = listener {
                        self.guarded(|| listener.error());
                    }
                }
                Notice::Message(data, handles) => {
                    let listener = end.listener.clone();
                    drop(state);
                    let hear = |listener: Listener| self.guarded(|| listener.message(&data, &handles, None)).unwrap_or(Verdict::Refused);
                    if listener.map_or(Verdict::Accepted, hear) == Verdict::Refused {
                        self.refused(transport);
                    }
                }
            }
        }
        let mut state = self.lock();
        let Some(end) = state.end(transport) else { return false };
        end.delivering = false;
        !end.waiting.is_empty()
    }

    /// Undelivered messages take their handles with them; the peer of a transport among them learns that it is broken.
    fn close_handles_of(&self, notices: impl IntoIterator<Item = Notice>) {
        for notice in notices {
            if let Notice::Message(_, handles) = notice {
                handles.into_iter().for_each(|handle| self.close(handle));
            }
        }
    }

    /// A listener refused a message: nothing more is delivered but the error.
    fn refused(&self, transport: ObjectId) {
        let mut state = self.lock();
        let Some(end) = state.end(transport) else { return };
        let (keep, dropped): (Vec<_>, Vec<_>) = end.clear().into_iter().partition(|notice| matches!(notice, Notice::Deactivated));
        end.told = true;
        end.waiting.push_back(Notice::Error);
        end.waiting.extend(keep);
        drop(state);
        self.close_handles_of(dropped);
    }

    /// The far end hears nothing more from this one.
    fn tell_peer(&self, transport: ObjectId) {
        let peer = {
            let mut state = self.lock();
            let Some(peer) = state.end(transport).map(|end| end.peer) else { return };
            let Some(end) = state.end(peer).filter(|end| end.stage != Stage::Done && !end.told) else { return };
            end.told = true;
            end.waiting.push_back(Notice::Error);
            peer
        };
        self.notify(peer);
    }

    /// Ends an active transport; its listener hears of that and nothing else.
    fn stop(&self, transport: ObjectId) {
        let dropped = {
            let mut state = self.lock();
            let Some(end) = state.end(transport).filter(|end| end.stage == Stage::Active) else { return };
            let dropped = end.clear();
            end.waiting.push_back(Notice::Deactivated);
            dropped
        };
        self.close_handles_of(dropped);
        self.tell_peer(transport);
        self.notify(transport);
    }

    fn close(&self, object: ObjectId) {
        let mut state = self.lock();
        if let Some(end) = state.end(object).filter(|end| end.stage == Stage::Active) {
            end.closed = true;
            drop(state);
            return self.stop(object);
        }
        drop(state);
        self.tell_peer(object);
        let closed = self.lock().objects.remove(&object);
        if let Some(Object::Transport(end)) = closed {
            self.close_handles_of(end.waiting);
        }
    }
}

impl End {
    fn new(peer: ObjectId, bare: bool) -> End {
        End {
            peer,
            bare,
            listener: None,
            stage: Stage::Inactive,
            waiting: VecDeque::new(),
            queued: 0,
            delivering: false,
            scheduled: false,
            told: false,
            closed: false,
        }
    }

    fn push(&mut self, frame: &Frame<'_>) {
        self.queued += frame.data.len();
        self.waiting.push_back(Notice::Message(frame.data.to_vec(), frame.handles.to_vec()));
    }

    fn pop(&mut self) -> Option<Notice> {
        let notice = self.waiting.pop_front()?;
        if let Notice::Message(data, _) = &notice {
            self.queued -= data.len();
        }
        Some(notice)
    }

    fn clear(&mut self) -> VecDeque<Notice> {
        self.queued = 0;
        std::mem::take(&mut self.waiting)
    }
}

impl State {
    fn next(&mut self) -> ObjectId {
        self.last += 1;
        ObjectId::new(self.last).expect("counted from one")
    }

    fn end(&mut self, transport: ObjectId) -> Option<&mut End> {
        match self.objects.get_mut(&transport) {
            Some(Object::Transport(end)) => Some(end),
            _ => None,
        }
    }

    fn is_bare(&self, transport: ObjectId) -> bool {
        matches!(self.objects.get(&transport), Some(Object::Transport(End { bare: true, .. })))
    }

    fn memory(&self, memory: ObjectId) -> Result<(&Arc<[AtomicU64]>, usize), DriverError> {
        match self.objects.get(&memory) {
            Some(Object::Memory(words, bytes)) => Ok((words, *bytes)),
            _ => Err(DriverError::InvalidArgument),
        }
    }

    fn insert_memory(&mut self, words: Arc<[AtomicU64]>, bytes: usize) -> ObjectId {
        let id = self.next();
        self.objects.insert(id, Object::Memory(words, bytes));
        id
    }
}

impl Driver for InProcess {
    fn close(&self, object: ObjectId) {
        self.shared.close(object);
    }

    fn can_travel(&self, object: ObjectId, via: Option<ObjectId>) -> Travel {
        let state = self.shared.lock();
        match state.objects.get(&object) {
            Some(Object::Transport(End { stage: Stage::Active | Stage::Done, .. })) | None => Travel::Never,
            Some(_) if via.is_some_and(|via| state.is_bare(via)) => Travel::NotHere,
            Some(_) => Travel::Yes,
        }
    }

    fn serialize(&self, object: ObjectId, via: ObjectId, out: &mut Packed) -> Result<(), DriverError> {
        let state = self.shared.lock();
        match state.objects.get(&object) {
            Some(Object::Transport(End { stage: Stage::Active | Stage::Done, .. })) | None => Err(DriverError::InvalidArgument),
            Some(_) if state.is_bare(via) => Err(DriverError::PermissionDenied),
            Some(_) => {
                out.handles.push(object);
                Ok(())
            }
        }
    }

    fn deserialize(&self, _data: &[u8], handles: &[ObjectId], _via: ObjectId) -> Result<ObjectId, DriverError> {
        match handles {
            [object] if self.shared.lock().objects.contains_key(object) => Ok(*object),
            _ => {
                handles.iter().for_each(|handle| self.close(*handle));
                Err(DriverError::InvalidArgument)
            }
        }
    }

    fn create_transports(&self, toward: Option<[ObjectId; 2]>) -> Result<[ObjectId; 2], DriverError> {
        // Toward nobody it is for a program to connect a node to its broker.
        Ok(self.shared.pair(self.shared.options.brokering && toward.is_some()))
    }

    fn activate(&self, transport: ObjectId, listener: Listener) -> Result<(), DriverError> {
        {
            let mut state = self.shared.lock();
            state.end(transport).filter(|end| end.stage == Stage::Inactive).ok_or(DriverError::InvalidArgument)?;
            if self.shared.options.asynchronous {
                self.shared.start_executor(&mut state).map_err(|_| DriverError::ResourceExhausted)?;
            }
            state.active += 1;
            let end = state.end(transport).expect("looked at just now");
            end.listener = Some(listener);
            end.stage = Stage::Active;
        }
        self.shared.notify(transport);
        Ok(())
    }

    fn deactivate(&self, transport: ObjectId) {
        self.shared.stop(transport);
    }

    fn transmit(&self, transport: ObjectId, frames: &[Frame<'_>]) -> Result<(), DriverError> {
        let give_up = |frames: &[Frame<'_>]| frames.iter().flat_map(|frame| frame.handles).for_each(|handle| self.close(*handle));
        let peer = {
            let mut state = self.shared.lock();
            let peer = state.end(transport).map(|end| end.peer);
            let Some(peer) = peer else {
                drop(state);
                give_up(frames);
                return Err(DriverError::InvalidArgument);
            };
            // Who was told of an error hears nothing after it.
            let Some(end) = state.end(peer).filter(|end| end.stage != Stage::Done && !end.told) else {
                drop(state);
                give_up(frames);
                return Ok(());
            };
            let bytes: usize = frames.iter().map(|frame| frame.data.len()).sum();
            if end.queued.saturating_add(bytes) > self.shared.options.queued_bytes {
                drop(state);
                give_up(frames);
                return Err(DriverError::ResourceExhausted);
            }
            frames.iter().for_each(|frame| end.push(frame));
            peer
        };
        self.shared.notify(peer);
        Ok(())
    }

    fn report_bad(&self, _transport: ObjectId, _context: usize) {}

    fn allocate(&self, bytes: usize) -> Result<ObjectId, DriverError> {
        if bytes == 0 {
            return Err(DriverError::InvalidArgument);
        }
        let words = (0..bytes.div_ceil(8)).map(|_| AtomicU64::new(0)).collect();
        Ok(self.shared.lock().insert_memory(words, bytes))
    }

    fn size(&self, memory: ObjectId) -> Result<usize, DriverError> {
        Ok(self.shared.lock().memory(memory)?.1)
    }

    fn duplicate(&self, memory: ObjectId) -> Result<ObjectId, DriverError> {
        let mut state = self.shared.lock();
        let (words, bytes) = state.memory(memory)?;
        let words = Arc::clone(words);
        Ok(state.insert_memory(words, bytes))
    }

    fn map(&self, memory: ObjectId) -> Result<Mapping, DriverError> {
        let words = Arc::clone(self.shared.lock().memory(memory)?.0);
        Ok(Mapping::Native(Arc::new(NativeMapping::heap(words))))
    }

    fn random(&self, out: &mut [u8]) -> Result<(), DriverError> {
        getrandom::fill(out).map_err(|_| DriverError::Unknown)
    }

    fn backlog(&self, transport: ObjectId) -> usize {
        let mut state = self.shared.lock();
        let peer = state.end(transport).map(|end| end.peer);
        peer.and_then(|peer| state.end(peer)).map_or(0, |end| end.queued)
    }
}
