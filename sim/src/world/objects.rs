//! Driver objects of all processes: who owns which, and what it is.

use std::collections::BTreeMap;

use ipcz::ids::ObjectId;
use slab::Slab;

/// A process number that is nobody's: of a transport end inside a message.
pub(crate) const NOBODY: u32 = u32::MAX;

/// What travels beside a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Carried {
    /// A transport end.
    Transport(u32),
    /// A memory; counts as one of its owners.
    Memory(u32),
    /// Something that an application boxes: it stands for a number.
    Token(u64),
}

/// What an object is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Holds {
    Transport(u32),
    Memory(u32),
    Token(u64),
    /// Transmissible: made by Serialize or received beside a message.
    Handle(Carried),
}

impl Holds {
    fn tag(self) -> u64 {
        match self {
            Holds::Token(_) => 0,
            Holds::Transport(_) => 1,
            Holds::Memory(_) => 2,
            Holds::Handle(_) => 3,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Object {
    id: ObjectId,
    owner: u32,
    holds: Holds,
}

/// The objects. An id is a running number, a slot and a kind: never reused, the same in every run.
#[derive(Clone, Default, Debug)]
pub(crate) struct Objects {
    slots: Slab<Object>,
    made: u32,
    open: BTreeMap<u32, usize>,
}

impl Objects {
    pub fn open(&mut self, owner: u32, holds: Holds) -> ObjectId {
        self.made = self.made.wrapping_add(1);
        let slot = self.slots.vacant_entry();
        let bits = u64::from(self.made) << 32 | (slot.key() as u64) << 2 | holds.tag();
        let id = ObjectId::new(bits).expect("the first object is number 1");
        slot.insert(Object { id, owner, holds });
        *self.open.entry(owner).or_default() += 1;
        id
    }

    fn slot(&self, owner: u32, id: ObjectId) -> Option<(usize, Holds)> {
        let index = (id.0.get() as u32 >> 2) as usize;
        let object = self.slots.get(index)?;
        (object.id == id && object.owner == owner).then_some((index, object.holds))
    }

    /// What `owner`'s object is.
    pub fn find(&self, owner: u32, id: ObjectId) -> Option<Holds> {
        self.slot(owner, id).map(|(_, holds)| holds)
    }

    pub fn transport(&self, owner: u32, id: ObjectId) -> Option<u32> {
        match self.find(owner, id)? {
            Holds::Transport(end) => Some(end),
            _ => None,
        }
    }

    pub fn memory(&self, owner: u32, id: ObjectId) -> Option<u32> {
        match self.find(owner, id)? {
            Holds::Memory(index) => Some(index),
            _ => None,
        }
    }

    /// Takes an object away from its owner.
    pub fn take(&mut self, owner: u32, id: ObjectId) -> Option<Holds> {
        let (index, holds) = self.slot(owner, id)?;
        self.slots.remove(index);
        if let Some(open) = self.open.get_mut(&owner) {
            *open -= 1;
        }
        Some(holds)
    }

    /// Takes a transmissible handle away from its owner; objects of other kinds stay.
    pub fn take_handle(&mut self, owner: u32, id: ObjectId) -> Option<Carried> {
        match self.find(owner, id)? {
            Holds::Handle(carried) => {
                self.take(owner, id);
                Some(carried)
            }
            _ => None,
        }
    }

    /// Everything `owner` has.
    pub fn of(&self, owner: u32) -> Vec<ObjectId> {
        self.slots.iter().filter(|(_, o)| o.owner == owner).map(|(_, o)| o.id).collect()
    }

    /// How many objects `owner` has.
    pub fn count(&self, owner: u32) -> usize {
        self.open.get(&owner).copied().unwrap_or(0)
    }
}
