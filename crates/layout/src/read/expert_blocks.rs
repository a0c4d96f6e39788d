use std::collections::BTreeMap;

use roundwise_scheme::{QuantizedMatrix, ScaleRole, Scheme, StoredScales};
use roundwise_tensor_file::{Checkpoint, TensorHeader};

use crate::error::LayoutError;
use crate::names::part_of_bank;
use crate::packing::{BLOCK_SCALES, BLOCKS, Packing};
use crate::read::foreign::fp4::GPT_OSS;
use crate::read::foreign::layer::ForeignLayer;
use crate::read::foreign::parts::{bytes_of, size};
use crate::served::Codes;

/// A bank of experts of gpt-oss as codes of a scheme. As numbers it is a [`ForeignLayer`], whose matrices lie transposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpertBlocks {
    /// Name without `_blocks`.
    pub bank: String,
    /// The scheme of the codes.
    pub scheme: Scheme,
    /// How many matrices lie behind each other.
    pub experts: usize,
    /// `[rows, cols]` of each: outputs and inputs.
    pub shape: [usize; 2],
    codes: TensorHeader,
    scales: TensorHeader,
}

impl ExpertBlocks {
    /// Finds the banks among layers in codes of other programs, by their names.
    pub(crate) fn among(
        file: &Checkpoint,
        foreign: &BTreeMap<String, ForeignLayer>,
    ) -> BTreeMap<String, Self> {
        let banks = foreign.values().filter(|layer| layer.program == &GPT_OSS);
        let found = banks.filter_map(|layer| Self::of(file, &layer.name));
        found.map(|bank| (bank.bank.clone(), bank)).collect()
    }

    fn of(file: &Checkpoint, bank: &str) -> Option<Self> {
        let codes = file.get(&part_of_bank(bank, BLOCKS))?;
        let scales = file.get(&part_of_bank(bank, BLOCK_SCALES))?;
        let [experts, rows, blocks] = scales.shape[..] else { return None };
        let [experts, rows, blocks] = [size(experts).ok()?, size(rows).ok()?, size(blocks).ok()?];
        let scheme = Scheme::MXFP4;
        let shape = [rows, blocks.checked_mul(scheme.tiling().tile_shape(rows, usize::MAX)[1])?];
        let (codes, scales) = (codes.clone(), scales.clone());
        Some(Self { bank: bank.to_owned(), scheme, experts, shape, codes, scales })
    }

    /// Reads codes and scales of one expert.
    ///
    /// # Errors
    /// [`LayoutError::File`] when the file cannot be read, [`LayoutError::Parts`] when scales and codes do not belong
    /// together.
    ///
    /// # Panics
    /// When there is no such expert.
    pub fn read_expert(
        &self,
        file: &Checkpoint,
        expert: usize,
    ) -> Result<QuantizedMatrix, LayoutError> {
        assert!(expert < self.experts, "an expert of the bank");
        let read = |header: &TensorHeader| {
            let length = usize::try_from(header.byte_len()).unwrap_or(usize::MAX) / self.experts;
            bytes_of(file, header, expert * length..(expert + 1) * length)
        };
        let scales = StoredScales::from([(ScaleRole::Tiles, read(&self.scales)?)]);
        let packing = Packing::of_servers(self.scheme, self.shape, Codes::Blocks);
        let matrix = packing.unpack(read(&self.codes)?, scales);
        matrix.map_err(|source| LayoutError::Parts { layer: self.bank.clone(), source })
    }
}
