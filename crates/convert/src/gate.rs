use std::path::Path;

use roundwise_layout::weight_of;
use roundwise_scheme::{QuantizedMatrix, ScaleStorage, Scheme, measure};
use roundwise_tensor_file::{Manifest, TensorHeader};

use crate::buffers::Buffers;
use crate::parallel::map_in_order;
use crate::watch::notice;
use crate::workshop::Workshop;
use crate::{
    ConvertError, Decision, Detected, Event, Part, PlannedTensor, Shapes, Source, TensorReport,
    detect,
};

/// Reads an output again before it gets its name: its header, the bytes of every tensor against the
/// hash of what was written, and every layer in codes the way a loader finds it, whose error must be
/// the one that is reported.
///
/// - `layers`: an entry for every tensor of the plan, in its order
///
/// # Errors
/// [`ConvertError::WrongOutput`] or the file's own error for the first thing that is wrong.
pub(crate) fn check_output(
    shop: &Workshop<'_>,
    manifest: &Manifest,
    layers: &[TensorReport],
) -> Result<(), ConvertError> {
    shop.output.check_header(manifest)?;
    let written = Source::open(shop.output.temporary_path())?;
    same_model(&shop.job.output, shop.source, &written.shapes())?;
    let bytes = written.checkpoint.tensors().iter().map(TensorHeader::byte_len).sum();
    notice(shop.watch, Event::Verifying { bytes })?;
    for (spec, bytes) in shop.plan.file_tensors() {
        shop.output.check(&spec.name)?;
        notice(shop.watch, Event::Advanced { bytes: bytes.len() as u64 })?;
    }
    let planned: Vec<_> = shop.plan.tensors.iter().zip(layers).collect();
    map_in_order(&planned, shop.job.tensors_in_flight(), |(planned, report), buffers| {
        for spec in shop.plan.specs(planned) {
            match planned.decision {
                Decision::Quantize { scheme, .. } if spec.name == planned.weight_name() => {
                    check_codes(shop, &written, planned, scheme, report, buffers)?;
                }
                Decision::Repack { scheme, .. } if spec.name == planned.weight_name() => {
                    check_same_codes(shop, &written, planned, scheme)?;
                }
                _ => shop.output.check(&spec.name)?,
            }
            let bytes = written.checkpoint.get(&spec.name).map_or(0, TensorHeader::byte_len);
            notice(shop.watch, Event::Advanced { bytes })?;
        }
        Ok::<_, ConvertError>(())
    })?;
    Ok(())
}

/// Finds out whether loaders take an output for the model that the input is: they look at names and
/// shapes, which packing and padding change.
///
/// - `output`: where it is, for the message
/// - `after`: its names and shapes
///
/// # Errors
/// [`ConvertError::OtherModel`].
pub(crate) fn same_model(
    output: &Path,
    source: &Source,
    after: &Shapes<'_>,
) -> Result<(), ConvertError> {
    // Of an input that is packed itself, the names and shapes that its weights have.
    let unpacked = |header: &TensorHeader| {
        let stored = source.stored_layer(header);
        let name = stored.map_or_else(|| header.name.clone(), |stored| weight_of(&stored.layer));
        (name, source.shape_of(header))
    };
    let tensors: Vec<_> = source.checkpoint.tensors().iter().map(unpacked).collect();
    let before = tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
    let [before, after] = [&before, after].map(|shapes| model(&detect(shapes)));
    match before == after {
        true => Ok(()),
        false => Err(ConvertError::OtherModel { path: output.to_owned(), before, after }),
    }
}

/// The model of a file and where its tensors are.
fn model(detected: &Detected) -> String {
    let Part { title, prefix, .. } = &detected.main;
    match prefix.as_str() {
        "" => (*title).to_owned(),
        prefix => format!("{title} under `{prefix}`"),
    }
}

/// Reads codes once for both, their hash and their error.
fn check_codes(
    shop: &Workshop<'_>,
    written: &Source,
    planned: &PlannedTensor,
    scheme: Scheme,
    report: &TensorReport,
    buffers: &mut Buffers,
) -> Result<(), ConvertError> {
    let wrong = |problem| wrong_output(shop, planned, problem);
    // In this order codes of an input that are decoded are gone before those of the output come.
    let weight = shop.source.load_into(&planned.header, buffers.take())?;
    let matrix = read_codes(written, planned, scheme)?.map_err(wrong)?;
    match is_stored_as_it_is(written, planned, &matrix) {
        true => shop.output.check_bytes(&planned.weight_name(), matrix.codes())?,
        false => shop.output.check(&planned.weight_name())?,
    }
    let found = measure(&weight.view(), &matrix);
    buffers.keep(weight.into_bytes());
    match report.sums {
        Some(expected) if expected == found => Ok(()),
        _ => Err(wrong(format!(
            "its error is {}, reported is {}",
            found.relative(),
            report.weight_error.unwrap_or_default()
        ))),
    }
}

