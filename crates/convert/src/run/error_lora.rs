use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use roundwise_compute::{Device, Engine, Matrix, SvdOptions, Venue, truncated_svd};
use roundwise_layout::{StoredLayer, weight_of};
use roundwise_tensor_file::{Dtype, Manifest, Overwrite, TensorFileWriter, TensorSpec};

use crate::error::ConvertError;
use crate::model::Role;
use crate::recipe::Recipe;
use crate::run::round::seed_of;
use crate::source::Source;
use crate::source::numbers::matrix_shape;

/// An adapter that undoes a part of the rounding error.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorLora {
    /// The file.
    pub path: PathBuf,
    /// Layers that it has a pair of factors for.
    pub layers: usize,
    /// The largest rank of a pair, the one asked for unless all layers have less.
    pub rank: usize,
    /// Length of the file.
    pub bytes: u64,
    /// `‖E − UV‖ / ‖E‖` of all layers together, E = W − Ŵ: the share of the error that is left.
    pub left: f64,
    /// Layers that were computed on the CPU, for the device failed.
    pub cpu_layers: Vec<String>,
}

/// Returns the path of the adapter of an output, which is beside it.
pub fn error_lora_path(output: &Path) -> PathBuf {
    let name = output.file_stem().unwrap_or_default().to_string_lossy();
    output.with_file_name(format!("{name}-error-lora.safetensors"))
}

/// Writes the leading part of `W − Ŵ` of every layer in codes as a LoRA: `lora_up` `[rows, rank]`,
/// the left singular vectors times their values, and `lora_down` `[rank, cols]`, both F32.
///
/// - `original`, `recipe`: what was converted; adapters of the recipe count as a part of it
/// - `rank`: of the adapter; a layer with a smaller side has that
///
/// Keys are ComfyUI's: those of diffusion models begin with `diffusion_model.`.
///
/// # Errors
/// [`ConvertError::Misfit`] when the converted file has no layer in codes, or codes that are not
/// those of a weight of the original; else what the files or the computation answer.
pub fn extract_error_lora(
    original: &Path,
    recipe: &Recipe,
    converted: &Path,
    rank: NonZeroUsize,
    device: Device,
    overwrite: Overwrite,
) -> Result<ErrorLora, ConvertError> {
    let path = error_lora_path(converted);
    let original = Source::open_with(original, recipe)?;
    let converted = Source::open(converted)?;
    let engine = device.resolve()?;
    let layers = layers_in_codes(&original, &converted)?;
    let name = |layer: &str, part| format!("{}.lora_{part}.weight", key_of(&original, layer));
    // The header: its shapes follow from the rank alone. A matrix has no more singular vectors than
    // its smaller side.
    let rank_of = |shape: [usize; 2]| rank.get().min(shape[0]).min(shape[1]);
    let specs = layers.iter().flat_map(|(stored, shape @ [rows, cols])| {
        let rank = rank_of(*shape);
        [("up", [*rows, rank]), ("down", [rank, *cols])].map(|(part, shape)| TensorSpec {
            name: name(&stored.layer, part),
            dtype: Dtype::F32,
            shape: shape.map(|size| size as u64).to_vec(),
        })
    });
    // No alpha: without one ComfyUI takes the factor 1.
    let manifest = Manifest::new(BTreeMap::new(), specs.collect())?;
    let output = TensorFileWriter::create(&path, manifest, overwrite)?;
    // Its numbers are made of the weights.
    output.limit_permissions(original.checkpoint.files());
    // One layer after the other, with one error in memory at a time.
    let [mut before, mut after] = [0.0, 0.0];
    let mut cpu_layers = vec![];
    for (stored, shape) in &layers {
        let error = error_of(&original, &converted, stored, *shape)?;
        let energy = roundwise_compute::elementwise::squared_norm(error.values());
        let ((up, down, found), venue) = factors(&engine, error, rank_of(*shape), &stored.layer)?;
        if matches!(venue, Venue::Cpu(_)) {
            cpu_layers.push(stored.layer.clone());
        }
        before += energy;
        // The singular vectors are orthogonal: ‖E − UV‖² = ‖E‖² − ‖UV‖².
        after += (energy - found).max(0.0);
        output.write(&name(&stored.layer, "up"), &bytes(&up))?;
        output.write(&name(&stored.layer, "down"), &bytes(&down))?;
    }
    let committed = output.commit()?;
    // Codes without any error, of zeros for example, leave nothing.
    let left = if before > 0.0 { (after / before).sqrt() } else { 0.0 };
    let rank = layers.iter().map(|(_, shape)| rank_of(*shape)).max().unwrap_or_default();
    let (layers, bytes) = (layers.len(), committed.bytes);
    Ok(ErrorLora { path, layers, rank, bytes, left, cpu_layers })
}

