//! LoRA: the product of two factors, and of three for convolutions (LoCon).

use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::source::adapter::keys::Role;
use crate::source::adapter::matrix::{mixed_channels, product, transposed};
use crate::source::adapter::module::{Module, fits, rest};
use crate::source::adapter::numbers::numbers;
use crate::source::adapter::target::Site;
use crate::source::adapter::tensors::AdapterTensors;
use crate::source::numbers::element_count;

/// `up · down`, `[rows, rank] · [rank, cols]`.
///
/// With a middle factor `[rank, rank, kernel…]` the change of a convolution is
/// `Σ up[o, m] · mid[m, n, …] · down[n, i]`. Embeddings, and weights stored `[inputs, outputs]`,
/// take the transposed product.
///
/// # Source
/// Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021; LyCORIS for the middle
/// factor.
#[derive(Debug)]
pub(super) struct Lora {
    up: TensorHeader,
    down: TensorHeader,
    mid: Option<TensorHeader>,
    is_transposed: bool,
}

impl Lora {
    pub(super) const ROLES: [Role; 5] =
        [Role::Up, Role::Down, Role::Mid, Role::EmbeddingUp, Role::EmbeddingDown];

    /// Finds the factors of a module.
    ///
    /// - `may_transpose`: whether weights are stored `[inputs, outputs]`
    ///
    /// # Errors
    /// One line, when a factor is missing, or their shapes are not those of the weight.
    pub(super) fn of(module: &Module, site: &Site, may_transpose: bool) -> Result<Self, String> {
        let pair = |up, down| Some((module.get(up)?.clone(), module.get(down)?.clone()));
        let pairs = [
            (pair(Role::Up, Role::Down), may_transpose),
            (pair(Role::EmbeddingUp, Role::EmbeddingDown), true),
        ];
        // An embedding's pair is of the transposed weight, whatever the configuration says.
        let found = pairs.into_iter().find_map(|(pair, transposed)| Some((pair?, transposed)));
        let Some(((up, down), may_transpose)) = found else {
            return Err(format!("module `{}` has no pair of up and down", module.name));
        };
        let mid = module.get(Role::Mid).cloned();
        let rank = down.shape.first().copied().unwrap_or(0);
        let [mid_rank, kernel] = match mid.as_ref().map(|mid| &mid.shape[..]) {
            None => [rank, 1],
            Some([outer, inner, kernel @ ..]) if *inner == rank => [*outer, element_count(kernel)],
            // Refused below.
            Some(_) => [0, 0],
        };
        let [rows, cols] =
            [up.shape.first().copied().unwrap_or(0), rest(&down).saturating_mul(kernel)];
        let is_product = mid_rank > 0 && rank > 0 && rest(&up) == mid_rank;
        let shapes = || format!("module `{}` is {:?} · {:?}", module.name, up.shape, down.shape);
        if rank == 0 {
            return Err(format!("{}: its factors are empty, and change nothing", shapes()));
        }
        if !is_product {
            return Err(format!(
                "{}, whose ranks differ; its factors are not of one adapter, or the file is damaged",
                shapes()
            ));
        }
        // Both ways fit a square weight: then the configuration decides.
        let is_transposed = may_transpose && fits(site, cols, rows);
        if !(is_transposed || fits(site, rows, cols)) {
            let rows = site.row_count();
            return Err(format!(
                "{}, `{}` needs [{rows}, rank] · [rank, {}]; it is of another model",
                shapes(),
                site.tensor.name,
                site.cols()
            ));
        }
        Ok(Self { up, down, mid, is_transposed })
    }

    pub(super) fn rank(&self) -> u64 {
        self.down.shape[0]
    }

    /// Returns whether the weight takes the transposed product.
    pub(super) fn is_transposed(&self) -> bool {
        self.is_transposed
    }

    /// Returns the factors `[rows, rank]` and `[rank, cols]`.
    fn factors(&self, file: &AdapterTensors) -> Result<(Vec<f32>, Vec<f32>), ConvertError> {
        let up = numbers(file, &self.up)?;
        let mut down = numbers(file, &self.down)?;
        if let Some(mid) = &self.mid {
            let inner = self.rank() as usize;
            let kernel = element_count(&mid.shape[2..]) as usize;
            down = mixed_channels(&numbers(file, mid)?, &down, inner, kernel);
        }
        if self.is_transposed {
            let rank = self.inner();
            let cols = down.len() / rank;
            // (up · down)ᵀ = downᵀ · upᵀ.
            return Ok((transposed(&down, cols), transposed(&up, rank)));
        }
        Ok((up, down))
    }

    /// Returns the rank of the product's inner side.
    fn inner(&self) -> usize {
        self.mid.as_ref().map_or(self.rank(), |mid| mid.shape[0]) as usize
    }

    /// Returns the whole change, without its factor.
    pub(super) fn change(&self, file: &AdapterTensors) -> Result<Vec<f32>, ConvertError> {
        let (up, down) = self.factors(file)?;
        Ok(product(&up, &down, self.inner()))
    }

    /// Adds the change to a weight, one rank after the other in single precision.
    ///
    /// - `values`: the whole weight
    pub(super) fn add(
        &self,
        file: &AdapterTensors,
        site: &Site,
        factor: f32,
        values: &mut [f32],
    ) -> Result<(), ConvertError> {
        let (up, down) = self.factors(file)?;
        let [rank, cols] = [self.inner(), site.cols().max(1)];
        let start = site.of_change.as_ref().map_or(0, |range| range.start);
        for (at, row) in site.rows.iter().cloned().flatten().enumerate() {
            let values = &mut values[row * cols..][..cols];
            for (up, down) in up[(start + at) * rank..][..rank].iter().zip(down.chunks(cols)) {
                let factor = up * factor;
                for (value, down) in values.iter_mut().zip(down) {
                    *value += factor * down;
                }
            }
        }
        Ok(())
    }
}
