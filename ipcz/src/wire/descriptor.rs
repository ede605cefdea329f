//! The description of a router that a parcel carries along (wire.md 7.1).

use super::array::{bytes_at, put};
use crate::ids::{BufferId, FragmentDescriptor, NodeName, SublinkId};

const PEER_CLOSED: u8 = 1;
const PROXY_ALREADY_BYPASSED: u8 = 2;

/// The router that the receiver must create for one portal of a parcel (wire.md 7.1); unused fields are zero or null.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouterDescriptor {
    /// If `peer_closed`: how many parcels the far end sent in total.
    pub closed_peer_sequence_length: u64,
    /// The route's sublink on the carrying link, of which the sender is side A.
    pub new_sublink: SublinkId,
    /// Link state of `new_sublink` if bypassed, else null.
    pub new_link_state_fragment: FragmentDescriptor,
    /// If bypassed: the sublink back to the old router.
    pub new_decaying_sublink: SublinkId,
    /// Number of the first parcel that the new router will send.
    pub next_outgoing_sequence_number: u64,
    /// Number of the first parcel that it must deliver.
    pub next_incoming_sequence_number: u64,
    /// If bypassed: parcels below this number come over the decaying sublink.
    pub decaying_incoming_sequence_length: u64,
    /// Whether the far end is closed.
    pub peer_closed: bool,
    /// Whether the old router is out of the route already.
    pub proxy_already_bypassed: bool,
    /// If valid: the node to start a bypass to at once.
    pub proxy_peer_node_name: NodeName,
    /// The sublink between the sender and that node which is to be bypassed.
    pub proxy_peer_sublink: SublinkId,
}

impl RouterDescriptor {
    /// Bytes on the wire.
    pub const SIZE: usize = 96;

    /// A portal that was moved by a proxy and neither sent nor received anything: its route leads back over `new_sublink` (routing.md 10).
    pub const fn proxied(new_sublink: SublinkId) -> RouterDescriptor {
        RouterDescriptor {
            closed_peer_sequence_length: 0,
            new_sublink,
            new_link_state_fragment: FragmentDescriptor::NULL,
            new_decaying_sublink: SublinkId(0),
            next_outgoing_sequence_number: 0,
            next_incoming_sequence_number: 0,
            decaying_incoming_sequence_length: 0,
            peer_closed: false,
            proxy_already_bypassed: false,
            proxy_peer_node_name: NodeName::INVALID,
            proxy_peer_sublink: SublinkId(0),
        }
    }

    pub(super) fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let u64_at = |at| u64::from_le_bytes(bytes_at(bytes, at).unwrap_or_default());
        let flags = bytes[64];
        RouterDescriptor {
            closed_peer_sequence_length: u64_at(0),
            new_sublink: SublinkId(u64_at(8)),
            new_link_state_fragment: fragment_from_bytes(bytes_at(bytes, 16).unwrap_or_default()),
            new_decaying_sublink: SublinkId(u64_at(32)),
            next_outgoing_sequence_number: u64_at(40),
            next_incoming_sequence_number: u64_at(48),
            decaying_incoming_sequence_length: u64_at(56),
            peer_closed: flags & PEER_CLOSED != 0,
            proxy_already_bypassed: flags & PROXY_ALREADY_BYPASSED != 0,
            proxy_peer_node_name: NodeName { high: u64_at(72), low: u64_at(80) },
            proxy_peer_sublink: SublinkId(u64_at(88)),
        }
    }

    pub(super) fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let mut set = |at, value: u64| put(&mut bytes, at, &value.to_le_bytes());
        set(0, self.closed_peer_sequence_length);
        set(8, self.new_sublink.0);
        set(32, self.new_decaying_sublink.0);
        set(40, self.next_outgoing_sequence_number);
        set(48, self.next_incoming_sequence_number);
        set(56, self.decaying_incoming_sequence_length);
        set(72, self.proxy_peer_node_name.high);
        set(80, self.proxy_peer_node_name.low);
        set(88, self.proxy_peer_sublink.0);
        put(&mut bytes, 16, &fragment_to_bytes(self.new_link_state_fragment));
        bytes[64] = (u8::from(self.peer_closed) * PEER_CLOSED) | (u8::from(self.proxy_already_bypassed) * PROXY_ALREADY_BYPASSED);
        bytes
    }
}

/// A fragment descriptor's sixteen bytes (wire.md 7).
pub(super) fn fragment_from_bytes(b: [u8; 16]) -> FragmentDescriptor {
    let [b0, b1, b2, b3, b4, b5, b6, b7, o0, o1, o2, o3, s0, s1, s2, s3] = b;
    FragmentDescriptor {
        buffer: BufferId(u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7])),
        offset: u32::from_le_bytes([o0, o1, o2, o3]),
        size: u32::from_le_bytes([s0, s1, s2, s3]),
    }
}

/// The reverse of [`fragment_from_bytes`].
pub(super) fn fragment_to_bytes(fragment: FragmentDescriptor) -> [u8; 16] {
    let mut bytes = [0; 16];
    put(&mut bytes, 0, &fragment.buffer.0.to_le_bytes());
    put(&mut bytes, 8, &fragment.offset.to_le_bytes());
    put(&mut bytes, 12, &fragment.size.to_le_bytes());
    bytes
}
