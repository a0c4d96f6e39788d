//! Folders of every family of decoders that transformers writes are promised to servers, and no family is taken for
//! another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use roundwise_convert::model::Preset;
use roundwise_convert::source::for_input;
use roundwise_convert::{
    ConvertError, Job, Plan, PlanRequest, RecipeFile, Source, Unwatched, convert,
};
use roundwise_testkit::files::{Tensor, safetensors};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Configurations, and names with shapes, as transformers saves small models.
const FAMILIES: &str = include_str!("../../../../fixtures/served/families.json");

#[derive(serde::Deserialize)]
struct Family {
    config: Value,
    tensors: BTreeMap<String, Vec<usize>>,
}

fn families() -> BTreeMap<String, Family> {
    serde_json::from_str(FAMILIES).unwrap()
}

/// A folder with the weights of a family.
fn folder_of(family: &Family) -> TempDir {
    let folder = TempDir::new().unwrap();
    let tensors = family.tensors.iter().map(|(name, shape)| {
        let count: usize = shape.iter().product();
        Tensor::new(name, "BF16", shape, vec![0; 2 * count])
    });
    let tensors: Vec<Tensor> = tensors.collect();
    std::fs::write(folder.path().join("model.safetensors"), safetensors(&tensors)).unwrap();
    folder
}

/// Plans FP8 for vLLM with a configuration; returns whether it is promised to any program.
fn is_promised(folder: &Path, config: &Value) -> Result<bool, ConvertError> {
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let recipe = RecipeFile {
        program: Some("vllm".to_owned()),
        scheme: Some("fp8-row".to_owned()),
        ..RecipeFile::default()
    };
    let recipe = for_input(recipe, folder, None).check().unwrap();
    let source = Source::open_with(folder, &recipe)?;
    let plan = Plan::decide(&PlanRequest::new(&source, &recipe))?;
    Ok(plan.consumers().iter().all(|consumer| consumer.answer.program().is_some()))
}

#[test]
fn every_family_of_transformers_is_promised() {
    let mut covered = BTreeSet::new();
    for (name, family) in families() {
        let promised = is_promised(folder_of(&family).path(), &family.config);
        assert!(promised.as_ref().is_ok_and(|it| *it), "{name}: {promised:?}");
        covered.insert(name);
    }
    let served = Preset::all().iter().flat_map(|preset| &preset.model_types);
    let left_out: Vec<&str> =
        served.map(String::as_str).filter(|it| !covered.contains(*it)).collect();
    // Families that need more settings than the small models have, or are not in transformers under that name.
    let known =
        ["gemma3n", "gemma3n_text", "gemma4", "kimi_k2", "lfm2_moe", "longcat_flash", "zamba2"];
    let left_out: BTreeSet<&str> = left_out.into_iter().collect();
    assert_eq!(left_out, known.into_iter().collect());
}

/// Names of the layers of a family, without numbers.
fn parts(family: &Family) -> BTreeSet<String> {
    let part = |name: &String| {
        let segments = name.split('.').map(|it| if it.parse::<u32>().is_ok() { "N" } else { it });
        let inside: Vec<&str> = segments.skip_while(|it| *it != "layers").collect();
        (!name.contains("vision") && !inside.is_empty()).then(|| inside.join("."))
    };
    family.tensors.keys().filter_map(part).collect()
}

#[test]
fn weights_are_not_taken_for_another_family() {
    let families = families();
    // Told apart by no name: lists of experts that transformers joins, a bias that only its numbers tell; and a choice of
    // tokens that a model does without.
    let alike = [
        ("qwen3_moe", "qwen3_vl_moe"),
        ("olmoe", "qwen3_vl_moe"),
        ("deepseek_v3", "deepseek_v2"),
        ("deepseek_v32", "deepseek_v3"),
        ("glm_moe_dsa", "deepseek_v3"),
    ];
    let targets = [
        "llama",
        "qwen3",
        "qwen3_moe",
        "mixtral",
        "gpt_oss",
        "deepseek_v3",
        "gemma3_text",
        "phi3",
        "glm4_moe",
    ];
    let mut confused = vec![];
    for (name, family) in &families {
        let folder = folder_of(family);
        for target in targets.into_iter().filter(|it| it != name) {
            let other = &families[target];
            let mut config = family.config.clone();
            for key in ["model_type", "architectures"] {
                config[key] = other.config[key].clone();
            }
            let is_promised = is_promised(folder.path(), &config).unwrap_or(false);
            let is_alike =
                parts(family) == parts(other) || alike.contains(&(name.as_str(), target));
            if is_promised && !is_alike {
                confused.push(format!("{name} as {target}"));
            }
        }
    }
    assert!(confused.is_empty(), "{confused:?}");
}

#[test]
fn a_family_without_rules_is_planned_and_promised_to_nobody() {
    let families = families();
    for name in ["llama", "qwen3_moe", "gemma3", "mistral3"] {
        let family = &families[name];
        let folder = folder_of(family);
        let mut config = family.config.clone();
        config["model_type"] = "unheard_of".into();
        assert!(matches!(is_promised(folder.path(), &config), Ok(false)), "{name}");
        // A part that writes text of such a family.
        if config.get("text_config").is_some() {
            config["model_type"] = name.into();
            config["text_config"]["model_type"] = "unheard_of".into();
            assert!(matches!(is_promised(folder.path(), &config), Ok(false)), "{name}");
        }
    }
}

/// Programs ask for modules, which transformers calls otherwise than the file in front of it.
#[test]
fn kept_layers_are_listed_under_the_names_of_modules_too() {
    let families = families();
    for (name, listed) in [
        ("gemma3", "model.vision_tower."),
        ("llava", "model.vision_tower."),
        ("qwen2_vl", "model.visual."),
        ("phimoe", "model.layers.0.mlp.router"),
        ("mixtral", "model.layers.0.mlp.gate"),
    ] {
        let family = &families[name];
        let folder = folder_of(family);
        std::fs::write(folder.path().join("config.json"), family.config.to_string()).unwrap();
        let recipe = RecipeFile { scheme: Some("fp8-row".to_owned()), ..RecipeFile::default() };
        let output = folder.path().join("out");
        let recipe = for_input(recipe, folder.path(), None).check().unwrap();
        convert(&Job::new(folder.path(), &output, recipe), &Unwatched).unwrap();
        let config = std::fs::read_to_string(output.join("config.json")).unwrap();
        let config: Value = serde_json::from_str(&config).unwrap();
        let ignored = config["quantization_config"]["ignore"].as_array().unwrap();
        let is_listed = |it: &Value| it.as_str().unwrap().starts_with(listed);
        assert!(ignored.iter().any(is_listed), "{name}: {}", json!(ignored));
    }
}
