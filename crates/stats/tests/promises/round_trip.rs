//! Statistics that are written are read back exactly, layer by layer.

use crate::common::{Curved, about_zero, inputs, statistics, write, write_curved};
use roundwise_stats::{
    COLLECTOR, Curvature, Knowledge, LayerStatistics, MixedInputs, Moment, OutputGradient,
    SecondMoment, Statistics, fingerprint,
};

#[test]
fn every_kind_comes_back_bit_by_bit() {
    let folder = tempfile::tempdir().unwrap();
    let without_mean =
        LayerStatistics::new(9, None, vec![0.0, 2.5], SecondMoment::Diagonal).unwrap();
    let layers = [
        ("a.b", statistics(&inputs(1, 50, 6), Knowledge::Full)),
        ("c d", statistics(&inputs(2, 3, 7), Knowledge::Factor { rank: 4 })),
        ("e", statistics(&inputs(3, 8, 2), Knowledge::Diagonal)),
        ("f.count", without_mean.clone()),
        ("g", without_mean.with_largest(7.5).unwrap()),
    ];
    let path = write(folder.path(), "a.stats.safetensors", &layers);
    let read = Statistics::open(&path).unwrap();
    assert_eq!(read.layers().len(), layers.len());
    for (module, layer) in &layers {
        assert_eq!(read.layer(module).unwrap(), *layer, "{module}");
        assert_eq!(read.knowledge(module), Some(layer.knowledge()));
        assert_eq!(read.has_mean(module), layer.mean().is_some());
        assert_eq!(read.count(module).unwrap(), layer.count());
        assert_eq!(read.has_largest(module), layer.largest().is_some());
    }
    assert_eq!(read.fingerprint(), fingerprint(read.layers()));
    assert_eq!(read.tool(), "test");
    let message = read.layer("h").unwrap_err().to_string();
    assert!(message.ends_with("layer `h`: no such layer in the statistics"), "{message}");
}

#[test]
fn summaries_tell_rank_energy_and_few_samples() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = inputs(2, 3, 7);
    let layers = [
        ("full", statistics(&inputs, Knowledge::Full)),
        ("factor", statistics(&inputs, Knowledge::Factor { rank: 3 })),
        ("diagonal", statistics(&inputs, Knowledge::Diagonal)),
    ];
    let read = Statistics::open(&write(folder.path(), "a.stats.safetensors", &layers)).unwrap();
    let energy = |module| read.summary(module).unwrap().rank_energy;
    assert_eq!(energy("full"), 1.0);
    assert!((energy("factor") - 1.0).abs() < 1e-6, "{}", energy("factor"));
    assert_eq!(energy("diagonal"), 0.0);
    let summary = read.summary("factor").unwrap();
    assert!(summary.has_few_samples() && summary.has_mean);
    assert_eq!((summary.samples, summary.shape.columns), (3, 7));
    assert_eq!(summary.knowledge.to_string(), "rank 3");
}

#[test]
fn the_matrix_is_the_second_moment_about_zero() {
    let inputs = inputs(4, 5, 6);
    let exact = crate::common::narrowed(&crate::common::second_moment(&inputs));
    for knowledge in [Knowledge::Full, Knowledge::Factor { rank: 5 }] {
        let layer = statistics(&inputs, knowledge);
        crate::common::STORED.assert_all_close(&layer.second_moment_matrix(), &exact);
    }
    let layer = statistics(&inputs, Knowledge::Diagonal);
    let matrix = layer.second_moment_matrix();
    assert_eq!((matrix[7], matrix[1]), (layer.diagonal()[1], 0.0));
}

#[test]
fn what_a_factor_leaves_of_the_diagonal_is_never_negative() {
    let second = SecondMoment::Factor { rank: 1, values: vec![1.0, 3.0] };
    let layer = LayerStatistics::new(4, None, vec![4.0, 8.9], second).unwrap();
    assert_eq!(layer.residual(), [3.0, 0.0]);
    assert_eq!(layer.second_moment_matrix(), [4.0, 3.0, 3.0, 9.0]);
}

