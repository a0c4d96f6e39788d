use roundwise_scheme::{ScaleRule, SchemeError, choose_scales};

use crate::error::ConvertError;
use crate::plan::NotFinite;
use crate::plan::Plan;
use crate::report::watch::{Event, Phase, Watch, notice};
use crate::run::bands::largest_of;
use crate::run::job::Job;
use crate::run::pool::map_in_order;
use crate::run::round::rounding_error;
use crate::source::Source;

/// Finds all weights with a NaN or an infinity, so that the work begins again only once.
pub(crate) fn find_not_finite(
    job: &Job,
    source: &Source,
    plan: &Plan,
    watch: &dyn Watch,
) -> Result<NotFinite, ConvertError> {
    let quantized: Vec<_> = plan.quantized_of_all_parts().collect();
    let bytes = quantized.iter().map(|(planned, _)| planned.header.byte_len()).sum();
    notice(watch, Event::Phase { name: Phase::Looking, tensors: quantized.len(), bytes })?;
    let rows = map_in_order(&quantized, job.threads, |(planned, scheme), _| {
        let header = &planned.header;
        let found = match planned.band_rows() {
            Some(height) => {
                largest_of(source, header, [planned.matrix_shape()[0], height], *scheme)?.map(drop)
            }
            None => {
                let weight = source.load(header)?;
                // Only for its refusal, which names the row; the scales themselves are not used.
                choose_scales(&weight.view(), *scheme, ScaleRule::Absmax).map(drop)
            }
        };
        notice(watch, Event::Advanced { bytes: header.byte_len() })?;
        match found {
            Ok(()) => Ok(None),
            Err(SchemeError::NotFinite { row }) => Ok(Some((header.name.clone(), row))),
            Err(error) => Err(rounding_error(source, header, error.into())),
        }
    })?;
    Ok(rows.into_iter().flatten().collect())
}
