use roundwise_layout::StoredLayer;
use roundwise_scheme::{Scheme, measure};
use roundwise_tensor_file::{Manifest, TensorHeader};

use crate::buffers::Buffers;
use crate::parallel::map_in_order;
use crate::watch::notice;
use crate::workshop::Workshop;
use crate::{ConvertError, Event, PlannedTensor, Source, TensorReport};

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
    let bytes = written.checkpoint.tensors().iter().map(TensorHeader::byte_len).sum();
    notice(shop.watch, Event::Verifying { bytes })?;
    for (spec, bytes) in shop.plan.file_tensors() {
        shop.output.check(&spec.name)?;
        notice(shop.watch, Event::Advanced { bytes: bytes.len() as u64 })?;
    }
    let planned: Vec<_> = shop.plan.tensors.iter().zip(layers).collect();
    map_in_order(&planned, shop.job.tensors_in_flight(), |(planned, report), buffers| {
        for spec in shop.plan.specs(planned) {
            match report.scheme {
                Some(scheme) if spec.name == planned.header.name => {
                    check_codes(shop, &written, planned, scheme, report, buffers)?;
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

/// Reads codes once for both, their hash and their error.
fn check_codes(
    shop: &Workshop<'_>,
    written: &Source,
    planned: &PlannedTensor,
    scheme: Scheme,
    report: &TensorReport,
    buffers: &mut Buffers,
) -> Result<(), ConvertError> {
    let wrong = |problem: String| ConvertError::WrongOutput {
        path: shop.output.temporary_path().to_owned(),
        tensor: planned.header.name.clone(),
        problem,
    };
    let is_it = |stored: &&StoredLayer| stored.scheme == scheme;
    let stored = written.stored.layers.get(planned.layer()).filter(is_it);
    let stored = stored.ok_or_else(|| wrong(format!("a loader does not find {scheme} codes")))?;
    // In this order codes of an input that are decoded are gone before those of the output come.
    let weight = shop.source.load_into(&planned.header, buffers.take())?;
    let matrix = stored.read(&written.checkpoint).map_err(|error| wrong(error.to_string()))?;
    shop.output.check_bytes(&planned.header.name, matrix.codes())?;
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
