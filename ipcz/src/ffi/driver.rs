//! A driver table that a C program brings, as a [`Driver`] (driver.md 1 to 6), and the handler through which it answers.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::abi::{
    ACTIVITY_DEACTIVATED, ACTIVITY_ERROR, IpczDriver, IpczDriverHandle, IpczHandle, IpczResult, IpczSharedMemoryInfo,
    IpczTransportActivityOptions, result,
};
use super::{guarded, slice};
use crate::driver::{Driver, DriverError, Frame, Listener, Packed, Travel, Verdict};
use crate::error::Error;
use crate::ids::ObjectId;
use crate::mapping::{Mapping, NativeMapping};

/// A copy of a caller's table, complete but for `report_bad_transport_activity`.
pub struct CDriver(IpczDriver);

/// A listener as C sees it: above every handle an application can have, so that none is taken for the other.
const LISTENER: u64 = 1 << 31;

/// What a value that C brings is a listener of. Read at each message: a foreign value is looked up, never believed.
static LISTENERS: RwLock<BTreeMap<u64, (Listener, Arc<IpczDriver>)>> = RwLock::new(BTreeMap::new());

fn listener_of(key: u64) -> u64 {
    (key | LISTENER) + 1
}

fn check(result: IpczResult) -> Result<(), DriverError> {
    if result == result::OK { Ok(()) } else { Err(result::from_driver(result)) }
}

/// An object that the driver gave.
fn object(handle: IpczDriverHandle) -> Result<ObjectId, DriverError> {
    ObjectId::new(handle as u64).ok_or(DriverError::Unknown)
}

fn raw(object: ObjectId) -> IpczDriverHandle {
    object.0.get() as IpczDriverHandle
}

/// Objects as the driver wants them.
fn raws(objects: &[ObjectId]) -> *const IpczDriverHandle {
    const { assert!(size_of::<ObjectId>() == size_of::<IpczDriverHandle>(), "the C ABI is for 64-bit machines") };
    objects.as_ptr().cast()
}

/// What keeps a mapping of the driver's mapped.
struct CMapping(IpczDriver, IpczDriverHandle);

impl Drop for CMapping {
    fn drop(&mut self) {
        if let Some(close) = self.0.close {
            // SAFETY: the table's entries are callable, and the mapping is closed once.
            unsafe { close(self.1, 0, null()) };
        }
    }
}

/// One for each table, however many nodes use it: a process keeps its drivers.
static DRIVERS: Mutex<Vec<Arc<CDriver>>> = Mutex::new(Vec::new());

impl CDriver {
    /// The driver of this table; none if an entry but `report_bad_transport_activity` is missing (api.md 7).
    pub fn of(table: IpczDriver) -> Option<Arc<CDriver>> {
        let IpczDriver { close, serialize, deserialize, create_transports, activate_transport, deactivate_transport, transmit, .. } = table;
        let complete = close.is_some()
            && serialize.is_some()
            && deserialize.is_some()
            && create_transports.is_some()
            && activate_transport.is_some()
            && deactivate_transport.is_some()
            && transmit.is_some()
            && table.allocate_shared_memory.is_some()
            && table.get_shared_memory_info.is_some()
            && table.duplicate_shared_memory.is_some()
            && table.map_shared_memory.is_some()
            && table.generate_random_bytes.is_some();
        if !complete {
            return None;
        }
        // Callers may know later, longer tables; what is theirs beyond ours is not ours to tell apart.
        let table = IpczDriver { size: size_of::<IpczDriver>(), ..table };
        let mut drivers = DRIVERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = drivers.iter().find(|known| words(&known.0) == words(&table)) {
            return Some(Arc::clone(known));
        }
        let driver = Arc::new(CDriver(table));
        drivers.push(Arc::clone(&driver));
        Some(driver)
    }
}

/// The table as plain words: two with the same entries are the same driver.
fn words(table: &IpczDriver) -> [usize; size_of::<IpczDriver>() / size_of::<usize>()] {
    // SAFETY: a size and functions, each a word, without a gap.
    unsafe { std::mem::transmute(*table) }
}

/// Calls an entry of the table with flags 0 and options null where they stand.
macro_rules! call {
    ($driver:expr, $entry:ident ( $($arg:expr),* )) => {{
        let entry = $driver.0.$entry.expect("checked when the node was made");
        // SAFETY: the program promises that its entries are callable; pointers are to locals that outlive the call.
        unsafe { entry($($arg),*) }
    }};
}

