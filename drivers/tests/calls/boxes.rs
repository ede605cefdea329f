//! Boxes: made, opened, attached, and what becomes of them on the way to another node.

use std::sync::{Arc, Mutex};

use ipcz::driver::Driver;
use ipcz::ids::{Handle, ObjectId};
use ipcz::{Application, ApplicationObject, BoxContents, Error, Serialized};

use super::world::*;

/// An application that notes what is asked of it. Object 0 cannot be serialized; what the others become is set beforehand.
#[derive(Default)]
struct Owner {
    calls: Mutex<Vec<(&'static str, u64)>>,
    become_: Mutex<Vec<Option<Serialized>>>,
}

impl Owner {
    fn object(self: &Arc<Self>, object: u64) -> BoxContents {
        BoxContents::Application(ApplicationObject { object, owner: self.clone() })
    }

    /// The next object to be serialized becomes this.
    fn becomes(&self, data: &[u8], handles: &[Handle]) {
        let made = Serialized { data: data.to_vec(), handles: handles.to_vec() };
        self.become_.lock().unwrap().insert(0, Some(made));
    }

    fn refuses(&self) {
        self.become_.lock().unwrap().insert(0, None);
    }

    fn calls(&self) -> Vec<(&'static str, u64)> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

impl Application for Owner {
    fn can_serialize(&self, object: u64) -> bool {
        object != 0
    }

    fn serialize(&self, object: u64) -> Option<Serialized> {
        self.calls.lock().unwrap().push(("serialize", object));
        self.become_.lock().unwrap().pop().unwrap()
    }

    fn destroy(&self, object: u64) {
        self.calls.lock().unwrap().push(("destroy", object));
    }
}

fn boxed(program: &Program, object: ObjectId) -> Handle {
    program.process.box_object(program.node, BoxContents::Driver(object)).unwrap()
}

fn unboxed(program: &Program, handle: Handle) -> ObjectId {
    match program.process.unbox(handle).unwrap() {
        BoxContents::Driver(object) => object,
        other => panic!("{other:?}"),
    }
}

/// The subparcel in a box, as a parcel.
fn subparcel(program: &Program, handle: Handle) -> Handle {
    match program.process.unbox(handle).unwrap() {
        BoxContents::Subparcel(parcel) => parcel,
        other => panic!("{other:?}"),
    }
}

fn boxed_application(program: &Program, owner: &Arc<Owner>, object: u64) -> Handle {
    program.process.box_object(program.node, owner.object(object)).unwrap()
}

#[test]
fn n159_n160_a_box_needs_a_node_and_makes_no_subparcels() {
    let w = both();
    let object = w.driver.token(7);
    assert_eq!(w.a.process.box_object(w.at_a, BoxContents::Driver(object)), Err(Error::InvalidArgument));
    assert_eq!(w.a.process.box_object(w.a.node, BoxContents::Subparcel(w.at_a)), Err(Error::Unimplemented));
    assert_eq!(w.driver.value(object), Some(7), "still the caller's");
    w.driver.close(object);
    w.end(&[], &[]);
}

#[test]
fn n162_n163_only_boxes_are_opened_and_looking_takes_nothing() {
    let w = both();
    let object = w.driver.token(7);
    let handle = boxed(&w.a, object);
    for other in [w.at_a, w.a.node] {
        assert!(matches!(w.a.process.unbox(other), Err(Error::InvalidArgument)));
    }
    for _ in 0..3 {
        assert!(matches!(w.a.process.peek_box(handle), Ok(BoxContents::Driver(seen)) if seen == object));
    }
    assert_eq!(unboxed(&w.a, handle), object);
    assert!(matches!(w.a.process.unbox(handle), Err(Error::InvalidArgument)));
    w.driver.close(object);
    w.end(&[], &[]);
}

#[test]
fn n12_closing_a_box_closes_what_is_in_it_also_after_its_node() {
    let w = both();
    let (object, owner) = (w.driver.token(7), Arc::new(Owner::default()));
    let (first, second) = (boxed(&w.a, object), boxed_application(&w.a, &owner, 5));
    w.a.close(w.a.node);
    w.a.close(first);
    assert_eq!(w.driver.value(object), None);
    w.a.close(second);
    assert_eq!(owner.calls(), [("destroy", 5)]);
}

#[test]
fn n71_boxes_cross_a_local_route_as_they_are() {
    let w = both();
    let (owner, object) = (Arc::new(Owner::default()), w.driver.token(7));
    let (p, q) = w.a.pair();
    let boxes = [boxed(&w.a, object), boxed_application(&w.a, &owner, 0)];
    w.a.process.put(p, b"two boxes", &boxes).unwrap();
    assert_eq!(w.a.process.put(p, b"", &boxes), INVALID, "they are the parcel's now");
    let handles = w.a.process.get(q).unwrap().handles;
    assert_eq!(unboxed(&w.a, handles[0]), object);
    assert!(matches!(w.a.process.unbox(handles[1]), Ok(BoxContents::Application(it)) if it.object == 0));
    assert_eq!(owner.calls(), [], "nobody asked, nothing destroyed: it is the caller's");
    w.driver.close(object);
    w.end(&[p, q], &[]);
}

#[test]
fn n72_what_cannot_go_is_refused_and_stays_the_callers() {
    let w = both();
    let owner = Arc::new(Owner::default());
    let closed = w.driver.token(1);
    w.driver.close(closed);
    let (bad, stubborn, good) = (boxed(&w.a, closed), boxed_application(&w.a, &owner, 0), boxed(&w.a, w.driver.token(2)));
    assert_eq!(w.a.process.put(w.at_a, b"", &[good, bad]), INVALID);
    assert_eq!(w.a.process.put(w.at_a, b"", &[good, stubborn]), INVALID, "the route leaves the node");
    assert_eq!(w.a.process.put(w.at_a, b"", &[good, good]), INVALID, "the same twice");
    w.a.process.put(w.at_a, b"", &[good]).unwrap();
    let handles = w.b.process.get(w.at_b).unwrap().handles;
    assert_eq!(w.driver.value(unboxed(&w.b, handles[0])), Some(2));
    assert_eq!(owner.calls(), []);
    w.a.close(stubborn);
    assert_eq!(owner.calls(), [("destroy", 0)]);
}

#[test]
fn n76_n165_attachments_of_all_kinds_arrive_in_order() {
    let w = both();
    let owner = Arc::new(Owner::default());
    let ((p, q), (r, s)) = (w.a.pair(), w.a.pair());
    let memory = w.driver.allocate(4096).unwrap();
    owner.becomes(b"was an object", &[]);
    let attached = [q, boxed(&w.a, memory), boxed_application(&w.a, &owner, 9), s, boxed(&w.a, w.driver.token(3))];
    w.a.process.put(w.at_a, &[5; 1000], &attached).unwrap();
    assert_eq!(owner.calls(), [("serialize", 9), ("destroy", 9)]);
    let received = w.b.process.get(w.at_b).unwrap();
    assert_eq!((received.data, received.handles.len()), (vec![5; 1000], 5));
    w.a.put(p, b"1");
    w.a.put(r, b"2");
    assert_eq!((w.b.get(received.handles[0]), w.b.get(received.handles[3])), (b"1".to_vec(), b"2".to_vec()));
    let memory = unboxed(&w.b, received.handles[1]);
    assert_eq!(w.driver.size(memory), Ok(4096));
    let parcel = subparcel(&w.b, received.handles[2]);
    assert_eq!(w.b.get(parcel), b"was an object");
    let token = unboxed(&w.b, received.handles[4]);
    assert_eq!(w.driver.value(token), Some(3));
    w.driver.close(memory);
    w.driver.close(token);
    w.end(&[p, r], &[received.handles[0], received.handles[3], parcel]);
}

#[test]
fn n167_what_a_serializer_sends_along_works() {
    let w = both();
    let owner = Arc::new(Owner::default());
    let (p, q) = w.a.pair();
    owner.becomes(b"with", &[boxed(&w.a, w.driver.token(4)), q]);
    w.a.process.put(w.at_a, b"", &[boxed_application(&w.a, &owner, 1)]).unwrap();
    let handles = w.b.process.get(w.at_b).unwrap().handles;
    let parcel = subparcel(&w.b, handles[0]);
    let inside = w.b.process.get(parcel).unwrap();
    assert_eq!(inside.data, b"with");
    let token = unboxed(&w.b, inside.handles[0]);
    assert_eq!(w.driver.value(token), Some(4));
    w.a.put(p, b"end to end");
    assert_eq!(w.b.get(inside.handles[1]), b"end to end");
    w.driver.close(token);
    w.end(&[p], &[inside.handles[1], parcel]);
}

#[test]
fn a7_a_serializer_that_sends_boxed_objects_along_is_not_listened_to() {
    let w = both();
    let (owner, inner) = (Arc::new(Owner::default()), Arc::new(Owner::default()));
    let (p, q) = w.a.pair();
    let token = w.driver.token(4);
    owner.becomes(b"nested", &[q, boxed_application(&w.a, &inner, 2), boxed(&w.a, token)]);
    w.a.process.put(w.at_a, b"main", &[boxed_application(&w.a, &owner, 1)]).unwrap();
    let received = w.b.process.get(w.at_b).unwrap();
    let parcel = subparcel(&w.b, received.handles[0]);
    let inside = w.b.process.get(parcel).unwrap();
    assert_eq!((received.data, inside.data.len(), inside.handles.len()), (b"main".to_vec(), 0, 0));
    assert_eq!((owner.calls(), inner.calls()), (vec![("serialize", 1), ("destroy", 1)], vec![("destroy", 2)]));
    assert_eq!(w.driver.value(token), None);
    assert!(w.a.is_dead(p), "taken over, and closed");
    w.end(&[p], &[parcel]);
}

#[test]
fn a3_an_object_that_refuses_late_leaves_an_empty_parcel_and_no_gap() {
    let w = both();
    let owner = Arc::new(Owner::default());
    let (p, q) = w.a.pair();
    // Local until q leaves with the parcel in its queue.
    w.a.process.put(p, b"first", &[boxed_application(&w.a, &owner, 0)]).unwrap();
    w.a.put(p, b"second");
    owner.refuses();
    w.a.process.put(w.at_a, b"", &[q]).unwrap();
    assert_eq!(owner.calls(), [("serialize", 0), ("destroy", 0)]);
    let there = w.b.get_portal(w.at_b);
    let first = w.b.process.get(there).unwrap();
    assert_eq!((first.data, w.b.get(there)), (b"first".to_vec(), b"second".to_vec()));
    let parcel = subparcel(&w.b, first.handles[0]);
    assert_eq!(w.b.get(parcel), b"");
    w.end(&[p], &[there, parcel]);
}

/// A boxed subparcel at B, with some bytes, a portal and an object in it: the portal's peer, the object, the box.
fn sent_subparcel(w: &Both, owner: &Arc<Owner>) -> (Handle, ObjectId, Handle) {
    let (p, q) = w.a.pair();
    let token = w.driver.token(6);
    owner.becomes(b"bytes", &[q, boxed(&w.a, token)]);
    w.a.process.put(w.at_a, b"", &[boxed_application(&w.a, owner, 1)]).unwrap();
    (p, token, w.b.process.get(w.at_b).unwrap().handles[0])
}

#[test]
fn n169_n170_n171_a_subparcel_travels_on_and_back_and_closes_what_is_in_it() {
    let w = both();
    let owner = Arc::new(Owner::default());
    let (p, token, there) = sent_subparcel(&w, &owner);
    let seen = peeked(&w.b, there);
    let bytes = w.b.process.get_into(seen, &mut [0; 5], 0, ipcz::GetFlags { partial: true, keep: false }).unwrap().bytes;
    assert_eq!((peeked(&w.b, there), bytes), (seen, 5), "n163");
    w.b.process.put(w.at_b, b"back", &[there]).unwrap();
    assert_eq!(w.b.process.close(seen), Err(Error::InvalidArgument), "it went with its box");
    let back = w.a.process.get(w.at_a).unwrap().handles[0];
    let parcel = subparcel(&w.a, back);
    let inside = w.a.process.get_into(parcel, &mut [0; 5], 0, ipcz::GetFlags { partial: true, keep: false }).unwrap();
    assert_eq!(inside.bytes, 5);
    assert_eq!(w.a.process.reject(parcel, 1), Err(Error::FailedPrecondition), "n177");
    assert!(!w.a.is_dead(p));
    w.a.close(parcel);
    assert!(w.a.is_dead(p), "the portal inside is closed");
    assert_eq!(w.driver.value(token), None, "and the object");
    w.end(&[p], &[]);
}

/// The subparcel in a box, which stays there.
fn peeked(program: &Program, handle: Handle) -> Handle {
    match program.process.peek_box(handle) {
        Ok(BoxContents::Subparcel(parcel)) => parcel,
        other => panic!("{other:?}"),
    }
}

#[test]
fn n172_what_is_taken_from_a_subparcel_in_its_box_is_gone_from_the_box() {
    let w = both();
    let owner = Arc::new(Owner::default());
    let (p, _, there) = sent_subparcel(&w, &owner);
    let one = ipcz::GetFlags { partial: true, keep: false };
    let taken = w.b.process.get_into(peeked(&w.b, there), &mut [], 1, one).unwrap().handles[0];
    w.b.process.put(w.at_b, b"", &[there]).unwrap();
    let parcel = subparcel(&w.a, w.a.process.get(w.at_a).unwrap().handles[0]);
    let left = w.a.process.get(parcel).unwrap();
    assert_eq!((left.data, left.handles.len()), (b"bytes".to_vec(), 1), "the object, without the portal");
    w.b.put(taken, b"works");
    assert_eq!(w.a.get(p), b"works");
    // Opened after it was looked at, it is the same parcel; closed, it closes what is left in it.
    owner.becomes(b"more", &[]);
    w.a.process.put(w.at_a, b"", &[boxed_application(&w.a, &owner, 2)]).unwrap();
    let there = w.b.process.get(w.at_b).unwrap().handles[0];
    let seen = peeked(&w.b, there);
    assert_eq!(subparcel(&w.b, there), seen);
    owner.becomes(b"most", &[]);
    w.a.process.put(w.at_a, b"", &[boxed_application(&w.a, &owner, 3)]).unwrap();
    let there = w.b.process.get(w.at_b).unwrap().handles[0];
    let looked_at = peeked(&w.b, there);
    w.b.close(there);
    assert_eq!(w.b.process.close(looked_at), Err(Error::InvalidArgument));
    w.end(&[p, parcel, left.handles[0]], &[taken, seen]);
}

#[test]
fn n173_as_many_subparcels_as_there_may_be_and_not_one_more() {
    let w = both();
    let owner = Arc::new(Owner::default());
    let mut boxes: Vec<Handle> = (1..=1024).map(|object| boxed_application(&w.a, &owner, object)).collect();
    assert_eq!(w.a.process.put(w.at_a, b"", &boxes), Err(Error::ResourceExhausted));
    assert_eq!(owner.calls(), []);
    let over = boxes.pop().unwrap();
    for object in 1..1024u64 {
        owner.becomes(&object.to_le_bytes(), &[]);
    }
    w.a.process.put(w.at_a, b"", &boxes).unwrap();
    let handles = w.b.process.get(w.at_b).unwrap().handles;
    for (object, handle) in (1..1024u64).zip(&handles) {
        let parcel = subparcel(&w.b, *handle);
        assert_eq!(w.b.get(parcel), object.to_le_bytes());
        w.b.close(parcel);
    }
    assert_eq!(handles.len(), 1023);
    w.a.close(over);
    w.end(&[], &[]);
}

#[test]
fn n11_boxes_in_parcels_that_nobody_reads_are_closed_with_them() {
    let w = both();
    let owner = Arc::new(Owner::default());
    let (local, remote, kept) = (w.driver.token(1), w.driver.token(2), w.driver.token(3));
    let (p, q) = w.a.pair();
    w.a.process.put(p, b"", &[boxed(&w.a, local), boxed_application(&w.a, &owner, 3)]).unwrap();
    w.a.close(q);
    assert_eq!((w.driver.value(local), owner.calls()), (None, vec![("destroy", 3)]));
    let (here, there) = w.pair();
    w.a.process.put(here, b"", &[boxed(&w.a, remote)]).unwrap();
    w.a.process.put(here, b"", &[boxed(&w.a, kept)]).unwrap();
    assert_eq!(w.driver.value(remote), Some(2));
    let get = w.b.begin_get(there, OVERLAPPED).unwrap();
    w.b.close(there);
    assert_eq!((w.driver.value(kept), w.driver.value(remote)), (None, Some(2)));
    assert_eq!(w.driver.value(unboxed(&w.b, get.handles[0])), Some(2), "taken before");
    w.driver.close(remote);
    w.end(&[p, here], &[]);
}

#[test]
fn a_put_that_is_refused_has_taken_no_box() {
    let w = both();
    let token = w.driver.token(1);
    let (p, q) = w.a.pair();
    w.a.close(q);
    let handle = boxed(&w.a, token);
    assert_eq!(w.a.process.put(p, b"", &[handle]), Err(Error::NotFound));
    let put = w.a.begin_put(w.at_a, b"open");
    w.a.process.end_put(w.at_a, put, 4, &[handle]).unwrap();
    let received = w.b.process.get(w.at_b).unwrap();
    assert_eq!(received.data, b"open");
    assert_eq!(unboxed(&w.b, received.handles[0]), token);
    w.driver.close(token);
    w.end(&[p], &[]);
}

#[test]
fn objects_die_with_the_node_they_were_sent_to() {
    let w = both();
    let owner = Arc::new(Owner::default());
    let (sent, late) = (w.driver.token(1), w.driver.token(2));
    w.a.process.put(w.at_a, b"", &[boxed(&w.a, sent)]).unwrap();
    w.b.close(w.b.node);
    w.b.close(w.at_b);
    assert_eq!(w.driver.value(sent), None);
    let handle = boxed(&w.a, late);
    assert_eq!(w.a.process.put(w.at_a, b"", &[handle, boxed_application(&w.a, &owner, 1)]), Err(Error::NotFound));
    w.a.close(handle);
    assert_eq!((w.driver.value(late), owner.calls()), (None, vec![]));
}

#[test]
fn a15_what_cannot_go_at_last_leaves_something_empty_and_takes_nothing_with_it() {
    let w = both();
    let (p, q) = w.a.pair();
    let (gone, fine) = (w.driver.token(1), w.driver.token(2));
    let attached = [boxed(&w.a, gone), q, boxed(&w.a, fine)];
    // The driver does not know it any more.
    w.driver.close(gone);
    w.a.process.put(w.at_a, b"main", &attached).unwrap();
    w.a.put(w.at_a, b"behind it");
    let received = w.b.process.get(w.at_b).unwrap();
    assert_eq!((received.data, received.handles.len(), w.b.get(w.at_b)), (b"main".to_vec(), 3, b"behind it".to_vec()));
    let empty = subparcel(&w.b, received.handles[0]);
    assert_eq!(w.b.process.get(empty).unwrap(), ipcz::Received::default());
    w.a.put(p, b"works");
    assert_eq!(w.b.get(received.handles[1]), b"works");
    assert_eq!(unboxed(&w.b, received.handles[2]), fine);
    w.driver.close(fine);
    w.end(&[p], &[empty, received.handles[1]]);
}

#[test]
fn a15_in_a_subparcel_it_is_left_out() {
    let w = both();
    let owner = Arc::new(Owner::default());
    let (p, q) = w.a.pair();
    let gone = w.driver.token(1);
    let handle = boxed(&w.a, gone);
    w.driver.close(gone);
    owner.becomes(b"with", &[handle, q]);
    w.a.process.put(w.at_a, b"", &[boxed_application(&w.a, &owner, 1)]).unwrap();
    let handles = w.b.process.get(w.at_b).unwrap().handles;
    let parcel = subparcel(&w.b, handles[0]);
    let inside = w.b.process.get(parcel).unwrap();
    assert_eq!((inside.data, inside.handles.len()), (b"with".to_vec(), 1));
    w.a.put(p, b"works");
    assert_eq!(w.b.get(inside.handles[0]), b"works");
    w.end(&[p], &[parcel, inside.handles[0]]);
}