/// Returns the layers in codes that stand for a weight of the original, with its shape.
///
/// # Errors
/// [`ConvertError::Misfit`] when there are none.
fn layers_in_codes<'a>(
    original: &Source,
    converted: &'a Source,
) -> Result<Vec<(&'a StoredLayer, [usize; 2])>, ConvertError> {
    // Adapters change matrices, not banks of them.
    let stored = converted.stored.layers.values().filter(|stored| stored.experts.is_none());
    let layers: Vec<_> = stored
        .filter_map(|stored| {
            let header = original.checkpoint.get(&weight_of(&stored.layer))?;
            matrix_shape(&original.shape_of(header)).map(|shape| (stored, shape))
        })
        .collect();
    if layers.is_empty() {
        let problem = "has no layer in codes, whose error an adapter could hold";
        return Err(ConvertError::misfit(converted.checkpoint.path(), problem));
    }
    Ok(layers)
}

/// Returns the key that ComfyUI finds the adapter of a layer by.
fn key_of(original: &Source, layer: &str) -> String {
    let main = &original.subject().detected.main;
    match main.role {
        Role::DiffusionModel => {
            format!("diffusion_model.{}", layer.strip_prefix(&main.prefix).unwrap_or(layer))
        }
        Role::TextEncoder | Role::Vae | Role::Unknown => layer.to_owned(),
    }
}

fn error_of(
    original: &Source,
    converted: &Source,
    stored: &StoredLayer,
    shape: [usize; 2],
) -> Result<Matrix, ConvertError> {
    let weight = weight_of(&stored.layer);
    let misfit = |problem: String| {
        let path = converted.checkpoint.path();
        ConvertError::misfit(path, format!("layer `{}`: {problem}", stored.layer))
    };
    let cut = stored.cut_to(shape);
    let cut =
        cut.ok_or_else(|| misfit(format!("its codes are not those of a {shape:?} weight")))?;
    let header = original.checkpoint.get(&weight).ok_or_else(|| misfit("is missing".to_owned()))?;
    // W − Ŵ, and not Ŵ − W: an adapter adds what is missing.
    let mut error = original.load(header)?.view().to_f32();
    let rounded = cut.read(&converted.checkpoint).map_err(|source| ConvertError::Layout {
        path: converted.checkpoint.path().to_owned(),
        source,
    })?;
    let mut values = vec![0.0; shape[1]];
    for (row, error) in error.chunks_mut(shape[1].max(1)).enumerate() {
        rounded.decode_row(row, &mut values);
        error.iter_mut().zip(&values).for_each(|(error, value)| *error -= value);
    }
    Ok(Matrix::new(shape[0], shape[1], error)?)
}

/// Returns up, down, and `‖up · down‖²`, and where they were computed.
fn factors(
    engine: &Engine,
    error: Matrix,
    rank: usize,
    layer: &str,
) -> Result<((Matrix, Matrix, f64), Venue), ConvertError> {
    let options = SvdOptions::new(rank, seed_of(layer));
    let (svd, venue) = match engine.device().is_gpu() {
        // Kept, should the device fail.
        true => engine.run(|engine| truncated_svd(engine, error.clone(), &options))?,
        false => (truncated_svd(engine, error, &options)?, Venue::Device),
    };
    // All of the singular values go into one factor. Their roots in both would give the same
    // product.
    let mut up = svd.u;
    for row in 0..up.rows() {
        let values = up.row_mut(row).iter_mut().zip(&svd.singular_values);
        values.for_each(|(value, factor)| *value *= factor);
    }
    let found = svd.singular_values.iter().map(|value| f64::from(*value).powi(2)).sum();
    Ok(((up, svd.v.transposed(), found), venue))
}

fn bytes(matrix: &Matrix) -> Vec<u8> {
    matrix.values().iter().flat_map(|value| value.to_le_bytes()).collect()
}
