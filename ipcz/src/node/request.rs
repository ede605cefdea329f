//! What the network asks of drivers, and who waits for the answer. Asked without the lock, answered exactly once (design.md 3).

use super::network::Network;
use crate::driver::DriverError;
use crate::ids::{DriverKey, LinkKey, NodeKey, NodeName, ObjectId};
use crate::mapping::Mapping;

/// A question for the driver.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Memory for a link's pool, mapped and initialised as one block allocator.
    Memory {
        /// Asked of this driver.
        driver: DriverKey,
        /// Bytes.
        bytes: usize,
        /// Of these blocks.
        block_size: u32,
    },
    /// Memory for a peer that has none of its own.
    Grant {
        /// Asked of this driver.
        driver: DriverKey,
        /// Bytes.
        bytes: usize,
    },
    /// A pair of transports and a primary buffer for two nodes to be introduced.
    Introduction {
        /// Asked of this driver.
        driver: DriverKey,
        /// The links they will be sent over; pinned.
        toward: [ObjectId; 2],
    },
    /// A name and two primary buffers for a node that is referred here.
    Referral {
        /// Asked of this driver.
        driver: DriverKey,
    },
    /// A pair of transports for a referrer and the node it referred.
    Pair {
        /// Asked of this driver.
        driver: DriverKey,
        /// The links they will be sent over, pinned; none if the referrer is gone.
        toward: Option<[ObjectId; 2]>,
    },
}

/// What the driver said.
#[derive(Debug)]
pub enum Answer {
    /// To [`Ask::Memory`].
    Memory(Result<(ObjectId, Mapping), DriverError>),
    /// To [`Ask::Grant`].
    Grant(Result<ObjectId, DriverError>),
    /// To [`Ask::Introduction`].
    Introduction(Result<Introduced, DriverError>),
    /// To [`Ask::Referral`].
    Referral(Result<Means, DriverError>),
    /// To [`Ask::Pair`].
    Pair(Result<[ObjectId; 2], DriverError>),
}

impl Ask {
    /// The answer of a driver that does not come to answer.
    pub fn failed(&self) -> Answer {
        let error = DriverError::Unknown;
        match self {
            Ask::Memory { .. } => Answer::Memory(Err(error)),
            Ask::Grant { .. } => Answer::Grant(Err(error)),
            Ask::Introduction { .. } => Answer::Introduction(Err(error)),
            Ask::Referral { .. } => Answer::Referral(Err(error)),
            Ask::Pair { .. } => Answer::Pair(Err(error)),
        }
    }
}

/// What two nodes are introduced with.
#[derive(Clone, Copy, Debug)]
pub struct Introduced {
    /// An end for each.
    pub transports: [ObjectId; 2],
    /// The primary buffer for each.
    pub memory: [ObjectId; 2],
}

/// What a referred node is taken up with.
#[derive(Clone, Debug)]
pub struct Means {
    /// Its name.
    pub name: NodeName,
    /// The initialised primary buffer of its link to the broker: the object for it, the mapping for the broker.
    pub memory: (ObjectId, Mapping),
    /// The initialised primary buffer of its link to its referrer: one object for each.
    pub shared: [ObjectId; 2],
}

/// Who waits for an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// A link's pool.
    Growth {
        /// Asked of this driver.
        driver: DriverKey,
        /// The link.
        link: LinkKey,
        /// Its block size.
        block_size: u32,
    },
    /// A peer that asked for memory.
    Grant {
        /// Asked of this driver.
        driver: DriverKey,
        /// The peer.
        link: LinkKey,
        /// Bytes.
        bytes: u32,
    },
    /// A broker that introduces.
    Introduction {
        /// Asked of this driver.
        driver: DriverKey,
        /// The broker.
        node: NodeKey,
        /// Who becomes side A.
        first: LinkKey,
        /// Who becomes side B.
        second: LinkKey,
        /// Their names, ordered.
        names: (NodeName, NodeName),
    },
    /// A broker to which a node is referred.
    Referral {
        /// Asked of this driver.
        driver: DriverKey,
        /// The broker.
        node: NodeKey,
        /// The referrer.
        referrer: LinkKey,
        /// Its number of the referral.
        id: u64,
        /// Its portals.
        portals: u32,
        /// The transport to the referred node.
        transport: ObjectId,
    },
    /// A broker whom a referred node has greeted.
    Pair {
        /// Asked of this driver.
        driver: DriverKey,
        /// The referred node.
        link: LinkKey,
        /// The referrer; pinned if the transports are for it.
        referrer: Option<LinkKey>,
    },
}

impl Network {
    /// Puts a question.
    pub(super) fn ask(&mut self, request: Request, ask: Ask) {
        let key = self.requests.insert(request);
        self.out.asks.push((key, ask));
    }

    /// The driver's answer to a question of this network.
    pub fn answered(&mut self, request: Request, answer: Answer) {
        match (request, answer) {
            (Request::Introduction { driver, node, first, second, names }, Answer::Introduction(made)) => {
                self.introduce(driver, node, [first, second], names, made.map_err(|_| ()));
            }
            (Request::Growth { driver, link, block_size }, Answer::Memory(memory)) => {
                self.objects += usize::from(memory.is_ok());
                self.grown(driver, link, block_size, memory.ok());
            }
            (Request::Grant { driver, link, bytes }, Answer::Grant(memory)) => self.granted(driver, link, bytes, memory.ok()),
            (Request::Referral { driver, node, referrer, id, portals, transport }, Answer::Referral(means)) => {
                self.referral_begun(driver, node, referrer, id, portals, transport, means.ok());
            }
            (Request::Pair { driver, link, referrer }, Answer::Pair(made)) => self.paired(driver, link, referrer, made.ok()),
            (request, answer) => unreachable!("{request:?} was answered with {answer:?}"),
        }
    }
}
