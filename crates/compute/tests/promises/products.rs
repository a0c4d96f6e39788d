//! Both CPU backends compute what the definition says, on odd shapes too.

use proptest::prelude::*;
use roundwise_compute::{Device, DeviceMatrix, Engine, Gaussian, Matrix};

/// `f32` sums of up to 200 products of values near 1: rounding of each is 6e-8 of the partial sum.
const RELATIVE: f32 = 2e-5;

fn engines() -> Vec<Engine> {
    [Device::Cpu, Device::NdArray].map(|device| device.resolve().unwrap()).to_vec()
}

fn defined(
    rows: usize,
    cols: usize,
    inner: usize,
    term: impl Fn(usize, usize, usize) -> f32,
) -> Matrix {
    Matrix::from_fn(rows, cols, |row, col| {
        (0..inner).map(|k| f64::from(term(row, k, col))).sum::<f64>() as f32
    })
}

fn assert_close(found: &Matrix, expected: &Matrix) {
    assert_eq!((found.rows(), found.cols()), (expected.rows(), expected.cols()));
    let largest = expected.values().iter().fold(1.0_f32, |largest, value| largest.max(value.abs()));
    for (found, expected) in found.values().iter().zip(expected.values()) {
        assert!((found - expected).abs() <= RELATIVE * largest, "{found} is not {expected}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn products_follow_their_definition(m in 1_usize..70, k in 1_usize..200, n in 1_usize..70, seed: u64) {
        let a = Gaussian::new(seed).matrix(m, k);
        let b = Gaussian::new(!seed).matrix(k, n);
        let expected = defined(m, n, k, |row, k, col| a.at(row, k) * b.at(k, col));
        for engine in engines() {
            let on = |matrix: &Matrix| engine.upload(matrix.clone());
            assert_close(&on(&a).multiply(&on(&b)).download(), &expected);
            assert_close(&on(&a.transposed()).transposed_multiply(&on(&b)).download(), &expected);
            assert_close(&on(&a).multiply_transposed(&on(&b.transposed())).download(), &expected);
        }
    }

    #[test]
    fn sums_of_products_follow_their_definition(m in 1_usize..70, k in 1_usize..70, n in 1_usize..450, first in 0_usize..9, seed: u64) {
        let a = Gaussian::new(seed).matrix(k + 1, m + 2);
        let b = Gaussian::new(!seed).matrix(k, n);
        let sum = Gaussian::new(seed / 2).matrix(first + m + 1, n);
        let product = defined(m, n, k, |row, k, col| a.at(k + 1, row + 1) * b.at(k, col));
        let expected = Matrix::from_fn(sum.rows(), n, |row, col| {
            let is_inside = (first..first + m).contains(&row);
            sum.at(row, col) + if is_inside { product.at(row - first, col) } else { 0.0 }
        });
        for engine in engines() {
            let left = engine.upload(a.clone()).row_block(1..k + 1).column_block(1..m + 1);
            let mut found = engine.upload(sum.clone());
            let kept = found.clone();
            found.add_transposed_product(first, &left, &engine.upload(b.clone()));
            assert_close(&found.download(), &expected);
            prop_assert_eq!(kept.download(), sum.clone());
        }
    }

    #[test]
    fn blocks_and_sums_follow_their_definition(m in 2_usize..50, n in 2_usize..50, seed: u64) {
        let a = Gaussian::new(seed).matrix(m, n);
        let b = Gaussian::new(!seed).matrix(m, n);
        let (top, left) = (m / 2, n / 2);
        for engine in engines() {
            let on = |matrix: &Matrix| engine.upload(matrix.clone());
            let block = on(&a).row_block(top..m).column_block(0..left);
            let expected = Matrix::from_fn(m - top, left, |row, col| a.at(top + row, col));
            prop_assert_eq!(&block.clone().download(), &expected);
            prop_assert_eq!(block.read(<[f32]>::to_vec), expected.values());
            let sum = on(&a).add_scaled(0.25, &on(&b)).scale(3.0);
            let expected = Matrix::from_fn(m, n, |row, col| {
                (a.at(row, col) + 0.25 * b.at(row, col)) * 3.0
            });
            prop_assert_eq!(sum.download(), expected);
            let squares: f64 = a.values().iter().map(|a| f64::from(*a).powi(2)).sum();
            prop_assert!((on(&a).squared_norm() - squares).abs() <= 1e-12 * squares);
        }
    }
}

/// Long columns of a left factor go another way than short ones, narrow results than wide ones.
#[test]
fn products_of_every_shape_follow_their_definition() {
    let shapes = [[520, 530, 7], [400, 5, 37], [37, 5, 400], [0, 3, 4], [3, 0, 4], [3, 4, 0]];
    for [m, k, n] in shapes {
        let a = Gaussian::new(1).matrix(k, m);
        let b = Gaussian::new(2).matrix(k, n);
        let expected = defined(m, n, k, |row, k, col| a.at(k, row) * b.at(k, col));
        // The reference has no products of nothing.
        let is_empty = m * k * n == 0;
        for engine in engines().into_iter().take(if is_empty { 1 } else { 2 }) {
            let on = |matrix: Matrix| engine.upload(matrix);
            let (turned_a, turned_b) = (on(a.transposed()), on(b.transposed()));
            let (a, b) = (on(a.clone()), on(b.clone()));
            assert_close(&turned_a.multiply(&b).download(), &expected);
            assert_close(&a.transposed_multiply(&b).download(), &expected);
            assert_close(&turned_a.multiply_transposed(&turned_b).download(), &expected);
            let mut sum = turned_a.multiply(&b);
            sum.clear();
            sum.add_transposed_product(0, &a, &b);
            assert_close(&sum.download(), &expected);
        }
    }
}

/// Blocks of rows and stripes of columns, whole and cut off, and matrices of nothing.
#[test]
fn products_with_triangular_factors_follow_their_definition() {
    for [k, n] in [[7, 5], [96, 192], [203, 401], [0, 3], [3, 0]] {
        let wide = Gaussian::new(1).matrix(k, n);
        let full = Gaussian::new(2).matrix(k, k);
        let lower = Matrix::from_fn(k, k, |i, j| if j <= i { full.at(i, j) } else { 0.0 });
        let product = defined(k, n, k, |i, inner, j| lower.at(i, inner) * wide.at(inner, j));
        let gram = defined(k, k, n, |i, inner, j| wide.at(i, inner) * wide.at(j, inner));
        for engine in engines().into_iter().take(if k * n == 0 { 1 } else { 2 }) {
            let on_device = engine.upload(wide.clone());
            assert_close(&on_device.gram().download(), &gram);
            let lower = engine.upload(lower.clone());
            assert_close(&on_device.multiplied_by_lower(&lower).download(), &product);
        }
    }
}

/// Larger memory than needed, smaller, and some that is still needed; a product of nothing in it.
#[test]
fn products_in_old_memory_are_the_same_products() {
    let (a, b) = (Gaussian::new(1).matrix(30, 40), Gaussian::new(2).matrix(40, 50));
    for engine in engines() {
        let on_a = engine.upload(a.clone());
        let (on_b, turned_b) = (engine.upload(b.clone()), engine.upload(b.transposed()));
        let expected = on_a.multiply(&on_b).download();
        for length in [2000, 1500, 7] {
            let memory = || engine.upload(Gaussian::new(3).matrix(1, length));
            assert_eq!(on_a.multiply_within(&on_b, memory()).download(), expected);
            let turned = on_a.multiply_transposed_within(&turned_b, memory()).download();
            assert_eq!(turned, on_a.multiply_transposed(&turned_b).download());
        }
        let held = engine.upload(Gaussian::new(3).matrix(30, 50));
        assert_eq!(on_a.multiply_within(&on_b, held.clone()).download(), expected);
        assert_eq!(held.download(), Gaussian::new(3).matrix(30, 50));
    }
    let cpu = Device::Cpu.resolve().unwrap();
    let (none, nothing) = (Matrix::zeros(30, 0), Matrix::zeros(0, 50));
    let memory = cpu.upload(Gaussian::new(3).matrix(30, 50));
    let product = cpu.upload(none).multiply_within(&cpu.upload(nothing), memory).download();
    assert_eq!(product, Matrix::zeros(30, 50));
}

#[test]
fn the_memory_of_another_matrix_is_used() {
    let cpu = Device::Cpu.resolve().unwrap();
    let a = cpu.upload(Gaussian::new(1).matrix(300, 300));
    for cols in [300, 200] {
        let b = cpu.upload(Gaussian::new(2).matrix(300, cols));
        let memory = Gaussian::new(3).matrix(300, 300);
        let address = memory.values().as_ptr();
        let product = a.multiply_within(&b, cpu.upload(memory)).download();
        assert_eq!(product.values().as_ptr(), address);
    }
    let wide = Gaussian::new(4).matrix(300, 200);
    let address = wide.values().as_ptr();
    let product = cpu.upload(wide).multiplied_by_lower(&a).download();
    assert_eq!(product.values().as_ptr(), address);
}

#[test]
fn nothing_is_copied_on_the_way_in_and_out() {
    let matrix = Matrix::zeros(300, 200);
    let address = matrix.values().as_ptr();
    for engine in engines() {
        let resident = engine.upload(matrix.clone()).changed(|values| values[0] = 1.0);
        assert_eq!(resident.download().at(0, 0), 1.0);
    }
    let cpu = Device::Cpu.resolve().unwrap();
    let back = cpu.upload(matrix).changed(|values| values.fill(2.0)).download();
    assert_eq!(back.values().as_ptr(), address);
}

#[test]
fn a_clone_keeps_its_values() {
    for engine in engines() {
        let first = engine.upload(Matrix::identity(3));
        let second = first.clone().scale(2.0);
        assert_eq!(first.download(), Matrix::identity(3));
        assert_eq!(second.download().at(1, 1), 2.0);
    }
}

#[test]
#[should_panic(expected = "different devices")]
fn devices_do_not_mix() {
    let [cpu, ndarray]: [Engine; 2] = engines().try_into().unwrap();
    let _product: DeviceMatrix =
        cpu.upload(Matrix::identity(2)).multiply(&ndarray.upload(Matrix::identity(2)));
}
