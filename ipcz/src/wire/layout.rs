//! Parameter structs and their version blocks (wire.md 3), and the macro that makes a message of a table row.

use super::array::bytes_at;
use super::error::{Fault, TooLarge, Trouble, WireError};
use super::field::WireType;
use super::objects::Claims;
use super::show::Field;

/// Bytes of a parameter struct's own header.
const STRUCT_HEADER: usize = 8;

/// The parameter struct of a received message: a view, read field by field.
pub(super) struct Params<'a> {
    message: &'a [u8],
    start: usize,
    objects: usize,
    name: &'static str,
    /// How many version blocks are there.
    present: usize,
    /// What the fields read so far have claimed.
    pub claims: Claims,
}

impl<'a> Params<'a> {
    /// Checks the struct at `start` of a message with `objects` objects (wire.md 3). `blocks` are the ends of the version blocks we know.
    pub fn parse(message: &'a [u8], start: usize, objects: usize, name: &'static str, blocks: &[usize]) -> Result<Self, WireError> {
        let trouble = |fault| Trouble { offset: start, fault }.in_field(Some(name), "params.size");
        let available = message.len().saturating_sub(start);
        let Some(header) = bytes_at::<STRUCT_HEADER>(message, start) else {
            return Err(trouble(Fault::NoParams));
        };
        let size = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let bytes = size as usize;
        let present = blocks.iter().take_while(|end| **end <= bytes).count();
        if !bytes.is_multiple_of(8) || bytes > available || present == 0 {
            let least = blocks.first().copied().unwrap_or(STRUCT_HEADER);
            return Err(trouble(Fault::ParamsSize { size, available, least }));
        }
        Ok(Params { message, start, objects, name, present, claims: Claims::default() })
    }

    /// The whole message.
    pub fn message(&self) -> &'a [u8] {
        self.message
    }

    /// Number of objects that came with it.
    pub fn objects(&self) -> usize {
        self.objects
    }

    /// How many version blocks the sender wrote.
    pub fn present(&self) -> usize {
        self.present
    }

    /// Bytes at an offset from the start of the message, inside a present block.
    pub fn bytes_at<const N: usize>(&self, at: usize) -> Result<[u8; N], Trouble> {
        bytes_at(self.message, at).ok_or(Trouble { offset: at, fault: Fault::NoParams })
    }

    /// The field at `offset` from the start of the struct.
    pub fn field<T: WireType<'a>>(&mut self, field: &'static str, offset: usize) -> Result<T, WireError> {
        T::read(self, self.start + offset).map_err(|trouble| trouble.in_field(Some(self.name), field))
    }
}

