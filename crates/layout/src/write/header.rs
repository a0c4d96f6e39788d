use roundwise_scheme::Scheme;

use crate::layer_shape::LayerShape;
use crate::layout::Layout;
use crate::marker::json::spaced_json;
use crate::marker::{Marker, QUANTIZATION_METADATA};
use crate::matmul_precision::MatmulPrecision;

impl Layout {
    /// Returns the header entry `(key, value)` that the layout adds for these layers and their
    /// shapes, `None` where no layer has a marker.
    pub fn header_entry<'a>(
        self,
        layers: impl Iterator<Item = (&'a str, Scheme, impl Into<LayerShape>, MatmulPrecision)>,
    ) -> Option<(String, String)> {
        // An entry would make ComfyUI leave `scale_weight` aside.
        if self != Layout::Comfy {
            return None;
        }
        let layers: serde_json::Map<_, _> = entries(layers).collect();
        if layers.is_empty() {
            return None;
        }
        // The entry repeats the markers of the layers. ComfyUI needs only one of both; programs that read headers
        // alone know by the entry what the file holds.
        let value = serde_json::json!({"format_version": "1.0", "layers": layers});
        Some((QUANTIZATION_METADATA.to_owned(), spaced_json(&value)))
    }
}

/// Puts the markers of these layers into a header entry, in place of those that it has for them.
///
/// Everything else in it stays. Text that is no list of layers stays as it is.
pub fn with_header_entries<'a>(
    text: &str,
    layers: impl Iterator<Item = (&'a str, Scheme, impl Into<LayerShape>, MatmulPrecision)>,
) -> String {
    let Ok(mut value) = serde_json::from_str::<serde_json::Value>(text) else {
        return text.to_owned();
    };
    let Some(known) = value.get_mut("layers").and_then(|layers| layers.as_object_mut()) else {
        return text.to_owned();
    };
    let mut is_changed = false;
    for (layer, marker) in entries(layers) {
        known.insert(layer, marker);
        is_changed = true;
    }
    // Text that says the same stays as it was written: another order of keys would be a change.
    if is_changed { spaced_json(&value) } else { text.to_owned() }
}

/// Returns the names and markers of layers, as JSON; those without a marker are left out.
fn entries<'a>(
    layers: impl Iterator<Item = (&'a str, Scheme, impl Into<LayerShape>, MatmulPrecision)>,
) -> impl Iterator<Item = (String, serde_json::Value)> {
    layers.filter_map(|(layer, scheme, shape, precision)| {
        let marker = Marker::of(scheme, shape)?.asking_for(precision);
        Some((layer.to_owned(), serde_json::to_value(marker).ok()?))
    })
}
