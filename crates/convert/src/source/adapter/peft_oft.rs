//! OFT and BOFT of PEFT: rotations of a weight's columns.

use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::source::adapter::config::OftSettings;
use crate::source::adapter::keys::Role;
use crate::source::adapter::matrix::{cayley, product_f64};
use crate::source::adapter::module::Module;
use crate::source::adapter::numbers::numbers;
use crate::source::adapter::oft::turn;
use crate::source::adapter::target::Site;
use crate::source::adapter::tensors::AdapterTensors;

/// A rotation of each block of columns (OFT), or one after another in the order of butterflies (BOFT).
///
/// A skew-symmetric block `Q` is stored; `R = (I − Q)(I + Q)⁻¹`, or `I + 2Q + 2Q² + … + Qⁿ`, a
/// series of its inverse, where the configuration says so. Each block of a row's columns is
/// multiplied by its `R`.
///
/// - OFT, `oft_R [blocks, size · (size − 1) / 2]`: the part of `Q` above its diagonal; one block stands
///   for all where they are shared; `coft` shrinks every `Q` to `eps / √blocks`
/// - BOFT, `boft_R [stages, blocks, size, size]`: `Q = (B − Bᵀ) / 2`; stage `i` takes runs of `size / 2`
///   columns that lie `2ⁱ` runs apart together
/// - `boft_s`: a factor for each row afterwards
///
/// A strength other than 1 scales the change, as it does for other adapters; PEFT has none.
///
/// # Source
/// PEFT 0.21, `tuners/oft/layer.py` and `tuners/boft/layer.py`.
#[derive(Debug)]
pub(super) struct PeftOft {
    blocks: TensorHeader,
    factors: Option<TensorHeader>,
    size: usize,
    settings: OftSettings,
}

impl PeftOft {
    pub(super) const ROLES: [Role; 3] = [Role::OftR, Role::BoftR, Role::BoftS];

    /// Finds the blocks of a module.
    ///
    /// - `settings`: of its configuration
    ///
    /// # Errors
    /// One line, when the blocks are not those of the weight, or the configuration is missing.
    pub(super) fn of(
        module: &Module,
        site: &Site,
        settings: Option<OftSettings>,
    ) -> Result<Self, String> {
        let is_boft = module.has_any(&[Role::BoftR, Role::BoftS]);
        let (blocks, settings) = match is_boft {
            true => (module.need(Role::BoftR, "boft_R")?, OftSettings::EXACT),
            false => (module.need(Role::OftR, "oft_R")?, settings.ok_or(WITHOUT_CONFIG)?),
        };
        let cols = site.cols() as u64;
        let size = match blocks.shape[..] {
            [1, elements] if !is_boft && settings.shares_blocks => size_of(elements),
            [count, elements] if !is_boft => {
                size_of(elements).filter(|size| count.checked_mul(*size) == Some(cols))
            }
            [stages, count, size, width] if is_boft => {
                // Stage `s` mixes columns that lie up to `size · 2^s` apart, so that the last one needs
                // whole groups of `size · 2^(stages − 1)` columns.
                let covered = size.checked_shl(stages.saturating_sub(1) as u32).unwrap_or(0);
                let is_covered =
                    stages == 1 || size % 2 == 0 && cols.is_multiple_of(covered.max(1));
                let fits = size == width
                    && count.checked_mul(size) == Some(cols)
                    && (1..64).contains(&stages)
                    && covered > 0
                    && is_covered;
                fits.then_some(size)
            }
            _ => None,
        };
        let size = size.filter(|size| *size > 0 && cols.is_multiple_of(*size) && cols > 0);
        let factors = module.get(Role::BoftS).cloned();
        let rows = site.row_count() as u64;
        let fits = factors.as_ref().is_none_or(|it| it.element_count() == rows);
        match size.filter(|_| fits) {
            Some(size) => Ok(Self { blocks, factors, size: size as usize, settings }),
            None => Err(format!(
                "module `{}` is {:?}, {cols} columns of `{}` need blocks that cover them; it is of \
                 another model",
                module.name, blocks.shape, site.tensor.name
            )),
        }
    }

    /// Returns the change of rows of a weight.
    pub(super) fn change(
        &self,
        file: &AdapterTensors,
        weight: &[f32],
        cols: usize,
    ) -> Result<Vec<f32>, ConvertError> {
        let rows = weight.len() / cols.max(1);
        // Columns are turned as rows of the transposed weight.
        let at = |it: usize| f64::from(weight[(it % rows) * cols + it / rows]);
        let mut turned: Vec<f64> = (0..weight.len()).map(at).collect();
        let rotations = self.rotations(&numbers(file, &self.blocks)?, cols);
        for (stage, rotations) in rotations.chunks((cols * self.size).max(1)).enumerate() {
            let order = butterfly(cols, self.size, stage);
            turn(&mut turned, rotations, self.size, rows, &order, |row, col| (row, col));
        }
        let factors = match &self.factors {
            Some(factors) => numbers(file, factors)?,
            None => vec![1.0; rows],
        };
        let changes = weight.iter().enumerate().map(|(it, value)| {
            let (row, col) = (it / cols, it % cols);
            (turned[col * rows + row] * f64::from(factors[row]) - f64::from(*value)) as f32
        });
        Ok(changes.collect())
    }

