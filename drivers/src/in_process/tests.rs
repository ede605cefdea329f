//! What listeners hear, of a synchronous driver and of one with a thread.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "waits for a thread, but not for ever")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ipcz::driver::Activity;

use super::*;

/// Records what its listeners hear.
#[derive(Default)]
struct Ear(Mutex<Vec<String>>, Condvar);

const PATIENCE: Duration = Duration::from_secs(30);

impl Activity for Ear {
    fn message(self: Arc<Self>, _: u64, data: &[u8], handles: &[ObjectId], _: Option<ObjectId>) -> Verdict {
        self.note(format!("{}+{}", String::from_utf8_lossy(data), handles.len()));
        if data == b"bad" { Verdict::Refused } else { Verdict::Accepted }
    }

    fn error(self: Arc<Self>, _: u64) {
        self.note("error".into());
    }

    fn deactivated(self: Arc<Self>, _: u64) {
        self.note("deactivated".into());
    }
}

impl Ear {
    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
        self.1.notify_all();
    }

    /// As much of what was heard and not taken yet as is expected, or whatever it is in the end. Nothing is expected if it says so.
    fn heard(&self, expected: &str) {
        let words = expected.split_whitespace().count();
        let (mut heard, _) = self.1.wait_timeout_while(self.0.lock().unwrap(), PATIENCE, |heard| heard.len() < words).unwrap();
        let words = if words == 0 { heard.len() } else { words.min(heard.len()) };
        assert_eq!(heard.drain(..words).collect::<Vec<_>>().join(" "), expected);
    }
}

/// Drivers of both kinds, and an ear.
fn each(test: impl Fn(&InProcess, &Arc<Ear>)) {
    for driver in [InProcess::new(), InProcess::asynchronous()] {
        test(&driver, &Arc::default());
        // Whatever was left active is ended.
        let shared = Arc::clone(&driver.shared);
        let executor = shared.lock().executor.take();
        drop(driver);
        if let Some(executor) = executor {
            executor.join().unwrap();
            assert!(!shared.lock().running && shared.lock().active == 0);
        }
    }
}

fn listen(driver: &InProcess, transport: ObjectId, ear: &Arc<Ear>) {
    driver.activate(transport, Listener::new(ear.clone(), 0)).unwrap();
}

fn send(driver: &InProcess, over: ObjectId, data: &[u8], handles: &[ObjectId]) {
    driver.transmit(over, &[Frame { data, handles }]).unwrap();
}

#[test]
fn what_was_sent_before_activation_comes_first_and_in_order() {
    each(|driver, ear| {
        let [a, b] = driver.transport_pair();
        let memory = driver.allocate(8).unwrap();
        send(driver, a, b"1", &[]);
        send(driver, a, b"2", &[memory]);
        assert_eq!(driver.backlog(a), 2);
        listen(driver, b, ear);
        send(driver, a, b"3", &[]);
        ear.heard("1+0 2+1 3+0");
        assert_eq!(driver.backlog(a), 0);
    });
}

#[test]
fn a_refused_message_is_followed_by_one_error_and_nothing_else() {
    each(|driver, ear| {
        let [a, b] = driver.transport_pair();
        for data in [b"1", &b"bad"[..], b"2"] {
            send(driver, a, data, &[driver.token(1)]);
        }
        listen(driver, b, ear);
        ear.heard("1+1 bad+1 error");
        driver.deactivate(b);
        ear.heard("deactivated");
        send(driver, a, b"3", &[driver.token(1)]);
        ear.heard("");
        // The two transports, and the tokens that were delivered.
        assert_eq!(driver.live_objects(), 4);
    });
}

#[test]
fn closing_delivers_what_was_sent_then_an_error() {
    each(|driver, ear| {
        let [a, b] = driver.transport_pair();
        send(driver, a, b"last", &[]);
        driver.close(a);
        listen(driver, b, ear);
        ear.heard("last+0 error");
        driver.deactivate(b);
        ear.heard("deactivated");
        driver.close(b);
        // What was never delivered goes with who it was for.
        let [c, d] = driver.transport_pair();
        send(driver, c, b"never read", &[driver.token(1)]);
        driver.close(d);
        driver.close(c);
        assert_eq!(driver.live_objects(), 0);
    });
}

#[test]
fn the_peer_hears_once_of_an_end_that_is_deactivated_and_then_closed() {
    each(|driver, ear| {
        let [a, b] = driver.transport_pair();
        let other = Arc::new(Ear::default());
        listen(driver, a, &other);
        listen(driver, b, ear);
        driver.deactivate(a);
        other.heard("deactivated");
        ear.heard("error");
        driver.close(a);
        driver.deactivate(b);
        ear.heard("deactivated");
        assert!(driver.activate(b, Listener::new(ear.clone(), 0)).is_err(), "once is enough");
        assert!(driver.activate(a, Listener::new(ear.clone(), 0)).is_err());
    });
}

#[test]
fn an_active_transport_that_is_closed_is_stopped_and_then_gone() {
    each(|driver, ear| {
        let [a, b] = driver.transport_pair();
        let other = Arc::new(Ear::default());
        listen(driver, a, &other);
        listen(driver, b, ear);
        driver.close(b);
        ear.heard("deactivated");
        other.heard("error");
        send(driver, a, b"to nobody", &[driver.token(1)]);
        driver.close(a);
        other.heard("deactivated");
        assert_eq!(driver.live_objects(), 0);
    });
}

