//! When every portal is closed nothing is left: no router, handle, sublink, block, driver object or wait (routing.md 19: E5; nodes.md 14:
//! I9, I11).

use super::snapshot::{Sight, Snapshot};
use super::{Checked, Tally, Violation};
use crate::ghost::{Ghost, Place};

const NAME: &str = "leaks";
const PROPERTY: &str = "E5: when everything is closed nothing is left";

/// The checker.
#[derive(Clone, Default, Debug)]
pub struct Leaks {
    /// Its counts.
    pub tally: Tally,
}

impl Leaks {
    /// Its name.
    pub const NAME: &str = NAME;

    /// Looks at a world at rest whose applications have closed all they had.
    pub fn rest(&mut self, ghost: &Ghost, snapshot: &Snapshot) -> Checked {
        let kept = ghost.ends().filter(|(_, end)| matches!(end.place, Place::Carried { .. })).count();
        let lied = ghost.any_tainted();
        for (process, sight) in snapshot.alive() {
            self.process(process, sight, kept > 0, lied)?;
        }
        self.links(snapshot, kept > 0 || lied)?;
        if lied {
            self.tally.exempt("routers and sublinks that a lie left behind");
            return Ok(());
        }
        if kept > 0 {
            // Portals that carry each other in a ring can't be reached, by design: just these may be left.
            self.tally.exempt("ring of unread parcels");
            let left: usize = snapshot.alive().map(|(_, sight)| sight.routers.len()).sum();
            if left > kept {
                let text = format!("{kept} ends are in rings of unread parcels, but {left} routers are left");
                return Err(Violation::new(NAME, PROPERTY, text));
            }
        }
        Ok(())
    }

    fn process(&mut self, process: u32, sight: &Sight, rings: bool, lied: bool) -> Checked {
        let nodes = sight.nodes.len();
        let pending: usize = sight.nodes.iter().map(|node| node.pending_introductions.len()).sum();
        let (mut sublinks, mut outbox, mut buffer_waits, mut early) = (0, 0, 0, 0);
        for link in &sight.links {
            sublinks += link.sublinks.len();
            outbox += link.outbox;
            buffer_waits += link.buffer_waits;
            early += link.early;
        }
        let mut left = vec![
            ("handles besides its nodes", sight.handles.saturating_sub(nodes)),
            ("operations in outboxes", outbox),
            ("pending introductions", pending),
            ("driver objects its core forgot", sight.open.saturating_sub(sight.owned)),
            ("driver objects it thinks it has and has not", sight.owned.saturating_sub(sight.open)),
            ("driver objects besides its links' transports", sight.owned.saturating_sub(sight.links.len())),
        ];
        if !lied {
            left.extend([
                ("bound sublinks", sublinks),
                ("waits for buffers", buffer_waits),
                ("parcels for sublinks that never came", early),
                ("waits", sight.waits),
            ]);
        }
        if !rings && !lied {
            left.push(("routers", sight.routers.len()));
        }
        self.tally.add(left.len() as u64);
        let left: Vec<_> = left.iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{count} {what}")).collect();
        if left.is_empty() {
            return Ok(());
        }
        let first = sight.routers.first().map(|router| format!("; {router:?}")).unwrap_or_default();
        let text = format!("process {process} still has {}{first}", left.join(", "));
        Err(Violation::new(NAME, PROPERTY, text).in_process(process))
    }

    /// Both ends of a live link agree that no block is taken, and a process has no objects but those of its links.
    fn links(&mut self, snapshot: &Snapshot, rings: bool) -> Checked {
        let partners = snapshot.partners();
        for (process, sight) in snapshot.alive() {
            for link in sight.links.iter().filter(|link| link.established && !link.dead) {
                self.tally.count();
                let no = |text: String| Err(Violation::new(NAME, PROPERTY, text).in_process(process));
                if link.blocks_taken > 0 && !rings {
                    return no(format!("{} blocks of {:?} in process {process} are taken", link.blocks_taken, link.key));
                }
                let Some((far, key)) = partners.get(&(process, link.key)) else {
                    let text = format!("{:?} of process {process} to node {} has no other end", link.key, link.remote_name);
                    return Err(Violation::new(NAME, "I10: a link has both its ends or none", text).in_process(process));
                };
                let counted = |sight: &Sight, key| sight.counted.binary_search(&key).is_ok();
                let other = snapshot.processes[*far as usize].as_ref().filter(|other| counted(other, *key) && counted(sight, link.key));
                let other = other.and_then(|other| other.links.iter().find(|link| link.key == *key));
                if other.is_some_and(|other| other.blocks_taken != link.blocks_taken) {
                    return no(format!("process {process} and process {far} do not agree on the blocks of their link {:?}", link.key));
                }
            }
        }
        Ok(())
    }
}
