//! Deliberate faults (feature `planted`), each off unless also armed at run time: they test the testbed.
//!
//! Each is what a programmer could get wrong at that place, and changes one thing. Code asks [`Planted::has`], which is false at no cost in a
//! build without the feature.

/// What part of the library a fault is in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Group {
    /// Blocks of link memory: free lists, ownership.
    Allocator,
    /// The status word of a central link.
    LinkState,
    /// References on link states.
    References,
    /// Where ids come from.
    Ids,
    /// Look, ask, commit: what was looked at has changed.
    StaleLooks,
    /// The outbox of a transport and the token to drain it.
    Outbox,
    /// A shared word is read twice.
    DoubleFetch,
    /// How many parcels go over a link that is being left.
    Lengths,
    /// A router is not looked at again.
    WakeUps,
    /// How proxies are bypassed.
    Bypass,
    /// How routes end.
    Closure,
    /// Introductions, nodes, node links.
    Nodes,
    /// Traps.
    Traps,
    /// Handles that change hands, or do not.
    Handles,
    /// Boxes, subparcels, and what is relayed.
    Boxes,
}

impl Group {
    /// Its name, as printed.
    pub fn name(self) -> &'static str {
        match self {
            Group::Allocator => "allocator",
            Group::LinkState => "link state",
            Group::References => "references",
            Group::Ids => "ids",
            Group::StaleLooks => "stale looks",
            Group::Outbox => "outbox",
            Group::DoubleFetch => "double fetch",
            Group::Lengths => "lengths",
            Group::WakeUps => "wake-ups",
            Group::Bypass => "bypass",
            Group::Closure => "closure",
            Group::Nodes => "nodes",
            Group::Traps => "traps",
            Group::Handles => "handles",
            Group::Boxes => "boxes",
        }
    }
}

/// What it takes to see a fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Depth {
    /// Messages in some order; each input runs alone (L0).
    Message,
    /// Somebody else between two operations on what is shared (L1).
    Operation,
}

impl Depth {
    /// Its name, as printed.
    pub fn name(self) -> &'static str {
        match self {
            Depth::Message => "L0",
            Depth::Operation => "L1",
        }
    }
}

/// What is known of a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The fault.
    pub bug: Bug,
    /// What it is armed by.
    pub name: &'static str,
    /// Part of the library.
    pub group: Group,
    /// The depth that it should be found at.
    pub depth: Depth,
    /// The file it is in, below `ipcz/src/`.
    pub place: &'static str,
    /// What is wrong.
    pub wrong: &'static str,
}

