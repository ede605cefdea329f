//! Rows about what runs out: descriptors on their way, room in the socket, patience with a peer.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipcz::driver::{Driver, DriverError};
use ipcz::ids::{Handle, NodeType};
use ipcz::limits::Limits;
use ipcz::trap::{TrapEvent, TrapTarget};
use ipcz::{BoxContents, ConnectTo, Error, NodeOptions, Process};
use ipcz_drivers::{MonotonicClock, UnixDriver, UnixLimits};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{Uid, set_thread_res_uid};

use super::ears::*;
use super::{alone, listen, open_descriptors, settle, unthreaded};

/// Polls until it is so.
fn until(driver: &UnixDriver, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        driver.poll(Some(Duration::from_millis(5))).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(60), "it never came");
    }
}

/// The kernel lets a user have only so many descriptors on their way (RLIMIT_NOFILE), whichever of its processes sent them.
#[test]
fn row09_too_many_descriptors_on_their_way_wait_and_nothing_is_lost_tr_15() {
    let _alone = alone();
    let sender = std::thread::spawn(|| {
        // Root may have more; a user of its own has nobody else's on their way.
        if rustix::process::getuid().is_root() {
            let nobody = Uid::from_raw(0x00f1_e1d5);
            set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        let usual = getrlimit(Resource::Nofile);
        let driver = unthreaded();
        let pairs = [0, 1].map(|_| driver.create_transports(None).unwrap());
        let hearing = pairs.map(|[near, far]| (listen(&driver, near), far));
        let mut kept = Vec::new();
        let mut passengers = |many: usize| -> Vec<_> {
            let (handles, ends): (Vec<_>, Vec<_>) =
                (0..many).map(|_| passenger(&driver, pairs[0][0])).map(|(handle, _, end)| (handle, end)).unzip();
            kept.extend(ends);
            handles
        };
        let messages: Vec<_> = (0..10).map(|_| passengers(10)).collect();
        let last = passengers(1);
        setrlimit(Resource::Nofile, Rlimit { current: Some(40), ..usual }).unwrap();
        let mut waiting = 0;
        for (i, handles) in messages.iter().enumerate() {
            send(&driver, pairs[0][0], &[i as u8], handles);
            waiting += usize::from(driver.backlog(pairs[0][0]) > 0);
        }
        // Another link: with a descriptor it waits, too; without it would not have.
        send(&driver, pairs[1][0], b"free", &[]);
        assert_eq!(driver.backlog(pairs[1][0]), 0);
        send(&driver, pairs[1][0], b"also", &last);
        let waits = driver.backlog(pairs[1][0]) > 0;
        driver.poll(Some(Duration::from_millis(30))).unwrap();
        // It is left alone in between, although the socket would take more.
        let busy = (0..5).filter(|_| driver.poll(Some(Duration::ZERO)) != Ok(0)).count();
        let told: Vec<_> = hearing.iter().flat_map(|(near, _)| near.so_far()).collect();
        setrlimit(Resource::Nofile, usual).unwrap();
        assert!(waiting > 0 && waits, "{waiting} messages waited, and one elsewhere: {waits}");
        assert_eq!((told, busy), (Vec::new(), 0));
        // The retries find that it is possible again.
        let ears = hearing.map(|(near, far)| (near, listen(&driver, far)));
        let mut got = [Vec::new(), Vec::new()];
        until(&driver, || {
            for (got, (_, far)) in got.iter_mut().zip(&ears) {
                got.extend(far.so_far());
            }
            got[0].len() >= 10 && got[1].len() >= 2
        });
        for (i, one) in got[0].iter().enumerate() {
            assert!(matches!(one, Heard::Message(data, handles) if data == &[i as u8] && handles.len() == 10), "{one:?}");
        }
        assert!(matches!(&got[1][1], Heard::Message(data, handles) if data == b"also" && handles.len() == 1));
    });
    let outcome = sender.join();
    assert!(outcome.is_ok(), "see above");
}

#[test]
fn a_process_without_a_descriptor_left_gets_errors_and_its_links_go_on() {
    let _alone = alone();
    let driver = unthreaded();
    let [a, b] = driver.create_transports(None).unwrap();
    let (_near, hearing) = (listen(&driver, a), listen(&driver, b));
    let memory = driver.allocate(4096).unwrap();
    let before = driver.live_objects();
    let usual = getrlimit(Resource::Nofile);
    // The lowest number that is free, and so no number is allowed.
    let free = std::fs::File::open("/dev/null").unwrap().as_raw_fd() as u64;
    setrlimit(Resource::Nofile, Rlimit { current: Some(free), ..usual }).unwrap();
    let refused = [
        driver.create_transports(None).err(),
        UnixDriver::socket_pair().err(),
        driver.allocate(4096).err(),
        driver.duplicate(memory).err(),
        UnixDriver::new().err(),
    ];
    let mapped = driver.map(memory).is_ok();
    send(&driver, a, b"on", &[]);
    settle(&driver);
    setrlimit(Resource::Nofile, usual).unwrap();
    assert_eq!(refused, [Some(DriverError::ResourceExhausted); 5]);
    assert!(mapped, "a mapping takes no descriptor");
    assert_eq!(hearing.so_far(), [Heard::Message(b"on".to_vec(), Vec::new())]);
    assert_eq!(driver.live_objects(), before);
}

#[test]
fn re_13_a_peer_may_have_us_hold_only_so_many_descriptors() {
    let _alone = alone();
    let before = open_descriptors();
    let driver = UnixDriver::without_thread(UnixLimits { held_descriptors: 20, ..UnixLimits::default() }).unwrap();
    let connect = || {
        let [ours, theirs] = UnixDriver::socket_pair().unwrap();
        let transport = driver.adopt(ours).unwrap();
        (transport, UnixStream::from(theirs), listen(&driver, transport))
    };
    let (honest, to_honest, hearing) = connect();
    let (greedy, to_greedy, overheard) = connect();
    let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let offer = |socket: &UnixStream, many| {
        send_raw(socket, &head(8, many as u32), &vec![file.as_fd(); many]);
        settle(&driver);
    };
    // What is used or closed no longer counts: files taken out, and transports activated.
    let mut used = Vec::new();
    for _ in 0..10 {
        offer(&to_honest, 15);
        let (_, handles) = hearing.message();
        for handle in handles {
            let object = driver.deserialize(&[3u32.to_ne_bytes(), [0; 4]].concat(), &[handle], honest).unwrap();
            assert!(driver.take_file(object).is_some());
        }
        let [given, _kept] = UnixDriver::socket_pair().unwrap();
        send_raw(&to_honest, &head(8, 1), &[given.as_fd()]);
        settle(&driver);
        let (_, handles) = hearing.message();
        let transport = driver.deserialize(&[0; 8], &handles, honest).unwrap();
        listen(&driver, transport);
        used.push(transport);
    }
    offer(&to_greedy, 15);
    let (_, handles) = overheard.message();
    offer(&to_greedy, 5);
    assert_eq!(overheard.message().1.len(), 5);
    offer(&to_greedy, 1);
    assert_eq!(overheard.next(), Heard::Error);
    handles.into_iter().for_each(|handle| driver.close(handle));
    offer(&to_honest, 20);
    assert_eq!(hearing.message().1.len(), 20, "the other one has its own budget");
    used.extend([greedy, honest]);
    used.into_iter().for_each(|transport| driver.close(transport));
    settle(&driver);
    drop((driver, to_honest, to_greedy, file));
    assert_eq!(open_descriptors(), before);
}

#[test]
fn row21_descriptors_that_wait_are_backlog_and_end_in_an_error() {
    let _alone = alone();
    let limits = UnixLimits { queued_bytes: 1 << 20, queued_descriptors: 8, ..UnixLimits::default() };
    let driver = UnixDriver::without_thread(limits).unwrap();
    let [a, _b] = driver.create_transports(None).unwrap();
    let hearing = listen(&driver, a);
    // The socket takes no more.
    while driver.backlog(a) == 0 {
        send(&driver, a, &[0; 1000], &[]);
    }
    let bytes = driver.backlog(a);
    let mut kept = Vec::new();
    for i in 1..=9 {
        let (handle, _, end) = passenger(&driver, a);
        kept.push(end);
        send(&driver, a, b"", &[handle]);
        let expected = if i <= 8 { bytes + i * (8 + (1 << 17)) } else { 0 };
        assert_eq!(driver.backlog(a), expected, "{i} descriptors wait");
    }
    settle(&driver);
    assert_eq!(hearing.so_far(), [Heard::Error]);
    assert!(kept.iter_mut().all(is_hung_up));
}

struct Nobody;

impl TrapTarget for Nobody {
    fn fired(&self, _: &TrapEvent) {}
}

/// A node of a driver without a thread.
struct Node {
    process: Arc<Process>,
    node: Handle,
    driver: Arc<UnixDriver>,
}

impl Node {
    fn new(kind: NodeType, link_backlog_bytes: usize) -> Node {
        let driver = unthreaded();
        let process = Process::new(Arc::new(MonotonicClock::new()), Arc::new(Nobody));
        let limits = Limits { link_backlog_bytes, ..Limits::default() };
        let node = process.create_node(kind, driver.clone(), NodeOptions { limits, ..NodeOptions::default() }).unwrap();
        Node { process, node, driver }
    }

    fn connect(&self, other: &Node) -> [Handle; 2] {
        let [ours, theirs] = UnixDriver::socket_pair().unwrap();
        let (ours, theirs) = (self.driver.adopt(ours).unwrap(), other.driver.adopt(theirs).unwrap());
        let near = self.process.connect_node(self.node, ours, 1, ConnectTo::Normal).unwrap()[0];
        let far = other.process.connect_node(other.node, theirs, 1, ConnectTo::Broker).unwrap()[0];
        [near, far]
    }

    fn end(self) {
        self.process.close(self.node).unwrap();
        settle(&self.driver);
    }
}

/// Until what the one says makes the other say nothing more.
fn settle_both(one: &Node, other: &Node) {
    for _ in 0..3 {
        settle(&one.driver);
        settle(&other.driver);
    }
}

/// So much memory this process has in use, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn row21_parcels_put_faster_than_they_are_read_are_refused_in_time_and_hold_up_nobody_else() {
    let _alone = alone();
    const BACKLOG: usize = 8 << 20;
    for bytes in [1 << 20, 64 << 20] {
        let broker = Node::new(NodeType::Broker, BACKLOG);
        let (slow, brisk) = (Node::new(NodeType::Normal, BACKLOG), Node::new(NodeType::Normal, BACKLOG));
        let [to_slow, at_slow] = broker.connect(&slow);
        let [to_brisk, at_brisk] = broker.connect(&brisk);
        let both = || {
            settle(&broker.driver);
            settle(&brisk.driver);
        };
        both();
        settle(&slow.driver);
        both();
        let before = resident();
        let data = |i: usize| vec![i as u8; bytes];
        let mut accepted = VecDeque::new();
        let refused = (0..2000).any(|i| match broker.process.put(to_slow, &data(i), &[]) {
            Ok(()) => {
                accepted.push_back(i);
                false
            }
            Err(error) => {
                assert_eq!(error, Error::ResourceExhausted);
                true
            }
        });
        assert!(refused && !accepted.is_empty());
        assert!(resident() < before + 5 * (BACKLOG + bytes), "{} MiB more", (resident() - before) >> 20);
        // Nobody else waits for the slow one.
        broker.process.put(to_brisk, b"quick", &[]).unwrap();
        both();
        assert_eq!(brisk.process.get(at_brisk).unwrap().data, b"quick");
        // Nothing of what was accepted is lost.
        let begun = Instant::now();
        while let Some(next) = accepted.front() {
            settle(&slow.driver);
            both();
            match slow.process.get(at_slow) {
                Ok(parcel) => {
                    assert!(parcel.data == data(*next), "parcel {next} is damaged");
                    accepted.pop_front();
                }
                Err(error) => assert_eq!(error, Error::Unavailable),
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{} never came", accepted.len());
        }
        broker.process.put(to_slow, b"again", &[]).unwrap();
        for node in [slow, brisk, broker] {
            node.end();
        }
    }
}

#[test]
fn garbage_from_a_peer_costs_its_link_and_no_other() {
    let _alone = alone();
    let before = open_descriptors();
    let broker = Node::new(NodeType::Broker, 1 << 30);
    let client = Node::new(NodeType::Normal, 1 << 30);
    let [near, far] = broker.connect(&client);
    let both = || settle_both(&broker, &client);
    both();
    let mut seed = 1u64;
    let mut random = || {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (seed >> 33) as usize
    };
    let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let (mut ended, mut waiting) = (0, Vec::new());
    for i in 0..300 {
        let [ours, theirs] = UnixDriver::socket_pair().unwrap();
        let transport = broker.driver.adopt(ours).unwrap();
        let portal = broker.process.connect_node(broker.node, transport, 1, ConnectTo::Normal).unwrap()[0];
        let socket = UnixStream::from(theirs);
        let garbage: Vec<u8> = (0..1 + random() % 400).map(|_| random() as u8).collect();
        // As it is; or as a message of the driver's, with garbage or something like a header of the node's in it.
        let bytes = match i % 3 {
            0 => garbage,
            1 => [head(8 + garbage.len() as u32, 0), garbage].concat(),
            _ => [head(8 + 24 + garbage.len() as u32, 1), vec![24, 0, random() as u8 % 70, 0], vec![0; 20], garbage].concat(),
        };
        send_raw(&socket, &bytes, &vec![file.as_fd(); random() % 3]);
        both();
        broker.process.put(near, &[i as u8], &[]).unwrap();
        both();
        assert_eq!(client.process.get(far).unwrap().data, [i as u8]);
        match broker.process.get(portal) {
            Err(Error::NotFound) => ended += 1,
            Err(Error::Unavailable) => waiting.push((portal, socket)),
            other => panic!("{other:?}"),
        }
    }
    assert!(ended > 150, "{ended} links ended");
    // What was not whole yet ends with its sender.
    for (portal, socket) in waiting {
        drop(socket);
        both();
        assert_eq!(broker.process.get(portal).err(), Some(Error::NotFound));
    }
    client.end();
    broker.end();
    drop(file);
    assert_eq!(open_descriptors(), before);
}

#[test]
fn three_hundred_descriptors_in_one_parcel_arrive_also_through_a_full_socket() {
    let _alone = alone();
    let before = open_descriptors();
    for full in [false, true] {
        let (broker, client) = (Node::new(NodeType::Broker, 1 << 30), Node::new(NodeType::Normal, 1 << 30));
        let [near, far] = broker.connect(&client);
        let both = || settle_both(&broker, &client);
        both();
        if full {
            // Too large for any block, so that it all goes through the socket.
            broker.process.put(near, &vec![1; 4 << 20], &[]).unwrap();
        }
        let mut readers = Vec::new();
        let boxes: Vec<_> = (0..300)
            .map(|_| {
                let (reader, writer) = std::io::pipe().unwrap();
                readers.push(reader);
                let object = broker.driver.file(writer.into());
                broker.process.box_object(broker.node, BoxContents::Driver(object)).unwrap()
            })
            .collect();
        broker.process.put(near, b"300", &boxes).unwrap();
        let begun = Instant::now();
        let parcel = loop {
            both();
            match client.process.get(far) {
                Ok(parcel) if parcel.data == b"300" => break parcel,
                Ok(_) | Err(Error::Unavailable) => {}
                Err(error) => panic!("{error}"),
            }
            assert!(begun.elapsed() < Duration::from_secs(60));
        };
        assert_eq!(parcel.handles.len(), 300);
        for (i, (handle, mut reader)) in parcel.handles.into_iter().zip(readers).enumerate() {
            let Ok(BoxContents::Driver(object)) = client.process.unbox(handle) else { panic!("not a driver object") };
            let mut writer = std::fs::File::from(client.driver.take_file(object).unwrap());
            std::io::Write::write_all(&mut writer, &i.to_le_bytes()).unwrap();
            drop(writer);
            let mut got = Vec::new();
            std::io::Read::read_to_end(&mut reader, &mut got).unwrap();
            assert_eq!(got, i.to_le_bytes());
        }
        client.end();
        broker.end();
    }
    assert_eq!(open_descriptors(), before);
}
