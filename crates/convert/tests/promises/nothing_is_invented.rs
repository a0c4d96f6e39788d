//! Numbers that are no weights, parts that take no codes, and scales that nobody measured.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use roundwise_convert::inspect::Biases;
use roundwise_convert::plan::Action;
use roundwise_convert::{
    ConvertError, Job, Recipe, RecipeFile, Report, Unwatched, convert, verify,
};
use roundwise_tensor_file::Checkpoint;
use roundwise_testkit::files::{Tensor, f32_bytes, safetensors};
use roundwise_testkit::weights::gaussian;
use tempfile::TempDir;

const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();

fn write(folder: &TempDir, name: &str, tensors: &[Tensor]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, safetensors(tensors)).unwrap();
    path
}

fn run(input: &Path, output: &Path, recipe: RecipeFile) -> Result<Report, ConvertError> {
    let job = Job::new(input, output, Recipe::check(recipe).unwrap());
    convert(&Job { threads: TWO, ..job }, &Unwatched)
}

fn bytes_of(path: &Path, name: &str) -> Vec<u8> {
    let file = Checkpoint::open(path).unwrap();
    file.read(file.get(name).unwrap()).unwrap()
}

fn scalar(name: &str, value: f32) -> Tensor {
    Tensor::new(name, "F32", &[], f32_bytes(&[value]))
}

#[test]
fn a_nan_among_stored_codes_stays_a_nan() {
    let folder = TempDir::new().unwrap();
    let tensors = [
        Tensor::new("a.weight", "F8_E4M3", &[2, 2], vec![0x38, 0x7f, 0x40, 0xb8]),
        scalar("a.weight_scale", 0.5),
        Tensor::f32("b.weight", &gaussian(4, 4, 1)),
    ];
    let input = write(&folder, "in.safetensors", &tensors);
    let output = folder.path().join("out.safetensors");
    let report = run(&input, &output, RecipeFile::default()).unwrap();
    assert!(report.tensors[0].reason.contains("NaN"), "{}", report.tensors[0].reason);
    let stored: Vec<f32> = bytes_of(&output, "a.weight")
        .as_chunks::<2>()
        .0
        .iter()
        .map(|bytes| f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16))
        .collect();
    assert!(stored[1].is_nan());
    assert_eq!([stored[0], stored[2], stored[3]], [0.5, 1.0, -0.5]);
    assert!(verify(&input, &output, Biases::Same, None, TWO, &Unwatched).unwrap().ok);
}

#[test]
fn a_nan_among_codes_is_told_by_its_layer_whatever_becomes_of_it() {
    let folder = TempDir::new().unwrap();
    let codes = |name: &str, dtype: &str, code: u8| {
        Tensor::new(&format!("{name}.weight"), dtype, &[2, 2], vec![0x38, 0x40, code, 0xb8])
    };
    let tensors = [
        codes("a", "F8_E4M3", 0x7f),
        scalar("a.weight_scale", 0.5),
        codes("b", "F8_E5M2", 0x7c),
        // Kept by what presets say of all models.
        codes("c.norm", "F8_E4M3", 0xff),
        Tensor::new("d.bias", "F8_E4M3", &[2], vec![0x38, 0x7f]),
        Tensor::f32("e.weight", &gaussian(4, 4, 1)),
    ];
    let input = write(&folder, "in.safetensors", &tensors);
    let told = |report: &Report| {
        let notes: Vec<String> = report.notes.iter().map(ToString::to_string).collect();
        notes.into_iter().filter(|note| note.contains("NaN")).collect::<Vec<_>>().join("; ")
    };
    let output = folder.path().join("out.safetensors");
    let report = run(&input, &output, RecipeFile::default()).unwrap();
    let notes = told(&report);
    for name in ["a.weight", "b.weight", "c.norm.weight"] {
        assert!(notes.contains(name), "{name}: {notes}");
    }
    let decode = RecipeFile { decode_to: Some("bf16".to_owned()), ..RecipeFile::default() };
    let report = run(&input, &folder.path().join("plain.safetensors"), decode).unwrap();
    let notes = told(&report);
    for name in ["a.weight", "b.weight", "c.norm.weight", "d.bias"] {
        assert!(notes.contains(name), "{name}: {notes}");
        let layer = report.tensors.iter().find(|layer| layer.name == name).unwrap();
        assert!(layer.reason.contains("holds a NaN or an infinity"), "{}", layer.reason);
    }
}

#[test]
fn a_scale_beside_plain_numbers_is_left_out_of_what_is_written_anew_and_told() {
    let folder = TempDir::new().unwrap();
    let tensors = [Tensor::f32("a.weight", &gaussian(4, 4, 1)), scalar("a.weight_scale", 0.25)];
    let input = write(&folder, "in.safetensors", &tensors);
    let output = folder.path().join("out.safetensors");
    let report = run(&input, &output, RecipeFile::default()).unwrap();
    let notes: Vec<String> = report.notes.iter().map(ToString::to_string).collect();
    assert!(
        notes.iter().any(|note| note.contains("taken as they are: a.weight_scale")),
        "{notes:?}"
    );
    assert_ne!(bytes_of(&output, "a.weight_scale"), 0.25f32.to_le_bytes());
    // Where nothing is written under that name, it may be a parameter.
    let plain = RecipeFile { scheme: Some("bf16".to_owned()), ..RecipeFile::default() };
    run(&input, &folder.path().join("plain.safetensors"), plain).unwrap();
    assert_eq!(
        bytes_of(&folder.path().join("plain.safetensors"), "a.weight_scale"),
        0.25f32.to_le_bytes()
    );
}

