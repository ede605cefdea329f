//! One end of a socket: what waits to be written, and how far its life has come.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard};

use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};

use super::frame::{HEADER, header};
use super::socket::{CHUNK, send};

/// How far a transport's life has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Nobody listens: it can still go elsewhere.
    Inactive,
    /// Somebody listens.
    Active,
    /// The listener is to hear that this is the end.
    Stopping,
    /// It has.
    Done,
}

/// One end of a connection. The socket is closed when the last user is gone.
pub(super) struct Transport {
    socket: OwnedFd,
    state: Mutex<State>,
}

struct State {
    stage: Stage,
    /// In order. Only the first may be partly written.
    waiting: VecDeque<Waiting>,
    /// Bytes of those.
    queued: usize,
    /// Nothing more can be written.
    broken: bool,
}

/// What is left of a message.
struct Waiting {
    bytes: Vec<u8>,
    written: usize,
    descriptors: Vec<OwnedFd>,
}

/// Writes until all is written or the socket is full; answers how many bytes went out. Descriptors go with the first
/// bytes, each once; beyond [`CHUNK`] of them, one byte takes a chunk along.
fn write(socket: BorrowedFd<'_>, parts: [&[u8]; 2], descriptors: &mut Vec<OwnedFd>) -> Result<usize, Errno> {
    let total = parts[0].len() + parts[1].len();
    let mut written = 0;
    while written < total {
        let in_first = written.min(parts[0].len());
        let mut rest = [&parts[0][in_first..], &parts[1][written - in_first..]];
        let chunk = descriptors.len().min(CHUNK);
        if descriptors.len() > CHUNK {
            rest = if rest[0].is_empty() { [&rest[1][..1], &[]] } else { [&rest[0][..1], &[]] };
        }
        match send(socket, &rest.map(IoSlice::new), &descriptors[..chunk]) {
            Ok(bytes) => {
                written += bytes;
                descriptors.drain(..chunk);
            }
            Err(Errno::AGAIN) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

impl Transport {
    /// An inactive transport over a connected socket.
    pub(super) fn new(socket: OwnedFd) -> Transport {
        let state = State { stage: Stage::Inactive, waiting: VecDeque::new(), queued: 0, broken: false };
        Transport { socket, state: Mutex::new(state) }
    }

    /// The socket.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The socket again, to be a transport elsewhere.
    pub(super) fn into_socket(self) -> OwnedFd {
        self.socket
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// How far its life has come.
    pub(super) fn stage(&self) -> Stage {
        self.lock().stage
    }

    /// Goes from one stage to the next, if it is there.
    pub(super) fn advance(&self, from: Stage, to: Stage) -> bool {
        let mut state = self.lock();
        let there = state.stage == from;
        if there {
            state.stage = to;
        }
        there
    }

    /// Bytes accepted and not yet written.
    pub(super) fn queued(&self) -> usize {
        self.lock().queued
    }

    /// Whether it can become a message's passenger: nobody listens and nothing waits here.
    pub(super) fn can_travel(&self) -> bool {
        let state = self.lock();
        state.stage == Stage::Inactive && state.waiting.is_empty()
    }

    /// Takes a message: writes what the socket takes now and keeps the rest, of which there may be `limit` bytes. True if
    /// the rest is the first that waits. A connection that failed swallows it; its listener hears of that by the end of
    /// what the peer sent.
    pub(super) fn transmit(&self, data: &[u8], mut descriptors: Vec<OwnedFd>, limit: usize) -> bool {
        let head = header(data.len(), descriptors.len());
        let mut state = self.lock();
        if state.broken || state.stage == Stage::Done {
            return false;
        }
        let first = state.waiting.is_empty();
        let written = match if first { write(self.socket(), [&head, data], &mut descriptors) } else { Ok(0) } {
            Ok(written) => written,
            Err(_) => {
                self.fail(&mut state);
                return false;
            }
        };
        let left = HEADER + data.len() - written;
        if left == 0 {
            return false;
        }
        if state.queued + left > limit {
            self.fail(&mut state);
            return false;
        }
        let in_head = written.min(HEADER);
        let bytes = [&head[in_head..], &data[written - in_head..]].concat();
        state.waiting.push_back(Waiting { bytes, written: 0, descriptors });
        state.queued += left;
        first
    }

    /// Writes what waits, as far as the socket takes it.
    pub(super) fn flush(&self) {
        let mut state = self.lock();
        while let Some(first) = state.waiting.front_mut() {
            let Ok(written) = write(self.socket.as_fd(), [&first.bytes[first.written..], &[]], &mut first.descriptors) else {
                self.fail(&mut state);
                return;
            };
            first.written += written;
            let whole = first.written == first.bytes.len();
            state.queued -= written;
            if !whole {
                return;
            }
            state.waiting.pop_front();
        }
    }

    /// Writing is over. So is reading, once what the peer sent before is read: that is how the listener learns of it.
    fn fail(&self, state: &mut State) {
        state.broken = true;
        state.waiting.clear();
        state.queued = 0;
        self.hang_up();
    }

    /// The last of an active transport: what the socket takes at once goes out, and the peer hears no more.
    pub(super) fn finish(&self) {
        self.flush();
        let mut state = self.lock();
        state.stage = Stage::Done;
        self.fail(&mut state);
    }

    fn hang_up(&self) {
        // Fails only if the connection is gone already.
        let _ = shutdown(&self.socket, Shutdown::Both);
    }
}
