//! Every operation that a device offers, on matrices of one size.

use roundwise_compute::{
    DeviceMatrix, Engine, Gaussian, Matrix, SvdOptions, orthonormalised, truncated_svd,
};

/// An operation with its operands.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) precision: Precision,
    /// Operands, on the host.
    pub(crate) operands: Vec<Matrix>,
    /// Computes the operation on operands that are on the device.
    pub(crate) compute: fn(&Engine, &[DeviceMatrix]) -> DeviceMatrix,
}

/// How near two devices can come to each other.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Precision {
    /// Values are moved.
    Exact,
    /// Values are rounded once or twice, or fused.
    Rounded,
    /// Sums of products.
    Summed,
    /// Products of products, and what makes them orthogonal.
    Iterated,
}

/// Returns all operations.
///
/// - `rows`, `inner`, `cols`: of products; 4 or more
pub(crate) fn operations(rows: usize, inner: usize, cols: usize) -> Vec<Operation> {
    use Precision::{Exact, Iterated, Rounded, Summed};
    let random = |seed, rows, cols| Gaussian::new(seed).matrix(rows, cols);
    let left = || random(1, rows, inner);
    let right = || random(2, inner, cols);
    let other = || random(3, rows, inner);
    let square = || random(4, rows, rows);
    let memory = || random(5, rows, cols);
    // A spectrum that falls has vectors that are well determined.
    let falling = || {
        let mut matrix = random(6, rows, inner);
        (0..rows).for_each(|row| {
            let size = 1.0 / (1 + row % 64) as f32;
            matrix.row_mut(row).iter_mut().for_each(|value| *value *= size);
        });
        matrix
    };
    let lower = || {
        let full = square();
        Matrix::from_fn(rows, rows, |i, j| if j <= i { full.at(i, j) } else { 0.0 })
    };
    let operation =
        |name, precision, operands, compute| Operation { name, precision, operands, compute };
    vec![
        operation("there and back", Exact, vec![left()], |_, m| m[0].clone()),
        operation("rows of a matrix", Exact, vec![left()], |_, m| {
            m[0].row_block(m[0].rows() / 3..m[0].rows() - 1)
        }),
        operation("columns of a matrix", Exact, vec![left()], |_, m| {
            m[0].column_block(m[0].cols() / 3..m[0].cols() - 1)
        }),
        operation("values, read", Exact, vec![left()], |engine, m| {
            let values = m[0].read(<[f32]>::to_vec);
            engine.upload(Matrix::new(m[0].rows(), m[0].cols(), values).unwrap())
        }),
        operation("values, changed", Exact, vec![left()], |_, m| {
            m[0].clone().changed(|values| values.iter_mut().for_each(|value| *value = -*value))
        }),
        operation("cleared", Exact, vec![left()], |_, m| {
            let mut matrix = m[0].clone();
            matrix.clear();
            matrix
        }),
        operation("scaled", Rounded, vec![left()], |_, m| m[0].clone().scale(0.3)),
        operation("sum, scaled", Rounded, vec![left(), other()], |_, m| {
            m[0].clone().add_scaled(-0.7, &m[1])
        }),
        operation("squared norm", Summed, vec![left()], |engine, m| {
            let norm = m[0].squared_norm();
            engine.upload(Matrix::from_fn(1, 1, |_, _| norm as f32))
        }),
        operation("product", Summed, vec![left(), right()], |_, m| m[0].multiply(&m[1])),
        operation("product, left turned", Summed, vec![left().transposed(), right()], |_, m| {
            m[0].transposed_multiply(&m[1])
        }),
        operation("product, right turned", Summed, vec![left(), right().transposed()], |_, m| {
            m[0].multiply_transposed(&m[1])
        }),
        operation("product in old memory", Summed, vec![left(), right(), memory()], |_, m| {
            m[0].multiply_within(&m[1], m[2].clone())
        }),
        operation(
            "product in old memory, right turned",
            Summed,
            vec![left(), right().transposed(), memory()],
            |_, m| m[0].multiply_transposed_within(&m[1], m[2].clone()),
        ),
        operation("product of parts", Summed, vec![left(), right()], |_, m| {
            let middle = m[0].cols() / 4..m[0].cols() - 1;
            m[0].row_block(1..m[0].rows())
                .column_block(middle.clone())
                .multiply(&m[1].row_block(middle).column_block(1..m[1].cols() - 1))
        }),
        operation(
            "product of parts, left turned",
            Summed,
            vec![left().transposed(), right()],
            |_, m| {
                let middle = m[0].rows() / 4..m[0].rows() - 1;
                m[0].row_block(middle.clone())
                    .column_block(1..m[0].cols())
                    .transposed_multiply(&m[1].row_block(middle))
            },
        ),
        operation("product with itself turned", Summed, vec![left()], |_, m| m[0].gram()),
        operation("product with a triangle", Summed, vec![memory(), lower()], |_, m| {
            m[0].clone().multiplied_by_lower(&m[1])
        }),
        operation(
            "product added to rows",
            Summed,
            vec![random(7, rows + 3, cols), left().transposed(), right()],
            |_, m| {
                let mut sum = m[0].clone();
                sum.add_transposed_product(2, &m[1], &m[2]);
                sum
            },
        ),
        operation("sums and products in turn", Summed, vec![left(), other(), right()], |_, m| {
            let mut sum = m[0].clone().add_scaled(0.5, &m[1]).scale(0.25);
            sum = sum.add_scaled(-0.125, &m[0]);
            sum.multiply(&m[2]).scale(2.0)
        }),
        operation(
            "orthonormal rows",
            Iterated,
            vec![random(8, rows.min(inner / 2), inner)],
            |engine, m| orthonormalised(engine, &m[0]),
        ),
        operation("leading singular vectors", Iterated, vec![falling()], |engine, m| {
            let rank = 8.min(m[0].rows() / 2);
            let svd = truncated_svd(engine, m[0].clone().download(), &SvdOptions::new(rank, 1));
            let mut svd = svd.unwrap();
            for row in 0..svd.u.rows() {
                let values = svd.u.row_mut(row).iter_mut().zip(&svd.singular_values);
                values.for_each(|(value, size)| *value *= size);
            }
            engine.upload(svd.u).multiply_transposed(&engine.upload(svd.v))
        }),
    ]
}
