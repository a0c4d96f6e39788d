use roundwise_scheme::{ScaleRule, SchemeError, choose_scales};

use crate::error::ConvertError;
use crate::plan::NotFinite;
use crate::plan::{Plan, PlannedTensor};
use crate::recipe::PlainDtype;
use crate::report::watch::{Event, Phase, Watch, notice};
use crate::run::bands::largest_of;
use crate::run::bank::check_bank;
use crate::run::pool::map_in_order;
use crate::run::stop::rounding_error;
use crate::source::Source;

/// Returns the first row of decoded numbers that holds a NaN or an infinity.
///
/// - `cols`: numbers in a row
pub(crate) fn first_row_not_finite(dtype: PlainDtype, bytes: &[u8], cols: usize) -> Option<usize> {
    /// Returns whether no exponent is all ones. Without a branch, so that a compiler uses vectors.
    fn are_finite<const WIDTH: usize>(
        row: &[u8],
        exponent: u32,
        read: fn(&[u8; WIDTH]) -> u32,
    ) -> bool {
        let (numbers, _) = row.as_chunks::<WIDTH>();
        numbers.iter().fold(0, |largest, number| largest.max(read(number) & exponent)) < exponent
    }
    // An exponent of all ones is an infinity or a NaN: 8 bits in BF16 and F32, 5 in F16 (IEEE 754).
    let halves = |row: &[u8], exponent| {
        are_finite(row, exponent, |bytes: &[u8; 2]| u32::from(u16::from_le_bytes(*bytes)))
    };
    // Rows of no columns have no bytes, and chunks of 0 are not allowed.
    let mut rows = bytes.chunks((cols * dtype.width()).max(1));
    rows.position(|row| !match dtype {
        PlainDtype::Bf16 => halves(row, 0x7F80),
        PlainDtype::F16 => halves(row, 0x7C00),
        PlainDtype::F32 => {
            are_finite(row, 0x7F80_0000, |bytes: &[u8; 4]| u32::from_le_bytes(*bytes))
        }
    })
}

/// Finds all weights with a NaN or an infinity, so that the work begins again only once.
pub(crate) fn find_not_finite(
    source: &Source,
    plan: &Plan,
    watch: &dyn Watch,
) -> Result<NotFinite, ConvertError> {
    let mut not_finite = not_finite_codes(source, plan, watch)?;
    not_finite.extend(find_not_finite_among(source, plan, &|_| true, watch)?);
    Ok(not_finite)
}

/// Finds those of some weights that become codes in which there is a NaN or an infinity.
pub(crate) fn find_not_finite_among(
    source: &Source,
    plan: &Plan,
    is_one: &dyn Fn(&PlannedTensor) -> bool,
    watch: &dyn Watch,
) -> Result<NotFinite, ConvertError> {
    let quantized = plan.quantized_of_all_parts().filter(|(planned, _)| is_one(planned));
    let quantized: Vec<_> = quantized.collect();
    if quantized.is_empty() {
        return Ok(NotFinite::new());
    }
    let bytes = quantized.iter().map(|(planned, _)| planned.header.byte_len()).sum();
    notice(watch, Event::Phase { name: Phase::Looking, tensors: quantized.len(), bytes })?;
    let rows = map_in_order(&quantized, plan.memory.threads, |(planned, scheme), _| {
        let header = &planned.header;
        let found = match planned.band_rows() {
            _ if planned.experts().is_some() => check_bank(source, planned, *scheme)?,
            Some(height) => {
                // The search for the largest magnitude refuses such a number as well.
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

/// Finds the layers in codes that become plain numbers, one of which is none.
fn not_finite_codes(
    source: &Source,
    plan: &Plan,
    watch: &dyn Watch,
) -> Result<NotFinite, ConvertError> {
    let decoded: Vec<_> = plan.decoded_of_all_parts().collect();
    let rows = map_in_order(&decoded, plan.memory.threads, |(planned, dtype), _| {
        let matrix = source.decoded_codes(&planned.header)?;
        let [_, cols] = matrix.shape();
        let row = first_row_not_finite(*dtype, &dtype.decoded(&matrix, vec![]), cols);
        // The phase counts the bytes of weights that become codes; this only asks whether to stop.
        notice(watch, Event::Advanced { bytes: 0 })?;
        Ok::<_, ConvertError>(row.map(|row| (planned.header.name.clone(), row)))
    })?;
    Ok(rows.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_row_with_a_nan_or_an_infinity_is_found_in_every_dtype() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = vec![-1.5; 12];
            values[7] = value;
            for (_, dtype) in PlainDtype::NAMES {
                let found =
                    |values: &[f32]| first_row_not_finite(dtype, &dtype.stored(values, vec![]), 3);
                assert_eq!(found(&values), Some(2), "{value} {dtype}");
                assert_eq!(found(&[3e38, -0.0, 1e-40]), None, "{dtype}");
                assert_eq!(found(&[]), None, "{dtype}");
            }
        }
    }
}
