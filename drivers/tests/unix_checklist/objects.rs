//! Rows about what descriptors turn out to be.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ipcz::driver::{Driver, DriverError};
use ipcz::ids::ObjectId;
use ipcz_drivers::UnixDriver;
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::ears::*;
use super::{alone, listen, settle, unthreaded};

fn claim(kind: u32, bytes: u32) -> Vec<u8> {
    [kind.to_ne_bytes(), bytes.to_ne_bytes()].concat()
}

/// A driver, and its objects made of what a peer sends and claims.
struct Receiver {
    driver: Arc<UnixDriver>,
    transport: ObjectId,
    socket: UnixStream,
    hearing: Hearing,
}

impl Receiver {
    fn new() -> Receiver {
        let driver = unthreaded();
        let [ours, theirs] = UnixDriver::socket_pair().unwrap();
        let transport = driver.adopt(ours).unwrap();
        let hearing = listen(&driver, transport);
        Receiver { driver, transport, socket: theirs.into(), hearing }
    }

    fn receive(&self, data: &[u8], descriptors: &[&OwnedFd]) -> Result<ObjectId, DriverError> {
        let fds: Vec<_> = descriptors.iter().map(|fd| fd.as_fd()).collect();
        send_raw(&self.socket, &head(8, fds.len() as u32), &fds);
        settle(&self.driver);
        let (_, handles) = self.hearing.message();
        self.driver.deserialize(data, &handles, self.transport)
    }
}

#[test]
fn row11_what_is_no_socket_and_no_memory_is_neither() {
    let _alone = alone();
    let receiver = Receiver::new();
    let open = |path| OwnedFd::from(std::fs::File::options().read(true).write(true).open(path).unwrap());
    let (reader, writer) = std::io::pipe().unwrap();
    let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap();
    // A cycle of such would keep the kernel busy, if anybody waited on it.
    let inner = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap();
    rustix::event::epoll::add(&epoll, &inner, rustix::event::epoll::EventData::new_u64(0), rustix::event::epoll::EventFlags::IN).unwrap();
    let own = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
    let things: Vec<(&str, OwnedFd)> = vec![
        ("the reading end of a pipe", reader.into()),
        ("the writing end of a pipe", writer.into()),
        ("an epoll instance", epoll),
        ("a terminal", open("/dev/ptmx")),
        ("a device", open("/dev/zero")),
        ("a file", own.into()),
        ("a directory", std::fs::File::open("/").unwrap().into()),
    ];
    for (what, thing) in &things {
        for kind in [0, 1] {
            assert_eq!(receiver.receive(&claim(kind, 1), &[thing]), Err(DriverError::InvalidArgument), "{what} as {kind}");
        }
    }
    // The transport's own other end is a socket like any other.
    let twin = receiver.socket.try_clone().unwrap().into();
    let itself = receiver.receive(&claim(0, 0), &[&twin]).unwrap();
    receiver.driver.close(itself);
    assert_eq!(receiver.driver.live_objects(), 1);
}

#[test]
fn row12_memory_that_could_make_an_access_fail_is_refused() {
    let _alone = alone();
    let receiver = Receiver::new();
    let shrink = SealFlags::SHRINK;
    for (what, size, seals, announced) in [
        ("larger than any", 4096, shrink, u32::MAX),
        ("a byte too large", 4096, shrink, 4097),
        ("of no size", 0, shrink, 1),
        ("announced as nothing", 4096, shrink, 0),
        ("that can shrink", 4096, SealFlags::empty(), 4096),
    ] {
        let refused = receiver.receive(&claim(1, announced), &[&memfd(size, seals)]);
        assert_eq!(refused, Err(DriverError::InvalidArgument), "memory {what}");
    }
    // Pages that the system may have none of, when one is touched.
    let huge = memfd_create("huge", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB);
    if let Ok(huge) = huge {
        ftruncate(&huge, 2 << 20).unwrap();
        fcntl_add_seals(&huge, shrink).unwrap();
        assert_eq!(receiver.receive(&claim(1, 2 << 20), &[&huge]), Err(DriverError::InvalidArgument), "of huge pages");
    }
    assert_eq!(receiver.driver.live_objects(), 1);
}

#[test]
fn row13_mapped_memory_can_not_be_taken_away() {
    let _alone = alone();
    let receiver = Receiver::new();
    let file = memfd(8192, SealFlags::SHRINK);
    let memory = receiver.receive(&claim(1, 8192), &[&file]).unwrap();
    let mapping = receiver.driver.map(memory).unwrap();
    mapping.store32(4096, 7, Ordering::Relaxed);
    assert_eq!(ftruncate(&file, 0), Err(Errno::PERM));
    fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, 8192).unwrap();
    assert_eq!(mapping.load32(4096, Ordering::Relaxed), 0);
    mapping.store32(4096, 8, Ordering::Relaxed);
    assert_eq!(mapping.load32(4096, Ordering::Relaxed), 8);
}

