//! A GGUF file, with weights in blocks of codes and in halves.

use crate::golden::tensors::Tensor;

/// Where data begins and every tensor of it.
const ALIGNMENT: usize = 32;

/// GGUF's numbers for what tensors hold.
const F32: u32 = 0;
const F16: u32 = 1;
const Q8_0: u32 = 8;

const TEXT: u32 = 8;

pub(super) fn files() -> Vec<(String, Vec<u8>)> {
    let half = Tensor::random("blocks.0.ff.out.weight", "F16", &[64, 96]);
    let norm = Tensor::random("blocks.0.norm.weight", "F32", &[64]);
    let tensors = [
        ("blocks.0.ff.in.weight", &[96, 64][..], Q8_0, q8_0(96 * 64)),
        ("blocks.0.ff.out.weight", &[64, 96], F16, half.bytes),
        ("blocks.0.norm.weight", &[64], F32, norm.bytes),
    ];
    let mut header = b"GGUF".to_vec();
    header.extend(3_u32.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend(1_u64.to_le_bytes());
    header.extend(text("general.architecture"));
    header.extend(TEXT.to_le_bytes());
    header.extend(text("flux"));
    let mut data = vec![];
    for (name, shape, kind, bytes) in tensors {
        header.extend(text(name));
        header.extend((shape.len() as u32).to_le_bytes());
        // The innermost dimension comes first.
        shape.iter().rev().for_each(|size: &u64| header.extend(size.to_le_bytes()));
        header.extend(kind.to_le_bytes());
        header.extend((data.len() as u64).to_le_bytes());
        data.extend(bytes);
        data.resize(data.len().next_multiple_of(ALIGNMENT), 0);
    }
    header.resize(header.len().next_multiple_of(ALIGNMENT), 0);
    vec![("weights.gguf".to_owned(), [header, data].concat())]
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// Returns blocks of 32 codes behind their scale, an F16 of 2⁻¹⁰ to 2⁻⁷.
fn q8_0(elements: usize) -> Vec<u8> {
    let block = |number: usize| {
        let scale = ((5 + number as u16 % 4) << 10).to_le_bytes();
        let codes = (0..32).map(move |at| (number * 89 + at * 37) as u8);
        scale.into_iter().chain(codes)
    };
    (0..elements / 32).flat_map(block).collect()
}
