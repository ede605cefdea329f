//! The table of all messages: ids, fields, offsets and version blocks (wire.md 9.1). Everything else about a layout follows from it.

use std::borrow::Cow;

use super::descriptor::RouterDescriptor;
use super::error::{TooLarge, WireError};
use super::field::WireType;
use super::layout::{Body, Params, check, messages};
use super::objects::ObjectRange;
use super::show::Field;
use crate::ids::{BufferId, FragmentDescriptor, LinkSide, NodeName, NodeType, SublinkId};

// A block's number is where it ends, a field's where it starts, in bytes from the start of the parameter struct; gaps are padding.
messages! {
    /// Broker to a node that connects to it: your name, and the memory of our link (wire.md 9.2).
    0 ConnectFromBrokerToNonBroker {
        v0 56 {
            /// Name of the broker.
            @8 broker_name: NodeName,
            /// Name that the receiver takes.
            @24 receiver_name: NodeName,
            /// Sender's protocol version.
            @40 protocol_version: u32,
            /// Portals opened with the connection.
            @44 num_initial_portals: u32,
            /// Memory object.
            @48 buffer: Option<u32>,
        }
        v1 64 {
            /// Feature words of the sender, or of the node it speaks of.
            @56 features: Vec<u64>,
        }
    }

    /// Node to the broker it connects to (wire.md 9.2).
    1 ConnectFromNonBrokerToBroker {
        v0 16 {
            /// Sender's protocol version.
            @8 protocol_version: u32,
            /// Portals opened with the connection.
            @12 num_initial_portals: u32,
        }
        v1 24 {
            /// Feature words of the sender, or of the node it speaks of.
            @16 features: Vec<u64>,
        }
    }

    /// Node to its broker: take up this node, which I share you with (wire.md 9.2).
    2 ReferNonBroker {
        v0 24 {
            /// Number of the referral on this link.
            @8 referral_id: u64,
            /// Portals opened with the connection.
            @16 num_initial_portals: u32,
            /// Transport object.
            @20 transport: Option<u32>,
        }
    }

    /// Referred node to the broker, on the transport its referrer gave (wire.md 9.2).
    3 ConnectToReferredBroker {
        v0 16 {
            /// Sender's protocol version.
            @8 protocol_version: u32,
            /// Portals opened with the connection.
            @12 num_initial_portals: u32,
        }
        v1 24 {
            /// Feature words of the sender, or of the node it speaks of.
            @16 features: Vec<u64>,
        }
    }

    /// Broker to a referred node: your name, and the memories of your links to the broker and to the referrer (wire.md 9.2).
    4 ConnectToReferredNonBroker {
        v0 80 {
            /// Name of the node this is about.
            @8 name: NodeName,
            /// Name of the broker.
            @24 broker_name: NodeName,
            /// Name of the referrer.
            @40 referrer_name: NodeName,
            /// Protocol version of the broker.
            @56 broker_protocol_version: u32,
            /// Protocol version of the referrer.
            @60 referrer_protocol_version: u32,
            /// Portals opened with the connection.
            @64 num_initial_portals: u32,
            /// Memory of the link to the broker.
            @68 broker_link_buffer: Option<u32>,
            /// Transport of the link to the referrer.
            @72 referrer_link_transport: Option<u32>,
            /// Memory of the link to the referrer.
            @76 referrer_link_buffer: Option<u32>,
        }
        v1 88 {
            /// Feature words of the broker.
            @80 broker_features: Vec<u64>,
            /// Feature words of the referrer.
            @84 referrer_features: Vec<u64>,
        }
    }

    /// Broker to the referrer: the node is taken up, this is your link to it (wire.md 9.2).
    5 NonBrokerReferralAccepted {
        v0 48 {
            /// Number of the referral on this link.
            @8 referral_id: u64,
            /// Sender's protocol version.
            @16 protocol_version: u32,
            /// Portals opened with the connection.
            @20 num_initial_portals: u32,
            /// Name of the node this is about.
            @24 name: NodeName,
            /// Transport object.
            @40 transport: Option<u32>,
            /// Memory object.
            @44 buffer: Option<u32>,
        }
        v1 56 {
            /// Feature words of the sender, or of the node it speaks of.
            @48 features: Vec<u64>,
        }
    }

    /// Broker to the referrer: the node is not taken up (wire.md 9.2).
    6 NonBrokerReferralRejected {
        v0 16 {
            /// Number of the referral on this link.
            @8 referral_id: u64,
        }
    }

    /// Broker to broker, both ways; the greater name's memory counts (wire.md 9.2).
    7 ConnectFromBrokerToBroker {
        v0 40 {
            /// Name of the node this is about.
            @8 name: NodeName,
            /// Sender's protocol version.
            @24 protocol_version: u32,
            /// Portals opened with the connection.
            @28 num_initial_portals: u32,
            /// Memory object.
            @32 buffer: Option<u32>,
        }
        v1 48 {
            /// Feature words of the sender, or of the node it speaks of.
            @40 features: Vec<u64>,
        }
    }

    /// Node to a broker: make me a link to that node (wire.md 9.3).
    10 RequestIntroduction {
        v0 24 {
            /// Name of the node this is about.
            @8 name: NodeName,
        }
    }

    /// Broker to each of two nodes: your link to the other (wire.md 9.3).
    11 AcceptIntroduction {
        v0 40 {
            /// Name of the node this is about.
            @8 name: NodeName,
            /// Side of the new link that the receiver takes.
            @24 link_side: LinkSide,
            /// What the other node is.
            @25 remote_node_type: NodeType,
            /// Protocol version of the other node.
            @28 remote_protocol_version: u32,
            /// Transport object.
            @32 transport: Option<u32>,
            /// Memory of the new link.
            @36 memory: Option<u32>,
        }
        v1 48 {
            /// Feature words of the other node.
            @40 remote_features: Vec<u64>,
        }
    }

    /// Broker to a node that asked for an introduction: no (wire.md 9.3).
    12 RejectIntroduction {
        v0 24 {
            /// Name of the node this is about.
            @8 name: NodeName,
        }
    }

    /// Broker to broker: introduce my node to yours (wire.md 9.3).
    13 RequestIndirectIntroduction {
        v0 40 {
            /// Node of the sender's network.
            @8 source_node: NodeName,
            /// Node of the receiver's network.
            @24 target_node: NodeName,
        }
    }

    /// A new buffer of the link, initialised as blocks of one size (wire.md 9.4).
    14 AddBlockBuffer {
        v0 24 {
            /// Name of the buffer on this link.
            @8 id: BufferId,
            /// Bytes of each block.
            @16 block_size: u32,
            /// Memory object.
            @20 buffer: Option<u32>,
        }
    }

    /// A parcel, or one part of it (wire.md 9.5, 11.2, 11.3).
    20 AcceptParcel<'a> {
        v0 72 {
            /// Route on this link.
            @8 sublink: SublinkId,
            /// Position of the parcel in its sequence.
            @16 sequence_number: u64,
            /// Which part of the parcel this is; 0 is the main one.
            @24 subparcel_index: u32,
            /// Parts the parcel has.
            @28 num_subparcels: u32,
            /// The data, if it is in link memory, else null.
            @32 parcel_fragment: FragmentDescriptor,
            /// The data, unless it is in link memory.
            @48 parcel_data: &'a [u8],
            /// One [`HandleType`](super::HandleType) per attachment, as received.
            @52 handle_types: Cow<'a, [u32]>,
            /// One per portal attached.
            @56 new_routers: Cow<'a, [RouterDescriptor]>,
            /// Objects of the message; receivers take all there are.
            @64 driver_objects: ObjectRange,
        }
    }

    /// The driver objects of a parcel that could not carry them itself (wire.md 11.3).
    21 AcceptParcelDriverObjects {
        v0 32 {
            /// Route on this link.
            @8 sublink: SublinkId,
            /// Position of the parcel in its sequence.
            @16 sequence_number: u64,
            /// Objects of the message; receivers take all there are.
            @24 driver_objects: ObjectRange,
        }
    }

    /// The far end of a route is closed (wire.md 9.5).
    22 RouteClosed {
        v0 24 {
            /// Route on this link.
            @8 sublink: SublinkId,
            /// Parcels the closed end sent in total.
            @16 sequence_length: u64,
        }
    }

    /// A route is cut off (wire.md 9.5).
    23 RouteDisconnected {
        v0 16 {
            /// Route on this link.
            @8 sublink: SublinkId,
        }
    }

    /// Proxy to its inward peer: go past me, to that sublink (wire.md 9.5).
    30 BypassPeer {
        v0 48 {
            /// Route on this link.
            @8 sublink: SublinkId,
            /// Node of the proxy's outward peer.
            @24 bypass_target_node: NodeName,
            /// Sublink between the proxy's node and that one.
            @40 bypass_target_sublink: SublinkId,
        }
    }

    /// Bypassing router to the proxy's outward peer: this is our new link (wire.md 9.5).
    31 AcceptBypassLink {
        v0 64 {
            /// Node of the proxy.
            @8 current_peer_node: NodeName,
            /// Sublink between the proxy's node and the receiver.
            @24 current_peer_sublink: SublinkId,
            /// Parcels that still come through the proxy end before this number.
            @32 inbound_sequence_length_from_bypassed_link: u64,
            /// Sublink of the new link, of which the sender is side A.
            @40 new_sublink: SublinkId,
            /// Link state of the new link.
            @48 new_link_state_fragment: FragmentDescriptor,
        }
    }

    /// To a proxy: how much it has to forward in each direction before it is done (wire.md 9.5).
    32 StopProxying {
        v0 32 {
            /// Route on this link.
            @8 sublink: SublinkId,
            /// Length of the inbound sequence by way of the proxy.
            @16 inbound_sequence_length: u64,
            /// Length of the outbound sequence by way of the proxy.
            @24 outbound_sequence_length: u64,
        }
    }

    /// To the bypassing router: how much still comes through the proxy (wire.md 9.5).
    33 ProxyWillStop {
        v0 24 {
            /// Route on this link.
            @8 sublink: SublinkId,
            /// Length of the inbound sequence by way of the proxy.
            @16 inbound_sequence_length: u64,
        }
    }

    /// Proxy to its inward peer, when its outward peer is on its own node: your new link to it (wire.md 9.5).
    34 BypassPeerWithLink {
        v0 48 {
            /// Route on this link.
            @8 sublink: SublinkId,
            /// Sublink of the new link, of which the sender is side A.
            @16 new_sublink: SublinkId,
            /// Link state of the new link.
            @24 new_link_state_fragment: FragmentDescriptor,
            /// Length of the inbound sequence by way of the proxy.
            @40 inbound_sequence_length: u64,
        }
    }

    /// Answer to BypassPeerWithLink: how much went to the proxy (wire.md 9.5).
    35 StopProxyingToLocalPeer {
        v0 24 {
            /// Route on this link.
            @8 sublink: SublinkId,
            /// Length of the outbound sequence by way of the proxy.
            @16 outbound_sequence_length: u64,
        }
    }

    /// A hint that the link may be lockable now (wire.md 9.5).
    36 FlushRouter {
        v0 16 {
            /// Route on this link.
            @8 sublink: SublinkId,
        }
    }

    /// Node to its allocation delegate: give me memory (wire.md 9.4).
    64 RequestMemory {
        v0 16 {
            /// Bytes.
            @8 size: u32,
        }
    }

    /// Delegate's answer to RequestMemory (wire.md 9.4).
    65 ProvideMemory {
        v0 16 {
            /// Bytes.
            @8 size: u32,
            /// Memory object.
            @12 buffer: Option<u32>,
        }
    }

    /// Node to its broker: pass this message on (wire.md 11.1).
    66 RelayMessage<'a> {
        v0 40 {
            /// Node the message is for.
            @8 destination: NodeName,
            /// The message, without objects.
            @24 data: &'a [u8],
            /// Objects of the message; receivers take all there are.
            @32 driver_objects: ObjectRange,
        }
    }

    /// Broker to a node: a message passed on (wire.md 11.1).
    67 AcceptRelayedMessage<'a> {
        v0 40 {
            /// Node the message is from.
            @8 source: NodeName,
            /// The message, without objects.
            @24 data: &'a [u8],
            /// Objects of the message; receivers take all there are.
            @32 driver_objects: ObjectRange,
        }
    }

}
