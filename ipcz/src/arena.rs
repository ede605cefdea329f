//! Arenas: a slab plus a stamp, so that a stale key misses instead of finding its successor.

use std::marker::PhantomData;

/// Index and stamp of an arena's element.
pub trait Key: Copy {
    /// The key of these parts.
    fn new(index: u32, stamp: u32) -> Self;
    /// Position in the slab.
    fn index(self) -> u32;
    /// Which of the elements that ever had this position.
    fn stamp(self) -> u32;
}

/// Elements of type `T` that name each other by keys of type `K`.
#[derive(Clone)]
pub struct Arena<K, T> {
    slots: slab::Slab<(u32, T)>,
    next_stamp: u32,
    key: PhantomData<fn() -> K>,
}

impl<K: Key + std::fmt::Debug, T: std::fmt::Debug> std::fmt::Debug for Arena<K, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K, T> Default for Arena<K, T> {
    fn default() -> Self {
        Arena { slots: slab::Slab::new(), next_stamp: 0, key: PhantomData }
    }
}

impl<K: Key, T> Arena<K, T> {
    /// Stores an element under a key never given before (stamps wrap after 2^32 insertions).
    pub fn insert(&mut self, value: T) -> K {
        let stamp = self.next_stamp;
        self.next_stamp = stamp.wrapping_add(1);
        let index = self.slots.insert((stamp, value));
        K::new(u32::try_from(index).expect("an arena holds fewer than 2^32 elements"), stamp)
    }

    /// The element, unless it is gone.
    pub fn get(&self, key: K) -> Option<&T> {
        match self.slots.get(key.index() as usize) {
            Some((stamp, value)) if *stamp == key.stamp() => Some(value),
            _ => None,
        }
    }

    /// The element, unless it is gone.
    pub fn get_mut(&mut self, key: K) -> Option<&mut T> {
        match self.slots.get_mut(key.index() as usize) {
            Some((stamp, value)) if *stamp == key.stamp() => Some(value),
            _ => None,
        }
    }

    /// Two different elements at once.
    pub fn pair_mut(&mut self, a: K, b: K) -> Option<(&mut T, &mut T)> {
        if a.index() == b.index() || self.get(a).is_none() || self.get(b).is_none() {
            return None;
        }
        let (x, y) = self.slots.get2_mut(a.index() as usize, b.index() as usize)?;
        Some((&mut x.1, &mut y.1))
    }

    /// Takes the element out.
    pub fn remove(&mut self, key: K) -> Option<T> {
        self.get(key)?;
        Some(self.slots.remove(key.index() as usize).1)
    }

    /// Whether the element is there.
    pub fn contains(&self, key: K) -> bool {
        self.get(key).is_some()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// All elements in the order of their positions.
    pub fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        self.slots.iter().map(|(index, (stamp, value))| (K::new(index as u32, *stamp), value))
    }

    /// All elements in the order of their positions.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut T)> {
        self.slots.iter_mut().map(|(index, (stamp, value))| (K::new(index as u32, *stamp), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RouterKey;

    #[test]
    fn a_stale_key_misses() {
        let mut arena: Arena<RouterKey, &str> = Arena::default();
        let old = arena.insert("old");
        assert_eq!(arena.remove(old), Some("old"));
        let new = arena.insert("new");
        assert_eq!(old.index(), new.index());
        assert_eq!(arena.get(old), None);
        assert_eq!(arena.remove(old), None);
        assert_eq!(arena.get(new), Some(&"new"));
    }

    #[test]
    fn a_pair_is_two_different_elements() {
        let mut arena: Arena<RouterKey, u32> = Arena::default();
        let (a, b) = (arena.insert(1), arena.insert(2));
        let (x, y) = arena.pair_mut(b, a).unwrap();
        std::mem::swap(x, y);
        assert_eq!((arena.get(a), arena.get(b)), (Some(&2), Some(&1)));
        assert!(arena.pair_mut(a, a).is_none());
    }
}
