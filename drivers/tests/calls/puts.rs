//! Put, status, and what closing does to what was put.

use ipcz::limits::Limits;
use ipcz::{Error, NodeOptions};

use super::world::*;

#[test]
fn n010_closing_a_portal_closes_the_portals_in_its_unread_parcels() {
    let p = alone();
    let ((a, b), (c, d)) = (p.pair(), p.pair());
    p.process.put(a, b"", &[c]).unwrap();
    p.close(b);
    let status = p.status(d);
    assert!(status.peer_closed && status.dead);
}

#[test]
fn n047_n049_n051_status_counts_what_can_be_read() {
    let p = alone();
    let ((a, b), (c, _d)) = (p.pair(), p.pair());
    assert_eq!(p.status(b), Default::default());
    for data in [&b"12"[..], b"123", b""] {
        p.put(a, data);
    }
    p.process.put(a, b"", &[c]).unwrap();
    assert_eq!(p.counts(b), (4, 5));
    p.close(a);
    let status = p.status(b);
    assert!(status.peer_closed && !status.dead && status.parcels == 4);
    for left in [(3, 3), (2, 0), (1, 0), (0, 0)] {
        p.process.get(b).unwrap();
        assert_eq!(p.counts(b), left);
    }
    assert!(p.is_dead(b) && p.status(b).peer_closed);
}

#[test]
fn n052_query_wants_a_portal() {
    let p = alone();
    let (a, b) = p.pair();
    p.put(a, b"1");
    let parcel = p.keep(b);
    for wrong in [parcel, p.node] {
        assert_eq!(p.process.query(wrong).map(drop), INVALID);
    }
}

#[test]
fn n064_n065_n070_a_bad_attachment_refuses_all() {
    let p = alone();
    let ((a, b), (c, d)) = (p.pair(), p.pair());
    p.put(a, b"1");
    let parcel = p.keep(b);
    for wrong in [p.node, parcel, a, b] {
        assert_eq!(p.process.put(a, b"", &[c, wrong]), INVALID);
    }
    for wrong in [p.node, parcel] {
        assert_eq!(p.process.put(wrong, b"", &[]), INVALID);
    }
    p.put(c, b"usable");
    assert_eq!(p.get(d), b"usable");
}

#[test]
fn n067_n068_n073_a_closed_peer_takes_no_attachment() {
    let w = both();
    let ((c, d), (here, there)) = (w.a.pair(), w.pair());
    w.b.close(there);
    assert_eq!(w.a.process.put(here, b"", &[c]), Err(Error::NotFound));
    assert_eq!(w.a.process.put(here, b"", &[here]), INVALID, "a bad attachment wins");
    w.a.put(d, b"unaffected");
    assert_eq!(w.a.get(c), b"unaffected");
    w.end(&[here, c, d], &[]);
}

#[test]
fn a_bad_attachment_wins_over_a_limit() {
    let p = Program::new(
        ipcz_drivers::InProcess::new(),
        ipcz::ids::NodeType::Broker,
        NodeOptions { limits: Limits { parcel_bytes: 10, ..Limits::default() }, ..NodeOptions::default() },
    );
    let (a, b) = p.pair();
    assert_eq!(p.process.put(a, &[0; 11], &[b]), INVALID);
    assert_eq!(p.process.put(a, &[0; 11], &[]), Err(Error::ResourceExhausted));
}

#[test]
fn n185_put_and_end_put_keep_one_order() {
    let w = both();
    let (here, there) = w.pair();
    for i in 0..20u8 {
        let data = vec![i; 100 * usize::from(i)];
        if i % 2 == 0 {
            w.a.put(here, &data);
        } else {
            let put = w.a.begin_put(here, &data);
            w.a.process.end_put(here, put, data.len(), &[]).unwrap();
        }
    }
    for i in 0..20u8 {
        assert_eq!(w.b.get(there), vec![i; 100 * usize::from(i)]);
    }
    w.end(&[here], &[there]);
}
