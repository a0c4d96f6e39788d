//! Leading singular vectors are found, whatever the matrix.

use roundwise_compute::{
    ComputeError, Device, Engine, Gaussian, Matrix, Svd, SvdOptions, orthonormalised, truncated_svd,
};

/// Columns of up to 300 `f32` values, each rounded several times on its way.
const ORTHONORMAL: f32 = 2e-5;
/// Largest error after 10 passes on singular values that fall as slowly as 1/i.
const SPECTRUM: f32 = 1e-3;

fn cpu() -> Engine {
    Device::Cpu.resolve().unwrap()
}

fn assert_orthonormal(basis: &Matrix) {
    let engine = cpu();
    let basis = engine.upload(basis.clone());
    let gram = basis.transposed_multiply(&basis).download();
    for row in 0..gram.rows() {
        for col in 0..gram.cols() {
            let error = (gram.at(row, col) - f32::from(row == col)).abs();
            assert!(error <= ORTHONORMAL, "({row}, {col}) is off by {error}");
        }
    }
}

fn assert_sound(svd: &Svd, weight: &Matrix, rank: usize) {
    let rank = rank.min(weight.rows()).min(weight.cols());
    assert_eq!((svd.u.rows(), svd.u.cols()), (weight.rows(), rank));
    assert_eq!((svd.v.rows(), svd.v.cols()), (weight.cols(), rank));
    assert_eq!(svd.singular_values.len(), rank);
    assert!(svd.singular_values.iter().all(|value| value.is_finite() && *value >= 0.0));
    assert!(svd.singular_values.is_sorted_by(|a, b| a >= b));
    assert_orthonormal(&svd.u);
    assert_orthonormal(&svd.v);
}

/// `U·diag(s)·Vᵀ` with random orthonormal U and V.
fn with_spectrum(rows: usize, cols: usize, spectrum: &[f32]) -> Matrix {
    let engine = cpu();
    let basis = |rows, seed| {
        let random = engine.upload(Gaussian::new(seed).matrix(spectrum.len(), rows));
        engine.upload(orthonormalised(&engine, &random).download().transposed())
    };
    let scaled = basis(rows, 11).changed(|values| {
        for row in values.chunks_exact_mut(spectrum.len()) {
            row.iter_mut().zip(spectrum).for_each(|(value, s)| *value *= s);
        }
    });
    scaled.multiply_transposed(&basis(cols, 12)).download()
}

