//! The outbox of a transport: in the order of the core's decisions, everything that is to happen to it (design.md 3).

use std::collections::VecDeque;

use crate::application::ApplicationObject;
use crate::ids::{DriverKey, FragmentDescriptor, LinkKey, NodeName, ObjectId, SublinkId};
use crate::mapping::Mapping;
use crate::planted::{Bug, Planted};
use crate::routing::Payload;
use crate::wire::{Message, RouterDescriptor};

/// A message on its way out; encoded by whoever drains the outbox.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// What to say.
    pub message: Outgoing,
    /// Driver objects that travel with it, in the order of the message's object list.
    pub objects: Vec<ObjectId>,
    /// The header's sequence number.
    pub sequence: u64,
    /// Bytes it counts for in the link's backlog.
    pub bytes: usize,
}

/// What an envelope holds.
#[derive(Clone, Debug)]
pub enum Outgoing {
    /// Any message but a parcel.
    Message(Message<'static>),
    /// AcceptParcel.
    Parcel {
        /// Over this sublink.
        sublink: SublinkId,
        /// The parcel's number.
        number: u64,
        /// Its data.
        data: ParcelData,
        /// The portals moved with it; all its attachments.
        routers: Vec<RouterDescriptor>,
    },
    /// A parcel with boxes: one message or several, as the drainer finds out.
    Boxes {
        /// Over this sublink.
        sublink: SublinkId,
        /// The parcel's number.
        number: u64,
        /// What is sent.
        main: Part,
    },
    /// RelayMessage.
    Relay {
        /// For this node.
        to: NodeName,
        /// The message.
        data: Vec<u8>,
    },
    /// AcceptRelayedMessage.
    Relayed {
        /// From this node.
        from: NodeName,
        /// The message.
        data: Vec<u8>,
    },
}

/// A parcel or subparcel with boxes on its way out.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its data.
    pub data: ParcelData,
    /// The portals moved with it.
    pub routers: Vec<RouterDescriptor>,
    /// Its attachments.
    pub slots: Vec<Slot>,
}

/// One attachment on its way out.
#[derive(Clone, Debug)]
pub enum Slot {
    /// The next of the portals.
    Portal,
    /// A driver object of the link's driver.
    Object(ObjectId),
    /// An object of the application, to be serialized; not in a subparcel.
    Application(ApplicationObject),
    /// A subparcel; not in another.
    Part(Part),
}

impl Part {
    /// One without data or attachments.
    pub fn empty() -> Part {
        Part { data: ParcelData::Inline(Payload::None), routers: Vec::new(), slots: Vec::new() }
    }

    /// Driver objects in it and its subparcels.
    pub fn objects(&self) -> usize {
        let objects = |slot: &Slot| match slot {
            Slot::Object(_) => 1,
            Slot::Part(part) => part.objects(),
            Slot::Portal | Slot::Application(_) => 0,
        };
        self.slots.iter().map(objects).sum()
    }

    /// Subparcels it is to have.
    pub fn subparcels(&self) -> usize {
        self.slots.iter().filter(|slot| matches!(slot, Slot::Application(_) | Slot::Part(_))).count()
    }

    /// About how many bytes its messages have.
    pub fn bytes(&self) -> usize {
        let data = match &self.data {
            ParcelData::Inline(payload) => payload.len(),
            ParcelData::Fragment(_) => 0,
        };
        let slot = |slot: &Slot| match slot {
            Slot::Portal => 104,
            Slot::Object(_) => 32,
            Slot::Application(_) => 108,
            Slot::Part(part) => 4 + part.bytes(),
        };
        104 + data + self.slots.iter().map(slot).sum::<usize>()
    }

    fn remap(&mut self, f: &mut dyn FnMut(&mut Mapping)) {
        if let ParcelData::Inline(payload) = &mut self.data {
            payload.remap(f);
        }
        for slot in &mut self.slots {
            if let Slot::Part(part) = slot {
                part.remap(f);
            }
        }
    }
}

/// A parcel's data on its way out.
#[derive(Clone, Debug)]
pub enum ParcelData {
    /// A block of this link's memory, which becomes the receiver's.
    Fragment(FragmentDescriptor),
    /// To be put into the message.
    Inline(Payload),
}

/// One thing to do to a transport.
#[derive(Clone, Debug)]
pub enum LinkOp {
    /// Start delivery.
    Activate,
    /// Transmit.
    Send(Envelope),
    /// Ask for the end of delivery.
    Deactivate,
    /// Release the transport.
    Close,
}

/// What one thread carries out next, with what it needs to do so.
#[derive(Debug)]
pub struct Batch {
    /// The link.
    pub link: LinkKey,
    /// Its driver.
    pub driver: DriverKey,
    /// Its transport.
    pub transport: ObjectId,
    /// In order.
    pub ops: VecDeque<LinkOp>,
}

/// How far the transport's life has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Not activated yet: holds what may be sent nevertheless.
    Fresh,
    /// Activation was appended.
    Active,
    /// Deactivation was appended; the driver has yet to confirm it.
    Stopping,
    /// Nothing more will be delivered.
    Stopped,
    /// Closing was appended.
    Closed,
}

