//! The table of servers: families of language models, by the rules that there are for them.

use crate::source::consumer::answer::TakesCodes;
use crate::source::model_config::ServedModel;

/// Returns whether servers read codes of a model.
pub(super) fn takes_codes(served: Option<&ServedModel>) -> TakesCodes {
    match served {
        None => TakesCodes::No {
            reason: "no `config.json` beside the weights describes a language model, and servers \
                     learn from it what a file holds"
                .to_owned(),
            way_out: "name the model's folder, or make a file for ComfyUI".to_owned(),
        },
        Some(ServedModel { is_known: true, .. }) => TakesCodes::Yes,
        Some(ServedModel { model_type, .. }) => TakesCodes::NotKnown {
            reason: format!(
                "`model_type` is `{model_type}`, for which there are no rules here: attention and \
                 MLP of the layers are converted, and all else is kept"
            ),
        },
    }
}
