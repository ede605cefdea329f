//! The types of `ipcz.h` as Rust sees them (api.md 1 to 5, driver.md 1); `include/ipcz/ipcz.h` says what they mean.
#![allow(missing_docs, reason = "the header documents them")]

use std::ffi::{c_int, c_void};

pub type IpczResult = c_int;
pub type IpczHandle = usize;
pub type IpczDriverHandle = usize;
pub type IpczTransaction = usize;

/// Results (api.md 2), and what they are of drivers.
pub mod result {
    use super::IpczResult;
    use crate::driver::DriverError;

    /// One table for both directions. Of two errors with one result, the first is what C means by it.
    const OF_DRIVERS: [(DriverError, IpczResult); 6] = [
        (DriverError::InvalidArgument, INVALID_ARGUMENT),
        (DriverError::ResourceExhausted, RESOURCE_EXHAUSTED),
        (DriverError::PermissionDenied, PERMISSION_DENIED),
        (DriverError::Unimplemented, UNIMPLEMENTED),
        (DriverError::Unknown, UNKNOWN),
        (DriverError::Disconnected, UNKNOWN),
    ];

    /// How a driver of ours says it to C.
    pub fn of_driver(error: DriverError) -> IpczResult {
        OF_DRIVERS.iter().find(|(ours, _)| *ours == error).map_or(UNKNOWN, |(_, theirs)| *theirs)
    }

    /// What a driver of C's means; any result but `OK` is an error.
    pub fn from_driver(result: IpczResult) -> DriverError {
        OF_DRIVERS.iter().find(|(_, theirs)| *theirs == result).map_or(DriverError::Unknown, |(ours, _)| *ours)
    }

    pub const OK: IpczResult = 0;
    pub const UNKNOWN: IpczResult = 2;
    pub const INVALID_ARGUMENT: IpczResult = 3;
    pub const NOT_FOUND: IpczResult = 5;
    pub const ALREADY_EXISTS: IpczResult = 6;
    pub const PERMISSION_DENIED: IpczResult = 7;
    pub const RESOURCE_EXHAUSTED: IpczResult = 8;
    pub const FAILED_PRECONDITION: IpczResult = 9;
    pub const ABORTED: IpczResult = 10;
    pub const OUT_OF_RANGE: IpczResult = 11;
    pub const UNIMPLEMENTED: IpczResult = 12;
    pub const INTERNAL: IpczResult = 13;
    pub const UNAVAILABLE: IpczResult = 14;
}

pub const ACTIVITY_ERROR: u32 = 1;
pub const ACTIVITY_DEACTIVATED: u32 = 2;
pub const MEMORY_FIXED_PARCEL_CAPACITY: u32 = 1;
pub const FEATURE_MEM_V2: u32 = 0xA110_C002;
pub const CREATE_NODE_AS_BROKER: u32 = 1;
pub const CONNECT_NODE_TO_BROKER: u32 = 1;
pub const CONNECT_NODE_INHERIT_BROKER: u32 = 2;
pub const CONNECT_NODE_SHARE_BROKER: u32 = 4;
pub const CONNECT_NODE_TO_ALLOCATION_DELEGATE: u32 = 8;
pub const BEGIN_PUT_ALLOW_PARTIAL: u32 = 1;
pub const END_PUT_ABORT: u32 = 1;
pub const GET_PARTIAL: u32 = 1;
pub const BEGIN_GET_PARTIAL: u32 = 1;
pub const BEGIN_GET_OVERLAPPED: u32 = 2;
pub const END_GET_ABORT: u32 = 1;
pub const BOX_TYPE_DRIVER_OBJECT: u32 = 0;
pub const BOX_TYPE_APPLICATION_OBJECT: u32 = 1;
pub const BOX_TYPE_SUBPARCEL: u32 = 2;
pub const UNBOX_PEEK: u32 = 1;
pub const PORTAL_STATUS_PEER_CLOSED: u32 = 1;
pub const PORTAL_STATUS_DEAD: u32 = 2;
pub const TRAP_REMOVED: u32 = 1;
pub const TRAP_PEER_CLOSED: u32 = 2;
pub const TRAP_DEAD: u32 = 4;
pub const TRAP_ABOVE_MIN_LOCAL_PARCELS: u32 = 8;
pub const TRAP_ABOVE_MIN_LOCAL_BYTES: u32 = 0x10;
pub const TRAP_NEW_LOCAL_PARCEL: u32 = 0x80;
pub const TRAP_WITHIN_API_CALL: u32 = 0x200;

