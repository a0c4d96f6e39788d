//! Statistics of the inputs of `small`.

use crate::golden::tensors::{Tensor, safetensors};

/// A layer with its columns.
type Known = (&'static str, usize);

/// Returns side-cars of both layers and of one. The hash is the SHA-256 of the lines that list
/// them.
pub(super) fn files() -> Vec<(String, Vec<u8>)> {
    let both = statistics(
        &[("blocks.0.ff.in", 64), ("blocks.0.ff.out", 96)],
        "blocks.0.ff.in 96 64\nblocks.0.ff.out 64 96\n",
        "5da19b152af84fb6942c8593a81ee653a57c1bad4656663ed3eb2ac33ee3210a",
    );
    let one = statistics(
        &[("blocks.0.ff.in", 64)],
        "blocks.0.ff.in 96 64\n",
        "0f1c29a21002b1a86385cc85bbb3c9756c80812a4041e49f65f3794a62afc791",
    );
    [("both", both), ("one", one)]
        .map(|(name, content)| (format!("{name}.stats.safetensors"), content))
        .into()
}

/// Returns statistics of inputs that three hidden numbers and their mean make up nearly alone. All
/// numbers are small fractions, so that mean, second moment and covariance agree to the last bit.
fn statistics(layers: &[Known], lines: &str, hash: &str) -> Vec<u8> {
    let mut tensors = vec![];
    for (layer, columns) in layers {
        let hidden = |column: usize, at: usize| ((column * (at + 3) + at) % 7) as f32 / 4.0 - 0.75;
        let mean: Vec<f32> = (0..*columns).map(|column| (column % 3) as f32 / 2.0).collect();
        let covariance = |row: usize, column: usize| {
            let product: f32 = (0..3).map(|at| hidden(row, at) * hidden(column, at)).sum();
            product + if row == column { 0.0625 } else { 0.0 }
        };
        let second: Vec<f32> =
            (0..*columns).map(|i| covariance(i, i) + mean[i] * mean[i]).collect();
        let all = (0..columns * columns).map(|at| covariance(at / columns, at % columns));
        let all: Vec<f32> = all.collect();
        let name = |part: &str| format!("{layer}.{part}");
        tensors.extend([
            Tensor::new(&name("count"), "I64", &[1], 2000_i64.to_le_bytes().into()),
            Tensor::f32(&name("covariance"), &[*columns, *columns], &all),
            Tensor::f32(&name("mean"), &[*columns], &mean),
            Tensor::f32(&name("second_moment"), &[*columns], &second),
        ]);
    }
    let fingerprint = format!("sha256:{hash}");
    let metadata = [
        ("fingerprint", fingerprint.as_str()),
        ("format", "roundwise-stats"),
        ("layers", lines),
        ("samples", "2000"),
        ("tool", "golden"),
        ("version", "1"),
    ];
    safetensors(&tensors, &metadata)
}
