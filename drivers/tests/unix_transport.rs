//! The Unix driver's transports and objects, over socket pairs within this process (driver.md 12 and 13).
#![cfg(target_os = "linux")]

mod ears;

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use ears::*;
use ipcz::driver::{Driver, DriverError, Frame, Listener, Packed, Travel};
use ipcz::ids::{NodeType, ObjectId};
use ipcz::trap::{TrapEvent, TrapTarget};
use ipcz::{BoxContents, ConnectTo, Error, NodeOptions, Process};
use ipcz_drivers::{MonotonicClock, UnixDriver, UnixLimits};
use rustix::fs::SealFlags;
use rustix::net::sockopt;

#[test]
fn what_was_sent_before_activation_comes_first_and_in_order() {
    let (driver, a, b) = pair();
    send(&driver, a, b"1", &[]);
    send(&driver, a, b"", &[]);
    let hearing = listen(&driver, b);
    send(&driver, a, b"3", &[]);
    assert_eq!([hearing.message().0, hearing.message().0, hearing.message().0], [&b"1"[..], b"", b"3"]);
    driver.close(a);
    assert_eq!(hearing.next(), Heard::Error);
    driver.deactivate(b);
    driver.deactivate(b);
    assert_eq!(hearing.next(), Heard::Deactivated);
    assert!(hearing.is_over());
    driver.close(b);
    driver.join();
    assert_eq!(driver.live_objects(), 0);
}

/// What upstream's driver damages (driver.md 9, U1): more than the socket takes, to a reader that starts late.
#[test]
fn what_the_socket_does_not_take_waits_and_arrives_whole() {
    for (count, size) in [(20, 100_000), (4, 3_000_000), (2000, 1000), (3000, 1), (1, 64_000_000)] {
        let driver = UnixDriver::new().unwrap();
        let sockets = UnixDriver::socket_pair().unwrap();
        sockopt::set_socket_send_buffer_size(&sockets[0], 1).unwrap();
        let [a, b] = sockets.map(|socket| driver.adopt(socket).unwrap());
        let _near = listen(&driver, a);
        let data = |i: usize| -> Vec<u8> { (0..size).map(|k| (k * 31 + i) as u8).collect() };
        let mut seats = Vec::new();
        for i in 0..count {
            // Not with all: thousands of them open would exceed a common limit.
            let passengers: Vec<_> = (i % 100 == 7).then(|| passenger(&driver, a)).into_iter().collect();
            let handles: Vec<_> = passengers.iter().map(|(handle, ..)| *handle).collect();
            send(&driver, a, &data(i), &handles);
            seats.extend(passengers.into_iter().map(|(.., kept)| kept));
        }
        assert!(driver.backlog(a) > 0, "{count} of {size} bytes fitted into the socket");
        let hearing = listen(&driver, b);
        for i in 0..count {
            let (got, handles) = hearing.message();
            assert!(got == data(i) && handles.len() == usize::from(i % 100 == 7), "message {i} of {size} bytes is damaged");
            handles.into_iter().for_each(|handle| driver.close(handle));
        }
        assert_eq!(driver.backlog(a), 0);
        assert!(seats.iter_mut().all(is_hung_up), "a descriptor was sent twice or kept");
    }
}

#[test]
fn many_descriptors_travel_with_one_message_each_to_its_place() {
    for count in [1, 63, 64, 65, 200] {
        let (driver, a, b) = pair();
        let hearing = listen(&driver, b);
        let mut handles = Vec::new();
        let mut described = Vec::new();
        let mut kept = Vec::new();
        for _ in 0..count {
            let (handle, data, other) = passenger(&driver, a);
            handles.push(handle);
            described.push(data);
            kept.push(other);
        }
        send(&driver, a, b"", &handles);
        send(&driver, a, b"after", &[]);
        let (_, handles) = hearing.message();
        assert_eq!(handles.len(), count);
        assert_eq!(hearing.message().0, b"after");
        for ((i, handle), described) in handles.into_iter().enumerate().zip(described) {
            let transport = driver.deserialize(&described, &[handle], b).unwrap();
            send(&driver, transport, &[i as u8; 3], &[]);
            let mut got = [0; 11];
            kept[i].read_exact(&mut got).unwrap();
            assert_eq!(got[8..], [i as u8; 3]);
            driver.close(transport);
        }
        driver.close(a);
        driver.close(b);
        driver.join();
        assert_eq!(driver.live_objects(), 0);
    }
}

