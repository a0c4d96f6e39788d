/// Spare memory of one thread. A fresh allocation of a large buffer costs a page fault for every
/// 4 KiB of it, which is more than reading or rounding those bytes; so buffers go round.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    spare: Vec<Vec<u8>>,
}

/// One to read into and one to write from.
const MOST_SPARE: usize = 2;

impl Buffers {
    /// Returns the largest spare buffer, of any length and content.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.spare.sort_by_key(Vec::capacity);
        self.spare.pop().unwrap_or_default()
    }

    /// Gives a buffer back.
    pub(crate) fn keep(&mut self, buffer: Vec<u8>) {
        self.spare.push(buffer);
        // The smallest one goes: a large buffer serves small tensors as well.
        if self.spare.len() > MOST_SPARE {
            self.spare.sort_by_key(|buffer| std::cmp::Reverse(buffer.capacity()));
            self.spare.truncate(MOST_SPARE);
        }
    }
}
