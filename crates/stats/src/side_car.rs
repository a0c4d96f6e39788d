//! The safetensors side-car, read.

use std::collections::BTreeMap;
use std::path::Path;

use roundwise_tensor_file::{Checkpoint, TensorHeader};

use crate::StatsErrorKind as Kind;
use crate::parts::{
    GRADIENT_COUNT, GRADIENT_MEAN_SQUARE, LARGEST, LayerHeaders, MEAN, MIXED_ROWS, Moment,
};
use crate::shape::{fingerprint_of_text, parse_layers};
use crate::{
    Curvature, Knowledge, LayerShape, LayerStatistics, MixedInputs, OutputGradient, SecondMoment,
    StatsError,
};

/// Metadata `format` of every side-car.
pub const FORMAT: &str = "roundwise-stats";

/// Metadata `version` of side-cars that hold no more than the statistics of inputs.
pub const VERSION: &str = "1";

/// Metadata `version` of side-cars that hold more.
pub const CURVATURE_VERSION: &str = "2";

/// An open side-car: header checked, data unread.
#[derive(Debug)]
pub(crate) struct SideCar {
    checkpoint: Checkpoint,
    /// Tensors of each layer, in the layers' order.
    parts: Vec<LayerHeaders>,
    curvature: Option<Curvature>,
}

impl SideCar {
    /// Opens a side-car, checks all of its header and returns its layers, too, sorted by module.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<LayerShape>), StatsError> {
        let checkpoint = Checkpoint::open(path)?;
        let metadata = checkpoint.metadata();
        let (version, layers) = checked_metadata(metadata).map_err(|kind| kind.at(path))?;
        let curvature = curvature(metadata).map_err(|kind| kind.at(path))?;
        let mut parts: Vec<LayerHeaders> = layers.iter().map(|_| LayerHeaders::default()).collect();
        // A tensor of no listed layer is refused: the fingerprint, which is of the list, would not show
        // it.
        for tensor in checkpoint.tensors() {
            // At the last dot: modules have dots in their names, parts have none.
            let is_known = tensor.name.rsplit_once('.').is_some_and(|(module, part)| {
                let found = layers.binary_search_by(|layer| layer.module.as_str().cmp(module));
                found.is_ok_and(|position| parts[position].put(part, tensor, version))
            });
            if !is_known {
                return Err(Kind::UnknownTensor { tensor: tensor.name.clone() }.at(path));
            }
        }
        // Gradients of unknown predictions say nothing about a loss.
        if curvature.is_none() && parts.iter().any(|parts| parts.get(GRADIENT_COUNT).is_some()) {
            let kind = Kind::Metadata { key: "curvature", found: None, expected: CURVATURES };
            return Err(kind.at(path));
        }
        for (layer, parts) in layers.iter().zip(&parts) {
            parts.check(layer).map_err(|kind| kind.at_layer(path, &layer.module))?;
        }
        Ok((Self { checkpoint, parts, curvature }, layers))
    }

    pub(crate) fn tool(&self) -> &str {
        self.checkpoint.metadata().get("tool").map_or("", String::as_str)
    }

    pub(crate) fn curvature(&self) -> Option<Curvature> {
        self.curvature
    }

    pub(crate) fn knowledge(&self, position: usize, moment: Moment) -> Option<Knowledge> {
        self.parts[position].knowledge(moment)
    }

    pub(crate) fn has_mean(&self, position: usize) -> bool {
        self.parts[position].get(MEAN).is_some()
    }

    pub(crate) fn has_largest(&self, position: usize) -> bool {
        self.parts[position].get(LARGEST).is_some()
    }

    pub(crate) fn has_gradient(&self, position: usize) -> bool {
        self.parts[position].get(GRADIENT_COUNT).is_some()
    }

    pub(crate) fn side_of_outputs(&self, position: usize) -> Option<u64> {
        let diagonal = self.parts[position].get(Moment::Outputs.diagonal_name())?;
        diagonal.shape.first().copied()
    }

    pub(crate) fn count(
        &self,
        position: usize,
        moment: Moment,
    ) -> Result<Result<u64, Kind>, StatsError> {
        let header = self.parts[position].get(moment.count_name());
        let [found] = self.integers(header.expect("checked when it was opened"))?[..] else {
            unreachable!("checked when it was opened")
        };
        Ok(u64::try_from(found)
            .ok()
            .filter(|&count| count > 0)
            .ok_or(Kind::Count { found: found.into() }))
    }

    /// Reads the statistics of one layer's inputs, with at most twice their bytes in memory.
    pub(crate) fn layer(
        &self,
        position: usize,
    ) -> Result<Result<LayerStatistics, Kind>, StatsError> {
        let found = self.moment(position, Moment::Inputs)?;
        let found = found.map(|found| found.expect("checked when it was opened"));
        let largest = self.parts[position].get(LARGEST).map(|header| self.values(header));
        Ok(match largest.transpose()? {
            Some(largest) => found.and_then(|found| found.with_largest(largest[0])),
            None => found,
        })
    }

    pub(crate) fn mixed(
        &self,
        position: usize,
        shape: &LayerShape,
    ) -> Result<Result<Option<MixedInputs>, Kind>, StatsError> {
        let moment = match self.moment(position, Moment::Mixed)? {
            Ok(Some(moment)) => moment,
            Ok(None) => return Ok(Ok(None)),
            Err(kind) => return Ok(Err(kind)),
        };
        let rows = self.parts[position].get(MIXED_ROWS).map(|header| self.integers(header));
        let ends = rows.transpose()?.unwrap_or_default();
        // A negative end counts as past the end of every weight.
        let end = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
        let (ranges, _) = ends.as_chunks::<2>();
        let ranges = ranges.iter().map(|range| range.map(end)).collect();
        Ok(MixedInputs::new(moment, ranges, shape.rows).map(Some))
    }

    pub(crate) fn gradient(
        &self,
        position: usize,
    ) -> Result<Result<Option<OutputGradient>, Kind>, StatsError> {
        let Some(header) = self.parts[position].get(GRADIENT_MEAN_SQUARE) else {
            return Ok(Ok(None));
        };
        let mean_square = self.values(header)?[0];
        // One count for both moments of gradients; see `Moment::count_name`.
        let count = self.count(position, Moment::Weighted)?;
        let weighted = self.moment(position, Moment::Weighted)?;
        let outputs = self.moment(position, Moment::Outputs)?;
        let all = || OutputGradient::new(count?, mean_square, weighted?, outputs?).map(Some);
        Ok(all())
    }

    fn moment(
        &self,
        position: usize,
        moment: Moment,
    ) -> Result<Result<Option<LayerStatistics>, Kind>, StatsError> {
        let parts = &self.parts[position];
        let Some(diagonal) = parts.get(moment.diagonal_name()) else { return Ok(Ok(None)) };
        let count = match self.count(position, moment)? {
            Ok(count) => count,
            Err(kind) => return Ok(Err(kind)),
        };
        let diagonal = self.values(diagonal)?;
        let second = match (parts.get(moment.whole_name()), parts.get(moment.factor_name())) {
            (Some(whole), _) => SecondMoment::Full { covariance: self.values(whole)? },
            (None, Some(factor)) => SecondMoment::Factor {
                rank: factor.shape[1] as usize,
                values: self.values(factor)?,
            },
            (None, None) => SecondMoment::Diagonal,
        };
        let mean = match moment {
            Moment::Inputs => parts.get(MEAN).map(|header| self.values(header)).transpose()?,
            // About zero.
            Moment::Mixed | Moment::Weighted | Moment::Outputs => Some(vec![0.0; diagonal.len()]),
        };
        Ok(LayerStatistics::new(count, mean, diagonal, second).map(Some))
    }

    fn values(&self, header: &TensorHeader) -> Result<Vec<f32>, StatsError> {
        let bytes = self.checkpoint.read(header)?;
        let (values, _) = bytes.as_chunks::<4>();
        Ok(values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
    }

    fn integers(&self, header: &TensorHeader) -> Result<Vec<i64>, StatsError> {
        let bytes = self.checkpoint.read(header)?;
        let (values, _) = bytes.as_chunks::<8>();
        Ok(values.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect())
    }
}

