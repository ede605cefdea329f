//! Real threads on one memory, as two processes would be.

use ipcz::ids::BufferId;
use ipcz::ids::LinkSide::{A, B};
use ipcz::mapping::Mapping;
use ipcz::memory::{Adopted, Block, LinkMemory, Opened, Origin, PRIMARY_BYTES, initialise_primary};
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

fn next(seed: &mut u64) -> usize {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    (*seed >> 11) as usize
}

/// Four ends' views of one link memory with an extra buffer of few, contended blocks.
fn views() -> Vec<LinkMemory> {
    let (m, grown) = (Mapping::zeroed(PRIMARY_BYTES), Mapping::zeroed(65_536));
    initialise_primary(&m);
    LinkMemory::initialise_region(&grown, 8192);
    [A, B, A, B]
        .map(|side| {
            let mut link = LinkMemory::new(m.clone(), side, false).unwrap();
            link.add_buffer(BufferId(1), 8192, grown.clone(), Origin::Ours).unwrap();
            link
        })
        .into()
}

#[test]
fn no_block_has_two_owners_and_all_come_back() {
    let links = views();
    let owners: [Vec<AtomicU32>; 2] = [PRIMARY_BYTES, 65_536].map(|bytes| (0..bytes / 64).map(|_| AtomicU32::new(0)).collect());
    let owner = |block: &Block| &owners[block.descriptor().buffer.0 as usize][block.descriptor().offset as usize / 64];
    let taken: Vec<usize> = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..)
            .zip(&links)
            .map(|(me, link)| {
                let owner = &owner;
                scope.spawn(move || {
                    let (mut seed, mut held, mut taken) = (u64::from(me).wrapping_mul(0x9e37_79b9_7f4a_7c15), VecDeque::new(), 0);
                    for round in 0..30_000u32 {
                        let bytes = [64, 256, 512, 4096, 8192][next(&mut seed) % 5];
                        if let Ok(mut block) = link.allocate(bytes) {
                            assert_eq!(owner(&block).swap(me, SeqCst), 0, "{:?} handed out twice", block.descriptor());
                            let data = [me as u8, round as u8, (round >> 8) as u8].repeat(block.capacity() / 3);
                            block.fill(&data);
                            held.push_back((block, data));
                            taken += 1;
                        }
                        if held.len() > 1 + next(&mut seed) % 4 {
                            let (block, data) = held.pop_front().unwrap();
                            let mut copy = Vec::new();
                            block.append_to(&mut copy);
                            assert!(copy == data, "{:?} was overwritten", block.descriptor());
                            assert_eq!(owner(&block).swap(0, SeqCst), me);
                            assert!(block.free(), "a free was refused");
                        }
                    }
                    for (block, _) in held {
                        owner(&block).store(0, SeqCst);
                        assert!(block.free());
                    }
                    taken
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(taken.iter().all(|&n| n > 1000), "everybody got blocks: {taken:?}");
    assert_eq!(links[0].blocks_taken(), 0);
}

#[test]
fn parcels_and_link_states_change_hands_between_threads() {
    let links = views();
    let post = Mutex::new(VecDeque::new());
    std::thread::scope(|scope| {
        for sender in &links[..2] {
            scope.spawn(|| {
                for round in 0..20_000u32 {
                    let Ok(mut block) = sender.allocate(256) else { continue };
                    let state = sender.new_link_state().expect("there are more states than parcels");
                    block.fill(&round.to_le_bytes().repeat(1 + round as usize % 60));
                    post.lock().unwrap().push_back((block.descriptor(), state.share()));
                    state.release();
                }
            });
        }
        for receiver in &links[2..] {
            scope.spawn(|| {
                for _ in 0..40_000 {
                    let Some((parcel, state)) = post.lock().unwrap().pop_front() else { continue };
                    receive(receiver, parcel, state);
                }
            });
        }
    });
    for (parcel, state) in post.into_inner().unwrap() {
        receive(&links[0], parcel, state);
    }
    assert_eq!(links[3].blocks_taken(), 0);
}

fn receive(link: &LinkMemory, parcel: ipcz::ids::FragmentDescriptor, state: ipcz::ids::FragmentDescriptor) {
    let Ok(Opened::Block(block)) = link.open_parcel(parcel) else { panic!("an honest parcel was refused") };
    let mut data = Vec::new();
    block.append_to(&mut data);
    let round = u32::from_le_bytes(data[..4].try_into().unwrap());
    assert_eq!(data, round.to_le_bytes().repeat(1 + round as usize % 60));
    assert!(block.free());
    let Ok(Adopted::State(state)) = link.adopt_link_state(state) else { panic!("an honest state was refused") };
    state.release();
}