macro_rules! catalogue {
    ($($group:ident { $($bug:ident $name:literal $depth:ident $place:literal $wrong:literal,)+ })+) => {
        /// A fault.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Bug {
            $($(#[doc = $wrong] $bug,)+)+
        }

        /// Every fault, by group.
        pub const CATALOGUE: &[Fault] = &[
            $($(Fault {
                bug: Bug::$bug,
                name: $name,
                group: Group::$group,
                depth: Depth::$depth,
                place: $place,
                wrong: $wrong,
            },)+)+
        ];
    };
}

catalogue! {
    Allocator {
        ExchangeTriedOnce "exchange-tried-once" Message "memory/block_allocator.rs"
            "A block is given up for lost when the exchange that would free it fails once.",
        LengthBelieved "length-believed" Message "memory/block.rs"
            "A parcel in a block is as long as the block says.",
        PopLoadStore "pop-load-store" Operation "memory/block_allocator.rs"
            "A block is taken off the free list by a load and a store instead of a compare-exchange.",
        PushLoadStore "push-load-store" Operation "memory/block_allocator.rs"
            "A block is put on the free list by a load and a store instead of a compare-exchange.",
        VersionKept "version-kept" Operation "memory/block_allocator.rs"
            "The front of the free list keeps its version, so that it can come back (ABA).",
        LinkedLate "linked-late" Operation "memory/block_allocator.rs"
            "A freed block is put in front before its header leads to the next one.",
        FreedBeforeRead "freed-before-read" Operation "api/gets.rs"
            "Get frees a parcel's block and copies the data out of it afterwards.",
        BlockFreedEarly "block-freed-early" Message "core/parcel.rs"
            "A parcel's block is freed while the parcel still refers to it.",
        DiscardedBlockKept "discarded-block-kept" Message "api/carry.rs"
            "A parcel that nobody reads does not give its block back.",
        ForeignBlockSent "foreign-block-sent" Message "core/parcel.rs"
            "A block is named in a message over another link than the one whose memory it is in.",
    }
    LinkState {
        StableLoadStore "stable-load-store" Operation "memory/link_state.rs"
            "A side is marked stable by a load and a store: what the other side did in between is undone.",
        LockLoadStore "lock-load-store" Operation "memory/link_state.rs"
            "A link is locked by a load and a store: both sides may get the lock.",
        WakeLoadStore "wake-load-store" Operation "memory/link_state.rs"
            "The waiting bit is taken by a load and a store: a lock taken in between is undone.",
        WakeLookedEarly "wake-looked-early" Operation "routing/flush.rs"
            "A router looks whether the other side waits before it says that it is stable.",
        WaitingForgotten "waiting-forgotten" Message "routing/flush.rs"
            "A failed lock leaves no waiting bit.",
        StableWhileDecaying "stable-while-decaying" Message "routing/bypass.rs"
            "A router says that it is stable when it adopts a link, though one still decays.",
        StableForgotten "stable-forgotten" Message "routing/flush.rs"
            "A router whose last decaying link is gone does not say that it is stable.",
        MergeFlushesOne "merge-flushes-one" Message "routing/bridge.rs"
            "Merging two portals flushes one of the two routers only.",
        UnlockForgotten "unlock-forgotten" Message "routing/transfer.rs"
            "A lock taken in vain is kept.",
        SourceUnnamed "source-unnamed" Message "memory/link_state.rs"
            "A link is locked for a bypass without saying whose.",
    }
    References {
        CountLoadStore "count-load-store" Operation "memory/link_state.rs"
            "A reference is counted down by a load and a store.",
        CountReadAgain "count-read-again" Operation "memory/link_state.rs"
            "Whether a reference was the last one is read after counting down: both ends may think so.",
        ShareUncounted "share-uncounted" Message "memory/link_state.rs"
            "The reference that goes with a message is not counted.",
        StateKept "state-kept" Message "routing/table.rs"
            "A link that is given up keeps its reference on its state.",
    }
    Ids {
        SublinksLoadStore "sublinks-load-store" Operation "memory/counters.rs"
            "Sublinks are drawn from the common counter by a load and a store: both ends may get the same.",
        SecondSublinkUncounted "second-sublink-uncounted" Message "memory/counters.rs"
            "Of two sublinks drawn at once only the first is counted.",
    }
    StaleLooks {
        TrapArmedAfterCheck "trap-armed-after-check" Operation "api/calls.rs"
            "A trap is installed one lock after its conditions were looked at: what happens in between is missed.",
        PutAfterLook "put-after-look" Operation "core/puts.rs"
            "Put trusts the link that it saw when it looked for a block; the route moves to another one in between.",
        SeekStale "seek-stale" Message "core.rs"
            "A link that was waited for is used though the route has ended meanwhile.",
        RefusedBlockKept "refused-block-kept" Operation "api/puts.rs"
            "A Put that is refused after its look, because the peer closed in between, keeps its block.",
    }
    Outbox {
        TwoDrainers "two-drainers" Operation "node/outbox.rs"
            "The token counts as given back as soon as the queue is empty, while its last ops are still carried out.",
        OutboxLookTrusted "outbox-look-trusted" Operation "api/carry.rs"
            "The token is given back one lock after the outbox was seen empty.",
        SendFailureIgnored "send-failure-ignored" Message "api/carry.rs"
            "The core is not told that the driver could not transmit.",
        ClosedWhilePinned "closed-while-pinned" Operation "node/introducing.rs"
            "A transport is closed though a question to the driver still uses it.",
    }
    DoubleFetch {
        FrontReadTwice "front-read-twice" Operation "memory/block_allocator.rs"
            "The front of the free list is validated, and read again for the compare-exchange.",
        LengthReadTwice "length-read-twice" Operation "memory/block.rs"
            "A parcel's length is validated, and read again to be used.",
    }
    Lengths {
        LengthOffByOne "length-off-by-one" Message "routing/bypass.rs"
            "A bypass agrees on a length one too small.",
        LengthsSwapped "lengths-swapped" Message "routing/bypass.rs"
            "StopProxying names the inward length as the outward one, and the other way round.",
        DecayOneEarly "decay-one-early" Message "routing/flush.rs"
            "A decaying link is given up one parcel too early.",
        UnreadSkipped "unread-skipped" Message "routing/transfer.rs"
            "A portal that moves asks for the parcels after those that nobody has read.",
        LocalLengthForgotten "local-length-forgotten" Message "routing/bypass.rs"
            "A proxy's local peer is not told how many parcels still come through the proxy.",
    }
    WakeUps {
        FlushNotForced "flush-not-forced" Message "core/message.rs"
            "FlushRouter has a router flushed, but not look for its next step.",
        DecayNotLookedAt "decay-not-looked-at" Message "routing/table.rs"
            "The last parcel over a decaying link does not have its portal flushed.",
        MemoryWaitForgotten "memory-wait-forgotten" Message "node/capacity.rs"
            "Who wants memory of a size that is being asked for already is never answered.",
        DeadlineMissed "deadline-missed" Message "core.rs"
            "A deadline is noticed at its very moment only.",
        MemoryNotRetried "memory-not-retried" Message "core.rs"
            "A bypass whose memory was refused does not ask again, and waits.",
    }
    Bypass {
        StopProxyingDropped "stop-proxying-dropped" Message "routing/bypass.rs"
            "A StopProxying is not sent.",
        BypassAssumed "bypass-assumed" Message "routing/bypass.rs"
            "Whoever says StopProxying is believed that a bypass goes on.",
        LengthsToldOnce "lengths-told-once" Message "routing/bypass.rs"
            "Whoever says StopProxying is believed to say it once.",
        LockIgnored "lock-ignored" Message "routing/flush.rs"
            "A proxy begins its bypass though it could not lock its outward link.",
        SourceUnchecked "source-unchecked" Message "routing/bypass.rs"
            "Whoever offers a link in place of another one is believed to have the right to.",
        WillStopDropped "will-stop-dropped" Message "routing/bypass.rs"
            "A ProxyWillStop is not sent.",
    }
    Closure {
        ClosureStopsAtProxy "closure-stops-at-proxy" Message "routing/flush.rs"
            "A proxy does not pass a closure on to its own end.",
        UnreadPortalsKept "unread-portals-kept" Message "routing/table.rs"
            "The portals of an unread parcel are not closed with it.",
        DisconnectionKept "disconnection-kept" Message "routing/closure.rs"
            "A router whose route is lost tells nobody.",
        DecayLossIgnored "decay-loss-ignored" Message "routing/closure.rs"
            "The loss of a decaying link does not end its route.",
    }
    Nodes {
        WaiterForgotten "waiter-forgotten" Message "node/introduction.rs"
            "Who wants an introduction that is being made already is never answered.",
        AnswerMisapplied "answer-misapplied" Message "node/introduction.rs"
            "An introduction answers whoever waits first, not who waits for that node.",
        RejectionForgotten "rejection-forgotten" Message "node/introducing.rs"
            "A broker says nothing when it does not know the node that it is asked for.",
        RefusalUntold "refusal-untold" Message "node/introducing.rs"
            "A broker says nothing when its driver could not make what two nodes need.",
        NameUndrawn "name-undrawn" Message "api/calls.rs"
            "A name is used though the driver had no random bytes for it.",
        DecodingTrusted "decoding-trusted" Message "api/incoming.rs"
            "A message is believed to have a known form.",
        SublinkReused "sublink-reused" Message "core/parcel.rs"
            "A new portal is bound to the sublink that its descriptor names, in use or not.",
        IntroducingKept "introducing-kept" Message "node/introducing.rs"
            "A broker does not forget an introduction that it has made.",
        BrokerLossIgnored "broker-loss-ignored" Message "node/loss.rs"
            "Who waits for an introduction is not answered when the broker is lost.",
        IntroducerUnchecked "introducer-unchecked" Message "node/introduction.rs"
            "An introduction is believed whoever makes it.",
        WaitsUnbounded "waits-unbounded" Message "node/capacity.rs"
            "Any number of parcels may wait for buffers that are never announced.",
        BuffersUnbounded "buffers-unbounded" Message "node/capacity.rs"
            "A peer may announce any number of buffers.",
        EarlyUnbounded "early-unbounded" Message "node/early.rs"
            "Any number of parcels is kept for sublinks that never come.",
        PortalsPassedUnbounded "portals-passed-unbounded" Message "core/parcel.rs"
            "A peer's portals are passed on whatever the next link may have.",
        FirstNoTaken "first-no-taken" Message "node/introduction.rs"
            "Of several brokers that are asked for a node the first to refuse decides.",
        AnyBrokerIntroduces "any-broker-introduces" Message "node/introducing.rs"
            "A broker introduces clients of a third one, which may do so too, with another transport.",
        SharesForgotten "shares-forgotten" Message "node/referral.rs"
            "Who is to be referred to a broker that never comes is not told.",
        ReferralRejectionForgotten "referral-rejection-forgotten" Message "node/referral.rs"
            "A broker says nothing when a node that was referred to it never comes.",
        OwnMemoryKept "own-memory-kept" Message "node/handshake.rs"
            "Of two brokers that connect each keeps the memory that it made.",
        GrantRefusalUntold "grant-refusal-untold" Message "node/delegate.rs"
            "A node that has no memory to give says nothing.",
        ObjectKept "object-kept" Message "core/message.rs"
            "A driver object that came with a message and was not needed is not closed.",
    }
    Traps {
        TrapFiresTwice "trap-fires-twice" Message "routing/traps.rs"
            "A trap stays installed when it fires.",
        TrapRemovedLate "trap-removed-late" Message "routing/traps.rs"
            "A trap is taken out when its handler has returned: a portal that the handler closes tells it once more.",
        GapFilledSilently "gap-filled-silently" Message "routing/table.rs"
            "A parcel that makes others readable fires no trap.",
    }
    Handles {
        RefusedPutTakes "refused-put-takes" Message "core/puts.rs"
            "A Put that is refused has taken its attachments.",
    }
    Boxes {
        ArrivedObjectLost "arrived-object-lost" Message "core/boxes.rs"
            "Of the driver objects that come with a parcel only the first is taken.",
        DroppedBoxKept "dropped-box-kept" Message "routing/boxes.rs"
            "What is in a box is not released when its parcel is thrown away.",
        HalvesSwapped "halves-swapped" Message "node/pieces.rs"
            "Of several halves of one parcel that wait for their objects the newest gets the first ones.",
        RelaySourceWrong "relay-source-wrong" Message "core/relay.rs"
            "The broker says of a relayed message that it is from the node it is for.",
        RelayedTurned "relayed-turned" Message "core/relay.rs"
            "The broker passes the objects of a relayed message on in reverse order.",
        SubparcelsTurned "subparcels-turned" Message "core/parcel.rs"
            "Subparcels fill their places in reverse order.",
    }
}

/// Which fault is armed. Without the feature: none, at no cost.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Planted {
    #[cfg(feature = "planted")]
    armed: Option<Bug>,
}

