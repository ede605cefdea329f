//! What the command and the processes of a world say to each other.

use serde::{Deserialize, Serialize};

/// A portal as its process knows it.
pub type Key = u64;

/// What a process is to do. Each is answered by a [`Report::Done`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Be this node.
    Be { broker: bool, mem_v2: bool },
    /// Connect over the socket that comes along, expecting at the far end what the name says (`ConnectTo`).
    Connect { to: To, delegate: bool },
    /// Open a pipe.
    Open,
    /// Put so many parcels as `write_payload` writes them for `from`, from `number` on; the first carries a portal.
    Put { portal: Key, from: u32, number: u64, count: u64, bytes: u64, carries: Option<Key> },
    /// Close a portal.
    Close { portal: Key },
    /// Merge two portals.
    Merge { portals: [Key; 2] },
    /// Ask how a portal is.
    Query { portal: Key },
    /// Say how far the routes are: answered by a [`Report::Seen`] before the `Done`.
    Look { portals: Vec<Key> },
    /// Close every portal.
    CloseAll,
    /// Close the node, and say what is left: answered by a [`Report::Left`] before the `Done`.
    End,
}

/// Whom a connection meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum To {
    Normal,
    Broker,
    Referred,
    Inherited,
}

/// What a process did or saw, in its order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Report {
    /// An order is carried out: how many times, with which new portals; or it was refused after so many.
    Done { order: u64, times: u64, made: Vec<Key>, refused: Option<String> },
    /// A parcel was taken.
    Took { portal: Key, bytes: u64, hash: u64, arrived: Vec<Key> },
    /// A portal's peer is closed, and everything it sent was read.
    Dead { portal: Key },
    /// Proxies here, bypasses so far, and which of the portals have a settled direct link.
    Seen { proxies: u64, bypasses: u64, direct: Vec<bool> },
    /// Objects that nobody has closed: of the driver, and of the library.
    Left { objects: u64, library: String },
}
