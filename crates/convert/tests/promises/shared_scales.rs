//! Layers of a module that share a scale are rounded with the scale that is stored.

use std::num::NonZeroUsize;

use roundwise_convert::inspect::Biases;
use roundwise_convert::{Job, Recipe, RecipeFile, Unwatched, convert, verify};
use roundwise_testkit::files::{Tensor, safetensors};
use roundwise_testkit::weights::gaussian;

fn recipe(scheme: &str) -> RecipeFile {
    RecipeFile { scheme: Some(scheme.to_owned()), ..RecipeFile::default() }
}

#[test]
fn the_shared_scale_is_the_used_scale() {
    let folder = tempfile::tempdir().unwrap();
    let [input, output] = ["m.safetensors", "o.safetensors"].map(|name| folder.path().join(name));
    let larger = gaussian(24, 20, 2).map(|_, _, value| value * 100.0);
    let tensors = [
        Tensor::f32("blocks.0.attn.k.weight", &gaussian(16, 20, 1)),
        Tensor::f32("blocks.0.attn.q.weight", &larger),
        Tensor::f32("blocks.1.attn.q.weight", &gaussian(16, 20, 3)),
    ];
    std::fs::write(&input, safetensors(&tensors)).unwrap();
    let recipe = Recipe::check(recipe("fp8-log-scales-shared")).unwrap();
    let job = Job::new(&input, &output, recipe);
    let report = convert(&job, &Unwatched).unwrap();
    assert!(report.tensors.iter().all(|layer| layer.weight_error.is_none_or(|error| error < 0.06)));
    let source = roundwise_convert::Source::open(&output).unwrap();
    let byte = |layer: &str| {
        let header = source.checkpoint.get(&format!("{layer}.scale_weight")).unwrap();
        assert_eq!(header.shape, [1]);
        source.checkpoint.read(header).unwrap()
    };
    assert_eq!(byte("blocks.0.attn.k"), byte("blocks.0.attn.q"));
    assert_ne!(byte("blocks.0.attn.k"), byte("blocks.1.attn.q"));
    let verification =
        verify(&input, &output, Biases::Same, None, NonZeroUsize::MIN, &Unwatched).unwrap();
    assert!(verification.ok, "{:?}", verification.findings);
}

#[test]
fn schemes_that_cannot_do_what_is_asked_say_so() {
    let complaint = |file: RecipeFile| Recipe::check(file).unwrap_err().to_string();
    let learned = RecipeFile { method: Some("principal".to_owned()), ..recipe("int4-asym") };
    assert!(complaint(learned).contains("use method `nearest`, or scheme `int4-convrot`"));
    let searched =
        RecipeFile { scale_rule: Some("mse".to_owned()), ..recipe("fp8-log-scales-shared") };
    assert!(complaint(searched).contains("one for all of a module"));
}
