use crate::blocks::BlockType;
use crate::header::Encoding;
use crate::{Dtype, TensorFileErrorKind as Kind};

/// Returns the dtype and the encoding of tensors whose type has this number.
///
/// # Errors
/// [`Kind::GgufType`] for types that are not read.
pub(super) fn tensor_type(number: u32) -> Result<(Dtype, Encoding), Kind> {
    // Numbers of `enum ggml_type` in ggml's `ggml.h`; gaps are types that were taken away.
    let plain = |dtype| Ok((dtype, Encoding::Plain));
    let blocks = |block| Ok((Dtype::F32, Encoding::Blocks(block)));
    match number {
        0 => plain(Dtype::F32),
        1 => plain(Dtype::F16),
        24 => plain(Dtype::I8),
        25 => plain(Dtype::I16),
        26 => plain(Dtype::I32),
        27 => plain(Dtype::I64),
        28 => plain(Dtype::F64),
        30 => plain(Dtype::BF16),
        2 => blocks(BlockType::Q4_0),
        3 => blocks(BlockType::Q4_1),
        6 => blocks(BlockType::Q5_0),
        7 => blocks(BlockType::Q5_1),
        8 => blocks(BlockType::Q8_0),
        10 => blocks(BlockType::Q2_K),
        11 => blocks(BlockType::Q3_K),
        12 => blocks(BlockType::Q4_K),
        13 => blocks(BlockType::Q5_K),
        14 => blocks(BlockType::Q6_K),
        20 => blocks(BlockType::IQ4_NL),
        23 => blocks(BlockType::IQ4_XS),
        39 => blocks(BlockType::MXFP4),
        found => Err(Kind::GgufType { found, name: unread_name(found) }),
    }
}

/// Returns the name of a type that is not read. IQ1 to IQ3 need tables of thousands of numbers;
/// NVFP4 keeps a part of its scale in a tensor of its own.
fn unread_name(number: u32) -> &'static str {
    match number {
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        21 => "IQ3_S",
        22 => "IQ2_S",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        40 => "NVFP4",
        41 => "Q1_0",
        _ => "a type without a known name",
    }
}
