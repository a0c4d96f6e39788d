use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use roundwise_convert::compute::Device;
use roundwise_convert::layout::{Layout, client};
use roundwise_convert::model::{Heuristic, Kind, Preset};
use roundwise_convert::recipe::{Names, PlainDtype};
use roundwise_convert::rounding::METHODS;
use roundwise_convert::scheme::{CATALOG, ScaleRule};
use serde_json::{Value, json};

use crate::studio::Shared;

/// Names and settings that forms are made of.
pub(crate) async fn vocabulary(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "os": std::env::consts::OS,
        "cores": std::thread::available_parallelism().map_or(1, |cores| cores.get()),
        "start": shared.start(),
        "devices": Device::NAMES.map(|(name, _)| name),
        "schemes": schemes(),
        "scale_rules": ScaleRule::NAMES.map(|(name, _)| name),
        "layouts": Layout::NAMES.map(|(name, _)| name),
        "heuristics": Heuristic::NAMES.map(|(name, _)| name),
        "names": Names::NAMES.map(|(name, _)| name),
        "kinds": Kind::NAMES.map(|(name, _)| name),
        "dtypes": PlainDtype::NAMES.map(|(name, _)| name),
        "methods": methods(),
        "presets": presets(),
    }))
}

fn schemes() -> Vec<Value> {
    let scheme = |entry: &roundwise_convert::scheme::CatalogEntry| {
        json!({
            "name": entry.name,
            "summary": entry.summary(),
            "bits": entry.bits(),
            "client": client(Layout::default_for(entry.scheme), entry.scheme).name,
            "when": entry.when,
        })
    };
    CATALOG.iter().map(scheme).collect()
}

fn methods() -> Vec<Value> {
    let method = |method: &roundwise_convert::rounding::Method| {
        let options = method.options();
        json!({
            "name": method.name,
            "summary": method.summary,
            "objective": options.objective.name(),
            "solver": options.solver.name(),
            "min_size": method.min_size,
            "settings": method.settings(),
        })
    };
    METHODS.iter().map(method).collect()
}

fn presets() -> Vec<Value> {
    let preset = |preset: &Preset| {
        json!({
            "name": preset.name,
            "aliases": preset.aliases,
            "for": preset.title,
            "refuses": preset.refuse,
        })
    };
    Preset::all().iter().map(preset).collect()
}
