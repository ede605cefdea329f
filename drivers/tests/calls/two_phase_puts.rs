//! BeginPut and EndPut.

use ipcz::api::Putting;
use ipcz::limits::Limits;
use ipcz::trap::TrapFlags;
use ipcz::{Error, NodeOptions};

use super::world::*;

const BLOCK: usize = (1 << 20) - 8;

#[test]
fn n009_n133_closing_ends_what_is_open() {
    let w = both();
    let (here, there) = w.pair();
    for portal in [here, w.at_a] {
        assert!(w.a.begin_put(portal, &[1; 1000]) != w.a.begin_put(portal, &[1; 10]));
    }
    w.a.put(here, &[2; 1000]);
    w.a.put(here, &[3; 1000]);
    let open = w.b.begin_get(there, OVERLAPPED).unwrap();
    w.b.process.end_get(there, open.transaction, ipcz::EndGet::Abort).unwrap();
    let open = w.b.begin_get(there, EXCLUSIVE).unwrap();
    assert_eq!(open.data.to_vec(), [3; 1000]);
    w.b.close(there);
    assert!(w.a.is_dead(here));
    w.end(&[here], &[]);
}

#[test]
fn n081_n086_begin_put_wants_a_portal_with_a_peer() {
    let p = alone();
    let (a, b) = p.pair();
    assert_eq!(p.process.begin_put(p.node, 1, false).map(drop), INVALID);
    p.close(b);
    assert_eq!(p.process.begin_put(a, 1, false).map(drop), Err(Error::NotFound));
    assert_eq!(p.process.begin_put(a, 1, true).map(drop), Err(Error::NotFound));
}

#[test]
fn n082_a_put_may_have_no_data() {
    let p = alone();
    let (a, b) = p.pair();
    let Putting { transaction, data } = p.process.begin_put(a, 0, false).unwrap();
    assert_eq!((data.capacity(), data.write_at(0, b"x")), (0, 0));
    assert!(data.as_mut_ptr().is_null());
    p.process.end_put(a, transaction, 0, &[]).unwrap();
    assert_eq!(p.get(b), b"");
}

#[test]
fn n084_n085_the_room_is_what_was_asked_for_or_less_if_a_part_will_do() {
    let w = both();
    let ((here, there), (a, b)) = (w.pair(), w.a.pair());
    let capacity = |portal, bytes, partial| {
        let put = w.a.process.begin_put(portal, bytes, partial).unwrap();
        assert!(put.data.as_mut_ptr().addr().is_multiple_of(8));
        w.a.process.abort_put(portal, put.transaction).unwrap();
        put.data.capacity()
    };
    for bytes in [1, 240, 241, 5000, BLOCK, BLOCK + 1, 3_000_000] {
        for portal in [here, a] {
            assert_eq!(capacity(portal, bytes, false), bytes);
        }
        assert_eq!(capacity(a, bytes, true), bytes, "all, on the heap");
    }
    assert!(capacity(here, 3_000_000, true) <= BLOCK);
    assert_eq!(capacity(here, 300, true), 300);
    // No block of this size is free, but smaller ones are.
    let open: Vec<_> = (0..200).map(|_| w.a.process.begin_put(here, 60_000, true).unwrap()).collect();
    assert!(open.iter().any(|put| put.data.capacity() < 60_000) && open.iter().all(|put| put.data.capacity() >= 4088));
    open.iter().for_each(|put| w.a.process.abort_put(here, put.transaction).unwrap());
    w.end(&[here, a, b], &[there]);
}

#[test]
fn n087_parcels_arrive_in_the_order_in_which_puts_end() {
    let w = both();
    let (here, there) = w.pair();
    let [one, two, three] = [1, 2, 3].map(|i| (w.a.begin_put(here, &vec![i; 500 * usize::from(i)]), i));
    w.a.put(here, b"0");
    for (put, i) in [three, one, two] {
        w.a.process.end_put(here, put, 500 * usize::from(i), &[]).unwrap();
    }
    assert_eq!(w.b.get(there), b"0");
    for i in [3, 1, 2] {
        assert_eq!(w.b.get(there), vec![i; 500 * usize::from(i)]);
    }
    w.end(&[here], &[there]);
}

