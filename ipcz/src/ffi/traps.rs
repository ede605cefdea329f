//! Traps whose handlers are C functions (api.md 12).

use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::abi::{
    IpczHandle, IpczPortalStatus, IpczResult, IpczTrapConditions, IpczTrapEvent, IpczTrapEventHandler, PORTAL_STATUS_DEAD,
    PORTAL_STATUS_PEER_CLOSED, TRAP_NEW_LOCAL_PARCEL, TRAP_WITHIN_API_CALL,
};
use super::{guarded, handle, process, store, versioned};
use crate::TrapRefused;
use crate::error::Error;
use crate::trap::{PortalStatus, TrapConditions, TrapEvent, TrapFlags, TrapTarget};

/// Whom to call, and with what.
#[derive(Clone, Copy)]
struct Installed {
    handler: IpczTrapEventHandler,
    context: usize,
}

/// Handlers of traps that have not fired. The core knows them by their place here.
static INSTALLED: Mutex<slab::Slab<Installed>> = Mutex::new(slab::Slab::new());

fn installed() -> MutexGuard<'static, slab::Slab<Installed>> {
    INSTALLED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the process's trap events go.
pub struct CTraps;

impl TrapTarget for CTraps {
    fn fired(&self, event: &TrapEvent) {
        // Each fires once, so its place is free from now on.
        let Some(Installed { handler, context }) = installed().try_remove(event.context as usize) else { return };
        let status = status_of(&event.status);
        let event =
            IpczTrapEvent { size: size_of::<IpczTrapEvent>(), context, condition_flags: flags_of(event.flags), status: &raw const status };
        // SAFETY: the program gave a handler; event and status live until it returns.
        unsafe { handler(&raw const event) };
    }
}

/// The flags that are one bit here and another one in C.
const MOVED: [(TrapFlags, u32); 2] = [(TrapFlags::NEW_PARCEL, TRAP_NEW_LOCAL_PARCEL), (TrapFlags::WITHIN_API_CALL, TRAP_WITHIN_API_CALL)];
/// Those that are the same.
const SAME: u32 = 0x1f;

fn flags_of(flags: TrapFlags) -> u32 {
    MOVED.iter().filter(|(ours, _)| !flags.and(*ours).is_empty()).fold(flags.0 & SAME, |all, (_, theirs)| all | theirs)
}

/// What a trap can wait for; removal is told anyway.
fn wanted(flags: u32) -> TrapFlags {
    let new = if flags & TRAP_NEW_LOCAL_PARCEL != 0 { TrapFlags::NEW_PARCEL } else { TrapFlags::default() };
    TrapFlags(flags & SAME & !TrapFlags::REMOVED.0).or(new)
}

/// A status as C sees it.
pub fn status_of(status: &PortalStatus) -> IpczPortalStatus {
    let flag = |on: bool, flag: u32| if on { flag } else { 0 };
    IpczPortalStatus {
        size: size_of::<IpczPortalStatus>(),
        flags: flag(status.peer_closed, PORTAL_STATUS_PEER_CLOSED) | flag(status.dead, PORTAL_STATUS_DEAD),
        num_local_parcels: status.parcels,
        num_local_bytes: status.bytes,
    }
}

#[allow(clippy::too_many_arguments, reason = "the ABI's")]
pub unsafe extern "C" fn trap(
    portal: IpczHandle,
    conditions: *const IpczTrapConditions,
    handler: Option<IpczTrapEventHandler>,
    context: usize,
    _flags: u32,
    _options: *const c_void,
    satisfied: *mut u32,
    status: *mut IpczPortalStatus,
) -> IpczResult {
    guarded(|| {
        let handler = handler.ok_or(Error::InvalidArgument)?;
        // SAFETY: null, or as big as it says.
        let conditions = unsafe { versioned(conditions) }?;
        if !status.is_null() {
            // SAFETY: as above.
            unsafe { versioned(status.cast_const()) }?;
        }
        let wanted = TrapConditions {
            flags: wanted(conditions.flags),
            min_parcels: conditions.min_local_parcels,
            min_bytes: conditions.min_local_bytes,
        };
        let portal = handle(portal)?;
        // It may fire before the call returns.
        let place = installed().insert(Installed { handler, context });
        let refused = match process().trap(portal, wanted, place as u64) {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        installed().try_remove(place);
        match refused {
            TrapRefused::Satisfied { flags, status: now } => {
                // SAFETY: null, or valid for a write; the size was looked at.
                unsafe {
                    store(satisfied, flags_of(flags));
                    store(status, status_of(&now));
                }
                Err(Error::FailedPrecondition)
            }
            TrapRefused::Error(error) => Err(error),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_keeps_its_meaning() {
        for bit in [1, 2, 4, 8, 0x10] {
            assert_eq!(flags_of(TrapFlags(bit)), bit);
        }
        assert_eq!(flags_of(TrapFlags::NEW_PARCEL.or(TrapFlags::WITHIN_API_CALL)), 0x280);
        assert_eq!(wanted(u32::MAX), TrapFlags(0x1e).or(TrapFlags::NEW_PARCEL), "unknown bits are ignored");
        assert_eq!(wanted(0), TrapFlags::default());
    }
}
