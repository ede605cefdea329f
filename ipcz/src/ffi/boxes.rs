//! Boxes, and objects of C programs in them (api.md 13).

use std::any::Any;
use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::abi::{
    BOX_TYPE_APPLICATION_OBJECT, BOX_TYPE_DRIVER_OBJECT, BOX_TYPE_SUBPARCEL, IpczApplicationObjectDestructor,
    IpczApplicationObjectSerializer, IpczBoxContents, IpczHandle, IpczResult, UNBOX_PEEK, result,
};
use super::{guarded, handle, process, raw, versioned};
use crate::application::{Application, ApplicationObject, Serialized};
use crate::core::BoxContents;
use crate::error::Error;
use crate::ids::ObjectId;

type Options = *const c_void;

/// The functions that a C object was boxed with; either may be missing.
struct CObject {
    serializer: Option<IpczApplicationObjectSerializer>,
    destructor: Option<IpczApplicationObjectDestructor>,
    /// The serializer has said that it can.
    agreed: AtomicBool,
}

impl CObject {
    /// Calls the serializer, with pointers that are null or good for as much as their counts say.
    fn ask(&self, object: u64, data: *mut c_void, bytes: *mut usize, handles: *mut IpczHandle, count: *mut usize) -> IpczResult {
        let Some(serializer) = self.serializer else { return result::FAILED_PRECONDITION };
        // SAFETY: the program gave a serializer for this object, and the caller's promise.
        unsafe { serializer(object as usize, 0, null(), data, bytes, handles, count) }
    }
}

impl Application for CObject {
    fn can_serialize(&self, _object: u64) -> bool {
        self.serializer.is_some()
    }

    fn decides_late(&self, _object: u64) -> bool {
        true
    }

    fn agrees(&self, object: u64) -> bool {
        let agrees = self.ask(object, null_mut(), null_mut(), null_mut(), null_mut()) != result::FAILED_PRECONDITION;
        self.agreed.store(agrees, Ordering::Relaxed);
        agrees
    }

    fn serialize(&self, object: u64) -> Option<Serialized> {
        // One that leaves later than it was put was not asked yet.
        if !self.agreed.load(Ordering::Relaxed) && !self.agrees(object) {
            return None;
        }
        let (mut bytes, mut count) = (0, 0);
        match self.ask(object, null_mut(), &raw mut bytes, null_mut(), &raw mut count) {
            result::RESOURCE_EXHAUSTED => {}
            // It has nothing to say.
            result::OK => return Some(Serialized::default()),
            _ => return None,
        }
        let (mut data, mut handles): (Vec<u8>, Vec<IpczHandle>) = (vec![0; bytes], vec![0; count]);
        let (mut used, mut taken) = (bytes, count);
        if self.ask(object, data.as_mut_ptr().cast(), &raw mut used, handles.as_mut_ptr(), &raw mut taken) != result::OK {
            return None;
        }
        data.truncate(used);
        handles.truncate(taken);
        // What is no handle at all is refused like one that may not go.
        let handles: Option<Vec<_>> = handles.into_iter().map(|raw| handle(raw).ok()).collect();
        Some(Serialized { data, handles: handles? })
    }

    fn destroy(&self, object: u64) {
        if let Some(destructor) = self.destructor {
            // SAFETY: the program gave a destructor for this object, which is called once and last.
            unsafe { destructor(object as usize, 0, null()) };
        }
    }
}

pub unsafe extern "C" fn r#box(
    node: IpczHandle,
    contents: *const IpczBoxContents,
    _flags: u32,
    _options: Options,
    out: *mut IpczHandle,
) -> IpczResult {
    guarded(|| {
        // SAFETY: null, or as big as it says.
        let contents = unsafe { versioned(contents) }?;
        if out.is_null() {
            return Err(Error::InvalidArgument);
        }
        let inside = match contents.kind {
            BOX_TYPE_DRIVER_OBJECT => BoxContents::Driver(ObjectId::new(contents.object as u64).ok_or(Error::InvalidArgument)?),
            BOX_TYPE_APPLICATION_OBJECT => {
                let owner = CObject { serializer: contents.serializer, destructor: contents.destructor, agreed: AtomicBool::new(false) };
                BoxContents::Application(ApplicationObject { object: contents.object as u64, owner: Arc::new(owner) })
            }
            _ => return Err(Error::Unimplemented),
        };
        let made = process().box_object(handle(node)?, inside)?;
        // SAFETY: not null, and the caller's to be written.
        unsafe { out.write(raw(made)) };
        Ok(())
    })
}

pub unsafe extern "C" fn unbox(it: IpczHandle, flags: u32, _options: Options, contents: *mut IpczBoxContents) -> IpczResult {
    guarded(|| {
        // SAFETY: null, or as big as it says.
        let mut told = unsafe { versioned(contents.cast_const()) }?;
        let it = handle(it)?;
        let inside = if flags & UNBOX_PEEK != 0 { process().peek_box(it) } else { process().unbox(it) }?;
        match inside {
            BoxContents::Driver(object) => (told.kind, told.object) = (BOX_TYPE_DRIVER_OBJECT, object.0.get() as usize),
            BoxContents::Subparcel(parcel) => (told.kind, told.object) = (BOX_TYPE_SUBPARCEL, raw(parcel)),
            BoxContents::Application(ApplicationObject { object, owner }) => {
                (told.kind, told.object) = (BOX_TYPE_APPLICATION_OBJECT, object as usize);
                if let Some(functions) = (&*owner as &dyn Any).downcast_ref::<CObject>() {
                    (told.serializer, told.destructor) = (functions.serializer, functions.destructor);
                }
            }
        }
        // SAFETY: looked at above.
        unsafe { contents.write(told) };
        Ok(())
    })
}
