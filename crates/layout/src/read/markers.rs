use std::collections::BTreeMap;

use roundwise_tensor_file::{Checkpoint, TensorFileError};

use crate::marker::{MARKER_LIMIT_BYTES, MARKER_PART, Marker, QUANTIZATION_METADATA};
use crate::read::defect::{Defect, breaks};

/// The markers of a file's layers.
#[derive(Debug, Default)]
pub(crate) struct Markers {
    pub(crate) by_layer: BTreeMap<String, Marker>,
    /// Markers that the headers give, which are among [`Self::by_layer`].
    pub(crate) in_header: BTreeMap<String, Marker>,
    /// Defects of markers; a layer named here has none that can be trusted.
    pub(crate) defects: Vec<Defect>,
    /// Bytes of those that are no markers, by layer.
    pub(crate) damaged: BTreeMap<String, Vec<u8>>,
}

impl Markers {
    /// Reads marker tensors, then the header; of shards, every one's. The header wins over a
    /// tensor, as in the loader.
    pub(crate) fn read(file: &Checkpoint) -> Result<Self, TensorFileError> {
        let mut markers = Self::default();
        for header in file.tensors() {
            let Some((layer, MARKER_PART)) = header.name.rsplit_once('.') else { continue };
            let bytes = header.byte_len();
            if bytes > MARKER_LIMIT_BYTES {
                let problem = format!("marker has {bytes} bytes, more than {MARKER_LIMIT_BYTES}");
                markers.complain(layer, problem, breaks::MARKER);
                continue;
            }
            let bytes = file.read(header)?;
            match Marker::from_json(&bytes) {
                Ok(marker) => drop(markers.by_layer.insert(layer.to_owned(), marker)),
                Err(problem) => {
                    markers.complain(layer, format!("marker {problem}"), breaks::MARKER);
                    markers.damaged.insert(layer.to_owned(), bytes);
                }
            }
        }
        // The header last, since it wins.
        for text in file.metadata_values(QUANTIZATION_METADATA) {
            markers.merge_header(text);
        }
        Ok(markers)
    }

    fn complain(&mut self, layer: &str, problem: String, breaks: &'static str) {
        self.defects.push(Defect::new(layer, problem, breaks));
    }

    fn merge_header(&mut self, text: &str) {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(text);
        let layers = parsed.as_ref().ok().and_then(|value| value.get("layers")?.as_object());
        let Some(layers) = layers else {
            let problem = format!("`{QUANTIZATION_METADATA}` is not JSON with an object `layers`");
            return self.complain("", problem, breaks::HEADER);
        };
        for (layer, value) in layers {
            match Marker::from_value(value) {
                Ok(marker) => self.merge(layer, marker),
                Err(problem) => {
                    self.complain(layer, format!("header entry {problem}"), breaks::HEADER);
                    let text = || value.to_string().into_bytes();
                    self.damaged.entry(layer.clone()).or_insert_with(text);
                }
            }
        }
    }

    fn merge(&mut self, layer: &str, header: Marker) {
        // Two shards first: between them there is no rule for which wins.
        if let Some(other) = self.in_header.get(layer)
            && !other.means_the_same_as(&header)
        {
            let [one, other] = [other, &header].map(Marker::to_json);
            let problem = format!("one shard's header says {one}, another's {other}");
            return self.complain(layer, problem, breaks::UNREADABLE);
        }
        if let Some(tensor) = self.by_layer.get(layer)
            && !tensor.means_the_same_as(&header)
        {
            let [header, tensor] = [&header, tensor].map(Marker::to_json);
            let problem = format!("the header says {header}, its marker {tensor}");
            self.complain(layer, problem, breaks::UNREADABLE);
        }
        // No loader reads the shape, so that one of the two may lack it.
        let orig_shape = self.by_layer.get(layer).and_then(|tensor| tensor.orig_shape.clone());
        let header = Marker { orig_shape: header.orig_shape.clone().or(orig_shape), ..header };
        self.by_layer.insert(layer.to_owned(), header.clone());
        self.in_header.insert(layer.to_owned(), header);
    }
}
