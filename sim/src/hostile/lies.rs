//! The table of lies: plain data for scenarios, the engine, tests and reports.

use ipcz::probe::Probe;

/// What a hostile node can say or do. The number is that of its decisions ([`crate::choice::Site::Lie`]): never reuse or change one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
#[allow(missing_docs, reason = "the table says what each is")]
pub enum Lie {
    ForgedClosure = 0,
    ForgedLoss = 1,
    UnknownSublink = 2,
    EarlyFlood = 3,
    FarAhead = 4,
    NumberAgain = 5,
    StrangePortal = 6,
    PortalOnUsedSublink = 7,
    PortalNamedTwice = 8,
    ImpossiblePortal = 9,
    ConfusedDeputy = 10,
    PortalFlood = 11,
    WrongCounts = 12,
    BadSubparcels = 13,
    BypassStranger = 14,
    StolenBypass = 15,
    BypassOwnLink = 16,
    ForgedLengths = 17,
    SaidAgain = 18,
    Reflected = 19,
    Misaddressed = 20,
    Withheld = 21,
    ChangedField = 22,
    CutShort = 23,
    BadHeader = 24,
    BadArray = 25,
    BadObjectIndex = 26,
    HandleClaimedTwice = 27,
    StrayHandles = 28,
    UnknownId = 29,
    WrongRole = 30,
    SecondGreeting = 31,
    SelfIntroduction = 32,
    IntroductionStorm = 33,
    CuriousIntroduction = 34,
    HalfSplit = 35,
    ReferralStorm = 36,
    MemoryRequest = 37,
    UnaskedMemory = 38,
    RelayAnything = 39,
    BadBuffer = 40,
    WrongObject = 41,
    BufferFlood = 42,
    FragmentOutOfBounds = 43,
    FragmentElsewhere = 44,
    NeverAnnounced = 45,
    StateOutOfBounds = 46,
    FreeList = 47,
    StatusWord = 48,
    ReferenceCount = 49,
    SourceName = 50,
    Counters = 51,
    ParcelHeader = 52,
    ChangingData = 53,
    BetweenLoads = 54,
    FlushStorm = 55,
    ForgedIntroduction = 56,
}

/// What must become of a lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Guard {
    /// The link is dropped, for a reason that holds these words.
    Blame(&'static str),
    /// It comes to this, which no honest peer of the same worlds causes.
    Probe(Probe),
    /// Honest nodes must hold though nothing tells of it: what it touches is the liar's own, or is looked at by the checkers.
    Bystanders,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Which.
    pub lie: Lie,
    /// Its name in scenarios and reports.
    pub name: &'static str,
    /// The hazards (hazards.md) and races (routing.md 20) it stands for.
    pub hazards: &'static str,
    /// What the liar does.
    pub does: &'static str,
    /// What stops it: some of these in any large number of runs.
    pub guards: &'static [Guard],
}

macro_rules! table {
    ($($lie:ident $name:literal $hazards:literal $does:literal [$($guard:expr),*];)*) => {
        /// Every lie, in the order of their numbers.
        pub const ALL: [About; COUNT] = [$(About { lie: Lie::$lie, name: $name, hazards: $hazards, does: $does, guards: &[$($guard),*] }),*];
        /// How many there are.
        pub const COUNT: usize = [$($name),*].len();
    };
}

use Guard::{Blame, Bystanders};

const fn probe(probe: Probe) -> Guard {
    Guard::Probe(probe)
}

