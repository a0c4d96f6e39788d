//! The server, asked as a browser, a page of a stranger, or a program would ask it.

#[cfg_attr(not(unix), allow(dead_code, reason = "the life of workers is tested on Unix"))]
mod client;
mod door;
mod hostile;
#[cfg(unix)]
mod lifecycle;
mod shapes;

use std::path::Path;

use roundwise_testkit::files::{Tensor, safetensors};
use roundwise_testkit::weights::gaussian;

/// A small model: three weights that become codes, and a bias that is kept.
fn model() -> Vec<u8> {
    let matrix = gaussian(64, 64, 1);
    let bias = gaussian(1, 64, 2);
    safetensors(&[
        Tensor::bf16("blocks.0.ff.weight", &matrix),
        Tensor::bf16("blocks.1.ff.weight", &matrix),
        Tensor::bf16("blocks.1.ff.bias", &bias),
        Tensor::bf16("head.weight", &matrix),
    ])
}

fn write_model(folder: &Path) -> String {
    let path = folder.join("m.safetensors");
    std::fs::write(&path, model()).unwrap();
    path.to_str().unwrap().to_owned()
}
