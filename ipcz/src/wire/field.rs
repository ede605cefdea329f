//! What can stand in a parameter struct: for each type its size, how it is read, written and shown (wire.md 5, 7).

use std::borrow::Cow;

use super::array::{append, array_at, put};
use super::descriptor::{RouterDescriptor, fragment_from_bytes, fragment_to_bytes};
use super::error::{Fault, TooLarge, Trouble};
use super::layout::Params;
use super::objects::ObjectRange;
use super::show::Value;
use crate::ids::{BufferId, FragmentDescriptor, LinkSide, NodeName, NodeType, SublinkId};

/// Object index of "no object".
const NO_OBJECT: u32 = u32::MAX;

/// A type of parameter. Offsets count from the start of the message.
pub(super) trait WireType<'a>: Sized {
    /// Bytes in the parameter struct.
    const SIZE: usize;
    /// How many entries of the claim list it may take.
    const CLAIMS: usize = 0;

    /// Reads and checks the value at `at`, which lies within a present block.
    fn read(from: &mut Params<'a>, at: usize) -> Result<Self, Trouble>;
    /// Writes the value over the zeros at `at`; arrays go to the end of `out`.
    fn write(&self, out: &mut Vec<u8>, at: usize) -> Result<(), TooLarge>;
    /// The value for comparing and printing.
    fn value(&self) -> Value<'_>;
}

/// Types that are a fixed row of bytes of which every pattern means something.
macro_rules! plain {
    ($($ty:ty: $size:literal, $from:expr, $to:expr, $value:expr;)*) => {$(
        impl<'a> WireType<'a> for $ty {
            const SIZE: usize = $size;

            fn read(from: &mut Params<'a>, at: usize) -> Result<Self, Trouble> {
                Ok($from(from.bytes_at::<$size>(at)?))
            }

            fn write(&self, out: &mut Vec<u8>, at: usize) -> Result<(), TooLarge> {
                put(out, at, &$to(*self));
                Ok(())
            }

            fn value(&self) -> Value<'_> {
                $value(*self)
            }
        }
    )*};
}

plain! {
    u32: 4, u32::from_le_bytes, u32::to_le_bytes, Value::U32;
    u64: 8, u64::from_le_bytes, u64::to_le_bytes, Value::U64;
    SublinkId: 8, |b| SublinkId(u64::from_le_bytes(b)), |id: SublinkId| id.0.to_le_bytes(), |id: SublinkId| Value::U64(id.0);
    BufferId: 8, |b| BufferId(u64::from_le_bytes(b)), |id: BufferId| id.0.to_le_bytes(), |id: BufferId| Value::U64(id.0);
    NodeName: 16, NodeName::from_bytes, name_to_bytes, Value::Name;
    FragmentDescriptor: 16, fragment_from_bytes, fragment_to_bytes, Value::Fragment;
}

fn name_to_bytes(name: NodeName) -> [u8; 16] {
    let mut bytes = [0; 16];
    put(&mut bytes, 0, &name.high.to_le_bytes());
    put(&mut bytes, 8, &name.low.to_le_bytes());
    bytes
}

/// One-byte enums, numbered from 0 in the order given.
macro_rules! enums {
    ($($ty:ty, $value:path; $($variant:path),*;)*) => {$(
        impl<'a> WireType<'a> for $ty {
            const SIZE: usize = 1;

            fn read(from: &mut Params<'a>, at: usize) -> Result<Self, Trouble> {
                let [byte] = from.bytes_at(at)?;
                let fault = Fault::EnumValue { value: u32::from(byte) };
                [$($variant),*].get(usize::from(byte)).copied().ok_or(Trouble { offset: at, fault })
            }

            fn write(&self, out: &mut Vec<u8>, at: usize) -> Result<(), TooLarge> {
                out[at] = *self as u8;
                Ok(())
            }

            fn value(&self) -> Value<'_> {
                $value(*self)
            }
        }

    )*};
}

enums! {
    LinkSide, Value::Side; LinkSide::A, LinkSide::B;
    NodeType, Value::NodeType; NodeType::Broker, NodeType::Normal;
}

/// An object field.
impl<'a> WireType<'a> for Option<u32> {
    const SIZE: usize = 4;
    const CLAIMS: usize = 1;

    fn read(from: &mut Params<'a>, at: usize) -> Result<Self, Trouble> {
        let index = u32::read(from, at)?;
        if index == NO_OBJECT {
            return Ok(None);
        }
        let objects = from.objects();
        if index as usize >= objects {
            return Err(Trouble { offset: at, fault: Fault::ObjectIndex { index, objects } });
        }
        from.claims.take(ObjectRange { first: index, num: 1 }, at)?;
        Ok(Some(index))
    }