#[test]
fn more_than_a_message_may_have_is_refused_and_closed() {
    let limits = UnixLimits { frame_bytes: 1000, ..UnixLimits::default() };
    let driver = UnixDriver::with_limits(limits).unwrap();
    let [a, _b] = driver.create_transports(None).unwrap();
    assert_eq!(driver.limits().message_bytes, 992);
    send(&driver, a, &[0; 992], &[]);
    let (handle, _, mut kept) = passenger(&driver, a);
    assert!(driver.transmit(a, &[Frame { data: &[0; 993], handles: &[handle] }]).is_err());
    assert!(is_hung_up(&mut kept));
    assert!(driver.transmit(a, &[Frame { data: b"", handles: &[a] }]).is_err(), "a transport is nothing to transmit");
    assert_eq!(driver.can_travel(a, None), Travel::Yes);
}

#[test]
fn a_peer_that_never_reads_breaks_the_transport_in_the_end() {
    let driver = UnixDriver::with_limits(UnixLimits { queued_bytes: 1 << 20, ..UnixLimits::default() }).unwrap();
    let [a, _b] = driver.create_transports(None).unwrap();
    let hearing = listen(&driver, a);
    for _ in 0..100 {
        send(&driver, a, &[0; 100_000], &[]);
        assert!(driver.backlog(a) <= 1 << 20);
    }
    assert_eq!(hearing.next(), Heard::Error);
}

#[test]
fn the_end_of_the_stream_anywhere_is_one_error_after_whole_messages() {
    let stream = [head(13, 0), b"first".to_vec(), head(14, 0), b"second".to_vec()].concat();
    for cut in 0..=stream.len() {
        let (driver, transport, mut socket) = against_socket();
        let hearing = listen(&driver, transport);
        socket.write_all(&stream[..cut]).unwrap();
        drop(socket);
        let whole = [(13, &b"first"[..]), (27, b"second")].into_iter().filter(|(end, _)| *end <= cut);
        for (_, message) in whole {
            assert_eq!(hearing.message().0, message);
        }
        assert_eq!(hearing.next(), Heard::Error, "cut at {cut}");
        driver.deactivate(transport);
        assert_eq!(hearing.next(), Heard::Deactivated);
        assert!(hearing.is_over());
    }
}

/// The peer's kernel says ECONNRESET when it went away with something of ours unread.
#[test]
fn what_a_peer_said_before_it_vanished_is_heard_although_it_did_not_listen() {
    let (driver, transport, mut socket) = against_socket();
    socket.write_all(&[head(12, 0), b"last".to_vec()].concat()).unwrap();
    send(&driver, transport, b"unread", &[]);
    drop(socket);
    // Nobody is there any more: accepted, and no signal kills this process.
    send(&driver, transport, b"late", &[]);
    let hearing = listen(&driver, transport);
    assert_eq!(hearing.message().0, b"last");
    assert_eq!(hearing.next(), Heard::Error);
}

#[test]
fn a_damaged_stream_is_an_error_and_its_descriptors_are_closed() {
    let streams: [(&str, Vec<u8>, usize); 6] = [
        ("shorter than its header", head(7, 0), 0),
        ("beyond the limit", head(u32::MAX, 0), 0),
        ("too many descriptors announced", head(100, 513), 0),
        ("descriptors that never came", [head(10, 2), vec![0; 2]].concat(), 1),
        ("descriptors nobody announced", [head(10, 1), vec![0; 2]].concat(), 2),
        ("more than announced, in the middle of a message", [head(100, 1), vec![0; 2]].concat(), 2),
    ];
    for (what, bytes, descriptors) in streams {
        let (driver, transport, socket) = against_socket();
        let hearing = listen(&driver, transport);
        let [given, kept] = UnixDriver::socket_pair().unwrap();
        let mut kept = UnixStream::from(kept);
        kept.set_nonblocking(false).unwrap();
        kept.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        send_raw(&socket, &bytes, &vec![given.as_fd(); descriptors]);
        drop(given);
        let mut next = hearing.next();
        if let Heard::Message(_, handles) = next {
            handles.iter().for_each(|handle| driver.close(*handle));
            next = hearing.next();
        }
        assert_eq!(next, Heard::Error, "{what}");
        assert!(is_hung_up(&mut kept), "{what}");
    }
}

#[test]
fn a_refused_message_is_followed_by_an_error_and_nothing_else() {
    for data in [&b"bad"[..], b"panic"] {
        let (driver, a, b) = pair();
        for data in [b"1", data, b"2"] {
            send(&driver, a, data, &[]);
        }
        let hearing = listen(&driver, b);
        assert_eq!([hearing.message().0, hearing.message().0], [b"1", data]);
        assert_eq!(hearing.next(), Heard::Error);
        driver.deactivate(b);
        assert_eq!(hearing.next(), Heard::Deactivated);
        assert!(hearing.is_over());
    }
}

