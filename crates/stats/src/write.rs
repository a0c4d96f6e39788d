use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use roundwise_tensor_file::{Committed, Dtype, Manifest, Overwrite, TensorFileWriter, TensorSpec};

use crate::parts::{
    GRADIENT_COUNT, GRADIENT_MEAN_SQUARE, LARGEST, MEAN, MIXED_ROWS, Moment, moment_specs,
    part_name, spec,
};
use crate::shape::{fingerprint, layers_text};
use crate::side_car::{CURVATURE_VERSION, FORMAT, VERSION};
use crate::{
    Curvature, Knowledge, LayerShape, LayerStatistics, MixedInputs, OutputGradient, StatsError,
    StatsErrorKind as Kind,
};

/// A layer that a side-car will hold.
#[derive(Clone, Debug)]
pub struct LayerPlan {
    /// Name, rows and columns.
    pub shape: LayerShape,
    /// Inputs that were seen.
    pub count: u64,
    /// Whether there is a mean.
    pub has_mean: bool,
    /// Whether the largest input is known.
    pub has_largest: bool,
    /// How much of H is known.
    pub knowledge: Knowledge,
    /// How much is known of H_mix, and of how many ranges of rows.
    pub mixed: Option<(Knowledge, usize)>,
    /// What is known of the gradients of its outputs.
    pub gradient: Option<GradientPlan>,
}

/// What a side-car will hold of the gradients of a layer's outputs, beside their mean square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GradientPlan {
    /// The predictions that they are of, the same in all layers of a file.
    pub curvature: Curvature,
    /// How much is known of H_w.
    pub weighted: Option<Knowledge>,
    /// How much is known of G, and its rows.
    pub outputs: Option<(Knowledge, u64)>,
}

impl LayerPlan {
    /// Plans the statistics of a layer's inputs alone.
    pub fn of(shape: LayerShape, layer: &LayerStatistics) -> Self {
        Self {
            shape,
            count: layer.count(),
            has_mean: layer.mean().is_some(),
            has_largest: layer.largest().is_some(),
            knowledge: layer.knowledge(),
            mixed: None,
            gradient: None,
        }
    }

    fn is_of_second_version(&self) -> bool {
        self.has_largest || self.mixed.is_some() || self.gradient.is_some()
    }
}

impl MixedInputs {
    /// Returns how much a side-car will hold.
    pub fn plan(&self) -> (Knowledge, usize) {
        (self.moment.knowledge(), self.rows.len())
    }
}

impl OutputGradient {
    /// Returns how much a side-car will hold.
    pub fn plan(&self, curvature: Curvature) -> GradientPlan {
        let outputs = self.outputs.as_ref();
        GradientPlan {
            curvature,
            weighted: self.weighted.as_ref().map(LayerStatistics::knowledge),
            outputs: outputs.map(|outputs| (outputs.knowledge(), outputs.columns() as u64)),
        }
    }
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
        // Sorted, as the list of layers is, and as `plan` looks them up.
        plans.sort_by(|a, b| a.shape.module.cmp(&b.shape.module));
        for plan in &plans {
            // The list of layers in the metadata has one line for each.
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

    /// Writes the statistics of one layer's inputs.
    ///
    /// # Errors
    /// When the layer was not planned, or with another shape or other contents.
    pub fn write(&self, module: &str, layer: &LayerStatistics) -> Result<(), StatsError> {
        let plan = self.plan(module)?;
        self.write_integers(module, Moment::Inputs.count_name(), &[layer.count()])?;
        if let Some(mean) = layer.mean() {
            self.write_values(module, MEAN, mean)?;
        }
        // Left out where a merge knows it of some files alone.
        if let Some(largest) = layer.largest().filter(|_| plan.has_largest) {
            self.write_values(module, LARGEST, &[largest])?;
        }
        self.write_moment(module, Moment::Inputs, plan.shape.columns, layer)
    }

    /// Writes what is known of one layer's inputs as attention mixes them.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_mixed(&self, module: &str, mixed: &MixedInputs) -> Result<(), StatsError> {
        let plan = self.plan(module)?;
        self.write_integers(module, Moment::Mixed.count_name(), &[mixed.moment.count()])?;
        if !mixed.rows.is_empty() {
            self.write_integers(module, MIXED_ROWS, mixed.rows.as_flattened())?;
        }
        self.write_moment(module, Moment::Mixed, plan.shape.columns, &mixed.moment)
    }

