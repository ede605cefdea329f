//! What a program holds, and that nothing stays once it is closed.

mod hand;

use std::sync::Arc;

use hand::*;
use ipcz::ids::NodeType;
use ipcz::{BoxContents, ConnectTo, LiveObjects, Node, NodeOptions};
use ipcz_drivers::InProcess;

#[test]
fn everything_is_counted_and_gone_when_it_is_closed() {
    let driver = InProcess::new();
    let (broker, client) = (Node::broker(driver.clone()).unwrap(), Node::normal(driver.clone()).unwrap());
    let [a, b] = driver.transport_pair();
    let near = broker.connect(a, 1, ConnectTo::Normal).unwrap().remove(0);
    let far = client.connect(b, 1, ConnectTo::Broker).unwrap().remove(0);
    let connected = LiveObjects { handles: 2, nodes: 1, links: 1, routers: 1, proxies: 0, boxes: 0, parcels: 0, driver_objects: 1 };
    assert_eq!((broker.live_objects(), client.live_objects()), (Ok(connected), Ok(connected)));

    let token = client.box_object(BoxContents::Driver(driver.token(1))).unwrap();
    let boxed = LiveObjects { handles: 3, boxes: 1, driver_objects: 2, ..connected };
    assert_eq!(client.live_objects(), Ok(boxed));
    far.put_with(b"", vec![token.into()]).unwrap();
    assert_eq!(client.live_objects(), Ok(connected), "it is the broker's now");
    assert_eq!(broker.live_objects(), Ok(LiveObjects { boxes: 1, driver_objects: 2, ..connected }));

    let (process, node) = (Arc::clone(broker.process().0), Arc::clone(client.process().0));
    drop(near);
    assert_eq!(broker.live_objects(), Ok(LiveObjects { handles: 1, routers: 0, ..connected }));
    drop((far, broker, client));
    assert_eq!((process.live_objects(), node.live_objects()), (Ok(LiveObjects::default()), Ok(LiveObjects::default())));
    assert_eq!(driver.live_objects(), 0);
}

#[test]
fn a_driver_is_kept_once_however_many_nodes_use_it() {
    let driver = InProcess::new();
    let first = Node::normal(driver.clone()).unwrap();
    let before = Arc::strong_count(&driver);
    let nodes: Vec<Node> = (0..50).map(|_| first.beside(NodeType::Broker, driver.clone(), NodeOptions::default()).unwrap()).collect();
    assert_eq!(Arc::strong_count(&driver), before);
    let other = InProcess::new();
    let beside = first.beside(NodeType::Normal, other.clone(), NodeOptions::default()).unwrap();
    let [a, b] = other.transport_pair();
    assert!(nodes[0].connect(a, 1, ConnectTo::Normal).is_err(), "another driver's transport");
    assert!(beside.connect(b, 1, ConnectTo::Broker).is_ok());
}

#[test]
fn proxies_that_a_peer_does_not_let_go_are_counted() {
    let driver = InProcess::new();
    let program = Program::with(driver.clone(), NodeType::Broker, NodeOptions::default());
    let (_silent, portals) = Hand::client(&driver, &program, 3);
    let (_other, carriers) = Hand::client(&driver, &program, 1);
    let proxies = || program.process.live_objects().unwrap().proxies;
    assert_eq!(proxies(), 0);
    let given = [portals[0], portals[1]];
    program.process.put(carriers[0], b"", &given).unwrap();
    assert_eq!(proxies(), 2);
}
