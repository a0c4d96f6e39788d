//! One matrix as codes and scales.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use roundwise_convert::compute::{Engine, Matrix};
use roundwise_convert::layout::{Layout, MatmulPrecision};
use roundwise_convert::recipe::Rounding;
use roundwise_convert::rounding::{
    Inputs, Linear, Progress, RoundingError, relative_output_error, round,
};
use roundwise_convert::scheme::{QuantizedMatrix as Codes, Weight, measure};
use roundwise_convert::source::inputs_of;
use roundwise_convert::stats::Statistics;
use roundwise_convert::{ConvertError, Event, Recipe, Watch};

use crate::array::{Array, bytes_of, view};
use crate::error::{raise, raised};
use crate::settings;
use crate::watched::watched;

/// What is known of the inputs of a matrix.
#[derive(FromPyObject)]
pub(crate) enum Samples<'py> {
    /// A file, and the layer in it.
    Layer(PathBuf, String),
    /// The inputs themselves, one in each row.
    Rows(Array<'py>),
}

/// The codes and scales of a matrix, and their errors.
#[pyclass(frozen, module = "roundwise")]
pub(crate) struct QuantizedMatrix {
    codes: Codes,
    layout: Layout,
    weight_error: f64,
    output_error: Option<f64>,
}

/// Rounds a matrix; `roundwise.quantize` reads the arrays.
#[pyfunction]
#[pyo3(signature = (weight, samples, **settings))]
pub(crate) fn quantize(
    py: Python<'_>,
    weight: Array<'_>,
    samples: Option<Samples<'_>>,
    settings: Option<&Bound<'_, PyDict>>,
) -> PyResult<QuantizedMatrix> {
    let mut settings = settings::read(py, settings)?;
    if samples.is_some() {
        settings.recipe = settings.recipe.with_statistics();
    }
    let recipe = settings.recipe.check().map_err(|error| raised(py, error))?;
    settings.run.check_for(&recipe).map_err(|error| raised(py, error))?;
    let devices = settings.run.devices().map_err(|error| raised(py, error))?;
    let weight = weight.weight().map_err(|error| rounding_error(py, &error))?;
    let rows = match &samples {
        Some(Samples::Rows(rows)) => {
            Some(rows.weight().map_err(|error| rounding_error(py, &error))?)
        }
        Some(Samples::Layer(..)) | None => None,
    };
    let file = match &samples {
        Some(Samples::Layer(path, layer)) => Some((path.clone(), layer.clone())),
        Some(Samples::Rows(_)) | None => None,
    };
    let rounded = watched(py, None, |watch| {
        let engine = devices.named().first().copied().unwrap_or_default().resolve()?;
        let inputs = match (rows, file) {
            (Some(rows), _) => Some(of_rows(&rows, &engine)),
            (None, Some((path, layer))) => {
                Some(inputs_of(&Statistics::open(&path)?.layer(&layer)?))
            }
            (None, None) => None,
        };
        let search = |inputs: Option<&Inputs>| quantized(&weight, inputs, &recipe, &engine, watch);
        // Errors of rounding keep their own type, whose help is about arrays; only a stop is one of
        // the work.
        match inputs.transpose().and_then(|inputs| search(inputs.as_ref())) {
            Err(RoundingError::Stopped) => Err(ConvertError::Stopped),
            result => Ok(result),
        }
    })?;
    rounded.map_err(|error| rounding_error(py, &error))
}

fn of_rows(rows: &Weight<'_>, engine: &Engine) -> Result<Inputs, RoundingError> {
    let samples = Matrix::new(rows.rows(), rows.cols(), rows.to_f32())?;
    Inputs::of_samples(samples, engine)
}

fn quantized(
    weight: &Weight<'_>,
    inputs: Option<&Inputs>,
    recipe: &Recipe,
    engine: &Engine,
    watch: &dyn Watch,
) -> Result<QuantizedMatrix, RoundingError> {
    /// Of whatever is random.
    // A file has a seed for each tensor, made of its name. A matrix has no name.
    const SEED: u64 = 0;
    let scheme = recipe.scheme();
    let is_learned = matches!(recipe.rounding(), Rounding::Learned(_));
    let rule = recipe.scale_rule(scheme, is_learned && inputs.is_some());
    let layer = Linear::from(weight).with_inputs(inputs);
    let codes = match recipe.rounding() {
        Rounding::Nearest => Codes::nearest(weight, scheme, rule)?,
        Rounding::Learned(options) => {
            // Nothing to be told of, but asked after each pass whether to go on.
            let mut steps = |_: Progress| watch.notice(Event::Advanced { bytes: 0 });
            round(layer, scheme, rule, &options, engine, SEED, &mut steps)?.matrix
        }
    };
    let output_error = match inputs {
        Some(_) => Some(relative_output_error(layer, &codes, engine)?),
        None => None,
    };
    let weight_error = measure(weight, &codes).relative();
    Ok(QuantizedMatrix { codes, layout: recipe.layout(), weight_error, output_error })
}

