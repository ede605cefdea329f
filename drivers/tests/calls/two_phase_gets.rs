//! BeginGet and EndGet.

use ipcz::limits::Limits;
use ipcz::trap::TrapFlags;
use ipcz::{EndGet, Error, GetRefused, NodeOptions};

use super::world::*;

#[test]
fn n115_a04_an_empty_portal_has_nothing_yet_and_a_dead_one_never() {
    let p = alone();
    let (a, b) = p.pair();
    for flags in [EXCLUSIVE, OVERLAPPED] {
        assert_eq!(p.begin_get(b, flags).map(drop), Err(Error::Unavailable.into()));
    }
    p.close(a);
    assert_eq!(p.begin_get(b, EXCLUSIVE).map(drop), Err(Error::NotFound.into()));
    assert_eq!(p.begin_get(p.node, EXCLUSIVE).map(drop), Err(Error::InvalidArgument.into()));
}

#[test]
fn n116_an_empty_parcel_has_no_address() {
    let p = alone();
    let (a, b) = p.pair();
    p.put(a, b"");
    let get = p.begin_get(b, EXCLUSIVE).unwrap();
    assert!(get.data.is_empty() && get.data.as_ptr().is_null());
    p.end_get(b, get.transaction, EndGet::Commit);
    assert_eq!(p.process.get(b), Err(Error::Unavailable));
}

#[test]
fn n117_attachments_without_room_are_counted_and_stay() {
    let p = alone();
    let ((a, b), (c, _d)) = (p.pair(), p.pair());
    p.process.put(a, b"123", &[c]).unwrap();
    let refused = Err(GetRefused::TooSmall { bytes: 3, handles: 1 });
    assert_eq!(p.process.begin_get(b, 0, EXCLUSIVE).map(drop), refused);
    assert_eq!(p.process.begin_get(b, 0, OVERLAPPED).map(drop), refused);
    assert_eq!(p.process.get(b).unwrap().handles.len(), 1, "nothing is open, nothing was taken");
}

#[test]
fn n118_n119_what_keeps_what_away() {
    let p = alone();
    let (a, b) = p.pair();
    for data in [b"1", b"2"] {
        p.put(a, data);
    }
    let exclusive = p.begin_get(b, EXCLUSIVE).unwrap();
    for flags in [EXCLUSIVE, OVERLAPPED] {
        assert_eq!(p.begin_get(b, flags).map(drop), Err(Error::AlreadyExists.into()));
    }
    p.end_get(b, exclusive.transaction, EndGet::Abort);
    let first = p.begin_get(b, OVERLAPPED).unwrap();
    assert_eq!(p.begin_get(b, EXCLUSIVE).map(drop), Err(Error::AlreadyExists.into()));
    let second = p.begin_get(b, OVERLAPPED).unwrap();
    assert_eq!((first.data.to_vec(), second.data.to_vec()), (b"1".to_vec(), b"2".to_vec()));
    assert_eq!(p.begin_get(b, OVERLAPPED).map(drop), Err(Error::Unavailable.into()));
    p.close(a);
    assert_eq!(p.begin_get(b, EXCLUSIVE).map(drop), Err(Error::AlreadyExists.into()), "before it is said to be dead");
}

#[test]
fn n120_n121_an_aborted_get_gives_back_all_but_the_portals_it_took() {
    let w = both();
    let (here, there) = w.pair();
    let pairs = [w.a.pair(), w.a.pair()];
    let data = [5; 1000];
    w.a.process.put(here, &data, &pairs.map(|pair| pair.1)).unwrap();
    let none = w.b.process.begin_get(there, 0, PARTIAL).unwrap();
    assert!(none.handles.is_empty());
    w.b.end_get(there, none.transaction, EndGet::Abort);
    let one = w.b.process.begin_get(there, 1, PARTIAL).unwrap();
    assert_eq!(one.handles.len(), 1);
    w.b.end_get(there, one.transaction, EndGet::Abort);
    assert_eq!(w.b.counts(there), (1, 1000));
    let rest = w.b.begin_get(there, EXCLUSIVE).unwrap();
    assert_eq!((rest.data.to_vec(), rest.handles.len()), (data.to_vec(), 1));
    w.b.end_get(there, rest.transaction, EndGet::Abort);
    assert_eq!(w.b.process.get(there).unwrap(), ipcz::Received { data: data.to_vec(), handles: vec![] });
    for ((near, _), far) in pairs.iter().zip([one.handles[0], rest.handles[0]]) {
        w.a.put(*near, b"alive");
        assert_eq!(w.b.get(far), b"alive");
    }
    w.end(&[here, pairs[0].0, pairs[1].0], &[there, one.handles[0], rest.handles[0]]);
}

