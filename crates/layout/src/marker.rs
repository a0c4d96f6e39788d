use roundwise_scheme::{GridKind, Scheme, Tiling};
use serde::{Deserialize, Serialize};

use crate::Products;

/// Longest marker that is read; real ones have under 200 bytes.
pub const MARKER_LIMIT_BYTES: u64 = 64 * 1024;

/// Block edge that the loaders assume where `float8_e4m3fn_blockwise` names none.
const FP8_BLOCK: u64 = 64;
/// The same for `int8_blockwise`.
const INT8_BLOCK: u64 = 128;

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
}

impl Marker {
    /// The marker of a scheme, `None` where no program has a name for it.
    pub fn of(scheme: Scheme) -> Option<Self> {
        let named = |format: &str| Marker { format: format.to_owned(), ..Marker::default() };
        let blocks =
            |format: &str, size: usize| Marker { group_size: Some(size as u64), ..named(format) };
        match (scheme.grid, scheme.tiling) {
            (GridKind::E4m3, Tiling::Tensor) => Some(named("float8_e4m3fn")),
            (GridKind::E5m2, Tiling::Tensor) => Some(named("float8_e5m2")),
            (GridKind::E4m3, Tiling::Row) => Some(named("float8_e4m3fn_rowwise")),
            (GridKind::E4m3, Tiling::Block { rows, cols }) if rows == cols => {
                Some(blocks("float8_e4m3fn_blockwise", rows))
            }
            (GridKind::Int8, Tiling::Tensor) => Some(named("int8_tensorwise")),
            (GridKind::Int8, Tiling::Row) => {
                Some(Marker { per_row: Some(true), ..named("int8_tensorwise") })
            }
            (GridKind::Int8, Tiling::Block { rows, cols }) if rows == cols => {
                Some(blocks("int8_blockwise", rows))
            }
            _ => None,
        }
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

    /// The scheme that this marker and the shape of the scales stand for.
    ///
    /// - `scale_shape`: of the scale tensor; INT8 tells rows from tensors by it
    ///
    /// # Errors
    /// One line that says what is not understood.
    pub fn scheme(&self, scale_shape: &[u64]) -> Result<Scheme, String> {
        if self.convrot == Some(true) {
            return Err("its codes are of a rotated weight, which is not read yet".to_owned());
        }
        let block = |default: u64| -> Result<Tiling, String> {
            let size = self.group_size.unwrap_or(default);
            match usize::try_from(size) {
                Ok(size) if size > 0 => Ok(Tiling::Block { rows: size, cols: size }),
                _ => Err(format!("`group_size` is {size}")),
            }
        };
        let (grid, tiling) = match self.format.as_str() {
            "float8_e4m3fn" => (GridKind::E4m3, Tiling::Tensor),
            "float8_e5m2" => (GridKind::E5m2, Tiling::Tensor),
            "float8_e4m3fn_rowwise" => (GridKind::E4m3, Tiling::Row),
            "float8_e4m3fn_blockwise" => (GridKind::E4m3, block(FP8_BLOCK)?),
            "int8_tensorwise" if self.has_row_scales(scale_shape) => (GridKind::Int8, Tiling::Row),
            "int8_tensorwise" => (GridKind::Int8, Tiling::Tensor),
            "int8_blockwise" => (GridKind::Int8, block(INT8_BLOCK)?),
            other => return Err(format!("format `{other}` is not known")),
        };
        Ok(Scheme { grid, tiling })
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
        self.scheme(&[]) == other.scheme(&[]) && self.products() == other.products()
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

    fn json_of(scheme: &str) -> String {
        Marker::of(scheme.parse().unwrap()).unwrap().to_json()
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
        let marker = Marker::of("fp8".parse().unwrap()).unwrap();
        assert_eq!(
            marker.asking_for(Products::FullPrecision).to_json(),
            r#"{"format": "float8_e4m3fn", "full_precision_matrix_mult": true}"#
        );
    }

    #[test]
    fn every_scheme_of_the_catalogue_comes_back_from_its_marker() {
        for entry in roundwise_scheme::CATALOG {
            let marker = Marker::of(entry.scheme).unwrap();
            assert_eq!(Marker::from_json(marker.to_json().as_bytes()).unwrap(), marker);
            let scale_shape: &[u64] =
                if entry.scheme.tiling == Tiling::Tensor { &[] } else { &[7, 1] };
            assert_eq!(marker.scheme(scale_shape).unwrap(), entry.scheme, "{}", entry.name);
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
