//! How a link's memory grows (memory.md 6.3, nodes.md 9.2).

use super::delegate::MemoryRequest;
use super::link::{BufferWait, MemoryWait, Peer};
use super::network::{Doomed, Network, NodeEvent};
use super::outbox::Outgoing;
use super::request::{Ask, Request};
use crate::ids::{BufferId, DriverKey, LinkKey, ObjectId};
use crate::mapping::Mapping;
use crate::memory::{LinkMemory, Origin};
use crate::planted::Bug;
use crate::probe::Probe;
use crate::routing::Violation;
use crate::wire::{AddBlockBuffer, Message};

impl Network {
    /// Asks for more blocks of a size on a link; `wait` is answered by [`NodeEvent::MemoryAnswered`]. One request a size runs.
    pub fn request_capacity(&mut self, link: LinkKey, block_size: u32, wait: MemoryWait) {
        let limits = self.limits_of(link);
        let Some(driver) = self.node_of(link).map(|node| node.driver) else { return self.refuse_capacity(wait) };
        let bytes = LinkMemory::region_bytes(block_size);
        let forget = self.planted.has(Bug::MemoryWaitForgotten);
        let Some(peer) = self.peer_mut(link) else { return self.refuse_capacity(wait) };
        if let Some(waits) = peer.growing.get_mut(&block_size) {
            if !forget {
                waits.push(wait);
            }
            self.probes.hit(Probe::MemoryShared);
            return;
        }
        // With what is on its way: a delegate takes its time.
        let coming: u64 = peer.growing.keys().map(|block_size| LinkMemory::region_bytes(*block_size) as u64).sum();
        let (buffers, held) = (peer.memory.buffers() + peer.growing.len(), peer.memory.buffer_bytes() + coming);
        if buffers >= limits.link_buffers || held + bytes as u64 > limits.link_memory_bytes {
            return self.refuse_capacity(wait);
        }
        peer.growing.insert(block_size, vec![wait]);
        self.probes.hit(Probe::MemoryAsked);
        match self.node_of(link).and_then(|node| node.delegate) {
            Some(delegate) => self.request_memory(delegate, MemoryRequest { driver, bytes: bytes as u32, link, block_size }),
            None => self.ask(Request::Growth { driver, link, block_size }, Ask::Memory { driver, bytes, block_size }),
        }
    }

    fn refuse_capacity(&mut self, wait: MemoryWait) {
        self.probes.hit(Probe::MemoryRefused);
        self.out.events.push_back(NodeEvent::MemoryAnswered { wait, granted: false });
    }

    /// The memory came: it is announced, then used; or it did not.
    pub(super) fn grown(&mut self, driver: DriverKey, link: LinkKey, block_size: u32, memory: Option<(ObjectId, Mapping)>) {
        let waits = self.peer_mut(link).and_then(|peer| peer.growing.remove(&block_size));
        let mut granted = false;
        if let Some((object, mapping)) = memory {
            match self.peer_mut(link).and_then(|peer| register(peer, block_size, &mapping)) {
                Some(id) => {
                    let message = AddBlockBuffer { id, block_size, buffer: Some(0) };
                    self.append(link, Outgoing::Message(Message::AddBlockBuffer(message)), vec![object], 80, false);
                    self.resume(link, id);
                    granted = true;
                }
                None => {
                    self.out.doomed.push(Doomed::Mapping(mapping));
                    self.doom(driver, object);
                }
            }
        }
        self.probes.hit(if granted { Probe::MemoryGranted } else { Probe::MemoryRefused });
        self.out.events.extend(waits.into_iter().flatten().map(|wait| NodeEvent::MemoryAnswered { wait, granted }));
    }

    /// The peer announces a buffer.
    pub fn buffer_added(&mut self, link: LinkKey, message: &AddBlockBuffer, mapping: Option<&Mapping>) -> Result<(), Violation> {
        let (limits, unbounded) = (self.limits_of(link), self.planted.has(Bug::BuffersUnbounded));
        let Some(peer) = self.peer_mut(link) else { return Ok(()) };
        let Some(mapping) = mapping else { return Err(Violation("AddBlockBuffer: buffer is missing or cannot be mapped")) };
        // Only its own count: both ends may grow at once, each within the limits as far as it knows.
        let (buffers, held) = (peer.memory.buffers_from(Origin::Theirs), peer.memory.bytes_from(Origin::Theirs));
        let full = buffers >= limits.link_buffers || held + mapping.len() as u64 > limits.link_memory_bytes;
        if full && !unbounded {
            return Err(Violation("AddBlockBuffer: more memory than a link may have"));
        }
        peer.memory
            .add_buffer(message.id, message.block_size, mapping.clone(), Origin::Theirs)
            .map_err(|_| Violation("AddBlockBuffer: impossible id, block_size or buffer"))?;
        self.probes.hit(Probe::BufferAnnounced);
        self.resume(link, message.id);
        Ok(())
    }

    fn resume(&mut self, link: LinkKey, id: BufferId) {
        if let Some(waits) = self.peer_mut(link).and_then(|peer| peer.waits.remove(&id)) {
            self.out.events.push_back(NodeEvent::Resume(link, waits));
        }
    }

    /// Lets something wait for a buffer of the link.
    pub fn wait_for_buffer(&mut self, link: LinkKey, id: BufferId, wait: BufferWait) -> Result<(), Violation> {
        let (limit, unbounded) = (self.limits_of(link).link_buffer_waits, self.planted.has(Bug::WaitsUnbounded));
        let Some(peer) = self.peer_mut(link) else { return Ok(()) };
        let full = peer.buffer_waits() >= limit && !unbounded;
        peer.waits.entry(id).or_default().push(wait);
        if full { Err(Violation("too many fragments in buffers that were never announced")) } else { Ok(()) }
    }
}

/// Enters a buffer of our own under a fresh id.
fn register(peer: &mut Peer, block_size: u32, mapping: &Mapping) -> Option<BufferId> {
    let id = peer.memory.draw_buffer_id()?;
    peer.memory.add_buffer(id, block_size, mapping.clone(), Origin::Ours).ok()?;
    Some(id)
}
