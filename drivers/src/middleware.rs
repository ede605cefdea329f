//! Drivers around drivers: what a node asks of its driver, and what it hears from it, is watched, counted or made to fail on the way.
//!
//! ```
//! use std::sync::Arc;
//!
//! use ipcz::driver::{Driver, DriverError};
//! use ipcz_drivers::InProcess;
//! use ipcz_drivers::middleware::{Count, Entry, Faults, Watched};
//!
//! let faults = Arc::new(Faults::default());
//! let count = Arc::new(Count::default());
//! let poor = Watched::new(InProcess::new(), faults.clone());
//! let driver = Watched::new(poor, count.clone());
//!
//! faults.always(Entry::Allocate, DriverError::ResourceExhausted);
//! assert_eq!(driver.allocate(64), Err(DriverError::ResourceExhausted));
//! assert_eq!((count.calls(Entry::Allocate), count.failures(Entry::Allocate)), (1, 1));
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipcz::driver::{Activity, Driver, DriverError, DriverLimits, Frame, Listener, Packed, Travel, Verdict};
use ipcz::ids::ObjectId;
use ipcz::mapping::Mapping;

/// What a driver can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "named as the functions of `Driver`")]
pub enum Entry {
    Close,
    CanTravel,
    Serialize,
    Deserialize,
    CreateTransports,
    Activate,
    Deactivate,
    Transmit,
    ReportBad,
    Allocate,
    Size,
    Duplicate,
    Map,
    Random,
}

const ENTRIES: usize = Entry::Random as usize + 1;

/// One call of a driver, with what it was given.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "named as the arguments of the functions of `Driver`")]
pub enum Call<'a> {
    Close { object: ObjectId },
    CanTravel { object: ObjectId, via: Option<ObjectId> },
    Serialize { object: ObjectId, via: ObjectId },
    Deserialize { data: &'a [u8], handles: &'a [ObjectId], via: ObjectId },
    CreateTransports { toward: Option<[ObjectId; 2]> },
    Activate { transport: ObjectId, listener: u64 },
    Deactivate { transport: ObjectId },
    Transmit { transport: ObjectId, frames: &'a [Frame<'a>] },
    ReportBad { transport: ObjectId, context: usize },
    Allocate { bytes: usize },
    Size { memory: ObjectId },
    Duplicate { memory: ObjectId },
    Map { memory: ObjectId },
    Random { bytes: usize },
}

impl Call<'_> {
    /// What is called.
    pub fn entry(&self) -> Entry {
        match self {
            Call::Close { .. } => Entry::Close,
            Call::CanTravel { .. } => Entry::CanTravel,
            Call::Serialize { .. } => Entry::Serialize,
            Call::Deserialize { .. } => Entry::Deserialize,
            Call::CreateTransports { .. } => Entry::CreateTransports,
            Call::Activate { .. } => Entry::Activate,
            Call::Deactivate { .. } => Entry::Deactivate,
            Call::Transmit { .. } => Entry::Transmit,
            Call::ReportBad { .. } => Entry::ReportBad,
            Call::Allocate { .. } => Entry::Allocate,
            Call::Size { .. } => Entry::Size,
            Call::Duplicate { .. } => Entry::Duplicate,
            Call::Map { .. } => Entry::Map,
            Call::Random { .. } => Entry::Random,
        }
    }
}

/// What a transport's listener is told.
#[derive(Clone, Copy, Debug)]
pub enum Notice<'a> {
    /// A message.
    Message(Frame<'a>),
    /// The transport is broken.
    Error,
    /// Nothing more will come.
    Deactivated,
}

/// Who watches. Called on whatever thread the call or notification comes by, at the same time on several.
pub trait Watch: Send + Sync {
    /// A call is about to be passed on. An error is its answer instead, for those that can fail; of [`Entry::CanTravel`], `PermissionDenied`
    /// is "not here" and any other "never".
    fn before(&self, _call: &Call<'_>) -> Result<(), DriverError> {
        Ok(())
    }