pub type IpczTransportActivityHandler = unsafe extern "C" fn(
    listener: IpczHandle,
    data: *const c_void,
    num_bytes: usize,
    driver_handles: *const IpczDriverHandle,
    num_driver_handles: usize,
    flags: u32,
    options: *const c_void,
) -> IpczResult;
pub type IpczTrapEventHandler = unsafe extern "C" fn(event: *const IpczTrapEvent);
pub type IpczApplicationObjectSerializer = unsafe extern "C" fn(
    object: usize,
    flags: u32,
    options: *const c_void,
    data: *mut c_void,
    num_bytes: *mut usize,
    handles: *mut IpczHandle,
    num_handles: *mut usize,
) -> IpczResult;
pub type IpczApplicationObjectDestructor = unsafe extern "C" fn(object: usize, flags: u32, options: *const c_void);

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct IpczTransportActivityOptions {
    pub size: usize,
    pub envelope: IpczDriverHandle,
}

#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct IpczSharedMemoryInfo {
    pub size: usize,
    pub region_num_bytes: usize,
}

#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct IpczDriver {
    pub size: usize,
    pub close: Option<unsafe extern "C" fn(IpczDriverHandle, u32, *const c_void) -> IpczResult>,
    pub serialize: Option<
        unsafe extern "C" fn(
            IpczDriverHandle,
            IpczDriverHandle,
            u32,
            *const c_void,
            *mut c_void,
            *mut usize,
            *mut IpczDriverHandle,
            *mut usize,
        ) -> IpczResult,
    >,
    pub deserialize: Option<
        unsafe extern "C" fn(
            *const c_void,
            usize,
            *const IpczDriverHandle,
            usize,
            IpczDriverHandle,
            u32,
            *const c_void,
            *mut IpczDriverHandle,
        ) -> IpczResult,
    >,
    pub create_transports: Option<
        unsafe extern "C" fn(
            IpczDriverHandle,
            IpczDriverHandle,
            u32,
            *const c_void,
            *mut IpczDriverHandle,
            *mut IpczDriverHandle,
        ) -> IpczResult,
    >,
    pub activate_transport:
        Option<unsafe extern "C" fn(IpczDriverHandle, IpczHandle, IpczTransportActivityHandler, u32, *const c_void) -> IpczResult>,
    pub deactivate_transport: Option<unsafe extern "C" fn(IpczDriverHandle, u32, *const c_void) -> IpczResult>,
    pub transmit: Option<
        unsafe extern "C" fn(IpczDriverHandle, *const c_void, usize, *const IpczDriverHandle, usize, u32, *const c_void) -> IpczResult,
    >,
    pub report_bad_transport_activity: Option<unsafe extern "C" fn(IpczDriverHandle, usize, u32, *const c_void) -> IpczResult>,
    pub allocate_shared_memory: Option<unsafe extern "C" fn(usize, u32, *const c_void, *mut IpczDriverHandle) -> IpczResult>,
    pub get_shared_memory_info: Option<unsafe extern "C" fn(IpczDriverHandle, u32, *const c_void, *mut IpczSharedMemoryInfo) -> IpczResult>,
    pub duplicate_shared_memory: Option<unsafe extern "C" fn(IpczDriverHandle, u32, *const c_void, *mut IpczDriverHandle) -> IpczResult>,
    pub map_shared_memory:
        Option<unsafe extern "C" fn(IpczDriverHandle, u32, *const c_void, *mut *mut c_void, *mut IpczDriverHandle) -> IpczResult>,
    pub generate_random_bytes: Option<unsafe extern "C" fn(usize, u32, *const c_void, *mut c_void) -> IpczResult>,
}

