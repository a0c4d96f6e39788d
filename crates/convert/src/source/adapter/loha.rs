//! LoHa: the element-wise product of two low-rank matrices.

use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::source::adapter::keys::Role;
use crate::source::adapter::matrix::{mixed_channels, product, transposed};
use crate::source::adapter::module::{Module, fits, rest};
use crate::source::adapter::numbers::numbers;
use crate::source::adapter::target::Site;
use crate::source::adapter::tensors::AdapterTensors;
use crate::source::numbers::element_count;

/// `(w1_a · w1_b) ∘ (w2_a · w2_b)`, each `[rows, rank] · [rank, cols]`.
///
/// With cores `t` of shape `[rank, rank, kernel…]` each side is
/// `Σ w_a[i, o] · t[i, j, …] · w_b[j, c]`, with `w_a` of shape `[rank, rows]`.
///
/// # Source
/// Hyeon-Woo et al., "FedPara: Low-Rank Hadamard Product for Communication-Efficient Federated
/// Learning", 2022, as LyCORIS and PEFT store it.
#[derive(Debug)]
pub(super) struct Loha {
    sides: [Side; 2],
}

#[derive(Debug)]
struct Side {
    a: TensorHeader,
    b: TensorHeader,
    core: Option<TensorHeader>,
}

impl Loha {
    pub(super) const ROLES: [Role; 6] =
        [Role::HadaW1A, Role::HadaW1B, Role::HadaW2A, Role::HadaW2B, Role::HadaT1, Role::HadaT2];

    /// Finds the factors of a module.
    ///
    /// # Errors
    /// One line, when a factor is missing, or their shapes are not those of the weight.
    pub(super) fn of(module: &Module, site: &Site) -> Result<Self, String> {
        let side = |a, a_name, b, b_name, core| {
            let core = module.get(core).cloned();
            Ok::<_, String>(Side { a: module.need(a, a_name)?, b: module.need(b, b_name)?, core })
        };
        let sides = [
            side(Role::HadaW1A, "hada_w1_a", Role::HadaW1B, "hada_w1_b", Role::HadaT1)?,
            side(Role::HadaW2A, "hada_w2_a", Role::HadaW2B, "hada_w2_b", Role::HadaT2)?,
        ];
        for side in &sides {
            if !side.shape().is_some_and(|[rows, cols]| fits(site, rows, cols)) {
                let needed = format!("[{0}, rank] · [rank, {1}]", site.row_count(), site.cols());
                return Err(module.misfit(&[&side.a, &side.b], site, &needed));
            }
        }
        Ok(Self { sides })
    }

    pub(super) fn rank(&self) -> u64 {
        self.sides[0].b.shape[0]
    }

    /// Returns the whole change, without its factor.
    pub(super) fn change(&self, file: &AdapterTensors) -> Result<Vec<f32>, ConvertError> {
        let [mut first, second] = [self.sides[0].product(file)?, self.sides[1].product(file)?];
        first.iter_mut().zip(second).for_each(|(first, second)| *first *= second);
        Ok(first)
    }
}

impl Side {
    /// Returns the `[rows, cols]` of the product; `None` where the factors do not belong together.
    fn shape(&self) -> Option<[u64; 2]> {
        let rank = *self.b.shape.first().filter(|rank| **rank > 0)?;
        match &self.core {
            None => (rest(&self.a) == rank).then_some([self.a.shape[0], rest(&self.b)]),
            Some(core) => {
                let [outer, inner, kernel @ ..] = &core.shape[..] else { return None };
                let fits = *inner == rank && self.a.shape.first() == Some(outer) && *outer > 0;
                let cols = rest(&self.b).saturating_mul(element_count(kernel));
                fits.then_some([rest(&self.a), cols])
            }
        }
    }

    fn product(&self, file: &AdapterTensors) -> Result<Vec<f32>, ConvertError> {
        let [a, b] = [numbers(file, &self.a)?, numbers(file, &self.b)?];
        let rank = self.b.shape[0] as usize;
        let Some(core) = &self.core else { return Ok(product(&a, &b, rank)) };
        let kernel = element_count(&core.shape[2..]) as usize;
        // With a core `w_a` is stored the other way round than without one.
        let mixed = mixed_channels(&numbers(file, core)?, &b, rank, kernel);
        Ok(product(&transposed(&a, rest(&self.a) as usize), &mixed, core.shape[0] as usize))
    }
}
