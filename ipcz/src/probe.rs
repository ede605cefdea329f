//! Probes: named transitions of the protocol, counted as they happen, so that a test can demand that it saw them (feature `inspect`;
//! without it a hook is nothing).

use crate::ids::RouterKey;

macro_rules! probes {
    ($($id:ident $name:literal $place:literal $what:literal)*) => {
        /// A transition. The number of each is its position in [`Probe::ALL`].
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Probe {
            $(#[doc = $what] #[doc = concat!("(", $place, ").")] $id,)*
        }

        impl Probe {
            /// Every probe, in the order of the specification.
            pub const ALL: &[Probe] = &[$(Probe::$id),*];

            /// Its name, as `[require] probes` takes it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Probe::$id => $name,)*
                }
            }

            /// Where it is specified.
            pub const fn place(self) -> &'static str {
                match self {
                    $(Probe::$id => $place,)*
                }
            }

            /// What it means that it was reached.
            pub const fn what(self) -> &'static str {
                match self {
                    $(Probe::$id => $what,)*
                }
            }
        }
    };
}

probes! {
    LockedForBypass "link-state.locked-for-bypass" "routing.md 2.4" "an end locked its central link for a bypass or a move"
    LockedForClosure "link-state.locked-for-closure" "routing.md 11.1" "an end locked its central link to close the route"
    LockRefusedUnstable "link-state.lock-refused-unstable" "routing.md 2.4" "a lock was refused because the asking end was not stable: no trace is left"
    LockRefusedWaitingSet "link-state.lock-refused-waiting-set" "routing.md 2.4" "a lock was refused because the other end was not stable: the waiting bit is set"
    LockRefusedHeld "link-state.lock-refused-held" "routing.md 2.4" "a lock was refused because an end had it"
    LockRefusedPending "link-state.lock-refused-pending" "routing.md 2.4" "a lock was refused because the state's buffer was not known yet"
    LockRefusedPeripheral "link-state.lock-refused-peripheral" "routing.md 10.1" "a router behind a proxy moved: its outward link has no lock"
    Unlocked "link-state.unlocked" "routing.md 10.3" "a lock taken for a move was given back"
    WaiterFlushedRemotely "link-state.waiter-flushed" "routing.md 8" "an end that became stable sent FlushRouter to the one that waited"
    WaiterFlushedLocally "link-state.waiter-flushed-locally" "routing.md 8" "the same, within one process"
    StatePending "link-state.pending" "routing.md 2.4" "a central link was accepted whose state lies in a buffer not announced yet"
    StateArrived "link-state.arrived" "routing.md 2.4" "the buffer of a pending state came"
    StableRemembered "link-state.stable-remembered" "routing.md 2.4" "an end had become stable while the state was pending"
    DecayFinishedOutward "edge.decay-finished-outward" "routing.md 5" "an outward edge let its decaying link go"
    DecayFinishedInward "edge.decay-finished-inward" "routing.md 5" "an inward edge let its decaying link go"
    DecayFinishedTogether "edge.decay-finished-together" "routing.md 8" "both edges of a proxy let go in one flush"
    ParcelOverDecaying "edge.parcel-over-decaying" "routing.md 5" "a parcel took the decaying link"
    ParcelOverNew "edge.parcel-over-new" "routing.md 5" "a parcel took the new link while the old one still decayed"
    ParcelBlocked "edge.parcel-blocked" "routing.md 8" "a parcel had to wait since its proper link was not there"
    ParcelSkippedQueue "parcel.skipped-queue" "routing.md 9.1" "a parcel went straight to its link, past the queue"
    ParcelQueuedAtPortal "parcel.queued-at-portal" "routing.md 9.1" "a parcel was put into a portal without a link"
    ParcelBehindGap "parcel.behind-gap" "routing.md 9.2" "a parcel arrived before an earlier one"
    GapClosed "parcel.gap-closed" "routing.md 9.2" "the missing parcel came and freed those behind it"
    ParcelRefused "parcel.refused" "routing.md 9.2" "a queue refused a parcel: known, beyond the end or too far ahead"
    ParcelAtClosedPortal "parcel.at-closed-portal" "routing.md 11.1" "a parcel arrived at a portal that its owner had closed"
    ForwardedInward "parcel.forwarded-inward" "routing.md 8" "a proxy passed a parcel on inward"
    ForwardedOutward "parcel.forwarded-outward" "routing.md 8" "a proxy passed a parcel on outward"
    ParcelInBlock "parcel.in-block" "routing.md 9.3" "a parcel's data came in a block of link memory"
    ParcelBlockPassedOn "parcel.block-passed-on" "routing.md 9.3" "a parcel's block went on over the same node link without a copy"
    ParcelBlockCopied "parcel.block-copied" "routing.md 9.3" "a parcel's block of another node link was copied into the message"
    ParcelInUnknownBuffer "parcel.in-unknown-buffer" "routing.md 9.4" "a parcel's data lay in a buffer not announced yet"
    ParcelResumed "parcel.resumed" "memory.md 9" "the buffer of a waiting parcel came"
    ParcelBeforeRouter "parcel.before-router" "hazards.md RC-03" "a parcel arrived for a sublink that no message had created yet, and was kept"
    EarlyParcelTaken "parcel.early-taken" "hazards.md RC-03" "the router of a parcel that came early came"
    EarlyParcelDropped "parcel.early-dropped" "hazards.md RC-03" "a parcel that came early was given up: no room, or its node link was lost"
    Boxed "box.made" "api.md 13" "an object was boxed"
    BoxSent "box.sent" "api.md 13" "a parcel with boxes left for another node"
    BoxDropped "box.dropped" "api.md 13" "a box was given up with its parcel"
    BoxReplaced "box.replaced" "api.md A3, A15" "what was in a box could not go: something empty went in its place"
    SubparcelsAssembled "parcel.assembled" "wire.md 11.2" "a parcel was put together of its subparcels"
    HalfWaits "parcel.half-waits" "wire.md 11.3" "the first piece or half of a parcel arrived"
    PieceDropped "parcel.piece-dropped" "nodes.md 8.3" "a piece of a parcel was given up: its link was lost, or its route was let go"
    RelayAsked "relay.asked" "nodes.md 8.2" "objects went to the broker since their link does not carry them"
    RelayPassedOn "relay.passed-on" "nodes.md 8.2" "a broker passed a message on"
    RelayRefused "relay.refused" "nodes.md 8.2" "a broker did not pass a message on: an unknown destination, or a kind that is not relayed"
    RelayArrived "relay.arrived" "nodes.md 8.2" "a relayed message was handled as if its source had sent it directly"
    RelayParked "relay.parked" "nodes.md D-5" "a broker kept a message until it has a link to whom it is for"
    RelayWaits "relay.waits" "nodes.md D-6" "a relayed message came before the introduction to its source"
    RelayReleased "relay.released" "nodes.md D-6" "it was handled once the introduction came"
    RelayExpired "relay.expired" "nodes.md D-6" "it was thrown away: no introduction came in time"
    RelayIgnored "relay.ignored" "nodes.md 8.2" "a relayed message was of a kind that is not relayed, of too many nodes unknown, or of one whose link is being dropped"
    ParcelForPastSublink "parcel.for-past-sublink" "hazards.md RC-04" "a parcel arrived for a sublink that was let go"
    ParcelLateOnDecayed "parcel.late-on-decayed-link" "routing.md 7 (a)" "a parcel followed the StopProxying that counts it, over the same link"
    ParcelBehindClosure "parcel.behind-closure" "routing.md 8" "a parcel followed the RouteClosed that counts it, over the same link"
    ParcelOvertaken "parcel.overtaken" "routing.md 7 (a)" "a parcel was overtaken by a later one over the same link"
    PortalsBehindParcel "parcel.portals-behind-later" "routing.md 7 (d)" "a parcel with portals was overtaken by later parcels of its route"
    PortalsDropped "parcel.dropped-with-portals" "routing.md 20 R32" "a parcel was thrown away with portals attached, which were closed"
    PutAfterFinal "parcel.put-after-final" "routing.md 11.2" "Put was refused because the peer was closed, though not all it sent had arrived"
    MoveSplit "move.split" "routing.md 10.2" "a local pair was split: its peer is linked straight to the new router"
    MoveSplitNoMemory "move.split-without-memory" "routing.md 10.2" "a local pair could not be split for want of a link state"
    MoveProxy "move.proxy" "routing.md 10.3" "a moved router became a plain proxy"
    MoveRolled "move.bypass-rolled-in" "routing.md 10.3" "a moved router became a proxy that is bypassed at once"
    MovePeerClosed "move.peer-closed" "routing.md 10.3" "a router whose peer was closed moved"
    MoveLinkless "move.linkless" "routing.md 10.1" "a router without an outward link moved"
    MoveDecaying "move.while-decaying" "routing.md 10.1" "a router moved whose outward edge decayed"
    MoveSeeking "move.while-seeking" "routing.md 20 R4" "a router moved that was looking for the way around its proxy"
    MoveUnread "move.with-unread" "routing.md 10.7" "a router moved with unread parcels"
    MoveTransactions "move.with-transactions" "api.md 17, 96" "a router moved whose portal had open puts or overlapped gets"
    MoveExclusiveGet "move.with-exclusive-get" "api.md A6" "a router moved while the parcel at the head of its queue was being got"
    TransactionsDropped "close.with-transactions" "api.md 17, 9" "a portal was closed with open puts or gets"
    MoveOverDead "move.over-dead-link" "routing.md 20 R43" "a portal was to move over a node link that was lost"
    PortalsTooMany "move.too-many" "hazards.md RE-18" "a route ended that would have passed on more portals than its link may have"
    ArrivedSplit "move.arrived-split" "routing.md 10.6" "a router of a split pair arrived"
    ArrivedPeripheral "move.arrived-peripheral" "routing.md 10.6" "a router arrived behind a proxy"
    ArrivedPeerClosed "move.arrived-peer-closed" "routing.md 10.6" "a router arrived whose peer was closed"
    ArrivedUnbound "move.arrived-unbound" "routing.md 10.6" "a router arrived whose sublink was in use"
    ClosureSent "closure.sent" "routing.md 11.1" "RouteClosed was sent over the locked central link"
    ClosureLocal "closure.local" "routing.md 11.1" "a closure crossed a local link"
    ClosureInward "closure.passed-inward" "routing.md 11.1" "a proxy passed a closure on inward"
    ClosureWaits "closure.waits-for-parcels" "routing.md 11.2" "RouteClosed arrived before all the parcels it counts"
    ClosureAtProxy "closure.at-proxy" "routing.md 11.1" "RouteClosed arrived at a proxy"
    ClosureCrossed "closure.crossed" "routing.md 11.1" "RouteClosed arrived at a portal that was closed itself"
    ClosureThroughDecaying "closure.through-decaying" "routing.md 11.1" "a portal was closed while its outward edge decayed"
    ClosureAtPeripheral "closure.at-peripheral" "routing.md 8" "a portal was closed behind a proxy: it waits for a central link"
    ClosureUnconnected "closure.before-connected" "routing.md 11.1" "a portal was closed before it had a link"
    ClosureUnread "closure.with-unread" "routing.md 11.1" "a portal was closed with unread parcels"
    ClosureBeyondCut "closure.beyond-cut" "routing.md 11.1" "RouteClosed arrived for a sequence that was cut off before"
    ClosureImpossible "closure.impossible-length" "wire.md 13" "RouteClosed brought a length that cannot be: the route is broken"
    LostPrimary "loss.of-primary" "routing.md 11.3" "a node link was lost that was a router's link in use"
    LostDecaying "loss.of-decaying" "routing.md 11.3" "a node link was lost that was a router's decaying link"
    DisconnectReceived "loss.told" "routing.md 11.3" "RouteDisconnected arrived at a router that held the link"
    DisconnectSent "loss.passed-on" "routing.md 11.3" "a router passed a loss on to another node"
    DisconnectLocal "loss.passed-on-locally" "routing.md 11.3" "a router passed a loss on within its process"
    DisconnectCut "loss.cut-parcels" "routing.md 11.3" "parcels behind a gap were given up with their route"
    InitialAdopted "connect.adopted" "routing.md 11.4" "an initial portal was linked"
    InitialSurplus "connect.surplus" "routing.md 11.4" "an initial portal had no counterpart"
    InitialLost "connect.lost" "routing.md 11.4" "a connection attempt failed with its portals"
    BypassPeerTold "bypass.started" "routing.md 12.2" "a proxy locked its central link and told its inward peer to bypass it"
    BypassWithLink "bypass.peer-with-link" "routing.md 12.5" "a proxy linked its local outward peer straight to its inward peer"
    BypassBothEnds "bypass.both-ends-locked" "routing.md 14.1" "an end wanted to be bypassed, but the other one had the lock"
    BypassNoMemory "bypass.without-memory" "routing.md 12.9" "a bypass found no memory for a link state"
    BypassSought "bypass.sought" "routing.md 12.3" "a router was told to bypass its proxy"
    BypassLinkKnown "bypass.link-known" "routing.md 12.3" "its node had a link to the far node already"
    BypassOffered "bypass.offered" "routing.md 12.3" "AcceptBypassLink was sent"
    BypassByProxy "bypass.offered-by-proxy" "routing.md 20 R4" "it was sent by a router that had become a proxy itself"
    BypassAccepted "bypass.accepted" "routing.md 12.4" "a router took a link from a third node in place of its outward one"
    BypassAcceptedSame "bypass.accepted-same-link" "routing.md 12.5" "a router took a link over the node link of the one it replaces"
    BypassAcceptedByProxy "bypass.accepted-by-proxy" "routing.md 20 R5" "a proxy took one"
    BypassToLocal "bypass.to-local" "routing.md 12.6" "both outer routers were of one node"
    BypassIgnored "bypass.ignored" "routing.md 14.4" "an offered link came to a router, or for one, that has no use for it"
    BypassUnauthorised "bypass.unauthorised" "routing.md 12.8" "an offered link came without authority"
    BypassTaken "bypass.sublink-taken" "routing.md 12.4" "an offered link's sublink was in use"
    BypassGivenUp "bypass.given-up" "routing.md 12.3" "a router no longer wanted what it had sought"
    BypassFailed "bypass.failed" "routing.md 12.9" "there was to be no link to the far node: the route ended"
    StopProxying "stop-proxying.told" "routing.md 12.4" "a proxy learnt how many parcels remain"
    StopProxyingParcelsLeft "stop-proxying.parcels-left" "routing.md 12.4" "and still had some to pass on"
    StopProxyingLocal "stop-proxying.local-peer" "routing.md 12.5" "a proxy and its local peer learnt how many parcels remain"
    BypassHearsay "bypass.impossible-length" "wire.md 13" "a router was told what cannot be, maybe by an honest node that was lied to: the route is broken"
    ProxyWillStop "proxy-will-stop.told" "routing.md 12.4" "the inner router learnt how many parcels come through the proxy"
    ProxyWillStopWaits "proxy-will-stop.parcels-due" "routing.md 12.4" "and some were still to come"
    ProxyWillStopBehind "proxy-will-stop.behind-parcel" "routing.md 7 (b)" "it was overtaken by a parcel over its own link"
    ProxyWillStopLate "proxy-will-stop.at-disconnected" "routing.md 12.4" "it came to a router whose route was lost"
    ProxyGone "proxy.gone" "routing.md 12.1" "a proxy let go of its last link and was forgotten"
    ProxyStays "proxy.stays-between-nodes" "design.md 3" "a proxy between links of two nodes of its process stays"
    Merged "bridge.merged" "routing.md 13.1" "two portals were merged"
    MergedWithParcels "bridge.merged-with-parcels" "routing.md 20 R29" "a merged portal had unread parcels"
    MergedPeerClosed "bridge.merged-peer-closed" "routing.md 20 R29" "the peer of a merged portal was closed already"
    MergedUnconnected "bridge.merged-before-connected" "routing.md 20 R48" "a merged portal had no link yet"
    MergedDecaying "bridge.merged-while-decaying" "routing.md 13.1" "the outward edge of a merged portal decayed"
    ParcelOverBridge "bridge.parcel-crossed" "routing.md 13.1" "a parcel crossed a bridge"
    ClosureOverBridge "bridge.closure-crossed" "routing.md 13.2" "a closure crossed a bridge"
    DisconnectOverBridge "bridge.loss-crossed" "routing.md 13.2" "a loss crossed a bridge"
    BridgeBypassRemote "bridge.bypass-remote" "routing.md 13.3" "a bridge between two remote peers told one to bypass it"
    BridgeBypassWithLink "bridge.bypass-with-link" "routing.md 13.3" "a bridge linked its local outward peer straight to its remote one"
    BridgeBypassLocal "bridge.bypass-local" "routing.md 13.3" "a bridge joined its two local outward peers"
    BridgeUnlocked "bridge.unlocked" "routing.md 13.3" "a bridge gave one lock back since it could not have the other"
    StopBridgingLocal "bridge.stopped-by-peer" "routing.md 13.3" "the remote peer of a bridge answered that it has taken the new link"
    BridgeRing "bridge.ring" "routing.md 13.1" "a route merged with itself was ended"
    FlushTold "flush-router.told" "routing.md 14.1" "FlushRouter arrived at a router"
    FlushUseless "flush-router.for-past-sublink" "routing.md 7 (b)" "FlushRouter arrived for a sublink that was let go"
    MessageForPast "message.for-past-sublink" "routing.md 14.4" "a message that is no parcel arrived for a sublink that was let go"
    MessageForUnbound "message.for-unbound-sublink" "routing.md 14.4" "a message arrived for a sublink that never was, and was ignored"
    IntroductionAsked "introduction.asked" "nodes.md 7" "a node asked its broker for a link"
    IntroductionShared "introduction.shared" "nodes.md 7" "a route joined an introduction its node had asked for"
    IntroductionJoined "introduction.joined" "nodes.md 7" "a broker was asked for an introduction that it was making already"
    IntroductionMade "introduction.made" "nodes.md 7" "a broker introduced two nodes"
    IntroductionTaken "introduction.taken" "nodes.md 7" "a node took the link it was introduced with"
    IntroductionUnwanted "introduction.unwanted" "nodes.md 7" "a node had no use for an introduction"
    IntroductionRejected "introduction.rejected" "nodes.md 7" "a broker would not introduce"
    IntroductionOverLimit "introduction.over-limit" "nodes.md D-15" "because too many introductions were under way"
    IntroductionEndLost "introduction.end-lost" "nodes.md D-3" "a node was lost while its introduction was being made"
    IntroductionFailed "introduction.failed" "nodes.md 7" "a node learnt that it will not be introduced"
    IntroductionBrokerLost "introduction.broker-lost" "nodes.md 3.4" "a node lost its broker while it waited for an introduction"
    IntroductionCircle "introduction.circle" "nodes.md D-3" "a broker was told no since nobody but itself could still answer its request"
    BrokersIntroduced "introduction.of-brokers" "nodes.md 15 F17" "a broker introduced two others, which are no brokers to each other"
    IntroductionLeft "introduction.left-to-its-broker" "nodes.md 7.5" "a broker left a request of another one to the wanted node's own broker"
    IntroductionAskedAgain "introduction.asked-again" "nodes.md 7.6" "a broker asked others a second time, to ask further brokers in turn"
    IntroductionExpired "introduction.expired" "nodes.md D-3" "an introduction that other brokers were asked for was given up when its time was over"
    IntroductionForRelays "introduction.for-relays" "nodes.md D-5" "a broker made a client known to the other network's broker, which may have to relay to it"
    IndirectAsked "introduction.indirect-asked" "nodes.md 7.6" "a broker asked another one to introduce"
    IndirectRefused "introduction.indirect-refused" "nodes.md 7.7" "a broker that was asked so could not"
    ReferralWaits "referral.waits-for-broker" "nodes.md 5.4" "a node is to be referred to a broker that this node does not have yet"
    ReferralGivenUp "referral.given-up" "nodes.md D-2" "a node that waited to be referred will not be: there is to be no broker"
    ReferralAsked "referral.asked" "nodes.md 5.4" "a node referred another one to its broker"
    ReferralBegun "referral.begun" "nodes.md 5.4" "a broker waits for a node that was referred to it"
    ReferralAccepted "referral.accepted" "nodes.md 5.4" "it took that node up"
    ReferralRejected "referral.rejected" "nodes.md 5.4" "it did not: that node is gone or said something else, or there was no memory"
    ReferralOverLimit "referral.over-limit" "nodes.md D-15" "because too many referrals of the same node were under way"
    ReferralExpired "referral.expired" "hazards.md RE-10" "because the node did not greet in time"
    ReferralForsaken "referral.forsaken" "hazards.md RE-10" "it gave up the oldest of too many nodes whose referrers are gone"
    ReferralTaken "referral.taken" "nodes.md 5.4" "a referrer got its link to the node it referred"
    ReferralRefused "referral.refused" "nodes.md 5.4" "a referrer learnt that the node will not be taken up"
    ReferralJoined "referral.joined" "nodes.md 5.4" "a referred node got its links to the broker and to its referrer"
    ReferralBrokerLost "referral.broker-lost" "nodes.md D-2" "a referrer lost its broker before it was answered"
    BrokersMet "link.brokers-met" "nodes.md 5.3" "a broker was connected to another one"
    DelegateAsked "memory.delegate-asked" "nodes.md 9.3" "a node asked its broker for the memory of a link"
    DelegateGranted "memory.delegate-granted" "nodes.md 9.3" "a node gave memory to a peer"
    DelegateRefused "memory.delegate-refused" "nodes.md 9.3" "it had none to give"
    DelegateOverLimit "memory.delegate-over-limit" "nodes.md D-15" "because the peer wanted too much"
    DelegateGave "memory.delegate-gave" "nodes.md 9.3" "a node got memory from its broker"
    DelegateGaveNone "memory.delegate-gave-none" "nodes.md 9.3" "it got none"
    DelegateLost "memory.delegate-lost" "nodes.md D-10" "it lost its broker before that"
    LinkEstablished "link.established" "nodes.md 5" "a handshake was completed"
    LinkLost "link.lost" "nodes.md 3.4" "a working node link was lost"
    LinkReplaced "link.replaced" "nodes.md 5.5" "a new link to a node took the place of an older one"
    LinkBlamed "link.blamed" "nodes.md D-16" "a link was dropped for its peer's fault"
    BrokerLost "link.broker-lost" "nodes.md 3.4" "a node lost its broker and with it all its links"
    MemoryAsked "memory.asked" "memory.md 6.3" "a link's memory was to grow"
    MemoryShared "memory.request-joined" "memory.md 6.3" "another route wanted the same memory meanwhile"
    MemoryGranted "memory.granted" "memory.md 6.3" "the memory came and was announced"
    MemoryRefused "memory.refused" "memory.md 6.3" "there was no memory, or a limit was reached"
    MemoryRetried "memory.request-retried" "routing.md 18 D6" "a bypass asked for memory again, after a while"
    BufferAnnounced "memory.buffer-announced" "memory.md 6.3" "the peer announced a buffer"
}

