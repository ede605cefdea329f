//! Traps: what they wait for, and when they are looked at (routing.md 15, api.md 12).

use super::router::{Router, Trap};
use super::table::{Origin, Routing};
use crate::ids::RouterKey;
use crate::planted::Bug;
use crate::trap::{PortalStatus, TrapConditions, TrapEvent, TrapFlags};

/// The requested level conditions that hold.
fn satisfied(conditions: &TrapConditions, status: &PortalStatus) -> TrapFlags {
    let mut flags = TrapFlags::default();
    let mut add = |flag: TrapFlags, holds: bool| {
        if holds && !conditions.flags.and(flag).is_empty() {
            flags = flags.or(flag);
        }
    };
    add(TrapFlags::PEER_CLOSED, status.peer_closed);
    add(TrapFlags::DEAD, status.dead);
    add(TrapFlags::ABOVE_MIN_PARCELS, status.parcels > conditions.min_parcels);
    add(TrapFlags::ABOVE_MIN_BYTES, status.bytes > conditions.min_bytes);
    flags
}

#[cfg(feature = "inspect")]
impl Router {
    /// Traps whose level conditions hold: they should have fired.
    pub fn missed_traps(&self) -> usize {
        let status = self.status();
        self.traps.iter().filter(|trap| !satisfied(&trap.conditions, &status).is_empty()).count()
    }
}

impl Routing {
    /// The level conditions that hold already, if any does.
    pub fn look_for_trap(&self, key: RouterKey, conditions: &TrapConditions) -> Result<(), (TrapFlags, PortalStatus)> {
        let Some(router) = self.routers.get(key) else { return Ok(()) };
        let status = router.status();
        let holds = satisfied(conditions, &status);
        if holds.is_empty() { Ok(()) } else { Err((holds, status)) }
    }

    /// Installs a trap none of whose level conditions holds.
    pub fn install_trap(&mut self, key: RouterKey, trap: Trap) {
        if let Some(router) = self.routers.get_mut(key) {
            router.traps.push(trap);
        }
    }

    /// Fires what came true. `new_parcel`: because a parcel became readable.
    pub(super) fn evaluate_traps(&mut self, key: RouterKey, new_parcel: bool) {
        let within = self.origin_flag();
        let kept = self.planted(Bug::TrapFiresTwice);
        let late = self.planted(Bug::TrapRemovedLate);
        let Some(router) = self.routers.get_mut(key) else { return };
        if router.traps.is_empty() {
            return;
        }
        let status = router.status();
        let fired = &mut self.fired;
        router.traps.retain_mut(|trap| {
            let mut flags = satisfied(&trap.conditions, &status);
            if new_parcel {
                flags = flags.or(trap.conditions.flags.and(TrapFlags::NEW_PARCEL));
            }
            if flags.is_empty() {
                return true;
            }
            fired.push(TrapEvent { context: trap.context, flags: flags.or(within), status });
            if late {
                trap.conditions = TrapConditions::default();
            }
            kept || late
        });
    }

    /// Takes out what has fired and was kept by the planted bug of that name.
    pub fn forget_fired_traps(&mut self) {
        for (_, router) in self.routers.iter_mut() {
            router.traps.retain(|trap| trap.conditions != TrapConditions::default());
        }
    }

    /// Fires "removed" for every trap of a router that stops being a portal.
    pub(super) fn remove_traps(&mut self, key: RouterKey) {
        let flags = TrapFlags::REMOVED.or(self.origin_flag());
        let Some(Router { traps, .. }) = self.routers.get_mut(key) else { return };
        let status = PortalStatus::default();
        self.fired.extend(traps.drain(..).map(|trap| TrapEvent { context: trap.context, flags, status }));
    }

    fn origin_flag(&self) -> TrapFlags {
        match self.origin {
            Origin::ApiCall => TrapFlags::WITHIN_API_CALL,
            Origin::Notification => TrapFlags::default(),
        }
    }
}
