//! Lies about fragments, buffers and objects, and messages that are none.

use ipcz::ids::{BufferId, FragmentDescriptor, NodeName, SublinkId};
use ipcz::wire::*;

use super::dice::Dice;
use super::forge::{FLOOD, Said, Thing, Words, fresh, parcel};
use super::known::{Far, Numbers};
use super::lies::Lie;

/// Bytes of a primary buffer.
const PRIMARY: u32 = 131_072;
/// Where the parameters of a message begin, and where its object table is written (wire.md 2).
const PARAMS: usize = 24;
const OBJECT_TABLE: usize = 16;

/// The messages of a lie of these kinds; none if it is another one.
pub fn forge(lie: Lie, far: &Far, (sublink, numbers): (SublinkId, Numbers), dice: &mut Dice<'_>) -> Option<Vec<Said>> {
    let with_data = |fragment| AcceptParcel { parcel_fragment: fragment, parcel_data: &[], ..parcel(sublink, numbers.sent) };
    Some(match lie {
        Lie::BadBuffer => {
            let (block_size, bytes) = dice.pick([
                (0, 65_536),
                (63, 65_536),
                (96, 65_536),
                (16_384, 65_536),
                (64, 2_097_152),
                (u32::MAX, 65_536),
                (1 << 31, 65_536),
                (64, 64),
            ]);
            let id = BufferId(dice.pick([77, 77, 0, u64::MAX]));
            vec![announce(id, block_size, Thing::Memory(bytes))]
        }
        Lie::WrongObject => match dice.below(3) {
            0 => vec![announce(BufferId(78), 64, Thing::Transport)],
            1 => vec![message(AddBlockBuffer { id: BufferId(78), block_size: 64, buffer: None }, &[])],
            _ => vec![announce(BufferId(0), 64, Thing::Memory(65_536))],
        },
        Lie::BufferFlood => {
            let first = 1_000 + dice.below(1 << 20) as u64;
            (0..FLOOD as u64).map(|i| announce(BufferId(first + i), 4096, Thing::Memory(65_536))).collect()
        }
        Lie::FragmentOutOfBounds => {
            let (offset, size) =
                dice.pick([(u32::MAX - 7, 16), (PRIMARY, 64), (PRIMARY - 8, 64), (0, u32::MAX), (98_816, 8), (98_820, 64), (8, 0)]);
            vec![message(with_data(FragmentDescriptor { buffer: BufferId::PRIMARY, offset, size }), &[])]
        }
        Lie::FragmentElsewhere => {
            let known: Vec<_> = far.data.iter().chain(&far.states).copied().collect();
            let (offset, size) =
                dice.pick([(0, 1024), (256, 64), (1024, 64), (1088, 4096), (98_304, 512), (98_816 + 8, 64), (96_000, 2_304)]);
            let spot = FragmentDescriptor { buffer: BufferId::PRIMARY, offset, size };
            let fragment = if dice.below(2) == 0 { dice.any(&known).unwrap_or(spot) } else { spot };
            (0..2).map(|i| message(AcceptParcel { sequence_number: numbers.sent + i, ..with_data(fragment) }, &[])).collect()
        }
        Lie::NeverAnnounced => {
            let first = 1 << 40 | dice.below(1 << 20) as u64;
            let one = |i: u64| FragmentDescriptor { buffer: BufferId(first + i % 7), offset: 64, size: 64 };
            let parcels = |i| message(AcceptParcel { sequence_number: numbers.sent + i, ..with_data(one(i)) }, &[]);
            (0..FLOOD as u64).map(parcels).collect()
        }
        Lie::StateOutOfBounds => {
            let (offset, size) =
                dice.pick([(PRIMARY, 64), (PRIMARY - 8, 8), (PRIMARY - 32, 64), (1024 + 4, 64), (1088, 56), (1088, 0), (u32::MAX - 7, 64)]);
            let bad = FragmentDescriptor { buffer: BufferId::PRIMARY, offset, size };
            let new_link_state_fragment = if dice.below(8) == 0 { FragmentDescriptor::NULL } else { bad };
            let new_sublink = fresh(far, dice);
            vec![match dice.below(2) {
                0 => message(
                    BypassPeerWithLink { sublink, new_sublink, new_link_state_fragment, inbound_sequence_length: numbers.sent },
                    &[],
                ),
                _ => message(
                    AcceptBypassLink {
                        current_peer_node: far.name.unwrap_or(NodeName { high: 1, low: 1 }),
                        current_peer_sublink: sublink,
                        inbound_sequence_length_from_bypassed_link: 0,
                        new_sublink,
                        new_link_state_fragment,
                    },
                    &[],
                ),
            }]
        }
        Lie::CutShort => {
            let mut bytes = encoded(RouteClosed { sublink, sequence_length: 3 }, &[]);
            bytes.truncate(dice.pick([0, 1, 8, 23, 24, 31, 32, 40]).min(bytes.len() - 1));
            vec![Said::bytes(bytes)]
        }
        Lie::BadHeader => {
            let mut bytes = encoded(RouteClosed { sublink, sequence_length: 3 }, &[]);
            match dice.below(4) {
                0 => bytes[0] = dice.pick([0, 8, 16, 23, 25, 32, 255]),
                1 => (bytes[0], bytes[1]) = (dice.pick([0, 16, 28, 255]), 1),
                2 => bytes[PARAMS] = dice.pick([0, 7, 8, 12, 17, 23]),
                _ => bytes[PARAMS..PARAMS + 4].copy_from_slice(&u32::MAX.to_le_bytes()),
            }
            vec![Said::bytes(bytes)]
        }
        Lie::BadArray => {
            let mut bytes = encoded(parcel(sublink, numbers.sent), &[]);
            let bad = dice.pick([bytes.len() as u32, bytes.len() as u32 - 4, u32::MAX, u32::MAX - 7, 1 << 31]);
            let at = dice.pick([OBJECT_TABLE, PARAMS + 48, PARAMS + 52, PARAMS + 56]);
            bytes[at..at + 4].copy_from_slice(&bad.to_le_bytes());
            vec![Said::bytes(bytes)]
        }
        Lie::BadObjectIndex => {
            let index = dice.pick([1, 2, 255, u32::MAX - 1]);
            vec![message(AddBlockBuffer { id: BufferId(79), block_size: 64, buffer: Some(index) }, &[Thing::Memory(65_536)])]
        }
        Lie::HandleClaimedTwice => {
            let things = [Thing::Memory(65_536), Thing::Memory(65_536)];
            let mut bytes = encoded(AddBlockBuffer { id: BufferId(80), block_size: 64, buffer: Some(0) }, &things);
            if dice.below(2) == 0 {
                bytes[2] = UNKNOWN;
            }
            let table = bytes.get(OBJECT_TABLE..OBJECT_TABLE + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_le_bytes);
            // The second entry's first handle, behind the array's header and the first entry.
            bytes[table as usize + 8 + 8 + 4] = 0;
            vec![Said { words: Words::Bytes(bytes), things: things.to_vec() }]
        }
        Lie::StrayHandles => {
            let bytes = encoded(FlushRouter { sublink }, &[]);
            let things = vec![dice.pick([Thing::Memory(65_536), Thing::Transport]); 1 + dice.below(FLOOD)];
            vec![Said { words: Words::Bytes(bytes), things }]
        }
        Lie::UnknownId => {
            let things = [Thing::Memory(65_536), Thing::Transport];
            let mut bytes = encoded(AddBlockBuffer { id: BufferId(81), block_size: 64, buffer: Some(0) }, &things);
            bytes[2] = UNKNOWN;
            vec![Said { words: Words::Bytes(bytes), things: things.to_vec() }]
        }
        _ => return None,
    })
}

