//! Shared memory as copy-on-write pages over zero pages, or over the pristine primary buffer: memory nobody used since
//! its initialisation costs no page, and a copy of a world copies none.

use std::sync::Arc;

use ipcz::mapping::{Rmw, Width};

/// Bytes of a page.
pub(crate) const PAGE: usize = 1024;

type Page = [u8; PAGE];
type Table = Vec<Option<Arc<Page>>>;

static ZERO: Page = [0; PAGE];

/// Bytes of an initialised primary buffer (memory.md 2.1), made once and shared by all worlds of a sweep.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template(Arc<Pristine>);

#[derive(PartialEq, Eq, Debug)]
struct Pristine {
    len: usize,
    pages: Table,
    filled: usize,
}

impl Template {
    /// Memory of this size and content will cost nothing.
    pub fn new(bytes: &[u8]) -> Template {
        let pages: Table = bytes
            .chunks(PAGE)
            .map(|chunk| {
                let mut page = ZERO;
                page[..chunk.len()].copy_from_slice(chunk);
                (page != ZERO).then(|| Arc::new(page))
            })
            .collect();
        let filled = pages.iter().flatten().count();
        Template(Arc::new(Pristine { len: bytes.len(), pages, filled }))
    }
}

/// One memory object.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    len: usize,
    /// What pages without a page of their own hold; zeros if none.
    base: Option<Arc<Pristine>>,
    own: Option<Arc<Table>>,
    resident: usize,
    /// Objects that keep it, also those in messages.
    pub owners: usize,
    /// Who allocated it.
    pub maker: u32,
    /// Who has mapped it, once for each mapping: they keep it.
    pub mappings: Vec<u32>,
}

impl Memory {
    pub fn new(len: usize, maker: u32) -> Memory {
        Memory { len, base: None, own: None, resident: 0, owners: 1, maker, mappings: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Pages of its own.
    pub fn resident(&self) -> usize {
        self.resident
    }

    fn page(&self, index: usize) -> &Page {
        let own = self.own.as_ref().and_then(|table| table[index].as_deref());
        own.or_else(|| self.base.as_ref().and_then(|base| base.pages[index].as_deref())).unwrap_or(&ZERO)
    }

    fn page_mut(&mut self, index: usize) -> &mut Page {
        let table = self.own.get_or_insert_with(|| Arc::new(vec![None; self.len.div_ceil(PAGE)]));
        let slot = &mut Arc::make_mut(table)[index];
        if slot.is_none() {
            self.resident += 1;
        }
        let base = &self.base;
        Arc::make_mut(
            slot.get_or_insert_with(|| base.as_ref().and_then(|base| base.pages[index].clone()).unwrap_or_else(|| Arc::new(ZERO))),
        )
    }

    fn check(&self, at: usize, bytes: usize, align: usize) {
        assert!(at.is_multiple_of(align), "offset {at} is not a multiple of {align}");
        assert!(at.checked_add(bytes).is_some_and(|end| end <= self.len), "offset {at} + {bytes} exceeds {}", self.len);
    }

    /// The word at `at`.
    pub fn load(&self, at: usize, width: Width) -> u64 {
        self.check(at, width.bytes(), width.bytes());
        let here = &self.page(at / PAGE)[at % PAGE..];
        // Of known length, else each word costs a call.
        let value = match width {
            Width::W32 => here.first_chunk().map(|bytes| u32::from_le_bytes(*bytes).into()),
            Width::W64 => here.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)),
        };
        value.expect("an aligned word lies within a page")
    }

    /// Stores a word; what is there already costs no page.
    pub fn store(&mut self, at: usize, width: Width, value: u64, template: Option<&Template>) {
        self.check(at, width.bytes(), width.bytes());
        match width {
            Width::W32 => self.put(at, &(value as u32).to_le_bytes(), template),
            Width::W64 => self.put(at, &value.to_le_bytes(), template),
        }
    }

    /// The value before, or the one that a compare-exchange met instead; and what was stored.
    pub fn update(&mut self, at: usize, width: Width, op: Rmw, template: Option<&Template>) -> Result<(u64, u64), u64> {
        let old = self.load(at, width);
        let new = match op {
            Rmw::Add(by) => old.wrapping_add(by),
            Rmw::CompareExchange { expected, new } if expected == old => new,
            Rmw::CompareExchange { .. } => return Err(old),
        };
        let new = if width == Width::W32 { new & u64::from(u32::MAX) } else { new };
        self.store(at, width, new, template);
        Ok((old, new))
    }

    pub fn read(&self, at: usize, out: &mut [u8]) {
        self.check(at, out.len(), 1);
        let mut done = 0;
        while done < out.len() {
            let here = at + done;
            let n = (PAGE - here % PAGE).min(out.len() - done);
            out[done..done + n].copy_from_slice(&self.page(here / PAGE)[here % PAGE..][..n]);
            done += n;
        }
    }

