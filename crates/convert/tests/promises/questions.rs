//! One list of questions decides: plans and explanations are two readings of it.

use proptest::prelude::*;
use roundwise_convert::layout::layer_of;
use roundwise_convert::plan::{Decision, explain};
use roundwise_convert::recipe::{AssignmentFile, RuleFile};
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

/// Names of a language model, whose layers servers stack.
const SERVED: [&str; 9] = [
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.0.self_attn.k_proj.weight",
    "model.layers.0.self_attn.v_proj.weight",
    "model.layers.0.self_attn.o_proj.weight",
    "model.layers.0.mlp.gate_proj.weight",
    "model.layers.0.mlp.up_proj.weight",
    "model.layers.0.input_layernorm.weight",
    "model.embed_tokens.weight",
    "lm_head.weight",
];

const PATTERNS: [&str; 9] =
    ["qkv", "img_mlp", "final", "vae", "extra", r"\.0\.", "guidance", "q_proj", "mlp"];
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
        proptest::option::of((scheme(), 0..NAMES.len(), 0..SERVED.len())),
    );
    (scheme(), patterns(), patterns(), rules, protections).prop_map(
        |(
            scheme,
            keep,
            include,
            rules,
            (fallback_scheme, ignore_base_list, min_size, heuristic, assigned),
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
                assign: assigned.map(assignment).into_iter().collect(),
                ..RecipeFile::default()
            }
        },
    )
}

/// A scheme for a layer of either model; the one that the file does not have is left out later.
fn assignment((scheme, flux, served): (String, usize, usize)) -> AssignmentFile {
    let layer = |name: &str| name.strip_suffix(".weight").unwrap_or(name).to_owned();
    AssignmentFile { scheme, layers: vec![layer(NAMES[flux]), layer(SERVED[served])] }
}

fn model(names: &[&str], sizes: &[(usize, usize)]) -> (tempfile::TempDir, Source) {
    let folder = tempfile::tempdir().unwrap();
    if names == SERVED {
        let config = r#"{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}"#;
        std::fs::write(folder.path().join("config.json"), config).unwrap();
    }
    let path = folder.path().join("model.safetensors");
    let tensors: Vec<Tensor> = names
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
        is_served in any::<bool>(),
        sizes in proptest::collection::vec((1..130_usize, 1..130_usize), NAMES.len()),
    ) {
        let names = if is_served { SERVED } else { NAMES };
        let (_folder, source) = model(&names, &sizes);
        let mut file = file;
        for assigned in &mut file.assign {
            assigned.layers.retain(|layer| names.iter().any(|name| layer_of(name) == layer));
        }
        if is_served {
            file.program = Some("vllm".to_owned());
        }
        // Recipes that contradict themselves are refused before any question is asked.
        let recipe = Recipe::check(file);
        prop_assume!(recipe.is_ok());
        let recipe = recipe.unwrap();
        let request = PlanRequest::new(&source, &recipe);
        let plan = Plan::decide(&request);
        prop_assume!(plan.is_ok());
        let plan = plan.unwrap();
        for planned in &plan.tensors {
            let explained = explain(&request, &planned.header.name).unwrap();
            prop_assert_eq!(&explained.planned.decision, &planned.decision);
            prop_assert_eq!(&explained.planned.reason, &planned.reason);
            let deciding: Vec<_> = explained.steps.iter().filter(|step| step.decides).collect();
            prop_assert_eq!(deciding.len(), 1, "{}: {:?}", planned.header.name, explained.steps);
            // An answer that gives codes names their scheme, or the question does; every other one is the
            // reason itself, but for `keep`, whose pattern stands in the question.
            let answer = &deciding[0].answer;
            let asked = deciding[0].asked.to_string();
            let reason = planned.reason.to_string();
            let is_told = match planned.decision {
                Decision::Quantize { scheme, .. }
                    if asked.starts_with("include") && recipe.scheme() == scheme =>
                {
                    answer == "matches"
                }
                Decision::Quantize { scheme, .. } => {
                    format!("{asked} {answer}").contains(&scheme.to_string())
                }
                _ => answer.contains(&reason) || answer == "matches" && asked.starts_with("keep"),
            };
            prop_assert!(is_told, "{}: {asked}: {answer} / {reason}", planned.header.name);
        }
    }
}

#[test]
fn a_rule_whose_scheme_does_not_fit_decides_and_says_so() {
    let (_folder, source) = model(&NAMES, &[(64, 64); NAMES.len()]);
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
    let (_folder, source) = model(&NAMES, &[(64, 64); NAMES.len()]);
    let recipe = Recipe::check(RecipeFile::default()).unwrap();
    let explained = explain(&PlanRequest::new(&source, &recipe), NAMES[6]).unwrap();
    let deciding = explained.steps.iter().find(|step| step.decides).unwrap();
    assert_eq!(deciding.asked, "preset vae, model");
    assert_eq!(deciding.answer, explained.planned.reason.to_string());
}

/// The questions are about codes. What a recipe of another purpose does is told as such.
#[test]
fn a_recipe_that_makes_no_codes_is_explained_by_what_it_is_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let codes = Tensor::new("a.weight", "F8_E4M3", &[16, 16], vec![0x38; 256]);
    let scale = Tensor::new("a.weight_scale", "F32", &[], 1.0_f32.to_le_bytes().to_vec());
    std::fs::write(&path, safetensors(&[codes, scale])).unwrap();
    let source = Source::open(&path).unwrap();
    let recipe = RecipeFile::from_toml("decode_to = 'bf16'").unwrap().check().unwrap();
    let explained = explain(&PlanRequest::new(&source, &recipe), "a").unwrap();
    assert!(matches!(explained.planned.decision, Decision::Decode { .. }));
    let [step] = &explained.steps[..] else { panic!("{:?}", explained.steps) };
    assert!(step.decides);
    assert_eq!(step.answer, explained.planned.because());
}
