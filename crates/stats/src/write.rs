use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use roundwise_tensor_file::{Committed, Dtype, Manifest, Overwrite, TensorFileWriter, TensorSpec};

use crate::shape::{fingerprint, layers_text};
use crate::side_car::{FORMAT, VERSION};
use crate::{Knowledge, LayerShape, LayerStatistics, StatsError, StatsErrorKind as Kind};

/// A layer that a side-car will hold.
#[derive(Clone, Debug)]
pub struct LayerPlan {
    /// Name, rows and columns.
    pub shape: LayerShape,
    /// Inputs that were seen.
    pub count: u64,
    /// Whether there is a mean.
    pub has_mean: bool,
    /// How much of H is known.
    pub knowledge: Knowledge,
}

/// Writes a side-car layer by layer, in any order; nothing is visible before [`Self::commit`].
#[derive(Debug)]
pub struct StatisticsWriter {
    path: PathBuf,
    file: TensorFileWriter,
    plans: Vec<LayerPlan>,
}

impl StatisticsWriter {
    /// Writes the header. `tool` says who made the statistics.
    ///
    /// # Errors
    /// When two layers have one name, or the file cannot be made.
    pub fn create(
        path: &Path,
        overwrite: Overwrite,
        tool: &str,
        mut plans: Vec<LayerPlan>,
    ) -> Result<Self, StatsError> {
        plans.sort_by(|a, b| a.shape.module.cmp(&b.shape.module));
        for plan in &plans {
            // A line of the metadata's list each.
            if plan.shape.module.is_empty() || plan.shape.module.contains('\n') {
                return Err(Kind::UnknownLayer.at_layer(path, &plan.shape.module));
            }
        }
        let tensors = plans.iter().flat_map(tensors).collect();
        let manifest = Manifest::new(metadata(tool, &plans), tensors)?;
        let file = TensorFileWriter::create(path, manifest, overwrite)?;
        Ok(Self { path: path.to_owned(), file, plans })
    }

    /// Returns the path of the file until it is complete.
    pub fn temporary_path(&self) -> &Path {
        self.file.temporary_path()
    }

    /// Writes one layer.
    ///
    /// # Errors
    /// When the layer was not planned, or with another shape or other contents.
    pub fn write(&self, module: &str, layer: &LayerStatistics) -> Result<(), StatsError> {
        let position = self.plans.binary_search_by(|plan| plan.shape.module.as_str().cmp(module));
        let plan = position
            .map(|position| &self.plans[position])
            .map_err(|_| Kind::UnknownLayer.at_layer(&self.path, module))?;
        let found = layer.columns();
        if found as u64 != plan.shape.columns {
            let expected = plan.shape.columns as usize;
            let kind = Kind::Length { part: "second_moment", found, expected };
            return Err(kind.at_layer(&self.path, module));
        }
        let write =
            |part: &str, values: &[f32]| self.file.write(&tensor(module, part), &bytes(values));
        self.file.write(&tensor(module, "count"), &layer.count().to_le_bytes())?;
        write("second_moment", layer.diagonal())?;
        if let Some(mean) = layer.mean() {
            write("mean", mean)?;
        }
        if let Some((_, _, factor)) = layer.factor() {
            write("factor", factor)?;
        }
        if let Some(covariance) = layer.covariance() {
            write("covariance", covariance)?;
        }
        Ok(())
    }

    /// Makes the file durable and gives it its name.
    ///
    /// # Errors
    /// When a planned part was never written, or the disk fails; whatever had the name keeps it.
    pub fn commit(self) -> Result<Committed, StatsError> {
        Ok(self.file.commit()?)
    }
}

fn metadata(tool: &str, plans: &[LayerPlan]) -> BTreeMap<String, String> {
    let shapes: Vec<LayerShape> = plans.iter().map(|plan| plan.shape.clone()).collect();
    // Layers see different numbers of inputs, such as experts that few tokens are routed to.
    let samples = plans.iter().map(|plan| plan.count).max().unwrap_or(0);
    let entries = [
        ("format", FORMAT.to_owned()),
        ("version", VERSION.to_owned()),
        ("tool", tool.to_owned()),
        ("samples", samples.to_string()),
        ("fingerprint", fingerprint(&shapes)),
        ("layers", layers_text(&shapes)),
    ];
    entries.map(|(key, value)| (key.to_owned(), value)).into()
}

fn tensors(plan: &LayerPlan) -> Vec<TensorSpec> {
    let n = plan.shape.columns;
    let spec = |part: &str, dtype, shape: &[u64]| TensorSpec {
        name: tensor(&plan.shape.module, part),
        dtype,
        shape: shape.to_vec(),
    };
    let mut specs = vec![spec("count", Dtype::I64, &[1]), spec("second_moment", Dtype::F32, &[n])];
    if plan.has_mean {
        specs.push(spec("mean", Dtype::F32, &[n]));
    }
    match plan.knowledge {
        Knowledge::Diagonal => {}
        Knowledge::Factor { rank } => specs.push(spec("factor", Dtype::F32, &[n, rank as u64])),
        Knowledge::Full => specs.push(spec("covariance", Dtype::F32, &[n, n])),
    }
    specs
}

fn tensor(module: &str, part: &str) -> String {
    format!("{module}.{part}")
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