#[test]
fn deactivating_from_a_listener_ends_it_there_and_tells_the_peer() {
    let (driver, a, b) = pair();
    let (far, near) = (listen(&driver, a), listen(&driver, b));
    for data in [b"1", &b"stop"[..], b"2"] {
        send(&driver, a, data, &[]);
    }
    assert_eq!([near.message().0, near.message().0], [&b"1"[..], b"stop"]);
    assert_eq!(near.next(), Heard::Deactivated);
    assert!(near.is_over());
    assert_eq!(far.next(), Heard::Error);
    let (handle, _, mut kept) = passenger(&driver, a);
    send(&driver, b, b"after the end", &[handle]);
    assert!(is_hung_up(&mut kept));
    assert_eq!(driver.activate(b, Listener::new(Arc::new(ear_for_nobody(&driver, b)), 0)), Err(DriverError::InvalidArgument));
}

fn ear_for_nobody(driver: &Arc<UnixDriver>, transport: ObjectId) -> Ear {
    Ear { heard: Mutex::new(mpsc::channel().0), driver: driver.clone(), transport }
}

#[test]
fn closing_without_deactivating_ends_the_listener_too() {
    let (driver, a, b) = pair();
    let (far, near) = (listen(&driver, a), listen(&driver, b));
    driver.close(b);
    assert_eq!(near.next(), Heard::Deactivated);
    assert!(near.is_over());
    assert_eq!(far.next(), Heard::Error);
    driver.close(b);
    assert_eq!(driver.transmit(b, &[]), Err(DriverError::InvalidArgument));
}

#[test]
fn a_driver_that_goes_away_ends_its_listeners() {
    let driver = UnixDriver::new().unwrap();
    let other = UnixDriver::new().unwrap();
    let [a, b] = UnixDriver::socket_pair().unwrap();
    let (a, b) = (driver.adopt(a).unwrap(), other.adopt(b).unwrap());
    let far = listen(&driver, a);
    let (heard, near) = mpsc::channel();
    let ear = Ear { heard: Mutex::new(heard), driver: driver.clone(), transport: a };
    other.activate(b, Listener::new(Arc::new(ear), 0)).unwrap();
    drop(other);
    assert_eq!(Hearing(near).next(), Heard::Deactivated);
    assert_eq!(far.next(), Heard::Error);
}

#[test]
fn messages_of_many_threads_stay_whole_and_each_threads_in_order() {
    const THREADS: usize = 8;
    const EACH: u32 = 2000;
    let (driver, a, b) = pair();
    let hearing = listen(&driver, b);
    let _near = listen(&driver, a);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let driver = &driver;
            scope.spawn(move || {
                for i in 0..EACH {
                    let data = [&[thread as u8; 300][..], &i.to_le_bytes()].concat();
                    send(driver, a, &data, &[]);
                }
            });
        }
        let mut next = [0; THREADS];
        for _ in 0..THREADS as u32 * EACH {
            let data = hearing.message().0;
            let thread = data[0] as usize;
            assert!(data[..300].iter().all(|byte| *byte as usize == thread));
            assert_eq!(data[300..], u32::to_le_bytes(next[thread]));
            next[thread] += 1;
        }
    });
}

#[test]
fn memory_is_shared_zero_filled_and_outlives_its_handles() {
    let (driver, a, b) = pair();
    let hearing = listen(&driver, b);
    let memory = driver.allocate(5000).unwrap();
    let twin = driver.duplicate(memory).unwrap();
    let here = driver.map(memory).unwrap();
    let mut packed = Packed::default();
    driver.serialize(memory, a, &mut packed).unwrap();
    assert_eq!((&packed.data[..4], &packed.data[4..]), (&1u32.to_ne_bytes()[..], &5000u32.to_ne_bytes()[..]));
    send(&driver, a, &packed.data, &packed.handles);
    assert_eq!(driver.size(memory), Err(DriverError::InvalidArgument), "it was consumed");
    let (data, handles) = hearing.message();
    let received = driver.deserialize(&data, &handles, b).unwrap();
    assert_eq!(driver.size(received), Ok(5000));
    let there = driver.map(received).unwrap();
    driver.close(received);
    driver.close(twin);
    let mut bytes = vec![1; 5000];
    there.read(0, &mut bytes);
    assert!(bytes.iter().all(|byte| *byte == 0) && there.len() == 5000);
    here.store32(4996, 0xabcd, Ordering::Relaxed);
    assert_eq!(there.load32(4996, Ordering::Relaxed), 0xabcd);
    assert_eq!(driver.allocate(0), Err(DriverError::InvalidArgument));
    assert_eq!(driver.can_travel(a, Some(b)), Travel::Yes);
    assert_eq!(driver.can_travel(b, Some(a)), Travel::Never, "it is active");
}

