//! Waiting for many portals at once, without a thread for each.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use ipcz::trap::{TrapConditions, TrapEvent, TrapFlags, TrapTarget};
use ipcz::{Portal, TrapRefused};

/// Something can be read, or never will be.
pub const READY: TrapConditions = TrapConditions { flags: TrapFlags::ABOVE_MIN_PARCELS.or(TrapFlags::DEAD), min_parcels: 0, min_bytes: 0 };

/// Portals at which something may have happened, by number.
pub struct Inbox {
    tell: Sender<u64>,
    told: Receiver<u64>,
}

impl Inbox {
    /// Nobody is watched yet.
    pub fn new() -> Inbox {
        let (tell, told) = channel();
        Inbox { tell, told }
    }

    /// Tells `number`, once, when something can be read from `portal` or never will be; at once if that is so already.
    pub fn watch(&self, number: u64, portal: &Portal) {
        let tell = self.tell.clone();
        let fire = move |_: &TrapEvent| {
            // Nobody reads when the process ends.
            let _ = tell.send(number);
        };
        if let Err(TrapRefused::Satisfied { .. } | TrapRefused::Error(_)) = portal.trap(READY, fire) {
            self.tell(number);
        }
    }

    /// The traps of a process tell their contexts.
    pub fn wakes(&self) -> Wakes {
        Wakes(self.tell.clone())
    }

    /// Tells a number.
    pub fn tell(&self, number: u64) {
        // The receiver is here.
        let _ = self.tell.send(number);
    }

    /// The next number; none if nothing happens for so long.
    pub fn next(&self, patience: Duration) -> Option<u64> {
        self.told.recv_timeout(patience).ok()
    }
}

/// Traps whose events go to an [`Inbox`].
pub struct Wakes(Sender<u64>);

impl TrapTarget for Wakes {
    fn fired(&self, event: &TrapEvent) {
        // Nobody reads when the process ends.
        let _ = self.0.send(event.context);
    }
}
