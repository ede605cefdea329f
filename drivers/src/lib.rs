//! Drivers for ipcz.
//!
//! [`in_process`] connects nodes of one address space, synchronously or by a thread of its own. `unix` (Linux only) connects
//! processes by sockets and memfds. [`middleware`] watches, counts and breaks what any of them does. The machine's time is told by
//! [`MonotonicClock`].
//!
//! Two nodes, a pipe between them, and a portal that is handed over it:
//!
//! ```
//! use std::sync::Arc;
//!
//! use ipcz::ids::NodeType;
//! use ipcz::trap::{TrapEvent, TrapTarget};
//! use ipcz::{ConnectTo, NodeOptions, Process};
//! use ipcz_drivers::{InProcess, MonotonicClock};
//!
//! struct NoTraps;
//!
//! impl TrapTarget for NoTraps {
//!     fn fired(&self, _: &TrapEvent) {}
//! }
//!
//! # fn main() -> Result<(), ipcz::Error> {
//! let driver = InProcess::new();
//! let process = || Process::new(Arc::new(MonotonicClock::new()), Arc::new(NoTraps));
//! let (here, there) = (process(), process());
//! let broker = here.create_node(NodeType::Broker, driver.clone(), NodeOptions::default())?;
//! let node = there.create_node(NodeType::Normal, driver.clone(), NodeOptions::default())?;
//!
//! let [a, b] = driver.transport_pair();
//! let near = here.connect_node(broker, a, 1, ConnectTo::Normal)?[0];
//! let far = there.connect_node(node, b, 1, ConnectTo::Broker)?[0];
//!
//! let (kept, given) = here.open_portals(broker)?;
//! here.put(near, b"this one is yours", &[given])?;
//! let parcel = there.get(far)?;
//! assert_eq!(parcel.data, b"this one is yours");
//!
//! there.put(parcel.handles[0], b"thank you", &[])?;
//! assert_eq!(here.get(kept)?.data, b"thank you");
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "capi")]
pub mod c_table;
pub mod in_process;
pub mod middleware;
#[cfg(target_os = "linux")]
pub mod unix;

pub use in_process::{InProcess, InProcessOptions};
pub use ipcz::clock::MonotonicClock;
#[cfg(target_os = "linux")]
pub use unix::{UnixDriver, UnixLimits};
