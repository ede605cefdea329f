//! The interface for Rust programs: nodes and portals that close themselves, waiting by thread and by future.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use futures_core::Stream;
use ipcz::trap::{TrapConditions, TrapFlags};
use ipcz::{Attachment, BoxContents, ConnectTo, Error, Node, NodeOptions, Portal, TrapRefused, Unboxed};
use ipcz_drivers::InProcess;

/// Two nodes of two processes, and a pipe between them.
fn pair() -> (Node, Node, Portal, Portal) {
    let driver = InProcess::new();
    let (broker, client) = (Node::broker(driver.clone()).unwrap(), Node::normal(driver.clone()).unwrap());
    let [a, b] = driver.transport_pair();
    let near = broker.connect(a, 1, ConnectTo::Normal).unwrap().remove(0);
    let far = client.connect(b, 1, ConnectTo::Broker).unwrap().remove(0);
    (broker, client, near, far)
}

fn is_dead(portal: &Portal) -> bool {
    portal.status().unwrap().dead
}

/// Wakes a thread, and counts.
struct Bell(AtomicU32, thread::Thread);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
        self.1.unpark();
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's thread")]
fn bell() -> Arc<Bell> {
    Arc::new(Bell(AtomicU32::new(0), thread::current()))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(bell());
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => thread::park_timeout(Duration::from_secs(10)),
        }
    }
}

#[test]
fn a_portal_travels_and_what_is_dropped_closes() {
    let (broker, _client, near, far) = pair();
    let (kept, given) = broker.open_portals().unwrap();
    near.put_with(b"yours", vec![given.into()]).unwrap();
    let parcel = far.get().unwrap();
    assert_eq!(parcel.data, b"yours");
    let given = parcel.into_portal().unwrap();
    given.put(b"thanks").unwrap();
    assert_eq!(kept.get().unwrap().data, b"thanks");
    drop(given);
    assert!(is_dead(&kept));
    assert_eq!(kept.put(b"anyone?"), Err(Error::NotFound));
    drop(broker);
    assert!(is_dead(&far), "its node's links went with it");
}

#[test]
fn an_unread_parcel_takes_its_portals_along() {
    let (broker, _client, near, far) = pair();
    let (kept, given) = broker.open_portals().unwrap();
    near.put_with(b"", vec![given.into()]).unwrap();
    drop(far);
    assert!(is_dead(&kept) && is_dead(&near));
}

#[test]
fn a_refused_put_gives_back_what_was_attached() {
    let (broker, _client, near, far) = pair();
    let (a, b) = broker.open_portals().unwrap();
    drop(far);
    let refused = near.put_with(b"", vec![a.into()]).unwrap_err();
    assert_eq!(refused.error, Error::NotFound);
    let Some(Attachment::Portal(a)) = refused.attachments.into_iter().next() else { panic!("it was attached") };
    a.put(b"still mine").unwrap();
    assert_eq!(b.get().unwrap().data, b"still mine");
    let refused = a.put_with(b"", vec![b.into()]).unwrap_err();
    assert_eq!((refused.error, refused.attachments.len()), (Error::InvalidArgument, 1), "a portal can't carry its own peer");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "two threads are the point")]
fn who_waits_is_woken_by_a_parcel_and_by_the_end() {
    let (_broker, _client, near, far) = pair();
    let (said, heard) = mpsc::channel();
    let reader = thread::spawn(move || {
        loop {
            let got = far.recv();
            let over = got.is_err();
            said.send(got.map(|parcel| parcel.data)).unwrap();
            if over {
                return;
            }
        }
    });
    for i in 0..1000u32 {
        near.put(i.to_le_bytes()).unwrap();
    }
    for i in 0..1000u32 {
        assert_eq!(heard.recv_timeout(Duration::from_secs(10)).unwrap().unwrap(), i.to_le_bytes());
    }
    assert!(heard.recv_timeout(Duration::from_millis(20)).is_err(), "it waits");
    drop(near);
    assert_eq!(heard.recv_timeout(Duration::from_secs(10)).unwrap(), Err(Error::NotFound));
    reader.join().unwrap();
}

