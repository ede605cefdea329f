//! Two histories of each end of a pipe: in real processes, and in the simulator.

use std::collections::{BTreeMap, BTreeSet};

use super::ledger::{History, Taken};
use crate::app::Deed;
use crate::ghost::EndId;
use crate::run::Outcome;
use crate::scenario::{Action, PortalId, Scenario};

/// What each portal of the scenario saw in the simulated run.
pub fn simulated(scenario: &Scenario, outcome: &Outcome) -> Vec<History> {
    let mut histories = vec![History::default(); scenario.portals.len()];
    let known = outcome.ends.iter().enumerate().filter_map(|(portal, end)| Some(((*end)?, portal)));
    let portals: BTreeMap<EndId, PortalId> = known.collect();
    for act in &outcome.acts {
        match act.deed {
            Deed::Took { end, bytes, carries } => {
                if let Some(portal) = portals.get(&end) {
                    let carries = carries.and_then(|end| portals.get(&end).copied());
                    histories[*portal].taken.push(Taken { bytes, carries });
                }
            }
            Deed::Died { end } => portals.get(&end).into_iter().for_each(|portal| histories[*portal].dead = true),
            _ => {}
        }
    }
    histories
}

/// How far two worlds agree.
#[derive(Debug, Default)]
pub struct Compared {
    /// Ends with one history.
    pub same: u64,
    /// Ends that saw more in one world than in the other, where that is a matter of time.
    pub timely: u64,
    /// What differs, for people.
    pub differences: Vec<String>,
}

/// Ends whose history is a matter of time: those that a step closes, for how much they read before; and all of a route that goes in a
/// parcel to such an end, for whether it is taken out.
fn matters_of_time(scenario: &Scenario) -> BTreeSet<PortalId> {
    // Routes by the least of their ends; merging makes two one.
    let mut routes: Vec<PortalId> = scenario.portals.iter().enumerate().map(|(portal, spec)| portal.min(spec.peer)).collect();
    let mut out = BTreeSet::new();
    for step in &scenario.steps {
        match step.action {
            Action::Merge { portals: [a, b] } => {
                let [kept, gone] = [routes[a], routes[b]];
                routes.iter_mut().filter(|route| **route == gone).for_each(|route| *route = kept);
            }
            Action::Close { portal } => drop(out.insert(portal)),
            _ => {}
        }
    }
    let mut closing: BTreeSet<PortalId> = out.iter().map(|portal: &PortalId| routes[*portal]).collect();
    loop {
        let hands = scenario.steps.iter().filter_map(|step| match step.action {
            Action::Hand { portal, over, .. } if closing.contains(&routes[over]) => Some(routes[portal]),
            _ => None,
        });
        let more: Vec<_> = hands.filter(|route| !closing.contains(route)).collect();
        if more.is_empty() {
            return out;
        }
        out.extend((0..routes.len()).filter(|portal| more.contains(&routes[*portal])));
        closing.extend(more);
    }
}

/// Compares what the ends saw. Where that is a matter of time one history must be the beginning of the other.
pub fn compare(scenario: &Scenario, real: &[History], simulated: &[History]) -> Compared {
    let mut compared = Compared::default();
    let timely = matters_of_time(scenario);
    for (portal, (real, simulated)) in real.iter().zip(simulated).enumerate() {
        if real == simulated {
            compared.same += 1;
        } else if timely.contains(&portal) && (real.taken.starts_with(&simulated.taken) || simulated.taken.starts_with(&real.taken)) {
            compared.timely += 1;
        } else {
            compared.differences.push(difference(scenario, portal, real, simulated));
        }
    }
    compared
}

fn difference(scenario: &Scenario, portal: PortalId, real: &History, simulated: &History) -> String {
    let spec = &scenario.portals[portal];
    let name = format!("{} of {}", spec.name, scenario.nodes[spec.home].name);
    let both = real.taken.len().max(simulated.taken.len());
    let parted = (0..both).find(|at| real.taken.get(*at) != simulated.taken.get(*at));
    match parted {
        Some(at) => {
            let tell = |history: &History| match history.taken.get(at) {
                None => "nothing".to_owned(),
                Some(Taken { bytes, carries: None }) => format!("{bytes} bytes"),
                Some(Taken { bytes, carries: Some(carried) }) => format!("{bytes} bytes and portal {}", scenario.portals[*carried].name),
            };
            format!("{name}, parcel {}: {} in real processes, {} in the simulator", at + 1, tell(real), tell(simulated))
        }
        None => {
            let tell = |history: &History| if history.dead { "saw its peer closed" } else { "did not" };
            format!("{name} {} in real processes, in the simulator it {}", tell(real), tell(simulated))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
name = "small"
purpose = "a test"
[nodes]
A = { broker = true }
[[step]]
on = "A"
open = ["p", "q"]
[[step]]
on = "A"
close = "q"
"#;

    fn history(bytes: &[u64], dead: bool) -> History {
        History { taken: bytes.iter().map(|bytes| Taken { bytes: *bytes, carries: None }).collect(), dead }
    }

    #[test]
    fn histories_are_the_same_but_where_an_end_closed_itself() {
        let scenario = Scenario::parse("small", TEXT, &[]).unwrap();
        let compare = |real: [History; 2], simulated: [History; 2]| {
            let Compared { same, timely, differences } = compare(&scenario, &real, &simulated);
            (same, timely, differences)
        };
        let [p, q] = [history(&[1, 2], true), history(&[3], false)];
        assert_eq!(compare([p.clone(), q.clone()], [p.clone(), q.clone()]), (2, 0, vec![]));
        assert_eq!(compare([p.clone(), history(&[], false)], [p.clone(), q.clone()]), (1, 1, vec![]));
        let told = |real: [History; 2], simulated| compare(real, simulated).2.remove(0);
        let lost = told([history(&[1], true), q.clone()], [p.clone(), q.clone()]);
        assert_eq!(lost, "p of A, parcel 2: nothing in real processes, 2 bytes in the simulator");
        let other = told([p.clone(), history(&[4], false)], [p.clone(), q.clone()]);
        assert_eq!(other, "q of A, parcel 1: 4 bytes in real processes, 3 bytes in the simulator");
        let untold = told([history(&[1, 2], false), q.clone()], [p, q]);
        assert_eq!(untold, "p of A did not in real processes, in the simulator it saw its peer closed");
    }

    #[test]
    fn what_goes_to_an_end_that_is_closed_hangs_on_time() {
        let handed = "[[step]]\non = \"A\"\nopen = [\"r\", \"s\"]\n[[step]]\non = \"A\"\nhand = \"s\"\nover = \"p\"\nto = \"A\"\n";
        let scenario = Scenario::parse("small", &format!("{TEXT}{handed}"), &[]).unwrap();
        let names: Vec<&str> = matters_of_time(&scenario).into_iter().map(|portal| &*scenario.portals[portal].name).collect();
        assert_eq!(names, ["q", "r", "s"]);
    }
}