/// A message's parameters, generated from its row of the table in `message.rs`.
pub(super) trait Body<'a>: Sized {
    const NAME: &'static str;
    /// Where the version blocks end, from the start of the struct; the last is the size we write.
    const BLOCKS: &'static [usize];

    /// Reads every field of every present block, in order.
    fn decode(from: &mut Params<'a>) -> Result<Self, WireError>;
    /// Writes every field into the zeroed struct at `start` of `out`.
    fn encode(&self, out: &mut Vec<u8>, start: usize) -> Result<(), TooLarge>;
    /// Shows every field, in order.
    fn visit(&self, see: &mut dyn FnMut(Field<'_>));
}

/// That fields, each (offset, size, claims), lie in order within their block, naturally aligned, and claim no more than [`Claims`] can hold.
pub(super) const fn check(blocks: &[usize], fields: &[&[(usize, usize, usize)]]) {
    let (mut end, mut claims, mut block) = (STRUCT_HEADER, 0, 0);
    while block < blocks.len() {
        assert!(blocks[block] > end && blocks[block].is_multiple_of(8));
        let mut i = 0;
        while i < fields[block].len() {
            let (offset, size, claimed) = fields[block][i];
            assert!(offset >= end, "fields overlap");
            assert!(offset.is_multiple_of(if size < 8 { size } else { 8 }), "field is misaligned");
            end = offset + size;
            claims += claimed;
            i += 1;
        }
        assert!(end <= blocks[block], "field exceeds its block");
        end = blocks[block];
        block += 1;
    }
    assert!(claims <= Claims::MOST, "more object fields than Claims can hold");
}

/// Makes of each row `id Name { v0 end { @offset field: Type, … } v1 end { … } }` a struct, its codec, and a variant of `Message`.
macro_rules! messages {
    ($($(#[$doc:meta])* $id:literal $name:ident $(<$life:lifetime>)? {
        v0 $end0:literal { $($(#[$doc0:meta])* @ $at0:literal $field0:ident: $type0:ty,)* }
        $(v1 $end1:literal { $($(#[$doc1:meta])* @ $at1:literal $field1:ident: $type1:ty,)* })?
    })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, PartialEq, Eq, Debug)]
            pub struct $name $(<$life>)? {
                $($(#[$doc0])* pub $field0: $type0,)*
                $($($(#[$doc1])* pub $field1: $type1,)*)?
            }

            impl<'a> Body<'a> for $name $(<$life>)? {
                const NAME: &'static str = stringify!($name);
                const BLOCKS: &'static [usize] = {
                    let blocks: &[usize] = &[$end0 $(, $end1)?];
                    check(blocks, &[
                        &[$(($at0, <$type0>::SIZE, <$type0>::CLAIMS)),*],
                        $(&[$(($at1, <$type1>::SIZE, <$type1>::CLAIMS)),*])?
                    ]);
                    blocks
                };

                fn decode(from: &mut Params<'a>) -> Result<Self, WireError> {
                    Ok(Self {
                        $($field0: from.field(stringify!($field0), $at0)?,)*
                        $($($field1: if from.present() > 1 { from.field(stringify!($field1), $at1)? } else { Default::default() },)*)?
                    })
                }

                fn encode(&self, out: &mut Vec<u8>, start: usize) -> Result<(), TooLarge> {
                    $(self.$field0.write(out, start + $at0)?;)*
                    $($(self.$field1.write(out, start + $at1)?;)*)?
                    Ok(())
                }

                fn visit(&self, see: &mut dyn FnMut(Field<'_>)) {
                    $(see(Field { version: 0, name: stringify!($field0), value: self.$field0.value() });)*
                    $($(see(Field { version: 1, name: stringify!($field1), value: self.$field1.value() });)*)?
                }
            }

            impl<'a> From<$name $(<$life>)?> for Message<'a> {
                fn from(body: $name $(<$life>)?) -> Self {
                    Message::$name(body)
                }
            }
        )*

        /// Any message, decoded: what its sender said, without the header and the bytes of its objects.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum Message<'a> {
            $($(#[$doc])* $name($name $(<$life>)?),)*
        }

        /// The name of the messages with this id, if it is known (wire.md 9.1).
        pub fn message_name(id: u8) -> Option<&'static str> {
            match id {
                $($id => Some(stringify!($name)),)*
                _ => None,
            }
        }

        impl<'a> Message<'a> {
            /// The ids of all messages, ascending.
            pub const IDS: &'static [u8] = &[$($id),*];

            /// The id in the header (wire.md 9.1).
            pub fn id(&self) -> u8 {
                match self {
                    $(Message::$name(_) => $id,)*
                }
            }

            /// The name in wire.md 9.1.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Message::$name(_) => stringify!($name),)*
                }
            }

            /// Shows every field, in wire order.
            pub fn visit(&self, mut see: impl FnMut(Field<'_>)) {
                match self {
                    $(Message::$name(body) => body.visit(&mut see),)*
                }
            }

            /// Bytes of the parameter struct that we write.
            pub(super) fn params_size(&self) -> usize {
                match self {
                    $(Message::$name(_) => *$name::BLOCKS.last().unwrap_or(&0),)*
                }
            }

            pub(super) fn encode_params(&self, out: &mut Vec<u8>, start: usize) -> Result<(), TooLarge> {
                match self {
                    $(Message::$name(body) => body.encode(out, start),)*
                }
            }

            /// Ladder step 4; None for unknown ids.
            pub(super) fn decode(id: u8, message: &'a [u8], start: usize, objects: usize) -> Result<Option<Self>, WireError> {
                Ok(Some(match id {
                    $($id => {
                        let mut params = Params::parse(message, start, objects, $name::NAME, $name::BLOCKS)?;
                        Message::$name($name::decode(&mut params)?)
                    })*
                    _ => return Ok(None),
                }))
            }

            /// How many version blocks of the struct at `start` are present; None for unknown ids.
            pub(super) fn blocks(id: u8, message: &'a [u8], start: usize) -> Result<Option<usize>, WireError> {
                Ok(Some(match id {
                    $($id => Params::parse(message, start, 0, $name::NAME, $name::BLOCKS)?.present(),)*
                    _ => return Ok(None),
                }))
            }
        }
    };
}

pub(super) use messages;