    /// A call has returned; those that cannot fail return `Ok`.
    fn after(&self, _call: &Call<'_>, _result: Result<(), DriverError>) {}

    /// A listener is about to be told. A driver that keeps no more than [`Listener::key`], as the simulator's, passes this by.
    fn heard(&self, _transport: ObjectId, _notice: &Notice<'_>) {}
}

/// A driver that is watched.
pub struct Watched<W> {
    inner: Arc<dyn Driver>,
    watch: Arc<W>,
}

impl<W: Watch + 'static> Watched<W> {
    /// `inner`, watched by `watch`.
    pub fn new(inner: Arc<dyn Driver>, watch: Arc<W>) -> Arc<Watched<W>> {
        Arc::new(Watched { inner, watch })
    }

    /// A call that may fail; `refused` gives up what it consumes in any case.
    fn pass<R>(
        &self,
        call: Call<'_>,
        act: impl FnOnce(&dyn Driver) -> Result<R, DriverError>,
        refused: impl FnOnce(&dyn Driver),
    ) -> Result<R, DriverError> {
        let result = match self.watch.before(&call) {
            Ok(()) => act(&*self.inner),
            Err(error) => {
                refused(&*self.inner);
                Err(error)
            }
        };
        self.watch.after(&call, result.as_ref().map(|_| ()).map_err(|error| *error));
        result
    }

    /// One that cannot: it is carried out whatever the watch says.
    fn tell(&self, call: Call<'_>, act: impl FnOnce(&dyn Driver)) {
        let _ = self.watch.before(&call);
        act(&*self.inner);
        self.watch.after(&call, Ok(()));
    }
}

fn consumes_nothing(_: &dyn Driver) {}

fn close_all<'a>(driver: &dyn Driver, handles: impl IntoIterator<Item = &'a ObjectId>) {
    handles.into_iter().for_each(|handle| driver.close(*handle));
}

impl<W: Watch + 'static> Driver for Watched<W> {
    fn close(&self, object: ObjectId) {
        self.tell(Call::Close { object }, |driver| driver.close(object));
    }

    fn can_travel(&self, object: ObjectId, via: Option<ObjectId>) -> Travel {
        let answer = |travel| if travel == Travel::Yes { Ok(()) } else { Err(travel) };
        let refused = |error| if error == DriverError::PermissionDenied { Travel::NotHere } else { Travel::Never };
        let call = Call::CanTravel { object, via };
        let said = self.watch.before(&call).map_err(refused).and_then(|()| answer(self.inner.can_travel(object, via)));
        let error = |travel| if travel == Travel::NotHere { DriverError::PermissionDenied } else { DriverError::InvalidArgument };
        self.watch.after(&call, said.map_err(error));
        said.err().unwrap_or(Travel::Yes)
    }

    fn serialize(&self, object: ObjectId, via: ObjectId, out: &mut Packed) -> Result<(), DriverError> {
        self.pass(Call::Serialize { object, via }, |driver| driver.serialize(object, via, out), consumes_nothing)
    }

    fn deserialize(&self, data: &[u8], handles: &[ObjectId], via: ObjectId) -> Result<ObjectId, DriverError> {
        let refused = |driver: &dyn Driver| close_all(driver, handles);
        self.pass(Call::Deserialize { data, handles, via }, |driver| driver.deserialize(data, handles, via), refused)
    }

    fn create_transports(&self, toward: Option<[ObjectId; 2]>) -> Result<[ObjectId; 2], DriverError> {
        self.pass(Call::CreateTransports { toward }, |driver| driver.create_transports(toward), consumes_nothing)
    }

    fn activate(&self, transport: ObjectId, listener: Listener) -> Result<(), DriverError> {
        let key = listener.key();
        let ear = Arc::new(Ear { watch: Arc::clone(&self.watch), transport, listener });
        let call = Call::Activate { transport, listener: key };
        self.pass(call, |driver| driver.activate(transport, Listener::new(ear, key)), consumes_nothing)
    }

    fn deactivate(&self, transport: ObjectId) {
        self.tell(Call::Deactivate { transport }, |driver| driver.deactivate(transport));
    }

    fn transmit(&self, transport: ObjectId, frames: &[Frame<'_>]) -> Result<(), DriverError> {
        let refused = |driver: &dyn Driver| close_all(driver, frames.iter().flat_map(|frame| frame.handles));
        self.pass(Call::Transmit { transport, frames }, |driver| driver.transmit(transport, frames), refused)
    }

    fn report_bad(&self, transport: ObjectId, context: usize) {
        self.tell(Call::ReportBad { transport, context }, |driver| driver.report_bad(transport, context));
    }

    fn allocate(&self, bytes: usize) -> Result<ObjectId, DriverError> {
        self.pass(Call::Allocate { bytes }, |driver| driver.allocate(bytes), consumes_nothing)
    }

    fn size(&self, memory: ObjectId) -> Result<usize, DriverError> {
        self.pass(Call::Size { memory }, |driver| driver.size(memory), consumes_nothing)
    }

    fn duplicate(&self, memory: ObjectId) -> Result<ObjectId, DriverError> {
        self.pass(Call::Duplicate { memory }, |driver| driver.duplicate(memory), consumes_nothing)
    }

    fn map(&self, memory: ObjectId) -> Result<Mapping, DriverError> {
        self.pass(Call::Map { memory }, |driver| driver.map(memory), consumes_nothing)
    }

    fn random(&self, out: &mut [u8]) -> Result<(), DriverError> {
        self.pass(Call::Random { bytes: out.len() }, |driver| driver.random(out), consumes_nothing)
    }

    fn limits(&self) -> DriverLimits {
        self.inner.limits()
    }

    fn backlog(&self, transport: ObjectId) -> usize {
        self.inner.backlog(transport)
    }
}

