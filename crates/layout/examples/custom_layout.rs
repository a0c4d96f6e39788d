//! A layout of your own: names, shapes and a scale for every layer, written and read back.
//!
//! `cargo run --example custom_layout -- out.safetensors`
//!
//! Programs that roundwise knows have their layout in `Layout`. For another one, take what a matrix
//! consists of and put it under the names that your program looks for.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use roundwise_scheme::{
    FloatDtype, QuantizedMatrix, ScaleRole, ScaleRule, Scheme, StoredScales, Weight,
};
use roundwise_tensor_file::{Checkpoint, Dtype, Manifest, Overwrite, TensorFileWriter, TensorSpec};

/// Codes are `X.qweight`, scales `X.qscale`, and the header says the scheme of each layer.
fn specs(layer: &str, matrix: &QuantizedMatrix) -> [TensorSpec; 2] {
    let sizes = |shape: &[usize]| shape.iter().map(|&size| size as u64).collect();
    let scales = matrix.plain_tensors().scale_shape;
    [
        TensorSpec {
            name: format!("{layer}.qweight"),
            dtype: Dtype::I8,
            shape: sizes(&matrix.shape()),
        },
        TensorSpec { name: format!("{layer}.qscale"), dtype: Dtype::F32, shape: sizes(&scales) },
    ]
}

fn write(path: &Path, layer: &str, matrix: &QuantizedMatrix) -> Result<(), Box<dyn Error>> {
    let header = BTreeMap::from([(layer.to_owned(), matrix.scheme().to_string())]);
    let manifest = Manifest::new(header, specs(layer, matrix).to_vec())?;
    let file = TensorFileWriter::create(path, manifest, Overwrite::Refuse)?;
    let plain = matrix.plain_tensors();
    let scales: Vec<u8> = plain.scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
    file.write(&format!("{layer}.qweight"), &plain.codes)?;
    file.write(&format!("{layer}.qscale"), &scales)?;
    file.commit()?;
    Ok(())
}

fn read(path: &Path, layer: &str) -> Result<QuantizedMatrix, Box<dyn Error>> {
    let file = Checkpoint::open(path)?;
    let scheme: Scheme = file.metadata().get(layer).ok_or("no scheme")?.parse()?;
    let part = |name: &str| {
        let header = file.get(&format!("{layer}.{name}")).ok_or("a tensor is missing")?;
        Ok::<_, Box<dyn Error>>((header, file.read(header)?))
    };
    let ((header, codes), (_, scales)) = (part("qweight")?, part("qscale")?);
    let [rows, cols] = header.shape[..] else { return Err("codes are no matrix".into()) };
    let shape = [usize::try_from(rows)?, usize::try_from(cols)?];
    let scales = StoredScales::from([(ScaleRole::Tiles, scales)]);
    Ok(QuantizedMatrix::from_stored(scheme, shape, codes, &scales)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("expected the name of a file to write")?;
    let numbers: Vec<u8> =
        (0..64 * 32).flat_map(|at| ((at % 17) as f32 - 8.0).to_le_bytes()).collect();
    let weight = Weight::new(64, 32, FloatDtype::F32, &numbers)?;
    let matrix = QuantizedMatrix::nearest(&weight, "int8-row".parse()?, ScaleRule::Absmax)?;
    write(path.as_ref(), "blocks.0", &matrix)?;
    assert_eq!(read(path.as_ref(), "blocks.0")?, matrix);
    Ok(())
}
