//! A damaged or hostile file is refused for the right reason, naming file, layer and a way out.

use crate::common::{inputs, put, statistics, write};
use roundwise_stats::{
    Knowledge, LayerShape, LayerStatistics, SecondMoment, Statistics, StatsError,
    StatsErrorKind as Kind, fingerprint, layers_text,
};
use roundwise_testkit::files::{Tensor, f32_bytes, safetensors_with_metadata};

fn whole(folder: &std::path::Path) -> Vec<u8> {
    let layers = [
        ("a", statistics(&inputs(1, 9, 3), Knowledge::Full)),
        ("b", statistics(&inputs(2, 2, 5), Knowledge::Factor { rank: 2 })),
    ];
    std::fs::read(write(folder, "whole.stats.safetensors", &layers)).unwrap()
}

/// Reads everything there is.
fn read_all(path: &std::path::Path) -> Result<(), StatsError> {
    let statistics = Statistics::open(path)?;
    for layer in statistics.layers() {
        statistics.summary(&layer.module)?;
        statistics.layer(&layer.module)?;
    }
    Ok(())
}

#[test]
fn every_prefix_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let whole = whole(folder.path());
    for length in 0..whole.len() {
        for name in ["cut.stats.safetensors", "cut"] {
            let path = put(folder.path(), name, &whole[..length]);
            let error = read_all(&path).expect_err("a prefix is not a file");
            assert!(error.to_string().contains("cut"), "{length} bytes: {error}");
        }
    }
    read_all(&put(folder.path(), "cut.stats.safetensors", &whole)).unwrap();
}

#[test]
fn no_flipped_bit_panics() {
    let folder = tempfile::tempdir().unwrap();
    let whole = whole(folder.path());
    let mut accepted = 0;
    for bit in 0..8 * whole.len() {
        let mut file = whole.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        accepted +=
            usize::from(read_all(&put(folder.path(), "a.stats.safetensors", &file)).is_ok());
    }
    // Low bits of numbers, and the tool's name.
    assert!(accepted > 0 && accepted < 8 * whole.len() / 2, "{accepted}");
}

/// A side-car of the layer `x` with 2 columns, with one tensor replaced or left out.
fn with(part: &str, replacement: Option<(&str, &[usize], Vec<u8>)>) -> Vec<u8> {
    let parts: [(&str, &str, &[usize], Vec<u8>); 4] = [
        ("count", "I64", &[1], 7_i64.to_le_bytes().to_vec()),
        ("mean", "F32", &[2], f32_bytes(&[1.0, -1.0])),
        ("second_moment", "F32", &[2], f32_bytes(&[2.0, 5.0])),
        ("covariance", "F32", &[2, 2], f32_bytes(&[1.0, 0.5, 0.5, 4.0])),
    ];
    let mut tensors: Vec<Tensor> = parts
        .into_iter()
        .filter(|(name, ..)| *name != part)
        .map(|(name, dtype, shape, bytes)| Tensor::new(&format!("x.{name}"), dtype, shape, bytes))
        .collect();
    if let Some((dtype, shape, bytes)) = replacement {
        tensors.push(Tensor::new(&format!("x.{part}"), dtype, shape, bytes));
    }
    let layers = [LayerShape { module: "x".into(), rows: 3, columns: 2 }];
    with_metadata(&tensors, &layers_text(&layers), &fingerprint(&layers), "1")
}

/// Builds a file with this metadata, with line feeds escaped as JSON does.
fn with_metadata(tensors: &[Tensor], layers: &str, fingerprint: &str, version: &str) -> Vec<u8> {
    let metadata = [
        ("format", "roundwise-stats"),
        ("version", version),
        ("samples", "7"),
        ("layers", layers),
        ("fingerprint", fingerprint),
    ];
    let marked: Vec<(&str, String)> =
        metadata.iter().map(|(key, text)| (*key, text.replace('\n', "@"))).collect();
    let marked: Vec<(&str, &str)> = marked.iter().map(|(key, text)| (*key, &**text)).collect();
    let file = safetensors_with_metadata(tensors, &marked);
    let header_bytes = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8(file[8..8 + header_bytes].to_vec()).unwrap();
    let header = header.trim_end().replace('@', "\\n");
    roundwise_testkit::files::with_header(&header, &file[8 + header_bytes..])
}

fn error_of(file: &[u8]) -> StatsError {
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), "bad.stats.safetensors", file);
    let error = read_all(&path).expect_err("broken");
    assert!(error.to_string().contains("bad.stats.safetensors"), "{error}");
    error
}

macro_rules! refused {
    ($file:expr, $kind:pat) => {{
        let error = error_of(&$file);
        assert!(matches!(error.kind(), $kind), "{error:?}");
        // The advice stands on a line of its own.
        assert!(error.to_string().contains("\n  "), "{error}");
    }};
}

