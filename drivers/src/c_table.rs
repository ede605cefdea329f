//! Our drivers as tables of C functions (driver.md 1), for C and C++ programs (`include/ipcz/drivers.h`). Feature `capi`.
//!
//! Whatever a program passes is checked: a handle that is none of the driver's, a null pointer or a struct that is too small is
//! `INVALID_ARGUMENT`.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ops::Deref;
use std::ptr::null;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use ipcz::abi::{
    ACTIVITY_DEACTIVATED, ACTIVITY_ERROR, IpczDriver, IpczDriverHandle, IpczHandle, IpczResult, IpczSharedMemoryInfo,
    IpczTransportActivityHandler, IpczTransportActivityOptions, result,
};
use ipcz::driver::{Activity, Driver, DriverError, Frame, Listener, Packed, Travel, Verdict};
use ipcz::ids::ObjectId;
use ipcz::mapping::Mapping;

#[cfg(target_os = "linux")]
use crate::UnixDriver;
use crate::{InProcess, InProcessOptions};

/// A driver that a table of functions stands for: C passes none of its own.
trait Exported: 'static {
    /// The driver. Fails if the process is short of something it needs.
    fn driver() -> Result<impl Deref<Target = dyn Driver>, DriverError>;
    /// What any of its objects becomes.
    fn size() -> PackedSize;
}

/// What any object of a driver becomes in a message: so many bytes, and so many transmissible handles. At least one of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the struct says it")]
pub struct PackedSize {
    pub bytes: usize,
    pub handles: usize,
}

impl PackedSize {
    /// Of [`InProcess`].
    pub const IN_PROCESS: PackedSize = PackedSize { bytes: 0, handles: 1 };
    /// Of the Unix driver.
    pub const UNIX: PackedSize = PackedSize { bytes: 8, handles: 1 };
}

/// The in-process drivers of which the whole program has one each.
struct TheInProcess<const ASYNCHRONOUS: bool, const BROKERING: bool>;

impl<const ASYNCHRONOUS: bool, const BROKERING: bool> Exported for TheInProcess<ASYNCHRONOUS, BROKERING> {
    fn driver() -> Result<impl Deref<Target = dyn Driver>, DriverError> {
        static DRIVERS: [OnceLock<Arc<InProcess>>; 4] = [const { OnceLock::new() }; 4];
        let options = InProcessOptions { asynchronous: ASYNCHRONOUS, brokering: BROKERING, ..InProcessOptions::default() };
        let which = usize::from(ASYNCHRONOUS) + 2 * usize::from(BROKERING);
        Ok(&**DRIVERS[which].get_or_init(|| InProcess::with(options)) as &dyn Driver)
    }

    fn size() -> PackedSize {
        PackedSize::IN_PROCESS
    }
}

#[cfg(target_os = "linux")]
struct TheUnix;

#[cfg(target_os = "linux")]
impl TheUnix {
    fn get() -> Result<&'static Arc<UnixDriver>, DriverError> {
        static DRIVER: Mutex<Option<&'static Arc<UnixDriver>>> = Mutex::new(None);
        let mut made = DRIVER.lock().unwrap_or_else(PoisonError::into_inner);
        match *made {
            Some(driver) => Ok(driver),
            // Once a program: it lasts as long as that.
            None => Ok(made.insert(Box::leak(Box::new(UnixDriver::new()?)))),
        }
    }
}

#[cfg(target_os = "linux")]
impl Exported for TheUnix {
    fn driver() -> Result<impl Deref<Target = dyn Driver>, DriverError> {
        Ok(&**TheUnix::get()? as &dyn Driver)
    }

    fn size() -> PackedSize {
        PackedSize::UNIX
    }
}

/// How many drivers made in Rust can have a table at the same time.
pub const TABLES: usize = 64;

/// A table for a driver made in Rust, one of [`TABLES`]. Given back when this is dropped; its entries answer `INVALID_ARGUMENT` then, until
/// another driver gets it.
#[derive(Debug)]
pub struct Table {
    place: usize,
}

type Tenant = Option<(Arc<dyn Driver>, PackedSize)>;

static TENANTS: [RwLock<Tenant>; TABLES] = [const { RwLock::new(None) }; TABLES];

impl Table {
    /// A table for `driver`. `ResourceExhausted`: all are taken.
    pub fn of(driver: Arc<dyn Driver>, size: PackedSize) -> Result<Table, DriverError> {
        for (place, tenant) in TENANTS.iter().enumerate() {
            let mut tenant = tenant.write().unwrap_or_else(PoisonError::into_inner);
            if tenant.is_none() {
                *tenant = Some((driver, size));
                return Ok(Table { place });
            }
        }
        Err(DriverError::ResourceExhausted)
    }
}

