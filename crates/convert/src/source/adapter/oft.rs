//! OFT and BOFT: rotations of a weight's rows.

use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::source::adapter::keys::Role;
use crate::source::adapter::matrix::cayley;
use crate::source::adapter::module::Module;
use crate::source::adapter::numbers::numbers;
use crate::source::adapter::target::Site;
use crate::source::adapter::tensors::AdapterTensors;

/// A rotation of each block of rows, or one after another in the order of butterflies (BOFT).
///
/// A block `B` is stored; `Q = B − Bᵀ`, shrunk to `‖Q‖ = alpha · rows` over all blocks where `alpha`
/// is above 0 and `Q` is longer; `R = (I + Q)(I − Q)⁻¹`. A strength between blends `R` with `I`.
///
/// - OFT, `[blocks, size, size]`: `Rᵀ` times the block's rows
/// - BOFT, `[stages, blocks, size, size]`: stage `i` takes rows `size/2 · 2ⁱ` apart together, `R`
///   times these
/// - `rescale`: a factor for each row afterwards
///
/// ComfyUI 0.33 bounds `Q` by `alpha` alone, leaves `rescale` of an OFT out and takes the strength
/// twice; the trainers (LyCORIS, kohya) do as here.
///
/// # Source
/// Qiu et al., "Controlling Text-to-Image Diffusion by Orthogonal Finetuning", 2023; Liu et al.,
/// "Parameter-Efficient Orthogonal Finetuning via Butterfly Factorization", 2024.
#[derive(Debug)]
pub(super) struct Oft {
    blocks: TensorHeader,
    rescale: Option<TensorHeader>,
    /// Longest `Q`; 0 is no bound.
    bound: f64,
    strength: f32,
}

impl Oft {
    pub(super) const ROLES: [Role; 2] = [Role::OftBlocks, Role::Rescale];

    /// Finds the blocks of a module.
    ///
    /// - `alpha`: as stored, 0 where there is none
    ///
    /// # Errors
    /// One line, when the blocks are not those of the weight.
    pub(super) fn of(
        module: &Module,
        site: &Site,
        alpha: f32,
        strength: f32,
    ) -> Result<Self, String> {
        let blocks = module.need(Role::OftBlocks, "oft_blocks")?;
        let rescale = module.get(Role::Rescale).cloned();
        let rows = site.row_count() as u64;
        let fits = match blocks.shape[..] {
            [count, size, cols] => size == cols && count.checked_mul(size) == Some(rows),
            [stages, count, size, cols] => {
                // The last stage pairs halves `size/2 · 2^(stages − 1)` apart, in groups of twice
                // as many rows.
                let covered = size.checked_shl(stages.saturating_sub(1) as u32).unwrap_or(0);
                size == cols
                    && size % 2 == 0
                    && count.checked_mul(size) == Some(rows)
                    && (1..64).contains(&stages)
                    && covered > 0
                    && rows.is_multiple_of(covered)
            }
            _ => false,
        };
        let fits = fits && rescale.as_ref().is_none_or(|it| it.element_count() == rows);
        if !fits || rows == 0 {
            return Err(module.misfit(&[&blocks], site, "blocks that cover them"));
        }
        Ok(Self { blocks, rescale, bound: f64::from(alpha) * rows as f64, strength })
    }

    /// Returns the change, its strength included.
    ///
    /// - `weight`: the rows that it rotates
    pub(super) fn change(
        &self,
        file: &AdapterTensors,
        weight: &[f32],
        cols: usize,
    ) -> Result<Vec<f32>, ConvertError> {
        let size = *self.blocks.shape.last().unwrap_or(&1) as usize;
        let rotations = self.rotations(&numbers(file, &self.blocks)?, size);
        let mut turned: Vec<f64> = weight.iter().map(|value| f64::from(*value)).collect();
        let rows = weight.len() / cols.max(1);
        match self.blocks.shape[..] {
            [_, _, _] => {
                // OFT multiplies by `Rᵀ`: its entries are read with rows and columns exchanged.
                let order: Vec<usize> = (0..rows).collect();
                turn(&mut turned, &rotations, size, cols, &order, |row, col| (col, row));
            }
            _ => {
                let stage_len = rows / size * size * size;
                for (stage, rotations) in rotations.chunks(stage_len).enumerate() {
                    let order = butterfly(rows, (size / 2) << stage);
                    turn(&mut turned, rotations, size, cols, &order, |row, col| (row, col));
                }
            }
        }
        if let Some(rescale) = &self.rescale {
            let rescale = numbers(file, rescale)?;
            for (row, factor) in turned.chunks_mut(cols.max(1)).zip(rescale) {
                row.iter_mut().for_each(|value| *value *= f64::from(factor));
            }
        }
        let changes =
            turned.iter().zip(weight).map(|(turned, value)| (turned - f64::from(*value)) as f32);
        Ok(changes.collect())
    }

    /// Returns the rotation of every block, blended with the identity.
    fn rotations(&self, blocks: &[f32], size: usize) -> Vec<f64> {
        let mut skew = Vec::with_capacity(blocks.len());
        for block in blocks.chunks(size * size) {
            let at = |row: usize, col: usize| f64::from(block[row * size + col]);
            skew.extend(
                (0..size * size).map(|it| at(it / size, it % size) - at(it % size, it / size)),
            );
        }
        let norm = skew.iter().map(|value| value * value).sum::<f64>().sqrt() + 1e-8;
        if self.bound > 0.0 && norm > self.bound {
            skew.iter_mut().for_each(|value| *value *= self.bound / norm);
        }
        let strength = f64::from(self.strength);
        let mut rotations = Vec::with_capacity(skew.len());
        for skew in skew.chunks(size * size) {
            let rotation = cayley(skew, size);
            rotations.extend(rotation.iter().enumerate().map(|(at, value)| {
                let unit = f64::from(u8::from(at / size == at % size));
                strength * value + (1.0 - strength) * unit
            }));
        }
        rotations
    }
}

/// Returns the row that stands in each place of a stage: pairs of halves, `half` apart, are
/// interleaved.
fn butterfly(rows: usize, half: usize) -> Vec<usize> {
    let place = |at: usize| {
        let (group, rest) = (at / (2 * half), at % (2 * half));
        group * 2 * half + (rest % 2) * half + rest / 2
    };
    (0..rows).map(place).collect()
}

/// Multiplies blocks of rows by their rotations.
///
/// - `order`: which row stands in each place
/// - `entry`: where a rotation's factor of one place in another lies, as `(row, col)`
pub(super) fn turn(
    values: &mut [f64],
    rotations: &[f64],
    size: usize,
    cols: usize,
    order: &[usize],
    entry: impl Fn(usize, usize) -> (usize, usize),
) {
    for (rotation, places) in rotations.chunks(size * size).zip(order.chunks(size)) {
        // Not in place: each new row is a sum over all old rows of its block.
        let mut turned = vec![0.0; places.len() * cols];
        for (to, turned) in turned.chunks_mut(cols.max(1)).enumerate() {
            for (from, row) in places.iter().enumerate() {
                let (row_at, col_at) = entry(to, from);
                let factor = rotation[row_at * size + col_at];
                let source = &values[row * cols..][..cols];
                turned.iter_mut().zip(source).for_each(|(sum, value)| *sum += factor * value);
            }
        }
        for (row, turned) in places.iter().zip(turned.chunks(cols.max(1))) {
            values[row * cols..][..cols].copy_from_slice(turned);
        }
    }
}
