use std::path::Path;

use roundwise_layout::{Layout, weight_of};
use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::model::{Component, Detected, Shapes, detect, detect_as};
use crate::source::Source;

/// Finds out whether loaders take an output for the model that the input is: they look at names and
/// shapes, which packing and padding change. Servers do not, they look into `config.json`.
///
/// - `output`: where it is, for the message
/// - `layout`: of the output
/// - `after`: its names and shapes
///
/// # Errors
/// [`ConvertError::OtherModel`].
pub(crate) fn same_model(
    output: &Path,
    layout: Layout,
    source: &Source,
    after: &Shapes<'_>,
) -> Result<(), ConvertError> {
    if layout.is_for_servers() {
        return Ok(());
    }
    // An input that is packed itself is looked at by the names and shapes of its unpacked weights.
    let unpacked = |header: &TensorHeader| {
        let stored = source.stored_layer(header);
        let name = stored.map_or_else(|| header.name.clone(), |stored| weight_of(&stored.layer));
        (name, source.shape_of(header))
    };
    let tensors: Vec<_> = source.checkpoint.tensors().iter().map(unpacked).collect();
    let before = tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
    let subject = source.subject();
    // Where somebody insists on a kind, both are looked at as that kind: the question is whether loaders
    // see a difference.
    let recognise = |shapes: &Shapes<'_>| match subject.looks_like {
        Some(_) => model(&detect_as(shapes, subject.kind())),
        None => model(&detect(shapes)),
    };
    let [before, after] = [recognise(&before), recognise(after)];
    match before == after {
        true => Ok(()),
        false => Err(ConvertError::OtherModel { path: output.to_owned(), before, after }),
    }
}

/// Describes the model of a file and where its tensors are.
fn model(detected: &Detected) -> String {
    // Title and prefix: under another prefix loaders would not find the same model either.
    let Component { title, prefix, .. } = &detected.main;
    match prefix.as_str() {
        "" => (*title).to_owned(),
        prefix => format!("{title} under `{prefix}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roundwise_testkit::files::{Tensor, safetensors};

    const PROBE: &str = "model.diffusion_model.cap_embedder.1.weight";
    const NORM: &str = "model.diffusion_model.noise_refiner.0.attention.k_norm.weight";

    fn z_image() -> (tempfile::TempDir, Source) {
        let others = (0..5).map(|layer| format!("model.diffusion_model.layers.{layer}.weight"));
        let mut tensors: Vec<Tensor> =
            others.map(|name| Tensor::new(&name, "BF16", &[1], vec![0; 2])).collect();
        tensors.push(Tensor::new(PROBE, "BF16", &[3840, 1], vec![0; 7680]));
        tensors.push(Tensor::new(NORM, "BF16", &[1], vec![0; 2]));
        let embedder = "model.diffusion_model.x_embedder.weight";
        tensors.push(Tensor::new(embedder, "BF16", &[1], vec![0; 2]));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("z.safetensors");
        std::fs::write(&path, safetensors(&tensors)).unwrap();
        let source = Source::open(&path).unwrap();
        (folder, source)
    }

    /// Returns the message for an output in which this tensor has this shape.
    fn refusal(source: &Source, name: &str, shape: &[u64]) -> Option<String> {
        let shapes = source.shapes();
        let changed = |at| if at == name { shape } else { shapes.shape(at).unwrap() };
        let after = shapes.names().map(|at| (at, changed(at))).collect();
        let refused = same_model(Path::new("out.safetensors"), Layout::Comfy, source, &after);
        refused.err().map(|error| error.to_string())
    }

    #[test]
    fn an_output_that_loaders_take_for_another_model_is_refused() {
        let (_folder, source) = z_image();
        let message = refusal(&source, PROBE, &[1920, 1]).unwrap();
        for word in ["out.safetensors", "Z-Image", "`keep`"] {
            assert!(message.contains(word), "no `{word}` in {message}");
        }
        assert_eq!(refusal(&source, PROBE, &[3840, 1]), None);
        assert_eq!(refusal(&source, NORM, &[2]), None);
    }
}