fn layout_named(py: Python<'_>, name: &str) -> PyResult<Layout> {
    let found = Layout::NAMES.iter().find(|(known, _)| *known == name);
    let unknown = || {
        let known = Layout::NAMES.map(|(name, _)| name).join(", ");
        raise(
            py,
            "layout",
            &format!("layout `{name}` is not known"),
            Some(format!("known: {known}")),
        )
    };
    found.map(|(_, layout)| *layout).ok_or_else(unknown)
}

fn rounding_error(py: Python<'_>, error: &RoundingError) -> PyErr {
    let help = match error {
        RoundingError::InputColumns { found: 0, .. } => {
            Some("`stats` takes the inputs themselves, or a file of statistics and a layer")
        }
        RoundingError::InputColumns { .. } => {
            Some("the inputs of this very layer have as many columns as its weight")
        }
        _ => None,
    };
    raise(py, "rounding", error, help.map(str::to_owned))
}

#[pymethods]
impl QuantizedMatrix {
    /// The scheme.
    #[getter]
    fn scheme(&self) -> String {
        self.codes.scheme().to_string()
    }

    /// Rows and columns.
    #[getter]
    fn shape(&self) -> (usize, usize) {
        let [rows, cols] = self.codes.shape();
        (rows, cols)
    }

    /// The codes, `[rows, columns]`, one in a byte (two bytes of 16-bit schemes): a memoryview of bit
    /// patterns, copied.
    #[getter]
    fn codes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let format = match self.codes.scheme().grid().code_bytes() {
            1 => "B",
            _ => "H",
        };
        view(py, self.codes.codes(), format, &self.codes.shape())
    }

    /// The scales, in the shape that their tiles have: a memoryview of float32, copied. Decoded value =
    /// value of the code × scale.
    #[getter]
    fn scales<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let scales = self.codes.scales();
        let [rows, cols] = self.codes.shape();
        let shape = self.codes.scheme().tiling().scale_shape(rows, cols);
        let is_whole = shape.iter().product::<usize>() == scales.len();
        let shape = match shape[..] {
            // So that codes × scales is what it says.
            [rows] if is_whole => vec![rows, 1],
            [_, ..] if is_whole => shape,
            _ => vec![scales.len()],
        };
        view(py, &bytes_of(scales), "f", &shape)
    }

    /// `‖Ŵ − W‖ / ‖W‖` of the stored codes.
    #[getter]
    fn weight_error(&self) -> f64 {
        self.weight_error
    }

    /// `tr(EHEᵀ) / tr(WHWᵀ)` of the stored codes: the squared error of the outputs over them. `None`
    /// without statistics.
    #[getter]
    fn output_error(&self) -> Option<f64> {
        self.output_error
    }

    /// Decodes the stored codes: a memoryview of float32, `[rows, columns]`.
    fn dequantize<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let bytes = py.detach(|| bytes_of(&self.codes.to_f32()));
        view(py, &bytes, "f", &self.codes.shape())
    }

    /// Returns the tensors that a file has of the matrix: by name, each with `dtype`, `shape` and `data`,
    /// as `safetensors.serialize` takes them.
    ///
    /// - `layout`: by default that of the settings, `comfy`
    /// - `name`: of the layer, without `.weight`
    #[pyo3(signature = (layout = None, *, name = "layer"))]
    fn packed<'py>(
        &self,
        py: Python<'py>,
        layout: Option<&str>,
        name: &str,
    ) -> PyResult<Bound<'py, PyDict>> {
        let layout = match layout {
            Some(name) => layout_named(py, name)?,
            None => self.layout,
        };
        let (scheme, shape) = (self.codes.scheme(), self.codes.shape());
        layout.admits(scheme).map_err(|error| raise(py, "layout", &error, None))?;
        let precision = MatmulPrecision::Any;
        let specs = layout.layer_tensors(name, scheme, precision, shape);
        let packed = py.detach(|| layout.pack(name, self.codes.clone(), precision));
        let tensors = PyDict::new(py);
        for (spec, tensor) in specs.iter().zip(packed) {
            let entry = PyDict::new(py);
            entry.set_item("dtype", spec.dtype.to_string())?;
            entry.set_item("shape", spec.shape.clone())?;
            entry.set_item("data", PyBytes::new(py, &tensor.bytes))?;
            tensors.set_item(tensor.name, entry)?;
        }
        Ok(tensors)
    }

    fn __repr__(&self) -> String {
        let [rows, cols] = self.codes.shape();
        let error = 100.0 * self.weight_error;
        format!("<QuantizedMatrix {} [{rows}, {cols}], weight error {error:.3} %>", self.scheme())
    }
}
