//! Real processes over the Unix driver: this test binary starts itself as its clients.
#![cfg(target_os = "linux")]

mod processes;

use ipcz::ids::NodeType;
use ipcz::limits::Limits;
use ipcz::{ConnectTo, Error, NodeOptions};
use ipcz_drivers::{UnixDriver, UnixLimits};
use processes::{Lengths, Program, client_of_a_test, start_own_client, three, two};

#[test]
#[ignore = "the client that the other tests start"]
fn client_process() {
    client_of_a_test();
}

#[test]
fn two_processes_talk() {
    two(start_own_client, &Lengths::default()).unwrap();
}

#[test]
fn two_clients_of_a_broker_end_up_linked_directly() {
    three(start_own_client, b"lead").unwrap();
}

#[test]
fn a_parcel_that_no_message_can_hold_is_refused_not_lost() {
    let program = |kind| {
        let limits = UnixLimits { frame_bytes: 20_000, ..UnixLimits::default() };
        // Without growth nothing of this size goes through shared memory.
        let options = NodeOptions { limits: Limits { grow_parcel_capacity: false, ..Limits::default() }, ..NodeOptions::default() };
        Program::with(kind, UnixDriver::with_limits(limits).unwrap(), options)
    };
    let (broker, client) = (program(NodeType::Broker), program(NodeType::Normal));
    let [ours, theirs] = UnixDriver::socket_pair().unwrap();
    let transport = broker.driver.adopt(ours).unwrap();
    let near = broker.process.connect_node(broker.node, transport, 1, ConnectTo::Normal).unwrap()[0];
    let far = client.join_broker(theirs);

    let attachments = |count| (0..count).map(|_| broker.process.open_portals(broker.node).unwrap().1).collect::<Vec<_>>();
    let largest = (0..20_000).rev().find(|size| broker.process.put(near, &vec![7; *size], &[]).is_ok()).unwrap();
    let most = (0..200).rev().find(|count| broker.process.put(near, &vec![7; largest], &attachments(*count)).is_ok()).unwrap();
    assert!(largest > 9_000 && most > 90, "{largest} bytes, {most} attachments");
    assert_eq!(broker.process.put(near, &vec![7; largest + 1], &[]), Err(Error::ResourceExhausted));
    assert_eq!(client.get(far).unwrap().data, vec![7; largest]);
    let received = client.get(far).unwrap();
    assert_eq!((received.data, received.handles.len()), (vec![7; largest], most));
    client.end();
    broker.end();
}
