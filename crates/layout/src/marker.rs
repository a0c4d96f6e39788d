use roundwise_scheme::{GridKind, LEVEL_GROUP, Rotation, ScaleStorage, Scheme, Tiling};
use serde::{Deserialize, Serialize};

use crate::Products;
use crate::form::Form;

/// Longest marker that is read; real ones have under 200 bytes.
pub const MARKER_LIMIT_BYTES: u64 = 64 * 1024;

/// Block edge that the loaders assume where `float8_e4m3fn_blockwise` names none.
const FP8_BLOCK: u64 = 64;
/// The same for `int8_blockwise`.
const INT8_BLOCK: u64 = 128;

/// Format of 4-bit codes for levels of INT8 rows.
const LEVELED: &str = "asym_w4a8_int8";

/// Columns that a rotation spans where the marker does not say.
const ROTATION_GROUP: u64 = 256;

/// How codes and scales lie, as far as the marker alone tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MarkedForm {
    Tiled { grid: GridKind, tiling: Tiling },
    PowerOfTwo,
    PowerOfTwoAndLargest,
    TwoLevel,
    Leveled,
}

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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_precision_matrix_mult: Option<bool>,
    /// Whether the stored codes are of the rotated weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub convrot: Option<bool>,
    /// Columns that one rotation spans.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub convrot_groupsize: Option<u64>,
    /// Says of INT8 that every row has its scale; loaders look at the scale's shape instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_row: Option<bool>,
    /// `[rows, cols]` of the weight without what fills it up. No loader reads it; without it nobody
    /// can tell the zeros at the edges from weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orig_shape: Option<Vec<u64>>,
}

impl Marker {
    /// The marker of a `[rows, cols]` weight, `None` where no program has a name for the scheme.
    pub fn of(scheme: Scheme, shape: [usize; 2]) -> Option<Self> {
        let named = |format: &str| Marker { format: format.to_owned(), ..Marker::default() };
        let blocks =
            |format: &str, size: usize| Marker { group_size: Some(size as u64), ..named(format) };
        let group = scheme.rotation().and_then(|rotation| rotation.group(shape[1]));
        let group = group.map(|group| group as u64);
        let is_rotated = scheme.rotation().is_some();
        let marker = match (scheme.scale_storage(), scheme.grid()) {
            (ScaleStorage::PowerOfTwo, GridKind::E4m3) => named("mxfp8"),
            (ScaleStorage::PowerOfTwoAndLargest, GridKind::E4m3) => named("hybrid_mxfp8"),
            (ScaleStorage::TwoLevel, GridKind::E2m1) => named("nvfp4"),
            (ScaleStorage::Leveled, GridKind::Int8) => {
                Marker { convrot_groupsize: group, ..blocks("asym_w4a8_int8", LEVEL_GROUP) }
            }
            (ScaleStorage::F32(Tiling::Row), GridKind::Int8) => Marker {
                convrot: is_rotated.then_some(true),
                convrot_groupsize: group,
                per_row: Some(true),
                ..named("int8_tensorwise")
            },
            (ScaleStorage::F32(Tiling::Row), GridKind::Int4) if is_rotated => {
                Marker { convrot_groupsize: group, ..named("convrot_w4a4") }
            }
            (ScaleStorage::F32(tiling), grid) if !is_rotated => match (grid, tiling) {
                (GridKind::E4m3, Tiling::Tensor) => named("float8_e4m3fn"),
                (GridKind::E5m2, Tiling::Tensor) => named("float8_e5m2"),
                (GridKind::E4m3, Tiling::Row) => named("float8_e4m3fn_rowwise"),
                (GridKind::E4m3, Tiling::Block { rows, cols }) if rows == cols => {
                    blocks("float8_e4m3fn_blockwise", rows)
                }
                (GridKind::E4m3, Tiling::Block { rows: 1, cols }) => {
                    blocks("float8_e4m3fn_block3d", cols)
                }
                (GridKind::Int8, Tiling::Tensor) => named("int8_tensorwise"),
                (GridKind::Int8, Tiling::Block { rows, cols }) if rows == cols => {
                    blocks("int8_blockwise", rows)
                }
                _ => return None,
            },
            _ => return None,
        };
        let is_padded = Form::of(scheme, shape).is_padded();
        let orig_shape = is_padded.then(|| shape.map(|size| size as u64).to_vec());
        Some(Marker { orig_shape, ..marker })
    }

