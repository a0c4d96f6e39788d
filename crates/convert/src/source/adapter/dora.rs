//! DoRA: the length of each row or column is learned apart from its direction.

use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::source::adapter::keys::Role;
use crate::source::adapter::module::Module;
use crate::source::adapter::numbers::numbers;
use crate::source::adapter::target::Site;
use crate::source::adapter::tensors::AdapterTensors;
use crate::source::numbers::element_count;

/// `W' = norms · (W + Δ) / ‖W + Δ‖`, the norm of each output or of each input; a strength between
/// blends `W'` with `W`.
///
/// ComfyUI 0.33 divides by the norm of `W` where norms are those of outputs; the paper, LyCORIS and
/// PEFT do as here.
///
/// # Source
/// Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation", 2024; LyCORIS for norms of inputs.
#[derive(Debug)]
pub(super) struct Dora {
    norms: TensorHeader,
    is_of_rows: bool,
    /// Added to what is divided by.
    epsilon: f64,
}

impl Dora {
    /// Finds the norms of a module; returns `None` where it has none.
    ///
    /// - `is_transposed`: whether the weight is stored `[inputs, outputs]`
    ///
    /// # Errors
    /// One line, when the norms are not those of the weight.
    pub(super) fn of(
        module: &Module,
        site: &Site,
        is_transposed: bool,
    ) -> Result<Option<Self>, String> {
        let epsilon = f64::from(f32::EPSILON);
        let (norms, is_peft) = match (module.get(Role::DoraScale), module.get(Role::Magnitude)) {
            (None, None) => return Ok(None),
            (Some(norms), _) => (norms, false),
            (None, Some(norms)) => (norms, true),
        };
        let count = norms.element_count();
        let rows = site.of_change.as_ref().map_or(site.row_count(), |range| range.end) as u64;
        let channels = site.shape.get(1).copied().unwrap_or(1);
        let fits_rows = match site.of_change {
            None => count == rows,
            Some(_) => count >= rows,
        };
        // For a square weight the count fits both; the shape decides: `[1, n]` are norms of columns.
        let is_of_rows = match is_peft {
            true => !is_transposed,
            false => norms.shape.first() == Some(&rows) || (count == rows && channels != count),
        };
        let fits =
            if is_of_rows { fits_rows } else { count == channels && site.of_change.is_none() };
        if !fits {
            let needed = format!("{rows} norms of rows or {channels} of columns");
            return Err(module.misfit(&[norms], site, &needed));
        }
        // LyCORIS adds it where it divides, PEFT does not.
        let epsilon = if is_peft { 0.0 } else { epsilon };
        Ok(Some(Self { norms: norms.clone(), is_of_rows, epsilon }))
    }

    /// Changes rows of a weight.
    ///
    /// - `change`: with its factor, without the strength
    pub(super) fn apply(
        &self,
        file: &AdapterTensors,
        weight: &mut [f32],
        change: &[f32],
        site: &Site,
        strength: f32,
    ) -> Result<(), ConvertError> {
        let norms = numbers(file, &self.norms)?;
        let start = site.of_change.as_ref().map_or(0, |range| range.start);
        let cols = site.cols().max(1);
        // Norms of inputs are of channels: a convolution has one for a whole kernel.
        let kernel = element_count(&site.shape[2.min(site.shape.len())..]).max(1) as usize;
        let group = |at: usize| match self.is_of_rows {
            true => start + at / cols,
            false => at % cols / kernel,
        };
        let sum = |at: usize, weight: &[f32]| f64::from(weight[at]) + f64::from(change[at]);
        // Two passes: every number is divided by the norm of its whole group.
        let mut squares = vec![0.0_f64; norms.len()];
        for at in 0..weight.len() {
            squares[group(at)] += sum(at, weight).powi(2);
        }
        for at in 0..weight.len() {
            let of = group(at);
            let scaled =
                sum(at, weight) * f64::from(norms[of]) / (squares[of].sqrt() + self.epsilon);
            let old = f64::from(weight[at]);
            weight[at] = (old + f64::from(strength) * (scaled - old)) as f32;
        }
        Ok(())
    }
}