#[test]
fn waiting_ends_after_its_time() {
    let (_broker, _client, near, far) = pair();
    assert_eq!(far.recv_timeout(Duration::from_millis(10)).map(|parcel| parcel.data), Err(Error::Unavailable));
    near.put(b"late").unwrap();
    assert_eq!(far.recv_timeout(Duration::ZERO).unwrap().data, b"late", "what is there is got at once");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "two threads are the point")]
fn a_future_is_woken_once_there_is_something() {
    let (_broker, _client, near, far) = pair();
    let sender = thread::spawn(move || {
        for i in 0..1000u32 {
            near.put(i.to_le_bytes()).unwrap();
        }
        near
    });
    block_on(async {
        for i in 0..1000u32 {
            assert_eq!(far.recv_async().await.unwrap().data, i.to_le_bytes());
        }
    });
    drop(sender.join().unwrap());
    assert_eq!(block_on(far.recv_async()).map(|parcel| parcel.data), Err(Error::NotFound));
}

#[test]
fn a_future_that_waits_is_polled_for_a_reason_only() {
    let (_broker, _client, near, far) = pair();
    let bell = bell();
    let waker = Waker::from(Arc::clone(&bell));
    let mut context = Context::from_waker(&waker);
    for _ in 0..3 {
        assert!(far.poll_recv(&mut context).is_pending());
    }
    assert_eq!(bell.0.load(Ordering::SeqCst), 0);
    near.put(b"x").unwrap();
    assert_eq!(bell.0.load(Ordering::SeqCst), 1, "one trap, one waker, however often it was polled");
    near.put(b"y").unwrap();
    assert_eq!(bell.0.load(Ordering::SeqCst), 1);
    assert!(matches!(far.poll_recv(&mut context), Poll::Ready(Ok(parcel)) if parcel.data == b"x"));
    assert!(matches!(far.poll_recv(&mut context), Poll::Ready(Ok(parcel)) if parcel.data == b"y"));
    assert!(far.poll_recv(&mut context).is_pending());
}

#[test]
fn a_trap_runs_its_closure_once() {
    let (_broker, _client, near, far) = pair();
    let (said, heard) = mpsc::channel();
    let conditions = TrapConditions { flags: TrapFlags::NEW_PARCEL, ..TrapConditions::default() };
    far.trap(conditions, move |event| said.send(event.flags).unwrap()).unwrap();
    near.put(b"1").unwrap();
    near.put(b"2").unwrap();
    let fired: Vec<TrapFlags> = heard.try_iter().collect();
    assert!(fired.len() == 1 && !fired[0].and(TrapFlags::NEW_PARCEL).is_empty());
    let level = TrapConditions { flags: TrapFlags::ABOVE_MIN_PARCELS, ..TrapConditions::default() };
    assert!(matches!(far.trap(level, |_| panic!("not installed")), Err(TrapRefused::Satisfied { status, .. }) if status.parcels == 2));
}

#[test]
fn two_phase_calls_end_with_their_guards() {
    let (broker, _client, near, far) = pair();
    let put = near.begin_put(4).unwrap();
    assert_eq!(put.data().write_at(0, b"data"), 4);
    drop(put);
    assert_eq!(far.get().map(|parcel| parcel.data), Err(Error::Unavailable), "aborted");
    let (kept, given) = broker.open_portals().unwrap();
    let put = near.begin_put(8).unwrap();
    put.data().write_at(0, b"data");
    put.commit(3, vec![given.into()]).unwrap();
    let get = far.begin_get().unwrap();
    assert_eq!((get.data().to_vec(), get.attachments.len()), (b"dat".to_vec(), 1));
    drop(get);
    assert!(is_dead(&kept), "what was taken is gone with the guard");
    let get = far.begin_get().unwrap();
    assert_eq!((get.data().to_vec(), get.attachments.len()), (b"dat".to_vec(), 0));
    get.commit().unwrap();
    assert_eq!(far.get().map(|parcel| parcel.data), Err(Error::Unavailable));
}