#[test]
fn known_spectra_are_found() {
    let spectrum: Vec<f32> = (0..60).map(|i| 3.0 / (1.0 + i as f32)).collect();
    for (rows, cols) in [(200, 130), (130, 200), (97, 61)] {
        let weight = with_spectrum(rows, cols, &spectrum);
        for device in [Device::Cpu, Device::NdArray] {
            let engine = device.resolve().unwrap();
            for rank in [1, 7, 20, 58, 61, 500] {
                let svd =
                    truncated_svd(&engine, weight.clone(), &SvdOptions::new(rank, 3)).unwrap();
                assert_sound(&svd, &weight, rank);
                for (found, expected) in svd.singular_values.iter().zip(&spectrum) {
                    assert!(
                        (found - expected).abs() <= SPECTRUM * expected,
                        "{found} is not {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn vectors_belong_to_their_values() {
    let weight = with_spectrum(150, 90, &[8.0, 4.0, 2.0, 1.0, 0.5, 0.25]);
    let svd = truncated_svd(&cpu(), weight.clone(), &SvdOptions::new(3, 0)).unwrap();
    let engine = cpu();
    let image = engine.upload(weight).multiply(&engine.upload(svd.v)).download();
    for row in 0..image.rows() {
        for (col, value) in svd.singular_values.iter().enumerate() {
            assert!((image.at(row, col) - value * svd.u.at(row, col)).abs() <= 1e-5);
        }
    }
}

#[test]
fn degenerate_matrices_give_finite_orthonormal_vectors() {
    let mut outlier = Gaussian::new(5).matrix(120, 100);
    outlier.values_mut()[4321] = 1e6;
    let one_row = Gaussian::new(6).matrix(1, 300);
    let one_col = Gaussian::new(6).matrix(300, 1);
    let rank_one = Matrix::from_fn(140, 110, |row, col| ((row + 1) * (col + 1)) as f32 * 1e-3);
    let constant = Matrix::from_fn(128, 128, |_, _| -0.5);
    let tiny = Matrix::from_fn(90, 80, |row, col| ((row * col) % 7) as f32 * 1e-30);
    let huge = Matrix::from_fn(90, 80, |row, col| ((row * col) % 7) as f32 * 1e30);
    for weight in
        [Matrix::zeros(100, 80), outlier, one_row, one_col, rank_one, constant, tiny, huge]
    {
        for rank in [1, 5, 30] {
            let svd = truncated_svd(&cpu(), weight.clone(), &SvdOptions::new(rank, 9)).unwrap();
            assert_sound(&svd, &weight, rank);
        }
    }
}

#[test]
fn an_outlier_does_not_hide_the_rest() {
    let mut weight = with_spectrum(120, 100, &[9.0, 8.0, 7.0, 1e-2]);
    weight.values_mut()[0] = 1e5;
    let svd = truncated_svd(&cpu(), weight.clone(), &SvdOptions::new(4, 9)).unwrap();
    assert!((svd.singular_values[0] - 1e5).abs() < 1.0);
    assert!(svd.singular_values[3] > 6.0, "{:?}", svd.singular_values);
}

#[test]
fn empty_matrices_have_no_vectors() {
    for (rows, cols) in [(0, 0), (0, 5), (5, 0)] {
        let svd = truncated_svd(&cpu(), Matrix::zeros(rows, cols), &SvdOptions::new(3, 0)).unwrap();
        assert_eq!((svd.u.rows(), svd.u.cols(), svd.v.rows()), (rows, 0, cols));
    }
    let none = truncated_svd(&cpu(), Matrix::zeros(4, 4), &SvdOptions::new(0, 0)).unwrap();
    assert_eq!((none.u.cols(), none.v.cols()), (0, 0));
}

#[test]
fn what_is_not_a_number_is_refused() {
    let mut weight = Matrix::zeros(4, 6);
    weight.row_mut(2)[3] = f32::NAN;
    let error = truncated_svd(&cpu(), weight.clone(), &SvdOptions::new(1, 0)).unwrap_err();
    assert_eq!(error, ComputeError::NotFinite { row: 2, col: 3 });
}

#[test]
fn seeds_choose_the_bits_and_threads_do_not() {
    let weight = Gaussian::new(1).matrix(700, 520);
    let with_threads = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| truncated_svd(&cpu(), weight.clone(), &SvdOptions::new(90, seed)).unwrap())
    };
    let one = with_threads(1, 4);
    assert_eq!(one, with_threads(1, 4));
    assert_eq!(one, with_threads(2, 4));
    assert_eq!(one, with_threads(4, 4));
    assert_ne!(one, with_threads(1, 5));
}

/// `‖W − USVᵀ‖` over the smallest that any matrix of this rank has, minus 1.
fn excess(weight: &Matrix, options: &SvdOptions) -> f64 {
    let missed = |options: &SvdOptions| {
        let svd = truncated_svd(&cpu(), weight.clone(), options).unwrap();
        let engine = cpu();
        let scaled = engine.upload(svd.u).changed(|values| {
            for row in values.chunks_exact_mut(svd.singular_values.len()) {
                row.iter_mut().zip(&svd.singular_values).for_each(|(value, s)| *value *= s);
            }
        });
        let approximation = scaled.multiply_transposed(&engine.upload(svd.v));
        approximation.add_scaled(-1.0, &engine.upload(weight.clone())).squared_norm().sqrt()
    };
    // Searching every vector is the exact decomposition.
    let exact = SvdOptions { oversampling: weight.cols(), ..*options };
    missed(options) / missed(&exact) - 1.0
}

#[test]
fn passes_leave_the_documented_residual() {
    let gaussian = Gaussian::new(21).matrix(500, 500);
    let spectrum: Vec<f32> = (0..500).map(|i| (1.0 + i as f32).powf(-0.5)).collect();
    let power_law = with_spectrum(500, 500, &spectrum);
    for (weight, documented) in [
        (gaussian, [(2, 0.19), (4, 0.065), (6, 0.032), (8, 0.018), (10, 0.012)]),
        (power_law, [(2, 0.32), (4, 0.055), (6, 0.020), (8, 0.010), (10, 0.005)]),
    ] {
        for (passes, most) in documented {
            let found = excess(&weight, &SvdOptions { passes, ..SvdOptions::new(100, 1) });
            assert!((-1e-4..=most).contains(&found), "{passes} passes leave {found}");
        }
    }
}
