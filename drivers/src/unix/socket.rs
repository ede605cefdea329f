//! System calls on a transport's socket. Everything is non-blocking and close-on-exec from birth, and no call raises a signal.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketFlags, SocketType, recvmsg, sendmsg, socketpair, sockopt,
};

/// Descriptors one system call sends; upstream's receiver takes no more (driver.md 8.4).
pub(super) const CHUNK: usize = 64;

/// Descriptors one system call can receive: what the kernel lets a sender attach.
const KERNEL_CHUNK: usize = 253;

/// Asked of the kernel for pairs we create, since upstream's driver damages what does not fit (driver.md 9, U1).
const SEND_BUFFER: usize = 1 << 20;

/// A connected pair of stream sockets.
pub(super) fn pair() -> Result<[OwnedFd; 2], Errno> {
    let (a, b) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
    for end in [&a, &b] {
        sockopt::set_socket_send_buffer_size(end, SEND_BUFFER)?;
    }
    Ok([a, b])
}

/// Whether this is what a transport can be made of.
pub(super) fn is_stream(fd: BorrowedFd<'_>) -> bool {
    sockopt::socket_domain(fd) == Ok(AddressFamily::UNIX)
        && sockopt::socket_type(fd) == Ok(SocketType::STREAM)
        && sockopt::socket_acceptconn(fd) == Ok(false)
}

/// Sends some of the bytes, at least one, with all of `fds`, at most [`CHUNK`]. The descriptors are gone if it succeeds.
pub(super) fn send(socket: BorrowedFd<'_>, bytes: &[IoSlice<'_>], fds: &[OwnedFd]) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(CHUNK))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(Errno::INVAL);
    }
    retry_on_intr(|| sendmsg(socket, bytes, &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT))
}

/// Receives bytes into `buffer`, 0 at the end of the stream, and appends the descriptors that came with them.
pub(super) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], fds: &mut VecDeque<OwnedFd>) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(KERNEL_CHUNK))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let got = retry_on_intr(|| recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags))?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    // Our own table of descriptors is full: some were dropped on the way.
    if got.flags.contains(ReturnFlags::CTRUNC) { Err(Errno::MFILE) } else { Ok(got.bytes) }
}
