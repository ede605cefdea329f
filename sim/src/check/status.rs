//! What a portal says of itself is what the ledger says: the parcels that can be read are the next ones, with their bytes, and a closed
//! peer is closed (routing.md 15, api.md 8).

use ipcz::trap::PortalStatus;

use super::broken::LIE;
use super::{Checked, Tally, Violation};
use crate::ghost::{EndId, Ghost};

const NAME: &str = "status";

/// The checker.
#[derive(Clone, Default, Debug)]
pub struct Status {
    /// Its counts.
    pub tally: Tally,
}

impl Status {
    /// Its name.
    pub const NAME: &str = NAME;

    /// The holder of `end` asked.
    pub fn told(&mut self, ghost: &Ghost, end: EndId, status: PortalStatus) -> Checked {
        self.tally.count();
        let no = |property: &'static str, text: String| Err(Violation::new(NAME, property, text).at(end));
        if status.dead && (!status.peer_closed || status.parcels > 0) {
            return no("a dead portal's peer is closed and it has nothing to read", format!("{end} says {status:?}"));
        }
        if status.parcels == 0 && status.bytes > 0 {
            return no("bytes are those of parcels", format!("{end} says {status:?}"));
        }
        if ghost.pipe(end).tainted {
            self.tally.exempt(LIE);
            return Ok(());
        }
        let unread = &ghost.end(ghost.peer(end)).unread;
        let bytes: usize = unread.iter().take(status.parcels).map(|parcel| parcel.length as usize).sum();
        if status.parcels > unread.len() || status.bytes != bytes {
            let text = format!("{end} says {status:?}, but of {} parcels that are not taken the first have {bytes} bytes", unread.len());
            return no("what can be read are the parcels that come next", text);
        }
        if status.peer_closed && !ghost.may_look_closed(ghost.peer(end)) {
            let place = ghost.end(ghost.peer(end)).place;
            return no("a peer that is said to be closed is", format!("{end} says {status:?}, but the peer is {place:?}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ipcz::ids::Handle;

    use super::*;
    use crate::ghost::Role;

    fn told(ghost: &Ghost, end: EndId, parcels: usize, bytes: usize, flags: [bool; 2]) -> bool {
        let status = PortalStatus { peer_closed: flags[0], dead: flags[1], parcels, bytes };
        Status::default().told(ghost, end, status).is_ok()
    }

    #[test]
    fn a_status_agrees_with_the_ledger() {
        let mut ghost = Ghost::default();
        let handles = [1, 2].map(|bits| Handle::from_bits(bits).unwrap());
        let end = ghost.open(Role::Random, [(0, handles[0]), (1, handles[1])]);
        for length in [16, 0, 8] {
            ghost.put(end.twin(), 1, length, None, true);
        }
        for (parcels, bytes) in [(0, 0), (1, 16), (2, 16), (3, 24)] {
            assert!(told(&ghost, end, parcels, bytes, [false; 2]));
        }
        for (parcels, bytes) in [(0, 1), (1, 15), (2, 24), (3, 16), (4, 24)] {
            assert!(!told(&ghost, end, parcels, bytes, [false; 2]));
        }
        assert!(!told(&ghost, end, 1, 16, [true, false]), "the peer is open");
        ghost.close(end.twin());
        assert!(told(&ghost, end, 1, 16, [true, false]));
        assert!(told(&ghost, end, 0, 0, [true, true]));
        assert!(!told(&ghost, end, 1, 16, [true, true]) && !told(&ghost, end, 0, 0, [false, true]));
    }
}
