//! The tensors that a side-car holds of one layer.

use std::collections::BTreeMap;

use roundwise_tensor_file::{Dtype, TensorHeader, TensorSpec};

use crate::StatsErrorKind as Kind;
use crate::{Knowledge, LayerShape};

/// A second moment that a side-car may hold of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// H of the layer's inputs, which every layer has.
    Inputs,
    /// H_mix, of its inputs as attention mixes them.
    Mixed,
    /// H_w, of its inputs weighed with the squared gradients of its outputs.
    Weighted,
    /// G, of the gradients of its outputs.
    Outputs,
}

impl Moment {
    const ALL: [Self; 4] = [Self::Inputs, Self::Mixed, Self::Weighted, Self::Outputs];

    pub(crate) fn count_name(self) -> &'static str {
        match self {
            Self::Inputs => "count",
            Self::Mixed => "mixed_count",
            Self::Weighted | Self::Outputs => GRADIENT_COUNT,
        }
    }

    pub(crate) fn diagonal_name(self) -> &'static str {
        match self {
            Self::Inputs => "second_moment",
            Self::Mixed => "mixed_second_moment",
            Self::Weighted => "weighted_second_moment",
            Self::Outputs => "gradient_second_moment",
        }
    }

    pub(crate) fn factor_name(self) -> &'static str {
        match self {
            Self::Inputs => "factor",
            Self::Mixed => "mixed_factor",
            Self::Weighted => "weighted_factor",
            Self::Outputs => "gradient_factor",
        }
    }

    /// Returns the name of the whole matrix: about the mean for the inputs, about zero otherwise.
    pub(crate) fn whole_name(self) -> &'static str {
        match self {
            Self::Inputs => "covariance",
            Self::Mixed => "mixed_moment",
            Self::Weighted => "weighted_moment",
            Self::Outputs => "gradient_moment",
        }
    }

    /// Returns the rows of the matrix, 0 where the file does not know them.
    pub(crate) fn side(self, shape: &LayerShape) -> u64 {
        match self {
            Self::Inputs | Self::Mixed | Self::Weighted => shape.columns,
            Self::Outputs => shape.rows,
        }
    }
}

pub(crate) const MEAN: &str = "mean";
pub(crate) const LARGEST: &str = "largest";
pub(crate) const MIXED_ROWS: &str = "mixed_rows";
pub(crate) const GRADIENT_COUNT: &str = "gradient_count";
pub(crate) const GRADIENT_MEAN_SQUARE: &str = "gradient_mean_square";

/// Every part that version 1 of the file knows.
const FIRST_VERSION: [&str; 5] = ["count", MEAN, "second_moment", "factor", "covariance"];

