//! The JSON that tells ComfyUI how a layer is stored.

pub(crate) mod format;
pub(crate) mod json;

use std::collections::BTreeMap;

use roundwise_scheme::{GridKind, LEVEL_GROUP, Rotation, Scheme, Tiling};
use serde::{Deserialize, Deserializer, Serialize};

use crate::layer_shape::LayerShape;
use crate::legacy::{SCALED_FP8, SCALED_FP16};
use crate::marker::format::{Format, FormatRotation, FormatScales};
use crate::marker::json::spaced_json;
use crate::matmul_precision::MatmulPrecision;
use crate::packing::Packing;

/// The marker of a layer `x` is called `x.comfy_quant`.
pub(crate) const MARKER_PART: &str = "comfy_quant";

/// Returns whether a tensor of this name says how others are stored: a layer's marker, or that of a whole file.
pub fn is_marker(name: &str) -> bool {
    [MARKER_PART, SCALED_FP8, SCALED_FP16].iter().any(|part| name.ends_with(part))
}

/// Key of the header entry that repeats every layer's marker.
pub const QUANTIZATION_METADATA: &str = "_quantization_metadata";

/// Longest marker that is read; real ones have under 200 bytes.
pub const MARKER_LIMIT_BYTES: u64 = 64 * 1024;

/// `linear_dtype` of inputs in 8 bits.
const EIGHT_BITS: &str = "int8";

/// Options that say nothing of the codes: what a weight was before them, and the table that others stand in.
const NOTES: [&str; 2] = ["orig_dtype", "params"];

/// Columns that a rotation spans where the marker does not say.
const ROTATION_GROUP: u64 = 256;

/// The JSON object that tells ComfyUI how a layer is stored: the content of `<layer>.comfy_quant`
/// and of the layer's entry in the header.
///
/// Fields are written in the order of the published converters; fields that no loader reads are
/// dropped on reading.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// How codes and scales are to be understood. Required by the loader.
    pub format: String,
    /// Block edge, where the format has blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_size: Option<u64>,
    /// Whether to dequantize before multiplying, so that inputs are not quantized.
    #[serde(default, deserialize_with = "read_truth", skip_serializing_if = "Option::is_none")]
    pub full_precision_matrix_mult: Option<bool>,
    /// Whether the stored codes are of the rotated weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub convrot: Option<bool>,
    /// Columns that one rotation spans.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub convrot_groupsize: Option<u64>,
    /// Of what inputs are rounded to before 4-bit codes are multiplied: `int8` for 8 bits in place of 4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linear_dtype: Option<String>,
    /// Says of INT8 that every row has its scale; loaders look at the scale's shape instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_row: Option<bool>,
    /// `[rows, cols]` of the weight, or of each expert's, without the zeros that fill it up. No loader reads it;
    /// without it no reader can tell these zeros from weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orig_shape: Option<Vec<u64>>,
    /// How many experts a bank holds. ComfyUI writes it and does not read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_experts: Option<u64>,
    /// Options that no loader is known to read, as they were found; they are not written.
    #[serde(flatten, skip_serializing)]
    pub unknown: BTreeMap<String, serde_json::Value>,
}

/// Reads what Python, in which loaders are written, takes for true or false.
fn read_truth<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    use serde_json::Value;
    Ok(match Value::deserialize(from)? {
        Value::Null => None,
        Value::Bool(is_true) => Some(is_true),
        Value::Number(number) => Some(number.as_f64() != Some(0.0)),
        Value::String(text) => Some(!text.is_empty()),
        Value::Array(values) => Some(!values.is_empty()),
        Value::Object(values) => Some(!values.is_empty()),
    })
}

