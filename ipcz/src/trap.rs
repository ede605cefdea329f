//! What a trap may wait for and what it tells (api.md 12). Plain types; evaluation is the routers'.

/// A set of trap conditions or of what came true.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct TrapFlags(pub u32);

impl TrapFlags {
    /// The portal was closed or sent to another node; always observed.
    pub const REMOVED: TrapFlags = TrapFlags(1);
    /// Level: the peer is closed and everything it sent has arrived.
    pub const PEER_CLOSED: TrapFlags = TrapFlags(2);
    /// Level: the peer is closed and everything it sent has been read.
    pub const DEAD: TrapFlags = TrapFlags(4);
    /// Level: more than `min_parcels` parcels can be read.
    pub const ABOVE_MIN_PARCELS: TrapFlags = TrapFlags(8);
    /// Level: more than `min_bytes` bytes can be read.
    pub const ABOVE_MIN_BYTES: TrapFlags = TrapFlags(16);
    /// Edge: a parcel became readable.
    pub const NEW_PARCEL: TrapFlags = TrapFlags(32);
    /// Said of an event whose cause is an API call of this process.
    pub const WITHIN_API_CALL: TrapFlags = TrapFlags(64);

    /// What is in either.
    pub const fn or(self, other: TrapFlags) -> TrapFlags {
        TrapFlags(self.0 | other.0)
    }

    /// What is in both.
    pub const fn and(self, other: TrapFlags) -> TrapFlags {
        TrapFlags(self.0 & other.0)
    }

    /// Whether none is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What a trap waits for; it fires once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct TrapConditions {
    /// Which conditions.
    pub flags: TrapFlags,
    /// Threshold of [`TrapFlags::ABOVE_MIN_PARCELS`].
    pub min_parcels: usize,
    /// Threshold of [`TrapFlags::ABOVE_MIN_BYTES`].
    pub min_bytes: usize,
}

/// What can be said of a portal at once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct PortalStatus {
    /// The peer is closed and everything it sent has arrived.
    pub peer_closed: bool,
    /// And has been read.
    pub dead: bool,
    /// Parcels that can be read now, in sequence.
    pub parcels: usize,
    /// Data bytes of those.
    pub bytes: usize,
}

/// A trap that fired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrapEvent {
    /// What the installer gave.
    pub context: u64,
    /// What came true.
    pub flags: TrapFlags,
    /// The portal's status when the trap was evaluated.
    pub status: PortalStatus,
}

/// Where a process's trap events go; called with no lock held, from whatever thread caused the event.
pub trait TrapTarget: Send + Sync {
    /// One event. May call any API.
    fn fired(&self, event: &TrapEvent);
}
