//! The part of the ZIP container that PyTorch writes: entries that are stored as they are.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;

use crate::TensorFileErrorKind as Kind;
use crate::header::HEADER_LIMIT_BYTES;
use crate::source_file::read_inside;

// Signatures and fixed sizes of records: APPNOTE.TXT of PKWARE, sections 4.3.7 and 4.3.12 to
// 4.3.16.
const END: [u8; 4] = *b"PK\x05\x06";
const END_BYTES: usize = 22;
const LONGEST_COMMENT: usize = 0xffff;
const WIDE_END: [u8; 4] = *b"PK\x06\x06";
const WIDE_LOCATOR: [u8; 4] = *b"PK\x06\x07";
const WIDE_LOCATOR_BYTES: u64 = 20;
const ENTRY: [u8; 4] = *b"PK\x01\x02";
const ENTRY_BYTES: usize = 46;
const LOCAL: [u8; 4] = *b"PK\x03\x04";
const LOCAL_BYTES: u64 = 30;

/// The place of the directory.
struct Directory {
    offset: u64,
    bytes: u64,
    entries: u64,
}

/// Returns the bounds in the file of every entry's data, by name.
pub(crate) fn entries(file: &File, file_bytes: u64) -> Result<BTreeMap<String, Range<u64>>, Kind> {
    let directory = find_directory(file, file_bytes)?;
    if directory.bytes > HEADER_LIMIT_BYTES {
        return Err(wrong("its directory is too long"));
    }
    if directory.offset.checked_add(directory.bytes).is_none_or(|end| end > file_bytes) {
        return Err(wrong("its directory lies outside the file"));
    }
    let text = read(file, directory.offset, directory.bytes as usize)?;
    let mut entries = BTreeMap::new();
    let (mut has_constants, mut is_packed) = (false, false);
    let mut rest = &text[..];
    for _ in 0..directory.entries {
        let entry = next_entry(&mut rest)?;
        has_constants |= entry.name.ends_with("/constants.pkl");
        is_packed |= entry.is_packed;
        if entry.is_packed {
            continue;
        }
        let range = data_of(file, file_bytes, &entry)?;
        if entries.insert(entry.name, range).is_some() {
            return Err(wrong("an entry occurs twice"));
        }
    }
    match (is_packed, has_constants) {
        (false, _) => Ok(entries),
        // The program is packed, and has its constants in a pickle of their own.
        (true, true) => Err(Kind::TorchScript),
        (true, false) => {
            Err(wrong("an entry is compressed or encrypted, which `torch.save` never does"))
        }
    }
}

fn find_directory(file: &File, file_bytes: u64) -> Result<Directory, Kind> {
    let length = file_bytes.min((END_BYTES + LONGEST_COMMENT) as u64) as usize;
    let start = file_bytes - length as u64;
    let tail = read(file, start, length)?;
    let is_end = |at: &usize| {
        let end = &tail[*at..];
        // A comment may hold the signature itself: only an end that reaches to the last byte is
        // one.
        end.starts_with(&END) && END_BYTES + usize::from(u16_at(end, 20)) == end.len()
    };
    let last = tail.len().checked_sub(END_BYTES);
    let at = last.and_then(|last| (0..=last).rev().find(is_end));
    let at = at.ok_or_else(|| wrong("its directory is missing; the file may be cut short"))?;
    let end = &tail[at..];
    let directory = Directory {
        entries: u64::from(u16_at(end, 10)),
        bytes: u64::from(u32_at(end, 12)),
        offset: u64::from(u32_at(end, 16)),
    };
    // Any of them at its limit says that the real values are in the wide record (ZIP64).
    let is_wide = directory.entries == 0xffff
        || [directory.bytes, directory.offset].contains(&u64::from(u32::MAX));
    if !is_wide {
        return Ok(directory);
    }
    let locator = (start + at as u64).checked_sub(WIDE_LOCATOR_BYTES);
    let locator = locator.ok_or_else(|| wrong("its directory is missing"))?;
    let locator = read(file, locator, WIDE_LOCATOR_BYTES as usize)?;
    if !locator.starts_with(&WIDE_LOCATOR) {
        return Err(wrong("its directory is missing"));
    }
    // The fields that are of use end with the place of the directory.
    let end = read(file, u64_at(&locator, 8), 56)?;
    if !end.starts_with(&WIDE_END) {
        return Err(wrong("its directory is missing"));
    }
    Ok(Directory { entries: u64_at(&end, 32), bytes: u64_at(&end, 40), offset: u64_at(&end, 48) })
}

struct Entry {
    name: String,
    bytes: u64,
    local: u64,
    /// Compressed or encrypted.
    is_packed: bool,
}

fn next_entry(rest: &mut &[u8]) -> Result<Entry, Kind> {
    let head = take(rest, ENTRY_BYTES)?;
    if !head.starts_with(&ENTRY) {
        return Err(wrong("its directory is damaged"));
    }
    let [flags, method] = [8, 10].map(|at| u16_at(head, at));
    // Sizes and the place of the local header, 32 bits each; all ones mean that the number is in the
    // extra field.
    let [packed, bytes, local] = [20, 24, 42].map(|at| u64::from(u32_at(head, at)));
    let [name, extra, comment] = [28, 30, 32].map(|at| usize::from(u16_at(head, at)));
    let name = take(rest, name)?;
    let name = String::from_utf8(name.to_vec()).map_err(|_| wrong("a name is not UTF-8"))?;
    let mut extra = take(rest, extra)?;
    take(rest, comment)?;
    let mut sizes = [bytes, packed, local];
    // The extra field of ZIP64 holds, in this order, the values that did not fit 32 bits.
    while extra.len() >= 4 {
        let (id, length) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        extra = &extra[4..];
        let mut field = take(&mut extra, length)?;
        // Extra field 1 is that of ZIP64.
        if id == 1 {
            for size in sizes.iter_mut().filter(|size| **size == u64::from(u32::MAX)) {
                *size = u64_at(take(&mut field, 8)?, 0);
            }
        }
    }
    let [bytes, packed, local] = sizes;
    let is_packed = method != 0 || flags & 1 != 0 || packed != bytes;
    Ok(Entry { name, bytes, local, is_packed })
}

fn data_of(file: &File, file_bytes: u64, entry: &Entry) -> Result<Range<u64>, Kind> {
    let outside = || wrong("an entry lies outside the file");
    if entry.local > file_bytes {
        return Err(outside());
    }
    let local = read(file, entry.local, LOCAL_BYTES as usize)?;
    if !local.starts_with(&LOCAL) {
        return Err(wrong("an entry is not where its directory says"));
    }
    // Lengths of the local header, which may differ from those in the directory: PyTorch pads it so
    // that data are aligned.
    let names = u64::from(u16_at(&local, 26)) + u64::from(u16_at(&local, 28));
    // Cannot overflow: all but the last are inside the file.
    let start = entry.local + LOCAL_BYTES + names;
    let end = start.checked_add(entry.bytes).filter(|&end| end <= file_bytes);
    Ok(start..end.ok_or_else(outside)?)
}

/// Reads a few bytes, for which memory is taken at once.
pub(crate) fn read(file: &File, offset: u64, length: usize) -> Result<Vec<u8>, Kind> {
    let mut bytes = vec![0; length];
    read_inside(file, offset, &mut bytes)?;
    Ok(bytes)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Kind> {
    let (taken, after) =
        rest.split_at_checked(length).ok_or_else(|| wrong("its directory is cut short"))?;
    *rest = after;
    Ok(taken)
}

fn wrong(problem: &'static str) -> Kind {
    Kind::Zip { problem }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
