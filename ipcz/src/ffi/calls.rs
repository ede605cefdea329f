//! Nodes, portals and rejection (api.md 7, 8, 14).

use std::ffi::c_void;

use super::abi::{
    CONNECT_NODE_INHERIT_BROKER, CONNECT_NODE_SHARE_BROKER, CONNECT_NODE_TO_ALLOCATION_DELEGATE, CONNECT_NODE_TO_BROKER,
    CREATE_NODE_AS_BROKER, FEATURE_MEM_V2, IpczCreateNodeOptions, IpczDriver, IpczDriverHandle, IpczHandle, IpczPortalStatus, IpczResult,
    MEMORY_FIXED_PARCEL_CAPACITY,
};
use super::driver::CDriver;
use super::traps::status_of;
use super::{guarded, handle, process, raw, slice, versioned};
use crate::error::Error;
use crate::ids::{Features, NodeType, ObjectId};
use crate::limits::Limits;
use crate::{Connect, ConnectTo, NodeOptions};

type Options = *const c_void;

pub unsafe extern "C" fn close(it: IpczHandle, _flags: u32, _options: Options) -> IpczResult {
    guarded(|| process().close(handle(it)?))
}

pub unsafe extern "C" fn create_node(
    driver: *const IpczDriver,
    flags: u32,
    options: *const IpczCreateNodeOptions,
    node: *mut IpczHandle,
) -> IpczResult {
    guarded(|| {
        if node.is_null() {
            return Err(Error::InvalidArgument);
        }
        // SAFETY: null, or as big as it says.
        let table = unsafe { versioned(driver) }?;
        let options = match options.is_null() {
            true => NodeOptions::default(),
            // SAFETY: as big as it says.
            false => node_options(&unsafe { versioned(options) }?)?,
        };
        let driver = CDriver::of(table).ok_or(Error::InvalidArgument)?;
        let kind = if flags & CREATE_NODE_AS_BROKER != 0 { NodeType::Broker } else { NodeType::Normal };
        let made = process().create_node(kind, driver, options)?;
        // SAFETY: not null.
        unsafe { node.write(raw(made)) };
        Ok(())
    })
}

/// What is asked of a node; what is not known is ignored.
fn node_options(options: &IpczCreateNodeOptions) -> Result<NodeOptions, Error> {
    // SAFETY: the program says how many there are.
    let (on, off) = unsafe {
        (slice(options.enabled_features, options.num_enabled_features)?, slice(options.disabled_features, options.num_disabled_features)?)
    };
    let wanted = on.contains(&FEATURE_MEM_V2) && !off.contains(&FEATURE_MEM_V2);
    let limits = Limits { grow_parcel_capacity: options.memory_flags & MEMORY_FIXED_PARCEL_CAPACITY == 0, ..Limits::default() };
    Ok(NodeOptions { limits, features: if wanted { Features::MEM_V2 } else { Features::default() }, ..NodeOptions::default() })
}

pub unsafe extern "C" fn connect_node(
    node: IpczHandle,
    transport: IpczDriverHandle,
    count: usize,
    flags: u32,
    _options: Options,
    portals: *mut IpczHandle,
) -> IpczResult {
    guarded(|| {
        let node = handle(node)?;
        let transport = ObjectId::new(transport as u64).ok_or(Error::InvalidArgument)?;
        if portals.is_null() {
            return Err(Error::InvalidArgument);
        }
        let to = match flags & (CONNECT_NODE_TO_BROKER | CONNECT_NODE_INHERIT_BROKER | CONNECT_NODE_SHARE_BROKER) {
            0 => ConnectTo::Normal,
            CONNECT_NODE_TO_BROKER => ConnectTo::Broker,
            CONNECT_NODE_INHERIT_BROKER => ConnectTo::Inherited,
            CONNECT_NODE_SHARE_BROKER => ConnectTo::Referred,
            _ => return Err(Error::InvalidArgument),
        };
        let delegate = flags & CONNECT_NODE_TO_ALLOCATION_DELEGATE != 0;
        let made = process().connect_node(node, transport, count, Connect { to, delegate })?;
        for (i, portal) in made.into_iter().enumerate() {
            // SAFETY: the program gives room for as many as it asks for.
            unsafe { portals.add(i).write(raw(portal)) };
        }
        Ok(())
    })
}

pub unsafe extern "C" fn open_portals(
    node: IpczHandle,
    _flags: u32,
    _options: Options,
    first: *mut IpczHandle,
    second: *mut IpczHandle,
) -> IpczResult {
    guarded(|| {
        if first.is_null() || second.is_null() {
            return Err(Error::InvalidArgument);
        }
        let (a, b) = process().open_portals(handle(node)?)?;
        // SAFETY: neither is null.
        unsafe {
            first.write(raw(a));
            second.write(raw(b));
        }
        Ok(())
    })
}

pub unsafe extern "C" fn merge_portals(first: IpczHandle, second: IpczHandle, _flags: u32, _options: Options) -> IpczResult {
    guarded(|| process().merge(handle(first)?, handle(second)?))
}

pub unsafe extern "C" fn query_portal_status(
    portal: IpczHandle,
    _flags: u32,
    _options: Options,
    status: *mut IpczPortalStatus,
) -> IpczResult {
    guarded(|| {
        // SAFETY: null, or as big as it says.
        unsafe { versioned(status.cast_const()) }?;
        let now = process().query(handle(portal)?)?;
        // SAFETY: looked at above.
        unsafe { status.write(status_of(&now)) };
        Ok(())
    })
}

pub unsafe extern "C" fn reject(parcel: IpczHandle, context: usize, _flags: u32, _options: Options) -> IpczResult {
    guarded(|| process().reject(handle(parcel)?, context))
}
