//! Matrices and parts at the edge of what is allowed.

use roundwise_scheme::{
    CATALOG, FloatDtype, QuantizedMatrix, ScaleNumbers, ScaleRole, ScaleRule, Scheme, SchemeError,
    Weight, choose_scales, largest_step, measure,
};
use roundwise_testkit::files::{f16_bytes, f32_bytes};

#[test]
fn matrices_without_elements_have_their_scales() {
    for entry in CATALOG {
        let scheme = entry.scheme;
        for [rows, cols] in [[0, 5], [5, 0], [0, 0]] {
            let shape = scheme.tiling().scale_shape(rows, cols);
            let weight = Weight::new(rows, cols, FloatDtype::BF16, &[]).unwrap();
            if scheme.covers(rows, cols).is_err() {
                continue;
            }
            let quantized = QuantizedMatrix::nearest(&weight, scheme, ScaleRule::Mse).unwrap();
            // One of the ranges of logarithms has no byte for 1.
            let is_one = |scale: &f32| (0.94..1.06).contains(scale);
            let is_narrow = entry.name.ends_with("-narrow");
            assert!(quantized.scales().iter().all(|it| *it == 1.0 || is_narrow && is_one(it)));
            assert_eq!(quantized.scales().len(), shape.iter().product::<usize>());
            assert_eq!(quantized.codes(), [0u8; 0]);
            assert_eq!(quantized.to_f32(), [0f32; 0]);
            assert_eq!(measure(&weight, &quantized).relative(), 0.0);
            assert_eq!(largest_step(&weight, &quantized).at_weight, 0.0);
        }
    }
}

/// Scales of a single row are chosen by the importance of its columns, also where there is none to choose.
#[test]
fn every_scheme_takes_importance() {
    for entry in CATALOG {
        for [rows, cols] in [[1, 256], [256, 256]] {
            let values: Vec<f32> = (0..rows * cols).map(|it| (it as f32).sin()).collect();
            let bytes = f32_bytes(&values);
            let importance: Vec<f32> = (0..cols).map(|col| 1.0 + col as f32).collect();
            let weight = Weight::new(rows, cols, FloatDtype::F32, &bytes).unwrap();
            let weight = weight.with_importance(&importance);
            if entry.scheme.covers(rows, cols).is_err() {
                continue;
            }
            let quantized =
                QuantizedMatrix::nearest(&weight, entry.scheme, ScaleRule::Mse).unwrap();
            assert!(measure(&weight, &quantized).relative() < 0.2, "{}", entry.name);
        }
    }
}

/// A matrix whose numbers are as large as they get must not decode to infinity.
#[test]
fn the_largest_numbers_stay_finite() {
    for scheme in ["fp8", "fp8-e5m2", "int8", "int8-row"] {
        for value in [f32::MAX, -f32::MAX, f32::MAX.next_down()] {
            let bytes = f32_bytes(&[value, 1.0]);
            let weight = Weight::new(1, 2, FloatDtype::F32, &bytes).unwrap();
            let scheme = scheme.parse().unwrap();
            let quantized = QuantizedMatrix::nearest(&weight, scheme, ScaleRule::Absmax).unwrap();
            let decoded = quantized.to_f32();
            assert!(decoded[0].is_finite() && decoded[0] / value > 0.999, "{scheme}: {decoded:?}");
        }
    }
}

#[test]
fn numbers_past_f32_are_not_finite() {
    let bytes: Vec<u8> = [1.0f64, 1e39].iter().flat_map(|value| value.to_le_bytes()).collect();
    let weight = Weight::new(2, 1, FloatDtype::F64, &bytes).unwrap();
    let found = choose_scales(&weight, "fp8".parse().unwrap(), ScaleRule::Absmax);
    assert_eq!(found, Err(SchemeError::NotFinite { row: 1 }));
}

