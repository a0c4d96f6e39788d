use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::gpu::layer::{Case, Examples, LayerRun, OperationRun};
use crate::record;
use crate::workspace::Workspace;

/// Which devices, and how large.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// As `--device` of the tool names them, comma-separated [default: those of cuda, vulkan and metal that are
    /// here].
    #[arg(long, value_delimiter = ',', value_name = "DEVICE")]
    devices: Vec<String>,
    /// Rows and columns of all matrices.
    #[arg(long, default_value_t = 1024)]
    side: usize,
}

/// Every operation on every device beside the CPU.
#[derive(Serialize, Deserialize)]
pub(crate) struct Devices {
    pub(crate) side: usize,
    pub(crate) devices: Vec<DeviceRuns>,
    /// On the CPU and on each device.
    pub(crate) layers: Vec<LayerRun>,
}

/// The operations on one device.
#[derive(Serialize, Deserialize)]
pub(crate) struct DeviceRuns {
    pub(crate) device: String,
    /// What its driver calls it.
    pub(crate) driver: String,
    pub(crate) operations: Vec<OperationRun>,
}

/// Name of the stored measurement.
pub(crate) const RECORD: &str = "devices";

pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let examples = Examples::build(workspace)?;
    let names = match options.devices.is_empty() {
        true => ["cuda", "vulkan", "metal"].map(str::to_owned).to_vec(),
        false => options.devices.clone(),
    };
    let mut bench = Devices { side: options.side, devices: vec![], layers: vec![] };
    for device in names {
        let found = match examples.operations(&device, options.side) {
            Ok(found) => found,
            // One that was named has to be there.
            Err(error) if options.devices.is_empty() => {
                println!("not run: {}", error.to_string().lines().last().unwrap_or_default());
                continue;
            }
            Err(error) => return Err(error),
        };
        println!("── {device}: {}", found.name);
        let runs =
            DeviceRuns { device, driver: found.name.clone(), operations: found.into_operations() };
        runs.operations.iter().for_each(show);
        bench.devices.push(runs);
    }
    ensure!(!bench.devices.is_empty(), "no device is here but the CPU");
    let devices = bench.devices.iter().map(|runs| runs.device.as_str());
    let devices: Vec<&str> = ["cpu"].into_iter().chain(devices).collect();
    for case in &Case::ALL {
        for device in &devices {
            let run = examples.layer(case, [options.side; 2], device)?;
            println!("{}", run.line(None));
            bench.layers.push(run);
        }
    }
    record::write(workspace, RECORD, bench)
}

fn show(operation: &OperationRun) {
    let OperationRun { name, seconds, cpu_seconds, difference, .. } = operation;
    println!(
        "{name:<38} off by {difference:>8.1e} {:>10.2} ms, on the CPU {:>10.2} ms",
        seconds * 1e3,
        cpu_seconds * 1e3
    );
}
