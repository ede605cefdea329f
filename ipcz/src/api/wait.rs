//! Waiting for something to read: by blocking, and as a future (design.md 3: a trap wakes whoever waits).

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::Stream;

use super::calls::TrapRefused;
use super::portal::{Parcel, Portal};
use crate::clock::Time;
use crate::error::Error;
use crate::trap::{TrapConditions, TrapFlags};

/// Who waits at a portal. One trap serves them all.
#[derive(Default)]
pub(super) struct Waiting {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Default)]
struct State {
    /// A trap is installed that has not fired.
    armed: bool,
    /// How often one fired.
    fired: u64,
    wakers: Vec<Waker>,
}

impl Waiting {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        let mut state = self.state();
        state.armed = false;
        state.fired += 1;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.rung.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Something can be read, or never will be.
const READY: TrapConditions = TrapConditions { flags: TrapFlags::ABOVE_MIN_PARCELS.or(TrapFlags::DEAD), min_parcels: 0, min_bytes: 0 };

impl Portal {
    /// Gets the next parcel; waits until there is one. `NotFound`: there will never be one, the peer is closed.
    pub fn recv(&self) -> Result<Parcel, Error> {
        self.wait(None)
    }

    /// [`Portal::recv`], for at most `timeout`; `Unavailable` then.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use ipcz::{Error, Node};
    /// use ipcz_drivers::InProcess;
    ///
    /// # fn main() -> Result<(), ipcz::Error> {
    /// let node = Node::normal(InProcess::new())?;
    /// let (_a, b) = node.open_portals()?;
    /// assert_eq!(b.recv_timeout(Duration::from_millis(1)).unwrap_err(), Error::Unavailable);
    /// # Ok(())
    /// # }
    /// ```
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Parcel, Error> {
        self.wait(Some(self.host.now() + timeout))
    }

    fn wait(&self, until: Option<Time>) -> Result<Parcel, Error> {
        loop {
            let before = self.waiting.state().fired;
            match self.get() {
                Err(Error::Unavailable) => {}
                got => return got,
            }
            if !self.arm()? {
                continue;
            }
            let mut state = self.waiting.state();
            while state.fired == before {
                state = match until {
                    None => self.waiting.rung.wait(state).unwrap_or_else(PoisonError::into_inner),
                    Some(until) => {
                        let left = Duration::from_nanos(until.0.saturating_sub(self.host.now().0));
                        if left.is_zero() {
                            return Err(Error::Unavailable);
                        }
                        self.waiting.rung.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                    }
                };
            }
        }
    }

    /// Gets the next parcel once there is one. Runs under any executor; dropped, it has taken nothing. Fails as [`Portal::recv`].
    ///
    /// ```
    /// use ipcz::Node;
    /// use ipcz_drivers::InProcess;
    ///
    /// # fn main() -> Result<(), ipcz::Error> {
    /// let node = Node::normal(InProcess::new())?;
    /// let (a, b) = node.open_portals()?;
    /// std::thread::scope(|scope| {
    ///     let answer = scope.spawn(|| futures_lite::future::block_on(b.recv_async()));
    ///     a.put(b"now")?;
    ///     assert_eq!(answer.join().unwrap()?.data, b"now");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub async fn recv_async(&self) -> Result<Parcel, Error> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// [`Portal::recv_async`] as streams and hand-written futures need it.
    pub fn poll_recv(&self, context: &mut Context<'_>) -> Poll<Result<Parcel, Error>> {
        loop {
            match self.get() {
                Err(Error::Unavailable) => {}
                got => return Poll::Ready(got),
            }
            // The waker before the trap: whatever comes from now on wakes.
            {
                let mut state = self.waiting.state();
                if !state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                    state.wakers.push(context.waker().clone());
                }
            }
            match self.arm() {
                Ok(true) => return Poll::Pending,
                Ok(false) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// The parcels to come, as a stream that ends when the peer is closed and all it sent was read.
    ///
    /// ```
    /// use futures_lite::StreamExt;
    /// use ipcz::Node;
    /// use ipcz_drivers::InProcess;
    ///
    /// # fn main() -> Result<(), ipcz::Error> {
    /// let node = Node::normal(InProcess::new())?;
    /// let (a, b) = node.open_portals()?;
    /// a.put(b"12")?;
    /// a.put(b"345")?;
    /// drop(a);
    /// let sizes: Vec<usize> = futures_lite::future::block_on(b.parcels().map(|parcel| parcel.data.len()).collect());
    /// assert_eq!(sizes, [2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn parcels(&self) -> Parcels<'_> {
        Parcels(self)
    }

    /// Sees to it that whoever waits is woken; false if there is something already.
    fn arm(&self) -> Result<bool, Error> {
        let mut state = self.waiting.state();
        if state.armed {
            return Ok(true);
        }
        state.armed = true;
        drop(state);
        let waiting = Arc::clone(&self.waiting);
        match self.host.trap(self.handle, READY, Box::new(move |_| waiting.ring())) {
            Ok(()) => Ok(true),
            Err(refused) => {
                self.waiting.ring();
                match refused {
                    TrapRefused::Satisfied { .. } => Ok(false),
                    TrapRefused::Error(error) => Err(error),
                }
            }
        }
    }
}

/// The parcels of a portal, as they come.
#[derive(Debug)]
pub struct Parcels<'a>(&'a Portal);

impl Stream for Parcels<'_> {
    type Item = Parcel;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Parcel>> {
        self.0.poll_recv(context).map(Result::ok)
    }
}
