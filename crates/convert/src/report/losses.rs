//! Weights that lost more than their scheme or dtype should cost, or hold nothing: why, and what helps.

use std::collections::BTreeMap;

use roundwise_scheme::{GridKind, Scheme};

use crate::recipe::{Setting, Text};
use crate::report::tensor_report::TensorReport;

/// A relative error that nothing of 8 bits or more has unless numbers do not fit it.
const RUINED: f64 = 0.10;

/// [`RUINED`] for codes of fewer than 8 bits, which cost 9 to 14 % of any weight.
const RUINED_OF_FEW_BITS: f64 = 0.50;

/// Share of a weight's numbers that no scheme turns to 0 unless they do not fit it: a scale of INT4 for
/// a whole row does so with a third of normally distributed ones.
const MOST_ZEROED: f64 = 0.9;

/// Numbers of this size keep more than a bit in BF16, whose least number is 2⁻¹³³.
const SMALL_IN_BF16: f64 = 1e-39;

/// Why a weight lost too much, as far as its errors tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// It holds numbers that F16 has no room for.
    PastF16,
    /// Its numbers are below what F16 tells from 0.
    BelowF16,
    /// Its numbers are below what BF16 tells from 0.
    BelowBf16,
    /// Its numbers are below what F32 tells from 0, in which all is computed.
    BelowF32,
    /// Every code stands for 0.
    BelowScales,
    /// Most of it is small beside the largest number of a scale.
    Spread,
    /// The same, and most numbers became 0: the few large ones hide that in the error.
    Zeroed,
}

/// Describes the weights that lost too much, those with one cause together.
pub(crate) fn losses(tensors: &[TensorReport]) -> Vec<Text> {
    let mut by_cause = BTreeMap::<(Cause, bool), Vec<&TensorReport>>::new();
    for tensor in tensors {
        if let Some(cause) = cause(tensor) {
            by_cause.entry((cause, tensor.scheme.is_some())).or_default().push(tensor);
        }
    }
    let ruined = by_cause.into_iter().map(|((cause, _), ruined)| described(cause, &ruined));
    ruined.chain(empty(tensors)).chain(not_finite(tensors)).collect()
}

/// Describes kept weights with numbers that are none, whatever a model answers with them.
fn not_finite(tensors: &[TensorReport]) -> Option<Text> {
    let mut found = tensors.iter().filter(|tensor| tensor.is_not_finite);
    let first = &found.next()?.name;
    let hold = match found.count() {
        0 => format!("`{first}`, which stays as it is, holds"),
        more => format!("{} tensors (`{first}`, …), which stay as they are, hold", more + 1),
    };
    Some(Text::from(format!(
        "{hold} a NaN or an infinity, so that the model's answers will, too; fetch it again, or start from another"
    )))
}

/// Describes weights of which nothing is there: training leaves none, and what is missing of a file counts as zeros.
fn empty(tensors: &[TensorReport]) -> Option<Text> {
    // Numbers of F64 may be too small for the F32 in which norms are taken.
    let is_empty = |tensor: &&TensorReport| {
        tensor.scheme.is_some() && tensor.weight_norm == Some(0.0) && tensor.dtype != "F64"
    };
    let mut empty = tensors.iter().filter(is_empty);
    let first = &empty.next()?.name;
    let hold = match empty.count() {
        0 => format!("`{first}` holds"),
        more => format!("{} weights (`{first}`, …) hold", more + 1),
    };
    let because =
        "as in a file whose download or copy was not finished; compare it with its source";
    Some(Text::from(format!("{hold} nothing but zeros, {because}")))
}

/// Returns why a weight lost too much, if it did.
fn cause(tensor: &TensorReport) -> Option<Cause> {
    let error = tensor.weight_error.or(tensor.narrowing_error)?;
    let norm = tensor.weight_norm?;
    let most = match tensor.scheme {
        Some(scheme) if scheme.code_bits() < 8 => RUINED_OF_FEW_BITS,
        Some(_) | None => RUINED,
    };
    let is_zeroed = tensor.zeroed_share.is_some_and(|share| share > MOST_ZEROED);
    if error.is_nan() || (error <= most && !is_zeroed) {
        return None;
    }
    let is_unscaled = |grid| tensor.scheme == Some(Scheme::unscaled(grid));
    // No number is larger than the norm of all.
    let is_f16 = tensor.scheme.is_none() || is_unscaled(GridKind::F16);
    Some(if is_f16 && norm > f64::from(GridKind::F16.max()) {
        Cause::PastF16
    } else if is_f16 {
        Cause::BelowF16
    } else if is_unscaled(GridKind::Bf16) {
        Cause::BelowBf16
    } else if is_zeroed && norm == 0.0 {
        Cause::BelowF32
    } else if has_lost_all(error) {
        Cause::BelowScales
    } else if is_zeroed {
        Cause::Zeroed
    } else {
        Cause::Spread
    })
}