    /// Writes what is known of the gradients of one layer's outputs.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_gradient(
        &self,
        module: &str,
        gradient: &OutputGradient,
    ) -> Result<(), StatsError> {
        let plan = self.plan(module)?;
        self.write_integers(module, GRADIENT_COUNT, &[gradient.count])?;
        self.write_values(module, GRADIENT_MEAN_SQUARE, &[gradient.mean_square])?;
        if let Some(weighted) = &gradient.weighted {
            self.write_moment(module, Moment::Weighted, plan.shape.columns, weighted)?;
        }
        if let Some(outputs) = &gradient.outputs {
            // The side that was planned for G itself, since the rows of the layer may be unknown.
            let known = plan.gradient.and_then(|gradient| gradient.outputs);
            let side = known.map_or(plan.shape.rows, |(_, side)| side);
            self.write_moment(module, Moment::Outputs, side, outputs)?;
        }
        Ok(())
    }

    fn plan(&self, module: &str) -> Result<&LayerPlan, StatsError> {
        let position = self.plans.binary_search_by(|plan| plan.shape.module.as_str().cmp(module));
        position
            .map(|position| &self.plans[position])
            .map_err(|_| Kind::UnknownLayer.at_layer(&self.path, module))
    }

    /// Writes a second moment but for its count and mean.
    fn write_moment(
        &self,
        module: &str,
        moment: Moment,
        side: u64,
        layer: &LayerStatistics,
    ) -> Result<(), StatsError> {
        let found = layer.columns();
        if found as u64 != side {
            let (part, expected) = (moment.diagonal_name(), side as usize);
            let kind = Kind::Length { part, found, expected };
            return Err(kind.at_layer(&self.path, module));
        }
        self.write_values(module, moment.diagonal_name(), layer.diagonal())?;
        if let Some((_, _, factor)) = layer.factor() {
            self.write_values(module, moment.factor_name(), factor)?;
        }
        if let Some(covariance) = layer.covariance() {
            self.write_values(module, moment.whole_name(), covariance)?;
        }
        Ok(())
    }

    fn write_values(&self, module: &str, part: &str, values: &[f32]) -> Result<(), StatsError> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Ok(self.file.write(&part_name(module, part), &bytes)?)
    }

    fn write_integers(&self, module: &str, part: &str, values: &[u64]) -> Result<(), StatsError> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Ok(self.file.write(&part_name(module, part), &bytes)?)
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
    // Files that need no more are of the first version, so that programs that know no other read them.
    let is_new = plans.iter().any(LayerPlan::is_of_second_version);
    let version = if is_new { CURVATURE_VERSION } else { VERSION };
    let curvature = plans.iter().find_map(|plan| plan.gradient).map(|it| it.curvature);
    let entries = [
        ("format", FORMAT.to_owned()),
        ("version", version.to_owned()),
        ("tool", tool.to_owned()),
        ("samples", samples.to_string()),
        ("fingerprint", fingerprint(&shapes)),
        ("layers", layers_text(&shapes)),
    ];
    let curvature = curvature.map(|curvature| ("curvature", curvature.name().to_owned()));
    let entries = entries.into_iter().chain(curvature);
    entries.map(|(key, value)| (key.to_owned(), value)).collect()
}

fn tensors(plan: &LayerPlan) -> Vec<TensorSpec> {
    let (shape, n) = (&plan.shape, plan.shape.columns);
    let count = |moment: Moment| spec(shape, moment.count_name(), Dtype::I64, &[1]);
    let mut specs = vec![count(Moment::Inputs)];
    if plan.has_mean {
        specs.push(spec(shape, MEAN, Dtype::F32, &[n]));
    }
    if plan.has_largest {
        specs.push(spec(shape, LARGEST, Dtype::F32, &[1]));
    }
    specs.extend(moment_specs(shape, Moment::Inputs, n, plan.knowledge));
    if let Some((knowledge, ranges)) = plan.mixed {
        specs.push(count(Moment::Mixed));
        if ranges > 0 {
            specs.push(spec(shape, MIXED_ROWS, Dtype::I64, &[ranges as u64, 2]));
        }
        specs.extend(moment_specs(shape, Moment::Mixed, n, knowledge));
    }
    if let Some(gradient) = plan.gradient {
        specs.push(count(Moment::Weighted));
        specs.push(spec(shape, GRADIENT_MEAN_SQUARE, Dtype::F32, &[1]));
        if let Some(knowledge) = gradient.weighted {
            specs.extend(moment_specs(shape, Moment::Weighted, n, knowledge));
        }
        if let Some((knowledge, side)) = gradient.outputs {
            specs.extend(moment_specs(shape, Moment::Outputs, side, knowledge));
        }
    }
    specs
}
