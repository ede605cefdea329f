//! Memory for nodes that cannot allocate any: their broker gives it (nodes.md 9.3).

use super::network::Network;
use super::outbox::Outgoing;
use super::request::{Ask, Request};
use crate::ids::{DriverKey, LinkKey, ObjectId};
use crate::mapping::Mapping;
use crate::memory::LinkMemory;
use crate::planted::Bug;
use crate::probe::Probe;
use crate::routing::Violation;
use crate::wire::{Message, ProvideMemory, RequestMemory};

/// Memory that was asked of a delegate.
#[derive(Clone, Copy, Debug)]
pub struct MemoryRequest {
    /// The driver that will own it.
    pub driver: DriverKey,
    /// Bytes.
    pub bytes: u32,
    /// The link whose memory grows.
    pub link: LinkKey,
    /// By blocks of this size.
    pub block_size: u32,
}

impl Network {
    /// Asks a delegate for memory.
    pub(super) fn request_memory(&mut self, delegate: LinkKey, request: MemoryRequest) {
        let Some(peer) = self.peer_mut(delegate) else { return self.delegated(request, None) };
        peer.memory_requests.push_back(request);
        self.probes.hit(Probe::DelegateAsked);
        self.send(delegate, Message::RequestMemory(RequestMemory { size: request.bytes }));
    }

    /// A peer wants memory. Any may; too much is refused (nodes.md D-15).
    pub fn memory_requested(&mut self, from: LinkKey, bytes: u32) -> Result<(), Violation> {
        if bytes == 0 {
            return Err(Violation("RequestMemory: size must not be 0"));
        }
        let Some(node) = self.node_of(from) else { return Ok(()) };
        let (driver, limits) = (node.driver, node.limits);
        let asked = |request: &Request| match request {
            Request::Grant { link, bytes, .. } if *link == from => u64::from(*bytes),
            _ => 0,
        };
        let outstanding: u64 = self.requests.iter().map(|(_, request)| asked(request)).sum();
        if u64::from(bytes) > limits.grant_bytes || outstanding + u64::from(bytes) > limits.granting_bytes {
            self.probes.hit(Probe::DelegateOverLimit);
            self.provide(from, bytes, None);
            return Ok(());
        }
        self.ask(Request::Grant { driver, link: from, bytes }, Ask::Grant { driver, bytes: bytes as usize });
        Ok(())
    }

    /// The driver made the memory, or did not.
    pub(super) fn granted(&mut self, driver: DriverKey, link: LinkKey, bytes: u32, memory: Option<ObjectId>) {
        self.objects += usize::from(memory.is_some());
        match memory {
            Some(memory) if self.peer(link).is_none() => self.doom(driver, memory),
            memory => self.provide(link, bytes, memory),
        }
    }

    fn provide(&mut self, to: LinkKey, size: u32, memory: Option<ObjectId>) {
        self.probes.hit(if memory.is_some() { Probe::DelegateGranted } else { Probe::DelegateRefused });
        if memory.is_none() && self.planted.has(Bug::GrantRefusalUntold) {
            return;
        }
        let message = ProvideMemory { size, buffer: memory.map(|_| 0) };
        self.append(to, Outgoing::Message(Message::ProvideMemory(message)), memory.into_iter().collect(), 64, false);
    }

    /// A delegate answers the oldest request of that size. Takes the memory if it is of use.
    pub fn memory_provided(
        &mut self,
        from: LinkKey,
        message: &ProvideMemory,
        memory: &mut Option<ObjectId>,
        mapping: &mut Option<Mapping>,
    ) -> Result<(), Violation> {
        let Some(peer) = self.peer_mut(from) else { return Ok(()) };
        let oldest = peer.memory_requests.iter().position(|request| request.bytes == message.size);
        let Some(request) = oldest.and_then(|oldest| peer.memory_requests.remove(oldest)) else {
            return Err(Violation("ProvideMemory: nobody asked for memory of this size"));
        };
        let granted = memory.is_some() && mapping.as_ref().is_some_and(|mapping| mapping.len() >= request.bytes as usize);
        let given = granted.then(|| memory.take().zip(mapping.take())).flatten();
        self.delegated(request, given);
        Ok(())
    }

    /// A request to a delegate is answered.
    pub(super) fn delegated(&mut self, request: MemoryRequest, memory: Option<(ObjectId, Mapping)>) {
        let MemoryRequest { driver, link, block_size, .. } = request;
        self.probes.hit(if memory.is_some() { Probe::DelegateGave } else { Probe::DelegateGaveNone });
        if let Some((_, mapping)) = &memory {
            LinkMemory::initialise_region(mapping, block_size);
        }
        self.grown(driver, link, block_size, memory);
    }
}
