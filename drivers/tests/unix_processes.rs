//! Real processes over the Unix driver: this test binary starts itself as its clients.
#![cfg(target_os = "linux")]

mod processes;

use processes::{Lengths, client_of_a_test, start_own_client, three, two};

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
