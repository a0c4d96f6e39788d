//! Layers that a layout writes are found again, with their schemes, codes and scales.

use std::collections::BTreeMap;

use crate::common::{layer_tensors, open, quantize, write};
use proptest::prelude::*;
use roundwise_layout::{Layout, Marker, MatmulPrecision, QUANTIZATION_METADATA, Spelling};
use roundwise_scheme::{CATALOG, GridKind, QuantizedMatrix, Scheme, Tiling};
use roundwise_tensor_file::{Dtype, TensorSpec};
use roundwise_testkit::weights::{gaussian, with_zero_rows};

/// Names that contain parts of other names, and what JSON and splitting at dots may trip over.
const NAMES: [&str; 9] =
    ["", "a", "a.b", "a.weight", "a.weight_scale", "blocks.0.q", "blocks.10.q", "é \"q\"", "x..y"];

/// Schemes that the catalogue has no line for.
const OTHER_SIZES: [&str; 8] = [
    "fp8-block-3",
    "int8-block-5",
    "fp8-block-1",
    "fp8-block-3-pow2",
    "fp8-block3d-3",
    "int8-row-convrot-4",
    "int4-convrot-16",
    "int4-asym-16",
];

const PREFIXES: [&str; 2] = ["", "model.diffusion_model."];

/// Some layers of one file, by name.
type Layers = BTreeMap<String, QuantizedMatrix>;

fn any_scheme(layout: Layout) -> impl Strategy<Value = Scheme> {
    let named = CATALOG.iter().map(|entry| entry.scheme);
    let schemes: Vec<Scheme> = named
        .chain(OTHER_SIZES.map(|name| name.parse().unwrap()))
        .filter(|&scheme| layout.admits(scheme).is_ok())
        // A file tells one range of logarithms.
        .filter(|scheme| !scheme.to_string().ends_with("-narrow"))
        // Plain numbers have no marker to be found by.
        .filter(|scheme| scheme.has_scales())
        .collect();
    prop::sample::select(schemes)
}

fn any_layer(layout: Layout) -> impl Strategy<Value = QuantizedMatrix> {
    (any_scheme(layout), 1usize..9, 1usize..20, any::<u64>()).prop_map(
        |(scheme, rows, cols, seed)| {
            let [rows, cols] = match scheme.tiling() {
                // Past the tiles of a swizzle now and then.
                _ if scheme.has_block_scales() => {
                    [rows * (1 + 30 * (rows % 2)), cols * (1 + cols % 9)]
                }
                Tiling::Block { rows: height, cols: width } => {
                    [height * (1 + rows % 2), width * (1 + cols % 3)]
                }
                // Larger groups than the smaller ones asked for, which are not told apart else.
                _ if scheme.rotation().is_some() => [rows, 64 * cols],
                _ => [rows, cols],
            };
            let matrix = match seed % 2 {
                0 => gaussian(rows, cols, seed),
                _ => with_zero_rows(rows, cols, seed),
            };
            quantize(&matrix, scheme)
        },
    )
}

fn any_layers() -> impl Strategy<Value = (Layout, &'static str, Layers)> {
    let layout = prop::sample::select(vec![Layout::Comfy, Layout::ComfyLegacy]);
    (layout, prop::sample::select(PREFIXES.to_vec())).prop_flat_map(|(layout, prefix)| {
        let name = prop::sample::select(NAMES.to_vec()).prop_map(move |n| format!("{prefix}{n}"));
        let layers = prop::collection::btree_map(name, any_layer(layout), 1..5);
        layers.prop_map(move |layers| (layout, prefix, layers))
    })
}

fn copied(name: &str, dtype: Dtype, shape: &[u64]) -> (TensorSpec, Vec<u8>) {
    let bytes = vec![0; dtype.byte_len(shape).unwrap() as usize];
    (TensorSpec { name: name.into(), dtype, shape: shape.to_vec() }, bytes)
}

