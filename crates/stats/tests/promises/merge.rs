//! Merged statistics are those of all inputs together.

use crate::common::{Curved, Inputs, STORED, about_zero, inputs, statistics, write, write_curved};
use roundwise_stats::{
    Knowledge, LayerStatistics, Merge, MixedInputs, OutputGradient, SecondMoment, Statistics,
    StatsErrorKind as Kind,
};
use roundwise_tensor_file::Overwrite;

fn together(a: &Inputs, b: &Inputs) -> Inputs {
    a.iter().chain(b).cloned().collect()
}

fn close(found: &LayerStatistics, expected: &LayerStatistics) {
    assert_eq!(found.count(), expected.count());
    STORED.assert_all_close(found.mean().unwrap(), expected.mean().unwrap());
    STORED.assert_all_close(found.diagonal(), expected.diagonal());
}

#[test]
fn full_and_diagonal_merge_exactly() {
    let (a, b) = (inputs(1, 30, 9), inputs(2, 170, 9));
    for knowledge in [Knowledge::Full, Knowledge::Diagonal] {
        let merged = statistics(&a, knowledge).merged(&statistics(&b, knowledge)).unwrap();
        let expected = statistics(&together(&a, &b), knowledge);
        close(&merged, &expected);
        assert_eq!(merged.knowledge(), knowledge);
        if let (Some(found), Some(expected)) = (merged.covariance(), expected.covariance()) {
            STORED.assert_all_close(found, expected);
        }
    }
}

#[test]
fn the_largest_input_is_that_of_all_files_where_all_know_it() {
    let folder = tempfile::tempdir().unwrap();
    let layer = |seed| statistics(&inputs(seed, 8, 3), Knowledge::Diagonal);
    let with = |seed, largest| layer(seed).with_largest(largest).unwrap();
    let sources = [
        ("a.stats.safetensors", vec![("l", with(1, 50.0)), ("m", with(2, 60.0))]),
        ("b.stats.safetensors", vec![("l", with(3, 70.0)), ("m", layer(4)), ("n", with(5, 80.0))]),
    ];
    let sources = sources
        .map(|(name, layers)| Statistics::open(&write(folder.path(), name, &layers)).unwrap());
    let path = folder.path().join("merged.stats.safetensors");
    Merge::plan(&sources).unwrap().write(&path, Overwrite::Refuse).unwrap();
    let merged = Statistics::open(&path).unwrap();
    let largest = |module| merged.layer(module).unwrap().largest();
    assert_eq!([largest("l"), largest("m"), largest("n")], [Some(70.0), None, Some(80.0)]);
    assert!(matches!(layer(1).with_largest(0.01), Err(Kind::LargestTooSmall { .. })));
    assert!(matches!(layer(1).with_largest(f32::NAN), Err(Kind::NotFinite { .. })));
}

#[test]
fn factors_with_room_merge_exactly() {
    let (a, b) = (inputs(3, 2, 9), inputs(4, 3, 9));
    let (small, large) = (Knowledge::Factor { rank: 2 }, Knowledge::Factor { rank: 5 });
    let merged = statistics(&a, small).merged(&statistics(&b, large)).unwrap();
    let both = together(&a, &b);
    close(&merged, &statistics(&both, large));
    assert_eq!(merged.knowledge(), large);
    let exact = crate::common::narrowed(&crate::common::second_moment(&both));
    STORED.assert_all_close(&merged.second_moment_matrix(), &exact);
}

#[test]
fn factors_without_room_keep_the_strong_directions_and_the_diagonal() {
    // One direction each with 99 % of the energy.
    let line = |seed: u64, at: usize| -> Inputs {
        let mut inputs = inputs(seed, 4, 12);
        inputs.iter_mut().enumerate().for_each(|(i, x)| {
            x.iter_mut().for_each(|value| *value *= 0.1);
            x[at] = if i % 2 == 0 { 9.0 } else { -7.0 };
        });
        inputs
    };
    let (a, b) = (line(5, 2), line(6, 8));
    let rank = Knowledge::Factor { rank: 4 };
    let merged = statistics(&a, rank).merged(&statistics(&b, rank)).unwrap();
    let both = together(&a, &b);
    close(&merged, &statistics(&both, Knowledge::Diagonal));
    assert_eq!(merged.knowledge(), rank);
    assert!(merged.rank_energy() > 0.99, "{}", merged.rank_energy());
    let exact = crate::common::second_moment(&both);
    let matrix = merged.second_moment_matrix();
    let distance = |f: &dyn Fn(usize) -> f64| (0..144).map(|at| f(at).powi(2)).sum::<f64>().sqrt();
    let error = distance(&|at| f64::from(matrix[at]) - exact[at]);
    assert!(error < 0.01 * distance(&|at| exact[at]), "{error}");
}

#[test]
fn of_unlike_kinds_the_weaker_remains() {
    let (a, b) = (inputs(7, 5, 6), inputs(8, 5, 6));
    let rank = Knowledge::Factor { rank: 5 };
    let kinds = [
        (Knowledge::Full, rank, rank),
        (rank, Knowledge::Full, rank),
        (Knowledge::Full, Knowledge::Diagonal, Knowledge::Diagonal),
        (Knowledge::Diagonal, rank, Knowledge::Diagonal),
    ];
    for (x, y, expected) in kinds {
        let merged = statistics(&a, x).merged(&statistics(&b, y)).unwrap();
        assert_eq!(merged.knowledge(), expected);
        close(&merged, &statistics(&together(&a, &b), Knowledge::Diagonal));
    }
}