impl Probe {
    /// The probe of this name.
    pub fn named(name: &str) -> Option<Probe> {
        Probe::ALL.iter().copied().find(|probe| probe.name() == name)
    }
}

/// How often each probe was reached.
#[cfg(feature = "inspect")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts([u64; Probe::ALL.len()]);

#[cfg(feature = "inspect")]
impl Default for Counts {
    fn default() -> Counts {
        Counts([0; Probe::ALL.len()])
    }
}

#[cfg(feature = "inspect")]
impl Counts {
    /// How often `probe` was reached.
    pub fn of(&self, probe: Probe) -> u64 {
        self.0[probe as usize]
    }

    /// Both together.
    pub fn and(self, other: &Counts) -> Counts {
        Counts(std::array::from_fn(|i| self.0[i] + other.0[i]))
    }

    /// Adds those of another one.
    pub fn add(&mut self, other: &Counts) {
        for (mine, others) in self.0.iter_mut().zip(&other.0) {
            *mine += others;
        }
    }

    /// What was counted since `before`.
    pub fn since(&self, before: &Counts) -> Counts {
        Counts(std::array::from_fn(|i| self.0[i] - before.0[i]))
    }

    /// Every probe that was reached, with how often.
    pub fn reached(&self) -> impl Iterator<Item = (Probe, u64)> {
        Probe::ALL.iter().map(|probe| (*probe, self.of(*probe))).filter(|(_, count)| *count > 0)
    }
}