#[test]
fn n088_n089_n090_a_refused_end_leaves_the_put_open() {
    let p = alone();
    let ((a, b), (c, d)) = (p.pair(), p.pair());
    let put = p.begin_put(a, b"12345678");
    let other = p.begin_put(c, b"other");
    let end = |portal, put, produced, objects: &[_]| p.process.end_put(portal, put, produced, objects);
    assert_eq!(end(p.node, put, 8, &[]), INVALID);
    assert_eq!(end(a, put, 9, &[]), INVALID);
    for attached in [a, b, p.node] {
        assert_eq!(end(a, put, 8, &[c, attached]), INVALID);
    }
    assert_eq!(end(a, put, 8, &[d, d]), INVALID);
    assert_eq!(end(a, other, 1, &[]), INVALID);
    assert_eq!(end(c, put, 1, &[]), INVALID);
    end(a, put, 8, &[]).unwrap();
    end(c, other, 5, &[]).unwrap();
    assert_eq!((p.get(b), p.get(d)), (b"12345678".to_vec(), b"other".to_vec()));
}

#[test]
fn n091_n093_a_put_ends_once() {
    let p = alone();
    let (a, b) = p.pair();
    let put = p.begin_put(a, b"12");
    p.process.abort_put(a, put).unwrap();
    assert_eq!(p.process.abort_put(a, put), INVALID);
    assert_eq!(p.process.end_put(a, put, 1, &[]), INVALID);
    let put = p.begin_put(a, b"34");
    p.process.end_put(a, put, 2, &[]).unwrap();
    assert_eq!(p.process.end_put(a, put, 2, &[]), INVALID);
    assert_eq!(p.process.abort_put(a, put), INVALID);
    assert_eq!(p.get(b), b"34");
    assert_eq!(p.process.get(b), Err(Error::Unavailable), "what was aborted is not sent");
}

#[test]
fn n094_only_what_was_produced_is_sent() {
    for remote in [false, true] {
        let w = both();
        let (here, there) = if remote { w.pair() } else { w.a.pair() };
        let reader = if remote { &w.b } else { &w.a };
        for (room, produced) in [(8, 3), (1000, 3), (1000, 0), (300_000, 299_999), (2_000_000, 1)] {
            let (c, d) = w.a.pair();
            let data: Vec<u8> = (0..room).map(|i| i as u8).collect();
            let put = w.a.begin_put(here, &data);
            w.a.process.end_put(here, put, produced, &[c]).unwrap();
            let received = reader.process.get(there).unwrap();
            assert_eq!(received.data, data[..produced]);
            w.a.put(d, b"through");
            assert_eq!(reader.get(received.handles[0]), b"through");
            reader.close(received.handles[0]);
            w.a.close(d);
        }
        w.a.close(here);
        reader.close(there);
        w.end(&[], &[]);
    }
}

#[test]
fn n095_a_put_whose_peer_closes_is_over() {
    let w = both();
    let ((here, there), (c, d)) = (w.pair(), w.a.pair());
    let put = w.a.begin_put(here, &[1; 1000]);
    w.b.close(there);
    assert_eq!(w.a.process.end_put(here, put, 1000, &[c]), Err(Error::NotFound));
    assert_eq!(w.a.process.end_put(here, put, 1000, &[c]), INVALID);
    w.a.put(d, b"untouched");
    assert_eq!(w.a.get(c), b"untouched");
    w.end(&[here, c, d], &[]);
}

