//! The contract's generators give the contract's bytes.

use roundwise_testkit::bytes::{assert_equal_bytes, hex, to_hex};
use roundwise_testkit::cases::test_each;
use roundwise_testkit::files::{Tensor, f32_bytes, safetensors};
use roundwise_testkit::weights::{contract_b, contract_c, contract_i};
use sha2::{Digest, Sha256};

fn sha256(bytes: &[u8]) -> String {
    to_hex(&Sha256::digest(bytes))
}

#[test]
fn generator_b() {
    let first = hex("cdcc8cbf cdccccbd cdcc4cbf 676666bf 9a9919bf 0000003f cdccccbd cdccccbd");
    assert_equal_bytes(&contract_b(2, 4).bytes(), &first);

    let whole = [[-11, -1, -8, -9], [-6, 5, -1, -1], [9, -2, -7, -6], [11, 1, -3, -1]];
    let whole: Vec<f32> = whole.as_flattened().iter().map(|&k| k as f32).collect();
    assert_eq!(contract_i(4, 4).values, whole);
    let tenths: Vec<f32> = whole.iter().map(|k| k * 0.1).collect();
    assert_equal_bytes(&contract_b(4, 4).bytes(), &f32_bytes(&tenths));
}

#[test]
fn generator_c() {
    let cases = [
        (16, 16, "76b8a483c4eea6ef61dbaca8399702f67b6e6088d311e8b85f7b7e33e12fdffb"),
        (32, 64, "3cfcca7f38b46510ca91b5362703f01f32e631e791b481419e915c8d04f7f48c"),
        (20, 40, "31789fc0ff94da11f4da14b55ed5e1821bdc089889b9acaf111049c10469827d"),
    ];
    test_each(cases, |&(rows, cols, sha)| {
        assert_eq!(sha256(&contract_c(rows, cols).bytes()), sha);
    });
}

/// The contract's smallest legacy file; its entries stand in the order of their dtypes.
#[test]
fn a_whole_file() {
    let file = safetensors(&[
        Tensor::new("blk.lin.scale_weight", "F32", &[1], hex("0fea203b")),
        Tensor::new("blk.lin.bias", "BF16", &[2], hex("003f80be")),
        Tensor::new("blk.lin.weight", "F8_E4M3", &[2, 4], hex("fee2fafbf775e2e2")),
        Tensor::new("scaled_fp8", "F8_E4M3", &[2], hex("0000")),
    ]);
    assert_eq!(file[..8], 280u64.to_le_bytes());
    assert_eq!(sha256(&file), "09717784b1f54dc52598534047884a05c256f88153bfdb1cc37317cee0ea7db3");
}
