//! Small factorisations solve what they say they solve.

use roundwise_compute::{
    ComputeError, Device, Gaussian, Matrix, inverse_factor, inverse_of_positive_definite,
    solve_positive_definite,
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

fn assert_identity(matrix: &Matrix) {
    for row in 0..matrix.rows() {
        for col in 0..matrix.cols() {
            // The products are f32 and the condition about 100.
            assert!((matrix.at(row, col) - f32::from(row == col)).abs() < 1e-3);
        }
    }
}

#[test]
fn an_inverse_undoes_its_matrix() {
    for dimension in [1, 2, 17, 90] {
        let matrix = positive_definite(dimension);
        let inverse = inverse_of_positive_definite(&matrix).unwrap();
        assert_identity(&product(&matrix, &inverse));
        let right = Gaussian::new(9).matrix(dimension, 5);
        let solution = solve_positive_definite(&matrix, &right).unwrap();
        let back = product(&matrix, &solution);
        for (found, expected) in back.values().iter().zip(right.values()) {
            assert!((found - expected).abs() < 1e-3);
        }
    }
}

#[test]
fn an_inverse_factor_is_upper_and_squares_to_the_inverse() {
    for dimension in [1, 2, 17, 90] {
        let matrix = positive_definite(dimension);
        let factor = inverse_factor(&matrix).unwrap();
        for row in 0..dimension {
            assert!(factor.row(row)[..row].iter().all(|value| *value == 0.0));
            assert!(factor.at(row, row) > 0.0);
        }
        assert_identity(&product(&product(&factor.transposed(), &factor), &matrix));
    }
}

#[test]
fn an_indefinite_matrix_is_refused() {
    let mut matrix = Matrix::identity(5);
    matrix.row_mut(3)[3] = -1.0;
    let expected = |pivot| Err(ComputeError::NotPositiveDefinite { pivot, dimension: 5 });
    assert_eq!(inverse_of_positive_definite(&matrix), expected(3));
    assert_eq!(solve_positive_definite(&matrix, &Matrix::zeros(5, 1)), expected(3));
    assert!(matches!(inverse_factor(&matrix), Err(ComputeError::NotPositiveDefinite { .. })));
}