#[test]
fn row14_memory_sealed_against_writing_later_is_an_error_or_stays_as_it_is() {
    let _alone = alone();
    let receiver = Receiver::new();
    let file = memfd(4096, SealFlags::SHRINK);
    let mapped = receiver.receive(&claim(1, 4096), &[&file]).unwrap();
    let mapping = receiver.driver.map(mapped).unwrap();
    assert_eq!(fcntl_add_seals(&file, SealFlags::WRITE), Err(Errno::BUSY));
    fcntl_add_seals(&file, SealFlags::FUTURE_WRITE).unwrap();
    mapping.store32(0, 9, Ordering::Relaxed);
    assert_eq!(mapping.load32(0, Ordering::Relaxed), 9);
    for seal in [SealFlags::WRITE, SealFlags::FUTURE_WRITE] {
        let file = memfd(4096, SealFlags::SHRINK);
        let memory = receiver.receive(&claim(1, 4096), &[&file]).unwrap();
        fcntl_add_seals(&file, seal).unwrap();
        assert_eq!(receiver.driver.map(memory).err(), Some(DriverError::ResourceExhausted), "{seal:?}");
    }
}

#[test]
fn row15_memory_announced_twice_is_two_and_no_room_for_a_mapping_is_an_error() {
    let _alone = alone();
    let receiver = Receiver::new();
    let file = memfd(1 << 30, SealFlags::SHRINK);
    let twice = [0, 1].map(|_| receiver.receive(&claim(1, 1 << 30), &[&file]).unwrap());
    let first = receiver.driver.map(twice[0]).unwrap();
    let usual = getrlimit(Resource::As);
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').next().unwrap().parse::<u64>().unwrap();
    setrlimit(Resource::As, Rlimit { current: Some(pages * 4096 + (256 << 20)), ..usual }).unwrap();
    let refused = receiver.driver.map(twice[1]).err();
    setrlimit(Resource::As, usual).unwrap();
    assert_eq!(refused, Some(DriverError::ResourceExhausted));
    let second = receiver.driver.map(twice[1]).unwrap();
    first.store32(12, 5, Ordering::Relaxed);
    assert_eq!(second.load32(12, Ordering::Relaxed), 5);
}

#[test]
fn row16_every_kind_and_every_length_of_a_description() {
    let _alone = alone();
    let receiver = Receiver::new();
    let file = memfd(4096, SealFlags::SHRINK);
    let socket = OwnedFd::from(receiver.socket.try_clone().unwrap());
    for kind in (0..300).chain([u32::MAX, 1 << 31]) {
        for (of_memory, descriptor) in [(true, &file), (false, &socket)] {
            let made = receiver.receive(&claim(kind, 4096 * u32::from(kind == 1)), &[descriptor]);
            let known = match kind {
                0 => !of_memory,
                1 => of_memory,
                3 => true,
                _ => false,
            };
            assert_eq!(made.is_ok(), known, "kind {kind}, memory: {of_memory}");
            if let Ok(object) = made {
                assert_eq!(receiver.driver.size(object).is_ok(), kind == 1);
                assert_eq!(receiver.driver.map(object).is_ok(), kind == 1);
                assert_eq!(receiver.driver.transmit(object, &[]).is_ok(), kind == 0);
                assert_eq!(receiver.driver.take_file(object).is_some(), kind == 3);
                receiver.driver.close(object);
            }
        }
    }
    for length in 0..8 {
        assert_eq!(receiver.receive(&claim(1, 4096)[..length], &[&file]), Err(DriverError::InvalidArgument), "{length} bytes");
    }
    assert_eq!(receiver.receive(&claim(1, 4096), &[&file, &file]), Err(DriverError::InvalidArgument));
    assert_eq!(receiver.receive(&claim(1, 4096), &[]), Err(DriverError::InvalidArgument));
    assert_eq!(receiver.driver.live_objects(), 1);
}

#[test]
fn row17_a_socket_that_is_none_for_us_is_refused_or_breaks_at_once() {
    let _alone = alone();
    let receiver = Receiver::new();
    let bare = |kind| socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    let name = std::env::temp_dir().join(format!("ipcz-listening-{}", std::process::id()));
    let listening = OwnedFd::from(UnixListener::bind(&name).unwrap());
    std::fs::remove_file(&name).unwrap();
    let refused: [(&str, OwnedFd); 4] = [
        ("for datagrams", UnixDatagram::unbound().unwrap().into()),
        ("for packets", bare(SocketType::SEQPACKET)),
        ("that listens", listening),
        ("of the network", std::net::TcpListener::bind("127.0.0.1:0").unwrap().into()),
    ];
    for (what, socket) in &refused {
        assert_eq!(receiver.receive(&claim(0, 0), &[socket]), Err(DriverError::InvalidArgument), "{what}");
    }
    let closed = UnixDriver::socket_pair().unwrap();
    UnixStream::from(closed[0].try_clone().unwrap()).shutdown(std::net::Shutdown::Both).unwrap();
    for (what, socket) in [("never connected", &bare(SocketType::STREAM)), ("closed", &closed[0])] {
        let transport = receiver.receive(&claim(0, 0), &[socket]).unwrap();
        let hearing = listen(&receiver.driver, transport);
        send(&receiver.driver, transport, b"", &[]);
        settle(&receiver.driver);
        assert_eq!(hearing.so_far(), [Heard::Error], "{what}");
        receiver.driver.close(transport);
    }
}
