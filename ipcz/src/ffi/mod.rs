//! The C ABI (api.md): the table that `IpczGetAPI` fills, over one process for the whole program. The only place that knows C.
//!
//! Every entry checks what it is given, calls [`Process`], and turns the answer into a result. Handles are the
//! process's own, as numbers; listeners and trap handlers are looked up in tables of theirs. No panic crosses into C.
#![allow(unsafe_code)]

mod boxes;
mod calls;
mod driver;
#[cfg(feature = "test-hooks")]
mod hooks;
mod parcels;
mod traps;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

pub use crate::abi;
use abi::{IpczApi, IpczHandle, IpczResult, result};
pub use driver::CDriver;

use crate::Process;
use crate::clock::MonotonicClock;
use crate::error::Error;
use crate::ids::Handle;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("the C ABI needs handles of 64 bits");

/// The one process, made when it is first needed.
static PROCESS: OnceLock<Arc<Process>> = OnceLock::new();
/// A fork leaves threads behind that hold locks and memory: the child's copy is not to be used (design.md 3).
static FORKED: AtomicBool = AtomicBool::new(false);

fn process() -> &'static Arc<Process> {
    PROCESS.get_or_init(|| {
        unsafe extern "C" fn forked() {
            FORKED.store(true, Ordering::Relaxed);
        }
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::pthread_atfork(None, None, Some(forked)) };
        Process::new(Arc::new(MonotonicClock::new()), Arc::new(traps::CTraps))
    })
}

/// What C is told of an error.
fn code(error: Error) -> IpczResult {
    match error {
        Error::Unknown => result::UNKNOWN,
        Error::InvalidArgument => result::INVALID_ARGUMENT,
        Error::NotFound => result::NOT_FOUND,
        Error::AlreadyExists => result::ALREADY_EXISTS,
        Error::ResourceExhausted => result::RESOURCE_EXHAUSTED,
        Error::FailedPrecondition => result::FAILED_PRECONDITION,
        Error::OutOfRange => result::OUT_OF_RANGE,
        Error::Unimplemented => result::UNIMPLEMENTED,
        Error::Internal => result::INTERNAL,
        Error::Unavailable => result::UNAVAILABLE,
    }
}

/// Runs what an entry does. A panic is a defect of ours, and is told as one.
fn guarded(act: impl FnOnce() -> Result<(), Error>) -> IpczResult {
    if FORKED.load(Ordering::Relaxed) {
        return result::UNKNOWN;
    }
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(Ok(())) => result::OK,
        Ok(Err(error)) => code(error),
        Err(_) => result::INTERNAL,
    }
}

/// The handle that C names; any number may come.
fn handle(raw: IpczHandle) -> Result<Handle, Error> {
    Handle::from_bits(raw as u64).ok_or(Error::InvalidArgument)
}

fn raw(handle: Handle) -> IpczHandle {
    handle.to_bits() as IpczHandle
}

/// What C points to; null goes with a count of zero only (api.md A10).
///
/// # Safety
/// If not null, `start` is valid for reads of `count` elements for `'a`.
unsafe fn slice<'a, T>(start: *const T, count: usize) -> Result<&'a [T], Error> {
    match (start.is_null(), count) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(Error::InvalidArgument),
        _ if count > isize::MAX as usize / size_of::<T>().max(1) => Err(Error::ResourceExhausted),
        // SAFETY: the caller's promise; C has no uninitialised bytes that Rust could see.
        _ => Ok(unsafe { std::slice::from_raw_parts(start, count) }),
    }
}

/// Attachments that C names.
///
/// # Safety
/// As of [`slice`].
unsafe fn handles(start: *const IpczHandle, count: usize) -> Result<Vec<Handle>, Error> {
    // SAFETY: the caller's promise.
    unsafe { slice(start, count) }?.iter().map(|raw| handle(*raw)).collect()
}

/// Stores an answer if it is wanted.
///
/// # Safety
/// `to` is null or valid for a write.
unsafe fn store<T>(to: *mut T, value: T) {
    if !to.is_null() {
        // SAFETY: the caller's promise.
        unsafe { to.write(value) };
    }
}

/// A struct that begins with its size, if that is as big as it was first.
///
/// # Safety
/// `from` is null or points to a size, and to as many bytes as that says.
unsafe fn versioned<T: Copy>(from: *const T) -> Result<T, Error> {
    // SAFETY: the caller's promise.
    if from.is_null() || unsafe { from.cast::<usize>().read() } < size_of::<T>() {
        return Err(Error::InvalidArgument);
    }
    // SAFETY: it is as big as it says.
    Ok(unsafe { from.read() })
}

const TABLE: IpczApi = IpczApi {
    size: size_of::<IpczApi>(),
    close: calls::close,
    create_node: calls::create_node,
    connect_node: calls::connect_node,
    open_portals: calls::open_portals,
    merge_portals: calls::merge_portals,
    query_portal_status: calls::query_portal_status,
    put: parcels::put,
    begin_put: parcels::begin_put,
    end_put: parcels::end_put,
    get: parcels::get,
    begin_get: parcels::begin_get,
    end_get: parcels::end_get,
    trap: traps::trap,
    reject: calls::reject,
    r#box: boxes::r#box,
    unbox: boxes::unbox,
};

/// Fills the table, whose size must be set (api.md 4). `INVALID_ARGUMENT`: null, or too small.
///
/// # Safety
/// `api` is null or points to as many writable bytes as its size says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn IpczGetAPI(api: *mut IpczApi) -> IpczResult {
    // SAFETY: the caller's promise.
    if api.is_null() || unsafe { api.cast::<usize>().read() } < size_of::<IpczApi>() {
        return result::INVALID_ARGUMENT;
    }
    // SAFETY: it is as big as it says.
    unsafe { api.write(TABLE) };
    result::OK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_and_goes_no_further() {
        assert_eq!(guarded(|| panic!("a defect")), result::INTERNAL);
        assert_eq!((guarded(|| Ok(())), guarded(|| Err(Error::NotFound))), (result::OK, result::NOT_FOUND));
    }
}