/// An id of no message.
const UNKNOWN: u8 = 200;

fn message(message: impl Into<Message<'static>>, things: &[Thing]) -> Said {
    Said { words: Words::Message(message.into()), things: things.to_vec() }
}

fn announce(id: BufferId, block_size: u32, thing: Thing) -> Said {
    message(AddBlockBuffer { id, block_size, buffer: Some(0) }, &[thing])
}

fn encoded(message: impl Into<Message<'static>>, things: &[Thing]) -> Vec<u8> {
    encode(&message.into(), things)
}

/// A message with an entry for each thing, as the simulator's driver writes them (driver.md 8.4).
pub fn encode(message: &Message<'_>, things: &[Thing]) -> Vec<u8> {
    let data: Vec<[u8; 8]> = things.iter().map(|thing| thing.data()).collect();
    let objects: Vec<_> = data.iter().map(|data| ObjectBytes { data, handles: 1 }).collect();
    let mut bytes = Vec::new();
    message.encode(0, &objects, &mut bytes).expect("a lie is no bigger than a message may be");
    bytes
}

impl Thing {
    fn data(self) -> [u8; 8] {
        let (kind, size): (u32, u32) = match self {
            Thing::Transport => (0, 0),
            Thing::Memory(bytes) => (1, bytes as u32),
        };
        let mut data = [0; 8];
        data[..4].copy_from_slice(&kind.to_le_bytes());
        data[4..].copy_from_slice(&size.to_le_bytes());
        data
    }
}
