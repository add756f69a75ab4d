//! A walk over Thrift's compact protocol: nothing is allocated, and depth and number of elements are bounded.
//!
//! The decoder reads a field that it knows as what it expects, whatever kind the field's own header tells. The walk would then see
//! other values than the decoder does, so a known field of another kind ends it. So do forms that no writer of Parquet uses and that
//! readers take differently: field ids in full, lists of booleans, maps.

/// Structs and lists inside one another; Parquet's own footers have 7 levels.
const MAX_DEPTH: usize = 32;
/// Elements of all lists in one walk, and …
const MAX_ELEMENTS: u64 = 1 << 23;
/// … of one list: the decoder makes room for all of them at once.
const MAX_LIST: u64 = 1 << 20;

/// Why a walk ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// The bytes end.
    Short,
    /// Something that is not, or that is larger than can be.
    Claim(&'static str),
}

/// Fields of a struct that the decoder knows.
pub(super) type Known = &'static [(i16, Value)];

/// What a known field must be.
pub(super) enum Value {
    /// Of this kind.
    Of(u8),
    Bool,
    Struct(Known),
    /// A list of elements of this kind.
    List(u8),
    Structs(Known),
}

pub(super) const TRUE: u8 = 1;
pub(super) const FALSE: u8 = 2;
pub(super) const BYTE: u8 = 3;
pub(super) const I16: u8 = 4;
pub(super) const I32: u8 = 5;
pub(super) const I64: u8 = 6;
pub(super) const DOUBLE: u8 = 7;
pub(super) const BINARY: u8 = 8;
pub(super) const LIST: u8 = 9;
pub(super) const SET: u8 = 10;
pub(super) const STRUCT: u8 = 12;
pub(super) const UUID: u8 = 13;

/// A place in bytes that are walked.
pub(super) struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    elements: u64,
    depth: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Walk { bytes, at: 0, elements: MAX_ELEMENTS, depth: 0 }
    }

    fn byte(&mut self) -> Result<u8, Wrong> {
        let byte = *self.bytes.get(self.at).ok_or(Wrong::Short)?;
        self.at += 1;
        Ok(byte)
    }

    fn pass(&mut self, count: u64) -> Result<(), Wrong> {
        let end = usize::try_from(count).ok().and_then(|count| self.at.checked_add(count));
        self.at = end.filter(|&end| end <= self.bytes.len()).ok_or(Wrong::Short)?;
        Ok(())
    }

    /// An unsigned number of 7 bits a byte, the lowest first; also what delta encodings of pages use.
    fn varint(&mut self) -> Result<u64, Wrong> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Wrong::Claim("a number of more than 64 bits"))
    }

    fn number(&mut self) -> Result<i64, Wrong> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// The kind and the id of each field of a struct; `each` walks over its value.
    pub(super) fn fields(
        &mut self,
        mut each: impl FnMut(&mut Self, i16, u8) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Wrong::Claim("values nested too deep"));
        }
        let mut id = 0i16;
        loop {
            let head = self.byte()?;
            if head & 0x0F == 0 {
                self.depth -= 1;
                return Ok(());
            }
            let delta = i16::from(head >> 4);
            id = id.checked_add(delta).filter(|_| delta > 0).ok_or(Wrong::Claim("an unusual field id"))?;
            each(self, id, head & 0x0F)?;
        }
    }

    /// Walks over a struct whose fields are known, and shows those of 32 bits: the decoder takes the lower 32 of more.
    pub(super) fn known(&mut self, known: Known, seen: &mut dyn FnMut(i16, i32)) -> Result<(), Wrong> {
        self.fields(|walk, id, kind| match known.iter().find(|(known, _)| *known == id) {
            Some((_, Value::Of(I32))) if kind == I32 => {
                seen(id, walk.number()? as i32);
                Ok(())
            }
            Some((_, value)) => walk.value(value, kind),
            None => walk.skip(kind),
        })
    }

    /// Walks over a known value.
    pub(super) fn value(&mut self, value: &Value, kind: u8) -> Result<(), Wrong> {
        match (value, kind) {
            (Value::Of(expected), _) if *expected == kind => self.skip(kind),
            (Value::Bool, TRUE | FALSE) => Ok(()),
            (Value::Struct(known), STRUCT) => self.known(known, &mut |_, _| {}),
            (Value::List(expected), LIST) => {
                let count = self.list(*expected)?;
                (0..count).try_for_each(|_| self.skip(*expected))
            }
            (Value::Structs(known), LIST) => {
                let count = self.list(STRUCT)?;
                (0..count).try_for_each(|_| self.known(known, &mut |_, _| {}))
            }
            _ => Err(Wrong::Claim("a field of another kind than it is defined with")),
        }
    }

    /// The number of elements of a list of this kind.
    pub(super) fn list(&mut self, expected: u8) -> Result<u64, Wrong> {
        let (kind, count) = self.any_list()?;
        if count > 0 && kind != expected {
            return Err(Wrong::Claim("a list of another kind than it is defined with"));
        }
        Ok(count)
    }

    fn any_list(&mut self) -> Result<(u8, u64), Wrong> {
        let head = self.byte()?;
        let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        let left = (self.bytes.len() - self.at) as u64;
        self.elements = self.elements.checked_sub(count).ok_or(Wrong::Claim("more elements than can be"))?;
        if count > MAX_LIST || count > left {
            return Err(Wrong::Claim("a list of more elements than can be"));
        }
        Ok((head & 0x0F, count))
    }

    /// Walks over a value that nobody knows.
    pub(super) fn skip(&mut self, kind: u8) -> Result<(), Wrong> {
        match kind {
            TRUE | FALSE => Ok(()),
            BYTE => self.pass(1),
            I16 | I32 | I64 => self.varint().map(|_| ()),
            DOUBLE => self.pass(8),
            UUID => self.pass(16),
            BINARY => {
                let length = self.varint()?;
                self.pass(length)
            }
            STRUCT => self.fields(|walk, _, kind| walk.skip(kind)),
            LIST | SET => {
                let (kind, count) = self.any_list()?;
                if count > 0 && matches!(kind, TRUE | FALSE) {
                    return Err(Wrong::Claim("a list of booleans"));
                }
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(Wrong::Claim("values nested too deep"));
                }
                (0..count).try_for_each(|_| self.skip(kind))?;
                self.depth -= 1;
                Ok(())
            }
            _ => Err(Wrong::Claim("a value of an unknown kind")),
        }
    }
}