impl Deref for Table {
    type Target = IpczDriver;

    fn deref(&self) -> &IpczDriver {
        &FOR_RUST[self.place]
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let left = TENANTS[self.place].write().unwrap_or_else(PoisonError::into_inner).take();
        // Not under the lock: a driver may call others when it ends.
        drop(left);
    }
}

/// The driver that has this table now.
struct Rented<const PLACE: usize>;

impl<const PLACE: usize> Rented<PLACE> {
    fn tenant<R>(look: impl FnOnce(&(Arc<dyn Driver>, PackedSize)) -> R) -> Option<R> {
        TENANTS[PLACE].read().unwrap_or_else(PoisonError::into_inner).as_ref().map(look)
    }
}

impl<const PLACE: usize> Exported for Rented<PLACE> {
    fn driver() -> Result<impl Deref<Target = dyn Driver>, DriverError> {
        Self::tenant(|(driver, _)| Arc::clone(driver)).ok_or(DriverError::InvalidArgument)
    }

    fn size() -> PackedSize {
        Self::tenant(|(_, size)| *size).unwrap_or(PackedSize { bytes: 0, handles: 0 })
    }
}

/// Runs an entry. No panic crosses into C.
fn guarded(act: impl FnOnce() -> Result<(), DriverError>) -> IpczResult {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(act)) {
        Ok(Ok(())) => result::OK,
        Ok(Err(error)) => result::of_driver(error),
        Err(_) => result::INTERNAL,
    }
}

fn object(handle: IpczDriverHandle) -> Result<ObjectId, DriverError> {
    ObjectId::new(handle as u64).ok_or(DriverError::InvalidArgument)
}

fn raw(object: ObjectId) -> IpczDriverHandle {
    object.0.get() as IpczDriverHandle
}

/// What C points to; null goes with a count of zero only.
///
/// # Safety
/// If not null, `start` is valid for reads of `count` elements for `'a`.
unsafe fn slice<'a, T>(start: *const T, count: usize) -> Result<&'a [T], DriverError> {
    match (start.is_null(), count) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(DriverError::InvalidArgument),
        _ if count > isize::MAX as usize / size_of::<T>() => Err(DriverError::ResourceExhausted),
        // SAFETY: the caller's promise.
        _ => Ok(unsafe { std::slice::from_raw_parts(start, count) }),
    }
}

/// Stores an answer, which must be wanted.
///
/// # Safety
/// `to` is null or valid for a write.
unsafe fn answer<T>(to: *mut T, value: T) -> Result<(), DriverError> {
    if to.is_null() {
        return Err(DriverError::InvalidArgument);
    }
    // SAFETY: the caller's promise.
    unsafe { to.write(value) };
    Ok(())
}

/// Mappings by their handles, which no object of a driver has.
static MAPPINGS: Mutex<slab::Slab<Mapping>> = Mutex::new(slab::Slab::new());
const MAPPING: u64 = 1 << 63;

fn mappings() -> MutexGuard<'static, slab::Slab<Mapping>> {
    MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who hears of a transport: a C function.
struct CActivity(IpczTransportActivityHandler);

impl CActivity {
    fn say(&self, key: u64, flags: u32) {
        // SAFETY: the program gave the function; there is no data and there are no handles.
        unsafe { (self.0)(key as IpczHandle, null(), 0, null(), 0, flags, null()) };
    }
}

impl Activity for CActivity {
    fn message(self: Arc<Self>, key: u64, data: &[u8], handles: &[ObjectId], envelope: Option<ObjectId>) -> Verdict {
        let handles: Vec<IpczDriverHandle> = handles.iter().map(|handle| raw(*handle)).collect();
        let options = envelope.map(|envelope| IpczTransportActivityOptions { size: 16, envelope: raw(envelope) });
        let options: *const c_void = options.as_ref().map_or(null(), |options| (&raw const *options).cast());
        // SAFETY: the program gave the function; everything lives until it returns.
        let said = unsafe { (self.0)(key as IpczHandle, data.as_ptr().cast(), data.len(), handles.as_ptr(), handles.len(), 0, options) };
        if matches!(said, result::OK | result::UNIMPLEMENTED) { Verdict::Accepted } else { Verdict::Refused }
    }

    fn error(self: Arc<Self>, key: u64) {
        self.say(key, ACTIVITY_ERROR);
    }

    fn deactivated(self: Arc<Self>, key: u64) {
        self.say(key, ACTIVITY_DEACTIVATED);
    }
}

