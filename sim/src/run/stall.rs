//! A run that does not come to rest: who waits for what (routing.md 21.4).

use crate::app::{Plan, Stage};
use crate::check::{Snapshot, Violation};

/// Name of the liveness checker.
pub(super) const NAME: &str = "liveness";

/// Lines of a description at most.
const LINES: usize = 12;

/// What is not finished.
pub(super) fn describe(what: &str, stage: &Stage, plan: &Plan, due: &str) -> Box<Violation> {
    let mut lines = plan.waiting();
    for (process, sight) in Snapshot::of(&stage.world, false).alive() {
        for router in &sight.routers {
            let key = router.key;
            if let Some(decaying) = router.out.decaying {
                let (to, from) = (router.out.length_to, router.out.length_from);
                lines.push(format!("{key:?} in process {process} still needs {decaying:?} (sends up to {to:?}, takes up to {from:?})"));
            }
            if let Some(inward) = router.inward {
                lines.push(format!("{key:?} in process {process} is a proxy between {:?} and {:?}", router.out.primary, inward.primary));
            }
        }
        for node in &sight.nodes {
            lines.extend(node.pending_introductions.iter().map(|name| format!("process {process} waits to be introduced to {name}")));
        }
        if sight.waits > 0 {
            lines.push(format!("process {process} waits for {} answers", sight.waits));
        }
    }
    let more = lines.len().saturating_sub(LINES);
    lines.truncate(LINES);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    let text = format!("{what} ({due}):\n  {}", lines.join("\n  "));
    Violation::new(NAME, "once nothing new begins, everything comes to rest", text)
}
