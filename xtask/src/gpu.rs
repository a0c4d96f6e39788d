pub(crate) mod check;
pub(crate) mod layer;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use self::layer::{Case, Examples, LayerRun};
use crate::record;
use crate::workspace::Workspace;

/// Name of the stored measurement.
pub(crate) const RECORD: &str = "gpu";

/// Where, and how much.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// As `--device` of the tool names it [default: the first of cuda, vulkan and metal that is no CPU, else cpu].
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Layers of a sixth of the sides, and nothing stored: shows that it runs.
    #[arg(long)]
    short: bool,
    /// Only the tests, as `ci` runs them.
    #[arg(long, conflicts_with_all = ["device", "short"])]
    tests: bool,
}

/// Layers rounded on a GPU, or, where there is none, what such a GPU would be given.
#[derive(Serialize, Deserialize)]
pub(crate) struct GpuBench {
    /// The device; `cpu` where there is no GPU.
    pub(crate) device: String,
    /// What its driver calls it.
    pub(crate) driver: String,
    /// Operations in a second of a product of three matrices' sides of 3072, in 10⁹.
    pub(crate) product_gigaflops: Option<f64>,
    pub(crate) layers: Vec<LayerRun>,
    pub(crate) models: Vec<ModelTime>,
}

/// How long a model would take.
#[derive(Serialize, Deserialize)]
pub(crate) struct ModelTime {
    pub(crate) method: String,
    /// Of all its layers, one after the other.
    pub(crate) seconds: f64,
}

const SQUARE: [usize; 2] = [3072, 3072];
const WIDE: [usize; 2] = [12288, 3072];

/// Layers of a diffusion transformer of 12 billion parameters (FLUX.1): how often, and of which shape.
const MODEL: [(usize, [usize; 2]); 8] = [
    (38, [18432, 3072]),
    (38, [9216, 3072]),
    (38, [3072, 3072]),
    (38, [12288, 3072]),
    (38, [3072, 12288]),
    (38, [21504, 3072]),
    (38, [3072, 15360]),
    (38, [9216, 3072]),
];

/// Runs the device tests, rounds layers by each method, and stores what it took.
///
/// Where no GPU is found, layers are rounded on the CPU: what would be moved to a GPU and back, and how
/// often the host would wait for it, are the same numbers.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    if options.tests {
        return check::run(workspace);
    }
    let examples = Examples::build(workspace)?;
    let device = match &options.device {
        Some(device) => Some(device.clone()).filter(|device| device != "cpu"),
        None => examples.first_gpu(),
    };
    match &device {
        Some(device) => {
            println!("── device tests on {device}");
            check::test(workspace, "release", &layer::PACKAGES)?;
        }
        None => println!("no GPU is here: layers are rounded on the CPU, for what is counted"),
    }
    let device = device.as_deref().unwrap_or("cpu");
    let part = if options.short { 6 } else { 1 };
    let sides = [SQUARE, WIDE].map(|sides| sides.map(|side| side / part));
    let speed = match device {
        "cpu" => None,
        device => Some(examples.operations(device, sides[0][0])?),
    };
    let product = speed.as_ref().and_then(|speed| speed.operation("product"));
    let gigaflops = product.map(|product| 2e-9 * (sides[0][0] as f64).powi(3) / product.seconds);
    if let (Some(speed), Some(gigaflops)) = (&speed, gigaflops) {
        println!(
            "{device}: {}, a product of {}³ at {gigaflops:.0} GFLOP/s",
            speed.name, sides[0][0]
        );
    }
    let mut layers = Vec::new();
    for case in &Case::ALL {
        for shape in sides {
            let run = examples.layer(case, shape, device)?;
            println!("{}", run.line(gigaflops));
            layers.push(run);
        }
    }
    let models = match device {
        "cpu" => vec![],
        _ => Case::ALL.iter().map(|case| extrapolated(case, &layers)).collect(),
    };
    for ModelTime { method, seconds } in &models {
        println!("12 billion parameters, {method}: {:.1} min, extrapolated", seconds / 60.0);
    }
    if options.short {
        return Ok(());
    }
    let driver = speed.map_or_else(|| "burn-flex and faer".to_owned(), |speed| speed.name);
    let bench = GpuBench {
        device: device.to_owned(),
        driver,
        product_gigaflops: gigaflops,
        layers,
        models,
    };
    record::write(workspace, RECORD, bench)
}

/// Estimates the time of the model: layers take as long for each weight as the measured layer that is
/// next to them in size.
fn extrapolated(case: &Case, layers: &[LayerRun]) -> ModelTime {
    let mut measured = layers.iter().filter(|layer| layer.method == case.name);
    let pace = |layer: Option<&LayerRun>| layer.map_or(0.0, LayerRun::seconds_per_weight);
    let (square, wide) = (pace(measured.next()), pace(measured.next()));
    let of_shape = |(count, [rows, cols]): (usize, [usize; 2])| {
        let pace = if rows * cols > SQUARE[0] * SQUARE[1] { wide } else { square };
        (count * rows * cols) as f64 * pace
    };
    ModelTime { method: case.name.to_owned(), seconds: MODEL.into_iter().map(of_shape).sum() }
}

/// Returns the features that build every library of GPUs of this system, without the search for fast kernels.
pub(crate) fn features(package: &str) -> String {
    let names = if cfg!(target_os = "macos") { &["metal"][..] } else { &["cuda", "vulkan"] };
    names.iter().map(|name| format!("{package}/{name}")).collect::<Vec<_>>().join(",")
}

/// Gives a command what the libraries of Vulkan look for: a folder, which they complain about where none is
/// named.
pub(crate) fn quiet<'a>(
    workspace: &Workspace,
    command: &'a mut std::process::Command,
) -> Result<&'a mut std::process::Command> {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        let folder = workspace.target("runtime");
        std::fs::create_dir_all(&folder)?;
        command.env("XDG_RUNTIME_DIR", folder);
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_has_twelve_billion_parameters() {
        let weights: usize = MODEL.iter().map(|(count, [rows, cols])| count * rows * cols).sum();
        assert!((11_500_000_000..12_500_000_000).contains(&weights), "{weights}");
    }
}