/// Returns whether a weight has lost all that it holds: every code stands for 0, and its numbers do not.
///
/// - `weight_error`: `‖E‖ / ‖W‖`
pub fn has_lost_all(weight_error: f64) -> bool {
    // E is −W then, but for the order of sums.
    (weight_error - 1.0).abs() < 1e-6
}

fn described(cause: Cause, ruined: &[&TensorReport]) -> Text {
    let lost = match ruined {
        [one] => format!("`{}` lost ", one.name),
        [first, ..] => format!("{} weights (`{}`, …) lost ", ruined.len(), first.name),
        [] => String::new(),
    };
    let few_bits = |tensor: &&TensorReport| tensor.scheme.is_some_and(|it| it.code_bits() < 8);
    let share = match cause {
        Cause::BelowScales | Cause::BelowF32 => "all that they hold",
        Cause::Zeroed => "more than 90 % of all numbers, which became 0",
        _ if ruined.iter().any(few_bits) => "more than 50 %",
        _ => "more than 10 %",
    };
    let because = match cause {
        Cause::PastF16 => "F16 holds no numbers past 65504",
        Cause::BelowF16 => "F16 has no numbers as small as theirs but 0",
        Cause::BelowBf16 => "BF16 has no numbers as small as theirs but 0",
        Cause::BelowF32 => {
            "F32, in which scales are chosen, has no numbers as small as theirs but 0"
        }
        Cause::BelowScales => "their numbers are too small for any scale, and every code is 0",
        Cause::Spread | Cause::Zeroed => "one scale covers values of very different size",
    };
    Text::from(lost + share + ": " + because + "; ") + way_out(cause, ruined)
}

