//! What training code puts before all names of a model, and around its blocks.

use crate::model::shapes::Shapes;

/// Names of wrappers that no loader strips: of data-parallel training, of averaged weights, of distillation, and of
/// the dictionaries that checkpoints put them in. [`BLOCK_WRAPPERS`] are of their kind.
const TRAINING_WRAPPERS: [&str; 23] = [
    "module",
    "ema",
    "ema_model",
    "_forward_module",
    "state_dict",
    "model_state_dict",
    "params",
    "params_ema",
    "generator",
    "dit",
    "unet",
    "student",
    "denoiser",
    "backbone",
    "pipe",
    "DiT",
    "base_model",
    "generator_ema",
    "model_ema",
    "net_ema",
    "module_ema",
    "ema_net",
    "teacher",
];

/// Names that are wrappers as well as beginnings that loaders know.
const COMMON_WRAPPERS: [&str; 4] = ["model", "net", "transformer", "diffusion_model"];

/// Names that PyTorch gives a block of a model inside what it wraps around it: compiled, shared out, computed
/// again in the backward pass. No model calls a layer so.
const BLOCK_WRAPPERS: [&str; 3] =
    ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];

/// Returns whether training code calls a wrapper so.
fn is_of_training(segment: &str) -> bool {
    BLOCK_WRAPPERS.contains(&segment) || TRAINING_WRAPPERS.contains(&segment)
}

/// Wrappers inside wrappers that are tried.
// Each level copies the table of names: the bound keeps made-up names full of dots from costing more.
const DEEPEST: usize = 6;

/// Returns a layer's name without the wrappers at its front, where one of training code is among
/// them.
pub(super) fn without_wrappers(layer: &str) -> Option<&str> {
    let mut inner = layer;
    let mut has_one = false;
    while let Some((first, rest)) = inner.split_once('.') {
        if !is_of_training(first) && !COMMON_WRAPPERS.contains(&first) {
            break;
        }
        has_one |= is_of_training(first);
        inner = rest;
    }
    has_one.then_some(inner)
}

/// Returns a name without the wrappers of blocks inside it, and these; `None` where there are none. Wrappers at
/// the front stay: they are of the whole model.
pub(crate) fn without_inner_wrappers(name: &str) -> Option<(String, Vec<&'static str>)> {
    let is_wrapper = |segment: &&str| is_of_training(segment) || COMMON_WRAPPERS.contains(segment);
    let front = name.split('.').take_while(is_wrapper).count();
    let mut found = vec![];
    let kept = name.split('.').enumerate().filter(|(at, segment)| {
        let wrapper = BLOCK_WRAPPERS.iter().find(|wrapper| *at >= front && *wrapper == segment);
        found.extend(wrapper);
        wrapper.is_none()
    });
    let kept: Vec<&str> = kept.map(|(_, segment)| segment).collect();
    (!found.is_empty()).then(|| (kept.join("."), found))
}

/// Returns the model behind one wrapper, two, three and so on, each with the prefix taken off.
pub(super) fn unwrapped<'a>(shapes: &Shapes<'a>) -> Vec<(String, Shapes<'a>)> {
    let mut found: Vec<(String, Shapes<'a>)> = vec![];
    for _ in 0..DEEPEST {
        let (before, inside) =
            found.last().map_or(("", shapes), |(before, inside)| (before.as_str(), inside));
        let Some(wrapper) = common_wrapper(inside) else { break };
        found.push((format!("{before}{wrapper}."), behind(inside, wrapper)));
    }
    found
}

/// Returns the model behind the first segments that all names have in common, whatever they are: one,
/// two and so on, each with the prefix taken off.
pub(super) fn behind_common_beginnings<'a>(shapes: &Shapes<'a>) -> Vec<(String, Shapes<'a>)> {
    let mut found: Vec<(String, Shapes<'a>)> = vec![];
    for _ in 0..DEEPEST {
        let (before, inside) =
            found.last().map_or(("", shapes), |(before, inside)| (before.as_str(), inside));
        let first = inside.names().next().and_then(|name| name.split_once('.'));
        let Some((segment, _)) = first else { break };
        let start = format!("{segment}.");
        if inside.starting_with(&start).count() < inside.names().count() {
            break;
        }
        found.push((format!("{before}{start}"), behind(inside, segment)));
    }
    found
}

/// Returns the tensors whose names begin with a segment, without it.
pub(super) fn behind<'a>(shapes: &Shapes<'a>, segment: &str) -> Shapes<'a> {
    let start = format!("{segment}.");
    let strip = |name: &'a str| Some((name.strip_prefix(&start)?, shapes.shape(name)?));
    shapes.names().filter_map(strip).collect()
}

/// Returns the wrapper that most names begin with, if a third of them do: a file may hold a second
/// copy of the model, such as averaged weights, and counters.
fn common_wrapper(shapes: &Shapes<'_>) -> Option<&'static str> {
    let count = |wrapper: &str| shapes.starting_with(&format!("{wrapper}.")).count();
    let counted = COMMON_WRAPPERS.into_iter().chain(BLOCK_WRAPPERS).chain(TRAINING_WRAPPERS);
    let counted = counted.map(|wrapper| (wrapper, count(wrapper)));
    // Among equal counts the first in the lists: loaders' own names before those of training code.
    let (wrapper, most) = counted.reduce(|best, next| if next.1 > best.1 { next } else { best })?;
    (most > 0 && most * 3 >= shapes.names().count()).then_some(wrapper)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_inside_names_are_taken_off_and_those_in_front_are_not() {
        let bare = |name: &str| without_inner_wrappers(name).map(|(bare, _)| bare);
        let [fsdp, checkpoint] = ["_fsdp_wrapped_module", "_checkpoint_wrapped_module"];
        assert_eq!(bare(&format!("blocks.0.{fsdp}.q.weight")).unwrap(), "blocks.0.q.weight");
        let both = format!("module._orig_mod.blocks.0.{fsdp}.{checkpoint}.q.weight");
        assert_eq!(bare(&both).unwrap(), "module._orig_mod.blocks.0.q.weight");
        assert_eq!(bare("module._orig_mod.blocks.0.q.weight"), None);
        assert_eq!(bare("blocks.0.q.weight"), None);
    }
}
