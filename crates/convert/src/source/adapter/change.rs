//! One change of one tensor.

use std::ops::Range;

use crate::error::ConvertError;
use crate::source::adapter::dora::Dora;
use crate::source::adapter::full::Full;
use crate::source::adapter::glora::Glora;
use crate::source::adapter::loha::Loha;
use crate::source::adapter::lokr::Lokr;
use crate::source::adapter::lora::Lora;
use crate::source::adapter::oft::Oft;
use crate::source::adapter::peft_oft::PeftOft;
use crate::source::adapter::scale::Scale;
use crate::source::adapter::target::Site;
use crate::source::adapter::tensors::AdapterTensors;

/// How a change is stored.
#[derive(Debug)]
pub(super) enum Algorithm {
    Lora(Lora),
    Loha(Loha),
    Lokr(Lokr),
    Oft(Oft),
    PeftOft(PeftOft),
    Glora(Glora),
    Full(Full),
}

/// One change of one tensor.
#[derive(Debug)]
pub(super) struct Change {
    /// Index of the adapter.
    pub(super) file: usize,
    /// Module that it is of, as the file spells it.
    pub(super) module: String,
    pub(super) site: Site,
    pub(super) algorithm: Algorithm,
    pub(super) dora: Option<Dora>,
    pub(super) scale: Scale,
    pub(super) strength: f32,
}

impl Change {
    /// Changes the numbers of the whole tensor.
    ///
    /// # Errors
    /// When the adapter cannot be read.
    pub(super) fn apply(
        &self,
        file: &AdapterTensors,
        values: &mut [f32],
    ) -> Result<(), ConvertError> {
        // Most adapters are plain LoRAs: they are added rank by rank, without a product as large as
        // the weight.
        if let (Algorithm::Lora(lora), None) = (&self.algorithm, &self.dora) {
            return lora.add(file, &self.site, self.scale.factor(self.strength), values);
        }
        let cols = self.site.cols().max(1);
        // Rows that follow one another are changed where they are.
        let in_place = match &self.site.rows[..] {
            [rows] => Some(rows.start * cols..rows.end * cols),
            _ => None,
        };
        if let Some(range) = in_place {
            return self.apply_to_rows(file, &mut values[range]);
        }
        // Rows in several pieces are gathered, changed as one matrix, and put back.
        let ranges: Vec<Range<usize>> =
            self.site.rows.iter().map(|rows| rows.start * cols..rows.end * cols).collect();
        let mut rows: Vec<f32> =
            ranges.iter().flat_map(|range| values[range.clone()].iter().copied()).collect();
        self.apply_to_rows(file, &mut rows)?;
        let mut rest = &rows[..];
        for range in ranges {
            let (own, others) = rest.split_at(range.len());
            values[range].copy_from_slice(own);
            rest = others;
        }
        Ok(())
    }

    /// Applies the change to some rows of the weight.
    ///
    /// - `rows`: the changed rows, in the order of the change
    fn apply_to_rows(&self, file: &AdapterTensors, rows: &mut [f32]) -> Result<(), ConvertError> {
        let cols = self.site.cols().max(1);
        let start = self.site.of_change.as_ref().map_or(0, |range| range.start);
        let change = match &self.algorithm {
            Algorithm::Lora(lora) => lora.change(file)?,
            Algorithm::Loha(loha) => loha.change(file)?,
            Algorithm::Lokr(lokr) => lokr.change(file)?,
            Algorithm::Oft(oft) => oft.change(file, rows, cols)?,
            Algorithm::PeftOft(oft) => oft.change(file, rows, cols)?,
            Algorithm::Glora(glora) => glora.change(file, rows, cols)?,
            Algorithm::Full(full) => full.change(file, rows, start * cols)?,
        };
        // A fused layer of the adapter may have more rows than the model's part of it.
        let change = &change[start * cols..][..rows.len()];
        match &self.dora {
            Some(dora) => {
                // DoRA scales the weight with the whole change, as it was trained; the strength
                // blends its result with the old weight.
                let factor = self.scale.factor(1.0);
                let change: Vec<f32> = change.iter().map(|value| factor * value).collect();
                dora.apply(file, rows, &change, &self.site, self.strength)
            }
            None => {
                let factor = self.scale.factor(self.strength);
                rows.iter_mut().zip(change).for_each(|(value, change)| *value += factor * change);
                Ok(())
            }
        }
    }
}