/// Where a part of the core counts. Without the feature: nothing, at no cost.
#[derive(Clone, Default, Debug)]
pub struct Probes {
    #[cfg(feature = "inspect")]
    counts: Counts,
    #[cfg(feature = "inspect")]
    flushed: Option<RouterKey>,
}

impl Probes {
    /// Whether anything is counted: what is looked at only to be counted asks first.
    pub const ON: bool = cfg!(feature = "inspect");

    /// The transition happened.
    #[inline(always)]
    pub fn hit(&mut self, probe: Probe) {
        #[cfg(feature = "inspect")]
        {
            self.counts.0[probe as usize] += 1;
        }
        #[cfg(not(feature = "inspect"))]
        {
            let _ = probe;
        }
    }

    /// The transition happened if `happened`.
    #[inline(always)]
    pub fn hit_if(&mut self, happened: bool, probe: Probe) {
        #[cfg(feature = "inspect")]
        {
            self.counts.0[probe as usize] += u64::from(happened);
        }
        #[cfg(not(feature = "inspect"))]
        {
            let _ = (happened, probe);
        }
    }

    /// A router is flushed: the one to look at after the input.
    #[inline(always)]
    pub fn flushed(&mut self, router: RouterKey) {
        #[cfg(feature = "inspect")]
        {
            self.flushed = Some(router);
        }
        #[cfg(not(feature = "inspect"))]
        {
            let _ = router;
        }
    }

    /// The router that was flushed last.
    #[cfg(feature = "inspect")]
    pub fn last_flushed(&self) -> Option<RouterKey> {
        self.flushed
    }

    /// How often each was reached.
    #[cfg(feature = "inspect")]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::Probe;

    #[test]
    fn names_are_unique_and_find_their_probe() {
        for probe in Probe::ALL {
            assert_eq!(Probe::named(probe.name()), Some(*probe));
        }
        assert_eq!(Probe::named("bypass"), None);
    }
}
