//! What is known of the routes, and what must hold of what their ends report.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Formatter};

use super::said::{EndId, Progress};

/// What came of it all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    pub rounds: u32,
    pub kills: u32,
    pub routes: u32,
    pub hand_overs: u64,
    /// Routes at the end of a round, summed: all delivered and linked directly.
    pub converged: u64,
    /// Those among them that a victim had been on.
    pub survived: u64,
    /// One end in a survivor, and it learned of the closure.
    pub closed_at_one: u64,
    /// Both in survivors, and both learned of it.
    pub closed_at_both: u64,
    /// Both ends in victims, or on their way to one.
    pub lost: u64,
    /// Parcels taken, each as the next of its route.
    pub parcels: u64,
}

impl Display for Tally {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Tally { rounds, kills, routes, hand_overs, converged, survived, closed_at_one, closed_at_both, lost, parcels } = self;
        writeln!(
            f,
            "{rounds} rounds, {kills} processes killed, {hand_overs} hand-overs, {parcels} parcels taken in order, {routes} routes"
        )?;
        writeln!(
            f,
            "routes at the end of rounds: {converged} converged with everything delivered ({survived} of them with a victim on their way),"
        )?;
        write!(f, "  {closed_at_both} closed at both ends, {closed_at_one} at the one end that is left, {lost} with no end left")
    }
}

/// A route, as far as the coordinator knows.
#[derive(Default)]
struct Route {
    /// Who may have had one of its ends since all routes were direct.
    passed: BTreeSet<u32>,
    /// Parcels taken at its ends, up to the last round.
    taken: [u64; 2],
}

/// What is known.
#[derive(Default)]
pub struct Truth {
    routes: BTreeMap<u32, Route>,
    victims: BTreeSet<u32>,
    held: BTreeMap<EndId, (u32, Progress)>,
    pub tally: Tally,
}

impl Truth {
    /// A new route between two workers: its number.
    pub fn open(&mut self, holders: [u32; 2]) -> u32 {
        let route = self.tally.routes;
        self.tally.routes += 1;
        self.routes.insert(route, Route { passed: BTreeSet::from(holders), taken: [0; 2] });
        route
    }

    /// So many routes are there.
    pub fn open_routes(&self) -> usize {
        self.routes.len()
    }

    pub fn killed(&mut self, worker: u32) {
        self.victims.insert(worker);
        self.tally.kills += 1;
    }

    /// A worker is about to hand an end over, or has died before.
    pub fn hands(&mut self, worker: u32, end: EndId, to: u32) {
        self.tally.hand_overs += 1;
        if let Some(route) = self.routes.get_mut(&end.route) {
            route.passed.extend([worker, to]);
        }
    }

    /// A worker has an end.
    pub fn holds(&mut self, worker: u32, end: EndId, progress: Progress) -> Result<(), String> {
        match self.held.insert(end, (worker, progress)) {
            Some((other, _)) => Err(format!("{end} is held by {other} and {worker}")),
            None => Ok(()),
        }
    }

    /// All have said what they hold: holds it against what must be, and forgets the routes that are over. Tells each thing that is wrong.
    pub fn judge(&mut self) -> Vec<String> {
        let held = std::mem::take(&mut self.held);
        let mut wrong = Vec::new();
        for (number, mut route) in std::mem::take(&mut self.routes) {
            let ends = [0, 1].map(|side| held.get(&EndId { route: number, side }));
            let excused = route.passed.iter().any(|worker| self.victims.contains(worker));
            for (end, taken) in ends.iter().zip(&mut route.taken) {
                if let Some((_, progress)) = end {
                    self.tally.parcels += progress.received - std::mem::replace(taken, progress.received);
                }
            }
            let tally = &mut self.tally;
            let counted = match ends {
                [Some((_, a)), Some((_, b))] if a.received > b.sent || b.received > a.sent => None,
                [Some((_, a)), Some((_, b))] if a.closed && b.closed => excused.then_some(&mut tally.closed_at_both),
                [Some((at_a, a)), Some((at_b, b))] if !a.closed && !b.closed && a.received == b.sent && b.received == a.sent => {
                    tally.survived += u64::from(excused);
                    route.passed = BTreeSet::from([*at_a, *at_b]);
                    self.routes.insert(number, route);
                    Some(&mut tally.converged)
                }
                [Some((_, one)), None] | [None, Some((_, one))] => (excused && one.closed).then_some(&mut tally.closed_at_one),
                [None, None] => excused.then_some(&mut tally.lost),
                _ => None,
            };
            match counted {
                Some(count) => *count += 1,
                None => wrong.push(format!("route {number}: ends {ends:?}; a victim was on its way: {excused}")),
            }
        }
        self.victims.clear();
        self.tally.rounds += 1;
        wrong
    }
}
