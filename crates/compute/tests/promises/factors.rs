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

#[test]
fn an_upper_factor_squares_to_the_matrix() {
    for dimension in [1, 2, 17, 90] {
        let matrix = positive_definite(dimension);
        let factor = upper_factor(&matrix).unwrap();
        for row in 0..dimension {
            assert!(factor.row(row)[..row].iter().all(|value| *value == 0.0));
            assert!(factor.at(row, row) > 0.0);
        }
        let square = product(&factor, &factor.transposed());
        for (found, expected) in square.values().iter().zip(matrix.values()) {
            assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1.0));
        }
    }
}

#[test]
fn an_indefinite_matrix_is_refused() {
    let mut matrix = Matrix::identity(5);
    matrix.row_mut(3)[3] = -1.0;
    let expected = |pivot| Err(ComputeError::NotPositiveDefinite { pivot, dimension: 5 });
    assert_eq!(solve_positive_definite(&matrix, &Matrix::zeros(5, 1)), expected(3));
    assert!(matches!(upper_factor(&matrix), Err(ComputeError::NotPositiveDefinite { .. })));
}