type Options = *const c_void;

unsafe extern "C" fn close<D: Exported>(handle: IpczDriverHandle, _: u32, _: Options) -> IpczResult {
    guarded(|| {
        if handle as u64 & MAPPING != 0 {
            return mappings().try_remove((handle as u64 & !MAPPING) as usize).map(drop).ok_or(DriverError::InvalidArgument);
        }
        D::driver()?.close(object(handle)?);
        Ok(())
    })
}

/// How an object travels; what it becomes is known before (driver.md 4).
unsafe extern "C" fn serialize<D: Exported>(
    handle: IpczDriverHandle,
    transport: IpczDriverHandle,
    _: u32,
    _: Options,
    data: *mut c_void,
    num_bytes: *mut usize,
    handles: *mut IpczDriverHandle,
    num_handles: *mut usize,
) -> IpczResult {
    let mut short = None;
    let done = guarded(|| {
        let (driver, it) = (D::driver()?, object(handle)?);
        match driver.can_travel(it, ObjectId::new(transport as u64)) {
            Travel::Yes => {}
            Travel::NotHere => return Err(DriverError::PermissionDenied),
            Travel::Never => return Err(DriverError::InvalidArgument),
        }
        // SAFETY: null, or the caller's.
        let room = unsafe { (num_bytes.as_ref().copied().unwrap_or(0), num_handles.as_ref().copied().unwrap_or(0)) };
        if transport == 0 {
            short = Some(result::ABORTED);
            return Ok(());
        }
        let PackedSize { bytes, handles: count } = D::size();
        let fits = room.0 >= bytes && room.1 >= count && (!data.is_null() || bytes == 0) && (!handles.is_null() || count == 0);
        let mut packed = Packed::default();
        if fits {
            driver.serialize(it, object(transport)?, &mut packed)?;
        } else {
            short = Some(result::RESOURCE_EXHAUSTED);
        }
        // SAFETY: there is room for what it becomes, which is as big as was said; the numbers are null or the caller's.
        unsafe {
            std::ptr::copy_nonoverlapping(packed.data.as_ptr(), data.cast(), packed.data.len());
            for (i, handle) in packed.handles.iter().enumerate() {
                handles.add(i).write(raw(*handle));
            }
            for (number, needed) in [(num_bytes, bytes), (num_handles, count)] {
                if !number.is_null() {
                    number.write(needed);
                }
            }
        }
        Ok(())
    });
    if done == result::OK { short.unwrap_or(result::OK) } else { done }
}

unsafe extern "C" fn deserialize<D: Exported>(
    data: *const c_void,
    num_bytes: usize,
    handles: *const IpczDriverHandle,
    num_handles: usize,
    transport: IpczDriverHandle,
    _: u32,
    _: Options,
    out: *mut IpczDriverHandle,
) -> IpczResult {
    guarded(|| {
        // SAFETY: the caller gives as much as it says.
        let (data, handles) = unsafe { (slice(data.cast::<u8>(), num_bytes)?, slice(handles, num_handles)?) };
        let handles: Vec<ObjectId> = handles.iter().map(|handle| object(*handle)).collect::<Result<_, _>>()?;
        let made = D::driver()?.deserialize(data, &handles, object(transport)?)?;
        // SAFETY: null, or the caller's.
        unsafe { answer(out, raw(made)) }
    })
}

unsafe extern "C" fn create_transports<D: Exported>(
    first: IpczDriverHandle,
    second: IpczDriverHandle,
    _: u32,
    _: Options,
    a: *mut IpczDriverHandle,
    b: *mut IpczDriverHandle,
) -> IpczResult {
    guarded(|| {
        if a.is_null() || b.is_null() {
            return Err(DriverError::InvalidArgument);
        }
        let toward = ObjectId::new(first as u64).zip(ObjectId::new(second as u64)).map(|(a, b)| [a, b]);
        let made = D::driver()?.create_transports(toward)?;
        // SAFETY: neither is null.
        unsafe {
            a.write(raw(made[0]));
            b.write(raw(made[1]));
        }
        Ok(())
    })
}

unsafe extern "C" fn activate<D: Exported>(
    transport: IpczDriverHandle,
    listener: IpczHandle,
    handler: IpczTransportActivityHandler,
    _: u32,
    _: Options,
) -> IpczResult {
    guarded(|| D::driver()?.activate(object(transport)?, Listener::new(Arc::new(CActivity(handler)), listener as u64)))
}

