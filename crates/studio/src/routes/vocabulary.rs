use axum::response::Response;
use roundwise_convert::compute::Device;
use roundwise_convert::layout::Layout;
use roundwise_convert::model::{FileKind, Heuristic};
use roundwise_convert::plan::Card;
use roundwise_convert::recipe::{MethodEntry, Names, PlainDtype, PresetEntry, SchemeEntry};
use roundwise_convert::scheme::ScaleRule;
use serde_json::json;

use crate::answer::{self, Refusal};
use crate::call::Call;

/// Names and settings that forms are made of.
pub(crate) fn vocabulary(call: &Call) -> Result<Response, Refusal> {
    answer::json(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "os": std::env::consts::OS,
        "cores": std::thread::available_parallelism().map_or(1, |cores| cores.get()),
        "start": call.shared.start(),
        "devices": Device::NAMES.map(|(name, _)| name),
        "cards": Card::NAMES.map(|(name, _)| name),
        "schemes": SchemeEntry::all(),
        "scale_rules": ScaleRule::NAMES.map(|(name, _)| name),
        "layouts": Layout::NAMES.map(|(name, _)| name),
        "heuristics": Heuristic::NAMES.map(|(name, _)| name),
        "names": Names::NAMES.map(|(name, _)| name),
        "kinds": FileKind::NAMES.map(|(name, _)| name),
        "dtypes": PlainDtype::NAMES.map(|(name, _)| name),
        "methods": MethodEntry::all(),
        "presets": PresetEntry::all(),
    }))
}
