use std::path::{Path, PathBuf};

use roundwise_stats::{
    Curvature, Knowledge, LayerPlan, LayerShape, LayerStatistics, MixedInputs, OutputGradient,
    SecondMoment, StatisticsWriter,
};
use roundwise_tensor_file::Overwrite;
use roundwise_testkit::random::Random;
use roundwise_testkit::tolerance::Tolerance;

/// F32 in the file, F64 sums of a few hundred values of size 1 here.
pub(crate) const STORED: Tolerance =
    Tolerance { reason: "stored as F32", relative: 1e-5, absolute: 1e-5 };

/// Inputs, `[rows][columns]`.
pub(crate) type Inputs = Vec<Vec<f64>>;

/// Inputs with a mean of their own and correlated columns.
pub(crate) fn inputs(seed: u64, rows: usize, columns: usize) -> Inputs {
    let mut random = Random::new(seed);
    let shift = random.gaussian();
    (0..rows)
        .map(|_| {
            let common = random.gaussian();
            (0..columns).map(|_| random.gaussian() + 0.8 * common + shift).collect()
        })
        .collect()
}

/// E[x].
pub(crate) fn mean(inputs: &Inputs) -> Vec<f64> {
    let columns = inputs[0].len();
    (0..columns).map(|j| average(inputs.iter().map(|x| x[j]))).collect()
}

/// E[x xᵀ], row-major.
pub(crate) fn second_moment(inputs: &Inputs) -> Vec<f64> {
    let n = inputs[0].len();
    (0..n * n).map(|at| average(inputs.iter().map(|x| x[at / n] * x[at % n]))).collect()
}

fn average(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

pub(crate) fn narrowed(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}

/// Returns the statistics to keep of some inputs.
pub(crate) fn statistics(inputs: &Inputs, knowledge: Knowledge) -> LayerStatistics {
    let (mean, moment) = (mean(inputs), second_moment(inputs));
    let n = mean.len();
    let diagonal: Vec<f64> = (0..n).map(|j| moment[j * n + j]).collect();
    let second = match knowledge {
        Knowledge::Diagonal => SecondMoment::Diagonal,
        Knowledge::Full => {
            let centred = |at: usize| moment[at] - mean[at / n] * mean[at % n];
            SecondMoment::Full { covariance: (0..n * n).map(|at| centred(at) as f32).collect() }
        }
        Knowledge::Factor { rank } => {
            // The inputs themselves, scaled, are an exact factor where there are few.
            assert!(inputs.len() <= rank);
            let scale = (inputs.len() as f64).sqrt();
            let value = |j: usize, r: usize| inputs.get(r).map_or(0.0, |x| x[j] / scale) as f32;
            let values = (0..n * rank).map(|at| value(at / rank, at % rank)).collect();
            SecondMoment::Factor { rank, values }
        }
    };
    let (mean, diagonal) = (Some(narrowed(&mean)), narrowed(&diagonal));
    LayerStatistics::new(inputs.len() as u64, mean, diagonal, second).unwrap()
}

/// Writes a side-car of these layers, each of a weight of 5 rows.
pub(crate) fn write(folder: &Path, name: &str, layers: &[(&str, LayerStatistics)]) -> PathBuf {
    let path = folder.join(name);
    let plan = |(module, layer): &(&str, LayerStatistics)| {
        let module = (*module).to_owned();
        LayerPlan::of(LayerShape { module, rows: 5, columns: layer.columns() as u64 }, layer)
    };
    let plans = layers.iter().map(plan).collect();
    let writer = StatisticsWriter::create(&path, Overwrite::Replace, "test", plans).unwrap();
    for (module, layer) in layers {
        writer.write(module, layer).unwrap();
    }
    writer.commit().unwrap();
    path
}

/// Puts bytes into a file.
pub(crate) fn put(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A layer with all that a side-car can hold of it, of 5 rows.
pub(crate) struct Curved {
    pub(crate) module: &'static str,
    pub(crate) plain: LayerStatistics,
    pub(crate) mixed: Option<MixedInputs>,
    pub(crate) gradient: Option<OutputGradient>,
}

/// Returns a moment with a mean of zeros, as moments about zero are read.
pub(crate) fn about_zero(layer: &LayerStatistics) -> LayerStatistics {
    let n = layer.columns();
    let second = match layer.second() {
        SecondMoment::Full { .. } => {
            SecondMoment::Full { covariance: layer.second_moment_matrix() }
        }
        second => second.clone(),
    };
    let (zeros, diagonal) = (Some(vec![0.0; n]), layer.diagonal().to_vec());
    LayerStatistics::new(layer.count(), zeros, diagonal, second).unwrap()
}

/// Writes a side-car of these layers.
pub(crate) fn write_curved(folder: &Path, name: &str, layers: &[Curved]) -> PathBuf {
    let path = folder.join(name);
    let plan = |layer: &Curved| {
        let module = layer.module.to_owned();
        let columns = layer.plain.columns() as u64;
        let plan = LayerPlan::of(LayerShape { module, rows: 5, columns }, &layer.plain);
        let mixed = layer.mixed.as_ref().map(MixedInputs::plan);
        let gradient = layer.gradient.as_ref().map(|it| it.plan(Curvature::Tokens));
        LayerPlan { mixed, gradient, ..plan }
    };
    let plans = layers.iter().map(plan).collect();
    let writer = StatisticsWriter::create(&path, Overwrite::Replace, "test", plans).unwrap();
    for layer in layers {
        writer.write(layer.module, &layer.plain).unwrap();
        if let Some(mixed) = &layer.mixed {
            writer.write_mixed(layer.module, mixed).unwrap();
        }
        if let Some(gradient) = &layer.gradient {
            writer.write_gradient(layer.module, gradient).unwrap();
        }
    }
    writer.commit().unwrap();
    path
}
