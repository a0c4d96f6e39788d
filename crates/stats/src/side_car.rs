//! The safetensors side-car, read.

use std::collections::BTreeMap;
use std::path::Path;

use roundwise_tensor_file::{Checkpoint, Dtype, TensorHeader};

use crate::StatsErrorKind as Kind;
use crate::shape::{fingerprint_of_text, parse_layers};
use crate::{Knowledge, LayerShape, LayerStatistics, SecondMoment, StatsError};

/// Metadata `format` of every side-car.
pub const FORMAT: &str = "roundwise-stats";

/// Metadata `version` of the side-cars that this crate reads and writes.
pub const VERSION: &str = "1";

/// An open side-car: header checked, data unread.
#[derive(Debug)]
pub(crate) struct SideCar {
    checkpoint: Checkpoint,
    /// Tensors of each layer, in the layers' order.
    parts: Vec<Parts>,
}

/// Places of one layer's tensors.
#[derive(Debug, Default)]
struct Parts {
    count: Option<TensorHeader>,
    mean: Option<TensorHeader>,
    second_moment: Option<TensorHeader>,
    factor: Option<TensorHeader>,
    covariance: Option<TensorHeader>,
}

impl SideCar {
    /// Opens a side-car, checks all of its header and returns its layers, too, sorted by module.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<LayerShape>), StatsError> {
        let checkpoint = Checkpoint::open(path)?;
        let layers = checked_metadata(checkpoint.metadata()).map_err(|kind| kind.at(path))?;
        let mut parts: Vec<Parts> = layers.iter().map(|_| Parts::default()).collect();
        for tensor in checkpoint.tensors() {
            let slot = find_slot(&layers, &mut parts, &tensor.name)
                .ok_or_else(|| Kind::UnknownTensor { tensor: tensor.name.clone() }.at(path))?;
            *slot = Some(tensor.clone());
        }
        for (layer, parts) in layers.iter().zip(&parts) {
            parts.check(layer.columns).map_err(|kind| kind.at_layer(path, &layer.module))?;
        }
        Ok((Self { checkpoint, parts }, layers))
    }

    pub(crate) fn tool(&self) -> &str {
        self.checkpoint.metadata().get("tool").map_or("", String::as_str)
    }

    pub(crate) fn knowledge(&self, position: usize) -> Knowledge {
        let parts = &self.parts[position];
        match (&parts.covariance, &parts.factor) {
            (Some(_), _) => Knowledge::Full,
            // `check` has seen that the rank is at most the columns of a tensor that is there.
            (None, Some(factor)) => Knowledge::Factor { rank: factor.shape[1] as usize },
            (None, None) => Knowledge::Diagonal,
        }
    }

    pub(crate) fn has_mean(&self, position: usize) -> bool {
        self.parts[position].mean.is_some()
    }

    pub(crate) fn count(&self, position: usize) -> Result<Result<u64, Kind>, StatsError> {
        let header = self.parts[position].count.as_ref().expect("checked when it was opened");
        let mut bytes = [0; 8];
        self.checkpoint.read_into(header, 0, &mut bytes)?;
        let found = i64::from_le_bytes(bytes);
        Ok(u64::try_from(found)
            .ok()
            .filter(|&count| count > 0)
            .ok_or(Kind::Count { found: found.into() }))
    }

    /// Reads one layer, with at most twice its bytes in memory.
    pub(crate) fn layer(
        &self,
        position: usize,
    ) -> Result<Result<LayerStatistics, Kind>, StatsError> {
        let parts = &self.parts[position];
        let count = match self.count(position)? {
            Ok(count) => count,
            Err(kind) => return Ok(Err(kind)),
        };
        let mean = parts.mean.as_ref().map(|header| self.values(header)).transpose()?;
        let diagonal = parts.second_moment.as_ref().expect("checked when it was opened");
        let diagonal = self.values(diagonal)?;
        let second = match (&parts.covariance, &parts.factor) {
            (Some(covariance), _) => SecondMoment::Full { covariance: self.values(covariance)? },
            (None, Some(factor)) => SecondMoment::Factor {
                rank: factor.shape[1] as usize,
                values: self.values(factor)?,
            },
            (None, None) => SecondMoment::Diagonal,
        };
        Ok(LayerStatistics::new(count, mean, diagonal, second))
    }

    fn values(&self, header: &TensorHeader) -> Result<Vec<f32>, StatsError> {
        let bytes = self.checkpoint.read(header)?;
        let (values, _) = bytes.as_chunks::<4>();
        Ok(values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
    }
}