#[test]
fn n096_a_portal_sent_away_takes_no_open_put_along() {
    let w = both();
    let (a, b) = w.pair();
    let before = w.a.blocks();
    let put = w.a.begin_put(a, &[1; 1000]);
    assert_eq!(w.a.blocks(), before + 1);
    w.a.process.put(w.at_a, b"", &[a]).unwrap();
    assert_eq!(w.a.process.end_put(a, put, 1, &[]), INVALID);
    let arrived = w.b.get_portal(w.at_b);
    assert_eq!(w.b.process.abort_put(arrived, put), INVALID);
    w.b.put(b, b"alive");
    assert_eq!(w.b.get(arrived), b"alive");
    // With the block that was never sent.
    w.end(&[], &[b, arrived]);
}

#[test]
fn a_put_stays_open_through_a_transfer_within_the_process() {
    let p = alone();
    let ((a, b), (c, d)) = (p.pair(), p.pair());
    let put = p.begin_put(c, b"later");
    p.process.put(a, b"", &[c]).unwrap();
    let c = p.get_portal(b);
    p.process.end_put(c, put, 5, &[]).unwrap();
    assert_eq!(p.get(d), b"later");
}

#[test]
fn n097_end_put_fires_traps_as_put_does() {
    let p = alone();
    let (a, b) = p.pair();
    p.trap(b, TrapFlags::NEW_PARCEL, 5).unwrap();
    let put = p.begin_put(a, b"1");
    assert_eq!(p.fired(), []);
    p.process.end_put(a, put, 1, &[]).unwrap();
    assert_eq!(p.fired(), [(5, TrapFlags::NEW_PARCEL.or(TrapFlags::WITHIN_API_CALL))]);
}

#[test]
fn a_block_drawn_at_begin_is_what_the_peer_reads_at_the_end() {
    let w = both();
    let (here, there) = w.pair();
    let before = w.a.blocks();
    let put = w.a.process.begin_put(here, 3000, false).unwrap();
    assert_eq!(w.a.blocks(), before + 1);
    put.data.write_at(0, &[9; 3000]);
    let address = put.data.as_mut_ptr();
    w.a.process.end_put(here, put.transaction, 3000, &[]).unwrap();
    let get = w.b.begin_get(there, EXCLUSIVE).unwrap();
    assert_eq!((get.data.as_ptr(), get.data.len()), (address.cast_const(), 3000), "no copy was made");
    assert_eq!(get.data.to_vec(), [9; 3000]);
    w.b.end_get(there, get.transaction, ipcz::EndGet::Commit);
    assert_eq!(w.a.blocks(), before);
    w.end(&[here], &[there]);
}

#[test]
fn what_lies_in_the_memory_of_another_link_is_copied_when_it_is_sent() {
    let w = both();
    let (here, there) = w.pair();
    let (c, to_c, at_c) = w.third();
    let before = w.a.blocks();
    let put = w.a.begin_put(here, &[4; 3000]);
    assert_eq!(w.a.blocks(), before + 1, "of the link to b");
    w.b.process.put(w.at_b, b"", &[there]).unwrap();
    let there = w.a.get_portal(w.at_a);
    w.a.process.put(to_c, b"", &[there]).unwrap();
    let there = c.get_portal(at_c);
    w.a.process.end_put(here, put, 3000, &[]).unwrap();
    assert_eq!(c.get(there), [4; 3000]);
    c.close(there);
    c.close(at_c);
    c.close(c.node);
    w.end(&[here, to_c], &[]);
}

#[test]
fn a19_limits_refuse_a_put_before_it_begins() {
    let limits = Limits { parcel_bytes: 100, portal_transactions: 2, ..Limits::default() };
    let w = both_with(NodeOptions { limits, ..NodeOptions::default() });
    let (here, there) = w.pair();
    assert_eq!(w.a.process.begin_put(here, 101, false).map(drop), Err(Error::ResourceExhausted));
    let part = w.a.process.begin_put(here, 101, true).unwrap();
    assert_eq!(part.data.capacity(), 100);
    let second = w.a.begin_put(here, b"2");
    assert_eq!(w.a.process.begin_put(here, 1, false).map(drop), Err(Error::ResourceExhausted));
    w.a.process.end_put(here, second, 1, &[]).unwrap();
    let third = w.a.begin_put(here, b"3");
    w.a.process.end_put(here, third, 1, &[]).unwrap();
    w.a.process.abort_put(here, part.transaction).unwrap();
    assert_eq!((w.b.get(there), w.b.get(there)), (b"2".to_vec(), b"3".to_vec()));
    w.end(&[here], &[there]);
}

