//! Objects that can move only to or from a broker: they are relayed, and meet the rest of their parcel at the far end (nodes.md 8).

mod hand;

use std::sync::Arc;

use hand::*;
use ipcz::driver::Driver;
use ipcz::ids::{Handle, ObjectId};
use ipcz::{BoxContents, Error};
use ipcz_drivers::InProcess;

/// A broker and two clients that are linked directly, over a link that carries no objects; and the ends of a pipe of theirs.
struct Three {
    driver: Arc<InProcess>,
    broker: Program,
    x: Program,
    z: Program,
    at_x: Handle,
    at_z: Handle,
    /// Portals that are open beside those.
    rest: Vec<(usize, Handle)>,
}

fn three() -> Three {
    let driver = InProcess::brokering();
    let (broker, x, z) = (Program::broker(&driver), Program::normal(&driver), Program::normal(&driver));
    let ((x_to, to_x), (z_to, to_z)) = (connect(&driver, &x, &broker), connect(&driver, &z, &broker));
    let (a, b) = broker.process.open_portals(broker.node).unwrap();
    broker.process.put(to_x, b"", &[a]).unwrap();
    broker.process.put(to_z, b"", &[b]).unwrap();
    let (at_x, at_z) = (x.get_portal(x_to), z.get_portal(z_to));
    assert!(x.link(z.name()).is_some(), "linked directly");
    let rest = vec![(0, to_x), (0, to_z), (1, x_to), (2, z_to)];
    Three { driver, broker, x, z, at_x, at_z, rest }
}

impl Three {
    fn end(self) {
        self.x.close(self.at_x);
        self.z.close(self.at_z);
        let programs = [&self.broker, &self.x, &self.z];
        for (program, handle) in self.rest {
            programs[program].close(handle);
        }
        for program in programs {
            let left =
                program.process.inspect(|view| (view.router_count(), view.boxes(), view.links().iter().map(|l| l.pieces).sum::<usize>()));
            assert_eq!(left, (0, 0, 0));
        }
        // One may be closed already.
        for program in programs {
            let _ = program.process.close(program.node);
        }
        assert_eq!(self.driver.live_objects(), 0);
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

fn relays(program: &Program) -> u64 {
    program.process.inspect(|view| view.totals().probes.of(ipcz::probe::Probe::RelayPassedOn))
}

#[test]
fn n166_boxes_go_back_and_forth_in_order_with_the_data() {
    let w = three();
    let before = relays(&w.broker);
    for round in 0..50u64 {
        let token = w.driver.token(round);
        let (from, at, to, there) = if round % 2 == 0 { (&w.x, w.at_x, &w.z, w.at_z) } else { (&w.z, w.at_z, &w.x, w.at_x) };
        from.process.put(at, &round.to_le_bytes(), &[boxed(from, token)]).unwrap();
        from.put(at, b"behind it");
        let received = to.process.get(there).unwrap();
        assert_eq!(received.data, round.to_le_bytes());
        let object = unboxed(to, received.handles[0]);
        assert_eq!(w.driver.value(object), Some(round));
        w.driver.close(object);
        assert_eq!(to.get(there).unwrap(), b"behind it");
    }
    assert_eq!(relays(&w.broker) - before, 50);
    w.end();
}

#[test]
fn portals_go_directly_and_meet_the_relayed_objects() {
    let w = three();
    let (p, q) = w.x.process.open_portals(w.x.node).unwrap();
    let tokens: Vec<ObjectId> = (1..4).map(|value| w.driver.token(value)).collect();
    let attached = [boxed(&w.x, tokens[0]), q, boxed(&w.x, tokens[1]), boxed(&w.x, tokens[2])];
    w.x.process.put(w.at_x, b"mixed", &attached).unwrap();
    let handles = w.z.process.get(w.at_z).unwrap().handles;
    let values: Vec<_> = [0, 2, 3].map(|i| w.driver.value(unboxed(&w.z, handles[i]))).into();
    assert_eq!(values, [Some(1), Some(2), Some(3)]);
    w.x.put(p, b"direct");
    assert_eq!(w.z.get(handles[1]).unwrap(), b"direct");
    tokens.into_iter().for_each(|token| w.driver.close(token));
    w.x.close(p);
    w.z.close(handles[1]);
    w.end();
}

#[test]
fn memory_of_a_link_that_carries_no_objects_grows_through_the_broker() {
    let w = three();
    let before = relays(&w.broker);
    for _ in 0..40 {
        w.x.put(w.at_x, &[7; 5000]);
    }
    for _ in 0..40 {
        assert_eq!(w.z.get(w.at_z).unwrap(), [7; 5000]);
    }
    assert!(relays(&w.broker) > before, "a buffer was announced");
    w.end();
}

#[test]
fn a_broker_that_is_gone_takes_everything_with_it_and_nothing_is_left() {
    let w = three();
    let token = w.driver.token(1);
    w.x.process.put(w.at_x, b"", &[boxed(&w.x, token)]).unwrap();
    w.broker.close(w.broker.node);
    assert_eq!(w.x.link(w.z.name()), None);
    let late = boxed(&w.x, w.driver.token(2));
    assert_eq!(w.x.process.put(w.at_x, b"", &[late]), Err(Error::NotFound));
    w.x.close(late);
    let handles = w.z.process.get(w.at_z).unwrap().handles;
    w.driver.close(unboxed(&w.z, handles[0]));
    w.end();
}
