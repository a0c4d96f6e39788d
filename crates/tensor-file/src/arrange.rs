//! Tensors made of rows of others: a file's contents under other names and in another order.

use std::ops::Range;
use std::path::Path;

use crate::header::{Encoding, TensorHeader};
use crate::{TensorFileError, TensorFileErrorKind as Kind};

/// A tensor that is made of rows of stored ones.
///
/// A row is all that lies under one index of the first dimension; a tensor without dimensions has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arranged {
    /// Name of the tensor.
    pub name: String,
    /// Its shape; of as many elements as its parts have together.
    pub shape: Vec<u64>,
    /// The rows that it is made of, from first to last.
    pub parts: Vec<Rows>,
}

/// Rows of a stored tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Name of the stored tensor.
    pub tensor: String,
    /// Which of its rows.
    pub rows: Range<u64>,
    /// In which order they are taken.
    pub order: RowOrder,
}

/// The order in which rows of a stored tensor are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowOrder {
    /// One after the other.
    #[default]
    AsStored,
    /// In groups of this many rows: of each group first the rows of even index, then those of odd
    /// index.
    EvenFirst(u64),
    /// In groups of this many rows: one row of a group's first half, one of its second, and so on.
    /// Undoes [`RowOrder::EvenFirst`].
    Interleaved(u64),
}

impl RowOrder {
    /// Returns the group of rows that stays together, `None` where there are none.
    fn group(self) -> Option<u64> {
        match self {
            RowOrder::AsStored => None,
            RowOrder::EvenFirst(rows) | RowOrder::Interleaved(rows) => Some(rows),
        }
    }

    /// Returns the index inside its group of the row that is taken as number `at`.
    fn source_of(self, at: u64) -> u64 {
        match self {
            RowOrder::AsStored => at,
            RowOrder::EvenFirst(rows) => match at.checked_sub(rows / 2) {
                None => 2 * at,
                Some(odd) => 2 * odd + 1,
            },
            RowOrder::Interleaved(rows) => at / 2 + at % 2 * (rows / 2),
        }
    }
}

/// Bytes of a stored tensor that become bytes of an arranged one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) tensor: TensorHeader,
    /// First byte in the stored tensor.
    pub(crate) start: u64,
    pub(crate) bytes: u64,
    row_bytes: u64,
    order: RowOrder,
}

/// Finds out where the bytes of an arranged tensor lie.
///
/// - `find`: the stored tensor of a name
pub(crate) fn header<'a>(
    arranged: Arranged,
    find: impl Fn(&str) -> Option<&'a TensorHeader>,
) -> Result<TensorHeader, Kind> {
    let Arranged { name, shape, parts } = arranged;
    let mut pieces = Vec::with_capacity(parts.len());
    for part in parts {
        let found = find(&part.tensor);
        let stored = found.ok_or_else(|| Kind::PartMissing { part: part.tensor.clone() })?;
        pieces.push(piece(stored, part)?);
    }
    let [first, others @ ..] = pieces.as_slice() else { return Err(Kind::NoParts) };
    let dtype = first.tensor.dtype;
    if let Some(other) = others.iter().find(|other| other.tensor.dtype != dtype) {
        let (part, found) = (other.tensor.name.clone(), other.tensor.dtype);
        return Err(Kind::PartDtype { part, found, expected: dtype });
    }
    // Saturating sums: a total past 64 bits equals no tensor's length, and is refused below.
    let found = pieces.iter().fold(0_u64, |sum, piece| sum.saturating_add(piece.bytes));
    let length = match dtype.byte_len(&shape) {
        Some(expected) if expected == found => found,
        expected => {
            let expected = expected.unwrap_or(u64::MAX);
            return Err(Kind::DataLength { found, expected, dtype, shape });
        }
    };
    // A tensor that only gets another name stays where it is, and is read without a detour.
    let is_whole = others.is_empty()
        && first.order == RowOrder::AsStored
        && first.bytes == first.tensor.length
        && (shape == first.tensor.shape || first.tensor.encoding.is_shapeless());
    if is_whole {
        return Ok(TensorHeader { name, shape, ..first.tensor.clone() });
    }
    let TensorHeader { file, offset, .. } = first.tensor;
    let encoding = Encoding::Arranged(pieces.into());
    Ok(TensorHeader { name, dtype, shape, file, offset, length, encoding })
}

