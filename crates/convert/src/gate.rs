use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use roundwise_layout::{StoredLayer, weight_of};
use roundwise_scheme::{QuantizedMatrix, ScaleStorage, Scheme, measure};
use roundwise_tensor_file::{Manifest, TensorHeader};

use crate::buffers::Buffers;
use crate::parallel::map_in_order;
use crate::watch::notice;
use crate::workshop::Workshop;
use crate::{
    ConvertError, Decision, Detected, Event, Part, Plan, PlannedTensor, Rounding, Shapes, Source,
    TensorReport, detect,
};

/// Reads an output again before it gets its name: its header, the bytes of every tensor against the
/// hash of what was written, and layers in codes the way a loader finds them, whose error must be the
/// one that is reported.
///
/// Decoding and measuring takes half as long as nearest rounding itself, and what it finds beyond the
/// hashes, a mistake in packing, is the same in all layers of a scheme. So under nearest rounding the
/// smallest layer of each scheme answers for the others; learned layers all answer for themselves. Of layers that are worked on by bands of rows the
/// hashes are compared.
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
    // A part of a model is none that a loader knows.
    if shop.job.share.is_none() {
        same_model(&shop.job.output, shop.source, &written.shapes())?;
    }
    let tensors = written.checkpoint.tensors();
    let bytes = tensors.iter().map(TensorHeader::byte_len).sum();
    notice(shop.watch, Event::Verifying { bytes })?;
    let gate = Gate {
        shop,
        written: &written,
        measured: to_be_measured(shop.plan, shop.job.recipe.rounding()),
    };
    map_in_order(tensors, shop.job.threads, |header, _| {
        shop.output.check(&header.name)?;
        notice(shop.watch, Event::Advanced { bytes: header.byte_len() })
    })?;
    let planned: Vec<_> = shop.plan.tensors.iter().zip(layers).collect();
    map_in_order(&planned, shop.job.tensors_in_flight(), |(planned, report), buffers| {
        gate.check_layer(planned, report, buffers)
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

/// Names of the weights that are decoded and measured.
fn to_be_measured(plan: &Plan, rounding: Rounding) -> BTreeSet<&str> {
    // Those that are worked on by bands have no room for their codes as a whole.
    let held =
        plan.quantized().filter(|(planned, _)| !plan.bands.contains_key(&planned.header.name));
    let all = held.map(|(planned, scheme)| (scheme.to_string(), &planned.header));
    let chosen: Vec<&TensorHeader> = match rounding {
        Rounding::Learned(_) => all.map(|(_, header)| header).collect(),
        Rounding::Nearest => {
            let mut smallest = BTreeMap::<String, &TensorHeader>::new();
            for (scheme, header) in all {
                let least = smallest.entry(scheme).or_insert(header);
                if header.byte_len() < least.byte_len() {
                    *least = header;
                }
            }
            smallest.into_values().collect()
        }
    };
    chosen.into_iter().map(|header| header.name.as_str()).collect()
}

struct Gate<'a> {
    shop: &'a Workshop<'a>,
    written: &'a Source,
    measured: BTreeSet<&'a str>,
}

impl Gate<'_> {
    fn check_layer(
        &self,
        planned: &PlannedTensor,
        report: &TensorReport,
        buffers: &mut Buffers,
    ) -> Result<(), ConvertError> {
        let Some(scheme) = report.scheme else { return Ok(()) };
        let wrong = |problem: String| ConvertError::WrongOutput {
            path: self.shop.output.temporary_path().to_owned(),
            tensor: planned.header.name.clone(),
            problem,
        };
        let stored = find_layer(self.written, planned, scheme).map_err(wrong)?;
        if let (Decision::Repack { .. }, Some(stored)) = (&planned.decision, &stored) {
            return self.check_same_codes(planned, stored)?.map_err(wrong);
        }
        if !self.measured.contains(planned.header.name.as_str()) {
            return Ok(());
        }
        // In this order codes of an input that are decoded are gone before those of the output come.
        let weight = self.shop.source.load_into(&planned.header, buffers.take())?;
        let matrix = match stored {
            Some(stored) => stored.read(&self.written.checkpoint).map_err(|e| wrong(e.to_string())),
            None => self.read_unscaled(planned, scheme)?.map_err(wrong),
        }?;
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

    /// Codes that were laid out anew are those of the input, and so are their scales; else what is
    /// wrong.
    fn check_same_codes(
        &self,
        planned: &PlannedTensor,
        found: &StoredLayer,
    ) -> Result<Result<(), String>, ConvertError> {
        let Some(stored) = self.shop.source.stored_layer(&planned.header) else {
            return Ok(Err("is not in codes in the input".to_owned()));
        };
        let expected = self.shop.source.codes(stored)?;
        let found = self.written.codes(found)?;
        let bits = |matrix: &QuantizedMatrix| -> Vec<u32> {
            matrix.scales().iter().map(|scale| scale.to_bits()).collect()
        };
        Ok(match (found.codes() == expected.codes(), bits(&found) == bits(&expected)) {
            (true, true) => Ok(()),
            (false, _) => Err("its codes are not those of the input".to_owned()),
            (true, false) => Err("its scales are not those of the input".to_owned()),
        })
    }

    /// Codes that are numbers by themselves, in a tensor like any other.
    fn read_unscaled(
        &self,
        planned: &PlannedTensor,
        scheme: Scheme,
    ) -> Result<Result<QuantizedMatrix, String>, ConvertError> {
        let header = self.written.checkpoint.get(&planned.weight_name());
        let header = header.expect("the header was compared with the plan's");
        let codes = self.written.checkpoint.read(header)?;
        let matrix = QuantizedMatrix::from_parts(scheme, planned.matrix_shape(), codes, vec![1.0]);
        Ok(matrix.map_err(|error| error.to_string()))
    }
}

/// A layer the way a loader finds it, nothing for one whose scheme needs no scales; else what is
/// wrong.
fn find_layer(
    written: &Source,
    planned: &PlannedTensor,
    scheme: Scheme,
) -> Result<Option<StoredLayer>, String> {
    if scheme.scale_storage() == ScaleStorage::Unscaled {
        return Ok(None);
    }
    let stored = written.stored.layers.get(planned.layer());
    let stored = stored.filter(|stored| stored.scheme == scheme);
    // The plan knows what of a padded weight is padding, also where the file does not say.
    let stored = stored.and_then(|stored| stored.cut_to(planned.matrix_shape()));
    stored.map(Some).ok_or_else(|| format!("a loader does not find {scheme} codes"))
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