table! {
    ForgedClosure "forged-closure" "MV-15 MV-16 RE-01 R46" "closes a route after a number of parcels that is not so" [probe(Probe::ClosureImpossible)];
    ForgedLoss "forged-loss" "RC-02 LK-12 R46" "says that a route is lost" [Bystanders];
    UnknownSublink "unknown-sublink" "TR-18 RC-03 R46" "speaks of a sublink that is not there" [probe(Probe::MessageForUnbound)];
    EarlyFlood "early-flood" "RC-03 RC-04 RE-04" "sends many parcels to sublinks that never come" [probe(Probe::EarlyParcelDropped)];
    FarAhead "far-ahead" "RE-01 RE-02 MV-15" "sends a parcel with a number far ahead" [probe(Probe::ParcelRefused)];
    NumberAgain "number-again" "RE-01 R46" "sends another parcel with a number it has used" [probe(Probe::ParcelRefused)];
    StrangePortal "strange-portal" "MV-14 MV-26 RC-32" "sends a portal of nobody's" [Bystanders];
    PortalOnUsedSublink "portal-on-used-sublink" "MV-14 MV-26 R46" "sends a portal on a sublink in use" [Blame("a sublink is in use")];
    PortalNamedTwice "portal-named-twice" "MV-14 MV-26" "sends two portals on one sublink" [Blame("a sublink is named twice")];
    ImpossiblePortal "impossible-portal" "MV-15 MV-14 SM-02" "sends a portal that contradicts itself" [Blame("RouterDescriptor")];
    ConfusedDeputy "confused-deputy" "TR-06 TR-19 TR-11" "sends a portal that leads its taker to bypass at another node" [probe(Probe::BypassUnauthorised), probe(Probe::BypassIgnored)];
    PortalFlood "portal-flood" "RE-18 RE-14" "sends very many portals" [Blame("more portals than")];
    WrongCounts "wrong-counts" "MV-13" "sends a parcel whose attachments do not pair up" [Blame("pair up"), Blame("unknown type")];
    BadSubparcels "bad-subparcels" "MV-10 MV-11 RE-05 RE-19" "sends impossible subparcels" [Blame("AcceptParcel")];
    BypassStranger "bypass-stranger" "TR-04 RE-09 R46" "tells a router to bypass to a node or sublink that is not there" [Blame("BypassPeer"), probe(Probe::BypassFailed)];
    StolenBypass "stolen-bypass" "TR-06 TR-18 R46" "offers itself for a route between two others" [probe(Probe::BypassUnauthorised), probe(Probe::BypassIgnored)];
    BypassOwnLink "bypass-own-link" "TR-07 MV-14 RC-16 R46" "offers a link in place of a link that it may not replace" [Blame("bypass link"), probe(Probe::BypassTaken), probe(Probe::BypassIgnored)];
    ForgedLengths "forged-lengths" "MV-16 RC-05 R46" "tells a proxy or its peer lengths that are not so" [Blame("no bypass is going on"), Blame("not local"), probe(Probe::BypassHearsay)];
    SaidAgain "said-again" "MV-16 MV-22 R46" "says again what it said before" [probe(Probe::ParcelRefused), Blame("already"), Blame("in use"), Blame("no bypass is going on")];
    Reflected "reflected" "MV-22 R46" "says back what it was told" [Blame(""), probe(Probe::MessageForUnbound)];
    Misaddressed "misaddressed" "TR-18 RC-33 R46" "says on one link what belongs on another" [Blame(""), probe(Probe::MessageForUnbound)];
    Withheld "withheld" "RE-14 SM-11 R46" "does not say what it should" [Bystanders];
    ChangedField "changed-field" "MV-08 MV-25 R46" "changes a word of what it says" [Blame("")];
    CutShort "cut-short" "MV-06 MV-23" "sends a message cut short" [Blame("")];
    BadHeader "bad-header" "MV-06 MV-09" "gives its message impossible sizes" [Blame("size")];
    BadArray "bad-array" "MV-07 MV-28 MV-29" "points out of its message" [Blame("bad array"), Blame("bad object table")];
    BadObjectIndex "bad-object-index" "MV-01 MV-02 MV-03" "names a driver object that is not there" [Blame(" of 1")];
    HandleClaimedTwice "handle-claimed-twice" "MV-04" "lets two objects claim one handle" [Blame("belongs to two objects")];
    StrayHandles "stray-handles" "MV-05 RE-13" "sends handles that nobody claims" [Bystanders];
    UnknownId "unknown-id" "MV-21 MV-05" "sends objects in a message of no known kind" [Bystanders];
    WrongRole "wrong-role" "TR-10 MV-22 MV-17" "says what only a broker may say" [Blame("is no broker"), Blame("must be brokers"), Blame("by a broker alone")];
    SecondGreeting "second-greeting" "MV-27 TR-09" "greets again" [Blame("greeting")];
    SelfIntroduction "self-introduction" "TR-05" "asks to be introduced to itself" [probe(Probe::IntroductionRejected)];
    IntroductionStorm "introduction-storm" "RE-09" "asks for many nodes that are not there" [probe(Probe::IntroductionRejected)];
    CuriousIntroduction "curious-introduction" "TR-04 RC-22" "asks to be introduced to everybody it has heard of" [Bystanders];
    HalfSplit "half-split" "MV-12 RE-05" "sends halves of parcels, too many, that fit or do not" [Blame("more halves"), Blame("came twice")];
    ReferralStorm "referral-storm" "RE-10 TR-02 RE-13" "refers nodes that never greet" [probe(Probe::ReferralOverLimit), probe(Probe::ReferralRejected)];
    MemoryRequest "memory-request" "RE-08 MV-18" "asks for memory without measure" [probe(Probe::DelegateOverLimit), Blame("size must not be 0")];
    UnaskedMemory "unasked-memory" "MV-18" "gives memory that nobody asked for" [Blame("nobody asked for memory")];
    RelayAnything "relay-anything" "TR-03 MV-19 MV-20 TR-01" "asks its broker to pass on anything to anybody" [Bystanders];
    BadBuffer "bad-buffer" "SM-12 SM-13" "announces a buffer of impossible blocks" [Blame("AddBlockBuffer: impossible")];
    WrongObject "wrong-object" "SM-14 MV-17" "sends a transport where memory belongs, or nothing" [Blame("missing or cannot be mapped")];
    BufferFlood "buffer-flood" "RE-06 TR-08" "announces very many buffers" [Blame("more memory than")];
    FragmentOutOfBounds "fragment-out-of-bounds" "SM-01 SM-03 SM-04" "names data that lies out of the link's memory" [Blame("does not hold a parcel")];
    FragmentElsewhere "fragment-elsewhere" "SM-18 SM-20 SM-05" "names data that is no block: headers, states, parts of blocks" [Bystanders];
    NeverAnnounced "never-announced" "RE-07 SM-04" "names data in buffers that are never announced" [Blame("never announced")];
    StateOutOfBounds "state-out-of-bounds" "SM-01 SM-02 SM-03 SM-04" "names a link state that is too small, misaligned or out of bounds" [Blame("link state")];
    FreeList "free-list" "SM-08 SM-10 SM-21" "overwrites free lists" [Bystanders];
    StatusWord "status-word" "SM-11 R47" "overwrites the status of a central link" [Bystanders];
    ReferenceCount "reference-count" "SM-10 R47" "overwrites the count of a link state" [Bystanders];
    SourceName "source-name" "TR-19 TR-06" "writes another node into a link state as the one that may bypass" [Bystanders];
    Counters "counters" "TR-18 SM-09" "overwrites the counters of sublinks and buffers" [Bystanders];
    ParcelHeader "parcel-header" "SM-05" "changes the length of a parcel's data" [Blame("does not hold a parcel")];
    ChangingData "changing-data" "SM-06 SM-19" "changes a parcel's data while it is read" [Bystanders];
    BetweenLoads "between-loads" "SM-05 SM-08 SM-09 SM-11 R47" "depth L1: changes a word just before it is used" [Bystanders];
    FlushStorm "flush-storm" "RE-16 RC-26" "asks again and again to be flushed" [Bystanders];
    ForgedIntroduction "forged-introduction" "TR-10 TR-09" "introduces its peer to somebody it has heard of, over a transport of its own"
        [Blame("AcceptIntroduction: its sender is no broker")];
}

impl Lie {
    /// The lie of this name.
    pub fn named(name: &str) -> Option<Lie> {
        ALL.iter().find(|about| about.name == name).map(|about| about.lie)
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

/// What hostile nodes do: plain data of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lies {
    /// How often, of how many opportunities: messages that one sends or gets.
    pub chance: [u32; 2],
    /// How many lies each may tell.
    pub most: u64,
    /// Which.
    pub lies: Vec<Lie>,
    /// How often one whose broker has dropped it connects anew.
    pub returns: u64,
}

impl Default for Lies {
    fn default() -> Lies {
        Lies { chance: [1, 8], most: 200, lies: ALL.iter().map(|about| about.lie).collect(), returns: 4 }
    }
}

/// How often a lie was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    /// Which.
    pub lie: Lie,
    /// Times.
    pub times: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_numbers() {
        for (number, about) in ALL.iter().enumerate() {
            assert_eq!((about.lie as usize, Lie::named(about.name)), (number, Some(about.lie)));
            assert!(!about.guards.is_empty(), "{} provokes nothing", about.name);
        }
        assert!(COUNT < 250 && Lie::named("none").is_none());
    }
}
