//! The table of servers: families of language models, by the rules that there are for them.

use crate::source::consumer::answer::TakesCodes;
use crate::source::model_config::ServedModel;

/// Returns whether servers read codes of a model.
pub(super) fn takes_codes(served: Option<&ServedModel>) -> TakesCodes {
    match served {
        None => TakesCodes::No {
            reason: "such codes are for servers, which learn what a file holds from its `config.json`, and none \
                     beside the weights describes a language model"
                .to_owned(),
            way_out: "name the model's folder, or a scheme that ComfyUI reads, such as `fp8` or `int4-convrot`"
                .to_owned(),
        },
        Some(ServedModel { unread_name: Some(name), model_type, .. }) => TakesCodes::NotKnown {
            reason: format!("`{name}` is no name of a `{model_type}` in transformers"),
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
