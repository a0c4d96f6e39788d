//! Tensors whose rows do not lie one after the other, such as transposed ones.

use std::fs::File;

use crate::TensorFileErrorKind as Kind;
use crate::header::TensorHeader;
use crate::source_file::read_inside;

/// Bytes that are read at once.
const WINDOW_BYTES: u64 = 1 << 20;

/// Tells whether the elements lie one after the other, row after row. Strides of extents 1 say nothing.
pub(crate) fn is_contiguous(shape: &[u64], strides: &[u64]) -> bool {
    if shape.contains(&0) {
        return true;
    }
    let mut expected = 1_u64;
    for (&extent, &stride) in shape.iter().zip(strides).rev() {
        if extent != 1 && stride != expected {
            return false;
        }
        expected = expected.saturating_mul(extent);
    }
    true
}

/// Counts the elements of the storage from the first to the last one; `None` where some are read more
/// than once, as those of a tensor that was expanded, or where the count overflows.
pub(crate) fn span(shape: &[u64], strides: &[u64]) -> Option<u64> {
    let mut dimensions: Vec<_> =
        shape.iter().zip(strides).filter(|(extent, _)| **extent != 1).collect();
    // By ascending stride: each dimension has to begin behind the last element of those before it,
    // or elements lie in two places of the tensor.
    dimensions.sort_by_key(|(_, stride)| **stride);
    let mut span = 1_u64;
    for (&extent, &stride) in dimensions {
        if stride < span {
            return None;
        }
        let steps = extent.checked_sub(1)?;
        span = stride.checked_mul(steps)?.checked_add(span)?;
    }
    Some(span)
}

/// One dimension; strides in elements, one as the file has them, one row after row.
#[derive(Clone, Copy)]
struct Dimension {
    extent: u64,
    stored: u64,
    logical: u64,
}

/// Fills `buffer` with the bytes from `offset` on of the tensor that the rows make up.
///
/// Goes through the file once from front to back, whatever the order of the dimensions.
pub(crate) fn read(
    file: &File,
    tensor: &TensorHeader,
    strides: &[u64],
    offset: u64,
    buffer: &mut [u8],
) -> Result<(), Kind> {
    if buffer.is_empty() {
        return Ok(());
    }
    // Whole bytes: PyTorch has no dtype of less.
    let element = tensor.dtype.bits() / 8;
    // A tensor without dimensions is contiguous and never comes here.
    let row: u64 = tensor.shape[1..].iter().product();
    let rows =
        offset / element / row..(offset + buffer.len() as u64).div_ceil(element).div_ceil(row);
    let mut logical = 1;
    let mut dimensions = vec![];
    for (&extent, &stored) in tensor.shape.iter().zip(strides).rev() {
        dimensions.push(Dimension { extent, stored, logical });
        logical *= extent;
    }
    let slowest = dimensions.last_mut().expect("a single element is contiguous");
    // Only the rows that the buffer reaches.
    slowest.extent = rows.end - rows.start;
    dimensions.retain(|dimension| dimension.extent != 1);
    // Front to back: the longest stride turns slowest.
    dimensions.sort_by_key(|dimension| std::cmp::Reverse(dimension.stored));
    let mut window = Window {
        file,
        // There is a span: tensors without one were refused when the header was read.
        end: tensor.offset + span(&tensor.shape, strides).unwrap_or(0) * element,
        start: 0,
        bytes: vec![],
    };
    let mut index = vec![0; dimensions.len()];
    let mut stored = rows.start * strides[0];
    let mut logical = rows.start * row;
    loop {
        // One element at a time: what is stored side by side may lie far apart in the tensor.
        let bytes = window.at(tensor.offset + stored * element, element)?;
        copy_overlap(bytes, logical * element, buffer, offset);
        // Counts up like the digits of a number.
        let mut digit = dimensions.len();
        loop {
            let Some(next) = digit.checked_sub(1) else { return Ok(()) };
            digit = next;
            let Dimension { extent, stored: step, logical: logical_step } = dimensions[digit];
            index[digit] += 1;
            stored += step;
            logical += logical_step;
            if index[digit] < extent {
                break;
            }
            index[digit] = 0;
            stored -= step * extent;
            logical -= logical_step * extent;
        }
    }
}

/// Copies the part of `bytes`, which begin at byte `at` of the tensor, that `buffer` covers from byte
/// `offset` of the tensor on.
fn copy_overlap(bytes: &[u8], at: u64, buffer: &mut [u8], offset: u64) {
    let (begin, end) =
        (at.max(offset), (at + bytes.len() as u64).min(offset + buffer.len() as u64));
    if begin < end {
        let length = (end - begin) as usize;
        let from = (begin - at) as usize;
        let to = (begin - offset) as usize;
        buffer[to..to + length].copy_from_slice(&bytes[from..from + length]);
    }
}

/// The piece of a file that is in memory.
struct Window<'a> {
    file: &'a File,
    /// First byte of the file behind the tensor.
    end: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    fn at(&mut self, offset: u64, length: u64) -> Result<&[u8], Kind> {
        let is_inside =
            offset >= self.start && offset + length <= self.start + self.bytes.len() as u64;
        if !is_inside {
            // No further than the tensor's own end: the file may end there.
            let bytes = (self.end - offset).min(WINDOW_BYTES);
            self.bytes.resize(bytes as usize, 0);
            read_inside(self.file, offset, &mut self.bytes)?;
            self.start = offset;
        }
        let begin = (offset - self.start) as usize;
        Ok(&self.bytes[begin..begin + length as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_twice_has_no_span() {
        assert_eq!(span(&[3, 4], &[1, 3]), Some(12));
        assert_eq!(span(&[3, 4], &[8, 1]), Some(20));
        assert_eq!(span(&[3, 4], &[0, 1]), None);
        assert_eq!(span(&[3, 4], &[1, 1]), None);
        assert_eq!(span(&[1, 4], &[0, 2]), Some(7));
        assert_eq!(span(&[2, 2], &[u64::MAX, 1]), None);
    }

    #[test]
    fn only_rows_one_after_the_other_are_contiguous() {
        assert!(is_contiguous(&[3, 4], &[4, 1]));
        assert!(is_contiguous(&[1, 4], &[99, 1]));
        assert!(is_contiguous(&[0, 4], &[1, 7]));
        assert!(!is_contiguous(&[3, 4], &[1, 3]));
        assert!(!is_contiguous(&[3, 4], &[5, 1]));
    }
}
