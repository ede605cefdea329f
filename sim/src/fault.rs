//! The kinds of faults, by number and name, and how strongly each strikes: plain data for scenarios, the engine and reports.

use std::collections::BTreeMap;

/// What can go wrong. The number is that of its decisions ([`crate::choice::Site::Fault`]): never reuse or change one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
#[allow(missing_docs, reason = "the table says what each is")]
pub enum Fault {
    Delay = 0,
    Burst = 1,
    Clog = 2,
    Swizzle = 3,
    Cut = 4,
    HalfOpen = 5,
    RefuseSend = 6,
    CrashBeforeSend = 7,
    CrashAfterSend = 8,
    Pause = 9,
    Slow = 10,
    LoseBroker = 11,
    RefuseIntroduction = 12,
    LateIntroduction = 13,
    RefuseMemory = 14,
    TinyCapacity = 15,
    ExhaustBlocks = 16,
    RefuseRandom = 17,
    CloseAtOnce = 18,
    ClockJump = 19,
    FlipByte = 20,
    ChangeField = 21,
    Replay = 22,
    Misdirect = 23,
    Scribble = 24,
    SpuriousFailure = 25,
    CloseInTrap = 26,
}

/// Whom a fault makes a liar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Nobody: the world is bad, the nodes are honest. All properties hold but for routes that a lost link carried.
    Honest,
    /// A node, to one other: what it sent or shares is not what it meant. Whatever touches the link between the two may suffer.
    Corrupting,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The kind.
    pub fault: Fault,
    /// Its name in scenarios and reports.
    pub name: &'static str,
    /// Whom it makes a liar.
    pub class: Class,
    /// When it may strike: what its chance is one of.
    pub per: &'static str,
    /// What it does.
    pub does: &'static str,
}

macro_rules! table {
    ($($fault:ident $name:literal $class:ident $per:literal $does:literal;)*) => {
        /// Every kind, in the order of their numbers.
        pub const ALL: [About; COUNT] = [$(About { fault: Fault::$fault, name: $name, class: Class::$class, per: $per, does: $does }),*];
        /// How many kinds there are.
        pub const COUNT: usize = [$($name),*].len();
    };
}

table! {
    Delay "delay" Honest "message" "arrives `lasts` later";
    Burst "burst" Honest "message" "its direction of the link is silent for `lasts`, then everything arrives at once";
    Clog "clog" Honest "message" "its direction of the link is stopped for `lasts`; what is sent meanwhile is as much later";
    Swizzle "swizzle" Honest "message" "several links are stopped one after the other and freed in another order, all within `lasts`";
    Cut "cut" Honest "message" "the link that it is on is cut right after it";
    HalfOpen "half-open" Honest "message" "its link is cut; the receiver learns it when it next sends on it, or when the work is over";
    RefuseSend "refuse-send" Honest "message" "the transport refuses the next message in this direction";
    CrashBeforeSend "crash-before-send" Honest "message" "the sender dies before it is sent";
    CrashAfterSend "crash-after-send" Honest "message" "the sender dies right after it is sent";
    Pause "pause" Honest "notification" "the process gets nothing for `lasts`, then all of it at once";
    Slow "slow" Honest "message" "all that the sender sends and gets takes `lasts` / 4 longer, for `lasts`";
    LoseBroker "lose-broker" Honest "message of a broker" "the broker dies";
    RefuseIntroduction "refuse-introduction" Honest "introduction" "the broker's driver makes no transports";
    LateIntroduction "late-introduction" Honest "message that introduces" "arrives `lasts` later";
    RefuseMemory "refuse-memory" Honest "allocation, duplicate or mapping of own memory" "the driver is out of memory, for `lasts`";
    TinyCapacity "tiny-capacity" Honest "run" "no link's memory may grow";
    ExhaustBlocks "exhaust-blocks" Honest "operation" "a node takes all free blocks of its link memories and gives them back after `lasts`";
    RefuseRandom "refuse-random" Honest "request of random bytes, in set-up too" "the driver has none";
    CloseAtOnce "close-at-once" Honest "parcel taken" "the portal is closed or handed on inside the event that delivered to it";
    ClockJump "clock-jump" Honest "notification" "the process's clock leaps ahead by `lasts`";
    FlipByte "flip-byte" Corrupting "message" "one of its bytes changes";
    ChangeField "change-field" Corrupting "message" "one word of its parameters changes";
    Replay "replay" Corrupting "message without objects" "arrives twice, the second time `lasts` later";
    Misdirect "misdirect" Corrupting "message without objects" "a copy arrives over another link of the sender";
    Scribble "scribble" Corrupting "message" "a word of the memory that its two nodes share changes";
    SpuriousFailure "spurious-failure" Honest "compare-exchange" "fails although it met what it expected; at most three in a row";
    CloseInTrap "close-in-trap" Honest "trap that fires" "its handler closes the portal, or the other one of its pipe if that is in the process too, before it returns";
}

impl Fault {
    /// The kind of this name.
    pub fn named(name: &str) -> Option<Fault> {
        ALL.iter().find(|about| about.name == name).map(|about| about.fault)
    }

    /// Its row of the table.
    pub fn about(self) -> &'static About {
        &ALL[self as usize]
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.about().name
    }
}

/// How strongly a kind strikes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strength {
    /// How often, of how many opportunities; never more than once.
    pub chance: [u32; 2],
    /// Just this one of the opportunities of a process, counted from 1: instead of by chance.
    pub nth: Option<(u32, u64)>,
    /// How long it lasts, and how long it then does not strike again, in ns.
    pub lasts_ns: u64,
    /// How often it may strike at most.
    pub most: u64,
}

/// How strongly each kind strikes; a kind that is not here never does.
pub type Strengths = BTreeMap<Fault, Strength>;

/// A fault that struck: [`Strength::nth`] alone would have it strike there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Hit {
    /// Which.
    pub fault: Fault,
    /// At which process.
    pub process: u32,
    /// At which of its opportunities, counted from 1.
    pub nth: u64,
}

/// How often a kind could have struck and did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Struck {
    /// Which.
    pub fault: Fault,
    /// Opportunities.
    pub could: u64,
    /// Strikes.
    pub did: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_numbers() {
        for (number, about) in ALL.iter().enumerate() {
            assert_eq!((about.fault as usize, Fault::named(about.name)), (number, Some(about.fault)));
        }
        assert!(COUNT <= 64 && Fault::named("none").is_none());
    }
}
