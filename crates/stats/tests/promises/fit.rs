//! Statistics find their layers, and only those.

use crate::common::{inputs, statistics, write};
use roundwise_stats::{Fit, Knowledge, LayerShape, Statistics, layers_of};
use roundwise_tensor_file::Checkpoint;
use roundwise_testkit::files::{Tensor, safetensors};

fn statistics_of(modules: &[&str]) -> (tempfile::TempDir, Statistics) {
    let folder = tempfile::tempdir().unwrap();
    let layer = statistics(&inputs(1, 9, 4), Knowledge::Diagonal);
    let layers: Vec<_> = modules.iter().map(|&module| (module, layer.clone())).collect();
    let path = write(folder.path(), "a.stats.safetensors", &layers);
    let statistics = Statistics::open(&path).unwrap();
    (folder, statistics)
}

fn layer(module: &str, rows: u64, columns: u64) -> LayerShape {
    LayerShape { module: module.into(), rows, columns }
}

#[test]
fn dtype_and_further_tensors_do_not_matter() {
    let (folder, statistics) = statistics_of(&["a", "b.c"]);
    let weight =
        |name, dtype, shape: &[usize], bytes| Tensor::new(name, dtype, shape, vec![0; bytes]);
    let file = safetensors(&[
        weight("a.weight", "BF16", &[5, 4], 40),
        weight("a.bias", "F32", &[5], 20),
        weight("b.c.weight", "F8_E4M3", &[5, 1, 2, 2], 20),
        weight("norm.weight", "F32", &[5], 20),
        weight("other.weight", "F32", &[2, 2], 16),
    ]);
    let model =
        Checkpoint::open(&crate::common::put(folder.path(), "m.safetensors", &file)).unwrap();
    let layers = layers_of(&model);
    assert_eq!(layers.len(), 3);
    let fit = Fit::of(&statistics, &layers);
    fit.require_all().unwrap();
    assert_eq!((fit.module_for("b.c"), fit.module_for("other")), (Some("b.c"), None));
}

#[test]
fn another_model_is_refused_and_what_fits_can_still_be_used() {
    let (_folder, statistics) = statistics_of(&["a", "b", "c", "d"]);
    let model = [layer("a", 5, 4), layer("b", 6, 4), layer("c", 5, 8)];
    let fit = Fit::of(&statistics, &model);
    assert_eq!(fit.pairs(), [("a".to_owned(), "a".to_owned())]);
    assert_eq!(fit.misfits().len(), 3);
    let message = fit.require_all().unwrap_err().to_string();
    for part in [
        "3 of 4 layers differ",
        "`b`: [5, 4] in the statistics, [6, 4] in the model",
        "`c`: [5, 4] in the statistics, [5, 8] in the model",
        "`d`: [5, 4] in the statistics, not in the model",
        "take those of the layers that fit",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn one_prefix_on_either_side_is_seen_through() {
    let (_folder, statistics) = statistics_of(&["x.a", "x.b"]);
    let longer = [layer("model.x.a", 5, 4), layer("model.x.b", 5, 4), layer("x", 5, 4)];
    let fit = Fit::of(&statistics, &longer);
    fit.require_all().unwrap();
    assert_eq!(fit.module_for("model.x.b"), Some("x.b"));
    let fit = Fit::of(&statistics, &[layer("a", 5, 4), layer("b", 5, 4)]);
    fit.require_all().unwrap();
    assert_eq!(fit.module_for("a"), Some("x.a"));
    // Not a prefix of whole names.
    assert!(Fit::of(&statistics, &[layer("xx.a", 5, 4)]).pairs().is_empty());
}

#[test]
fn names_of_llama_cpp_are_understood() {
    let (_folder, statistics) = statistics_of(&["blk.0.attn_q", "blk.0.ffn_up", "output"]);
    let model = ["model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj", "lm_head"]
        .map(|module| layer(module, 5, 4));
    let fit = Fit::of(&statistics, &model);
    fit.require_all().unwrap();
    assert_eq!(fit.module_for("lm_head"), Some("output"));
}
