//! Processes that start each other: a parent whose node is a broker, and children that find it by themselves.

use std::fmt::Display;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ipcz::{ConnectTo, Node, Portal};
use rustix::io::fcntl_getfd;

use super::{UnixDriver, inherited, socket, spawn};

/// The variable by which a child knows the descriptor that it inherited.
pub const VARIABLE: &str = "IPCZ_SOCKET";

fn failed(what: &str, error: impl Display) -> io::Error {
    io::Error::other(format!("{what}: {error}"))
}

/// Starts a program that calls [`from_parent`], and connects it to `broker`, a node of `driver`, by as many portals as both name, at most
/// 12. When the child dies, its portals' peers are closed.
///
/// ```
/// use std::process::Command;
///
/// use ipcz::Node;
/// use ipcz_drivers::UnixDriver;
/// use ipcz_drivers::unix::{from_parent, launch};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// if let Some((_node, portals)) = from_parent(1)? {
///     portals[0].put(b"hello from the child")?;
///     // Until the parent closes its end: what was put is sent before the node goes.
///     let _ = portals[0].recv();
///     return Ok(());
/// }
/// let driver = UnixDriver::new()?;
/// let node = Node::broker(driver.clone())?;
/// let (mut child, portals) = launch(&node, &driver, Command::new(std::env::current_exe()?), 1)?;
/// assert_eq!(portals[0].recv()?.data, b"hello from the child");
/// drop(portals);
/// assert!(child.wait()?.success());
/// # Ok(())
/// # }
/// ```
pub fn launch(broker: &Node, driver: &UnixDriver, command: Command, portals: usize) -> io::Result<(Child, Vec<Portal>)> {
    let [near, far] = UnixDriver::socket_pair().map_err(|error| failed("a pair of sockets", error))?;
    let child = spawn(command, far, |command, number| {
        command.env(VARIABLE, number.to_string());
    })?;
    let transport = driver.adopt(near).map_err(|error| failed("the socket to the child", error))?;
    let portals = broker.connect(transport, portals, ConnectTo::Normal).map_err(|error| failed("connecting the child", error))?;
    Ok((child, portals))
}

/// The node of a program that was started with [`launch`], and its portals to the parent, by the parent's indices. None in a program that
/// was not. Once a process.
pub fn from_parent(portals: usize) -> io::Result<Option<(Node, Vec<Portal>)>> {
    let Some(socket) = socket_from_parent()? else { return Ok(None) };
    let driver = UnixDriver::new().map_err(|error| failed("the driver", error))?;
    let node = Node::normal(Arc::clone(&driver) as _).map_err(|error| failed("the node", error))?;
    let transport = driver.adopt(socket).map_err(|error| failed("the socket to the parent", error))?;
    let portals = node.connect(transport, portals, ConnectTo::Broker).map_err(|error| failed("connecting to the parent", error))?;
    Ok(Some((node, portals)))
}

/// The socket of [`from_parent`], for programs that make their driver and node themselves. None in a program that was not started with
/// [`launch`]. Once a process.
pub fn socket_from_parent() -> io::Result<Option<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    #[allow(clippy::disallowed_methods, reason = "this is how a parent tells its child")]
    let Ok(number) = std::env::var(VARIABLE) else { return Ok(None) };
    let number: RawFd = number.parse().map_err(|error| failed(&format!("{VARIABLE}={number} is not a descriptor"), error))?;
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{VARIABLE}={number} was taken up before")));
    }
    if number <= 2 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{VARIABLE}={number} is a standard stream")));
    }
    // SAFETY: borrowed only to see whether it is open and what it is.
    #[allow(unsafe_code)]
    let looked_at = unsafe { BorrowedFd::borrow_raw(number) };
    if fcntl_getfd(looked_at).is_err() || !socket::is_stream(looked_at) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{VARIABLE}={number} is not an open Unix stream socket")));
    }
    // SAFETY: the parent's launch() left it open for this process, and it is taken up once.
    #[allow(unsafe_code)]
    Ok(Some(unsafe { inherited(number) }?))
}
