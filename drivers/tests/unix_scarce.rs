//! A process that is out of descriptors. Alone in its binary, since it lowers the process's limit.
#![cfg(target_os = "linux")]

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use ipcz::driver::{Activity, Driver, Frame, Listener, Verdict};
use ipcz::ids::ObjectId;
use ipcz_drivers::UnixDriver;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Resource, getrlimit, setrlimit};

/// Passes on what its listener hears: how many handles came, or none for an error.
struct Ear(Mutex<mpsc::Sender<Option<usize>>>);

impl Activity for Ear {
    fn message(self: Arc<Self>, _: u64, _: &[u8], handles: &[ObjectId], _: Option<ObjectId>) -> Verdict {
        self.0.lock().unwrap().send(Some(handles.len())).unwrap();
        Verdict::Accepted
    }

    fn error(self: Arc<Self>, _: u64) {
        self.0.lock().unwrap().send(None).unwrap();
    }

    fn deactivated(self: Arc<Self>, _: u64) {}
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn descriptors_that_the_kernel_dropped_cost_their_transport_and_no_other() {
    let driver = UnixDriver::new().unwrap();
    let [ours, theirs] = UnixDriver::socket_pair().unwrap();
    let short = driver.adopt(ours).unwrap();
    let [other, peer] = driver.create_transports(None).unwrap();
    let before = open_descriptors();

    // The beginning of a message with ten descriptors: that some are lost is known before the rest of it came.
    let head = [100u32.to_ne_bytes(), 10u32.to_ne_bytes()].concat();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(10))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let sent = [theirs.as_fd(); 10];
    assert!(control.push(SendAncillaryMessage::ScmRights(&sent)));
    sendmsg(&theirs, &[IoSlice::new(&head)], &mut control, SendFlags::empty()).unwrap();

    let usual = getrlimit(Resource::Nofile);
    let free = std::fs::File::open("/dev/null").unwrap().as_raw_fd() as u64;
    setrlimit(Resource::Nofile, rustix::process::Rlimit { current: Some(free + 3), ..usual }).unwrap();
    let hearing = [short, other].map(|end| {
        let (heard, hearing) = mpsc::channel();
        driver.activate(end, Listener::new(Arc::new(Ear(Mutex::new(heard))), 0)).unwrap();
        hearing
    });
    assert_eq!(hearing[0].recv_timeout(Duration::from_secs(60)), Ok(None));
    driver.transmit(peer, &[Frame { data: b"on", handles: &[] }]).unwrap();
    assert_eq!(hearing[1].recv_timeout(Duration::from_secs(60)), Ok(Some(0)));
    setrlimit(Resource::Nofile, usual).unwrap();
    assert_eq!(open_descriptors(), before);
}