impl Driver for CDriver {
    fn close(&self, object: ObjectId) {
        call!(self, close(raw(object), 0, null()));
    }

    fn can_travel(&self, object: ObjectId, via: Option<ObjectId>) -> Travel {
        let transport = via.map_or(0, raw);
        match call!(self, serialize(raw(object), transport, 0, null(), null_mut(), null_mut(), null_mut(), null_mut())) {
            result::RESOURCE_EXHAUSTED => Travel::Yes,
            result::ABORTED if via.is_none() => Travel::Yes,
            result::PERMISSION_DENIED if via.is_some() => Travel::NotHere,
            _ => Travel::Never,
        }
    }

    fn serialize(&self, object: ObjectId, via: ObjectId, out: &mut Packed) -> Result<(), DriverError> {
        let (mut bytes, mut count) = (0, 0);
        match call!(self, serialize(raw(object), raw(via), 0, null(), null_mut(), &raw mut bytes, null_mut(), &raw mut count)) {
            result::RESOURCE_EXHAUSTED => {}
            // It needs nothing at all, and is gone.
            result::OK => return Ok(()),
            refused => return Err(result::from_driver(refused)),
        }
        let mut data = vec![0u8; bytes];
        let mut handles: Vec<IpczDriverHandle> = vec![0; count];
        let (mut used, mut taken) = (bytes, count);
        let to: *mut c_void = if bytes == 0 { null_mut() } else { data.as_mut_ptr().cast() };
        let done = call!(self, serialize(raw(object), raw(via), 0, null(), to, &raw mut used, handles.as_mut_ptr(), &raw mut taken));
        check(done)?;
        data.truncate(used);
        handles.truncate(taken);
        let handles: Option<Vec<ObjectId>> = handles.into_iter().map(|handle| ObjectId::new(handle as u64)).collect();
        out.data.append(&mut data);
        out.handles.append(&mut handles.ok_or(DriverError::Unknown)?);
        Ok(())
    }

    fn deserialize(&self, data: &[u8], handles: &[ObjectId], via: ObjectId) -> Result<ObjectId, DriverError> {
        let mut made = 0;
        let from: *const c_void = if data.is_empty() { null() } else { data.as_ptr().cast() };
        check(call!(self, deserialize(from, data.len(), raws(handles), handles.len(), raw(via), 0, null(), &raw mut made)))?;
        object(made)
    }

    fn create_transports(&self, toward: Option<[ObjectId; 2]>) -> Result<[ObjectId; 2], DriverError> {
        let [first, second] = toward.map_or([0; 2], |toward| toward.map(raw));
        let (mut a, mut b) = (0, 0);
        check(call!(self, create_transports(first, second, 0, null(), &raw mut a, &raw mut b)))?;
        Ok([object(a)?, object(b)?])
    }

    fn activate(&self, transport: ObjectId, listener: Listener) -> Result<(), DriverError> {
        let key = listener.key();
        // What the driver says from now on must be understood, and it may say it before the call returns.
        listeners_mut().insert(key, (listener, Arc::new(self.0)));
        let done = call!(self, activate_transport(raw(transport), listener_of(key) as IpczHandle, activity, 0, null()));
        check(done).inspect_err(|_| {
            listeners_mut().remove(&key);
        })
    }

    fn deactivate(&self, transport: ObjectId) {
        call!(self, deactivate_transport(raw(transport), 0, null()));
    }

