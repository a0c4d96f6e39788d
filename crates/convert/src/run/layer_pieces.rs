use std::collections::BTreeMap;

use roundwise_layout::{MatmulPrecision, PackedTensor};
use roundwise_scheme::{QuantizedMatrix, Scheme};

use crate::plan::PlannedTensor;
use crate::run::buffers::Buffers;
use crate::run::output::Output;
use crate::run::stop::Stop;

/// The tensors of a layer that are written piece by piece: bands of rows, or the experts of a bank.
pub(crate) struct LayerPieces<'a> {
    output: &'a Output<'a>,
    layer: &'a str,
    matmul_precision: MatmulPrecision,
    /// Bytes of each tensor as a whole.
    whole: BTreeMap<String, u64>,
    /// Bytes that each tensor has so far.
    filled: BTreeMap<String, u64>,
    marker: Option<PackedTensor>,
}

impl<'a> LayerPieces<'a> {
    pub(crate) fn new(
        output: &'a Output<'a>,
        planned: &'a PlannedTensor,
        scheme: Scheme,
        matmul_precision: MatmulPrecision,
    ) -> Self {
        let (layer, layout, shape) = (planned.layer(), output.plan.layout, planned.layer_shape());
        let whole = layout
            .layer_tensors(layer, scheme, matmul_precision, shape)
            .into_iter()
            .filter_map(|spec| Some((spec.name, spec.dtype.byte_len(&spec.shape)?)))
            .collect();
        let marker = layout.marker(layer, scheme, matmul_precision, shape);
        Self { output, layer, matmul_precision, whole, filled: BTreeMap::new(), marker }
    }

    /// Puts the next piece behind the one before it. A layout packs a piece as if it were a whole weight.
    pub(crate) fn put(
        &mut self,
        piece: QuantizedMatrix,
        buffers: &mut Buffers,
    ) -> Result<(), Stop> {
        for packed in self.output.plan.layout.pack(self.layer, piece, self.matmul_precision) {
            // The marker is of the whole layer, and is written once at the end.
            if self.marker.as_ref().is_some_and(|marker| marker.name == packed.name) {
                continue;
            }
            let length = packed.bytes.len() as u64;
            // A tensor whose size does not grow with the pieces is the same in each of them, and written once.
            let is_shared = self.whole.get(&packed.name) == Some(&length);
            let filled = self.filled.entry(packed.name.clone()).or_default();
            if !is_shared || *filled == 0 {
                self.output.file.write_part(&packed.name, *filled, &packed.bytes)?;
                *filled += length;
            }
            buffers.keep(packed.bytes);
        }
        Ok(())
    }

    /// Writes the marker, which tells the shape of the whole, and returns the names of all tensors.
    pub(crate) fn finish(self) -> Result<Vec<String>, Stop> {
        if let Some(marker) = self.marker {
            self.output.file.write(&marker.name, &marker.bytes)?;
        }
        Ok(self.whole.into_keys().collect())
    }
}
