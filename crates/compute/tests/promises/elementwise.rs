//! Every fused pass equals its scalar definition, at every length.

use proptest::prelude::*;
use roundwise_compute::Gaussian;
use roundwise_compute::elementwise::{self, PIECE};

const LENGTHS: [usize; 8] = [0, 1, 7, 8, 9, PIECE - 1, PIECE + 1, 2 * PIECE + 13];

fn values(seed: u64, length: usize) -> Vec<f32> {
    Gaussian::new(seed).matrix(1, length).into_values()
}

#[test]
fn passes_equal_their_definition_to_the_bit() {
    for length in LENGTHS {
        let [a, b, c, d, e] = [1, 2, 3, 4, 5].map(|seed| values(seed, length));
        let step = |a: f32, b: f32, c: f32| a - b * 0.5 / (c.abs().sqrt() + 1e-8);
        let defined = |i: usize| step(a[i], b[i], c[i]);

        let mut found = a.clone();
        elementwise::update(&mut found, &b, |a, b| *a = step(*a, b, 1.0));
        assert!((0..length).all(|i| found[i] == step(a[i], b[i], 1.0)));

        let (mut found, mut one) = (a.clone(), c.clone());
        elementwise::update_1(&mut found, &b, &mut one, |a, b, c| {
            *a = step(*a, b, *c);
            *c += b;
        });
        assert!((0..length).all(|i| found[i] == defined(i) && one[i] == c[i] + b[i]));

        let (mut found, mut one, mut two) = (a.clone(), c.clone(), d.clone());
        elementwise::update_2(&mut found, &b, [&mut one, &mut two], |a, b, c, d| {
            *a = step(*a, b, *c);
            *d = *c * b;
        });
        assert!((0..length).all(|i| found[i] == defined(i) && two[i] == c[i] * b[i]));

        let (mut found, mut one, mut two, mut three) = (a.clone(), c.clone(), d.clone(), e.clone());
        elementwise::update_3(&mut found, &b, [&mut one, &mut two, &mut three], |a, b, c, d, e| {
            *a = step(*a, b, *c);
            *e = *d - b;
        });
        assert!((0..length).all(|i| found[i] == defined(i) && three[i] == d[i] - b[i]));
    }
}

proptest! {
    #[test]
    fn sums_equal_plain_sums(length in 0..3 * PIECE, seed: u64) {
        let (a, b) = (values(seed, length), values(!seed, length));
        let plain: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        let size: f64 = a.iter().zip(&b).map(|(a, b)| (f64::from(*a) * f64::from(*b)).abs()).sum();
        // Both sums are f64; only their order differs.
        prop_assert!((elementwise::dot(&a, &b) - plain).abs() <= 1e-12 * size);
    }
}
