//! The synchronous in-process driver (driver.md 8.2): nodes of one address space, everything on the caller's stack.
//!
//! Unlike the original's it tells the peer at Deactivate as well as at Close, and a sender that closes loses nothing it
//! sent before (driver.md 11.2). It can be told to behave like drivers that move objects only to or from a broker (driver.md 8.3).

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard};

use ipcz::driver::{Driver, DriverError, Frame, Listener, Packed, Travel, Verdict};
use ipcz::ids::ObjectId;
use ipcz::mapping::{Mapping, NativeMapping};

/// A driver whose objects are known to every process that uses the same value.
#[derive(Default)]
pub struct InProcess {
    state: Mutex<State>,
    /// Objects go over transports to brokers alone.
    brokering: bool,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<ObjectId, Object>,
    last: u64,
}

enum Object {
    Transport(End),
    Memory(Arc<[AtomicU64]>),
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
    /// Waiting to be delivered: the end is not active, or a delivery is in progress further down some stack.
    waiting: VecDeque<Notice>,
    delivering: bool,
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
    /// A driver without objects.
    pub fn new() -> Arc<InProcess> {
        Arc::default()
    }

    /// The same, but objects go only over the transports of [`InProcess::transport_pair`], not over those that a broker makes for two
    /// nodes it introduces: they must be relayed.
    pub fn brokering() -> Arc<InProcess> {
        Arc::new(InProcess { brokering: true, ..InProcess::default() })
    }

    /// A connected pair of inactive transports, for [`ipcz::Process::connect_node`] on both sides.
    pub fn transport_pair(&self) -> [ObjectId; 2] {
        self.pair(false)
    }

    /// An object to be boxed, which stands for `value`.
    pub fn token(&self, value: u64) -> ObjectId {
        let mut state = self.lock();
        let id = state.next();
        state.objects.insert(id, Object::Token(value));
        id
    }

    /// What an object made by [`InProcess::token`] stands for; none if it is closed or none of those.
    pub fn value(&self, token: ObjectId) -> Option<u64> {
        match self.lock().objects.get(&token) {
            Some(Object::Token(value)) => Some(*value),
            _ => None,
        }
    }

    fn pair(&self, bare: bool) -> [ObjectId; 2] {
        let mut state = self.lock();
        let ends = [state.next(), state.next()];
        for (end, peer) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            let object = End { peer, bare, listener: None, stage: Stage::Inactive, waiting: VecDeque::new(), delivering: false };
            state.objects.insert(end, Object::Transport(object));
        }
        ends
    }

    /// Objects that nobody has closed: for leak hunting.
    pub fn live_objects(&self) -> usize {
        self.lock().objects.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Delivers what waits at an end, unless a delivery there is in progress: then that one will.
    fn deliver(&self, transport: ObjectId) {
        {
            let mut state = self.lock();
            match state.end(transport) {
                Some(end) if !end.delivering && end.stage != Stage::Inactive => end.delivering = true,
                _ => return,
            }
        }
        loop {
            let mut state = self.lock();
            let Some(end) = state.end(transport) else { return };
            let Some(notice) = end.waiting.pop_front() else {
                end.delivering = false;
                return;
            };
            match notice {
                Notice::Deactivated => {
                    end.stage = Stage::Done;
                    let listener = end.listener.take();
                    let dropped: Vec<_> = end.waiting.drain(..).collect();
                    end.delivering = false;
                    drop(state);
                    self.close_handles_of(dropped);
                    if let Some(listener) = listener {
                        listener.deactivated();
                    }
                    return;
                }
                Notice::Error => {
                    let listener = end.listener.clone();
                    drop(state);
                    if let Some(listener) = listener {
                        listener.error();
                    }
                }
                Notice::Message(data, handles) => {
                    let listener = end.listener.clone();
                    drop(state);
                    let verdict = listener.map_or(Verdict::Accepted, |listener| listener.message(&data, &handles, None));
                    if verdict == Verdict::Refused {
                        self.refused(transport);
                    }
                }
            }
        }
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
        let (keep, dropped): (Vec<_>, Vec<_>) = end.waiting.drain(..).partition(|notice| matches!(notice, Notice::Deactivated));
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
            let Some(end) = state.end(peer).filter(|end| end.stage != Stage::Done) else { return };
            if end.waiting.iter().any(|notice| matches!(notice, Notice::Error)) {
                return;
            }
            end.waiting.push_back(Notice::Error);
            peer
        };
        self.deliver(peer);
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

    fn memory(&self, memory: ObjectId) -> Result<&Arc<[AtomicU64]>, DriverError> {
        match self.objects.get(&memory) {
            Some(Object::Memory(words)) => Ok(words),
            _ => Err(DriverError::InvalidArgument),
        }
    }

    fn insert_memory(&mut self, words: Arc<[AtomicU64]>) -> ObjectId {
        let id = self.next();
        self.objects.insert(id, Object::Memory(words));
        id
    }
}

