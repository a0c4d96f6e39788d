use roundwise_tensor_file::PlainFile;

use crate::{StatsError, StatsErrorKind as Kind};

/// Longest name: none is longer than a line, and a damaged length should not be believed.
const NAME_LIMIT_BYTES: u64 = 4096;

/// Bytes that are read ahead.
const WINDOW_BYTES: usize = 64 << 10;

/// Reads a file's fields one after the other; never past its end, never more memory than a name or
/// a window.
pub(super) struct Cursor<'a> {
    file: &'a PlainFile,
    /// Byte of the file that comes next.
    offset: u64,
    window: Vec<u8>,
    /// Byte of the file where the window begins.
    window_start: u64,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(file: &'a PlainFile) -> Self {
        Self { file, offset: 0, window: Vec::new(), window_start: 0 }
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the number of bytes that are left.
    pub(super) fn available(&self) -> u64 {
        self.file.bytes() - self.offset
    }

    pub(super) fn i32(&mut self, what: &'static str) -> Result<i32, StatsError> {
        let mut bytes = [0; 4];
        self.fill(what, &mut bytes)?;
        Ok(i32::from_le_bytes(bytes))
    }

    /// Reads a name of `length` bytes.
    pub(super) fn text(&mut self, what: &'static str, length: u64) -> Result<String, StatsError> {
        let offset = self.offset;
        if length > NAME_LIMIT_BYTES {
            let expected = "at most 4096 bytes";
            return Err(self.field(what, i128::from(length), offset, expected));
        }
        let mut bytes = vec![0; length as usize];
        self.fill(what, &mut bytes)?;
        String::from_utf8(bytes).map_err(|_| Kind::NotUtf8 { what, offset }.at(self.file.path()))
    }

    /// Passes over bytes, which must be there.
    pub(super) fn skip(&mut self, what: &'static str, needed: u64) -> Result<(), StatsError> {
        self.require(what, needed)?;
        self.offset += needed;
        Ok(())
    }

    /// Returns a complaint about a number just read, at byte `offset`.
    pub(super) fn field(
        &self,
        what: &'static str,
        found: i128,
        offset: u64,
        expected: &'static str,
    ) -> StatsError {
        Kind::Field { what, offset, found, expected }.at(self.file.path())
    }

    /// Fails unless `needed` bytes are left.
    pub(super) fn require(&self, what: &'static str, needed: u64) -> Result<(), StatsError> {
        let available = self.available();
        if needed <= available {
            return Ok(());
        }
        Err(Kind::EndsEarly { what, offset: self.offset, needed, available }.at(self.file.path()))
    }

    fn fill(&mut self, what: &'static str, buffer: &mut [u8]) -> Result<(), StatsError> {
        self.require(what, buffer.len() as u64)?;
        let is_inside = |start: u64, window: &[u8], offset: u64| {
            offset >= start && offset + buffer.len() as u64 <= start + window.len() as u64
        };
        // Names and counts lie close together, and values are passed over: a window is read only
        // where a field is not in it.
        if !is_inside(self.window_start, &self.window, self.offset) {
            // The longest field, a name of 4096 bytes, fits into a window.
            let bytes = self.available().min(WINDOW_BYTES as u64) as usize;
            self.window.resize(bytes, 0);
            self.file.read_into(self.offset, &mut self.window)?;
            self.window_start = self.offset;
        }
        let begin = (self.offset - self.window_start) as usize;
        buffer.copy_from_slice(&self.window[begin..begin + buffer.len()]);
        self.offset += buffer.len() as u64;
        Ok(())
    }
}