    /// Returns the rotation of every block, stage by stage.
    fn rotations(&self, stored: &[f32], cols: usize) -> Vec<f64> {
        let size = self.size;
        let elements = match self.blocks.shape.len() {
            2 => size * (size - 1) / 2,
            _ => size * size,
        };
        let blocks: Vec<&[f32]> = stored.chunks(elements.max(1)).collect();
        let mut rotations = Vec::with_capacity(stored.len().max(cols * size));
        for block in &blocks {
            let mut skew = match elements == size * size {
                true => halved_difference(block, size),
                false => skew_of(block, size),
            };
            self.shrink(&mut skew, blocks.len());
            rotations.extend(match self.settings.series_terms {
                // The series is that of `(I + Q)(I − Q)⁻¹`, the inverse rotation: PEFT trains with
                // it where it uses series.
                Some(terms) => series(&skew, size, terms),
                None => {
                    // PEFT's `(I − Q)(I + Q)⁻¹` is the Cayley transform of `−Q`.
                    let negative: Vec<f64> = skew.iter().map(|value| -value).collect();
                    cayley(&negative, size)
                }
            });
        }
        // A shared block is stored once: its rotation is computed once and repeated.
        if self.settings.shares_blocks && blocks.len() == 1 {
            return rotations.repeat(cols / size);
        }
        rotations
    }

    /// Shrinks a block as a constrained OFT does.
    fn shrink(&self, skew: &mut [f64], blocks: usize) {
        let Some(eps) = self.settings.constraint else { return };
        let bound = eps / (blocks as f64).sqrt();
        let norm = skew.iter().map(|value| value * value).sum::<f64>().sqrt();
        if norm > bound {
            skew.iter_mut().for_each(|value| *value *= bound / norm);
        }
    }
}

const WITHOUT_CONFIG: &str = "an OFT of PEFT is merged with its `adapter_config.json` beside it, which \
                              says how its rotations are computed (`use_cayley_neumann`)";

/// Returns the size of a block that has so many elements above its diagonal.
fn size_of(elements: u64) -> Option<u64> {
    // elements = size · (size − 1) / 2 ⇔ size = (1 + √(1 + 8 · elements)) / 2. The root is rounded
    // down, so that the size is put back into the formula, which holds for a true block only.
    let root = elements.checked_mul(8)?.checked_add(1)?.isqrt();
    let size = root.div_ceil(2);
    (size.checked_mul(size.saturating_sub(1))? / 2 == elements && elements > 0).then_some(size)
}

/// Returns the skew-symmetric matrix of the elements above its diagonal, row by row.
fn skew_of(above: &[f32], size: usize) -> Vec<f64> {
    let mut skew = vec![0.0; size * size];
    let places = (0..size).flat_map(|row| (row + 1..size).map(move |col| (row, col)));
    for ((row, col), value) in places.zip(above) {
        skew[row * size + col] = f64::from(*value);
        skew[col * size + row] = -f64::from(*value);
    }
    skew
}

/// Returns `(B − Bᵀ) / 2`.
fn halved_difference(block: &[f32], size: usize) -> Vec<f64> {
    let at = |row: usize, col: usize| f64::from(block[row * size + col]);
    (0..size * size).map(|it| 0.5 * (at(it / size, it % size) - at(it % size, it / size))).collect()
}

/// Returns the first terms of the series of `(I + Q)(I − Q)⁻¹`, as PEFT adds them: all but the first and
/// the last count twice.
fn series(skew: &[f64], size: usize, terms: usize) -> Vec<f64> {
    let mut sum: Vec<f64> =
        (0..size * size).map(|it| f64::from(u8::from(it / size == it % size))).collect();
    let mut add = |power: &[f64], factor: f64| {
        sum.iter_mut().zip(power).for_each(|(sum, value)| *sum += factor * value);
    };
    if terms > 1 {
        add(skew, 2.0);
    }
    if terms > 2 {
        let mut power = product_f64(skew, skew, size);
        add(&power, 2.0);
        for _ in 3..terms.saturating_sub(1) {
            power = product_f64(&power, skew, size);
            add(&power, 2.0);
        }
        add(&product_f64(&power, skew, size), 1.0);
    }
    sum
}

/// Returns the column that stands in each place of a stage: in groups of `size · 2ˢᵗᵃᵍᵉ`, even runs of
/// half a block stand before odd ones.
fn butterfly(cols: usize, size: usize, stage: usize) -> Vec<usize> {
    if stage == 0 {
        return (0..cols).collect();
    }
    let (run, runs) = (size / 2, 2_usize << stage);
    let group = run * runs;
    let mut order = vec![0; cols];
    for col in 0..cols {
        let (start, at) = (col / group * group, col % group);
        let sorted = match at / run {
            place if place < runs / 2 => 2 * place,
            place => 2 * (place - runs / 2) + 1,
        };
        order[start + sorted * run + at % run] = col;
    }
    order
}