impl Marker {
    /// Makes the marker of a weight, `None` where no program has a name for the scheme.
    pub fn of(scheme: Scheme, shape: impl Into<LayerShape>) -> Option<Self> {
        let LayerShape { experts, matrix: shape } = shape.into();
        let format = Format::of(scheme)?;
        // The group that this matrix comes to, not the largest that the scheme allows: loaders
        // rotate by the number in the marker.
        let group = scheme.rotation().and_then(|rotation| rotation.group(shape[1]));
        let is_optional = format.rotation == FormatRotation::Optional;
        // Written also where it is the edge that readers assume: a marker then says what the codes
        // are by itself.
        let group_size = match (&format.scales, scheme.tiling()) {
            (FormatScales::Levels, _) => Some(LEVEL_GROUP as u64),
            (
                FormatScales::Square { .. } | FormatScales::Group { .. },
                Tiling::Block { cols, .. },
            ) => Some(cols as u64),
            _ => None,
        };
        let tells_rows = matches!(format.scales, FormatScales::TensorOrRow);
        // Loaders know the shape from the model's own code; a program that does not would take the
        // zeros for weights.
        let is_padded = Packing::of_comfy(scheme, shape).is_padded();
        Some(Marker {
            format: format.name.to_owned(),
            group_size,
            full_precision_matrix_mult: None,
            convrot: (is_optional && scheme.rotation().is_some()).then_some(true),
            convrot_groupsize: group.map(|group| group as u64),
            linear_dtype: None,
            per_row: (tells_rows && scheme.tiling() == Tiling::Row).then_some(true),
            orig_shape: is_padded.then(|| shape.map(|size| size as u64).to_vec()),
            num_experts: experts.map(|experts| experts as u64),
            unknown: BTreeMap::new(),
        })
    }

    /// Returns the marker of the same layer, multiplied in this precision.
    #[must_use]
    pub fn asking_for(self, precision: MatmulPrecision) -> Self {
        let format = Format::named(&self.format);
        let has_choice = format.is_some_and(|format| format.grid == GridKind::Int4);
        let (full_precision_matrix_mult, linear_dtype) = match precision {
            MatmulPrecision::Any => (None, None),
            MatmulPrecision::EightBits => (None, has_choice.then(|| EIGHT_BITS.to_owned())),
            MatmulPrecision::Full => (Some(true), None),
        };
        Marker { full_precision_matrix_mult, linear_dtype, ..self }
    }

    /// Returns how the layer may be multiplied.
    pub fn matmul_precision(&self) -> MatmulPrecision {
        match self.full_precision_matrix_mult {
            Some(true) => MatmulPrecision::Full,
            Some(false) | None if self.linear_dtype.as_deref() == Some(EIGHT_BITS) => {
                MatmulPrecision::EightBits
            }
            Some(false) | None => MatmulPrecision::Any,
        }
    }

    /// Returns the scheme that this marker stands for.
    ///
    /// - `scale_shape`: of the scale tensor; INT8 tells rows from tensors by it
    /// - `cols`: of the weight, which decide the default rotation
    ///
    /// # Errors
    /// One line that says what is not understood.
    pub fn scheme(&self, scale_shape: &[u64], cols: usize) -> Result<Scheme, String> {
        let stored = self.unrotated_scheme(scale_shape)?;
        let format = Format::named(&self.format);
        if self.convrot == Some(true)
            && format.is_some_and(|format| format.rotation == FormatRotation::Never)
        {
            let name = &self.format;
            return Err(format!("`convrot` is set, and no program is known to rotate `{name}`"));
        }
        let Some(group) = self.rotation_group() else { return Ok(stored) };
        // ComfyUI's rotations are Kronecker powers of one 4×4 matrix; a loader stops at any other
        // group. `of_group` gives the default rotation where it comes to this group, so that a file is
        // read as the scheme that it was written with.
        let rotation = usize::try_from(group).ok().and_then(|it| Rotation::of_group(it, cols));
        match rotation {
            Some(rotation) if stored.has_levels() => Ok(Scheme::leveled(rotation)),
            Some(rotation) => Ok(Scheme::rotated(stored.grid(), stored.tiling(), rotation)),
            None => Err(format!(
                "`convrot_groupsize` is {group}; a power of 4 that divides {cols} columns is needed"
            )),
        }
    }