unsafe extern "C" fn deactivate<D: Exported>(transport: IpczDriverHandle, _: u32, _: Options) -> IpczResult {
    guarded(|| {
        D::driver()?.deactivate(object(transport)?);
        Ok(())
    })
}

unsafe extern "C" fn transmit<D: Exported>(
    transport: IpczDriverHandle,
    data: *const c_void,
    num_bytes: usize,
    handles: *const IpczDriverHandle,
    num_handles: usize,
    _: u32,
    _: Options,
) -> IpczResult {
    guarded(|| {
        // SAFETY: the caller gives as much as it says.
        let (data, handles) = unsafe { (slice(data.cast::<u8>(), num_bytes)?, slice(handles, num_handles)?) };
        let handles: Vec<ObjectId> = handles.iter().map(|handle| object(*handle)).collect::<Result<_, _>>()?;
        D::driver()?.transmit(object(transport)?, &[Frame { data, handles: &handles }])
    })
}

unsafe extern "C" fn report_bad<D: Exported>(transport: IpczDriverHandle, context: usize, _: u32, _: Options) -> IpczResult {
    guarded(|| {
        D::driver()?.report_bad(object(transport)?, context);
        Ok(())
    })
}

unsafe extern "C" fn allocate<D: Exported>(num_bytes: usize, _: u32, _: Options, out: *mut IpczDriverHandle) -> IpczResult {
    guarded(|| {
        let made = D::driver()?.allocate(num_bytes)?;
        // SAFETY: null, or the caller's.
        unsafe { answer(out, raw(made)) }
    })
}

unsafe extern "C" fn info<D: Exported>(memory: IpczDriverHandle, _: u32, _: Options, out: *mut IpczSharedMemoryInfo) -> IpczResult {
    guarded(|| {
        // SAFETY: null, or as big as it says.
        if out.is_null() || unsafe { (*out).size } < size_of::<IpczSharedMemoryInfo>() {
            return Err(DriverError::InvalidArgument);
        }
        let bytes = D::driver()?.size(object(memory)?)?;
        // SAFETY: looked at above.
        unsafe { (*out).region_num_bytes = bytes };
        Ok(())
    })
}

unsafe extern "C" fn duplicate<D: Exported>(memory: IpczDriverHandle, _: u32, _: Options, out: *mut IpczDriverHandle) -> IpczResult {
    guarded(|| {
        let made = D::driver()?.duplicate(object(memory)?)?;
        // SAFETY: null, or the caller's.
        unsafe { answer(out, raw(made)) }
    })
}

unsafe extern "C" fn map<D: Exported>(
    memory: IpczDriverHandle,
    _: u32,
    _: Options,
    address: *mut *mut c_void,
    out: *mut IpczDriverHandle,
) -> IpczResult {
    guarded(|| {
        if address.is_null() || out.is_null() {
            return Err(DriverError::InvalidArgument);
        }
        let mapping = D::driver()?.map(object(memory)?)?;
        let at = mapping.as_mut_ptr(0);
        let place = mappings().insert(mapping) as u64;
        // SAFETY: neither is null.
        unsafe {
            address.write(at.cast());
            out.write((MAPPING | place) as IpczDriverHandle);
        }
        Ok(())
    })
}

unsafe extern "C" fn random<D: Exported>(num_bytes: usize, _: u32, _: Options, buffer: *mut c_void) -> IpczResult {
    guarded(|| {
        if buffer.is_null() || num_bytes > isize::MAX as usize {
            return Err(DriverError::InvalidArgument);
        }
        // SAFETY: the caller gives room for as many bytes as it says.
        D::driver()?.random(unsafe { std::slice::from_raw_parts_mut(buffer.cast(), num_bytes) })
    })
}

const fn table<D: Exported>() -> IpczDriver {
    IpczDriver {
        size: size_of::<IpczDriver>(),
        close: Some(close::<D>),
        serialize: Some(serialize::<D>),
        deserialize: Some(deserialize::<D>),
        create_transports: Some(create_transports::<D>),
        activate_transport: Some(activate::<D>),
        deactivate_transport: Some(deactivate::<D>),
        transmit: Some(transmit::<D>),
        report_bad_transport_activity: Some(report_bad::<D>),
        allocate_shared_memory: Some(allocate::<D>),
        get_shared_memory_info: Some(info::<D>),
        duplicate_shared_memory: Some(duplicate::<D>),
        map_shared_memory: Some(map::<D>),
        generate_random_bytes: Some(random::<D>),
    }
}