#[test]
fn lengths_that_do_not_fit_are_named() {
    let bytes = f16_bytes(&[1.0; 6]);
    let message = Weight::new(2, 4, FloatDtype::F16, &bytes).unwrap_err().to_string();
    assert_eq!(message, "weight is 12 bytes, its shape needs 16");
    assert!(Weight::new(usize::MAX, usize::MAX, FloatDtype::F32, &[]).is_err());

    let scheme: Scheme = "int8-row".parse().unwrap();
    let parts = |codes: usize, scales: usize| {
        QuantizedMatrix::from_parts(scheme, [2, 4], vec![0; codes], vec![1.0; scales])
            .map_err(|error| error.to_string())
    };
    assert_eq!(parts(7, 2).unwrap_err(), "codes: found 7, the shape needs 8");
    assert_eq!(parts(8, 1).unwrap_err(), "scales: found 1, the shape needs 2");
    let huge = QuantizedMatrix::from_parts(scheme, [usize::MAX, 2], vec![], vec![]);
    assert!(huge.is_err());
}

/// Codes of 16 bits are the weights: nothing but rounding and the range of the grid between them.
#[test]
fn unscaled_codes_are_the_weights() {
    let weights = [1.0, -0.1, 65504.0, 70000.0, 1e-9, 0.0];
    let nearest = |scheme: &str| {
        let bytes = f32_bytes(&weights);
        let weight = Weight::new(2, 3, FloatDtype::F32, &bytes).unwrap();
        let scheme = scheme.parse().unwrap();
        QuantizedMatrix::nearest(&weight, scheme, ScaleRule::Mse).unwrap()
    };
    let fp16 = nearest("fp16");
    assert_eq!((fp16.scales(), fp16.stored_scales()), (&[1.0][..], vec![]));
    assert_eq!(fp16.codes(), f16_bytes(&[1.0, -0.1, 65504.0, 65504.0, 0.0, 0.0]));
    assert_eq!(fp16.to_f32()[..2], [1.0, -0.099_975_586]);
    let bf16 = nearest("bf16");
    assert_eq!(bf16.to_f32()[2..4], [65536.0, 70144.0]);
}

/// A tile whose scale is stored as 0 is 0 for every reader.
#[test]
fn stored_scales_come_back() {
    let codes = vec![0x38, 0, 0x7E, 0x81, 0, 0];
    let read = |scheme: Scheme, codes: &[u8], scales: &[(ScaleRole, &[u8])]| {
        let scales = scales.iter().map(|(role, bytes)| (*role, bytes.to_vec())).collect();
        QuantizedMatrix::from_stored(scheme, [3, 2], codes.to_vec(), &scales)
    };
    let powers = read(Scheme::MXFP8, &codes, &[(ScaleRole::Tiles, &[130, 0, 120])]).unwrap();
    assert_eq!(powers.scales(), [8.0, 1.0, 1.0 / 128.0]);
    assert_eq!(powers.codes(), [0x38, 0, 0, 0, 0, 0]);
    assert_eq!(powers.stored_scales(), [(ScaleRole::Tiles, vec![130, 0, 0])]);

    let half = 0.5f32.to_le_bytes();
    let stored = [(ScaleRole::Tiles, &[0x38, 0x7E, 0][..]), (ScaleRole::Tensor, &half)];
    let two_level = read(Scheme::NVFP4, &[1, 0, 0xF, 7, 0, 0], &stored).unwrap();
    assert_eq!((two_level.scales(), two_level.tensor_scale()), (&[0.5, 224.0, 0.5][..], 0.5));
    assert_eq!(two_level.to_f32(), [0.25, 0.0, -1344.0, 1344.0, 0.0, 0.0]);
    assert_eq!(two_level.stored_scales(), stored.map(|(role, bytes)| (role, bytes.to_vec())));
    assert_eq!(two_level.with_codes(two_level.codes().to_vec()).unwrap(), two_level);

    let broken = read(Scheme::MXFP8, &codes, &[(ScaleRole::Tiles, &[255, 1, 1])]).unwrap();
    assert!(broken.scales()[0].is_nan());
    let short = read(Scheme::MXFP8, &codes, &[(ScaleRole::Tiles, &[1, 1])]);
    assert_eq!(short.unwrap_err().to_string(), "scales: found 2, the shape needs 3");
}

