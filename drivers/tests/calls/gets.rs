//! Get, whole and in part.

use ipcz::ids::Handle;
use ipcz::{Error, GetFlags, GetRefused};

use super::world::*;

const WHOLE: GetFlags = GetFlags { partial: false, keep: false };
const PART: GetFlags = GetFlags { partial: true, keep: false };
const KEPT: GetFlags = GetFlags { partial: true, keep: true };

fn get(p: &Program, source: Handle, bytes: usize, handles: usize, flags: GetFlags) -> Result<(Vec<u8>, Vec<Handle>), GetRefused> {
    let mut data = vec![0xee; bytes];
    let got = p.process.get_into(source, &mut data, handles, flags)?;
    assert!(data[got.bytes..].iter().all(|byte| *byte == 0xee), "nothing is written beyond what is reported");
    assert_eq!(got.parcel, None);
    data.truncate(got.bytes);
    Ok((data, got.handles))
}

#[test]
fn n098_n099_an_empty_portal_has_nothing_yet_and_a_dead_one_never() {
    let p = alone();
    let (a, b) = p.pair();
    assert_eq!(get(&p, b, 9, 9, WHOLE), Err(Error::Unavailable.into()));
    p.close(a);
    for _ in 0..2 {
        assert_eq!(get(&p, b, 9, 9, WHOLE), Err(Error::NotFound.into()));
        assert_eq!(p.process.get(b), Err(Error::NotFound));
    }
}

#[test]
fn n100_n101_n104_what_does_not_fit_is_measured_and_stays() {
    let w = both();
    let ((here, there), (c, d)) = (w.pair(), w.a.pair());
    let data = [7; 600];
    w.a.process.put(here, &data, &[c]).unwrap();
    let refused = Err(GetRefused::TooSmall { bytes: 600, handles: 1 });
    for (bytes, handles) in [(0, 0), (599, 1), (600, 0)] {
        assert_eq!(get(&w.b, there, bytes, handles, WHOLE), refused);
    }
    assert_eq!(w.b.counts(there), (1, 600));
    let (got, portals) = get(&w.b, there, 700, 3, WHOLE).unwrap();
    assert_eq!((&got[..], portals.len()), (&data[..], 1));
    assert_eq!(get(&w.b, there, 0, 0, WHOLE), Err(Error::Unavailable.into()));
    w.end(&[here, d], &[there, portals[0]]);
}

#[test]
fn n069_an_empty_parcel_needs_no_room() {
    let p = alone();
    let (a, b) = p.pair();
    p.put(a, b"");
    assert_eq!(get(&p, b, 0, 0, WHOLE), Ok((vec![], vec![])));
}

#[test]
fn n106_what_a_partial_get_leaves_behind_is_closed() {
    let p = alone();
    let ((a, b), (c, d), (e, f)) = (p.pair(), p.pair(), p.pair());
    p.process.put(a, b"12345", &[c, e]).unwrap();
    let (data, portals) = get(&p, b, 2, 1, PART).unwrap();
    assert_eq!((&data[..], portals.len()), (&b"12"[..], 1));
    p.put(d, b"first is alive");
    assert_eq!(p.get(portals[0]), b"first is alive");
    assert!(p.is_dead(f) && !p.is_dead(d));
    assert_eq!(p.counts(b), (0, 0));
}

#[test]
fn n105_n109_n110_a_kept_parcel_gives_its_data_again_and_its_portals_once() {
    let w = both();
    let (here, there) = w.pair();
    let pairs = [w.a.pair(), w.a.pair(), w.a.pair()];
    let data: Vec<u8> = (0..2000).map(|i| i as u8).collect();
    w.a.process.put(here, &data, &pairs.map(|pair| pair.1)).unwrap();
    let mut part = [0; 2];
    let got = w.b.process.get_into(there, &mut part, 0, KEPT).unwrap();
    assert_eq!((got.bytes, part, got.handles.len()), (2, [0, 1], 0));
    let parcel = got.parcel.unwrap();
    let mut portals = Vec::new();
    for _ in 0..3 {
        let (again, one) = get(&w.b, parcel, 2000, 1, PART).unwrap();
        assert_eq!(again, data);
        portals.extend(one);
    }
    assert_eq!(get(&w.b, parcel, 2000, 1, WHOLE).unwrap(), (data.clone(), vec![]));
    assert_eq!(w.b.process.get(parcel).unwrap().data, data);
    for (i, (pair, portal)) in pairs.iter().zip(&portals).enumerate() {
        w.a.put(pair.0, &[i as u8]);
        assert_eq!(w.b.get(*portal), [i as u8], "in order from the front");
    }
    assert_eq!(get(&w.b, parcel, 5, 0, WHOLE), Err(GetRefused::TooSmall { bytes: 2000, handles: 0 }));
    w.end(&[here, pairs[0].0, pairs[1].0, pairs[2].0], &[there, parcel, portals[0], portals[1], portals[2]]);
}

#[test]
fn n107_n108_a_parcel_is_closed_as_often_as_it_was_acquired() {
    let p = alone();
    let (a, b) = p.pair();
    p.put(a, b"12");
    let parcel = p.keep(b);
    assert_eq!(p.process.get(b), Err(Error::Unavailable));
    let again = p.process.get_into(parcel, &mut [0; 2], 0, GetFlags { partial: false, keep: true }).unwrap();
    assert_eq!(again.parcel, Some(parcel));
    p.close(parcel);
    assert_eq!(p.get(parcel), b"12", "acquired twice, closed once");
    p.close(parcel);
    assert_eq!(p.process.close(parcel), INVALID);
    assert_eq!(p.process.get(parcel), Err(Error::InvalidArgument));
}

#[test]
fn n111_a_get_waits_for_an_exclusive_one_and_passes_overlapped_ones() {
    let p = alone();
    let (a, b) = p.pair();
    p.put(a, b"1");
    p.put(a, b"2");
    let open = p.begin_get(b, OVERLAPPED).unwrap().transaction;
    assert_eq!(p.get(b), b"2");
    p.put(a, b"3");
    p.end_get(b, open, ipcz::EndGet::Commit);
    let open = p.begin_get(b, EXCLUSIVE).unwrap().transaction;
    assert_eq!(p.process.get(b), Err(Error::AlreadyExists));
    assert_eq!(get(&p, b, 0, 0, WHOLE), Err(Error::AlreadyExists.into()), "before it is said not to fit");
    p.end_get(b, open, ipcz::EndGet::Abort);
    assert_eq!(p.get(b), b"3");
}

#[test]
fn n112_get_wants_a_portal_or_a_parcel() {
    let p = alone();
    assert_eq!(p.process.get(p.node), Err(Error::InvalidArgument));
    assert_eq!(get(&p, p.node, 0, 0, PART), Err(Error::InvalidArgument.into()));
}