impl Planted {
    /// None.
    pub const NONE: Planted = Planted {
        #[cfg(feature = "planted")]
        armed: None,
    };

    /// Whether this fault is armed.
    #[inline(always)]
    pub fn has(self, bug: Bug) -> bool {
        #[cfg(feature = "planted")]
        return self.armed == Some(bug);
        #[cfg(not(feature = "planted"))]
        {
            let _ = bug;
            false
        }
    }

    /// Arms the fault of this name; the error says what there is.
    pub fn arm(&mut self, name: &str) -> Result<(), String> {
        let Some(Fault { bug, .. }) = CATALOGUE.iter().find(|fault| fault.name == name) else {
            let names: Vec<_> = CATALOGUE.iter().map(|fault| fault.name).collect();
            return Err(format!("no planted bug is called `{name}`; there are {}", names.join(", ")));
        };
        #[cfg(feature = "planted")]
        {
            self.armed = Some(*bug);
            Ok(())
        }
        #[cfg(not(feature = "planted"))]
        {
            Err(format!("{bug:?} is not in this build: build with `--features planted`"))
        }
    }
}

/// The same for code that runs without the core's lock; armed once.
#[derive(Default, Debug)]
pub(crate) struct SharedPlanted {
    #[cfg(feature = "planted")]
    armed: std::sync::OnceLock<Planted>,
}