#[test]
fn merged_portals_are_gone_and_their_peers_are_one_pipe() {
    let (_broker, client, near, far) = pair();
    let (a, b) = client.open_portals().unwrap();
    near.put(b"across").unwrap();
    far.merge(a).unwrap();
    assert_eq!(b.get().unwrap().data, b"across");
    // A used one stays what it was.
    let (c, d) = client.open_portals().unwrap();
    let (error, b, c) = b.merge(c).unwrap_err();
    assert_eq!(error, Error::FailedPrecondition);
    b.put(b"back").unwrap();
    c.put(b"here").unwrap();
    assert_eq!((near.get().unwrap().data, d.get().unwrap().data), (b"back".to_vec(), b"here".to_vec()));
}

#[test]
fn a_stream_of_parcels_ends_with_the_peer() {
    let (_broker, _client, near, far) = pair();
    let mut parcels = far.parcels();
    let bell = bell();
    let waker = Waker::from(Arc::clone(&bell));
    let mut next = || Pin::new(&mut parcels).poll_next(&mut Context::from_waker(&waker)).map(|next| next.map(|parcel| parcel.data));
    assert_eq!(next(), Poll::Pending);
    near.put(b"one").unwrap();
    near.put(b"two").unwrap();
    drop(near);
    assert_eq!(bell.0.load(Ordering::SeqCst), 1);
    assert_eq!((next(), next(), next()), (Poll::Ready(Some(b"one".to_vec())), Poll::Ready(Some(b"two".to_vec())), Poll::Ready(None)));
}

#[test]
fn nodes_beside_each_other_need_no_link() {
    let driver = InProcess::new();
    let one = Node::broker(driver.clone()).unwrap();
    let two = one.beside(ipcz::ids::NodeType::Broker, driver, NodeOptions::default()).unwrap();
    let ((a, b), (c, d)) = (one.open_portals().unwrap(), two.open_portals().unwrap());
    a.put_with(b"", vec![c.into()]).unwrap();
    let c = b.get().unwrap().into_portal().unwrap();
    c.put(b"no link").unwrap();
    assert_eq!(d.get().unwrap().data, b"no link");
}

#[test]
fn boxes_travel_are_opened_and_close_what_is_in_them() {
    let driver = InProcess::new();
    let (broker, client) = (Node::broker(driver.clone()).unwrap(), Node::normal(driver.clone()).unwrap());
    let [a, b] = driver.transport_pair();
    let near = broker.connect(a, 1, ConnectTo::Normal).unwrap().remove(0);
    let far = client.connect(b, 1, ConnectTo::Broker).unwrap().remove(0);
    let tokens = [1, 2, 3].map(|value| driver.token(value));
    let mut boxes = tokens.map(|token| broker.box_object(BoxContents::Driver(token)).unwrap()).into_iter();
    let (dropped, opened, sent) = (boxes.next().unwrap(), boxes.next().unwrap(), boxes.next().unwrap());
    drop(dropped);
    assert!(matches!(opened.unbox(), Ok(Unboxed::Driver(token)) if token == tokens[1]));
    assert_eq!(tokens.map(|token| driver.value(token)), [None, Some(2), Some(3)]);
    near.put_with(b"a box", vec![sent.into()]).unwrap();
    let Some(Attachment::Box(received)) = far.recv().unwrap().attachments.pop() else { panic!("not a box") };
    assert!(matches!(received.unbox(), Ok(Unboxed::Driver(token)) if token == tokens[2]));
    assert_eq!(driver.value(tokens[2]), Some(3), "the caller's now");
}