    fn transmit(&self, transport: ObjectId, frames: &[Frame<'_>]) -> Result<(), DriverError> {
        for (i, frame) in frames.iter().enumerate() {
            let Frame { data, handles } = frame;
            let sent = call!(self, transmit(raw(transport), data.as_ptr().cast(), data.len(), raws(handles), handles.len(), 0, null()));
            if let Err(error) = check(sent) {
                frames[i + 1..].iter().flat_map(|frame| frame.handles).for_each(|handle| self.close(*handle));
                return Err(error);
            }
        }
        Ok(())
    }

    fn report_bad(&self, transport: ObjectId, context: usize) {
        if let Some(report) = self.0.report_bad_transport_activity {
            // SAFETY: as in call!().
            unsafe { report(raw(transport), context, 0, null()) };
        }
    }

    fn allocate(&self, bytes: usize) -> Result<ObjectId, DriverError> {
        let mut memory = 0;
        check(call!(self, allocate_shared_memory(bytes, 0, null(), &raw mut memory)))?;
        object(memory)
    }

    fn size(&self, memory: ObjectId) -> Result<usize, DriverError> {
        let mut info = IpczSharedMemoryInfo { size: size_of::<IpczSharedMemoryInfo>(), region_num_bytes: 0 };
        check(call!(self, get_shared_memory_info(raw(memory), 0, null(), &raw mut info)))?;
        Ok(info.region_num_bytes)
    }

    fn duplicate(&self, memory: ObjectId) -> Result<ObjectId, DriverError> {
        let mut copy = 0;
        check(call!(self, duplicate_shared_memory(raw(memory), 0, null(), &raw mut copy)))?;
        object(copy)
    }

    fn map(&self, memory: ObjectId) -> Result<Mapping, DriverError> {
        let bytes = self.size(memory)?;
        let (mut address, mut mapping) = (null_mut(), 0);
        check(call!(self, map_shared_memory(raw(memory), 0, null(), &raw mut address, &raw mut mapping)))?;
        let owner = CMapping(self.0, mapping);
        if address.is_null() || !address.addr().is_multiple_of(8) {
            return Err(DriverError::Unknown);
        }
        // SAFETY: the driver maps all of the region, until its mapping is closed.
        Ok(Mapping::Native(Arc::new(unsafe { NativeMapping::new(address.cast(), bytes, Box::new(owner)) })))
    }

    fn random(&self, out: &mut [u8]) -> Result<(), DriverError> {
        check(call!(self, generate_random_bytes(out.len(), 0, null(), out.as_mut_ptr().cast())))
    }
}

type Listeners = BTreeMap<u64, (Listener, Arc<IpczDriver>)>;

fn listeners_mut() -> std::sync::RwLockWriteGuard<'static, Listeners> {
    LISTENERS.write().unwrap_or_else(PoisonError::into_inner)
}

/// The listener that C names, and its driver.
fn find(listener: IpczHandle) -> Result<(Listener, Arc<IpczDriver>), Error> {
    let key = key_of(listener)?;
    let listeners = LISTENERS.read().unwrap_or_else(PoisonError::into_inner);
    listeners.get(&key).cloned().ok_or(Error::InvalidArgument)
}

fn key_of(listener: IpczHandle) -> Result<u64, Error> {
    let bits = (listener as u64).checked_sub(1).ok_or(Error::InvalidArgument)?;
    if bits & LISTENER == 0 { Err(Error::InvalidArgument) } else { Ok(bits & !LISTENER) }
}

/// What drivers call (driver.md 5).
unsafe extern "C" fn activity(
    listener: IpczHandle,
    data: *const c_void,
    num_bytes: usize,
    driver_handles: *const IpczDriverHandle,
    num_driver_handles: usize,
    flags: u32,
    options: *const c_void,
) -> IpczResult {
    guarded(|| {
        if flags & ACTIVITY_DEACTIVATED != 0 {
            let (listener, _) = listeners_mut().remove(&key_of(listener)?).ok_or(Error::InvalidArgument)?;
            // Unasked, it is the end of the link as well (api.md A14).
            listener.deactivated();
            return Ok(());
        }
        let (listener, driver) = find(listener)?;
        if flags & ACTIVITY_ERROR != 0 {
            listener.error();
            return Ok(());
        }
        // SAFETY: the driver gives as many bytes and handles as it says, for the time of this call.
        let (data, handles) = unsafe { (slice(data.cast::<u8>(), num_bytes)?, slice(driver_handles, num_driver_handles)?) };
        // SAFETY: options are null or of the one kind there is, which begins with its size.
        let envelope = unsafe { envelope(options) };
        let objects: Vec<ObjectId> = handles.iter().filter_map(|handle| ObjectId::new(*handle as u64)).collect();
        if objects.len() < handles.len() {
            let driver = CDriver(*driver);
            objects.into_iter().chain(envelope).for_each(|object| driver.close(object));
            return Err(Error::InvalidArgument);
        }
        match listener.message(data, &objects, envelope) {
            Verdict::Accepted => Ok(()),
            Verdict::Refused => Err(Error::InvalidArgument),
        }
    })
}

/// The envelope that a later revision's driver sends along (api.md 16).
unsafe fn envelope(options: *const c_void) -> Option<ObjectId> {
    if options.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let size = unsafe { options.cast::<usize>().read() };
    if size < size_of::<IpczTransportActivityOptions>() {
        return None;
    }
    // SAFETY: the size says that it is there.
    let options = unsafe { options.cast::<IpczTransportActivityOptions>().read() };
    ObjectId::new(options.envelope as u64)
}