static IN_PROCESS: IpczDriver = table::<TheInProcess<false, false>>();
static ASYNCHRONOUS: IpczDriver = table::<TheInProcess<true, false>>();
static BROKERING: IpczDriver = table::<TheInProcess<false, true>>();
static ASYNCHRONOUS_BROKERING: IpczDriver = table::<TheInProcess<true, true>>();
#[cfg(target_os = "linux")]
static UNIX: IpczDriver = table::<TheUnix>();

macro_rules! tables {
    ($($place:literal)*) => {
        [$(table::<Rented<$place>>()),*]
    };
}

static FOR_RUST: [IpczDriver; TABLES] = tables!(
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
    32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63
);

/// The synchronous driver for nodes of one process.
#[unsafe(no_mangle)]
pub extern "C" fn IpczInProcessDriver() -> *const IpczDriver {
    &raw const IN_PROCESS
}

/// The drivers for nodes of one process: with a thread of their own, and whose objects go only to or from a broker.
#[unsafe(no_mangle)]
pub extern "C" fn IpczInProcessDriverWith(flags: u32) -> *const IpczDriver {
    match flags & (WITH_THREAD | WITH_BROKERING) {
        0 => &raw const IN_PROCESS,
        WITH_THREAD => &raw const ASYNCHRONOUS,
        WITH_BROKERING => &raw const BROKERING,
        _ => &raw const ASYNCHRONOUS_BROKERING,
    }
}

const WITH_THREAD: u32 = 1;
const WITH_BROKERING: u32 = 2;

/// The driver for processes that are joined by Unix sockets.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
pub extern "C" fn IpczUnixDriver() -> *const IpczDriver {
    &raw const UNIX
}

/// The entries that only the Unix driver has.
#[cfg(target_os = "linux")]
mod unix {
    use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

    use super::*;

    /// A descriptor that the program gives up.
    ///
    /// # Safety
    /// If it is open, it is the caller's, and nobody else's from now on.
    unsafe fn given(fd: RawFd) -> Result<OwnedFd, DriverError> {
        // SAFETY: borrowed only to see whether it is open.
        if fd < 0 || rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) }).is_err() {
            return Err(DriverError::InvalidArgument);
        }
        // SAFETY: open, and the caller's promise.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// A connected pair of sockets, closed on exec.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn IpczUnixSocketPair(ends: *mut RawFd) -> IpczResult {
        guarded(|| {
            if ends.is_null() {
                return Err(DriverError::InvalidArgument);
            }
            for (i, end) in UnixDriver::socket_pair()?.into_iter().enumerate() {
                // SAFETY: the caller gives room for two.
                unsafe { ends.add(i).write(end.into_raw_fd()) };
            }
            Ok(())
        })
    }

    /// A transport over a connected Unix stream socket, which it owns if this succeeds.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn IpczUnixTransport(socket: RawFd, transport: *mut IpczDriverHandle) -> IpczResult {
        guarded(|| {
            if transport.is_null() {
                return Err(DriverError::InvalidArgument);
            }
            let driver = TheUnix::get()?;
            // SAFETY: the caller gives it up; if it is refused it is still open.
            let socket = unsafe { given(socket) }?;
            let number = socket.as_raw_fd();
            // SAFETY: duplicated while it is open.
            let twin = rustix::io::fcntl_dupfd_cloexec(unsafe { BorrowedFd::borrow_raw(number) }, 3);
            let made = twin.map_err(|_| DriverError::ResourceExhausted).and_then(|twin| driver.adopt(twin));
            match made {
                // SAFETY: not null.
                Ok(made) => unsafe { answer(transport, raw(made)) },
                Err(error) => {
                    let _ = socket.into_raw_fd();
                    Err(error)
                }
            }
        })
    }

    /// An object that holds any descriptor, to be boxed; the descriptor is its.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn IpczUnixFile(fd: RawFd, file: *mut IpczDriverHandle) -> IpczResult {
        guarded(|| {
            if file.is_null() {
                return Err(DriverError::InvalidArgument);
            }
            let driver = TheUnix::get()?;
            // SAFETY: the caller gives it up.
            let made = driver.file(unsafe { given(fd) }?);
            // SAFETY: not null.
            unsafe { answer(file, raw(made)) }
        })
    }

    /// Takes the descriptor out of such an object, which is gone then.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn IpczUnixTakeFile(file: IpczDriverHandle, fd: *mut RawFd) -> IpczResult {
        guarded(|| {
            if fd.is_null() {
                return Err(DriverError::InvalidArgument);
            }
            let taken = TheUnix::get()?.take_file(object(file)?).ok_or(DriverError::InvalidArgument)?;
            // SAFETY: not null.
            unsafe { answer(fd, taken.into_raw_fd()) }
        })
    }
}