    /// Returns the scheme of the codes as they are stored, whatever is rotated before.
    ///
    /// # Errors
    /// As [`Marker::scheme`].
    pub(crate) fn unrotated_scheme(&self, scale_shape: &[u64]) -> Result<Scheme, String> {
        let name = &self.format;
        let format = Format::named(name).ok_or_else(|| format!("format `{name}` is not known"))?;
        let tiling = match format.scales {
            FormatScales::Only(scheme) => return Ok(scheme),
            FormatScales::Levels => {
                return match self.group_size.unwrap_or(LEVEL_GROUP as u64) {
                    size if size == LEVEL_GROUP as u64 => Ok(Scheme::INT4_LEVELS),
                    size => Err(format!("`group_size` is {size}; levels of groups of 16 are read")),
                };
            }
            FormatScales::TensorOrRow if self.has_row_scales(scale_shape) => Tiling::Row,
            FormatScales::Tensor | FormatScales::TensorOrRow => Tiling::Tensor,
            FormatScales::Row => Tiling::Row,
            FormatScales::Square { assumed_edge } => {
                Tiling::square(self.group_size_or(assumed_edge)?)
            }
            FormatScales::Group { assumed_cols } => {
                Tiling::group(self.group_size_or(assumed_cols)?)
            }
        };
        Ok(Scheme::scaled(format.grid, tiling))
    }

    fn group_size_or(&self, assumed: u64) -> Result<usize, String> {
        let size = self.group_size.unwrap_or(assumed);
        let checked = usize::try_from(size).ok().filter(|size| *size > 0);
        checked.ok_or_else(|| format!("`group_size` is {size}"))
    }

    /// Returns the columns that one rotation spans, where the codes are of a rotated weight.
    fn rotation_group(&self) -> Option<u64> {
        let is_rotated = match Format::named(&self.format)?.rotation {
            FormatRotation::Never => false,
            FormatRotation::Optional => self.convrot == Some(true),
            FormatRotation::Always => true,
        };
        is_rotated.then(|| self.convrot_groupsize.unwrap_or(ROTATION_GROUP))
    }

    /// Tells whether every row has its scale. Loaders look at the shape, so `per_row` is asked only
    /// for a matrix that may have a single row.
    fn has_row_scales(&self, scale_shape: &[u64]) -> bool {
        match scale_shape {
            [] | [1] => false,
            [1, 1] => self.per_row == Some(true),
            _ => true,
        }
    }

    /// Tells whether codes and products are the same under both. Notes that no loader reads may
    /// differ.
    pub(crate) fn means_the_same_as(&self, other: &Marker) -> bool {
        // Without a scale shape, INT8 counts as having one scale for all on both sides: the shape of
        // the scales is a matter of the tensors, not of the markers.
        self.unrotated_scheme(&[]) == other.unrotated_scheme(&[])
            && self.rotation_group() == other.rotation_group()
            && self.matmul_precision() == other.matmul_precision()
    }

    /// Serialises to the bytes that Python's `json.dumps` gives: `": "` and `", "` between parts.
    pub fn to_json(&self) -> String {
        spaced_json(&serde_json::to_value(self).expect("a marker is plain JSON"))
    }

