//! Rows about the byte stream and the descriptors in it.

use std::io::Write;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ipcz::driver::{Driver, Frame};
use ipcz_drivers::UnixDriver;
use rustix::net::sockopt;

use super::ears::*;
use super::{alone, listen, open_descriptors, settle, unthreaded};

const NOW: Option<Duration> = Some(Duration::ZERO);

#[test]
fn row04_descriptors_come_with_their_message_however_the_stream_is_cut() {
    let _alone = alone();
    let frames: [(&[u8], usize); 4] = [(b"first", 1), (b"", 0), (b"third is longer", 2), (b"4", 1)];
    let length: usize = frames.iter().map(|(data, _)| 8 + data.len()).sum();
    for cut in 0..=length {
        let driver = unthreaded();
        let [ours, theirs] = UnixDriver::socket_pair().unwrap();
        let transport = driver.adopt(ours).unwrap();
        let socket = UnixStream::from(theirs);
        let hearing = listen(&driver, transport);
        let mut at = 0;
        for (data, descriptors) in frames {
            let bytes = [head(8 + data.len() as u32, descriptors as u32), data.to_vec()].concat();
            // In two pieces if the cut is in it; its descriptors with the first byte.
            let (near, far) = bytes.split_at(cut.saturating_sub(at).clamp(1, bytes.len()));
            send_raw(&socket, near, &vec![socket.as_fd(); descriptors]);
            settle(&driver);
            if !far.is_empty() {
                send_raw(&socket, far, &[]);
                settle(&driver);
            }
            at += bytes.len();
        }
        let heard: Vec<_> = hearing.so_far();
        assert_eq!(heard.len(), 4, "cut at {cut}: {heard:?}");
        for (one, (data, descriptors)) in heard.iter().zip(frames) {
            assert!(matches!(one, Heard::Message(got, handles) if got == data && handles.len() == descriptors), "cut at {cut}: {one:?}");
        }
    }
}

#[test]
fn row05_a_part_of_a_message_without_its_descriptors_is_waited_for_and_not_spun_on() {
    let _alone = alone();
    let driver = unthreaded();
    let [ours, theirs] = UnixDriver::socket_pair().unwrap();
    let transport = driver.adopt(ours).unwrap();
    let socket = UnixStream::from(theirs);
    let hearing = listen(&driver, transport);
    send_raw(&socket, &[head(100, 1), vec![0; 10]].concat(), &[]);
    assert_eq!(driver.poll(NOW), Ok(1));
    assert_eq!([driver.poll(NOW), driver.poll(Some(Duration::from_millis(20)))], [Ok(0), Ok(0)]);
    assert!(hearing.so_far().is_empty());
    drop(socket);
    settle(&driver);
    assert_eq!(hearing.so_far(), [Heard::Error]);
    assert_eq!(driver.poll(NOW), Ok(0), "a broken transport is not spun on");
}

#[test]
fn row06_descriptors_on_bytes_of_another_message_break_the_stream() {
    let _alone = alone();
    let before = open_descriptors();
    // With the last byte of a message that announced none; the next one has one.
    for (split, descriptors) in [(9, 1), (8, 1), (4, 2)] {
        let driver = unthreaded();
        let [ours, theirs] = UnixDriver::socket_pair().unwrap();
        let transport = driver.adopt(ours).unwrap();
        let socket = UnixStream::from(theirs);
        let hearing = listen(&driver, transport);
        let bytes = [head(10, 0), vec![1, 2]].concat();
        send_raw(&socket, &bytes[..split], &[]);
        settle(&driver);
        send_raw(&socket, &bytes[split..], &vec![socket.as_fd(); descriptors]);
        send_raw(&socket, &head(8, 1), &[]);
        settle(&driver);
        let heard = hearing.so_far();
        assert_eq!(heard.last(), Some(&Heard::Error), "after {split}: {heard:?}");
        assert!(heard.iter().all(
            |one| matches!(one, Heard::Error) || matches!(one, Heard::Message(data, handles) if data == &[1, 2] && handles.is_empty())
        ));
        driver.close(transport);
        settle(&driver);
    }
    assert_eq!(open_descriptors(), before);
}

#[test]
fn row07_the_most_descriptors_that_a_call_can_bring_again_and_again() {
    let _alone = alone();
    let before = open_descriptors();
    let driver = unthreaded();
    let [ours, theirs] = UnixDriver::socket_pair().unwrap();
    let transport = driver.adopt(ours).unwrap();
    let socket = UnixStream::from(theirs);
    let hearing = listen(&driver, transport);
    for _ in 0..30 {
        send_raw(&socket, &head(8, 253), &vec![socket.as_fd(); 253]);
        settle(&driver);
        let (_, handles) = hearing.message();
        assert_eq!((handles.len(), open_descriptors()), (253, before + 5 + 253), "two of the pair, three of the driver");
        handles.into_iter().for_each(|handle| driver.close(handle));
    }
    // What nobody takes, since it is refused or damaged.
    send_raw(&socket, &[head(11, 100), b"bad".to_vec()].concat(), &vec![socket.as_fd(); 253]);
    settle(&driver);
    let (_, handles) = hearing.message();
    handles.into_iter().for_each(|handle| driver.close(handle));
    assert_eq!(hearing.next(), Heard::Error);
    assert_eq!(open_descriptors(), before + 5);
    driver.close(transport);
    settle(&driver);
    drop((driver, socket));
    assert_eq!(hearing.next(), Heard::Deactivated);
    assert_eq!(open_descriptors(), before);
}

