//! A process: core, drivers, clock, and the lock.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, RwLock, TryLockError, Weak};

#[cfg(feature = "inspect")]
use crate::application::Application;
use crate::clock::{Clock, Point, Time, Wake};
use crate::core::{Core, Effects};
use crate::driver::Driver;
use crate::error::Error;
use crate::ids::DriverKey;
#[cfg(feature = "inspect")]
use crate::mapping::{Mapping, VirtualMemory};
#[cfg(feature = "inspect")]
use crate::planted::Planted;
use crate::planted::SharedPlanted;
use crate::trap::TrapTarget;

/// One (virtual) process: all its nodes, links, routers and handles. Any thread may call it.
pub struct Process {
    core: Mutex<Core>,
    pub(super) drivers: RwLock<Vec<Arc<dyn Driver>>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) traps: Arc<dyn TrapTarget>,
    /// The smallest `Limits::inline_bytes` of any node: data up to this never asks where to go.
    pub(super) inline_bytes: AtomicUsize,
    pub(super) planted: SharedPlanted,
    me: Weak<Process>,
}

impl Process {
    /// A process without nodes. Trap events go to `traps`, with no lock held.
    pub fn new(clock: Arc<dyn Clock>, traps: Arc<dyn TrapTarget>) -> Arc<Process> {
        Process::of(Core::default(), Vec::new(), clock, traps)
    }

    pub(super) fn of(core: Core, drivers: Vec<Arc<dyn Driver>>, clock: Arc<dyn Clock>, traps: Arc<dyn TrapTarget>) -> Arc<Process> {
        let inline = core.net.nodes.iter().map(|(_, node)| node.limits.inline_bytes).min().unwrap_or(usize::MAX);
        let planted = SharedPlanted::default();
        planted.arm(core.routing.planted);
        Arc::new_cyclic(|me| Process {
            core: Mutex::new(core),
            drivers: RwLock::new(drivers),
            clock,
            traps,
            inline_bytes: AtomicUsize::new(inline),
            planted,
            me: me.clone(),
        })
    }

    /// Takes the lock. Fails for ever once a panic has happened inside it.
    pub(super) fn lock(&self) -> Result<MutexGuard<'_, Core>, Error> {
        self.clock.turn(Point::LockWanted);
        if !self.clock.cooperative() {
            return self.core.lock().map_err(|_| Error::Internal);
        }
        loop {
            match self.core.try_lock() {
                Ok(core) => return Ok(core),
                Err(TryLockError::Poisoned(_)) => return Err(Error::Internal),
                Err(TryLockError::WouldBlock) => self.clock.turn(Point::LockBusy),
            }
        }
    }

    /// One input: under the lock, then its effects.
    pub(super) fn input<R>(&self, act: impl FnOnce(&mut Core, Time, &mut Effects) -> R) -> Result<R, Error> {
        self.input_then(act, |result| result)
    }

    /// One input: under the lock, then `then` with its result, then its effects.
    pub(super) fn input_then<R, T>(
        &self,
        act: impl FnOnce(&mut Core, Time, &mut Effects) -> R,
        then: impl FnOnce(R) -> T,
    ) -> Result<T, Error> {
        let now = self.clock.now();
        let mut fx = Effects::default();
        let result = {
            let mut core = self.lock()?;
            act(&mut core, now, &mut fx)
        };
        self.clock.turn(Point::LockFreed);
        let result = then(result);
        self.carry_out(fx);
        Ok(result)
    }

    /// Looks at the core.
    #[cfg(feature = "test-hooks")]
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Core) -> R) -> Result<R, Error> {
        Ok(look(&*self.lock()?))
    }

    pub(super) fn driver(&self, key: DriverKey) -> Arc<dyn Driver> {
        let drivers = self.drivers.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        Arc::clone(&drivers[crate::arena::Key::index(key) as usize])
    }

    /// A driver is kept as long as the process, once however many nodes use it: links and boxes of a node that is closed still need it.
    pub(super) fn add_driver(&self, driver: Arc<dyn Driver>) -> DriverKey {
        let mut drivers = self.drivers.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let known = drivers.iter().position(|known| Arc::ptr_eq(known, &driver));
        let place = known.unwrap_or_else(|| {
            drivers.push(driver);
            drivers.len() - 1
        });
        crate::arena::Key::new(place as u32, 0)
    }

    pub(super) fn me(&self) -> Arc<Process> {
        self.me.upgrade().expect("a process in use is owned")
    }
}

impl Wake for Process {
    fn timer(&self) {
        // A failed core has nothing left to be late for.
        let _ = self.input(|core, now, fx| core.timer(now, fx));
    }
}

/// Finds the counterpart of a virtual memory in a cloned world.
#[cfg(feature = "inspect")]
type Remap<'a> = dyn FnMut(&Arc<dyn VirtualMemory>) -> Arc<dyn VirtualMemory> + 'a;

#[cfg(feature = "inspect")]
impl Process {
    /// Reads the core.
    #[doc(hidden)]
    pub fn inspect<R>(&self, look: impl FnOnce(&crate::inspect::View<'_>) -> R) -> R {
        let core = self.core.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        look(&crate::inspect::View::of(&core))
    }

    /// Whether somebody holds the lock.
    #[doc(hidden)]
    pub fn is_busy(&self) -> bool {
        matches!(self.core.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// A copy of this process's core in a new shell. `drivers` replace those given to `create_node`, in that order and each once,
    /// `application` the owners of all boxed objects; `remap` swaps each virtual memory for its counterpart. Only between inputs.
    #[doc(hidden)]
    pub fn fork(
        &self,
        clock: Arc<dyn Clock>,
        traps: Arc<dyn TrapTarget>,
        application: Arc<dyn Application>,
        drivers: Vec<Arc<dyn Driver>>,
        remap: &mut Remap<'_>,
    ) -> Arc<Process> {
        let mut core = self.core.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        core.remap(&mut |mapping| {
            if let Mapping::Virtual(memory) = mapping {
                *memory = remap(memory);
            }
        });
        core.replace_application(&application);
        Process::of(core, drivers, clock, traps)
    }

    /// Takes every free block of the memories of all links, for a test.
    #[doc(hidden)]
    pub fn hoard(&self) {
        let mut core = self.core.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        core.net.links.iter_mut().filter_map(|(_, link)| link.peer_mut()).for_each(|peer| peer.memory.hoard());
    }

    /// Gives them back.
    #[doc(hidden)]
    pub fn release_hoard(&self) {
        let mut core = self.core.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        core.net.links.iter_mut().filter_map(|(_, link)| link.peer_mut()).for_each(|peer| peer.memory.release_hoard());
    }

    /// Arms a planted bug, once and before it has links; the error says what is wrong with the name or the build.
    #[doc(hidden)]
    pub fn plant(&self, name: &str) -> Result<(), String> {
        let mut planted = Planted::NONE;
        planted.arm(name)?;
        self.planted.arm(planted);
        self.core.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).plant(planted);
        Ok(())
    }
}
