//! The applications of a simulated world: they set it up, carry out a scenario's steps and its random workload, read everything at once,
//! and tell the ledger (`ghost/`) and the checkers (`check/`) what they did and saw. They decide nothing about what is right.

mod acts;
mod call;
mod connect;
mod cuts;
mod hostile;
mod open;
mod plan;
mod random;
mod setup;
mod stage;

pub use acts::{Act, Deed};
pub(crate) use call::{Answer, Call, Threads, perform};
pub(crate) use cuts::LATE;
pub use plan::Plan;
pub use random::Workload;
pub use setup::SetUp;
pub use stage::{Home, News, Stage};