    fn write(&self, out: &mut Vec<u8>, at: usize) -> Result<(), TooLarge> {
        self.unwrap_or(NO_OBJECT).write(out, at)
    }

    fn value(&self) -> Value<'_> {
        Value::Object(*self)
    }
}

impl<'a> WireType<'a> for ObjectRange {
    const SIZE: usize = 8;
    const CLAIMS: usize = 1;

    fn read(from: &mut Params<'a>, at: usize) -> Result<Self, Trouble> {
        let range = ObjectRange { first: u32::read(from, at)?, num: u32::read(from, at + 4)? };
        let objects = from.objects();
        if range.first as usize > objects || range.num as usize > objects - range.first as usize {
            let fault = Fault::ObjectRange { first: range.first, num: range.num, objects };
            return Err(Trouble { offset: at, fault });
        }
        from.claims.take(range, at)?;
        Ok(range)
    }

    fn write(&self, out: &mut Vec<u8>, at: usize) -> Result<(), TooLarge> {
        self.first.write(out, at)?;
        self.num.write(out, at + 4)
    }

    fn value(&self) -> Value<'_> {
        Value::Objects(*self)
    }
}

impl<'a> WireType<'a> for &'a [u8] {
    const SIZE: usize = 4;

    fn read(from: &mut Params<'a>, at: usize) -> Result<Self, Trouble> {
        array_at(from.message(), at, 1, Fault::Array)
    }

    fn write(&self, out: &mut Vec<u8>, at: usize) -> Result<(), TooLarge> {
        append(out, at, self.len(), 1, |bytes| bytes.copy_from_slice(self))
    }

    fn value(&self) -> Value<'_> {
        Value::Bytes(self)
    }
}

/// An element of an array that is copied out, since nothing says how received bytes are aligned.
trait Element<const N: usize>: Copy {
    fn from_le(bytes: &[u8; N]) -> Self;
    fn to_le(self) -> [u8; N];
}

impl Element<4> for u32 {
    fn from_le(bytes: &[u8; 4]) -> Self {
        u32::from_le_bytes(*bytes)
    }

    fn to_le(self) -> [u8; 4] {
        self.to_le_bytes()
    }
}

impl Element<8> for u64 {
    fn from_le(bytes: &[u8; 8]) -> Self {
        u64::from_le_bytes(*bytes)
    }

    fn to_le(self) -> [u8; 8] {
        self.to_le_bytes()
    }
}

impl Element<{ RouterDescriptor::SIZE }> for RouterDescriptor {
    fn from_le(bytes: &[u8; Self::SIZE]) -> Self {
        RouterDescriptor::from_bytes(bytes)
    }

    fn to_le(self) -> [u8; Self::SIZE] {
        self.to_bytes()
    }
}

fn read_elements<const N: usize, T: Element<N>>(from: &Params<'_>, at: usize) -> Result<Vec<T>, Trouble> {
    let (elements, _) = array_at(from.message(), at, N, Fault::Array)?.as_chunks();
    Ok(elements.iter().map(T::from_le).collect())
}

fn write_elements<const N: usize, T: Element<N>>(elements: &[T], out: &mut Vec<u8>, at: usize) -> Result<(), TooLarge> {
    append(out, at, elements.len(), N, |bytes| {
        let (places, _) = bytes.as_chunks_mut();
        for (place, element) in places.iter_mut().zip(elements) {
            *place = element.to_le();
        }
    })
}

/// A features array (wire.md 8).
impl<'a> WireType<'a> for Vec<u64> {
    const SIZE: usize = 4;

    fn read(from: &mut Params<'a>, at: usize) -> Result<Self, Trouble> {
        read_elements(from, at)
    }

    fn write(&self, out: &mut Vec<u8>, at: usize) -> Result<(), TooLarge> {
        write_elements(self, out, at)
    }

    fn value(&self) -> Value<'_> {
        Value::Words(self)
    }
}

macro_rules! lists {
    ($($element:ty, $value:path;)*) => {$(
        impl<'a> WireType<'a> for Cow<'a, [$element]> {
            const SIZE: usize = 4;

            fn read(from: &mut Params<'a>, at: usize) -> Result<Self, Trouble> {
                read_elements(from, at).map(Cow::Owned)
            }

            fn write(&self, out: &mut Vec<u8>, at: usize) -> Result<(), TooLarge> {
                write_elements(self, out, at)
            }

            fn value(&self) -> Value<'_> {
                $value(self)
            }
        }
    )*};
}

lists! {
    u32, Value::HandleTypes;
    RouterDescriptor, Value::Routers;
}