    /// Whether some program has a name for the scheme.
    pub(crate) fn has_format(scheme: Scheme) -> bool {
        /// Every scheme covers it, or covers nothing of its size.
        const ANY_SHAPE: [usize; 2] = [16, 16];
        Marker::of(scheme, ANY_SHAPE).is_some()
    }

    /// The same marker for a layer that is multiplied so.
    #[must_use]
    pub fn asking_for(self, products: Products) -> Self {
        let full_precision_matrix_mult = match products {
            Products::Any => None,
            Products::FullPrecision => Some(true),
        };
        Marker { full_precision_matrix_mult, ..self }
    }

    /// How the layer may be multiplied.
    pub fn products(&self) -> Products {
        match self.full_precision_matrix_mult {
            Some(true) => Products::FullPrecision,
            Some(false) | None => Products::Any,
        }
    }

    /// The scheme that this marker stands for.
    ///
    /// - `scale_shape`: of the scale tensor; INT8 tells rows from tensors by it
    /// - `cols`: of the weight; the default rotation is told by them
    ///
    /// # Errors
    /// One line that says what is not understood.
    pub fn scheme(&self, scale_shape: &[u64], cols: usize) -> Result<Scheme, String> {
        let (grid, tiling) = match self.form()? {
            MarkedForm::PowerOfTwo => return Ok(Scheme::MXFP8),
            MarkedForm::PowerOfTwoAndLargest => return Ok(Scheme::HYBRID_MXFP8),
            MarkedForm::TwoLevel => return Ok(Scheme::NVFP4),
            MarkedForm::Leveled => (GridKind::Int8, Tiling::Row),
            MarkedForm::Tiled { grid: GridKind::Int8, tiling: Tiling::Tensor }
                if self.has_row_scales(scale_shape) =>
            {
                (GridKind::Int8, Tiling::Row)
            }
            MarkedForm::Tiled { grid, tiling } => (grid, tiling),
        };
        let Some(group) = self.rotation_group() else { return Ok(Scheme::scaled(grid, tiling)) };
        let rotation = usize::try_from(group).ok().and_then(|it| Rotation::of_group(it, cols));
        match rotation {
            Some(rotation) if self.format == LEVELED => Ok(Scheme::leveled(rotation)),
            Some(rotation) => Ok(Scheme::rotated(grid, tiling, rotation)),
            None => Err(format!(
                "`convrot_groupsize` is {group}; a power of 4 that divides {cols} columns is needed"
            )),
        }
    }

    /// The grid of the codes.
    ///
    /// # Errors
    /// As [`Marker::scheme`].
    pub(crate) fn grid(&self) -> Result<GridKind, String> {
        Ok(match self.form()? {
            MarkedForm::PowerOfTwo | MarkedForm::PowerOfTwoAndLargest => GridKind::E4m3,
            MarkedForm::Leveled => GridKind::Int8,
            MarkedForm::TwoLevel => GridKind::E2m1,
            MarkedForm::Tiled { grid, .. } => grid,
        })
    }

    fn form(&self) -> Result<MarkedForm, String> {
        let tiled = |grid, tiling| MarkedForm::Tiled { grid, tiling };
        let block = |default: u64| -> Result<Tiling, String> {
            let size = self.group_size.unwrap_or(default);
            match usize::try_from(size) {
                Ok(size) if size > 0 => Ok(Tiling::Block { rows: size, cols: size }),
                _ => Err(format!("`group_size` is {size}")),
            }
        };
        Ok(match self.format.as_str() {
            "float8_e4m3fn" => tiled(GridKind::E4m3, Tiling::Tensor),
            "float8_e5m2" => tiled(GridKind::E5m2, Tiling::Tensor),
            "float8_e4m3fn_rowwise" => tiled(GridKind::E4m3, Tiling::Row),
            "float8_e4m3fn_blockwise" => tiled(GridKind::E4m3, block(FP8_BLOCK)?),
            "float8_e4m3fn_block3d" => match block(FP8_BLOCK)? {
                Tiling::Block { cols, .. } => {
                    tiled(GridKind::E4m3, Tiling::Block { rows: 1, cols })
                }
                tiling => tiled(GridKind::E4m3, tiling),
            },
            LEVELED => match self.group_size.unwrap_or(LEVEL_GROUP as u64) {
                size if size == LEVEL_GROUP as u64 => MarkedForm::Leveled,
                size => {
                    return Err(format!("`group_size` is {size}; levels of groups of 16 are read"));
                }
            },
            "int8_tensorwise" => tiled(GridKind::Int8, Tiling::Tensor),
            "int8_blockwise" => tiled(GridKind::Int8, block(INT8_BLOCK)?),
            "convrot_w4a4" => tiled(GridKind::Int4, Tiling::Row),
            "mxfp8" => MarkedForm::PowerOfTwo,
            "hybrid_mxfp8" => MarkedForm::PowerOfTwoAndLargest,
            "nvfp4" => MarkedForm::TwoLevel,
            other => return Err(format!("format `{other}` is not known")),
        })
    }

