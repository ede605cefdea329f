//! One end of a socket: what waits to be written, and how far its life has come.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard};

use ipcz::driver::DriverError;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};

use super::UnixLimits;
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
    /// By which its listener is known.
    token: u64,
    /// Whether events for it are reported.
    reported: bool,
    /// Whether it is waited until the socket takes more.
    watched: bool,
    /// The kernel was short of something; it is waited until a timer ends.
    starved: bool,
    /// In order. Only the first may be partly written.
    waiting: VecDeque<Waiting>,
    /// Bytes of those.
    queued: usize,
    /// Descriptors of those.
    passengers: usize,
    /// Nothing more can be written.
    broken: bool,
}

/// What is left of a message.
struct Waiting {
    bytes: Vec<u8>,
    written: usize,
    descriptors: Vec<OwnedFd>,
}

/// What epoll is to tell.
fn interest(watched: bool) -> EventFlags {
    if watched { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN }
}

/// Writes until all is written, the socket is full, or the kernel is short of something; answers how many bytes went out, and whether it was
/// the last. Descriptors go with the first bytes, each once; beyond [`CHUNK`] of them, one byte takes a chunk along.
fn write(socket: BorrowedFd<'_>, parts: [&[u8]; 2], descriptors: &mut Vec<OwnedFd>) -> Result<(usize, bool), Errno> {
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
            // Too many descriptors on their way, maybe another process's; no memory. Not this peer's fault, and it passes.
            Err(Errno::TOOMANYREFS | Errno::NOBUFS | Errno::NOMEM) => return Ok((written, true)),
            Err(error) => return Err(error),
        }
    }
    Ok((written, false))
}

impl Transport {
    /// An inactive transport over a connected socket.
    pub(super) fn new(socket: OwnedFd) -> Transport {
        let state = State {
            stage: Stage::Inactive,
            token: 0,
            reported: false,
            watched: false,
            starved: false,
            waiting: VecDeque::new(),
            queued: 0,
            passengers: 0,
            broken: false,
        };
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

    /// Becomes active: `epoll` reports events under `token`. An error changes nothing.
    pub(super) fn activate(&self, token: u64, epoll: BorrowedFd<'_>) -> Result<(), DriverError> {
        let mut state = self.lock();
        if state.stage != Stage::Inactive {
            return Err(DriverError::InvalidArgument);
        }
        let watched = state.queued > 0;
        epoll::add(epoll, &self.socket, EventData::new_u64(token), interest(watched)).map_err(|_| DriverError::ResourceExhausted)?;
        (state.stage, state.token, state.reported) = (Stage::Active, token, true);
        (state.watched, state.starved) = (watched, false);
        Ok(())
    }

    /// Is to end, if it is active: answers its token.
    pub(super) fn stop(&self) -> Option<u64> {
        let mut state = self.lock();
        if state.stage != Stage::Active {
            return None;
        }
        state.stage = Stage::Stopping;
        Some(state.token)
    }

    /// Events for it are reported no more.
    pub(super) fn ignore(&self, epoll: BorrowedFd<'_>) {
        let mut state = self.lock();
        if std::mem::take(&mut state.reported) {
            // Fails only if it is not there.
            let _ = epoll::delete(epoll, &self.socket);
        }
    }

    /// Bytes accepted and not yet written; each descriptor counts as its share of what may wait.
    pub(super) fn backlog(&self, limits: &UnixLimits) -> usize {
        let state = self.lock();
        state.queued + state.passengers * (limits.queued_bytes / limits.queued_descriptors.max(1))
    }

    /// Whether it can become a message's passenger: nobody listens and nothing waits here.
    pub(super) fn can_travel(&self) -> bool {
        let state = self.lock();
        state.stage == Stage::Inactive && state.waiting.is_empty()
    }

    /// Takes a message: writes what the socket takes now and keeps the rest, within the limits. True if it is to be tried again after a
    /// while. A connection that failed swallows it; its listener hears of that by the end of what the peer sent.
    pub(super) fn transmit(&self, data: &[u8], mut descriptors: Vec<OwnedFd>, limits: &UnixLimits, epoll: BorrowedFd<'_>) -> bool {
        let head = header(data.len(), descriptors.len());
        let mut state = self.lock();
        if state.broken || state.stage == Stage::Done {
            return false;
        }
        let first = state.waiting.is_empty();
        let (written, starved) = match if first { write(self.socket(), [&head, data], &mut descriptors) } else { Ok((0, false)) } {
            Ok(done) => done,
            Err(_) => {
                self.fail(&mut state);
                return false;
            }
        };
        let left = HEADER + data.len() - written;
        if left == 0 {
            return false;
        }
        if state.queued + left > limits.queued_bytes || state.passengers + descriptors.len() > limits.queued_descriptors {
            self.fail(&mut state);
            return false;
        }
        let in_head = written.min(HEADER);
        let bytes = [&head[in_head..], &data[written - in_head..]].concat();
        state.queued += left;
        state.passengers += descriptors.len();
        state.waiting.push_back(Waiting { bytes, written: 0, descriptors });
        state.starved |= starved;
        self.watch(&mut state, epoll);
        starved && state.reported
    }

    /// Writes what waits, as far as the socket takes it. True if it is to be tried again after a while.
    pub(super) fn flush(&self, epoll: BorrowedFd<'_>) -> bool {
        let mut state = self.lock();
        state.starved = false;
        while let Some(first) = state.waiting.front_mut() {
            let passengers = first.descriptors.len();
            let Ok((written, starved)) = write(self.socket.as_fd(), [&first.bytes[first.written..], &[]], &mut first.descriptors) else {
                self.fail(&mut state);
                return false;
            };
            first.written += written;
            let whole = first.written == first.bytes.len();
            let passengers = passengers - first.descriptors.len();
            state.queued -= written;
            state.passengers -= passengers;
            state.starved = starved;
            if !whole {
                break;
            }
            state.waiting.pop_front();
        }
        self.watch(&mut state, epoll);
        state.starved && state.reported
    }

    /// Has `epoll` tell when the socket takes more, if something waits for that.
    fn watch(&self, state: &mut State, epoll: BorrowedFd<'_>) {
        let wanted = state.queued > 0 && !state.starved;
        if !state.reported || wanted == state.watched {
            return;
        }
        match epoll::modify(epoll, &self.socket, EventData::new_u64(state.token), interest(wanted)) {
            Ok(()) => state.watched = wanted,
            Err(_) => self.fail(state),
        }
    }

    /// Writing is over. So is reading, once what the peer sent before is read: that is how the listener learns of it.
    fn fail(&self, state: &mut State) {
        state.broken = true;
        state.waiting.clear();
        (state.queued, state.passengers) = (0, 0);
        self.hang_up();
    }

    /// The last of an active transport: what the socket takes at once goes out, and the peer hears no more.
    pub(super) fn finish(&self, epoll: BorrowedFd<'_>) {
        self.ignore(epoll);
        self.flush(epoll);
        let mut state = self.lock();
        state.stage = Stage::Done;
        self.fail(&mut state);
    }

    fn hang_up(&self) {
        // Fails only if the connection is gone already.
        let _ = shutdown(&self.socket, Shutdown::Both);
    }
}
