//! System calls on a transport's socket. Everything is non-blocking and close-on-exec from birth, and no call raises a signal.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

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
    let mut space = [MaybeUninit::new(0); rustix::cmsg_space!(ScmRights(KERNEL_CHUNK))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let got = retry_on_intr(|| recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags))?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    drop(control);
    close_process_descriptors(&space);
    // Our own table of descriptors is full: some were dropped on the way.
    if got.flags.contains(ReturnFlags::CTRUNC) { Err(Errno::MFILE) } else { Ok(got.bytes) }
}

/// Whoever else has this socket, as the peer may who gave it to us, can have the kernel add to each message a descriptor of its sender's
/// process (SO_PASSPIDFD). Nobody wants it, and rustix does not know it.
#[allow(unsafe_code)]
fn close_process_descriptors(control: &[MaybeUninit<u8>]) {
    const SOL_SOCKET: i32 = 1;
    const SCM_PIDFD: i32 = 4;
    const WORD: usize = size_of::<usize>();
    // SAFETY: it was zeroed, and then written by the kernel: all of it is initialised.
    let mut rest = unsafe { std::slice::from_raw_parts(control.as_ptr().cast::<u8>(), control.len()) };
    // {length with this header; level; type}, data, up to the next word (cmsg(3)).
    while let Some((head, data)) = rest.split_at_checked(WORD + 8) {
        let number = |at: usize| i32::from_ne_bytes(std::array::from_fn(|i| head[WORD + at + i]));
        let length = usize::from_ne_bytes(std::array::from_fn(|i| head[i]));
        let Some(carried) = length.checked_sub(head.len()).filter(|bytes| *bytes <= data.len()) else { return };
        if (number(0), number(4)) == (SOL_SOCKET, SCM_PIDFD)
            && let Some(descriptor) = data.first_chunk().map(|bytes| RawFd::from_ne_bytes(*bytes))
            && descriptor >= 0
        {
            // SAFETY: the kernel has just made it for this process, and nobody else looks for it.
            drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
        }
        rest = data.get(carried.next_multiple_of(WORD)..).unwrap_or_default();
    }
}
