//! Connections between nodes: both ends' ConnectNode, and what a fault may mean for one that is not made yet.

use ipcz::api::{Connect, ConnectTo};
use ipcz::inspect::LinkView;

use super::stage::{API, Stage, unexpected};
use crate::check::{Checked, Violation};
use crate::ghost::{EndId, Role};
use crate::world::LinkProfile;

/// A connection that a step has made or tried to make.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    /// The two nodes.
    pair: [u32; 2],
    /// An end of its pipe.
    end: EndId,
    /// The second refers the first: other nodes have their part in it.
    referral: bool,
}

impl Stage {
    /// Connects a node to its broker, a broker to another one, or a node to the one that refers it. Answers the node's end of the pipe;
    /// none if a driver that fails forbids it.
    pub fn connect(&mut self, node: u32, to: u32, profile: Option<LinkProfile>, role: Role) -> Checked<Option<EndId>> {
        if role != Role::Connection && self.neighbours(node).contains(&to) {
            // The new link takes the place of the old one.
            let until = self.noticed();
            self.sever(node, to, until);
        }
        let (near, far) = self.world.transport_pair(node, to, profile);
        let delegate = self.homes[node as usize].delegate;
        let hows = match (self.homes[node as usize].broker, self.homes[to as usize].broker) {
            (true, _) => [ConnectTo::Broker; 2],
            (false, true) => [ConnectTo::Broker, ConnectTo::Normal],
            (false, false) => [ConnectTo::Inherited, ConnectTo::Referred],
        };
        let mut handles = Vec::new();
        for (at, transport, to) in [(node, near, hows[0]), (to, far, hows[1])] {
            let home = self.homes[at as usize].node.ok_or_else(|| Violation::new(API, "a process has a node", "").in_process(at))?;
            let how = Connect { to, delegate: delegate && at == node };
            let mut made = self.process(at)?.connect_node(home, transport, 1, how);
            while made.is_err() && self.unlucky() {
                made = self.process(at)?.connect_node(home, transport, 1, how);
            }
            match made {
                Ok(portals) => handles.extend(portals.into_iter().map(|portal| (at, portal))),
                // The transport is the caller's again: the other end learns it.
                Err(_) if self.faulty => self.world.close_object(at, transport),
                Err(error) => return Err(unexpected("ConnectNode", error).in_process(at)),
            }
        }
        let Ok(holders) = <[_; 2]>::try_from(handles.as_slice()) else {
            for (process, portal) in handles {
                self.process(process)?.close(portal).map_err(|error| unexpected("Close", error).in_process(process))?;
            }
            return Ok(None);
        };
        let end = self.adopt(role, holders)?;
        if role != Role::Connection {
            self.attempts.push(Attempt { pair: [node, to], end, referral: hows[0] == ConnectTo::Inherited });
        }
        Ok(Some(end))
    }

    /// Whether steps have two nodes connected, directly or as the broker and the node that is referred to it.
    pub(super) fn are_connecting(&self, a: u32, b: u32) -> bool {
        let takes_part = |attempt: &Attempt, node: u32| {
            attempt.pair.contains(&node) || (attempt.referral && self.homes.get(node as usize).is_some_and(|home| home.broker))
        };
        self.attempts.iter().any(|attempt| takes_part(attempt, a) && takes_part(attempt, b))
    }

    /// Something has struck these nodes: connections in which they have a part and that are not made yet may fail.
    pub(super) fn doubt(&mut self, nodes: &[u32]) {
        for at in 0..self.attempts.len() {
            let Attempt { pair, end, referral } = self.attempts[at];
            if (referral || pair.iter().any(|node| nodes.contains(node))) && !self.is_connected(end) {
                self.ghost.touch(end);
                // The transport of a referral is the referrer's at first and then the broker's.
                for broker in (0..self.homes.len() as u32).filter(|at| referral && self.homes[*at as usize].broker) {
                    pair.iter().for_each(|node| self.checks.honesty.loosen(*node, broker));
                    self.checks.honesty.loosen(pair[0], pair[1]);
                }
            }
        }
    }

    /// Whether both ends of a pipe have a link, or have had one.
    fn is_connected(&self, end: EndId) -> bool {
        [end, end.twin()].into_iter().all(|end| {
            let Some((process, handle)) = self.ghost.holder(end) else { return true };
            let Some(process) = self.world.process(process).filter(|process| !process.is_busy()) else { return false };
            let router = process.inspect(|view| view.router(view.router_of(handle)?));
            router.is_some_and(|router| matches!(router.out.primary, Some(LinkView::Remote { .. })))
        })
    }

    /// Two brokers lose each other: what one of them has just sent to introduce a client of its own to the other is lost or unwanted, so
    /// that client has half a link.
    pub(super) fn part_networks(&mut self, a: u32, b: u32, until: u64) {
        for (broker, other) in [(a, b), (b, a)] {
            for client in self.clients(broker) {
                self.checks.honesty.loosen(client, other);
                self.checks.broken.wound(client, other, until);
            }
        }
        // Nodes of the two networks are not introduced to each other any more.
        self.checks.broken.unintroduced(None, u64::MAX);
    }

    /// A broker could not introduce two nodes. Another one may, and then the first one again: each end of the two pairs of transports may
    /// be kept without the other (nodes.md 7.5 knows of one broker).
    pub(super) fn introduce_by_others(&mut self, until: u64) {
        let nodes = 0..self.homes.len() as u32;
        if self.homes.iter().filter(|home| home.broker).count() > 2 {
            for (a, b) in nodes.clone().flat_map(|a| nodes.clone().filter(move |b| a < *b).map(move |b| (a, b))) {
                self.checks.honesty.loosen(a, b);
                self.checks.broken.wound(a, b, until);
            }
        }
    }

    /// The processes whose broker a process is.
    fn clients(&self, broker: u32) -> Vec<u32> {
        let is_client = |process: &u32| {
            let Some(body) = self.world.process(*process).filter(|body| !body.is_busy()) else { return false };
            let brokers =
                body.inspect(|view| view.nodes().into_iter().filter_map(|node| view.remote_name(node.broker_link?)).collect::<Vec<_>>());
            brokers.into_iter().any(|name| self.names.process(name) == Some(broker))
        };
        (0..self.world.processes()).filter(is_client).collect()
    }
}
