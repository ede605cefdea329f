//! What a call can answer besides success (api.md 2).

/// Why a call did nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// The driver failed in a way that has no name here.
    #[error("the driver failed")]
    Unknown,
    /// A handle of the wrong kind, stale or closed; a size or flag that makes no sense; an attachment that cannot be sent.
    #[error("invalid argument: a wrong or stale handle, or a value that makes no sense here")]
    InvalidArgument,
    /// The peer is closed, or everything it ever sent has been read.
    #[error("the peer is closed")]
    NotFound,
    /// A transaction is open.
    #[error("already in progress")]
    AlreadyExists,
    /// A named limit is reached or memory is short; nothing was taken.
    #[error("a limit is reached: nothing was taken")]
    ResourceExhausted,
    /// Not in the state that this needs.
    #[error("not possible in this state")]
    FailedPrecondition,
    /// More than there can be.
    #[error("out of range")]
    OutOfRange,
    /// Not there (yet).
    #[error("not implemented")]
    Unimplemented,
    /// The process's core has failed; every later call says so.
    #[error("the core of this process has failed")]
    Internal,
    /// Nothing to be read now.
    #[error("nothing to read now")]
    Unavailable,
}