/// Every scheme says which tensors hold its scales, and reads them back.
#[test]
fn parts_are_those_that_were_announced() {
    let weights: Vec<f32> = (0..128 * 256).map(|at| ((at * 37) % 101) as f32 - 50.0).collect();
    let bytes = f32_bytes(&weights);
    let weight = Weight::new(128, 256, FloatDtype::F32, &bytes).unwrap();
    for entry in CATALOG {
        let shape = [128, 256];
        let matrix = QuantizedMatrix::nearest(&weight, entry.scheme, ScaleRule::Absmax).unwrap();
        let stored = matrix.stored_scales();
        let announced = entry.scheme.scale_parts(shape);
        assert_eq!(stored.len(), announced.len(), "{}", entry.name);
        for (part, (role, bytes)) in announced.iter().zip(&stored) {
            let width = match part.numbers {
                ScaleNumbers::F32 | ScaleNumbers::Nibbles => 4,
                ScaleNumbers::Bf16 => 2,
                ScaleNumbers::E4m3 | ScaleNumbers::E8m0 | ScaleNumbers::Logarithm => 1,
            };
            let expected = width * part.shape.iter().product::<usize>();
            assert_eq!((part.role, expected), (*role, bytes.len()), "{}", entry.name);
        }
        let codes = matrix.clone().into_stored_codes();
        let read =
            QuantizedMatrix::from_stored(entry.scheme, shape, codes, &stored.into_iter().collect());
        assert_eq!(read.unwrap(), matrix, "{}", entry.name);
    }
}

/// Files do not tell how scales were chosen.
#[test]
fn powers_of_two_are_read_as_any_scale() {
    let powers: Scheme = "fp8-block-128-pow2".parse().unwrap();
    let plain: Scheme = "fp8-block-128".parse().unwrap();
    assert_eq!((powers.read_as(), plain.read_as()), (plain, plain));
    assert!(powers != plain && plain.is_same_for(powers, 128));
    assert_eq!(powers.scale_parts([256, 384]), plain.scale_parts([256, 384]));
}

/// A step is that of the grid at the weight; what a scale clips is left out.
#[test]
fn steps_are_those_of_the_grid() {
    let step = |weight: f32, code: u8| {
        let bytes = weight.to_le_bytes();
        let weight = Weight::new(1, 1, FloatDtype::F32, &bytes).unwrap();
        let fp8 = "fp8".parse().unwrap();
        let quantized = QuantizedMatrix::from_parts(fp8, [1, 1], vec![code], vec![2.0]).unwrap();
        largest_step(&weight, &quantized).at_weight
    };
    assert_eq!(step(2.0, 0x38), 0.0);
    assert_eq!(step(2.0, 0x39), 1.0);
    assert_eq!(step(2.25, 0x38), 1.0);
    assert_eq!(step(-2.0, 0x38), 16.0);
    assert_eq!(step(896.0, 0x7E), 0.0);
    assert_eq!(step(2000.0, 0x7E), 0.0);
}

/// NaN, infinities and −128 are taken from files, and named by their row.
#[test]
fn codes_that_stand_for_no_number_are_found() {
    let first_row = |scheme: &str, codes: [u8; 4]| {
        let scheme: Scheme = scheme.parse().unwrap();
        let scales = vec![1.0; scheme.tiling().tiles(2, 2).iter().product()];
        QuantizedMatrix::from_parts(scheme, [2, 2], codes.to_vec(), scales)
            .unwrap()
            .first_invalid_row()
    };
    for (scheme, largest, invalid) in [
        ("fp8", [0x7E, 0xFE], &[0x7F, 0xFF][..]),
        ("fp8-e5m2", [0x7B, 0xFB], &[0x7C, 0x7D, 0xFC, 0xFF]),
        ("int8", [0x7F, 0x81], &[0x80]),
        ("int4-convrot", [0x07, 0x09], &[0x08, 0x10, 0xFF]),
        ("nvfp4", [0x07, 0x0F], &[0x10, 0x80]),
    ] {
        let [most, least] = largest;
        assert_eq!(first_row(scheme, [most, least, 0, 1]), None);
        for &code in invalid {
            assert_eq!(first_row(scheme, [most, code, 0, code]), Some(0), "{scheme} {code:#x}");
            assert_eq!(first_row(scheme, [most, least, code, 0]), Some(1), "{scheme} {code:#x}");
        }
    }
}
