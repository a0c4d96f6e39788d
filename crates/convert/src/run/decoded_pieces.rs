use crate::plan::PlannedTensor;
use crate::recipe::PlainDtype;
use crate::report::TensorReport;
use crate::run::narrowing::Narrowing;
use crate::run::output::Output;
use crate::run::stop::Stop;

/// A decoded tensor that is written piece by piece: banks of experts and tables of words are large.
pub(crate) struct DecodedPieces<'a> {
    output: &'a Output<'a>,
    name: String,
    dtype: PlainDtype,
    lost: Narrowing,
    /// The piece as it is stored; reused.
    bytes: Vec<u8>,
    at: u64,
}

impl<'a> DecodedPieces<'a> {
    /// - `memory`: is reused
    pub(crate) fn new(
        output: &'a Output<'a>,
        planned: &PlannedTensor,
        dtype: PlainDtype,
        memory: Vec<u8>,
    ) -> Self {
        let (name, lost) = (planned.decoded_name(), Narrowing::of(dtype));
        Self { output, name, dtype, lost, bytes: memory, at: 0 }
    }

    /// Writes the next numbers behind those before them.
    pub(crate) fn put(&mut self, values: &[f32]) -> Result<(), Stop> {
        self.bytes = self.dtype.stored(values, std::mem::take(&mut self.bytes));
        self.lost.add(values, &self.bytes);
        self.output.file.write_part(&self.name, self.at, &self.bytes)?;
        self.at += self.bytes.len() as u64;
        Ok(())
    }

    /// Tells what narrowing cost, and returns the names of all tensors and the memory.
    pub(crate) fn finish(self, report: &mut TensorReport) -> (Vec<String>, Vec<u8>) {
        self.lost.tell(report);
        (vec![self.name], self.bytes)
    }
}