/// The collector's own file; `fixtures/scripts/statistics.py` has the same formula.
#[test]
fn the_collector_and_this_crate_agree() {
    let fixture =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/stats/small.stats.safetensors");
    let read = Statistics::open(fixture.as_ref()).unwrap();
    let made = |rows: usize, columns: usize| -> crate::common::Inputs {
        let value = |i: usize, j: usize| ((7 * i + 13 * j + i * j) % 11) as f64 / 4.0 - 1.0;
        (0..rows).map(|i| (0..columns).map(|j| value(i, j)).collect()).collect()
    };
    for (module, inputs, rows) in
        [("narrow", made(40, 6), 3), ("twin", made(40, 6), 4), ("wide", made(12, 16), 5)]
    {
        let layer = read.layer(module).unwrap();
        assert_eq!(read.get(module).unwrap().rows, rows);
        assert_eq!(layer.count(), inputs.len() as u64);
        let mean = crate::common::narrowed(&crate::common::mean(&inputs));
        crate::common::STORED.assert_all_close(layer.mean().unwrap(), &mean);
        let exact = crate::common::narrowed(&crate::common::second_moment(&inputs));
        let n = layer.columns();
        let diagonal: Vec<f32> = (0..n).map(|j| exact[j * n + j]).collect();
        crate::common::STORED.assert_all_close(layer.diagonal(), &diagonal);
        if module != "wide" {
            crate::common::STORED.assert_all_close(&layer.second_moment_matrix(), &exact);
        }
    }
    assert_eq!(read.knowledge("wide"), Some(Knowledge::Factor { rank: 4 }));
    // Kernel 2 × 2 over 2 channels of 5 × 7.
    let patches = read.summary("patches").unwrap();
    assert_eq!((patches.shape.columns, patches.samples), (8, 24));
    assert_eq!(patches.knowledge, Knowledge::Full);
}

#[test]
fn the_collector_is_one_file_of_python() {
    assert!(COLLECTOR.starts_with("\"\"\"Collects statistics"));
    assert!(COLLECTOR.contains("NODE_CLASS_MAPPINGS") && COLLECTOR.contains("def collect("));
}

fn moment(seed: u64, count: usize, columns: usize, knowledge: Knowledge) -> LayerStatistics {
    about_zero(&statistics(&inputs(seed, count, columns), knowledge))
}

#[test]
fn mixed_inputs_and_gradients_come_back_bit_by_bit() {
    let folder = tempfile::tempdir().unwrap();
    let plain = statistics(&inputs(1, 50, 6), Knowledge::Full);
    let mixed = MixedInputs::new(moment(2, 40, 6, Knowledge::Full), vec![[2, 4]], 5).unwrap();
    let gradient = OutputGradient::new(
        3,
        0.25,
        Some(moment(3, 3, 6, Knowledge::Factor { rank: 4 })),
        Some(moment(4, 3, 5, Knowledge::Diagonal)),
    )
    .unwrap();
    let alone = OutputGradient::new(30, 0.5, None, None).unwrap();
    let layers = [
        Curved {
            module: "both",
            plain: plain.clone(),
            mixed: Some(mixed),
            gradient: Some(gradient),
        },
        Curved { module: "gradient", plain: plain.clone(), mixed: None, gradient: Some(alone) },
        Curved { module: "neither", plain, mixed: None, gradient: None },
    ];
    let path = write_curved(folder.path(), "a.stats.safetensors", &layers);
    let read = Statistics::open(&path).unwrap();
    assert_eq!(read.curvature(), Some(Curvature::Tokens));
    for Curved { module, plain, mixed, gradient } in &layers {
        assert_eq!(read.layer(module).unwrap(), *plain);
        assert_eq!(read.mixed(module).unwrap(), *mixed);
        assert_eq!(read.gradient(module).unwrap(), *gradient);
        assert_eq!(read.has_gradient(module), gradient.is_some());
    }
    assert_eq!(read.knowledge_of("both", Moment::Weighted), Some(Knowledge::Factor { rank: 4 }));
    assert_eq!(read.knowledge_of("gradient", Moment::Weighted), None);
    let summary = read.summary("both").unwrap();
    assert_eq!(
        (summary.mixed, summary.outputs),
        (Some(Knowledge::Full), Some(Knowledge::Diagonal))
    );
}

#[test]
fn a_file_without_gradients_is_one_that_older_programs_read() {
    let folder = tempfile::tempdir().unwrap();
    let layers = [("a", statistics(&inputs(1, 9, 3), Knowledge::Full))];
    let bytes = std::fs::read(write(folder.path(), "a.stats.safetensors", &layers)).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains(r#""version":"1""#), "{text}");
}
