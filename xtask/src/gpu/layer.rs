use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{features, quiet};
use crate::command;
use crate::workspace::Workspace;

/// A method on one layer, as the example `layer_speed` takes it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    known: &'static str,
    method: &'static str,
    keys: &'static str,
}

impl Case {
    pub(crate) const ALL: [Self; 5] = [
        Self::principal("`principal`, `fast`", "effort = 'fast'"),
        Self::principal("`principal`, `normal`", "effort = 'normal'"),
        Self::principal("`principal`, `high`", "effort = 'high'"),
        Self::activations("`activations`, full H", "full"),
        Self::activations("`activations`, rank 64 + diagonal", "64"),
    ];

    const fn principal(name: &'static str, keys: &'static str) -> Self {
        Self { name, known: "none", method: "principal", keys }
    }

    const fn activations(name: &'static str, known: &'static str) -> Self {
        Self { name, known, method: "activations", keys: "" }
    }
}

/// One layer rounded on one device.
#[derive(Serialize, Deserialize)]
pub(crate) struct LayerRun {
    /// Name of the case.
    #[serde(default)]
    pub(crate) method: String,
    #[serde(default)]
    pub(crate) shape: [usize; 2],
    pub(crate) device: String,
    pub(crate) seconds: f64,
    pub(crate) uploaded_bytes: u64,
    pub(crate) downloaded_bytes: u64,
    pub(crate) synchronisations: u64,
    pub(crate) product_operations: u64,
    /// Bytes of matrices on the device at once; `None` in records from before they were counted.
    pub(crate) peak_bytes: Option<u64>,
    pub(crate) objective: f64,
    pub(crate) objective_of_nearest: f64,
}

impl LayerRun {
    pub(crate) fn seconds_per_weight(&self) -> f64 {
        self.seconds / (self.shape[0] * self.shape[1]) as f64
    }

    /// Returns the objective of the stored codes over that of nearest ones.
    pub(crate) fn objective_ratio(&self) -> f64 {
        match self.objective_of_nearest > 0.0 {
            true => self.objective / self.objective_of_nearest,
            false => 1.0,
        }
    }

    /// Returns the share of the time that its products would take at the speed of a large product.
    pub(crate) fn share_of_peak(&self, gigaflops: f64) -> f64 {
        self.product_operations as f64 / self.seconds / (gigaflops * 1e9)
    }

    /// Describes the run on one line.
    pub(crate) fn line(&self, gigaflops: Option<f64>) -> String {
        let share = gigaflops.map_or(String::new(), |gigaflops| {
            format!(", {:.1} % of a product's speed", self.share_of_peak(gigaflops) * 100.0)
        });
        format!(
            "{:<36} {:>5} × {:<5} {}: {:>8.0} ms, {:>6.1} MB there, {:>6.1} MB back, {:>6.1} MB at once, \
             waits {:>4}{share}; objective {:.4} of nearest",
            self.method,
            self.shape[0],
            self.shape[1],
            self.device,
            self.seconds * 1e3,
            self.uploaded_bytes as f64 / 1e6,
            self.downloaded_bytes as f64 / 1e6,
            self.peak_bytes.unwrap_or_default() as f64 / 1e6,
            self.synchronisations,
            self.objective_ratio(),
        )
    }
}

/// What `device_speed` prints.
#[derive(Deserialize)]
pub(crate) struct Operations {
    pub(crate) name: String,
    operations: Vec<OperationRun>,
}

impl Operations {
    pub(crate) fn operation(&self, name: &str) -> Option<&OperationRun> {
        self.operations.iter().find(|operation| operation.name == name)
    }

    pub(crate) fn into_operations(self) -> Vec<OperationRun> {
        self.operations
    }
}

/// One operation on one device, beside the CPU.
#[derive(Serialize, Deserialize)]
pub(crate) struct OperationRun {
    pub(crate) name: String,
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) is_exact: bool,
    /// Largest difference over the largest value.
    pub(crate) difference: f64,
}

/// The packages that have the examples; the first has the features, too.
pub(crate) const PACKAGES: [&str; 2] = ["roundwise-compute", "roundwise-rounding"];

/// The examples that measure devices, built with every library of GPUs.
pub(crate) struct Examples<'a> {
    workspace: &'a Workspace,
    folder: PathBuf,
}

impl<'a> Examples<'a> {
    /// Builds them as `--release` does: optimising across crates would take several times as long, and what
    /// devices compute does not depend on it.
    pub(crate) fn build(workspace: &'a Workspace) -> Result<Self> {
        let mut build = workspace.cargo(&["build", "--quiet", "--release"]);
        build.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
        build.args(["--features", &(features(PACKAGES[0]) + ",roundwise-compute/autotune")]);
        command::run(build.args(["--example", "device_speed", "--example", "layer_speed"]))?;
        Ok(Self { workspace, folder: workspace.target("release/examples") })
    }

    /// Returns the first GPU that is one: lavapipe and the like compute on the CPU.
    pub(crate) fn first_gpu(&self) -> Option<String> {
        let names = ["cuda", "vulkan", "metal"];
        let is_gpu =
            |device: &&str| self.operations(device, 4).is_ok_and(|speed| !is_on_cpu(&speed.name));
        names.iter().copied().find(|device| is_gpu(device)).map(str::to_owned)
    }

    /// Runs every operation on matrices of `side` × `side`, on a device and on the CPU.
    pub(crate) fn operations(&self, device: &str, side: usize) -> Result<Operations> {
        self.answer("device_speed", &[device, &side.to_string()])
    }

    /// Rounds one layer in FP8, twice: the first run compiles kernels.
    pub(crate) fn layer(&self, case: &Case, shape: [usize; 2], device: &str) -> Result<LayerRun> {
        let [rows, cols] = shape.map(|side| side.to_string());
        let runs = if device == "cpu" { "1" } else { "2" };
        let method = [&rows, &cols, case.known, "fp8", case.method, case.keys, runs, device];
        let run: LayerRun = self.answer("layer_speed", &method)?;
        Ok(LayerRun { method: case.name.to_owned(), shape, ..run })
    }

    fn answer<T: for<'de> Deserialize<'de>>(&self, name: &str, arguments: &[&str]) -> Result<T> {
        let file = self.folder.join(name).with_extension(std::env::consts::EXE_EXTENSION);
        let mut example = Command::new(file);
        // Where kernels are compared with each other, the results are kept below this folder.
        let example = quiet(self.workspace, example.current_dir(self.workspace.path("")))?;
        let printed = command::output(example.args(arguments))?;
        let line = printed.lines().find(|line| line.starts_with('{')).context("no answer")?;
        serde_json::from_str(line).with_context(|| format!("read {line}"))
    }
}

/// Returns whether a driver says that it computes on the CPU.
pub(crate) fn is_on_cpu(driver: &str) -> bool {
    ["llvmpipe", "lavapipe", "SwiftShader"].iter().any(|name| driver.contains(name))
}