/// Hears for the listener of a watched transport.
struct Ear<W> {
    watch: Arc<W>,
    transport: ObjectId,
    listener: Listener,
}

impl<W: Watch> Activity for Ear<W> {
    fn message(self: Arc<Self>, _: u64, data: &[u8], handles: &[ObjectId], envelope: Option<ObjectId>) -> Verdict {
        self.watch.heard(self.transport, &Notice::Message(Frame { data, handles }));
        self.listener.message(data, handles, envelope)
    }

    fn error(self: Arc<Self>, _: u64) {
        self.watch.heard(self.transport, &Notice::Error);
        self.listener.error();
    }

    fn deactivated(self: Arc<Self>, _: u64) {
        self.watch.heard(self.transport, &Notice::Deactivated);
        self.listener.clone().deactivated();
    }
}

/// Counts calls, failures, messages and bytes.
#[derive(Default)]
pub struct Count {
    calls: [AtomicU64; ENTRIES],
    failures: [AtomicU64; ENTRIES],
    sent: [AtomicU64; 2],
    received: [AtomicU64; 2],
}

impl Count {
    /// How often this was called.
    pub fn calls(&self, entry: Entry) -> u64 {
        self.calls[entry as usize].load(Ordering::Relaxed)
    }

    /// How often it failed.
    pub fn failures(&self, entry: Entry) -> u64 {
        self.failures[entry as usize].load(Ordering::Relaxed)
    }

    /// Messages transmitted, and their bytes.
    pub fn sent(&self) -> (u64, u64) {
        (self.sent[0].load(Ordering::Relaxed), self.sent[1].load(Ordering::Relaxed))
    }

    /// Messages that listeners were given, and their bytes.
    pub fn received(&self) -> (u64, u64) {
        (self.received[0].load(Ordering::Relaxed), self.received[1].load(Ordering::Relaxed))
    }
}

fn add(to: &AtomicU64, more: usize) {
    to.fetch_add(more as u64, Ordering::Relaxed);
}

impl Watch for Count {
    fn after(&self, call: &Call<'_>, result: Result<(), DriverError>) {
        let entry = call.entry() as usize;
        add(&self.calls[entry], 1);
        add(&self.failures[entry], usize::from(result.is_err()));
        if let (Call::Transmit { frames, .. }, Ok(())) = (call, result) {
            add(&self.sent[0], frames.len());
            add(&self.sent[1], frames.iter().map(|frame| frame.data.len()).sum());
        }
    }

