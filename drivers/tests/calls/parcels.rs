//! Parcels as objects: closing and rejecting.

use ipcz::{EndGet, Error};

use super::world::*;

#[test]
fn n174_closing_a_parcel_closes_what_is_in_it() {
    let w = both();
    let ((here, there), (c, d)) = (w.pair(), w.a.pair());
    w.a.process.put(here, &[1; 1000], &[c]).unwrap();
    let parcel = w.b.keep(there);
    assert!(!w.a.is_dead(d));
    w.b.close(parcel);
    assert!(w.a.is_dead(d));
    assert_eq!(w.b.process.close(parcel), INVALID);
    w.end(&[here, d], &[there]);
}

#[test]
fn n175_reject_wants_a_parcel_that_came_over_a_link() {
    let p = alone();
    let (a, b) = p.pair();
    p.put(a, b"");
    let parcel = p.keep(b);
    assert_eq!(p.process.reject(a, 1), INVALID);
    assert_eq!(p.process.reject(parcel, 1), Err(Error::FailedPrecondition));
    p.close(parcel);
    assert_eq!(p.process.reject(parcel, 1), INVALID);
}

#[test]
fn n176_n178_reject_reports_the_receiving_transport_each_time() {
    let w = both();
    let (here, there) = w.pair();
    w.a.put(here, b"1");
    w.a.put(here, b"2");
    let of_get = w.b.keep(there);
    let get = w.b.begin_get(there, EXCLUSIVE).unwrap();
    let of_end_get = w.b.end_get(there, get.transaction, EndGet::Keep).unwrap();
    for (parcel, context) in [(of_get, 7), (of_get, 8), (of_end_get, 9)] {
        w.b.process.reject(parcel, context).unwrap();
    }
    let reported = std::mem::take(&mut *w.driver.reported.lock().unwrap());
    assert_eq!(reported.iter().map(|report| report.1).collect::<Vec<_>>(), [7, 8, 9]);
    assert!(reported.iter().all(|report| report.0 == reported[0].0), "one link");
    w.end(&[here], &[there, of_get, of_end_get]);
}

#[test]
fn n176_a_parcel_that_is_kept_can_be_rejected_after_its_node_was_closed() {
    let w = both();
    let (here, there) = w.pair();
    w.a.put(here, &[3; 1000]);
    w.a.put(here, b"unread");
    let parcel = w.b.keep(there);
    w.b.close(w.b.node);
    w.b.process.reject(parcel, 5).unwrap();
    assert_eq!(w.driver.reported.lock().unwrap().len(), 1);
    assert_eq!(w.b.get(parcel), [3; 1000], "its data outlives the link");
    // What is taken only now comes from a link that is gone: there is nobody left to report to.
    w.b.close(parcel);
    let late = w.b.keep(there);
    w.b.process.reject(late, 6).unwrap();
    assert_eq!(w.driver.reported.lock().unwrap().len(), 1);
}

#[test]
fn n176_the_transport_is_closed_once_the_last_parcel_that_keeps_it_is() {
    let w = both();
    let (here, there) = w.pair();
    w.a.put(here, b"1");
    let parcel = w.b.keep(there);
    w.b.close(w.b.node);
    w.a.close(w.a.node);
    assert_ne!(w.driver.objects(), 0, "the parcel keeps its transport");
    w.b.close(parcel);
    assert_eq!(w.driver.objects(), 0);
}
