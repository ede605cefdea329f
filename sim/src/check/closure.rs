//! A closed peer is seen once, never before everything it sent could be read, never while it is open; at rest it has been seen
//! (routing.md 11, 19: T1, T3, E6).

use super::broken::LIE;
use super::{Checked, Tally, Violation};
use crate::ghost::{EndId, Ghost, Place};

const NAME: &str = "closure";
const EARLY: &str = "a portal is never told of a closure that did not happen";

/// The checker.
#[derive(Clone, Default, Debug)]
pub struct Closure {
    /// Its counts.
    pub tally: Tally,
}

impl Closure {
    /// Its name.
    pub const NAME: &str = NAME;

    /// The holder of `end` is told that its peer is closed (`before`: it was told before).
    pub fn seen(&mut self, ghost: &Ghost, end: EndId, before: bool) -> Checked {
        self.tally.count();
        if before {
            let text = format!("{end} was told a second time that its peer is closed");
            return Err(Violation::new(NAME, "a closure is told once", text).at(end));
        }
        self.early(ghost, end, "was told that its peer is closed")
    }

    /// A put into `end` was refused because its peer is closed.
    pub fn refused(&mut self, ghost: &Ghost, end: EndId) -> Checked {
        self.tally.count();
        self.early(ghost, end, "refused a parcel because its peer is closed")
    }

    fn early(&mut self, ghost: &Ghost, end: EndId, what: &str) -> Checked {
        if ghost.pipe(end).tainted {
            self.tally.exempt(LIE);
            return Ok(());
        }
        if ghost.may_look_closed(ghost.peer(end)) {
            return Ok(());
        }
        let place = ghost.end(ghost.peer(end)).place;
        Err(Violation::new(NAME, EARLY, format!("{end} {what}, but no cut touched its route and the peer is {place:?}")).at(end))
    }

    /// Everything readable was read from `end`, whose holder knows that the peer is closed; `dead`: nothing will ever come, it says.
    pub fn drained(&mut self, ghost: &Ghost, end: EndId, dead: bool) -> Checked {
        self.tally.count();
        if ghost.pipe(end).tainted {
            self.tally.exempt(LIE);
            return Ok(());
        }
        let left = ghost.end(ghost.peer(end)).unread.len();
        if !dead {
            let text = format!(
                "{end} was told that its peer is closed and gave all it had, but does not say it is dead; {left} parcels are missing"
            );
            return Err(Violation::new(NAME, "PEER_CLOSED is raised only when everything sent has arrived", text).at(end));
        }
        // A peer that was put into a parcel by way of a cut took its route there: what it had sent may be lost with that.
        if left > 0 && !ghost.pipe(end).touched && !ghost.may_be_lost(ghost.peer(end)) {
            let text = format!("{end} is dead before {left} parcels that its peer sent could be read, and no cut touched its route");
            return Err(Violation::new(NAME, "everything sent before a closure can be read", text).at(end));
        }
        Ok(())
    }

    /// At rest: who has a closed peer knows it.
    pub fn rest(&mut self, ghost: &Ghost) -> Checked {
        for (end, state) in ghost.ends() {
            let Place::Held { process, .. } = state.place else { continue };
            let peer = ghost.end(ghost.peer(end));
            if matches!(peer.place, Place::Closed | Place::Gone) {
                self.tally.count();
                if (!state.saw_closed || !state.dead) && ghost.pipe(end).tainted {
                    self.tally.exempt(LIE);
                } else if !state.saw_closed || !state.dead {
                    let text = format!("the peer of {end} is {:?}, but process {process}, which holds it, was never told", peer.place);
                    return Err(Violation::new(NAME, "the peer of a closed portal learns it", text).at(end).in_process(process));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ipcz::ids::Handle;

    use super::*;
    use crate::ghost::Role;

    fn ghost() -> (Ghost, EndId) {
        let mut ghost = Ghost::default();
        let handles = [1, 2].map(|bits| Handle::from_bits(bits).unwrap());
        let end = ghost.open(Role::Random, [(0, handles[0]), (1, handles[1])]);
        (ghost, end)
    }

    #[test]
    fn a_closure_may_only_be_told_after_it_happened_and_only_once() {
        let (mut ghost, end) = ghost();
        let mut checker = Closure::default();
        assert!(checker.seen(&ghost, end, false).is_err());
        assert!(checker.refused(&ghost, end).is_err());
        ghost.close(end.twin());
        checker.seen(&ghost, end, false).unwrap();
        checker.refused(&ghost, end).unwrap();
        assert!(checker.seen(&ghost, end, true).is_err());
    }

    #[test]
    fn a_lost_route_may_look_closed() {
        let (mut ghost, end) = ghost();
        ghost.touch(end);
        Closure::default().seen(&ghost, end, false).unwrap();
    }

    #[test]
    fn a_closure_before_the_last_parcel_is_seen() {
        let (mut ghost, end) = ghost();
        let mut checker = Closure::default();
        ghost.put(end.twin(), 1, 8, None, true);
        ghost.close(end.twin());
        assert!(checker.drained(&ghost, end, true).is_err());
        assert!(checker.drained(&ghost, end, false).is_err());
        ghost.take(end);
        checker.drained(&ghost, end, true).unwrap();
    }

    #[test]
    fn a_peer_lost_in_a_parcel_takes_along_what_it_sent() {
        let (mut ghost, end) = ghost();
        let handles = [3, 4].map(|bits| Handle::from_bits(bits).unwrap());
        let carrier = ghost.open(Role::Random, [(1, handles[0]), (2, handles[1])]);
        let mut checker = Closure::default();
        ghost.put(end.twin(), 1, 8, None, true);
        ghost.put(carrier, 1, 16, Some(end.twin()), false);
        assert!(checker.drained(&ghost, end, true).is_err(), "nothing was cut");
        ghost.touch(carrier);
        checker.drained(&ghost, end, true).unwrap();
        assert!(checker.drained(&ghost, end, false).is_err(), "it must say so");
    }

    #[test]
    fn a_closure_never_told_is_seen_at_rest() {
        let (mut ghost, end) = ghost();
        let mut checker = Closure::default();
        checker.rest(&ghost).unwrap();
        ghost.close(end.twin());
        assert!(checker.rest(&ghost).is_err());
        (ghost.end_mut(end).saw_closed, ghost.end_mut(end).dead) = (true, true);
        checker.rest(&ghost).unwrap();
    }
}