#[test]
fn a07_a_put_that_a_limit_refuses_stays_open() {
    let limits = Limits { portal_backlog_parcels: 1, ..Limits::default() };
    let inner = ipcz_drivers::InProcess::new();
    let p = Program::new(inner.clone(), ipcz::ids::NodeType::Broker, NodeOptions { limits, ..NodeOptions::default() });
    let [near, _far] = inner.transport_pair();
    let unconnected = p.process.connect_node(p.node, near, 1, ipcz::ConnectTo::Normal).unwrap()[0];
    let (c, d) = p.pair();
    let put = p.begin_put(unconnected, b"first");
    p.put(unconnected, b"fills it");
    assert_eq!(p.process.end_put(unconnected, put, 5, &[c]), Err(Error::ResourceExhausted));
    p.put(d, b"still the caller's");
    assert_eq!(p.get(c), b"still the caller's");
    p.process.abort_put(unconnected, put).unwrap();
}

#[test]
fn n027_an_unconnected_portal_takes_puts() {
    let inner = ipcz_drivers::InProcess::new();
    let a = Program::new(inner.clone(), ipcz::ids::NodeType::Broker, NodeOptions::default());
    let b = Program::new(inner.clone(), ipcz::ids::NodeType::Normal, NodeOptions::default());
    let [near, far] = inner.transport_pair();
    let here = a.process.connect_node(a.node, near, 1, ipcz::ConnectTo::Normal).unwrap()[0];
    let early = a.begin_put(here, &[1; 1000]);
    let late = a.begin_put(here, &[2; 1000]);
    a.process.end_put(here, early, 1000, &[]).unwrap();
    let there = b.process.connect_node(b.node, far, 1, ipcz::ConnectTo::Broker).unwrap()[0];
    a.process.end_put(here, late, 1000, &[]).unwrap();
    assert_eq!((b.get(there), b.get(there)), (vec![1; 1000], vec![2; 1000]));
}

#[test]
fn n058_n060_a_merge_drops_open_puts_and_minds_nothing_aborted() {
    let w = both();
    let ((a, b), (here, there)) = (w.a.pair(), w.pair());
    w.b.put(there, &[1; 1000]);
    let get = w.a.begin_get(here, EXCLUSIVE).unwrap();
    assert_eq!(w.a.process.merge(b, here), INVALID, "api.md A6: a parcel is being got");
    w.a.end_get(here, get.transaction, ipcz::EndGet::Abort);
    let aborted = w.a.begin_put(b, &[2; 1000]);
    w.a.process.abort_put(b, aborted).unwrap();
    let dropped = w.a.begin_put(here, &[3; 1000]);
    w.a.process.merge(b, here).unwrap();
    assert_eq!(w.a.process.end_put(here, dropped, 1000, &[]), INVALID);
    w.a.put(a, b"through");
    assert_eq!((w.a.get(a), w.b.get(there)), (vec![1; 1000], b"through".to_vec()));
    w.end(&[a], &[there]);
}

#[test]
fn n059_what_was_got_in_part_or_overlapped_is_not_merged() {
    let p = alone();
    for overlapped in [false, true] {
        let ((a, b), (c, _d)) = (p.pair(), p.pair());
        p.put(a, b"12");
        if overlapped {
            p.begin_get(b, OVERLAPPED).unwrap();
        } else {
            p.process.get_into(b, &mut [0; 1], 0, ipcz::GetFlags { partial: true, keep: false }).unwrap();
        }
        assert_eq!(p.process.merge(b, c), Err(Error::FailedPrecondition));
    }
}
