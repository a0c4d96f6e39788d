//! Products and passes give the same bits for any number of threads.

use roundwise_compute::{Device, Gaussian, Matrix, elementwise, upper_factor};

fn everything(threads: usize) -> Vec<u32> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let engine = Device::Cpu.resolve().unwrap();
        let a = Gaussian::new(1).matrix(611, 777);
        let b = Gaussian::new(2).matrix(777, 333);
        let c = Gaussian::new(3).matrix(611, 400);
        let [on_a, on_b, on_c] = [&a, &b, &c].map(|matrix| engine.upload(matrix.clone()));
        let product = on_a.multiply(&on_b).download();
        // Long columns, short ones, a wide sum and a narrow one: each goes another way.
        let turned = on_a.transposed_multiply(&on_c).download();
        let mut sums = [&a, &c].map(|right| {
            let mut sum = engine.upload(Matrix::zeros(300, right.cols()));
            let right = engine.upload(right.clone()).row_block(0..128);
            sum.add_transposed_product(5, &on_b.row_block(0..128).column_block(0..290), &right);
            sum.download()
        });
        let gram = on_c.gram().download();
        let factor = Matrix::from_fn(611, 611, |i, j| if j <= i { a.at(i, j) } else { 0.0 });
        let factored = engine.upload(c.clone()).multiplied_by_lower(&engine.upload(factor));
        let damped = |i: usize, j: usize| f64::from(gram.at(i, j)) + f64::from(u8::from(i == j));
        let upper = upper_factor(611, damped).unwrap();
        let sums = sums.iter_mut().flat_map(|sum| sum.values().to_vec());
        let mut moved = a.clone();
        elementwise::add_scaled(moved.values_mut(), 0.1, a.values());
        let norm = elementwise::squared_norm(a.values());
        let bits = |matrix: Matrix| matrix.into_values().into_iter().map(f32::to_bits);
        let mut all: Vec<u32> = bits(product).chain(bits(turned)).chain(bits(moved)).collect();
        all.extend(sums.map(f32::to_bits));
        all.extend(bits(gram).chain(bits(factored.download())).chain(bits(upper)));
        all.extend([norm.to_bits() as u32, (norm.to_bits() >> 32) as u32]);
        all
    })
}

#[test]
fn one_two_and_four_threads_agree_to_the_bit() {
    let one = everything(1);
    assert!(one == everything(1) && one == everything(2) && one == everything(4));
}