#[test]
fn counts_do_not_overflow() {
    let layer = |count| LayerStatistics::new(count, None, vec![1.0], SecondMoment::Diagonal);
    let most = layer(i64::MAX as u64).unwrap();
    assert!(matches!(most.merged(&most), Err(Kind::TooManySamples { .. })));
    assert!(matches!(layer(1 << 63), Err(Kind::Count { .. })));
}

#[test]
fn files_merge_layer_by_layer() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b, c) = (inputs(1, 30, 5), inputs(2, 20, 5), inputs(3, 10, 5));
    let full = |inputs| statistics(inputs, Knowledge::Full);
    let diagonal = |inputs| statistics(inputs, Knowledge::Diagonal);
    let sources = [
        write(folder.path(), "a", &[("both", full(&a)), ("first", full(&a)), ("weak", full(&a))]),
        write(folder.path(), "b", &[("both", full(&b)), ("weak", diagonal(&b))]),
        write(folder.path(), "c", &[("both", full(&c)), ("last", full(&c))]),
    ]
    .map(|path| Statistics::open(&path).unwrap());
    let merge = Merge::plan(&sources).unwrap();
    assert_eq!(merge.weakened(), ["weak"]);
    let path = folder.path().join("merged.stats.safetensors");
    merge.write(&path, Overwrite::Refuse).unwrap();

    let merged = Statistics::open(&path).unwrap();
    let modules: Vec<&str> = merged.layers().iter().map(|layer| layer.module.as_str()).collect();
    assert_eq!(modules, ["both", "first", "last", "weak"]);
    assert_eq!(merged.layer("first").unwrap(), full(&a));
    let all = full(&together(&together(&a, &b), &c));
    close(&merged.layer("both").unwrap(), &all);
    let found = merged.layer("both").unwrap();
    STORED.assert_all_close(found.covariance().unwrap(), all.covariance().unwrap());
    assert_eq!(merged.tool(), "test");

    let bytes = std::fs::read(&path).unwrap();
    merge.write(&path, Overwrite::Replace).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    let error = merge.write(&path, Overwrite::Refuse).unwrap_err();
    assert!(error.to_string().contains("the file exists"), "{error}");
}

#[test]
fn another_shape_of_the_same_layer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let layer = |columns| statistics(&inputs(1, 9, columns), Knowledge::Diagonal);
    let sources = [
        write(folder.path(), "a", &[("x", layer(4)), ("y", layer(4))]),
        write(folder.path(), "b", &[("y", layer(6))]),
    ]
    .map(|path| Statistics::open(&path).unwrap());
    let error = Merge::plan(&sources).unwrap_err();
    assert_eq!(error.layer(), Some("y"));
    assert!(matches!(error.kind(), Kind::ShapesDiffer { .. }));
    let message = error.to_string();
    assert!(message.contains("[5, 6] here, [5, 4] in"), "{message}");
}

/// Gradients and mixed inputs of two runs together are those of one run over both.
#[test]
fn gradients_and_mixed_inputs_merge_by_their_own_counts() {
    let folder = tempfile::tempdir().unwrap();
    let zero = |x: &Inputs| about_zero(&statistics(x, Knowledge::Full));
    let (a, b) = (inputs(1, 30, 5), inputs(2, 10, 5));
    let curved = |x: &Inputs, mean_square, rows: &[[u64; 2]]| Curved {
        module: "x",
        plain: statistics(&inputs(9, 20, 5), Knowledge::Full),
        mixed: Some(MixedInputs::new(zero(x), rows.to_vec(), 5).unwrap()),
        gradient: Some(
            OutputGradient::new(x.len() as u64, mean_square, Some(zero(x)), None).unwrap(),
        ),
    };
    let file = |name, layer| write_curved(folder.path(), name, &[layer]);
    let sources = [file("a", curved(&a, 2.0, &[[1, 5]])), file("b", curved(&b, 6.0, &[[1, 5]]))]
        .map(|path| Statistics::open(&path).unwrap());
    let path = folder.path().join("merged.stats.safetensors");
    Merge::plan(&sources).unwrap().write(&path, Overwrite::Refuse).unwrap();
    let merged = Statistics::open(&path).unwrap();
    let gradient = merged.gradient("x").unwrap().unwrap();
    let mixed = merged.mixed("x").unwrap().unwrap();
    let all = zero(&together(&a, &b));
    assert_eq!((gradient.count, gradient.mean_square, &mixed.rows[..]), (40, 3.0, &[[1, 5]][..]));
    for found in [gradient.weighted.as_ref().unwrap(), &mixed.moment] {
        STORED.assert_all_close(found.covariance().unwrap(), all.covariance().unwrap());
    }
    let sources = [file("a", curved(&a, 2.0, &[[1, 5]])), file("c", curved(&b, 6.0, &[[2, 5]]))]
        .map(|path| Statistics::open(&path).unwrap());
    let merge = Merge::plan(&sources).unwrap();
    let error = merge.write(&path, Overwrite::Replace).unwrap_err().to_string();
    assert!(error.contains("other rows"), "{error}");
}