/// Sets an option of a socket that rustix has no name for.
#[allow(unsafe_code)]
fn set_option(socket: impl AsFd, option: i32) -> bool {
    let on: i32 = 1;
    // SAFETY: an open descriptor, and an int of that size.
    let set =
        unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), libc::SOL_SOCKET, option, (&raw const on).cast(), size_of::<i32>() as u32) };
    set == 0
}

#[test]
fn row10_other_control_messages_are_ignored_and_leave_nothing() {
    let _alone = alone();
    const SO_PASSPIDFD: i32 = 76;
    let before = open_descriptors();
    for pidfd in [false, true] {
        let driver = unthreaded();
        let [ours, theirs] = UnixDriver::socket_pair().unwrap();
        // As a peer can that gave us this socket and kept it.
        let kept = ours.try_clone().unwrap();
        let transport = driver.adopt(ours).unwrap();
        sockopt::set_socket_passcred(&kept, true).unwrap();
        if pidfd && !set_option(&kept, SO_PASSPIDFD) {
            eprintln!("a kernel before 6.5: no descriptors of processes");
        }
        let socket = UnixStream::from(theirs);
        let hearing = listen(&driver, transport);
        for i in 0..20u8 {
            send_raw(&socket, &[head(9, 1), vec![i]].concat(), &[socket.as_fd()]);
            settle(&driver);
            let (data, handles) = hearing.message();
            assert_eq!((data, handles.len()), (vec![i], 1));
            driver.close(handles[0]);
            assert_eq!(open_descriptors(), before + 6, "something else came along");
        }
        // Urgent data, of which a stream of ours has none, is at most damage, and nothing to spin on.
        rustix::net::send(&socket, b"!", rustix::net::SendFlags::OOB).unwrap();
        settle(&driver);
        driver.close(transport);
        settle(&driver);
    }
    assert_eq!(open_descriptors(), before);
}

#[test]
#[allow(unsafe_code)]
fn row18_a_dead_peer_raises_no_signal() {
    let _alone = alone();
    let driver = unthreaded();
    let [ours, theirs] = UnixDriver::socket_pair().unwrap();
    let transport = driver.adopt(ours).unwrap();
    let hearing = listen(&driver, transport);
    drop(theirs);
    // SAFETY: the default, which ends the process, and back to what the runtime had set.
    let runtime = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let sent = driver.transmit(transport, &[Frame { data: b"late", handles: &[] }]);
    // SAFETY: as above.
    unsafe { libc::signal(libc::SIGPIPE, runtime) };
    assert_eq!(sent, Ok(()));
    settle(&driver);
    assert_eq!(hearing.so_far(), [Heard::Error]);
}

#[test]
fn row22_a_peer_that_floods_gets_a_share_of_each_turn() {
    let _alone = alone();
    let driver = unthreaded();
    let [flooded, theirs] = UnixDriver::socket_pair().unwrap();
    sockopt::set_socket_send_buffer_size(&theirs, 16 << 20).unwrap();
    let transport = driver.adopt(flooded).unwrap();
    let hearing = listen(&driver, transport);
    let [a, b] = driver.create_transports(None).unwrap();
    let quiet = listen(&driver, b);
    let mut flood = UnixStream::from(theirs);
    let message = [head(1000, 0), vec![7; 992]].concat();
    let sent = (0..4000).take_while(|_| flood.write_all(&message).is_ok()).count();
    assert!(sent >= 1000, "{sent} messages fitted into the socket");
    send(&driver, a, b"now", &[]);
    driver.poll(NOW).unwrap();
    assert_eq!(quiet.so_far().len(), 1);
    let first = hearing.so_far().len();
    assert!((1..600).contains(&first), "{first} messages of {sent} in one turn");
    settle(&driver);
    assert_eq!(first + hearing.so_far().len(), sent);
}

#[test]
fn row23_a_peer_that_only_stops_sending_is_gone_once_all_is_read() {
    let _alone = alone();
    let driver = unthreaded();
    let [ours, theirs] = UnixDriver::socket_pair().unwrap();
    let transport = driver.adopt(ours).unwrap();
    let mut socket = UnixStream::from(theirs);
    let hearing = listen(&driver, transport);
    socket.write_all(&[head(12, 0), b"last".to_vec()].concat()).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    settle(&driver);
    assert_eq!(hearing.so_far(), [Heard::Message(b"last".to_vec(), Vec::new()), Heard::Error]);
}

#[test]
fn what_waits_since_before_activation_is_written_after_it() {
    let _alone = alone();
    let driver = unthreaded();
    let [a, b] = driver.create_transports(None).unwrap();
    let hearing = listen(&driver, b);
    let sent = (0..1000).take_while(|_| driver.backlog(a) == 0).map(|_| send(&driver, a, &[0; 10_000], &[])).count();
    assert!(driver.backlog(a) > 0);
    settle(&driver);
    let before = hearing.so_far().len();
    assert!(before < sent, "nobody writes for one that is not active");
    let _near = listen(&driver, a);
    settle(&driver);
    assert_eq!(before + hearing.so_far().len(), sent);
}