/// Codes that were laid out anew are those of the input, and so are their scales.
fn check_same_codes(
    shop: &Workshop<'_>,
    written: &Source,
    planned: &PlannedTensor,
    scheme: Scheme,
) -> Result<(), ConvertError> {
    shop.output.check(&planned.weight_name())?;
    let wrong = |problem| wrong_output(shop, planned, problem);
    let found = read_codes(written, planned, scheme)?.map_err(wrong)?;
    let stored = shop.source.stored_layer(&planned.header);
    let stored = stored.ok_or_else(|| wrong("is not in codes in the input".to_owned()))?;
    let expected = shop.source.codes(stored)?;
    let bits = |matrix: &QuantizedMatrix| -> Vec<u32> {
        matrix.scales().iter().map(|scale| scale.to_bits()).collect()
    };
    match (found.codes() == expected.codes(), bits(&found) == bits(&expected)) {
        (true, true) => Ok(()),
        (false, _) => Err(wrong("its codes are not those of the input".to_owned())),
        (true, false) => Err(wrong("its scales are not those of the input".to_owned())),
    }
}

fn wrong_output(shop: &Workshop<'_>, planned: &PlannedTensor, problem: String) -> ConvertError {
    ConvertError::WrongOutput {
        path: shop.output.temporary_path().to_owned(),
        tensor: planned.header.name.clone(),
        problem,
    }
}

/// The codes of a layer, the way a loader finds them; else what is wrong.
fn read_codes(
    written: &Source,
    planned: &PlannedTensor,
    scheme: Scheme,
) -> Result<Result<QuantizedMatrix, String>, ConvertError> {
    let shape = planned.matrix_shape();
    if let (ScaleStorage::Unscaled, Some(header)) =
        (scheme.scale_storage(), written.checkpoint.get(&planned.weight_name()))
    {
        let codes = written.checkpoint.read(header)?;
        let matrix = QuantizedMatrix::from_parts(scheme, shape, codes, vec![1.0]);
        return Ok(matrix.map_err(|error| error.to_string()));
    }
    let stored = written.stored.layers.get(planned.layer());
    let stored = stored.filter(|stored| stored.scheme == scheme);
    // The plan knows what of a padded weight is padding, also where the file does not say.
    let Some(stored) = stored.and_then(|stored| stored.cut_to(shape)) else {
        return Ok(Err(format!("a loader does not find {scheme} codes")));
    };
    Ok(stored.read(&written.checkpoint).map_err(|error| error.to_string()))
}

/// Whether a tensor's bytes are the codes, neither packed nor padded.
fn is_stored_as_it_is(written: &Source, planned: &PlannedTensor, matrix: &QuantizedMatrix) -> bool {
    let grid = matrix.scheme().grid();
    let header = written.checkpoint.get(&planned.weight_name());
    grid.code_bits() == 8 * grid.code_bytes()
        && header.is_some_and(|header| header.byte_len() == matrix.codes().len() as u64)
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
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("z.safetensors");
        std::fs::write(&path, safetensors(&tensors)).unwrap();
        let source = Source::open(&path).unwrap();
        (folder, source)
    }

    /// The message where this tensor of the output has this shape.
    fn refusal(source: &Source, name: &str, shape: &[u64]) -> Option<String> {
        let shapes = source.shapes();
        let changed = |at| if at == name { shape } else { shapes.shape(at).unwrap() };
        let after = shapes.names().map(|at| (at, changed(at))).collect();
        let refused = same_model(Path::new("out.safetensors"), source, &after);
        refused.err().map(|error| error.to_string())
    }

    #[test]
    fn an_output_that_loaders_take_for_another_model_is_refused() {
        let (_folder, source) = z_image();
        let message = refusal(&source, PROBE, &[1920, 1]).unwrap();
        for word in ["out.safetensors", "Z-Image", "`--keep`"] {
            assert!(message.contains(word), "no `{word}` in {message}");
        }
        assert_eq!(refusal(&source, PROBE, &[3840, 1]), None);
        assert_eq!(refusal(&source, NORM, &[2]), None);
    }
}
