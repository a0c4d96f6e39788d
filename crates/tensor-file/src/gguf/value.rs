use super::cursor::Cursor;
use crate::TensorFileErrorKind as Kind;

/// Value of an entry of a GGUF header, such as the number of a model's attention heads.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum GgufValue {
    /// Whole number of a type without a sign.
    Unsigned(u64),
    /// Whole number of a type with a sign.
    Signed(i64),
    /// F32 or F64.
    Float(f64),
    /// Truth value.
    Bool(bool),
    /// Text.
    Text(String),
    /// Values of one type.
    List(Vec<GgufValue>),
}

impl GgufValue {
    /// Returns the whole number, if it is one and not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Unsigned(number) => Some(*number),
            Self::Signed(number) => u64::try_from(*number).ok(),
            Self::Float(_) | Self::Bool(_) | Self::Text(_) | Self::List(_) => None,
        }
    }

    /// Returns the number, whole or not.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Unsigned(number) => Some(*number as f64),
            Self::Signed(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            Self::Bool(_) | Self::Text(_) | Self::List(_) => None,
        }
    }

    /// Returns the text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the values, if it is a list.
    pub fn as_list(&self) -> Option<&[GgufValue]> {
        match self {
            Self::List(values) => Some(values),
            _ => None,
        }
    }
}

/// Numbers of the types of values.
pub(super) const UINT16: u32 = 2;
pub(super) const UINT32: u32 = 4;
pub(super) const INT32: u32 = 5;
const STRING: u32 = 8;
pub(super) const ARRAY: u32 = 9;

/// Most elements of a list that is kept: one for each layer of any model, but no tokenizer.
const LIST_LIMIT: u64 = 1024;

/// Longest text that is kept.
const TEXT_LIMIT_BYTES: usize = 64 << 10;

/// Most levels of arrays of arrays; writers have one at most.
const NESTING_LIMIT: u32 = 4;

/// Reads a value; `None` for one that is too long to be kept.
pub(super) fn read(cursor: &mut Cursor<'_>, kind: u32) -> Result<Option<GgufValue>, Kind> {
    let value = match kind {
        0 => GgufValue::Unsigned(cursor.array().map(u8::from_le_bytes)?.into()),
        1 => GgufValue::Signed(cursor.array().map(i8::from_le_bytes)?.into()),
        UINT16 => GgufValue::Unsigned(cursor.array().map(u16::from_le_bytes)?.into()),
        3 => GgufValue::Signed(cursor.array().map(i16::from_le_bytes)?.into()),
        UINT32 => GgufValue::Unsigned(cursor.u32()?.into()),
        INT32 => GgufValue::Signed(cursor.array().map(i32::from_le_bytes)?.into()),
        6 => GgufValue::Float(cursor.array().map(f32::from_le_bytes)?.into()),
        7 => GgufValue::Bool(cursor.array::<1>()? != [0]),
        10 => GgufValue::Unsigned(cursor.u64()?),
        11 => GgufValue::Signed(cursor.array().map(i64::from_le_bytes)?),
        12 => GgufValue::Float(cursor.array().map(f64::from_le_bytes)?),
        STRING => {
            let text = cursor.text()?;
            return Ok((text.len() <= TEXT_LIMIT_BYTES).then(|| GgufValue::Text(text.to_owned())));
        }
        ARRAY => return read_list(cursor),
        _ => return Err(cursor.wrong("a value of an unknown type")),
    };
    Ok(Some(value))
}

fn read_list(cursor: &mut Cursor<'_>) -> Result<Option<GgufValue>, Kind> {
    let element = cursor.u32()?;
    let count = cursor.u64()?;
    // Lists of lists are passed over, whatever their length: no entry that is of use here is one.
    if element == ARRAY || count > LIST_LIMIT {
        skip_list(cursor, element, count, NESTING_LIMIT)?;
        return Ok(None);
    }
    let mut values = vec![];
    let mut is_kept = true;
    for _ in 0..count {
        // Goes on after an element that is too long, since the cursor has to reach the end of the list.
        match read(cursor, element)? {
            Some(value) => values.push(value),
            None => is_kept = false,
        }
    }
    Ok(is_kept.then_some(GgufValue::List(values)))
}

/// Passes over the elements of a list; time is proportional to the bytes that the file has for them.
fn skip_list(cursor: &mut Cursor<'_>, element: u32, count: u64, nesting: u32) -> Result<(), Kind> {
    if let Some(bytes) = fixed_bytes(element) {
        // One step whatever the count; it fails where the file is shorter.
        return cursor.take(count.saturating_mul(bytes)).map(drop);
    }
    for _ in 0..count {
        match element {
            STRING => drop(cursor.text()?),
            ARRAY if nesting > 1 => {
                let (element, count) = (cursor.u32()?, cursor.u64()?);
                skip_list(cursor, element, count, nesting - 1)?;
            }
            _ => return Err(cursor.wrong("a value of an unknown type")),
        }
    }
    Ok(())
}

/// Returns the number of bytes of a value that is a number.
fn fixed_bytes(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

/// Returns the number of bytes of memory that a value takes, roughly.
pub(super) fn memory_bytes(value: &GgufValue) -> usize {
    let inside = match value {
        GgufValue::Text(text) => text.len(),
        GgufValue::List(values) => values.iter().map(memory_bytes).sum(),
        _ => 0,
    };
    inside + size_of::<GgufValue>()
}