    /// Whether 4-bit codes stand for levels of INT8 rows.
    pub(crate) fn is_leveled(&self) -> bool {
        self.format == LEVELED
    }

    /// Columns that one rotation spans, where the codes are of a rotated weight.
    fn rotation_group(&self) -> Option<u64> {
        let is_rotated = match self.format.as_str() {
            "convrot_w4a4" | LEVELED => true,
            "int8_tensorwise" => self.convrot == Some(true),
            _ => false,
        };
        is_rotated.then(|| self.convrot_groupsize.unwrap_or(ROTATION_GROUP))
    }

    /// Loaders look at the shape; `per_row` is asked only for a matrix that may have a single row.
    fn has_row_scales(&self, scale_shape: &[u64]) -> bool {
        match scale_shape {
            [] | [1] => false,
            [1, 1] => self.per_row == Some(true),
            _ => true,
        }
    }

    /// Whether codes and products are the same under both; notes that no loader reads may differ.
    pub(crate) fn means_the_same_as(&self, other: &Marker) -> bool {
        self.form() == other.form()
            && self.rotation_group() == other.rotation_group()
            && self.products() == other.products()
    }

    /// The bytes that Python's `json.dumps` would give: `": "` and `", "` between parts.
    pub fn to_json(&self) -> String {
        spaced_json(&serde_json::to_value(self).expect("a marker is plain JSON"))
    }

    /// Reads a marker tensor's bytes.
    ///
    /// # Errors
    /// One line that says why the bytes are not a marker.
    pub fn from_json(bytes: &[u8]) -> Result<Self, String> {
        if bytes.contains(&0) {
            return Err("holds NUL bytes".to_owned());
        }
        let value: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|error| format!("is not JSON: {error}"))?;
        Self::from_value(&value)
    }

    /// What a marker without `format` says; `None` where it is no JSON object at all.
    pub(crate) fn options(bytes: &[u8]) -> Option<Self> {
        let mut value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
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
        serde_json::from_value(serde_json::Value::Object(flat))
            .map_err(|error| format!("is not understood: {error}"))
    }
}

/// Serialises with a space after `:` and `,`, as Python does by default. Keys keep their order.
pub(crate) fn spaced_json(value: &serde_json::Value) -> String {
    struct Spaced;
    impl serde_json::ser::Formatter for Spaced {
        fn begin_object_key<W: ?Sized + std::io::Write>(
            &mut self,
            writer: &mut W,
            first: bool,
        ) -> std::io::Result<()> {
            if first { Ok(()) } else { writer.write_all(b", ") }
        }

        fn begin_object_value<W: ?Sized + std::io::Write>(
            &mut self,
            writer: &mut W,
        ) -> std::io::Result<()> {
            writer.write_all(b": ")
        }

        fn begin_array_value<W: ?Sized + std::io::Write>(
            &mut self,
            writer: &mut W,
            first: bool,
        ) -> std::io::Result<()> {
            if first { Ok(()) } else { writer.write_all(b", ") }
        }
    }
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Spaced);
    value.serialize(&mut serializer).expect("writing to memory cannot fail");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Layout;

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
            marker.asking_for(Products::FullPrecision).to_json(),
            r#"{"format": "float8_e4m3fn", "full_precision_matrix_mult": true}"#
        );
    }

    #[test]
    fn every_scheme_of_the_catalogue_comes_back_from_its_marker() {
        for entry in roundwise_scheme::CATALOG {
            let Some(marker) = Marker::of(entry.scheme, [128, 384]) else {
                let is_plain = entry.scheme.scale_storage() == ScaleStorage::Unscaled;
                assert!(is_plain || Layout::Comfy.admits(entry.scheme).is_err(), "{}", entry.name);
                continue;
            };
            assert_eq!(Marker::from_json(marker.to_json().as_bytes()).unwrap(), marker);
            let scale_shape: &[u64] =
                if entry.scheme.tiling() == Tiling::Tensor { &[] } else { &[7, 1] };
            assert_eq!(marker.scheme(scale_shape, 384).unwrap(), entry.scheme, "{}", entry.name);
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
