//! Markers and stored layers: whatever they say, every layer is decoded or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roundwise_fuzz::put;
use roundwise_layout::StoredLayers;
use roundwise_tensor_file::Checkpoint;

/// Bytes that one run may decode.
const LIMIT: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let path = put("layers", bytes);
    let Ok(file) = Checkpoint::open(&path) else { return };
    let Ok(stored) = StoredLayers::find(&file) else { return };
    for layer in stored.layers.values() {
        let [rows, cols] = layer.shape;
        if rows.saturating_mul(cols) > LIMIT {
            continue;
        }
        let Ok(matrix) = layer.read(&file) else { continue };
        let mut values = vec![0.0; cols];
        (0..rows).for_each(|row| matrix.decode_row(row, &mut values));
    }
});
