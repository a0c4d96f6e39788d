//! One list of questions decides: plans and explanations are two readings of it.

use proptest::prelude::*;
use roundwise_convert::plan::{Decision, explain};
use roundwise_convert::recipe::RuleFile;
use roundwise_convert::{Plan, PlanRequest, Recipe, RecipeFile, Source};
use roundwise_testkit::files::{Tensor, safetensors};
use roundwise_testkit::weights::gaussian;

/// Names of a FLUX checkpoint with a VAE, of what is no weight, and of what belongs to nothing.
const NAMES: [&str; 9] = [
    "model.diffusion_model.double_blocks.0.img_attn.qkv.weight",
    "model.diffusion_model.double_blocks.0.img_attn.norm.key_norm.scale",
    "model.diffusion_model.double_blocks.1.img_mlp.0.weight",
    "model.diffusion_model.double_blocks.1.img_mlp.0.bias",
    "model.diffusion_model.guidance_in.in_layer.weight",
    "model.diffusion_model.final_layer.linear.weight",
    "vae.decoder.mid.attn_1.q.weight",
    "vae.decoder.conv_in.weight",
    "extra.proj.weight",
];

const PATTERNS: [&str; 7] = ["qkv", "img_mlp", "final", "vae", "extra", r"\.0\.", "guidance"];
const SCHEMES: [&str; 5] = ["fp8", "int8-row", "fp8-block-100", "mxfp8", "fp16"];

fn patterns() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(proptest::sample::select(&PATTERNS[..]).prop_map(str::to_owned), 0..3)
}

fn scheme() -> impl Strategy<Value = String> {
    proptest::sample::select(&SCHEMES[..]).prop_map(str::to_owned)
}

fn recipes() -> impl Strategy<Value = RecipeFile> {
    let rule = (patterns(), scheme());
    let rules = proptest::collection::vec(rule, 0..2).prop_map(|rules| {
        let rules = rules.into_iter().filter_map(|(patterns, scheme)| {
            Some(RuleFile { pattern: patterns.into_iter().next()?, scheme })
        });
        rules.collect::<Vec<_>>()
    });
    let protections = (
        proptest::option::of(scheme()),
        proptest::option::of(any::<bool>()),
        proptest::option::of(0..20_000_u64),
        proptest::option::of(proptest::sample::select(&["basic", "classic"][..])),
    );
    (scheme(), patterns(), patterns(), rules, protections).prop_map(
        |(
            scheme,
            keep,
            include,
            rules,
            (fallback_scheme, ignore_base_list, min_size, heuristic),
        )| {
            RecipeFile {
                scheme: Some(scheme),
                keep,
                include,
                rules,
                fallback_scheme,
                ignore_base_list,
                min_size,
                heuristic: heuristic.map(str::to_owned),
                ..RecipeFile::default()
            }
        },
    )
}

fn model(sizes: &[(usize, usize)]) -> (tempfile::TempDir, Source) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let tensors: Vec<Tensor> = NAMES
        .iter()
        .zip(sizes)
        .zip(1..)
        .map(|((name, (rows, cols)), seed)| match name.ends_with(".weight") {
            true => Tensor::bf16(name, &gaussian(*rows, *cols, seed)),
            false => Tensor::bf16(name, &gaussian(1, *rows, seed)),
        })
        .collect();
    std::fs::write(&path, safetensors(&tensors)).unwrap();
    let source = Source::open(&path).unwrap();
    (folder, source)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn exactly_one_question_decides_and_its_reason_is_the_plans(
        file in recipes(),
        sizes in proptest::collection::vec((1..130_usize, 1..130_usize), NAMES.len()),
    ) {
        let (_folder, source) = model(&sizes);
        // Recipes that contradict themselves are refused before any question is asked.
        let Ok(recipe) = Recipe::check(file) else { return Ok(()) };
        let request = PlanRequest::new(&source, &recipe);
        let Ok(plan) = Plan::decide(&request) else { return Ok(()) };
        for planned in &plan.tensors {
            let explained = explain(&request, &planned.header.name).unwrap();
            prop_assert_eq!(&explained.planned.decision, &planned.decision);
            prop_assert_eq!(&explained.planned.reason, &planned.reason);
            let deciding: Vec<_> = explained.steps.iter().filter(|step| step.decides).collect();
            prop_assert_eq!(deciding.len(), 1, "{}: {:?}", planned.header.name, explained.steps);
            // An answer by pattern says that it matches; every other one is the reason itself.
            let answer = &deciding[0].answer;
            let reason = planned.reason.to_string();
            let is_told = answer.contains(&reason)
                || answer.starts_with("matches")
                || answer.starts_with("what a preset keeps becomes")
                || (answer == "covers it" && matches!(planned.decision, Decision::Quantize { .. }));
            prop_assert!(is_told, "{}: {answer} / {reason}", planned.header.name);
        }
    }
}

#[test]
fn a_rule_whose_scheme_does_not_fit_decides_and_says_so() {
    let (_folder, source) = model(&[(64, 64); NAMES.len()]);
    let file = RecipeFile::from_toml("rules = [{ pattern = 'qkv', scheme = 'fp8-block-100' }]");
    let recipe = Recipe::check(file.unwrap()).unwrap();
    let explained = explain(&PlanRequest::new(&source, &recipe), NAMES[0]).unwrap();
    let deciding = explained.steps.iter().find(|step| step.decides).unwrap();
    assert_eq!(deciding.asked, "rules[0] `qkv`");
    assert!(deciding.answer.starts_with("matches: fp8-block-100, but "), "{}", deciding.answer);
    assert!(deciding.answer.contains("100"), "{}", deciding.answer);
}

#[test]
fn the_preset_that_refuses_a_vae_is_named_where_it_decides() {
    let (_folder, source) = model(&[(64, 64); NAMES.len()]);
    let recipe = Recipe::check(RecipeFile::default()).unwrap();
    let explained = explain(&PlanRequest::new(&source, &recipe), NAMES[6]).unwrap();
    let deciding = explained.steps.iter().find(|step| step.decides).unwrap();
    assert_eq!(deciding.asked, "preset vae, model");
    assert_eq!(deciding.answer, explained.planned.reason.to_string());
}
