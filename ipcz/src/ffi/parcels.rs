//! Puts and gets (api.md 9, 10). What a call answers is stored before any trap handler runs.

use std::ffi::c_void;
use std::num::NonZeroU64;
use std::ptr::null_mut;

use super::abi::{
    BEGIN_GET_OVERLAPPED, BEGIN_GET_PARTIAL, BEGIN_PUT_ALLOW_PARTIAL, END_GET_ABORT, END_PUT_ABORT, GET_PARTIAL, IpczHandle, IpczResult,
    IpczTransaction,
};
use super::{guarded, handle, handles, process, raw, slice, store};
use crate::api::{BeginGetFlags, Getting, Got};
use crate::error::Error;
use crate::ids::{Handle, Transaction};
use crate::{EndGet, GetFlags, GetRefused};

type Options = *const c_void;

fn transaction(raw: IpczTransaction) -> Result<Transaction, Error> {
    NonZeroU64::new(raw as u64).map(Transaction).ok_or(Error::InvalidArgument)
}

/// Room that a program says it has; a null pointer to the number is none.
///
/// # Safety
/// `room` is null or valid for a read.
unsafe fn room(room: *const usize) -> usize {
    // SAFETY: the caller's promise.
    if room.is_null() { 0 } else { unsafe { room.read() } }
}

/// Stores attachments and their number.
///
/// # Safety
/// `to` has room for them all, `count` is null or valid for a write.
unsafe fn give(given: &[Handle], to: *mut IpczHandle, count: *mut usize) {
    for (i, handle) in given.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { to.add(i).write(raw(*handle)) };
    }
    // SAFETY: as above.
    unsafe { store(count, given.len()) };
}

pub unsafe extern "C" fn put(
    portal: IpczHandle,
    data: *const c_void,
    num_bytes: usize,
    attached: *const IpczHandle,
    num_attached: usize,
    _flags: u32,
    _options: Options,
) -> IpczResult {
    guarded(|| {
        let portal = handle(portal)?;
        // SAFETY: the program gives as much as it says.
        let (data, attached) = unsafe { (slice(data.cast::<u8>(), num_bytes)?, handles(attached, num_attached)?) };
        process().put(portal, data, &attached)
    })
}

pub unsafe extern "C" fn begin_put(
    portal: IpczHandle,
    flags: u32,
    _options: Options,
    data: *mut *mut c_void,
    num_bytes: *mut usize,
    put: *mut IpczTransaction,
) -> IpczResult {
    guarded(|| {
        let portal = handle(portal)?;
        if put.is_null() {
            return Err(Error::InvalidArgument);
        }
        // SAFETY: null, or the program's own.
        let wanted = unsafe { room(num_bytes) };
        let begun = process().begin_put(portal, wanted, flags & BEGIN_PUT_ALLOW_PARTIAL != 0)?;
        // SAFETY: as above.
        unsafe {
            store(data, begun.data.as_mut_ptr().cast());
            store(num_bytes, begun.data.capacity());
            put.write(begun.transaction.0.get() as IpczTransaction);
        }
        Ok(())
    })
}

pub unsafe extern "C" fn end_put(
    portal: IpczHandle,
    put: IpczTransaction,
    produced: usize,
    attached: *const IpczHandle,
    num_attached: usize,
    flags: u32,
    _options: Options,
) -> IpczResult {
    guarded(|| {
        let (portal, put) = (handle(portal)?, transaction(put)?);
        if attached.is_null() && num_attached > 0 {
            return Err(Error::InvalidArgument);
        }
        if flags & END_PUT_ABORT != 0 {
            return process().abort_put(portal, put);
        }
        // SAFETY: the program gives as many as it says.
        let attached = unsafe { handles(attached, num_attached) }?;
        process().end_put(portal, put, produced, &attached)
    })
}

/// Why there is no room where a program says there is, unless something else comes first (api.md 10).
fn no_room(source: Handle) -> Error {
    match process().query(source) {
        Ok(status) if status.dead => Error::NotFound,
        Ok(status) if status.parcels == 0 => Error::Unavailable,
        _ => Error::InvalidArgument,
    }
}