/// Waiting ops of one transport, and the token of the one thread that drains them.
#[derive(Clone, Debug)]
pub struct Outbox {
    /// The driver's transport.
    pub transport: ObjectId,
    ops: VecDeque<LinkOp>,
    draining: bool,
    /// Users outside the lock that still need the transport.
    pins: u32,
    stage: Stage,
    /// Bytes waiting here.
    pub bytes: usize,
    /// Bytes that the driver had accepted and not yet written, when it was last asked.
    pub backlog: usize,
    sequence: u64,
}

impl Outbox {
    /// The empty outbox of a fresh transport.
    pub fn new(transport: ObjectId) -> Outbox {
        Outbox { transport, ops: VecDeque::new(), draining: false, pins: 0, stage: Stage::Fresh, bytes: 0, backlog: 0, sequence: 0 }
    }

    /// Ops waiting.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Appends the start of delivery.
    pub fn activate(&mut self) {
        assert_eq!(self.stage, Stage::Fresh, "a transport is activated once");
        self.stage = Stage::Active;
        self.ops.push_back(LinkOp::Activate);
    }

    /// Appends a message. A greeting does not count in the link's sequence (wire.md 10).
    pub fn send(&mut self, message: Outgoing, objects: Vec<ObjectId>, bytes: usize, greeting: bool) {
        let sequence = self.sequence;
        let messages = if let Outgoing::Boxes { main, .. } = &message { 1 + main.subparcels() as u64 } else { 1 };
        self.sequence += if greeting { 0 } else { messages };
        self.bytes += bytes;
        self.ops.push_back(LinkOp::Send(Envelope { message, objects, sequence, bytes }));
    }

    /// Whether messages may still be appended.
    pub fn accepts(&self) -> bool {
        matches!(self.stage, Stage::Fresh | Stage::Active)
    }

    /// Appends the end of delivery; closing follows once the driver has confirmed it.
    pub fn stop(&mut self) {
        match self.stage {
            Stage::Fresh => self.stage = Stage::Stopped,
            Stage::Active => {
                self.stage = Stage::Stopping;
                self.ops.push_back(LinkOp::Deactivate);
            }
            Stage::Stopping | Stage::Stopped | Stage::Closed => {}
        }
        self.close_if_unused();
    }

    /// The driver will deliver nothing more.
    pub fn stopped(&mut self) {
        if self.stage != Stage::Closed {
            self.stage = Stage::Stopped;
            self.close_if_unused();
        }
    }

    /// Whether the transport is closed, or about to be.
    pub fn is_closed(&self) -> bool {
        self.stage == Stage::Closed
    }

    /// The transport is used outside the lock: it is not closed meanwhile.
    pub fn pin(&mut self) {
        self.pins += 1;
    }

    /// That use is over.
    pub fn unpin(&mut self) {
        self.pins -= 1;
        self.close_if_unused();
    }

    /// Gives the transport back to whoever brought it: it is deactivated if need be, never closed.
    pub fn abandon(&mut self) {
        if self.stage == Stage::Active {
            self.ops.push_back(LinkOp::Deactivate);
        }
        self.stage = Stage::Closed;
    }

    /// Whether nothing is left to do, ever.
    pub fn is_finished(&self) -> bool {
        self.stage == Stage::Closed && self.ops.is_empty() && !self.draining && self.pins == 0
    }

    /// Hands out the waiting ops and the token, if there are any and nobody has the token.
    pub fn take(&mut self, planted: Planted) -> Option<VecDeque<LinkOp>> {
        if self.draining || self.ops.is_empty() {
            return None;
        }
        self.draining = !planted.has(Bug::TwoDrainers);
        Some(std::mem::take(&mut self.ops))
    }

    /// The drainer has carried out its ops: gives it the next ones, or takes the token back. `spent` is reused. `trust`: without
    /// another look.
    pub fn next(&mut self, spent: VecDeque<LinkOp>, bytes: usize, trust: bool) -> Option<VecDeque<LinkOp>> {
        self.bytes -= bytes;
        if self.ops.is_empty() {
            self.draining = false;
            self.ops = spent;
            return None;
        }
        if trust {
            self.draining = false;
            return None;
        }
        Some(std::mem::replace(&mut self.ops, spent))
    }

    /// Swaps the mappings of waiting parcels for their counterparts in a cloned world.
    pub fn remap(&mut self, f: &mut dyn FnMut(&mut Mapping)) {
        for op in &mut self.ops {
            match op {
                LinkOp::Send(Envelope { message: Outgoing::Parcel { data: ParcelData::Inline(payload), .. }, .. }) => payload.remap(f),
                LinkOp::Send(Envelope { message: Outgoing::Boxes { main, .. }, .. }) => main.remap(f),
                _ => {}
            }
        }
    }

    /// The drainer is gone; what it had in hand is lost.
    pub fn free_token(&mut self) {
        self.draining = false;
    }

    fn close_if_unused(&mut self) {
        if self.stage == Stage::Stopped && self.pins == 0 {
            self.stage = Stage::Closed;
            self.ops.push_back(LinkOp::Close);
        }
    }
}
