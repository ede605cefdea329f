//! Rows about threads, signals and other processes, and the life of a transport.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::Duration;

use ipcz::driver::{Activity, Driver, DriverError, Frame, Listener, Packed, Travel, Verdict};
use ipcz::ids::{NodeType, ObjectId};
use ipcz::trap::{TrapConditions, TrapFlags};
use ipcz::{ConnectTo, Node};
use ipcz_drivers::UnixDriver;

use super::ears::*;
use super::{alone, listen, open_descriptors, settle, unthreaded};

/// Interrupts every thread of this process until dropped.
struct Interruptions {
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<u64>>,
}

impl Interruptions {
    #[allow(unsafe_code)]
    fn start() -> Interruptions {
        extern "C" fn nothing(_: i32) {}
        // SAFETY: zeroes are a valid value of this type of C.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
        // SAFETY: the handler does nothing; without SA_RESTART system calls end with EINTR.
        assert_eq!(unsafe { libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()) }, 0);
        let over = Arc::new(AtomicBool::new(false));
        let ended = over.clone();
        let thread = std::thread::spawn(move || {
            let mut sent = 0;
            while !ended.load(Ordering::Relaxed) {
                for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
                    let Ok(thread) = task.file_name().to_string_lossy().parse::<i32>() else { continue };
                    // SAFETY: signals a thread of this process, or, if it has ended, nobody.
                    unsafe { libc::syscall(libc::SYS_tgkill, std::process::id() as i32, thread, libc::SIGUSR1) };
                    sent += 1;
                }
                std::thread::sleep(Duration::from_micros(50));
            }
            sent
        });
        Interruptions { over, thread: Some(thread) }
    }

    fn end(mut self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

#[test]
fn row20_signals_in_every_system_call_change_nothing() {
    let _alone = alone();
    let interruptions = Interruptions::start();
    let driver = UnixDriver::new().unwrap();
    let [a, b] = driver.create_transports(None).unwrap();
    let _near = listen(&driver, a);
    let hearing = listen(&driver, b);
    let reader = std::thread::spawn(move || {
        for i in 0..300usize {
            let (data, handles) = hearing
                .0
                .recv_timeout(Duration::from_secs(60))
                .map(|heard| match heard {
                    Heard::Message(data, handles) => (data, handles),
                    other => panic!("{other:?} instead of message {i}"),
                })
                .unwrap();
            assert!(data == vec![i as u8; 50_000] && handles.len() == usize::from(i % 10 == 0), "message {i}");
        }
    });
    let mut kept = Vec::new();
    for i in 0..300usize {
        let passengers: Vec<_> = (i % 10 == 0).then(|| passenger(&driver, a)).into_iter().collect();
        let handles: Vec<_> = passengers.iter().map(|(handle, ..)| *handle).collect();
        send(&driver, a, &vec![i as u8; 50_000], &handles);
        kept.extend(passengers);
        let memory = driver.allocate(4096).unwrap();
        driver.map(memory).unwrap();
        driver.close(memory);
    }
    reader.join().unwrap();
    assert!(interruptions.end() > 0);
}

/// Counts what it hears.
#[derive(Default)]
struct Tally {
    heard: Mutex<Vec<&'static str>>,
}

impl Activity for Tally {
    fn message(self: Arc<Self>, _: u64, _: &[u8], _: &[ObjectId], _: Option<ObjectId>) -> Verdict {
        self.heard.lock().unwrap().push("message");
        Verdict::Accepted
    }

    fn error(self: Arc<Self>, _: u64) {
        self.heard.lock().unwrap().push("error");
    }

    fn deactivated(self: Arc<Self>, _: u64) {
        self.heard.lock().unwrap().push("deactivated");
    }
}

#[test]
fn row25_everything_at_once_from_several_threads_ends_with_one_last_call() {
    let _alone = alone();
    let before = open_descriptors();
    for round in 0..300 {
        let driver = UnixDriver::new().unwrap();
        let [ours, theirs] = UnixDriver::socket_pair().unwrap();
        let transport = driver.adopt(ours).unwrap();
        let tally = Arc::new(Tally::default());
        driver.activate(transport, Listener::new(tally.clone(), 0)).unwrap();
        let mut socket = UnixStream::from(theirs);
        let start = Barrier::new(5);
        let together = |act: &mut dyn FnMut()| {
            start.wait();
            act();
        };
        let frame = Frame { data: &[0; 100], handles: &[] };
        std::thread::scope(|scope| {
            scope.spawn(|| together(&mut || (0..20).for_each(|_| _ = driver.transmit(transport, &[frame]))));
            scope.spawn(|| together(&mut || driver.deactivate(transport)));
            scope.spawn(|| together(&mut || driver.deactivate(transport)));
            scope.spawn(|| {
                together(&mut || {
                    (0..round % 20).for_each(|_| std::thread::yield_now());
                    driver.close(transport);
                });
            });
            let (socket, start) = (&mut socket, &start);
            scope.spawn(move || {
                start.wait();
                for _ in 0..10 {
                    let _ = socket.write_all(&head(9, 0));
                    let _ = socket.write_all(&[1]);
                }
                let _ = socket.shutdown(std::net::Shutdown::Both);
            });
        });
        driver.join();
        let heard = tally.heard.lock().unwrap().clone();
        assert_eq!(heard.iter().filter(|one| **one == "deactivated").count(), 1, "{heard:?}");
        assert_eq!(heard.last(), Some(&"deactivated"), "{heard:?}");
        assert!(heard.iter().filter(|one| **one == "error").count() <= 1, "{heard:?}");
        assert_eq!((driver.live_objects(), Arc::strong_count(&tally)), (0, 1), "a listener is left");
    }
    assert_eq!(open_descriptors(), before);
}

#[test]
fn row26_a_listener_may_close_its_own_transport_and_a_trap_its_own_node() {
    let _alone = alone();
    let before = open_descriptors();
    let driver = unthreaded();
    let [ours, theirs] = UnixDriver::socket_pair().unwrap();
    let transport = driver.adopt(ours).unwrap();
    let mut socket = UnixStream::from(theirs);
    let hearing = listen(&driver, transport);
    let frame = |data: &[u8]| [head(8 + data.len() as u32, 0), data.to_vec()].concat();
    socket.write_all(&[frame(b"1"), frame(b"close"), frame(b"2")].concat()).unwrap();
    settle(&driver);
    assert_eq!([hearing.message().0, hearing.message().0], [&b"1"[..], b"close"]);
    assert_eq!(hearing.next(), Heard::Deactivated);
    assert!(hearing.is_over());
    assert_eq!(driver.live_objects(), 0);
    drop((driver, socket));

    let drivers = [0, 1].map(|_| UnixDriver::new().unwrap());
    let [broker, client] = [NodeType::Broker, NodeType::Normal]
        .map(|kind| Node::with(kind, drivers[usize::from(kind == NodeType::Normal)].clone(), Default::default()).unwrap());
    let [a, b] = UnixDriver::socket_pair().unwrap();
    let here = broker.connect(drivers[0].adopt(a).unwrap(), 1, ConnectTo::Normal).unwrap().remove(0);
    let there = client.connect(drivers[1].adopt(b).unwrap(), 1, ConnectTo::Broker).unwrap().remove(0);
    let (closed, is_closed) = mpsc::channel();
    let conditions = TrapConditions { flags: TrapFlags::ABOVE_MIN_PARCELS, min_parcels: 0, min_bytes: 0 };
    // On the driver's own thread, in the middle of a message to this node.
    there
        .trap(conditions, move |_| {
            drop(client);
            closed.send(()).unwrap();
        })
        .unwrap();
    here.put(b"the end of you").unwrap();
    is_closed.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(here.recv_timeout(Duration::from_secs(60)).is_err(), "the far node is gone");
    drop((here, there, broker));
    drivers.iter().for_each(|driver| driver.join());
    assert_eq!(drivers.map(|driver| driver.live_objects()), [0, 0]);
    assert_eq!(open_descriptors(), before);
}

#[test]
fn row27_calls_out_of_turn_are_errors_and_leave_nothing() {
    let _alone = alone();
    let driver = unthreaded();
    let [a, b] = driver.create_transports(None).unwrap();
    driver.deactivate(a);
    let first = listen(&driver, a);
    let nobody = Arc::new(Tally::default());
    assert_eq!(driver.activate(a, Listener::new(nobody.clone(), 0)), Err(DriverError::InvalidArgument), "twice");
    let mut packed = Packed::default();
    assert_eq!(driver.serialize(a, b, &mut packed), Err(DriverError::InvalidArgument), "it is active");
    driver.deactivate(a);
    driver.deactivate(a);
    settle(&driver);
    assert_eq!(first.so_far(), [Heard::Deactivated]);
    assert!(first.is_over());
    assert_eq!(driver.activate(a, Listener::new(nobody.clone(), 0)), Err(DriverError::InvalidArgument), "after its end");
    driver.serialize(b, a, &mut packed).unwrap();
    assert_eq!(driver.activate(b, Listener::new(nobody.clone(), 0)), Err(DriverError::InvalidArgument), "it has left");
    assert_eq!(driver.activate(packed.handles[0], Listener::new(nobody.clone(), 0)), Err(DriverError::InvalidArgument));
    assert_eq!(driver.can_travel(packed.handles[0], None), Travel::Never);
    for object in [a, packed.handles[0]] {
        driver.close(object);
        driver.close(object);
    }
    assert_eq!((driver.live_objects(), Arc::strong_count(&nobody)), (0, 1));
}

#[test]
fn row28_another_program_started_at_any_time_inherits_nothing_lk_17() {
    let _alone = alone();
    let inherited = || {
        let output = Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().filter(|line| line.contains("->")).count()
    };
    let before = inherited();
    let driver = UnixDriver::new().unwrap();
    let [a, b] = driver.create_transports(None).unwrap();
    let (_near, hearing) = (listen(&driver, a), listen(&driver, b));
    let memory = driver.allocate(4096).unwrap();
    let _mapping = driver.map(memory).unwrap();
    let twin = driver.duplicate(memory).unwrap();
    let mut packed = Packed::default();
    driver.serialize(twin, a, &mut packed).unwrap();
    let (handle, _, kept) = passenger(&driver, a);
    send(&driver, a, b"received ones, too", &[packed.handles[0], handle]);
    let (_, handles) = hearing.message();
    let received = driver.deserialize(&packed.data, &handles[..1], b).unwrap();
    assert_eq!(inherited(), before);
    drop((kept, received));
    [a, b].into_iter().for_each(|transport| driver.close(transport));
    driver.join();
}

#[test]
fn row31_what_is_reported_as_bad_changes_nothing_whatever_its_context() {
    let _alone = alone();
    let driver = unthreaded();
    let [a, b] = driver.create_transports(None).unwrap();
    let hearing = listen(&driver, b);
    for context in [0, 1, usize::MAX] {
        driver.report_bad(b, context);
        driver.report_bad(ObjectId::new(u64::MAX).unwrap(), context);
    }
    send(&driver, a, b"still here", &[]);
    settle(&driver);
    assert_eq!(hearing.so_far(), [Heard::Message(b"still here".to_vec(), Vec::new())]);
}

/// Stays in its call until it is let go.
struct Slow {
    entered: Mutex<mpsc::Sender<()>>,
    go: Mutex<mpsc::Receiver<()>>,
    left: AtomicBool,
}

impl Activity for Slow {
    fn message(self: Arc<Self>, _: u64, _: &[u8], _: &[ObjectId], _: Option<ObjectId>) -> Verdict {
        self.entered.lock().unwrap().send(()).unwrap();
        self.go.lock().unwrap().recv().unwrap();
        self.left.store(true, Ordering::SeqCst);
        Verdict::Accepted
    }

    fn error(self: Arc<Self>, _: u64) {}

    fn deactivated(self: Arc<Self>, _: u64) {
        assert!(self.left.load(Ordering::SeqCst), "deactivated in the middle of another call");
    }
}

#[test]
fn lk_14_join_waits_for_a_listener_that_another_thread_is_in() {
    let _alone = alone();
    let driver = UnixDriver::new().unwrap();
    let [a, b] = driver.create_transports(None).unwrap();
    let ((entered, is_in), (go, gone)) = (mpsc::channel(), mpsc::channel());
    let slow = Arc::new(Slow { entered: Mutex::new(entered), go: Mutex::new(gone), left: AtomicBool::new(false) });
    driver.activate(b, Listener::new(slow.clone(), 0)).unwrap();
    send(&driver, a, b"1", &[]);
    send(&driver, a, b"2", &[]);
    is_in.recv_timeout(Duration::from_secs(60)).unwrap();
    driver.close(b);
    let (joined, is_joined) = mpsc::channel();
    let other = driver.clone();
    let waiter = std::thread::spawn(move || {
        other.join();
        joined.send(()).unwrap();
    });
    assert!(is_joined.recv_timeout(Duration::from_millis(100)).is_err(), "the listener is still in its call");
    go.send(()).unwrap();
    is_joined.recv_timeout(Duration::from_secs(60)).unwrap();
    waiter.join().unwrap();
    assert!(slow.left.load(Ordering::SeqCst) && is_in.try_recv().is_err(), "the second message is nobody's");
    assert_eq!(Arc::strong_count(&slow), 1);
}

#[test]
fn a_driver_without_a_thread_has_none_and_says_when_there_is_something_to_do() {
    let _alone = alone();
    let is_of_a_driver = |task: &std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name == "ipcz-io\n");
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().flatten().filter(is_of_a_driver).count();
    let before = threads();
    let driver = unthreaded();
    let [a, b] = driver.create_transports(None).unwrap();
    let (near, hearing) = (listen(&driver, a), listen(&driver, b));
    let is_ready = || {
        let mut one = [rustix::event::PollFd::new(&*driver, rustix::event::PollFlags::IN)];
        let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut one, Some(&none)) == Ok(1)
    };
    settle(&driver);
    assert!(!is_ready());
    send(&driver, a, b"1", &[]);
    assert!(is_ready() && hearing.so_far().is_empty());
    settle(&driver);
    assert_eq!(hearing.so_far(), [Heard::Message(b"1".to_vec(), Vec::new())]);
    driver.deactivate(b);
    assert!(is_ready() && hearing.so_far().is_empty());
    settle(&driver);
    assert_eq!((hearing.so_far(), near.so_far()), (vec![Heard::Deactivated], vec![Heard::Error]));
    // One that is dropped ends what is left by itself.
    drop(near);
    driver.close(b);
    let [c, d] = driver.create_transports(None).unwrap();
    let tally = Arc::new(Tally::default());
    for transport in [c, d] {
        driver.activate(transport, Listener::new(tally.clone(), 0)).unwrap();
    }
    driver.close(a);
    settle(&driver);
    assert!(threads() <= before, "those of other tests may end");
    drop(hearing);
    drop(driver);
    assert_eq!(*tally.heard.lock().unwrap(), ["deactivated"; 2]);
    let threaded = UnixDriver::new().unwrap();
    assert_eq!(threaded.poll(None), Err(DriverError::Unimplemented));
}
