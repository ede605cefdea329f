//! Traps: what fires, when, in which order, and what handlers may do.

use std::sync::{Arc, Mutex};

use ipcz::trap::{PortalStatus, TrapConditions, TrapFlags};
use ipcz::{EndGet, Error, GetFlags, TrapRefused};

use super::world::*;

const NEW: TrapFlags = TrapFlags::NEW_PARCEL;
const CLOSED: TrapFlags = TrapFlags::PEER_CLOSED;
const DEAD: TrapFlags = TrapFlags::DEAD;
const PARCELS: TrapFlags = TrapFlags::ABOVE_MIN_PARCELS;
const BYTES: TrapFlags = TrapFlags::ABOVE_MIN_BYTES;
const REMOVED: TrapFlags = TrapFlags::REMOVED;
const API: TrapFlags = TrapFlags::WITHIN_API_CALL;

fn at_least(flags: TrapFlags, min_parcels: usize, min_bytes: usize) -> TrapConditions {
    TrapConditions { flags, min_parcels, min_bytes }
}

#[test]
fn n136_a_trap_wants_a_portal() {
    let p = alone();
    let (a, b) = p.pair();
    p.put(a, b"");
    let parcel = p.keep(b);
    for wrong in [p.node, parcel] {
        assert_eq!(p.trap(wrong, NEW, 0), Err(TrapRefused::Error(Error::InvalidArgument)));
    }
}

#[test]
fn n137_n148_a_trap_for_nothing_sees_the_removal() {
    let p = alone();
    let (a, b) = p.pair();
    for flags in [TrapFlags::default(), REMOVED.or(API), NEW] {
        p.trap(b, flags, 1).unwrap();
    }
    p.close(b);
    let events = p.events();
    assert_eq!(events.len(), 3);
    assert!(events.iter().all(|event| event.flags == REMOVED.or(API) && event.status == PortalStatus::default()));
    p.put_refused(a);
}

#[test]
fn n138_a_level_condition_that_holds_refuses_the_trap() {
    let p = alone();
    let (a, b) = p.pair();
    p.put(a, b"123");
    let all = NEW.or(CLOSED).or(DEAD).or(PARCELS).or(BYTES).or(REMOVED).or(API);
    let refused = p.process.trap(b, at_least(all, 0, 3), 1);
    let status = PortalStatus { parcels: 1, bytes: 3, ..PortalStatus::default() };
    assert_eq!(refused, Err(TrapRefused::Satisfied { flags: PARCELS, status }), "strictly above, and never an edge");
    p.close(a);
    let refused = p.process.trap(b, at_least(all, 1, 2), 1);
    let status = PortalStatus { peer_closed: true, ..status };
    assert_eq!(refused, Err(TrapRefused::Satisfied { flags: CLOSED.or(BYTES), status }));
    p.get(b);
    assert_eq!(p.fired(), [], "nothing was installed");
}

#[test]
fn n139_a_new_parcel_is_an_edge() {
    let p = alone();
    let (a, b) = p.pair();
    p.put(a, b"queued");
    p.trap(b, NEW, 1).unwrap();
    p.get(b);
    assert_eq!(p.fired(), []);
    p.put(a, b"new");
    assert_eq!(p.fired(), [(1, NEW.or(API))]);
}

#[test]
fn n140_n141_thresholds_are_exceeded_by_what_can_be_read() {
    let p = alone();
    let (a, b) = p.pair();
    p.process.trap(b, at_least(PARCELS, 2, 0), 1).unwrap();
    p.process.trap(b, at_least(BYTES, 0, 3), 2).unwrap();
    p.put(a, b"");
    p.put(a, b"");
    assert_eq!(p.fired(), []);
    p.put(a, b"123");
    assert_eq!(p.fired(), [(1, PARCELS.or(API))]);
    p.put(a, b"4");
    assert_eq!(p.fired(), [(2, BYTES.or(API))]);
}