    fn heard(&self, _transport: ObjectId, notice: &Notice<'_>) {
        if let Notice::Message(frame) = notice {
            add(&self.received[0], 1);
            add(&self.received[1], frame.data.len());
        }
    }
}

/// Tells each call and notification in a line. Never what is in a message (driver.md 12, no. 32).
pub struct Trace {
    tell: Box<dyn Fn(fmt::Arguments<'_>) + Send + Sync>,
}

impl Trace {
    /// Lines go to `tell`, as they happen.
    pub fn new(tell: impl Fn(fmt::Arguments<'_>) + Send + Sync + 'static) -> Arc<Trace> {
        Arc::new(Trace { tell: Box::new(tell) })
    }
}

/// How messages are told: their number, bytes and handles.
fn size(frames: &[Frame<'_>]) -> (usize, usize, usize) {
    (frames.len(), frames.iter().map(|frame| frame.data.len()).sum(), frames.iter().map(|frame| frame.handles.len()).sum())
}

impl Watch for Trace {
    fn after(&self, call: &Call<'_>, result: Result<(), DriverError>) {
        let said = result.err().map_or(String::new(), |error| format!(": {error}"));
        match call {
            Call::Transmit { transport, frames } => {
                let (messages, bytes, handles) = size(frames);
                (self.tell)(format_args!("Transmit {transport:?} messages={messages} bytes={bytes} handles={handles}{said}"));
            }
            Call::Deserialize { data, handles, via } => {
                (self.tell)(format_args!("Deserialize via={via:?} bytes={} handles={}{said}", data.len(), handles.len()));
            }
            other => (self.tell)(format_args!("{other:?}{said}")),
        }
    }

    fn heard(&self, transport: ObjectId, notice: &Notice<'_>) {
        match notice {
            Notice::Message(Frame { data, handles }) => {
                (self.tell)(format_args!("heard {transport:?}: message bytes={} handles={}", data.len(), handles.len()));
            }
            Notice::Error => (self.tell)(format_args!("heard {transport:?}: error")),
            Notice::Deactivated => (self.tell)(format_args!("heard {transport:?}: deactivated")),
        }
    }
}

/// Makes calls fail: always, or some of those to come. Calls that cannot fail are not touched.
#[derive(Default)]
pub struct Faults {
    plans: Mutex<BTreeMap<Entry, Plan>>,
}

struct Plan {
    error: DriverError,
    /// So many calls are passed on first.
    spared: u64,
    /// So many fail then.
    failing: u64,
}

impl Faults {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Entry, Plan>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this fails.
    pub fn always(&self, entry: Entry, error: DriverError) {
        self.some(entry, error, 0, u64::MAX);
    }

    /// Of the calls to come, `spared` are passed on and the `failing` after those fail. Takes the place of what was said of this entry before.
    pub fn some(&self, entry: Entry, error: DriverError, spared: u64, failing: u64) {
        self.lock().insert(entry, Plan { error, spared, failing });
    }

    /// From now on nothing fails.
    pub fn none(&self) {
        self.lock().clear();
    }
}

impl Watch for Faults {
    fn before(&self, call: &Call<'_>) -> Result<(), DriverError> {
        let mut plans = self.lock();
        let Some(plan) = plans.get_mut(&call.entry()) else { return Ok(()) };
        if plan.spared > 0 {
            plan.spared -= 1;
            return Ok(());
        }
        if plan.failing == 0 {
            return Ok(());
        }
        plan.failing -= 1;
        Err(plan.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InProcess;

    #[derive(Default)]
    struct Ears(AtomicU64);

    impl Activity for Ears {
        fn message(self: Arc<Self>, key: u64, _: &[u8], _: &[ObjectId], _: Option<ObjectId>) -> Verdict {
            self.0.fetch_add(key, Ordering::Relaxed);
            Verdict::Accepted
        }

        fn error(self: Arc<Self>, _: u64) {}

        fn deactivated(self: Arc<Self>, _: u64) {}
    }

    /// A watched driver with a pair of transports, of which the second hears.
    fn watched<W: Watch + 'static>(watch: &Arc<W>) -> (Arc<InProcess>, Arc<Watched<W>>, [ObjectId; 2], Arc<Ears>) {
        let inner = InProcess::new();
        let driver = Watched::new(inner.clone(), Arc::clone(watch));
        let ends = inner.transport_pair();
        let ears = Arc::new(Ears::default());
        driver.activate(ends[1], Listener::new(ears.clone(), 7)).unwrap();
        (inner, driver, ends, ears)
    }

    #[test]
    fn a_count_tells_calls_failures_messages_and_bytes() {
        let count = Arc::new(Count::default());
        let (_, driver, [a, b], ears) = watched(&count);
        let frame = |data| Frame { data, handles: &[] };
        driver.transmit(a, &[frame(b"one"), frame(b"three")]).unwrap();
        assert_eq!(ears.0.load(Ordering::Relaxed), 14, "the listener's key is its own");
        assert_eq!((count.sent(), count.received()), ((2, 8), (2, 8)));
        assert!(driver.transmit(ObjectId::new(99).unwrap(), &[]).is_err());
        assert_eq!((count.calls(Entry::Transmit), count.failures(Entry::Transmit)), (2, 1));
        assert_eq!(driver.can_travel(b, None), Travel::Never);
        assert_eq!((count.calls(Entry::CanTravel), count.failures(Entry::CanTravel)), (1, 1));
    }

    /// Notes the keys of listeners.
    #[derive(Default)]
    struct Keys(Mutex<Vec<u64>>);

    impl Watch for Keys {
        fn before(&self, call: &Call<'_>) -> Result<(), DriverError> {
            if let Call::Activate { listener, .. } = call {
                self.0.lock().unwrap().push(*listener);
            }
            Ok(())
        }
    }

    #[test]
    fn a_driver_underneath_knows_the_listener_by_its_own_key() {
        let (inner, under) = (InProcess::new(), Arc::new(Keys::default()));
        let driver = Watched::new(Watched::new(inner.clone(), under.clone()), Arc::new(Count::default()));
        driver.activate(inner.transport_pair()[0], Listener::new(Arc::new(Ears::default()), 9)).unwrap();
        assert_eq!(*under.0.lock().unwrap(), [9]);
    }

    #[test]
    fn faults_strike_as_planned_and_give_up_what_a_call_consumes() {
        let faults = Arc::new(Faults::default());
        let (inner, driver, [a, _], ears) = watched(&faults);
        faults.some(Entry::Transmit, DriverError::Disconnected, 1, 1);
        let send = || {
            let token = inner.token(5);
            driver.transmit(a, &[Frame { data: b"", handles: &[token] }]).map(|()| inner.close(token))
        };
        let before = inner.live_objects();
        assert_eq!([send(), send(), send()], [Ok(()), Err(DriverError::Disconnected), Ok(())]);
        assert_eq!((ears.0.load(Ordering::Relaxed), inner.live_objects()), (14, before));
        let token = inner.token(6);
        faults.always(Entry::CanTravel, DriverError::PermissionDenied);
        assert_eq!(driver.can_travel(token, Some(a)), Travel::NotHere);
        faults.always(Entry::Deserialize, DriverError::Unknown);
        assert_eq!(driver.deserialize(&[], &[token], a), Err(DriverError::Unknown));
        assert_eq!(inner.live_objects(), before);
        faults.none();
        assert_eq!(driver.can_travel(inner.token(7), None), Travel::Yes);
    }

    #[test]
    fn a_trace_tells_everything_but_what_is_in_messages() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&lines);
        let (_, driver, [a, b], _) = watched(&Trace::new(move |line| to.lock().unwrap().push(line.to_string())));
        driver.transmit(a, &[Frame { data: b"secret", handles: &[] }]).unwrap();
        assert_eq!(driver.size(a), Err(DriverError::InvalidArgument));
        driver.deactivate(b);
        let lines = lines.lock().unwrap().join("\n");
        for part in ["Activate", "heard", "message bytes=6 handles=0", "Transmit", "messages=1", "Size", "does not take", "deactivated"] {
            assert!(lines.contains(part), "{part} in:\n{lines}");
        }
        assert!(!lines.contains("secret"), "{lines}");
    }
}
