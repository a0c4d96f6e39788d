//! A recipe says what it does, whom it is for, and what decides about a layer.

use roundwise_convert::inspect::recipe_template;
use roundwise_convert::layout::MatmulPrecision;
use roundwise_convert::plan::{Decision, explain};
use roundwise_convert::{Plan, PlanRequest, Recipe, RecipeFile, Source};
use roundwise_testkit::files::{Tensor, safetensors};
use roundwise_testkit::weights::gaussian;

/// A few layers of Flux, enough to be recognised.
fn flux() -> (tempfile::TempDir, Source) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let matrix = |name: &str| Tensor::bf16(name, &gaussian(64, 64, 1));
    let tensors = [
        matrix("img_in.weight"),
        matrix("double_blocks.0.img_attn.qkv.weight"),
        matrix("double_blocks.1.img_attn.qkv.weight"),
        matrix("final_layer.linear.weight"),
        matrix("distilled_guidance_layer.in_proj.weight"),
        Tensor::bf16("distilled_guidance_layer.norms.0.scale", &gaussian(1, 64, 1)),
        Tensor::bf16("double_blocks.0.img_attn.norm.key_norm.scale", &gaussian(1, 64, 1)),
    ];
    std::fs::write(&path, safetensors(&tensors)).unwrap();
    let source = Source::open(&path).unwrap();
    (folder, source)
}

fn recipe(text: &str) -> Recipe {
    Recipe::check(RecipeFile::from_toml(text).unwrap()).unwrap()
}

fn decision(source: &Source, text: &str, name: &str) -> (String, MatmulPrecision) {
    let plan = Plan::decide(&PlanRequest::new(source, &recipe(text))).unwrap();
    let planned = plan.tensors.iter().find(|planned| planned.header.name == name).unwrap();
    match &planned.decision {
        Decision::Quantize { scheme, matmul_precision, .. } => {
            (scheme.to_string(), *matmul_precision)
        }
        _ => ("kept".to_owned(), MatmulPrecision::Any),
    }
}

#[test]
fn a_template_is_a_recipe_that_changes_nothing() {
    let (_folder, source) = flux();
    let text = recipe_template(source.checkpoint.path()).unwrap();
    assert!(text.contains(r"double_blocks\.\d+\.img_attn\.qkv"), "{text}");
    assert!(text.contains("# 2 layers [64, 64], converted: linear weight"), "{text}");
    let decisions = |text: &str| {
        let plan = Plan::decide(&PlanRequest::new(&source, &recipe(text))).unwrap();
        let tensors = plan.tensors.into_iter();
        tensors.map(|planned| (planned.decision, planned.reason)).collect::<Vec<_>>()
    };
    assert_eq!(decisions(&text), decisions(""));
    let uncommented = text.replace("    # { pattern", "    { pattern");
    assert!(RecipeFile::from_toml(&uncommented).unwrap().rules.len() >= 3);
}

#[test]
fn a_recipe_for_another_model_is_refused() {
    let (_folder, source) = flux();
    let other = recipe("model = 'Mochi'");
    let error = Plan::decide(&PlanRequest::new(&source, &other)).unwrap_err().to_string();
    assert!(error.contains("the recipe is for: Mochi"), "{error}");
}

#[test]
fn rules_that_contradict_each_other_are_refused() {
    let text = "rules = [{ pattern = 'a', scheme = 'fp8' }, { pattern = 'a', scheme = 'int8' }]";
    let error = Recipe::check(RecipeFile::from_toml(text).unwrap()).unwrap_err().to_string();
    assert_eq!(error, "rules[1]: `a` is to be int8 and fp8: these contradict each other");
}

#[test]
fn what_a_preset_keeps_gets_the_fallback_scheme() {
    let (_folder, source) = flux();
    let name = "final_layer.linear.weight";
    assert_eq!(decision(&source, "", name).0, "kept");
    assert_eq!(decision(&source, "fallback_scheme = 'int8-row'", name).0, "int8-row");
    let kept = "fallback_scheme = 'int8-row'\nkeep = ['final']";
    assert_eq!(decision(&source, kept, name).0, "kept");
}

#[test]
fn layers_ask_for_full_precision_where_the_recipe_says_so() {
    let (_folder, source) = flux();
    let text = r"full_precision = ['\.1\.']";
    let matmul_precision = |name: &str| decision(&source, text, name).1;
    assert_eq!(matmul_precision("double_blocks.0.img_attn.qkv.weight"), MatmulPrecision::Any);
    assert_eq!(matmul_precision("double_blocks.1.img_attn.qkv.weight"), MatmulPrecision::Full);
    let nowhere = recipe("full_precision = ['nowhere']");
    assert!(Plan::decide(&PlanRequest::new(&source, &nowhere)).is_err());
}

#[test]
fn an_explanation_names_the_rule_that_decides() {
    let (_folder, source) = flux();
    let deciding = |text: &str, layer: &str| {
        let explained = explain(&PlanRequest::new(&source, &recipe(text)), layer).unwrap();
        let steps = explained.steps.into_iter().filter(|step| step.decides);
        steps.map(|step| step.asked).collect::<Vec<_>>()
    };
    let qkv = "double_blocks.0.img_attn.qkv";
    assert_eq!(deciding("", qkv), ["scheme fp8"]);
    let rules =
        "rules = [{ pattern = 'final', scheme = 'fp8' }, { pattern = 'qkv', scheme = 'int8' }]";
    assert_eq!(deciding(rules, qkv), ["rules[1] `qkv`"]);
    assert_eq!(
        deciding("keep = ['qkv']", "double_blocks.1.img_attn.qkv.weight"),
        ["keep[0] `qkv`"]
    );
    assert!(deciding("", "final_layer.linear")[0].to_string().starts_with("preset "));
    assert_eq!(deciding("fallback_scheme = 'int8'", "final_layer.linear"), ["fallback_scheme"]);
    assert_eq!(deciding("", "double_blocks.0.img_attn.norm.key_norm.scale"), ["kind of tensor"]);
    let missing =
        explain(&PlanRequest::new(&source, &recipe("")), "1.img_attn").unwrap_err().to_string();
    assert!(missing.contains("is `double_blocks.1.img_attn.qkv` meant?"), "{missing}");
}
