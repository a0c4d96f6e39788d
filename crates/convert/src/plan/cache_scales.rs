//! Scales of the cache of keys and values, which attention has beside its layers.

use roundwise_layout::Layout;

use crate::plan::decision::{Decision, PlannedTensor};
use crate::plan::reason::Reason;
use crate::recipe::Purpose;
use crate::source::Subject;
use crate::source::model_config::cache_scheme;

/// What their names end with.
const ENDINGS: [&str; 3] = ["attn.k_scale", "attn.v_scale", "attn.q_scale"];

/// Leaves the scales of a language model out where no program would round its cache by them.
///
/// vLLM asks `kv_cache_scheme` of compressed-tensors whether the file has them, and takes them for granted in layout `fp8`.
/// All other outputs have no place to say it here.
pub(crate) fn leave_out_unread(
    tensors: &mut [PlannedTensor],
    subject: &Subject,
    purpose: Purpose,
    layout: Layout,
) {
    let Some(served) = &subject.served else { return };
    let makes_codes = match purpose {
        // What is there stays as it is.
        Purpose::Edit | Purpose::Repair => return,
        Purpose::Decode(_) => false,
        Purpose::Quantize | Purpose::Migrate => {
            let mut schemes = tensors.iter().filter_map(PlannedTensor::scheme);
            schemes.any(|scheme| scheme.has_scales())
        }
    };
    let is_read = match layout {
        Layout::CompressedTensors => cache_scheme(&served.config).is_some(),
        Layout::Fp8 => true,
        Layout::Comfy | Layout::ComfyLegacy | Layout::ModelOpt | Layout::Mxfp4 => false,
    };
    if is_read && makes_codes {
        return;
    }
    for planned in tensors.iter_mut().filter(|planned| is_kept_cache_scale(planned)) {
        planned.decision = Decision::Remove;
        planned.reason = Reason::CacheScale;
    }
}

/// Returns whether a tensor is such a scale, and the output has it.
pub(crate) fn is_kept_cache_scale(planned: &PlannedTensor) -> bool {
    let is_cache_scale = ENDINGS.iter().any(|end| planned.header.name.ends_with(end));
    is_cache_scale && matches!(planned.decision, Decision::Copy | Decision::Rename { .. })
}
