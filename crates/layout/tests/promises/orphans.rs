//! Scales and markers that belong to nothing are named, and nothing else is taken for one.

use crate::common::others::{
    FP8_MARKER, defects, entry, fp8, int8, marker, ones, opened, orphans, scale,
};
use roundwise_layout::Spelling;
use roundwise_testkit::files::Tensor;

/// The dummy scale that some converters write for a layer they keep.
#[test]
fn scales_of_layers_that_were_kept() {
    let file = opened(
        &[
            ones("a.weight", "BF16", &[4, 8]),
            ones("a.scale_weight", "F32", &[1]),
            ones("a.input_scale", "F32", &[]),
            fp8("b.weight", &[2, 1]),
            scale("b.scale_weight", &[1], &[3.0]),
            Tensor::new("scaled_fp8", "F8_E4M3", &[0], vec![]),
        ],
        None,
    );
    let problem = |name: &str| format!("holds no codes (BF16 [4, 8]), and has `a.{name}`");
    assert_eq!(
        orphans(&file),
        [("a", problem("input_scale").as_str()), ("a", problem("scale_weight").as_str())]
    );
    assert_eq!(defects(&file), []);
    assert_eq!(file.stored.layers.keys().collect::<Vec<_>>(), ["b"]);
}

/// ComfyUI multiplies a weight that is no FP8 by its scale as well.
#[test]
fn numbers_beside_a_scale_that_is_not_1_are_not_taken_as_they_are() {
    let file = |number: f32, dtype: &str| {
        let tensors = [
            ones("a.weight", dtype, &[4, 8]),
            scale("a.scale_weight", &[1], &[number]),
            Tensor::new("scaled_fp8", "F8_E4M3", &[0], vec![]),
        ];
        opened(&tensors, None)
    };
    for dtype in ["BF16", "F16", "F32"] {
        let problem = format!(
            "its weight is {dtype} beside `a.scale_weight`, which is not 1: ComfyUI multiplies by it"
        );
        assert_eq!(defects(&file(0.25, dtype)), [("a", problem.as_str())]);
        assert_eq!(defects(&file(1.0, dtype)), []);
    }
}

#[test]
fn markers_without_a_weight() {
    let problem = "is marked as quantized, but has no weight";
    let in_tensor = opened(&[marker("a", FP8_MARKER)], None);
    let in_header = opened(&[ones("b.weight", "F32", &[1])], Some(&entry(FP8_MARKER)));
    let in_both = opened(&[marker("a", FP8_MARKER)], Some(&entry(FP8_MARKER)));
    for file in [in_tensor, in_header, in_both] {
        assert_eq!((defects(&file), orphans(&file)), (vec![], vec![("a", problem)]));
    }
}

/// Modules may have parameters with such names: taking them for side tensors would drop them from the
/// output.
#[test]
fn scales_without_a_weight_are_left_alone() {
    let file = opened(
        &[
            ones("a.weight_scale", "F32", &[2, 1]),
            ones("norm.input_scale", "F32", &[4]),
            ones("weight_scale", "F32", &[4]),
            ones("a.b.weight_scales", "F32", &[4]),
            ones("scaled_fp8_other", "F32", &[4]),
        ],
        None,
    );
    assert!(file.stored.side_tensors.is_empty());
    assert_eq!((defects(&file), orphans(&file)), (vec![], vec![]));
}

/// There is nothing to decode in them, however large the other dimension is.
#[test]
fn weights_without_elements() {
    for shape in [&[0, 8][..], &[8, 0], &[0], &[1 << 62, 0]] {
        let file = opened(&[fp8("a.weight", shape), int8("b.weight", shape)], None);
        assert!(file.stored.layers.is_empty());
        assert_eq!((defects(&file), orphans(&file)), (vec![], vec![]));
        let file = opened(&[fp8("a.weight", shape), scale("a.weight_scale", &[], &[1.0])], None);
        let problem = format!("holds no codes (F8_E4M3 {shape:?}), and has `a.weight_scale`");
        assert_eq!((defects(&file), orphans(&file)), (vec![], vec![("a", problem.as_str())]));
    }
}

/// Names that an empty layer name or a dot too many could confuse.
#[test]
fn strange_names() {
    let file = opened(
        &[
            fp8(".weight", &[2, 1]),
            scale(".weight_scale", &[], &[3.0]),
            fp8("a..weight", &[2, 1]),
            scale("a..weight_scale", &[], &[5.0]),
            ones("weight", "BF16", &[2, 2]),
            ones("comfy_quant", "U8", &[1]),
        ],
        None,
    );
    assert_eq!((defects(&file), orphans(&file)), (vec![], vec![]));
    let names: Vec<&str> = file.stored.layers.keys().map(String::as_str).collect();
    assert_eq!(names, ["", "a."]);
    for (name, expected) in [("", [3.0, 6.0]), ("a.", [5.0, 10.0])] {
        let layer = &file.stored.layers[name];
        assert_eq!(layer.spelling, Spelling::WeightScale);
        assert_eq!(layer.read(&file.checkpoint).unwrap().to_f32(), expected);
    }
}

/// A good layer beside a bad one is still read.
#[test]
fn defects_stay_in_their_layer() {
    let file = opened(
        &[
            fp8("b.weight", &[2, 1]),
            scale("b.weight_scale", &[], &[3.0]),
            marker("b", FP8_MARKER),
            fp8("c.weight", &[2, 1]),
            marker("c", FP8_MARKER),
            fp8("a.weight", &[2, 1]),
            scale("a.weight_scale", &[2, 1], &[3.0, 5.0]),
            marker("a", FP8_MARKER),
        ],
        None,
    );
    let layers: Vec<&str> = defects(&file).iter().map(|(layer, _)| *layer).collect();
    assert_eq!(layers, ["a", "c"]);
    assert_eq!(file.stored.layers.keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!(orphans(&file), []);
}
