//! A parcel under way, and which processes may know what is in it.

use super::EndId;

/// A parcel that was put and not yet taken.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Bytes of data.
    pub length: u32,
    /// The end it carries.
    pub attached: Option<EndId>,
    /// How many boxes it has ([`crate::boxes::contents`]).
    pub boxes: u8,
    /// Whether it is one of a `send`, not of a `hand`.
    pub counted: bool,
    /// Who may know its content.
    pub knowers: Knowers,
}

/// A few processes, each once, in the order they came.
#[derive(Clone, Debug)]
pub struct Knowers {
    few: [u32; Knowers::FEW],
    len: u32,
    more: Vec<u32>,
}

impl Knowers {
    const FEW: usize = 5;

    /// Just this one.
    pub fn only(process: u32) -> Knowers {
        Knowers { few: [process; Knowers::FEW], len: 1, more: Vec::new() }
    }

    /// Adds one.
    pub fn add(&mut self, process: u32) {
        if self.contains(process) {
            return;
        }
        match self.few.get_mut(self.len as usize) {
            Some(free) => *free = process,
            None => self.more.push(process),
        }
        self.len += 1;
    }

    /// Whether this is one of them.
    pub fn contains(&self, process: u32) -> bool {
        self.iter().any(|known| known == process)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.few.iter().take(self.len as usize).chain(&self.more).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_process_is_kept_once_however_many_there_are() {
        let mut knowers = Knowers::only(3);
        (0..20).chain(0..20).for_each(|process| knowers.add(process));
        assert_eq!(knowers.iter().count(), 20);
        assert!((0..20).all(|process| knowers.contains(process)) && !knowers.contains(20));
    }
}
