//! Our drivers as C tables: those that a program has one of, and those of drivers made in Rust.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks, reason = "a C program in Rust: what it passes lives until the call returns")]

use std::ptr::{null, null_mut};
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use ipcz::abi::result::{INVALID_ARGUMENT, OK, UNAVAILABLE};
use ipcz::abi::*;
use ipcz::driver::DriverError;
use ipcz_drivers::InProcess;
use ipcz_drivers::c_table::{IpczInProcessDriver, IpczInProcessDriverWith, PackedSize, TABLES, Table};

fn api() -> IpczApi {
    let mut room = [size_of::<IpczApi>(); size_of::<IpczApi>() / size_of::<usize>()];
    unsafe {
        assert_eq!(ipcz::ffi::IpczGetAPI(room.as_mut_ptr().cast()), OK);
        room.as_ptr().cast::<IpczApi>().read()
    }
}

/// The ends of a connection, made by the table itself.
fn pair(table: &IpczDriver) -> [IpczDriverHandle; 2] {
    let (mut a, mut b) = (0, 0);
    assert_eq!(unsafe { table.create_transports.unwrap()(0, 0, 0, null(), &mut a, &mut b) }, OK);
    [a, b]
}

static DEAD: Mutex<Option<Sender<u32>>> = Mutex::new(None);

unsafe extern "C" fn dead(event: *const IpczTrapEvent) {
    let _ = DEAD.lock().unwrap().as_ref().unwrap().send(unsafe { (*event).condition_flags });
}

#[test]
fn a_program_s_in_process_drivers_connect_its_nodes() {
    let api = api();
    assert_eq!(IpczInProcessDriver(), IpczInProcessDriverWith(0));
    let (told, deaths) = channel();
    *DEAD.lock().unwrap() = Some(told);
    let mut tables = Vec::new();
    for flags in 0..4 {
        let table = IpczInProcessDriverWith(flags | 0xfc);
        assert!(!tables.contains(&table), "each is another driver");
        tables.push(table);
        let driver = unsafe { &*table };
        let mut nodes = [0; 2];
        for (node, flags) in nodes.iter_mut().zip([CREATE_NODE_AS_BROKER, 0]) {
            assert_eq!(unsafe { (api.create_node)(table, flags, null(), node) }, OK);
        }
        let ends = pair(driver);
        let mut portals = [0; 2];
        for i in 0..2 {
            let how = [0, CONNECT_NODE_TO_BROKER][i];
            assert_eq!(unsafe { (api.connect_node)(nodes[i], ends[i], 1, how, null(), &mut portals[i]) }, OK, "flags {flags}");
        }
        assert_eq!(unsafe { (api.put)(portals[0], b"x".as_ptr().cast(), 1, null(), 0, 0, null()) }, OK);
        // The parcel comes, and then the end of the broker.
        let wanted = IpczTrapConditions { size: 32, flags: TRAP_ABOVE_MIN_LOCAL_PARCELS, min_local_parcels: 0, min_local_bytes: 0 };
        let trap =
            |wanted: IpczTrapConditions| unsafe { (api.trap)(portals[1], &wanted, Some(dead), 0, 0, null(), null_mut(), null_mut()) };
        if trap(wanted) == OK {
            assert_ne!(deaths.recv_timeout(Duration::from_secs(60)).unwrap() & TRAP_ABOVE_MIN_LOCAL_PARCELS, 0, "flags {flags}");
        }
        let get = || unsafe { (api.get)(portals[1], GET_PARTIAL, null(), null_mut(), null_mut(), null_mut(), null_mut(), null_mut()) };
        assert_eq!((get(), get()), (OK, UNAVAILABLE));
        assert_eq!(trap(IpczTrapConditions { flags: TRAP_DEAD, ..wanted }), OK);
        assert_eq!(unsafe { (api.close)(nodes[0], 0, null()) }, OK);
        assert_ne!(deaths.recv_timeout(Duration::from_secs(60)).unwrap() & TRAP_DEAD, 0, "flags {flags}");
        for it in [portals[0], portals[1], nodes[1]] {
            assert_eq!(unsafe { (api.close)(it, 0, null()) }, OK);
        }
    }
}

#[test]
fn there_are_so_many_tables_for_drivers_of_rust_and_they_are_given_back() {
    let driver = InProcess::new();
    let make = || Table::of(driver.clone(), PackedSize::IN_PROCESS);
    let mut tables: Vec<Table> = (0..TABLES).map(|_| make().unwrap()).collect();
    assert_eq!(make().err(), Some(DriverError::ResourceExhausted));
    let [a, b] = pair(&tables[7]);
    assert_eq!(driver.live_objects(), 2);
    let close = tables[7].close.unwrap();
    assert_eq!(unsafe { close(a, 0, null()) }, OK);
    tables.remove(7);
    assert_eq!(unsafe { close(b, 0, null()) }, INVALID_ARGUMENT, "nobody's now");
    let again = make().unwrap();
    assert_eq!((unsafe { close(b, 0, null()) }, driver.live_objects()), (OK, 0));
    drop((again, tables));
    assert_eq!(std::sync::Arc::strong_count(&driver), 1);
}
