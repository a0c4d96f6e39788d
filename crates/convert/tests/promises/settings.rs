//! Whoever shows a message knows which settings it is about, and calls them what its user does.

use roundwise_convert::plan::{Note, explain};
use roundwise_convert::recipe::{Piece, Setting, Text};
use roundwise_convert::{ConvertError, Plan, PlanRequest, Recipe, RecipeFile, Source};
use roundwise_testkit::files::{Tensor, safetensors};
use roundwise_testkit::weights::gaussian;

fn source() -> (tempfile::TempDir, Source) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let names = ["blocks.0.attn.weight", "blocks.0.mlp.weight", "blocks.1.attn.weight"];
    let tensors = names.map(|name| Tensor::f32(name, &gaussian(16, 16, 1)));
    std::fs::write(&path, safetensors(&tensors)).unwrap();
    let source = Source::open(&path).unwrap();
    (folder, source)
}

fn recipe(text: &str) -> Recipe {
    RecipeFile::from_toml(text).unwrap().check().unwrap()
}

/// The message as a page shows it that has labels for settings.
fn labelled(text: &Text) -> String {
    text.worded(|setting| format!("<{setting}>"))
}

#[test]
fn a_complaint_about_a_file_stands_at_its_setting() {
    let (_folder, source) = source();
    let cases = [
        (
            "keep = ['attn', 'qkv']",
            vec![("keep[1]", "<keep[1]> `qkv` matches no tensor of this file")],
        ),
        (
            "include = ['x']\nfull_precision = ['y']",
            vec![
                (
                    "include[0]",
                    "<include[0]> `x` matches no weight of this file that can be converted",
                ),
                ("full_precision[0]", "<full_precision[0]> `y` matches no layer of this file"),
            ],
        ),
        (
            "keep = ['attn']\nrules = [{ pattern = '0.attn', scheme = 'int8' }]",
            vec![(
                "keep[0]",
                "<keep[0]> `attn` and <rules[0]> `0.attn` contradict each other: `blocks.0.attn`",
            )],
        ),
        (
            "model = 'Flux'",
            vec![(
                "model",
                "holds: unrecognised model; the recipe is for: Flux\n  leave `<model>` out of a recipe \
                 that fits other models, too",
            )],
        ),
    ];
    for (text, expected) in cases {
        let recipe = recipe(text);
        let error = Plan::decide(&PlanRequest::new(&source, &recipe)).unwrap_err();
        assert!(matches!(error, ConvertError::Misfit { .. }), "{error}");
        let told: Vec<(String, String)> = error
            .complaints()
            .iter()
            .map(|it| (it.setting.as_ref().unwrap().to_string(), labelled(&it.problem)))
            .collect();
        let told: Vec<_> = told.iter().map(|(at, text)| (at.as_str(), text.as_str())).collect();
        assert_eq!(told, expected, "{text}");
        // Together they are the message.
        for complaint in error.complaints() {
            assert!(error.to_string().contains(&complaint.problem.to_string()), "{error}");
        }
    }
}

#[test]
fn a_note_names_the_setting_that_does_nothing() {
    let (_folder, source) = source();
    let recipe = recipe(
        "keep = ['attn', '0.attn']\nmin_size = 1\nmethod_options = { bias_correction = \
         'synthetic-plus' }",
    );
    let plan = Plan::decide(&PlanRequest::new(&source, &recipe)).unwrap();
    let told: Vec<(Setting, String)> = plan
        .notes
        .iter()
        .filter_map(|note| match note {
            Note::WithoutEffect { asked, .. } => {
                Some((asked.setting.clone(), labelled(&note.text())))
            }
            _ => None,
        })
        .collect();
    let expected = [
        (Setting::new("keep").at(1), "<keep[1]> `0.attn` changes nothing: what it matches"),
        (Setting::new("min_size"), "`<min_size>` changes nothing: every weight"),
        (
            Setting::new("method_options.bias_correction"),
            "`<method_options.bias_correction>` changes nothing: no converted layer",
        ),
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for ((setting, text), (expected, beginning)) in told.iter().zip(expected) {
        assert_eq!(*setting, expected);
        assert!(text.starts_with(beginning), "{text}");
    }
}

#[test]
fn an_explanation_names_the_settings_that_were_asked() {
    let (_folder, source) = source();
    let recipe = recipe("keep = ['mlp']\nrules = [{ pattern = 'attn', scheme = 'int8' }]");
    let explained = explain(&PlanRequest::new(&source, &recipe), "blocks.0.attn").unwrap();
    let deciding = explained.steps.iter().find(|step| step.decides).unwrap();
    let rule = Piece::Setting(Setting::new("rules").at(0));
    assert_eq!(deciding.asked.pieces()[0], rule);
    assert_eq!(labelled(&deciding.asked), "<rules[0]> `attn`");
}
