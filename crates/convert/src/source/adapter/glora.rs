//! GLoRA: a low-rank change, and one of low rank in the weight itself.

use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::source::adapter::keys::Role;
use crate::source::adapter::matrix::{product, transposed};
use crate::source::adapter::module::{Module, rest};
use crate::source::adapter::numbers::numbers;
use crate::source::adapter::target::Site;
use crate::source::adapter::tensors::AdapterTensors;

/// `W · a1 · a2 + b1 · b2`, with `a1` of shape `[cols, rank]` and `b1` of shape `[rows, rank]`.
///
/// Earlier files have the factors of both products the other way round: `W · a2 · a1 + b2 · b1`.
/// `W · a` of a convolution is summed over its channels.
///
/// # Source
/// Chavan et al., "One-for-All: Generalized LoRA for Parameter-Efficient Fine-tuning", 2023, as
/// LyCORIS stores it.
#[derive(Debug)]
pub(super) struct Glora {
    /// Factors in the order of the formula.
    on_weight: [TensorHeader; 2],
    added: [TensorHeader; 2],
    rank: u64,
    channels: usize,
}

impl Glora {
    pub(super) const ROLES: [Role; 4] =
        [Role::GloraA1, Role::GloraA2, Role::GloraB1, Role::GloraB2];

    /// Finds the factors of a module.
    ///
    /// # Errors
    /// One line, when a factor is missing, or their shapes are not those of the weight.
    pub(super) fn of(module: &Module, site: &Site) -> Result<Self, String> {
        let a1 = module.need(Role::GloraA1, "a1.weight")?;
        let a2 = module.need(Role::GloraA2, "a2.weight")?;
        let b1 = module.need(Role::GloraB1, "b1.weight")?;
        let b2 = module.need(Role::GloraB2, "b2.weight")?;
        let [rows, cols] = [site.row_count() as u64, site.cols() as u64];
        let channels = site.shape.get(1).copied().unwrap_or(1);
        let is_matrix = site.shape.len() == 2;
        let first = |tensor: &TensorHeader| tensor.shape.first().copied().unwrap_or(0);
        let rank_of = |on_weight: [&TensorHeader; 2], added: [&TensorHeader; 2], width: u64| {
            let rank = first(on_weight[1]);
            let fits = rank > 0
                && [first(on_weight[0]), rest(on_weight[0])] == [width, rank]
                && rest(on_weight[1]) == width
                && [first(added[0]), rest(added[0])] == [rows, rank]
                && [first(added[1]), rest(added[1])] == [rank, cols];
            fits.then_some(rank)
        };
        let early = rank_of([&a2, &a1], [&b2, &b1], cols);
        let late = rank_of([&a1, &a2], [&b1, &b2], channels);
        // Both orders fit where the rank is the width; the earlier one is then taken for square
        // weights only.
        let early = early.filter(|_| late.is_none() || (is_matrix && rows == cols));
        match (early, late) {
            (Some(rank), _) => {
                Ok(Self { on_weight: [a2, a1], added: [b2, b1], rank, channels: cols as usize })
            }
            (None, Some(rank)) => {
                Ok(Self { on_weight: [a1, a2], added: [b1, b2], rank, channels: channels as usize })
            }
            (None, None) => {
                let needed = format!(
                    "[{channels}, rank] · [rank, {channels}] and [{rows}, rank] · [rank, {cols}]"
                );
                Err(module.misfit(&[&a1, &a2, &b1, &b2], site, &needed))
            }
        }
    }

    pub(super) fn rank(&self) -> u64 {
        self.rank
    }

    /// Returns the change, without its factor.
    ///
    /// - `weight`: the changed rows
    pub(super) fn change(
        &self,
        file: &AdapterTensors,
        weight: &[f32],
        cols: usize,
    ) -> Result<Vec<f32>, ConvertError> {
        let rank = self.rank as usize;
        let [narrow, wide] =
            [numbers(file, &self.on_weight[0])?, numbers(file, &self.on_weight[1])?];
        let [left, right] = [numbers(file, &self.added[0])?, numbers(file, &self.added[1])?];
        let mut change = product(&left, &right, rank);
        // In the earlier order the factors are as wide as the row, kernel included; then this is 1.
        let kernel = cols / self.channels.max(1);
        let on_weight = match kernel {
            1 => product(&product(weight, &narrow, self.channels), &wide, rank),
            _ => {
                let narrow = transposed(&narrow, rank);
                let wide = transposed(&wide, self.channels);
                let rows = weight.chunks(cols.max(1));
                rows.flat_map(|row| product(&wide, &product(&narrow, row, self.channels), rank))
                    .collect()
            }
        };
        change.iter_mut().zip(on_weight).for_each(|(change, value)| *change += value);
        Ok(change)
    }
}