#[test]
fn what_is_not_what_it_claims_to_be_is_refused() {
    let read_only =
        |file: OwnedFd| OwnedFd::from(std::fs::File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file))).unwrap());
    let zero = || OwnedFd::from(std::fs::File::options().read(true).write(true).open("/dev/zero").unwrap());
    let directory = || OwnedFd::from(std::fs::File::open("/").unwrap());
    let socket = || UnixDriver::socket_pair().unwrap()[0].try_clone().unwrap();
    let datagram = || OwnedFd::from(std::os::unix::net::UnixDatagram::unbound().unwrap());
    let claim = |kind: u32, bytes: u32| [kind.to_ne_bytes(), bytes.to_ne_bytes()].concat();
    let offers: Vec<(&str, Vec<u8>, OwnedFd, bool)> = vec![
        ("memory as upstream makes it", claim(1, 4096), memfd(4096, SealFlags::SHRINK), true),
        ("memory larger than announced", claim(1, 100), memfd(4096, SealFlags::SHRINK), true),
        ("a socket", claim(0, 0), socket(), true),
        ("memory smaller than announced", claim(1, 4097), memfd(4096, SealFlags::SHRINK), false),
        ("no memory at all", claim(1, 0), memfd(0, SealFlags::SHRINK), false),
        ("memory that can shrink", claim(1, 4096), memfd(4096, SealFlags::GROW), false),
        ("memory to read only", claim(1, 4096), read_only(memfd(4096, SealFlags::SHRINK)), false),
        ("a device", claim(1, 4096), zero(), false),
        ("a directory", claim(1, 1), directory(), false),
        ("a socket as memory", claim(1, 1), socket(), false),
        ("memory as a socket", claim(0, 0), memfd(4096, SealFlags::SHRINK), false),
        ("a datagram socket", claim(0, 0), datagram(), false),
        ("an unknown kind", claim(4, 0), socket(), false),
        ("half a description", claim(0, 0)[..4].to_vec(), socket(), false),
    ];
    for (what, data, descriptor, good) in offers {
        let (driver, transport, socket) = against_socket();
        let hearing = listen(&driver, transport);
        send_raw(&socket, &[head(9, 1), vec![0]].concat(), &[descriptor.as_fd()]);
        let (_, handles) = hearing.message();
        let made = driver.deserialize(&data, &handles, transport);
        assert_eq!(made.is_ok(), good, "{what}");
        assert_eq!(driver.live_objects(), 1 + usize::from(good), "{what}");
    }
    let (driver, transport, _socket) = against_socket();
    assert_eq!(driver.deserialize(&claim(0, 0), &[], transport), Err(DriverError::InvalidArgument));
}

struct Nobody;

impl TrapTarget for Nobody {
    fn fired(&self, _: &TrapEvent) {}
}

#[test]
fn a_boxed_descriptor_arrives_as_another_one_of_the_same_pipe() {
    let driver = UnixDriver::new().unwrap();
    let [a, b] = driver.create_transports(None).unwrap();
    let program = |kind, transport, to| {
        let process = Process::new(Arc::new(MonotonicClock::new()), Arc::new(Nobody));
        let node = process.create_node(kind, driver.clone(), NodeOptions::default()).unwrap();
        let portal = process.connect_node(node, transport, 1, to).unwrap()[0];
        (process, node, portal)
    };
    let (broker, node, here) = program(NodeType::Broker, a, ConnectTo::Normal);
    let (client, other, there) = program(NodeType::Normal, b, ConnectTo::Broker);
    let (mut reader, writer) = UnixStream::pair().unwrap();
    let object = driver.file(writer.into());
    assert!(driver.take_file(a).is_none(), "a transport is none");
    let handle = broker.box_object(node, BoxContents::Driver(object)).unwrap();
    broker.put(here, b"a descriptor", &[handle]).unwrap();
    let received = loop {
        match client.get(there) {
            Ok(received) => break received,
            Err(Error::Unavailable) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    let Ok(BoxContents::Driver(object)) = client.unbox(received.handles[0]) else { panic!("not a driver object") };
    let mut writer = UnixStream::from(driver.take_file(object).unwrap());
    writer.write_all(b"through the box").unwrap();
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "through the box", "and nobody else has it open");
    broker.close(node).unwrap();
    client.close(other).unwrap();
    driver.join();
    assert_eq!(driver.live_objects(), 0);
}