#[test]
fn the_pattern_of_the_broken_files_is_itself_sound() {
    let folder = tempfile::tempdir().unwrap();
    let file = with("nothing", None);
    read_all(&put(folder.path(), "good.stats.safetensors", &file)).unwrap();
}

#[test]
fn missing_parts_are_named() {
    refused!(with("count", None), Kind::MissingPart { part: "count" });
    refused!(with("second_moment", None), Kind::MissingPart { part: "second_moment" });
    refused!(with("mean", None), Kind::CovarianceWithoutMean);
}

#[test]
fn counts_are_positive() {
    for count in [0_i64, -5, i64::MIN] {
        let bytes = count.to_le_bytes().to_vec();
        refused!(with("count", Some(("I64", &[1], bytes))), Kind::Count { .. });
    }
}

#[test]
fn numbers_are_finite_and_possible() {
    let f32s =
        |part, shape: &[usize], values: &[f32]| with(part, Some(("F32", shape, f32_bytes(values))));
    refused!(f32s("mean", &[2], &[f32::NAN, 0.0]), Kind::NotFinite { part: "mean", .. });
    let infinite = [2.0, f32::INFINITY];
    refused!(f32s("second_moment", &[2], &infinite), Kind::NotFinite { .. });
    refused!(f32s("second_moment", &[2], &[2.0, -0.1]), Kind::Negative { column: 1, .. });
    refused!(f32s("second_moment", &[2], &[0.5, 5.0]), Kind::MeanTooLarge { column: 0, .. });
    refused!(f32s("second_moment", &[2], &[2.0, 6.0]), Kind::CovarianceDisagrees { .. });
    let square: &[usize] = &[2, 2];
    let covariance = |values| f32s("covariance", square, values);
    refused!(covariance(&[1.0, 0.5, 0.6, 4.0]), Kind::NotSymmetric { row: 1, column: 0, .. });
    refused!(covariance(&[1.0, f32::NAN, 0.5, 4.0]), Kind::NotFinite { .. });
    refused!(covariance(&[-1.0, 0.5, 0.5, 4.0]), Kind::Negative { .. });
}

#[test]
fn shapes_and_dtypes_are_checked() {
    refused!(with("mean", Some(("F32", &[1], vec![0; 4]))), Kind::PartShape { part: "mean", .. });
    refused!(with("mean", Some(("F16", &[2], vec![0; 4]))), Kind::PartShape { .. });
    refused!(with("count", Some(("I64", &[], vec![7; 8]))), Kind::PartShape { .. });
    refused!(with("covariance", Some(("F32", &[4], vec![0; 16]))), Kind::PartShape { .. });
    refused!(
        with("factor", Some(("F32", &[2, 3], vec![0; 24]))),
        Kind::Rank { rank: 3, columns: 2 }
    );
    refused!(with("factor", Some(("F32", &[2, 0], vec![]))), Kind::Rank { rank: 0, .. });
    refused!(with("factor", Some(("F32", &[2], vec![0; 8]))), Kind::PartShape { .. });
    refused!(with("unknown", Some(("F32", &[2], vec![0; 8]))), Kind::UnknownTensor { .. });
}

#[test]
fn metadata_is_checked() {
    let layers = [LayerShape { module: "x".into(), rows: 3, columns: 2 }];
    let (text, print) = (layers_text(&layers), fingerprint(&layers));
    refused!(with_metadata(&[], &text, &print, "3"), Kind::UnknownVersion { .. });
    refused!(with_metadata(&[], "x 4 2\n", &print, "1"), Kind::FingerprintDisagrees { .. });
    refused!(with_metadata(&[], "x 3\n", &print, "1"), Kind::Metadata { key: "layers", .. });
    refused!(with_metadata(&[], &text, &print, "1"), Kind::MissingPart { .. });
    let other = safetensors_with_metadata(&[], &[("format", "pt")]);
    refused!(other, Kind::NotStatistics { .. });
}

#[test]
fn a_layer_that_contradicts_itself_cannot_be_made() {
    let rank = |rank, values: &[f32]| {
        let second = SecondMoment::Factor { rank, values: values.to_vec() };
        LayerStatistics::new(1, None, vec![1.0, 1.0], second)
    };
    assert!(matches!(rank(0, &[]), Err(Kind::Rank { .. })));
    assert!(matches!(rank(3, &[0.0; 6]), Err(Kind::Rank { .. })));
    assert!(matches!(rank(2, &[0.0; 3]), Err(Kind::Length { .. })));
    assert!(rank(2, &[0.0; 4]).is_ok());
}