/// Returns what holds such weights: what follows from the cause, and is not what ruined one of them.
fn way_out(cause: Cause, ruined: &[&TensorReport]) -> Text {
    let keep = || Setting::new("keep").quoted() + " keeps them as they are";
    let with = |setting: &str, name: &str| {
        Text::from("`") + Setting::new(setting) + format!(" {name}` holds them")
    };
    let is_decoded = ruined.iter().all(|tensor| tensor.scheme.is_none());
    let rms = |tensor: &&TensorReport| {
        let elements = tensor.shape.iter().map(|&size| size as f64).product::<f64>().max(1.0);
        tensor.weight_norm.unwrap_or_default() / elements.sqrt()
    };
    let rms_of_error =
        |tensor: &TensorReport| tensor.weight_error.unwrap_or_default() * rms(&tensor);
    let least_of_fp8 =
        |tensor: &TensorReport| tensor.weight_norm.unwrap_or_default() * 2.0_f64.powi(-17);
    let fits_bf16 = ruined.iter().all(|tensor| rms(tensor) >= SMALL_IN_BF16);
    let is_tried = |name: &str| {
        ruined.iter().any(|tensor| tensor.scheme.is_some_and(|scheme| scheme.to_string() == name))
    };
    match cause {
        Cause::PastF16 | Cause::BelowF16 if is_decoded && fits_bf16 => with("decode_to", "bf16"),
        Cause::PastF16 | Cause::BelowF16 if is_decoded => with("decode_to", "f32"),
        Cause::PastF16 | Cause::BelowF16 if fits_bf16 => with("scheme", "bf16"),
        // What is left of such a weight is about the error; it survives where it is not below all codes of
        // `fp8`, whose least is 2⁻¹⁸ of the largest.
        Cause::Zeroed
            if ruined.iter().any(|tensor| rms_of_error(tensor) < least_of_fp8(tensor)) =>
        {
            keep()
        }
        // Each code of `fp8` has an exponent of its own, so that small values beside large ones survive.
        Cause::Spread | Cause::Zeroed if !is_tried("fp8") => {
            with("scheme", "fp8") + " better; " + keep()
        }
        Cause::PastF16
        | Cause::BelowF16
        | Cause::BelowBf16
        | Cause::BelowF32
        | Cause::BelowScales
        | Cause::Spread
        | Cause::Zeroed => keep(),
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use crate::plan::Action;

    use super::*;

    fn tensor(scheme: Option<&str>, error: f64, norm: f64) -> TensorReport {
        let (error, narrowing_error) = match scheme {
            Some(_) => (Some(error), None),
            None => (None, Some(error)),
        };
        TensorReport {
            name: "a.weight".to_owned(),
            shape: vec![4, 4],
            dtype: Cow::Borrowed("F32"),
            decision: Action::Quantize,
            reason: String::new(),
            scheme: scheme.map(|name| name.parse().unwrap()),
            weight_error: error,
            narrowing_error,
            zeroed_share: None,
            is_not_finite: false,
            weight_norm: Some(norm),
            rounding: None,
            seconds: 0.0,
            sums: None,
        }
    }

    #[test]
    fn a_weight_that_lost_too_much_is_told_with_its_cause_and_what_holds_it() {
        for (scheme, error, norm, words) in [
            (Some("fp16"), 0.9, 1e6, ["past 65504", "`scheme bf16` holds them"]),
            (Some("fp16"), 1.0, 1e-10, ["F16 has no numbers as small", "`scheme bf16` holds them"]),
            (Some("fp16"), 1.0, 1e-44, ["F16 has no numbers as small", "`keep` keeps them"]),
            (None, 0.9, 1e6, ["past 65504", "`decode_to bf16` holds them"]),
            (None, 1.0, 1e-44, ["F16 has no numbers as small", "`decode_to f32` holds them"]),
            (Some("bf16"), 1.0, 1e-44, ["BF16 has no numbers as small", "`keep` keeps them"]),
            (Some("fp8"), 1.0, 1e-30, ["too small for any scale", "`keep` keeps them"]),
            (Some("nvfp4"), 1.0, 1e-30, ["too small for any scale", "`keep` keeps them"]),
            (Some("int8"), 0.4, 1.0, ["very different size", "`scheme fp8` holds them better"]),
            (Some("nvfp4"), 0.6, 1.0, ["more than 50 %: one scale", "`scheme fp8` holds them"]),
        ] {
            let told = losses(&[tensor(scheme, error, norm)]);
            let [told] = told.as_slice() else { panic!("{scheme:?} {error}: {told:?}") };
            let told = told.to_string();
            assert!(words.iter().all(|words| told.contains(words)), "{scheme:?} {error}: {told}");
        }
        assert!(
            losses(&[tensor(Some("fp8"), 0.03, 1.0), tensor(Some("nvfp4"), 0.14, 1.0)]).is_empty()
        );
    }

    #[test]
    fn a_weight_whose_numbers_became_0_is_told_however_small_its_error_is() {
        let zeroed = |share| TensorReport {
            zeroed_share: Some(share),
            ..tensor(Some("int8"), 0.003, 1000.0)
        };
        let told = losses(&[zeroed(0.999)])[0].to_string();
        assert!(told.contains("more than 90 % of all numbers, which became 0"), "{told}");
        assert!(told.contains("`scheme fp8` holds them better"), "{told}");
        assert!(losses(&[zeroed(0.6)]).is_empty());
        let hidden = TensorReport { weight_error: Some(1e-9), ..zeroed(0.999) };
        let told = losses(&[hidden])[0].to_string();
        assert!(!told.contains("`scheme fp8`") && told.contains("`keep` keeps"), "{told}");
        // Numbers of F64 that are 0 in F32 have no norm there, and no error.
        let below = TensorReport { zeroed_share: Some(1.0), ..tensor(Some("int8"), 0.0, 0.0) };
        let told = losses(&[below])[0].to_string();
        assert!(
            told.contains("all that they hold: F32") && told.contains("`keep` keeps"),
            "{told}"
        );
    }

    #[test]
    fn weights_of_which_nothing_is_there_are_told() {
        let told = losses(&[tensor(Some("fp8"), 0.0, 0.0), tensor(Some("fp8"), 0.02, 1.0)]);
        assert!(told[0].to_string().starts_with("`a.weight` holds nothing but zeros"), "{told:?}");
        assert_eq!(told.len(), 1);
        let told = losses(&[tensor(Some("fp8"), 0.0, 0.0), tensor(Some("fp8"), 0.0, 0.0)]);
        assert!(told[0].to_string().starts_with("2 weights (`a.weight`, …) hold nothing"));
    }

    #[test]
    fn a_scheme_that_ruined_a_weight_is_not_recommended_for_it() {
        for scheme in ["int8", "int8-row", "fp8", "fp8-block-64"] {
            let told = losses(&[tensor(Some(scheme), 0.5, 1.0)])[0].to_string();
            assert!(!told.contains(&format!("`scheme {scheme}`")), "{scheme}: {told}");
        }
    }
}
