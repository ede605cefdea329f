//! What a command ends with.

/// Exit of the command, from best to worst: of several the greatest counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Exit {
    /// Everything that was checked held.
    Held,
    /// Interrupted; the rest can be run later.
    Interrupted,
    /// Something outside the simulation failed.
    Trouble,
    /// The command line or a scenario is wrong.
    Usage,
    /// A requirement was not met, or nothing was shown at all.
    Unmet,
    /// Two runs of one seed differ.
    Nondeterministic,
    /// A property did not hold.
    Violated,
}

impl Exit {
    /// The code the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Exit::Held => 0,
            Exit::Trouble => 1,
            Exit::Usage => 2,
            Exit::Violated => 42,
            Exit::Nondeterministic => 43,
            Exit::Unmet => 44,
            Exit::Interrupted => 75,
        }
    }
}
