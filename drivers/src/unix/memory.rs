//! Memory objects: sealed memfds, so that nobody can take mapped pages away (driver.md 6, 11.3).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use ipcz::driver::DriverError;
use ipcz::mapping::{Mapping, NativeMapping};
use memmap2::MmapOptions;
use rustix::fs::{
    FsWord, MemfdFlags, OFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fcntl_getfl, fstat, fstatfs, ftruncate, memfd_create,
};
use rustix::io::Errno;

/// What memfds of ordinary pages are files of (statfs(2)).
const TMPFS: FsWord = 0x0102_1994;

/// Shared memory of a verified size.
pub(super) struct Memory {
    file: OwnedFd,
    bytes: usize,
}

/// The system is out of something.
pub(super) fn exhausted(_: Errno) -> DriverError {
    DriverError::ResourceExhausted
}

impl Memory {
    /// New zero-filled memory; a message can describe no more than 4 GiB.
    pub(super) fn allocate(bytes: usize) -> Result<Memory, DriverError> {
        if bytes == 0 || u32::try_from(bytes).is_err() {
            return Err(DriverError::InvalidArgument);
        }
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = match memfd_create("ipcz", flags | MemfdFlags::NOEXEC_SEAL) {
            // A kernel before 6.3.
            Err(Errno::INVAL) => memfd_create("ipcz", flags),
            made => made,
        }
        .map_err(exhausted)?;
        ftruncate(&file, bytes as u64).map_err(exhausted)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL).map_err(|_| DriverError::Unknown)?;
        Ok(Memory { file, bytes })
    }

    /// What came as memory of `bytes` bytes: refused unless it is that large and stays so, and can be written.
    pub(super) fn received(file: OwnedFd, bytes: usize) -> Result<Memory, DriverError> {
        let stat = fstat(&file).map_err(|_| DriverError::InvalidArgument)?;
        let large = u64::try_from(stat.st_size).is_ok_and(|size| size >= bytes as u64);
        let writable = fcntl_getfl(&file).is_ok_and(|mode| mode & OFlags::RWMODE == OFlags::RDWR);
        // Only memory has seals.
        let sealed = fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SealFlags::SHRINK));
        // Of ordinary pages: huge ones may run out after their peer punched a hole, and an access fail.
        let ordinary = fstatfs(&file).is_ok_and(|system| system.f_type == TMPFS);
        if bytes > 0 && large && writable && sealed && ordinary { Ok(Memory { file, bytes }) } else { Err(DriverError::InvalidArgument) }
    }

    /// Bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The file, to be memory elsewhere.
    pub(super) fn into_file(self) -> OwnedFd {
        self.file
    }

    /// Another handle to the same memory.
    pub(super) fn duplicate(&self) -> Result<Memory, DriverError> {
        let file = self.file.try_clone().map_err(|_| DriverError::ResourceExhausted)?;
        Ok(Memory { file, bytes: self.bytes })
    }

    /// The whole region.
    #[allow(unsafe_code)]
    pub(super) fn map(&self) -> Result<Mapping, DriverError> {
        let file: BorrowedFd<'_> = self.file.as_fd();
        let region = MmapOptions::new().len(self.bytes).map_raw(&file).map_err(|_| DriverError::ResourceExhausted)?;
        let (start, bytes) = (region.as_mut_ptr(), region.len());
        // SAFETY: pages are 8-aligned; the region becomes the owner, so it stays mapped, and every page of it exists:
        // the file has at least this size and its seal forbids to shrink it. The pointer is given to nobody else.
        let mapping = unsafe { NativeMapping::new(start, bytes, Box::new(region)) };
        Ok(Mapping::Native(Arc::new(mapping)))
    }
}
