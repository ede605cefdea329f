//! Giving one end of a pair to a child process, by its number.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// Starts a program that inherits `end`, and nothing else of ours. `tell` puts the descriptor's number where the program
/// looks for it, an argument or a variable; the program takes it up with [`inherited`]. Our own copy is closed: when the
/// child dies, the other end hears of it.
#[allow(unsafe_code)]
pub fn spawn(mut command: Command, end: OwnedFd, tell: impl FnOnce(&mut Command, RawFd)) -> io::Result<Child> {
    let number = end.as_raw_fd();
    tell(&mut command, number);
    let keep_open = move || {
        // SAFETY: the command owns `end`, so the number is open and its own until the child becomes the program.
        let end = unsafe { BorrowedFd::borrow_raw(number) };
        Ok(fcntl_setfd(end, FdFlags::empty())?)
    };
    // SAFETY: between fork and exec the closure makes one system call; it allocates nothing and takes no lock. The flag is
    // cleared in the child alone, so no other child of this process can inherit the descriptor.
    let child = unsafe { command.pre_exec(keep_open) }.spawn();
    drop(end);
    child
}

/// The descriptor that [`spawn`] gave to this program, from now on closed on exec.
///
/// # Safety
/// `number` must be what `spawn` told this program, and be taken up once.
#[allow(unsafe_code)]
pub unsafe fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the caller vouches that the number is a descriptor inherited for this purpose, which nobody else owns.
    let end = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl_setfd(&end, fcntl_getfd(&end)? | FdFlags::CLOEXEC)?;
    Ok(end)
}