#[test]
fn n122_n123_parcels_arrive_behind_an_exclusive_get() {
    let p = alone();
    let (a, b) = p.pair();
    p.put(a, b"1");
    let get = p.begin_get(b, EXCLUSIVE).unwrap();
    p.put(a, b"22");
    p.put(a, b"333");
    p.put(b, b"the other way");
    assert_eq!(p.counts(b), (3, 6));
    p.end_get(b, get.transaction, EndGet::Commit);
    assert_eq!(p.counts(b), (2, 5));
    assert_eq!((p.get(b), p.get(b), p.get(a)), (b"22".to_vec(), b"333".to_vec(), b"the other way".to_vec()));
}

#[test]
fn n124_a_get_is_ended_once_and_where_it_began() {
    let p = alone();
    let ((a, b), (c, d)) = (p.pair(), p.pair());
    p.put(a, b"1");
    p.put(c, b"2");
    let (first, second) = (p.begin_get(b, EXCLUSIVE).unwrap().transaction, p.begin_get(d, OVERLAPPED).unwrap().transaction);
    let put = p.begin_put(b, b"3");
    for how in [EndGet::Commit, EndGet::Keep, EndGet::Abort] {
        for (portal, wrong) in [(b, second), (d, first), (a, first), (p.node, first), (b, put)] {
            assert_eq!(p.process.end_get(portal, wrong, how), Err(Error::InvalidArgument));
        }
    }
    p.end_get(b, first, EndGet::Commit);
    p.end_get(d, second, EndGet::Commit);
    for (portal, over) in [(b, first), (d, second)] {
        assert_eq!(p.process.end_get(portal, over, EndGet::Abort), Err(Error::InvalidArgument));
    }
}

#[test]
fn n126_a_committed_parcel_may_be_kept() {
    let w = both();
    let ((here, there), (c, d)) = (w.pair(), w.a.pair());
    for flags in [EXCLUSIVE, OVERLAPPED] {
        w.a.put(here, &[6; 700]);
        let get = w.b.begin_get(there, flags).unwrap();
        let parcel = w.b.end_get(there, get.transaction, EndGet::Keep).unwrap();
        assert_eq!(w.b.get(parcel), [6; 700]);
        w.b.close(parcel);
    }
    w.a.process.put(here, b"", &[c]).unwrap();
    let get = w.b.process.begin_get(there, 0, PARTIAL).unwrap();
    let parcel = w.b.end_get(there, get.transaction, EndGet::Keep).unwrap();
    let portal = w.b.get_portal(parcel);
    w.a.put(d, b"inside");
    assert_eq!(w.b.get(portal), b"inside");
    w.end(&[here, d], &[there, parcel, portal]);
}

#[test]
fn n127_a_portal_left_in_a_committed_parcel_is_closed() {
    for flags in [PARTIAL, ipcz::api::BeginGetFlags { partial: true, overlapped: true }] {
        let p = alone();
        let ((a, b), (c, d), (e, f)) = (p.pair(), p.pair(), p.pair());
        p.process.put(a, b"", &[c, e]).unwrap();
        let get = p.process.begin_get(b, 1, flags).unwrap();
        assert_eq!(get.handles.len(), 1);
        assert!(!p.is_dead(f));
        p.end_get(b, get.transaction, EndGet::Commit);
        assert!(p.is_dead(f) && !p.is_dead(d));
    }
}

#[test]
fn n128_overlapped_gets_end_in_any_order() {
    let w = both();
    let (here, there) = w.pair();
    for i in 1..=3 {
        w.a.put(here, &vec![i; 400 * usize::from(i)]);
    }
    let gets = [1, 2, 3].map(|i| (i, w.b.begin_get(there, OVERLAPPED).unwrap()));
    assert_eq!(w.b.counts(there), (0, 0));
    for at in [1, 2, 0] {
        let (i, get) = &gets[at];
        assert_eq!(get.data.to_vec(), vec![*i; 400 * usize::from(*i)]);
        w.b.end_get(there, get.transaction, EndGet::Commit);
    }
    w.end(&[here], &[there]);
}