#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct IpczCreateNodeOptions {
    pub size: usize,
    pub memory_flags: u32,
    pub enabled_features: *const u32,
    pub num_enabled_features: usize,
    pub disabled_features: *const u32,
    pub num_disabled_features: usize,
}

#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct IpczBoxContents {
    pub size: usize,
    pub kind: u32,
    /// A driver object, an application object, or a parcel.
    pub object: usize,
    pub serializer: Option<IpczApplicationObjectSerializer>,
    pub destructor: Option<IpczApplicationObjectDestructor>,
}

#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpczPortalStatus {
    pub size: usize,
    pub flags: u32,
    pub num_local_parcels: usize,
    pub num_local_bytes: usize,
}

#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct IpczTrapConditions {
    pub size: usize,
    pub flags: u32,
    pub min_local_parcels: usize,
    pub min_local_bytes: usize,
}

#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct IpczTrapEvent {
    pub size: usize,
    pub context: usize,
    pub condition_flags: u32,
    pub status: *const IpczPortalStatus,
}

type Void = *const c_void;
type Out = *mut IpczHandle;

/// The table of api.md 5. Every entry that `IpczGetAPI` fills is there.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct IpczApi {
    pub size: usize,
    pub close: unsafe extern "C" fn(IpczHandle, u32, Void) -> IpczResult,
    pub create_node: unsafe extern "C" fn(*const IpczDriver, u32, *const IpczCreateNodeOptions, Out) -> IpczResult,
    pub connect_node: unsafe extern "C" fn(IpczHandle, IpczDriverHandle, usize, u32, Void, Out) -> IpczResult,
    pub open_portals: unsafe extern "C" fn(IpczHandle, u32, Void, Out, Out) -> IpczResult,
    pub merge_portals: unsafe extern "C" fn(IpczHandle, IpczHandle, u32, Void) -> IpczResult,
    pub query_portal_status: unsafe extern "C" fn(IpczHandle, u32, Void, *mut IpczPortalStatus) -> IpczResult,
    pub put: unsafe extern "C" fn(IpczHandle, Void, usize, *const IpczHandle, usize, u32, Void) -> IpczResult,
    pub begin_put: unsafe extern "C" fn(IpczHandle, u32, Void, *mut *mut c_void, *mut usize, *mut IpczTransaction) -> IpczResult,
    pub end_put: unsafe extern "C" fn(IpczHandle, IpczTransaction, usize, *const IpczHandle, usize, u32, Void) -> IpczResult,
    pub get: unsafe extern "C" fn(IpczHandle, u32, Void, *mut c_void, *mut usize, Out, *mut usize, Out) -> IpczResult,
    pub begin_get: unsafe extern "C" fn(IpczHandle, u32, Void, *mut Void, *mut usize, Out, *mut usize, *mut IpczTransaction) -> IpczResult,
    pub end_get: unsafe extern "C" fn(IpczHandle, IpczTransaction, u32, Void, Out) -> IpczResult,
    pub trap: unsafe extern "C" fn(
        IpczHandle,
        *const IpczTrapConditions,
        Option<IpczTrapEventHandler>,
        usize,
        u32,
        Void,
        *mut u32,
        *mut IpczPortalStatus,
    ) -> IpczResult,
    pub reject: unsafe extern "C" fn(IpczHandle, usize, u32, Void) -> IpczResult,
    pub r#box: unsafe extern "C" fn(IpczHandle, *const IpczBoxContents, u32, Void, Out) -> IpczResult,
    pub unbox: unsafe extern "C" fn(IpczHandle, u32, Void, *mut IpczBoxContents) -> IpczResult,
}
