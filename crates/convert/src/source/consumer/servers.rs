//! The table of servers: families of language models, by the rules that there are for them.

use roundwise_layout::Layout;

use crate::model::Preset;
use crate::source::consumer::answer::TakesCodes;
use crate::source::model_config::ServedModel;
use crate::source::subject::Subject;
use crate::source::text_part::unknown_part;

/// Returns whether servers read codes of a model in a layout.
pub(super) fn takes_codes(subject: &Subject, layout: Layout) -> TakesCodes {
    match (&subject.served, &subject.silent_class) {
        (None, Some(class)) => TakesCodes::No {
            reason: format!(
                "such codes are for servers, as models that write text have them, and `architectures` in the \
                 `config.json` beside the weights names `{class}`, which writes none"
            ),
            way_out: "name ComfyUI as the program, with a scheme such as `fp8` or `int4-convrot`, or, where \
                      the file has the head of a model that writes, its class in `architectures`"
                .to_owned(),
        },
        (served, _) => takes_codes_of(served.as_ref(), layout),
    }
}

fn takes_codes_of(served: Option<&ServedModel>, layout: Layout) -> TakesCodes {
    match served {
        None => TakesCodes::No {
            reason: "such codes are for servers, which learn what a file holds from its `config.json`, and none \
                     beside the weights describes a language model"
                .to_owned(),
            way_out: "name the model's folder, or a scheme that ComfyUI reads, such as `fp8` or `int4-convrot`"
                .to_owned(),
        },
        Some(served)
            if layout.is_of_transposed_banks() && served.preset.layout_of_banks().is_none() =>
        {
            TakesCodes::No {
                reason: format!(
                    "layout `{layout}` is for the banks of experts of {}, and `model_type` is `{}`",
                    models_with_coded_banks(),
                    served.model_type
                ),
                way_out: "leave the layout out: codes of all other models are `compressed-tensors`"
                    .to_owned(),
            }
        }
        Some(ServedModel { unread_name: Some(name), model_type, .. }) => TakesCodes::NotKnown {
            reason: format!("`{name}` is no name that files of a `{model_type}` have"),
        },
        Some(ServedModel { unread_tensor: Some(reason), .. }) => {
            TakesCodes::NotKnown { reason: reason.clone() }
        }
        Some(ServedModel { is_known: true, preset, model_type, config, .. }) => {
            match unknown_part(preset, model_type, config) {
                None => TakesCodes::Yes,
                Some(part) => TakesCodes::NotKnown {
                    reason: format!(
                        "the part of the `{model_type}` that writes text is a `{part}`, for which there are no rules here"
                    ),
                },
            }
        }
        Some(ServedModel { model_type, .. }) => TakesCodes::NotKnown {
            reason: format!(
                "`model_type` is `{model_type}`, for which there are no rules here: attention and \
                 MLP of the layers are converted, and all else is kept"
            ),
        },
    }
}

/// Lists the families whose banks of experts servers read in codes.
fn models_with_coded_banks() -> String {
    let presets = Preset::all().iter().filter(|preset| preset.layout_of_banks().is_some());
    let families: Vec<String> =
        presets.flat_map(|preset| &preset.model_types).map(|it| format!("`{it}`")).collect();
    families.join(", ")
}