/// Headers of one layer's tensors, by the part's name.
#[derive(Debug, Default)]
pub(crate) struct LayerHeaders(BTreeMap<&'static str, TensorHeader>);

impl LayerHeaders {
    /// Takes a tensor; returns whether there is a part of this name.
    pub(crate) fn put(&mut self, name: &str, header: &TensorHeader, version: u32) -> bool {
        let of_moments = Moment::ALL.iter().flat_map(|moment| {
            [moment.count_name(), moment.diagonal_name(), moment.factor_name(), moment.whole_name()]
        });
        let others = [MEAN, LARGEST, MIXED_ROWS, GRADIENT_COUNT, GRADIENT_MEAN_SQUARE];
        let known = of_moments.chain(others).find(|known| *known == name);
        // A file of version 1 with parts of version 2 was edited by hand: these parts count as unknown.
        let known = known.filter(|known| version > 1 || FIRST_VERSION.contains(known));
        known.map(|known| self.0.insert(known, header.clone())).is_some()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&TensorHeader> {
        self.0.get(name)
    }

    /// Returns how much is known of a second moment, `None` where nothing is.
    pub(crate) fn knowledge(&self, moment: Moment) -> Option<Knowledge> {
        self.get(moment.diagonal_name())?;
        Some(match (self.get(moment.whole_name()), self.get(moment.factor_name())) {
            (Some(_), _) => Knowledge::Full,
            // `check` has seen that the rank is at most the side of a tensor that is there.
            (None, Some(factor)) => Knowledge::Factor { rank: factor.shape[1] as usize },
            (None, None) => Knowledge::Diagonal,
        })
    }

    /// Checks that all is there that belongs together, and has the shape it must have.
    ///
    /// # Errors
    /// The first part that is missing or of another shape.
    pub(crate) fn check(&self, shape: &LayerShape) -> Result<(), Kind> {
        self.require(Moment::Inputs.diagonal_name())?;
        self.has_shape(MEAN, Dtype::F32, &[shape.columns])?;
        self.has_shape(LARGEST, Dtype::F32, &[1])?;
        for moment in Moment::ALL {
            self.check_moment(moment, shape)?;
        }
        if self.get(Moment::Inputs.whole_name()).is_some() && self.get(MEAN).is_none() {
            return Err(Kind::CovarianceWithoutMean);
        }
        self.has_shape(GRADIENT_COUNT, Dtype::I64, &[1])?;
        self.has_shape(GRADIENT_MEAN_SQUARE, Dtype::F32, &[1])?;
        // Whatever is of gradients comes with their count and mean square.
        let [weighted, outputs] = [Moment::Weighted, Moment::Outputs].map(Moment::diagonal_name);
        let of_gradients = [GRADIENT_COUNT, GRADIENT_MEAN_SQUARE, weighted, outputs];
        if of_gradients.iter().any(|part| self.get(part).is_some()) {
            self.require(GRADIENT_COUNT)?;
            self.require(GRADIENT_MEAN_SQUARE)?;
        }
        if let Some(rows) = self.get(MIXED_ROWS) {
            self.require(Moment::Mixed.diagonal_name())?;
            let ranges = rows.shape.first().copied().unwrap_or(0);
            self.has_shape(MIXED_ROWS, Dtype::I64, &[ranges, 2])?;
        }
        Ok(())
    }

    fn check_moment(&self, moment: Moment, shape: &LayerShape) -> Result<(), Kind> {
        let [count, diagonal, factor, whole] = [
            moment.count_name(),
            moment.diagonal_name(),
            moment.factor_name(),
            moment.whole_name(),
        ];
        let is_there = |part| self.get(part).is_some();
        if is_there(diagonal) {
            self.require(count)?;
        } else if is_there(factor) || is_there(whole) || moment == Moment::Mixed && is_there(count)
        {
            self.require(diagonal)?;
        }
        let of_diagonal = || self.get(diagonal).and_then(|it| it.shape.first().copied());
        let side = match moment.side(shape) {
            // Where the file does not know the rows, the diagonal gives their number.
            0 => of_diagonal().unwrap_or(0),
            side => side,
        };
        self.has_shape(count, Dtype::I64, &[1])?;
        self.has_shape(diagonal, Dtype::F32, &[side])?;
        self.has_shape(whole, Dtype::F32, &[side, side])?;
        let Some(header) = self.get(factor) else { return Ok(()) };
        let rank = header.shape.get(1).copied().unwrap_or(0);
        self.has_shape(factor, Dtype::F32, &[side, rank])?;
        match rank == 0 || rank > side {
            true => Err(Kind::Rank { rank, columns: side }),
            false => Ok(()),
        }
    }

    fn require(&self, part: &'static str) -> Result<(), Kind> {
        self.get(part).map(drop).ok_or(Kind::MissingPart { part })
    }

    fn has_shape(
        &self,
        part: &'static str,
        expected_dtype: Dtype,
        shape: &[u64],
    ) -> Result<(), Kind> {
        match self.get(part) {
            Some(header) if header.dtype != expected_dtype || header.shape != shape => {
                Err(Kind::PartShape {
                    part,
                    found_dtype: header.dtype,
                    found_shape: header.shape.clone(),
                    expected_dtype,
                    expected: format!("{shape:?}"),
                })
            }
            _ => Ok(()),
        }
    }
}

/// Returns the tensors of a second moment of a layer, its count left out.
pub(crate) fn moment_specs(
    shape: &LayerShape,
    moment: Moment,
    side: u64,
    knowledge: Knowledge,
) -> Vec<TensorSpec> {
    let mut specs = vec![spec(shape, moment.diagonal_name(), Dtype::F32, &[side])];
    match knowledge {
        Knowledge::Diagonal => {}
        Knowledge::Factor { rank } => {
            specs.push(spec(shape, moment.factor_name(), Dtype::F32, &[side, rank as u64]));
        }
        Knowledge::Full => specs.push(spec(shape, moment.whole_name(), Dtype::F32, &[side, side])),
    }
    specs
}

/// Returns one tensor of a layer.
pub(crate) fn spec(layer: &LayerShape, part: &str, dtype: Dtype, shape: &[u64]) -> TensorSpec {
    TensorSpec { name: part_name(&layer.module, part), dtype, shape: shape.to_vec() }
}

pub(crate) fn part_name(module: &str, part: &str) -> String {
    format!("{module}.{part}")
}