fn piece(stored: &TensorHeader, part: Rows) -> Result<Piece, Kind> {
    let Rows { tensor: part, rows, order } = part;
    let count = stored.shape.first().copied().unwrap_or(1);
    let is_inside = rows.start <= rows.end && rows.end <= count;
    // Groups are halved into even and odd rows, so they need an even number of rows.
    let groups_fit = order.group().is_none_or(|group| {
        group > 0 && group % 2 == 0 && (rows.end - rows.start.min(rows.end)) % group == 0
    });
    if !is_inside || !groups_fit || stored.length.checked_rem(count).is_some_and(|rest| rest != 0) {
        return Err(Kind::PartRows { part, begin: rows.start, end: rows.end, rows: count });
    }
    // A tensor without rows has no bytes.
    let row_bytes = stored.length.checked_div(count).unwrap_or(0);
    Ok(Piece {
        tensor: stored.clone(),
        start: rows.start * row_bytes,
        bytes: (rows.end - rows.start) * row_bytes,
        row_bytes,
        order,
    })
}

/// Fills memory with the bytes of a stored tensor, from one of them on.
pub(crate) type ReadStored<'a> =
    dyn Fn(&TensorHeader, u64, &mut [u8]) -> Result<(), TensorFileError> + 'a;

/// Fills `buffer` with the bytes from `offset` on of the tensor that the pieces make up.
///
/// - `path`: for messages
pub(crate) fn read(
    path: &Path,
    pieces: &[Piece],
    offset: u64,
    buffer: &mut [u8],
    read: &ReadStored<'_>,
) -> Result<(), TensorFileError> {
    let end = offset + buffer.len() as u64;
    // Pieces lie one behind the other in the tensor; `at` is where the present one begins.
    let mut at = 0;
    for piece in pieces {
        let (from, to) = (at.max(offset), (at + piece.bytes).min(end));
        if from < to {
            let part = &mut buffer[(from - offset) as usize..(to - offset) as usize];
            // The difference cannot be negative: `from` is at least where this piece begins.
            piece.read(path, from - at, part, read)?;
        }
        at += piece.bytes;
    }
    Ok(())
}

impl Piece {
    /// Returns the bytes that the file has for it.
    pub(crate) fn stored_bytes(&self) -> u64 {
        match self.tensor.encoding {
            Encoding::Blocks(block) => block.stored_bytes(self.bytes),
            Encoding::Plain | Encoding::Strided(_) | Encoding::Arranged(_) => self.bytes,
        }
    }

    fn read(
        &self,
        path: &Path,
        offset: u64,
        buffer: &mut [u8],
        read: &ReadStored<'_>,
    ) -> Result<(), TensorFileError> {
        let Some(group) = self.order.group() else {
            return read(&self.tensor, self.start + offset, buffer);
        };
        let group_bytes = group * self.row_bytes;
        let mut memory: Vec<u8> = vec![];
        let mut done = 0;
        // A group at a time: its rows lie together in the file, in another order.
        while done < buffer.len() {
            let at = offset + done as u64;
            let (number, inside) = (at / group_bytes, at % group_bytes);
            // Reserved by a call that can fail: a group may be as large as the tensor.
            let length = usize::try_from(group_bytes).unwrap_or(usize::MAX);
            memory
                .try_reserve_exact(length.saturating_sub(memory.len()))
                .map_err(|_| Kind::OutOfMemory { bytes: group_bytes })
                .map_err(|kind| kind.at_tensor(path, &self.tensor.name))?;
            memory.resize(length, 0);
            read(&self.tensor, self.start + number * group_bytes, &mut memory)?;
            let end = (inside + (buffer.len() - done) as u64).min(group_bytes);
            let mut within = inside;
            while within < end {
                // A row at a time, or the part of one where the buffer begins or ends.
                let (row, column) = (within / self.row_bytes, within % self.row_bytes);
                let stored = self.order.source_of(row) * self.row_bytes + column;
                let count = (self.row_bytes - column).min(end - within) as usize;
                let from = &memory[stored as usize..][..count];
                buffer[done..done + count].copy_from_slice(from);
                done += count;
                within += count as u64;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_of_rows_undo_each_other() {
        for rows in [2, 4, 10] {
            for at in 0..rows {
                let there = RowOrder::EvenFirst(rows).source_of(at);
                assert_eq!(RowOrder::Interleaved(rows).source_of(there), at);
            }
        }
        let order: Vec<u64> = (0..6).map(|at| RowOrder::EvenFirst(6).source_of(at)).collect();
        assert_eq!(order, [0, 2, 4, 1, 3, 5]);
    }
}