#[test]
fn a_transport_takes_no_more_than_its_limit() {
    let driver = InProcess::with(InProcessOptions { queued_bytes: 10, ..InProcessOptions::default() });
    let [a, b] = driver.transport_pair();
    let token = driver.token(1);
    send(&driver, a, &[0; 10], &[]);
    let refused = driver.transmit(a, &[Frame { data: &[0; 1], handles: &[token] }]);
    assert_eq!((refused, driver.value(token)), (Err(DriverError::ResourceExhausted), None));
    let ear = Arc::default();
    listen(&driver, b, &ear);
    ear.0.lock().unwrap().clear();
    send(&driver, a, b"again", &[]);
    ear.heard("again+0");
}

/// Counts messages and sends them on, and notes whether two calls overlap.
struct Busy {
    driver: Arc<InProcess>,
    back: ObjectId,
    within: AtomicBool,
    overlapped: AtomicBool,
    heard: AtomicUsize,
    last: Mutex<BTreeMap<[u8; 2], u8>>,
}

impl Activity for Busy {
    fn message(self: Arc<Self>, _: u64, data: &[u8], _: &[ObjectId], _: Option<ObjectId>) -> Verdict {
        self.overlapped.fetch_or(self.within.swap(true, Ordering::SeqCst), Ordering::SeqCst);
        let &[sender, hops, number] = data else { return Verdict::Refused };
        let before = self.last.lock().unwrap().insert([sender, hops], number);
        let in_order = before.map_or(number == 0, |before| number == before + 1);
        if hops > 0 {
            send(&self.driver, self.back, &[sender, hops - 1, number], &[]);
        }
        self.within.store(false, Ordering::SeqCst);
        self.heard.fetch_add(1, Ordering::SeqCst);
        if in_order { Verdict::Accepted } else { Verdict::Refused }
    }

    fn error(self: Arc<Self>, _: u64) {
        self.overlapped.store(true, Ordering::SeqCst);
    }

    fn deactivated(self: Arc<Self>, _: u64) {}
}

#[test]
fn calls_of_a_listener_never_overlap_and_each_sender_keeps_its_order() {
    for driver in [InProcess::new(), InProcess::asynchronous()] {
        let [a, b] = driver.transport_pair();
        let busy = |back| {
            Arc::new(Busy {
                driver: driver.clone(),
                back,
                within: AtomicBool::default(),
                overlapped: AtomicBool::default(),
                heard: AtomicUsize::default(),
                last: Mutex::default(),
            })
        };
        let (near, far) = (busy(a), busy(b));
        driver.activate(a, Listener::new(near.clone(), 0)).unwrap();
        driver.activate(b, Listener::new(far.clone(), 0)).unwrap();
        // Each message goes to and fro: with a synchronous driver, on one stack.
        std::thread::scope(|scope| {
            for sender in 0..8 {
                let driver = &driver;
                scope.spawn(move || (0..200).for_each(|number| send(driver, a, &[sender, 3, number], &[])));
            }
        });
        let by = Instant::now() + PATIENCE;
        while near.heard.load(Ordering::SeqCst) < 3200 && Instant::now() < by {
            std::thread::yield_now();
        }
        for ear in [near, far] {
            assert_eq!((ear.heard.load(Ordering::SeqCst), ear.overlapped.load(Ordering::SeqCst)), (3200, false));
        }
        driver.deactivate(a);
        driver.deactivate(b);
        driver.join();
    }
}

/// Deactivates its own transport when it hears something, and panics.
struct Fragile(Arc<InProcess>, Arc<Ear>);

impl Activity for Fragile {
    fn message(self: Arc<Self>, own: u64, _: &[u8], _: &[ObjectId], _: Option<ObjectId>) -> Verdict {
        if own != 0 {
            self.0.deactivate(ObjectId::new(own).unwrap());
        }
        panic!("a listener panics");
    }

    fn error(self: Arc<Self>, _: u64) {
        self.1.note("error".into());
    }

    fn deactivated(self: Arc<Self>, _: u64) {
        self.1.note("deactivated".into());
    }
}

#[test]
fn a_listener_that_panics_costs_its_own_link_and_the_thread_serves_the_others() {
    let driver = InProcess::asynchronous();
    let ear = Arc::new(Ear::default());
    for own in [false, true] {
        let [a, b] = driver.transport_pair();
        let fragile = Arc::new(Fragile(driver.clone(), ear.clone()));
        driver.activate(b, Listener::new(fragile, if own { b.0.get() } else { 0 })).unwrap();
        send(&driver, a, b"boom", &[]);
        ear.heard("error");
        driver.deactivate(b);
        ear.heard("deactivated");
    }
    let [a, b] = driver.transport_pair();
    listen(&driver, b, &ear);
    send(&driver, a, b"fine", &[]);
    ear.heard("fine+0");
    driver.deactivate(b);
    ear.heard("deactivated");
    driver.join();
    assert!(!driver.shared.lock().running);
}

#[test]
fn memory_is_shared_and_objects_of_the_wrong_kind_are_errors() {
    let driver = InProcess::new();
    let memory = driver.allocate(61).unwrap();
    let twin = driver.duplicate(memory).unwrap();
    driver.close(memory);
    assert_eq!(driver.size(twin), Ok(61), "as big as was asked for");
    assert_eq!(driver.size(memory), Err(DriverError::InvalidArgument));
    let [a, _] = driver.transport_pair();
    assert!(driver.map(a).is_err() && driver.transmit(twin, &[]).is_err());
    assert_eq!(driver.map(twin).unwrap().load32(0, Ordering::Relaxed), 0);
}