    pub fn write(&mut self, at: usize, data: &[u8], template: Option<&Template>) {
        self.check(at, data.len(), 1);
        let mut done = 0;
        while done < data.len() {
            let here = at + done;
            let n = (PAGE - here % PAGE).min(data.len() - done);
            self.put(here, &data[done..done + n], template);
            done += n;
        }
    }

    /// Changes bytes of one page.
    #[inline]
    fn put(&mut self, at: usize, bytes: &[u8], template: Option<&Template>) {
        let (index, range) = (at / PAGE, at % PAGE..at % PAGE + bytes.len());
        if self.page(index)[range.clone()] == *bytes {
            return;
        }
        self.page_mut(index)[range].copy_from_slice(bytes);
        if let Some(template) = template {
            self.settle(template);
        }
    }

    /// Gives the pages back if the memory has just become a pristine primary buffer.
    fn settle(&mut self, template: &Template) {
        let template = &template.0;
        if self.base.is_some() || self.resident != template.filled || self.len != template.len {
            return;
        }
        let Some(own) = &self.own else { return };
        if own.iter().zip(&template.pages).all(|(a, b)| a.as_deref() == b.as_deref()) {
            self.base = Some(Arc::clone(template));
            self.own = None;
            self.resident = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 131_072;

    fn template() -> Template {
        let mut bytes = vec![0; LEN];
        (bytes[0], bytes[8]) = (1, 12);
        bytes[95_936..95_940].copy_from_slice(&0xfa34_0000_u32.to_le_bytes());
        Template::new(&bytes)
    }

    fn initialise(memory: &mut Memory, template: &Template) {
        memory.write(0, &vec![0; LEN], Some(template));
        memory.store(0, Width::W64, 1, Some(template));
        memory.store(8, Width::W64, 12, Some(template));
        memory.store(95_936, Width::W32, 0xfa34_0000, Some(template));
    }

    #[test]
    fn a_pristine_primary_buffer_costs_no_page() {
        let template = template();
        let mut memory = Memory::new(LEN, 0);
        initialise(&mut memory, &template);
        assert_eq!(memory.resident(), 0);
        assert_eq!((memory.load(8, Width::W32), memory.load(95_936, Width::W32)), (12, 0xfa34_0000));
        memory.store(95_944, Width::W32, 7, Some(&template));
        assert_eq!((memory.resident(), memory.load(95_936, Width::W32), memory.load(8, Width::W64)), (1, 0xfa34_0000, 12));
        let mut other = Memory::new(LEN, 0);
        other.write(0, &[1, 0, 0, 0, 0, 0, 0, 0, 13], Some(&template));
        other.store(95_936, Width::W32, 0xfa34_0000, Some(&template));
        assert_eq!((other.resident(), other.load(8, Width::W64)), (2, 13));
    }

    #[test]
    fn copies_share_pages_until_one_is_written() {
        let mut memory = Memory::new(3000, 0);
        memory.write(1000, &[9; 1100], None);
        let mut copy = memory.clone();
        let page = |m: &Memory, i: usize| m.own.as_ref().and_then(|t| t[i].as_ref().map(Arc::as_ptr));
        copy.store(1024, Width::W64, 1, None);
        assert_eq!((page(&copy, 0), page(&copy, 2)), (page(&memory, 0), page(&memory, 2)));
        assert_ne!(page(&copy, 1), page(&memory, 1));
        assert_eq!((memory.load(1024, Width::W32), copy.load(1024, Width::W32)), (0x0909_0909, 1));
        let mut out = [0; 1102];
        memory.read(999, &mut out);
        assert!(out[0] == 0 && out[1101] == 0 && out[1..1101].iter().all(|b| *b == 9));
    }

    #[test]
    fn words_wrap_at_their_width() {
        let mut memory = Memory::new(64, 0);
        memory.store(4, Width::W32, 5, None);
        assert_eq!(memory.update(0, Width::W32, Rmw::Add(u64::from(u32::MAX)), None), Ok((0, u64::from(u32::MAX))));
        assert_eq!(memory.update(0, Width::W32, Rmw::Add(2), None), Ok((u64::from(u32::MAX), 1)));
        assert_eq!(memory.load(0, Width::W64), 5 << 32 | 1);
        assert_eq!(memory.update(0, Width::W64, Rmw::CompareExchange { expected: 1, new: 2 }, None), Err(5 << 32 | 1));
        assert_eq!(memory.resident(), 1);
    }

    #[test]
    #[should_panic(expected = "exceeds")]
    fn a_word_beyond_the_end_is_our_bug() {
        Memory::new(60, 0).load(56, Width::W64);
    }
}
