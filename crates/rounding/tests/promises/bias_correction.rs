//! A bias correction is the mean error of the outputs over its rows, with the sign that was asked for.

use crate::common::nearest;
use roundwise_compute::Gaussian;
use roundwise_rounding::{BiasCorrection, BiasSign};
use roundwise_scheme::{FloatDtype, Weight};
use roundwise_testkit::weights;

#[test]
fn the_correction_is_the_mean_lost_output() {
    let (m, n, rows, seed) = (12, 20, 33, 5);
    let matrix = weights::gaussian(m, n, 1);
    let stored = nearest(&matrix, "int8-row".parse().unwrap());
    let bytes = matrix.bytes();
    let weight = Weight::new(m, n, FloatDtype::F32, &bytes).unwrap();
    let plus = BiasCorrection::Synthetic { rows, sign: BiasSign::Plus };
    let plus = plus.change_of_bias((&weight).into(), &stored, seed).unwrap();

    // x̄ (W − Ŵ)ᵀ, x̄ one normal number per input over the root of the rows.
    let lost: Vec<f32> = matrix
        .values
        .iter()
        .zip(stored.to_f32())
        .map(|(original, stored)| original - stored)
        .collect();
    let inputs = Gaussian::new(seed).matrix(1, n);
    for (row, found) in plus.iter().enumerate() {
        let lost = &lost[row * n..(row + 1) * n];
        let output: f32 = lost.iter().zip(inputs.values()).map(|(lost, input)| lost * input).sum();
        let mean = f64::from(output) / (rows as f64).sqrt();
        assert!((f64::from(*found) - mean).abs() < 1e-6, "{row}: {found} {mean}");
    }

    let minus = BiasCorrection::Synthetic { rows, sign: BiasSign::Minus };
    let minus = minus.change_of_bias((&weight).into(), &stored, seed).unwrap();
    assert!(plus.iter().zip(&minus).all(|(plus, minus)| *plus == -minus));
    assert_eq!(BiasCorrection::None.change_of_bias((&weight).into(), &stored, seed), None);
}

#[test]
fn rows_are_those_of_the_method_unless_asked() {
    let rows_of = |name: &str, keys: &str| {
        let keys = format!("bias_correction = 'synthetic-minus'\n{keys}");
        let BiasCorrection::Synthetic { rows, sign: BiasSign::Minus } =
            BiasCorrection::of_method(name, &toml::from_str(&keys).unwrap()).unwrap()
        else {
            panic!("{name}")
        };
        rows
    };
    assert_eq!(rows_of("tpec", ""), 1024);
    assert_eq!(rows_of("tpec-fast", ""), 3072);
    assert_eq!(rows_of("principal", "calibration_rows = 9"), 9);
    assert_eq!(rows_of("adaround-fast", ""), 96);
}
