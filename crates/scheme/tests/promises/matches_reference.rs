//! Codes and scales have the bytes that existing loaders accept, and those of a numpy computation.

use std::collections::BTreeMap;

use roundwise_scheme::{FloatDtype, GridKind, QuantizedMatrix, ScaleRule, Scheme, Tiling, Weight};
use roundwise_testkit::bytes::{assert_equal_bytes, hex, to_hex};
use roundwise_testkit::cases::test_each;
use roundwise_testkit::weights::{Matrix, all_zero, contract_b, contract_c, contract_i};
use serde_json::Value;
use sha2::{Digest, Sha256};

const VECTORS: &str = include_str!("../../../../fixtures/golden/contract-vectors.json");

fn sha256(bytes: &[u8]) -> String {
    to_hex(&Sha256::digest(bytes))
}

fn generated(generator: &str, rows: usize, cols: usize) -> Matrix {
    match generator {
        "A'" => {
            Matrix::from_fn(rows, cols, |row, col| (((7 * row + 3 * col) % 17) as f32 - 8.0) * 0.1)
        }
        "B" => contract_b(rows, cols),
        "C" => contract_c(rows, cols),
        "I" => contract_i(rows, cols),
        other => panic!("generator {other}"),
    }
}

/// One scale for two columns of a row has no name.
fn scheme(name: &str) -> Scheme {
    match name {
        "fp8-group-2" => Scheme::scaled(GridKind::E4m3, Tiling::Block { rows: 1, cols: 2 }),
        name => name.parse().unwrap(),
    }
}

/// Codes and scales, both as bytes.
fn nearest(matrix: &Matrix, scheme: Scheme) -> (Vec<u8>, Vec<u8>) {
    let bytes = matrix.bytes();
    let weight = Weight::new(matrix.rows, matrix.cols, FloatDtype::F32, &bytes).unwrap();
    let quantized = QuantizedMatrix::nearest(&weight, scheme, ScaleRule::Absmax).unwrap();
    assert_eq!(quantized.first_invalid_row(), None);
    let scales = quantized.scales().iter().flat_map(|scale| scale.to_le_bytes()).collect();
    (quantized.into_codes(), scales)
}

#[test]
#[expect(clippy::print_stdout, reason = "shows that the vectors were found")]
fn every_golden_vector() {
    let golden: Value = serde_json::from_str(VECTORS).unwrap();
    let mut checked = BTreeMap::<&str, usize>::new();
    let vectors: Vec<&Value> = golden["vectors"].as_array().unwrap().iter().collect();
    test_each(vectors.into_iter().filter(|vector| vector["file"].is_null()), |vector| {
        let [rows, cols] = ["rows", "cols"].map(|key| vector[key].as_u64().unwrap() as usize);
        let matrix = generated(vector["generator"].as_str().unwrap(), rows, cols);
        let (codes, scales) = nearest(&matrix, scheme(vector["scheme"].as_str().unwrap()));
        match vector["weight_hex"].as_str() {
            Some(weight) => {
                assert_equal_bytes(&codes, &hex(weight));
                assert_equal_bytes(&scales, &hex(vector["scales_hex"].as_str().unwrap()));
            }
            None => {
                assert_eq!(sha256(&codes), vector["weight_sha256"].as_str().unwrap());
                assert_eq!(sha256(&scales), vector["scales_sha256"].as_str().unwrap());
            }
        }
        *checked.entry(vector["origin"].as_str().unwrap()).or_default() += 1;
    });
    println!("golden vectors of codes and scales: {checked:?}");
    assert!(checked["published"] >= 9 && checked["numpy"] >= 9, "{checked:?}");
}

/// Generator B, halved for every 64 rows and quartered for every 64 columns, so that no two
/// neighbouring blocks have the same scale. Hashes of `fixtures/scripts/schemes.py`.
#[test]
fn blocks_lie_where_their_scales_do() {
    let matrix = contract_b(256, 384)
        .map(|row, col, value| value / (1u32 << (row / 64 + 2 * (col / 64))) as f32);
    assert_eq!(
        sha256(&matrix.bytes()),
        "ee0224f0d34ac13b6f7e6f796371cae8b9f5f6526a6fb32d1f6101d55b6b24a8"
    );
    let cases = [
        (
            "fp8-row",
            "188f3f80b8935307b7ec98b76c01d991bc458dec523e721083e6f79704e97e8c",
            "940fb14b965dc20cf8008eec068445719d08c65c072492a4464f7c387f59556f",
        ),
        (
            "fp8-block-64",
            "412876802543dd2c62469e3aa59ba1afde3125c43661cab308dd2b2ce02de4e6",
            "9b410f8f3756c4fbf27fcd71119e76ba183cac5e9da4ea7432efa725c24d8cd8",
        ),
        (
            "fp8-block-128",
            "ede616049a0b9e25f95f11a4baa0991579cf5724d3402529f7393ceada26b775",
            "3b2fdd2f730fa2f52c60b7561f128377834abb21d25c9fd1f6c2d544b5c13b90",
        ),
        (
            "int8-row",
            "53ec560baa1557f3d5a36af7a55705d9ba670fd45bcd9e67dde1b060043372ec",
            "b82246a6e78364cd0dcb18da4704a2ab8dfc6948eff02597af28ce86a9758115",
        ),
        (
            "int8-block-64",
            "adf067901a0366bc9e2160a7234568fb53a8b6ba70f60383d841755640bc0912",
            "9e4e94f7da1bac51866ad7acac6133dc61beb4e902ca346609d3fc745ff45834",
        ),
        (
            "int8-block-128",
            "aa9a218332eb41c7540c3713965168e791b08e8023005643a646e42ff1361c7f",
            "04d2ea7b0f18320bf5590cff4d33325a5fce0f0a7f4b8945942b71a2077e7595",
        ),
    ];
    test_each(cases, |&(name, codes_sha256, scales_sha256)| {
        let (codes, scales) = nearest(&matrix, scheme(name));
        assert_eq!(sha256(&codes), codes_sha256);
        assert_eq!(sha256(&scales), scales_sha256);
    });
}

/// Loaders make NaN of a scale of 0.
#[test]
fn zeros_have_scale_one() {
    for name in ["fp8", "fp8-e5m2", "fp8-row", "int8", "int8-row", "fp8-block-2", "int8-block-2"] {
        let scheme = scheme(name);
        let (codes, scales) = nearest(&all_zero(4, 6), scheme);
        assert_equal_bytes(&codes, &[0; 24]);
        let count: usize = scheme.tiling().scale_shape(4, 6).iter().product();
        assert_equal_bytes(&scales, &hex("0000803f").repeat(count));
    }
}
