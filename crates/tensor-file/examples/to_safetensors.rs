//! `to_safetensors INPUT OUTPUT.safetensors`: the tensors of a checkpoint of any container, blocks of
//! GGUF as the F32 that they stand for.

use std::path::Path;

use roundwise_tensor_file::{Checkpoint, Manifest, Overwrite, TensorFileWriter, TensorSpec};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output] = arguments.as_slice() else {
        return Err("expected INPUT and OUTPUT".into());
    };
    let checkpoint = Checkpoint::open(Path::new(input))?;
    let specs = checkpoint.tensors().iter().map(|tensor| TensorSpec {
        name: tensor.name.clone(),
        dtype: tensor.dtype,
        shape: tensor.shape.clone(),
    });
    let manifest = Manifest::new(checkpoint.metadata().clone(), specs.collect())?;
    let writer = TensorFileWriter::create(Path::new(output), manifest, Overwrite::Refuse)?;
    for tensor in checkpoint.tensors() {
        writer.write(&tensor.name, &checkpoint.read(tensor)?)?;
    }
    writer.commit()?;
    Ok(())
}