impl Driver for InProcess {
    fn close(&self, object: ObjectId) {
        self.tell_peer(object);
        let closed = self.lock().objects.remove(&object);
        if let Some(Object::Transport(end)) = closed {
            self.close_handles_of(end.waiting);
        }
    }

    fn can_travel(&self, object: ObjectId, via: Option<ObjectId>) -> Travel {
        let state = self.lock();
        match state.objects.get(&object) {
            Some(Object::Transport(End { stage: Stage::Active | Stage::Done, .. })) | None => Travel::Never,
            Some(_) if via.is_some_and(|via| state.is_bare(via)) => Travel::NotHere,
            Some(_) => Travel::Yes,
        }
    }

    fn serialize(&self, object: ObjectId, via: ObjectId, out: &mut Packed) -> Result<(), DriverError> {
        let state = self.lock();
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
            [object] if self.lock().objects.contains_key(object) => Ok(*object),
            _ => {
                handles.iter().for_each(|handle| self.close(*handle));
                Err(DriverError::InvalidArgument)
            }
        }
    }

    fn create_transports(&self, _toward: Option<[ObjectId; 2]>) -> Result<[ObjectId; 2], DriverError> {
        Ok(self.pair(self.brokering))
    }

    fn activate(&self, transport: ObjectId, listener: Listener) -> Result<(), DriverError> {
        {
            let mut state = self.lock();
            let end = state.end(transport).filter(|end| end.stage == Stage::Inactive).ok_or(DriverError::InvalidArgument)?;
            end.listener = Some(listener);
            end.stage = Stage::Active;
        }
        self.deliver(transport);
        Ok(())
    }

    fn deactivate(&self, transport: ObjectId) {
        let dropped: Vec<_> = {
            let mut state = self.lock();
            let Some(end) = state.end(transport).filter(|end| end.stage == Stage::Active) else { return };
            let dropped = end.waiting.drain(..).collect();
            end.waiting.push_back(Notice::Deactivated);
            dropped
        };
        self.close_handles_of(dropped);
        self.tell_peer(transport);
        self.deliver(transport);
    }

    fn transmit(&self, transport: ObjectId, frames: &[Frame<'_>]) -> Result<(), DriverError> {
        let peer = {
            let mut state = self.lock();
            let peer = state.end(transport).ok_or(DriverError::InvalidArgument)?.peer;
            let messages = frames.iter().map(|frame| Notice::Message(frame.data.to_vec(), frame.handles.to_vec()));
            match state.end(peer).filter(|end| end.stage != Stage::Done) {
                Some(end) => end.waiting.extend(messages),
                None => {
                    drop(state);
                    self.close_handles_of(messages);
                }
            }
            peer
        };
        self.deliver(peer);
        Ok(())
    }

    fn report_bad(&self, _transport: ObjectId, _context: usize) {}

    fn allocate(&self, bytes: usize) -> Result<ObjectId, DriverError> {
        if bytes == 0 {
            return Err(DriverError::InvalidArgument);
        }
        let words = (0..bytes.div_ceil(8)).map(|_| AtomicU64::new(0)).collect();
        Ok(self.lock().insert_memory(words))
    }

    fn size(&self, memory: ObjectId) -> Result<usize, DriverError> {
        Ok(self.lock().memory(memory)?.len() * 8)
    }

    fn duplicate(&self, memory: ObjectId) -> Result<ObjectId, DriverError> {
        let mut state = self.lock();
        let words = Arc::clone(state.memory(memory)?);
        Ok(state.insert_memory(words))
    }

    fn map(&self, memory: ObjectId) -> Result<Mapping, DriverError> {
        let words = Arc::clone(self.lock().memory(memory)?);
        Ok(Mapping::Native(Arc::new(NativeMapping::heap(words))))
    }

    fn random(&self, out: &mut [u8]) -> Result<(), DriverError> {
        getrandom::fill(out).map_err(|_| DriverError::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipcz::driver::Activity;
    use std::sync::atomic::Ordering;

    /// Records what its listeners hear.
    #[derive(Default)]
    struct Ear(Mutex<Vec<String>>);

    impl Activity for Ear {
        fn message(self: Arc<Self>, _: u64, data: &[u8], handles: &[ObjectId], _: Option<ObjectId>) -> Verdict {
            self.0.lock().unwrap().push(format!("{}+{}", String::from_utf8_lossy(data), handles.len()));
            if data == b"bad" { Verdict::Refused } else { Verdict::Accepted }
        }

        fn error(self: Arc<Self>, _: u64) {
            self.0.lock().unwrap().push("error".into());
        }

        fn deactivated(self: Arc<Self>, _: u64) {
            self.0.lock().unwrap().push("deactivated".into());
        }
    }

    impl Ear {
        fn heard(&self) -> String {
            std::mem::take(&mut *self.0.lock().unwrap()).join(" ")
        }
    }

    fn send(driver: &InProcess, over: ObjectId, data: &[u8], handles: &[ObjectId]) {
        driver.transmit(over, &[Frame { data, handles }]).unwrap();
    }

    #[test]
    fn what_was_sent_before_activation_comes_first_and_in_order() {
        let (driver, ear) = (InProcess::new(), Arc::new(Ear::default()));
        let [a, b] = driver.transport_pair();
        let memory = driver.allocate(8).unwrap();
        send(&driver, a, b"1", &[]);
        send(&driver, a, b"2", &[memory]);
        assert_eq!(ear.heard(), "");
        driver.activate(b, Listener::new(ear.clone(), 0)).unwrap();
        send(&driver, a, b"3", &[]);
        assert_eq!(ear.heard(), "1+0 2+1 3+0");
    }

    #[test]
    fn a_refused_message_is_followed_by_one_error_and_nothing_else() {
        let (driver, ear) = (InProcess::new(), Arc::new(Ear::default()));
        let [a, b] = driver.transport_pair();
        for data in [b"1", &b"bad"[..], b"2"] {
            send(&driver, a, data, &[]);
        }
        driver.activate(b, Listener::new(ear.clone(), 0)).unwrap();
        assert_eq!(ear.heard(), "1+0 bad+0 error");
        driver.deactivate(b);
        assert_eq!(ear.heard(), "deactivated");
        send(&driver, a, b"3", &[]);
        assert_eq!(ear.heard(), "");
    }

    #[test]
    fn closing_delivers_what_was_sent_then_an_error() {
        let (driver, ear) = (InProcess::new(), Arc::new(Ear::default()));
        let [a, b] = driver.transport_pair();
        send(&driver, a, b"last", &[]);
        driver.close(a);
        driver.activate(b, Listener::new(ear.clone(), 0)).unwrap();
        assert_eq!(ear.heard(), "last+0 error");
        driver.deactivate(b);
        driver.close(b);
        assert_eq!(driver.live_objects(), 0);
    }

    #[test]
    fn memory_is_shared_and_objects_of_the_wrong_kind_are_errors() {
        let driver = InProcess::new();
        let memory = driver.allocate(64).unwrap();
        let twin = driver.duplicate(memory).unwrap();
        driver.close(memory);
        assert_eq!(driver.size(twin), Ok(64));
        assert_eq!(driver.size(memory), Err(DriverError::InvalidArgument));
        let [a, _] = driver.transport_pair();
        assert!(driver.map(a).is_err() && driver.transmit(twin, &[]).is_err());
        assert_eq!(driver.map(twin).unwrap().load32(0, Ordering::Relaxed), 0);
    }
}