#[test]
fn n142_n143_n145_one_event_says_all_that_holds_and_each_trap_fires_once() {
    let p = alone();
    let (a, b) = p.pair();
    p.process.trap(b, at_least(NEW.or(PARCELS).or(BYTES), 0, 0), 1).unwrap();
    p.trap(b, CLOSED, 2).unwrap();
    p.trap(b, DEAD, 3).unwrap();
    p.put(a, b"1");
    p.put(a, b"2");
    assert_eq!(p.fired(), [(1, NEW.or(PARCELS).or(BYTES).or(API))]);
    p.close(a);
    assert_eq!(p.fired(), [(2, CLOSED.or(API))]);
    p.get(b);
    assert_eq!(p.fired(), []);
    p.get(b);
    assert_eq!(p.fired(), [(3, DEAD.or(API))]);
}

#[test]
fn n144_n157_events_of_one_cause_come_in_the_order_of_installation() {
    let p = alone();
    let (a, b) = p.pair();
    for context in [3, 1, 2, 1] {
        p.trap(b, NEW, context).unwrap();
    }
    p.put(a, b"");
    assert_eq!(p.fired().iter().map(|event| event.0).collect::<Vec<_>>(), [3, 1, 2, 1]);
}

#[test]
fn n146_a_handler_may_read_and_install_itself_again_and_cause_more() {
    let p = alone();
    let (a, b) = p.pair();
    p.trap(b, NEW, 0).unwrap();
    let process = p.process.clone();
    p.react(move |event| {
        while process.get(b).is_ok() {}
        process.trap(b, TrapConditions { flags: NEW, ..TrapConditions::default() }, event.context + 1).unwrap();
        if event.context < 3 {
            process.put(a, b"more", &[]).unwrap();
        }
    });
    p.put(a, b"1");
    // While a handler runs the others' reactions wait: the nested event is only noted.
    assert_eq!(p.fired(), [(0, NEW.or(API)), (1, NEW.or(API))]);
    assert_eq!(p.counts(b), (1, 4));
}

#[test]
fn n147_a_handler_that_closes_its_portal_changes_no_event_collected_before() {
    let p = alone();
    let (a, b) = p.pair();
    p.trap(b, NEW, 1).unwrap();
    p.trap(b, NEW, 2).unwrap();
    p.trap(b, CLOSED, 3).unwrap();
    let process = p.process.clone();
    p.react(move |event| {
        if event.context == 1 {
            process.close(b).unwrap();
        }
    });
    p.put(a, b"");
    assert_eq!(p.fired(), [(1, NEW.or(API)), (3, REMOVED.or(API)), (2, NEW.or(API))]);
}

#[test]
fn n149_n150_n151_a_trap_is_removed_by_leaving_the_node_not_by_a_local_transfer() {
    let w = both();
    let ((a, b), (c, d)) = (w.a.pair(), w.a.pair());
    w.a.trap(c, NEW, 1).unwrap();
    w.a.trap(c, CLOSED, 2).unwrap();
    w.a.process.put(a, b"", &[c]).unwrap();
    assert_eq!(w.a.fired(), []);
    w.a.put(d, b"while it is queued");
    assert_eq!(w.a.fired(), [(1, NEW.or(API))]);
    w.a.close(b);
    assert_eq!(w.a.fired(), [(2, REMOVED.or(API))], "closed with the parcel that it was in");

    let (e, f) = w.a.pair();
    w.a.trap(e, NEW, 3).unwrap();
    w.a.process.put(w.at_a, b"", &[e]).unwrap();
    assert_eq!(w.a.fired(), [(3, REMOVED.or(API))]);
    let e = w.b.get_portal(w.at_b);
    w.end(&[a, d, f], &[e]);
}