pub unsafe extern "C" fn get(
    source: IpczHandle,
    flags: u32,
    _options: Options,
    data: *mut c_void,
    num_bytes: *mut usize,
    attached: *mut IpczHandle,
    num_attached: *mut usize,
    parcel: *mut IpczHandle,
) -> IpczResult {
    guarded(|| {
        let source = handle(source)?;
        // SAFETY: null, or the program's own.
        let (bytes, count) = unsafe { (room(num_bytes), room(num_attached)) };
        if data.is_null() && bytes > 0 || attached.is_null() && count > 0 {
            return Err(no_room(source));
        }
        let room: &mut [u8] = match bytes {
            0 => &mut [],
            // SAFETY: the program says that it has room for as many bytes; nobody else touches them meanwhile.
            _ => unsafe { std::slice::from_raw_parts_mut(data.cast(), bytes.min(isize::MAX as usize)) },
        };
        let how = GetFlags { partial: flags & GET_PARTIAL != 0, keep: !parcel.is_null() };
        let got = process().get_into_then(source, room, count, how, |got| {
            // SAFETY: there is room for as many attachments as were asked for; the rest is null or the program's own.
            unsafe {
                match &got {
                    Ok(Got { bytes, handles, parcel: kept }) => {
                        store(num_bytes, *bytes);
                        give(handles, attached, num_attached);
                        store(parcel, kept.map_or(0, raw));
                    }
                    Err(GetRefused::TooSmall { bytes, handles }) => {
                        store(num_bytes, *bytes);
                        store(num_attached, *handles);
                    }
                    Err(GetRefused::Error(_)) => {}
                }
            }
            got.map(|_| ())
        });
        got.map_err(Error::from)
    })
}

pub unsafe extern "C" fn begin_get(
    source: IpczHandle,
    flags: u32,
    _options: Options,
    data: *mut *const c_void,
    num_bytes: *mut usize,
    attached: *mut IpczHandle,
    num_attached: *mut usize,
    get: *mut IpczTransaction,
) -> IpczResult {
    guarded(|| {
        let source = handle(source)?;
        // SAFETY: null, or the program's own.
        let count = unsafe { room(num_attached) };
        if get.is_null() || attached.is_null() && count > 0 {
            return Err(Error::InvalidArgument);
        }
        let how = BeginGetFlags { partial: flags & BEGIN_GET_PARTIAL != 0, overlapped: flags & BEGIN_GET_OVERLAPPED != 0 };
        let describe = |begun: &Getting| {
            let at = if begun.data.is_empty() { null_mut() } else { begun.data.as_ptr().cast_mut() };
            // SAFETY: null, or the program's own.
            unsafe {
                store(data, at.cast_const().cast());
                store(num_bytes, begun.data.len());
            }
        };
        let begun = process().begin_get_then(source, count, how, |begun| {
            let begun = begun?;
            describe(&begun);
            // SAFETY: there is room for as many attachments as were asked for; the transaction is not null.
            unsafe {
                give(&begun.handles, attached, num_attached);
                get.write(begun.transaction.0.get() as IpczTransaction);
            }
            Ok(())
        });
        let Err(GetRefused::TooSmall { handles, .. }) = begun else { return begun.map_err(Error::from) };
        // SAFETY: as above.
        unsafe { store(num_attached, handles) };
        // Of a parcel the data is described nevertheless (api.md 10).
        let look = BeginGetFlags { partial: true, overlapped: false };
        if process().query(source).is_err()
            && let Ok(looking) = process().begin_get(source, 0, look)
        {
            describe(&looking);
            process().end_get(source, looking.transaction, EndGet::Abort)?;
        }
        Err(Error::ResourceExhausted)
    })
}

pub unsafe extern "C" fn end_get(
    source: IpczHandle,
    get: IpczTransaction,
    flags: u32,
    _options: Options,
    parcel: *mut IpczHandle,
) -> IpczResult {
    guarded(|| {
        let (source, get) = (handle(source)?, transaction(get)?);
        let abort = flags & END_GET_ABORT != 0;
        let how = match parcel.is_null() {
            // A parcel stays what it is however a get from it ends.
            false if !abort || process().query(source).is_err() => EndGet::Keep,
            _ if abort => EndGet::Abort,
            _ => EndGet::Commit,
        };
        process().end_get_then(source, get, how, |ended| {
            if let Some(kept) = ended? {
                // SAFETY: null, or the program's own.
                unsafe { store(parcel, raw(kept)) };
            }
            Ok(())
        })
    })
}
