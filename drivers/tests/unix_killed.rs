//! A process killed in the middle of its traffic. Alone in its binary, since it counts the process's descriptors.
#![cfg(target_os = "linux")]

mod processes;

use ipcz::Error;
use ipcz::ids::NodeType;
use processes::{Program, client_of_a_test, ended_well, start_own_client};

#[test]
#[ignore = "the client that the other test starts"]
fn client_process() {
    client_of_a_test();
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_killed_process_closes_its_portals_at_both_its_peers_and_leaves_no_descriptor() {
    let before = open_descriptors();
    for _ in 0..3 {
        let broker = Program::new(NodeType::Broker);
        let (mut a, to_a) = start_own_client(&broker);
        let (mut c, to_c) = start_own_client(&broker);
        let (p, q) = broker.process.open_portals(broker.node).unwrap();
        assert_eq!(broker.ask(to_c, b"echo", &[q]).unwrap(), b"ready");
        assert_eq!(broker.ask(to_a, b"flood", &[p]).unwrap(), b"flooding");

        c.kill().unwrap();
        c.wait().unwrap();
        assert_eq!(broker.get(to_a).unwrap().data, b"the peer is gone");
        assert_eq!(broker.get(to_c), Err(Error::NotFound));
        assert_eq!(broker.process.put(to_c, b"late", &[]), Err(Error::NotFound));

        broker.put(to_a, b"end", &[]).unwrap();
        assert!(ended_well(&mut a));
        broker.end();
        assert_eq!(open_descriptors(), before);
    }
}