const CURVATURES: &str = "`tokens` or `gaussian`";

fn curvature(metadata: &BTreeMap<String, String>) -> Result<Option<Curvature>, Kind> {
    let Some(found) = metadata.get("curvature") else { return Ok(None) };
    let known = Curvature::named(found);
    let found = Some(found.clone());
    let unknown = || Kind::Metadata { key: "curvature", found, expected: CURVATURES };
    known.map(Some).ok_or_else(unknown)
}

fn checked_metadata(metadata: &BTreeMap<String, String>) -> Result<(u32, Vec<LayerShape>), Kind> {
    let text = |key: &str| metadata.get(key).cloned();
    if text("format").as_deref() != Some(FORMAT) {
        return Err(Kind::NotStatistics { found: text("format"), expected: FORMAT });
    }
    let version = match text("version") {
        Some(found) if found == VERSION => 1,
        Some(found) if found == CURVATURE_VERSION => 2,
        Some(found) => return Err(Kind::UnknownVersion { found, expected: "1 and 2" }),
        None => return Err(Kind::Metadata { key: "version", found: None, expected: "a number" }),
    };
    let samples = text("samples");
    if samples.as_deref().is_none_or(|text| text.parse::<u64>().is_err()) {
        return Err(Kind::Metadata { key: "samples", found: samples, expected: "a number" });
    }
    let listed = text("layers");
    let expected = "sorted lines `module rows columns`";
    // What was found is not shown: the list has a line for every layer.
    let layers = listed.as_deref().and_then(parse_layers).ok_or(Kind::Metadata {
        key: "layers",
        found: None,
        expected,
    })?;
    let expected = fingerprint_of_text(listed.as_deref().unwrap_or_default());
    match text("fingerprint") {
        Some(found) if found == expected => Ok((version, layers)),
        Some(found) => Err(Kind::FingerprintDisagrees { found, expected }),
        None => Err(Kind::Metadata { key: "fingerprint", found: None, expected: "a hash" }),
    }
}
