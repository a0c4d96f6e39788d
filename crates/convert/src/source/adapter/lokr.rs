//! LoKr: the Kronecker product of two matrices, each whole or of low rank.

use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::source::adapter::keys::Role;
use crate::source::adapter::matrix::{mixed_channels, product, transposed};
use crate::source::adapter::module::{Module, fits, rest};
use crate::source::adapter::numbers::numbers;
use crate::source::adapter::target::Site;
use crate::source::adapter::tensors::AdapterTensors;
use crate::source::numbers::element_count;

/// `w1 ⊗ w2`: `change[i · c + k, j · d + l] = w1[i, j] · w2[k, l]` with `w2` of shape `[c, d]`, the
/// kernel of a convolution counted to its columns.
///
/// A side may be the product of `a` and `b`; `w2` of a convolution may have a core as well, see
/// LoHa's.
///
/// # Source
/// Yeh et al., "Navigating Text-To-Image Customization: From LyCORIS Fine-Tuning to Model
/// Evaluation", 2024, as LyCORIS and PEFT store it.
#[derive(Debug)]
pub(super) struct Lokr {
    left: Side,
    right: Side,
}

#[derive(Debug)]
enum Side {
    Whole(TensorHeader),
    Product { a: TensorHeader, b: TensorHeader },
    Core { core: TensorHeader, a: TensorHeader, b: TensorHeader },
}

impl Lokr {
    pub(super) const ROLES: [Role; 7] = [
        Role::LokrW1,
        Role::LokrW1A,
        Role::LokrW1B,
        Role::LokrW2,
        Role::LokrW2A,
        Role::LokrW2B,
        Role::LokrT2,
    ];

    /// Finds the factors of a module.
    ///
    /// # Errors
    /// One line, when a factor is missing, or their shapes are not those of the weight.
    pub(super) fn of(module: &Module, site: &Site) -> Result<Self, String> {
        let left = match module.get(Role::LokrW1) {
            Some(whole) => Side::Whole(whole.clone()),
            None => Side::Product {
                a: module.need(Role::LokrW1A, "lokr_w1_a")?,
                b: module.need(Role::LokrW1B, "lokr_w1_b")?,
            },
        };
        let right = match (module.get(Role::LokrW2), module.get(Role::LokrT2)) {
            (Some(whole), _) => Side::Whole(whole.clone()),
            (None, core) => {
                let a = module.need(Role::LokrW2A, "lokr_w2_a")?;
                let b = module.need(Role::LokrW2B, "lokr_w2_b")?;
                match core {
                    Some(core) => Side::Core { core: core.clone(), a, b },
                    None => Side::Product { a, b },
                }
            }
        };
        let shapes = left.shape().zip(right.shape());
        let fit = shapes.is_some_and(|([rows, cols], [inner_rows, inner_cols])| {
            fits(site, rows.saturating_mul(inner_rows), cols.saturating_mul(inner_cols))
        });
        if !fit {
            let needed = format!("a Kronecker product of [{}, {}]", site.row_count(), site.cols());
            return Err(module.misfit(&[left.first(), right.first()], site, &needed));
        }
        Ok(Self { left, right })
    }

    /// Returns the rank; `None` where both sides are whole, and nothing is to be scaled.
    pub(super) fn rank(&self) -> Option<u64> {
        // As ComfyUI takes it: where both sides are products, the rank of `w2` counts.
        self.right.rank().or(self.left.rank())
    }

    /// Returns the whole change, without its factor.
    pub(super) fn change(&self, file: &AdapterTensors) -> Result<Vec<f32>, ConvertError> {
        let [left, right] = [self.left.matrix(file)?, self.right.matrix(file)?];
        let cols = |side: &Side| side.shape().map_or(1, |[_, cols]| cols.max(1)) as usize;
        let [left_cols, right_cols] = [cols(&self.left), cols(&self.right)];
        let mut change = Vec::with_capacity(left.len() * right.len());
        for left in left.chunks(left_cols) {
            for right in right.chunks(right_cols) {
                change.extend(left.iter().flat_map(|left| right.iter().map(move |it| left * it)));
            }
        }
        Ok(change)
    }
}

impl Side {
    fn first(&self) -> &TensorHeader {
        match self {
            Side::Whole(whole) => whole,
            Side::Product { a, .. } | Side::Core { a, .. } => a,
        }
    }

    fn rank(&self) -> Option<u64> {
        match self {
            Side::Whole(_) => None,
            Side::Product { b, .. } | Side::Core { b, .. } => b.shape.first().copied(),
        }
    }

    /// Returns `[rows, cols]`; `None` where the factors do not belong together.
    fn shape(&self) -> Option<[u64; 2]> {
        match self {
            Side::Whole(whole) => Some([*whole.shape.first()?, rest(whole)]),
            Side::Product { a, b } => {
                let rank = *b.shape.first().filter(|rank| **rank > 0)?;
                (rest(a) == rank).then_some([*a.shape.first()?, rest(b)])
            }
            Side::Core { core, a, b } => {
                let [outer, inner, kernel @ ..] = &core.shape[..] else { return None };
                let fits = b.shape.first() == Some(inner) && a.shape.first() == Some(outer);
                let cols = rest(b).saturating_mul(element_count(kernel));
                (fits && *outer > 0 && *inner > 0).then_some([rest(a), cols])
            }
        }
    }

    fn matrix(&self, file: &AdapterTensors) -> Result<Vec<f32>, ConvertError> {
        match self {
            Side::Whole(whole) => numbers(file, whole),
            Side::Product { a, b } => {
                Ok(product(&numbers(file, a)?, &numbers(file, b)?, b.shape[0] as usize))
            }
            Side::Core { core, a, b } => {
                let kernel = element_count(&core.shape[2..]) as usize;
                let [outer, inner] = [core.shape[0], core.shape[1]].map(|size| size as usize);
                let mixed =
                    mixed_channels(&numbers(file, core)?, &numbers(file, b)?, inner, kernel);
                Ok(product(&transposed(&numbers(file, a)?, rest(a) as usize), &mixed, outer))
            }
        }
    }
}