/// The file that `convert` would write, with tensors that stay as they are.
fn file_of(layout: Layout, prefix: &str, precision: MatmulPrecision, layers: &Layers) -> Vec<u8> {
    let mut tensors = vec![
        copied("kept.weight", Dtype::BF16, &[3, 5]),
        copied("kept.bias", Dtype::F32, &[3]),
        copied("ids.weight", Dtype::I64, &[7]),
        copied("mask.weight", Dtype::I8, &[7]),
    ];
    for (layer, matrix) in layers {
        tensors.extend(layer_tensors(layout, layer, matrix.clone(), precision));
    }
    let of_layers: Vec<Scheme> = layers.values().map(QuantizedMatrix::scheme).collect();
    tensors.extend(layout.file_tensors(prefix, precision, &of_layers));
    let schemes = layers
        .iter()
        .map(|(layer, matrix)| (layer.as_str(), matrix.scheme(), matrix.shape(), precision));
    write(layout.header_entry(schemes).into_iter().collect(), &tensors)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_written_is_found(
        (layout, prefix, layers) in any_layers(),
        precision in prop::sample::select(vec![MatmulPrecision::Any, MatmulPrecision::Full]),
    ) {
        let file = open(&file_of(layout, prefix, precision, &layers));
        prop_assert_eq!(&file.stored.defects, &[]);
        prop_assert_eq!(&file.stored.orphans, &[]);
        for layer in layers.keys() {
            prop_assert_eq!(file.stored.matmul_precision(layer), precision);
        }
        prop_assert!(file.stored.layers.keys().eq(layers.keys()));
        for (name, matrix) in &layers {
            let found = &file.stored.layers[name];
            prop_assert_eq!(&found.layer, name);
            prop_assert_eq!(found.scheme, matrix.scheme().read_as());
            prop_assert_eq!(found.shape, matrix.shape());
            prop_assert_eq!(found.spelling, match layout {
                Layout::Comfy => Spelling::Comfy,
                Layout::ComfyLegacy => Spelling::ComfyLegacy,
                layout => unreachable!("{layout} is for servers"),
            });
            let read = found.read(&file.checkpoint).unwrap();
            prop_assert_eq!((read.codes(), read.scales()), (matrix.codes(), matrix.scales()));
            prop_assert_eq!(read.stored_scales(), matrix.stored_scales());
        }
    }

    #[test]
    fn side_tensors_are_all_that_was_added((layout, prefix, layers) in any_layers()) {
        let file = open(&file_of(layout, prefix, MatmulPrecision::Any, &layers));
        let kept = ["kept.weight", "kept.bias", "ids.weight", "mask.weight"].map(str::to_owned);
        let weights = layers.keys().map(|layer| format!("{layer}.weight"));
        let mut expected: Vec<String> = kept.into_iter().chain(weights).collect();
        expected.extend(file.stored.side_tensors.keys().cloned());
        expected.sort();
        let found: Vec<&String> =
            file.checkpoint.tensors().iter().map(|tensor| &tensor.name).collect();
        prop_assert_eq!(found, expected.iter().collect::<Vec<_>>());
        for (name, layer) in &file.stored.side_tensors {
            let endings = ["scaled_fp8", "scaled_fp16", "scale_format"];
            let is_of_the_file =
                layer.is_empty() && endings.iter().any(|ending| name.ends_with(ending));
            prop_assert!(is_of_the_file || layers.contains_key(layer), "{name} of {layer}");
        }
    }

    #[test]
    fn the_header_repeats_the_markers((layout, prefix, layers) in any_layers()) {
        prop_assume!(layout == Layout::Comfy);
        let file = open(&file_of(Layout::Comfy, prefix, MatmulPrecision::Any, &layers));
        let entry = &file.checkpoint.metadata()[QUANTIZATION_METADATA];
        let entry: serde_json::Value = serde_json::from_str(entry).unwrap();
        prop_assert_eq!(&entry["format_version"], "1.0");
        let entries = entry["layers"].as_object().unwrap();
        prop_assert!(entries.keys().eq(layers.keys()));
        for (layer, value) in entries {
            let marker = file.checkpoint.get(&format!("{layer}.comfy_quant")).unwrap();
            prop_assert_eq!((marker.dtype, marker.shape.len()), (Dtype::U8, 1));
            let marker = file.checkpoint.read(marker).unwrap();
            prop_assert_eq!(&serde_json::from_slice::<serde_json::Value>(&marker).unwrap(), value);
            let marker = Marker::from_json(&marker).unwrap();
            let matrix = &layers[layer];
            prop_assert_eq!(Some(marker), Marker::of(matrix.scheme(), matrix.shape()));
        }
    }
}

