//! When every portal is closed nothing is left: no router, handle, sublink, block, driver object or wait (routing.md 19: E5; nodes.md 14:
//! I9, I11).

use std::collections::BTreeSet;

use ipcz::ids::RouterKey;
use ipcz::inspect::NodeLinkView;

use super::graph::Ref;
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

    /// Looks at a world at rest whose applications have closed all they had. `suspects`: routers of which nobody knows where a lie has
    /// led them; they may be left with their sublinks, and nothing else.
    pub fn rest(&mut self, ghost: &Ghost, snapshot: &Snapshot, suspects: &BTreeSet<Ref>) -> Checked {
        let kept = ghost.ends().filter(|(_, end)| matches!(end.place, Place::Carried { .. })).count();
        for (process, sight) in snapshot.alive() {
            self.process(process, sight, kept > 0, suspects)?;
        }
        self.links(snapshot, kept > 0, suspects)?;
        if kept > 0 {
            // Portals that carry each other in a ring can't be reached, by design: just these may be left.
            self.tally.exempt("ring of unread parcels");
            let left: usize =
                snapshot.alive().map(|(process, sight)| sight.routers.len() - left_behind(process, sight, suspects).count()).sum();
            if left > kept {
                let text = format!("{kept} ends are in rings of unread parcels, but {left} routers are left");
                return Err(Violation::new(NAME, PROPERTY, text));
            }
        }
        Ok(())
    }

    fn process(&mut self, process: u32, sight: &Sight, rings: bool, suspects: &BTreeSet<Ref>) -> Checked {
        let lost: BTreeSet<RouterKey> = left_behind(process, sight, suspects).collect();
        if !lost.is_empty() {
            self.tally.exempt("routers that a lie left behind");
        }
        let nodes = sight.nodes.len();
        let pending: usize = sight.nodes.iter().map(|node| node.pending_introductions.len()).sum();
        // The broker names the source of a relayed half, not its link: one that was on its way when two nodes lost their link and met again
        // waits on the new one (hazards.md RC-33).
        let again = |link: &NodeLinkView| link.pieces > 0 && sight.lost_to.iter().any(|(name, _)| *name == link.remote_name);
        let stale = sight.links.iter().any(again);
        if stale {
            self.tally.exempt("half for a link that was lost");
        }
        let (mut sublinks, mut outbox, mut buffer_waits, mut early, mut pieces) = (0, 0, 0, 0, 0);
        for link in &sight.links {
            sublinks += link.sublinks.iter().filter(|(_, router)| !lost.contains(router)).count();
            outbox += link.outbox;
            buffer_waits += link.buffer_waits;
            early += link.early;
            pieces += link.pieces;
        }
        let mut left = vec![
            ("handles besides its nodes", sight.handles.saturating_sub(nodes)),
            ("operations in outboxes", outbox),
            ("pending introductions", pending),
            ("driver objects its core forgot", sight.open.saturating_sub(sight.owned)),
            ("driver objects it thinks it has and has not", sight.owned.saturating_sub(sight.open)),
        ];
        left.extend([
            ("bound sublinks", sublinks),
            ("waits for buffers", buffer_waits),
            ("parcels for sublinks that never came", early),
            ("waits", sight.waits),
        ]);
        if !rings && !stale {
            left.push(("pieces of parcels", pieces));
            left.push(("boxes", sight.boxes));
            left.push(("driver objects besides its links' transports", sight.owned.saturating_sub(sight.links.len())));
        }
        if !rings {
            left.push(("objects of its application in boxes", sight.applications.unsigned_abs() as usize));
            left.push(("routers", sight.routers.len() - lost.len()));
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
    fn links(&mut self, snapshot: &Snapshot, rings: bool, suspects: &BTreeSet<Ref>) -> Checked {
        for (process, sight) in snapshot.alive() {
            for link in sight.links.iter().filter(|link| link.established && !link.dead) {
                self.tally.count();
                let no = |text: String| Err(Violation::new(NAME, PROPERTY, text).in_process(process));
                let partner = snapshot.partner(process, link.key);
                let far = partner.and_then(|(far, _)| Some((far, snapshot.processes[far as usize].as_ref()?)));
                // A router that is left has its link state and its parcels.
                let behind = [Some((process, sight)), far]
                    .into_iter()
                    .flatten()
                    .any(|(at, sight)| left_behind(at, sight, suspects).next().is_some());
                if link.blocks_taken > 0 && !rings && !behind {
                    return no(format!("{} blocks of {:?} in process {process} are taken", link.blocks_taken, link.key));
                }
                let Some((far, key)) = partner else {
                    let text = format!("{:?} of process {process} to node {} has no other end", link.key, link.remote_name);
                    return Err(Violation::new(NAME, "I10: a link has both its ends or none", text).in_process(process));
                };
                let counted = |sight: &Sight, key| sight.counted.binary_search(&key).is_ok();
                let other = snapshot.processes[far as usize].as_ref().filter(|other| counted(other, key) && counted(sight, link.key));
                let other = other.and_then(|other| other.links.iter().find(|link| link.key == key));
                if other.is_some_and(|other| other.blocks_taken != link.blocks_taken) {
                    return no(format!("process {process} and process {far} do not agree on the blocks of their link {:?}", link.key));
                }
            }
        }
        Ok(())
    }
}

/// The routers that are left of those of which nothing is known.
fn left_behind<'a>(process: u32, sight: &'a Sight, suspects: &'a BTreeSet<Ref>) -> impl Iterator<Item = RouterKey> + 'a {
    let keys = sight.routers.iter().map(|router| router.key);
    keys.filter(move |router| suspects.contains(&Ref { process, router: *router }))
}