#[test]
fn a08_an_aborted_overlapped_get_throws_its_parcel_away() {
    let w = both();
    let (here, there) = w.pair();
    w.a.put(here, &[1; 1000]);
    w.a.put(here, b"next");
    let get = w.b.begin_get(there, OVERLAPPED).unwrap();
    assert_eq!(w.b.end_get(there, get.transaction, EndGet::Abort), None);
    assert_eq!(w.b.get(there), b"next");
    w.end(&[here], &[there]);
}

#[test]
fn n129_n130_death_waits_for_an_exclusive_get_alone() {
    let p = alone();
    for flags in [OVERLAPPED, EXCLUSIVE] {
        let (a, b) = p.pair();
        p.put(a, b"last");
        p.close(a);
        p.trap(b, TrapFlags::DEAD, 1).unwrap();
        let dead = [(1, TrapFlags::DEAD.or(TrapFlags::WITHIN_API_CALL))];
        let get = p.begin_get(b, flags).unwrap();
        if flags.overlapped {
            assert_eq!(p.fired(), dead);
            assert!(p.is_dead(b));
            p.end_get(b, get.transaction, EndGet::Commit);
            assert_eq!(p.fired(), []);
        } else {
            assert!(!p.is_dead(b) && p.fired().is_empty());
            p.end_get(b, get.transaction, EndGet::Commit);
            assert_eq!(p.fired(), dead);
        }
    }
}

#[test]
fn n131_n132_n133_a_kept_parcel_has_one_get_open_at_a_time() {
    let p = alone();
    let ((a, b), (c, d)) = (p.pair(), p.pair());
    p.process.put(a, b"data", &[c]).unwrap();
    let parcel = p.keep(b);
    assert_eq!(p.begin_get(parcel, OVERLAPPED).map(drop), Err(Error::InvalidArgument.into()));
    assert_eq!(p.process.begin_get(parcel, 0, EXCLUSIVE).map(drop), Err(GetRefused::TooSmall { bytes: 4, handles: 1 }));
    for how in [EndGet::Abort, EndGet::Commit] {
        let get = p.begin_get(parcel, EXCLUSIVE).unwrap();
        assert_eq!(get.data.to_vec(), b"data");
        assert_eq!(p.begin_get(parcel, EXCLUSIVE).map(drop), Err(Error::AlreadyExists.into()));
        assert_eq!(p.process.get(parcel), Err(Error::AlreadyExists));
        p.end_get(parcel, get.transaction, how);
        assert_eq!(p.process.end_get(parcel, get.transaction, how), Err(Error::InvalidArgument));
    }
    let get = p.begin_get(parcel, EXCLUSIVE).unwrap();
    assert_eq!(p.end_get(parcel, get.transaction, EndGet::Keep), Some(parcel), "another reference");
    p.begin_get(parcel, EXCLUSIVE).unwrap();
    p.close(parcel);
    p.close(parcel);
    assert_eq!(p.process.close(parcel), INVALID);
    assert!(!p.is_dead(d), "the portal was taken");
}

#[test]
fn n134_a_portal_with_an_exclusive_get_may_be_sent_within_the_process() {
    let p = alone();
    let ((a, b), (c, d)) = (p.pair(), p.pair());
    p.put(d, b"held");
    let get = p.begin_get(c, EXCLUSIVE).unwrap();
    p.process.put(a, b"", &[c]).unwrap();
    let moved = p.get_portal(b);
    assert_eq!(p.process.get(moved), Err(Error::AlreadyExists));
    assert_eq!(get.data.to_vec(), b"held");
    p.end_get(moved, get.transaction, EndGet::Commit);
    assert_eq!(p.process.get(moved), Err(Error::Unavailable));
}

#[test]
fn n135_a_parcels_data_stays_where_it_is() {
    let w = both();
    let (here, there) = w.pair();
    for data in [vec![1; 8], vec![2; 8000]] {
        w.a.put(here, &data);
        let parcel = w.b.keep(there);
        // Kept until all are compared: nothing else can come to lie where one of them was.
        let gets = [0; 3].map(|_| {
            let get = w.b.begin_get(parcel, EXCLUSIVE).unwrap();
            w.b.end_get(parcel, get.transaction, EndGet::Abort);
            get
        });
        let address = gets[0].data.as_ptr();
        assert!(!address.is_null() && gets.iter().all(|get| get.data.as_ptr() == address));
        w.b.close(parcel);
    }
    w.end(&[here], &[there]);
}