#[test]
fn what_a_layout_cannot_store_is_refused() {
    let admitted = |layout: Layout| -> Vec<String> {
        let names = CATALOG.iter().filter(|entry| layout.admits(entry.scheme).is_ok());
        names.map(|entry| entry.name.to_owned()).collect()
    };
    let for_servers_alone =
        |name: &&str| name.contains("-group-") || ["int4-row", "mxfp4"].contains(name);
    let (legacy, comfy): (Vec<&str>, Vec<&str>) = CATALOG
        .iter()
        .map(|entry| entry.name)
        .filter(|name| !for_servers_alone(name))
        .partition(|name| name.starts_with("fp8-log-scales") || *name == "fp16-scaled");
    assert_eq!(admitted(Layout::Comfy), comfy);
    assert_eq!(admitted(Layout::ComfyLegacy), [&["fp8"], &legacy[..]].concat());
    let message = Layout::ComfyLegacy.admits("int8-row".parse().unwrap()).unwrap_err().to_string();
    assert_eq!(
        message,
        "layout `comfy-legacy` cannot store scheme `int8-row`\n  it stores `fp8`, `fp8-log-scales` and \
         `fp16-scaled` only; use layout `comfy`"
    );
    let tiling = Tiling::Block { rows: 1, cols: 2 };
    assert!(Layout::Comfy.admits(Scheme::scaled(GridKind::E5m2, tiling)).is_err());
    assert!(Layout::Comfy.admits(Scheme::unscaled(GridKind::E4m3)).is_err());

    let int4: Scheme = "int4-convrot".parse().unwrap();
    assert!(Layout::Comfy.takes(int4, [3, 128]).is_ok());
    assert_eq!(
        Layout::Comfy.takes(int4, [3, 96]).unwrap_err().to_string(),
        "columns are not a multiple of 64 (found 96); kernels of scheme `int4-convrot` take whole \
         groups only"
    );
}

/// Detection reads stored shapes; what keeps them is safe anywhere.
#[test]
fn packed_and_padded_weights_change_their_shape() {
    let keeps = |name: &str, shape| Layout::Comfy.keeps_shape(name.parse().unwrap(), shape);
    for name in ["fp8", "int8-row-convrot", "fp16", "fp8-block-3"] {
        assert!(keeps(name, [20, 40]), "{name}");
    }
    assert_eq!(
        [keeps("mxfp8", [32, 64]), keeps("mxfp8", [32, 65]), keeps("mxfp8", [33, 64])],
        [true, false, false]
    );
    assert!(!keeps("nvfp4", [16, 64]) && !keeps("int4-convrot", [16, 64]));
}

/// Numbers of 16 bits are one tensor without a marker, which every program reads.
#[test]
fn plain_numbers_have_no_marker() {
    let scheme: Scheme = "bf16".parse().unwrap();
    let matrix = quantize(&gaussian(3, 5, 1), scheme);
    let tensors = layer_tensors(Layout::Comfy, "a", matrix, MatmulPrecision::Full);
    assert_eq!(tensors.len(), 1);
    assert_eq!((tensors[0].0.dtype, tensors[0].1.len()), (Dtype::BF16, 30));
    let entry =
        Layout::Comfy.header_entry([("a", scheme, [3, 5], MatmulPrecision::Any)].into_iter());
    assert_eq!(entry, None);
    assert!(open(&write(BTreeMap::new(), &tensors)).stored.layers.is_empty());
}