#[test]
fn n152_n153_closure_is_told_with_what_is_left_to_read() {
    let p = alone();
    let (a, b) = p.pair();
    p.trap(b, CLOSED.or(DEAD), 1).unwrap();
    p.trap(b, DEAD, 2).unwrap();
    p.put(a, b"12");
    p.put(a, b"3");
    p.close(a);
    let [event] = p.events()[..] else { panic!("one event") };
    let status = PortalStatus { peer_closed: true, dead: false, parcels: 2, bytes: 3 };
    assert_eq!((event.context, event.flags, event.status), (1, CLOSED.or(API), status));
    p.get(b);
    p.get(b);
    assert_eq!(p.fired(), [(2, DEAD.or(API))]);

    let (a, b) = p.pair();
    p.trap(b, CLOSED.or(DEAD), 1).unwrap();
    p.close(a);
    assert_eq!(p.fired(), [(1, CLOSED.or(DEAD).or(API))]);
}

#[test]
fn n155_what_another_node_causes_is_not_within_a_call_of_this_one() {
    let w = both();
    let (here, there) = w.pair();
    w.b.trap(there, NEW, 1).unwrap();
    w.b.trap(there, CLOSED, 2).unwrap();
    w.a.put(here, b"");
    assert_eq!(w.b.fired(), [(1, NEW)]);
    w.a.close(here);
    assert_eq!(w.b.fired(), [(2, CLOSED)]);
    w.end(&[], &[there]);
}

#[test]
fn n043_a_closed_node_tells_its_portals_within_the_call() {
    let w = both();
    w.b.trap(w.at_b, CLOSED, 1).unwrap();
    w.a.trap(w.at_a, CLOSED, 2).unwrap();
    w.a.put(w.at_a, b"unread");
    w.b.close(w.b.node);
    assert_eq!(w.b.fired(), [(1, CLOSED.or(API))]);
    assert_eq!(w.a.fired(), [(2, CLOSED)]);
    assert_eq!(w.b.get(w.at_b), b"unread");
    assert!(w.b.is_dead(w.at_b));
}

#[test]
fn n158_removed_is_told_when_the_peer_knows() {
    let p = alone();
    let (a, b) = p.pair();
    p.trap(b, NEW, 1).unwrap();
    let process = p.process.clone();
    let seen = Arc::new(Mutex::new(None));
    let see = seen.clone();
    p.react(move |_| *see.lock().unwrap() = Some((process.query(a).unwrap(), process.put(a, b"", &[]))));
    p.close(b);
    let status = PortalStatus { peer_closed: true, dead: true, ..PortalStatus::default() };
    assert_eq!(*seen.lock().unwrap(), Some((status, Err(Error::NotFound))));
}

#[test]
fn n113_reading_the_last_parcel_fires_death_inside_the_get() {
    let p = alone();
    let (a, b) = p.pair();
    p.put(a, b"1");
    p.close(a);
    p.trap(b, DEAD, 1).unwrap();
    p.process.get_into(b, &mut [0; 1], 0, GetFlags::default()).unwrap();
    assert_eq!(p.fired(), [(1, DEAD.or(API))]);
}

#[test]
fn consumption_is_seen_where_the_parcel_leaves_the_queue() {
    let p = alone();
    let (a, b) = p.pair();
    for _ in 0..2 {
        p.put(a, b"1");
    }
    p.close(a);
    // Nothing but consumption makes this one come true.
    p.trap(b, DEAD, 1).unwrap();
    let get = p.begin_get(b, EXCLUSIVE).unwrap();
    p.end_get(b, get.transaction, EndGet::Abort);
    let get = p.begin_get(b, EXCLUSIVE).unwrap();
    p.end_get(b, get.transaction, EndGet::Commit);
    assert_eq!(p.fired(), []);
    let get = p.begin_get(b, OVERLAPPED).unwrap();
    assert_eq!(p.fired(), [(1, DEAD.or(API))]);
    p.end_get(b, get.transaction, EndGet::Abort);
    assert_eq!(p.fired(), []);
}