#[test]
fn a06_a_portal_with_an_exclusive_get_does_not_leave_the_node_knowingly() {
    let w = both_with(NodeOptions { limits: Limits { link_buffers: 0, ..Limits::default() }, ..NodeOptions::default() });
    let ((here, there), (c, d)) = (w.pair(), w.a.pair());
    w.a.put(d, b"held");
    let get = w.a.begin_get(c, EXCLUSIVE).unwrap();
    assert_eq!(w.a.process.put(here, b"", &[c]), INVALID);
    // The local peer of e is a proxy by now, and stays one as long as there is no memory for its bypass.
    let (e, f) = w.a.pair();
    w.a.process.hoard();
    w.a.process.put(here, b"", &[f]).unwrap();
    let f = w.b.get_portal(there);
    assert_eq!(w.a.process.inspect(|view| view.proxies()), 1);
    assert_eq!(w.a.process.put(e, b"", &[c]), INVALID);
    w.a.process.release_hoard();
    w.a.end_get(c, get.transaction, EndGet::Abort);
    w.a.process.put(here, b"", &[c]).unwrap();
    let c = w.b.get_portal(there);
    assert_eq!(w.b.get(c), b"held");
    w.end(&[here, d, e], &[there, c, f]);
}

/// c is sent locally while a get is open there, and its parcel is then forwarded to another node.
fn forwarded(data: &[u8], overlapped: bool) {
    let w = both();
    let ((here, there), (a, b)) = (w.pair(), w.a.pair());
    let (c, d) = w.pair();
    let pairs = [w.b.pair(), w.b.pair()];
    // Each attached portal takes a block for its link state.
    let before = w.a.blocks() + 2;
    w.b.process.put(d, data, &pairs.map(|pair| pair.1)).unwrap();
    let flags = ipcz::api::BeginGetFlags { partial: true, overlapped };
    let get = w.a.process.begin_get(c, 1, flags).unwrap();
    assert_eq!(w.a.blocks() > before, data.len() > 240, "it lies in a block if it is big enough");
    w.a.process.put(a, b"", &[c]).unwrap();
    w.a.process.put(here, b"", &[b]).unwrap();
    let b = w.b.get_portal(there);
    let moved = w.b.get_portal(b);
    if overlapped {
        assert_eq!(w.b.process.get(moved), Err(Error::Unavailable));
        assert!(w.b.is_dead(pairs[1].0), "what was not taken out is closed");
    } else {
        let received = w.b.process.get(moved).unwrap();
        assert_eq!((&received.data[..], received.handles.len()), (data, 1), "the parcel goes on with what is left in it");
        w.b.close(received.handles[0]);
    }
    // Blocks that are free now would be used again.
    (0..50).for_each(|_| w.a.put(here, &vec![0xff; data.len()]));
    assert_eq!(get.data.to_vec(), data, "the address stays good");
    (0..50).for_each(|_| drop(w.b.get(there)));
    for portal in [a, c] {
        assert_eq!(w.a.process.end_get(portal, get.transaction, EndGet::Commit), Err(Error::InvalidArgument));
    }
    w.end(&[here, a, get.handles[0]], &[there, b, moved, d, pairs[0].0, pairs[1].0]);
}

#[test]
fn a06_a_get_ends_when_its_portal_is_forwarded_to_another_node() {
    for data in [&b"inline"[..], &[7; 3000]] {
        for overlapped in [false, true] {
            forwarded(data, overlapped);
        }
    }
}

#[test]
fn a06_a_get_that_is_ended_while_its_portal_is_in_a_parcel_leaves_nothing_behind() {
    for overlapped in [false, true] {
        let w = both();
        let ((here, there), (a, b), (c, d)) = (w.pair(), w.a.pair(), w.pair());
        w.b.put(d, &[7; 3000]);
        let get = w.a.begin_get(c, ipcz::api::BeginGetFlags { partial: false, overlapped }).unwrap();
        w.a.process.put(a, b"", &[c]).unwrap();
        assert_eq!(w.a.process.end_get(c, get.transaction, EndGet::Commit), Err(Error::InvalidArgument), "its portal is nobody's");
        w.a.process.put(here, b"", &[b]).unwrap();
        let b = w.b.get_portal(there);
        let moved = w.b.get_portal(b);
        let left = if overlapped { Err(Error::Unavailable) } else { Ok(vec![7; 3000]) };
        assert_eq!(w.b.process.get(moved).map(|received| received.data), left);
        // With the block that the get has read, which nobody waits for any more.
        w.end(&[here, a], &[there, b, moved, d]);
    }
}