    /// Reads a marker tensor's bytes.
    ///
    /// # Errors
    /// One line that says why the bytes are not a marker.
    pub fn from_json(bytes: &[u8]) -> Result<Self, String> {
        // A problem of its own, since `repair` knows what to do about NUL bytes.
        if bytes.contains(&0) {
            return Err("holds NUL bytes".to_owned());
        }
        let value: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|error| format!("is not JSON: {error}"))?;
        Self::from_value(&value)
    }

    /// Reads the options of a marker without `format`; `None` where it is no JSON object at all.
    pub(crate) fn options(bytes: &[u8]) -> Option<Self> {
        let mut value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
        // With an empty `format`, which reading demands, so that the rest is read by the same rules.
        value.as_object_mut()?.insert("format".to_owned(), "".into());
        Self::from_value(&value).ok()
    }

    /// Reads a marker that is part of a larger JSON text.
    ///
    /// # Errors
    /// As [`Marker::from_json`].
    pub fn from_value(value: &serde_json::Value) -> Result<Self, String> {
        let object = value.as_object().ok_or("is not a JSON object")?;
        if !object.contains_key("format") {
            return Err("has no `format`".to_owned());
        }
        // Newer files nest the options in `params`; the outer ones win where both exist.
        let mut flat =
            object.get("params").and_then(|p| p.as_object()).cloned().unwrap_or_default();
        flat.extend(object.iter().map(|(key, value)| (key.clone(), value.clone())));
        flat.retain(|key, _| !NOTES.contains(&key.as_str()));
        serde_json::from_value(serde_json::Value::Object(flat))
            .map_err(|error| format!("is not understood: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;
    use crate::legacy;
    use crate::served::Served;

    fn json_of(scheme: &str) -> String {
        Marker::of(scheme.parse().unwrap(), [64, 512]).unwrap().to_json()
    }

    // Texts as in `docs/layouts.md`; Python's `json.dumps` gives the same lengths.
    #[test]
    fn markers_are_the_bytes_that_loaders_know() {
        assert_eq!(json_of("fp8"), r#"{"format": "float8_e4m3fn"}"#);
        assert_eq!(json_of("fp8").len(), 27);
        assert_eq!(json_of("fp8-e5m2").len(), 25);
        assert_eq!(json_of("int8").len(), 29);
        assert_eq!(json_of("int8-row"), r#"{"format": "int8_tensorwise", "per_row": true}"#);
        assert_eq!(json_of("int8-row").len(), 46);
        assert_eq!(json_of("int8-block-128").len(), 47);
        assert_eq!(json_of("mxfp8"), r#"{"format": "mxfp8"}"#);
        assert_eq!(json_of("nvfp4"), r#"{"format": "nvfp4"}"#);
        let levels = r#"{"format": "asym_w4a8_int8", "group_size": 16, "convrot_groupsize": 256}"#;
        assert_eq!((json_of("int4-asym").as_str(), levels.len()), (levels, 72));
        let rotated = r#"{"format": "int8_tensorwise", "convrot": true, "convrot_groupsize": 256, "per_row": true}"#;
        assert_eq!((json_of("int8-row-convrot").as_str(), rotated.len()), (rotated, 89));
        let int4 = r#"{"format": "convrot_w4a4", "convrot_groupsize": 256}"#;
        assert_eq!((json_of("int4-convrot").as_str(), int4.len()), (int4, 52));
        let padded = Marker::of(Scheme::MXFP8, [20, 40]).unwrap().to_json();
        assert_eq!(padded, r#"{"format": "mxfp8", "orig_shape": [20, 40]}"#);
        let marker = Marker::of("fp8".parse().unwrap(), [1, 1]).unwrap();
        assert_eq!(
            marker.asking_for(MatmulPrecision::Full).to_json(),
            r#"{"format": "float8_e4m3fn", "full_precision_matrix_mult": true}"#
        );
    }

    #[test]
    fn every_scheme_of_the_catalogue_comes_back_from_its_marker() {
        for entry in roundwise_scheme::CATALOG {
            let Some(marker) = Marker::of(entry.scheme, [128, 384]) else {
                let is_for_servers = Served::of(Layout::CompressedTensors, entry.scheme).is_some();
                let is_legacy = legacy::admits(entry.scheme);
                let is_elsewhere = !entry.scheme.has_scales() || is_legacy || is_for_servers;
                assert!(is_elsewhere, "{}", entry.name);
                continue;
            };
            assert_eq!(Marker::from_json(marker.to_json().as_bytes()).unwrap(), marker);
            let scale_shape: &[u64] =
                if entry.scheme.tiling() == Tiling::Tensor { &[] } else { &[7, 1] };
            let found = marker.scheme(scale_shape, 384).unwrap();
            assert_eq!(found, entry.scheme.read_as(), "{}", entry.name);
        }
    }

    #[test]
    fn damaged_markers_say_what_is_wrong() {
        for (bytes, expected) in [
            (&b"{\"format\": \"fp8\"\0}"[..], "NUL"),
            (b"{", "not JSON"),
            (b"[]", "not a JSON object"),
            (b"{}", "no `format`"),
            (b"{\"format\": 3}", "invalid type"),
        ] {
            let message = Marker::from_json(bytes).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }
}
