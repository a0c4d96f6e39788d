//! A layer of any scheme and shape, its codes and scales any bytes: it is found, read and decoded, row
//! by row, or refused.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use roundwise_fuzz::put;
use roundwise_layout::{Layout, MatmulPrecision, StoredLayers};
use roundwise_scheme::{CATALOG, Scheme};
use roundwise_tensor_file::{Checkpoint, Manifest, TensorSpec};

fuzz_target!(|bytes: &[u8]| {
    let [scheme, rows, cols, content @ ..] = bytes else { return };
    let scheme = CATALOG[usize::from(*scheme) % CATALOG.len()].scheme;
    let shape = [1 + usize::from(*rows), 1 + usize::from(*cols)];
    let layout = Layout::default_for(scheme);
    if scheme.covers(shape[0], shape[1]).is_err() || layout.takes(scheme, shape).is_err() {
        return;
    }
    let path = put("codes", &file(layout, scheme, shape, content));
    let file = Checkpoint::open(&path).expect("the manifest is right");
    let stored = StoredLayers::find(&file).expect("it can be read");
    for layer in stored.layers.values() {
        let Ok(matrix) = layer.read(&file) else { continue };
        assert_eq!(matrix.shape(), layer.shape);
        let mut values = vec![0.0; layer.shape[1]];
        (0..layer.shape[0]).for_each(|row| matrix.decode_row(row, &mut values));
        matrix.first_invalid_row();
    }
});

/// A file with one layer; content that is too short comes again.
fn file(layout: Layout, scheme: Scheme, shape: [usize; 2], content: &[u8]) -> Vec<u8> {
    let layer = ("x", scheme, shape, MatmulPrecision::Any);
    let metadata: BTreeMap<_, _> = layout.header_entry([layer].into_iter()).into_iter().collect();
    let marker = layout.marker("x", scheme, MatmulPrecision::Any, shape);
    let shared = layout.file_tensors("", MatmulPrecision::Any, &[scheme]);
    let specs = layout.layer_tensors("x", scheme, MatmulPrecision::Any, shape);
    let specs: Vec<TensorSpec> =
        specs.into_iter().chain(shared.iter().map(|(spec, _)| spec.clone())).collect();
    let manifest = Manifest::new(metadata, specs).expect("names differ");
    let header = manifest.header_bytes();
    let mut file = [&(header.len() as u64).to_le_bytes()[..], header].concat();
    let mut content = content.iter().copied().cycle();
    for spec in manifest.tensors() {
        let said = marker.iter().map(|tensor| (&tensor.name, &tensor.bytes));
        let mut said = said.chain(shared.iter().map(|(spec, bytes)| (&spec.name, bytes)));
        match said.find(|(name, _)| **name == spec.name) {
            Some((_, bytes)) => file.extend(bytes),
            None => {
                let length = (spec.shape.iter().product::<u64>() * spec.dtype.bits() / 8) as usize;
                let filled = file.len() + length;
                file.extend(content.by_ref().take(length));
                file.resize(filled, 0);
            }
        }
    }
    file
}