#[test]
fn asking_for_a_part_that_takes_no_codes_is_an_error() {
    let folder = TempDir::new().unwrap();
    let flux =
        |name: &str| Tensor::bf16(&format!("model.diffusion_model.{name}"), &gaussian(8, 8, 1));
    let tensors = [
        flux("double_blocks.0.img_attn.norm.key_norm.scale"),
        flux("double_blocks.0.img_attn.qkv.weight"),
        flux("double_blocks.0.img_attn.proj.weight"),
        flux("double_blocks.0.img_mlp.0.weight"),
        flux("double_blocks.0.img_mlp.2.weight"),
        flux("img_in.weight"),
        flux("txt_in.weight"),
        Tensor::bf16(
            "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.weight",
            &gaussian(8, 8, 2),
        ),
    ];
    let input = write(&folder, "in.safetensors", &tensors);
    let output = folder.path().join("out.safetensors");
    let include = RecipeFile { include: vec!["fc1".into()], ..RecipeFile::default() };
    let error = run(&input, &output, include).unwrap_err().to_string();
    assert!(error.contains("fc1") && error.contains("CLIP"), "{error}");
    assert!(!output.exists());

    let report = run(&input, &output, RecipeFile::default()).unwrap();
    let clip = report.tensors.iter().find(|layer| layer.name.contains("clip_l")).unwrap();
    assert_eq!(clip.decision, Action::Copy, "{}", clip.reason);
}

#[test]
fn a_number_called_input_scale_stays_beside_plain_numbers_alone() {
    let folder = TempDir::new().unwrap();
    let tensors = [Tensor::f32("a.weight", &gaussian(4, 4, 1)), scalar("a.input_scale", 0.25)];
    let input = write(&folder, "in.safetensors", &tensors);
    let output = folder.path().join("out.safetensors");
    let scheme = Some("bf16".to_owned());
    run(&input, &output, RecipeFile { scheme, ..RecipeFile::default() }).unwrap();
    assert_eq!(bytes_of(&output, "a.input_scale"), 0.25f32.to_le_bytes());
    // Beside codes programs would round inputs by it.
    let coded = folder.path().join("coded.safetensors");
    let report = run(&input, &coded, RecipeFile::default()).unwrap();
    assert!(Checkpoint::open(&coded).unwrap().get("a.input_scale").is_none());
    let notes: Vec<String> = report.notes.iter().map(ToString::to_string).collect();
    assert!(notes.iter().any(|note| note.contains("a.input_scale")), "{notes:?}");
}

#[test]
fn codes_beside_scales_below_their_own_name_are_refused() {
    let folder = TempDir::new().unwrap();
    let tensors = [
        Tensor::new("a.weight", "F8_E4M3", &[2, 2], vec![0x38; 4]),
        scalar("a.weight.absmax", 0.5),
    ];
    let input = write(&folder, "in.safetensors", &tensors);
    let error = run(&input, &folder.path().join("out.safetensors"), RecipeFile::default());
    assert!(matches!(error, Err(ConvertError::Unreadable { .. })), "{error:?}");
}

#[test]
fn verify_finds_scales_of_inputs_that_nobody_measured() {
    let folder = TempDir::new().unwrap();
    let weight = gaussian(4, 4, 1);
    let input = write(&folder, "in.safetensors", &[Tensor::f32("a.weight", &weight)]);
    let marker = b"{\"format\": \"float8_e4m3fn\"}".to_vec();
    let largest = weight.values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let scale = largest / 448.0;
    let codes = weight
        .values
        .iter()
        .map(|value| <roundwise_grid::E4m3 as roundwise_grid::Grid>::encode(value / scale));
    let layer = [
        Tensor::new("a.weight", "F8_E4M3", &[4, 4], codes.collect()),
        scalar("a.weight_scale", scale),
        Tensor::new("a.comfy_quant", "U8", &[marker.len()], marker),
        scalar("a.input_scale", 1e-9),
    ];
    let converted = write(&folder, "out.safetensors", &layer);
    let verification = verify(&input, &converted, Biases::Same, None, TWO, &Unwatched).unwrap();
    let is_told = |finding: &roundwise_convert::inspect::Finding| finding.tensor == "a.input_scale";
    assert!(verification.findings.iter().any(is_told), "{:?}", verification.findings);
}

#[test]
fn verify_does_not_pass_codes_for_a_weight_with_a_nan() {
    let folder = TempDir::new().unwrap();
    let mut weight = gaussian(4, 4, 1);
    let finite = write(&folder, "finite.safetensors", &[Tensor::f32("a.weight", &weight)]);
    weight.values[5] = f32::NAN;
    let broken = write(&folder, "broken.safetensors", &[Tensor::f32("a.weight", &weight)]);
    let converted = folder.path().join("out.safetensors");
    run(&finite, &converted, RecipeFile::default()).unwrap();
    assert!(verify(&finite, &converted, Biases::Same, None, TWO, &Unwatched).unwrap().ok);
    assert!(!verify(&broken, &converted, Biases::Same, None, TWO, &Unwatched).unwrap().ok);
}