impl SharedPlanted {
    pub(crate) fn arm(&self, planted: Planted) {
        #[cfg(feature = "planted")]
        if planted != Planted::NONE {
            self.armed.get_or_init(|| planted);
        }
        #[cfg(not(feature = "planted"))]
        let _ = planted;
    }

    #[inline(always)]
    pub(crate) fn has(&self, bug: Bug) -> bool {
        #[cfg(feature = "planted")]
        return self.armed.get().is_some_and(|planted| planted.has(bug));
        #[cfg(not(feature = "planted"))]
        {
            let _ = bug;
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_fault_has_a_name_of_its_own_and_a_place_that_is_there() {
        let names: BTreeSet<_> = CATALOGUE.iter().map(|fault| fault.name).collect();
        assert_eq!(names.len(), CATALOGUE.len());
        for fault in CATALOGUE {
            let source = std::fs::read_to_string(format!("{}/src/{}", env!("CARGO_MANIFEST_DIR"), fault.place));
            let hook = format!("Bug::{:?}", fault.bug);
            assert!(source.is_ok_and(|text| text.contains(&hook)), "{}: {} has no {hook}", fault.name, fault.place);
            assert!(fault.wrong.ends_with('.'), "{}", fault.name);
        }
    }

    #[test]
    fn an_unknown_name_arms_nothing() {
        let mut planted = Planted::NONE;
        assert!(planted.arm("no-such").unwrap_err().contains("stop-proxying-dropped"));
        assert_eq!(planted, Planted::NONE);
    }

    #[cfg(feature = "planted")]
    #[test]
    fn every_fault_can_be_armed_and_then_is_the_only_one() {
        for fault in CATALOGUE {
            let mut planted = Planted::NONE;
            planted.arm(fault.name).unwrap();
            let armed: Vec<_> = CATALOGUE.iter().filter(|other| planted.has(other.bug)).collect();
            assert_eq!(armed, [fault]);
        }
    }

    #[cfg(not(feature = "planted"))]
    #[test]
    fn without_the_feature_none_can_be_armed() {
        for fault in CATALOGUE {
            let mut planted = Planted::NONE;
            assert!(planted.arm(fault.name).unwrap_err().contains("--features planted"));
            assert!(!planted.has(fault.bug));
        }
    }
}