fn checked_metadata(metadata: &BTreeMap<String, String>) -> Result<Vec<LayerShape>, Kind> {
    let text = |key: &str| metadata.get(key).cloned();
    if text("format").as_deref() != Some(FORMAT) {
        return Err(Kind::NotStatistics { found: text("format"), expected: FORMAT });
    }
    match text("version") {
        Some(found) if found == VERSION => {}
        Some(found) => return Err(Kind::UnknownVersion { found, expected: VERSION }),
        None => return Err(Kind::Metadata { key: "version", found: None, expected: "a number" }),
    }
    let samples = text("samples");
    if samples.as_deref().is_none_or(|text| text.parse::<u64>().is_err()) {
        return Err(Kind::Metadata { key: "samples", found: samples, expected: "a number" });
    }
    let listed = text("layers");
    let expected = "sorted lines `module rows columns`";
    let layers = listed.as_deref().and_then(parse_layers).ok_or(Kind::Metadata {
        key: "layers",
        found: None,
        expected,
    })?;
    let expected = fingerprint_of_text(listed.as_deref().unwrap_or_default());
    match text("fingerprint") {
        Some(found) if found == expected => Ok(layers),
        Some(found) => Err(Kind::FingerprintDisagrees { found, expected }),
        None => Err(Kind::Metadata { key: "fingerprint", found: None, expected: "a hash" }),
    }
}

/// Finds the slot for the header of a tensor of this name.
fn find_slot<'a>(
    layers: &[LayerShape],
    parts: &'a mut [Parts],
    name: &str,
) -> Option<&'a mut Option<TensorHeader>> {
    let (module, part) = name.rsplit_once('.')?;
    let position = layers.binary_search_by(|layer| layer.module.as_str().cmp(module)).ok()?;
    let parts = &mut parts[position];
    match part {
        "count" => Some(&mut parts.count),
        "mean" => Some(&mut parts.mean),
        "second_moment" => Some(&mut parts.second_moment),
        "factor" => Some(&mut parts.factor),
        "covariance" => Some(&mut parts.covariance),
        _ => None,
    }
}

impl Parts {
    fn check(&self, columns: u64) -> Result<(), Kind> {
        let required = |part, header: &Option<TensorHeader>| match header {
            Some(_) => Ok(()),
            None => Err(Kind::MissingPart { part }),
        };
        required("count", &self.count)?;
        required("second_moment", &self.second_moment)?;
        check_shape("count", &self.count, Dtype::I64, &[1])?;
        check_shape("mean", &self.mean, Dtype::F32, &[columns])?;
        check_shape("second_moment", &self.second_moment, Dtype::F32, &[columns])?;
        check_shape("covariance", &self.covariance, Dtype::F32, &[columns, columns])?;
        if self.covariance.is_some() && self.mean.is_none() {
            return Err(Kind::CovarianceWithoutMean);
        }
        let Some(factor) = &self.factor else { return Ok(()) };
        let rank = factor.shape.get(1).copied().unwrap_or(0);
        check_shape("factor", &self.factor, Dtype::F32, &[columns, rank])?;
        if rank == 0 || rank > columns { Err(Kind::Rank { rank, columns }) } else { Ok(()) }
    }
}

fn check_shape(
    part: &'static str,
    header: &Option<TensorHeader>,
    expected_dtype: Dtype,
    shape: &[u64],
) -> Result<(), Kind> {
    match header {
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
