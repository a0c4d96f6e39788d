use crate::TensorFileErrorKind as Kind;

/// The problem of a header of which a longer piece of the file has to be read.
pub(super) const CUT: &str = "its header is cut short";

/// Reads the fields of a header one after the other.
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Begins behind the four letters that every file has.
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 4 }
    }

    /// Returns the number of bytes that have been read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn take(&mut self, length: u64) -> Result<&'a [u8], Kind> {
        // Compared with what is there before anything is taken: lengths come from the file.
        let rest = self.text.get(self.at..).unwrap_or_default();
        let taken = usize::try_from(length).ok().and_then(|length| rest.get(..length));
        let taken = taken.ok_or_else(|| self.wrong(CUT))?;
        self.at += taken.len();
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Kind> {
        Ok(*self.take(N as u64)?.first_chunk().expect("so many bytes were taken"))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Kind> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Kind> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Kind> {
        let length = self.u64()?;
        let text = self.take(length)?;
        std::str::from_utf8(text).map_err(|_| self.wrong("a text is not UTF-8"))
    }

    pub(super) fn wrong(&self, problem: &'static str) -> Kind {
        Kind::Gguf { problem, offset: self.at as u64 }
    }
}
