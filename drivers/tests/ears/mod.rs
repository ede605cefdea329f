//! Transports of the Unix driver, bare sockets at their other ends, and who listens.
#![allow(dead_code, reason = "each test uses a part")]

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use ipcz::driver::{Activity, Driver, Frame, Listener, Packed, Verdict};
use ipcz::ids::ObjectId;
use ipcz_drivers::UnixDriver;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    Message(Vec<u8>, Vec<ObjectId>),
    Error,
    Deactivated,
}

/// Passes on what its listener hears; refuses the message "bad", deactivates its own transport on "stop", closes it on "close".
pub struct Ear {
    pub heard: Mutex<mpsc::Sender<Heard>>,
    pub driver: Arc<UnixDriver>,
    pub transport: ObjectId,
}

impl Activity for Ear {
    fn message(self: Arc<Self>, _: u64, data: &[u8], handles: &[ObjectId], _: Option<ObjectId>) -> Verdict {
        let _ = self.heard.lock().unwrap().send(Heard::Message(data.to_vec(), handles.to_vec()));
        match data {
            b"bad" => Verdict::Refused,
            b"panic" => panic!("a listener that fails, as the test wants it"),
            b"stop" => {
                self.driver.deactivate(self.transport);
                Verdict::Accepted
            }
            b"close" => {
                self.driver.close(self.transport);
                Verdict::Accepted
            }
            _ => Verdict::Accepted,
        }
    }

    fn error(self: Arc<Self>, _: u64) {
        let _ = self.heard.lock().unwrap().send(Heard::Error);
    }

    fn deactivated(self: Arc<Self>, _: u64) {
        let _ = self.heard.lock().unwrap().send(Heard::Deactivated);
    }
}

/// A listener's end.
pub struct Hearing(pub mpsc::Receiver<Heard>);

impl Hearing {
    pub fn next(&self) -> Heard {
        self.0.recv_timeout(Duration::from_secs(60)).expect("a notification")
    }

    pub fn message(&self) -> (Vec<u8>, Vec<ObjectId>) {
        match self.next() {
            Heard::Message(data, handles) => (data, handles),
            other => panic!("{other:?} instead of a message"),
        }
    }

    /// What was heard by now.
    pub fn so_far(&self) -> Vec<Heard> {
        self.0.try_iter().collect()
    }

    /// The listener was dropped: nothing was said and nothing ever will be.
    pub fn is_over(&self) -> bool {
        matches!(self.0.recv_timeout(Duration::from_secs(60)), Err(mpsc::RecvTimeoutError::Disconnected))
    }
}

pub fn listen(driver: &Arc<UnixDriver>, transport: ObjectId) -> Hearing {
    let (heard, hearing) = mpsc::channel();
    let ear = Ear { heard: Mutex::new(heard), driver: driver.clone(), transport };
    driver.activate(transport, Listener::new(Arc::new(ear), 0)).unwrap();
    Hearing(hearing)
}

pub fn send(driver: &UnixDriver, over: ObjectId, data: &[u8], handles: &[ObjectId]) {
    driver.transmit(over, &[Frame { data, handles }]).unwrap();
}

pub fn pair() -> (Arc<UnixDriver>, ObjectId, ObjectId) {
    let driver = UnixDriver::new().unwrap();
    let [a, b] = driver.create_transports(None).unwrap();
    (driver, a, b)
}

/// A transport, and the bare socket at its other end.
pub fn against_socket() -> (Arc<UnixDriver>, ObjectId, UnixStream) {
    let driver = UnixDriver::new().unwrap();
    let [ours, theirs] = UnixDriver::socket_pair().unwrap();
    (driver.clone(), driver.adopt(ours).unwrap(), UnixStream::from(theirs))
}

pub fn head(total: u32, descriptors: u32) -> Vec<u8> {
    [total.to_ne_bytes(), descriptors.to_ne_bytes()].concat()
}

pub fn send_raw(socket: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    assert_eq!(sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()), Ok(bytes.len()));
}

pub fn memfd(bytes: u64, seals: SealFlags) -> OwnedFd {
    let file = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&file, bytes).unwrap();
    fcntl_add_seals(&file, seals).unwrap();
    file
}

/// A descriptor as a message carries it; and what is at the other end of it.
pub fn passenger(driver: &UnixDriver, via: ObjectId) -> (ObjectId, Vec<u8>, UnixStream) {
    let [given, kept] = UnixDriver::socket_pair().unwrap();
    let mut packed = Packed::default();
    driver.serialize(driver.adopt(given).unwrap(), via, &mut packed).unwrap();
    let kept = UnixStream::from(kept);
    kept.set_nonblocking(false).unwrap();
    kept.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    (packed.handles[0], packed.data, kept)
}

/// Whether the other end of what this was connected to is gone.
pub fn is_hung_up(socket: &mut UnixStream) -> bool {
    matches!(socket.read(&mut [0]), Ok(0))
}
