//! The native half of the Python module `roundwise`; `python/roundwise` has the other.
//!
//! Files are converted as the program does it, and what comes back is what `--json` prints. Settings are
//! keyword arguments under the names that recipes and jobs have for them, which are read from there.

mod array;
mod commands;
mod error;
mod job;
mod json;
mod looking;
mod matrix;
mod settings;
mod watched;

use pyo3::prelude::*;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(settings::settings, module)?)?;
    module.add_function(wrap_pyfunction!(commands::convert, module)?)?;
    module.add_function(wrap_pyfunction!(commands::dequantize, module)?)?;
    module.add_function(wrap_pyfunction!(commands::repair, module)?)?;
    module.add_function(wrap_pyfunction!(looking::plan, module)?)?;
    module.add_function(wrap_pyfunction!(looking::inspect, module)?)?;
    module.add_function(wrap_pyfunction!(looking::verify, module)?)?;
    module.add_function(wrap_pyfunction!(looking::stats, module)?)?;
    module.add_function(wrap_pyfunction!(looking::schemes, module)?)?;
    module.add_function(wrap_pyfunction!(looking::install_nodes, module)?)?;
    module.add_function(wrap_pyfunction!(matrix::quantize, module)?)?;
    module.add_class::<matrix::QuantizedMatrix>()
}
