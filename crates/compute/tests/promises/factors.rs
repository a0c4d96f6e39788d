//! Small factorisations solve what they say they solve.

use roundwise_compute::{
    ComputeError, Device, Gaussian, Matrix, solve_positive_definite, upper_factor,
};

fn product(a: &Matrix, b: &Matrix) -> Matrix {
    let engine = Device::Cpu.resolve().unwrap();
    engine.upload(a.clone()).multiply(&engine.upload(b.clone())).download()
}

fn positive_definite(dimension: usize) -> Matrix {
    let root = Gaussian::new(8).matrix(dimension + 20, dimension);
    let mut square = product(&root.transposed(), &root);
    for i in 0..dimension {
        square.row_mut(i)[i] += 1.0;
    }
    square
}

#[test]
fn a_solution_solves() {
    for dimension in [1, 2, 17, 90] {
        let matrix = positive_definite(dimension);
        let right = Gaussian::new(9).matrix(dimension, 5);
        let solution = solve_positive_definite(&matrix, &right).unwrap();
        let back = product(&matrix, &solution);
        for (found, expected) in back.values().iter().zip(right.values()) {
            assert!((found - expected).abs() < 1e-3);
        }
    }
}

/// `A[row, col]`, the upper half of which nobody may ask for.
fn lower_half(matrix: &Matrix) -> impl Fn(usize, usize) -> f64 {
    |row, col| {
        assert!(col <= row);
        f64::from(matrix.at(row, col))
    }
}

#[test]
fn an_upper_factor_squares_to_the_matrix() {
    // The last are of several blocks.
    for dimension in [1, 2, 17, 90, 384, 500] {
        let matrix = positive_definite(dimension);
        let factor = upper_factor(dimension, lower_half(&matrix)).unwrap();
        for row in 0..dimension {
            assert!(factor.row(row)[..row].iter().all(|value| *value == 0.0));
            assert!(factor.at(row, row) > 0.0);
        }
        let square = product(&factor, &factor.transposed());
        // Sums of as many F32 products; their size is that of the rows, however little is left of a sum.
        const SLACK: f32 = 1e-5;
        let length = |row: usize| matrix.at(row, row).sqrt();
        for (row, col) in (0..dimension).flat_map(|row| (0..dimension).map(move |col| (row, col))) {
            let error = (square.at(row, col) - matrix.at(row, col)).abs();
            assert!(error <= SLACK * length(row) * length(col), "{dimension} {row} {col} {error}");
        }
    }
}

#[test]
fn an_indefinite_matrix_is_refused() {
    let mut matrix = Matrix::identity(5);
    matrix.row_mut(3)[3] = -1.0;
    let expected = |pivot| Err(ComputeError::NotPositiveDefinite { pivot, dimension: 5 });
    assert_eq!(solve_positive_definite(&matrix, &Matrix::zeros(5, 1)), expected(3));
    // From the last row on.
    assert_eq!(upper_factor(5, lower_half(&matrix)).err(), expected(1).err());
    let mut matrix = Matrix::identity(500);
    matrix.row_mut(100)[100] = -1.0;
    let pivot = 399;
    let expected = ComputeError::NotPositiveDefinite { pivot, dimension: 500 };
    assert_eq!(upper_factor(500, lower_half(&matrix)), Err(expected));
}
